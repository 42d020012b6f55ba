//! Clusters of several servers: sessions that move, and clients that read their own writes.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::database::PASSWORD;
use crate::support::proxy::{ADMIN_PASSWORD, Options};
use crate::support::{Database, Login, Proxy, Server, Wire, until};
use crate::{number, outcome};

const LOST: [&str; 4] = ["sessions_lost", "connects_failed", "statements_failed", "answers_wrong"];

fn url(address: &str) -> String {
    format!("mysql://odp:{PASSWORD}@{address}/p")
}

/// A proxy in front of these servers, which may log in for the user of the tests, and which asks
/// them for their roles.
fn proxy(servers: &[String]) -> Proxy {
    proxy_with(servers, &format!("service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n"))
}

/// The same with these lines in its cluster.
fn proxy_with(servers: &[String], lines: &str) -> Proxy {
    let mut options = Options::new(servers);
    options.cluster = lines.to_owned();
    options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
    Proxy::start_with(&options)
}

/// Two addresses of one server, as two servers that always agree.
fn twice(database: &Database) -> [String; 2] {
    [database.address(), format!("localhost:{}", database.port)]
}

/// A pair of which the second follows the first.
struct Pair {
    primary: Database,
    replica: Database,
}

impl Pair {
    fn start() -> Option<Self> {
        let start = |id| {
            let log = ["--log-bin=log", "--binlog-format=ROW", id];
            Database::start_with(Server::MariaDb, &log)
        };
        let (primary, replica) = (start("--server-id=1")?, start("--server-id=2")?);
        let port = primary.port;
        let follow = format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
             MASTER_USER = 'odp', MASTER_PASSWORD = '{PASSWORD}', MASTER_USE_GTID = slave_pos"
        );
        replica.execute(&[&follow, "START SLAVE"]);
        Some(Self { primary, replica })
    }
}

/// What a load by way of this proxy finds, whose admin port is this one.
pub(crate) fn moving<'a>(
    proxy: &str,
    admin: &'a str,
    more: &[&'a str],
) -> (Option<i32>, serde_json::Value) {
    let url = url(proxy);
    let port = ["--url", &url, "-a", admin, "--admin-password", ADMIN_PASSWORD];
    outcome(&[&port[..], more].concat())
}

fn reason(found: &serde_json::Value, part: &str) -> bool {
    let stayed = found["moves"]["stayed"].as_array().unwrap().iter();
    stayed.filter_map(|row| row["reason"].as_str()).any(|reason| reason.contains(part))
}

#[test]
fn sessions_move_and_nothing_is_lost() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = proxy(&twice(&database));
    let report = tempfile::NamedTempFile::new().unwrap();
    let file = report.path().to_str().unwrap();
    // Few, so that each has its turn more than once.
    let few = ["--connections", "12", "--duration", "6s", "--hold", "1s"];
    let more = [&few[..], &["--move-every", "20ms", "--report", file]].concat();
    let (code, found) = moving(&proxy.address(), &proxy.admin_address(), &more);
    assert_eq!(code, Some(0), "{found:#}");
    LOST.iter().for_each(|name| assert_eq!(number(&found, name), 0, "{name} in {found:#}"));
    let moves = &found["moves"];
    assert!(number(moves, "moved") > 0, "{found:#}");
    assert!(number(&moves["waits"], "count") > 0, "{found:#}");
    // Those who hold a lock and a temporary table.
    assert!(reason(&found, "pinned"), "{found:#}");
    assert!(std::fs::read_to_string(file).unwrap().contains("<h2>Moves</h2>"));
}

fn what_can_be_told_moves(server: Server) {
    let Some(database) = Database::start(server) else { return };
    let proxy = proxy(&twice(&database));
    let mix = ["--mix", "portable", "--connections", "4"];
    let more = [&mix[..], &["--move-every", "20ms", "--duration", "5s"]].concat();
    let (code, found) = moving(&proxy.address(), &proxy.admin_address(), &more);
    assert_eq!(code, Some(0), "{found:#}");
    assert!(number(&found["moves"], "moved") > 0, "{found:#}");
}

#[test]
fn mariadb_what_can_be_told_to_another_server_moves() {
    what_can_be_told_moves(Server::MariaDb);
}

