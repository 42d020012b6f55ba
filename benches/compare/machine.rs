//! The machine, and the private MariaDB that everything is measured against.

use std::cell::OnceCell;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::Outcome;
use crate::client::{Account, Client};
use crate::process::{Process, wait_for};
use crate::proxies::Kind;
use crate::replication::Replication;

/// Who the load logs in as.
pub(crate) const ACCOUNT: Account<'static> = Account { user: "bench", password: "bench" };

/// The schema of the load's tables.
pub(crate) const SCHEMA: &str = "sbtest";

/// A MariaDB of our own; it ends with this value.
pub(crate) struct Database {
    pub address: SocketAddr,
    replication: OnceCell<Box<Replication>>,
    _process: Process,
    _directory: TempDir,
}

impl Database {
    /// Starts it and fills the load's tables.
    pub(crate) fn start() -> Outcome<Self> {
        let database = Self::start_empty(&["--skip-log-bin"])?;
        database.fill()?;
        Ok(database)
    }

    /// Fills the load's tables.
    pub(crate) fn fill(&self) -> Outcome<()> {
        self.client()?.rows(&format!("CREATE DATABASE IF NOT EXISTS {SCHEMA}"))?;
        crate::load::prepare(self)
    }

    /// A primary and replicas, started when they are first asked for.
    pub(crate) fn replication(&self) -> Outcome<&Replication> {
        if self.replication.get().is_none() {
            let _ = self.replication.set(Box::new(Replication::start()?));
        }
        Ok(self.replication.get().ok_or("nobody else sets it")?)
    }

    /// Starts it, with these further options and nothing but the account.
    pub(crate) fn start_empty(options: &[&str]) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let data = path.join("data");
        let install = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--user=root"])
            .arg(format!("--datadir={}", data.display()))
            // Servers that share one delete each other's temporary tables when they start.
            .env("TMPDIR", path)
            .output()
            .map_err(|error| format!("mariadb-install-db: {error}"))?;
        if !install.status.success() {
            let words = String::from_utf8_lossy(&install.stderr).into_owned();
            return Err(format!("mariadb-install-db: {words}").into());
        }
        let address = free_address()?;
        let log = fs::File::create(path.join("mariadbd.log"))?;
        let process = Process::start(server_command(&data, address, path).args(options), log)?;
        let root = Account { user: "root", password: "" };
        let mut client =
            wait_for("mariadbd", Duration::from_secs(30), || Client::connect(address, root))?;
        let (user, password) = (ACCOUNT.user, ACCOUNT.password);
        client.rows(&format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}'"))?;
        client.rows(&format!("GRANT ALL ON *.* TO {user}@'%'"))?;
        let replication = OnceCell::new();
        Ok(Self { address, replication, _process: process, _directory: directory })
    }

    /// A connection without a proxy.
    pub(crate) fn client(&self) -> Outcome<Client> {
        Client::connect(self.address, ACCOUNT)
    }
}

fn server_command(data: &Path, address: SocketAddr, directory: &Path) -> Command {
    let mut command = Command::new("mariadbd");
    command
        .args(["--no-defaults", "--user=root", "--skip-name-resolve"])
        .args(["--max-connections=20000", "--max-allowed-packet=64M", "--back-log=4096"])
        .args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=256M"])
        .args(["--bind-address=127.0.0.1", "--max-connect-errors=1000000"])
        .env("TMPDIR", directory)
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--socket={}", directory.join("mariadbd.sock").display()))
        .arg(format!("--port={}", address.port()));
    command
}

/// A port that nobody listens on.
pub(crate) fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// CPU, cores, kernel and versions: names and values.
pub(crate) fn describe(kinds: &[Kind]) -> Vec<(String, String)> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut facts = vec![
        ("cpu".into(), model.trim_start_matches([' ', '\t', ':']).into()),
        ("cores".into(), cores.to_string()),
        ("kernel".into(), kernel.trim().into()),
        ("mariadb".into(), first_line("mariadbd", &["--version"])),
        ("sysbench".into(), first_line("sysbench", &["--version"])),
    ];
    facts.extend(kinds.iter().map(|kind| (kind.name.clone(), kind.version())));
    if !kinds.iter().any(|kind| kind.name == "router") {
        facts.push(("router".into(), "not measured: MYSQLROUTER is not set".into()));
    }
    facts
}

/// The first line that a program prints.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}
