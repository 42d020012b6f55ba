//! Calls that do not return: no stop, restart or exit waits for them.

use std::net::{TcpStream, UdpSocket};

use crate::support::proxy::Options;
use crate::support::{Proxy, scratch, skip};
use crate::{seeing, stop};

#[test]
fn a_resolver_that_does_not_answer_keeps_nobody_from_leaving() {
    // One address for each test process, or they would hear each other's questions.
    let own = std::process::id();
    let address = format!("127.77.{}.{}", own >> 8 & 0xFF, own & 0xFF);
    let Ok(resolver) = UdpSocket::bind((address.as_str(), 53)) else {
        return skip("only who may bind port 53 can play a resolver");
    };
    let dir = scratch();
    let resolv = dir.path().join("resolv.conf");
    let text = format!("nameserver {address}\noptions timeout:30 attempts:5\n");
    std::fs::write(&resolv, text).expect("the directory is ours");
    let Some(script) = seeing(dir.path(), &resolv, "/etc/resolv.conf") else { return };
    let mut options = Options::new(&["silent.example.com:3306".into()]);
    options.binary = Some(script);
    options.proxy = "connect_timeout = \"1h\"\nlogin_timeout = \"1h\"\n".into();
    let proxy = Proxy::start_with(&options);
    let asked = || {
        resolver.set_read_timeout(Some(crate::support::LIMIT)).expect("a timeout");
        resolver.recv(&mut [0; 512]).expect("a question")
    };
    let _client = TcpStream::connect(proxy.address()).expect("taken");
    asked();
    // The predecessor goes while its resolver is still waiting, and so does the successor.
    let first = proxy.pid();
    assert_ne!(proxy.restart_by_signal(), first);
    let _client = TcpStream::connect(proxy.address()).expect("taken");
    asked();
    stop(&proxy);
}
