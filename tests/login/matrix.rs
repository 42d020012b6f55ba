//! plugin × client's TLS × server's TLS × server, by clients that are not ours.
//!
//! Each cell logs in, is used, lives over a restart, changes its user where the client can, and
//! logs in again: half of the cells by a process that has never seen their server's greeting. A
//! password in clear is refused in each cell with a leg that is not secure.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use odp::error::ClientError;
use serde_json::{Map, Value, json};

use crate::support::database::{self, fetched};
use crate::support::pki::Pki;
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server, scratch, skip};

const PASSWORD: &str = "Wrong-horse 9";

/// A kind of account: its name, how it is made, its password, and what is said before each log-in.
#[derive(Clone, Copy)]
struct Account {
    user: &'static str,
    made: &'static str,
    passwords: &'static [&'static str],
    before: Option<&'static str>,
    clear: Clear,
}

/// Whether passwords are sent in clear, and by which of the client's plugins.
#[derive(Clone, Copy)]
enum Clear {
    No,
    Password,
    Dialog,
}

/// A client.
#[derive(Clone, Copy)]
enum By {
    PyMysql,
    Connector,
    LibMariadb,
}

/// A server, who logs in to it, and by what.
struct Column<'a> {
    server: Server,
    options: &'a [&'a str],
    prepare: &'a [&'a str],
    accounts: &'a [Account],
    by: By,
    legs: &'a [&'a str],
    /// Bytes of its longest statement.
    question: usize,
}

/// Bytes of a statement of many packets and records.
const LONG: usize = 300_000;

const LEGS: &[&str] = &["plain", "1.2", "1.3", "unix"];

const MARIADB: &[Account] = &[
    account("native", "VIA mysql_native_password USING PASSWORD('{}')"),
    empty(account("native_empty", "VIA mysql_native_password USING ''")),
    account("ed25519", "VIA ed25519 USING PASSWORD('{}')"),
];

const MARIADB11: &[Account] = &[
    account("parsec", "VIA parsec USING PASSWORD('{}')"),
    account("ed25519", "VIA ed25519 USING PASSWORD('{}')"),
    Account {
        clear: Clear::Password,
        ..account("clear", "VIA cleartext_plugin_server USING '{}'")
    },
    Account {
        // What the plugin wants to hear at its second question.
        passwords: &[PASSWORD, "yes, of course"],
        clear: Clear::Dialog,
        ..account("dialog", "VIA two_questions USING '{}'")
    },
    // Behind those of other plugins: the library answers the challenge in the greeting.
    account("native", "VIA mysql_native_password USING PASSWORD('{}')"),
    empty(account("native_empty", "VIA mysql_native_password USING ''")),
];

const MYSQL: &[Account] = &[
    // The first log-in is a full one, those behind are fast.
    account("sha2", "WITH caching_sha2_password BY '{}'"),
    Account {
        before: Some("FLUSH PRIVILEGES"),
        ..account("sha2_cold", "WITH caching_sha2_password BY '{}'")
    },
    empty(account("sha2_empty", "WITH caching_sha2_password BY ''")),
    account("sha256", "WITH sha256_password BY '{}'"),
    empty(account("sha256_empty", "WITH sha256_password BY ''")),
];

const FACTORS: &[Account] = &[
    account("sha2", "WITH caching_sha2_password BY '{}'"),
    Account { clear: Clear::Password, ..account("clear", "WITH cleartext_plugin_server AS '{}'") },
    Account {
        passwords: &[PASSWORD, "second 2"],
        clear: Clear::Password,
        ..account(
            "two",
            "WITH caching_sha2_password BY '{}' \
             AND IDENTIFIED WITH cleartext_plugin_server AS 'second 2'",
        )
    },
    Account {
        passwords: &[PASSWORD, "second 2", "third 3"],
        clear: Clear::Password,
        ..account(
            "three",
            "WITH caching_sha2_password BY '{}' \
             AND IDENTIFIED WITH cleartext_plugin_server AS 'second 2' \
             AND IDENTIFIED WITH cleartext_plugin_server AS 'third 3'",
        )
    },
];

const SEEKDB: &[Account] = &[account("native", "BY '{}'"), account("native_other", "BY '{}'")];

