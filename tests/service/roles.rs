//! What monitors see of a real primary and its replica, and of servers that are gone or hang.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use odp::proxy::accounts::credentials::Credentials;
use odp::proxy::monitor::order::Detection;
use odp::proxy::monitor::report::{Report, Watcher};
use odp::proxy::monitor::watch::Monitors;
use odp::proxy::service::error::ServiceError;
use odp::route::roles::{Group, History, Observation, Roles, Run, Said, Step, Wsrep};
use odp::route::topology::{ConfiguredRole, Member, Server as Routed, ServerId};

use crate::scene::Scene;
use crate::support::{Database, LIMIT, Server, free_ports, skip, until};

/// The account that asks.
const SERVICE: (&str, &str) = ("svc", "svc-secret");

/// Hands reports on to the test.
#[derive(Debug)]
pub(crate) struct Told(pub Sender<Report>);

impl Watcher for Told {
    fn handle_report(&self, report: Report) {
        // A test that is over hears nothing.
        let _ = self.0.send(report);
    }
}

/// Monitors of some servers.
struct Watched {
    scene: Scene,
    monitors: Monitors,
    reports: Receiver<Report>,
    runtime: tokio::runtime::Runtime,
}

impl Watched {
    fn new(addresses: &[String]) -> Self {
        let (told, reports) = channel();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
        let monitors = Monitors::new(Arc::new(Told(told)));
        Self { scene: Scene::of(addresses, "off"), monitors, reports, runtime }
    }

    fn start(addresses: &[String], timeout: Duration) -> Self {
        let watched = Self::new(addresses);
        watched.by(Some(SERVICE), timeout);
        watched
    }

    /// Asks on, by this account.
    fn by(&self, account: Option<(&str, &str)>, timeout: Duration) {
        let credentials =
            account.map(|(user, password)| Arc::new(Credentials::clear(user, password)));
        let cluster = self.scene.cluster.clone();
        let interval = Duration::from_millis(20);
        self.put(&[Detection { cluster, credentials, interval, timeout }]);
    }

    fn put(&self, clusters: &[Detection]) {
        let _inside = self.runtime.enter();
        self.monitors.put_in_force(clusters, &Arc::new(self.scene.config.clone()), None);
    }

    fn next(&self) -> Report {
        self.reports.recv_timeout(LIMIT).expect("a report")
    }

    /// Waits for a server to be seen like this.
    fn see(&self, server: &str, what: &str, is_so: impl Fn(&Said) -> bool) -> Said {
        let deadline = Instant::now() + LIMIT;
        let mut last = None;
        while Instant::now() < deadline {
            let report = self.next();
            if *report.server != *server {
                continue;
            }
            if let Ok(said) = &report.outcome
                && is_so(said)
            {
                return said.clone();
            }
            last = Some(report);
        }
        panic!("waited for {what}; last seen {last:?}");
    }

    /// Waits for a server to fail like this.
    fn see_fail(&self, server: &str, what: &str, is_so: impl Fn(&ServiceError) -> bool) -> Report {
        let deadline = Instant::now() + LIMIT;
        let mut last = None;
        while Instant::now() < deadline {
            let report = self.next();
            if *report.server == *server && report.outcome.as_ref().is_err_and(&is_so) {
                return report;
            }
            last = Some(report);
        }
        panic!("waited for {what}; last seen {last:?}");
    }
}

/// A primary and its replica, in a server's own words.
struct Pair {
    primary: Database,
    replica: Database,
    words: Words,
}

/// How a server calls it.
#[derive(Clone, Copy)]
struct Words {
    start: &'static str,
    stop: &'static str,
    stop_applying: &'static str,
    forget: &'static str,
    delay: &'static str,
}

const MARIADB: Words = Words {
    start: "START SLAVE",
    stop: "STOP SLAVE",
    stop_applying: "STOP SLAVE SQL_THREAD",
    forget: "RESET SLAVE ALL",
    delay: "CHANGE MASTER TO MASTER_DELAY = 3600",
};

const MYSQL: Words = Words {
    start: "START REPLICA",
    stop: "STOP REPLICA",
    stop_applying: "STOP REPLICA SQL_THREAD",
    forget: "RESET REPLICA ALL",
    delay: "CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 3600",
};

