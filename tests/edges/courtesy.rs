//! `max_connect_errors`: clients that vanish in their log-in do not have us blocked by the server.
//!
//! Servers don't count what comes from 127.0.0.1 itself; so the proxy reaches them by a detour with
//! another address of the loopback. That they do count there is looked at first.

use std::net::TcpStream;
use std::time::Duration;

use odp::wire::capability as cap;
use odp::wire::handshake::UNKNOWN_PLUGIN;
use socket2::SockRef;

use crate::support::fake_server::{Act, FakeServer};
use crate::support::proxy::{Options, is_haproxy};
use crate::support::raw::{Login, Wire, WireError, ask_for_a_challenge, packets};
use crate::support::relay::{Relay, connect_from};
use crate::support::{Database, Proxy, Server, skip, until};

/// Of each kind: as many as a server blocks a host for, many times over.
const VANISHING: usize = 50;

/// The same where each costs a TLS handshake.
const VANISHING_BY_TLS: usize = 10;

/// How far a client comes before it vanishes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Connected,
    Greeted,
    HalfAnswered,
    Answered,
    /// caching_sha2_password wants the password itself, as its answer to the greeting shows.
    AnsweredInVain,
    Asked,
    AskedAndReset,
    /// caching_sha2_password wants the password itself.
    AskedForPassword,
    /// The same, and has sent its key.
    GivenKey,
}

/// Comes that far as this user; the connection is to be dropped.
fn come(stage: Stage, user: &str, address: &str) -> Option<Wire> {
    if matches!(stage, Stage::Connected) {
        drop(TcpStream::connect(address).expect("the proxy listens"));
        return None;
    }
    let mut wire = Wire::connect(address).expect("a greeting");
    let login = Login { user: user.into(), ..Login::default() };
    let mut response = wire.login_response(&login);
    if !matches!(stage, Stage::HalfAnswered | Stage::Answered | Stage::AnsweredInVain) {
        ask_for_a_challenge(&mut response);
    }
    let response = packets(&response.encode(), 1);
    match stage {
        Stage::Connected | Stage::Greeted => return Some(wire),
        Stage::HalfAnswered => wire.send(&response[..30]).expect("it is taken"),
        _ => wire.send(&response).expect("it is taken"),
    }
    if matches!(stage, Stage::HalfAnswered | Stage::Answered) {
        return Some(wire);
    }
    let asked = wire.packet();
    // Behind a server that has not greeted in time it is asked anew first.
    if matches!(stage, Stage::AnsweredInVain) && asked.payload == [1, 4] {
        return Some(wire);
    }
    assert_eq!(asked.payload[0], 0xFE, "{stage:?}: {asked:?}");
    match stage {
        Stage::AskedAndReset => {
            let socket = SockRef::from(wire.tcp());
            socket.set_linger(Some(Duration::ZERO)).expect("an option");
        }
        Stage::AskedForPassword | Stage::GivenKey | Stage::AnsweredInVain => {
            let rest = &asked.payload[1..];
            let end = rest.iter().position(|&byte| byte == 0).expect("a plugin's name");
            let salt = rest[end + 1..].strip_suffix(&[0]).expect("a challenge");
            let password = crate::support::database::PASSWORD.as_bytes();
            let scramble = mysql_common::scramble::scramble_sha256(salt, password);
            let next = asked.sequence.wrapping_add(1);
            wire.send_payload(&scramble.expect("a password"), next).expect("it is taken");
            let full = wire.packet();
            assert_eq!(full.payload, [1, 4], "the cache is empty");
            if matches!(stage, Stage::GivenKey) {
                wire.send_payload(&[2], full.sequence.wrapping_add(1)).expect("it is taken");
                assert_eq!(wire.packet().payload[0], 1, "the key");
            }
        }
        _ => {}
    }
    Some(wire)
}

/// A server that blocks a host at the third handshake that is broken off.
fn strict(server: Server, options: &[&str]) -> Option<Database> {
    if is_haproxy() {
        return None;
    }
    let strict = ["--host-cache-size=100", "--max-connect-errors=3", "--performance-schema=ON"];
    let database = Database::start_with(server, &[&strict, options].concat())?;
    // What this is all about, without the proxy.
    for _ in 0..3 {
        drop(Wire::over(connect_from("127.0.0.3", &database.address())));
    }
    let blocked = until("the server to have counted", || {
        let errors = host_errors(&database, "127.0.0.3")?;
        (errors >= 3).then(|| Wire::over(connect_from("127.0.0.3", &database.address())).err())
    });
    match blocked.as_ref().and_then(WireError::code) {
        Some(1129) => Some(database),
        other => {
            skip(&format!("{server:?} does not count here, it says {other:?}"));
            None
        }
    }
}

/// Handshakes of a host that were broken off, by the server's count; None: it knows of no such.
fn host_errors(database: &Database, host: &str) -> Option<u64> {
    let query = format!(
        "SELECT COUNT(*), COALESCE(SUM(sum_connect_errors), 0) \
         FROM performance_schema.host_cache WHERE ip = '{host}'"
    );
    let row = database.admin().query(&query).rows().remove(0);
    let number = |at: usize| -> u64 {
        let text = row[at].clone().map(String::from_utf8).expect("a value").expect("a number");
        text.parse().expect("a number")
    };
    (number(0) > 0).then(|| number(1))
}

