//! Whom a client's name means: its cluster, and what the servers there are told in its place.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::error::ClientError;
use crate::proxy::cluster::Cluster;
use crate::proxy::cluster::clusters::Clusters;
use crate::route::name::{self, Login};
use crate::wire::capability as cap;
use crate::wire::handshake::LoginResponse;

/// Where a log-in goes.
pub(super) struct Destination {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Empty if there is none.
    pub tenant: Arc<str>,
    /// The client's login response, as the cluster's servers are to have it.
    pub response: LoginResponse,
}

/// What a login response means. `from`: where the client is; None is this machine.
pub(super) fn find(
    config: &Config,
    clusters: &Clusters,
    response: LoginResponse,
    from: Option<IpAddr>,
) -> Result<Destination, ClientError> {
    let known = clusters.names();
    let login = name::parse(&response.user, known);
    let login =
        login.map_err(|error| ClientError::unknown_cluster(&error.0.escape_ascii().to_string()))?;
    let Login { user, tenant, cluster } = login;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (user_name, tenant_name) = (text(user), tenant.map(text).unwrap_or_default());
    if !config.white_list.admits(&cluster.name, &tenant_name, &user_name, from) {
        let from = from.map_or_else(|| "localhost".to_owned(), |from| from.to_string());
        return Err(ClientError::access_denied(&user_name, &from, !response.auth.is_empty()));
    }
    let account = login.account();
    let mut told = response.clone();
    told.user = account.user.into_owned();
    let may_name = told.capabilities & cap::CONNECT_WITH_DB != 0;
    if let Some(database) = account.database
        && (!may_name || told.database.as_ref().is_none_or(Vec::is_empty))
    {
        told.capabilities |= cap::CONNECT_WITH_DB;
        told.database = Some(database.as_bytes().to_vec());
    }
    let found = clusters.find(&cluster.name);
    let cluster = found.ok_or_else(|| ClientError::unknown_cluster(&cluster.name))?.clone();
    Ok(Destination { cluster, tenant: tenant_name.into(), response: told })
}
