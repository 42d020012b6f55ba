//! Tables of statements, and laws that hold for any text.

use proptest::prelude::*;

use super::*;
use crate::sql::lexer::{Charset, Known};

fn usual(sql: &str) -> Analysis<'_> {
    analyse(sql.as_bytes(), Extent::Whole, Modes::USUAL)
}

/// Class, changes, and asks, in one line; what nearly every statement has is left out.
fn line(analysis: &Analysis<'_>) -> String {
    let changes = analysis.changes.without(Changes::DIAGNOSTICS);
    let asks = analysis.asks.without(Asks::TABLES);
    let joined = |names: Vec<&str>| names.join(", ");
    let class = format!("{:?}", analysis.class);
    format!("{class} | {} | {}", joined(changes.names().collect()), joined(asks.names().collect()))
}

fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(sql, expected)| (sql, expected, line(&usual(sql))))
        .filter(|(_, expected, found)| expected.trim() != found.trim())
        .map(|(sql, expected, found)| format!("{sql}\n   is  {found}\n   not {expected}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn plain_queries_are_reads() {
    let reads = [
        "SELECT 1",
        "select c from sbtest1 where id=1234",
        "SELECT * FROM t WHERE a IN (1,2,3) AND (b = 'it''s' OR c = 'a\\'b;')",
        "/* app */ SELECT 1;",
        "SELECT 1 -- the end",
        "SELECT 1; -- the end",
        "SELECT 1 ; # the end",
        "SELECT 1;/* the end */",
        "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1 LIMIT 3",
        "SELECT ST_Buffer(a, 1), MBRContains (a, b), JSON_PRETTY(c) FROM t",
        "((select 1))",
        "VALUES ROW(1,2), ROW(3,4)",
        "VALUES (1,2)",
        "TABLE t ORDER BY a LIMIT 1",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "WITH RECURSIVE x(n) AS (SELECT 1 UNION SELECT n+1 FROM x WHERE n<3) SELECT * FROM x",
        "SELECT * FROM (VALUES (1,2)) AS d(a,b)",
        "SELECT count(*), Max(a), sum(DISTINCT b) FROM t GROUP BY c HAVING (count(*) > 1)",
        "SELECT ABS (1), CONCAT( 'a' , upper('b')), COALESCE(a, 0), NOW(6), UUID(), RAND(3)",
        "SELECT SLEEP(1), BENCHMARK(10, SHA2('a', 256))",
        "SELECT CAST(a AS CHAR(10)), CONVERT(a USING utf8mb4), CONVERT(a, DECIMAL(10,2)) FROM t",
        "SELECT CURRENT_USER, CURRENT_USER(), USER(), DATABASE()",
        "SELECT a FROM t FORCE INDEX (i) WHERE MATCH (a) AGAINST ('x' IN BOOLEAN MODE)",
        "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t",
        "SELECT SUBSTRING('abc' FROM 1 FOR 2), EXTRACT(DAY FROM a), TRIM(a) FROM t",
        "SELECT CASE WHEN (a) THEN (b) ELSE (c) END FROM t",
        "SELECT IF(a, 1, 2), LEFT(b, 1), REPLACE(c, 'a', 'b'), INSERT('a', 1, 1, 'b') FROM t",
        "SELECT @a, @`b c`, @'d' FROM t WHERE x = @a.b",
        "SELECT @@sql_mode, @@session.time_zone",
        "SELECT N'a', _utf8mb4'b', X'4142', 0x41, b'01', 1.5e3, .5, 1e5, 1.",
        "SELECT t.update, t.`into`, db.t.lock FROM db.t",
        "SELECT `into`, 'INTO @x', \"for update\" FROM `lock`",
        "SELECT a /* INTO @x */ FROM t # FOR UPDATE",
        "SELECT 5--3",
        "SELECT 1 FROM t2fa, 2fa",
        "SELECT /*!40001 SQL_NO_CACHE */ * FROM t",
        "SELECT /*+ SET_VAR(sort_buffer_size = 16M) MAX_EXECUTION_TIME(100) */ 1",
        "SELECT naïve FROM 表",
        "SELECT * FROM t WHERE id = ? AND b = ?",
        "SELECT SQL_NO_CACHE a->>'$.b' FROM t LIMIT 1 OFFSET 2",
        "SELECT a FROM t1 LEFT JOIN t2 USING (a) WHERE EXISTS (SELECT 1 FROM t3) AND a NOT IN (1)",
        "SELECT a FROM t WHERE (a,b) IN ((1,2)) AND c BETWEEN (1) AND (2) AND d LIKE ('x')",
        "SELECT * FROM t PARTITION (p0) WHERE a > DATE_SUB(NOW(), INTERVAL (1) DAY)",
        "SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1",
        "SELECT MD5(a), sha1(b), ANY_VALUE(c) FROM t",
        "SELECT RAND()",
    ];
    let wrong: Vec<_> = reads
        .iter()
        .map(|sql| (sql, usual(sql)))
        .filter(|(_, analysis)| analysis.class != Class::Read)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn queries_that_do_more_are_no_reads() {
    check(&[
        ("SELECT @x:=1", "Select | user variables | user variables"),
        ("SELECT @`x y` := 1", "Select | user variables | user variables"),
        ("SELECT 1 INTO @x", "Select | user variables | user variables"),
        ("SELECT a, b INTO @x, @y FROM t", "Select | user variables | user variables"),
        ("SELECT a FROM t INTO OUTFILE 'f'", "Select |  | "),
        ("SELECT .5into OUTFILE 'f'", "Select | anything | anything"),
        ("SELECT 1e5into OUTFILE 'f'", "Select | anything | anything"),
        ("SELECT t. into OUTFILE 'f' FROM t", "Select |  | "),
        ("SELECT @a. into OUTFILE 'f' FROM t", "Select |  | user variables"),
        ("SELECT 'a'into OUTFILE 'f'", "Select |  | "),
        ("TABLE t INTO DUMPFILE 'f'", "Select |  | "),
        ("VALUES ROW(1) INTO @x", "Select | user variables | user variables"),
        ("SELECT 1 FOR UPDATE", "LockingRead |  | "),
        ("SELECT 1 FROM t FOR SHARE SKIP LOCKED", "LockingRead |  | "),
        ("SELECT 1 FROM t LOCK IN SHARE MODE", "LockingRead |  | "),
        ("(SELECT 1 FROM t FOR UPDATE)", "LockingRead |  | "),
        ("SELECT * FROM (SELECT 1 FROM t FOR/**/UPDATE) x", "LockingRead |  | "),
        ("SELECT f(1)", "Select | called | anything"),
        ("SELECT db.abs(1)", "Select | called | anything"),
        ("SELECT db . f (1)", "Select | called | anything"),
        ("SELECT `abs`(1)", "Select | called | anything"),
        ("SELECT count (*) FROM t", "Select | called | anything"),
        ("SELECT now/**/()", "Select | called | anything"),
        ("SELECT GET_LOCK('a', 1)", "Select | user lock taken | "),
        ("SELECT get_lock ('a', 1)", "Select | user lock taken | "),
        ("SELECT 1 WHERE EXISTS (SELECT RELEASE_LOCK('a'))", "Select |  | server"),
        ("SELECT RELEASE_ALL_LOCKS()", "Select | user locks released | server"),
        ("do /* all */ release_all_locks();", "Do | user locks released | server"),
        ("SELECT RELEASE_ALL_LOCKS() FROM t WHERE a", "Select |  | server"),
        ("SELECT IF(a, RELEASE_ALL_LOCKS(), 1)", "Select |  | server"),
        ("EXPLAIN SELECT RELEASE_ALL_LOCKS()", "Explain |  | server"),
        ("SELECT IS_USED_LOCK('a'), IS_FREE_LOCK('a')", "Select |  | server"),
        ("SELECT LAST_INSERT_ID()", "Select |  | last insert id"),
        ("SELECT LAST_INSERT_ID( 5 )", "Select | last insert id | last insert id"),
        ("SELECT @@identity, @@last_insert_id", "Select |  | last insert id"),
        ("SELECT ROW_COUNT()", "Select |  | diagnostics, row count"),
        ("SELECT FOUND_ROWS()", "Select |  | diagnostics, found rows"),
        ("SELECT @@warning_count, @@session.error_count", "Select |  | diagnostics, warnings"),
        ("SELECT @@server_id", "Select |  | server"),
        ("SELECT @@global.sql_mode", "Select |  | server"),
        ("SELECT @@hostname, @@port, @@read_only", "Select |  | server"),
        ("SELECT @@`sql_mode`", "Select |  | server"),
        ("SELECT CONNECTION_ID(), VERSION()", "Select |  | server"),
        ("SELECT UUID_SHORT()", "Select |  | server"),
        ("SELECT LOAD_FILE('f')", "Select |  | server"),
        ("SELECT MASTER_POS_WAIT('a', 1)", "Select |  | server"),
        ("SELECT NEXTVAL(s)", "Select | sequence | "),
        ("SELECT NEXT VALUE FOR s", "Select | sequence | sequence"),
        ("SELECT PREVIOUS VALUE FOR s", "Select | sequence | sequence"),
        ("SELECT s.nextval", "Select | sequence | sequence"),
        ("SELECT SETVAL(s, 5)", "Select | sequence | "),
        ("SELECT LASTVAL(s)", "Select |  | sequence"),
        ("SELECT * FROM t PROCEDURE ANALYSE()", "Select | anything, called | anything"),
        ("SELECT * FROM information_schema.processlist", "Select |  | server"),
        ("SELECT * FROM `mysql` . user", "Select |  | server"),
        ("WITH x AS (SELECT 1) UPDATE t SET a = 1", "Write | triggers | "),
        ("WITH x AS (SELECT 1) DELETE FROM t", "Write | triggers | "),
        ("SELECT 1 UPDATE t", "Select | anything | anything"),
        ("SELECT 1; SELECT 2", "Multi | several | anything"),
        (
            "SELECT 1; /* x */ INSERT INTO t VALUES (f(1))",
            "Multi | several, last insert id, called, triggers | anything",
        ),
        ("SELECT 'a;' ; SELECT 1;", "Multi | several | anything"),
        ("SELECT /*!50000 1 INTO @x */", "Select | user variables | user variables"),
        ("SELECT /*!99999 1 INTO @x */", "Select | anything | anything"),
    ]);
}

#[test]
fn queries_that_are_not_surely_one_are_no_reads() {
    check(&[
        ("SELECT 1 /*M! FOR UPDATE */", "Select | anything | anything"),
        ("/*!50600 SELECT 1 */", "Unknown | anything | anything"),
        ("SELECT get_lock/*!1 SQL_NO_CACHE */('a',1)", "Select | user lock taken | "),
        ("SELECT 'open", "Select | anything | anything"),
        ("SELECT 1 /* open", "Select | anything | anything"),
        ("SELECT /*+ QB_NAME(`*/ INTO @x -- `) */ 1", "Select | anything | anything"),
        ("SELECT \\N", "Select | anything | anything"),
        ("SELECT $$a$$", "Select | anything | anything"),
        ("SELECT :x", "Select | anything | anything"),
        ("SELECTx", "Unknown | anything | anything"),
        (";SELECT 1", "Multi | several | anything"),
        (";SELECT", "Multi | several | anything"),
        ("SELECT 1; SELECTx", "Multi | anything | anything"),
    ]);
}

#[test]
fn writes_and_definitions_say_what_they_change() {
    check(&[
        ("INSERT INTO t VALUES (1)", "Write | last insert id, triggers | "),
        ("INSERT INTO t(a,b) VALUES (1,NOW())", "Write | last insert id, triggers | "),
        ("INSERT INTO `t` (`a`) VALUES (1)", "Write | last insert id, triggers | "),
        ("INSERT INTO db.t (a) VALUES (1)", "Write | last insert id, triggers | "),
        ("INSERT IGNORE t (a) SELECT 1", "Write | last insert id, triggers | "),
        (
            "insert t(a) values (1) on duplicate key update a=values(a)",
            "Write | last insert id, triggers | ",
        ),
        (
            "INSERT INTO t SET a = @x := 1",
            "Write | user variables, last insert id, triggers | user variables",
        ),
        ("INSERT INTO t VALUES (f(1))", "Write | last insert id, called, triggers | anything"),
        ("REPLACE INTO t(a) VALUES (1)", "Write | last insert id, triggers | "),
        ("UPDATE t SET a = 1 WHERE b = 2", "Write | triggers | "),
        (
            "UPDATE t SET a = LAST_INSERT_ID(a+1)",
            "Write | last insert id, triggers | last insert id",
        ),
        ("UPDATE t SET a = GET_LOCK('x', 1)", "Write | user lock taken, triggers | "),
        ("DELETE FROM t WHERE a = 1;", "Write | triggers | "),
        (
            "INSERT INTO t VALUES (1); DELETE FROM t",
            "Multi | several, last insert id, triggers | anything",
        ),
        ("LOAD DATA LOCAL INFILE 'f' INTO TABLE t (a, b)", "Write | last insert id, triggers | "),
        (
            "LOAD DATA INFILE 'f' INTO TABLE t (@a) SET b = @a",
            "Write | user variables, last insert id, triggers | user variables",
        ),
        ("CREATE TABLE t (a INT, KEY k(a), b VARCHAR(10))", "Ddl | transaction | "),
        ("CREATE TEMPORARY TABLE t (a INT)", "Ddl | temporary table made, transaction | "),
        (
            "CREATE OR REPLACE TEMPORARY TABLE t SELECT 1",
            "Ddl | temporary table made, transaction | ",
        ),
        ("CREATE TABLE t AS SELECT f(1)", "Ddl | transaction, called | anything"),
        ("CREATE TABLE t SELECT @x:=1", "Ddl | user variables, transaction | user variables"),
        ("DROP TABLE t", "Ddl | transaction | "),
        ("DROP TEMPORARY TABLE t", "Ddl | transaction | "),
        ("DROP DATABASE d", "Ddl | variables, schema, transaction | "),
        ("ALTER TABLE t ADD b INT", "Ddl | transaction | "),
        ("TRUNCATE t", "Ddl | transaction | "),
        ("GRANT SELECT ON t TO u@h", "Ddl | transaction | "),
        ("CREATE PROCEDURE p() SELECT f(1)", "Ddl | transaction | "),
        ("CREATE PROCEDURE p() BEGIN SELECT 1; END", "Ddl | anything, transaction | anything"),
        ("CALL p()", "Call | transaction, called | anything"),
        ("CALL d.p", "Call | transaction, called | anything"),
        (
            "CALL `d`.`p`(f(@x), 1)",
            "Call | user variables, transaction, called | anything, user variables",
        ),
        ("CALL p() p", "Call | transaction, called | anything"),
        ("DO 1", "Do |  | "),
        ("DO RELEASE_LOCK('a')", "Do |  | server"),
        ("DO f()", "Do | called | anything"),
        ("DO @x := 1", "Do | user variables | user variables"),
    ]);
}

/// A session that is another user's from then on.
const BEGUN_ANEW: &str = "Set | variables, lexing, user variables, schema, last insert id, role, \
                          identity | ";

#[test]
fn set_says_what_is_set() {
    check(&[
        ("SET @x = 1", "Set | user variables | "),
        ("SET @x := @y", "Set | user variables | user variables"),
        ("SET @x=1, sql_mode=''", "Set | variables, lexing, user variables | "),
        ("SET autocommit=0", "Set | variables, transaction | "),
        ("SET @@session.autocommit = 1", "Set | variables, transaction | "),
        ("SET a = 1, GLOBAL b = 2", "Set | variables | "),
        ("SET GLOBAL a = 1", "Set |  | "),
        ("SET GLOBAL a = 1, b = 2", "Set | variables | "),
        ("SET @@global.a = 1", "Set |  | "),
        ("SET PERSIST a = 1", "Set |  | "),
        ("SET SESSION a = (SELECT 1, f(2)), b = 3", "Set | variables, called | anything"),
        ("SET @x = (SELECT @y := 2)", "Set | user variables | user variables"),
        ("SET NAMES utf8mb4 COLLATE utf8mb4_bin", "Set | variables, lexing | "),
        ("SET collation_connection = utf8mb4_bin", "Set | variables, lexing | "),
        ("SET NAMES 'latin1', @x = 1", "Set | variables, lexing, user variables | "),
        ("SET CHARACTER SET utf8mb4", "Set | variables, lexing | "),
        ("SET TRANSACTION READ ONLY", "Set | next transaction | "),
        ("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY", "Set | variables | "),
        ("SET GLOBAL TRANSACTION READ WRITE", "Set |  | "),
        ("SET @@transaction_isolation = 'SERIALIZABLE'", "Set | variables, next transaction | "),
        ("SET transaction_isolation = 'SERIALIZABLE'", "Set | variables | "),
        ("SET @@session.tx_read_only = 1", "Set | variables | "),
        ("SET ROLE r", "Set | role | "),
        ("SET DEFAULT ROLE r TO u", "Ddl | transaction | "),
        ("SET PASSWORD = 'x'", "Ddl | transaction | "),
        ("SET rand_seed1 = 1", "Set | variables, random seed | "),
        ("SET last_insert_id = 4", "Set | variables, last insert id | "),
        ("SET timestamp = DEFAULT", "Set | variables | "),
        ("SET STATEMENT max_statement_time=1 FOR SELECT 1", "Select | variables | "),
        (
            "SET STATEMENT sort_buffer_size=1 FOR INSERT INTO t VALUES (1)",
            "Write | variables, last insert id, triggers | ",
        ),
        (
            "SET STATEMENT a=1 FOR COMMIT",
            "Commit(Completion { chain: None, release: None }) | \
            variables, transaction | ",
        ),
        ("SET SESSION AUTHORIZATION u@h", BEGUN_ANEW),
        ("set session authorization 'u'@'h'", BEGUN_ANEW),
        ("SET AUTHORIZATION u", "Set | anything | anything"),
        ("SET `sql_mode` = ''", "Set | anything | anything"),
        ("/*!40101 SET NAMES utf8 */", "Set | variables, lexing | "),
        ("SET @x = 1; SET @y = 2", "Multi | several, user variables | anything"),
        (
            "SET SESSION AUTHORIZATION u; SELECT 1",
            "Multi | anything, variables, lexing, user variables, schema, last insert id, role, \
             identity | anything",
        ),
    ]);
}

#[test]
fn transactions_and_blocks_are_told_apart() {
    let begin = |access, consistent_snapshot| Class::Begin { access, consistent_snapshot };
    let completion = |chain, release| Completion { chain, release };
    let table = [
        ("BEGIN", begin(Access::Default, false)),
        ("begin work;", begin(Access::Default, false)),
        ("START TRANSACTION", begin(Access::Default, false)),
        ("START TRANSACTION READ ONLY", begin(Access::ReadOnly, false)),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", begin(Access::ReadOnly, true)),
        ("start transaction read write, with consistent snapshot", begin(Access::ReadWrite, true)),
        ("START TRANSACTION READ", Class::Unknown),
        ("BEGIN NOT ATOMIC SELECT 1; END", Class::Compound),
        ("BEGIN SELECT 1; END", Class::Compound),
        ("l: BEGIN NOT ATOMIC SELECT 1; END l", Class::Compound),
        ("IF 1 THEN SELECT 1; END IF", Class::Compound),
        ("WHILE 1 DO COMMIT; END WHILE", Class::Compound),
        ("BEGIN; SELECT 1", Class::Multi),
        ("COMMIT", Class::Commit(completion(None, None))),
        ("COMMIT WORK AND CHAIN", Class::Commit(completion(Some(true), None))),
        ("COMMIT AND NO CHAIN NO RELEASE", Class::Commit(completion(Some(false), Some(false)))),
        ("COMMIT x", Class::Unknown),
        ("ROLLBACK", Class::Rollback(completion(None, None))),
        ("ROLLBACK RELEASE", Class::Rollback(completion(None, Some(true)))),
        ("ROLLBACK TO SAVEPOINT a", Class::Savepoint),
        ("ROLLBACK WORK TO a", Class::Savepoint),
        ("SAVEPOINT a", Class::Savepoint),
        ("RELEASE SAVEPOINT a", Class::Savepoint),
        ("XA START 'x'", Class::Xa(Xa::Start)),
        ("XA BEGIN 'x','y',1", Class::Xa(Xa::Start)),
        ("XA END 'x'", Class::Xa(Xa::End)),
        ("XA PREPARE 'x'", Class::Xa(Xa::Prepare)),
        ("XA COMMIT 'x' ONE PHASE", Class::Xa(Xa::Commit)),
        ("XA ROLLBACK 'x'", Class::Xa(Xa::Rollback)),
        ("XA RECOVER", Class::Xa(Xa::Recover)),
    ];
    for (sql, class) in table {
        assert_eq!(usual(sql).class, class, "{sql}");
    }
}

#[test]
fn other_statements_are_known_by_what_they_touch() {
    check(&[
        ("SHOW WARNINGS LIMIT 3", "Show |  | diagnostics, warnings"),
        ("SHOW COUNT(*) ERRORS", "Select |  | diagnostics, warnings"),
        ("SHOW TABLES", "Show |  | variables, server"),
        (
            "GET DIAGNOSTICS @n = NUMBER",
            "Diagnostics | user variables | diagnostics, user variables, warnings",
        ),
        (
            "GET CURRENT DIAGNOSTICS @r = ROW_COUNT",
            "Diagnostics | user variables | diagnostics, user variables, row count",
        ),
        (
            "GET DIAGNOSTICS CONDITION 1 @m = MESSAGE_TEXT, @r = ROW_COUNT",
            "Diagnostics | user variables | diagnostics, user variables, row count, warnings",
        ),
        ("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'x'", "Diagnostics |  | "),
        ("EXPLAIN SELECT 1", "Explain |  | "),
        ("DESC t", "Explain |  | server"),
        ("EXPLAIN FORMAT=JSON UPDATE t SET a=1", "Explain |  | "),
        ("EXPLAIN FORMAT=JSON INTO @x SELECT 1", "Explain | user variables | "),
        ("ANALYZE UPDATE t SET a=1", "Write | triggers | "),
        ("ANALYZE FORMAT=JSON SELECT f(1)", "Select | called | anything"),
        ("EXPLAIN ANALYZE SELECT 1", "Select |  | "),
        ("ANALYZE TABLE t", "Admin | transaction | "),
        ("EXPLAIN FOR CONNECTION 5", "Explain |  | server"),
        ("PREPARE s FROM 'SELECT 1'", "Prepare | statements | "),
        ("PREPARE s FROM @x", "Prepare | statements | user variables"),
        ("EXECUTE s", "Execute | executed | anything"),
        ("EXECUTE s USING @a", "Execute | executed | anything, user variables"),
        ("EXECUTE s USING f(1)", "Execute | called, executed | anything"),
        ("EXECUTE IMMEDIATE 'SELECT 1'", "Execute | anything | anything"),
        ("DEALLOCATE PREPARE s", "Deallocate | statements | "),
        ("DROP PREPARE s", "Deallocate | statements | "),
        ("HANDLER t OPEN AS h", "Handler | handler opened | server"),
        ("HANDLER h READ FIRST", "Handler |  | server"),
        ("HANDLER h CLOSE", "Handler | handler closed | server"),
        ("LOCK TABLES t WRITE", "Lock | table locks taken, table locks released, transaction | "),
        ("UNLOCK TABLES", "Lock | table locks released, transaction | "),
        ("LOCK INSTANCE FOR BACKUP", "Lock | backup lock taken | "),
        ("UNLOCK INSTANCE", "Lock | backup lock released | "),
        ("BACKUP STAGE START", "Lock | backup lock taken, transaction | "),
        ("BACKUP STAGE END", "Lock | backup lock released, transaction | "),
        ("BACKUP LOCK t", "Lock | backup lock taken, transaction | "),
        ("BACKUP UNLOCK", "Lock | backup lock released | "),
        (
            "FLUSH TABLES WITH READ LOCK",
            "Admin | table locks taken, global read lock taken, transaction | ",
        ),
        ("FLUSH TABLES t FOR EXPORT", "Admin | table locks taken, transaction | "),
        ("FLUSH LOCAL STATUS", "Admin | transaction, status | "),
        ("KILL 5", "Admin | transaction | "),
        ("USE shop", "Use | schema | "),
        ("GO", "Unknown | anything | anything"),
        ("", "Unknown |  | anything"),
        ("-- ping", "Unknown |  | anything"),
        (" /* ping */ ;", "Unknown |  | anything"),
        ("/* ping */ ; GO", "Multi | anything | anything"),
        ("/*M! ping */", "Unknown | anything | anything"),
        ("/*! -- ping\n*/", "Unknown | anything | anything"),
    ]);
}

#[test]
fn names_are_those_that_stand_there_plainly() {
    let table: [(&str, Option<&str>); 11] = [
        ("USE shop", Some("shop")),
        ("use `my shop`;", Some("my shop")),
        ("USE `a``b`", None),
        ("PREPARE s FROM 'x'", Some("s")),
        ("DEALLOCATE PREPARE `s 1`", Some("s 1")),
        ("EXECUTE s USING @a", Some("s")),
        ("EXECUTE IMMEDIATE 'x'", None),
        ("DROP PREPARE s", Some("s")),
        ("USE a; USE b", None),
        ("EXPLAIN ROUTE SELECT 1", Some(" SELECT 1")),
        ("SELECT 1", None),
    ];
    for (sql, name) in table {
        assert_eq!(usual(sql).name, name.map(str::as_bytes), "{sql}");
    }
}

#[test]
fn hints_are_found_in_comments_and_nowhere_else() {
    let none = Hints::default();
    let weak = Hints { consistency: Some(Consistency::Weak), ..none };
    let target = |target: &'static str| Hints { target: Some(target.as_bytes()), ..none };
    let table = [
        ("SELECT /*+READ_CONSISTENCY(WEAK)*/ 1", weak),
        ("select /*+ read_consistency( weak ) parallel(2) */ 1", weak),
        (
            "SELECT /*+ READ_CONSISTENCY(STRONG) */ 1",
            Hints { consistency: Some(Consistency::Strong), ..none },
        ),
        ("SELECT /* READ_CONSISTENCY(WEAK) */ 1", none),
        ("SELECT '/*+READ_CONSISTENCY(WEAK)*/'", none),
        ("SELECT /*+ READ_CONSISTENCY(FROZEN) */ 1", none),
        ("/*+ TARGET_DB_SERVER='1.2.3.4:3306' */ SELECT 1", target("1.2.3.4:3306")),
        ("/* TARGET_DB_SERVER = 'a:1,b:2;c:3' */ SELECT 1", target("a:1,b:2;c:3")),
        ("/* my TARGET_DB_SERVER = 'a:1' */ SELECT 1", none),
        ("/*FORCE_MASTER*/ SELECT 1", Hints { force_master: true, ..none }),
        ("SELECT /* force_master */ 1", Hints { force_master: true, ..none }),
        ("/* no FORCE_MASTER */ SELECT 1", none),
        ("SELECT /*+ODP explain_route*/ 1", Hints { explain_route: true, ..none }),
        ("DESC route", none),
        ("EXPLAIN ROUTE SELECT 1", Hints { explain_route: true, ..none }),
        ("SELECT 1", none),
    ];
    for (sql, hints) in table {
        assert_eq!(usual(sql).hints, hints, "{sql}");
    }
}

#[test]
fn what_lexes_in_two_ways_is_no_read() {
    let ansi = |ansi_quotes| Modes { ansi_quotes, ..Modes::USUAL };
    let plain = |no_backslash_escapes| Modes { no_backslash_escapes, ..Modes::USUAL };
    let other = Modes { charset: Charset::Other, ..Modes::USUAL };
    let table: [(&[u8], Modes, bool); 13] = [
        (b"SELECT \"a\"", ansi(Known::Unknown), true),
        (b"SELECT \"a\\\" INTO @x -- \"", ansi(Known::No), true),
        (b"SELECT \"a\\\" INTO @x -- \"", ansi(Known::Yes), false),
        (b"SELECT \"a\\\" INTO @x -- \"", ansi(Known::Unknown), false),
        (b"SELECT \"f\"(1)", ansi(Known::Yes), false),
        (b"SELECT 'a\\' INTO @x -- '", plain(Known::No), true),
        (b"SELECT 'a\\' INTO @x -- '", plain(Known::Yes), false),
        (b"SELECT 'a\\' INTO @x -- '", plain(Known::Unknown), false),
        (b"SELECT 'a\\\\'", plain(Known::Unknown), true),
        (b"SELECT '\xBF\\\\' INTO @x -- '", other, false),
        (b"SELECT '\xBF\xBF'", other, true),
        (b"SELECT 1 \xA0INTO @x", other, false),
        (b"SELECT 1 \xA0INTO @x", Modes::USUAL, false),
    ];
    for (sql, modes, is_read) in table {
        let class = analyse(sql, Extent::Whole, modes).class;
        assert_eq!(class == Class::Read, is_read, "{} {modes:?}", sql.escape_ascii());
    }
}

#[test]
fn nearly_every_statement_puts_diagnostics_away() {
    for (sql, puts_away) in [
        ("SELECT 1", true),
        ("SET @x = 1", true),
        ("SHOW TABLES", true),
        ("SHOW WARNINGS", false),
        ("SHOW ERRORS", false),
        ("GET DIAGNOSTICS @a = NUMBER", false),
        ("SHOW WARNINGS; SELECT 1", true),
    ] {
        assert_eq!(usual(sql).may_change(Changes::DIAGNOSTICS), puts_away, "{sql}");
    }
}

#[test]
fn statements_within_statements_end_somewhere() {
    let deep = "ANALYZE SET STATEMENT a=1 FOR ".repeat(100_000) + "SELECT 1";
    assert!(usual(&deep).may_change(Changes::ANYTHING));
    let deep = "SET STATEMENT a=1 FOR ".repeat(100_000) + "SELECT 1";
    assert!(usual(&deep).may_change(Changes::ANYTHING));
    let deep = "(".repeat(100_000) + "SELECT 1";
    assert_eq!(usual(&deep).class, Class::Read, "what is wrong is wrong for every server");
}

/// Pieces of which texts are made that mean something.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&str] = &[
        "SELECT",
        "INSERT",
        "INTO",
        "t",
        "(",
        ")",
        "1",
        ".",
        "5into",
        "@",
        "@@",
        "x",
        ":=",
        "=",
        ",",
        ";",
        "'",
        "\"",
        "`",
        "\\",
        "/*",
        "*/",
        "/*!50000",
        "/*+",
        "--",
        "#",
        "\n",
        " ",
        "FOR",
        "UPDATE",
        "count",
        "get_lock",
        "f",
        "WITH",
        "AS",
        "SET",
        "BEGIN",
        "COMMIT",
        "é",
        "global",
        "session",
        "EXPLAIN",
        "STATEMENT",
        "$",
        "?",
        "nextval",
        "USE",
        "FORCE_MASTER",
    ];
    proptest::collection::vec((0..PIECES.len(), any::<bool>()), 0..30).prop_map(|chosen| {
        let mut text = String::new();
        for (at, is_apart) in chosen {
            text.push_str(PIECES[at]);
            text.push_str(if is_apart { " " } else { "" });
        }
        text.into_bytes()
    })
}

