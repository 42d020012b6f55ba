//! P-92: a server that can do less than it could when it was last heard. Clients are greeted
//! before a server is chosen, so one of them may have agreed on what its server can't.

use odp::wire::capability::{self as cap, mariadb};
use odp::wire::handshake::Greeting;

use crate::support::fake_server::greeting;
use crate::support::proxy::{Options, is_haproxy};
use crate::support::raw::CAPABILITIES;
use crate::support::{Act, FakeServer, Login, Proxy, Wire};

/// Everything that is about the session itself, and MariaDB's extended ones.
const FULL: u32 = (CAPABILITIES & !cap::LONG_PASSWORD)
    | cap::SESSION_TRACK
    | cap::OPTIONAL_METADATA
    | cap::QUERY_ATTRIBUTES;

/// A server that offers this, lets everybody in and does nothing else.
fn offering(capabilities: u32, extended: u32) -> Vec<Act> {
    let greeting = Greeting { extended, ..greeting(capabilities) };
    vec![Act::Greet(greeting), Act::LogIn, Act::ok()]
}

fn login() -> Login {
    let mut login = Login { extended: mariadb::CACHE_METADATA, ..Login::default() };
    login.capabilities = FULL;
    login
}

#[test]
fn p_92_a_server_that_offers_less() {
    if is_haproxy() {
        return;
    }
    let lost = [
        (cap::DEPRECATE_EOF, 0),
        (cap::SESSION_TRACK, 0),
        (cap::QUERY_ATTRIBUTES, 0),
        (cap::OPTIONAL_METADATA, 0),
        (cap::MULTI_STATEMENTS | cap::MULTI_RESULTS | cap::PS_MULTI_RESULTS, 0),
        (cap::LOCAL_FILES, 0),
        (0, mariadb::CACHE_METADATA),
    ];
    let fake = FakeServer::start(offering(FULL, mariadb::CACHE_METADATA));
    let proxy = Proxy::start_with(&Options::new(std::slice::from_ref(&fake.address)));
    for (capabilities, extended) in lost {
        let name = format!("{capabilities:#x}, {extended:#x}");
        fake.play(offering(FULL, mariadb::CACHE_METADATA));
        // Whoever comes first may find what the case before has left.
        let _ = Wire::open(&proxy.address(), &login());
        let full = Wire::open(&proxy.address(), &login()).expect("log in");
        assert_eq!(full.capabilities & capabilities, capabilities, "{name}");
        fake.play(offering(FULL & !capabilities, mariadb::CACHE_METADATA & !extended));
        // Who was greeted by the server itself has heard of it; who was greeted before is refused.
        match Wire::open(&proxy.address(), &login()) {
            Ok(wire) => assert_eq!(wire.greeting.capabilities & capabilities, 0, "{name}"),
            Err(refused) => assert_eq!(refused.code(), Some(1105), "{name}: {refused:?}"),
        }
        let lesser = Wire::open(&proxy.address(), &login()).expect("log in");
        assert_eq!(lesser.greeting.capabilities & capabilities, 0, "{name}");
        assert_eq!(lesser.greeting.extended & extended, 0, "{name}");
    }
}

/// What is only about the log-in is translated.
#[test]
fn p_92_a_server_without_attributes() {
    if is_haproxy() {
        return;
    }
    let fake = FakeServer::start(offering(FULL, mariadb::CACHE_METADATA));
    let proxy = Proxy::start_with(&Options::new(std::slice::from_ref(&fake.address)));
    drop(Wire::open(&proxy.address(), &login()).expect("log in"));
    let heard = fake.login_of("odp");
    assert_eq!(heard.attributes().len(), 1, "{heard:?}");
    fake.play(offering(FULL & !cap::OF_THE_LOG_IN, mariadb::CACHE_METADATA));
    drop(Wire::open(&proxy.address(), &login()).expect("log in"));
    let heard = fake.login_of("odp");
    assert_eq!(heard.capabilities & cap::OF_THE_LOG_IN, 0, "{heard:?}");
    assert!(heard.rest.is_empty() && heard.database.as_deref() == Some(b"p"), "{heard:?}");
}
