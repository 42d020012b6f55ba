//! `odp restart`: one or many proxies, so many at a time, and no further after the first failure.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::admin_client::access::Access;
use super::admin_client::{Admin, AdminPort, Limits, Row, Trouble, follow};
use crate::config::ExitTimeout;

#[path = "../cli/restart/board.rs"]
mod board;
mod hung;
mod owners;

use board::Board;

/// How long nothing may be heard of a restart, while one process follows the other.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a proxy may take to be RUNNING once its restart is completed, or it was started.
const SETTLING: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  Roll over a fleet, one proxy after the other:
    ODP_ADMIN_PASSWORD=… odp restart -a 10.0.0.1:2885 -a 10.0.0.2:2885 -a 10.0.0.3:2885
  Upgrade the proxy of this machine:
    odp restart -c /etc/odp/odp.toml --binary /usr/local/bin/odp
  See what the new program would not take over, and move nothing:
    odp restart -c /etc/odp/odp.toml --binary /usr/local/bin/odp --rehearse
  Restart it even if it hangs (SIGKILL, if its admin port does not answer):
    odp restart -c /etc/odp/odp.toml --force
Exit code 0: each is restarted and RUNNING; or with --rehearse, every session would move. \
    1: one is not, and those after it were left alone; or a session would not move. 2: usage.";

/// Arguments of `odp restart`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    access: Access,
    /// Restart in every state, and at once: clients that are connected get an error. A proxy of
    /// this machine whose admin port does not answer is killed and started again.
    #[arg(long)]
    force: bool,
    /// Move nothing: the new program is only shown a copy of every session, and says which it
    /// would refuse. Every proxy is asked, also after a failure.
    #[arg(long, conflicts_with_all = ["force", "exit_timeout"])]
    rehearse: bool,
    /// How many proxies at a time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,
    /// The program that takes over, on the machine of the proxy [default: its own].
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// The config it is started with, on the machine of the proxy [default: its own].
    #[arg(long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// How long sessions that cannot move may go on: a duration, 0, or -1 for ever [default: what
    /// the proxy's config says].
    #[arg(long, value_name = "D", allow_hyphen_values = true)]
    exit_timeout: Option<ExitTimeout>,
}

/// What is asked of each proxy.
struct Order {
    /// The statement.
    statement: String,
    what: What,
    hung: Hung,
    binary: Option<PathBuf>,
    config: Option<PathBuf>,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Restart,
    Rehearsal,
}

