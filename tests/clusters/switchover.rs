//! ALTER CLUSTER … SWITCHOVER: another primary, and no client notices more than the time.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::scene::{open, order, port, until_route};
use crate::support::database::PASSWORD;
use crate::support::fleet::introduce;
use crate::support::http::Asker;
use crate::support::proxy::{ADMIN_PASSWORD, Options};
use crate::support::{Database, Ender, Proxy, Server, until};

/// Who may ask by HTTP, and what the config has of that.
const TOKEN: &str = "a token";
const TOKEN_HASH: &str = "e3316e2bafebb6103a3418e8778c0adc960d40213a03a7e7f4fcd3426ed807bf";

/// A primary, a replica that may become it, and clients that are nobody special.
struct Pair {
    servers: [Database; 2],
    options: Options,
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
        let pair = Self { servers, options, proxy };
        pair.until_known(&pair.proxy);
        Some(pair)
    }

    /// Waits until a proxy knows who is who.
    fn until_known(&self, proxy: &Proxy) {
        let [primary, replica] = &self.servers;
        until_route(proxy, &primary.address(), "role", "primary");
        until_route(proxy, &replica.address(), "role", "replica");
    }

    /// The same by the console, as a person does it.
    fn by_console(&self, place: usize) {
        let nobody = Asker::nobody(&self.proxy);
        let login = nobody.form("/login", &format!("user=root&password={ADMIN_PASSWORD}"));
        let cookie =
            login.field("set-cookie").and_then(|it| it.split(';').next()).expect("a cookie");
        let person = nobody.with("Cookie", cookie);
        let overview = person.get("/clusters/main").body;
        let address = self.servers[place].address().replace(':', "%3A");
        let path = format!("/clusters/main/servers/{address}/switchover");
        // Of the replica only.
        assert_eq!(overview.matches("/switchover\"").count(), 1, "{overview}");
        assert!(overview.contains(&format!("action=\"{path}\"")), "{overview}");
        let (_, rest) = overview.split_once("name=\"csrf\" value=\"").expect("a form");
        let csrf = rest.split('"').next().expect("its value");
        let answer = person.form(&path, &format!("csrf={csrf}"));
        assert_eq!((answer.status, answer.field("location")), (303, Some("/clusters/main")));
    }

    /// The same by the API, with this behind the server.
    fn by_api(&self, place: usize, more: &str) {
        let address = self.servers[place].address();
        let asker = Asker::token(&self.proxy, TOKEN);
        let body = format!("{{\"server\": \"{address}\"{more}}}");
        let answer = asker.ask("POST", "/api/v1/clusters/main/switchover", &body);
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer:?}");
    }

    /// The same switchover by a command, with these options; what it says, or why not.
    fn command(&self, options: &[&str], place: usize) -> Result<String, String> {
        let mut odp = Command::new(env!("CARGO_BIN_EXE_odp"));
        odp.arg("switchover").args(options).arg("-c").arg(self.proxy.config());
        let out = odp.args(["main", &self.servers[place].address()]).output().expect("odp runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
    }

    /// Asks for another primary; why not.
    fn switch_to(&self, place: usize, force: &str) -> Option<String> {
        let address = self.servers[place].address();
        order(&self.proxy, &format!("ALTER CLUSTER main SWITCHOVER TO '{address}' {force}"))
    }

    /// Writes until it is told to stop; how often that was acknowledged.
    fn write(&self, client: usize, stop: &AtomicBool, written: &AtomicUsize) -> usize {
        write(&self.proxy, client, stop, written)
    }
}

