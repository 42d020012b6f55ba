//! The clients' own test suites: whatever a test of theirs says directly, it says through the
//! proxy, with TLS on both legs where the client asks for it, while the proxy is restarted all the
//! time, and where its reads are a replica's.

use std::path::Path;
use std::process::Command;
use std::thread;

use crate::programs::fetched;
use crate::support::compare::under_restarts;
use crate::support::database::PASSWORD;
use crate::support::pki::Pki;
use crate::support::proxy::{Options, is_haproxy};
use crate::support::replication::replicating;
use crate::support::{Database, Proxy, Server, scratch, until};

/// A suite of a client's.
struct Suite {
    /// As `tests/fetch` calls it.
    client: &'static str,
    /// The results of its tests against a port, `NAME RESULT`. Gets what was fetched and a
    /// directory to work in.
    run: fn(&Path, &Path, u16) -> Vec<String>,
    /// Fewer that pass directly, and the suite was not really run.
    least: usize,
    /// Beginnings of the names of tests that can't be the same; why stands beside each.
    unlike: &'static [&'static str],
    /// It reads outside of transactions: with autocommit.
    reads_alone: bool,
}

const PYMYSQL: Suite = Suite {
    client: "pymysql",
    run: pymysql,
    least: 100,
    // It looks for the greeting's id, which is the proxy's, in SHOW PROCESSLIST, which is the
    // server's.
    unlike: &["pymysql/tests/test_issues.py::TestNewIssues::test_issue_36 "],
    reads_alone: false,
};
const MYSQLCLIENT: Suite = Suite {
    client: "mysqlclient",
    run: mysqlclient,
    least: 100,
    // Two threads of the client race for one connection; which of them loses is chance.
    unlike: &["tests/test_connection.py::test_result_concurrent_use_raises "],
    reads_alone: false,
};
const GO: Suite = Suite { client: "go", run: go, least: 100, unlike: &[], reads_alone: true };
const DBD: Suite = Suite { client: "dbd", run: dbd, least: 3000, unlike: &[], reads_alone: true };

/// A copy of a suite that it may write to.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from.join("suite/.")).arg(to).status();
    assert!(status.expect("cp runs").success());
}

/// What a command prints; whether it succeeds is its tests' affair.
fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let errors = text(&output.stderr);
    eprintln!("{}", errors.lines().take(20).collect::<Vec<_>>().join("\n"));
    text(&output.stdout)
}

/// Runs pytest in a copy of a suite.
fn pytest(dir: &Path, suite: &Path, tests: &str, variables: &[(&str, &Path)]) -> Vec<String> {
    let mut command = Command::new(dir.join("venv/bin/python"));
    command.args(["-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider", tests]);
    command.current_dir(suite).env("COLUMNS", "200").envs(variables.iter().copied());
    let text = printed(&mut command);
    eprintln!("{}", text.lines().last().unwrap_or_default());
    let result = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let result = rest.split(' ').next()?;
        let known = ["PASSED", "FAILED", "SKIPPED", "ERROR", "XFAIL", "XPASS"];
        let is_test = name.contains("::") && known.contains(&result);
        is_test.then(|| format!("{name} {result}"))
    };
    text.lines().filter_map(result).collect()
}

fn pymysql(dir: &Path, scratch: &Path, port: u16) -> Vec<String> {
    copy(dir, scratch);
    let login = |database: &str| {
        format!(
            r#"{{"host": "127.0.0.1", "port": {port}, "user": "odp", "passwd": "{PASSWORD}",
                "database": "{database}", "use_unicode": true, "local_infile": true}}"#
        )
    };
    let databases = format!("[{}, {}]", login("test1"), login("test2"));
    std::fs::write(scratch.join("pymysql/tests/databases.json"), databases)
        .expect("the copy is ours");
    pytest(dir, scratch, "pymysql", &[])
}

fn mysqlclient(dir: &Path, scratch: &Path, port: u16) -> Vec<String> {
    copy(dir, scratch);
    let options = scratch.join("odp.cnf");
    let text = format!(
        "[MySQLdb-tests]\nhost = 127.0.0.1\nport = {port}\nuser = odp\npassword = {PASSWORD}\n\
         database = test1\ndefault-character-set = utf8mb4\n"
    );
    std::fs::write(&options, text).expect("the copy is ours");
    pytest(dir, scratch, "tests", &[("TESTDB", &options)])
}

fn go(dir: &Path, scratch: &Path, port: u16) -> Vec<String> {
    let mut command = Command::new(dir.join("suite.test"));
    command.arg("-test.v").current_dir(scratch).env("MYSQL_TEST_USER", "odp");
    command.env("MYSQL_TEST_PASS", PASSWORD).env("MYSQL_TEST_DBNAME", "test1");
    command.env("MYSQL_TEST_ADDR", format!("127.0.0.1:{port}"));
    let text = printed(&mut command);
    // "    --- PASS: TestCRUD/compress (0.10s)"
    let result = |line: &str| {
        let (result, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
        Some(format!("{} {result}", rest.split(' ').next()?))
    };
    text.lines().filter_map(result).collect()
}

fn dbd(dir: &Path, scratch: &Path, port: u16) -> Vec<String> {
    copy(dir, scratch);
    let mut command = Command::new("prove");
    command.args(["-v", "t"]).current_dir(scratch);
    let source = format!("DBI:MariaDB:database=test1;host=127.0.0.1;port={port}");
    command.env("DBI_DSN", source).env("DBI_USER", "odp").env("DBI_PASS", PASSWORD);
    let mut file = String::new();
    let mut results = Vec::new();
    for line in printed(&mut command).lines() {
        // "t/10connect.t .......... ", and below it "ok 1 - connected".
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, dots, ..] if name.ends_with(".t") && dots.starts_with("..") => {
                file = name.to_owned();
            }
            ["ok", number, ..] => results.push(format!("{file} {number} PASS")),
            ["not", "ok", number, ..] => results.push(format!("{file} {number} FAIL")),
            [..] => {}
        }
    }
    results
}

