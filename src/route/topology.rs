//! The servers of a cluster as a decision sees them. Immutable: whoever changes something makes a
//! new one ([`super::roles`]), so that one decision sees one state.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server of a cluster. It stays with its address as long as the process lives; another process
/// is told the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u32);

/// How often the primary of a cluster has changed; zero while none was ever known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// What the config says that a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfiguredRole {
    /// It is asked.
    #[default]
    Auto,
    /// The primary, unless it says otherwise.
    Primary,
    /// Never the primary, whatever it says.
    Replica,
}

/// What a server is, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FoundRole {
    /// The one that takes the writes.
    Primary,
    /// It has what the primary has, sooner or later.
    Replica,
    /// It was not asked, is of no use at present, or takes writes beside the primary, so that
    /// nobody knows what it has.
    #[default]
    Unknown,
}

/// Whether new work may come to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may.
    Online,
    /// An operator wants it empty.
    Draining,
    /// It does not answer.
    Lost,
}

/// How far a replica is behind its primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lag {
    /// It was not asked: who states roles by hand and has no service account takes what it has.
    #[default]
    NotAsked,
    /// It was asked and does not know: its replication is stopped.
    Unknown,
    /// It was so far behind.
    Behind {
        /// So far.
        by: Duration,
        /// Then.
        known_at: Instant,
    },
}

/// A server as the config has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which one.
    pub id: ServerId,
    /// `host:port` as configured.
    pub address: Arc<str>,
    /// Its `role`.
    pub role: ConfiguredRole,
    /// Its `idc`; empty if not said.
    pub idc: Arc<str>,
    /// Its `region`; empty if not said.
    pub region: Arc<str>,
    /// Its `weight` among equals.
    pub weight: u32,
}

/// A server at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What the config says.
    pub member: Member,
    /// What it was found to be.
    pub found: FoundRole,
    /// Whether it takes writes as others beside it do that agree with each other: a node of Galera,
    /// a member of a group with several primaries.
    pub is_peer: bool,
    /// Whether an operator wants it empty.
    pub is_draining: bool,
    /// Whether it does not answer.
    pub is_lost: bool,
    /// How far it is behind.
    pub lag: Lag,
}

/// The servers of a cluster at an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    servers: Vec<Server>,
    epoch: Epoch,
}

impl Topology {
    /// Of servers in the order of the config; one of them at most is found to be the primary.
    pub fn new(servers: Vec<Server>, epoch: Epoch) -> Self {
        Self { servers, epoch }
    }

    /// All of them, in the order of the config.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// One of them.
    pub fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.iter().find(|server| server.member.id == id)
    }

    /// The one of an address as configured.
    pub fn at(&self, address: &str) -> Option<&Server> {
        self.servers.iter().find(|server| *server.member.address == *address)
    }

    /// The one that takes the writes; None if none does, or roles are not known.
    pub fn primary(&self) -> Option<&Server> {
        self.servers.iter().find(|server| server.found == FoundRole::Primary)
    }

    /// How often the primary has changed.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether a link to a server must not start a write: it was opened under an earlier primary,
    /// and its server is neither the primary now nor its peer. What it wrote might be lost, even if
    /// it is taken.
    pub fn is_fenced(&self, server: ServerId, opened_in: Epoch) -> bool {
        let takes_writes = |server: &Server| server.found == FoundRole::Primary || server.is_peer;
        opened_in < self.epoch && !self.server(server).is_some_and(takes_writes)
    }

    /// Whether a session's home may be on a server: it is the primary, or a peer of it; or nobody
    /// knows what any of them is.
    pub fn may_be_home(&self, server: &Server) -> bool {
        let is_known = self.servers.iter().any(|it| it.found != FoundRole::Unknown);
        !is_known || server.found == FoundRole::Primary || server.is_peer
    }
}

impl Server {
    /// A server of which nothing is known yet.
    pub fn new(member: Member) -> Self {
        let (found, lag) = <(FoundRole, Lag)>::default();
        Self { member, found, is_peer: false, is_draining: false, is_lost: false, lag }
    }

