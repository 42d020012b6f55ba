//! Which statements put away the warnings of those before them: what is said of each, against what
//! MariaDB does.

use odp::session::routing::{Earlier, earlier_warnings};
use odp::sql::analysis::analyse;
use odp::sql::{Extent, Modes};

use crate::support::{Database, Server};

/// Each has no warnings of its own.
const STATEMENTS: &[&str] = &[
    "UNLOCK TABLES",
    "LOCK TABLES p.t READ",
    "XA RECOVER",
    "FLUSH STATUS",
    "FLUSH TABLES p.t",
    "CREATE DATABASE q",
    "DROP DATABASE q",
    "CREATE USER u",
    "GRANT SELECT ON *.* TO u",
    "GRANT SELECT ON p.t TO u",
    "DROP USER u",
    "CREATE PROCEDURE p.r() SELECT 1",
    "CALL p.r()",
    "DROP PROCEDURE p.r",
    "CALL p.q()",
    "CREATE TRIGGER p.x BEFORE INSERT ON p.t FOR EACH ROW SET @x = 1",
    "DROP TRIGGER p.x",
    "CREATE VIEW p.v AS SELECT 1",
    "DROP VIEW p.v",
    "CREATE TABLE p.x (n INT)",
    "ALTER TABLE p.x ADD m INT",
    "CREATE INDEX i ON p.x (n)",
    "RENAME TABLE p.x TO p.y",
    "TRUNCATE p.y",
    "DROP TABLE p.y",
    "CREATE SEQUENCE p.s",
    "DROP SEQUENCE p.s",
    "ANALYZE TABLE p.t",
    "CHECK TABLE p.t",
    "CHECKSUM TABLE p.t",
    "OPTIMIZE TABLE p.t",
    "REPAIR TABLE p.t",
    "HANDLER p.t OPEN",
    "HANDLER t READ FIRST",
    "HANDLER t CLOSE",
    "DO 1",
    "DO (SELECT COUNT(*) FROM p.t)",
    "SHOW TABLES FROM p",
    "SHOW FULL TABLES FROM p",
    "SHOW DATABASES",
    "SHOW STATUS LIKE 'x'",
    "SHOW SESSION STATUS LIKE 'x'",
    "SHOW VARIABLES LIKE 'x'",
    "SHOW GLOBAL VARIABLES LIKE 'x'",
    "SHOW CREATE TABLE p.t",
    "SHOW CREATE DATABASE p",
    "SHOW CREATE PROCEDURE p.q",
    "SHOW PROCESSLIST",
    "SHOW FULL PROCESSLIST",
    "SHOW ENGINES",
    "SHOW ENGINE INNODB STATUS",
    "SHOW GRANTS",
    "SHOW PROCEDURE STATUS",
    "SHOW COLLATION LIKE 'x'",
    "SHOW CHARACTER SET LIKE 'x'",
    "SHOW PRIVILEGES",
    "SHOW INDEX FROM p.t",
    "SHOW COLUMNS FROM p.t",
    "SHOW FULL COLUMNS FROM p.t",
    "SHOW PLUGINS",
    "SHOW TRIGGERS FROM p",
    "SHOW EVENTS FROM p",
    "SHOW OPEN TABLES",
    "SHOW TABLE STATUS FROM p",
    "SHOW WARNINGS",
    "DESCRIBE p.t",
    "EXECUTE IMMEDIATE 'SELECT 1'",
    "EXECUTE IMMEDIATE 'SELECT n FROM p.t'",
    "BEGIN NOT ATOMIC SET @a = 4; END",
    "SELECT 1",
    "SELECT 1 FROM DUAL",
    "SELECT 1 FROM (SELECT 1 n) d",
    "SELECT n FROM p.t",
    "SELECT n FROM p.t FOR UPDATE",
    "SELECT 1 FOR UPDATE",
    "SELECT p.f(1)",
    "SELECT p.g()",
    "SELECT GET_LOCK('a', 1)",
    "SELECT 5 INTO @a",
    "SELECT 1 UNION SELECT 2",
    "SET @a = 1",
    "SET @a = (SELECT COUNT(*) FROM p.t)",
    "SET @a = p.g()",
    "SET STATEMENT max_statement_time = 0 FOR SELECT 1",
    "SET STATEMENT max_statement_time = 0 FOR SELECT n FROM p.t",
    "SET ROLE NONE",
    "SET TRANSACTION READ ONLY",
    "VALUES (1)",
    "SAVEPOINT a",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "ROLLBACK",
    "USE p",
    "GET DIAGNOSTICS @n = NUMBER",
    "INSERT INTO p.t VALUES (2)",
    "UPDATE p.t SET n = n",
    "DELETE FROM p.t WHERE n = 1000",
    "WITH w AS (SELECT n FROM p.t) SELECT n FROM w",
];

#[test]
fn what_is_said_of_warnings_is_what_the_server_does() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    database.execute(&[
        "CREATE TABLE p.t (n INT)",
        "INSERT INTO p.t VALUES (1)",
        "CREATE FUNCTION p.f(x INT) RETURNS INT NO SQL RETURN x + 1",
        "CREATE FUNCTION p.g() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM p.t)",
        "CREATE PROCEDURE p.q() BEGIN DECLARE n INT; SELECT COUNT(*) INTO n FROM p.t; END",
    ]);
    let mut wire = database.admin();
    let (mut known, mut wrong) = (0, Vec::new());
    for sql in STATEMENTS {
        wire.run("SELECT CAST('x' AS SIGNED), n FROM p.t LIMIT 1");
        wire.run(sql);
        let left = wire.run("SELECT @@warning_count").text() == "1";
        let analysis = analyse(sql.as_bytes(), Extent::Whole, Modes::USUAL);
        let said = earlier_warnings((analysis.class, analysis.asks, analysis.changes));
        let is_right = match said {
            Earlier::Left => left,
            Earlier::PutAway => !left,
            Earlier::Unknown => true,
        };
        known += usize::from(said != Earlier::Unknown);
        if !is_right {
            wrong.push(format!("{sql}: {said:?}"));
        }
        if sql.starts_with("LOCK") || *sql == "SELECT n FROM p.t FOR UPDATE" {
            wire.run("UNLOCK TABLES");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(known > STATEMENTS.len() / 2, "{known} of {}", STATEMENTS.len());
}
