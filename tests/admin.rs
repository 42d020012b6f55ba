//! The admin commands over real clients, on the admin port and on the clients' port.

#[path = "support/mod.rs"]
mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use support::database::PASSWORD;
use support::proxy::{ADMIN_PASSWORD, Options};
use support::{Database, LIMIT, Login, Proxy, Server, Wire, com, fixtures_dir, skip, until};

/// A proxy whose only server is not there: the admin port does not need one.
fn alone() -> Proxy {
    Proxy::start_with(&Options::new(&["127.0.0.1:1".to_owned()]))
}

/// What the mariadb command line prints for one statement; None if it is not installed.
fn said(port: u16, user: &str, statement: &str) -> Option<String> {
    if !Path::new("/usr/bin/mariadb").exists() {
        skip("the mariadb command line is not installed");
        return None;
    }
    let output = Command::new("/usr/bin/mariadb")
        .args(["--no-defaults", "-h127.0.0.1", "--connect-timeout=20", "-vv"])
        .arg(format!("-P{port}"))
        .arg(format!("-u{user}"))
        .arg(format!("-p{ADMIN_PASSWORD}"))
        .args(["-e", statement])
        .output()
        .expect("the command line runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

/// Statements, and what stands in the answer of each.
const CONVERSATION: &[(&str, &str)] = &[
    ("PING PROXY", "Query OK"),
    ("SELECT PROXY_VERSION(), PROXY_STATUS()", "ACTIVE"),
    ("SHOW PROXYINFO BINARY", "generation"),
    ("SHOW PROXYINFO UPGRADE", "RUNNING"),
    ("SHOW PROXYCONFIG LIKE 'hot\\_upgrade\\_exit%'", "30s"),
    ("SHOW PROXYCONFIG LIKE 'cluster.main.route\\_policy'", "FOLLOWER_FIRST"),
    ("SHOW PROXYSTAT LIKE 'client_requests'", "client_requests"),
    ("SHOW PROCESSLIST", ""),
    ("SHOW RESTART", ""),
    ("SELECT @@version_comment LIMIT 1", "odp"),
    ("SET NAMES utf8mb4", "Query OK"),
    ("ALTER PROXYCONFIG SET client_max_connections = '77'", "Query OK"),
    ("SHOW PROXYCONFIG LIKE 'client_max_connections'", "77"),
    ("ALTER PROXYCONFIG SET client_max_connections = '0'", "1231"),
    ("ALTER PROXYCONFIG SET nonsense = '0'", "1193"),
    ("KILL PROXYSESSION 7", "1094"),
    ("SELECT * FROM t", "1064"),
    ("RESTART CONFIG = '/nowhere/odp.toml'", "1105"),
];

fn converse(port: u16, user: &str) {
    for (statement, expected) in CONVERSATION {
        let Some(said) = said(port, user, statement) else { return };
        assert!(said.contains(expected), "{statement}: {said}");
    }
}

#[test]
fn the_command_line_speaks_with_the_admin_port() {
    converse(alone().admin, "root");
}

#[test]
fn the_command_line_speaks_as_proxysys_with_the_clients_port() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    converse(Proxy::start(&database).sql, "root@proxysys");
}

#[test]
fn a_restart_is_a_task_on_both_ports() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    for (port, user) in [(proxy.admin, "root"), (proxy.sql, "root@proxysys")] {
        let before = proxy.pid();
        let Some(said) = said(port, user, "RESTART") else { return };
        assert!(said.contains("Query OK"), "{said}");
        until("the successor", || {
            let alive = proxy.process().living();
            (!alive.contains(&before) && !alive.is_empty()).then_some(())
        });
        until("it to be ready", || (proxy.http_status("/readyz") == Some(200)).then_some(()));
    }
}

#[test]
fn a_viewer_looks_and_does_not_touch() {
    let proxy = alone();
    for order in ["RESTART", "RESTART FORCE", "KILL 1", "ALTER PROXYCONFIG SET proxy_local_cmd='2'"]
    {
        let Some(said) = said(proxy.admin, "watch", order) else { return };
        assert!(said.contains("1227 (42000)"), "{order}: {said}");
    }
    let Some(said) = said(proxy.admin, "watch", "SHOW PROXYINFO BINARY") else { return };
    assert!(said.contains("RUNNING"), "{said}");
}

#[test]
fn wrong_passwords_and_unknown_users_are_told_the_same() {
    let proxy = alone();
    for (user, password) in [("root", "guess"), ("nobody", ADMIN_PASSWORD), ("root", "")] {
        let login = Login {
            user: user.into(),
            password: password.into(),
            database: None,
            ..Login::default()
        };
        let refused = Wire::open(&proxy.admin_address(), &login).err().expect("it is refused");
        assert_eq!(refused.code(), Some(1045), "{user}");
    }
}

#[test]
fn a_rust_driver_prepares_statements() {
    let proxy = alone();
    let url = format!("mysql://root:{ADMIN_PASSWORD}@127.0.0.1:{}/", proxy.admin);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let conversation = async {
        let mut client = mysql_async::Conn::from_url(&url).await.expect("it is let in");
        let rows: Vec<(String, String)> =
            client.exec("SHOW PROXYINFO BINARY", ()).await.expect("binary rows");
        assert!(rows.iter().any(|(name, info)| name == "state" && info == "RUNNING"), "{rows:?}");
        let none: Option<Option<String>> =
            client.exec_first("SELECT NULL", ()).await.expect("a row");
        assert_eq!(none, Some(None));
        let error = client.exec_drop("DROP TABLE t", ()).await.expect_err("no such command");
        assert!(error.to_string().contains("1064"), "{error}");
        client.exec_drop("PING PROXY", ()).await.expect("an OK");
        client.ping().await.expect("COM_PING");
        client.disconnect().await.expect("it ends");
    };
    let limited = async { tokio::time::timeout(LIMIT, conversation).await };
    runtime.expect("a runtime").block_on(limited).expect("it does not hang");
}

