//! Real clients through the proxy, each with its own idea of the protocol.

#[path = "../support/mod.rs"]
mod support;

mod mariadb_suite;
mod programs;
mod schema_change;
mod suites;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use mysql_async::prelude::{Query as _, Queryable as _, WithParams as _};
use support::compare::{perhaps_under_restarts, under_restarts};
use support::database::{PASSWORD, mysql_command_line};
use support::proxy::{ADMIN_PASSWORD, Options, is_haproxy};
use support::{Database, LIMIT, Proxy, Server, scratch, skip, until};

/// Which command line.
#[derive(Clone, Copy, Debug, PartialEq)]
enum CommandLine {
    MariaDb,
    MySql,
}

impl CommandLine {
    /// For a port; None if it is not installed.
    fn command(self, port: u16) -> Option<Command> {
        let found = match self {
            Self::MariaDb => {
                let program = Path::new("/usr/bin/mariadb");
                program.exists().then(|| Command::new(program))
            }
            Self::MySql => mysql_command_line(),
        };
        let Some(mut command) = found else {
            skip(&format!("the command line of {self:?} is not to be had here"));
            return None;
        };
        command.args(["--no-defaults", "-h127.0.0.1", "-uodp", "--local-infile=1"]);
        command.arg(format!("-P{port}")).arg(format!("-p{PASSWORD}")).arg("p");
        Some(command)
    }

    /// Options for TLS with a certificate by this CA.
    fn secured(self, ca: &Path) -> [String; 2] {
        let mode = match self {
            Self::MariaDb => "--ssl-verify-server-cert",
            Self::MySql => "--ssl-mode=VERIFY_IDENTITY",
        };
        [mode.to_owned(), format!("--ssl-ca={}", ca.display())]
    }
}

/// What a script prints.
fn printed(line: CommandLine, port: u16, options: &[&str], script: &str) -> Option<String> {
    let mut child = line
        .command(port)?
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command line starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(script.as_bytes()).expect("it reads the script");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(format!("{}{}{}", output.status, text(&output.stdout), text(&output.stderr)))
}

fn command_line_is_the_same(line: CommandLine, server: Server) {
    let Some(database) = Database::start(server) else { return };
    let proxy = Proxy::start(&database);
    let dir = scratch();
    let file = dir.path().join("lines.txt");
    std::fs::write(&file, "1\tone\n2\ttwo\n").expect("the directory is ours");
    let script = format!(
        "DROP TABLE IF EXISTS t;\nCREATE TABLE t (n INT PRIMARY KEY, v VARCHAR(20));\n\
         LOAD DATA LOCAL INFILE '{}' INTO TABLE t;\nSELECT * FROM t ORDER BY n;\n\
         INSERT INTO t VALUES (1, 'again');\nSHOW WARNINGS;\nUSE mysql;\nSELECT DATABASE();\n\
         USE p;\nDESCRIBE t;\nDELIMITER //\nDROP PROCEDURE IF EXISTS two//\n\
         CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2; END//\nDELIMITER ;\nCALL two();\n\
         SELECT REPEAT('x', 100000);\nSELECT * FROM nowhere;\nSELECT 'é', NULL, 1.5;\n",
        file.display()
    );
    let (ca, lines) = programs::secured(dir.path());
    let mut options = Options::new(&[database.address()]);
    options.rest = lines;
    let secure = (!is_haproxy()).then(|| Proxy::start_with(&options));
    let tls = line.secured(&ca);
    let plain = match line {
        CommandLine::MariaDb => "--skip-ssl",
        CommandLine::MySql => "--ssl-mode=DISABLED",
    };
    for options in [&["--force"][..], &["--force", "-vvv", "--table"], &["--quick", "--xml"]] {
        let insecure = [options, &[plain]].concat();
        let Some(direct) = printed(line, database.port, &insecure, &script) else { return };
        let proxied = || printed(line, proxy.sql, &insecure, &script);
        let proxied = perhaps_under_restarts(&proxy, proxied).expect("it was there");
        // -vvv shows how long statements took.
        let timeless = |text: String| -> Vec<String> {
            text.lines().map(|line| line.split(" (0.").next().unwrap_or(line).to_owned()).collect()
        };
        assert!(direct.contains("two"), "{direct}");
        let direct = timeless(direct);
        assert_eq!(direct, timeless(proxied));
        let Some(secure) = &secure else { continue };
        let options = [options, &[&tls[0], &tls[1]]].concat();
        let mut secured = None;
        under_restarts(secure, || secured = printed(line, secure.sql, &options, &script));
        assert_eq!(direct, timeless(secured.expect("it was there")), "by TLS");
    }
}

