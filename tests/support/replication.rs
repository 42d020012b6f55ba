//! A primary and its replicas.

use super::database::PASSWORD;
use super::{Database, Server};

/// Two servers that replicate, with these further options.
pub(crate) fn replicating(server: Server, options: &[&str]) -> Option<(Database, Database)> {
    let primary = start(server, 1, options)?;
    primary.execute(&[fresh(server)]);
    let replica = another_replica(&primary, 2, options)?;
    Some((primary, replica))
}

/// One more replica, with this `server_id`, of a primary that has all its logs.
pub(crate) fn another_replica(primary: &Database, id: u32, options: &[&str]) -> Option<Database> {
    let (server, port) = (primary.server, primary.port);
    let replica = start(server, id, options)?;
    replica.execute(&[fresh(server)]);
    match server {
        Server::MySql => {
            replica.execute(&[&source(port), "SET GLOBAL read_only = ON", "START REPLICA"]);
        }
        Server::MariaDb | Server::MariaDb11 | Server::SeekDb => replica.execute(&[
            "SET GLOBAL gtid_slave_pos = ''",
            &format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
                 MASTER_USER = 'odp', MASTER_PASSWORD = '{PASSWORD}', \
                 MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = slave_pos"
            ),
            "SET GLOBAL read_only = ON",
            "START SLAVE",
        ]),
    }
    Some(replica)
}

fn start(server: Server, id: u32, options: &[&str]) -> Option<Database> {
    let gtids: &[&str] = match server {
        Server::MySql => &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
        Server::MariaDb | Server::MariaDb11 | Server::SeekDb => &["--gtid-strict-mode=1"],
    };
    let own = [&*format!("--server-id={id}"), "--log-bin=b"];
    Database::start_with(server, &[&own[..], gtids, options].concat())
}

/// What each has of its own accord is no part of the history.
fn fresh(server: Server) -> &'static str {
    match server {
        Server::MySql => "RESET BINARY LOGS AND GTIDS",
        Server::MariaDb | Server::MariaDb11 | Server::SeekDb => "RESET MASTER",
    }
}

/// Has a MySQL replicate from the one on this port.
pub(crate) fn source(port: u16) -> String {
    format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
         SOURCE_USER = 'odp', SOURCE_PASSWORD = '{PASSWORD}', SOURCE_AUTO_POSITION = 1, \
         GET_SOURCE_PUBLIC_KEY = 1"
    )
}
