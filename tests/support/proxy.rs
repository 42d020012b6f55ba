//! The proxy as a process: `odp run -c` of a config made for the test.
//!
//! `ODP_TEST_THROUGH=haproxy` puts HAProxy in its place wherever only the SQL port is used: what
//! the tests ask of transparency is then judged with a proxy that copies bytes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::KEEPER;
use super::raw::{Login, Wire, WireError};
use super::{Database, Process, Server, free_ports, scratch, until};

/// The password of the admin users `root` (manager) and `watch` (viewer).
pub(crate) const ADMIN_PASSWORD: &str = "admin-secret";

/// A running proxy, with all its successors.
pub(crate) struct Proxy {
    /// Where clients connect, on 127.0.0.1.
    pub sql: u16,
    /// The admin port.
    pub admin: u16,
    /// The HTTP port.
    pub http: u16,
    process: Process,
    dir: tempfile::TempDir,
}

/// What a test wants of its proxy.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Addresses of the servers.
    pub servers: Vec<String>,
    /// Where it listens besides the port on 127.0.0.1.
    pub listen: Vec<String>,
    /// Lines for `[proxy]`.
    pub proxy: String,
    /// Lines for `[[cluster]]`.
    pub cluster: String,
    /// Lines for the end of the file.
    pub rest: String,
    /// The program; None is the one under test.
    pub binary: Option<PathBuf>,
    /// Variables of the environment, such as a crash point's.
    pub environment: Vec<(String, String)>,
}

impl Options {
    /// The defaults in front of these servers.
    pub(crate) fn new(servers: &[String]) -> Self {
        Self {
            servers: servers.to_vec(),
            listen: Vec::new(),
            proxy: String::new(),
            cluster: String::new(),
            rest: String::new(),
            binary: None,
            environment: Vec::new(),
        }
    }
}

impl Proxy {
    /// Starts one in front of a server.
    pub(crate) fn start(database: &Database) -> Self {
        Self::start_with(&Options::new(&[database.address()]))
    }

    /// The same with these lines in `[proxy]`.
    pub(crate) fn start_with_lines(database: &Database, lines: impl Into<String>) -> Self {
        let mut options = Options::new(&[database.address()]);
        options.proxy = lines.into();
        Self::start_with(&options)
    }

    /// Starts one; ready when this returns.
    pub(crate) fn start_with(options: &Options) -> Self {
        for _ in 0..20 {
            if let Some(proxy) = Self::try_start(options) {
                return proxy;
            }
        }
        panic!("no port was free for the proxy")
    }

    /// None when a port was taken between the choice and the bind.
    fn try_start(options: &Options) -> Option<Self> {
        let dir = scratch();
        let [sql, admin, http] = free_ports();
        let config = config_path(dir.path());
        let command = match is_haproxy() {
            true => haproxy(&config, sql, &options.servers[0]),
            false => {
                std::fs::create_dir(dir.path().join("run")).expect("a fresh directory");
                let text = config_text(dir.path(), [sql, admin, http], options);
                std::fs::write(&config, text).expect("the directory is ours");
                odp(&config, options)
            }
        };
        let process = Process::spawn("the proxy", command, &dir.path().join("proxy.log"));
        let proxy = Self { sql, admin, http, process, dir };
        proxy.wait_ready().then_some(proxy)
    }

    /// Kills every generation, and starts one with the same config and these further arguments;
    /// what it says if it does not serve.
    pub(crate) fn start_again(&mut self, options: &Options, more: &[&str]) -> Result<(), String> {
        self.process.kill9();
        let mut command = odp(&self.config(), options);
        command.args(more);
        self.process = Process::spawn("the proxy", command, &self.dir.path().join("proxy.log"));
        until("the proxy to be ready, or to end", || match self.process.ended() {
            Some(_) => Some(Err(self.process.log())),
            None => (self.http_status("/readyz") == Some(200)).then_some(Ok(())),
        })
    }

