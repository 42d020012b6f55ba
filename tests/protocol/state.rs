//! c4: what a session holds in its server, and how the status flags tell it. P-60 to P-72.

use odp::wire::capability as cap;

use crate::results::execute;
use crate::support::raw::status;
use crate::support::{Stage, Wire, com};

fn one_row(stage: &Stage) {
    stage.setup(&[
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, n INT) ENGINE = InnoDB",
        "INSERT INTO t VALUES (1, 1), (2, 2)",
    ]);
}

/// Runs a statement; whether a transaction is open behind it.
fn opens(wire: &mut Wire, sql: &str) -> bool {
    wire.run(sql).in_transaction()
}

/// P-60. With autocommit off a transaction begins at the first table.
fn p_60_autocommit_off(stage: &Stage) {
    one_row(stage);
    let mut wire = stage.open();
    assert!(!opens(&mut wire, "SET autocommit = 0"));
    assert!(!opens(&mut wire, "SELECT 1"));
    assert!(opens(&mut wire, "SELECT n FROM t WHERE id = 1"), "{}", stage.name);
    assert!(wire.ask(com::PING, b"").in_transaction());
    assert!(!opens(&mut wire, "COMMIT"));
}
on!(p_60_autocommit_off: mariadb, mysql);

/// P-61. COMMIT AND CHAIN stays in a transaction.
fn p_61_and_chain(stage: &Stage) {
    one_row(stage);
    let mut wire = stage.open();
    assert!(opens(&mut wire, "BEGIN"));
    assert!(opens(&mut wire, "COMMIT AND CHAIN"), "{}", stage.name);
    assert!(opens(&mut wire, "ROLLBACK AND CHAIN"), "{}", stage.name);
    assert!(!opens(&mut wire, "ROLLBACK"));
}
on!(p_61_and_chain: mariadb, mysql);

/// P-62. COMMIT RELEASE: OK, then the server closes.
fn p_62_commit_release(stage: &Stage) {
    one_row(stage);
    let mut wire = stage.open();
    wire.run("BEGIN");
    wire.run("UPDATE t SET n = 5");
    assert_eq!(wire.query("COMMIT RELEASE").error(), None);
    wire.until_closed();
}
on!(p_62_commit_release: mariadb, mysql);

/// P-63. Statements that end a transaction without saying so.
pub(crate) fn p_63_implicit_commit(stage: &Stage) {
    one_row(stage);
    let mut wire = stage.open();
    let statements = [
        "CREATE TABLE u (n INT)",
        "ALTER TABLE t ADD COLUMN m INT",
        "LOCK TABLES t WRITE",
        "UNLOCK TABLES",
        "TRUNCATE TABLE t",
        "CREATE INDEX i ON t (n)",
    ];
    for statement in statements {
        assert!(opens(&mut wire, "BEGIN"));
        wire.run("INSERT INTO t (n) VALUES (7)");
        let reply = wire.query(statement);
        stage.note(&format!("{statement}: {:?}", reply.in_transaction()));
        wire.run("ROLLBACK");
        wire.run("UNLOCK TABLES");
    }
    assert!(!opens(&mut wire, "SET autocommit = 0"));
    assert!(opens(&mut wire, "INSERT INTO t (n) VALUES (8)"));
    assert!(!opens(&mut wire, "SET autocommit = 1"), "{}", stage.name);
    assert!(opens(&mut wire, "BEGIN") && opens(&mut wire, "BEGIN"));
    wire.run("DROP TABLE t");
}
on!(p_63_implicit_commit: mariadb, mysql);

/// P-64. XA: where the transaction ends differs between the servers.
fn p_64_xa(stage: &Stage) {
    one_row(stage);
    let mut wire = stage.open();
    assert!(opens(&mut wire, "XA START 'x'"), "{}", stage.name);
    assert!(opens(&mut wire, "UPDATE t SET n = 3 WHERE id = 1"));
    assert!(opens(&mut wire, "XA END 'x'"));
    assert_eq!(opens(&mut wire, "XA PREPARE 'x'"), !stage.is_mysql(), "{}", stage.name);
    assert!(!opens(&mut wire, "XA COMMIT 'x'"));
    assert_eq!(wire.query("SELECT n FROM t WHERE id = 1").text(), "3");
}
on!(p_64_xa: mariadb, mysql);