/// Options of a server that has TLS.
fn options(dir: &Path, pki: &Pki) -> Vec<String> {
    let files = pki.write(dir);
    let option = |name: &str, path: &Path| format!("--ssl-{name}={}", path.display());
    vec![
        option("ca", &files.ca),
        option("cert", &files.server),
        option("key", &files.server_key),
        "--performance-schema=ON".to_owned(),
    ]
}

/// What the suites find.
fn prepare(database: &Database) {
    database.execute(&[
        "CREATE DATABASE test1 CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
        "CREATE DATABASE test2 CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
    ]);
}

/// A server with what the suites find, and perhaps its replica.
fn started(server: Server, dir: &Path, pki: &Pki, along: Along) -> Option<Vec<Database>> {
    let options = options(dir, pki);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let databases = match along {
        Along::Replica => <[Database; 2]>::from(replicating(server, &options)?).into(),
        Along::Restarts | Along::Nothing => vec![Database::start_with(server, &options)?],
    };
    prepare(&databases[0]);
    Some(databases)
}

/// Both legs may have TLS, as the server's connections may have directly.
fn proxy(databases: &[Database], dir: &Path, pki: &Pki) -> Proxy {
    let files = pki.write(dir);
    let addresses: Vec<String> = databases.iter().map(Database::address).collect();
    let mut options = Options::new(&addresses);
    options.rest = format!(
        "[tls.client]\nmode = \"prefer\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
         [tls.server]\nmode = \"prefer\"\n",
        files.server.display(),
        files.server_key.display()
    );
    if databases.len() == 1 {
        return Proxy::start_with(&options);
    }
    options.cluster = format!(
        "service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\nread_write_split = \"on\"\n\
         [[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n"
    );
    let proxy = Proxy::start_with(&options);
    until("the replica to be known", || {
        let rows = proxy.admin().ok()?.run("SHOW PROXYROUTE").named_rows();
        rows.iter().any(|row| row["role"] == "replica").then_some(())
    });
    proxy
}

/// What the suite has to bear besides the proxy.
#[derive(Clone, Copy, PartialEq)]
enum Along {
    /// It is restarted all the time.
    Restarts,
    /// Reads are split.
    Replica,
    Nothing,
}

/// How many statements the replica was asked by others than who replicates.
fn reads_of(proxy: &Proxy) -> u64 {
    let rows = proxy.admin().expect("it takes operators").run("SHOW PROXYROUTE").named_rows();
    let of_replicas = rows.iter().filter(|row| row["role"] == "replica");
    of_replicas.map(|row| row["reads"].parse::<u64>().expect("a number")).sum()
}

fn is_the_same(suite: &Suite, server: Server, along: Along) {
    if along == Along::Replica && is_haproxy() {
        return;
    }
    let Some(fetched) = fetched(suite.client) else { return };
    let (pki, here, there) = (Pki::new(), scratch(), scratch());
    let Some(first) = started(server, here.path(), &pki, Along::Nothing) else { return };
    let Some(second) = started(server, there.path(), &pki, along) else { return };
    let proxy = proxy(&second, there.path(), &pki);
    let run = |dir: &Path, port: u16| {
        let dir = dir.join("suite");
        std::fs::create_dir(&dir).expect("the directory is ours");
        let mut results = (suite.run)(&fetched, &dir, port);
        results.retain(|line| !suite.unlike.iter().any(|name| line.starts_with(name)));
        results.sort();
        results
    };
    let (direct, proxied) = thread::scope(|scope| {
        let direct = scope.spawn(|| run(here.path(), first[0].port));
        let mut proxied = Vec::new();
        if along == Along::Restarts && !is_haproxy() {
            let count = under_restarts(&proxy, || proxied = run(there.path(), proxy.sql));
            eprintln!("{count} restarts meanwhile");
        } else {
            proxied = run(there.path(), proxy.sql);
        }
        (direct.join().expect("it ran"), proxied)
    });
    let passed = |results: &[String]| results.iter().filter(|line| line.contains(" PASS")).count();
    eprintln!("passed: {} directly, {} proxied", passed(&direct), passed(&proxied));
    assert!(passed(&direct) >= suite.least, "{direct:#?}");
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let differing = (only(&direct, &proxied), only(&proxied, &direct));
    assert!(differing.0.is_empty() && differing.1.is_empty(), "differ: {differing:#?}");
    assert_eq!(direct.len(), proxied.len());
    if along == Along::Replica && suite.reads_alone {
        let reads = reads_of(&proxy);
        assert!(reads > 10, "{reads} reads of the replica");
    }
}

/// Each suite on MariaDB under restarts and with its reads split, and on MySQL without.
macro_rules! suites {
    ($($name:ident: $suite:ident;)+) => {
        $(mod $name {
            use super::{Along, Server, is_the_same};

            #[test]
            fn mariadb_under_restarts() {
                is_the_same(&super::$suite, Server::MariaDb, Along::Restarts);
            }

            #[test]
            fn mariadb_with_a_replica() {
                is_the_same(&super::$suite, Server::MariaDb, Along::Replica);
            }

            #[test]
            fn mysql() {
                is_the_same(&super::$suite, Server::MySql, Along::Nothing);
            }
        })+
    };
}

suites! {
    suite_of_pymysql: PYMYSQL;
    suite_of_mysqlclient: MYSQLCLIENT;
    suite_of_go: GO;
    suite_of_dbd: DBD;
}
