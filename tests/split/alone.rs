//! What is asked of a proxy that has nothing to split: where a statement goes can be asked all the
//! same, and hints do no harm.

use crate::support::legs::Legs;
use crate::support::programs::{Run, Step, shown};
use crate::support::tunnel::Compression;
use crate::support::{Database, Login, Proxy, Server, Wire};

const HINTED: &[&str] = &[
    "SELECT /*+ TARGET_DB_SERVER='10.0.0.1:3306' */ n FROM p.t",
    "/* TARGET_DB_SERVER='10.0.0.1:3306' */ SELECT n FROM p.t",
    "SELECT /*+READ_CONSISTENCY(WEAK)*/ n FROM p.t",
    "/*FORCE_MASTER*/ SELECT n FROM p.t",
    "/*FORCE_MASTER*/ UPDATE p.t SET n = n + 1",
    "SET @ob_read_consistency = 'weak', @obproxy_route_addr = '10.0.0.1:3306'",
    "SELECT n FROM p.t",
    "EXPLAIN route",
];

#[test]
fn a_route_is_explained_where_there_is_but_one() {
    for server in [Server::MariaDb, Server::MySql] {
        let Some(database) = Database::start(server) else { continue };
        let proxy = Proxy::start(&database);
        for client in [None, Some(Compression::Zlib)] {
            let entrance = Legs { client, ..Legs::default() }.entrance(&proxy.address());
            let mut wire =
                Wire::open(entrance.address(), &Login::default()).expect("clients are taken");
            for (sql, kind) in [
                ("EXPLAIN ROUTE SELECT n FROM p.t", "read"),
                ("/* x */ explain /* y */ route\nDELETE FROM p.t", "write"),
                ("EXPLAIN ROUTE CALL p.nothing()", "other"),
                ("EXPLAIN ROUTE SELECT /*+READ_CONSISTENCY(WEAK)*/ n FROM p.t;", "read"),
            ] {
                let route = wire.run(sql).named_rows().remove(0);
                assert_eq!(route["server"], database.address(), "{sql}");
                assert_eq!(route["reason"], "split is off", "{sql}");
                assert_eq!((&*route["statement"], &*route["link"]), (kind, "home"), "{sql}");
                assert_eq!(route["refused"], "", "{sql}");
            }
            // Among others that are under way, and where texts are read otherwise.
            wire.run("SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'");
            wire.run("SET NAMES latin1");
            let together = ["SELECT 1", "EXPLAIN ROUTE SELECT 1", "SELECT 2"];
            let step = |sql: &str| Step::Query(sql.to_owned());
            let step = Step::Together(together.map(step).to_vec());
            let answers = shown(&Run::default().step(&mut wire, &step)).join("\n");
            assert!(answers.contains("split is off"), "{answers}");
            assert_eq!(wire.run("SELECT 3").text(), "3");
            entrance.check();
        }
    }
}

#[test]
fn hints_do_no_harm_where_there_is_but_one() {
    for server in [Server::MariaDb, Server::MySql] {
        let Some(database) = Database::start(server) else { continue };
        let proxy = Proxy::start(&database);
        let run = |address: &str| {
            database.execute(&[
                "DROP TABLE IF EXISTS p.t",
                "CREATE TABLE p.t (n INT)",
                "INSERT INTO p.t VALUES (1)",
            ]);
            let mut wire = Wire::open(address, &Login::default()).expect("clients are taken");
            let mut run = Run::default();
            let steps = HINTED.iter().map(|sql| Step::Query((*sql).to_owned()));
            steps.map(|step| shown(&run.step(&mut wire, &step))).collect::<Vec<_>>()
        };
        assert_eq!(run(&proxy.address()), run(&database.address()));
    }
}
