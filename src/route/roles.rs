//! Which server is the primary, by what servers say of themselves.
//!
//! A server that takes writes *claims* to be the primary. In sane clusters one does. Otherwise:
//!
//! - *None claims*, as in the middle of a switchover: there is no primary. The epoch stays until
//!   there is another, so a switchover that is called off changes nothing.
//! - *The primary does not answer* and nobody else claims: it stays. Silence takes nothing back,
//!   but it loses to whoever does claim, unless that is only its replica that somebody forgot to
//!   make read-only: such a one has to be seen promoted (from read-only to writable), or to have
//!   its replication removed.
//! - *Several claim*: the first of this order is it, and the others get neither writes nor reads,
//!   as nobody knows what they have ([`FoundRole::Unknown`]). Not so in Galera and group
//!   replication, where it is normal and just the same one is kept, nor where one replicates at the
//!   same time: somebody forgot to make that replica read-only.
//!   1. Who does not replicate. (A primary that does, from elsewhere, is alone in claiming.)
//!   2. Who more servers replicate from: whoever did the failover has moved them.
//!   3. The primary so far, also if it was lost meanwhile and nobody took its place: an old primary
//!      that comes back after a failover does not take over again.
//!   4. Who has no stopped replication, which is a broken replica rather than a promoted one.
//!   5. Whose role is configured, then as configured.
//!
//! Without anything said, what is configured holds.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::topology::{ConfiguredRole, Epoch, FoundRole, Lag, Member, Server, ServerId, Topology};

/// What came of asking a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It has answered.
    Said(Said),
    /// It does not answer. One lost packet does not make it so: see [`super::congestion`].
    Unreachable,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// When.
    pub at: Instant,
    /// `@@read_only`; None if it has no such thing.
    pub read_only: Option<bool>,
    /// `@@super_read_only`; None if it has no such thing.
    pub super_read_only: Option<bool>,
    /// Whom it replicates from, if that is configured on it.
    pub replication: Option<Replication>,
    /// Its place in a Galera cluster.
    pub wsrep: Option<Wsrep>,
    /// Its place in a replication group.
    pub group: Option<Group>,
    /// How far it is behind; None if it can't tell.
    pub lag: Option<Duration>,
}

/// A replication channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// `host:port` of the source, as the replica has it.
    pub source: Arc<str>,
    /// Whether it receives and applies.
    pub run: Run,
}

/// Whether replication is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It is started: it applies, and receives or tries to connect.
    Running,
    /// Somebody or an error has stopped it.
    Stopped,
}

/// A node of a Galera cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wsrep {
    /// Synced, in the part of the cluster that goes on.
    Synced,
    /// Anything else: joining, a donor, cut off.
    Unfit,
}

/// A member of a replication group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Online, and takes writes.
    Primary,
    /// Online.
    Secondary,
    /// Anything else: recovering, offline, an error.
    Unfit,
}

/// What a process tells its successor of a cluster: links keep the epoch they were opened in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The epoch.
    pub epoch: Epoch,
    /// The last primary that there was.
    pub primary: Option<ServerId>,
}

/// What came of an observation.
#[derive(Clone, Debug)]
pub struct Step {
    /// The servers from now on.
    pub topology: Arc<Topology>,
    /// Whether there is another primary than there was.
    pub is_new_epoch: bool,
    /// Those who take writes beside the primary, which somebody has to mend.
    pub rivals: Vec<ServerId>,
}

/// All that is known of the roles of a cluster's servers.
#[derive(Clone, Debug)]
pub struct Roles {
    asked: Vec<Asked>,
    history: History,
}

#[derive(Clone, Debug)]
struct Asked {
    server: Server,
    said: Option<Said>,
    /// Whether it was seen to become writable, in this epoch.
    is_promoted: bool,
}

/// What a server's word makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It takes writes.
    Primary(Option<Run>),
    /// It takes writes as several do that agree with each other.
    Peer,
    Replica,
    /// Nothing is known, or it is of no use.
    Nothing,
}

impl Roles {
    /// Of no servers: they are configured next.
    pub fn new(history: History) -> Self {
        Self { asked: Vec::new(), history }
    }

