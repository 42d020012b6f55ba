//! Servers that say what none should, or nothing.

use std::time::Duration;

use odp::proxy::accounts::credentials::Credentials;
use odp::proxy::cluster::BackendError;
use odp::proxy::service::client::query;
use odp::proxy::service::error::ServiceError;
use odp::proxy::service::login::{Wanted, log_in};
use odp::wire::authentication::more_data;
use odp::wire::capability as cap;
use odp::wire::handshake::ok;
use odp::wire::packet::packet;

use crate::scene::{MOST, Scene, run};
use crate::support::{Act, FakeServer};

const CAN: u32 = cap::PROTOCOL_41
    | cap::SECURE_CONNECTION
    | cap::PLUGIN_AUTH
    | cap::TRANSACTIONS
    | cap::LONG_PASSWORD
    | cap::CONNECT_WITH_DB;

fn credentials() -> Credentials {
    Credentials::clear("app", "swordfish")
}

/// What becomes of a log-in to a server that says this to its response.
fn log_in_to(acts: &[Act]) -> Result<(), ServiceError> {
    let script = [&[Act::greet(CAN), Act::LogIn], acts].concat();
    let server = FakeServer::start(script);
    let scene = Scene::to(&server.address, "off");
    run(scene.log_in(&credentials(), &Wanted::default())).map(drop)
}

/// What becomes of a statement if it is answered by these packets.
fn ask(packets: &[&[u8]]) -> ServiceError {
    let bytes = (1..).zip(packets).flat_map(|(sequence, payload)| packet(sequence, payload));
    ask_for(bytes.collect())
}

fn ask_for(bytes: Vec<u8>) -> ServiceError {
    let rest = [Act::ok(), Act::Command, Act::Bytes(bytes), Act::Leave];
    let server = FakeServer::start([&[Act::greet(CAN), Act::LogIn], &rest[..]].concat());
    let scene = Scene::to(&server.address, "off");
    run(async {
        let mut entered = scene.log_in(&credentials(), &Wanted::default()).await.expect("it is in");
        let answer = query(&mut entered.leg, entered.terms, b"SELECT 1", MOST).await;
        answer.expect_err("it is no answer")
    })
}

#[test]
fn a_log_in_that_makes_no_sense_fails() {
    let cases: &[&[Act]] = &[
        &[Act::Leave],
        &[Act::Say(Vec::new())],
        &[Act::Say(b"\x07what".to_vec())],
        &[Act::Say(more_data(b"no key"))],
        &[Act::Say(b"\xff".to_vec())],
        &[Act::Say(b"\xfe".to_vec())],
        &[Act::switch("nobody_knows_it")],
        &[Act::Bytes(b"\xff\xff\xff\x02".to_vec())],
    ];
    for (at, acts) in cases.iter().enumerate() {
        log_in_to(acts).expect_err(&format!("case {at}"));
    }
    log_in_to(&[Act::ok()]).expect("and this one does");
    log_in_to(&[Act::switch("mysql_native_password"), Act::Hear, Act::ok()]).expect("so does this");
}

#[test]
fn a_log_in_without_end_is_given_up() {
    let round = vec![[Act::switch("mysql_native_password"), Act::Hear]; 40];
    let error = log_in_to(&round.concat()).expect_err("it does not end");
    assert!(matches!(error, ServiceError::Malformed(_)), "{error}");
}

#[test]
fn a_server_that_gives_no_key_gets_no_password() {
    let wants_all = [
        Act::switch("caching_sha2_password"),
        Act::Hear,
        Act::Say(more_data(&[4])),
        Act::Hear,
        Act::Say(more_data(b"this is no PEM")),
    ];
    let server = FakeServer::start([&[Act::greet(CAN), Act::LogIn], &wants_all[..]].concat());
    let scene = Scene::to(&server.address, "off");
    let error = run(scene.log_in(&credentials(), &Wanted::default())).expect_err("no key");
    assert!(matches!(error, ServiceError::NoKey), "{error}");
    assert_eq!(server.heard().len(), 32, "the answer to its challenge");
    assert_eq!(server.heard(), [2], "the question for its key");
}

#[test]
fn answers_that_make_no_sense_are_told() {
    let definition = b"\x03def\0\0\0\x01a\x01a\x0c\x2d\0\0\x04\0\0\xfd\0\0\0\0\0";
    let eof = b"\xfe\0\0\x02\0";
    let cases: &[&[&[u8]]] = &[
        &[b""],
        &[b"\x00"],
        &[b"\xff"],
        &[b"\x01", b"x", eof, b"\x01a", eof],
        &[b"\x01", definition, eof, b"\x05a", eof],
        &[b"\x01", definition, eof, b"\x01a\x01b", eof],
        // It leaves in the middle.
        &[b"\x01", definition, eof],
        &[b"\xfbfile"],
        &[&ok(0, 0, 2, 0), b"\x00"],
        // Another result is announced, and none comes.
        &[&ok(0, 0, 8, 0)],
        &[&ok(0, 0, 8, 0), &ok(0, 0, 2, 0)],
    ];
    for case in cases {
        ask(case);
    }
    let error = ask_for(packet(7, &ok(0, 0, 2, 0)));
    assert!(matches!(error, ServiceError::Malformed("a packet out of order")), "{error}");
}

/// The deadline is the caller's; what was waited for is dropped with the connection.
#[test]
fn a_server_that_hangs_is_given_up_in_time() {
    const SHORT: Duration = Duration::from_millis(50);
    let silent = FakeServer::start(Vec::new());
    let deaf = FakeServer::start(vec![Act::greet(CAN), Act::LogIn]);
    let stuck = FakeServer::start(vec![
        Act::greet(CAN),
        Act::LogIn,
        Act::switch("mysql_native_password"),
        Act::Hear,
    ]);
    let busy = FakeServer::start(vec![Act::greet(CAN), Act::LogIn, Act::ok(), Act::Command]);
    run(async {
        let scene = Scene::to(&silent.address, "off");
        let server = &scene.cluster.servers()[0];
        let error = scene.cluster.connect_to(server, &scene.config, None, SHORT).await;
        assert!(matches!(error, Err(BackendError::Silent { .. })), "{error:?}");
        assert!(server.is_suspect());
        for address in [&deaf.address, &stuck.address] {
            let scene = Scene::to(address, "off");
            let server = &scene.cluster.servers()[0];
            let greeted =
                scene.cluster.connect_to(server, &scene.config, None, crate::support::LIMIT);
            let greeted = greeted.await.expect("it greets");
            let error = log_in(greeted, &credentials(), &Wanted::default(), None, SHORT).await;
            assert!(
                matches!(
                    error,
                    Err(ServiceError::Silent { .. }
                        | ServiceError::Backend(BackendError::Silent { .. }))
                ),
                "{error:?}"
            );
        }
        let scene = Scene::to(&busy.address, "off");
        let mut entered = scene.log_in(&credentials(), &Wanted::default()).await.expect("it is in");
        let asked = query(&mut entered.leg, entered.terms, b"SELECT SLEEP(1000)", MOST);
        tokio::time::timeout(SHORT, asked).await.expect_err("it says nothing");
    });
}