    /// True once it takes clients; false when it could not bind.
    fn wait_ready(&self) -> bool {
        until(&format!("the proxy to be ready\n{}", self.process.log()), || {
            if self.process.ended().is_some() {
                let log = self.process.log();
                let taken = log.to_lowercase().contains("in use") || log.contains("cannot bind");
                assert!(taken, "the proxy ended: {log}");
                return Some(false);
            }
            let listens = || TcpStream::connect(("127.0.0.1", self.sql)).is_ok();
            let ready = match is_haproxy() {
                true => listens(),
                // Each port begins to listen by itself; this one only says so of all.
                false => self.http_status("/readyz") == Some(200),
            };
            // Had the bind failed, the answer would be somebody else's and the process gone.
            (ready && self.process.ended().is_none()).then_some(true)
        })
    }

    /// `127.0.0.1:PORT` for clients.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.sql)
    }

    /// `127.0.0.1:PORT` for the admin.
    pub(crate) fn admin_address(&self) -> String {
        format!("127.0.0.1:{}", self.admin)
    }

    /// Its config file.
    pub(crate) fn config(&self) -> PathBuf {
        config_path(self.dir.path())
    }

    /// Its directory with the handover socket.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Its directory with what operators have altered.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The process that was started first, its log, and signals to it.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// The pid of the newest generation.
    pub(crate) fn pid(&self) -> u32 {
        until("a living proxy", || self.process.living().last().copied())
    }

    /// Everything that any generation wrote to stderr.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Kills every generation.
    pub(crate) fn kill9(&self) {
        self.process.kill9();
    }

    /// The process that carries the sessions, as the admin port names it.
    pub(crate) fn carrier(&self) -> u32 {
        let mut admin = until("the admin port", || self.admin().ok());
        let rows = admin.query("SHOW PROXYINFO BINARY").named_rows();
        let pid = rows.iter().find(|row| row["name"] == "pid").expect("it has a pid");
        pid["info"].parse().expect("a number")
    }

    /// Kills it.
    pub(crate) fn kill_carrier(&self) {
        kill(Pid::from_raw(self.carrier() as i32), Signal::SIGKILL).expect("it lives");
    }

    /// Logs in to the admin port.
    pub(crate) fn admin(&self) -> Result<Wire, WireError> {
        let login = Login {
            user: "root".into(),
            password: ADMIN_PASSWORD.into(),
            database: None,
            ..Login::default()
        };
        Wire::open(&self.admin_address(), &login)
    }

    /// Restarts it by `RESTART` and waits for the task to end; the new pid. Fails if it failed.
    pub(crate) fn restart(&self) -> u32 {
        let before = self.pid();
        // The one before may just be leaving, with the connection.
        let ask = || self.admin().ok()?.try_query("RESTART").ok();
        let reply = until("RESTART to be answered", ask);
        assert_eq!(reply.error(), None, "RESTART is taken");
        until(&format!("the restart to end\n{}", self.log()), || {
            let mut wire = self.admin().ok()?;
            let tasks = wire.try_query("SHOW RESTART").ok()?;
            let newest = tasks.named_rows().into_iter().next()?;
            match newest.get("state").map(String::as_str) {
                Some("COMPLETED") => Some(()),
                Some("IN_PROGRESS") | None => None,
                Some(other) => panic!("the restart is {other}: {newest:?}\n{}", self.log()),
            }
        });
        let after = self.pid();
        assert_ne!(before, after, "a restart is another process\n{}", self.log());
        after
    }

    /// Restarts it by SIGUSR2 and waits until the successor is the only one left; its pid.
    pub(crate) fn restart_by_signal(&self) -> u32 {
        let before = self.pid();
        kill(Pid::from_raw(before as i32), Signal::SIGUSR2).expect("the proxy lives");
        until(&format!("a successor of {before}"), || match *self.process.living() {
            [only] if only != before => Some(only),
            // Two of them; or none, as processes come and go while /proc is being read.
            _ => None,
        })
    }

    /// The status of a GET on the HTTP port.
    pub(crate) fn http_status(&self, path: &str) -> Option<u16> {
        self.http_get(path)?.split(' ').nth(1)?.parse().ok()
    }

    /// The whole answer to a GET on the HTTP port.
    pub(crate) fn http_get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: odp\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