/// Any of them, known or not.
pub(super) fn modes() -> impl Strategy<Value = Modes> {
    let known = || prop_oneof![Just(Known::Yes), Just(Known::No), Just(Known::Unknown)];
    let charset = prop_oneof![Just(Charset::Utf8), Just(Charset::Other)];
    (known(), known(), charset).prop_map(|(ansi_quotes, no_backslash_escapes, charset)| Modes {
        ansi_quotes,
        no_backslash_escapes,
        charset,
    })
}

fn law_of_beginnings(sql: &[u8], cut: usize, modes: Modes) -> Result<(), TestCaseError> {
    let whole = analyse(sql, Extent::Whole, modes);
    let part = analyse(&sql[..cut.min(sql.len())], Extent::Beginning, modes);
    prop_assert_ne!(part.class, Class::Read);
    prop_assert!(part.changes.intersects(Changes::ANYTHING));
    prop_assert!(part.asks.intersects(Asks::ANYTHING));
    let is_no_surer = match part.class {
        Class::Unknown => true,
        Class::Select => !matches!(whole.class, Class::Write | Class::Set),
        class => class == whole.class || whole.class == Class::Multi,
    };
    prop_assert!(is_no_surer, "{:?} of {:?}", part.class, whole.class);
    Ok(())
}

