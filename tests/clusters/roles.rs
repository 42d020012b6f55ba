//! A primary and its replica behind one name.

use crate::scene::{account, open, port, route, show, until_route};
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server, com, until};

const SERVICE: &str = "service_user = \"svc\"\nservice_password = \"svc-secret\"\n";

const COLUMNS: &[&str] = &[
    "cluster",
    "server",
    "role",
    "idc",
    "region",
    "weight",
    "state",
    "epoch",
    "lag",
    "links",
    "reads",
    "writes",
    "last_error",
];

/// A MariaDB that replicates another one, which the config names behind it.
struct Pair {
    primary: Database,
    replica: Database,
    proxy: Proxy,
}

impl Pair {
    fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// With these lines at the end of the config.
    fn start_with(rest: &str) -> Option<Self> {
        let start = |id| Database::start_with(Server::MariaDb, &["--log-bin=log", id]);
        let (primary, replica) = (start("--server-id=1")?, start("--server-id=2")?);
        primary.execute(&[
            "CREATE USER repl IDENTIFIED BY 'repl-secret'",
            "GRANT REPLICATION SLAVE ON *.* TO repl",
            "CREATE USER svc IDENTIFIED BY 'svc-secret'",
            "GRANT REPLICA MONITOR ON *.* TO svc",
        ]);
        follow(&replica, &primary);
        replica.execute(&["SET GLOBAL read_only = ON"]);
        replica.until_counted("SELECT COUNT(*) FROM mysql.user WHERE user = 'svc'");
        let mut options = Options::new(&[replica.address(), primary.address()]);
        options.proxy = "server_detect_refresh_interval = \"50ms\"".into();
        options.cluster = SERVICE.into();
        options.rest = rest.into();
        let proxy = Proxy::start_with(&options);
        Some(Self { primary, replica, proxy })
    }
}

/// Waits until every session knows that there is another primary.
fn until_told(proxy: &Proxy) {
    let told = "sessions hear of another primary";
    until("sessions to hear of it", || proxy.log().contains(told).then_some(()));
}

fn follow(replica: &Database, primary: &Database) {
    replica.execute(&[
        &format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'repl', \
             MASTER_PASSWORD = 'repl-secret', MASTER_USE_GTID = slave_pos",
            primary.port
        ),
        "START SLAVE",
    ]);
}

#[test]
fn homes_are_on_the_primary_and_follow_a_switchover() {
    let Some(Pair { primary, replica, proxy }) = Pair::start() else { return };
    until_route(&proxy, &primary.address(), "role", "primary");
    until_route(&proxy, &replica.address(), "lag", "0.000");
    let mut admin = proxy.admin().expect("the proxy takes operators");
    assert_eq!(admin.run("SHOW PROXYROUTE").columns(), COLUMNS);
    let mut before = open(&proxy, "odp").expect("the primary lives");
    assert_eq!(port(&mut before), primary.port, "though it is named last");
    before.run("CREATE TABLE p.t (n INT)");
    before.run("INSERT INTO p.t VALUES (1)");
    let row = route(&proxy, &primary.address());
    let cell = |name: &str| row[name].as_str();
    assert_eq!(
        ["cluster", "role", "state", "weight", "epoch", "links", "last_error"].map(cell),
        ["main", "primary", "online", "100", "1", "1", ""]
    );
    assert_eq!((cell("reads"), cell("writes")), ("1", "2"), "a definition is a write");
    let row = route(&proxy, &replica.address());
    assert_eq!((&*row["role"], &*row["links"], &*row["epoch"]), ("replica", "0", "1"));
    let row = &show(&proxy, "PROXYCLUSTER")[0];
    assert_eq!((&*row["primary"], &*row["epoch"]), (&*primary.address(), "1"));

    primary.execute(&["SET GLOBAL read_only = ON"]);
    replica.execute(&["STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = OFF"]);
    until_route(&proxy, &replica.address(), "role", "primary");
    until_route(&proxy, &replica.address(), "epoch", "2");
    assert_eq!(port(&mut open(&proxy, "odp").expect("the new one lives")), replica.port);
    // Nobody can log in for it. It may write where nobody else may, which would be lost.
    until_told(&proxy);
    assert_eq!(port(&mut before), primary.port, "who cannot leave stays there");
    assert_eq!(before.query("INSERT INTO p.t VALUES (2)").error(), Some(1290));
    assert_eq!(before.run("SELECT COUNT(*) FROM p.t").text(), "1", "and reads");
    follow(&primary, &replica);
    until_route(&proxy, &primary.address(), "role", "replica");

    // The successor does not begin to count anew.
    proxy.restart();
    until_route(&proxy, &replica.address(), "role", "primary");
    assert_eq!(route(&proxy, &replica.address())["epoch"], "2");
    assert_eq!(port(&mut open(&proxy, "odp").expect("the new one lives")), replica.port);
    assert_eq!(port(&mut before), primary.port, "who cannot leave stays there");
    assert_eq!(before.query("INSERT INTO p.t VALUES (2)").error(), Some(1290));
    assert_eq!(before.run("SELECT COUNT(*) FROM p.t").text(), "1", "and reads");
}

