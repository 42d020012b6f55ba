//! What nobody can carry keeps the session where it is, with the reason; and no longer than it has
//! to.

use crate::scene::Scene;
use crate::support::{Login, Server, com};

/// Statements that pin, what is said of it, and statements that take it back; none if only a reset
/// does.
const PINS: &[(&[&str], &str, &[&str])] = &[
    (&["DO GET_LOCK('l', 1)"], "user lock", &[]),
    (&["DO GET_LOCK('l', 1)", "DO GET_LOCK('m', 1)"], "user lock", &["DO RELEASE_ALL_LOCKS()"]),
    (&["LOCK TABLES t READ"], "LOCK TABLES", &["UNLOCK TABLES"]),
    (&["FLUSH TABLES WITH READ LOCK"], "FLUSH TABLES WITH READ LOCK", &["UNLOCK TABLES"]),
    (&["HANDLER t OPEN"], "HANDLER", &["HANDLER t CLOSE"]),
    (
        &["HANDLER t OPEN", "HANDLER t OPEN AS h", "HANDLER t CLOSE"],
        "HANDLER",
        &["HANDLER h CLOSE"],
    ),
    (&["SET TRANSACTION READ ONLY"], "SET TRANSACTION", &["BEGIN", "COMMIT"]),
    (&["CREATE TEMPORARY TABLE x (n INT)"], "temporary table", &[]),
    (&["CREATE TEMPORARY TABLE x AS SELECT 1 n"], "temporary table", &[]),
    (&["SET @s = 'SELECT 1'", "PREPARE s FROM @s"], "PREPARE", &[]),
    (&["PREPARE s FROM 'CALL q()'", "EXECUTE s"], "anything", &[]),
    (&["PREPARE s FROM 'SELECT 1'", "SET sql_mode = 'ANSI_QUOTES'"], "another sql_mode", &[]),
    (&["CALL q()"], "anything", &[]),
    (&["SELECT f()"], "anything", &[]),
];

#[test]
fn what_cannot_be_carried_keeps_the_session() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    scene.setup(&[
        "CREATE TABLE p.t (n INT)",
        "CREATE PROCEDURE p.q() SELECT 1",
        "CREATE FUNCTION p.f() RETURNS INT RETURN 1",
    ]);
    for (statements, reason, undone) in PINS {
        let mut client = scene.open(&Login::default());
        let from = scene.place(&mut client.wire);
        statements.iter().for_each(|statement| drop(client.wire.run(statement)));
        let error = client.move_to(1 - from).expect_err(reason);
        assert!(error.contains(reason), "{statements:?}: {error}");
        assert_eq!(client.wire.query("SELECT 1").error(), None, "it goes on where it is");
        match undone {
            [] => assert_eq!(client.wire.ask(com::RESET_CONNECTION, b"").error(), None),
            _ => undone.iter().for_each(|statement| drop(client.wire.run(statement))),
        }
        client.move_to(1 - from).unwrap_or_else(|error| panic!("{statements:?}: {error}"));
    }
}

/// What failed has changed nothing.
#[test]
fn a_failed_statement_pins_nothing() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    let mut client = scene.open(&Login::default());
    let from = scene.place(&mut client.wire);
    // Which is remembered with how texts are read.
    client.wire.run("PREPARE kept FROM 'SELECT 1'");
    for statement in [
        "SELEC 1",
        "",
        "SELEC count(*) FROM t; SELECT 1",
        "INSERT INTO t (n) VALUES ('o'brien')",
        "GO",
        "LOCK TABLES nowhere READ",
        "HANDLER nowhere OPEN",
        "CREATE TEMPORARY TABLE x (n NOTYPE)",
        "PREPARE s FROM 'nonsense'",
        "SET sql_mode = 'nonsense'",
        // Of before MariaDB 12.
        "SET SESSION AUTHORIZATION odp",
    ] {
        assert!(client.wire.query(statement).error().is_some(), "{statement}");
    }
    // Of which servers say that it went well.
    client.wire.run("-- ping");
    client.wire.run("SELECT 1");
    client.move_to(1 - from).expect("nothing keeps it");
}

/// What has failed half-way may have changed anything, also if what failed is a syntax error.
#[test]
fn a_program_that_fails_keeps_the_session() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    scene.setup(&["CREATE PROCEDURE p.q() BEGIN DO GET_LOCK('l', 1); EXECUTE IMMEDIATE 'x'; END"]);
    let mut client = scene.open(&Login::default());
    let from = scene.place(&mut client.wire);
    assert!(client.wire.query("CALL q()").error().is_some(), "a syntax error in it");
    client.wire.run("SELECT 1");
    let error = client.move_to(1 - from).expect_err("it has a lock");
    assert!(error.contains("anything"), "{error}");
}

#[test]
fn a_branch_keeps_the_session_until_it_ends() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    let mut client = scene.open(&Login::default());
    for end in ["XA COMMIT 'a'", "XA ROLLBACK 'a'"] {
        let from = scene.place(&mut client.wire);
        for statement in ["XA START 'a'", "XA END 'a'", "XA PREPARE 'a'", "XA RECOVER"] {
            client.wire.run(statement);
            client.move_to(1 - from).expect_err(statement);
        }
        client.wire.run(end);
        client.wire.run("XA RECOVER");
        client.move_to(1 - from).expect("it has ended");
    }
}

