//! Descriptors that run out: operators still come in.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use crate::metric;
use crate::support::proxy::Options;
use crate::support::{Database, Login, Proxy, Server, Wire, may_look_into_proxies, scratch, until};

#[test]
fn operators_come_in_when_there_is_no_descriptor_left() {
    if !may_look_into_proxies() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = scratch();
    let script = dir.path().join("odp");
    let odp = env!("CARGO_BIN_EXE_odp");
    let text = format!("#!/bin/sh\nulimit -n 64\nexec '{odp}' \"$@\"\n");
    std::fs::write(&script, text).expect("the directory is ours");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, executable).expect("the file is ours");
    let mut options = Options::new(&[database.address()]);
    options.binary = Some(script);
    let proxy = Proxy::start_with(&options);
    let pid = proxy.pid();
    // The least that may be: whatever it has open now, and the reserve.
    let open_now = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count() as u64;
    let limit = rustix::process::Rlimit { current: Some(open_now - 1), maximum: Some(64) };
    let process = rustix::process::Pid::from_raw(pid as i32);
    rustix::process::prlimit(process, rustix::process::Resource::Nofile, limit).expect("lowered");
    let clients: Vec<TcpStream> =
        (0..50).map(|_| TcpStream::connect(proxy.address()).expect("queued")).collect();
    until("clients to be kept waiting", || proxy.log().contains("cannot accept").then_some(()));
    for _ in 0..20 {
        assert_eq!(proxy.http_status("/healthz"), Some(200));
    }
    assert!(metric(&proxy, "odp_transaction_total{}").is_some());
    proxy.admin().expect("the admin port").run("SHOW PROXYSESSION");
    let limit = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    rustix::process::prlimit(process, rustix::process::Resource::Nofile, limit).expect("raised");
    drop(clients);
    until("a client to be let in", || {
        Wire::open(&proxy.address(), &Login::default()).ok()?.try_query("SELECT 1").ok()
    });
}
