//! The edges: PROXY headers in and out, limits of users and addresses, clients that are slow to log
//! in, and servers that count what is broken off.

#[path = "../support/mod.rs"]
mod support;

mod courtesy;
mod header;
mod limits;
mod slow;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};
use support::proxy::{Options, is_haproxy};
use support::raw::{Login, Wire, WireError};
use support::{Database, Proxy, Server};

/// A MariaDB and a proxy with these lines in `[proxy]`; None where there is nothing to test.
fn with_lines(lines: &str) -> Option<(Database, Proxy)> {
    if is_haproxy() {
        return None;
    }
    let database = Database::start(Server::MariaDb)?;
    let mut options = Options::new(&[database.address()]);
    options.proxy = lines.into();
    let proxy = Proxy::start_with(&options);
    Some((database, proxy))
}

/// A connection from another address of the loopback.
fn connect_from(source: &str, address: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let source: SocketAddr = format!("{source}:0").parse().expect("an address");
    socket.bind(&source.into()).expect("all of 127.0.0.0/8 is the loopback");
    let address: SocketAddr = address.parse().expect("an address");
    socket.connect(&address.into()).expect("somebody listens");
    socket.into()
}

fn open_from(source: &str, proxy: &Proxy) -> Result<Wire, WireError> {
    Wire::over(connect_from(source, &proxy.address()))?.log_in(&Login::default())
}

/// One of the columns of SHOW PROXYSESSION.
fn shown(proxy: &Proxy, column: &str) -> Vec<String> {
    let mut admin = proxy.admin().expect("the admin port takes us");
    let rows = admin.query("SHOW PROXYSESSION").named_rows();
    rows.into_iter().filter_map(|mut row| row.remove(column)).collect()
}

/// A relay whose connections come from another address, and begin with this; the port it listens
/// on.
fn detour(target: String, source: &'static str, header: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let mut far = connect_from(source, &target);
            far.write_all(&header).expect("it is taken");
            let (near2, far2) = (near.try_clone(), far.try_clone());
            std::thread::spawn(move || pass(near, far));
            let (Ok(near), Ok(far)) = (near2, far2) else { continue };
            std::thread::spawn(move || pass(far, near));
        }
    });
    port
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
