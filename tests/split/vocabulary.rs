//! What programs for two servers are made of: reads that may go to a replica, writes, what asks
//! after them, and what keeps a session at home.

use crate::support::programs::{Random, SLOTS, Step, step};

const READS: &[&str] = &[
    "SELECT id, n, s FROM p.t ORDER BY id",
    "SELECT COUNT(*), SUM(n), MAX(s) FROM p.t",
    "SELECT n FROM t WHERE id = 2",
    "SELECT s, n FROM t WHERE n > 1 ORDER BY id LIMIT 2",
    "SELECT @a, @b, @`c d`, @E, n FROM p.t ORDER BY id",
    "SELECT HEX(@a), CHARSET(@a), COLLATION(@a), id FROM p.t ORDER BY id LIMIT 1",
    "SELECT 1/0, id FROM p.t ORDER BY id LIMIT 3",
    "SELECT CAST(s AS SIGNED) FROM p.t ORDER BY id",
    "SELECT nothing FROM p.t",
    "SELECT n FROM p.nowhere",
    "SELECT n FROM p.x ORDER BY n",
    "SELECT FROM p.t WHERE",
    "SELECT (SELECT n FROM p.t) FROM p.t",
    "SELECT SQL_CALC_FOUND_ROWS n FROM p.t ORDER BY id LIMIT 1",
    "SELECT n FROM p.t WHERE id IS NULL",
    "SELECT n FROM p.v ORDER BY n",
    "(SELECT n FROM p.t ORDER BY id LIMIT 2) UNION SELECT 9 ORDER BY 1",
    "WITH w AS (SELECT n FROM p.t) SELECT * FROM w ORDER BY n",
    "SELECT DATABASE(), id FROM p.t ORDER BY id LIMIT 1",
    "SELECT 'e' = 'E', COLLATION('e'), CHARSET('e') FROM p.t LIMIT 1",
    "SELECT \"s\" FROM p.t ORDER BY id",
    "SELECT s || n FROM p.t ORDER BY id",
    "SELECT 'a\\'', id FROM p.t ORDER BY id",
    "SELECT @@sql_mode, @@autocommit, @@time_zone, @@wait_timeout FROM p.t LIMIT 1",
    "SELECT @@character_set_client, @@collation_connection, @@tx_isolation FROM p.t LIMIT 1",
    "SELECT GROUP_CONCAT(s ORDER BY id) FROM p.t",
    "SELECT NOW() > '2020-01-01', FROM_UNIXTIME(0), 1/3, DAYNAME('2026-11-28') FROM p.t LIMIT 1",
    "SELECT REPEAT('big ', 100000), id FROM p.t ORDER BY id LIMIT 2",
    "SELECT CURRENT_USER(), USER(), id FROM p.t LIMIT 1",
    "SELECT * FROM p.t a, p.t b, p.t c WHERE a.id = b.id ORDER BY a.id, c.id",
    "SELECT 1",
    "SELECT 1/0",
    "SELECT n FROM p.t LIMIT 0",
    "SELECT COUNT(*) > 0 FROM ENGINES",
];

/// Reads that are the home's.
const OWN: &[&str] = &[
    "SELECT n FROM p.t ORDER BY id FOR UPDATE",
    "SELECT n FROM p.t ORDER BY id LOCK IN SHARE MODE",
    "SELECT LAST_INSERT_ID(), @@identity",
    "SELECT LAST_INSERT_ID(), n FROM p.t ORDER BY id LIMIT 1",
    "SELECT @a := n FROM p.t ORDER BY id",
    "SELECT @b := 5, (SELECT n FROM p.t)",
    "SELECT n INTO @a FROM p.t ORDER BY id LIMIT 1",
    "SELECT COUNT(*) FROM p.t INTO @b",
    "SHOW TABLES FROM p",
    "SHOW CREATE TABLE p.t",
    "SHOW COLUMNS FROM p.t",
    "SHOW SESSION VARIABLES LIKE 'lc%'",
    "DESCRIBE p.t",
    "EXPLAIN SELECT 1",
    "DO 1 + (SELECT COUNT(*) FROM p.t)",
];

