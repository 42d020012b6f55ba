//! What these tests share: a second cluster in the config, and what operators see.

use std::collections::BTreeMap;

use crate::support::database::PASSWORD;
use crate::support::raw::{WireError, scramble};
use crate::support::{Login, Proxy, Wire, com, until};

/// A cluster for the end of the config.
pub(crate) fn cluster(name: &str, address: &str, lines: &str) -> String {
    format!(
        "[[cluster]]\nname = \"{name}\"\n{lines}\n[[cluster.server]]\naddress = \"{address}\"\n"
    )
}

/// The account that the tests log in with, for further connections.
pub(crate) fn account() -> String {
    format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n")
}

/// A log-in by this name that names no database.
pub(crate) fn named(user: &str) -> Login {
    Login { user: user.into(), database: None, ..Login::default() }
}

/// A client by this name.
pub(crate) fn open(proxy: &Proxy, user: &str) -> Result<Wire, WireError> {
    Wire::open(&proxy.address(), &named(user))
}

/// Code and text of a log-in that was refused.
pub(crate) fn refused(outcome: Result<Wire, WireError>) -> (u16, String) {
    match outcome.err().expect("it is refused") {
        WireError::Refused(packet) => {
            let code = packet.error().expect("an ERR packet");
            (code, String::from_utf8_lossy(&packet.payload[9..]).into_owned())
        }
        WireError::Io(error) => panic!("{error}"),
    }
}

/// COM_CHANGE_USER, with an answer to the challenge seen last; the error, if there is one.
pub(crate) fn change_user(wire: &mut Wire, user: &str) -> Option<(u16, String)> {
    let plugin = "mysql_native_password";
    let answer = scramble(plugin.as_bytes(), &wire.salt, PASSWORD).unwrap_or_default();
    let length = [answer.len() as u8];
    let (user, plugin) = (user.as_bytes(), plugin.as_bytes());
    let body = [user, b"\0", &length, &answer, b"\0\x2d\0", plugin, b"\0\0"].concat();
    let reply = wire.ask(com::CHANGE_USER, &body);
    let text = || String::from_utf8_lossy(&reply.last().payload[9..]).into_owned();
    reply.error().map(|code| (code, text()))
}

/// What an operator sees, as rows of names and values.
pub(crate) fn show(proxy: &Proxy, what: &str) -> Vec<BTreeMap<String, String>> {
    let mut admin = proxy.admin().expect("the proxy takes operators");
    admin.run(&format!("SHOW {what}")).named_rows()
}

/// Some cells of the rows.
pub(crate) fn cells(rows: &[BTreeMap<String, String>], names: &[&str]) -> Vec<Vec<String>> {
    let cell = |row: &BTreeMap<String, String>, name: &&str| row.get(*name).cloned();
    let of_row = |row| names.iter().map(|name| cell(row, name).unwrap_or_default()).collect();
    rows.iter().map(of_row).collect()
}

/// What an operator sees of one session.
pub(crate) fn session(proxy: &Proxy, wire: &Wire, names: &[&str]) -> Vec<String> {
    let id = wire.greeting.connection_id.to_string();
    let mut rows = show(proxy, "PROXYSESSION");
    rows.retain(|row| row["Id"] == id);
    cells(&rows, names).pop().expect("the session is there")
}

/// The row of one server in SHOW PROXYROUTE.
pub(crate) fn route(proxy: &Proxy, address: &str) -> BTreeMap<String, String> {
    let mut rows = show(proxy, "PROXYROUTE");
    rows.retain(|row| row["server"] == address);
    rows.pop().expect("the server is there")
}

/// Waits until a cell of a server's row is so.
pub(crate) fn until_route(proxy: &Proxy, address: &str, name: &str, value: &str) {
    let what = format!("{name} of {address} to be {value}");
    let mut last = String::new();
    until(&what, || {
        let found = route(proxy, address).remove(name).unwrap_or_default();
        if found != last {
            eprintln!("{what}: it is {found}");
            last.clone_from(&found);
        }
        (found == value).then_some(())
    });
}

/// An operator's command; the text of the error, if it is refused.
pub(crate) fn order(proxy: &Proxy, sql: &str) -> Option<String> {
    let reply = proxy.admin().expect("the proxy takes operators").query(sql);
    reply.error()?;
    Some(String::from_utf8_lossy(&reply.last().payload[9..]).into_owned())
}

/// An operator's command that is taken.
pub(crate) fn command(proxy: &Proxy, sql: &str) {
    assert_eq!(order(proxy, sql), None, "{sql}");
}

/// The port of the server that a client is on.
pub(crate) fn port(wire: &mut Wire) -> u16 {
    wire.run("SELECT @@port").text().parse().expect("a port")
}
