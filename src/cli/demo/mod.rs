//! `odp demo`: see it with your own eyes, in a minute, without a database at hand.
//!
//! Starts a private throwaway database server, odp in front of it, and a load, and restarts odp
//! every few seconds. Invariant: when it ends, however it ends, nothing of it is left.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::load;
use crate::config::Span;
use crate::log;

mod database;
mod guardian;
mod install;

use database::{Database, Programs, last_lines};
use guardian::{Group, Guardian};

/// How long odp may take to start.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long odp may take to end.
const ENDING: Duration = Duration::from_secs(10);

/// Arguments of `odp demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long; Ctrl-C ends it earlier.
    #[arg(long, value_name = "D", default_value = "1m")]
    duration: Span,
    /// How many connections the load has.
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2000))]
    connections: u32,
    /// How often odp is restarted.
    #[arg(long, value_name = "D", default_value = "5s")]
    restart_every: Span,
    /// Install a database server if there is none (Debian, Ubuntu; as root, or by sudo).
    #[arg(long)]
    install: bool,
    /// Write a page about the load.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

/// Who may do what in the demo: one password, made for it, ends with it.
pub(super) struct Account {
    password: String,
}

impl Account {
    fn new() -> anyhow::Result<Self> {
        let mut bytes = [0; 6];
        getrandom::fill(&mut bytes).context("random bytes")?;
        let password = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { password })
    }

    /// What makes the account in the database, a statement a line.
    fn statements(&self) -> String {
        let Self { password } = self;
        format!(
            "CREATE DATABASE demo;\n\
             CREATE USER 'demo'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
             GRANT ALL ON demo.* TO 'demo'@'127.0.0.1';\n"
        )
    }
}

/// Where everything listens.
struct Ports {
    database: u16,
    sql: u16,
    admin: u16,
    http: u16,
}

/// odp, whichever of its generations is the living one.
struct Proxy {
    group: Group,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let programs = programs(&args)?;
    let account = Account::new()?;
    let ports = free_ports()?;
    let mut guardian = Guardian::of(&make_directory()?)?;
    log::say(&format!("making a private database in {} …", guardian.directory().display()));
    let database = Database::start(&programs, &mut guardian, &account, ports.database)?;
    let proxy = Proxy::start(&mut guardian, &ports, &account)?;
    log::say(&introduction(&args, &ports, &account, database.name));
    let outcome = load::run(load::Args::of_demo(load::Demo {
        url: format!("mysql://demo:{}@127.0.0.1:{}/demo", account.password, ports.sql),
        admin: format!("127.0.0.1:{}", ports.admin),
        admin_password: account.password.clone(),
        connections: args.connections,
        duration: args.duration,
        restart_every: args.restart_every,
        report: args.report,
    })?);
    let ended = [proxy.end(), database.end()];
    if ended != [true, true] {
        log::say("odp demo: not everything ended in good order; what is left is killed");
    }
    drop(guardian);
    outcome
}

/// Nothing is begun without a server.
fn programs(args: &Args) -> anyhow::Result<Programs> {
    if let Some(programs) = Programs::find() {
        return Ok(programs);
    }
    if !args.install {
        bail!(install::advice());
    }
    install::install()?;
    Programs::find().context("apt-get has installed no server that could be found")
}

impl Proxy {
    fn start(guardian: &mut Guardian, ports: &Ports, account: &Account) -> anyhow::Result<Self> {
        let config = guardian.directory().join("odp.toml");
        let run_directory = guardian.directory().join("run");
        fs::DirBuilder::new().mode(0o700).create(&run_directory)?;
        write_private(&config, &config_text(ports, account, &run_directory))?;
        let log = guardian.directory().join("odp.log");
        let program = std::env::current_exe().context("the program of this process")?;
        let mut command = Command::new(program);
        command.arg("run").arg("-c").arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        let (group, mut child) = guardian.start(&mut command)?;
        for port in [ports.admin, ports.sql] {
            wait_for_greeting(port, &mut child, PATIENCE)
                .with_context(|| format!("odp run:\n{}", last_lines(&log)))?;
        }
        Ok(Self { group })
    }

