//! What the admin port may see of clusters and servers: rows, no handles on live state.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Cluster;
use super::clusters::Clusters;
use crate::config::ClusterKind;
use crate::route::congestion::{self, Heard, Standing};
use crate::route::order::distance;
use crate::route::topology::{FoundRole, Lag, State};

/// One cluster as SHOW PROXYCLUSTER shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Which servers these are.
    pub kind: &'static str,
    /// Whether it takes who names no cluster.
    pub is_default: bool,
    /// The address of its primary; empty if none is known.
    pub primary: String,
    /// How often that has changed.
    pub epoch: u64,
    /// Addresses of its servers.
    pub servers: Vec<String>,
    /// Of them, those that new sessions may go to.
    pub online: usize,
}

/// The state of a server that is as it should be.
const ONLINE: &str = "online";

/// The state of one of which nothing was heard.
const UNKNOWN: &str = "unknown";

/// One server as SHOW PROXYROUTE shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerView {
    /// Its cluster.
    pub cluster: String,
    /// Its address.
    pub server: String,
    /// What it is, as far as is known: primary, replica or unknown.
    pub role: &'static str,
    /// As configured.
    pub idc: String,
    /// As configured.
    pub region: String,
    /// How near it is to clients of this proxy: see [`distance`].
    pub distance: u8,
    /// As configured.
    pub weight: u32,
    /// Whether work may come to it: online, unknown (the same, but this process has asked it
    /// nothing yet), suspect (it has failed, and not answered since), congested (it is on the black
    /// list), draining or lost.
    pub state: &'static str,
    /// How often its cluster's primary has changed.
    pub epoch: u64,
    /// How far it was behind when it was asked; None if that is not known.
    pub lag: Option<Duration>,
    /// Statements that read, of sessions on it, since this process serves.
    pub reads: u64,
    /// Those that write.
    pub writes: u64,
    /// What it last failed by.
    pub last_error: String,
}

impl ServerView {
    /// The same, when sessions have connections to it: it was heard, if by a predecessor.
    pub fn with_links(mut self, links: usize) -> Self {
        if links > 0 && self.state == UNKNOWN {
            self.state = ONLINE;
        }
        self
    }
}

impl Clusters {
    /// A row for each cluster.
    pub fn views(&self) -> Vec<ClusterView> {
        let view = |cluster: &Arc<Cluster>| {
            let topology = cluster.roster.topology();
            let servers = topology.servers();
            let primary = topology.primary().map(|server| server.member.address.to_string());
            ClusterView {
                name: cluster.name.to_string(),
                kind: match cluster.section.kind {
                    ClusterKind::Mysql => "mysql",
                    ClusterKind::Oceanbase => "oceanbase",
                },
                is_default: Arc::ptr_eq(cluster, self.default()),
                primary: primary.unwrap_or_default(),
                epoch: topology.epoch().0,
                servers: servers.iter().map(|it| it.member.address.to_string()).collect(),
                online: servers.iter().filter(|it| it.state() == State::Online).count(),
            }
        };
        self.iter().map(view).collect()
    }

    /// A row for each server of each cluster, for clients in this idc.
    pub fn server_views(&self, idc: &str) -> Vec<ServerView> {
        self.iter().flat_map(|cluster| cluster.server_views(idc)).collect()
    }
}

impl Cluster {
    fn server_views(&self, idc: &str) -> Vec<ServerView> {
        let (topology, now) = (self.roster.topology(), Instant::now());
        let view = |server: &Arc<super::Server>| {
            let found = topology.at(&server.address)?;
            Some(ServerView {
                cluster: self.name.to_string(),
                server: server.address.to_string(),
                role: match found.found {
                    FoundRole::Primary => "primary",
                    FoundRole::Replica => "replica",
                    FoundRole::Unknown => "unknown",
                },
                idc: found.member.idc.to_string(),
                region: found.member.region.to_string(),
                distance: distance(&topology, found, idc),
                weight: found.member.weight,
                state: match (found.state(), server.health.standing(now)) {
                    (State::Lost, _) => "lost",
                    (State::Draining, _) => "draining",
                    (State::Online, Standing::Congested) => "congested",
                    (State::Online, Standing::Suspect) => "suspect",
                    (State::Online, Standing::Good) => match server.health.heard() {
                        Heard::Failure => "suspect",
                        Heard::Nothing => UNKNOWN,
                        Heard::Answer => ONLINE,
                    },
                },
                epoch: topology.epoch().0,
                lag: match found.lag {
                    Lag::Behind { by, .. } => Some(by),
                    Lag::NotAsked | Lag::Unknown => None,
                },
                reads: server.counted.reads.load(Ordering::Relaxed),
                writes: server.counted.writes.load(Ordering::Relaxed),
                last_error: server.last_error(),
            })
        };
        self.servers.iter().filter_map(view).collect()
    }
}

/// One server as SHOW PROXYCONGESTION shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CongestionView {
    /// Its cluster.
    pub cluster: String,
    /// Its address.
    pub server: String,
    /// As configured.
    pub idc: String,
    /// As configured.
    pub region: String,
    /// As in [`ServerView`].
    pub state: &'static str,
    /// Whether it is on the black list, for whatever it was.
    pub is_congested: bool,
    /// What it has done.
    pub failures: congestion::View,
    /// When these instants are told.
    pub now: Instant,
}

impl Clusters {
    /// A row for each server of each cluster.
    pub fn congestion_views(&self) -> Vec<CongestionView> {
        let rows = |cluster: &Arc<Cluster>| {
            let cluster = cluster.clone();
            let views = cluster.server_views("");
            let row = move |view: ServerView| {
                let (server, now) = (cluster.server(&view.server)?, Instant::now());
                let (failures, standing) = server.health.view(now);
                let is_congested = standing == Standing::Congested;
                let ServerView { cluster, server, idc, region, state, .. } = view;
                Some(CongestionView {
                    cluster,
                    server,
                    idc,
                    region,
                    state,
                    is_congested,
                    failures,
                    now,
                })
            };
            views.into_iter().filter_map(row)
        };
        self.iter().flat_map(rows).collect()
    }
}
