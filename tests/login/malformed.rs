//! A corpus of log-ins and greetings that are none, each with the answer it gets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use odp::error::ClientError;
use odp::wire::capability as cap;
use odp::wire::packet::packet;

use crate::support::pki::Pki;
use crate::support::proxy::Options;
use crate::support::{Act, Database, FakeServer, LIMIT, Proxy, Server, Wire, scratch};

/// What a client does, and the code of the ERR packet that it gets; 0 is none, only the end.
type Case = (&'static str, Vec<Vec<u8>>, u16);

/// The fixed part of a login response.
fn fixed(capabilities: u32) -> Vec<u8> {
    let mut bytes = capabilities.to_le_bytes().to_vec();
    bytes.extend((1_u32 << 24).to_le_bytes());
    bytes.push(45);
    bytes.resize(32, 0);
    bytes
}

fn response(capabilities: u32, rest: &[u8]) -> Vec<u8> {
    packet(1, &[&fixed(capabilities), rest].concat())
}

fn cases() -> Vec<Case> {
    const USUAL: u32 = cap::PROTOCOL_41 | cap::SECURE_CONNECTION | cap::PLUGIN_AUTH;
    let request = packet(1, &fixed(USUAL | cap::SSL));
    let bad = ClientError::bad_handshake().code;
    vec![
        ("an empty packet", vec![packet(1, b"")], bad),
        ("four bytes", vec![packet(1, &USUAL.to_le_bytes())], bad),
        ("no user", vec![packet(1, &fixed(USUAL))], bad),
        ("the protocol before 4.1", vec![response(cap::SECURE_CONNECTION, b"me\0\0")], bad),
        ("no authentication plugins", vec![response(cap::PROTOCOL_41, b"me\0\0")], 1045),
        ("a user without an end", vec![response(USUAL, b"me")], bad),
        ("an answer longer than the packet", vec![response(USUAL, b"me\0\x14short")], bad),
        (
            "an answer of 2^64 bytes",
            vec![response(
                USUAL | cap::PLUGIN_AUTH_LENENC,
                b"me\0\xfe\xff\xff\xff\xff\xff\xff\xff\xff",
            )],
            bad,
        ),
        ("half a length", vec![response(USUAL | cap::PLUGIN_AUTH_LENENC, b"me\0\xfd\x01")], bad),
        ("a packet of 16 MB", vec![vec![0xFF, 0xFF, 0xFF, 1, 0, 0]], bad),
        ("a command", vec![packet(0, b"\x03SELECT 1")], bad),
        ("another protocol", vec![b"GET / HTTP/1.1\r\nHost: odp\r\n\r\n".to_vec()], bad),
        (
            "attributes longer than the packet: the server judges them",
            vec![response(USUAL | cap::CONNECT_ATTRS, b"me\0\0mysql_native_password\0\xfcAA")],
            bad,
        ),
        ("a plugin without an end: it is asked on", vec![response(USUAL, b"me\0\0mysql_na")], 0),
        ("TLS and then no handshake", vec![request.clone(), b"nothing of the kind".to_vec()], 0),
        ("TLS and then the response", vec![request.clone(), response(USUAL, b"me\0\0")], 0),
        // A ClientHello of TLS 1.0 that ends in its first field.
        (
            "TLS and half a hello",
            vec![request, b"\x16\x03\x01\0\x06\x01\0\0\x02\x03\x01".to_vec()],
            0,
        ),
    ]
}

/// What came behind the greeting, up to the end.
fn told(address: &str, said: &[Vec<u8>]) -> Vec<u8> {
    let wire = Wire::connect(address).expect("a greeting");
    let mut stream = wire.tcp();
    for bytes in said {
        // Who is refused at once takes no more.
        let _ = stream.write_all(bytes);
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut told = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut told);
    told
}

/// The code of the first ERR packet in it.
fn code(told: &[u8]) -> u16 {
    let mut rest = told;
    while let [a, b, c, _, behind @ ..] = rest {
        let length = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
        match behind.get(..length) {
            Some([0xFF, low, high, ..]) => return u16::from_le_bytes([*low, *high]),
            // The server's challenge, where it got that far; or a record of TLS.
            Some(_) if rest[0] != 0x15 => rest = &behind[length..],
            _ => return 0,
        }
    }
    0
}

#[test]
fn log_ins_that_are_none() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = scratch();
    let mut options = Options::new(&[database.address()]);
    options.rest = Pki::new().write(dir.path()).of_proxy("off");
    let proxy = Proxy::start_with(&options);
    for (name, said, expected) in cases() {
        let told = told(&proxy.address(), &said);
        assert_eq!(code(&told), expected, "{name}: {}\n{}", told.escape_ascii(), proxy.log());
    }
}

#[test]
fn greetings_that_are_none() {
    let cannot = |why: &str| {
        let error = ClientError::server_unreachable("main", why);
        error.packet_before_greeting()[4..].to_vec()
    };
    let refused = b"\xff\x69\x04Host is blocked".to_vec();
    let cases: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("nothing", Vec::new(), cannot("unreachable")),
        ("half a header", vec![5, 0], cannot("unreachable")),
        ("half a greeting", packet(0, &[10; 60])[..30].to_vec(), cannot("unreachable")),
        ("an empty packet", packet(0, b""), cannot("not a MySQL server")),
        ("an old version", packet(0, b"\x093.23\0abc"), cannot("not a MySQL server")),
        ("a version without an end", packet(0, b"\x0a8.0"), cannot("not a MySQL server")),
        ("no challenge", packet(0, b"\x0a8.0\0\x01\0\0\0abc"), cannot("not a MySQL server")),
        ("a packet of 16 MB", vec![0xFF, 0xFF, 0xFF, 0, 10], cannot("unreachable")),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), cannot("unreachable")),
        ("a refusal", packet(0, &refused), refused),
    ];
    for (name, says, expected) in cases {
        let server = FakeServer::start(vec![Act::Bytes(says), Act::HalfClose]);
        let proxy = Proxy::start_with(&Options::new(&[server.address]));
        let mut stream = TcpStream::connect(proxy.address()).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut told = Vec::new();
        stream.read_to_end(&mut told).expect("an answer, and the end");
        let told = told.get(4..).unwrap_or_default();
        assert_eq!(
            String::from_utf8_lossy(told),
            String::from_utf8_lossy(&expected),
            "{name}\n{}",
            proxy.log()
        );
    }
}
