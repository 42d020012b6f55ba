//! Programs of ours that do what applications do with a client, each in the client's language.
//!
//! A program prints what it sees, and three dots where it waits for a line on its standard input:
//! there the proxy is restarted. What it prints must be the same directly, through the proxy, and
//! through the proxy by TLS.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::support::database::PASSWORD;
use crate::support::pki::Pki;
use crate::support::proxy::{Options, is_haproxy};
use crate::support::{Database, LIMIT, Proxy, Server, fixtures_dir, scratch, skip};

/// A client that is not Rust's, as `tests/fetch` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    PyMySql,
    MySqlDb,
    Connector,
    Mysql2,
    /// The older one for Node, which knows no plugins.
    MysqlJs,
    Go,
    Sqlx,
}

/// Where `tests/fetch` has put a client; None, and a note, if it is not there.
pub(crate) fn fetched(name: &str) -> Option<PathBuf> {
    let place = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let dir = match name {
        "pymysql" => place("ODP_TEST_PYTHON").unwrap_or_else(|| fixtures_dir().join("python")),
        _ => place("ODP_TEST_CLIENTS").unwrap_or_else(|| fixtures_dir().join("clients")).join(name),
    };
    if !dir.join("ready").exists() {
        skip(&format!("the client {name} is not to be had here"));
        return None;
    }
    Some(dir)
}

/// A command of the Go that came with the driver.
pub(crate) fn go(dir: &Path) -> Command {
    let mut command = Command::new(dir.join("go/bin/go"));
    command.env("GOROOT", dir.join("go")).env("GOPATH", dir.join("root/usr/share/gocode"));
    command.env("GOCACHE", dir.join("cache")).env("GO111MODULE", "off").env("GOFLAGS", "");
    command.env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    command
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn build(mut command: Command) {
    let output = command.output().expect("the compiler runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

impl Client {
    /// The program, ready to run; what it needs for that lives in `scratch`.
    fn command(self, scratch: &Path) -> Option<Command> {
        let python = |dir: PathBuf, module: &str| {
            let mut command = Command::new(dir.join("venv/bin/python"));
            command.arg(source("programs/dbapi.py")).arg(module);
            command
        };
        match self {
            Self::PyMySql => {
                let dir = fetched("pymysql")?;
                let suite = dir.join("suite");
                let mut command = python(dir, "pymysql");
                command.env("PYTHONPATH", suite);
                Some(command)
            }
            Self::MySqlDb => Some(python(fetched("mysqlclient")?, "MySQLdb")),
            Self::Connector => Some(python(fetched("connector")?, "mysql.connector")),
            Self::Mysql2 => {
                let mut command = Command::new("node");
                command.arg(source("programs/mysql2.js"));
                command.env("NODE_PATH", fetched("mysql2")?.join("node_modules"));
                Some(command)
            }
            Self::MysqlJs => {
                let mut command = Command::new("node");
                command.arg(source("programs/mysqljs.js"));
                command.env("NODE_PATH", fetched("mysqljs")?.join("node_modules"));
                Some(command)
            }
            Self::Go => {
                let binary = scratch.join("go");
                let mut compile = go(&fetched("go")?);
                compile.args(["build", "-o"]).arg(&binary).arg(source("programs/go.go"));
                build(compile);
                Some(Command::new(binary))
            }
            Self::Sqlx => {
                let target = fetched("sqlx")?.join("target");
                let mut compile = Command::new(env!("CARGO"));
                compile.args(["build", "--quiet", "--locked", "--manifest-path"]);
                compile.arg(source("sqlx/Cargo.toml")).arg("--target-dir").arg(&target);
                build(compile);
                Some(Command::new(target.join("debug/odp-sqlx")))
            }
        }
    }
}

/// A child that is ended whatever happens.
struct Running {
    child: Child,
    shown: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = child.stdout.take().expect("a pipe");
        let (send, shown) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, shown }
    }

    /// Every line that it prints, waits left out; `at_wait` is run in each.
    fn lines(&mut self, mut at_wait: impl FnMut()) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            match self.shown.recv_timeout(LIMIT) {
                Ok(line) if line == "..." => {
                    at_wait();
                    let input = self.child.stdin.as_mut().expect("a pipe");
                    // A program that has just failed reads no more, which its status tells.
                    let _ = input.write_all(b"\n");
                }
                Ok(line) => seen.push(line),
                Err(_) => break,
            }
        }
        let ended = self.child.try_wait().expect("our own child can be waited for");
        let status = ended.or_else(|| self.child.wait().ok().filter(|_| !seen.is_empty()));
        let mut errors = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            let _ = pipe.read_to_string(&mut errors);
        }
        let last = seen.last().map(String::as_str);
        assert!(
            status.is_some_and(|status| status.success())
                && last.is_some_and(|it| it.contains("done")),
            "{status:?}: {seen:#?}\n{errors}"
        );
        seen
    }
}

