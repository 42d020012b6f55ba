//! Servers that are the proxy itself: refused where it is certain, and noticed where it is not.

use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use odp::error::ClientError;

use crate::support::fake_server::{Act, FakeServer};
use crate::support::proxy::{Options, config_text, is_haproxy};
use crate::support::raw::{CAPABILITIES, Login, Wire, WireError};
use crate::support::relay::Detour;
use crate::support::{Database, Proxy, Server, free_ports, scratch};

/// A server that lets everybody in.
fn good() -> FakeServer {
    FakeServer::start(vec![Act::greet(CAPABILITIES), Act::LogIn, Act::ok()])
}

fn refused(proxy: &Proxy) {
    match Wire::open(&proxy.address(), &Login::default()) {
        Err(WireError::Refused(packet)) => {
            assert_eq!(packet.error(), Some(1105), "{}", proxy.log());
            assert!(packet.payload.ends_with(ClientError::leads_back().message.as_bytes()));
        }
        other => panic!("{:?}\n{}", other.err(), proxy.log()),
    }
}

/// Three clients are refused, each after one way round.
fn goes_round_once_for_each(proxy: &Proxy, round: &Detour) {
    for clients in 1..4 {
        refused(proxy);
        assert_eq!(round.count.load(Ordering::SeqCst), clients, "once round for each");
    }
}

fn open(proxy: &Proxy) -> Wire {
    let opened = Wire::open(&proxy.address(), &Login::default());
    opened.unwrap_or_else(|error| panic!("{error:?}\n{}", proxy.log()))
}

/// Nobody can be greeted yet, the proxy by itself neither.
#[test]
fn a_loop_is_noticed_before_any_server_was_heard() {
    if is_haproxy() {
        return;
    }
    let round = Detour::start();
    let proxy = Proxy::start_with(&Options::new(std::slice::from_ref(&round.address)));
    round.lead_to(proxy.address());
    goes_round_once_for_each(&proxy, &round);
    let named = |line: &str| line.contains(&round.address) && line.contains("leads back");
    assert!(proxy.log().lines().any(named), "{}", proxy.log());
}

#[test]
fn a_loop_is_noticed_when_servers_are_known() {
    if is_haproxy() {
        return;
    }
    let (round, good) = (Detour::start(), good());
    let proxy = Proxy::start_with(&Options::new(&[good.address.clone(), round.address.clone()]));
    round.lead_to(proxy.address());
    let _session = open(&proxy);
    good.play(vec![Act::Leave]);
    goes_round_once_for_each(&proxy, &round);
    proxy.restart();
    refused(&proxy);
}

/// It is a server that cannot be used, as any other.
#[test]
fn others_are_used_in_place_of_ourselves() {
    if is_haproxy() {
        return;
    }
    let (round, good) = (Detour::start(), good());
    let proxy = Proxy::start_with(&Options::new(&[round.address.clone(), good.address.clone()]));
    round.lead_to(proxy.address());
    let _sessions: Vec<Wire> = (0..5).map(|_| open(&proxy)).collect();
    assert_eq!(round.count.load(Ordering::SeqCst), 1, "{}", proxy.log());
}

#[test]
fn a_loop_through_another_odp_is_noticed() {
    if is_haproxy() {
        return;
    }
    let (back, good) = (Detour::start(), good());
    let other = Proxy::start_with(&Options::new(&[good.address.clone(), back.address.clone()]));
    let proxy = Proxy::start_with(&Options::new(&[good.address.clone(), other.address()]));
    back.lead_to(proxy.address());
    let _sessions = (open(&proxy), open(&other));
    good.play(vec![Act::Leave]);
    refused(&proxy);
    assert_eq!(back.count.load(Ordering::SeqCst), 1, "{}", proxy.log());
    refused(&other);
}

