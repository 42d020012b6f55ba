//! `odp run`: its arguments. What it does is in [`crate::app`].

use std::path::PathBuf;
use std::process::ExitCode;

use crate::app::keep::Past;
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
    /// Start with what the config says alone: what operators have altered before, and the proxy
    /// has kept in its state_dir, is put aside there.
    #[arg(long, conflicts_with = "takeover")]
    ignore_state: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let beginning = if args.takeover { Beginning::Takeover } else { Beginning::Cold };
    let past = if args.ignore_state { Past::Ignored } else { Past::Counts };
    run::run(&args.config, beginning, past)?;
    Ok(ExitCode::SUCCESS)
}
