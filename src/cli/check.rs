//! `odp check`: validates a config without touching anything that runs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use crate::app;
use crate::config::Config;
use crate::log;

/// Arguments of `odp check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command: exit code 0, or 1 with everything that is wrong, where it stands and what was
/// expected. What will go wrong some day is said and no failure.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let path = args.config.display();
    let wrong = app::config::errors(&config);
    for remark in app::remarks::remarks(&config) {
        log::say(&format!("config {path}: warning: {remark}"));
    }
    if !wrong.is_empty() {
        let lines = wrong.iter().map(|text| format!("config {path}: {text}"));
        bail!(lines.collect::<Vec<_>>().join("\n"));
    }
    let servers: usize = config.cluster.iter().map(|cluster| cluster.server.len()).sum();
    super::print(&format!("{path}: ok, {servers} server(s)\n"))?;
    Ok(ExitCode::SUCCESS)
}
