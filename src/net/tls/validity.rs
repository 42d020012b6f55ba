//! What is not wrong with a certificate or key but will be, or should be: said, never refused.
//!
//! A proxy must be able to restart with a certificate that ran out yesterday; clients that don't
//! look at it are served as before.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::tls::{AcceptMode, ConnectMode, TlsSection};

/// How long before its end a certificate is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Others than the owner may read, or anybody write.
const OPEN_MODE: u32 = 0o026;

/// What an operator should know about the files of `[tls.*]`, one line each.
pub fn remarks(section: &TlsSection, now: SystemTime) -> Vec<String> {
    let TlsSection { client, server, admin } = section;
    let is_on = |mode| mode != AcceptMode::Off;
    let legs = [
        ("client", is_on(client.mode), [&client.certificate, &client.key, &client.ca]),
        ("server", server.mode != ConnectMode::Off, [&server.certificate, &server.key, &server.ca]),
        ("admin", is_on(admin.mode), [&admin.certificate, &admin.key, &admin.ca]),
    ];
    let mut remarks = Vec::new();
    for (name, _, [certificate, key, ca]) in legs.into_iter().filter(|(_, is_on, _)| *is_on) {
        for (what, path) in [("certificate", certificate), ("ca", ca)] {
            let Some(path) = path else { continue };
            let found = on_certificates(path, now);
            remarks.extend(
                found.map(|remark| format!("tls.{name}.{what} {}: {remark}", path.display())),
            );
        }
        if let Some(path) = key
            && is_open(path)
        {
            let remark = "others may read it, expected mode 0600 or 0640";
            remarks.push(format!("tls.{name}.key {}: {remark}", path.display()));
        }
    }
    remarks
}

fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OPEN_MODE != 0)
}

fn on_certificates(path: &Path, now: SystemTime) -> impl Iterator<Item = String> {
    let text = std::fs::read(path).unwrap_or_default();
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text).flatten().collect();
    certificates.into_iter().enumerate().filter_map(move |(at, certificate)| {
        let remark = on_validity(&certificate, now)?;
        Some(if at == 0 { remark } else { format!("certificate {}: {remark}", at + 1) })
    })
}

fn on_validity(certificate: &[u8], now: SystemTime) -> Option<String> {
    let (begin, end) = validity(certificate)?;
    let digits = |time| -> String {
        let text = humantime::format_rfc3339_seconds(time).to_string();
        text.chars().filter(char::is_ascii_digit).collect()
    };
    if end < digits(now) {
        Some(format!("expired on {}", day(&end)))
    } else if digits(now) < begin {
        Some(format!("not valid before {}", day(&begin)))
    } else if end < digits(now + SOON) {
        Some(format!("expires on {}", day(&end)))
    } else {
        None
    }
}

/// `20261124…` → `2026-11-24`.
fn day(digits: &str) -> String {
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    format!("{}-{}-{}", part(0..4), part(4..6), part(6..8))
}

/// The first and the last second of a certificate, each as `YYYYMMDDHHMMSS`.
///
/// RFC 5280, 4.1: "TBSCertificate ::= SEQUENCE { version [0] EXPLICIT Version DEFAULT v1,
/// serialNumber, signature, issuer, validity, …"; "Validity ::= SEQUENCE { notBefore Time, notAfter
/// Time }".
fn validity(certificate: &[u8]) -> Option<(String, String)> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xA0;
    let (_, mut certificate) = element(&mut { certificate }).filter(|(tag, _)| *tag == SEQUENCE)?;
    let (_, mut tbs) = element(&mut certificate)?;
    if tbs.first() == Some(&VERSION) {
        element(&mut tbs)?;
    }
    for _serial_signature_issuer in 0..3 {
        element(&mut tbs)?;
    }
    let (_, mut validity) = element(&mut tbs)?;
    Some((time(element(&mut validity)?)?, time(element(&mut validity)?)?))
}

/// RFC 5280, 4.1.2.5: UTCTime is `YYMMDDHHMMSSZ`, "where YY is greater than or equal to 50, the
/// year SHALL be interpreted as 19YY"; GeneralizedTime is `YYYYMMDDHHMMSSZ`.
fn time((tag, text): (u8, &[u8])) -> Option<String> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let century = match tag {
        GENERALIZED_TIME => "",
        UTC_TIME if digits < "50" => "20",
        UTC_TIME => "19",
        _ => return None,
    };
    let digits = format!("{century}{digits}");
    (digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

/// Takes one DER element from the front: its tag and its content.
fn element<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        long @ 0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        // No length at all, or one of 16 MiB and more, which no certificate has.
        0x80 | 0x84.. => return None,
        short => (usize::from(short), rest),
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some((*tag, content))
}
