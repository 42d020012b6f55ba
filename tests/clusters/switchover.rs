//! ALTER CLUSTER … SWITCHOVER: another primary, and no client notices more than the time.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{open, order, port, until_route};
use crate::support::database::PASSWORD;
use crate::support::http::Asker;
use crate::support::proxy::Options;
use crate::support::{Database, Ender, Proxy, Server, until};

/// Who may ask by HTTP, and what the config has of that.
const TOKEN: &str = "a token";
const TOKEN_HASH: &str = "e3316e2bafebb6103a3418e8778c0adc960d40213a03a7e7f4fcd3426ed807bf";

/// A primary, a replica that may become it, and clients that are nobody special.
struct Pair {
    servers: [Database; 2],
    proxy: Proxy,
}

impl Pair {
    fn start(kind: Server) -> Option<Self> {
        Self::start_with(kind, "")
    }

    /// With these lines in `[proxy]`.
    fn start_with(kind: Server, lines: &str) -> Option<Self> {
        let gtid: &[&str] = match kind {
            Server::MySql => &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
            _ => &["--log-slave-updates=ON"],
        };
        let start = |id| Database::start_with(kind, &[&["--log-bin=log", id], gtid].concat());
        let servers = [start("--server-id=1")?, start("--server-id=2")?];
        let [primary, replica] = &servers;
        let rights = match kind {
            Server::MySql => {
                "SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, REPLICATION_SLAVE_ADMIN, \
                 REPLICATION CLIENT, REPLICATION SLAVE, RELOAD, PROCESS, SELECT"
            }
            _ => {
                "READ_ONLY ADMIN, REPLICATION SLAVE ADMIN, REPLICA MONITOR, REPLICATION SLAVE, \
                 RELOAD"
            }
        };
        // What each has of its own accord is no part of what they share.
        match kind {
            Server::MySql => {
                servers.iter().for_each(|it| it.execute(&["RESET BINARY LOGS AND GTIDS"]));
            }
            _ => servers.iter().for_each(|it| it.execute(&["RESET MASTER"])),
        }
        primary.execute(&[
            &format!("CREATE USER svc IDENTIFIED BY '{PASSWORD}'"),
            &format!("GRANT {rights} ON *.* TO svc"),
            &format!("CREATE USER app IDENTIFIED BY '{PASSWORD}'"),
            "GRANT SELECT, INSERT, LOCK TABLES ON p.* TO app",
            "CREATE TABLE p.t (client INT, n INT, PRIMARY KEY (client, n))",
        ]);
        let (verb, prefix, how, go) = match kind {
            Server::MySql => (
                "CHANGE REPLICATION SOURCE TO",
                "SOURCE",
                "SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
                "START REPLICA",
            ),
            _ => ("CHANGE MASTER TO", "MASTER", "MASTER_USE_GTID = slave_pos", "START SLAVE"),
        };
        let port = primary.port;
        replica.execute(&[
            &format!(
                "{verb} {prefix}_HOST = '127.0.0.1', {prefix}_PORT = {port}, {prefix}_USER = \
                 'svc', {prefix}_PASSWORD = '{PASSWORD}', {how}"
            ),
            go,
            match kind {
                Server::MySql => "SET GLOBAL super_read_only = ON",
                _ => "SET GLOBAL read_only = ON",
            },
        ]);
        replica.until_counted("SELECT COUNT(*) FROM mysql.user WHERE user = 'app'");
        let mut options = Options::new(&servers.each_ref().map(Database::address));
        options.proxy = format!("server_detect_refresh_interval = \"100ms\"\n{lines}");
        options.cluster = format!("service_user = \"svc\"\nservice_password = \"{PASSWORD}\"\n");
        options.rest = format!(
            "[[cluster.user]]\nname = \"app\"\npassword = \"{PASSWORD}\"\n[console]\n\
             enabled = true\n[[admin.token]]\nname = \"ops\"\nrole = \"manager\"\n\
             sha256 = \"{TOKEN_HASH}\"\n"
        );
        let proxy = Proxy::start_with(&options);
        until_route(&proxy, &primary.address(), "role", "primary");
        until_route(&proxy, &replica.address(), "role", "replica");
        Some(Self { servers, proxy })
    }

    /// Asks for another primary; why not.
    fn switch_to(&self, place: usize, force: &str) -> Option<String> {
        let address = self.servers[place].address();
        order(&self.proxy, &format!("ALTER CLUSTER main SWITCHOVER TO '{address}' {force}"))
    }

