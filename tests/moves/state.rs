//! What a session is made of is there after a move, one thing at a time.

use crate::scene::Scene;
use crate::support::raw::status;
use crate::support::{Login, Reply, Server, Wire, com, until};

/// Statements that make something of a session, and one that shows it.
const STATE: &[(&[&str], &str)] = &[
    (&["SET @a = 1, @b = 'x', @c = NULL, @d = 1.50, @e = 1e0"], "SELECT @a, @b, @c, @d, @e"),
    (&["SET @a = _latin1'\u{e4}' COLLATE latin1_german2_ci"], "SELECT @a, COLLATION(@a)"),
    (&["SELECT 7, 'seven' INTO @n, @t"], "SELECT @n, @t"),
    (&["USE mysql"], "SELECT DATABASE()"),
    (&["SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'"], "SELECT @@sql_mode, 'a\\b'"),
    (&["SET sql_mode = 'ORACLE'"], "SELECT @@sql_mode"),
    (&["SET NAMES latin1"], "SELECT 'x', @@character_set_client, @@collation_connection"),
    (
        &["SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET character_set_results = binary"],
        "SELECT 'x', @@character_set_results, @@collation_connection",
    ),
    (&["SET autocommit = 0"], "SELECT @@autocommit"),
    (&["SET time_zone = '+05:30', timestamp = 1000000000.25"], "SELECT NOW(6), @@time_zone"),
    (&["SET sql_select_limit = 1"], "SELECT 1 UNION SELECT 2"),
    (&["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"], "SELECT @@tx_isolation"),
    (&["SELECT LAST_INSERT_ID(77)"], "SELECT LAST_INSERT_ID(), @@identity"),
    (&["SET group_concat_max_len = 4"], "SELECT GROUP_CONCAT('abcdefgh')"),
    (&["SET foreign_key_checks = 0, unique_checks = 0"], "SELECT @@foreign_key_checks"),
    (&["SET lc_time_names = 'de_DE'"], "SELECT DAYNAME('2026-11-28')"),
    (&["SET div_precision_increment = 9"], "SELECT 1/3"),
    (&["SET wait_timeout = 12345"], "SELECT @@wait_timeout"),
];

fn carries(server: Server) {
    let Some(scene) = Scene::start(server) else { return };
    for (statements, shown) in STATE {
        let mut client = scene.open(&Login::default());
        for statement in *statements {
            client.wire.run(statement);
        }
        let before = client.wire.query(shown);
        let from = scene.place(&mut client.wire);
        client.move_to(1 - from).unwrap_or_else(|error| panic!("{statements:?}: {error}"));
        let after = client.wire.query(shown);
        assert_eq!(before.packets, after.packets, "{statements:?}");
        assert_eq!(scene.place(&mut client.wire), 1 - from, "{statements:?}");
        // And back, so that what was pushed can be pulled.
        client.move_to(from).unwrap_or_else(|error| panic!("{statements:?}, back: {error}"));
        let back = client.wire.query(shown);
        assert_eq!(before.packets, back.packets, "{statements:?}, back");
    }
}

/// Executes a statement with one parameter, a text: what comes.
fn with_text(wire: &mut Wire, id: u32) -> Reply {
    // No flags, once, no NULL, with its type.
    let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0, 0, 1, 253, 0], b"\x01e"].concat();
    wire.ask(com::EXECUTE, &body)
}

/// A parameter is of the collation of the client's statements, which no variable tells.
fn carries_collations_of_parameters(server: Server) {
    let Some(scene) = Scene::start(server) else { return };
    let named: &[&[&str]] = &[
        &[],
        &["SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci"],
        &["SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci", "SET character_set_results = NULL"],
        &["SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET sql_select_limit = 0"],
        &["SET NAMES latin1 COLLATE latin1_german2_ci"],
        &["SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci", "SET character_set_client = latin1"],
    ];
    for statements in named {
        let mut client = scene.open(&Login::default());
        let from = scene.place(&mut client.wire);
        statements.iter().for_each(|statement| drop(client.wire.run(statement)));
        let asked = ["SELECT COLLATION(?) LIMIT 1", "SELECT ? = 'E' LIMIT 1", "SELECT ? LIMIT 1"];
        let asked = asked.map(|sql| client.wire.prepare(sql));
        let before = asked.map(|id| with_text(&mut client.wire, id).packets);
        client.move_to(1 - from).unwrap_or_else(|error| panic!("{statements:?}: {error}"));
        let after = asked.map(|id| with_text(&mut client.wire, id).packets);
        assert_eq!(before, after, "{statements:?}");
    }
}

