//! A primary and its replica.

use super::database::PASSWORD;
use super::{Database, Server};

/// Two servers that replicate, with these further options.
pub(crate) fn replicating(server: Server, options: &[&str]) -> Option<(Database, Database)> {
    let gtids: &[&str] = match server {
        Server::MySql => &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
        Server::MariaDb | Server::MariaDb11 | Server::SeekDb => &["--gtid-strict-mode=1"],
    };
    let start = |id: &str| {
        let own = [&*format!("--server-id={id}"), "--log-bin=b"];
        Database::start_with(server, &[&own[..], gtids, options].concat())
    };
    let (primary, replica) = (start("1")?, start("2")?);
    let port = primary.port;
    // What each has of its own accord is no part of the history.
    if server == Server::MySql {
        primary.execute(&["RESET BINARY LOGS AND GTIDS"]);
        replica.execute(&["RESET BINARY LOGS AND GTIDS"]);
        replica.execute(&[&source(port), "SET GLOBAL read_only = ON", "START REPLICA"]);
    } else {
        primary.execute(&["RESET MASTER"]);
        replica.execute(&["RESET MASTER", "SET GLOBAL gtid_slave_pos = ''"]);
        replica.execute(&[
            &format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
                 MASTER_USER = 'odp', MASTER_PASSWORD = '{PASSWORD}', \
                 MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = slave_pos"
            ),
            "SET GLOBAL read_only = ON",
            "START SLAVE",
        ]);
    }
    Some((primary, replica))
}

/// Has a MySQL replicate from the one on this port.
pub(crate) fn source(port: u16) -> String {
    format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
         SOURCE_USER = 'odp', SOURCE_PASSWORD = '{PASSWORD}', SOURCE_AUTO_POSITION = 1, \
         GET_SOURCE_PUBLIC_KEY = 1"
    )
}