#[test]
fn mariadb11_what_can_be_told_to_another_server_moves() {
    what_can_be_told_moves(Server::MariaDb11);
}

#[test]
fn mysql_what_can_be_told_to_another_server_moves() {
    what_can_be_told_moves(Server::MySql);
}

#[test]
fn moves_go_on_in_restarts() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = proxy(&twice(&database));
    let more =
        ["--move-every", "50ms", "--restart-every", "2s", "--duration", "5s", "--hold", "1s"];
    let (code, found) = moving(&proxy.address(), &proxy.admin_address(), &more);
    assert_eq!(code, Some(0), "{found:#}");
    assert_eq!(number(&found, "restarts_failed"), 0, "{found:#}");
    assert!(number(&found["moves"], "moved") > 0, "{found:#}");
}

/// A run that was to show that sessions move has shown nothing if none did.
#[test]
fn where_nobody_can_move_is_said_why() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = proxy(&[database.address()]);
    let more = ["--move-every", "50ms", "--duration", "1s", "--mix", "select"];
    let (code, found) = moving(&proxy.address(), &proxy.admin_address(), &more);
    assert_eq!(code, Some(1), "{found:#}");
    LOST.iter().for_each(|name| assert_eq!(number(&found, name), 0, "{name} in {found:#}"));
    assert_eq!(number(&found["moves"], "moved"), 0, "{found:#}");
    assert!(reason(&found, "no other server"), "{found:#}");
}

fn own_writes_are_read(server: Server) {
    let Some(database) = Database::start(server) else { return };
    let address = database.address();
    let (code, found) = outcome(&["--url", &url(&address), "--duration", "3s", "--servers"]);
    assert_eq!(code, Some(0), "{found:#}");
    let servers = found["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 1, "{found:#}");
    assert!(number(&servers[0], "reads") > 100, "{found:#}");
    assert_eq!(number(&servers[0], "stale"), 0, "{found:#}");
    let name = servers[0]["server"].as_str().unwrap();
    assert!(name.contains(&format!(":{},", database.port)), "{found:#}");
    assert_eq!(database.admin().run("SHOW TABLES LIKE 'odp\\_load%'").row_count(), 0);
}

#[test]
fn mariadb_directly_shows_own_writes() {
    own_writes_are_read(Server::MariaDb);
}

#[test]
fn mariadb11_directly_shows_own_writes() {
    own_writes_are_read(Server::MariaDb11);
}

#[test]
fn mysql_directly_shows_own_writes() {
    own_writes_are_read(Server::MySql);
}

/// Sessions that are sent to a replica while it is behind read what they did not write last.
#[test]
fn stale_reads_are_seen_and_their_server_is_named() {
    let Some(Pair { primary, replica }) = Pair::start() else { return };
    // Asked by nobody, the replica is as good as the primary.
    let proxy = proxy_with(&[primary.address(), replica.address()], "");
    let url = url(&proxy.address());
    // What a session has written before it is sent to the other server does not come for an hour.
    let mix = ["--mix", "own", "--connections", "8", "--servers"];
    let port = proxy.admin_address();
    let moves = ["--move-every", "100ms", "-a", &port, "--admin-password", ADMIN_PASSWORD];
    let whole = [&["--url", &url, "--duration", "4s"], &mix[..], &moves[..]].concat();
    let (code, found) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let views = "SELECT COUNT(*) FROM information_schema.VIEWS";
            replica.until_counted(&format!("{views} WHERE TABLE_NAME LIKE '%own%'"));
            let late = "CHANGE MASTER TO MASTER_DELAY = 3600";
            replica.execute(&["STOP SLAVE", late, "START SLAVE"]);
        });
        outcome(&whole)
    });
    assert_eq!(code, Some(1), "{found:#}");
    assert_eq!(number(&found, "sessions_lost"), 0, "{found:#}");
    let servers = found["servers"].as_array().unwrap();
    let stale = |id: &str| {
        let of = servers.iter().filter(|row| row["server"].as_str().unwrap().ends_with(id));
        of.map(|row| number(row, "stale")).sum::<u64>()
    };
    assert!(stale("server_id 2") + stale("which") > 0, "{found:#}");
    let events = found["events"].as_array().unwrap();
    let is_stale = |text: &str| text.starts_with("stale: ") && text.contains(" read on ");
    assert!(events.iter().any(|event| is_stale(event["text"].as_str().unwrap())), "{found:#}");
}

