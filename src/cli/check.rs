//! `odp check`: validates a config without touching anything that runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;

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
    let config = load(&args.config)?;
    let servers: usize = config.cluster.iter().map(|cluster| cluster.server.len()).sum();
    println!("{}: ok, {servers} server(s)", args.config.display());
    Ok(ExitCode::SUCCESS)
}

/// Loads a config that this version can serve.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    let config = Config::load(path)?;
    match config.unserved() {
        None => Ok(config),
        Some(why) => Err(anyhow!("config {}: {why}", path.display())),
    }
}
