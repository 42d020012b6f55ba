//! SHOW PROXYSESSION VARIABLES: what a session is made of, and that its client does not notice that
//! somebody has looked.

use crate::scene::{Moved, Scene, said};
use crate::support::proxy::ADMIN_PASSWORD;
use crate::support::{Login, Server, Wire, com};

/// What a statement leaves, for whoever asks. ROW_COUNT() and FOUND_ROWS() first: the question puts
/// both away.
const LEFT: &[&str] = &[
    "SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID(), @@warning_count, @@error_count",
    "SHOW WARNINGS",
];

/// Statements that leave something, each in its own way.
const LEAVING: &[&str] = &[
    "SELECT 1",
    "SELECT n FROM t",
    "SELECT n FROM t LIMIT 0",
    "SELECT SQL_CALC_FOUND_ROWS a.n FROM t a, t b, t c LIMIT 1",
    "SET @a = 5, sort_buffer_size = 100000",
    "DO 1",
    "INSERT INTO t VALUES (4), (5)",
    "SELECT LAST_INSERT_ID(77)",
    "UPDATE t SET n = n",
    "UPDATE t SET n = n + 1",
    "DELETE FROM t WHERE n > 4",
    "SELECT 1/0",
    "SELECT CAST('x' AS SIGNED)",
    "SELECT nothing",
    "SET @b = _latin1'\u{e4}'",
    "CREATE TABLE IF NOT EXISTS t (n INT)",
    "USE p",
    "PREPARE s FROM 'SELECT 1 UNION SELECT 2'",
    "EXECUTE s",
    "BEGIN",
    "INSERT INTO t VALUES (9)",
    "ROLLBACK",
    "SET TRANSACTION READ ONLY",
    "SELECT n FROM t",
    "SET autocommit = 0",
    "SELECT @a",
    "SET autocommit = 1",
    "INSERT INTO t VALUES (6), (7), (8)",
    "SET sql_mode = 'ORACLE', sql_select_limit = 1",
    "SELECT n FROM t",
];

/// The rows of the session, or why there are none.
fn look(client: &Moved<'_>, what: &str) -> Result<Vec<[String; 3]>, String> {
    let mut admin = client.admin();
    look_as(&mut admin, &client.wire, what)
}

fn look_as(admin: &mut Wire, wire: &Wire, what: &str) -> Result<Vec<[String; 3]>, String> {
    let id = wire.greeting.connection_id;
    let [all, like] = what.split_once('/').map_or([what, ""], |(all, like)| [all, like]);
    let reply = admin.query(&format!("SHOW PROXYSESSION VARIABLES {all} {id} {like}"));
    if let Some(error) = said(&reply) {
        return Err(error);
    }
    let rows = reply.named_rows();
    let of = |name: &str, row: &std::collections::BTreeMap<String, String>| {
        row.get(name).cloned().unwrap_or_default()
    };
    Ok(rows.iter().map(|row| ["variable_name", "value", "info"].map(|it| of(it, row))).collect())
}

fn own(name: &str, value: &str, info: &str) -> [String; 3] {
    [name, value, info].map(str::to_owned)
}

#[test]
fn a_session_of_mariadb_is_looked_at_unnoticed() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    scene.setup(&["CREATE TABLE p.t (n INT)", "INSERT INTO p.t VALUES (1), (2), (3)"]);
    let login = Login::default();
    let mut direct = Wire::open(&scene.servers[1].address(), &login).expect("the server is there");
    let mut client = scene.open(&login);
    let place = scene.place(&mut client.wire);
    if place == 1 {
        client.move_to(0).expect("nothing keeps it");
    }
    let (mut seen, mut unseen) = (0, 0);
    for statement in LEAVING {
        let (expected, got) = (direct.query(statement), client.wire.query(statement));
        assert_eq!(expected.packets, got.packets, "{statement}");
        match look(&client, "") {
            Ok(rows) if rows.iter().all(|row| !row[2].contains("not asked")) => seen += 1,
            Ok(_) | Err(_) => unseen += 1,
        }
        for question in LEFT {
            let (expected, got) = (direct.query(question), client.wire.query(question));
            assert_eq!(expected.packets, got.packets, "{statement}: {question}");
        }
        // As if nobody had asked for what is left.
        let (expected, got) = (direct.query(statement), client.wire.query(statement));
        assert_eq!(expected.packets, got.packets, "{statement}, again");
    }
    assert!(seen >= 8 && unseen >= 8, "{seen} seen, {unseen} not");
}