/// P-65. A deadlock ends the transaction, a lock wait that is given up does not.
fn p_65_deadlock_and_lock_wait(stage: &Stage) {
    one_row(stage);
    let (mut one, mut two) = (stage.open(), stage.open());
    one.run("SET SESSION innodb_lock_wait_timeout = 1");
    two.run("BEGIN");
    two.run("UPDATE t SET n = 20 WHERE id = 2");
    one.run("BEGIN");
    one.run("UPDATE t SET n = 10 WHERE id = 1");
    assert_eq!(one.query("UPDATE t SET n = 10 WHERE id = 2").error(), Some(1205));
    assert!(one.ask(com::PING, b"").in_transaction(), "{}", stage.name);
    one.run("SET SESSION innodb_lock_wait_timeout = 50");
    one.command(com::QUERY, b"UPDATE t SET n = 10 WHERE id = 2");
    // Not innodb_trx: that is a copy which never renews itself while it is polled.
    let schema = if stage.is_mysql() { "performance_schema" } else { "information_schema" };
    stage.database.until_counted(&format!(
        "SELECT variable_value FROM {schema}.global_status \
         WHERE variable_name = 'Innodb_row_lock_current_waits'"
    ));
    // Whoever has changed less is the victim: `two` changed as much and came later.
    let reply = two.query("UPDATE t SET n = 20 WHERE id = 1");
    let other = one.reply(com::QUERY);
    let errors = [reply.error(), other.error()];
    assert!(errors.contains(&Some(1213)), "{}: {errors:?}", stage.name);
    let victim = if reply.error().is_some() { &mut two } else { &mut one };
    assert!(!victim.ask(com::PING, b"").in_transaction(), "{}", stage.name);
}
on!(p_65_deadlock_and_lock_wait: mariadb, mysql);

