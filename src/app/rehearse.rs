//! `odp rehearse`: the successor's part in RESTART REHEARSE.
//!
//! A running proxy starts it and shows it a copy of every session's state. It loads what `run`
//! would load, and judges; it binds, opens and connects nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};

use super::run::raise_fd_limit;
use crate::log;
use crate::proxy::parcel;
use crate::restart;

/// Arguments of `odp rehearse`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = super::check::load(&args.config)?;
    let _log = log::start(&config.log).context("cannot start the log")?;
    raise_fd_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let understudy = restart::understudy(env!("CARGO_PKG_VERSION"), |it| {
        parcel::rehearse(&it.state, &it.bytes, it.fds)
    });
    let judged = super::see_through(runtime.context("cannot start the runtime")?, understudy);
    judged.map_err(|reason| anyhow!("rehearsal: {reason}"))?;
    Ok(ExitCode::SUCCESS)
}
