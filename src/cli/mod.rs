//! The command line: one file a subcommand. Logs go to stderr, results to stdout.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

mod access;
pub mod check;
pub mod demo;
pub mod load;
pub mod rehearse;
pub mod restart;
pub mod run;
pub mod status;
pub mod supervise;
pub mod switchover;
mod tls;

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
    /// Make a replica the primary, with all sessions of a proxy.
    Switchover(switchover::Args),
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
            Command::Switchover(args) => switchover::run(args),
            Command::Load(args) => load::run(*args),
            Command::Supervise(args) => supervise::run(args),
            Command::Demo(args) => demo::run(args),
        }
    }
}

/// Prints a result. Who reads only the first lines has closed the pipe, which is no failure; a disk
/// that is full is one.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("standard output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