/// A MariaDB and a proxy with these lines in `[proxy]`; None where there is nothing to test.
pub(crate) fn with_lines(lines: &str) -> Option<(Database, Proxy)> {
    if is_haproxy() {
        return None;
    }
    let database = Database::start(Server::MariaDb)?;
    let proxy = Proxy::start_with_lines(&database, lines);
    Some((database, proxy))
}

/// Whether HAProxy stands in.
pub(crate) fn is_haproxy() -> bool {
    std::env::var("ODP_TEST_THROUGH").is_ok_and(|name| name == "haproxy")
}

fn config_path(dir: &Path) -> PathBuf {
    dir.join("odp.toml")
}

fn odp(config: &Path, options: &Options) -> Command {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_odp"));
    let mut command = Command::new(options.binary.as_ref().unwrap_or(&built));
    command.arg("run").arg("-c").arg(config);
    command.envs(options.environment.iter().map(|(name, value)| (name, value)));
    command
}

/// The config of a proxy on these ports: SQL, admin, HTTP.
pub(crate) fn config_text(dir: &Path, [sql, admin, http]: [u16; 3], options: &Options) -> String {
    let servers: String = options
        .servers
        .iter()
        .map(|address| format!("[[cluster.server]]\naddress = \"{address}\"\n"))
        .collect();
    let Options { proxy, cluster, rest, .. } = options;
    let listen: String = options.listen.iter().map(|address| format!(", \"{address}\"")).collect();
    let run_dir = dir.join("run");
    // The default would be everybody's.
    let state_dir = match proxy.contains("state_dir") {
        true => String::new(),
        false => format!("state_dir = \"{}\"\n", dir.join("state").display()),
    };
    // Tests that are not about the probation don't wait for its end.
    let probation = match proxy.contains("hot_upgrade_probation") {
        true => "",
        false => "hot_upgrade_probation = \"0s\"\n",
    };
    format!(
        r#"[proxy]
listen = ["127.0.0.1:{sql}"{listen}]
run_dir = "{}"
{state_dir}{probation}{proxy}
[admin]
listen = "127.0.0.1:{admin}"
[[admin.user]]
name = "root"
role = "manager"
password = "{ADMIN_PASSWORD}"
[[admin.user]]
name = "watch"
role = "viewer"
password = "{ADMIN_PASSWORD}"
[http]
listen = "127.0.0.1:{http}"
[[cluster]]
name = "main"
{cluster}
{servers}{rest}
"#,
        run_dir.display()
    )
}

/// HAProxy on this port, in front of a server: its address, and perhaps options.
pub(crate) fn haproxy(config: &Path, port: u16, server: &str) -> Command {
    let text = format!(
        "defaults\n mode tcp\n timeout connect 10s\n timeout client 1h\n timeout server 1h\n\
         listen sql\n bind 127.0.0.1:{port}\n server main {server}\n"
    );
    std::fs::write(config, text).expect("the directory is ours");
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config);
    command
}

/// Who was killed because it hung, as the results of `odp restart --force` say; the
/// processes that watched over it as well.
pub(crate) fn killed(results: &str) -> Vec<u32> {
    let (_, pids) = results.split_once("it hung; killed pid ").expect("somebody was killed");
    pids.split(", ").map_while(|pid| pid.parse().ok()).collect()
}

/// Ends what `odp restart --force` has started: it is in no group of the test's.
pub(crate) struct Revived<'a> {
    /// The config that they were started with.
    pub config: &'a Path,
}

impl Revived<'_> {
    /// Those that were started with it and serve.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let name =
            |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        self.all_pids().into_iter().filter(|pid| name(*pid).trim() != KEEPER).collect()
    }

    /// The same with those that watch over them.
    pub(crate) fn all_pids(&self) -> Vec<i32> {
        let config = self.config.to_str().expect("a path of ours");
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |pid: &i32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split('\0').any(|argument| argument == config)
        };
        pids.filter(ours).collect()
    }
}

impl Drop for Revived<'_> {
    fn drop(&mut self) {
        for pid in self.all_pids() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