/// P-66. What no status flag tells lives on from statement to statement.
fn p_66_state_that_no_flag_tells(stage: &Stage) {
    one_row(stage);
    stage.setup(&["CREATE PROCEDURE temp() CREATE TEMPORARY TABLE by_call AS SELECT 3 AS n"]);
    let mut wire = stage.open();
    wire.run("CREATE TEMPORARY TABLE by_text AS SELECT 1 AS n");
    let statement = wire.prepare("CREATE TEMPORARY TABLE by_binary AS SELECT 2 AS n");
    assert_eq!(wire.ask(com::EXECUTE, &execute(statement, 0)).error(), None);
    wire.run("CALL temp()");
    wire.run("SELECT @v := 42");
    wire.run("PREPARE s FROM 'SELECT ? + 1'");
    assert_eq!(wire.query("SELECT GET_LOCK('lock', 0)").text(), "1");
    wire.run("HANDLER t OPEN AS h");
    for (name, value) in [("by_text", "1"), ("by_binary", "2"), ("by_call", "3")] {
        assert_eq!(wire.query(&format!("SELECT n FROM {name}")).text(), value);
    }
    assert_eq!(wire.query("EXECUTE s USING @v").text(), "43");
    assert_eq!(wire.query("HANDLER h READ FIRST").row_count(), 1);
    assert_eq!(wire.query("SELECT IS_USED_LOCK('lock') = CONNECTION_ID()").text(), "1");
    wire.run("HANDLER h CLOSE");
    wire.run("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
    assert!(opens(&mut wire, "BEGIN"));
    wire.run("COMMIT");
    wire.run("LOCK TABLES t READ");
    assert_eq!(wire.query("UPDATE t SET n = 1").error(), Some(1099), "{}", stage.name);
    wire.run("UNLOCK TABLES");
    wire.run("FLUSH TABLES WITH READ LOCK");
    assert_eq!(wire.query("UPDATE t SET n = 1").error(), Some(1223), "{}", stage.name);
    wire.run("UNLOCK TABLES");
    assert_eq!(wire.query("SELECT RELEASE_LOCK('lock')").text(), "1");
}
on!(p_66_state_that_no_flag_tells: mariadb, mysql);

/// P-67. What is asked about the statement before.
fn p_67_about_the_last_statement(stage: &Stage) {
    one_row(stage);
    let mut wire = stage.open();
    wire.run("INSERT INTO t (n) VALUES (3), (4)");
    assert_eq!(wire.query("SELECT LAST_INSERT_ID()").text(), "3");
    wire.run("UPDATE t SET n = 0 WHERE id < 3");
    assert_eq!(wire.query("SELECT ROW_COUNT()").text(), "2");
    wire.run("SELECT SQL_CALC_FOUND_ROWS id FROM t LIMIT 1");
    assert_eq!(wire.query("SELECT FOUND_ROWS()").text(), "4");
    wire.run("SELECT 1 / 0");
    assert_eq!(wire.query("SHOW WARNINGS").row_count(), 1, "{}", stage.name);
    assert_eq!(wire.query("SELECT * FROM nowhere").error(), Some(1146));
    assert_eq!(wire.query("SHOW ERRORS").row_count(), 1);
    wire.query("SELECT * FROM nowhere");
    wire.run("GET DIAGNOSTICS CONDITION 1 @code = MYSQL_ERRNO");
    assert_eq!(wire.query("SELECT @code").text(), "1146");
    wire.query("SELECT * FROM nowhere");
    assert_eq!(wire.query("SELECT @@error_count").text(), "1");
}
on!(p_67_about_the_last_statement: mariadb, mysql);

/// P-68. SAVEPOINT with autocommit off.
fn p_68_savepoint(stage: &Stage) {
    one_row(stage);
    let mut wire = stage.open();
    wire.run("SET autocommit = 0");
    let told = opens(&mut wire, "SAVEPOINT s");
    stage.note(&format!("told: {told}"));
    wire.run("UPDATE t SET n = 9");
    assert!(opens(&mut wire, "ROLLBACK TO SAVEPOINT s"), "{}", stage.name);
    assert!(!opens(&mut wire, "ROLLBACK"));
}
on!(p_68_savepoint: mariadb, mysql);

/// P-69. A read-only transaction has a flag of its own.
fn p_69_read_only(stage: &Stage) {
    one_row(stage);
    let mut wire = stage.open();
    let flags = wire.run("START TRANSACTION READ ONLY").status();
    let both = status::IN_TRANS | status::IN_TRANS_READONLY;
    assert_eq!(flags & both, both, "{}", stage.name);
    assert_eq!(wire.query("UPDATE t SET n = 1").error(), Some(1792));
    assert!(!opens(&mut wire, "COMMIT"));
}
on!(p_69_read_only: mariadb, mysql);

/// P-70. Everything that session tracking can tell.
fn p_70_session_trackers(stage: &Stage) {
    one_row(stage);
    let mut login = stage.login();
    login.capabilities |= cap::SESSION_TRACK;
    let mut wire = stage.open_with(&login).expect("log in");
    wire.run("SET SESSION session_track_schema = ON");
    wire.run("SET SESSION session_track_state_change = ON");
    wire.run("SET SESSION session_track_transaction_info = 'CHARACTERISTICS'");
    wire.run(
        "SET SESSION session_track_system_variables = \
         'autocommit,character_set_client,time_zone,sql_mode'",
    );
    let statements = [
        "USE mysql",
        "USE p",
        "SET NAMES utf8mb4",
        "SET time_zone = '+02:00'",
        "SET sql_mode = ''",
        "SET @user = 1",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
        "SELECT n FROM t FORCE INDEX (PRIMARY) WHERE id = 1",
        "UPDATE t SET n = 8 WHERE id = 1",
        "COMMIT AND CHAIN",
        "ROLLBACK",
        "SET autocommit = 0",
        "SELECT n FROM t FORCE INDEX (PRIMARY) WHERE id = 1",
        "SET autocommit = 1",
        "CREATE TEMPORARY TABLE temp (n INT)",
        "LOCK TABLES t READ",
        "UNLOCK TABLES",
    ];
    let mut told = 0;
    for statement in statements {
        let reply = wire.run(statement);
        told += usize::from(reply.status() & status::STATE_CHANGED != 0);
    }
    assert!(told >= 10, "{}: only {told} statements changed the session", stage.name);
    assert_eq!(wire.ask(com::INIT_DB, b"mysql").error(), None);
}
on!(p_70_session_trackers: mariadb, mysql);

/// P-71. Collations at log-in and afterwards.
fn p_71_character_sets(stage: &Stage) {
    for collation in [0, 8, 33, 45, 63, 255] {
        let mut login = stage.login();
        login.collation = collation;
        let Ok(mut wire) = stage.open_with(&login) else { continue };
        wire.run("SELECT @@character_set_client, @@collation_connection, 'é'");
        for name in ["latin1", "utf8mb4", "utf8mb4 COLLATE utf8mb4_unicode_520_ci", "binary"] {
            wire.run(&format!("SET NAMES {name}"));
            wire.run("SELECT @@character_set_results, @@collation_connection, 'x'");
        }
        assert_eq!(wire.query("SET NAMES nothing").error(), Some(1115));
    }
}
on!(p_71_character_sets: mariadb, mysql);

/// P-72. Modes that change how a statement is read.
fn p_72_sql_modes(stage: &Stage) {
    one_row(stage);
    let mut wire = stage.open();
    assert_eq!(wire.query("SELECT \"; SELECT 2\", 'a\\'b; c'").row_count(), 1);
    let flags = wire.run("SET sql_mode = 'NO_BACKSLASH_ESCAPES'").status();
    assert_ne!(flags & status::NO_BACKSLASH_ESCAPES, 0, "{}", stage.name);
    assert_eq!(wire.query("SELECT 'a\\'").text(), "a\\");
    let reply = wire.run("SET sql_mode = 'ANSI_QUOTES'");
    stage.note(&format!("{}", reply.status() & status::ANSI_QUOTES != 0));
    assert_eq!(wire.query("SELECT \"n\" FROM t WHERE id = 2").text(), "2");
    wire.run("SET TIMESTAMP = 1700000000, time_zone = '+00:00'");
    assert_eq!(wire.query("SELECT NOW()").text(), "2023-11-14 22:13:20");
    wire.run("SET sql_mode = DEFAULT");
}
on!(p_72_sql_modes: mariadb, mysql);