#[test]
fn command_line_prints_the_same_mariadb() {
    command_line_is_the_same(CommandLine::MariaDb, Server::MariaDb);
}

#[test]
fn command_line_prints_the_same_mysql() {
    command_line_is_the_same(CommandLine::MariaDb, Server::MySql);
}

#[test]
fn command_line_of_mysql_prints_the_same() {
    command_line_is_the_same(CommandLine::MySql, Server::MySql);
}

/// Ctrl-C in the command line opens a second connection and sends KILL QUERY with the id that the
/// first one was shown.
fn control_c_ends_the_statement(server: Server) {
    let Some(database) = Database::start(server) else { return };
    let proxy = Proxy::start(&database);
    let Some(command) = CommandLine::MariaDb.command(proxy.sql) else { return };
    if !Path::new("/usr/bin/script").exists() {
        return skip("script is not installed");
    }
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    // A shell that stays above the command line takes Ctrl-C for itself as well: dash then ends
    // with 130, whatever mariadb ended with.
    let line = format!("exec mariadb {}", words.join(" "));
    // Only on a terminal does the command line go on after Ctrl-C.
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("script starts");
    let mut keyboard = child.stdin.take().expect("a pipe");
    let mut screen = child.stdout.take().expect("a pipe");
    let (send, shown) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = screen.read(&mut buffer) {
            if send.send(String::from_utf8_lossy(&buffer[..read]).into_owned()).is_err() {
                break;
            }
        }
    });
    let mut seen = String::new();
    let mut wait_for = |what: &str| {
        while !seen.contains(what) {
            match shown.recv_timeout(LIMIT) {
                Ok(text) => seen.push_str(&text),
                Err(error) => panic!("waiting for {what}: {error}; the screen shows\n{seen}"),
            }
        }
        seen.clear();
    };
    wait_for("> ");
    keyboard.write_all(b"SELECT SLEEP(300);\n").expect("typing");
    database.until_counted(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'",
    );
    keyboard.write_all(b"\x03").expect("typing");
    wait_for("query killed");
    // Typed in two parts, so that the echo is not taken for the answer.
    keyboard.write_all(b"SELECT CONCAT('still ', 'here');\n").expect("typing");
    wait_for("still here");
    keyboard.write_all(b"\\q\n").expect("typing");
    drop(keyboard);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn control_c_ends_the_statement_mariadb() {
    control_c_ends_the_statement(Server::MariaDb);
}

#[test]
fn control_c_ends_the_statement_mysql() {
    control_c_ends_the_statement(Server::MySql);
}

/// mysql_async: a pool, prepared statements, transactions, streams. Goes on after each `pause`.
async fn rust_client(port: u16, pause: &dyn Fn()) -> mysql_async::Result<Vec<String>> {
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some("odp"))
        .pass(Some(PASSWORD))
        .db_name(Some("p"))
        .prefer_socket(false);
    let pool = mysql_async::Pool::new(options);
    let mut told = Vec::new();
    let mut one = pool.get_conn().await?;
    one.query_drop("DROP TABLE IF EXISTS t").await?;
    one.query_drop("CREATE TABLE t (n INT PRIMARY KEY, v LONGTEXT) ENGINE = InnoDB").await?;
    let rows = (0..100).map(|n| (n, format!("value {n}")));
    one.exec_batch("INSERT INTO t VALUES (?, ?)", rows).await?;
    pause();
    let mut transaction = one.start_transaction(Default::default()).await?;
    transaction.exec_drop("UPDATE t SET v = ? WHERE n < ?", ("changed", 50)).await?;
    told.push(format!("{} changed", transaction.affected_rows()));
    pause();
    transaction.rollback().await?;
    let long = "x".repeat(17 << 20);
    one.exec_drop("INSERT INTO t VALUES (?, ?)", (1000, &long)).await?;
    let back: Option<String> = one.exec_first("SELECT v FROM t WHERE n = ?", (1000,)).await?;
    told.push(format!("{} bytes", back.map_or(0, |text| text.len())));
    let sum: Option<i64> = "SELECT CAST(SUM(n) AS SIGNED) FROM t WHERE v LIKE ?"
        .with(("value%",))
        .first(&mut one)
        .await?;
    told.push(format!("sum {sum:?}"));
    let error = one.query_drop("SELECT * FROM nowhere").await.expect_err("no such table");
    told.push(error.to_string());
    let mut sets = one.query_iter("SELECT 1; SELECT 2, 3; DO 0; SELECT 'last'").await?;
    while !sets.is_empty() {
        let rows: Vec<mysql_async::Row> = sets.collect().await?;
        told.push(format!("{rows:?}"));
        pause();
    }
    drop(sets);
    let other = pool.get_conn().await?;
    told.push(format!("{:?}", "SELECT COUNT(*) FROM t".first::<u32, _>(other).await?));
    one.reset().await?;
    drop(one);
    pool.disconnect().await?;
    Ok(told)
}

