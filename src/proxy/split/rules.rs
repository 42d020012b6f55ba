//! What is asked of [`route::decide`](crate::route::decide), for one session.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::config::{CausalReads, ProxySection, ReadWriteSplit, RoutePolicy as Configured};
use crate::proxy::cluster::{Cluster, Server};
use crate::proxy::in_force::InForce;
use crate::proxy::moves::Shared;
use crate::proxy::sessions::trace::Trace;
use crate::proxy::sessions::wait_timeout::seconds;
use crate::route::decide::{
    Consistency, Decision, Go, Kind, Link, Place, Policy, Question, Refusal, Split, Statement,
    Transaction, Why, decide, targets,
};
use crate::route::order::{Asker, RoutePolicy};
use crate::route::topology::{Epoch, ServerId, Topology};
use crate::session::link::LinkId;
use crate::session::routing::{Command, Router, Standpoint};
use crate::session::transaction::{Joined, looks_at_data};
use crate::session::wishes::Wishes;
use crate::sql::analysis::{Access, Analysis, Asks, Changes, Class, Consistency as Hinted};
use crate::wire::flavour::Flavour;

/// Where the commands of one session go.
#[derive(Debug)]
pub(in crate::proxy) struct Rules {
    shared: Arc<Shared>,
    cluster: Arc<str>,
    /// The session's number, so that sessions share replicas.
    share: u64,
    links: ArcSwap<Links>,
    trace: Arc<Trace>,
}

/// The servers of a session's links.
#[derive(Debug, Default)]
struct Links {
    /// By their [`LinkId`]; None: a server that the cluster has no more.
    servers: Vec<Option<ServerId>>,
    /// Likewise: who counts what is read there.
    counting: Vec<Option<Arc<Server>>>,
    /// When the home's was opened.
    home_opened_in: Epoch,
}

impl Links {
    fn server(&self, link: LinkId) -> Option<ServerId> {
        self.servers.get(link.place()).copied().flatten()
    }
}

/// What is to be done with a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Goes {
    /// It goes to this link as it is: the home, or who knows how the last statements went.
    To(LinkId),
    /// It reads, on this server once that is ready.
    Reader(ServerId),
    /// It ends what the connection with this id does, on this server.
    Kill(u64, ServerId),
    /// It begins a transaction that reads on this server.
    Joined(ServerId),
    /// It goes home, which is on this server from then on.
    NewHome(ServerId),
    /// It goes nowhere.
    Refused(Refusal),
}

impl Rules {
    /// Of a session of this cluster, whose home is opened now.
    pub(in crate::proxy) fn of(shared: &Arc<Shared>, cluster: &Arc<str>, share: u64) -> Self {
        Self {
            shared: shared.clone(),
            cluster: cluster.clone(),
            share,
            links: ArcSwap::default(),
            trace: Arc::default(),
        }
    }

    /// Whether the home of a session is where its cluster's writes went under an earlier primary.
    pub(in crate::proxy) fn is_left_behind(in_force: &InForce, cluster: &str, home: &str) -> bool {
        let topology = in_force.clusters().find(cluster).map(|cluster| cluster.topology());
        topology.is_some_and(|topology| {
            let home = topology.at(home).is_some_and(|home| topology.may_be_home(home));
            topology.epoch() > FIRST && topology.primary().is_some() && !home
        })
    }

