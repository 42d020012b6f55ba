//! A cluster of one server with nothing configured costs nothing.

use std::collections::BTreeSet;

use crate::scene::{open, show};
use crate::support::{Database, Proxy, Server};

/// How many connections the server has had, but for the one that asks.
fn connections(database: &Database) -> u64 {
    let reply = database.admin().query("SHOW GLOBAL STATUS LIKE 'Connections'");
    String::from_utf8_lossy(reply.rows()[0][1].as_deref().expect("a number"))
        .parse()
        .expect("a number")
}

#[test]
fn only_clients_connect_to_one_server() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let before = connections(&database);
    let mut clients: Vec<_> =
        (0..20).map(|_| open(&proxy, "odp").expect("the proxy takes clients")).collect();
    for client in &mut clients {
        client.run("SELECT 1");
    }
    let rows = show(&proxy, "PROXYROUTE");
    assert_eq!((rows.len(), &*rows[0]["state"], &*rows[0]["links"]), (1, "online", "20"));
    let threads: BTreeSet<_> =
        clients.iter_mut().map(|it| it.run("SELECT CONNECTION_ID()").text()).collect();
    assert_eq!(threads.len(), 20);
    // One is kept at hand for the next client; each look of ours is one more.
    let counted = connections(&database) - before;
    assert!((21..=22).contains(&counted), "{counted} connections for 20 clients");
}