#[test]
fn what_a_session_of_mariadb_has_is_shown() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    scene.setup(&["CREATE TABLE p.t (n INT)"]);
    let mut client = scene.open(&Login::default());
    client.wire.run("SET @a = 'mine', @b = NULL, @c = _latin1 X'E4', sort_buffer_size = 262144");
    let rows = look(&client, "").expect("it is asked");
    let expected = [
        own("sort_buffer_size", "262144", "changed sys var"),
        own("a", "mine", "user var"),
        own("b", "", "user var"),
        own("c", "X'E4'", "user var"),
    ];
    assert_eq!(rows, expected);
    let all = look(&client, "ALL").expect("it is asked");
    assert!(all.contains(&own("autocommit", "1", "sys var")), "{all:?}");
    assert!(all.len() > 150, "{}", all.len());
    let like = look(&client, "ALL/LIKE 'autoc%'").expect("it is asked");
    assert_eq!(like, [own("autocommit", "1", "sys var")]);
    // Not now: what was, and why.
    client.wire.run("INSERT INTO t VALUES (1)");
    let rows = look(&client, "").expect("it was asked");
    assert_eq!(rows[0][..2], expected[0][..2]);
    assert!(rows[0][2].contains("as of 20") && rows[0][2].contains("ROW_COUNT()"), "{rows:?}");
    // In a transaction it is not asked either, and nobody waits for its end.
    client.wire.run("BEGIN");
    let rows = look(&client, "").expect("it was asked");
    assert!(rows[0][2].contains("transaction"), "{rows:?}");
    client.wire.run("COMMIT");
    let mut other = scene.open(&Login::default());
    other.wire.run("CREATE TEMPORARY TABLE x AS SELECT 1 n");
    let why = look(&other, "").expect_err("nothing was ever pulled");
    assert!(why.contains("ROW_COUNT()"), "{why}");
    // Whoever only looks sees which there are.
    let login = Login {
        user: "watch".into(),
        password: ADMIN_PASSWORD.into(),
        database: None,
        ..Login::default()
    };
    let mut viewer = Wire::open(&scene.proxy.admin_address(), &login).expect("a viewer");
    client.wire.run("SET @a = 'mine'");
    let rows = look_as(&mut viewer, &client.wire, "/LIKE 'a'").expect("it is asked");
    assert_eq!(rows, [own("a", "***", "user var")]);
}

#[test]
fn a_session_of_mysql_is_not_asked_itself() {
    let Some(scene) = Scene::start(Server::MySql) else { return };
    let mut client = scene.open(&Login::default());
    client.wire.run("SET @a = 'mine', sort_buffer_size = 262143");
    let expected =
        [own("a", "mine", "user var"), own("sort_buffer_size", "262143", "changed sys var")];
    client.wire.run("BEGIN");
    client.wire.command(com::QUERY, b"SELECT SLEEP(1), CAST('x' AS SIGNED)");
    let mut rows = look(&client, "").expect("it need not be asked");
    rows.sort();
    assert_eq!(rows, expected);
    assert_eq!(client.wire.reply(com::QUERY).row_count(), 1);
    let mut rows = look(&client, "").expect("it need not be asked");
    rows.sort();
    assert_eq!(rows, expected);
    assert_eq!(client.wire.run("SHOW WARNINGS").row_count(), 1);
}
