//! Limits of users and of addresses, across a restart, and while the proxy runs.

use std::io::Write as _;

use crate::support::proxy::{Options, is_haproxy, with_lines};
use crate::support::raw::{Login, Wire, WireError, ask_for_a_challenge};
use crate::support::relay::connect_from;
use crate::support::{Database, Proxy, Server, until};
use crate::{open_from, shown};

fn open(proxy: &Proxy) -> Result<Wire, WireError> {
    Wire::open(&proxy.address(), &Login::default())
}

fn open_as(user: &str, proxy: &Proxy) -> Result<Wire, WireError> {
    let login = Login { user: user.into(), ..Login::default() };
    Wire::open(&proxy.address(), &login)
}

fn text(error: WireError) -> (Option<u16>, String) {
    let code = error.code();
    match error {
        WireError::Refused(packet) => {
            (code, String::from_utf8_lossy(&packet.payload[3..]).into_owned())
        }
        WireError::Io(error) => panic!("{error}"),
    }
}

fn set(proxy: &Proxy, name: &str, value: &str) {
    let mut admin = proxy.admin().expect("the admin port takes us");
    let reply = admin.query(&format!("ALTER PROXYCONFIG SET {name} = '{value}'"));
    assert_eq!(reply.error(), None, "{name}");
}

fn refused_count(proxy: &Proxy) -> u64 {
    let mut admin = proxy.admin().expect("the admin port takes us");
    let row = admin.query("SHOW PROXYSTAT LIKE 'refused_client_connections'").named_rows();
    row[0]["value"].parse().expect("a number")
}

#[test]
fn sessions_of_a_user() {
    let Some((database, proxy)) = with_lines("max_user_connections = 2") else { return };
    database
        .execute(&["CREATE USER other IDENTIFIED BY 'odp-secret'", "GRANT ALL ON *.* TO other"]);
    // A log-in that was not finished counts for nobody, and a wrong password neither.
    let mut claims = Wire::connect(&proxy.address()).expect("a greeting");
    let mut response = claims.login_response(&Login::default());
    ask_for_a_challenge(&mut response);
    claims.send_payload(&response.encode(), 1).expect("it is taken");
    assert_eq!(claims.packet().payload[0], 0xFE, "it is asked for its password");
    let wrong = Login { password: "wrong".into(), ..Login::default() };
    for _ in 0..3 {
        let error = Wire::open(&proxy.address(), &wrong).err().expect("a wrong password");
        assert_eq!(error.code(), Some(1045));
    }
    let mut held = vec![open(&proxy).expect("the first"), open(&proxy).expect("the second")];
    drop(claims);
    let before = refused_count(&proxy);
    let (code, words) = text(open(&proxy).err().expect("it is full"));
    let expected = "#42000User odp already has more than 'max_user_connections' active connections";
    assert_eq!((code, &*words), (Some(1203), expected));
    assert_eq!(refused_count(&proxy), before + 1);
    assert!(proxy.log().contains("max_user_connections"), "it is logged");
    let _other = open_as("other", &proxy).expect("another user has room of its own");
    // Sessions that have moved are counted where they are.
    proxy.restart();
    assert_eq!(open(&proxy).err().expect("it is still full").code(), Some(1203));
    assert_eq!(held[0].query("SELECT 'unharmed'").text(), "unharmed");
    set(&proxy, "max_user_connections", "3");
    held.push(open(&proxy).expect("there is room for three now"));
    held.clear();
    until("room", || open(&proxy).ok());
    set(&proxy, "max_user_connections", "0");
    held.extend((0..5).map(|_| open(&proxy).expect("without a limit")));
}

/// COM_CHANGE_USER is not refused, but counted.
#[test]
fn sessions_that_change_their_user() {
    let Some((database, proxy)) = with_lines("max_user_connections = 1") else { return };
    database
        .execute(&["CREATE USER other IDENTIFIED BY 'odp-secret'", "GRANT ALL ON *.* TO other"]);
    let mut wire = open(&proxy).expect("log in");
    let reply =
        wire.ask(crate::support::com::CHANGE_USER, b"other\0\0p\0\x2d\0mysql_native_password\0\0");
    assert_eq!(reply.error(), None, "{:?}", reply.packets);
    let _held = open(&proxy).expect("odp has room now");
    let error = open_as("other", &proxy).err().expect("the other has none");
    assert_eq!(error.code(), Some(1203));
}