    /// What its session has in common with all others.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Where its statements went.
    pub(in crate::proxy) fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }

    /// The session's `wait_timeout`, in this version of its state.
    pub(super) fn note_wait_timeout(&self, digits: &[u8], version: u32) {
        if let Some(seconds) = seconds(digits) {
            self.trace.vigil().set_timeout(seconds, version);
        }
    }

    /// A command goes over this link.
    pub(super) fn record(&self, command: &Command<'_>, why: Option<Why>, link: LinkId) {
        if link == LinkId::HOME {
            self.trace.vigil().handle_use();
        }
        let (Some(kind), Some(why)) = (self.kind(command), why) else { return };
        self.trace_at(link, kind, why);
        if kind == Kind::Read && link != LinkId::HOME {
            let links = self.links.load();
            let server = links.counting.get(link.place()).and_then(Option::as_ref);
            server.inspect(|server| server.count_read());
            if matches!(command, Command::Text(_)) {
                self.trace.count_elsewhere();
            }
        }
    }

    /// A statement of this kind goes over this link.
    pub(super) fn trace_at(&self, link: LinkId, kind: Kind, why: Why) {
        let server = self.links.load().server(link);
        let server = server.and_then(|server| u16::try_from(server.0).ok()).unwrap_or(u16::MAX);
        self.trace.record(server, kind as u8, why as u8);
    }

    /// What a command does, if it is one that is decided on.
    pub(super) fn kind(&self, command: &Command<'_>) -> Option<Kind> {
        match command {
            Command::Text(analysis) => Some(kind(analysis)),
            Command::Execute { analysis, .. } => Some(match kind(analysis) {
                told @ (Kind::Read | Kind::Commit | Kind::Rollback) => told,
                _ => Kind::Other,
            }),
            Command::Kill(..) | Command::Write => Some(Kind::Other),
            Command::Ping | Command::Close | Command::Reset { .. } | Command::Other => None,
        }
    }

    /// Its cluster, as it is in force.
    pub(super) fn cluster(&self) -> Option<Arc<Cluster>> {
        self.shared.in_force.clusters().find(&self.cluster).cloned()
    }

    /// The address of a server.
    pub(super) fn address(&self, server: ServerId) -> Option<Arc<str>> {
        let topology = self.cluster()?.topology();
        topology.server(server).map(|server| server.member.address.clone())
    }

    /// Whose writes a reader must have.
    pub(super) fn causal_reads(&self) -> CausalReads {
        let clusters = self.shared.in_force.clusters();
        let cluster = clusters.find(&self.cluster);
        cluster.map_or(CausalReads::Off, |cluster| cluster.section().causal_reads)
    }

    /// Where a command goes; None: nothing can be said of the session's links, so home.
    pub(super) fn decide(
        &self,
        command: &Command<'_>,
        standpoint: &Standpoint<'_>,
    ) -> Option<Decision> {
        let kind = self.kind_here(command, standpoint)?;
        let (hints, asks) = match command {
            Command::Text(analysis) | Command::Execute { analysis, .. } => {
                (analysis.hints, analysis.asks)
            }
            Command::Kill(_, hints) => (*hints, Asks::default()),
            Command::Ping
            | Command::Close
            | Command::Reset { .. }
            | Command::Write
            | Command::Other => Default::default(),
        };
        let clusters = self.shared.in_force.clusters();
        let cluster = clusters.find(&self.cluster)?;
        let topology = cluster.topology();
        let links = self.links.load();
        let of = |link: LinkId| links.server(link);
        let home = Link { server: of(LinkId::HOME)?, opened_in: links.home_opened_in };
        let transaction = standpoint.in_transaction.then(|| {
            let joined = standpoint.transaction.joined().and_then(|joined| of(joined.link()));
            transaction(home, joined, standpoint, &topology)
        });
        let last_used = standpoint.asked_at.who_knows(asks).and_then(of);
        // A transaction that is begun by being read in is the home's.
        let is_free = !standpoint.begins_by_itself;
        let target =
            hints.target.filter(|_| is_free).and_then(|text| std::str::from_utf8(text).ok());
        let wanted: Vec<&str> = target.into_iter().flat_map(targets).collect();
        let wishes = standpoint.wishes;
        let consistency = hints.consistency.or_else(|| wishes.and_then(Wishes::consistency));
        let statement = Statement {
            kind,
            consistency: consistency.map(|consistency| match consistency {
                Hinted::Weak => Consistency::Weak,
                Hinted::Strong => Consistency::Strong,
            }),
            wants_primary: hints.force_master,
            targets: &wanted,
        };
        let (now, config) = (Instant::now(), self.shared.in_force.load());
        let idc = wishes.and_then(Wishes::idc).unwrap_or(&config.proxy.proxy_idc_name);
        let question = Question {
            topology: &topology,
            standing: &|id| cluster.standing(&topology, id, now),
            now,
            asker: Asker { idc, share: self.share },
            policy: policy(cluster, &config.proxy),
            session: Place {
                home,
                last_used: last_used.unwrap_or(home.server),
                is_pinned: standpoint.is_pinned,
                transaction,
                route_address: wishes.and_then(Wishes::route_address).filter(|_| is_free),
            },
            statement,
        };
        Some(decide(&question))
    }

    /// What a command does as things are.
    fn kind_here(&self, command: &Command<'_>, standpoint: &Standpoint<'_>) -> Option<Kind> {
        let begins = standpoint.begins_by_itself;
        Some(match self.kind(command)? {
            // Reads that are the home's: of what the server there keeps for itself, or in a
            // transaction that they would begin.
            Kind::Read if begins || standpoint.is_in_own_schema => Kind::Other,
            Kind::Read if self.keeps_types(command, standpoint) => Kind::Other,
            Kind::BeginReadOnly if begins || standpoint.transaction.stays_home() => Kind::Begin,
            kind => kind,
        })
    }

    /// MySQL tells of a user variable the type that it had when the statement was prepared, which
    /// another server has not seen. Who reads there already goes on to.
    fn keeps_types(&self, command: &Command<'_>, standpoint: &Standpoint<'_>) -> bool {
        let Command::Execute { analysis, .. } = command else { return false };
        let is_joined = standpoint.transaction.joined().is_some();
        analysis.asks.intersects(Asks::USER_VARIABLES) && !is_joined && !self.is_mariadb()
    }

    /// What is to be done with a command, and why, if that was decided.
    pub(super) fn goes(
        &self,
        command: &Command<'_>,
        standpoint: &Standpoint<'_>,
    ) -> (Goes, Option<Why>) {
        let decision = self.decide(command, standpoint);
        let why = decision.as_ref().map(|decision| decision.why);
        let goes = match (command, decision) {
            _ if self.is_of_another_time(command, standpoint) => Goes::Refused(Refusal::OtherTime),
            // It keeps the warnings of the statement before it, and is counted by ROW_COUNT().
            (Command::Ping, _) => Goes::To(standpoint.asked_at.row_count),
            (Command::Text(analysis), _) if self.kind(command) == Some(Kind::Diagnostics) => {
                self.to_who_knows(analysis, standpoint)
            }
            (Command::Kill(id, _), decision) => {
                self.to_connection(*id, command, decision, standpoint)
            }
            _ if self.is_known_elsewhere(command, standpoint) => Goes::Refused(Refusal::Scattered),
            (_, Some(decision)) => self.as_decided(command, decision, standpoint),
            (_, None) => Goes::To(LinkId::HOME),
        };
        (goes, why)
    }

    fn as_decided(
        &self,
        command: &Command<'_>,
        decision: Decision,
        standpoint: &Standpoint<'_>,
    ) -> Goes {
        let kind = self.kind(command);
        let is_read = kind == Some(Kind::Read) || only_looks(command);
        let is_begin = kind == Some(Kind::BeginReadOnly);
        match (decision.go, decision.why) {
            (Go::Keep, Why::Reader) => {
                self.primary_to_read_on(standpoint).map_or(Goes::To(LinkId::HOME), Goes::NewHome)
            }
            (Go::Keep, _) => Goes::To(LinkId::HOME),
            // It is not surely read from data, but surely writes none.
            (Go::Refuse(Refusal::Fenced), _) if is_read => Goes::To(LinkId::HOME),
            (Go::Refuse(why), _) => Goes::Refused(why),
            (Go::Use(server), Why::Reader | Why::SplitTransaction | Why::Transaction)
                if is_read =>
            {
                Goes::Reader(server)
            }
            (Go::Use(server), Why::Diagnostics) => {
                Goes::To(self.link_to(server).unwrap_or(LinkId::HOME))
            }
            (Go::Use(server), Why::Reader) if is_begin => Goes::Joined(server),
            (Go::Use(server), _) if self.is_primary(server) => Goes::NewHome(server),
            (Go::Use(server), _) if is_begin => Goes::Joined(server),
            (Go::Use(server), _) if is_read => Goes::Reader(server),
            // What it would change there would be lost.
            (Go::Use(server), _) => {
                let address = self.address(server).unwrap_or_default();
                Goes::Refused(Refusal::NotPrimary(address.to_string()))
            }
        }
    }

    /// Who ends what a connection does goes to the server that does it; with a hint, the id is of
    /// the server that the hint names.
    fn to_connection(
        &self,
        id: u64,
        command: &Command<'_>,
        decision: Option<Decision>,
        standpoint: &Standpoint<'_>,
    ) -> Goes {
        let hinted = match &decision {
            Some(Decision { go: Go::Use(server), why: Why::TargetHint }) => Some(*server),
            _ => None,
        };
        let at_work = || {
            let home = self.home().and_then(|home| self.address(home))?;
            let named = self.shared.sessions.registry.find_named(id, &home)?;
            // Who ends itself does so by its home.
            let named = Some(named).filter(|named| u64::from(named.id.0) != self.share)?;
            let reader = named.facts().reader.clone()?;
            self.cluster()?.topology().at(&reader.server).map(|server| server.id())
        };
        let server = hinted.or_else(at_work).filter(|server| Some(*server) != self.home());
        let Some(server) = server.filter(|server| !self.is_primary(*server)) else {
            let as_decided = |it| self.as_decided(command, it, standpoint);
            return decision.map_or(Goes::To(LinkId::HOME), as_decided);
        };
        // It would be told of no transaction, or of autocommit.
        match standpoint.in_transaction || standpoint.begins_by_itself {
            true => Goes::Refused(self.cannot_follow(server)),
            false => Goes::Kill(id, server),
        }
    }

    /// A KILL does not reach the server that it is for.
    pub(super) fn cannot_follow(&self, server: ServerId) -> Refusal {
        Refusal::CannotFollow(self.address(server).unwrap_or_default().to_string())
    }

    /// The session that this names, and is to be killed.
    pub(super) fn note_killed(&self, id: u64) {
        let home = self.home().and_then(|home| self.address(home)).unwrap_or_default();
        if let Some(handle) = self.shared.sessions.registry.find_named(id, &home) {
            handle.note_killed();
        }
    }

    /// Whether a command may write.
    pub(super) fn may_write(&self, command: &Command<'_>) -> bool {
        match self.kind(command) {
            Some(Kind::Write | Kind::Other | Kind::Begin) => !only_looks(command),
            Some(
                Kind::Read
                | Kind::Session
                | Kind::BeginReadOnly
                | Kind::Commit
                | Kind::Rollback
                | Kind::Diagnostics,
            )
            | None => false,
        }
    }

    /// Whether the reader that has the session's commands knows all that it has to.
    pub(super) fn is_ready_to_read(&self, standpoint: &Standpoint<'_>) -> bool {
        let Standpoint { knows, version, writes, .. } = *standpoint;
        let joined = standpoint.transaction.joined().map(Joined::link);
        let is_caught_up = match self.causal_reads() {
            // In a transaction its data are of the time of its first read.
            _ if standpoint.in_transaction => joined == Some(standpoint.current),
            CausalReads::Off => true,
            CausalReads::Session => writes == 0 || knows.has == Some(writes),
            CausalReads::Cluster => false,
        };
        is_caught_up && knows.told == Some(version) && !knows.is_of_another_user
    }

    /// What kind of server the home is.
    pub(super) fn flavour(&self) -> Option<Flavour> {
        let home = self.home().and_then(|home| self.address(home));
        let version = home.and_then(|home| self.cluster()?.version_of(&home));
        version.map(|version| Flavour::of(&version))
    }

    /// Whether the home is a MariaDB.
    pub(super) fn is_mariadb(&self) -> bool {
        self.flavour().is_some_and(Flavour::is_mariadb)
    }

    /// The primary, if a home that is the replica to read from is to go there first: what a reader
    /// has is waited for, what a home has is not.
    fn primary_to_read_on(&self, standpoint: &Standpoint<'_>) -> Option<ServerId> {
        let waits = match self.causal_reads() {
            CausalReads::Off => false,
            CausalReads::Session => standpoint.writes > 0,
            CausalReads::Cluster => true,
        };
        let topology = self.cluster()?.topology();
        let primary = topology.primary().filter(|primary| waits && !primary.is_lost)?;
        Some(primary.id()).filter(|primary| Some(*primary) != self.home())
    }

    fn is_primary(&self, server: ServerId) -> bool {
        let topology = self.cluster().map(|cluster| cluster.topology());
        topology.is_some_and(|it| it.primary().is_some_and(|primary| primary.id() == server))
    }

    /// The server that the session's home is on.
    pub(super) fn home(&self) -> Option<ServerId> {
        self.links.load().server(LinkId::HOME)
    }

    /// Whether the home's server has said since then that it takes writes.
    pub(super) fn takes_writes(&self, since: Instant) -> bool {
        let (Some(home), Some(cluster)) = (self.home(), self.cluster()) else { return false };
        self.is_primary(home) && cluster.has_said(home, since)
    }

    /// The cluster's servers are to be asked what they are.
    pub(super) fn ask_now(&self) {
        self.shared.in_force.ask_now(&self.cluster);
    }

    /// The link to a server, if there is one.
    pub(super) fn link_to(&self, server: ServerId) -> Option<LinkId> {
        let links = self.links.load();
        links.servers.iter().position(|link| *link == Some(server)).map(LinkId::at)
    }
}