    /// These servers are configured; what those that stay have said holds.
    pub fn configure(&mut self, members: Vec<Member>) -> Step {
        let mut before = std::mem::take(&mut self.asked);
        let asked = members.into_iter().map(|member| {
            match before.iter().position(|asked| asked.server.member.id == member.id) {
                Some(at) => {
                    let asked = before.swap_remove(at);
                    Asked { server: Server { member, ..asked.server }, ..asked }
                }
                None => Asked { server: Server::new(member), said: None, is_promoted: false },
            }
        });
        self.asked = asked.collect();
        self.step()
    }

    /// Takes what servers have answered. The first time that is all of them at once, so that the
    /// first to answer does not become the primary for it.
    pub fn observe(&mut self, round: impl IntoIterator<Item = (ServerId, Observation)>) -> Step {
        for (id, observation) in round {
            let Some(asked) = self.asked.iter_mut().find(|asked| asked.server.id() == id) else {
                // Dropped from the config while it was asked.
                continue;
            };
            asked.server.is_lost = observation == Observation::Unreachable;
            if let Observation::Said(said) = observation {
                asked.hear(said);
            }
        }
        self.step()
    }

    /// An operator wants a server empty.
    pub fn drain(&mut self, id: ServerId) -> Step {
        self.set_draining(id, true)
    }

    /// An operator wants a server used again.
    pub fn online(&mut self, id: ServerId) -> Step {
        self.set_draining(id, false)
    }

    /// When a server has said last what it is.
    pub fn said_at(&self, id: ServerId) -> Option<Instant> {
        let asked = self.asked.iter().find(|asked| asked.server.id() == id)?;
        asked.said.as_ref().map(|said| said.at)
    }

    /// What a successor has to be told.
    pub fn history(&self) -> History {
        self.history
    }

    /// Takes what a predecessor has told, unless more is known here: if the primary was another one
    /// there, that is one change more.
    pub fn inherit(&mut self, history: History) -> Step {
        if history.epoch >= self.history.epoch {
            self.history = history;
        }
        self.step()
    }

    fn set_draining(&mut self, id: ServerId, is_draining: bool) -> Step {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.server.id() == id) {
            asked.server.is_draining = is_draining;
        }
        self.step()
    }

    /// Says anew who is what.
    fn step(&mut self) -> Step {
        let primary = self.choose();
        let is_new_epoch = primary.is_some() && primary != self.history.primary;
        if is_new_epoch {
            self.history.epoch.0 += 1;
            self.history.primary = primary;
            self.asked.iter_mut().for_each(|asked| asked.is_promoted = false);
        }
        let mut rivals = Vec::new();
        for asked in &mut self.asked {
            let id = asked.server.id();
            let claim = asked.claim();
            asked.server.is_peer = claim == Claim::Peer;
            asked.server.found = match claim {
                _ if primary == Some(id) => FoundRole::Primary,
                Claim::Replica | Claim::Peer | Claim::Primary(Some(Run::Running)) => {
                    FoundRole::Replica
                }
                Claim::Primary(Some(Run::Stopped) | None) => {
                    if !asked.server.is_lost {
                        rivals.push(id);
                    }
                    FoundRole::Unknown
                }
                Claim::Nothing => FoundRole::Unknown,
            };
            asked.server.lag = asked.lag();
        }
        let servers = self.asked.iter().map(|asked| asked.server.clone()).collect();
        let topology = Arc::new(Topology::new(servers, self.history.epoch));
        Step { topology, is_new_epoch, rivals }
    }

    fn choose(&self) -> Option<ServerId> {
        let precedence = |asked| Some((asked, self.precedence(asked)?));
        let claiming: Vec<_> = self.asked.iter().filter_map(precedence).collect();
        let first = |is_meant: &dyn Fn(&Asked) -> bool| {
            let meant = claiming.iter().filter(|(asked, _)| is_meant(asked));
            Some(meant.min_by_key(|(_, precedence)| *precedence)?.0.server.id())
        };
        first(&|asked| !asked.server.is_lost && !self.is_mere_replica(asked))
            .or_else(|| first(&|asked| asked.server.is_lost && self.is_last(asked)))
            .or_else(|| first(&|asked| !asked.server.is_lost))
    }

    /// The place of a server that claims to be the primary among those that do: the least is it.
    fn precedence(&self, asked: &Asked) -> Option<impl Ord + Copy + use<>> {
        let claim = match asked.claim() {
            // A predecessor knew it; here it was not asked yet.
            Claim::Nothing if self.is_last(asked) && asked.said.is_none() => Claim::Primary(None),
            claim => claim,
        };
        let (replication, followers) = match claim {
            Claim::Primary(replication) => (replication, self.followers(asked)),
            // Writes go to any of them: who replicates from which tells nothing.
            Claim::Peer => (None, 0),
            Claim::Replica | Claim::Nothing => return None,
        };
        Some((
            replication == Some(Run::Running),
            Reverse(followers),
            !self.is_last(asked),
            replication == Some(Run::Stopped),
            asked.server.member.role != ConfiguredRole::Primary,
        ))
    }

    /// Whether it replicates from one of the cluster that has not stepped back, and was writable
    /// all the time.
    fn is_mere_replica(&self, asked: &Asked) -> bool {
        let replication = asked.said.as_ref().and_then(|said| said.replication.as_ref());
        let is_source = |other: &&Asked| {
            replication.is_some_and(|own| own.source == other.server.member.address)
        };
        let source = self.asked.iter().find(is_source);
        !self.is_last(asked)
            && !asked.is_promoted
            && source.is_some_and(|source| source.claim() != Claim::Replica)
    }

    /// Whether it is the primary so far.
    fn is_last(&self, asked: &Asked) -> bool {
        Some(asked.server.id()) == self.history.primary
    }

    /// How many servers replicate from this one.
    fn followers(&self, from: &Asked) -> usize {
        let follows = |asked: &&Asked| {
            let said = asked.said.as_ref().filter(|_| !asked.server.is_lost);
            let replication = said.and_then(|said| said.replication.as_ref());
            replication.is_some_and(|replication| {
                replication.run == Run::Running && replication.source == from.server.member.address
            })
        };
        self.asked.iter().filter(follows).count()
    }
}

