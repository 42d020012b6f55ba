//! Every kind of address, and what the dead leave behind.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::scene::restart;
use crate::support::proxy::Options;
use crate::support::{Database, LIMIT, Login, Proxy, Server, Wire, scratch};

/// Connects in a loop, on all addresses, until told to stop; how often.
fn connect_all(stop: &AtomicBool, proxy: &Proxy, ipv6: u16, path: &std::path::Path) -> u64 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut streams = [
            TcpStream::connect(("127.0.0.1", proxy.sql)).expect("tcp4"),
            TcpStream::connect(("127.0.0.1", proxy.admin)).expect("admin"),
            TcpStream::connect(("::1", ipv6)).expect("tcp6"),
        ];
        for stream in &mut streams {
            stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
            stream.read_exact(&mut [0; 5]).expect("a greeting");
        }
        let mut stream = UnixStream::connect(path).expect("unix");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        stream.read_exact(&mut [0; 5]).expect("a greeting");
        Wire::open_unix(path, &Login::default()).expect("a session by the Unix socket");
        let status = proxy.http_status("/metrics");
        assert_eq!(status, Some(200), "metrics");
        count += 1;
    }
    count
}

#[test]
fn t_28_no_address_refuses_while_it_restarts() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = scratch();
    let path = dir.path().join("odp.sock");
    // Held until its port is known, free when the proxy starts.
    let held = std::net::TcpListener::bind("[::1]:0").expect("IPv6 on the loopback");
    let ipv6 = held.local_addr().expect("bound").port();
    drop(held);
    let mut options = Options::new(&[database.address()]);
    options.listen = vec![format!("[::1]:{ipv6}"), format!("unix:{}", path.display())];
    let proxy = Proxy::start_with(&options);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| connect_all(&stop, &proxy, ipv6, &path));
        for _ in 0..30 {
            if looping.is_finished() {
                break;
            }
            restart(&proxy);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(looping.join().expect("no connect failed") > 0);
    });
}

#[test]
fn t_45_sessions_of_dead_clients_end_after_the_move() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wires: Vec<Wire> = (0..20)
        .map(|_| Wire::open(&proxy.address(), &Login::default()).expect("a session"))
        .collect();
    restart(&proxy);
    // Half of them leave without a word, half with QUIT; nobody holds a duplicate of their sockets.
    for (number, wire) in wires.iter_mut().enumerate() {
        if number % 2 == 0 {
            wire.send(b"\x01\0\0\0\x01").expect("a session");
            assert!(wire.until_closed().is_empty(), "the FIN comes at once");
        }
    }
    drop(wires);
    let count = "SELECT COUNT(*) = 0 FROM information_schema.processlist WHERE host <> 'localhost'";
    database.until_counted(count);
}