    /// Writes until it is told to stop; how often that was acknowledged.
    fn write(&self, client: usize, stop: &AtomicBool, written: &AtomicUsize) -> usize {
        let mut wire = open(&self.proxy, "app").expect("it may log in");
        let mut n = 0;
        let mut insert = |wire: &mut crate::support::Wire| {
            wire.run(&format!("INSERT INTO p.t VALUES ({client}, {n})"));
            n += 1;
        };
        while !stop.load(Ordering::Relaxed) {
            insert(&mut wire);
            wire.run("BEGIN");
            insert(&mut wire);
            insert(&mut wire);
            wire.run("COMMIT");
            written.fetch_add(1, Ordering::Relaxed);
        }
        n
    }
}

/// A pause in which everybody has written once more.
fn until_written(written: &AtomicUsize, clients: usize) {
    let goal = written.load(Ordering::Relaxed) + 2 * clients;
    until("clients to write", || (written.load(Ordering::Relaxed) >= goal).then_some(()));
}

fn nothing_is_lost_to_and_fro(kind: Server) {
    const CLIENTS: usize = 8;
    let Some(pair) = Pair::start(kind) else { return };
    let mut kept = open(&pair.proxy, "app").expect("it may log in");
    kept.run("SET @x = 'kept', sql_mode = 'ANSI_QUOTES'");
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let counts = thread::scope(|scope| {
        let write = |client| {
            let (pair, stop, written) = (&pair, &stop, &written);
            scope.spawn(move || pair.write(client, stop, written))
        };
        let clients: Vec<_> = (0..CLIENTS).map(write).collect();
        let stops = Ender(&stop);
        for place in [1, 0, 1, 0] {
            until_written(&written, CLIENTS);
            assert_eq!(pair.switch_to(place, ""), None);
            let address = pair.servers[place].address();
            until_route(&pair.proxy, &address, "role", "primary");
            // What was the primary follows.
            until_route(&pair.proxy, &pair.servers[1 - place].address(), "role", "replica");
            assert_eq!(port(&mut open(&pair.proxy, "app").expect("log in")), {
                pair.servers[place].port
            });
            assert_eq!(port(&mut kept), pair.servers[place].port);
            assert_eq!(kept.run("SELECT CONCAT(@x, @@sql_mode)").text(), "keptANSI_QUOTES");
        }
        until_written(&written, CLIENTS);
        drop(stops);
        clients.into_iter().map(|client| client.join().expect("no error")).collect::<Vec<_>>()
    });
    let total: usize = counts.iter().sum();
    for server in &pair.servers {
        until("all rows to be there", || {
            let found = server.admin().run("SELECT COUNT(*) FROM p.t").text();
            (found == total.to_string()).then_some(())
        });
    }
}

#[test]
fn nothing_is_lost_to_and_fro_mariadb() {
    nothing_is_lost_to_and_fro(Server::MariaDb);
}

#[test]
fn nothing_is_lost_to_and_fro_mysql() {
    nothing_is_lost_to_and_fro(Server::MySql);
}

/// Whoever goes on after a crash must not believe in the primary that there was before.
#[test]
fn who_comes_after_a_crash_knows_the_new_primary() {
    let lines = "crash_protection = true\n";
    let Some(pair) = Pair::start_with(Server::MariaDb, lines) else { return };
    let mut wire = open(&pair.proxy, "app").expect("log in");
    let mut n = 0;
    for place in [1, 0, 1, 0] {
        assert_eq!(pair.switch_to(place, ""), None);
        let mut admin = pair.proxy.admin().expect("the proxy takes operators");
        let rows = admin.run("SHOW PROXYINFO BINARY").named_rows();
        let pid = rows.iter().find(|row| row["name"] == "pid").expect("a pid")["info"].parse();
        kill(Pid::from_raw(pid.expect("a number")), Signal::SIGKILL).expect("it lives");
        for _ in 0..20 {
            wire.run(&format!("INSERT INTO p.t VALUES (7, {n})"));
            n += 1;
            let count = wire.run("SELECT COUNT(*) FROM p.t WHERE client = 7").text();
            assert_eq!((count, port(&mut wire)), (n.to_string(), pair.servers[place].port));
        }
        until_route(&pair.proxy, &pair.servers[place].address(), "role", "primary");
        until_route(&pair.proxy, &pair.servers[1 - place].address(), "role", "replica");
    }
}