/// What becomes of a proxy that does not answer.
enum Hung {
    /// It is killed and started again; its config, if that was given.
    Kill(Option<PathBuf>),
    Leave,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ports = args.access.ports()?;
    let order = Arc::new(Order::of(&args)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let failed = crate::cli::see_through(runtime, roll(ports, order, args.batch as usize));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Order {
    fn of(args: &Args) -> anyhow::Result<Self> {
        // The proxy has another working directory than whoever types this.
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        let binary = absolute(&args.binary).context("--binary")?;
        let config = absolute(&args.config).context("--config")?;
        let mut statement = String::from("RESTART");
        if args.force {
            statement.push_str(" FORCE");
        }
        if args.rehearse {
            statement.push_str(" REHEARSE");
        }
        if let Some(timeout) = args.exit_timeout {
            statement.push_str(&format!(" EXIT_TIMEOUT={}", quoted(&timeout.to_string())));
        }
        for (name, path) in [("BINARY", &binary), ("CONFIG", &config)] {
            if let Some(path) = path {
                statement.push_str(&format!(" {name}={}", quoted(utf8(path)?)));
            }
        }
        let known = args.access.config().map(Path::to_owned);
        let hung = if args.force { Hung::Kill(known) } else { Hung::Leave };
        let what = if args.rehearse { What::Rehearsal } else { What::Restart };
        Ok(Self { statement, what, hung, binary, config })
    }
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{}: expected UTF-8", path.display()))
}

/// A string of the admin port's grammar.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

/// Restarts them in order, `batch` at a time; true if one failed. What is under way then is seen
/// to its end, and nothing new is begun; a rehearsal harms nobody, so all are asked.
async fn roll(ports: Vec<AdminPort>, order: Arc<Order>, batch: usize) -> bool {
    let board = Arc::new(Board::new());
    let mut waiting = ports.into_iter();
    let mut under_way = JoinSet::new();
    let mut failed = false;
    loop {
        let goes_on = !failed || order.what == What::Rehearsal;
        while goes_on && under_way.len() < batch {
            let Some(port) = waiting.next() else { break };
            let (order, board) = (order.clone(), board.clone());
            under_way.spawn(async move {
                let outcome = restart(&port, &order, &board).await;
                let ok = outcome.is_ok();
                board.ended(&port.name, outcome);
                ok
            });
        }
        // Each is bounded by the deadlines below, or by those of the proxy while it answers.
        match under_way.join_next().await {
            Some(ok) => failed |= !ok.unwrap_or(false),
            None => break,
        }
    }
    for port in waiting {
        board.left_alone(&port.name);
    }
    failed
}

/// One proxy; what is to be said of its restart.
async fn restart(port: &AdminPort, order: &Order, board: &Board) -> anyhow::Result<String> {
    let begun = Instant::now();
    board.says(&port.name, "asking");
    let how = match (ask(port, order, board).await, &order.hung) {
        (Ok((admin, task)), _) if order.what == What::Rehearsal => {
            return rehearsed(port, admin, task, board).await;
        }
        (Ok((admin, task)), _) => watch(port, admin, task, board).await?,
        (Err(Trouble::Silent(waited)), Hung::Kill(known)) => {
            board.says(&port.name, &format!("no answer in {waited:?}: it hangs; killing it"));
            hung::revive(port, order, known.as_deref(), board).await?
        }
        (Err(trouble @ Trouble::Silent(_)), Hung::Leave) => {
            bail!("{trouble}; if it hangs, --force kills it and starts it again")
        }
        (Err(trouble), _) => return Err(trouble.into()),
    };
    board.says(&port.name, "waiting for RUNNING");
    let proxy = running(port).await?;
    let text = |name| proxy.text(name).unwrap_or("?");
    let (pid, version) = (text("pid"), text("version"));
    let took = begun.elapsed().as_secs_f64();
    Ok(format!("RUNNING in {took:.1} s as pid {pid}, version {version}; {how}"))
}

/// Sends the statement to a proxy that has shown that it answers.
async fn ask(port: &AdminPort, order: &Order, board: &Board) -> Result<(Admin, u64), Trouble> {
    let mut admin = port.connect().await?;
    if let Some(detour) = admin.detour() {
        board.says(&port.name, detour);
    }
    admin.ping().await?;
    let task = admin.restart(&order.statement).await?;
    Ok((admin, task))
}

/// Follows a rehearsal to its end; a success if every session would move.
async fn rehearsed(
    port: &AdminPort,
    admin: Admin,
    task: u64,
    board: &Board,
) -> anyhow::Result<String> {
    let row = completed(port, admin, task, board).await?;
    Ok(format!("task {task}: {}; nothing has moved", row.text("detail").unwrap_or_default()))
}

/// Follows a restart to its completion.
async fn watch(port: &AdminPort, admin: Admin, task: u64, board: &Board) -> anyhow::Result<String> {
    let row = completed(port, admin, task, board).await?;
    let text = |name| row.text(name).unwrap_or_default();
    let (moved, sessions, cut) = (text("moved"), text("sessions"), text("disconnected"));
    Ok(format!("task {task}: {moved} of {sessions} sessions moved, {cut} disconnected"))
}

async fn completed(
    port: &AdminPort,
    admin: Admin,
    task: u64,
    board: &Board,
) -> anyhow::Result<Row> {
    let limits = Limits { silence: SILENCE, whole: None };
    let row = follow(port, admin, task, limits, |row| board.shows(&port.name, row)).await?;
    let text = |name| row.text(name).unwrap_or_default();
    if text("state") != "COMPLETED" {
        bail!("task {task} is {} in {}: {}", text("state"), text("phase"), text("detail"));
    }
    Ok(row)
}

/// Waits until the proxy says RUNNING.
async fn running(port: &AdminPort) -> anyhow::Result<Row> {
    let until = Instant::now() + SETTLING;
    loop {
        let seen = port.proxy().await;
        if let Ok(proxy) = &seen
            && proxy.text("state") == Some("RUNNING")
        {
            return Ok(proxy.clone());
        }
        if Instant::now() >= until {
            let proxy = seen.with_context(|| format!("it is not RUNNING after {SETTLING:?}"))?;
            bail!("it is {} after {SETTLING:?}", proxy.text("state").unwrap_or("in no state"));
        }
        sleep(LOOK).await;
    }
}
