//! `odp restart`: its arguments, and what people see of it. What it does is in `fleet::roll`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::access::Access;
use crate::config::ExitTimeout;
use crate::fleet::roll::{Order, What, roll};
use crate::task;

mod board;
pub(super) mod fleet;

use board::Board;
use fleet::FleetArgs;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  Roll over a fleet, one proxy after the other:
    ODP_ADMIN_PASSWORD=… odp restart -a 10.0.0.1:2885 -a 10.0.0.2:2885 -a 10.0.0.3:2885
  The same for the fleet of a config, watched one by one, and going on whatever becomes of this
  command:
    odp restart --fleet -c /etc/odp/odp.toml
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
    #[command(flatten)]
    of_fleet: FleetArgs,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    task::see_through(runtime, restart(args))
}

async fn restart(args: Args) -> anyhow::Result<ExitCode> {
    let ports = match (args.of_fleet.fleet, args.rehearse) {
        (true, false) => return fleet::restart(&args).await,
        (true, true) => fleet::chosen(&args).await?,
        (false, _) => args.access.ports()?,
    };
    let failed = roll(ports, order(&args)?, args.batch as usize, Board::new()).await;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn order(args: &Args) -> anyhow::Result<Order> {
    // The proxy has another working directory than whoever types this.
    let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
    let binary = absolute(&args.binary).context("--binary")?;
    let config = absolute(&args.config).context("--config")?;
    let what = match (args.force, args.rehearse) {
        (true, _) => What::Force(args.access.config().map(Into::into)),
        (false, true) => What::Rehearsal,
        (false, false) => What::Restart,
    };
    Order::new(what, args.exit_timeout, binary, config)
}
