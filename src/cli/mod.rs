//! The command line: one file a subcommand. Logs go to stderr, results to stdout.

use std::process::ExitCode;

pub(crate) mod admin_client;
pub mod check;
pub mod demo;
pub mod load;
mod record;
pub mod rehearse;
pub mod restart;
pub mod run;
pub mod status;
pub mod supervise;

/// A MySQL-protocol proxy that can be restarted under load, and no client notices.
#[derive(Debug, clap::Parser)]
#[command(name = "odp", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the proxy in the foreground.
    Run(run::Args),
    /// Validate a config.
    Check(check::Args),
    /// Restart one or many proxies, rolling.
    Restart(restart::Args),
    /// Say what this program would take over; a running proxy asks, see `odp restart --rehearse`.
    #[command(hide = true)]
    Rehearse(rehearse::Args),
    /// Show one row a proxy.
    Status(status::Args),
    /// Load a proxy and tell what clients feel during restarts.
    Load(Box<load::Args>),
    /// Run the proxy as a child and keep it running: for PID 1 of a container.
    Supervise(supervise::Args),
    /// Start a private database, the proxy and a load, and restart it before your eyes.
    Demo(demo::Args),
}

impl Cli {
    /// Runs the subcommand; exit codes are 0 ok, 1 failure, 2 usage.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => run::run(args),
            Command::Check(args) => check::run(args),
            Command::Restart(args) => restart::run(args),
            Command::Rehearse(args) => rehearse::run(args),
            Command::Status(args) => status::run(args),
            Command::Load(args) => load::run(*args),
            Command::Supervise(args) => supervise::run(args),
            Command::Demo(args) => demo::run(args),
        }
    }
}