const WRITES: &[&str] = &[
    "INSERT INTO p.t (n, s) VALUES (7, 'seven')",
    "INSERT INTO t (n, s) VALUES (8, 'eight'), (9, 'nine')",
    "INSERT INTO p.t (id, n) VALUES (1, 1)",
    "INSERT IGNORE INTO p.t (id, n) VALUES (1, 1), (50, 5)",
    "INSERT INTO p.t (n, s) VALUES ('x', 'no number')",
    "INSERT INTO p.t (n, s) SELECT n + 1, s FROM p.t WHERE id = 1",
    "INSERT INTO p.t (n) VALUES (3) RETURNING id, n",
    "REPLACE INTO p.t (id, n, s) VALUES (2, 22, 'replaced')",
    "UPDATE p.t SET n = n + 1 WHERE id = 1",
    "UPDATE t SET s = CONCAT(s, '!') WHERE n < 3",
    "UPDATE p.t SET n = 1 WHERE id = 1000",
    "UPDATE p.t SET s = REPEAT('long', 20) WHERE id = 3",
    "UPDATE p.t SET n = @a WHERE id = 3",
    "DELETE FROM p.t WHERE id = 2",
    "DELETE FROM t WHERE n > 6",
    "DELETE FROM p.nowhere",
    "TRUNCATE TABLE p.x",
    "CREATE TABLE p.x (n INT)",
    "CREATE TABLE IF NOT EXISTS p.x (n INT)",
    "DROP TABLE p.x",
    "DROP TABLE IF EXISTS p.x",
    "INSERT INTO p.x VALUES (1), (2)",
    "ANALYZE TABLE p.x",
];

const TRANSACTIONS: &[&str] = &[
    "BEGIN",
    "START TRANSACTION",
    "START TRANSACTION READ ONLY",
    "START TRANSACTION READ ONLY",
    "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "SET autocommit = 0",
    "SET autocommit = 1",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "RELEASE SAVEPOINT a",
    "COMMIT",
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "ROLLBACK",
    "SET SESSION TRANSACTION READ ONLY",
    "SET SESSION TRANSACTION READ WRITE",
];

/// What asks how the statement before went.
const AFTER: &[&str] = &[
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SHOW COUNT(*) WARNINGS",
    "SELECT ROW_COUNT()",
    "SELECT @@warning_count, @@error_count",
];

/// The same, of what a query behind which it stands has found.
const FOUND: &[&str] = &[
    "SELECT FOUND_ROWS()",
    "SELECT FOUND_ROWS(), ROW_COUNT()",
    "SELECT ROW_COUNT(), @@warning_count, FOUND_ROWS()",
];

/// Several at once, and what a routine does by the way.
const SEVERAL: &[&str] = &[
    "SELECT 1; SELECT n FROM p.t ORDER BY id; SELECT 3",
    "SET @a = 11; SET time_zone = '+02:00'; SELECT @a, @b",
    "SET @b = 'before'; SELECT nothing; SET @b = 'behind'",
    "INSERT INTO p.t (n) VALUES (5); SELECT LAST_INSERT_ID(); SELECT n FROM p.t ORDER BY id",
    "INSERT INTO p.t (n) VALUES (4); SELECT nothing; SELECT 1",
    "BEGIN; UPDATE p.t SET n = 12 WHERE id = 1; SELECT n FROM p.t ORDER BY id",
    "COMMIT; SET @E = 5",
    "SET @a = 1; SET NAMES latin1",
    "/*!40101 SET @old = @@sql_mode */; /*!40101 SET @c = 'of a comment' */;",
    "/*!40101 SET sql_mode = 'ANSI_QUOTES' */",
    "SELECT /*!40001 SQL_NO_CACHE */ n FROM p.t ORDER BY id",
    "CALL p.q(1)",
    "CALL p.q(NULL)",
    "CALL p.sets(5, @a)",
    "CALL p.sets(6, @E); SELECT @a, @E",
    "SELECT p.f(3), id FROM p.t ORDER BY id LIMIT 1",
    "INSERT INTO p.t (n) VALUES (p.f(8))",
];

/// What nobody can carry, and what takes it back.
const PINS: &[&str] = &[
    "CREATE TEMPORARY TABLE p.x (n INT)",
    "CREATE TEMPORARY TABLE p.t AS SELECT 99 id, 1 n, 'temporary' s",
    "DROP TEMPORARY TABLE p.t",
    "DROP TEMPORARY TABLE p.x",
    "LOCK TABLES p.t READ",
    "LOCK TABLES p.t WRITE",
    "UNLOCK TABLES",
    "DO GET_LOCK('l', 10)",
    "SELECT RELEASE_ALL_LOCKS()",
    "USE mysql; USE p",
    "SET TRANSACTION READ ONLY",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "PREPARE s FROM 'SELECT n FROM p.t WHERE id = ?'",
    "EXECUTE s USING @a",
    "DEALLOCATE PREPARE s",
    "HANDLER p.t OPEN",
    "HANDLER p.t READ FIRST",
    "BEGIN NOT ATOMIC SET @a = 4; SELECT n FROM p.t ORDER BY id; END",
];

const PREPARED: &[&str] = &[
    "SELECT ?, id FROM p.t ORDER BY id",
    "SELECT s, @a FROM p.t WHERE n <> ? ORDER BY id",
    "SELECT id, n, s FROM p.t WHERE n < ? ORDER BY id",
    "SELECT n + ? FROM t ORDER BY id",
    "SELECT ? = 'e', s = 'ONE', id FROM p.t ORDER BY id LIMIT 2",
    "SELECT 1/0, ? FROM p.t LIMIT 2",
    "SELECT COUNT(*) FROM p.x WHERE n <> ?",
    "SELECT SQL_CALC_FOUND_ROWS n, ? FROM p.t ORDER BY id LIMIT 1",
    "SELECT n FROM p.t WHERE id = ? FOR UPDATE",
    "INSERT INTO p.t (n, s) VALUES (? MOD 1000, 'prepared')",
    "UPDATE p.t SET n = ? MOD 100 WHERE id = 1",
    "SET @a = ?",
    "SELECT nothing + ?",
];

