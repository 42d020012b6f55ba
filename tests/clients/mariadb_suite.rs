//! MariaDB's own test suite, of which those tests that ask for ids of connections, in every way:
//! through the proxy they see what they see directly.

use std::path::Path;
use std::process::Command;

use crate::support::proxy::{Options, is_haproxy};
use crate::support::{Database, Proxy, Server, scratch, skip};

/// What runs it, where packages put it.
const PROGRAMS: [&str; 2] = [
    "/usr/share/mariadb/mariadb-test/mariadb-test-run.pl",
    "/usr/share/mysql/mysql-test/mariadb-test-run.pl",
];

const TESTS: [&str; 4] = ["main.grant_kill", "main.sp-threads", "main.status", "main.xa"];

/// As its servers are started, where that is seen in results; and no test waits for long.
const SERVER: [&str; 6] = [
    "--default-storage-engine=myisam",
    "--character-set-server=latin1",
    "--performance-schema",
    "--key-buffer-size=1M",
    "--sort-buffer-size=256K",
    "--innodb-lock-wait-timeout=3",
];

/// How the tests end against a socket, and all that was said.
fn results(program: &str, socket: &Path) -> (Vec<String>, String) {
    let dir = scratch();
    let output = Command::new("perl")
        .arg(program)
        .arg(format!("--vardir={}", dir.path().join("var").display()))
        .arg(format!("--tmpdir={}", dir.path().join("tmp").display()))
        .args(["--extern", &format!("socket={}", socket.display()), "--extern", "user=root"])
        .arg("--force")
        .args(TESTS)
        .current_dir(Path::new(program).parent().expect("it is in a directory"))
        .output()
        .expect("perl runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let result = |line: &str| {
        let (name, rest) = line.split_once(" [ ")?;
        let is_test = TESTS.contains(&name.trim());
        is_test.then(|| format!("{} {}", name.trim(), rest.split(' ').next().unwrap_or_default()))
    };
    let mut results: Vec<_> = said.lines().filter_map(result).collect();
    results.sort();
    (results, said)
}

#[test]
fn mariadbs_own_tests_of_ids_pass_as_they_do_directly() {
    let program = PROGRAMS.into_iter().find(|program| Path::new(program).exists());
    let Some(program) = program.filter(|_| Path::new("/usr/bin/mariadb-test").exists()) else {
        return skip("mariadb-test is not installed");
    };
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start_with(Server::MariaDb, &SERVER) else { return };
    database.execute(&[
        "CREATE OR REPLACE USER root@localhost IDENTIFIED BY ''",
        "GRANT ALL ON *.* TO root@localhost WITH GRANT OPTION",
        "CREATE DATABASE IF NOT EXISTS test",
        "CREATE DATABASE mtr",
        // Its servers have it; what it leaves out is of their logs.
        "CREATE PROCEDURE mtr.add_suppression(pattern VARCHAR(255)) DO 0",
    ]);
    let expected = TESTS.map(|test| format!("{test} pass"));
    let (direct, said) = results(program, &database.socket);
    assert_eq!(direct, expected, "{said}");
    let dir = scratch();
    let socket = dir.path().join("s");
    // Accounts are those of the local machine.
    let mut options = Options::new(&[format!("unix:{}", database.socket.display())]);
    options.listen.push(format!("unix:{}", socket.display()));
    let proxy = Proxy::start_with(&options);
    let (proxied, said) = results(program, &socket);
    assert_eq!(proxied, expected, "{said}\n{}", proxy.log());
}
