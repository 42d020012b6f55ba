//! A primary and its replica behind one name.

use crate::scene::{open, port, route, show, until_route};
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server};

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
        let proxy = Proxy::start_with(&options);
        Some(Self { primary, replica, proxy })
    }
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
    assert_eq!(port(&mut before), primary.port, "who is there stays there");
    follow(&primary, &replica);
    until_route(&proxy, &primary.address(), "role", "replica");

    // The successor does not begin to count anew.
    proxy.restart();
    until_route(&proxy, &replica.address(), "role", "primary");
    assert_eq!(route(&proxy, &replica.address())["epoch"], "2");
    assert_eq!(port(&mut open(&proxy, "odp").expect("the new one lives")), replica.port);
    assert_eq!(port(&mut before), primary.port, "who is there stays there");
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
