//! `odp switchover`: another primary, by one of the proxies in front of it.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::access::Access;
use super::restart::fleet::first;
use crate::config::ServerAddress;
use crate::fleet::members::members;
use crate::fleet::port::{Admin, AdminPort, Scope};
use crate::task;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  odp switchover -c /etc/odp/odp.toml main 10.0.0.2:3306
  odp switchover --fleet -c /etc/odp/odp.toml main 10.0.0.2:3306
  ODP_ADMIN_PASSWORD=… odp switchover -a 10.0.0.1:2885 main 10.0.0.2:3306 --force
Exit code 0: it is the primary. 1: it is not, and everything is as it was, or the text says what \
    is not. 2: usage.";

/// Arguments of `odp switchover`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The cluster's name, as in the config.
    cluster: String,
    /// The server that is to be its primary, as in the config.
    server: ServerAddress,
    /// Leave sessions behind that cannot move, on a server that takes no writes.
    #[arg(long)]
    force: bool,
    /// One proxy of the fleet of -c does it, and clients of all others wait meanwhile.
    #[arg(long, requires = "known_from", conflicts_with = "addresses")]
    fleet: bool,
    #[command(flatten)]
    access: Access,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { cluster, server, force, fleet, access } = args;
    let own = access.ports();
    if own.as_ref().is_ok_and(|own| own.len() > 1) {
        bail!("-a: expected one proxy: only its sessions can wait for the switchover");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let told = task::see_through(runtime, async {
        let (mut admin, scope) = match fleet {
            true => (of_fleet(&access, own.unwrap_or_default()).await?, Scope::Fleet),
            false => (first(own?).await?.1, Scope::Proxy),
        };
        let told = admin.switch_over(&cluster, &server.to_string(), force, scope).await;
        admin.quit().await;
        anyhow::Ok(told?)
    });
    let told = told.with_context(|| format!("switchover of cluster '{cluster}' to {server}"))?;
    super::print(&format!("{told}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The proxy whose config it is, or another one of its fleet that answers.
async fn of_fleet(access: &Access, mut own: Vec<AdminPort>) -> anyhow::Result<Admin> {
    let members = members(&access.fleet()?).await?;
    own.extend(members.into_iter().map(|member| member.port));
    Ok(first(own).await?.1)
}