#[test]
fn mariadb_collations_of_parameters_are_carried() {
    carries_collations_of_parameters(Server::MariaDb);
}

#[test]
fn mysql_collations_of_parameters_are_carried() {
    carries_collations_of_parameters(Server::MySql);
}

#[test]
fn mariadb_state_is_carried() {
    carries(Server::MariaDb);
}

#[test]
fn mariadb11_state_is_carried() {
    carries(Server::MariaDb11);
}

#[test]
fn prepared_statements_go_along() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    let mut client = scene.open(&Login::default());
    let first = client.wire.prepare("SELECT ?");
    let second = client.wire.prepare("SELECT ? + 1");
    let bound = |id: u32, types: bool, value: u64| {
        let mut body = id.to_le_bytes().to_vec();
        body.extend([0, 1, 0, 0, 0, 0]);
        body.extend(if types { &[1, 8, 0][..] } else { &[0][..] });
        body.extend(value.to_le_bytes());
        body
    };
    let from = scene.place(&mut client.wire);
    let told = client.wire.ask(com::EXECUTE, &bound(first, true, 40));
    assert_eq!(told.row_count(), 1);
    for (at, place) in [1 - from, from, 1 - from].into_iter().enumerate() {
        client.move_to(place).expect("nothing keeps it");
        // The server there has not heard of the types.
        let again = client.wire.ask(com::EXECUTE, &bound(first, false, 40));
        assert_eq!(again.packets, told.packets, "move {at}");
        let other = client.wire.ask(com::EXECUTE, &bound(second, true, 41));
        assert_eq!(other.row_count(), 1, "move {at}");
        let third = client.wire.prepare("SELECT 3");
        assert_ne!(third, first);
        assert_ne!(third, second);
        let mut body = third.to_le_bytes().to_vec();
        body.extend([0, 1, 0, 0, 0]);
        assert_eq!(client.wire.ask(com::EXECUTE, &body).error(), None);
        client.wire.command(com::CLOSE, &third.to_le_bytes());
    }
    client.wire.command(com::CLOSE, &first.to_le_bytes());
    let gone = client.wire.ask(com::EXECUTE, &bound(first, true, 1));
    assert_eq!(gone.error(), Some(1243), "it was closed");
    assert_eq!(client.wire.ask(com::EXECUTE, &bound(second, false, 41)).row_count(), 1);
}

/// What a statement has found, and that it was none that writes.
#[test]
fn what_was_found_is_still_known() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    scene.setup(&["CREATE TABLE p.t (n INT)", "INSERT INTO p.t VALUES (1), (2), (3)"]);
    let mut client = scene.open(&Login::default());
    let mut place = scene.place(&mut client.wire);
    for (statement, question, expected) in [
        ("SELECT SQL_CALC_FOUND_ROWS a.n FROM t a, t b LIMIT 1", "SELECT FOUND_ROWS()", "9"),
        ("SELECT n FROM t WHERE n > 7", "SELECT FOUND_ROWS()", "0"),
        ("SELECT n FROM t", "SELECT ROW_COUNT()", "-1"),
        ("SET @a = 1", "SELECT ROW_COUNT()", "0"),
        ("SELECT n FROM t LIMIT 2", "SELECT FOUND_ROWS()", "2"),
    ] {
        client.wire.run(statement);
        place = 1 - place;
        client.move_to(place).expect("nothing keeps it");
        assert_eq!(client.wire.run(question).text(), expected, "{statement}");
    }
}

