//! Connections of our own to one server: no client waits for them, and no other server will do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{BackendError, Cluster, FirstWords, Greeted, Server};
use crate::config::{Config, ProxyProtocol, ServerAddress};
use crate::net::proxy_header::{Route, encode_v1, encode_v2};
use crate::net::tls::settings::Connector;
use crate::route::Allotment;
use crate::route::order::{Asker, Reading, RoutePolicy, readers};
use crate::route::topology::ServerId;

impl Cluster {
    /// Its servers, in the order of the config.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// One that sessions are on, even if the config has it no more.
    pub fn present_or_former(&self, address: &str) -> Option<Arc<Server>> {
        if let Some(server) = self.server(address) {
            return Some(server.clone());
        }
        let parsed: ServerAddress = address.parse().ok()?;
        let any = self.servers.first()?;
        Some(Arc::new(Server::new(&parsed, any.health.limits(), &any.partings)))
    }

    /// Connects to one of its servers, and hears its greeting. What comes of it is noted, as it is
    /// for clients.
    pub async fn connect_to(
        &self,
        server: &Arc<Server>,
        config: &Config,
        tls: Option<&Connector>,
        limit: Duration,
    ) -> Result<Greeted, BackendError> {
        let time = Allotment { limit, fair: limit };
        server.connect(config, tls, &self.first_words(None), time).await
    }

    /// The replica that this session's reads go to, as long as servers stay what they are.
    pub(in crate::proxy) fn reader(&self, config: &Config, share: u64) -> Option<Arc<Server>> {
        let (topology, now) = (self.topology(), Instant::now());
        let standing = |id: ServerId| self.standing(&topology, id, now);
        let asker = Asker { idc: &config.proxy.proxy_idc_name, share };
        let max_lag = self.section.max_replica_lag.0;
        let reading = Reading { policy: RoutePolicy::FollowerOnly, max_lag };
        let first = readers(&topology, &standing, asker, reading, now).into_iter().next()?;
        self.server(&topology.server(first)?.member.address).cloned()
    }

    /// The same for who looks whether it lives. Of that only the outcome counts, as detection: that
    /// somebody tries it keeps clients from one that has failed, and such a look comes often.
    pub async fn look_at(
        &self,
        server: &Arc<Server>,
        config: &Config,
        tls: Option<&Connector>,
        limit: Duration,
    ) -> Result<Greeted, BackendError> {
        server.reach(config, tls, &self.first_words(None), limit).await
    }

    /// What a server is told first of a connection that is made for this client, or for ourselves.
    pub(super) fn first_words(&self, route: Option<Route>) -> FirstWords {
        let header = match self.section.proxy_protocol {
            ProxyProtocol::Off => Vec::new(),
            ProxyProtocol::V1 => encode_v1(route),
            ProxyProtocol::V2 => encode_v2(route),
        };
        FirstWords { header, probe: None }
    }
}
