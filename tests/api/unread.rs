//! Those who ask for something long and do not read it: others are answered, and they are ended.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::scene::{alone, manager, viewer};
use crate::support::http::Asker;
use crate::support::{LIMIT, Proxy, may_look_into_proxies, until};

/// So many.
const MANY: usize = 300;

/// Gives it an audit that no socket has room for.
fn fill_audit(proxy: &Proxy) {
    manager(proxy).ask("DELETE", "/api/v1/sessions/7", "");
    let path = proxy.state_dir().join("audit.log");
    let text = std::fs::read_to_string(&path).expect("it was refused");
    let last = text.lines().last().expect("an entry");
    let mut entry: Value = serde_json::from_str(last).expect("JSON");
    let mut file = OpenOptions::new().append(true).open(path).expect("it is there");
    for number in 0..250 {
        entry["id"] = format!("1.{number}").into();
        entry["detail"] = "x".repeat(1500).into();
        writeln!(file, "{entry}").expect("ours");
    }
}

/// Asks for it, and reads where it begins.
fn ask(asker: &Asker) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // The loopback's long segments would have the kernel take all of it.
    socket.set_tcp_mss(536).expect("a socket option");
    socket.set_recv_buffer_size(4096).expect("a socket option");
    let address = SocketAddr::from(([127, 0, 0, 1], asker.port));
    socket.connect(&address.into()).expect("it listens");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).expect("a socket option");
    let request = asker.request("GET", "/api/v1/audit", "", "");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("it answers");
    assert_eq!(&start, b"HTTP/1.1 200");
    stream
}

#[test]
fn who_does_not_read_his_answer_is_ended_and_holds_nobody_up() {
    if !may_look_into_proxies() {
        return;
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most.min(8192), most).expect("below what we may");
    let proxy = alone();
    fill_audit(&proxy);
    let asker = viewer(&proxy);
    let whole = asker.get("/api/v1/audit").body.len();
    assert!(whole > 400_000, "{whole}");
    let files = format!("/proc/{}/fd", proxy.pid());
    let open_files = || std::fs::read_dir(&files).expect("it lives").count();
    let before = open_files();
    let mut highest = 0;
    let stuck: Vec<_> = (0..MANY)
        .map(|_| {
            let stream = ask(&asker);
            highest = highest.max(open_files() - before);
            stream
        })
        .collect();
    // They hang there, and others do not notice.
    assert!(highest > MANY / 5, "{highest} at once");
    for path in ["/api/v1/clusters", "/api/v1/audit"] {
        assert_eq!(asker.get(path).status, 200, "{path}");
    }
    proxy.admin().expect("operators are let in").run("SHOW PROXYSTAT");
    until("all of them to be ended", || (open_files() <= before + 8).then_some(()));
    drop(stuck);
    assert_eq!(asker.get("/api/v1/clusters").status, 200);
}
