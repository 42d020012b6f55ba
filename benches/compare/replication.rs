//! A primary and its two replicas: MariaDBs of our own, beside the one of the other scenarios,
//! which has no binary log.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Outcome;
use crate::machine::{ACCOUNT, Database};
use crate::process::wait_for;

/// They end with this value.
pub(crate) struct Replication {
    pub primary: Database,
    pub replicas: [Database; 2],
}

impl Replication {
    /// Starts them; the replicas have all that the primary has.
    pub(crate) fn start() -> Outcome<Self> {
        let primary = Database::start_empty(&["--server-id=1", "--log-bin=log"])?;
        primary.client()?.rows("RESET MASTER")?;
        let replicas = [replica("2", primary.address)?, replica("3", primary.address)?];
        primary.fill()?;
        let all = Self { primary, replicas };
        let position = all.primary.client()?.rows("SELECT @@gtid_binlog_pos")?;
        let position = position.into_iter().flatten().flatten().next().unwrap_or_default();
        for replica in &all.replicas {
            wait_for("the replica", Duration::from_secs(60), || {
                let wait = format!("SELECT MASTER_GTID_WAIT('{position}', 5)");
                match replica.client()?.number(&wait)? {
                    0.0 => Ok(()),
                    _ => Err("it has not all that was written".into()),
                }
            })?;
        }
        Ok(all)
    }

    /// The addresses of the primary and of its replicas.
    pub(crate) fn addresses(&self) -> [SocketAddr; 3] {
        let [one, other] = &self.replicas;
        [self.primary.address, one.address, other.address]
    }
}

fn replica(id: &str, source: SocketAddr) -> Outcome<Database> {
    let options = [&*format!("--server-id={id}"), "--log-bin=log", "--read-only"];
    let database = Database::start_empty(&options)?;
    let mut client = database.client()?;
    client.rows("RESET MASTER")?;
    client.rows("SET GLOBAL gtid_slave_pos = ''")?;
    client.rows(&format!(
        "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = '{}', \
         MASTER_PASSWORD = '{}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
        source.port(),
        ACCOUNT.user,
        ACCOUNT.password
    ))?;
    client.rows("START SLAVE")?;
    Ok(database)
}