fn law_of_modes(sql: &[u8], modes: Modes) -> Result<(), TestCaseError> {
    // What is said without knowing is true of each.
    let open = analyse(sql, Extent::Whole, Modes::default());
    let known = analyse(sql, Extent::Whole, modes);
    if !open.changes.intersects(Changes::ANYTHING) {
        prop_assert_eq!(open, known);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_looked_at_without_panic(
        sql in proptest::collection::vec(any::<u8>(), 0..200),
        cut in 0..200_usize,
        modes in modes(),
    ) {
        law_of_beginnings(&sql, cut, modes)?;
        law_of_modes(&sql, modes)?;
    }

    #[test]
    fn of_a_beginning_no_more_is_said_than_of_the_whole(
        sql in pieces(),
        cut in 0..100_usize,
        modes in modes(),
    ) {
        law_of_beginnings(&sql, cut, modes)?;
        law_of_modes(&sql, modes)?;
    }

    #[test]
    fn what_is_added_to_a_read_is_never_overlooked(
        sql in pieces(),
        added in prop_oneof![
            Just(" INTO @x"), Just(" FOR UPDATE"), Just(",f(1)"), Just(",@x:=1"), Just(";x"),
        ],
    ) {
        let read = analyse(&sql, Extent::Whole, Modes::USUAL);
        let longer = [&sql[..], added.as_bytes()].concat();
        let is_comment = usual_comment(&sql);
        if read.class == Class::Read && !is_comment {
            let class = analyse(&longer, Extent::Whole, Modes::USUAL).class;
            prop_assert_ne!(class, Class::Read, "{}", longer.escape_ascii());
        }
    }
}

/// Whether the text ends in a comment to the end of the line, or may.
fn usual_comment(sql: &[u8]) -> bool {
    sql.rsplit(|byte| *byte == b'\n')
        .next()
        .is_some_and(|line| line.contains(&b'#') || line.windows(2).any(|two| two == b"--"))
}
