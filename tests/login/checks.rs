//! HAProxy's `option mysql-check`, an old client without plugins: it finds us as it finds the
//! server itself.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use crate::support::proxy::is_haproxy;
use crate::support::{Database, Process, Proxy, Server, free_port, scratch, skip, until};

/// An HAProxy that looks at some servers all the time.
struct Watcher {
    _process: Process,
    dir: tempfile::TempDir,
}

/// What it thinks of one.
#[derive(Debug, PartialEq)]
struct Opinion {
    /// `L7OK` or what else its last look came to.
    last: String,
    /// Looks that failed.
    failed: u64,
}

impl Watcher {
    fn start(user: &str, servers: &[(&str, String)]) -> Option<Self> {
        if !["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].iter().any(|it| Path::new(it).exists())
        {
            skip("haproxy is not installed");
            return None;
        }
        let dir = scratch();
        let socket = dir.path().join("stats");
        let lines = servers.iter().map(|(name, address)| {
            format!(" server {name} {address} check inter 20ms fall 1 rise 1\n")
        });
        let text = format!(
            "global\n stats socket {}\n\
             defaults\n mode tcp\n timeout connect 10s\n timeout client 1h\n timeout server 1h\n \
             timeout check 10s\n\
             listen sql\n bind 127.0.0.1:{}\n option mysql-check {user}\n{}",
            socket.display(),
            free_port(),
            lines.collect::<String>()
        );
        let config = dir.path().join("haproxy.cfg");
        std::fs::write(&config, text).expect("the directory is ours");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&config);
        let _process = Process::spawn("haproxy", command, &dir.path().join("haproxy.log"));
        Some(Self { _process, dir })
    }

    fn opinion(&self, name: &str) -> Option<Opinion> {
        let mut stream = UnixStream::connect(self.dir.path().join("stats")).ok()?;
        stream.write_all(b"show stat\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next()?;
        let row = lines.find(|row| row.get(1) == Some(&name))?;
        let value = |column: &str| Some(row[names.iter().position(|name| *name == column)?]);
        let last = value("check_status")?.trim_start_matches("* ").to_owned();
        let failed = value("chkfail")?.parse().ok()?;
        (!last.is_empty() && last != "INI").then_some(Opinion { last, failed })
    }
}

fn is_found_as_directly(server: Server) {
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(server) else { return };
    database.execute(&["CREATE USER haproxy"]);
    let proxy = Proxy::start(&database);
    for user in ["user haproxy", "user haproxy post-41", "user nobody", ""] {
        let servers = [("direct", database.address()), ("proxied", proxy.address())];
        let Some(watcher) = Watcher::start(user, &servers) else { return };
        let opinion = |name| until("a look", || watcher.opinion(name));
        let direct = opinion("direct");
        assert_eq!(opinion("proxied").last, direct.last, "{user}\n{}", proxy.log());
        if user == "user haproxy" && server == Server::MariaDb {
            assert_eq!(direct, Opinion { last: "L7OK".into(), failed: 0 });
        }
        for _ in 0..2 {
            proxy.restart();
        }
        let after = opinion("proxied");
        assert_eq!((after.last, after.failed), (direct.last, direct.failed), "{user}, restarts");
    }
}

#[test]
fn haproxy_finds_us_as_it_finds_mariadb() {
    is_found_as_directly(Server::MariaDb);
}

#[test]
fn haproxy_finds_us_as_it_finds_mysql() {
    is_found_as_directly(Server::MySql);
}
