//! A primary, its replica, and a proxy that splits what comes for both.

use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::replication::{replicating, source};
use crate::support::{Database, Login, Proxy, Server, Wire, until};

/// Two servers that replicate.
pub(crate) struct Pair {
    pub primary: Database,
    pub replica: Database,
    pub proxy: Proxy,
}

impl Pair {
    /// Two MariaDBs, with these lines in `[[cluster]]`.
    pub(crate) fn start(cluster: &str) -> Option<Self> {
        let (primary, replica) = Self::replicating(Server::MariaDb)?;
        Some(Self::of(primary, replica, cluster, ""))
    }

    /// The same with these lines in `[proxy]`.
    pub(crate) fn start_with(proxy: &str) -> Option<Self> {
        let (primary, replica) = Self::replicating(Server::MariaDb)?;
        Some(Self::of(primary, replica, "", proxy))
    }

    /// The same of MySQL.
    pub(crate) fn start_mysql(cluster: &str) -> Option<Self> {
        let (primary, replica) = Self::replicating(Server::MySql)?;
        Some(Self::of(primary, replica, cluster, ""))
    }

    /// A primary and its replica.
    pub(crate) fn replicating(server: Server) -> Option<(Database, Database)> {
        replicating(server, &[])
    }

    fn of(primary: Database, replica: Database, cluster: &str, proxy: &str) -> Self {
        // The replica is listed first: it is not the home for that.
        let mut options = Options::new(&[replica.address(), primary.address()]);
        options.cluster = format!(
            "service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n\
             read_write_split = \"on\"\n{cluster}\n"
        );
        options.proxy = format!("server_detect_refresh_interval = \"100ms\"\n{proxy}\n");
        options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
        Self::with(primary, replica, &options)
    }

    /// The two behind a proxy that has the replica first, once it knows which is which.
    pub(crate) fn with(primary: Database, replica: Database, options: &Options) -> Self {
        primary.execute(&[
            "CREATE TABLE p.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT) ENGINE = InnoDB",
            "INSERT INTO p.t (n) VALUES (1), (2), (3)",
        ]);
        until("the replica to have the table", || {
            let mut wire = replica.admin();
            let reply = wire.query("SELECT COUNT(*) FROM p.t");
            (reply.error().is_none() && reply.text() == "3").then_some(())
        });
        let pair = Self { primary, replica, proxy: Proxy::start_with(options) };
        pair.until_roles(&["replica", "primary"]);
        pair
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

    /// Waits until the replica has all that the primary has written.
    pub(crate) fn until_caught_up(&self) {
        let [position, wait] = match self.primary.server {
            Server::MySql => ["gtid_executed", "WAIT_FOR_EXECUTED_GTID_SET"],
            _ => ["gtid_binlog_pos", "MASTER_GTID_WAIT"],
        };
        let position = self.primary.admin().run(&format!("SELECT @@global.{position}")).text();
        let wait = format!("SELECT {wait}('{position}', 60)");
        assert_eq!(self.replica.admin().run(&wait).text(), "0", "the replica has {position}");
    }

    /// Keeps the replica from applying what is written of `p.t`, as long as this is there.
    pub(crate) fn hold_replica(&self) -> Wire {
        let mut wire = self.replica.admin();
        wire.run("BEGIN");
        wire.run("SELECT id FROM p.t FOR UPDATE");
        wire
    }

    /// Makes the replica the primary, and the other way round.
    pub(crate) fn switch_over(&self) {
        self.until_caught_up();
        self.demote();
        self.promote();
        self.until_roles(&["primary", "replica"]);
    }

    /// The primary takes no writes any more.
    pub(crate) fn demote(&self) {
        self.primary.execute(&["SET GLOBAL read_only = ON"]);
    }

    /// The replica takes them once it has all, and the primary replicates from it.
    pub(crate) fn promote(&self) {
        self.until_caught_up();
        let port = self.replica.port;
        let (replica, from) = match self.primary.server {
            Server::MySql => ("REPLICA", source(port)),
            _ => {
                let from = format!(
                    "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
                     MASTER_USER = 'odp', MASTER_PASSWORD = '{PASSWORD}', \
                     MASTER_CONNECT_RETRY = 1, MASTER_USE_GTID = current_pos"
                );
                ("SLAVE", from)
            }
        };
        let [stop, reset, start] = ["STOP", "RESET", "START"].map(|it| format!("{it} {replica}"));
        self.replica.execute(&[&stop, &format!("{reset} ALL"), "SET GLOBAL read_only = OFF"]);
        self.primary.execute(&[&from, &start]);
    }

    /// Which reads are split from now on.
    pub(crate) fn splits(&self, split: &str) {
        let mut admin = self.proxy.admin().expect("the proxy takes operators");
        admin.run(&format!("ALTER CLUSTER main SET read_write_split = '{split}'"));
    }

    /// A client of the proxy.
    pub(crate) fn open(&self) -> Wire {
        Wire::open(&self.proxy.address(), &Login::default()).expect("the proxy takes clients")
    }

    /// What keeps a client's session from another server, as operators are told.
    pub(crate) fn pins(&self, wire: &Wire) -> String {
        let id = wire.greeting.connection_id;
        let mut admin = self.proxy.admin().expect("the proxy takes operators");
        let sql = format!("SHOW PROXYSESSION ATTRIBUTE {id} LIKE 'pins'");
        admin.run(&sql).named_rows()[0]["value"].clone()
    }

    /// The port of a server.
    pub(crate) fn port(server: &Database) -> String {
        server.address().rsplit_once(':').expect("a port").1.to_owned()
    }

    /// A value of a server's own that a read may ask, and that says which one it is.
    pub(crate) fn marked(&self) {
        if self.primary.server != Server::MySql {
            self.primary.execute(&["SET GLOBAL gtid_strict_mode = 0"]);
        }
        self.primary.execute(&[
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
