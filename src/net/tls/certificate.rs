//! The fields of a certificate that prove something, found without judging any other.
//!
//! ```text
//! Certificate    ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue BIT STRING }
//! TBSCertificate ::= SEQUENCE { [0] version DEFAULT v1, serialNumber, signature, issuer, validity,
//!                               subject, subjectPublicKeyInfo, [1], [2],
//!                               [3] extensions }                            (RFC 5280, 4.1)
//! Validity       ::= SEQUENCE { notBefore Time, notAfter Time }             (4.1.2.5)
//! Extension      ::= SEQUENCE { extnID, critical DEFAULT FALSE, extnValue OCTET STRING }
//! ```
//!
//! Nothing in here says that a certificate can be trusted.

use std::time::{Duration, SystemTime};

use rustls::pki_types::SignatureVerificationAlgorithm;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `[0] EXPLICIT`.
const VERSION: u8 = 0xA0;
/// `[3] EXPLICIT`.
const EXTENSIONS: u8 = 0xA3;

/// 2.5.29.19 (RFC 5280, 4.2.1.9).
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1D, 0x13];

/// Fields, as bytes of the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    version: u8,
    /// What is signed: the whole TBSCertificate.
    pub signed: &'a [u8],
    /// Who has signed it.
    pub issuer: &'a [u8],
    /// Whose it is.
    pub subject: &'a [u8],
    /// The whole SubjectPublicKeyInfo.
    pub key: &'a [u8],
    /// How it is signed: the inside of the AlgorithmIdentifier.
    pub signature_algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
    /// The inside of Validity.
    validity: &'a [u8],
    /// What is behind the key.
    rest: &'a [u8],
}

/// From when to when a certificate is good, as times since 1970; earlier ones are 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// Not before.
    pub from: Duration,
    /// Not after.
    pub to: Duration,
}

/// A value in DER.
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: u8,
    /// With tag and length.
    whole: &'a [u8],
    content: &'a [u8],
}

impl<'a> Fields<'a> {
    /// None if it is no certificate.
    pub(super) fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut outer = only(certificate, SEQUENCE)?;
        let signed = next(&mut outer, SEQUENCE)?;
        let signature_algorithm = next(&mut outer, SEQUENCE)?.content;
        let signature = bits(next(&mut outer, BIT_STRING)?.content)?;
        let mut inner = signed.content;
        let version = match take(inner)?.0.tag {
            // "Version ::= INTEGER { v1(0), v2(1), v3(2) }".
            VERSION => match only(next(&mut inner, VERSION)?.content, INTEGER)? {
                [number] => *number,
                _ => return None,
            },
            _ => 0,
        };
        next(&mut inner, INTEGER)?;
        next(&mut inner, SEQUENCE)?;
        let issuer = next(&mut inner, SEQUENCE)?.whole;
        let validity = next(&mut inner, SEQUENCE)?.content;
        let subject = next(&mut inner, SEQUENCE)?.whole;
        let key = next(&mut inner, SEQUENCE)?.whole;
        let (signed, rest) = (signed.whole, inner);
        Some(Self {
            version,
            signed,
            issuer,
            subject,
            key,
            signature_algorithm,
            signature,
            validity,
            rest,
        })
    }

    /// From when to when it is good; None if that cannot be read.
    pub(super) fn validity(&self) -> Option<Validity> {
        let (from, rest) = take(self.validity)?;
        let (to, _) = take(rest)?;
        Some(Validity { from: time(from)?, to: time(to)? })
    }

    /// Whether its extensions say that it may sign others.
    pub(super) fn is_ca(&self) -> bool {
        let found = || {
            let mut rest = self.rest;
            loop {
                let (element, behind) = take(rest)?;
                if element.tag == EXTENSIONS {
                    return constraints(only(element.content, SEQUENCE)?);
                }
                rest = behind;
            }
        };
        found().unwrap_or_default()
    }

    /// Without extensions: it names no host, and cannot say what it is for.
    pub(super) fn is_version_1(&self) -> bool {
        self.version == 0
    }

    /// Whether its key is one for this algorithm, and has signed the message.
    pub(super) fn verifies(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let verified = || {
            let mut key = only(self.key, SEQUENCE)?;
            let kind = next(&mut key, SEQUENCE)?.content;
            let key = bits(next(&mut key, BIT_STRING)?.content)?;
            let fits = kind == algorithm.public_key_alg_id().as_ref();
            (fits && algorithm.verify_signature(key, message, signature).is_ok()).then_some(())
        };
        verified().is_some()
    }
}

/// From when to when a certificate is good (RFC 5280, 4.1.2.5); None if it is none.
pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
    Fields::of(certificate)?.validity()
}

/// Whether a certificate that an operator trusts may sign others: it says that it is a CA's, or it
/// is of version 1, which cannot say it, and has signed itself.
pub(super) fn is_authority(certificate: &[u8]) -> bool {
    match Fields::of(certificate) {
        None => false,
        Some(fields) if fields.is_version_1() => fields.subject == fields.issuer,
        Some(fields) => fields.is_ca(),
    }
}

