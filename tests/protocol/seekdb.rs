//! OceanBase's own kernel behind the proxy: what the other files ask of MariaDB and MySQL, as far
//! as OceanBase has it, and what is different there.

use odp::wire::capability as cap;

use crate::results::execute;
use crate::support::compare::transparent_all;
use crate::support::proxy::{Options, is_haproxy};
use crate::support::raw::{Login, packets};
use crate::support::{Database, Proxy, Server, Stage, Wire, com};
use crate::{commands, framing, kill, results, state};

/// Rows of every common type, as text and binary, with and without parameters.
fn text_and_binary(stage: &Stage) {
    stage.setup(&[
        "CREATE TABLE t (n INT PRIMARY KEY, v VARCHAR(30), d DECIMAL(10, 2), f DOUBLE, \
         w DATETIME(6), b VARBINARY(20), u BIGINT UNSIGNED, l LONGTEXT)",
        "INSERT INTO t VALUES (1, 'é', 1.50, 0.1, '2026-01-02 03:04:05.000006', x'00ff', \
         18446744073709551615, REPEAT('x', 70000)), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    ]);
    let mut wire = stage.open();
    assert_eq!(wire.query("SELECT * FROM t ORDER BY n").row_count(), 2);
    assert_eq!(wire.query("SELECT * FROM t WHERE n < 0").row_count(), 0);
    assert_eq!(wire.query("SELECT nothing FROM t").error(), Some(1054), "{}", stage.name);
    assert_eq!(wire.query("SELECT 1; SELECT 2, 3; SET @a = 1; SELECT 4").sets(), 3);
    let statement = wire.prepare("SELECT * FROM t ORDER BY n");
    for _ in 0..2 {
        assert_eq!(wire.ask(com::EXECUTE, &execute(statement, 0)).row_count(), 2);
    }
    let statement = wire.prepare("SELECT ? + n, v FROM t WHERE n >= ? ORDER BY n");
    let mut body = execute(statement, 0);
    body.extend([0, 1, 3, 0, 3, 0]);
    body.extend(40i32.to_le_bytes());
    body.extend(2i32.to_le_bytes());
    assert_eq!(wire.ask(com::EXECUTE, &body).row_count(), 1, "{}", stage.name);
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}

/// What one session did is seen by another when it is committed, and never when it is not.
fn transactions(stage: &Stage) {
    stage.setup(&["CREATE TABLE t (n INT PRIMARY KEY)"]);
    let (mut one, mut other) = (stage.open(), stage.open());
    for end in ["ROLLBACK", "COMMIT"] {
        one.run("BEGIN");
        one.run("INSERT INTO t VALUES (1)");
        assert!(one.query("SELECT n FROM t").in_transaction(), "{}", stage.name);
        assert_eq!(other.query("SELECT COUNT(*) FROM t").text(), "0", "{}", stage.name);
        assert!(!one.run(end).in_transaction(), "{}", stage.name);
    }
    assert_eq!(other.query("SELECT COUNT(*) FROM t").text(), "1", "{}", stage.name);
    one.run("SET autocommit = 0");
    one.run("UPDATE t SET n = 2");
    one.run("SAVEPOINT s");
    one.run("UPDATE t SET n = 3");
    one.run("ROLLBACK TO s");
    one.run("COMMIT");
    assert_eq!(other.query("SELECT n FROM t").text(), "2", "{}", stage.name);
}

/// LOAD DATA LOCAL in several packets.
fn local_file(stage: &Stage) {
    stage.setup(&["CREATE TABLE t (n INT PRIMARY KEY, v LONGTEXT)"]);
    let mut wire = stage.open();
    let request = wire.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t");
    assert!(request.wants_file, "{request:?}");
    let first = request.last().sequence.wrapping_add(1);
    let mut bytes = packets(b"1\tone\n2\tt", first);
    bytes.extend(packets(b"wo\n", first + 1));
    bytes.extend([0, 0, 0, first + 2]);
    wire.send(&bytes).expect("it takes a file");
    let reply = wire.reply(com::QUERY);
    assert_eq!(reply.error(), None, "{}: {reply:?}", stage.name);
    assert_eq!(wire.query("SELECT v FROM t ORDER BY n").row_count(), 2, "{}", stage.name);
}

/// KILL and KILL QUERY with the id that the client was shown.
fn kills(stage: &Stage) {
    let mut killer = stage.open();
    for (verb, survives) in [("KILL QUERY", true), ("KILL", false)] {
        let mut victim = stage.open();
        victim.command(com::QUERY, b"SELECT SLEEP(300)");
        stage.database.until_counted(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(%'",
        );
        killer.run(&format!("{verb} {}", victim.greeting.connection_id));
        match survives {
            true => {
                // Nothing is said of how a killed SLEEP ends, but that it ends.
                victim.reply(com::QUERY);
                assert_eq!(victim.query("SELECT 'alive'").text(), "alive");
            }
            false => {
                // Whether it says so before it closes is a race in the server.
                victim.set_recording(false);
                victim.until_closed();
            }
        }
    }
    assert_eq!(killer.query("SELECT 'alive'").text(), "alive");
}

/// Log-ins that are refused. The words differ in whether a password was given: OceanBase looks for
/// that in the login response only, where the proxy puts none.
fn refused_log_ins(stage: &Stage) {
    for (user, password, database) in
        [("odp", "wrong", "p"), ("odp", "", "p"), ("nobody", "x", "p"), ("odp", "odp-secret", "no")]
    {
        let login = Login {
            user: user.into(),
            password: password.into(),
            database: Some(database.into()),
            ..stage.login()
        };
        let refused = Wire::open(&stage.address, &login).err().expect("it is refused");
        assert!(refused.code().is_some(), "{}: {user}: {refused:?}", stage.name);
        stage.note(&format!("{:?}", refused.code()));
    }
}

#[test]
fn p_91_seekdb_is_the_same() {
    let Some(database) = Database::start(Server::SeekDb) else { return };
    transparent_all(
        &database,
        &[text_and_binary, transactions, local_file, kills, refused_log_ins],
    );
}

#[test]
fn p_91_scripts_of_others_on_seekdb() {
    let Some(database) = Database::start(Server::SeekDb) else { return };
    transparent_all(
        &database,
        &[
            commands::p_40_close_has_no_answer,
            commands::p_41_long_data,
            commands::p_43_cursors_in_transactions,
            commands::p_44_quit,
            commands::p_45_change_user,
            commands::p_45_change_user_refused,
            framing::p_04_sequence_wraps,
            results::p_24_call,
            results::p_25_multi_statement_of_everything,
            results::p_31_field_list,
            kill::p_80_kill_idle,
            kill::p_80_kill_nobody,
            kill::p_81_process_kill,
            state::p_63_implicit_commit,
        ],
    );
}

/// By its Unix socket, without the bridge, and with restarts: a transaction, a prepared statement
/// and a variable live on.
#[test]
fn p_91_seekdb_by_its_socket_across_restarts() {
    let Some(database) = Database::start(Server::SeekDb) else { return };
    if is_haproxy() {
        return;
    }
    let address = format!("unix:{}", database.socket.display());
    let proxy = Proxy::start_with(&Options::new(&[address]));
    database.execute(&["CREATE TABLE t (n INT PRIMARY KEY)"]);
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("log in");
    wire.run("SET @before = 'kept'");
    let statement = wire.prepare("SELECT n FROM t");
    wire.run("BEGIN");
    for n in 0..3 {
        wire.run(&format!("INSERT INTO t VALUES ({n})"));
        proxy.restart();
        let rows = wire.ask(com::EXECUTE, &execute(statement, 0)).row_count();
        assert_eq!(rows, n + 1, "after restart {n}");
        assert_eq!(wire.query("SELECT @before").text(), "kept");
    }
    let count = |wire: &mut Wire| wire.query("SELECT COUNT(*) FROM t").text();
    assert_eq!(count(&mut database.admin()), "0");
    wire.run("COMMIT");
    assert_eq!(count(&mut database.admin()), "3");
}

/// OceanBase gives the bits 25 to 27 meanings of its own: a client of MySQL's must never be
/// offered them.
#[test]
fn p_91_no_bits_of_mysql_are_offered() {
    let Some(database) = Database::start(Server::SeekDb) else { return };
    let proxy = Proxy::start(&database);
    let mysqls = cap::OPTIONAL_METADATA | cap::ZSTD | cap::QUERY_ATTRIBUTES;
    for _ in 0..2 {
        let wire = Wire::open(&proxy.address(), &Login::default()).expect("log in");
        assert_eq!(wire.greeting.capabilities & mysqls, 0, "{:?}", wire.greeting);
        assert!(wire.greeting.version.starts_with(b"5.7."), "{:?}", wire.greeting);
    }
}