/// It lives, and would take writes: somebody has made another one the primary, and told it only to
/// follow that. Reads are not split here.
#[test]
fn nobody_writes_on_a_server_that_was_the_primary() {
    let Some(pair) = Pair::start_with(&account()) else { return };
    let Pair { primary, replica, proxy } = &pair;
    primary.execute(&["CREATE TABLE p.t (n INT) ENGINE = InnoDB"]);
    replica.until_counted("SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 't'");
    let [mut free, mut locked, mut busy, mut reads] =
        [(); 4].map(|()| open(proxy, "odp").expect("the primary lives"));
    free.run("SET @x = 'kept'");
    let insert = free.prepare("INSERT INTO p.t VALUES (1)");
    locked.run("SELECT GET_LOCK('mine', 0)");
    busy.run("BEGIN");
    busy.run("INSERT INTO p.t VALUES (2)");
    reads.run("BEGIN");
    assert_eq!(port(&mut free), primary.port);

    replica.execute(&["STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = OFF"]);
    follow(primary, replica);
    until_route(proxy, &replica.address(), "role", "primary");
    until_route(proxy, &primary.address(), "role", "replica");
    until_told(proxy);

    // What writes first is written where writes are.
    let reply = free.ask(com::EXECUTE, &[&insert.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat());
    assert_eq!(reply.error(), None);
    assert_eq!(port(&mut free), replica.port);
    assert_eq!(free.run("SELECT @x").text(), "kept");
    // Who is held writes nowhere.
    assert_eq!(locked.query("INSERT INTO p.t VALUES (3)").error(), Some(1290));
    assert_eq!(port(&mut locked), primary.port, "but may read");
    // A transaction ends where it is, and without what it has written.
    assert_eq!(busy.query("INSERT INTO p.t VALUES (5)").error(), Some(1290));
    assert_eq!(busy.query("COMMIT").error(), Some(1290));
    busy.run("ROLLBACK");
    busy.run("INSERT INTO p.t VALUES (6)");
    assert_eq!(port(&mut busy), replica.port);
    reads.run("COMMIT");
    assert_eq!(port(&mut reads), replica.port);
    let rows = "SELECT GROUP_CONCAT(n ORDER BY n) FROM p.t";
    assert_eq!(replica.admin().run(rows).text(), "1,6");
}

/// The successor knows who is left behind.
#[test]
fn nobody_writes_there_after_a_restart() {
    let Some(pair) = Pair::start_with(&account()) else { return };
    let Pair { primary, replica, proxy } = &pair;
    primary.execute(&["CREATE TABLE p.t (n INT)"]);
    let mut wire = open(proxy, "odp").expect("the primary lives");
    let mut locked = open(proxy, "odp").expect("the primary lives");
    locked.run("SELECT GET_LOCK('mine', 0)");
    assert_eq!(port(&mut wire), primary.port);
    replica.until_counted("SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 't'");
    replica.execute(&["STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = OFF"]);
    follow(primary, replica);
    until_route(proxy, &primary.address(), "role", "replica");
    until_told(proxy);
    proxy.restart();
    assert_eq!(locked.query("INSERT INTO p.t VALUES (1)").error(), Some(1290));
    wire.run("INSERT INTO p.t VALUES (2)");
    assert_eq!(port(&mut wire), replica.port);
    assert_eq!(replica.admin().run("SELECT GROUP_CONCAT(n) FROM p.t").text(), "2");
}

/// Nothing takes writes, but reads go on where sessions are.
#[test]
fn a_primary_that_dies_is_lost_and_found() {
    let Some(Pair { mut primary, replica, proxy }) = Pair::start() else { return };
    until_route(&proxy, &primary.address(), "role", "primary");
    let address = primary.address();
    primary.kill9();
    until_route(&proxy, &address, "state", "lost");
    assert_ne!(route(&proxy, &address)["last_error"], "");
    assert_eq!(route(&proxy, &replica.address())["role"], "replica");
    primary.start_again();
    until_route(&proxy, &address, "state", "online");
    until_route(&proxy, &address, "role", "primary");
    assert_eq!(port(&mut open(&proxy, "odp").expect("it lives again")), primary.port);
}
