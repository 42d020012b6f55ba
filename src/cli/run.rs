//! `odp run`: its arguments. What it does is in [`crate::app`].

use std::path::PathBuf;
use std::process::ExitCode;

use crate::app::run::{self, Beginning};

/// Arguments of `odp run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Succeed the proxy that is running, through its handover socket. Starts cold if there is
    /// none.
    #[arg(long)]
    takeover: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let beginning = if args.takeover { Beginning::Takeover } else { Beginning::Cold };
    run::run(&args.config, beginning)?;
    Ok(ExitCode::SUCCESS)
}
