//! What is asked of [`route::decide`](crate::route::decide), for one session.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::config::{CausalReads, ProxySection, ReadWriteSplit, RoutePolicy as Configured};
use crate::proxy::cluster::Cluster;
use crate::proxy::in_force::InForce;
use crate::proxy::sessions::trace::Trace;
use crate::route::decide::{
    Consistency, Decision, Go, Kind, Link, Place, Policy, Question, Split, Statement, Transaction,
    Why, decide, targets,
};
use crate::route::order::{Asker, RoutePolicy};
use crate::route::topology::{Epoch, ServerId};
use crate::session::link::LinkId;
use crate::session::routing::{Command, Router, Standpoint};
use crate::sql::analysis::{Access, Analysis, Asks, Class, Consistency as Hinted};

/// Where the commands of one session go.
#[derive(Debug)]
pub(in crate::proxy) struct Rules {
    in_force: Arc<InForce>,
    cluster: Arc<str>,
    /// The session's number, so that sessions share replicas.
    share: u64,
    /// By their [`LinkId`]; None: a server that the cluster has no more.
    links: ArcSwap<Vec<Option<ServerId>>>,
    home_opened_in: Epoch,
    trace: Arc<Trace>,
}

impl Rules {
    /// Of a session of this cluster, whose home is opened now; None if nothing of it is split.
    pub(in crate::proxy) fn of(
        in_force: &Arc<InForce>,
        cluster: &Arc<str>,
        share: u64,
    ) -> Option<Self> {
        let config = in_force.config();
        let clusters = in_force.clusters();
        let found = clusters.find(cluster)?;
        if found.section().split(&config.proxy) == ReadWriteSplit::Off {
            return None;
        }
        Some(Self {
            in_force: in_force.clone(),
            cluster: cluster.clone(),
            share,
            links: ArcSwap::default(),
            home_opened_in: found.topology().epoch(),
            trace: Arc::default(),
        })
    }

    /// Where its statements went.
    pub(in crate::proxy) fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }

    /// A command goes over this link.
    pub(super) fn record(&self, command: &Command<'_>, decision: &Decision, link: LinkId) {
        self.kind(command).into_iter().for_each(|kind| self.trace_at(link, kind, decision.why));
    }

    /// A statement of this kind goes over this link.
    pub(super) fn trace_at(&self, link: LinkId, kind: Kind, why: Why) {
        let server = self.links.load().get(link.place()).copied().flatten();
        let server = server.and_then(|server| u16::try_from(server.0).ok()).unwrap_or(u16::MAX);
        self.trace.record(server, kind as u8, why as u8);
    }

    /// What a command does, if it is one that is decided on.
    pub(super) fn kind(&self, command: &Command<'_>) -> Option<Kind> {
        match command {
            Command::Text(analysis) => Some(kind(analysis)),
            Command::Other => None,
        }
    }

    /// Its cluster, as it is in force.
    pub(super) fn cluster(&self) -> Option<Arc<Cluster>> {
        self.in_force.clusters().find(&self.cluster).cloned()
    }

    /// The address of a server.
    pub(super) fn address(&self, server: ServerId) -> Option<Arc<str>> {
        let topology = self.cluster()?.topology();
        topology.server(server).map(|server| server.member.address.clone())
    }

    /// Whose writes a reader must have.
    pub(super) fn causal_reads(&self) -> CausalReads {
        self.cluster().map_or(CausalReads::Off, |cluster| cluster.section().causal_reads)
    }

    /// Where a command goes; None: nothing can be said of the session's links, so home.
    pub(super) fn decide(
        &self,
        command: &Command<'_>,
        standpoint: &Standpoint,
    ) -> Option<Decision> {
        let Command::Text(analysis) = command else { return None };
        let clusters = self.in_force.clusters();
        let cluster = clusters.find(&self.cluster)?;
        let topology = cluster.topology();
        let links = self.links.load();
        let of = |link: LinkId| links.get(link.place()).copied().flatten();
        let home = Link { server: of(LinkId::HOME)?, opened_in: self.home_opened_in };
        let transaction =
            standpoint.in_transaction.then_some(Transaction { on: home, has_written: true });
        let target = analysis.hints.target.and_then(|text| std::str::from_utf8(text).ok());
        let wanted: Vec<&str> = target.into_iter().flat_map(targets).collect();
        let statement = Statement {
            kind: kind(analysis),
            consistency: analysis.hints.consistency.map(|consistency| match consistency {
                Hinted::Weak => Consistency::Weak,
                Hinted::Strong => Consistency::Strong,
            }),
            wants_primary: analysis.hints.force_master,
            targets: &wanted,
        };
        let (now, config) = (Instant::now(), self.in_force.load());
        let question = Question {
            topology: &topology,
            standing: &|id| cluster.standing(&topology, id, now),
            now,
            asker: Asker { idc: &config.proxy.proxy_idc_name, share: self.share },
            policy: policy(cluster, &config.proxy),
            session: Place {
                home,
                last_used: of(standpoint.current).unwrap_or(home.server),
                is_pinned: standpoint.is_pinned,
                transaction,
                route_address: None,
            },
            statement,
        };
        Some(decide(&question))
    }

    /// Whether the reader that has the session's commands knows all that it has to.
    fn is_ready_to_read(&self, standpoint: &Standpoint) -> bool {
        let is_caught_up = match self.causal_reads() {
            CausalReads::Off => true,
            CausalReads::Session => !standpoint.has_written,
            CausalReads::Cluster => false,
        };
        is_caught_up && standpoint.told == Some(standpoint.version)
    }

    /// The server that the session's home is on.
    pub(super) fn home(&self) -> Option<ServerId> {
        self.links.load().first().copied().flatten()
    }

    /// The link to a server, if there is one.
    pub(super) fn link_to(&self, server: ServerId) -> Option<LinkId> {
        let links = self.links.load();
        links.iter().position(|link| *link == Some(server)).map(LinkId::at)
    }
}

