//! Who is compared, and how each is started in front of the database.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::Outcome;
use crate::client::{Account, Client};
use crate::link::Way;
use crate::machine::{ACCOUNT, Database, first_line, free_address};
use crate::process::{Process, carrier, wait_for};

/// The one that others are compared with.
pub(crate) const REFERENCE: &str = "haproxy";

/// Who administers odp.
pub(crate) const ADMIN: Account<'static> = Account { user: "root", password: "bench" };

/// One subject.
#[derive(Clone)]
pub(crate) struct Kind {
    pub name: String,
    program: Program,
}

#[derive(Clone)]
enum Program {
    /// No proxy at all.
    Direct,
    /// HAProxy in `mode tcp` with one thread.
    Haproxy,
    /// odp; workers as configured, or one per core.
    Odp { path: PathBuf, workers: Option<usize>, with: With },
    /// This program as a relay.
    Relay,
    /// MySQL Router, without TLS.
    Router { path: PathBuf },
}

/// What is switched on in odp.
#[derive(Clone, Copy)]
enum With {
    /// What is by default.
    Defaults,
    /// A keeper, and sessions that outlive a crash.
    CrashProtection,
    /// None of these.
    NoCrashProtection,
    /// The console.
    Console,
    /// The console, and an admin port that every address of the loopback leads to.
    Everywhere,
}

impl With {
    /// Lines of `[proxy]`, and sections.
    fn lines(self) -> [&'static str; 2] {
        match self {
            Self::Defaults => ["", ""],
            Self::CrashProtection => ["crash_protection = true\n", ""],
            Self::NoCrashProtection => ["crash_protection = false\n", ""],
            Self::Console | Self::Everywhere => ["", "[console]\nenabled = true\n"],
        }
    }
}

/// Servers that a proxy stands before.
pub(crate) struct Servers {
    addresses: Vec<SocketAddr>,
    /// Of odp's `[[cluster]]`.
    lines: String,
    /// Admin ports of the other proxies of odp's fleet.
    fleet: Vec<String>,
}

/// A subject that runs.
pub(crate) struct Proxy {
    /// Where clients connect.
    pub address: SocketAddr,
    /// And how.
    pub way: Way,
    /// odp's admin port.
    pub admin: SocketAddr,
    /// odp's HTTP port.
    pub http: SocketAddr,
    process: Option<Process>,
    directory: TempDir,
}

impl Servers {
    /// A server on its own.
    pub(crate) fn one(address: SocketAddr) -> Self {
        Self { addresses: vec![address], lines: String::new(), fleet: Vec::new() }
    }

    /// A primary, and replicas that are read from; with this `causal_reads`.
    pub(crate) fn split(addresses: &[SocketAddr], causal_reads: &str) -> Self {
        let Account { user, password } = ACCOUNT;
        let lines = format!(
            "read_write_split = \"on\"\ncausal_reads = \"{causal_reads}\"\n\
             service_user = \"{user}\"\nservice_password = \"{password}\"\n\
             [[cluster.user]]\nname = \"{user}\"\npassword = \"{password}\"\n"
        );
        Self { addresses: addresses.to_vec(), lines, fleet: Vec::new() }
    }

    /// Whether reads go elsewhere than writes.
    pub(crate) fn is_split(&self) -> bool {
        !self.lines.is_empty()
    }
}

impl Kind {
    /// Everybody there is on this machine.
    pub(crate) fn all() -> Vec<Self> {
        let ours = PathBuf::from(env!("CARGO_BIN_EXE_odp"));
        let mut kinds = vec![
            Self { name: "direct".into(), program: Program::Direct },
            Self { name: REFERENCE.into(), program: Program::Haproxy },
            Self::odp("odp-1", ours.clone(), Some(1)),
            Self::odp_with("odp-1-kept", ours.clone(), With::CrashProtection),
            Self::odp_with("odp-1-bare", ours.clone(), With::NoCrashProtection),
            Self::odp_with("odp-1-console", ours.clone(), With::Console),
            Self::odp("odp", ours, None),
            Self { name: "relay".into(), program: Program::Relay },
        ];
        if let Some(path) = std::env::var_os("MYSQLROUTER") {
            let program = Program::Router { path: path.into() };
            kinds.push(Self { name: "router".into(), program });
        }
        kinds
    }

    /// A build of odp.
    pub(crate) fn odp(name: &str, path: PathBuf, workers: Option<usize>) -> Self {
        let program = Program::Odp { path, workers, with: With::Defaults };
        Self { name: name.into(), program }
    }

