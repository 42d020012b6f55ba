//! `odp check`: validates a config without touching anything that runs.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Config;

/// Arguments of `odp check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command: exit code 0, or 1 with file, line, column and what was expected.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let servers: usize = config.cluster.iter().map(|cluster| cluster.server.len()).sum();
    println!("{}: ok, {servers} server(s)", args.config.display());
    Ok(ExitCode::SUCCESS)
}
