//! Whom a client's name means: its cluster, and what the servers there are told in its place.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::error::ClientError;
use crate::proxy::cluster::Cluster;
use crate::proxy::cluster::clusters::Clusters;
use crate::proxy::in_force::InForce;
use crate::proxy::sessions::admission::address_of;
use crate::proxy::sessions::handle::Handle;
use crate::route::name::{self, Login};
use crate::session::Account;
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
    let login = meant(&response.user, clusters)?;
    admit(&login, config, from, !response.auth.is_empty())?;
    let Login { tenant, cluster, .. } = login;
    // An empty one takes no memory.
    let tenant_name = tenant.map(|name| text(name).into()).unwrap_or_default();
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
    Ok(Destination { cluster, tenant: tenant_name, response: told })
}

/// Whom a name in COM_CHANGE_USER means, in a session with these servers. See
/// [`crate::session::Directory::account`].
pub fn account(
    in_force: &InForce,
    handle: &Handle,
    name: &[u8],
) -> Result<Option<Account>, ClientError> {
    let clusters = in_force.clusters();
    let (own, from) = {
        let facts = handle.facts();
        (facts.cluster.clone(), address_of(&facts.client))
    };
    let login = meant(name, &clusters)?;
    // Whether there is a password shows in the exchange only.
    admit(&login, &in_force.load(), from, true)?;
    if !clusters.names().has_parts() {
        return Ok(None);
    }
    let Login { tenant, cluster, .. } = login;
    if *cluster.name != *own {
        return Err(ClientError::other_cluster(&cluster.name, &own));
    }
    let name::Account { user, database } = login.account();
    Ok(Some(Account {
        user: user.into_owned(),
        database: database.map(|database| database.as_bytes().to_vec()),
        tenant: tenant.unwrap_or_default().to_vec(),
    }))
}

fn meant<'a>(name: &'a [u8], clusters: &'a Clusters) -> Result<Login<'a>, ClientError> {
    let unknown = |name: &[u8]| ClientError::unknown_cluster(&name.escape_ascii().to_string());
    name::parse(name, clusters.names()).map_err(|error| unknown(&error.0))
}

/// Whether the white list lets in who comes from there.
fn admit(
    login: &Login<'_>,
    config: &Config,
    from: Option<IpAddr>,
    has_password: bool,
) -> Result<(), ClientError> {
    let Login { user, tenant, cluster } = login;
    let (user, tenant) = (text(user), tenant.map(text).unwrap_or_default());
    if config.white_list.admits(&cluster.name, &tenant, &user, from) {
        return Ok(());
    }
    let from = from.map_or_else(|| "localhost".to_owned(), |from| from.to_string());
    Err(ClientError::access_denied(&user, &from, has_password))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