/// A proxy that splits what comes for a pair.
fn split(pair: &Pair) -> Proxy {
    pair.replica.execute(&["SET GLOBAL read_only = ON"]);
    let lines = format!(
        "service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\nread_write_split = \"on\"\n"
    );
    let proxy = proxy_with(&[pair.primary.address(), pair.replica.address()], &lines);
    until("the replica to be known", || proxy.log().contains("read-only").then_some(()));
    // Before a server was heard none is waited for as long as a slow machine takes: the first
    // sessions may find their home on the replica, and end with it.
    until("the primary to be heard", || {
        let mut wire = Wire::open(&proxy.address(), &Login::default()).ok()?;
        (wire.run("SELECT @@server_id").text() == "1").then_some(())
    });
    proxy
}

/// How many queries a server has had.
fn selects(wire: &mut Wire) -> u64 {
    let sql = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
               WHERE VARIABLE_NAME = 'Com_select'";
    wire.run(sql).text().parse().expect("a number")
}

#[test]
fn split_reads_go_on_in_restarts() {
    let Some(pair) = Pair::start() else { return };
    let proxy = split(&pair);
    let more = ["--restart-every", "1s", "--duration", "20s", "--servers", "--connections", "16"];
    let (code, found) = moving(&proxy.address(), &proxy.admin_address(), &more);
    assert_eq!(code, Some(0), "{found:#}");
    LOST.iter().for_each(|name| assert_eq!(number(&found, name), 0, "{name} in {found:#}"));
    assert_eq!(number(&found, "restarts_failed"), 0, "{found:#}");
    let servers = found["servers"].as_array().unwrap();
    let is_replica = |row: &&serde_json::Value| row["server"].as_str().unwrap().ends_with("_id 2");
    assert!(servers.iter().any(|row| is_replica(&row) && number(row, "reads") > 0), "{found:#}");
    assert!(servers.iter().all(|row| number(row, "stale") == 0), "{found:#}");
    assert!(found["restarts"].as_array().unwrap().len() > 1, "{found:#}");
}

/// Reads are split, and the replica dies again and again.
#[test]
fn a_replica_that_dies_again_and_again_is_no_trouble() {
    let Some(pair) = Pair::start() else { return };
    let proxy = split(&pair);
    let Pair { primary: _primary, mut replica } = pair;
    let url = url(&proxy.address());
    let over = AtomicBool::new(false);
    let ((code, found), deaths) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut deaths = 0;
            while !over.load(Ordering::Relaxed) {
                let mut admin = replica.admin();
                let before = selects(&mut admin);
                let mut is_read_from =
                    || selects(&mut admin) > before + 300 || over.load(Ordering::Relaxed);
                until("it to be read from", || is_read_from().then_some(()));
                if deaths % 2 == 0 {
                    replica.kill9()
                } else {
                    replica.shut_down()
                }
                deaths += 1;
                replica.start_again();
                replica.execute(&["SET GLOBAL read_only = ON", "STOP SLAVE", "START SLAVE"]);
            }
            deaths
        });
        let outcome =
            outcome(&["--url", &url, "--duration", "20s", "--servers", "--connections", "16"]);
        over.store(true, Ordering::Relaxed);
        (outcome, killer.join().expect("the replica is there"))
    });
    assert!(deaths > 0, "{deaths}");
    // Of an answer that the client has a part of nobody can tell the rest.
    let lost = found["lost"].as_array().unwrap();
    let is_cut = |row: &serde_json::Value| {
        row["class"] == "result" && row["reason"] == "closed within an answer"
    };
    assert!(lost.iter().all(is_cut), "{found:#}");
    let cut: u64 = lost.iter().map(|row| number(row, "count")).sum();
    assert_eq!((code == Some(0), number(&found, "sessions_lost")), (cut == 0, cut), "{found:#}");
    LOST[1..].iter().for_each(|name| assert_eq!(number(&found, name), 0, "{name} in {found:#}"));
    assert!(proxy.log().contains("reader lost"), "{}", proxy.log());
}