    /// Ends the living generation: all of them are in the group of the first.
    fn end(&self) -> bool {
        self.group.end(ENDING)
    }
}

/// Waits until a server speaks; the first byte of a greeting is enough.
fn wait_for_greeting(port: u16, child: &mut Child, patience: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + patience;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("it ended at once: {status}");
        }
        if let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            if stream.read_exact(&mut [0]).is_ok() {
                return Ok(());
            }
        }
        if Instant::now() >= until {
            bail!("nothing speaks on port {port} after {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Four ports that the kernel has just found free, all held until the last is found.
fn free_ports() -> anyhow::Result<Ports> {
    let bind = || TcpListener::bind("127.0.0.1:0").context("a free port of 127.0.0.1");
    let held = [bind()?, bind()?, bind()?, bind()?];
    let port = |at: usize| held[at].local_addr().map(|address| address.port());
    Ok(Ports { database: port(0)?, sql: port(1)?, admin: port(2)?, http: port(3)? })
}

fn make_directory() -> anyhow::Result<PathBuf> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).context("random bytes")?;
    let name = format!("odp-demo-{:08x}", u32::from_le_bytes(bytes));
    let directory = std::env::temp_dir().join(name);
    // The database server, which is another user, has to pass through it.
    fs::DirBuilder::new()
        .mode(0o711)
        .create(&directory)
        .with_context(|| directory.display().to_string())?;
    Ok(directory)
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())?;
    Ok(())
}

fn config_text(ports: &Ports, account: &Account, run_directory: &Path) -> String {
    let Ports { database, sql, admin, http } = ports;
    format!(
        "[proxy]\nlisten = [\"127.0.0.1:{sql}\"]\nrun_dir = \"{}\"\n\
         state_dir = \"\"\nhot_upgrade_probation = \"1s\"\n\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n\n\
         [[admin.user]]\nname = \"root\"\nrole = \"manager\"\npassword = \"{}\"\n\n\
         [http]\nlisten = \"127.0.0.1:{http}\"\n\n\
         [[cluster]]\nname = \"demo\"\n\n\
         [[cluster.server]]\naddress = \"127.0.0.1:{database}\"\n",
        run_directory.display(),
        account.password
    )
}

fn introduction(args: &Args, ports: &Ports, account: &Account, database: &str) -> String {
    let Account { password } = account;
    let Ports { database: server, sql, admin, http } = ports;
    let client = if database == "MariaDB" { "mariadb" } else { "mysql" };
    let (every, connections) = (args.restart_every, args.connections);
    format!(
        "\n{database} on 127.0.0.1:{server}, odp in front of it on 127.0.0.1:{sql}, and \
         {connections} connections at work.\nodp is restarted every {every}: a new process each \
         time, and no client should notice.\n\n\
         Open a session of your own, BEGIN, SET @a = 1, and watch it live on:\n    \
         {client} -h 127.0.0.1 -P {sql} -u demo -p{password} demo\n\
         Restart it yourself, and see the restarts:\n    \
         {client} -h 127.0.0.1 -P {admin} -u root -p{password} -e RESTART\n    \
         {client} -h 127.0.0.1 -P {admin} -u root -p{password} -e 'SHOW RESTART'\n    \
         curl -s http://127.0.0.1:{http}/metrics\n\n\
         It ends after {}, or with Ctrl-C, and leaves nothing behind.\n",
        args.duration
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_config_of_the_demo_is_a_config() {
        let ports = Ports { database: 1, sql: 2, admin: 3, http: 4 };
        let account = Account::new().unwrap();
        let text = config_text(&ports, &account, Path::new("/run/x"));
        let config = Config::parse(&text, Path::new("odp.toml")).unwrap();
        assert_eq!(config.listen_addresses().len(), 3);
        assert_eq!(config.main_cluster().name, "demo");
    }

    #[test]
    fn ports_differ() {
        let Ports { database, sql, admin, http } = free_ports().unwrap();
        let mut ports = [database, sql, admin, http];
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
