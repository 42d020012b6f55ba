//! What may be there when a predecessor is to leave, and does not keep it; and what its leaving
//! must not keep from others.

use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use nix::sys::signal::Signal;
use rustix::net::{AddressFamily, SocketType, listen, socket};

use crate::scene::{exit_timeout, restart, restart_until, until_draining};
use crate::support::proxy::Options;
use crate::support::{Database, LIMIT, Login, Proxy, Server, Wire, com, until};

fn open(proxy: &Proxy) -> Wire {
    Wire::open(&proxy.address(), &Login::default()).expect("a session")
}

/// How many sessions there are on the server that came through the proxy.
fn until_sessions(database: &Database, count: usize) {
    database.until_counted(&format!(
        "SELECT COUNT(*) = {count} FROM information_schema.processlist WHERE host LIKE '127%'"
    ));
}

#[test]
fn t_08_half_open_and_stuck_sessions_keep_no_predecessor() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    // Were any of them to drain, the predecessor would stay for the hour.
    let proxy = Proxy::start_with(&exit_timeout(&database, "1h"));
    let sleeping =
        "SELECT COUNT(*) = 2 FROM information_schema.processlist WHERE state = 'User sleep'";
    // A client that has sent FIN and waits for an answer, and one that has gone meanwhile.
    let mut half = open(&proxy);
    half.command(com::QUERY, b"SELECT SLEEP(2)");
    let mut gone = open(&proxy);
    gone.command(com::QUERY, b"SELECT SLEEP(3600)");
    database.until_counted(sleeping);
    half.half_close();
    drop(gone);
    // One that does not read: its window is zero.
    let mut deaf = open(&proxy);
    deaf.command(com::QUERY, b"SELECT REPEAT('x', 100000) FROM seq_1_to_300");
    // And a server that does not read, in the middle of a statement of 32 MB.
    let mut long = open(&proxy);
    let mut idle = open(&proxy);
    database.process().signal(Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let asked = scope.spawn({
            let mut stream = long.tcp().try_clone().expect("a second handle");
            let text = format!("SELECT LENGTH('{}')", "y".repeat(32_000_000));
            let bytes = crate::support::raw::command_packets(com::QUERY, text.as_bytes());
            move || std::io::Write::write_all(&mut stream, &bytes)
        });
        restart(&proxy);
        restart(&proxy);
        assert!(proxy.process().wait().success(), "the first exits with 0");
        database.process().signal(Signal::SIGCONT);
        asked.join().expect("no panic").expect("all of it was taken");
    });
    assert_eq!(long.reply(com::QUERY).text(), "32000000");
    assert_eq!(half.reply(com::QUERY).text(), "0");
    assert!(half.until_closed().is_empty());
    assert_eq!(deaf.reply(com::QUERY).row_count(), 300);
    idle.run("SELECT 1");
    drop((long, deaf, idle));
    until_sessions(&database, 0);
}

/// A server that never takes a connection: its queue is full.
fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    rustix::net::bind(&socket, &any).expect("bound");
    listen(&socket, 0).expect("it listens");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("bound");
    // The kernel takes one more than it was told.
    let full = vec![TcpStream::connect(address).expect("there is room for one")];
    (listener, full)
}

/// How many sockets of this machine are connecting to a port of 127.0.0.1.
fn connecting(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc");
    let remote = format!("0100007F:{port:04X}");
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2] == remote && fields[3] == "02"
    };
    table.lines().filter(is_one).count()
}

/// How many clients have not logged in yet.
fn log_ins(proxy: &Proxy) -> usize {
    let mut admin = proxy.admin().expect("the admin port takes us");
    let rows = admin.query("SHOW PROXYSESSION").named_rows();
    rows.iter().filter(|row| row["state"] == "MCS_INIT").count()
}

#[test]
fn t_08_a_connect_to_a_server_that_does_not_answer_keeps_no_predecessor() {
    let (listener, _full) = black_hole();
    let port = listener.local_addr().expect("bound").port();
    let mut options = Options::new(&[format!("127.0.0.1:{port}")]);
    options.proxy =
        "hot_upgrade_exit_timeout = \"1s\"\nconnect_timeout = \"1h\"\nlogin_timeout = \"1h\"\n"
            .into();
    let proxy = Proxy::start_with(&options);
    let before = connecting(port);
    let mut clients: Vec<TcpStream> =
        (0..3).map(|_| TcpStream::connect(proxy.address()).expect("taken")).collect();
    // One of them looks what the server says; the others wait for that.
    until("a connect in SYN_SENT", || (connecting(port) > before).then_some(()));
    until("three log-ins", || (log_ins(&proxy) == 3).then_some(()));
    restart(&proxy);
    assert!(proxy.process().wait().success(), "it exits with 0");
    for client in &mut clients {
        client.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut rest = Vec::new();
        std::io::Read::read_to_end(client, &mut rest).expect("closed in order");
        let code = rest.get(5..7).map(|code| u16::from_le_bytes([code[0], code[1]]));
        assert_eq!(code, Some(1053), "{rest:?}");
    }
}

