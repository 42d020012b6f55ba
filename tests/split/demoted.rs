//! A primary that takes no writes any more, while clients write: they hear nothing of it if another
//! server comes to take them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::pair::Pair;
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Ender, Login, Server, Wire, com, until};

/// Two servers, and an account that a server's read-only is for; so often the servers are asked
/// what they are if nobody wants to know.
fn scene(server: Server, split: &str, interval: &str) -> Option<Pair> {
    let (primary, replica) = Pair::replicating(server)?;
    let mut options = Options::new(&[replica.address(), primary.address()]);
    options.cluster = format!(
        "service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n\
         read_write_split = \"{split}\"\n"
    );
    options.proxy = format!("server_detect_refresh_interval = \"{interval}\"\n");
    options.rest = format!("[[cluster.user]]\nname = \"app\"\npassword = \"{PASSWORD}\"\n");
    let pair = Pair::with(primary, replica, &options);
    pair.primary.execute(&[
        &format!("CREATE USER app IDENTIFIED BY '{PASSWORD}'"),
        "GRANT SELECT, INSERT, CREATE ON p.* TO app",
        "CREATE TABLE p.w (n INT PRIMARY KEY, v VARCHAR(20)) ENGINE = InnoDB",
    ]);
    pair.until_caught_up();
    Some(pair)
}

fn open(pair: &Pair) -> Wire {
    let login = Login { user: "app".into(), ..Login::default() };
    Wire::open(&pair.proxy.address(), &login).expect("the proxy takes clients")
}

/// So many writes were refused, and wait, which people see.
fn until_held(pair: &Pair, count: usize) {
    until("the writes to wait", || {
        (pair.proxy.log().matches("a write waits").count() >= count).then_some(())
    });
    let mut admin = pair.proxy.admin().expect("the admin port takes us");
    let sessions = admin.query("SHOW PROXYSESSION").named_rows();
    assert!(sessions.iter().any(|row| row["state"] == "MCS_ACTIVE_READER"), "{sessions:?}");
}

fn written(pair: &Pair) -> String {
    let sql = "SELECT GROUP_CONCAT(CONCAT(n, v) ORDER BY n) FROM p.w";
    pair.replica.admin().run(sql).text()
}

/// Texts, statements that are prepared, definitions: each is done once, by the next primary.
fn writes_wait_for_the_next_primary(server: Server, split: &str) {
    let Some(pair) = scene(server, split, "60s") else { return };
    let [mut text, mut prepared, mut table] = std::array::from_fn(|_| open(&pair));
    text.run("SET @a = 'kept'");
    let id = prepared.prepare("INSERT INTO p.w VALUES (?, 'bound')");
    pair.demote();
    text.command(com::QUERY, b"INSERT INTO p.w VALUES (1, @a)");
    let integer = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0, 0, 1, 3, 0, 2, 0, 0, 0]].concat();
    prepared.command(com::EXECUTE, &integer);
    table.command(com::QUERY, b"CREATE TABLE p.made (n INT)");
    until_held(&pair, 3);
    pair.promote();
    for wire in [&mut text, &mut table] {
        let reply = wire.reply(com::QUERY);
        assert_eq!(reply.error(), None, "{:?}", reply.last());
    }
    let reply = prepared.reply(com::EXECUTE);
    assert_eq!(reply.error(), None, "{:?}", reply.last());
    assert_eq!(written(&pair), "1kept,2bound");
    // They are where they write, and go on.
    assert_eq!(text.run("SELECT ROW_COUNT()").text(), "1");
    text.run("INSERT INTO p.w VALUES (3, @a)");
    let integer = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0, 0, 0, 4, 0, 0, 0]].concat();
    assert_eq!(prepared.ask(com::EXECUTE, &integer).error(), None);
    table.run("INSERT INTO p.made VALUES (1)");
    assert_eq!(written(&pair), "1kept,2bound,3kept,4bound");
}

#[test]
fn b_6_writes_wait_for_the_next_primary_mariadb() {
    writes_wait_for_the_next_primary(Server::MariaDb, "off");
}

#[test]
fn b_6_writes_wait_for_the_next_primary_mariadb_split() {
    writes_wait_for_the_next_primary(Server::MariaDb, "on");
}

#[test]
fn b_6_writes_wait_for_the_next_primary_mysql() {
    writes_wait_for_the_next_primary(Server::MySql, "on");
}