#[test]
fn the_api_does_the_same() {
    let Some(pair) = Pair::start(Server::MariaDb) else { return };
    let mut kept = open(&pair.proxy, "app").expect("log in");
    kept.run("SET @x = 'kept'");
    let address = pair.servers[1].address();
    let asker = Asker::token(&pair.proxy, TOKEN);
    let body = format!("{{\"server\": \"{address}\"}}");
    let answer = asker.ask("POST", "/api/v1/clusters/main/switchover", &body);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer:?}");
    until_route(&pair.proxy, &address, "role", "primary");
    assert_eq!(port(&mut kept), pair.servers[1].port);
    assert_eq!(kept.run("SELECT @x").text(), "kept");
}

/// Whoever cannot move would lose its writes.
#[test]
fn sessions_that_cannot_move_are_named_and_keep_the_primary() {
    let Some(pair) = Pair::start(Server::MariaDb) else { return };
    let mut locked = open(&pair.proxy, "app").expect("log in");
    locked.run("SELECT GET_LOCK('mine', 0)");
    let mut other = open(&pair.proxy, "app").expect("log in");
    let why = pair.switch_to(1, "").expect("it is refused");
    let id = locked.greeting.connection_id;
    assert!(why.contains(&format!("{id}: it is pinned: user lock")), "{why}");
    for wire in [&mut locked, &mut other] {
        assert_eq!(port(wire), pair.servers[0].port);
    }
    other.run("INSERT INTO p.t VALUES (1, 1)");
    // A transaction that does not end is one, too.
    other.run("BEGIN");
    other.run("INSERT INTO p.t VALUES (1, 2)");
    locked.run("DO RELEASE_LOCK('mine')");
    drop(locked);
    let why = pair.switch_to(1, "").expect("it is refused");
    assert!(why.contains("in the middle of a command or a transaction"), "{why}");
    other.run("COMMIT");
    assert_eq!(pair.switch_to(1, ""), None);
    assert_eq!(port(&mut other), pair.servers[1].port);
}

/// FORCE leaves it behind, where nothing takes writes.
#[test]
fn who_is_left_behind_reads_and_does_not_write() {
    let Some(pair) = Pair::start(Server::MariaDb) else { return };
    let mut locked = open(&pair.proxy, "app").expect("log in");
    locked.run("SELECT GET_LOCK('mine', 0)");
    assert_eq!(pair.switch_to(1, "FORCE"), None);
    assert_eq!(port(&mut locked), pair.servers[0].port);
    assert_eq!(locked.query("INSERT INTO p.t VALUES (1, 1)").error(), Some(1290));
}

/// Each of these leaves everything as it was.
#[test]
fn who_is_not_ready_does_not_become_the_primary() {
    let Some(pair) = Pair::start(Server::MariaDb) else { return };
    let [primary, replica] = &pair.servers;
    let mut client = open(&pair.proxy, "app").expect("log in");
    let refused = |what: &str| pair.switch_to(1, "").filter(|why| why.contains(what));
    let why = pair.switch_to(0, "").expect("it is it");
    assert!(why.contains("is the primary already"), "{why}");
    let why = order(&pair.proxy, "ALTER CLUSTER main SWITCHOVER TO '127.0.0.1:1'");
    assert!(why.is_some_and(|why| why.contains("no server of cluster 'main'")));
    let why = order(&pair.proxy, "ALTER CLUSTER other SWITCHOVER TO '127.0.0.1:1'");
    assert!(why.is_some_and(|why| why.contains("no cluster 'other'")));
    replica.execute(&["STOP SLAVE"]);
    assert!(refused("its replication is stopped").is_some());
    replica.execute(&["START SLAVE", "SET GLOBAL read_only = OFF"]);
    assert!(refused("read_only is OFF").is_some());
    // What the replica cannot apply it never catches up with.
    replica.execute(&["SET GLOBAL read_only = ON", "FLUSH TABLES WITH READ LOCK"]);
    let mut lock = replica.admin();
    lock.run("FLUSH TABLES WITH READ LOCK");
    client.run("INSERT INTO p.t VALUES (1, 1)");
    assert!(refused("has not applied what the primary has written").is_some());
    client.run("INSERT INTO p.t VALUES (1, 2)");
    assert_eq!(port(&mut client), primary.port);
    drop(lock);
    until("the replica to be ready", || {
        let mut odp = Command::new(env!("CARGO_BIN_EXE_odp"));
        let (config, to) = (pair.proxy.config(), replica.address());
        let out = odp.arg("switchover").arg("-c").arg(config).args(["main", &to]).output();
        let out = out.expect("odp runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        out.status.success().then(|| assert!(text.contains("is the primary; 1 session"), "{text}"))
    });
    client.run("INSERT INTO p.t VALUES (1, 3)");
    assert_eq!(port(&mut client), replica.port);
}