/// In the classic mode sessions stay where they are: those of both processes count.
#[test]
fn sessions_of_both_processes_of_a_restart() {
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let mut options = Options::new(&[database.address()]);
    options.proxy = "session_handover = false\nhot_upgrade_exit_timeout = -1\n\
                     max_user_connections = 2\nmax_address_connections = 4"
        .into();
    let proxy = Proxy::start_with(&options);
    let mut held = vec![open(&proxy).expect("the first"), open(&proxy).expect("the second")];
    assert_eq!(open(&proxy).err().expect("it is full").code(), Some(1203));
    let reply = proxy.admin().expect("the admin port takes us").query("RESTART");
    assert_eq!(reply.error(), None);
    // While the successor is only there it is the other one that answers, and that takes clients.
    until("a successor that serves", || proxy.log().contains("state=DRAINING").then_some(()));
    until("both sessions to be known", || (shown(&proxy, "Id").len() == 2).then_some(()));
    assert_eq!(open(&proxy).err().expect("they count").code(), Some(1203));
    assert_eq!(held[0].query("SELECT 'unharmed'").text(), "unharmed");
    held.pop();
    held.push(until("room", || open(&proxy).ok()));
    assert_eq!(open(&proxy).err().expect("one of each process").code(), Some(1203));
}

#[test]
fn connections_from_an_address() {
    let lines = "max_address_connections = 2\nproxy_protocol_networks = [\"127.0.0.8\"]";
    let Some((_database, proxy)) = with_lines(lines) else { return };
    // Whoever only connects counts, too: before it is greeted.
    let address = proxy.address();
    let silent = Wire::over(connect_from("127.0.0.5", &address)).expect("a greeting");
    let mut held = vec![open_from("127.0.0.5", &proxy).expect("the second")];
    let (code, words) = text(open_from("127.0.0.5", &proxy).err().expect("it is full"));
    let expected =
        "Address 127.0.0.5 already has more than 'max_address_connections' active connections";
    assert_eq!((code, &*words), (Some(1203), expected));
    held.push(open_from("127.0.0.6", &proxy).expect("another address has room of its own"));
    // Behind a balancer it is the client's address that counts.
    let behind = |client: &str| {
        let mut stream = connect_from("127.0.0.8", &address);
        let header = format!("PROXY TCP4 {client} 10.0.0.9 4000 3306\r\n");
        stream.write_all(header.as_bytes()).expect("it is taken");
        Wire::over(stream).expect("a greeting").log_in(&Login::default())
    };
    let (code, _) = text(behind("127.0.0.5").err().expect("it is full"));
    assert_eq!(code, Some(1203));
    held.extend((1..5).map(|n| behind(&format!("10.0.0.{n}")).expect("one of its address")));
    drop(silent);
    held.push(until("room", || open_from("127.0.0.5", &proxy).ok()));
    proxy.restart();
    assert_eq!(open_from("127.0.0.5", &proxy).err().expect("it is full").code(), Some(1203));
    assert_eq!(behind("127.0.0.5").err().expect("it is full").code(), Some(1203));
    held.push(behind("10.0.0.1").expect("the second of its address"));
    assert_eq!(behind("10.0.0.1").err().expect("it is full").code(), Some(1203));
}

#[test]
fn connects_a_second() {
    let Some((_database, proxy)) = with_lines("max_user_connects_per_second = 1") else { return };
    // However slow the machine is: some two come within a second.
    let refused = until("a refusal", || open(&proxy).err());
    let (code, words) = text(refused);
    let expected = "#42000User 'odp' has exceeded the 'max_user_connects_per_second' resource \
                    (current value: 1)";
    assert_eq!((code, &*words), (Some(1226), expected));
    until("the next second", || open(&proxy).ok());
    set(&proxy, "max_user_connects_per_second", "0");
    set(&proxy, "max_address_connects_per_second", "1");
    let (code, words) = text(until("a refusal", || open_from("127.0.0.5", &proxy).err()));
    let expected = "Address '127.0.0.5' has exceeded the 'max_address_connects_per_second' \
                    resource (current value: 1)";
    assert_eq!((code, &*words), (Some(1226), expected));
    open_from("127.0.0.6", &proxy).expect("another address");
    until("the next second", || open_from("127.0.0.5", &proxy).ok());
}