/// The same, by any proxy.
fn write(proxy: &Proxy, client: usize, stop: &AtomicBool, written: &AtomicUsize) -> usize {
    let mut wire = open(proxy, "app").expect("it may log in");
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
        pair.proxy.kill_carrier();
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
fn clients_of_all_proxies_of_the_fleet_wait_for_it() {
    const CLIENTS: usize = 8;
    let Some(pair) = Pair::start(Server::MariaDb) else { return };
    let other = Proxy::start_with(&pair.options);
    introduce(&[&pair.proxy, &other]);
    pair.until_known(&other);
    let proxies = [&pair.proxy, &other];
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    let counts = thread::scope(|scope| {
        let write = |client: usize| {
            let (proxy, stop, written) = (proxies[client % 2], &stop, &written);
            scope.spawn(move || write(proxy, client, stop, written))
        };
        let clients: Vec<_> = (0..CLIENTS).map(write).collect();
        let stops = Ender(&stop);
        for (turn, place) in [1, 0, 1].into_iter().enumerate() {
            until_written(&written, CLIENTS);
            match turn {
                0 => {
                    let said = pair.command(&["--fleet"], place).expect("it comes about");
                    assert!(said.contains("is the primary; 4 sessions moved"), "{said}");
                }
                1 => pair.by_api(place, ", \"fleet\": true"),
                // Where there is a fleet that is what it asks for.
                _ => pair.by_console(place),
            }
            for proxy in proxies {
                until_route(proxy, &pair.servers[place].address(), "role", "primary");
                until_route(proxy, &pair.servers[1 - place].address(), "role", "replica");
            }
        }
        until_written(&written, CLIENTS);
        drop(stops);
        // Nobody has got an error.
        clients.into_iter().map(|client| client.join().expect("no error")).collect::<Vec<_>>()
    });
    let total: usize = counts.iter().sum();
    until("all rows to be there", || {
        let found = pair.servers[1].admin().run("SELECT COUNT(*) FROM p.t").text();
        (found == total.to_string()).then_some(())
    });
    // Who cannot wait there is in the way, and nobody waits for nothing.
    let mut locked = open(&other, "app").expect("log in");
    locked.run("SELECT GET_LOCK('mine', 0)");
    let why = pair.command(&["--fleet"], 0).expect_err("it is refused");
    assert!(why.contains("other proxies: b: ") && why.contains("user lock"), "{why}");
    for proxy in proxies {
        let mut client = open(proxy, "app").expect("log in");
        assert_eq!(port(&mut client), pair.servers[1].port);
    }
    other.kill9();
    let why = pair.command(&["--fleet"], 0).expect_err("it is refused");
    assert!(why.contains("cluster main stays: b: "), "{why}");
}

/// Who carries it out may die at any moment.
#[test]
fn who_waits_for_another_proxy_that_says_no_more_goes_on() {
    let Some(pair) = Pair::start(Server::MariaDb) else { return };
    let mut client = open(&pair.proxy, "app").expect("log in");
    let elsewhere =
        |what: &str| order(&pair.proxy, &format!("ALTER CLUSTER main SWITCHOVER ELSEWHERE {what}"));
    let to = format!("TO '{}'", pair.servers[1].address());
    let why = elsewhere("WAIT").expect("nobody has announced it");
    assert!(why.contains("no switchover of cluster 'main' by another proxy"), "{why}");
    assert_eq!(elsewhere("OVER"), None);
    assert_eq!(elsewhere(&to), None);
    assert!(elsewhere(&to).is_some_and(|why| why.contains("under way")));
    // It is ready, and at work.
    client.run("INSERT INTO p.t VALUES (1, 1)");
    assert_eq!(elsewhere("WAIT"), None);
    assert!(pair.switch_to(1, "").is_some_and(|why| why.contains("under way")));
    // Answered when it has been waited for long enough.
    client.run("INSERT INTO p.t VALUES (1, 2)");
    assert_eq!(port(&mut client), pair.servers[0].port);
    // Or somebody says that it comes to nothing.
    for sql in [&*to, "WAIT", "OVER"] {
        assert_eq!(elsewhere(sql), None);
    }
    client.run("INSERT INTO p.t VALUES (1, 3)");
    assert_eq!(port(&mut client), pair.servers[0].port);
    assert_eq!(pair.switch_to(1, ""), None);
    assert_eq!(port(&mut client), pair.servers[1].port);
}

#[test]
fn the_console_does_the_same() {
    let Some(pair) = Pair::start(Server::MariaDb) else { return };
    let mut kept = open(&pair.proxy, "app").expect("log in");
    kept.run("SET @x = 'kept'");
    pair.by_console(1);
    until_route(&pair.proxy, &pair.servers[1].address(), "role", "primary");
    assert_eq!(port(&mut kept), pair.servers[1].port);
    assert_eq!(kept.run("SELECT @x").text(), "kept");
}

#[test]
fn the_api_does_the_same() {
    let Some(pair) = Pair::start(Server::MariaDb) else { return };
    let mut kept = open(&pair.proxy, "app").expect("log in");
    kept.run("SET @x = 'kept'");
    pair.by_api(1, "");
    until_route(&pair.proxy, &pair.servers[1].address(), "role", "primary");
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
        let text = pair.command(&[], 1).ok()?;
        assert!(text.contains("is the primary; 1 session"), "{text}");
        Some(())
    });
    client.run("INSERT INTO p.t VALUES (1, 3)");
    assert_eq!(port(&mut client), replica.port);
}
