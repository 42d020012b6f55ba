//! Certificates of X.509 version 1, without extensions: any will do where none is looked at, and
//! where one is it must be a CA's work. Whatever it says, the server must have its key.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use odp::config::tls::{ConnectMode, MinVersion, TlsConnect};
use odp::net::tls::handshake::{Handshake, Step};
use odp::net::tls::settings::Connector;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SigningKey as _};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion, version};

use crate::support::{Theirs, localhost};

/// Tag and content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    let header = match content.len() {
        0..=0x7F => vec![tag, low],
        0x80..=0xFF => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header, content.to_vec()].concat()
}

/// Tag, content, and what is behind.
fn split(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let (header, length) = match der[1] {
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
        length => (2, usize::from(length)),
    };
    (der[0], &der[header..header + length], &der[header + length..])
}

/// The same certificate without version and extensions, signed with this key.
fn version_1(certificate: &[u8], key: &KeyPair) -> Vec<u8> {
    let (_, outer, _) = split(certificate);
    let (_, mut fields, behind) = split(outer);
    let mut kept = Vec::new();
    while !fields.is_empty() {
        let (tag, content, rest) = split(fields);
        if !matches!(tag, 0xA0 | 0xA3) {
            kept.extend(element(tag, content));
        }
        fields = rest;
    }
    let signed = element(0x30, &kept);
    let (tag, algorithm, _) = split(behind);
    let signature = key.sign(&signed).expect("a signature");
    let signature = element(0x03, &[&[0], &signature[..]].concat());
    element(0x30, &[signed, element(tag, algorithm), signature].concat())
}

fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|it| str::from_utf8(it).expect("text")).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// A key, and what is signed for it.
struct Identity {
    key: KeyPair,
    params: CertificateParams,
}

impl Identity {
    fn new(name: &str, is_ca: bool) -> Self {
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        Self { key: KeyPair::generate().expect("a key"), params }
    }

    fn expired(name: &str) -> Self {
        let mut identity = Self::new(name, false);
        identity.params.not_before = rcgen::date_time_ymd(1999, 1, 2);
        identity.params.not_after = rcgen::date_time_ymd(2001, 1, 2);
        identity
    }

    /// Of version 3, by itself.
    fn own(&self) -> Vec<u8> {
        self.params.self_signed(&self.key).expect("a certificate").der().to_vec()
    }

    /// Of version 3, by this issuer.
    fn by(&self, issuer: &Identity) -> Vec<u8> {
        let issuer = rcgen::Issuer::from_params(&issuer.params, &issuer.key);
        self.params.signed_by(&self.key, &issuer).expect("a certificate").der().to_vec()
    }
}

/// Why the server is refused, in the end; None if it is not.
fn refusal(
    connect: &TlsConnect,
    certificate: &[u8],
    key: &KeyPair,
    spoken: &'static SupportedProtocolVersion,
) -> Option<String> {
    let connector = Connector::load(connect).expect("good files").expect("TLS is on");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let private = aws_lc_rs::sign::any_supported_type(&private).expect("a key");
    let certificate = CertificateDer::from(certificate.to_vec());
    let identity = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], private));
    let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[spoken])
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(identity));
    let mut theirs = Theirs::Server(ServerConnection::new(Arc::new(server)).expect("a server"));
    let mut ours = Handshake::connect(connector.config(), localhost()).expect("a handshake");
    for _ in 0..10 {
        match ours.step() {
            Ok(Step::Done) => return None,
            Ok(Step::Read) => {}
            Err(error) => return Some(error.to_string()),
        }
        theirs.feed(&std::mem::take(&mut ours.output)).expect("our hello");
        ours.handle_input(&theirs.output()).expect("not too much");
    }
    panic!("no end of the handshake");
}

#[test]
fn a_certificate_of_version_1_is_taken_where_it_is_good_enough() {
    use ConnectMode::{Prefer, Require, VerifyCa, VerifyIdentity};
    let (ca, namesake) = (Identity::new("CA", true), Identity::new("CA", true));
    let (pinned, server) = (Identity::new("pinned", false), Identity::new("server", false));
    let (late, other) = (Identity::expired("late"), Identity::new("other", false));
    let mine = version_1(&server.by(&ca), &ca.key);
    let of_old = version_1(&late.by(&ca), &ca.key);
    let of_pinned = version_1(&server.by(&pinned), &pinned.key);
    let root = Identity::new("root", false);
    let old_root = version_1(&root.own(), &root.key);
    let of_root = version_1(&server.by(&root), &root.key);
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, der: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem(der)).expect("a file");
        path
    };
    let (trusted, wrong) = (file("ca", &ca.own()), file("namesake", &namesake.own()));
    let (listed, itself) = (file("pinned", &pinned.own()), file("itself", &mine));
    let (unnamed, roots) = (file("other", &other.own()), file("root", &old_root));
    let key = &server.key;
    type Case<'a> = (ConnectMode, &'a PathBuf, &'a [u8], &'a KeyPair, Option<&'a str>);
    let cases: &[Case<'_>] = &[
        (Prefer, &trusted, &mine, key, None),
        (Require, &wrong, &mine, key, None),
        (Require, &wrong, &of_old, &late.key, None),
        (Prefer, &trusted, &server.own(), key, None),
        // Somebody else with a copy of it.
        (Prefer, &trusted, &mine, &other.key, Some("BadSignature")),
        (Require, &trusted, &server.own(), &other.key, Some("BadSignature")),
        (VerifyCa, &trusted, &mine, &other.key, Some("BadSignature")),
        (VerifyCa, &itself, &mine, &other.key, Some("BadSignature")),
        (VerifyCa, &trusted, &mine, key, None),
        (VerifyCa, &itself, &mine, key, None),
        (VerifyCa, &roots, &of_root, key, None),
        (VerifyCa, &wrong, &mine, key, Some("BadSignature")),
        (VerifyCa, &unnamed, &mine, key, Some("UnknownIssuer")),
        (VerifyCa, &trusted, &of_old, &late.key, Some("Expired")),
        // It is trusted as a server, not as a CA.
        (VerifyCa, &listed, &of_pinned, key, Some("UnknownIssuer")),
        (VerifyCa, &itself, &of_root, key, Some("UnknownIssuer")),
        (VerifyIdentity, &trusted, &mine, key, Some("X.509 version 1")),
        (VerifyIdentity, &itself, &mine, key, Some("X.509 version 1")),
    ];
    for (mode, ca, certificate, key, expected) in cases {
        for (spoken, min_version) in
            [(&version::TLS12, MinVersion::Tls12), (&version::TLS13, MinVersion::Tls13)]
        {
            let ca = Some((*ca).clone());
            let connect = TlsConnect { mode: *mode, ca, min_version, ..TlsConnect::default() };
            let refused = refusal(&connect, certificate, key, spoken);
            match (&refused, expected) {
                (None, None) => {}
                (Some(error), Some(expected)) if error.contains(expected) => {}
                _ => panic!("{connect:?}: {refused:?}, expected {expected:?}"),
            }
        }
    }
}