impl Pair {
    fn start(server: Server) -> Option<Self> {
        let is_mysql = server == Server::MySql;
        let start = |id: &str| {
            let id = format!("--server-id={id}");
            let mut options = vec!["--log-bin=log", &*id];
            if is_mysql {
                options.extend(["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]);
            }
            Database::start_with(server, &options)
        };
        let (primary, replica) = (start("1")?, start("2")?);
        let words = if is_mysql { MYSQL } else { MARIADB };
        primary.execute(&[
            "CREATE USER 'repl'@'%' IDENTIFIED BY 'repl-secret'",
            "GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%'",
            "CREATE TABLE p.t (id INT)",
        ]);
        let pair = Self { primary, replica, words };
        pair.follow();
        pair.replica.execute(&["SET GLOBAL read_only = ON"]);
        pair.primary.execute(&[
            &format!("CREATE USER '{}'@'%' IDENTIFIED BY '{}'", SERVICE.0, SERVICE.1),
            match is_mysql {
                true => "GRANT REPLICATION CLIENT ON *.* TO 'svc'@'%'",
                false => "GRANT REPLICA MONITOR ON *.* TO 'svc'@'%'",
            },
        ]);
        pair.replica.until_counted("SELECT COUNT(*) FROM mysql.user WHERE user = 'svc'");
        Some(pair)
    }

    /// Lets the replica replicate.
    fn follow(&self) {
        let port = self.primary.port;
        let change = match self.replica.server {
            Server::MySql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
                 SOURCE_USER = 'repl', SOURCE_PASSWORD = 'repl-secret', \
                 SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1"
            ),
            _ => format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
                 MASTER_USER = 'repl', MASTER_PASSWORD = 'repl-secret', \
                 MASTER_USE_GTID = slave_pos"
            ),
        };
        self.replica.execute(&[&change, self.words.start]);
    }

    fn addresses(&self) -> [String; 2] {
        [self.primary.address(), self.replica.address()]
    }
}

fn is_running(said: &Said) -> bool {
    said.replication.as_ref().is_some_and(|it| it.run == Run::Running)
}

fn is_stopped(said: &Said) -> bool {
    said.replication.as_ref().is_some_and(|it| it.run == Run::Stopped)
}

/// Roles as the data plane would have them.
fn roles(addresses: &[String]) -> Roles {
    let mut roles = Roles::new(History::default());
    let members = (0..).zip(addresses).map(|(id, address)| Member {
        id: ServerId(id),
        address: address.as_str().into(),
        role: ConfiguredRole::Auto,
        idc: "".into(),
        region: "".into(),
        weight: 100,
    });
    roles.configure(members.collect());
    roles
}

fn primary_of(step: &Step) -> Option<ServerId> {
    step.topology.primary().map(Routed::id)
}

fn roles_and_lag_are_seen(server: Server) {
    let Some(pair) = Pair::start(server) else { return };
    let addresses = pair.addresses();
    let [primary, replica] = &addresses;
    let watched = Watched::start(&addresses, LIMIT);
    let mut roles = roles(&addresses);
    let mut observe = |of: [&Said; 2]| {
        let round = (0..).zip(of).map(|(id, it)| (ServerId(id), Observation::Said(it.clone())));
        let step = roles.observe(round);
        (primary_of(&step), step.topology.epoch().0)
    };

    let first = watched.see(primary, "a primary", |said| said.read_only == Some(false));
    assert_eq!(
        (&first.replication, first.lag, first.wsrep, first.group),
        (&None, None, None, None)
    );
    assert_eq!(first.super_read_only, (server == Server::MySql).then_some(false));
    let follows = |said: &Said| {
        said.read_only == Some(true) && is_running(said) && said.lag == Some(Duration::ZERO)
    };
    let second = watched.see(replica, "a replica that is up to date", follows);
    let source = second.replication.as_ref().map(|it| it.source.to_string());
    assert_eq!(source.as_ref(), Some(primary));
    assert_eq!(observe([&first, &second]), (Some(ServerId(0)), 1));

    pair.replica.execute(&[pair.words.stop_applying]);
    let stopped = watched.see(replica, "a replica that is stopped", is_stopped);
    assert_eq!(stopped.lag, None);
    assert_eq!(observe([&first, &stopped]), (Some(ServerId(0)), 1));

    pair.replica.execute(&[pair.words.stop, pair.words.delay, pair.words.start]);
    pair.primary.execute(&["INSERT INTO p.t VALUES (1)"]);
    let lags = |said: &Said| said.lag.is_some_and(|lag| lag >= Duration::from_secs(1));
    watched.see(replica, "a lag", lags);

    // A switchover.
    pair.primary.execute(&["SET GLOBAL read_only = ON"]);
    let old = watched.see(primary, "no primary any more", |said| said.read_only == Some(true));
    pair.replica.execute(&[pair.words.stop, pair.words.forget, "SET GLOBAL read_only = OFF"]);
    let is_new = |said: &Said| said.read_only == Some(false) && said.replication.is_none();
    let new = watched.see(replica, "another primary", is_new);
    assert_eq!(observe([&old, &new]), (Some(ServerId(1)), 2));
}

