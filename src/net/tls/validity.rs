//! What is not wrong with a certificate or key but will be, or should be: said, never refused.
//!
//! A proxy must be able to restart with a certificate that ran out yesterday; clients that don't
//! look at it are served as before.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate::{Fields, is_authority, validity};
use super::settings;
use crate::config::tls::{AcceptMode, ConnectMode, TlsSection};
use ConnectMode::VerifyIdentity;

/// How long before its end a certificate is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Others than the owner may read, or anybody write.
const OPEN_MODE: u32 = 0o026;

/// What an operator should know about the files of `[tls.*]`, one line each.
pub fn remarks(section: &TlsSection, now: SystemTime) -> Vec<String> {
    let TlsSection { client, server, admin, console } = section;
    let is_on = |mode| mode != AcceptMode::Off;
    let legs = [
        ("client", is_on(client.mode), [&client.certificate, &client.key, &client.ca]),
        ("server", server.mode != ConnectMode::Off, [&server.certificate, &server.key, &server.ca]),
        ("admin", is_on(admin.mode), [&admin.certificate, &admin.key, &admin.ca]),
        ("console", is_on(console.mode), [&console.certificate, &console.key, &console.ca]),
    ];
    let mut remarks = Vec::new();
    for (name, _, [certificate, key, ca]) in legs.into_iter().filter(|(_, is_on, _)| *is_on) {
        for (what, path) in [("certificate", certificate), ("ca", ca)] {
            let Some(path) = path else { continue };
            let names = what == "ca" && name == "server" && server.mode == VerifyIdentity;
            let version_1 = match (what, names) {
                ("certificate", _) => Some("some peers refuse"),
                (_, true) => Some("has no names: verify-identity refuses it"),
                _ => None,
            };
            let found = on_certificates(path, now, version_1);
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

/// `version_1` is what is to be said of a certificate of that version that is no CA's.
fn on_certificates(
    path: &Path,
    now: SystemTime,
    version_1: Option<&str>,
) -> impl Iterator<Item = String> {
    let text = settings::read(path).unwrap_or_default();
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text).flatten().collect();
    certificates.into_iter().enumerate().flat_map(move |(at, certificate)| {
        let remarks = [on_validity(&certificate, now), on_version(&certificate, version_1)];
        let name = if at == 0 { String::new() } else { format!("certificate {}: ", at + 1) };
        remarks.into_iter().flatten().map(move |remark| format!("{name}{remark}"))
    })
}

fn on_version(certificate: &[u8], what: Option<&str>) -> Option<String> {
    let is_meant = Fields::of(certificate)?.is_version_1() && !is_authority(certificate);
    Some(format!("of X.509 version 1, which {}", what.filter(|_| is_meant)?))
}

fn on_validity(certificate: &[u8], now: SystemTime) -> Option<String> {
    let validity = validity(certificate)?;
    let [not_before, not_after] =
        [validity.from, validity.to].map(|time| SystemTime::UNIX_EPOCH + time);
    if not_after < now {
        Some(format!("expired on {}", day(not_after)))
    } else if now < not_before {
        Some(format!("not valid before {}", day(not_before)))
    } else if not_after < now + SOON {
        Some(format!("expires on {}", day(not_after)))
    } else {
        None
    }
}

/// `2026-11-24`.
fn day(time: SystemTime) -> String {
    let mut text = humantime::format_rfc3339_seconds(time).to_string();
    text.truncate(text.find('T').unwrap_or(text.len()));
    text
}
