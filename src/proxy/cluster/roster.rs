//! What is known of a cluster's servers beside their health: roles, lag, which is the primary, and
//! how often that has changed. Told by the config and by who asks the servers; it outlives both.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::config::{ClusterSection, ServerRole, ServerSection};
use crate::lock::lock;
use crate::route::roles::{History, Observation, Roles, Step};
use crate::route::topology::{ConfiguredRole, Epoch, Member, ServerId, Topology};

/// The servers of one cluster, as far as their roles go.
#[derive(Debug)]
pub(super) struct Roster {
    name: Arc<str>,
    known: Mutex<Known>,
    topology: ArcSwap<Topology>,
}

#[derive(Debug)]
struct Known {
    /// Each address that was ever configured.
    ids: HashMap<Arc<str>, ServerId>,
    roles: Roles,
    /// Who was asked at least once.
    asked: HashSet<ServerId>,
    /// What those have answered before all were.
    held: Vec<(ServerId, Observation)>,
}

impl Roster {
    /// Of a cluster of which nothing is known.
    pub(super) fn new(name: &str) -> Self {
        let known = Known {
            ids: HashMap::new(),
            roles: Roles::new(History::default()),
            asked: HashSet::new(),
            held: Vec::new(),
        };
        Self {
            name: name.into(),
            known: Mutex::new(known),
            topology: ArcSwap::from_pointee(Topology::default()),
        }
    }

    /// The servers as they are now.
    pub(super) fn topology(&self) -> Arc<Topology> {
        self.topology.load_full()
    }

    /// Takes what the config says.
    pub(super) fn configure(&self, section: &ClusterSection) {
        let mut known = lock(&self.known);
        let members: Vec<_> = section.server.iter().map(|it| known.member(it)).collect();
        let mut step = known.roles.configure(members.clone());
        for (member, server) in members.iter().zip(&section.server) {
            step = match server.draining {
                true => known.roles.drain(member.id),
                false => known.roles.online(member.id),
            };
        }
        self.publish(&known, step);
    }

    /// Takes what a server has answered; None: nothing that tells what it is.
    ///
    /// Before each has been asked nothing is made of it: the first to answer would be the primary.
    pub(super) fn observe(&self, address: &Arc<str>, observation: Option<Observation>) {
        let mut known = lock(&self.known);
        let Some(id) = known.ids.get(address).copied() else { return };
        known.asked.insert(id);
        known.held.extend(observation.map(|observation| (id, observation)));
        let topology = self.topology.load();
        if topology.servers().iter().all(|server| known.asked.contains(&server.id())) {
            let round = std::mem::take(&mut known.held);
            let step = known.roles.observe(round);
            self.publish(&known, step);
        }
    }

    /// Whether a server has said since then what it is.
    pub(super) fn has_said(&self, server: ServerId, since: Instant) -> bool {
        lock(&self.known).roles.said_at(server).is_some_and(|at| at > since)
    }

    /// How often the primary has changed, and the last one's address; empty if there never was one.
    pub(super) fn past(&self) -> (u64, String) {
        let known = lock(&self.known);
        let History { epoch, primary } = known.roles.history();
        let address = primary.and_then(|id| known.ids.iter().find(|(_, known)| **known == id));
        (epoch.0, address.map(|(address, _)| address.to_string()).unwrap_or_default())
    }

    /// Goes on counting where a predecessor was.
    pub(super) fn inherit(&self, epoch: u64, primary: &str) {
        let mut known = lock(&self.known);
        let primary = (!primary.is_empty()).then(|| known.id(primary.into()));
        let step = known.roles.inherit(History { epoch: Epoch(epoch), primary });
        self.publish(&known, step);
    }

    /// `_known`: the lock, so that no older topology is stored behind a newer one.
    fn publish(&self, _known: &Known, step: Step) {
        let before = self.topology.load();
        let (cluster, topology) = (&*self.name, &step.topology);
        if step.is_new_epoch {
            let primary = topology.primary().map(|primary| &*primary.member.address);
            tracing::info!(cluster, primary, epoch = topology.epoch().0, "primary");
        } else if before.primary().is_some() && topology.primary().is_none() {
            tracing::warn!(cluster, "no server takes writes");
        }
        for rival in &step.rivals {
            // Once, and not each time that it is asked.
            let found = |of: &Topology| of.server(*rival).map(|server| server.found);
            if found(&before) != found(topology)
                && let Some(server) = topology.server(*rival)
            {
                let server = &*server.member.address;
                tracing::warn!(cluster, server, "takes writes beside the primary: not used");
            }
        }
        self.topology.store(step.topology);
    }
}

impl Known {
    fn member(&mut self, section: &ServerSection) -> Member {
        let address: Arc<str> = section.address.to_string().into();
        Member {
            id: self.id(address.clone()),
            address,
            role: match section.role {
                ServerRole::Auto => ConfiguredRole::Auto,
                ServerRole::Primary => ConfiguredRole::Primary,
                ServerRole::Replica => ConfiguredRole::Replica,
            },
            idc: section.idc.as_str().into(),
            region: section.region.as_str().into(),
            weight: section.weight,
        }
    }

    fn id(&mut self, address: Arc<str>) -> ServerId {
        let next = ServerId(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        *self.ids.entry(address).or_insert(next)
    }
}
