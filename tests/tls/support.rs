//! Certificates, and the two kinds of endpoint: theirs is stock rustls, ours is what is tested.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use crate::pki::Pki;
use odp::net::tls::handshake::{Handshake, Step};
use odp::net::tls::record::{Opened, RecordError, Records};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig,
    ServerConnection, SupportedCipherSuite, SupportedProtocolVersion, version,
};

pub(crate) static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

pub(crate) type Cell = (SupportedCipherSuite, &'static SupportedProtocolVersion);

/// Every suite that is spoken.
pub(crate) fn cells() -> Vec<Cell> {
    vec![
        (cipher_suite::TLS13_AES_128_GCM_SHA256, &version::TLS13),
        (cipher_suite::TLS13_AES_256_GCM_SHA384, &version::TLS13),
        (cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, &version::TLS13),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, &version::TLS12),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, &version::TLS12),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, &version::TLS12),
    ]
}

pub(crate) fn client_config((suite, version): Cell) -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(PKI.ca.as_bytes()).expect("PEM");
    roots.add(ca).expect("a CA");
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub(crate) fn server_config((suite, version): Cell) -> ServerConfig {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    let certificate = CertificateDer::from_pem_slice(PKI.server.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(PKI.server_key.as_bytes()).expect("PEM");
    ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate")
}

pub(crate) fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// Stock rustls.
pub(crate) enum Theirs {
    Client(ClientConnection),
    Server(ServerConnection),
}

impl Theirs {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Client(peer) => peer.writer().write_all(bytes),
            Self::Server(peer) => peer.writer().write_all(bytes),
        }
        .expect("room");
    }

    /// Everything it has to send.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        fn all<D>(peer: &mut ConnectionCommon<D>) -> Vec<u8> {
            let mut out = Vec::new();
            while peer.wants_write() {
                peer.write_tls(&mut out).expect("a Vec takes all");
            }
            out
        }
        match self {
            Self::Client(peer) => all(peer),
            Self::Server(peer) => all(peer),
        }
    }

    /// Gives it bytes; returns what came out.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        fn all<D>(
            peer: &mut ConnectionCommon<D>,
            mut bytes: &[u8],
        ) -> Result<Vec<u8>, rustls::Error> {
            let mut out = Vec::new();
            while !bytes.is_empty() {
                peer.read_tls(&mut bytes).expect("a slice");
                peer.process_new_packets()?;
                // WouldBlock is the end of what is there.
                let _ = peer.reader().read_to_end(&mut out);
            }
            Ok(out)
        }
        match self {
            Self::Client(peer) => all(peer, bytes),
            Self::Server(peer) => all(peer, bytes),
        }
    }

    pub(crate) fn refresh_keys(&mut self) {
        match self {
            Self::Client(peer) => peer.refresh_traffic_keys(),
            Self::Server(peer) => peer.refresh_traffic_keys(),
        }
        .expect("TLS 1.3");
    }

    pub(crate) fn close(&mut self) {
        match self {
            Self::Client(peer) => peer.send_close_notify(),
            Self::Server(peer) => peer.send_close_notify(),
        }
    }
}

/// Our record layer with two queues.
pub(crate) struct Ours {
    pub records: Records,
    pub incoming: Vec<u8>,
    pub outgoing: Vec<u8>,
    pub ended: bool,
    /// Room for plaintext; shorter than a record makes it decrypt in place.
    pub room: usize,
}

impl Ours {
    pub(crate) fn new(records: Records, incoming: Vec<u8>) -> Self {
        Self { records, incoming, outgoing: Vec::new(), ended: false, room: 1 << 15 }
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        let mut out = vec![0; 34 * 1024];
        while !bytes.is_empty() {
            let sealed = self.records.seal(bytes, &mut out).expect("open");
            self.outgoing.extend_from_slice(&out[..sealed.written]);
            bytes = &bytes[sealed.taken..];
        }
    }

    pub(crate) fn output(&mut self) -> Vec<u8> {
        let mut out = [0; 256];
        let n = self.records.speak(&mut out).expect("open");
        self.outgoing.extend_from_slice(&out[..n]);
        std::mem::take(&mut self.outgoing)
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, RecordError> {
        self.incoming.extend_from_slice(bytes);
        let mut received = Vec::new();
        let mut out = vec![0; self.room];
        loop {
            match self.records.open(&mut self.incoming, &mut out)? {
                Opened::Missing(total) => {
                    assert!(total > self.incoming.len(), "what is missing is missing");
                    return Ok(received);
                }
                Opened::Nothing(consumed) => drop(self.incoming.drain(..consumed)),
                Opened::Out { consumed, length } => {
                    received.extend_from_slice(&out[..length]);
                    self.incoming.drain(..consumed);
                }
                Opened::Within { consumed, range } => {
                    received.extend_from_slice(&self.incoming[range]);
                    self.incoming.drain(..consumed);
                }
                Opened::End => {
                    self.ended = true;
                    return Ok(received);
                }
            }
        }
    }

    /// To JSON and back, as by a restart.
    pub(crate) fn freeze(&mut self) {
        let text = serde_json::to_string(&self.records.state()).expect("JSON");
        let state = serde_json::from_str(&text).expect("our JSON");
        self.records = Records::resume(state).expect("our state");
    }
}

/// Shakes hands with every stretch of bytes cut into pieces of `chunk`.
pub(crate) fn shake(mut ours: Handshake, mut theirs: Theirs, chunk: usize) -> (Ours, Theirs) {
    for _ in 0..100 {
        let step = ours.step().expect("a good peer");
        for piece in std::mem::take(&mut ours.output).chunks(chunk) {
            theirs.feed(piece).expect("a good peer");
        }
        if step == Step::Done {
            let established = ours.finish().expect("a known suite");
            return (Ours::new(established.records, established.rest), theirs);
        }
        for piece in theirs.output().chunks(chunk) {
            ours.handle_input(piece).expect("not too much");
            if ours.step().expect("a good peer") == Step::Done {
                // The rest of the pieces is not lost: finish() is tested with it below.
            }
        }
    }
    panic!("no end of the handshake");
}

/// Our side is the server.
pub(crate) fn we_serve(cell: Cell, chunk: usize) -> (Ours, Theirs) {
    let client = ClientConnection::new(Arc::new(client_config(cell)), localhost());
    let handshake = Handshake::accept(&server_config(cell), &[]).expect("a handshake");
    shake(handshake, Theirs::Client(client.expect("a client")), chunk)
}

/// Our side is the client.
pub(crate) fn we_connect(cell: Cell, chunk: usize) -> (Ours, Theirs) {
    let server = ServerConnection::new(Arc::new(server_config(cell))).expect("a server");
    let handshake = Handshake::connect(&client_config(cell), localhost()).expect("a handshake");
    shake(handshake, Theirs::Server(server), chunk)
}
