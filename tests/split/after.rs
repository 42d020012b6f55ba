//! What a read on a replica has left, and a statement of the home's asks for: counts and warnings
//! that go into variables, into tables, or come with what only the home knows.

use crate::pair::Pair;
use crate::support::legs::Legs;
use crate::support::programs::{Run, Step, shown};
use crate::support::tunnel::Compression;
use crate::support::{Login, Server, Wire};

const WHO: &str = "SELECT name FROM p.who";

/// Each as a client of one server would run it. The last one of each shows what has become of it.
const PROGRAMS: &[&[&str]] = &[
    &["SELECT id FROM p.t", "SELECT FOUND_ROWS() INTO @x", "SELECT @x, @x + 1"],
    &["SELECT id FROM p.t LIMIT 0", "SELECT FOUND_ROWS() INTO @x", "SELECT @x"],
    &[
        "SELECT SQL_CALC_FOUND_ROWS id FROM p.t LIMIT 1",
        "SET @x = FOUND_ROWS()",
        "SELECT FOUND_ROWS()",
        "SELECT @x",
    ],
    &["SELECT id FROM p.t", "DO @x := FOUND_ROWS()", "SELECT FOUND_ROWS(), @x"],
    &["SELECT id FROM p.t", "SELECT FOUND_ROWS(), LAST_INSERT_ID()"],
    &["SELECT id FROM p.t", "SET @a = 1", "SELECT FOUND_ROWS() INTO @x", "SELECT @a, @x"],
    &["SELECT id FROM p.t", "BEGIN", "SELECT FOUND_ROWS() + 1", "COMMIT"],
    &["SELECT id FROM p.t", "BEGIN", "SELECT FOUND_ROWS(), n FROM p.t WHERE id = 1", "COMMIT"],
    &["SELECT id FROM p.t", "SET autocommit = 0", "SELECT FOUND_ROWS()", "SET autocommit = 1"],
    &["SELECT 1", "SELECT nothing FROM p.t", "SELECT ROW_COUNT(), LAST_INSERT_ID()"],
    &["SELECT id FROM p.t", "SHOW CREATE TABLE p.t", "SELECT FOUND_ROWS()"],
    &["SELECT id FROM p.t", "SHOW TABLES FROM p LIKE 't'", "SELECT FOUND_ROWS()"],
    &["SELECT id FROM p.t", "SHOW ERRORS", "SELECT FOUND_ROWS()"],
    &["SELECT id FROM p.t", "SET @x = (SELECT COUNT(n) FROM p.t)", "SELECT FOUND_ROWS()"],
    &[
        "SELECT id FROM p.t",
        "SET @x = (SELECT MAX(id) FROM p.t)",
        "SELECT FOUND_ROWS()",
        "SELECT @x",
    ],
    &[
        "SELECT id FROM p.t WHERE id < 3",
        "INSERT INTO p.t (n) VALUES (FOUND_ROWS() + 100)",
        "SELECT n FROM p.t ORDER BY id",
    ],
    &["SELECT id FROM p.t", "UPDATE p.t SET n = ROW_COUNT() WHERE id = 1", "SELECT n FROM p.t"],
    &["SELECT id FROM p.t", "GET DIAGNOSTICS @n = NUMBER, @r = ROW_COUNT", "SELECT @n, @r"],
    &["SELECT id FROM p.t", "GET DIAGNOSTICS @r = ROW_COUNT", "SELECT FOUND_ROWS()", "SELECT @r"],
    &["SELECT id FROM p.t", "SELECT ROW_COUNT(), @@warning_count INTO @r, @w", "SELECT @r, @w"],
    &["SELECT id FROM p.t", "SET @w = @@warning_count, @e = @@error_count", "SELECT @w, @e"],
    &["UPDATE p.t SET n = 5", "SELECT nothing FROM p.t", "SET @x = ROW_COUNT()", "SELECT @x"],
];

/// Programs whose reads leave warnings, or an error.
const WARNED: &[&[&str]] = &[
    &["SELECT 1/0, id FROM p.t", "GET DIAGNOSTICS @n = NUMBER", "SHOW WARNINGS", "SELECT @n"],
    &[
        "SELECT 1/0, id FROM p.t",
        "GET DIAGNOSTICS CONDITION 2 @m = MESSAGE_TEXT, @e = MYSQL_ERRNO, @s = RETURNED_SQLSTATE",
        "GET DIAGNOSTICS @r = ROW_COUNT, @n = NUMBER",
        "SELECT FOUND_ROWS()",
        "SELECT @m, @e, @s, @r, @n, COLLATION(@m)",
    ],
    &[
        "SELECT nothing FROM p.t",
        "GET DIAGNOSTICS CONDITION 1 @m = MESSAGE_TEXT, @e = MYSQL_ERRNO",
        "SHOW ERRORS",
        "SELECT @m, @e",
    ],
    &["SELECT 1/0, id FROM p.t", "SET @i = 2", "GET DIAGNOSTICS @n = NUMBER", "SELECT @i, @n"],
    &["SET @i = 1", "SELECT nothing FROM p.t", "GET DIAGNOSTICS CONDITION @i @m = MYSQL_ERRNO"],
    &["SELECT 1/0, id FROM p.t", "SET @w = @@warning_count", "SHOW WARNINGS", "SELECT @w"],
    &["SELECT 1/0, id FROM p.t", "SELECT @@warning_count INTO @w", "SELECT @w"],
];