    /// Which one.
    pub fn id(&self) -> ServerId {
        self.member.id
    }

    /// The state to show: a lost one is lost, whatever is wanted of it.
    pub fn state(&self) -> State {
        match (self.is_lost, self.is_draining) {
            (true, _) => State::Lost,
            (false, true) => State::Draining,
            (false, false) => State::Online,
        }
    }
}

impl Lag {
    /// Whether a server with this lag is surely no further behind: since it was asked it may have
    /// fallen behind by as much as has passed.
    pub fn is_within(self, most: Duration, now: Instant) -> bool {
        match self {
            Self::NotAsked => true,
            Self::Unknown => false,
            Self::Behind { by, known_at } => {
                by.saturating_add(now.saturating_duration_since(known_at)) <= most
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests as sample;
    use super::*;

    #[test]
    fn a_lag_grows_until_it_is_asked_again() {
        let (now, s) = (Instant::now() + Duration::from_secs(100), Duration::from_secs);
        let behind = |by, ago| Lag::Behind { by: s(by), known_at: now - s(ago) };
        let table = [
            (Lag::NotAsked, true),
            (Lag::Unknown, false),
            (behind(0, 0), true),
            (behind(10, 0), true),
            (behind(11, 0), false),
            (behind(4, 6), true),
            (behind(4, 7), false),
            (Lag::Behind { by: Duration::MAX, known_at: now - s(1) }, false),
            // Known by another thread a moment later than this one's now.
            (Lag::Behind { by: s(10), known_at: now + s(1) }, true),
        ];
        for (lag, expected) in table {
            assert_eq!(lag.is_within(s(10), now), expected, "{lag:?}");
        }
    }

    #[test]
    fn links_of_an_earlier_primary_are_fenced_off() {
        // Topology, epoch; server, opened in; whether it must not write.
        let table = [
            ("A=p B=r", 1, 0, 1, false),
            ("A=p B=r", 2, 0, 1, false),
            ("A=r B=p", 2, 0, 1, true),
            ("A=r B=p", 2, 0, 2, false),
            ("A=r B=p", 2, 1, 1, false),
            ("A=r B=r", 1, 0, 1, false),
            ("A=r B=r", 2, 0, 1, true),
            ("A=r,peer B=p", 2, 0, 1, false),
            ("A=u,peer B=p", 2, 0, 1, false),
            // Dropped from the config since.
            ("B=p", 2, 0, 1, true),
            ("A B", 0, 0, 0, false),
        ];
        for (text, epoch, server, opened_in, expected) in table {
            let topology = sample::topology(text, epoch, Instant::now());
            let got = topology.is_fenced(ServerId(server), Epoch(opened_in));
            assert_eq!(got, expected, "{text} {epoch} {server} {opened_in}");
        }
    }

    #[test]
    fn homes_are_where_writes_are_as_far_as_that_is_known() {
        for (text, expected) in [
            ("A B", "AB"),
            ("A=p B", "A"),
            ("A=p B=r C=u", "A"),
            ("A=r B=u", ""),
            ("A=p B=r,peer C=r", "AB"),
            ("A=u,draining B=u,lost", "AB"),
        ] {
            let topology = sample::topology(text, 1, Instant::now());
            let may = topology.servers().iter().filter(|server| topology.may_be_home(server));
            let ids: Vec<_> = may.map(Server::id).collect();
            assert_eq!(sample::letters(&ids), expected, "{text}");
        }
    }

    #[test]
    fn the_state_to_show_is_the_worst() {
        let topology =
            sample::topology("A=p B=r,draining C=r,lost D=r,draining,lost", 1, Instant::now());
        let states: Vec<_> = topology.servers().iter().map(Server::state).collect();
        assert_eq!(states, [State::Online, State::Draining, State::Lost, State::Lost]);
        assert_eq!(topology.at("A").map(Server::id), topology.primary().map(Server::id));
        assert_eq!(topology.at("E"), None);
    }
}