#[test]
fn a_write_waits_until_its_server_takes_writes_again() {
    let Some(pair) = scene(Server::MariaDb, "off", "60s") else { return };
    let mut wire = open(&pair);
    pair.demote();
    wire.command(com::QUERY, b"INSERT INTO p.w VALUES (1, 'again')");
    until_held(&pair, 1);
    pair.primary.execute(&["SET GLOBAL read_only = OFF"]);
    assert_eq!(wire.reply(com::QUERY).error(), None);
    pair.until_caught_up();
    assert_eq!(written(&pair), "1again");
}

#[test]
fn a_write_waits_through_a_restart_and_a_crash() {
    let Some(pair) = scene(Server::MariaDb, "off", "60s") else { return };
    let [mut first, mut second] = std::array::from_fn(|_| open(&pair));
    pair.demote();
    first.command(com::QUERY, b"INSERT INTO p.w VALUES (1, 'one')");
    second.command(com::QUERY, b"INSERT INTO p.w VALUES (2, 'two')");
    until_held(&pair, 2);
    pair.proxy.restart();
    until_held(&pair, 4);
    pair.proxy.kill_carrier();
    until_held(&pair, 6);
    pair.promote();
    for wire in [&mut first, &mut second] {
        let reply = wire.reply(com::QUERY);
        assert_eq!(reply.error(), None, "{:?}", reply.last());
    }
    assert_eq!(written(&pair), "1one,2two");
}

#[test]
fn who_is_killed_waits_no_more() {
    let Some(pair) = scene(Server::MariaDb, "off", "60s") else { return };
    let mut wire = open(&pair);
    pair.demote();
    wire.command(com::QUERY, b"INSERT INTO p.w VALUES (1, 'x')");
    until_held(&pair, 1);
    let mut admin = pair.proxy.admin().expect("the proxy takes operators");
    admin.run(&format!("KILL PROXYSESSION {}", wire.greeting.connection_id));
    assert!(wire.try_reply(com::QUERY).is_err(), "its connection is closed");
    pair.promote();
    assert_eq!(pair.replica.admin().run("SELECT COUNT(*) FROM p.w").text(), "0");
}

#[test]
fn who_cannot_wait_is_told_at_once_and_who_waits_in_vain_in_the_end() {
    let Some(pair) = scene(Server::MariaDb, "off", "60s") else { return };
    let [mut transaction, mut locked, mut two, mut waits] = std::array::from_fn(|_| open(&pair));
    transaction.run("BEGIN");
    locked.run("DO GET_LOCK('l', 1)");
    pair.demote();
    waits.command(com::QUERY, b"INSERT INTO p.w VALUES (1, 'x')");
    until_held(&pair, 1);
    for wire in [&mut transaction, &mut locked] {
        assert_eq!(wire.query("INSERT INTO p.w VALUES (2, 'x')").error(), Some(1290));
    }
    let several = "INSERT INTO p.w VALUES (3, 'x'); INSERT INTO p.w VALUES (4, 'x')";
    assert_eq!(two.query(several).error(), Some(1290));
    assert_eq!(waits.reply(com::QUERY).error(), Some(1290), "nobody takes it");
    assert_eq!(pair.proxy.log().matches("a write waits").count(), 1);
    assert_eq!(pair.primary.admin().run("SELECT COUNT(*) FROM p.w").text(), "0");
}

#[test]
fn who_writes_notices_nothing_of_a_switchover_by_hand() {
    let Some(pair) = scene(Server::MariaDb, "on", "1s") else { return };
    let over = AtomicBool::new(false);
    let write = |writer: u32| {
        let mut wire = open(&pair);
        let mut count = 0;
        while !over.load(Relaxed) {
            let n = writer * 1_000_000 + count;
            let reply = wire.query(&format!("INSERT INTO p.w VALUES ({n}, 'x')"));
            assert_eq!(reply.error(), None, "{:?}", reply.last());
            count += 1;
        }
        count
    };
    let all: u32 = std::thread::scope(|scope| {
        let _over = Ender(&over);
        let writers: Vec<_> = (0..8).map(|writer| scope.spawn(move || write(writer))).collect();
        let count = || pair.replica.admin().run("SELECT COUNT(*) > 100 FROM p.w").text();
        until("some to be written", || (count() == "1").then_some(()));
        pair.switch_over();
        let before = pair.primary.admin().run("SELECT COUNT(*) FROM p.w").text();
        let more = format!("SELECT COUNT(*) > 100 + {before} FROM p.w");
        until("more to be", || (pair.replica.admin().run(&more).text() == "1").then_some(()));
        over.store(true, Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("it writes")).sum()
    });
    assert_eq!(pair.replica.admin().run("SELECT COUNT(*) FROM p.w").text(), all.to_string());
}