/// They are read while they pass by.
#[test]
fn long_lists_pin_nothing_unless_they_call_something() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    scene.setup(&["CREATE TABLE p.t (n INT)", "CREATE FUNCTION p.f() RETURNS INT RETURN 1"]);
    let rows = vec!["(1)"; 20_000].join(", ");
    let numbers = vec!["1"; 20_000].join(", ");
    let mut client = scene.open(&Login::default());
    // Which is remembered with how texts are read.
    client.wire.run("PREPARE kept FROM 'SELECT 1'");
    for statement in [
        format!("INSERT INTO t (n) VALUES {rows}"),
        format!("SELECT COUNT(*) FROM t WHERE n IN ({numbers}) -- the end"),
        format!("DELETE FROM t WHERE n IN ({numbers})"),
    ] {
        let from = scene.place(&mut client.wire);
        client.wire.run(&statement);
        client.move_to(1 - from).expect("all of it was read");
    }
    let from = scene.place(&mut client.wire);
    client.wire.run(&format!("INSERT INTO t (n) VALUES {rows}, (f())"));
    let error = client.move_to(1 - from).expect_err("a function");
    assert!(error.contains("anything"), "{error}");
}

#[test]
fn who_cannot_move_is_told_why() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    let mut client = scene.open(&Login::default());
    let from = scene.place(&mut client.wire);
    let error = client.move_to(from).expect_err("it is there");
    assert!(error.contains("is there already"), "{error}");
    let mut admin = scene.proxy.admin().expect("the proxy takes operators");
    let id = client.wire.greeting.connection_id;
    let table = [
        (format!("MOVE PROXYSESSION {id} TO '127.0.0.1:1'"), "no server of cluster"),
        ("MOVE PROXYSESSION 7 TO '127.0.0.1:1'".to_owned(), "Unknown thread id: 7"),
    ];
    for (sql, part) in table {
        let error = crate::scene::said(&admin.query(&sql)).expect("it is refused");
        assert!(error.contains(part), "{sql}: {error}");
    }
    // An account that nobody has told us the password of.
    scene.setup(&["CREATE USER other IDENTIFIED BY 'other-secret'"]);
    let login = Login {
        user: "other".into(),
        password: "other-secret".into(),
        database: None,
        ..Login::default()
    };
    let mut other = scene.open(&login);
    let from = scene.place(&mut other.wire);
    let error = other.move_to(1 - from).expect_err("no password");
    assert!(error.contains("'other'"), "{error}");
    assert_eq!(other.wire.query("SELECT 1").error(), None, "it goes on where it is");
}

/// What is set for the next statement is there for it, and keeps the session no longer.
fn keeps_until_it_is_used(server: Server, setup: &[&str], table: &[(&str, &str, [&str; 2], &str)]) {
    let Some(scene) = Scene::start(server) else { return };
    scene.setup(setup);
    for (set, variable, uses, shown) in table {
        let mut client = scene.open(&Login::default());
        let from = scene.place(&mut client.wire);
        client.wire.run(set);
        let error = client.move_to(1 - from).expect_err(variable);
        assert!(error.contains(variable), "{set}: {error}");
        uses.iter().for_each(|statement| drop(client.wire.run(statement)));
        assert_eq!(client.wire.run(shown).text(), "1", "{set}: it was used");
        client.move_to(1 - from).unwrap_or_else(|error| panic!("{set}: {error}"));
    }
}

#[test]
fn what_is_for_the_next_statement_keeps_the_session_until_that() {
    let setup = ["CREATE TABLE p.a (id INT PRIMARY KEY AUTO_INCREMENT, n INT)"];
    let insert = "INSERT INTO a (n) VALUES (1)";
    keeps_until_it_is_used(
        Server::MariaDb,
        &setup,
        &[
            ("SET insert_id = 77", "insert_id", ["DO 1", insert], "SELECT id = 77 FROM a"),
            // Without a binary log nothing uses it.
            ("SET gtid_seq_no = 99", "gtid_seq_no", [insert, "SET gtid_seq_no = 0"], "SELECT 1"),
        ],
    );
}

#[test]
fn what_is_for_the_next_statement_keeps_a_session_of_mysql() {
    let setup = ["CREATE TABLE p.a (id INT PRIMARY KEY AUTO_INCREMENT, n INT)"];
    let insert = "INSERT INTO a (n) VALUES (1)";
    const NEXT: &str = "SET gtid_next = '3e11fa47-71ca-11e1-9e33-c80aa9429562:7'";
    let used = "SELECT @@global.gtid_executed LIKE '%3e11fa47-71ca-11e1-9e33-c80aa9429562:7%'";
    keeps_until_it_is_used(
        Server::MySql,
        &setup,
        &[
            ("SET insert_id = 77", "insert_id", ["DO 1", insert], "SELECT id = 77 FROM a"),
            (NEXT, "gtid_next", [insert, "SET gtid_next = AUTOMATIC"], used),
        ],
    );
}