/// Transactions that readers have joined.
impl Rules {
    /// Whether a command of a session goes to the reader that has joined its transaction.
    fn is_the_readers(&self, command: &Command<'_>, standpoint: &Standpoint<'_>) -> bool {
        let Standpoint { is_pinned, begins_by_itself, is_in_own_schema, .. } = *standpoint;
        let is_own = is_pinned || begins_by_itself || is_in_own_schema;
        self.kind(command) == Some(Kind::Read) && !is_own
    }

    /// Whether a command looks at data at home.
    fn looks_at_home(&self, command: &Command<'_>, standpoint: &Standpoint<'_>) -> bool {
        let looks = match command {
            Command::Text(analysis) => looks_at_data(analysis.class, analysis.asks),
            Command::Execute { analysis, .. } => {
                !matches!(analysis.class, Class::Commit(_) | Class::Rollback(_))
            }
            Command::Write => true,
            Command::Kill(..)
            | Command::Ping
            | Command::Close
            | Command::Reset { .. }
            | Command::Other => false,
        };
        let asks_the_last = self.kind(command) == Some(Kind::Diagnostics);
        looks && !asks_the_last && !self.is_the_readers(command, standpoint)
    }

    /// Whether a command's answer would have to be of the time of which the reader's data are, in a
    /// transaction that only reads.
    fn is_of_another_time(&self, command: &Command<'_>, standpoint: &Standpoint<'_>) -> bool {
        let (transaction, is_open) = (standpoint.transaction, standpoint.in_transaction);
        if is_open && transaction.is_torn() {
            let is_readers = self.is_the_readers(command, standpoint);
            return is_readers || self.looks_at_home(command, standpoint);
        }
        let joined = transaction.joined().filter(|_| is_open);
        let Some(joined) = joined.filter(|it| it.is_read_only && it.has_read) else { return false };
        // Its server may not be the cluster's any more.
        let is_dropped = self.links.load().server(joined.link()).is_none();
        let is_lost = is_dropped && self.is_the_readers(command, standpoint);
        is_lost || self.looks_at_home(command, standpoint)
    }