fn proxy_behind(database: &Database, source: &'static str, rest: &str) -> Proxy {
    let detour = Relay::detour(database.address(), source, Vec::new());
    let mut options = Options::new(&[detour.address]);
    options.proxy = "login_timeout = \"3s\"\nhot_upgrade_exit_timeout = 0".into();
    options.rest = rest.into();
    Proxy::start_with(&options)
}

fn nobody_is_blocked(database: &Database, rest: &str, stages: &[(Stage, &str)]) {
    let proxy = proxy_behind(database, "127.0.0.2", rest);
    let good = |stage: Stage| {
        let mut wire = Wire::open(&proxy.address(), &Login::default())
            .unwrap_or_else(|error| panic!("{stage:?}: {error:?}\n{}", proxy.log()));
        assert_eq!(wire.query("SELECT 'in'").text(), "in", "{stage:?}");
    };
    for &(stage, user) in stages {
        for _ in 0..if rest.is_empty() { VANISHING } else { VANISHING_BY_TLS } {
            let is_cold =
                [Stage::AnsweredInVain, Stage::AskedForPassword, Stage::GivenKey].contains(&stage);
            if is_cold {
                database.execute(&["FLUSH PRIVILEGES"]);
            }
            drop(come(stage, user, &proxy.address()));
        }
        good(stage);
    }
    // Some that stay until their time is over.
    let late = (0..10).filter_map(|_| come(Stage::Asked, "odp", &proxy.address()));
    for mut wire in late.collect::<Vec<Wire>>() {
        assert_eq!(wire.packet().error(), Some(1159), "login_timeout");
    }
    // And some that a restart gives up with the process.
    let late = (0..10).filter_map(|_| come(Stage::Asked, "odp", &proxy.address()));
    let late = late.collect::<Vec<Wire>>();
    proxy.restart();
    for mut wire in late {
        assert_eq!(wire.packet().error(), Some(1053), "the process ends");
    }
    let gone = "SELECT COUNT(*) = 0 FROM information_schema.processlist WHERE host <> 'localhost'";
    database.until_counted(gone);
    good(Stage::Asked);
    // Nothing at all was counted.
    assert_eq!(host_errors(database, "127.0.0.2"), Some(0));
}

const ON_ANY: [(Stage, &str); 7] = [
    (Stage::Connected, "odp"),
    (Stage::Greeted, "odp"),
    (Stage::HalfAnswered, "odp"),
    (Stage::Answered, "odp"),
    (Stage::Asked, "odp"),
    (Stage::AskedAndReset, "odp"),
    (Stage::Asked, "whoever"),
];

#[test]
fn vanishing_clients_on_mariadb() {
    let Some(database) = strict(Server::MariaDb, &[]) else { return };
    database.execute(&[
        "INSTALL SONAME 'auth_ed25519'",
        "CREATE USER ed IDENTIFIED VIA ed25519 USING PASSWORD('odp-secret')",
        "CREATE USER bare",
    ]);
    let stages = [&ON_ANY[..], &[(Stage::Asked, "ed"), (Stage::Asked, "bare")]].concat();
    nobody_is_blocked(&database, "", &stages);
}

#[test]
fn vanishing_clients_on_mysql() {
    let Some(database) = strict(Server::MySql, &[]) else { return };
    nobody_is_blocked_on_mysql(&database, "");
}

/// The server takes nobody without TLS.
#[test]
fn vanishing_clients_on_mysql_by_tls() {
    let Some(database) = strict(Server::MySql, &["--require-secure-transport=ON"]) else { return };
    nobody_is_blocked_on_mysql(&database, "[tls.server]\nmode = \"require\"\n");
}

fn nobody_is_blocked_on_mysql(database: &Database, rest: &str) {
    database.execute(&[
        "CREATE USER sha IDENTIFIED WITH sha256_password BY 'odp-secret'",
        "CREATE USER bare IDENTIFIED BY ''",
    ]);
    let plugins = [
        (Stage::AskedForPassword, "odp"),
        (Stage::GivenKey, "odp"),
        (Stage::AnsweredInVain, "odp"),
        (Stage::Asked, "sha"),
        (Stage::Asked, "bare"),
    ];
    nobody_is_blocked(database, rest, &[&ON_ANY[..], &plugins].concat());
}

/// A client that stays silent holds the connection with whose challenge it was greeted, but not for
/// long.
#[test]
fn a_silent_client_holds_no_connection_for_long() {
    if is_haproxy() {
        return;
    }
    let capabilities = cap::PROTOCOL_41 | cap::PLUGIN_AUTH | cap::SECURE_CONNECTION;
    let ask = Act::switch("mysql_native_password");
    let server = FakeServer::start(vec![Act::greet(capabilities), Act::LogIn, ask]);
    let mut options = Options::new(std::slice::from_ref(&server.address));
    options.proxy = "login_timeout = \"1h\"".into();
    let proxy = Proxy::start_with(&options);
    let mut silent = Wire::connect(&proxy.address()).expect("a greeting");
    server.login_of("odp_no_login");
    // The client is none the worse: another server connection asks it for an answer of its own.
    let response = packets(&silent.login_response(&Login::default()).encode(), 1);
    silent.send(&response).expect("it is taken");
    let told = server.login_of("odp");
    assert_eq!((told.plugin.as_deref(), &*told.auth), (Some(UNKNOWN_PLUGIN), &b""[..]));
    assert_eq!(silent.packet().payload[0], 0xFE);
}