    fn odp_with(name: &str, path: PathBuf, with: With) -> Self {
        Self { name: name.into(), program: Program::Odp { path, workers: Some(1), with } }
    }

    /// Whether it knows RESTART.
    pub(crate) fn restarts(&self) -> bool {
        matches!(self.program, Program::Odp { .. })
    }

    /// What it says of itself.
    pub(crate) fn version(&self) -> String {
        match &self.program {
            Program::Direct => "no proxy".into(),
            Program::Haproxy => first_line("haproxy", &["-v"]) + ", mode tcp, nbthread 1",
            Program::Odp { path, workers, .. } => {
                let workers = workers.map_or("a worker per core".into(), |n| format!("{n} worker"));
                format!("{}, {workers}", first_line(&path.to_string_lossy(), &["--version"]))
            }
            Program::Relay => "bare tokio relay, 1 worker, 16 KiB buffers".into(),
            Program::Router { path } => first_line(&path.to_string_lossy(), &["--version"]),
        }
    }

    /// Whether it can be the server's end of a client's TLS.
    pub(crate) fn ends_tls(&self) -> bool {
        matches!(self.program, Program::Haproxy | Program::Odp { .. })
    }

    /// Starts a fresh one and waits until a client can log in.
    pub(crate) fn start(&self, database: &Database) -> Outcome<Proxy> {
        self.start_before(&Servers::one(database.address))
    }

    /// The same in front of these servers; who knows of one alone takes the first.
    pub(crate) fn start_before(&self, servers: &Servers) -> Outcome<Proxy> {
        self.start_by(Way::Plain, servers)
    }

    /// The same with TLS for clients.
    pub(crate) fn start_with_tls(&self, database: &Database) -> Outcome<Proxy> {
        let servers = Servers::one(database.address);
        match &self.program {
            Program::Haproxy => self.start_by(Way::TlsFirst, &servers),
            Program::Odp { .. } => self.start_by(Way::TlsAsked, &servers),
            _ => Err("it ends no TLS".into()),
        }
    }

    /// Two with the console, which know of so many proxies: the second one is all the others.
    pub(crate) fn start_fleet(&self, database: &Database, members: usize) -> Outcome<[Proxy; 2]> {
        let Program::Odp { path, workers, .. } = &self.program else {
            return Err("it has no console".into());
        };
        let with = |with| {
            let program = Program::Odp { path: path.clone(), workers: *workers, with };
            Self { name: self.name.clone(), program }
        };
        let other = with(With::Everywhere).start(database)?;
        let port = other.admin.port();
        let mut servers = Servers::one(database.address);
        servers.fleet = (2..=members).map(|at| format!("127.0.0.{at}:{port}")).collect();
        Ok([with(With::Console).start_before(&servers)?, other])
    }

    fn start_by(&self, way: Way, servers: &Servers) -> Outcome<Proxy> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let certificate = path.join("certificate.pem");
        if way != Way::Plain {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            let pem = [made.cert.pem(), made.signing_key.serialize_pem()].concat();
            fs::write(&certificate, pem)?;
        }
        let tls = (way != Way::Plain).then_some(&*certificate);
        let (mut address, admin, http) = (free_address()?, free_address()?, free_address()?);
        let (log, target) = (fs::File::create(path.join("log"))?, servers.addresses[0]);
        let process = match &self.program {
            Program::Direct => {
                address = target;
                None
            }
            Program::Haproxy => Some(haproxy(path, address, target, tls)?),
            Program::Odp { path: binary, workers, with } => {
                let of =
                    Setting { workers: *workers, with: *with, state_dir: knows_state_dir(binary)? };
                let mut config = odp_config(path, [address, admin, http], servers, &of);
                if let Some(pem) = tls.map(Path::display) {
                    config += &format!(
                        "[tls.client]\nmode = \"require\"\ncertificate = \"{pem}\"\n\
                         key = \"{pem}\"\n"
                    );
                }
                fs::write(path.join("odp.toml"), config)?;
                let mut command = Command::new(binary);
                command.args(["run", "-c"]).arg(path.join("odp.toml"));
                Some(command)
            }
            Program::Relay => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args([crate::relay::WORD, &address.to_string()]);
                command.args([&target.to_string(), "1"]);
                Some(command)
            }
            Program::Router { path: binary } => Some(router(binary, path, address, target)?),
        };
        let process = process.map(|mut command| Process::start(&mut command, log)).transpose()?;
        let proxy = Proxy { address, way, admin, http, process, directory };
        wait_for(&self.name, Duration::from_secs(10), || {
            TcpStream::connect(address)?;
            proxy.client()?.quit()
        })?;
        Ok(proxy)
    }
}