#[test]
fn t_08_log_ins_that_do_not_go_on_keep_no_predecessor() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let mut options = exit_timeout(&database, "1s");
    options.proxy += "login_timeout = \"1h\"\n";
    let proxy = Proxy::start_with(&options);
    let mut silent = Wire::connect(&proxy.address()).expect("a greeting");
    let mut half = Wire::connect(&proxy.address()).expect("a greeting");
    half.send(b"\x80\0\0\x01abc").expect("taken");
    restart(&proxy);
    assert!(proxy.process().wait().success(), "it exits with 0");
    for wire in [&mut silent, &mut half] {
        let last = wire.try_packet().expect("a whole packet");
        assert_eq!(last.error(), Some(1053), "{last:?}");
    }
}

/// Ticks of CPU that a process has used, in user mode and in the kernel; None if it has gone.
fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    if fields[0] == "Z" {
        return None;
    }
    Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?)
}

#[test]
fn t_09_a_predecessor_that_waits_is_idle() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let mut options = exit_timeout(&database, "3s");
    options.proxy += "login_timeout = \"1h\"\n";
    let proxy = Proxy::start_with(&options);
    let mut moved: Vec<Wire> = (0..100).map(|_| open(&proxy)).collect();
    // It has to wait for this one until the timeout.
    let _straggler = Wire::connect(&proxy.address()).expect("a greeting");
    let pid = proxy.pid();
    until_draining(&proxy);
    let (start, first) = (Instant::now(), cpu_ticks(pid).expect("it drains"));
    let mut last = first;
    until("its end", || match cpu_ticks(pid) {
        Some(ticks) => {
            last = ticks;
            None
        }
        None => Some(()),
    });
    let waited = start.elapsed().as_secs_f64();
    // A loop that spins would have used nearly all of it, however busy the machine is with others.
    let used = (last - first) as f64 / 100.0;
    assert!(used < waited / 10.0, "{used} s of CPU in {waited} s");
    moved.iter_mut().for_each(|wire| drop(wire.run("SELECT 1")));
}

#[test]
fn t_42_the_next_statement_of_an_idle_connection_is_answered() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    // Nobody gets time to drain, and nobody needs it.
    let proxy = Proxy::start_with(&exit_timeout(&database, "0s"));
    let mut pool: Vec<Wire> = (0..50).map(|_| open(&proxy)).collect();
    for round in 0..10 {
        restart(&proxy);
        // Some are idle through several restarts.
        for wire in pool.iter_mut().skip(round * 5) {
            assert_eq!(wire.run("SELECT 42").text(), "42");
        }
    }
}

/// Whoever closes, the other end hears of it: were a duplicate of the socket to keep the FIN back,
/// the read would not end within its limit.
fn every_close_is_heard_after_a_restart(proxy: &Proxy, database: &Database, served: &str) {
    let mut wires: Vec<Wire> = (0..6).map(|_| open(proxy)).collect();
    let ids: Vec<u32> = wires.iter().map(|wire| wire.greeting.connection_id).collect();
    wires[1].run("SET @mine = 'by the server'");
    let mut server = database.admin();
    let threads =
        "SELECT id FROM information_schema.processlist WHERE host LIKE '127%' ORDER BY id";
    let threads = server.run(threads).rows();
    assert_eq!(threads.len(), wires.len());
    restart_until(proxy, served);
    let [killed, ended, quits, half, resets, stays] = &mut wires[..] else { panic!("six") };
    // By an operator.
    let mut admin = proxy.admin().expect("the admin port");
    admin.run(&format!("KILL PROXYSESSION {}", ids[0]));
    killed.until_closed();
    // By the server: threads are numbered in the order of the log-ins.
    let thread = String::from_utf8(threads[1][0].clone().expect("an id")).expect("digits");
    server.run(&format!("KILL {thread}"));
    ended.until_closed();
    // By the client, in three ways; the server hears of it as well.
    quits.send(b"\x01\0\0\0\x01").expect("a session");
    assert!(quits.until_closed().is_empty());
    half.half_close();
    half.until_closed();
    rustix::net::sockopt::set_socket_linger(resets.tcp(), Some(std::time::Duration::ZERO))
        .expect("a socket");
    let lost = std::mem::replace(resets, open(proxy));
    drop(lost);
    until_sessions(database, 2);
    stays.run("SELECT 1");
    // One that came after the restart.
    assert!(resets.send(b"\x01\0\0\0\x01").is_ok());
    assert!(resets.until_closed().is_empty());
    until_sessions(database, 1);
}

#[test]
fn t_46_every_close_right_after_a_restart_is_heard_at_once() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    every_close_is_heard_after_a_restart(&proxy, &database, "takeover completed");
}

/// The predecessor still holds duplicates of all those sockets.
#[test]
fn t_46_every_close_on_probation_is_heard_at_once() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start_with_lines(&database, "hot_upgrade_probation = \"60s\"\n");
    every_close_is_heard_after_a_restart(&proxy, &database, "phase=PROBATION generation=2");
    assert_eq!(proxy.process().living().len(), 2, "it is still there");
}