impl Asked {
    fn hear(&mut self, said: Said) {
        let was_replica = self.said.as_ref().is_some_and(|said| said.claim() == Claim::Replica);
        let claims = matches!(said.claim(), Claim::Primary(_) | Claim::Peer);
        self.is_promoted |= was_replica && claims;
        self.said = Some(said);
    }

    fn claim(&self) -> Claim {
        let said = self.said.as_ref().map_or(Claim::Nothing, Said::claim);
        let is_asked = self.said.as_ref().is_some_and(Said::is_of_roles);
        match self.server.member.role {
            ConfiguredRole::Auto => said,
            ConfiguredRole::Primary if is_asked => said,
            ConfiguredRole::Primary => Claim::Primary(None),
            ConfiguredRole::Replica if said == Claim::Nothing && is_asked => Claim::Nothing,
            ConfiguredRole::Replica => Claim::Replica,
        }
    }

    fn lag(&self) -> Lag {
        let Some(said) = &self.said else { return Lag::NotAsked };
        let lag = match (said.wsrep, said.group) {
            // What was committed anywhere is here, but for what is queued by flow control.
            (Some(Wsrep::Synced), _) | (_, Some(Group::Primary | Group::Secondary)) => {
                said.lag.or(Some(Duration::ZERO))
            }
            (Some(Wsrep::Unfit) | None, Some(Group::Unfit) | None) => said.lag,
        };
        lag.map_or(Lag::Unknown, |by| Lag::Behind { by, known_at: said.at })
    }
}

impl Said {
    /// Whether it says anything of what it is.
    fn is_of_roles(&self) -> bool {
        let Self { at: _, read_only, super_read_only, replication, wsrep, group, lag: _ } = self;
        read_only.is_some()
            || super_read_only.is_some()
            || replication.is_some()
            || wsrep.is_some()
            || group.is_some()
    }

