//! What operators have altered, in `state_dir`: read by a proxy that starts by itself, written by
//! every one that serves.
//!
//! A successor has it from its predecessor, and both write while both live: what they write is the
//! same as soon as they have told each other. Invariant: nobody who cannot write is kept from
//! serving; who cannot read what is there is, when he starts by himself.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config::Config;
use crate::config::alterations::{Alterations, AlterationsFile, Altered, latest};
use crate::proxy::{Difference, Proxy};
use crate::restart::crash::{Side, at};
use crate::restart::task::State;
use crate::restart::{Lifecycle, prepare_run_dir};
use crate::state::{self, Draft};
use crate::task;

/// The file in `state_dir`.
const FILE: &str = "parameters.toml";
/// What is put aside by `--ignore-state`.
const IGNORED: &str = "parameters.toml.ignored";
/// When it is tried again to write what could not be written.
const AGAIN: Duration = Duration::from_secs(30);

/// Whether a proxy that starts by itself begins with what was altered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    /// It does.
    Counts,
    /// It is put aside.
    Ignored,
}

/// Where it is kept.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    /// None: nowhere.
    path: Option<PathBuf>,
    /// Whose it is.
    run_dir: PathBuf,
}

impl Keeper {
    /// As the config has it.
    pub(super) fn of(config: &Config) -> Self {
        let state_dir = &config.proxy.state_dir;
        let path = (!state_dir.as_os_str().is_empty()).then(|| state_dir.join(FILE));
        Self { path, run_dir: config.proxy.run_dir.clone() }
    }

    /// What was altered before, for a proxy that starts by itself.
    ///
    /// # Errors
    ///
    /// What is there is damaged, or cannot be read.
    pub(super) fn begin(&self, past: Past) -> anyhow::Result<Alterations> {
        // Who cannot have the directory is told so by a remark.
        let Some(path) = self.path.as_deref().filter(|path| is_ours(path)) else {
            return Ok(Alterations::new());
        };
        if past == Past::Ignored {
            put_aside(path).with_context(|| path.display().to_string())?;
            return Ok(Alterations::new());
        }
        let advice = "`odp run --ignore-state` puts it aside and starts with the config alone";
        let text = state::read(path).with_context(|| path.display().to_string());
        let Some(text) = text.map_err(|error| error.context(advice))? else {
            return Ok(Alterations::new());
        };
        match self.understood(&text, path) {
            Ok(altered) => Ok(altered),
            Err(Unfit::Damaged(text)) => bail!("{text}\n{advice}"),
            Err(Unfit::Others(text)) => {
                tracing::warn!("{text}: what was altered there does not count here");
                Ok(Alterations::new())
            }
        }
    }

    /// What was altered before, for a proxy that goes on where another one has crashed: it knows
    /// most of that already, and nothing keeps it from serving.
    pub(super) fn resume(&self, proxy: &Proxy) {
        let Some(path) = self.path.as_deref().filter(|path| is_ours(path)) else { return };
        let text = state::read(path).ok().flatten();
        if let Some(kept) = text.and_then(|text| self.understood(&text, path).ok()) {
            let in_force = proxy.in_force();
            in_force.inherit_altered(latest(in_force.altered(), kept));
        }
    }

    fn understood(&self, text: &str, path: &Path) -> Result<Alterations, Unfit> {
        let file = AlterationsFile::parse(text, path)
            .map_err(|error| Unfit::Damaged(error.to_string()))?;
        match file.run_dir == self.run_dir {
            true => Ok(file.parameter),
            false => {
                let (path, run_dir) = (path.display(), file.run_dir.display());
                Err(Unfit::Others(format!("{path} is that of the proxy with run_dir {run_dir}")))
            }
        }
    }

