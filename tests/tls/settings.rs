//! What is wrong with a file is said by name; loading again replaces everything or nothing.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use odp::config::tls::{ConnectMode, TlsAccept, TlsConnect, TlsSection};
use odp::net::tls::settings::{Acceptor, Settings};
use odp::net::tls::validity::remarks;

use crate::streams::{Files, files};
use crate::support::PKI;

#[test]
fn every_fault_of_a_file_is_named() {
    let Files { directory, accept, .. } = files();
    let file = |text: &str| {
        let path = directory.path().join(format!("{}.pem", text.len()));
        std::fs::write(&path, text).expect("a file");
        path
    };
    let error = |certificate: Option<PathBuf>, key: Option<PathBuf>| {
        let mut section = accept.clone();
        section.certificate = certificate.or(section.certificate);
        section.key = key.or(section.key);
        Acceptor::load(&section, "client").expect_err("a bad file").to_string()
    };
    let encrypted = PKI.server_key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cut = &PKI.server[..PKI.server.len() - 30];
    let garbled = PKI.server.replacen("MII", "*!?", 1);
    let cases = [
        (error(Some("/nowhere".into()), None), "tls.client.certificate /nowhere: No such file"),
        (error(Some(file("")), None), "no certificate in it, expected PEM with BEGIN CERT"),
        (error(Some(file(cut)), None), "cut off, expected END CERTIFICATE"),
        (error(Some(file(&garbled)), None), "not base64 between BEGIN and END"),
        (error(None, Some("/nowhere".into())), "tls.client.key /nowhere: No such file"),
        (error(None, Some(file(&PKI.client))), "a certificate, expected its private key"),
        (error(None, Some(file(&encrypted))), "the key has a password, expected one without"),
        (error(None, Some(file("key"))), "no key in it, expected PEM with BEGIN PRIVATE KEY"),
        (error(None, Some(file(&PKI.client_key))), "it is not the key of the certificate"),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{error}\nexpected {expected}");
    }
}

#[test]
fn a_bad_reload_changes_nothing() {
    let Files { directory, accept, connect } = files();
    let good = TlsSection { client: accept, server: connect, ..TlsSection::default() };
    let settings = Settings::load(&good).expect("good files");
    let before = settings.client().expect("TLS is on");
    let mut bad = good.clone();
    bad.server.ca = Some(directory.path().join("gone"));
    let error = settings.reload(&bad).expect_err("no CA").to_string();
    assert!(error.starts_with("tls.server.ca "), "{error}");
    assert!(std::sync::Arc::ptr_eq(&before, &settings.client().expect("still on")));

    let off = TlsConnect { mode: ConnectMode::Off, ..good.server.clone() };
    settings.reload(&TlsSection { server: off, ..good }).expect("good files");
    assert!(settings.server().is_none() && settings.admin().is_none());
    assert!(!std::sync::Arc::ptr_eq(&before, &settings.client().expect("on")));
}

#[test]
fn what_runs_out_is_remarked_and_not_refused() {
    let Files { directory, accept, .. } = files();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(1999, 1, 2);
    params.not_after = rcgen::date_time_ymd(2051, 3, 4);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let write = |name: &str, text: String, mode: u32| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
        Some(path)
    };
    let client = TlsAccept {
        certificate: write("old.pem", certificate.pem(), 0o644),
        key: write("old.key", key.serialize_pem(), 0o600),
        ca: None,
        ..accept
    };
    assert!(Acceptor::load(&client, "client").is_ok());
    let mut section = TlsSection { client, ..TlsSection::default() };
    let at = |date: &str| {
        let now = humantime::parse_rfc3339(date).expect("a date");
        remarks(&section, now).iter().map(|line| tail(line)).collect::<Vec<_>>()
    };
    assert_eq!(at("2026-01-01T00:00:00Z"), Vec::<String>::new());
    assert_eq!(at("1998-01-01T00:00:00Z"), ["not valid before 1999-01-02"]);
    assert_eq!(at("2051-02-20T00:00:00Z"), ["expires on 2051-03-04"]);
    assert_eq!(at("2051-03-05T00:00:00Z"), ["expired on 2051-03-04"]);
    section.client.key = write("old.key", key.serialize_pem(), 0o644);
    let lines = remarks(&section, SystemTime::now());
    assert!(lines[0].starts_with("tls.client.key ") && lines[0].contains("others may read it"));
}

/// What is behind the path.
fn tail(line: &str) -> String {
    line.rsplit(".pem: ").next().unwrap_or_default().to_owned()
}