    fn claim(&self) -> Claim {
        if self.wsrep == Some(Wsrep::Unfit) || self.group == Some(Group::Unfit) {
            return Claim::Nothing;
        }
        let is_peer = self.wsrep.is_some() || self.group.is_some();
        let is_read_only = self.group == Some(Group::Secondary)
            || self.read_only == Some(true)
            || self.super_read_only == Some(true);
        match self.read_only.or(self.super_read_only) {
            _ if is_read_only => Claim::Replica,
            _ if is_peer => Claim::Peer,
            Some(_) => Claim::Primary(self.replication.as_ref().map(|replica| replica.run)),
            None => Claim::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests as sample;
    use super::*;

    fn said() -> Said {
        Said {
            at: Instant::now(),
            read_only: Some(false),
            super_read_only: None,
            replication: None,
            wsrep: None,
            group: None,
            lag: None,
        }
    }

    /// `A:w` takes writes, `r` is read-only, `s` super-read-only, `g` synced in Galera, `d` there
    /// and a donor, `P`, `S`, `E` of a group, `?` says nothing of it, `x` is unreachable; `<B`
    /// replicates from B, `|B` would if it was not stopped.
    fn observation(word: &str) -> (ServerId, Observation) {
        let (letter, what) = word.split_once(':').expect("A:w");
        let id = sample::id(letter);
        let (kind, source) = what.split_at(1);
        let mut said = said();
        match kind {
            "w" => {}
            "r" => said.read_only = Some(true),
            "s" => (said.read_only, said.super_read_only) = (Some(true), Some(true)),
            "g" => said.wsrep = Some(Wsrep::Synced),
            "d" => said.wsrep = Some(Wsrep::Unfit),
            "P" => said.group = Some(Group::Primary),
            "S" => said.group = Some(Group::Secondary),
            "E" => said.group = Some(Group::Unfit),
            "?" => said.read_only = None,
            "x" => return (id, Observation::Unreachable),
            other => panic!("{other}"),
        }
        said.replication = source.get(1..).map(|from| Replication {
            source: from.into(),
            run: if source.starts_with('<') { Run::Running } else { Run::Stopped },
        });
        (id, Observation::Said(said))
    }

    fn members(text: &str) -> Vec<Member> {
        let role = |sign: &str| match sign {
            "" => ConfiguredRole::Auto,
            "+" => ConfiguredRole::Primary,
            "-" => ConfiguredRole::Replica,
            other => panic!("{other}"),
        };
        let member = |word: &str| Member { role: role(&word[1..]), ..sample::member(&word[..1]) };
        text.split_whitespace().map(member).collect()
    }

    fn roles(text: &str, history: History) -> (Roles, Step) {
        let mut roles = Roles::new(history);
        let step = roles.configure(members(text));
        (roles, step)
    }

    fn round(text: &str) -> Vec<(ServerId, Observation)> {
        text.split_whitespace().map(observation).collect()
    }

    /// `Ar. 2`: A is the primary, B a replica, C unknown, in epoch 2; `!` behind it for rivals.
    fn shown(step: &Step) -> String {
        let role = |server: &Server| match server.found {
            FoundRole::Primary => sample::letter(server.id()),
            FoundRole::Replica => 'r',
            FoundRole::Unknown => '.',
        };
        let roles: String = step.topology.servers().iter().map(role).collect();
        let rivals = if step.rivals.is_empty() { "" } else { "!" };
        format!("{roles} {}{rivals}", step.topology.epoch().0)
    }

    /// Cases of servers as configured, and rounds with what comes of each.
    type Table<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)])];

    fn check(table: Table) {
        for (configured, rounds) in table {
            let (mut roles, step) = roles(configured, History::default());
            let mut epoch = step.topology.epoch();
            for (said, expected) in *rounds {
                let step = roles.observe(round(said));
                assert_eq!(shown(&step), *expected, "{configured}: {said} of {rounds:?}");
                assert_eq!(step.is_new_epoch, step.topology.epoch() > epoch, "{said}");
                epoch = step.topology.epoch();
            }
        }
    }

    #[test]
    fn the_one_that_takes_writes_is_the_primary() {
        check(&[
            ("A B C", &[("", "... 0"), ("A:w B:r<A C:s<A", "Arr 1")]),
            ("A B C", &[("A:r<C B:r<C C:w", "rrC 1")]),
            // What roles can't be told from is what is configured.
            ("A+ B-", &[("", "Ar 1"), ("A:? B:?", "Ar 1")]),
            ("A B", &[("A:? B:?", ".. 0")]),
            // A configured replica is none, whatever it says; a primary only if it is.
            ("A+ B-", &[("A:r B:w", "rr 1")]),
            ("A+ B", &[("A:r<B B:w", "rB 2")]),
            // One that replicates from elsewhere, and a replica that somebody forgot.
            ("A B", &[("A:w<Z B:r<A", "Ar 1")]),
            ("A B", &[("A:w B:w<A", "Ar 1")]),
            ("A B", &[("A:w<B B:w", "rB 1")]),
            ("A B", &[("A:w<B B:r<A", "Ar 1")]),
            // Galera, and groups.
            ("A B C", &[("A:g B:g C:g", "Arr 1"), ("A:d B:g C:g", ".Br 2"), ("A:g", "rBr 2")]),
            ("A B C", &[("A:g B:g C:r<B", "Arr 1")]),
            ("A B-", &[("A:g B:d", "A. 1"), ("B:g", "Ar 1"), ("B:?", "Ar 1")]),
            ("A B C", &[("A:S B:P C:E", "rB. 1"), ("A:P B:S C:S", "Arr 2")]),
        ]);
    }

    #[test]
    fn a_switchover_is_one_change() {
        check(&[
            ("A B", &[("A:w B:r<A", "Ar 1"), ("A:r", "rr 1"), ("B:w", "rB 2"), ("A:r<B", "rB 2")]),
            // Called off.
            ("A B", &[("A:w B:r<A", "Ar 1"), ("A:r", "rr 1"), ("A:w", "Ar 1")]),
            // There and back again.
            ("A B", &[("A:w B:r", "Ar 1"), ("A:r B:w", "rB 2"), ("A:w B:r", "Ar 3")]),
            // The new one is writable a moment before the old one is not.
            ("A B", &[("A:w B:r<A", "Ar 1"), ("B:w", "A. 1!"), ("A:r", "rB 2")]),
        ]);
    }

    #[test]
    fn a_failover_is_one_change_and_the_old_primary_does_not_come_back_by_itself() {
        check(&[
            (
                "A B",
                &[
                    ("A:w B:r<A", "Ar 1"),
                    ("A:x", "Ar 1"),
                    ("B:w|A", ".B 2"),
                    ("A:w", ".B 2!"),
                    ("A:r<B", "rB 2"),
                ],
            ),
            // It was silent only for us: who did the failover has moved the replica.
            ("A B C", &[("A:w B:r<A C:r<A", "Arr 1"), ("B:w C:r<B", ".Br 2!")]),
            // A replica whose replication broke down is none to change to.
            ("A B", &[("A:w B:w|A", "A. 1!")]),
            ("B A", &[("B:w|A A:w", ".A 1!")]),
            ("B A", &[("B:w|Z A:w", ".A 1!")]),
            // Its replica was writable all the time: nobody has promoted it.
            ("A B", &[("A:w B:w<A", "Ar 1"), ("A:x", "Ar 1"), ("B:w|A", "A. 1!"), ("B:w", ".B 2")]),
            (
                "A B",
                &[("A:w B:w<A", "Ar 1"), ("A:x", "Ar 1"), ("B:r<A", "Ar 1"), ("B:w<A", ".B 2")],
            ),
            // That it once was promoted does not count any more.
            (
                "A B",
                &[
                    ("A:w B:r<A", "Ar 1"),
                    ("A:x B:w|A", ".B 2"),
                    ("A:w B:w<A", "Ar 3"),
                    ("A:x", "Ar 3"),
                ],
            ),
            // Two that replicate from each other.
            ("A B", &[("A:w<B B:r<A", "Ar 1"), ("A:x", "Ar 1"), ("B:w<A", "rB 2")]),
            ("A B", &[("A:w<B B:r<A", "Ar 1"), ("A:r<B", "rr 1"), ("B:w<A", "rB 2")]),
            // Nor has anybody these two.
            ("A B C", &[("A:w C:w<B", "A.r 1"), ("A:x B:g|A", "Arr 1"), ("", "Arr 1")]),
            // Nobody knows of another.
            ("A B", &[("A:x B:w|A", ".B 1")]),
            ("A B", &[("A:w<B B:w<A", "Ar 1"), ("A:x", "Ar 1")]),
            // Nobody else: it is waited for.
            ("A B", &[("A:w B:r<A", "Ar 1"), ("A:x B:x", "Ar 1"), ("A:w", "Ar 1")]),
            // None was known, and a lost one is not made one.
            ("A B", &[("A:x B:r", ".r 0"), ("A:w", "Ar 1")]),
        ]);
    }

    #[test]
    fn of_two_that_claim_the_configured_one_is_the_primary() {
        check(&[
            ("A B", &[("A:w B:w", "A. 1!")]),
            ("A B+", &[("A:w B:w", ".B 1!")]),
            ("A B+", &[("B:r", ".r 1"), ("A:w", "Ar 2"), ("B:w", "A. 2!")]),
        ]);
    }

    #[test]
    fn a_successor_goes_on_where_its_predecessor_was() {
        let history = History { epoch: Epoch(2), primary: Some(ServerId(1)) };
        let mut roles = roles("A B", history).0;
        // The old primary is back and answers first.
        assert_eq!(shown(&roles.observe(round("A:w"))), ".B 2!");
        assert_eq!(shown(&roles.observe(round("B:w"))), ".B 2!");
        assert_eq!(roles.history(), history);
        assert_eq!(shown(&roles.observe(round("B:r"))), "Ar 3");
    }

    #[test]
    fn servers_that_stay_keep_what_they_said() {
        let mut roles = roles("A B", History::default()).0;
        roles.observe(round("A:w B:r<A"));
        roles.drain(ServerId(1));
        let step = roles.configure(members("C B A"));
        assert_eq!((shown(&step).as_str(), step.is_new_epoch), (".rA 1", false));
        assert!(step.topology.at("B").expect("it is there").is_draining);
        assert!(!roles.online(ServerId(1)).topology.at("B").expect("it is there").is_draining);
        // The primary is dropped: there is none until another is.
        assert_eq!(shown(&roles.configure(members("B C"))), "r. 1");
        assert_eq!(shown(&roles.observe(round("A:w B:w"))), "B. 2");
    }

    #[test]
    fn a_lag_is_what_was_said_last() {
        let mut roles = roles("A", History::default()).0;
        let mut lag = |said: Said| {
            let at = said.at;
            let step = roles.observe([(ServerId(0), Observation::Said(said))]);
            match step.topology.servers()[0].lag {
                Lag::Behind { by, known_at } if known_at == at => Some(by),
                Lag::Behind { .. } | Lag::NotAsked => panic!("another lag"),
                Lag::Unknown => None,
            }
        };
        let three = Some(Duration::from_secs(3));
        assert_eq!(lag(Said { lag: three, ..said() }), three);
        assert_eq!(lag(said()), None);
        assert_eq!(lag(Said { wsrep: Some(Wsrep::Synced), ..said() }), Some(Duration::ZERO));
        assert_eq!(lag(Said { wsrep: Some(Wsrep::Unfit), ..said() }), None);
        // So it is in a group, whose members may tell.
        let secondary = Said { group: Some(Group::Secondary), ..said() };
        assert_eq!(lag(secondary.clone()), Some(Duration::ZERO));
        assert_eq!(lag(Said { lag: three, ..secondary }), three);
        assert_eq!(lag(Said { group: Some(Group::Unfit), ..said() }), None);
    }

    fn word() -> impl Strategy<Value = String> {
        "[A-D]:([wrsgdPSE?]([<|][A-D])?|x)"
    }

    proptest! {
        /// Whatever servers say: the epoch counts the changes of primary, and the primary is one
        /// whose last word was that it takes writes.
        #[test]
        fn epochs_count_primaries(
            rounds in prop::collection::vec(prop::collection::vec(word(), 0..4), 0..12)
        ) {
            let mut roles = roles("A B C D-", History::default()).0;
            let mut last = None;
            let mut epoch = Epoch::default();
            for words in rounds {
                let step = roles.observe(round(&words.join(" ")));
                let primary = step.topology.primary().map(Server::id);
                let is_new = primary.is_some() && primary != last;
                epoch.0 += u64::from(is_new);
                prop_assert_eq!(step.topology.epoch(), epoch);
                prop_assert_eq!(step.is_new_epoch, is_new);
                last = primary.or(last);
                if let Some(primary) = primary {
                    let asked = roles.asked.iter().find(|asked| asked.server.id() == primary);
                    let said = asked.and_then(|asked| asked.said.clone()).expect("it said so");
                    prop_assert_eq!(said.read_only, Some(false));
                    prop_assert_ne!(primary, ServerId(3), "a configured replica");
                }
                // Nothing new is no change.
                let again = roles.observe([]);
                prop_assert_eq!(&again.topology, &step.topology);
                prop_assert!(!again.is_new_epoch);
            }
        }
    }
}
