//! `odp rehearse`: its arguments. What it does is in [`crate::app`].

use std::path::PathBuf;
use std::process::ExitCode;

use crate::app::rehearse::rehearse;

/// Arguments of `odp rehearse`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    rehearse(&args.config)?;
    Ok(ExitCode::SUCCESS)
}
