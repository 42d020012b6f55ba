//! The successor's part in RESTART REHEARSE.
//!
//! A running proxy starts it and shows it a copy of every session's state. It loads what `run`
//! would load, and judges; it binds, opens and connects nothing.

use std::path::Path;

use anyhow::{Context, anyhow};

use super::config;
use super::run::raise_fd_limit;
use crate::proxy::relay::parcel;
use crate::{log, restart, task};

/// Judges with this config file, until whoever asks has shown all.
pub(crate) fn rehearse(path: &Path) -> anyhow::Result<()> {
    let config = config::load(path, config::Names::AsTheyAre)?;
    let _log = log::start(&config.log).context("cannot start the log")?;
    raise_fd_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let understudy = restart::understudy(env!("CARGO_PKG_VERSION"), |it| {
        parcel::rehearse(&it.state, &it.bytes, it.fds)
    });
    let judged = task::see_through(runtime.context("cannot start the runtime")?, understudy);
    judged.map_err(|reason| anyhow!("rehearsal: {reason}"))
}
