//! `odp check`: validates a config without touching anything that runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::access::Access;
use crate::config::parameter::changes::changes;
use crate::{app, log, task};

/// Arguments of `odp check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Say what the file would change in the proxy that runs with it, and from when on: now, at the
    /// next session, or at a restart. Of lists of users, tenants, networks and proxies nothing is
    /// said.
    #[arg(long)]
    changes: bool,
}

/// Runs the command: exit code 0, or 1 with everything that is wrong, where it stands and what was
/// expected. What will go wrong some day is said and no failure.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = app::config::check(&args.config)?;
    let path = args.config.display();
    for remark in app::remarks::remarks(&config) {
        log::say(&format!("config {path}: warning: {remark}"));
    }
    let servers: usize = config.cluster.iter().map(|cluster| cluster.server.len()).sum();
    super::print(&format!("{path}: ok, {servers} server(s)\n"))?;
    if args.changes {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let before = task::see_through(runtime, before(&args.config))?;
        for change in changes(&before, &config) {
            super::print(&format!("{change}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the file said when the proxy has read it last.
async fn before(config: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let [port] = &Access::of(config).ports()?[..] else { bail!("expected one admin port") };
    let asked = async {
        let mut admin = port.connect().await?;
        let rows = admin.parameters().await;
        admin.quit().await;
        rows
    };
    let rows = asked.await.with_context(|| format!("--changes: {}", port.name))?;
    Ok(rows.0.into_iter().collect())
}