fn rust_client_is_the_same(server: Server) {
    let Some(database) = Database::start(server) else { return };
    let proxy = Proxy::start(&database);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let direct = runtime.block_on(rust_client(database.port, &|| ())).expect("directly");
    let restart = || {
        if !is_haproxy() {
            proxy.restart();
        }
    };
    let proxied = runtime.block_on(rust_client(proxy.sql, &restart)).expect("through the proxy");
    assert!(direct.len() >= 8, "{direct:?}");
    assert_eq!(direct, proxied);
}

#[test]
fn rust_client_mariadb() {
    rust_client_is_the_same(Server::MariaDb);
}

#[test]
fn rust_client_mysql() {
    rust_client_is_the_same(Server::MySql);
}

#[test]
fn fixtures_end_with_their_test() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let pid = database.process().pid();
    drop(database);
    until("the end of the server", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}

/// RESTART on the admin port: the session that was open before lives on, the process is another
/// one.
#[test]
fn restart_by_statement() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = support::Wire::open(&proxy.address(), &Default::default()).expect("log in");
    wire.run("SET @before = 'kept'");
    for _ in 0..3 {
        proxy.restart();
        assert_eq!(wire.query("SELECT @before").text(), "kept");
    }
}

/// Runs a script as an admin with the command line; what it prints.
fn as_admin(port: u16, user: &str, script: &str) -> Option<(bool, String)> {
    // The one that knows how to start the command line gives the program.
    let program = CommandLine::MariaDb.command(port)?.get_program().to_owned();
    let output = Command::new(program)
        .args(["--no-defaults", "-h127.0.0.1", "--table", "-e", script])
        .arg(format!("-P{port}"))
        .arg(format!("-u{user}"))
        .arg(format!("-p{ADMIN_PASSWORD}"))
        .output()
        .expect("the command line runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
    Some((output.status.success(), printed))
}

/// The admin commands by the command line, on the admin port and as `@proxysys` on the SQL port.
#[test]
fn command_line_speaks_to_the_admin() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    for (port, suffix) in [(proxy.admin, ""), (proxy.sql, "@proxysys")] {
        let show = "SHOW RESTART; SHOW PROXYCONFIG; SHOW PROXYSESSION; SHOW PROCESSLIST; \
                    SHOW PROXYSTAT; SHOW PROXYINFO BINARY; PING PROXY; SELECT PROXY_VERSION(); \
                    SELECT PROXY_STATUS()";
        for user in ["root", "watch"] {
            let user = format!("{user}{suffix}");
            let Some((ok, printed)) = as_admin(port, &user, show) else { return };
            assert!(ok && printed.contains("RUNNING"), "{user}: {printed}");
        }
        let watcher = format!("watch{suffix}");
        let (ok, printed) = as_admin(port, &watcher, "RESTART").expect("it is installed");
        assert!(!ok && printed.contains("ERROR 1227 (42000)"), "{printed}");
        let (ok, printed) =
            as_admin(port, &format!("nobody{suffix}"), "PING PROXY").expect("it is installed");
        assert!(!ok && printed.contains("ERROR 1045 (28000)"), "{printed}");
    }
}
