//! The proxies of the fleet, as the config lists them or a name has them.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use mysql_async::SslOpts;
use tokio::time::timeout;

use super::port::AdminPort;
use super::tls::trusting;
use crate::config::tls::AcceptMode;
use crate::config::{Config, FleetProxy, ServerAddress};

/// How long a resolver may take.
const RESOLVING: Duration = Duration::from_secs(5);

/// One of them.
#[derive(Clone)]
pub(crate) struct Member {
    /// What people call it.
    pub(crate) name: String,
    /// Its admin port.
    pub(crate) port: AdminPort,
}

/// All of them, in order.
pub(crate) async fn members(config: &Config) -> anyhow::Result<Vec<Member>> {
    let fleet = &config.fleet;
    if fleet.is_empty() {
        bail!("there is no fleet: the config has neither [[fleet.proxy]] nor fleet.dns");
    }
    if fleet.dns.is_empty() {
        return fleet.proxy.iter().map(|proxy| listed(config, proxy)).collect();
    }
    let resolving = timeout(RESOLVING, tokio::net::lookup_host(&fleet.dns)).await;
    let found = resolving.map_err(|_| anyhow!("no answer in {RESOLVING:?}")).and_then(|it| Ok(it?));
    let found = found.with_context(|| format!("fleet.dns {}", fleet.dns))?;
    let mut addresses: Vec<_> = found.collect();
    addresses.sort();
    addresses.dedup();
    let ports = addresses.into_iter().map(|address| {
        let (host, port) = (address.ip().to_string(), address.port());
        member(config, None, &ServerAddress::Tcp { host, port })
    });
    ports.collect()
}

/// Leaves those that are named, or all if none is; the error is a name that none of them has.
pub(crate) fn choose<'a>(all: &mut Vec<Member>, names: &'a [String]) -> Result<(), &'a str> {
    let is_unknown = |name: &&String| all.iter().all(|it| it.name != **name);
    if let Some(name) = names.iter().find(is_unknown) {
        return Err(name);
    }
    all.retain(|it| names.is_empty() || names.contains(&it.name));
    Ok(())
}

fn listed(config: &Config, proxy: &FleetProxy) -> anyhow::Result<Member> {
    member(config, Some(proxy), &proxy.address)
        .with_context(|| format!("fleet.proxy '{}'", proxy.name))
}

fn member(
    config: &Config,
    proxy: Option<&FleetProxy>,
    address: &ServerAddress,
) -> anyhow::Result<Member> {
    let (user, password) = config.fleet_account(proxy).map_err(|error| anyhow!(error))?;
    let ca = proxy.and_then(|proxy| proxy.ca.as_ref()).or(config.fleet.ca.as_ref());
    let tls = match (ca, config.tls.admin.mode) {
        (Some(ca), _) => Some(trusting(SslOpts::default(), ca, "ca")?),
        (None, AcceptMode::Off) => None,
        (None, _) => Some(SslOpts::default().with_danger_accept_invalid_certs(true)),
    };
    let port = AdminPort::new(address, &user, password, tls);
    let name = proxy.map_or_else(|| address.to_string(), |proxy| proxy.name.clone());
    Ok(Member { name, port })
}