    /// Whether the reader that has joined has to part before a command.
    pub(super) fn parts(&self, command: &Command<'_>, standpoint: &Standpoint<'_>) -> bool {
        let Some(joined) = standpoint.transaction.joined() else { return false };
        if !standpoint.in_transaction {
            return true;
        }
        if self.is_of_another_time(command, standpoint) {
            return false;
        }
        let may_end = match command {
            Command::Text(Analysis { class, changes, .. })
            | Command::Execute { analysis: Analysis { class, changes, .. }, .. } => {
                changes.intersects(Changes::TRANSACTION | Changes::ANYTHING | Changes::CALLED)
                    && *class != Class::Savepoint
            }
            Command::Reset { .. } => true,
            Command::Kill(..)
            | Command::Write
            | Command::Ping
            | Command::Close
            | Command::Other => false,
        };
        let is_first_write = self.kind(command) == Some(Kind::Write) && !joined.is_read_only;
        may_end || is_first_write || self.looks_at_home(command, standpoint)
    }
}

impl Router for Rules {
    fn is_for_current(&self, command: &Command<'_>, standpoint: &Standpoint<'_>) -> bool {
        let current = standpoint.current;
        let is_taken_here = match command {
            Command::Text(analysis) => !analysis.hints.explain_route,
            Command::Execute { at, .. } => *at & current.bit() != 0 || current == LinkId::HOME,
            Command::Close => false,
            Command::Reset { has_copies } => !has_copies,
            Command::Kill(..) | Command::Ping | Command::Write | Command::Other => true,
        };
        let may_find = self.may_find_at_home(command, standpoint);
        if !is_taken_here || may_find || self.parts(command, standpoint) {
            return false;
        }
        let (goes, why) = self.goes(command, standpoint);
        let is_for_current = match goes {
            Goes::To(link) => link == current,
            Goes::Reader(server) => {
                self.links.load().server(current) == Some(server)
                    && current != LinkId::HOME
                    && self.is_ready_to_read(standpoint)
            }
            Goes::Kill(..) | Goes::Joined(_) | Goes::NewHome(_) | Goes::Refused(_) => false,
        };
        if is_for_current {
            self.record(command, why, current);
        }
        is_for_current
    }