impl Router for Rules {
    fn is_for_current(&self, command: &Command<'_>, standpoint: &Standpoint) -> bool {
        if matches!(command, Command::Text(analysis) if analysis.hints.explain_route) {
            return false;
        }
        let Some(decision) = self.decide(command, standpoint) else {
            return standpoint.current == LinkId::HOME;
        };
        let link = match decision.go {
            Go::Keep => LinkId::HOME,
            Go::Use(server) => match self.link_to(server) {
                Some(link) => link,
                None => return false,
            },
            Go::Refuse(_) => return false,
        };
        let is_ready = link == standpoint.current
            && (link == LinkId::HOME || self.is_ready_to_read(standpoint));
        if is_ready {
            self.record(command, &decision, link);
        }
        is_ready
    }

    fn handle_links(&self, servers: &[Arc<str>]) {
        let topology = self.cluster().map(|cluster| cluster.topology());
        let id = |address: &Arc<str>| topology.as_ref()?.at(address).map(|server| server.id());
        self.links.store(Arc::new(servers.iter().map(id).collect()));
    }
}

fn policy(cluster: &Cluster, proxy: &ProxySection) -> Policy {
    let section = cluster.section();
    Policy {
        split: match section.split(proxy) {
            ReadWriteSplit::Off => Split::Off,
            ReadWriteSplit::Weak => Split::Weak,
            ReadWriteSplit::On => Split::On,
        },
        // A transaction stays where it began.
        splits_transactions: false,
        route_policy: match section.route_policy {
            Configured::FollowerFirst => RoutePolicy::FollowerFirst,
            Configured::FollowerOnly => RoutePolicy::FollowerOnly,
        },
        max_replica_lag: section.max_replica_lag.0,
    }
}

/// What asks for more than the same data and the same session.
const OF_ONE_SERVER: Asks =
    Asks::ANYTHING.with(Asks::LAST_INSERT_ID).with(Asks::SEQUENCE).with(Asks::SERVER);

/// What a statement does, as far as it matters where it goes.
pub(super) fn kind(analysis: &Analysis<'_>) -> Kind {
    let asks_of_the_last = analysis.asks.intersects(Asks::DIAGNOSTICS);
    match analysis.class {
        Class::Read | Class::Show | Class::Select if asks_of_the_last => Kind::Diagnostics,
        Class::Read if !analysis.asks.intersects(OF_ONE_SERVER) => Kind::Read,
        Class::Diagnostics => Kind::Diagnostics,
        Class::Write => Kind::Write,
        Class::Begin { access: Access::ReadOnly | Access::ReadWrite | Access::Default, .. } => {
            Kind::Begin
        }
        Class::Commit(_) => Kind::Commit,
        Class::Rollback(_) => Kind::Rollback,
        Class::Set | Class::Use => Kind::Session,
        Class::Read
        | Class::Select
        | Class::LockingRead
        | Class::Ddl
        | Class::Savepoint
        | Class::Xa(_)
        | Class::Show
        | Class::Explain
        | Class::Prepare
        | Class::Execute
        | Class::Deallocate
        | Class::Call
        | Class::Do
        | Class::Handler
        | Class::Lock
        | Class::Admin
        | Class::Multi
        | Class::Compound
        | Class::Unknown => Kind::Other,
    }
}