/// Proxies may stand in a row, also while each has two generations.
#[test]
fn a_row_of_proxies_is_no_loop() {
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let behind = Proxy::start_with_lines(&database, "hot_upgrade_probation = \"60s\"\n");
    let mut options = Options::new(&[behind.address()]);
    options.proxy = "hot_upgrade_probation = \"60s\"\n".into();
    let before = Proxy::start_with(&options);
    let mut sessions = vec![open(&before)];
    for proxy in [&behind, &before] {
        proxy.admin().expect("an operator").run("RESTART");
        crate::support::until("two generations", || {
            proxy.log().contains("phase=PROBATION generation=2").then_some(())
        });
        sessions.push(open(&before));
    }
    sessions.iter_mut().for_each(|wire| assert_eq!(wire.run("SELECT 1").text(), "1"));
}

/// What proxies tell each other is not for servers.
#[test]
fn a_server_sees_nothing_of_it() {
    if is_haproxy() {
        return;
    }
    let good = good();
    let behind = Proxy::start_with(&Options::new(std::slice::from_ref(&good.address)));
    let before = Proxy::start_with(&Options::new(&[behind.address()]));
    let _session = open(&before);
    let response = good.login_of("odp");
    assert_eq!(response.auth, b"");
    let expected = [(&b"program_name"[..], &b"odp-tests"[..])];
    assert_eq!(response.attributes(), expected);
}

#[test]
fn what_is_surely_ourselves_is_refused() {
    let dir = scratch();
    let config = dir.path().join("odp.toml");
    let ports @ [sql, admin, _] = free_ports();
    let socket = format!("unix:{}", dir.path().join("sql").display());
    let odp = |command: &str| -> (Option<i32>, String) {
        let mut odp = Command::new(env!("CARGO_BIN_EXE_odp"));
        let Output { status, stderr, .. } =
            odp.args([command, "-c"]).arg(&config).output().expect("odp runs");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    };
    std::fs::create_dir(dir.path().join("run")).expect("ours");
    let own = format!("127.0.0.1:{sql}");
    for (server, listener) in [
        (own.clone(), &own),
        (format!("localhost:{sql}"), &own),
        (format!("0.0.0.0:{sql}"), &own),
        (format!("[::ffff:127.0.0.1]:{sql}"), &own),
        (format!("127.0.0.1:{admin}"), &format!("127.0.0.1:{admin}")),
        (socket.clone(), &socket),
    ] {
        let mut options = Options::new(&["127.0.0.1:1".to_owned(), server.clone()]);
        options.listen.push(socket.clone());
        std::fs::write(&config, config_text(dir.path(), ports, &options)).expect("ours");
        let text = std::fs::read_to_string(&config).expect("ours");
        let is_it = |line: &str| line == format!("address = \"{server}\"");
        let line = text.lines().position(is_it).expect("it is a server") + 1;
        let expected = format!(
            "config {}: line {line}, column 11: cluster 'main': server {server}: the proxy itself \
             listens there, on {listener}",
            config.display()
        );
        for command in ["check", "run"] {
            let (code, errors) = odp(command);
            assert_eq!(code, Some(1), "{command}: {errors}");
            assert!(errors.contains(&expected), "{command}: {errors}\n{expected}");
        }
    }
}

#[test]
fn check_warns_of_servers_that_see_the_proxys_user() {
    let dir = scratch();
    let config = dir.path().join("odp.toml");
    let options = Options::new(&["unix:/run/mysqld/mysqld.sock".to_owned()]);
    std::fs::create_dir(dir.path().join("run")).expect("ours");
    std::fs::write(&config, config_text(dir.path(), free_ports(), &options)).expect("ours");
    let mut odp = Command::new(env!("CARGO_BIN_EXE_odp"));
    let Output { status, stderr, .. } =
        odp.args(["check", "-c"]).arg(&config).output().expect("odp runs");
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{errors}");
    let uid = format!("(uid {})", nix::unistd::geteuid());
    for part in ["warning: cluster 'main': server unix:/run/mysqld/mysqld.sock", &uid] {
        assert!(errors.contains(part), "{errors}\n{part}");
    }
}
