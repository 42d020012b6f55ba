//! plugin × client's TLS × server's TLS × server, by a client that is not ours.
//!
//! Each cell logs in, is used, lives over a restart, changes its user where the client can, and
//! logs in again: half of the cells by a process that has never seen their server's greeting.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Map, Value, json};

use crate::support::pki::Pki;
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server, scratch, skip};

const PASSWORD: &str = "Wrong-horse 9";

/// A kind of account: its name, how it is made, its password, and what is said before each log-in.
struct Account {
    user: &'static str,
    made: &'static str,
    password: &'static str,
    before: Option<&'static str>,
}

const MARIADB: &[Account] = &[
    account("native", "IDENTIFIED VIA mysql_native_password USING PASSWORD('{}')", PASSWORD),
    account("native_empty", "IDENTIFIED VIA mysql_native_password USING ''", ""),
    account("ed25519", "IDENTIFIED VIA ed25519 USING PASSWORD('{}')", PASSWORD),
];

const MYSQL: &[Account] = &[
    // The first log-in is a full one, those behind are fast.
    account("sha2", "IDENTIFIED WITH caching_sha2_password BY '{}'", PASSWORD),
    Account {
        before: Some("FLUSH PRIVILEGES"),
        ..account("sha2_cold", "IDENTIFIED WITH caching_sha2_password BY '{}'", PASSWORD)
    },
    account("sha2_empty", "IDENTIFIED WITH caching_sha2_password BY ''", ""),
    account("sha256", "IDENTIFIED WITH sha256_password BY '{}'", PASSWORD),
    account("sha256_empty", "IDENTIFIED WITH sha256_password BY ''", ""),
];

const fn account(user: &'static str, made: &'static str, password: &'static str) -> Account {
    Account { user, made, password, before: None }
}

/// The client as a process.
struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn start(cells: &Value) -> Option<Self> {
        let dir = std::env::var_os("ODP_TEST_PYTHON").map(PathBuf::from);
        let python = dir.map(|dir| (dir.join("venv/bin/python"), dir.join("suite")));
        let Some((python, suite)) = python.filter(|(python, _)| python.exists()) else {
            skip("no PyMySQL for the matrix of log-ins");
            return None;
        };
        let mut child = Command::new(python)
            .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/login/matrix.py"))
            .env("PYTHONPATH", suite)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut client = Self { child, input, output };
        writeln!(client.input, "{cells}").expect("it reads");
        Some(client)
    }

    /// What did not go well, a line each.
    fn step(&mut self) -> Vec<String> {
        writeln!(self.input, "step").expect("it reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        let outcome: Map<String, Value> = serde_json::from_str(&line).expect("JSON");
        let bad = outcome.into_iter().filter(|(_, value)| *value != "ok");
        bad.map(|(name, value)| format!("{name}: {value}")).collect()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn matrix(server: Server, accounts: &[Account], prepare: &[&str]) {
    let pki = Pki::new();
    let dir = scratch();
    let files = pki.write(dir.path());
    let options = match server {
        // It makes certificates for itself.
        Server::MySql => Vec::new(),
        _ => files.of_server().into(),
    };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let Some(database) = Database::start_with(server, &options) else { return };
    let mut root = database.admin();
    for statement in prepare {
        root.run(statement);
    }
    for Account { user, made, password, .. } in accounts {
        root.run(&format!("CREATE USER '{user}'@'%' {}", made.replace("{}", password)));
        root.run(&format!("GRANT ALL ON p.* TO '{user}'@'%'"));
    }
    let mut proxies = Vec::new();
    let mut cells = Vec::new();
    for server_tls in [false, true] {
        let socket = dir.path().join(format!("sql-{server_tls}"));
        let mode = if server_tls { "require" } else { "off" };
        let mut options = Options::new(&[database.address()]);
        options.listen = vec![format!("unix:{}", socket.display())];
        options.rest = files.of_proxy(mode);
        let proxy = Proxy::start_with(&options);
        for account in accounts {
            for leg in ["plain", "1.2", "1.3", "unix"] {
                cells.push(cell(account, leg, server_tls, &proxy, &socket, &files.ca, accounts));
            }
        }
        proxies.push(proxy);
    }
    let cells = Value::Array(cells);
    let Some(mut client) = Client::start(&cells) else { return };
    let mut wrong = Vec::new();
    for round in ["at first", "after a restart", "after another one"] {
        wrong.extend(client.step().into_iter().map(|text| format!("{round}: {text}")));
        for proxy in &proxies {
            proxy.restart();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for proxy in &proxies {
        assert!(!proxy.log().contains(PASSWORD), "a password in the log");
    }
}

fn cell(
    account: &Account,
    leg: &str,
    server_tls: bool,
    proxy: &Proxy,
    socket: &std::path::Path,
    ca: &std::path::Path,
    accounts: &[Account],
) -> Value {
    let other = accounts.iter().find(|other| other.user != account.user).unwrap_or(account);
    let mut cell = json!({
        "name": format!("{} {leg} server-tls={server_tls}", account.user),
        "user": account.user,
        "password": account.password,
        "tls": matches!(leg, "1.2" | "1.3").then_some(leg),
        "ca": ca,
        "server_tls": server_tls,
        "change": [other.user, other.password],
        "before": account.before,
        "admin": ["odp", crate::support::database::PASSWORD],
    });
    match leg {
        "unix" => cell["socket"] = json!(socket),
        _ => {
            cell["host"] = json!("127.0.0.1");
            cell["port"] = json!(proxy.sql);
        }
    }
    cell
}

#[test]
fn every_plugin_of_mariadb() {
    matrix(Server::MariaDb, MARIADB, &["INSTALL SONAME 'auth_ed25519'"]);
}

#[test]
fn every_plugin_of_mysql() {
    matrix(Server::MySql, MYSQL, &[]);
}