impl Proxy {
    /// The process that carries the sessions; None: there is no proxy.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.main_pid().map(carrier)
    }

    /// The process that was started, which may only keep the one that carries the sessions.
    pub(crate) fn main_pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What it and its successors have logged.
    pub(crate) fn log(&self) -> Outcome<String> {
        Ok(fs::read_to_string(self.directory.path().join("log"))?)
    }

    /// A client of it, logged in.
    pub(crate) fn client(&self) -> Outcome<Client> {
        Client::connect_by(self.way, self.address, ACCOUNT)
    }
}

fn haproxy(
    directory: &Path,
    listen: SocketAddr,
    target: SocketAddr,
    tls: Option<&Path>,
) -> Outcome<Command> {
    let tls = tls.map(|pem| format!(" ssl crt {}", pem.display())).unwrap_or_default();
    let config = format!(
        "global\n nbthread 1\n maxconn 9000\n\
         defaults\n mode tcp\n timeout connect 10s\n timeout client 1h\n timeout server 1h\n\
         frontend clients\n bind {listen}{tls}\n default_backend servers\n\
         backend servers\n server main {target}\n"
    );
    let path = directory.join("haproxy.cfg");
    fs::write(&path, config)?;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(path);
    Ok(command)
}

/// How odp is set.
struct Setting {
    workers: Option<usize>,
    with: With,
    /// Whether it can be told to keep nothing.
    state_dir: bool,
}

/// Whether a build has heard of `state_dir`: earlier ones refuse what they don't know.
fn knows_state_dir(binary: &Path) -> Outcome<bool> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(&file, "[proxy]\nstate_dir = \"\"\n")?;
    let checked = Command::new(binary).args(["check", "-c"]).arg(file.path()).output()?;
    let said = [checked.stdout, checked.stderr].concat();
    Ok(!String::from_utf8_lossy(&said).contains("state_dir"))
}

fn odp_config(
    directory: &Path,
    [listen, admin, http]: [SocketAddr; 3],
    servers: &Servers,
    setting: &Setting,
) -> String {
    let (workers, run_dir) = (setting.workers.unwrap_or(0), directory.join("run"));
    let [lines, sections] = setting.with.lines();
    let state_dir = if setting.state_dir { "state_dir = \"\"\n" } else { "" };
    let password = ADMIN.password;
    let own = admin.to_string();
    let fleet: String = match servers.fleet.is_empty() {
        true => String::new(),
        false => std::iter::once(&own).chain(&servers.fleet).map(member).collect(),
    };
    let admin = match setting.with {
        With::Everywhere => SocketAddr::from(([0, 0, 0, 0], admin.port())),
        _ => admin,
    };
    let all = servers.addresses.iter();
    let all: String =
        all.map(|address| format!("[[cluster.server]]\naddress = \"{address}\"\n")).collect();
    format!(
        "[proxy]\nlisten = [\"{listen}\"]\nworkers = {workers}\nrun_dir = \"{}\"\n\
         {state_dir}{lines}[admin]\nlisten = \"{admin}\"\n\
         [[admin.user]]\nname = \"root\"\nrole = \"manager\"\npassword = \"{password}\"\n\
         [http]\nlisten = \"{http}\"\n{sections}{fleet}\
         [[cluster]]\nname = \"main\"\n{}{all}",
        run_dir.display(),
        servers.lines
    )
}

/// A proxy of the fleet.
fn member(address: &String) -> String {
    let name = address.replace(':', "-");
    format!("[[fleet.proxy]]\nname = \"{name}\"\naddress = \"{address}\"\n")
}

fn router(
    binary: &Path,
    directory: &Path,
    listen: SocketAddr,
    target: SocketAddr,
) -> Outcome<Command> {
    let config = format!(
        "[DEFAULT]\nlogging_folder = {directory}\nruntime_folder = {directory}\n\
         data_folder = {directory}\nmax_total_connections = 9000\n\
         [logger]\nlevel = WARNING\n\
         [routing:main]\nbind_address = {}\nbind_port = {}\ndestinations = {target}\n\
         routing_strategy = first-available\nprotocol = classic\nmax_connections = 9000\n\
         client_ssl_mode = DISABLED\nserver_ssl_mode = DISABLED\nmax_connect_errors = 1000000\n",
        listen.ip(),
        listen.port(),
        directory = directory.display(),
    );
    let path = directory.join("router.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(binary);
    command.arg("-c").arg(path);
    Ok(command)
}