const fn account(user: &'static str, made: &'static str) -> Account {
    Account { user, made, passwords: &[PASSWORD], before: None, clear: Clear::No }
}

const fn empty(account: Account) -> Account {
    Account { passwords: &[""], ..account }
}

impl Account {
    /// The words with which it is refused in a cell; None if it is let in.
    fn refused(&self, leg: &str, server_tls: bool) -> Option<String> {
        let client = !leg.starts_with("plain");
        let plugin = match self.clear {
            Clear::Password if !(client && server_tls) => "mysql_clear_password",
            Clear::Dialog if client && !server_tls => "dialog",
            _ => return None,
        };
        let leg = if client { "from the proxy to the server" } else { "to the proxy" };
        Some(ClientError::clear_password(plugin, leg).message)
    }
}

impl By {
    fn module(self) -> &'static str {
        match self {
            Self::PyMysql => "by_pymysql",
            Self::Connector => "by_connector",
            Self::LibMariadb => "by_libmariadb",
        }
    }

    /// A Python with the client; None if it is not to be had here.
    fn python(self) -> Option<Command> {
        let venv = |dir: PathBuf| Some(dir.join("venv/bin/python")).filter(|path| path.exists());
        match self {
            Self::PyMysql => {
                let dir = fetched("ODP_TEST_PYTHON", "python");
                let mut command = Command::new(venv(dir.clone())?);
                command.env("PYTHONPATH", dir.join("suite"));
                Some(command)
            }
            Self::Connector => {
                let dir = fetched("ODP_TEST_CLIENTS", "clients").join("connector");
                Some(Command::new(venv(dir)?))
            }
            Self::LibMariadb => database::mariadb11_python(),
        }
    }
}