#[test]
fn pymysql_speaks_with_the_admin_port() {
    let dir = std::env::var_os("ODP_TEST_PYTHON").map(PathBuf::from);
    let dir = dir.unwrap_or_else(|| fixtures_dir().join("python"));
    if !dir.join("ready").exists() {
        return skip("PyMySQL is not to be had here");
    }
    let proxy = alone();
    let script = format!(
        "import pymysql\n\
         c = pymysql.connect(host='127.0.0.1', port={}, user='root', password='{ADMIN_PASSWORD}')\n\
         q = c.cursor(pymysql.cursors.DictCursor)\n\
         q.execute('SHOW PROXYINFO BINARY')\n\
         print({{row['name']: row['info'] for row in q}}['state'])\n\
         q.execute('SHOW PROXYCONFIG LIKE %s', ('%timeout',))\n\
         print(q.rowcount > 3, [d[0] for d in q.description][:2])\n\
         try:\n    q.execute('SELECT * FROM t')\n\
         except pymysql.err.MySQLError as e:\n    print(e.args[0])\n\
         c.ping()\nc.commit()\nc.close()\n",
        proxy.admin
    );
    let output = Command::new(dir.join("venv/bin/python"))
        .current_dir(dir.join("suite"))
        .args(["-c", &script])
        .output()
        .expect("Python runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let expected = "RUNNING\nTrue ['name', 'value']\n1064\n";
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
}

#[test]
fn a_killed_session_is_gone() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let mut client = Wire::open(&proxy.address(), &login).expect("it is let in");
    let mut admin = proxy.admin().expect("the admin port takes us");
    let shown = admin.query("SHOW PROXYSESSION").named_rows();
    assert_eq!(shown.len(), 1, "{shown:?}");
    let id = &shown[0]["proxy_sessid"];
    let attributes = admin.query(&format!("SHOW PROXYSESSION ATTRIBUTE {id} LIKE 'user'"));
    assert_eq!(attributes.row_count(), 1);
    assert_eq!(admin.query(&format!("KILL QUERY {id}")).error(), Some(1105));
    assert_eq!(client.query("SELECT 1").error(), None, "KILL QUERY leaves the connection");
    assert_eq!(admin.query(&format!("KILL PROXYSESSION {id}")).error(), None);
    client.until_closed();
    until("the session to be gone", || {
        (admin.query("SHOW PROXYSESSION").row_count() == 0).then_some(())
    });
}

#[test]
fn unknown_commands_get_1047_and_the_connection_lives() {
    let proxy = alone();
    let mut admin = proxy.admin().expect("the admin port takes us");
    for unknown in [0x04, 0x11, 0x12, 0x1c, 0x77, 0xff] {
        admin.command(unknown, b"x");
        assert_eq!(admin.packet().payload[..3], [0xFF, 0x17, 0x04], "{unknown:#x}");
    }
    assert_eq!(admin.ask(com::PING, b"").error(), None);
}

/// Bytes after the connect, as somebody who speaks no MySQL would send them.
#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let proxy = alone();
    let mut pieces: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 4],
        vec![0xFF; 64],
        b"\x05\0\0\x01\x85\xa6\xff\x01\0".to_vec(),
        [&b"\xff\xff\xff\x01"[..], &[7; 5000]].concat(),
    ];
    // A small generator with a fixed start: the same bytes in every run.
    let mut seed = 0x2545_F491_u32;
    pieces.extend((0..40).map(|length| {
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed as u8
        };
        let body: Vec<u8> = (0..length).map(|_| next()).collect();
        [&[length as u8, 0, 0, 1][..], &body].concat()
    }));
    for bytes in pieces {
        let mut stream = TcpStream::connect(proxy.admin_address()).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
        stream.write_all(&bytes).expect("it reads");
        let ended = stream
            .shutdown(std::net::Shutdown::Write)
            .and_then(|()| stream.read_to_end(&mut Vec::new()));
        // A reset: it had closed with bytes of ours unread, and that may be known before we end.
        if let Err(error) = ended {
            let reset = [ErrorKind::ConnectionReset, ErrorKind::NotConnected];
            assert!(reset.contains(&error.kind()), "{error}: {bytes:?}");
        }
    }
    proxy.admin().expect("the admin port takes us still");
}

#[test]
fn the_http_port_answers() {
    let proxy = alone();
    let cases = [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/nothing", 404)];
    for (path, status) in cases {
        assert_eq!(proxy.http_status(path), Some(status), "{path}");
    }
    let metrics = proxy.http_get("/metrics").expect("an answer");
    for name in ["odp_current_session{", "odp_new_client_connections_total{", "odp_build_info{"] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    let mut admin = proxy.admin().expect("the admin port takes us");
    assert_eq!(admin.query("ALTER PROXYCONFIG SET proxy_local_cmd='3'").error(), None);
    until("it to be offline", || (proxy.http_status("/readyz") == Some(503)).then_some(()));
    assert_eq!(proxy.http_status("/healthz"), Some(200), "an offline proxy lives");
    assert_eq!(admin.query("ALTER PROXYCONFIG SET proxy_local_cmd='4'").error(), None);
    until("it to be back", || (proxy.http_status("/readyz") == Some(200)).then_some(()));
}
