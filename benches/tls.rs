//! Bytes of data per second of CPU through the record layer: ours and rustls', each direction; and
//! what a move costs: state to JSON and back, keys made ready.
//!
//! `cargo bench --bench tls`. Both sides run in this thread, so only sealing or opening is timed;
//! what makes the other half of a round is not. Ours opens into a caller's buffer as a session
//! does.

use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use odp::net::tls::handshake::{Handshake, Step};
use odp::net::tls::record::{Opened, Records};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};

/// Data of one round.
const ROUND: usize = 256 * 1024;

/// How long each figure is measured.
const SPAN: Duration = Duration::from_millis(400);

fn main() {
    let suites = [
        ("TLS 1.3 AES-128-GCM", cipher_suite::TLS13_AES_128_GCM_SHA256),
        ("TLS 1.3 AES-256-GCM", cipher_suite::TLS13_AES_256_GCM_SHA384),
        ("TLS 1.3 CHACHA20", cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
        ("TLS 1.2 AES-256-GCM", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ];
    println!("MB per second of CPU           ours seal  ours open  rustls seal  rustls open");
    for (name, suite) in suites {
        for size in [64, 1024, 16_320, 16_384] {
            let ([ours_seal, ours_open], [their_seal, their_open]) =
                (ours(suite, size), theirs(suite, size));
            println!(
                "{name:<20} {size:>6} B {ours_seal:>10.0} {ours_open:>10.0} {their_seal:>12.0} \
                 {their_open:>12.0}"
            );
        }
        println!("{name:<20} one move {:>10.1} µs", move_cost(suite));
    }
}

/// Microseconds of CPU for taking a session's record layer apart and putting it together.
fn move_cost(suite: SupportedCipherSuite) -> f64 {
    const MOVES: u32 = 20_000;
    let (mut records, _peer) = our_pair(suite);
    let begun = cpu();
    for _ in 0..MOVES {
        let text = serde_json::to_vec(&records.state()).expect("JSON");
        let state = serde_json::from_slice(&text).expect("our JSON");
        records = Records::resume(state).expect("our state");
    }
    black_box(&records);
    (cpu() - begun).as_secs_f64() * 1e6 / f64::from(MOVES)
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    Duration::from(time.expect("a thread has a clock"))
}

/// Rates of the two halves of a round, in MB per second of CPU.
fn rates(mut round: impl FnMut() -> [Duration; 2]) -> [f64; 2] {
    round();
    let (mut spent, mut rounds) = ([Duration::ZERO; 2], 0);
    let begun = Instant::now();
    while begun.elapsed() < SPAN {
        let [seal, open] = round();
        (spent[0], spent[1], rounds) = (spent[0] + seal, spent[1] + open, rounds + 1);
    }
    spent.map(|spent| (rounds * ROUND) as f64 / spent.as_secs_f64() / 1e6)
}

fn ours(suite: SupportedCipherSuite, size: usize) -> [f64; 2] {
    let (mut client, mut server) = our_pair(suite);
    let data = vec![7; size];
    let mut sealed = vec![0; ROUND + (ROUND / size + 1) * 32];
    let mut out = vec![0; 17 * 1024];
    rates(|| {
        let begun = cpu();
        let (mut at, mut end) = (0, 0);
        while at < ROUND {
            let room = (end + size + 64).min(sealed.len());
            let done = client.seal(&data, &mut sealed[end..room]).expect("an open session");
            (at, end) = (at + done.taken, end + done.written);
        }
        let half = cpu();
        let mut at = 0;
        while at < end {
            match server.open(&mut sealed[at..end], &mut out).expect("a good record") {
                Opened::Out { consumed, length } => {
                    at += consumed;
                    black_box(&out[..length]);
                }
                other => panic!("{other:?}"),
            }
        }
        [half - begun, cpu() - half]
    })
}

fn theirs(suite: SupportedCipherSuite, size: usize) -> [f64; 2] {
    let (client, server) = configs(suite);
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    let (mut wire, data) = (Vec::new(), vec![7; size]);
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        client.write_tls(&mut wire).expect("a Vec");
        server.read_tls(&mut &wire[..]).expect("a slice");
        server.process_new_packets().expect("a good client");
        wire.clear();
        server.write_tls(&mut wire).expect("a Vec");
        client.read_tls(&mut &wire[..]).expect("a slice");
        client.process_new_packets().expect("a good server");
        wire.clear();
    }
    let mut out = vec![0; 17 * 1024];
    rates(|| {
        let begun = cpu();
        for _ in 0..ROUND.div_ceil(size) {
            client.writer().write_all(&data).expect("room");
            while client.wants_write() {
                client.write_tls(&mut wire).expect("a Vec");
            }
        }
        let half = cpu();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("a slice");
            server.process_new_packets().expect("good records");
            while server.reader().read(&mut out).is_ok_and(|n| n > 0) {
                black_box(&out);
            }
        }
        wire.clear();
        [half - begun, cpu() - half]
    })
}

fn our_pair(suite: SupportedCipherSuite) -> (Records, Records) {
    let (client, server) = configs(suite);
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = Handshake::connect(&client, name).expect("a client");
    let mut server = Handshake::accept(&server, &[]).expect("a server");
    loop {
        let client_step = client.step().expect("a good server");
        server.handle_input(&client.output).expect("not too much");
        client.output.clear();
        let server_step = server.step().expect("a good client");
        client.handle_input(&server.output).expect("not too much");
        server.output.clear();
        if (client_step, server_step) == (Step::Done, Step::Done) {
            let (client, server) = (client.finish(), server.finish());
            return (client.expect("a suite").records, server.expect("a suite").records);
        }
    }
}

fn configs(suite: SupportedCipherSuite) -> (ClientConfig, ServerConfig) {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    let provider = Arc::new(provider);
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate");
    (client, server)
}
