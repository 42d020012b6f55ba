//! Who is to be watched, and how.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::net::tls::settings::Connector;
use crate::proxy::accounts::credentials::Credentials;
use crate::proxy::cluster::{Cluster, Server};

/// How a cluster is watched.
#[derive(Clone, Debug)]
pub struct Detection {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The account; without one servers are only asked whether they live.
    pub credentials: Option<Arc<Credentials>>,
    /// From the start of a round to that of the next (ODP `server_detect_refresh_interval`).
    pub interval: Duration,
    /// How long a round may take (ODP `server_detect_timeout`).
    pub timeout: Duration,
}

/// How a server is watched.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) cluster: Arc<Cluster>,
    pub(super) server: Arc<Server>,
    pub(super) config: Arc<Config>,
    pub(super) tls: Option<Arc<Connector>>,
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Detection {
    /// How the config wants a cluster watched; None: not at all.
    pub fn of(cluster: &Arc<Cluster>, config: &Config) -> Option<Self> {
        let proxy = &config.proxy;
        let credentials = cluster.service().map(Arc::new);
        let is_wanted = credentials.is_some() || proxy.server_detect_mode != 0;
        is_wanted.then(|| Self {
            cluster: cluster.clone(),
            credentials,
            interval: proxy.server_detect_refresh_interval.0,
            timeout: proxy.server_detect_timeout.0,
        })
    }

    /// For one of its servers.
    pub(super) fn order(
        &self,
        server: &Arc<Server>,
        config: &Arc<Config>,
        tls: Option<&Arc<Connector>>,
    ) -> Order {
        Order {
            cluster: self.cluster.clone(),
            server: server.clone(),
            config: config.clone(),
            tls: tls.cloned(),
            credentials: self.credentials.clone(),
            interval: self.interval,
            timeout: self.timeout,
        }
    }
}