/// The client as a process.
struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn start(by: By, cells: &Value) -> Option<Self> {
        let Some(mut command) = by.python() else {
            skip(&format!("no client {} for the matrix of log-ins", by.module()));
            return None;
        };
        let mut child = command
            .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/login/matrix.py"))
            .arg(by.module())
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

fn matrix(column: &Column<'_>) {
    let pki = Pki::new();
    let dir = scratch();
    let files = pki.write(dir.path());
    let mut options = match column.server {
        Server::MariaDb | Server::MariaDb11 | Server::SeekDb => files.of_server().into(),
        // It makes certificates for itself.
        Server::MySql => Vec::new(),
    };
    options.extend(column.options.iter().map(|&option| option.to_owned()));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let Some(database) = Database::start_with(column.server, &options) else { return };
    make_accounts(&database, column);
    let mut proxies = Vec::new();
    let mut cells = Vec::new();
    for server_tls in [false, true] {
        let socket = dir.path().join(format!("sql-{server_tls}"));
        let mode = if server_tls { "require" } else { "off" };
        let mut options = Options::new(&[database.address()]);
        options.listen = vec![format!("unix:{}", socket.display())];
        options.rest = files.of_proxy(mode);
        let proxy = Proxy::start_with(&options);
        for account in column.accounts {
            for leg in column.legs {
                let mut cell = cell(account, leg, server_tls, column.accounts);
                cell["ca"] = json!(files.ca);
                cell["question"] = json!(column.question);
                place(&mut cell, leg, &proxy, &socket);
                cells.push(cell);
            }
        }
        proxies.push(proxy);
    }
    let cells = Value::Array(cells);
    let Some(mut client) = Client::start(column.by, &cells) else { return };
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

fn make_accounts(database: &Database, column: &Column<'_>) {
    let mut root = database.admin();
    for statement in column.prepare {
        root.run(statement);
    }
    for Account { user, made, .. } in column.accounts {
        let made = made.replace("{}", PASSWORD);
        root.run(&format!("CREATE USER '{user}'@'%' IDENTIFIED {made}"));
        root.run(&format!("GRANT ALL ON p.* TO '{user}'@'%'"));
    }
}

/// Who logs in how, and whom it changes to.
fn cell(account: &Account, leg: &str, server_tls: bool, accounts: &[Account]) -> Value {
    let is_other =
        |other: &&Account| other.user != account.user && other.refused(leg, server_tls).is_none();
    let at = accounts.iter().position(|other| other.user == account.user).unwrap_or_default();
    let other = accounts.iter().cycle().skip(at).take(accounts.len()).find(is_other);
    // The last one, which has most factors.
    let forbidden = accounts.iter().rev().find_map(|other| {
        Some(json!([other.user, other.passwords, other.refused(leg, server_tls)?]))
    });
    json!({
        "name": format!("{} {leg} server-tls={server_tls}", account.user),
        "user": account.user,
        "passwords": account.passwords,
        "tls": leg.split(' ').next().filter(|version| version.starts_with("1.")),
        "compress": leg.ends_with("zlib"),
        "server_tls": server_tls,
        "change": other.map(|other| json!([other.user, other.passwords])),
        "forbidden": forbidden,
        "refused": account.refused(leg, server_tls),
        "before": account.before,
        "admin": ["odp", [database::PASSWORD]],
    })
}

/// Where the cell's client finds its proxy.
fn place(cell: &mut Value, leg: &str, proxy: &Proxy, socket: &Path) {
    match leg {
        "unix" => cell["socket"] = json!(socket),
        _ => {
            cell["host"] = json!("127.0.0.1");
            cell["port"] = json!(proxy.sql);
        }
    }
}

#[test]
fn every_plugin_of_mariadb() {
    matrix(&Column {
        server: Server::MariaDb,
        options: &[],
        prepare: &["INSTALL SONAME 'auth_ed25519'"],
        accounts: MARIADB,
        by: By::PyMysql,
        legs: LEGS,
        question: LONG,
    });
}

#[test]
fn every_plugin_of_mariadb_11() {
    matrix(&Column {
        server: Server::MariaDb11,
        // Two of the plugins are made for tests.
        options: &["--plugin-maturity=unknown"],
        prepare: &[
            "INSTALL SONAME 'auth_parsec'",
            "INSTALL SONAME 'auth_ed25519'",
            "INSTALL SONAME 'auth_test_plugin'",
            "INSTALL SONAME 'dialog_examples'",
        ],
        accounts: MARIADB11,
        by: By::LibMariadb,
        legs: &["plain", "1.2", "1.3", "unix", "1.3 zlib", "plain zlib"],
        question: LONG,
    });
}

#[test]
fn every_plugin_of_mysql() {
    matrix(&Column {
        server: Server::MySql,
        options: &[],
        prepare: &[],
        accounts: MYSQL,
        by: By::PyMysql,
        legs: LEGS,
        question: LONG,
    });
}

/// Clients by TLS answer the greeting with the password itself.
#[test]
fn every_plugin_of_mysql_by_a_plugin_that_sends_the_password() {
    matrix(&Column {
        server: Server::MySql,
        options: &[],
        prepare: &["SET GLOBAL authentication_policy = '*:sha256_password,,'"],
        accounts: MYSQL,
        by: By::PyMysql,
        legs: LEGS,
        question: LONG,
    });
}

#[test]
fn several_factors_of_mysql() {
    let plugins = fetched("ODP_TEST_MYSQL_PLUGINS", "mysqlplugins").join("plugins");
    if !plugins.join("auth_test_plugin.so").exists() {
        skip("MySQL's plugins for tests are not to be had here");
        return;
    }
    matrix(&Column {
        server: Server::MySql,
        options: &[&format!("--plugin-dir={}", plugins.display()), "--authentication-policy=*,,"],
        prepare: &["INSTALL PLUGIN cleartext_plugin_server SONAME 'auth_test_plugin.so'"],
        accounts: FACTORS,
        by: By::Connector,
        // It does the full log-in of caching_sha2_password by TLS only, and takes a Unix socket for
        // no more secure than a port.
        legs: &["1.3", "1.2", "plain"],
        question: LONG,
    });
}

#[test]
fn the_plugin_of_seekdb() {
    matrix(&Column {
        server: Server::SeekDb,
        options: &[],
        prepare: &[],
        accounts: SEEKDB,
        by: By::PyMysql,
        legs: LEGS,
        // By TLS it closes the connection at longer ones, without a proxy, too.
        question: 10_000,
    });
}