/// Those that were prepared by statements, too.
fn text_statements_go_along(server: Server) {
    let Some(scene) = Scene::start(server) else { return };
    scene.setup(&["CREATE TABLE p.only (n INT)", "INSERT INTO p.only VALUES (1), (2)"]);
    let mut client = scene.open(&Login::default());
    client.wire.run("PREPARE `First` FROM 'SELECT n FROM only WHERE n = ?'");
    client.wire.run("PREPARE second FROM \"SELECT 'it''s', @a\"");
    client.wire.run("PREPARE gone FROM 'SELECT 1'");
    client.wire.run("PREPARE sets FROM 'SET @a = ?'");
    client.wire.run("DEALLOCATE PREPARE gone");
    client.wire.run("SET @two = 2");
    client.wire.run("USE mysql");
    let from = scene.place(&mut client.wire);
    let questions = ["EXECUTE first USING @two", "EXECUTE second", "EXECUTE sets USING @two"];
    let mut before = None;
    for place in [1 - from, from, 1 - from] {
        let told = questions.map(|question| client.wire.run(question).packets);
        assert_eq!(before.get_or_insert_with(|| told.clone())[0], told[0]);
        assert_eq!(client.wire.query("EXECUTE gone").error(), Some(1243));
        client.wire.run("SELECT 1");
        client.move_to(place).expect("nothing keeps it");
        assert_eq!(client.wire.run("SELECT @a").text(), "2", "an EXECUTE has set it");
        assert_eq!(client.wire.run("SELECT DATABASE()").text(), "mysql");
    }
    scene.proxy.restart();
    let mut client = crate::scene::Moved::again(client);
    client.move_to(from).expect("nothing keeps it");
    assert_eq!(client.wire.run("EXECUTE first USING @two").text(), "2");
    assert_eq!(client.wire.query("PREPARE second FROM 'SELECT nothing FROM'").error(), Some(1064));
    let error = client.move_to(1 - from).expect_err("there may be one, or none");
    assert!(error.contains("PREPARE"), "{error}");
    client.wire.ask(com::RESET_CONNECTION, b"");
    client.move_to(1 - from).expect("there are none");
    assert_eq!(client.wire.query("EXECUTE first USING @two").error(), Some(1243));
}

#[test]
fn mariadb_text_statements_go_along() {
    text_statements_go_along(Server::MariaDb);
}

#[test]
fn mysql_text_statements_go_along() {
    text_statements_go_along(Server::MySql);
}

/// A move is between two commands: a transaction and a running statement are let end.
#[test]
fn a_transaction_is_waited_for() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    scene.setup(&["CREATE TABLE p.t (n INT) ENGINE = InnoDB"]);
    let mut client = scene.open(&Login::default());
    let from = scene.place(&mut client.wire);
    assert!(client.wire.run("BEGIN").in_transaction());
    client.wire.run("INSERT INTO t VALUES (1)");
    let id = client.wire.greeting.connection_id;
    let address = scene.servers[1 - from].address();
    let mut admin = scene.proxy.admin().expect("the proxy takes operators");
    admin.command(com::QUERY, format!("MOVE PROXYSESSION {id} TO '{address}'").as_bytes());
    for _ in 0..10 {
        assert!(client.wire.run("INSERT INTO t VALUES (2)").in_transaction());
    }
    assert_eq!(client.wire.run("COMMIT").status() & status::IN_TRANS, 0);
    assert_eq!(admin.reply(com::QUERY).error(), None);
    assert_eq!(scene.place(&mut client.wire), 1 - from);
}

/// What has moved can be handed to another process, and move there.
#[test]
fn a_moved_session_outlives_a_restart() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    let mut client = scene.open(&Login::default());
    let from = scene.place(&mut client.wire);
    client.wire.prepare("SELECT 0");
    let id = client.wire.prepare("SELECT 1");
    client.wire.run("SET @a = 'kept'");
    client.move_to(1 - from).expect("nothing keeps it");
    scene.proxy.restart();
    let mut client = crate::scene::Moved::again(client);
    let mut body = id.to_le_bytes().to_vec();
    body.extend([0, 1, 0, 0, 0]);
    for place in [from, 1 - from] {
        assert_eq!(client.wire.ask(com::EXECUTE, &body).row_count(), 1);
        assert_eq!(client.wire.run("SELECT @a").text(), "kept");
        client.move_to(place).expect("nothing keeps it");
    }
    assert_eq!(client.wire.ask(com::EXECUTE, &body).row_count(), 1);
}

/// Each server counts a client's silence from when the session came there: all of them together
/// keep it no longer than one would.
#[test]
fn who_is_silent_is_not_kept_by_moving() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    let mut client = scene.open(&Login::default());
    client.wire.run("SET wait_timeout = 4");
    let mut place = scene.place(&mut client.wire);
    let why = until("the session to end", || match client.move_to(1 - place) {
        Ok(()) => {
            place = 1 - place;
            None
        }
        Err(why) => Some(why),
    });
    let is_over = ["Unknown thread", "has ended", "about to end"];
    assert!(is_over.iter().any(|part| why.contains(part)), "{why}");
    // MariaDB says nothing.
    assert_eq!(client.wire.until_closed(), b"");
    assert!(client.moves > 1, "{} moves", client.moves);
}
