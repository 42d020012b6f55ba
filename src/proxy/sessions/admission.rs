//! Who may come in: [`super::limits`] applied to connections and log-ins, those of the other
//! generation counted, too.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::Sessions;
use super::handle::{FEWEST_SOCKETS, Handle};
use super::limits::{Allowance, Allowances, Seat};
use super::view::SessionView;
use crate::config::Config;
use crate::error::ClientError;
use crate::net::listen::open_files;
use crate::restart::Census;

/// The IP address in a client's address as it is shown; None for Unix sockets.
pub fn address_of(client: &str) -> Option<IpAddr> {
    client.parse().ok().map(|client: SocketAddr| client.ip().to_canonical())
}

/// How many sessions there may be. More than there are descriptors for would wait unseen in the
/// kernel's queue, and the operators that could help with them.
pub fn most_sessions(config: &Config) -> usize {
    config.proxy.client_max_connections.min(Census::most_sessions(open_files(), FEWEST_SOCKETS))
}

/// What counts for a tenant.
struct Tenancy {
    /// With its cluster.
    name: String,
    /// Its sessions at most; 0 is no limit.
    most: usize,
    /// Those of the other generation.
    others: usize,
}

impl Sessions {
    /// Counts a connection at its peer's address, or says why it may not stay. A peer that may be
    /// a proxy is not counted before it has said for whom it comes.
    pub fn admit_peer(
        &self,
        config: &Config,
        peer: Option<SocketAddr>,
    ) -> Result<Seat, ClientError> {
        if self.registry.len() >= most_sessions(config) {
            return Err(ClientError::too_many_sessions());
        }
        let mut seat = Seat::default();
        if let Some(address) = peer.map(|peer| peer.ip().to_canonical())
            && !config.proxy.proxy_protocol_networks.contain(Some(address))
        {
            self.admit(config, &mut seat, address)?;
        }
        Ok(seat)
    }

    /// Counts a connection at its address, or says why it may not stay.
    pub fn admit(
        &self,
        config: &Config,
        seat: &mut Seat,
        address: IpAddr,
    ) -> Result<(), ClientError> {
        let allowance = Allowances::of(&config.proxy).address;
        let is_from_there = |view: &SessionView| address_of(&view.client) == Some(address);
        let others = self.others(allowance.sessions, is_from_there);
        self.registry.limits.enter(seat, address, others, allowance, Instant::now())
    }

    /// Whether a user may log in to its cluster and tenant, if its password is right; before a
    /// server is bothered with it.
    pub fn has_room_for(
        &self,
        config: &Config,
        handle: &Handle,
        user: &str,
    ) -> Result<(), ClientError> {
        let (allowance, others) = self.allowance(config, user);
        self.registry.limits.has_room(user, others, allowance, Instant::now())?;
        let Some(Tenancy { name, most, others }) = self.tenancy(config, handle) else {
            return Ok(());
        };
        self.registry.limits.has_room_in(&name, others, most)
    }

    /// Counts a session at its user, whom the server has let in, and at its tenant, or says why it
    /// may not stay.
    pub fn admit_user(
        &self,
        config: &Config,
        handle: &Handle,
        user: &str,
    ) -> Result<(), ClientError> {
        let (allowance, others) = self.allowance(config, user);
        let limits = &self.registry.limits;
        limits.log_in(&mut handle.seat(), user, others, allowance, Instant::now())?;
        let Some(Tenancy { name, most, others }) = self.tenancy(config, handle) else {
            return Ok(());
        };
        limits.join(&mut handle.seat(), &name, others, most)
    }

    /// What a user may have, and how many sessions it has in the other generation.
    fn allowance(&self, config: &Config, user: &str) -> (Allowance, usize) {
        let allowance = Allowances::of(&config.proxy).user;
        (allowance, self.others(allowance.sessions, |view| view.user == user))
    }

    /// What counts for a session's tenant, if it has one.
    fn tenancy(&self, config: &Config, handle: &Handle) -> Option<Tenancy> {
        let facts = handle.facts().clone();
        let name = facts.full_tenant()?;
        let section = config.find_cluster(&facts.cluster);
        let tenants = section.into_iter().flat_map(|section| &section.tenant);
        let mut tenants = tenants.filter(|tenant| *tenant.name == *facts.tenant);
        let most = tenants.next().map_or(0, |tenant| tenant.max_connections);
        let is_of_it =
            |view: &SessionView| *view.tenant == *facts.tenant && *view.cluster == *facts.cluster;
        Some(Tenancy { name, most, others: self.others(most, is_of_it) })
    }

    /// Nobody is looked for without a limit, nor while there is no other generation.
    fn others(&self, limit: usize, is_meant: impl Fn(&SessionView) -> bool) -> usize {
        if limit == 0 { 0 } else { self.registry.count_elsewhere(is_meant) }
    }
}
