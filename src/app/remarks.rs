//! What an operator should know of a config that is not wrong.

use std::time::SystemTime;

use nix::unistd::{User, geteuid};

use super::config::usable;
use crate::config::{Config, ServerAddress};
use crate::net::tls::validity;
use crate::proxy::sessions::admission::most_sessions;

/// All of it, one line each.
pub(crate) fn remarks(config: &Config) -> Vec<String> {
    let mut all = config.remarks();
    all.extend(validity::remarks(&config.tls, SystemTime::now()));
    all.extend(on_unix_servers(config));
    all.extend(on_state_dir(config));
    all
}

/// Logs them, with what can be said only of the process that serves.
pub(super) fn log_remarks(config: &Config) {
    let (most, wanted) = (most_sessions(config), config.proxy.client_max_connections);
    if most < wanted {
        tracing::warn!(
            "the limit of open files is enough for {most} sessions, client_max_connections is \
             {wanted}"
        );
    }
    for remark in remarks(config) {
        tracing::warn!("{remark}");
    }
}

/// That what operators alter will be gone with the process.
fn on_state_dir(config: &Config) -> Option<String> {
    let state_dir = &config.proxy.state_dir;
    let why = match state_dir.as_os_str().is_empty() {
        true => "it is empty".to_owned(),
        false => usable(state_dir).err()?,
    };
    let path = state_dir.display();
    Some(format!(
        "proxy.state_dir = \"{path}\": {why}: a cold start forgets what ALTER has changed"
    ))
}

/// Servers that see the proxy's own user in place of their clients', one line each.
fn on_unix_servers(config: &Config) -> Vec<String> {
    let uid = geteuid();
    let user = User::from_uid(uid).ok().flatten();
    let who = user.map_or_else(|| format!("uid {uid}"), |it| format!("{} (uid {uid})", it.name));
    let servers = config
        .cluster
        .iter()
        .flat_map(|cluster| cluster.server.iter().map(|server| (&cluster.name, &server.address)));
    let behind_sockets = servers.filter(|(_, address)| matches!(address, ServerAddress::Unix(_)));
    let remark = |(cluster, address)| {
        format!(
            "cluster '{cluster}': server {address} takes every client for the user that the proxy \
             runs as, {who}: clients without a password, and of that name, are refused"
        )
    };
    behind_sockets.map(remark).collect()
}