    fn handle_links(&self, servers: &[Arc<str>]) {
        let Some(cluster) = self.cluster() else { return self.links.store(Arc::default()) };
        let topology = cluster.topology();
        let counting = servers.iter().map(|address| cluster.server(address).cloned()).collect();
        let id = |address: &Arc<str>| topology.at(address).map(|server| server.id());
        let servers: Vec<_> = servers.iter().map(id).collect();
        let (before, home) = (self.links.load(), servers.first().copied().flatten());
        let is_primary = topology.primary().is_none_or(|primary| Some(primary.id()) == home);
        let home_opened_in = match (before.server(LinkId::HOME) == home, is_primary) {
            (true, _) => before.home_opened_in,
            (false, true) => topology.epoch(),
            // Since when it is not the primary any more is not known.
            (false, false) => Epoch(topology.epoch().0.saturating_sub(1)),
        };
        self.links.store(Arc::new(Links { servers, counting, home_opened_in }));
    }
}

/// The epoch of the first primary that was ever known.
const FIRST: Epoch = Epoch(1);

/// The open transaction; `joined`: the server of the reader that has joined it.
fn transaction(
    home: Link,
    joined: Option<ServerId>,
    standpoint: &Standpoint<'_>,
    topology: &Topology,
) -> Transaction {
    let on = joined.map(|server| Link { server, opened_in: topology.epoch() });
    let may_split = on.is_some() || standpoint.transaction.may_be_joined();
    Transaction { on: on.unwrap_or(home), has_written: !may_split }
}