/// What is asked of the proxy; for a server they are user variables.
const WISHES: &[&str] = &[
    "SET @ob_read_consistency = 'weak'",
    "SET @ob_read_consistency = 'strong', @a = 3",
    "SET @ob_read_consistency = NULL",
    "SET @obproxy_read_consistency = 0",
    "SET @obproxy_read_consistency = 1",
    "SET @obproxy_read_consistency = NULL",
    "SET @obproxy_read_consistency = @a",
    "SET @obproxy_read_consistency = 0, sql_mode = 'nonsense'",
    "SELECT 'strong' INTO @ob_read_consistency",
    "SET @obproxy_route_addr = ''",
    "SET @obproxy_route_addr = @a",
    "SET @obproxy_route_addr = NULL",
    "SET @proxy_session_ldc = 'here'",
    "SELECT @ob_read_consistency, @obproxy_read_consistency, id FROM p.t ORDER BY id",
];

const PLACES: &[&str] = &["p", "mysql", "information_schema", "performance_schema", "nowhere"];

/// Whether a step asks what the query before it has found. Behind one that has failed, which has
/// found nothing, a server tells of some query before.
pub(crate) fn asks_what_was_found(step: &Step) -> bool {
    matches!(step, Step::Query(sql) if FOUND.contains(&&**sql))
}

/// Whether what the statements before a step have left is there behind it, too.
pub(crate) fn leaves_marks(step: &Step) -> bool {
    match step {
        Step::Query(sql) => AFTER.contains(&&**sql) || FOUND.contains(&&**sql),
        Step::Reset | Step::ChangeUser(_) => false,
        Step::Together(steps) => steps.first().is_some_and(leaves_marks),
        // It may be that nothing is prepared.
        Step::Execute(..) => true,
        Step::InitDb(_)
        | Step::Ping
        | Step::Prepare(..)
        | Step::Close(_)
        | Step::SetOption(_)
        | Step::FieldList(_) => true,
    }
}

/// A program of 5 to 60 steps. Two of three have nothing in them that pins.
pub(crate) fn program(random: &mut Random) -> Vec<Step> {
    let length = 5 + random.below(56);
    let pins = random.below(3) == 0;
    let mut steps = Vec::with_capacity(length);
    while steps.len() < length {
        match random.below(8) {
            0 => steps.extend([query(random.of(READS)), query(random.of(FOUND))]),
            _ => steps.push(one(random, pins)),
        }
        // Somebody asks after it as often as not.
        if random.below(3) == 0 {
            steps.push(query(random.of(AFTER)));
        }
    }
    steps
}

fn one(random: &mut Random, pins: bool) -> Step {
    match random.below(40) {
        0..=13 => query(random.of(READS)),
        14 => query(random.of(OWN)),
        15 => query(random.of(SEVERAL)),
        16..=20 => query(random.of(WRITES)),
        21..=22 => query(random.of(TRANSACTIONS)),
        23..=24 if pins => query(random.of(PINS)),
        25 => Step::Prepare(random.below(SLOTS), random.of(PREPARED)),
        26..=27 if random.below(8) == 0 => query(random.of(WISHES)),
        26..=27 => Step::Execute(random.below(SLOTS), random.below(2) == 0, random.next() >> 40),
        28 => match random.below(8) {
            0..=1 => Step::Reset,
            2 => Step::ChangeUser(random.of(&["p", "mysql"])),
            3 => Step::SetOption(random.below(2) as u16),
            4..=5 => Step::FieldList(random.of(&["t", "nothing"])),
            _ => Step::Ping,
        },
        29 => Step::InitDb(random.of(PLACES)),
        30 => query(&format!("USE {}", random.of(PLACES))),
        31..=32 => together(random),
        // What leads to a place leads back, too, or nothing is found any more.
        33..=34 => query("USE p"),
        _ => step(random),
    }
}

fn together(random: &mut Random) -> Step {
    let one = |random: &mut Random| match random.below(8) {
        0..=3 => query(random.of(READS)),
        4 => query(random.of(WRITES)),
        5 => query(random.of(AFTER)),
        6 => Step::Execute(random.below(SLOTS), true, 5),
        _ => query("SET @a = 12, sql_select_limit = 3"),
    };
    let count = 2 + random.below(5);
    Step::Together((0..count).map(|_| one(random)).collect())
}

fn query(sql: &str) -> Step {
    Step::Query(sql.to_owned())
}
