//! P-92: a server that can do less than it could when it was last heard. Clients are greeted
//! before a server is chosen, so one of them may have agreed on what its server can't.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use odp::wire::capability::{self as cap, mariadb};
use odp::wire::handshake::{Greeting, LoginResponse, ok};
use odp::wire::packet::packet;

use crate::support::proxy::{Options, is_haproxy};
use crate::support::{LIMIT, Login, Proxy, Wire};

/// Everything that is about the session itself.
const FULL: u32 = cap::CONNECT_WITH_DB
    | cap::LOCAL_FILES
    | cap::PROTOCOL_41
    | cap::TRANSACTIONS
    | cap::SECURE_CONNECTION
    | cap::MULTI_STATEMENTS
    | cap::MULTI_RESULTS
    | cap::PS_MULTI_RESULTS
    | cap::PLUGIN_AUTH
    | cap::CONNECT_ATTRS
    | cap::PLUGIN_AUTH_LENENC
    | cap::SESSION_TRACK
    | cap::DEPRECATE_EOF
    | cap::OPTIONAL_METADATA
    | cap::QUERY_ATTRIBUTES;

/// A server that lets everybody in and does nothing else.
struct Fake {
    address: String,
    offers: Arc<Mutex<(u32, u32)>>,
    heard: Receiver<LoginResponse>,
}

impl Fake {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let offers = Arc::new(Mutex::new((FULL, mariadb::CACHE_METADATA)));
        let (send, heard) = channel();
        let now = offers.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let offer = *now.lock().expect("nobody panics with it");
                // The proxy ends connections that it does not need under another name.
                match let_in(stream, offer) {
                    Ok(response) if response.user == b"odp" => drop(send.send(response)),
                    Ok(_) | Err(_) => {}
                }
            }
        });
        Self { address, offers, heard }
    }

    fn offer(&self, capabilities: u32, extended: u32) {
        *self.offers.lock().expect("nobody panics with it") = (capabilities, extended);
    }
}

fn let_in(
    mut stream: TcpStream,
    (capabilities, extended): (u32, u32),
) -> std::io::Result<LoginResponse> {
    let greeting = Greeting {
        version: b"8.0.99".to_vec(),
        connection_id: 7,
        salt: vec![b's'; 20],
        capabilities,
        extended,
        collation: 45,
        status: 2,
        plugin: b"mysql_native_password".to_vec(),
    };
    stream.write_all(&packet(0, &greeting.encode()))?;
    let mut header = [0; 4];
    stream.read_exact(&mut header)?;
    let mut payload = vec![0; u32::from_le_bytes(header) as usize & 0xFF_FFFF];
    stream.read_exact(&mut payload)?;
    let response = LoginResponse::parse(&payload).expect("the proxy knows how to log in");
    stream.write_all(&packet(header[3] + 1, &ok(0, 0, 2, 0)))?;
    // Until the other side leaves.
    thread::spawn(move || stream.read(&mut [0; 64]));
    Ok(response)
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
    let fake = Fake::start();
    let proxy = Proxy::start_with(&Options::new(std::slice::from_ref(&fake.address)));
    for (capabilities, extended) in lost {
        let name = format!("{capabilities:#x}, {extended:#x}");
        fake.offer(FULL, mariadb::CACHE_METADATA);
        // Whoever comes first may find what the case before has left.
        let _ = Wire::open(&proxy.address(), &login());
        let full = Wire::open(&proxy.address(), &login()).expect("log in");
        assert_eq!(full.capabilities & capabilities, capabilities, "{name}");
        fake.offer(FULL & !capabilities, mariadb::CACHE_METADATA & !extended);
        let refused = Wire::open(&proxy.address(), &login()).err().expect("it is refused");
        assert_eq!(refused.code(), Some(1105), "{name}: {refused:?}");
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
    let fake = Fake::start();
    let proxy = Proxy::start_with(&Options::new(std::slice::from_ref(&fake.address)));
    drop(Wire::open(&proxy.address(), &login()).expect("log in"));
    let heard = fake.heard.recv_timeout(LIMIT).expect("a login response");
    assert_eq!(heard.attributes().len(), 1, "{heard:?}");
    fake.offer(FULL & !cap::OF_THE_LOG_IN, mariadb::CACHE_METADATA);
    drop(Wire::open(&proxy.address(), &login()).expect("log in"));
    let heard = fake.heard.recv_timeout(LIMIT).expect("a login response");
    assert_eq!(heard.capabilities & cap::OF_THE_LOG_IN, 0, "{heard:?}");
    assert!(heard.rest.is_empty() && heard.database.as_deref() == Some(b"p"), "{heard:?}");
}