/// A file for LOAD DATA LOCAL, a few hundred kilobytes.
fn file(dir: &Path) -> PathBuf {
    let path = dir.join("rows.txt");
    let rows: String = (0..5000).map(|n| format!("{n}\tthe row of the number {n}\n")).collect();
    std::fs::write(&path, rows).expect("the directory is ours");
    path
}

/// The CA, and lines of a config for a proxy that takes clients by TLS only.
pub(crate) fn secured(dir: &Path) -> (PathBuf, String) {
    let files = Pki::new().write(dir);
    let lines = format!(
        "[tls.client]\nmode = \"require\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        files.server.display(),
        files.server_key.display()
    );
    (files.ca, lines)
}

fn is_the_same(client: Client, server: Server) {
    let dir = scratch();
    if client.command(dir.path()).is_none() {
        return;
    }
    let Some(database) = Database::start(server) else { return };
    let file = file(dir.path());
    let run = |port: u16, ca: Option<&Path>, at_wait: &mut dyn FnMut()| {
        database.execute(&["DROP DATABASE p", "CREATE DATABASE p CHARACTER SET utf8mb4"]);
        let mut command = client.command(dir.path()).expect("it was there a moment ago");
        command.env("ODP_PORT", port.to_string()).env("ODP_FILE", &file);
        command.envs([("ODP_USER", "odp"), ("ODP_PASSWORD", PASSWORD), ("ODP_DATABASE", "p")]);
        command.env("PYTHONHASHSEED", "0").envs(ca.map(|ca| ("ODP_CA", ca)));
        Running::start(command).lines(at_wait)
    };
    let direct = run(database.port, None, &mut || ());
    assert!(direct.len() > 10, "{direct:#?}");
    let proxy = Proxy::start(&database);
    let restart = |proxy: &Proxy| {
        if !is_haproxy() {
            proxy.restart();
        }
    };
    assert_eq!(direct, run(proxy.sql, None, &mut || restart(&proxy)));
    if is_haproxy() {
        return;
    }
    let (ca, lines) = secured(dir.path());
    let mut options = Options::new(&[database.address()]);
    options.rest = lines;
    let secure = Proxy::start_with(&options);
    assert_eq!(direct, run(secure.sql, Some(&ca), &mut || restart(&secure)));
}

/// A test of each client on each server.
macro_rules! programs {
    ($($name:ident: $client:ident on $($server:ident),+;)+) => {
        $(mod $name {
            $(
                #[test]
                #[allow(non_snake_case)]
                fn $server() {
                    super::is_the_same(super::Client::$client, super::Server::$server);
                }
            )+
        })+
    };
}

programs! {
    program_pymysql: PyMySql on MariaDb, MySql, SeekDb;
    program_mysqlclient: MySqlDb on MariaDb;
    program_connector: Connector on MariaDb, MySql;
    program_mysql2: Mysql2 on MariaDb, MySql;
    program_mysqljs: MysqlJs on MariaDb;
    program_go: Go on MariaDb, MySql;
    program_sqlx: Sqlx on MariaDb, MySql;
}
