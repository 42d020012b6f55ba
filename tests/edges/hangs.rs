//! The first of several servers hangs, at any step of a log-in: clients are served by the next one,
//! and from the second client on nobody waits. A client that hangs itself is no server's fault.

use std::net::TcpStream;
use std::sync::Barrier;

use odp::wire::capability as cap;

use crate::support::Proxy;
use crate::support::fake_server::{Act, FakeServer};
use crate::support::proxy::{Options, is_haproxy};
use crate::support::raw::{CAPABILITIES, Login, Packet, Wire, WireError, packets};

/// A server that lets everybody in.
fn good() -> FakeServer {
    FakeServer::start(vec![Act::greet(CAPABILITIES), Act::LogIn, Act::ok()])
}

/// A proxy in front of these, the first before the second.
fn in_front_of(servers: [&FakeServer; 2], login_timeout: &str, rest: &str) -> Proxy {
    let mut options = Options::new(&servers.map(|server| server.address.clone()));
    options.proxy = format!("login_timeout = \"{login_timeout}\"\n");
    options.rest = rest.into();
    Proxy::start_with(&options)
}

fn text(packet: &Packet) -> String {
    String::from_utf8_lossy(&packet.payload).into_owned()
}

fn open(proxy: &Proxy) -> Wire {
    let opened = Wire::open(&proxy.address(), &Login::default());
    opened.unwrap_or_else(|error| panic!("{error:?}\n{}", proxy.log()))
}

/// Everybody is let in, and the hung server is tried by the first client alone.
fn everybody_is_served(hung: &FakeServer, rest: &str, log: &str) {
    let good = good();
    let proxy = in_front_of([hung, &good], "4s", rest);
    let _first = open(&proxy);
    let tried = hung.connects();
    assert!(tried > 0);
    let _others: Vec<Wire> = (0..5).map(|_| open(&proxy)).collect();
    assert_eq!(hung.connects(), tried, "nobody waits for it again\n{}", proxy.log());
    let named = |line: &str| line.contains(&hung.address) && line.contains(log);
    assert!(proxy.log().lines().any(named), "{}", proxy.log());
}

#[test]
fn a_server_that_accepts_and_says_nothing() {
    if is_haproxy() {
        return;
    }
    everybody_is_served(&FakeServer::start(Vec::new()), "", "no greeting within");
    // In the middle of its greeting.
    let half = FakeServer::start(vec![Act::Bytes(b"\x4a\0\0\0\x0a8.0".to_vec())]);
    everybody_is_served(&half, "", "no greeting within");
}

#[test]
fn a_server_that_says_nothing_to_a_login_response() {
    if is_haproxy() {
        return;
    }
    let hung = FakeServer::start(vec![Act::greet(CAPABILITIES), Act::LogIn]);
    everybody_is_served(&hung, "", "no answer to the log-in within");
}

#[test]
fn a_server_that_says_nothing_in_a_tls_handshake() {
    if is_haproxy() {
        return;
    }
    let hung = FakeServer::start(vec![Act::greet(CAPABILITIES | cap::SSL)]);
    everybody_is_served(&hung, "[tls.server]\nmode = \"prefer\"\n", "TLS handshake: no end within");
}

/// One that leaves at the login response has asked the client nothing either.
#[test]
fn a_server_that_leaves_at_a_login_response() {
    if is_haproxy() {
        return;
    }
    let (leaves, good) =
        (FakeServer::start(vec![Act::greet(CAPABILITIES), Act::LogIn, Act::Leave]), good());
    let proxy = in_front_of([&leaves, &good], "60s", "");
    let _wires: Vec<Wire> = (0..3).map(|_| open(&proxy)).collect();
    assert!(proxy.log().contains(&leaves.address), "{}", proxy.log());
}

/// This client has proved who it is to one server, and cannot be given to another. The next are.
#[test]
fn a_server_that_says_nothing_to_the_proof() {
    if is_haproxy() {
        return;
    }
    let switch = Act::switch("mysql_native_password");
    let script = vec![Act::greet(CAPABILITIES), Act::LogIn, switch, Act::Hear];
    let (hung, good) = (FakeServer::start(script), good());
    let proxy = in_front_of([&hung, &good], "2s", "");
    match Wire::open(&proxy.address(), &Login::default()) {
        Err(WireError::Refused(packet)) => {
            assert_eq!(packet.error(), Some(1159));
            assert!(text(&packet).contains("the server did not answer"), "{}", text(&packet));
        }
        other => panic!("{:?}\n{}", other.err(), proxy.log()),
    }
    let tried = hung.connects();
    let _others: Vec<Wire> = (0..5).map(|_| open(&proxy)).collect();
    assert_eq!(hung.connects(), tried, "{}", proxy.log());
    let named = |line: &str| line.contains(&hung.address) && line.contains("did not answer");
    assert!(proxy.log().lines().any(named), "{}", proxy.log());
}

/// All hang: each client is told so, in time.
#[test]
fn servers_that_all_hang_are_told_of() {
    if is_haproxy() {
        return;
    }
    let (one, two) = (FakeServer::start(Vec::new()), FakeServer::start(Vec::new()));
    let proxy = in_front_of([&one, &two], "2s", "");
    let together = Barrier::new(3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let stream = TcpStream::connect(proxy.address()).expect("it is taken");
                together.wait();
                match Wire::over(stream) {
                    Err(WireError::Refused(packet)) => {
                        assert_eq!(packet.error(), Some(2003), "{}", text(&packet));
                        assert!(text(&packet).contains("timed out"), "{}", text(&packet));
                    }
                    other => panic!("{:?}\n{}", other.err(), proxy.log()),
                }
            });
        }
    });
    for server in [&one, &two] {
        assert!(proxy.log().contains(&server.address), "{}", proxy.log());
    }
}

/// A client that is silent before its login response, or when it is asked for its proof, has its
/// log-in ended, and the server keeps its place.
#[test]
fn a_client_that_says_nothing_is_no_fault_of_the_server() {
    if is_haproxy() {
        return;
    }
    let switch = Act::switch("mysql_native_password");
    let script = vec![Act::greet(CAPABILITIES), Act::LogIn, switch, Act::Hear, Act::ok()];
    let (first, second) = (FakeServer::start(script), good());
    let proxy = in_front_of([&first, &second], "1s", "");
    let mut asked = Wire::connect(&proxy.address()).expect("a greeting");
    let response = packets(&asked.login_response(&Login::default()).encode(), 1);
    asked.send(&response).expect("it is taken");
    assert_eq!(asked.packet().payload[0], 0xFE);
    let mut silent = Wire::connect(&proxy.address()).expect("a greeting");
    for wire in [&mut asked, &mut silent] {
        let words = wire.packet();
        assert_eq!(words.error(), Some(1159));
        assert!(text(&words).contains("(log-in)"), "{}", text(&words));
    }
    let _sessions: Vec<Wire> = (0..3).map(|_| open(&proxy)).collect();
    assert_eq!(second.connects(), 0, "{}", proxy.log());
}
