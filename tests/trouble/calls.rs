//! Calls that do not return: no stop, restart or exit waits for them.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpStream, UdpSocket};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::place::seeing;
use crate::support::proxy::Options;
use crate::support::{Proxy, scratch, skip, until};
use crate::{metric, signal, stop};

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

#[test]
fn a_disk_of_the_audit_that_does_not_answer_keeps_nothing_from_being_done() {
    let proxy = Proxy::start_with(&Options::new(&["127.0.0.1:1".into()]));
    // Nobody reads it: it cannot even be opened.
    let path = proxy.state_dir().join("audit.log");
    mkfifo(&path, Mode::S_IRWXU).expect("the directory is ours");
    let first = proxy.pid();
    let second = proxy.restart_by_signal();
    assert_ne!(second, first);
    proxy.admin().expect("the admin port").run("RESTART");
    until("a successor alone", || match *proxy.process().living() {
        [only] if only != second => Some(()),
        _ => None,
    });
    // A reload is under way for a moment only, and keeps nothing back either.
    signal(&proxy, Signal::SIGHUP);
    let mut admin = proxy.admin().expect("the admin port");
    for id in [77_777, 77_778] {
        let refused = admin.query(&format!("KILL PROXYSESSION {id}"));
        assert!(refused.error().is_some(), "{refused:?}");
    }
    assert!(metric(&proxy, "odp_audit_trouble_total{what=\"late\"}") > Some(3));
    let log = proxy.log();
    for action in ["RESTART", "KILL PROXYSESSION 77777"] {
        let said = |line: &str| line.contains("cannot be written") && line.contains(action);
        assert!(log.lines().any(said), "{action}: {log}");
    }
    // It answers again: all is there that this process has been asked, in order.
    let reading = std::thread::spawn(move || {
        // For writing as well: it does not end when a line does.
        let pipe = OpenOptions::new().read(true).write(true).open(path).expect("a pipe");
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.filter(|line| line.contains("KILL")).take(4).collect::<Vec<_>>()
    });
    until("the entries", || reading.is_finished().then_some(()));
    let lines = reading.join().expect("it reads");
    let asked = "\"outcome\":\"asked\"";
    let found = |line: &String| (line.contains("SESSION 77777"), line.contains(asked));
    let found: Vec<_> = lines.iter().map(found).collect();
    assert_eq!(found, [(true, true), (true, false), (false, true), (false, false)], "{lines:?}");
    stop(&proxy);
}