    /// Writes all of it, unless it stands there; why that cannot be.
    fn write(&self, altered: Alterations) -> Result<(), String> {
        let Some(path) = &self.path else { return Err("proxy.state_dir is empty".into()) };
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let text = AlterationsFile::new(&self.run_dir, altered.clone()).text();
        let found = match is_ours(path) {
            true => state::read(path).ok().flatten(),
            false => None,
        };
        match &found {
            Some(found) if *found == text => return Ok(()),
            Some(found) => {
                if let Err(Unfit::Others(text)) = self.understood(found, path) {
                    return Err(text);
                }
            }
            None if altered.is_empty() => return Ok(()),
            None => {}
        }
        let directory = path.parent().unwrap_or(Path::new("."));
        prepare_run_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let draft = Draft::write(path, &text).map_err(failed)?;
        at(Side::Predecessor, "kept").map_err(|error| error.to_string())?;
        draft.publish().map_err(failed)
    }

    /// Keeps what is altered from now on.
    pub(super) fn serve(self, proxy: &Arc<Proxy>, lifecycle: &Lifecycle) {
        let (keeper, proxy, lifecycle) = (Arc::new(self), proxy.clone(), lifecycle.clone());
        task::keep("parameters", move || {
            let (keeper, proxy, lifecycle) = (keeper.clone(), proxy.clone(), lifecycle.clone());
            async move { keeper.keep(&proxy, &lifecycle).await }
        });
    }

    async fn keep(self: &Arc<Self>, proxy: &Arc<Proxy>, lifecycle: &Lifecycle) {
        let keeping = proxy.in_force().keeping();
        let (mut changes, mut standings) = (keeping.changes(), lifecycle.subscribe());
        let mut before = None;
        loop {
            let (change, state) =
                (*changes.borrow_and_update(), standings.borrow_and_update().state);
            // A successor that does not serve yet may have a config that never counts.
            if state != State::Starting {
                let (keeper, altered) = (self.clone(), proxy.in_force().altered());
                let written = spawn_blocking(move || keeper.write(altered)).await;
                let trouble = written.unwrap_or_else(|error| Err(error.to_string())).err();
                if trouble != before && self.path.is_some() {
                    tell(trouble.as_deref());
                }
                keeping.settle(change, trouble.clone());
                before = trouble;
            }
            let is_failing = before.is_some() && self.path.is_some();
            // All branches are cancel safe.
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = other_state(&mut standings, state) => {}
                () = sleep(AGAIN), if is_failing => {}
            }
        }
    }
}

/// Why a file does not count.
enum Unfit {
    /// It is not what was written.
    Damaged(String),
    /// It is another proxy's.
    Others(String),
}

/// Waits for another state than this. Cancel safe.
pub(super) async fn other_state(
    standings: &mut tokio::sync::watch::Receiver<crate::restart::Standing>,
    state: State,
) {
    if standings.wait_for(|standing| standing.state != state).await.is_err() {
        std::future::pending().await
    }
}

fn tell(trouble: Option<&str>) {
    match trouble {
        Some(trouble) => tracing::warn!("what ALTER has changed is not kept: {trouble}"),
        None => tracing::info!("what ALTER has changed is kept"),
    }
}

/// Whether nobody else can have written in the directory of this file.
fn is_ours(path: &Path) -> bool {
    path.parent().is_some_and(super::config::is_private)
}

fn put_aside(path: &Path) -> io::Result<()> {
    match std::fs::rename(path, path.with_file_name(IGNORED)) {
        Ok(()) => {
            let path = path.display();
            tracing::warn!(
                "{path}: what was altered before is ignored, and put aside as {IGNORED}"
            );
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Every value that is not the file's, in the log.
pub(super) fn log_differences(proxy: &Proxy) {
    for Difference { name, altered } in proxy.in_force().differences() {
        let Altered { from, value, by, at, .. } = altered;
        let hidden = name.ends_with("init_sql").then_some("***");
        let (value, from) = (hidden.unwrap_or(&value), hidden.unwrap_or(&from));
        let (by, at) = (Some(by).filter(|by| !by.is_empty()), Some(at).filter(|it| !it.is_empty()));
        tracing::warn!(name, value, in_file = from, by, at, "a parameter is not as in the file");
    }
}
