//! The fields of a certificate that prove something, found without judging any other.
//!
//! ```text
//! Certificate    ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue BIT STRING }
//! TBSCertificate ::= SEQUENCE { [0] version DEFAULT v1, serialNumber, signature, issuer, validity,
//!                               subject, subjectPublicKeyInfo, ... }       (RFC 5280, 4.1)
//! ```
//!
//! Nothing in here says that a certificate can be trusted.

use rustls::pki_types::SignatureVerificationAlgorithm;

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// `[0] EXPLICIT`.
const VERSION: u8 = 0xA0;

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
        next(&mut inner, SEQUENCE)?;
        let subject = next(&mut inner, SEQUENCE)?.whole;
        let key = next(&mut inner, SEQUENCE)?.whole;
        let signed = signed.whole;
        Some(Self { version, signed, issuer, subject, key, signature_algorithm, signature })
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
    }

    proptest! {
        /// Whatever a server sends, cut or garbled.
        #[test]
        fn nothing_panics(cut in 0..600_usize, at in 0..600_usize, byte: u8) {
            let mut bytes = certificate();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = Fields::of(&bytes);
        }
    }
}