#[test]
fn roles_and_lag_of_mariadb_10() {
    roles_and_lag_are_seen(Server::MariaDb);
}

#[test]
fn roles_and_lag_of_mariadb_11() {
    roles_and_lag_are_seen(Server::MariaDb11);
}

#[test]
fn roles_and_lag_of_mysql() {
    roles_and_lag_are_seen(Server::MySql);
}

#[test]
fn the_place_in_a_galera_cluster_is_seen() {
    let provider = "/usr/lib/galera/libgalera_smm.so";
    if !std::path::Path::new(provider).exists() {
        return skip("Galera is not to be had here");
    }
    let [group, state] = free_ports();
    let options = [
        "--wsrep-on=ON",
        "--wsrep-cluster-address=gcomm://",
        "--wsrep-node-address=127.0.0.1",
        "--binlog-format=ROW",
        "--innodb-autoinc-lock-mode=2",
        &format!("--wsrep-provider={provider}"),
        &format!(
            "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{group};\
             ist.recv_addr=127.0.0.1:{state}"
        ),
    ];
    let Some(database) = alone_with(Server::MariaDb, &options) else { return };
    let address = database.address();
    let watched = Watched::start(std::slice::from_ref(&address), LIMIT);
    let is = |place| move |said: &Said| said.wsrep == Some(place);
    watched.see(&address, "a node that is synced", is(Wsrep::Synced));
    database.execute(&["SET GLOBAL wsrep_desync = ON"]);
    watched.see(&address, "one that is not", is(Wsrep::Unfit));
    database.execute(&["SET GLOBAL wsrep_desync = OFF"]);
    watched.see(&address, "one that is synced again", is(Wsrep::Synced));
}

#[test]
fn the_place_in_a_replication_group_is_seen() {
    let [port] = free_ports();
    let options = [
        "--plugin-load-add=group_replication.so",
        "--server-id=1",
        "--log-bin=log",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--group-replication-group-name=6b1c1b3e-5c2f-4a0d-9d1e-0242ac120002",
        "--group-replication-start-on-boot=OFF",
        &format!("--group-replication-local-address=127.0.0.1:{port}"),
    ];
    let Some(database) = alone_with(Server::MySql, &options) else { return };
    database.execute(&[
        "GRANT SELECT ON performance_schema.replication_group_members TO 'svc'@'%'",
        "GRANT REPLICATION CLIENT ON *.* TO 'svc'@'%'",
    ]);
    let address = database.address();
    let watched = Watched::start(std::slice::from_ref(&address), LIMIT);
    let is = |place| move |said: &Said| said.group == Some(place);
    watched.see(&address, "a member that is not there", is(Group::Unfit));
    database
        .execute(&["SET GLOBAL group_replication_bootstrap_group = ON", "START GROUP_REPLICATION"]);
    // It is elected first, and takes writes a moment later.
    let takes_writes =
        |said: &Said| said.group == Some(Group::Primary) && said.read_only == Some(false);
    let said = watched.see(&address, "a primary that takes writes", takes_writes);
    assert_eq!(said.replication, None);
    database.execute(&["STOP GROUP_REPLICATION"]);
    let has_left =
        |said: &Said| said.group == Some(Group::Unfit) && said.super_read_only == Some(true);
    watched.see(&address, "one that has left", has_left);
}

/// A server with the account that asks, and no more than that.
fn alone(server: Server) -> Option<Database> {
    alone_with(server, &[])
}

fn alone_with(server: Server, options: &[&str]) -> Option<Database> {
    let database = Database::start_with(server, options)?;
    let (user, password) = SERVICE;
    database.execute(&[&format!("CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'")]);
    Some(database)
}

#[test]
fn an_account_without_privileges_sees_who_takes_writes() {
    for server in [Server::MariaDb, Server::MariaDb11, Server::MySql, Server::SeekDb] {
        let Some(database) = alone(server) else { continue };
        let watched = Watched::start(&[database.address()], LIMIT);
        let said = watched.see(&database.address(), "a server", |said| said.read_only.is_some());
        assert_eq!((said.read_only, said.replication), (Some(false), None), "{server:?}");
    }
}

