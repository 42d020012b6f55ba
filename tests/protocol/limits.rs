//! What the proxy itself refuses or ends, and every way to reach it and its servers.

use std::io::ErrorKind;

use crate::support::proxy::{Options, is_haproxy, with_lines};
use crate::support::raw::{Login, WireError};
use crate::support::{Database, Proxy, Server, Wire, free_port, until};

fn open(proxy: &Proxy) -> Result<Wire, WireError> {
    Wire::open(&proxy.address(), &Login::default())
}

/// P-88. One client more than `client_max_connections` gets 1203; room is used again.
#[test]
fn p_88_client_max_connections() {
    let Some((_database, proxy)) = with_lines("client_max_connections = 3") else { return };
    let mut held: Vec<Wire> = Vec::new();
    // The connection that found the proxy ready may still count for a moment.
    until("three clients", || {
        held.extend(open(&proxy));
        (held.len() == 3).then_some(())
    });
    let refused = open(&proxy).err().expect("it is full");
    assert_eq!(refused.code(), Some(1203), "{refused:?}");
    assert_eq!(held[0].query("SELECT 'unharmed'").text(), "unharmed");
    held.pop();
    until("room", || open(&proxy).ok());
}

/// A client that does not log in is told so, and closed.
#[test]
fn login_timeout() {
    let Some((_database, proxy)) = with_lines("login_timeout = \"300ms\"") else { return };
    let mut wire = Wire::connect(&proxy.address()).expect("a greeting");
    assert_eq!(wire.packet().error(), Some(1159));
    assert_eq!(wire.until_closed(), b"");
}

/// A client that is silent for too long is told so, and closed; one that works is not.
#[test]
fn default_inactivity_timeout() {
    let lines = "default_inactivity_timeout = \"700ms\"";
    let Some((database, proxy)) = with_lines(lines) else { return };
    let mut silent = open(&proxy).expect("log in");
    silent.run("SELECT 1");
    match silent.try_packet() {
        Ok(packet) => assert!(packet.error().is_some(), "{packet:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
    }
    let rest = "SELECT COUNT(*) = 1 FROM information_schema.processlist WHERE user = 'odp'";
    database.until_counted(rest);
}

/// No server: 2003, not a bare close.
#[test]
fn server_down() {
    if is_haproxy() {
        return;
    }
    let nobody = free_port();
    let proxy = Proxy::start_with(&Options::new(&[format!("127.0.0.1:{nobody}")]));
    let refused = until("an answer", || match Wire::open(&proxy.address(), &Login::default()) {
        Err(WireError::Refused(packet)) => Some(packet),
        Err(WireError::Io(_)) => None,
        Ok(_) => panic!("there is no server"),
    });
    assert_eq!(refused.error(), Some(2003), "{refused:?}");
}

/// The first server is down: the next one takes the client.
#[test]
fn next_server_when_one_is_down() {
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let servers = [format!("127.0.0.1:{}", free_port()), database.address()];
    let proxy = Proxy::start_with(&Options::new(&servers));
    let mut wire = open(&proxy).expect("log in");
    assert_eq!(wire.query("SELECT 'in'").text(), "in");
}

/// IPv4, IPv6 and Unix sockets in front; an address, a name and a Unix socket behind.
#[test]
fn every_kind_of_address() {
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = crate::support::scratch();
    let socket = dir.path().join("odp");
    let behind = [
        database.address(),
        format!("localhost:{}", database.port),
        format!("unix:{}", database.socket.display()),
    ];
    for server in behind {
        let mut options = Options::new(std::slice::from_ref(&server));
        options.listen.push(format!("unix:{}", socket.display()));
        let v6 = format!("[::1]:{}", free_port());
        let has_v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        if has_v6 {
            options.listen.push(v6.clone());
        }
        let proxy = Proxy::start_with(&options);
        let login = Login::default();
        let mut wires = vec![
            Wire::open(&proxy.address(), &login).expect("IPv4"),
            Wire::open_unix(&socket, &login).expect("Unix"),
        ];
        if has_v6 {
            wires.push(Wire::open(&v6, &login).expect("IPv6"));
        }
        for mut wire in wires {
            assert_eq!(wire.query("SELECT 'in'").text(), "in", "by way of {server}");
        }
    }
}
