//! All clusters: which one a client means, and what is said before it has told.
//!
//! A client names its cluster behind the greeting only. So it is greeted by the one that takes
//! whoever names none, in words that are true of every server known: its answer to that one's
//! challenge is thrown away when it means another.

use std::sync::Arc;
use std::time::Instant;

use super::preconnect::Challenge;
use super::server_login::Partings;
use super::{BackendError, Cluster};
use crate::config::{ClusterKind, ClusterSection, ClusterTenant, Config};
use crate::net::tls::settings::Connector;
use crate::proxy::cluster::loops::Trail;
use crate::route::name::{self, Defaults, Kind, Known, Tenant};
use crate::wire::handshake::Greeting;

/// Every cluster of a config.
#[derive(Debug)]
pub struct Clusters {
    all: Vec<Arc<Cluster>>,
    /// The place of the one that takes whoever names none.
    default: usize,
    names: Known,
    partings: Partings,
}

impl Clusters {
    /// Those of a config, with the servers of `before` that are still in them.
    pub fn new(config: &Config, before: Option<&Self>) -> Self {
        let partings = before.map(|before| before.partings.clone()).unwrap_or_default();
        let cluster = |section: &ClusterSection| {
            let known = before.and_then(|before| before.find(&section.name));
            Arc::new(Cluster::new(section, &config.proxy, known.map(Arc::as_ref), &partings))
        };
        let main = &config.main_cluster().name;
        Self {
            all: config.cluster.iter().map(cluster).collect(),
            default: config.cluster.iter().position(|it| it.name == *main).unwrap_or_default(),
            names: names(config),
            partings,
        }
    }

    /// What the names of users may name.
    pub fn names(&self) -> &Known {
        &self.names
    }

    /// The one that takes whoever names none.
    pub fn default(&self) -> &Arc<Cluster> {
        &self.all[self.default]
    }

    /// The one of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.all.iter().find(|cluster| *cluster.name == *name)
    }

    /// All of them, as configured.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.all.iter()
    }

    /// Every remembered greeting, by server address.
    pub fn greetings(&self) -> impl Iterator<Item = (String, Greeting)> {
        self.iter().flat_map(|cluster| cluster.greetings())
    }

    /// Remembers a greeting that a predecessor has heard.
    pub fn remember(&self, address: &str, greeting: &Greeting) {
        self.iter().for_each(|cluster| cluster.remember(address, greeting.clone()));
    }

    /// How often each cluster's primary has changed, and the last one.
    pub fn pasts(&self) -> impl Iterator<Item = (String, (u64, String))> {
        self.iter().map(|cluster| (cluster.name.to_string(), cluster.roster.past()))
    }

    /// Goes on counting where a predecessor was.
    pub fn inherit(&self, name: &str, (epoch, primary): &(u64, String)) {
        if let Some(cluster) = self.find(name) {
            cluster.roster.inherit(*epoch, primary);
        }
    }

    /// Waits until no connection is being ended any more; not for long.
    pub async fn parted(&self) {
        self.iter().for_each(|cluster| cluster.lobby.clear());
        self.partings.over().await;
    }

    /// What to greet a client with that has just come. See [`Cluster::challenge`]; one that cannot
    /// greet it does not close the door of the others.
    ///
    /// # Errors
    ///
    /// What the last server failed by, when none of any cluster was ever heard.
    pub async fn challenge(
        &self,
        config: &Arc<Config>,
        tls: Option<&Arc<Connector>>,
        trail: &Trail,
        until: Instant,
    ) -> Result<Challenge, Arc<BackendError>> {
        let others = self.all.len() - 1;
        // Time is left for whom the client may mean, and for others that may greet it.
        let parts = if others == 0 { 1 } else { 2 };
        let left = until.saturating_duration_since(Instant::now());
        let until = if others == 0 { until } else { until - left / 2 };
        let of_default = Instant::now() + until.saturating_duration_since(Instant::now()) / parts;
        let challenge = self.default().challenge(config, tls, trail, of_default).await;
        let mut challenge = match challenge {
            Ok(challenge) => challenge,
            Err(error) => {
                let known = self.iter().find_map(|cluster| cluster.greeting());
                let greeting = match known {
                    Some(greeting) => greeting,
                    None => self.introduce(config, tls, trail, until).await.ok_or(error)?,
                };
                Challenge { greeting, place: None }
            }
        };
        if others > 0 {
            self.iter().for_each(|cluster| cluster.limit(&mut challenge.greeting));
        }
        Ok(challenge)
    }

    /// What a server of any cluster says that is not the default one; None if none says anything.
    async fn introduce(
        &self,
        config: &Config,
        tls: Option<&Arc<Connector>>,
        trail: &Trail,
        until: Instant,
    ) -> Option<Greeting> {
        let others = self.iter().filter(|cluster| !Arc::ptr_eq(cluster, self.default()));
        let mut left = self.all.len() as u32;
        for cluster in others {
            // The default one had half of the time, and each of these gets its part of the rest.
            left -= 1;
            let now = Instant::now();
            let until = now + until.saturating_duration_since(now) / left;
            let heard = cluster.introduce(config, tls.map(Arc::as_ref), trail, until).await;
            if let Ok(greeting) = heard {
                return Some(greeting);
            }
        }
        None
    }
}

/// What the names of users may name.
fn names(config: &Config) -> Known {
    let tenant = |tenant: &ClusterTenant| Tenant {
        name: tenant.name.clone(),
        user: tenant.user.to_string(),
        database: tenant.database.clone(),
    };
    let cluster = |section: &ClusterSection| name::Cluster {
        name: section.name.clone(),
        kind: match section.kind {
            ClusterKind::Mysql => Kind::Mysql,
            ClusterKind::Oceanbase => Kind::Oceanbase,
        },
        tenants: section.tenant.iter().map(tenant).collect(),
    };
    let mut all = config.cluster.iter().map(cluster);
    let first = all.next().expect("a parsed config has a cluster");
    let proxy = &config.proxy;
    let (cluster, tenant) = (proxy.default_cluster.clone(), proxy.default_tenant.clone());
    let defaults = Defaults { cluster, tenant };
    let separators: String = proxy.username_separator.chars().iter().collect();
    Known::new(first, all.collect(), defaults, &separators)
}