#[test]
fn the_connection_is_kept_and_made_anew_when_the_server_closed_it() {
    let Some(database) = alone(Server::MariaDb) else { return };
    let address = database.address();
    let watched = Watched::start(std::slice::from_ref(&address), LIMIT);
    let thread = || {
        let rows = database
            .admin()
            .query("SELECT id FROM information_schema.processlist WHERE user = 'svc'");
        let rows = rows.rows();
        rows.first().and_then(|row| String::from_utf8(row[0].clone()?).ok())
    };
    watched.see(&address, "a server", |_| true);
    let first = until("its connection", thread);
    for _ in 0..5 {
        watched.see(&address, "the server again", |_| true);
    }
    assert_eq!(thread().as_ref(), Some(&first), "one connection");
    database.execute(&[&format!("KILL {first}")]);
    let is_another = || thread().filter(|another| *another != first);
    until("another connection", is_another);
    // No round has failed for it.
    while let Ok(report) = watched.reports.try_recv() {
        report.outcome.expect("it is there all the time");
    }
}

#[test]
fn a_server_that_is_gone_is_seen_and_when_it_is_back() {
    let Some(mut database) = alone(Server::MariaDb) else { return };
    let address = database.address();
    let watched = Watched::start(std::slice::from_ref(&address), LIMIT);
    watched.see(&address, "a server", |said| said.read_only == Some(false));
    database.kill9();
    let report = watched.see_fail(&address, "its end", |_| true);
    assert_eq!(report.observation(), Some(Observation::Unreachable));
    database.start_again();
    watched.see(&address, "its return", |said| said.read_only == Some(false));
}

#[test]
fn a_server_that_hangs_delays_no_other() {
    let Some(hung) = alone(Server::MariaDb) else { return };
    let Some(other) = alone(Server::MariaDb) else { return };
    let addresses = [hung.address(), other.address()];
    // Longer than the test.
    let watched = Watched::start(&addresses, LIMIT);
    for address in &addresses {
        watched.see(address, "a server", |_| true);
    }
    hung.process().signal(Signal::SIGSTOP);
    for _ in 0..20 {
        watched.see(&addresses[1], "the other one", |_| true);
    }
    // What was on its way has come; from here on it says nothing.
    watched.by(Some(SERVICE), Duration::from_millis(100));
    hung.process().signal(Signal::SIGCONT);
    watched.see(&addresses[0], "that it goes on", |_| true);
    hung.process().signal(Signal::SIGSTOP);
    let is_silent = |error: &ServiceError| {
        matches!(error, ServiceError::Silent { .. } | ServiceError::Backend(_))
    };
    let report = watched.see_fail(&addresses[0], "its silence", is_silent);
    assert_eq!(report.observation(), Some(Observation::Unreachable));
    watched.see(&addresses[1], "the other one", |_| true);
    hung.process().signal(Signal::SIGCONT);
    watched.see(&addresses[0], "its return", |said| said.read_only == Some(false));
}

#[test]
fn an_account_that_is_refused_says_nothing_of_roles() {
    let Some(database) = alone(Server::MariaDb) else { return };
    let address = database.address();
    let watched = Watched::new(std::slice::from_ref(&address));
    watched.by(Some((SERVICE.0, "wrong")), LIMIT);
    let is_refused =
        |error: &ServiceError| matches!(error, ServiceError::Refused(error) if error.code == 1045);
    let report = watched.see_fail(&address, "a refusal", is_refused);
    assert_eq!(report.observation(), None);
    // The right password counts from the next round on.
    watched.by(Some(SERVICE), LIMIT);
    watched.see(&address, "a server", |said| said.read_only == Some(false));
    // Without an account it is only seen that it lives.
    watched.by(None, LIMIT);
    watched.see(&address, "a life", |said| said.read_only.is_none());
}

#[test]
fn who_is_not_in_force_any_more_is_left_alone() {
    let Some(database) = alone(Server::MariaDb) else { return };
    let watched = Watched::start(&[database.address()], LIMIT);
    watched.see(&database.address(), "a server", |_| true);
    let here = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'svc'";
    database.until_counted(here);
    watched.put(&[]);
    database.until_counted(&here.replace("COUNT(*)", "COUNT(*) = 0"));
}