/// What the basic constraints among these extensions say; None without any.
fn constraints(mut extensions: &[u8]) -> Option<bool> {
    loop {
        let mut extension = next(&mut extensions, SEQUENCE)?.content;
        let kind = next(&mut extension, OBJECT_IDENTIFIER)?.content;
        if take(extension)?.0.tag == BOOLEAN {
            next(&mut extension, BOOLEAN)?;
        }
        if kind == BASIC_CONSTRAINTS {
            let value = only(next(&mut extension, OCTET_STRING)?.content, SEQUENCE)?;
            return Some(
                take(value)
                    .is_some_and(|(first, _)| first.tag == BOOLEAN && first.content == [0xFF]),
            );
        }
    }
}

/// "UTCTime: YYMMDDHHMMSSZ; where YY is greater than or equal to 50, the year SHALL be interpreted
/// as 19YY"; "GeneralizedTime: YYYYMMDDHHMMSSZ".
fn time(element: Element<'_>) -> Option<Duration> {
    let text = std::str::from_utf8(element.content).ok().filter(|text| text.is_ascii())?;
    let (year, rest) = match element.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            (format!("{}{year}", if year < "50" { "20" } else { "19" }), rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.to_owned(), rest)
        }
        _ => return None,
    };
    let digits = rest.strip_suffix('Z').filter(|digits| digits.len() == 10)?;
    if year.as_str() < "1970" {
        return Some(Duration::ZERO);
    }
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| &digits[at..at + 2]);
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    humantime::parse_rfc3339(&text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()
}

/// The first element, and what is behind it.
fn take(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let [tag, length, ..] = *bytes else { return None };
    let (header, length) = match length {
        0..=0x7F => (2, usize::from(length)),
        // Four bytes of length are more than any certificate has.
        0x81..=0x84 => {
            let count = usize::from(length & 0x7F);
            let digits = bytes.get(2..2 + count)?;
            (2 + count, digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)))
        }
        _ => return None,
    };
    let whole = bytes.get(..header.checked_add(length)?)?;
    Some((Element { tag, whole, content: &whole[header..] }, &bytes[whole.len()..]))
}

/// Takes an element of this tag off the front.
fn next<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<Element<'a>> {
    let (element, rest) = take(bytes)?;
    *bytes = rest;
    (element.tag == tag).then_some(element)
}

/// The inside of an element of this tag, with nothing behind it.
fn only(mut bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let element = next(&mut bytes, tag)?;
    bytes.is_empty().then_some(element.content)
}

/// Whole bytes: none of the last one's bits are unused.
fn bits(content: &[u8]) -> Option<&[u8]> {
    content.strip_prefix(&[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use x509_cert::der::{Decode as _, Encode as _};

    use super::*;

    fn certificate() -> Vec<u8> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("a name");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn fields_are_those_that_others_find() {
        let bytes = certificate();
        let fields = Fields::of(&bytes).expect("a certificate");
        let known = x509_cert::Certificate::from_der(&bytes).expect("a certificate");
        let tbs = known.tbs_certificate();
        let der = |it: &dyn Fn() -> x509_cert::der::Result<Vec<u8>>| it().expect("DER");
        assert_eq!(fields.signed, der(&|| tbs.to_der()));
        assert_eq!(fields.issuer, der(&|| tbs.issuer().to_der()));
        assert_eq!(fields.subject, der(&|| tbs.subject().to_der()));
        assert_eq!(fields.key, der(&|| tbs.subject_public_key_info().to_der()));
        assert_eq!(Some(fields.signature), known.signature().as_bytes());
        assert!(!fields.is_version_1());
        let validity = tbs.validity();
        let [from, to] = [validity.not_before, validity.not_after].map(|it| it.to_unix_duration());
        assert_eq!(fields.validity(), Some(Validity { from, to }));
    }

    #[test]
    fn certificates_say_whether_they_may_sign_others() {
        use rcgen::{BasicConstraints, IsCa};
        let cases = [
            (IsCa::NoCa, false),
            (IsCa::ExplicitNoCa, false),
            (IsCa::Ca(BasicConstraints::Unconstrained), true),
            (IsCa::Ca(BasicConstraints::Constrained(3)), true),
        ];
        for (is_ca, expected) in cases {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::default();
            params.is_ca = is_ca;
            params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
            let bytes = params.self_signed(&key).expect("a certificate").der().to_vec();
            assert_eq!(Fields::of(&bytes).map(|it| it.is_ca()), Some(expected), "{is_ca:?}");
        }
    }

    #[test]
    fn times_of_both_kinds_are_read() {
        let read = |tag, text: &str| {
            let bytes = [&[tag, text.len() as u8], text.as_bytes()].concat();
            take(&bytes).and_then(|(element, _)| time(element)).map(|it| it.as_secs())
        };
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (UTC_TIME, "261128120000Z", Some(1_795_867_200)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (GENERALIZED_TIME, "19000101000000Z", Some(0)),
            (UTC_TIME, "261328120000Z", None),
            (UTC_TIME, "2611281200Z", None),
            (UTC_TIME, "2", None),
            (GENERALIZED_TIME, "261128120000+0100", None),
            (INTEGER, "261128120000Z", None),
        ] {
            assert_eq!(read(tag, text), expected, "{text}");
        }
    }

    proptest! {
        /// Whatever a server sends, cut or garbled.
        #[test]
        fn nothing_panics(cut in 0..600_usize, at in 0..600_usize, byte: u8) {
            let mut bytes = certificate();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            if let Some(fields) = Fields::of(&bytes) {
                let _ = (fields.validity(), fields.is_ca());
            }
        }
    }
}