fn policy(cluster: &Cluster, proxy: &ProxySection) -> Policy {
    let section = cluster.section();
    Policy {
        split: match section.split(proxy) {
            ReadWriteSplit::Off => Split::Off,
            ReadWriteSplit::Weak => Split::Weak,
            ReadWriteSplit::On => Split::On,
        },
        splits_transactions: section.transaction_split,
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

/// What asks how the last statements went, and nothing else.
pub(super) const HOW_IT_WENT: Asks =
    Asks::DIAGNOSTICS.with(Asks::WARNINGS).with(Asks::ROW_COUNT).with(Asks::FOUND_ROWS);

/// What a reader has that was told all and waited for.
pub(super) const OF_TABLES_AND_SESSION: Asks =
    Asks::TABLES.with(Asks::USER_VARIABLES).with(Asks::VARIABLES).with(Asks::RANDOM);

/// Whether a command that is the home's asks its server for no more than another one can tell, of
/// itself: who names that server wants to hear it.
fn only_looks(command: &Command<'_>) -> bool {
    let Command::Text(Analysis { class, changes, asks, .. }) = command else { return false };
    matches!(class, Class::Select | Class::Show | Class::Explain)
        && changes.without(Changes::DIAGNOSTICS).is_empty()
        && asks.without(OF_TABLES_AND_SESSION | Asks::SERVER).is_empty()
}

/// What a statement does, as far as it matters where it goes.
pub(super) fn kind(analysis: &Analysis<'_>) -> Kind {
    let asks = analysis.asks;
    let asks_of_the_last = asks.intersects(Asks::DIAGNOSTICS) && !asks.intersects(Asks::ANYTHING);
    match analysis.class {
        Class::Read | Class::Show | Class::Select if asks_of_the_last => Kind::Diagnostics,
        // Without tables there is nothing to be had elsewhere, and the warnings of the statement
        // before it stay.
        Class::Read if !asks.intersects(Asks::TABLES) && analysis.hints.target.is_none() => {
            Kind::Session
        }
        Class::Read if !analysis.asks.intersects(OF_ONE_SERVER) => Kind::Read,
        Class::Diagnostics => Kind::Diagnostics,
        Class::Write => Kind::Write,
        Class::Begin { access: Access::ReadOnly, .. } => Kind::BeginReadOnly,
        Class::Begin { access: Access::ReadWrite | Access::Default, .. } => Kind::Begin,
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
