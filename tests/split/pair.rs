//! A primary, its replica, and a proxy that splits what comes for both.

use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Database, Login, Proxy, Server, Wire, until};

/// Two servers that replicate.
pub(crate) struct Pair {
    pub primary: Database,
    pub replica: Database,
    pub proxy: Proxy,
}

impl Pair {
    /// With these lines in `[[cluster]]`.
    pub(crate) fn start(cluster: &str) -> Option<Self> {
        let start = |id: &str| {
            let id = format!("--server-id={id}");
            Database::start_with(Server::MariaDb, &[&id, "--log-bin=b", "--gtid-strict-mode=1"])
        };
        let (primary, replica) = (start("1")?, start("2")?);
        // What each has of its own accord is no part of the history.
        primary.execute(&["RESET MASTER"]);
        replica.execute(&["RESET MASTER", "SET GLOBAL gtid_slave_pos = ''"]);
        let port = primary.address().rsplit_once(':').expect("a port").1.to_owned();
        replica.execute(&[
            &format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
                 MASTER_USER = 'odp', MASTER_PASSWORD = '{PASSWORD}', MASTER_CONNECT_RETRY = 1, \
                 MASTER_USE_GTID = slave_pos"
            ),
            "SET GLOBAL read_only = ON",
            "START SLAVE",
        ]);
        primary.execute(&[
            "CREATE TABLE p.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT) ENGINE = InnoDB",
            "INSERT INTO p.t (n) VALUES (1), (2), (3)",
        ]);
        until("the replica to have the table", || {
            let mut wire = replica.admin();
            let reply = wire.query("SELECT COUNT(*) FROM p.t");
            (reply.error().is_none() && reply.text() == "3").then_some(())
        });
        // The replica is listed first: it is not the home for that.
        let mut options = Options::new(&[replica.address(), primary.address()]);
        options.cluster = format!(
            "service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n\
             read_write_split = \"on\"\n{cluster}\n"
        );
        options.proxy = "server_detect_refresh_interval = \"100ms\"\n".into();
        options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
        let pair = Self { primary, replica, proxy: Proxy::start_with(&options) };
        pair.until_roles(&["replica", "primary"]);
        Some(pair)
    }

    /// Waits until the proxy knows these roles, in the order of its config.
    pub(crate) fn until_roles(&self, roles: &[&str]) {
        let mut admin = self.proxy.admin().expect("the proxy takes operators");
        until("the roles to be known", || {
            let rows = admin.run("SHOW PROXYROUTE").named_rows();
            let found: Vec<_> = rows.iter().map(|row| row["role"].clone()).collect();
            (found == roles).then_some(())
        });
    }

    /// A client of the proxy.
    pub(crate) fn open(&self) -> Wire {
        Wire::open(&self.proxy.address(), &Login::default()).expect("the proxy takes clients")
    }

    /// The port of a server.
    pub(crate) fn port(server: &Database) -> String {
        server.address().rsplit_once(':').expect("a port").1.to_owned()
    }

    /// A value of a server's own that a read may ask, and that says which one it is.
    pub(crate) fn marked(&self) {
        self.primary.execute(&[
            "SET GLOBAL gtid_strict_mode = 0",
            "SET sql_log_bin = 0",
            "CREATE TABLE p.who (name VARCHAR(9))",
            "INSERT INTO p.who VALUES ('primary')",
        ]);
        self.replica.execute(&[
            "SET sql_log_bin = 0",
            "CREATE TABLE p.who (name VARCHAR(9))",
            "INSERT INTO p.who VALUES ('replica')",
        ]);
    }
}