/// The answers to a program.
fn answers(wire: &mut Wire, program: &[&str]) -> Vec<Vec<String>> {
    let mut run = Run::default();
    let steps = program.iter().map(|sql| Step::Query((*sql).to_owned()));
    steps.map(|step| shown(&run.step(wire, &step))).collect()
}

fn same(pair: &Pair, address: &str, programs: &[&[&str]]) {
    for program in programs {
        let run = |address: &str| {
            pair.primary
                .execute(&["TRUNCATE TABLE p.t", "INSERT INTO p.t (n) VALUES (1), (2), (3)"]);
            pair.until_caught_up();
            let mut wire = Wire::open(address, &Login::default()).expect("clients are taken");
            (answers(&mut wire, program), wire)
        };
        let (expected, _) = run(&pair.primary.address());
        let (got, mut wire) = run(address);
        assert_eq!(got, expected, "{program:#?}");
        assert_eq!(wire.run(WHO).text(), "replica", "{program:#?}");
    }
}

/// In frames and without.
fn everywhere(pair: &Pair, programs: &[&[&str]]) {
    pair.marked();
    for client in [None, Some(Compression::Zlib)] {
        let entrance = Legs { client, ..Legs::default() }.entrance(&pair.proxy.address());
        same(pair, entrance.address(), programs);
        entrance.check();
    }
}

#[test]
fn what_a_replica_has_counted_is_used_at_home() {
    for start in [Pair::start, Pair::start_mysql] {
        let Some(pair) = start("") else { continue };
        everywhere(&pair, PROGRAMS);
    }
}

#[test]
fn what_a_replica_has_warned_of_goes_into_variables() {
    let Some(pair) = Pair::start("") else { return };
    everywhere(&pair, WARNED);
}

/// A statement that is prepared asks what is so when it is executed.
#[test]
fn what_a_replica_has_counted_is_used_by_prepared_statements() {
    let Some(pair) = Pair::start("") else { return };
    pair.marked();
    let program = [
        Step::Prepare(0, "SELECT FOUND_ROWS() + ?"),
        Step::Prepare(1, "SET @x = FOUND_ROWS() + ?"),
        Step::Query("SELECT id FROM p.t".into()),
        Step::Execute(0, true, 10),
        Step::Query("SELECT id FROM p.t WHERE id < 3".into()),
        Step::Execute(1, true, 10),
        Step::Query("SELECT @x".into()),
    ];
    let run = |address: &str| {
        let mut wire = Wire::open(address, &Login::default()).expect("clients are taken");
        let mut run = Run::default();
        program.iter().map(|step| shown(&run.step(&mut wire, step))).collect::<Vec<_>>()
    };
    assert_eq!(run(&pair.proxy.address()), run(&pair.primary.address()));
}

/// What nobody can answer is not answered wrongly, and the session goes on.
#[test]
fn what_is_scattered_is_refused() {
    for server in [Server::MariaDb, Server::MySql] {
        let start = if server == Server::MySql { Pair::start_mysql } else { Pair::start };
        let Some(pair) = start("") else { continue };
        pair.marked();
        for client in [None, Some(Compression::Zlib)] {
            let entrance = Legs { client, ..Legs::default() }.entrance(&pair.proxy.address());
            let mut wire =
                Wire::open(entrance.address(), &Login::default()).expect("clients are taken");
            wire.run("SELECT CAST(CONCAT('x', id) AS SIGNED) FROM p.t");
            wire.run("BEGIN");
            let said = wire.query("GET DIAGNOSTICS @n = NUMBER");
            // MySQL's BEGIN has put the warnings away.
            let refused = (server == Server::MariaDb).then_some(1105);
            assert_eq!(said.error(), refused, "{server:?} {client:?}");
            wire.run("COMMIT");
            assert_eq!(wire.run(WHO).text(), "replica");
            wire.run("SELECT CAST(CONCAT('x', id) AS SIGNED) FROM p.t");
            let said = wire.query("INSERT INTO p.t (n) VALUES (@@warning_count)");
            assert_eq!(said.error(), Some(1105), "{server:?} {client:?}");
            assert_eq!(wire.run("SHOW COUNT(*) WARNINGS").text(), "3");
            assert_eq!(wire.run("SELECT COUNT(*) FROM p.t").text(), "3");
            let route = wire.run("EXPLAIN ROUTE SELECT n FROM p.t").named_rows().remove(0);
            assert_eq!(route["server"], pair.replica.address(), "{route:?}");
            assert_eq!(wire.run(WHO).text(), "replica");
            entrance.check();
        }
    }
}
