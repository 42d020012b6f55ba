//! Where a statement goes. The table is in the docs of [`super`]; here it is carried out.
//!
//! Nothing is known here of how a statement was told to be of its kind: what is uncertain comes as
//! [`Kind::Other`]. Nor is anything done: a link that the decision names may have to be opened
//! first, and told what it lacks.

use std::time::{Duration, Instant};

use super::congestion::Standing;
use super::order::{Asker, RoutePolicy, is_spared, replica};
use super::topology::{Epoch, FoundRole, Server, ServerId, Topology};

/// All that the decision depends on.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The servers.
    pub topology: &'a Topology,
    /// How each is to be treated.
    pub standing: &'a dyn Fn(ServerId) -> Standing,
    /// When it is decided.
    pub now: Instant,
    /// Where the client comes from.
    pub asker: Asker<'a>,
    /// What the cluster allows.
    pub policy: Policy,
    /// What the session can do.
    pub session: Place<'a>,
    /// What is to be done.
    pub statement: Statement<'a>,
}

/// What a cluster's config says of where statements go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `read_write_split`.
    pub split: Split,
    /// `transaction_split`: reads before a transaction's first write may go to a reader.
    pub splits_transactions: bool,
    /// `route_policy`.
    pub route_policy: RoutePolicy,
    /// `max_replica_lag`.
    pub max_replica_lag: Duration,
}

/// `read_write_split`: which reads may go to a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// None.
    #[default]
    Off,
    /// Those that ask for it.
    Weak,
    /// Every one that is surely one.
    On,
}

/// A link of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its server.
    pub server: ServerId,
    /// The epoch in which it was opened.
    pub opened_in: Epoch,
}

/// A session, between two statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The link that has the truth about its state.
    pub home: Link,
    /// The server that it asked last.
    pub last_used: ServerId,
    /// Whether something holds it to its home.
    pub is_pinned: bool,
    /// The transaction that is open.
    pub transaction: Option<Transaction>,
    /// `@obproxy_route_addr`.
    pub route_address: Option<&'a str>,
}

/// An open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Where its reads are. All else is at home.
    pub on: Link,
    /// Whether anything may have been written in it.
    pub has_written: bool,
}

/// A statement, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// What it does.
    pub kind: Kind,
    /// What it asks for, or the session does by `@@ob_read_consistency` and the like.
    pub consistency: Option<Consistency>,
    /// Whether a hint wants the primary (`/*FORCE_MASTER*/`).
    pub wants_primary: bool,
    /// The servers of the hint TARGET_DB_SERVER, best first; none if there is none.
    pub targets: &'a [&'a str],
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It reads, and surely does nothing else.
    Read,
    /// It surely writes: data, definitions, accounts.
    Write,
    /// Anything that is not surely something else: CALL, several statements in one, unknown words.
    Other,
    /// It changes or asks the session's own state: SET, USE, PREPARE, LAST_INSERT_ID().
    Session,
    /// It opens a transaction that may write.
    Begin,
    /// It opens one that only reads.
    BeginReadOnly,
    /// It ends one.
    Commit,
    /// It ends one, and writes nothing.
    Rollback,
    /// It asks how the last statement went: SHOW WARNINGS, ROW_COUNT(), GET DIAGNOSTICS.
    Diagnostics,
}

impl Kind {
    /// By their numbers, with their names.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Read, "read"),
        (Self::Write, "write"),
        (Self::Other, "other"),
        (Self::Session, "session"),
        (Self::Begin, "begin"),
        (Self::BeginReadOnly, "begin read only"),
        (Self::Commit, "commit"),
        (Self::Rollback, "rollback"),
        (Self::Diagnostics, "diagnostics"),
    ];

    /// Its name.
    pub fn text(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// How new what is read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// As new as it gets.
    Strong,
    /// It may be older.
    Weak,
}

/// Where a statement goes, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where.
    pub go: Go,
    /// What it is about the statement or the session that made it so.
    pub why: Why,
}

/// Where a statement goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Go {
    /// To the home.
    Keep,
    /// To the session's link to this server. If that is the primary, it is the home from now on.
    Use(ServerId),
    /// Nowhere.
    Refuse(Refusal),
}

/// Why a statement goes where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Only the server asked last knows how that went.
    Diagnostics,
    /// A transaction is open.
    Transaction,
    /// One is open, but has written nothing, and may be split.
    SplitTransaction,
    /// Something holds the session to its home.
    Pinned,
    /// It is of the session's own state, which is at home.
    Session,
    /// A hint wants the primary.
    PrimaryHint,
    /// A hint names servers.
    TargetHint,
    /// `@obproxy_route_addr` names one.
    RouteAddress,
    /// It writes, or may.
    Write,
    /// The cluster does not split.
    SplitOff,
    /// The cluster splits reads that ask for it; this one does not.
    NotWeak,
    /// It asks for the newest.
    Strong,
    /// It may be read from a replica.
    Reader,
    /// It may be, but there is none that may be used.
    NoReader,
}

/// Why a statement goes nowhere. Nothing was executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The session can't leave a server that is not the primary any more, and may write.
    #[error("the primary has changed and this session cannot leave the old one")]
    Fenced,
    /// `FOLLOWER_ONLY`, and no replica may be used.
    #[error("no replica can be read from")]
    NoReader,
    /// A transaction has read on a replica which cannot go on with it, nor can the home.
    #[error("this transaction reads from a replica, which cannot answer this; begin it anew")]
    OtherTime,
    /// None of the servers that are asked for is in this cluster; the first of them.
    #[error("no server '{0}' in this cluster")]
    NoSuchServer(String),
    /// Those that are asked for can't be reached; the first of them.
    #[error("server '{0}' cannot be reached")]
    Unreachable(String),
    /// It asks how statements went, or that and more, of which no server knows all.
    #[error("this asks about statements that have run on different servers")]
    Scattered,
    /// It asks how a statement went, and the server that has run it is lost.
    #[error("the server that knows how the statement before went is lost")]
    Lost,
    /// What it is to end runs on this server, where the session has no connection, or is not what
    /// it is at home.
    #[error("this is for server '{0}', where this session cannot follow")]
    CannotFollow(String),
    /// A write is to go where only the primary's writes may.
    #[error("server '{0}' is not the primary and takes no writes")]
    NotPrimary(String),
}

/// Where a statement goes.
pub fn decide(question: &Question) -> Decision {
    let Question { session, statement, .. } = question;
    if statement.kind == Kind::Diagnostics {
        return question.at(session.last_used, Why::Diagnostics);
    }
    if let Some(transaction) = session.transaction {
        return question.in_transaction(transaction);
    }
    if session.is_pinned {
        return question.stay(session.home, Why::Pinned);
    }
    match statement.kind {
        Kind::Session | Kind::Begin | Kind::Commit | Kind::Rollback | Kind::Diagnostics => {
            question.home(Why::Session)
        }
        Kind::Read | Kind::BeginReadOnly | Kind::Write | Kind::Other => question.by_hint(),
    }
}

/// The servers of TARGET_DB_SERVER's `'a:1,b:1;c:1'`: groups, and servers within each, best first.
pub fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';']).map(str::trim).filter(|address| !address.is_empty())
}

impl Question<'_> {
    fn in_transaction(&self, transaction: Transaction) -> Decision {
        let Self { session, statement, .. } = self;
        let may_split = self.policy.splits_transactions
            && !transaction.has_written
            && !session.is_pinned
            && transaction.on == session.home
            && statement.kind == Kind::Read
            // A hint never overrides a transaction: neither by where it leads.
            && !statement.wants_primary
            && statement.targets.is_empty()
            && session.route_address.is_none();
        // What is no read is the home's, which is in the transaction, too.
        let is_homes = statement.kind != Kind::Read || session.is_pinned;
        match self.reader() {
            Ok(Some(reader)) if may_split => self.at(reader, Why::SplitTransaction),
            Ok(_) | Err(_) if is_homes => self.stay(session.home, Why::Transaction),
            Ok(_) | Err(_) => self.stay(transaction.on, Why::Transaction),
        }
    }

    fn by_hint(&self) -> Decision {
        let Self { session, statement, .. } = self;
        match (statement.wants_primary, statement.targets, session.route_address) {
            (true, _, _) => self.home(Why::PrimaryHint),
            (false, [], Some(address)) => self.target(&[address], Why::RouteAddress),
            (false, [], None) => self.by_kind(),
            (false, targets, _) => self.target(targets, Why::TargetHint),
        }
    }

    /// To the first of these servers that can be used. If none can that is an error, as whoever
    /// names servers does not want others.
    fn target(&self, addresses: &[&str], why: Why) -> Decision {
        let first = addresses.first().map(|&address| address.to_owned()).unwrap_or_default();
        let known = || addresses.iter().filter_map(|address| self.topology.at(address));
        let usable = || known().filter(|server| self.is_usable(server));
        let best = usable().find(|server| !server.is_draining).or_else(|| usable().next());
        let go = match best {
            Some(server) if self.may_take(server) => return self.at(server.id(), why),
            Some(server) => Refusal::NotPrimary(server.member.address.to_string()),
            None if known().next().is_some() => Refusal::Unreachable(first),
            None => Refusal::NoSuchServer(first),
        };
        Decision { go: Go::Refuse(go), why }
    }

    /// Whether a hint may bring the statement to a server: no write beside the primary.
    fn may_take(&self, server: &Server) -> bool {
        let is_write = self.statement.kind == Kind::Write;
        !is_write || server.found == FoundRole::Primary || self.topology.primary().is_none()
    }

    fn by_kind(&self) -> Decision {
        match self.statement.kind {
            Kind::Read | Kind::BeginReadOnly => match (self.reader(), self.policy.route_policy) {
                (Ok(Some(reader)), _) => self.at(reader, Why::Reader),
                (Ok(None), RoutePolicy::FollowerFirst) => self.home(Why::NoReader),
                (Ok(None), RoutePolicy::FollowerOnly) => {
                    Decision { go: Go::Refuse(Refusal::NoReader), why: Why::NoReader }
                }
                (Err(why), _) => self.home(why),
            },
            Kind::Write
            | Kind::Other
            | Kind::Session
            | Kind::Begin
            | Kind::Commit
            | Kind::Rollback
            | Kind::Diagnostics => self.home(Why::Write),
        }
    }

    /// The replica for a read, if there is one.
    ///
    /// # Errors
    ///
    /// Why it is not for a replica.
    fn reader(&self) -> Result<Option<ServerId>, Why> {
        match (self.policy.split, self.statement.consistency) {
            (Split::Off, _) => return Err(Why::SplitOff),
            (Split::Weak | Split::On, Some(Consistency::Strong)) => return Err(Why::Strong),
            (Split::Weak, None) => return Err(Why::NotWeak),
            (Split::Weak, Some(Consistency::Weak)) | (Split::On, _) => {}
        }
        let max_lag = self.policy.max_replica_lag;
        Ok(replica(self.topology, self.standing, self.asker, max_lag, self.now))
    }

    /// Home, which is on the primary: where it is not it moves there.
    fn home(&self, why: Why) -> Decision {
        match self.topology.primary() {
            Some(primary) if self.is_usable(primary) && !self.has_left(primary) => {
                self.at(primary.id(), why)
            }
            Some(_) | None => self.stay(self.session.home, why),
        }
    }

    /// Whether the home has left the primary, which is to be left, for a peer of it.
    fn has_left(&self, primary: &Server) -> bool {
        let is_good = |home: &Server| home.is_peer && self.is_usable(home);
        primary.is_draining && self.topology.server(self.session.home.server).is_some_and(is_good)
    }

    /// To this link and no other.
    fn stay(&self, link: Link, why: Why) -> Decision {
        let is_fenced = self.topology.is_fenced(link.server, link.opened_in);
        match is_fenced && self.may_write() {
            true => Decision { go: Go::Refuse(Refusal::Fenced), why },
            false => self.at(link.server, why),
        }
    }

    fn at(&self, server: ServerId, why: Why) -> Decision {
        let go = match server == self.session.home.server {
            true => Go::Keep,
            false => Go::Use(server),
        };
        Decision { go, why }
    }

    fn is_usable(&self, server: &Server) -> bool {
        !is_spared(server, (self.standing)(server.id()))
    }

    /// Whether the statement may write where it goes, or begins what may.
    fn may_write(&self) -> bool {
        let has_written =
            self.session.transaction.is_some_and(|transaction| transaction.has_written);
        match self.statement.kind {
            Kind::Write | Kind::Other | Kind::Begin => true,
            // What opens one commits the one that is open.
            Kind::Commit | Kind::BeginReadOnly => has_written,
            Kind::Read | Kind::Session | Kind::Rollback | Kind::Diagnostics => false,
        }
    }
}

impl Why {
    /// By their numbers.
    pub const ALL: [Self; 14] = [
        Self::Diagnostics,
        Self::Transaction,
        Self::SplitTransaction,
        Self::Pinned,
        Self::Session,
        Self::PrimaryHint,
        Self::TargetHint,
        Self::RouteAddress,
        Self::Write,
        Self::SplitOff,
        Self::NotWeak,
        Self::Strong,
        Self::Reader,
        Self::NoReader,
    ];

    /// In words, for EXPLAIN ROUTE.
    pub fn text(self) -> &'static str {
        match self {
            Self::Diagnostics => "diagnostics",
            Self::Transaction => "transaction",
            Self::SplitTransaction => "split transaction",
            Self::Pinned => "pinned",
            Self::Session => "session state",
            Self::PrimaryHint => "hint: primary",
            Self::TargetHint => "hint: target",
            Self::RouteAddress => "obproxy_route_addr",
            Self::Write => "may write",
            Self::SplitOff => "split is off",
            Self::NotWeak => "not a weak read",
            Self::Strong => "strong read",
            Self::Reader => "read",
            Self::NoReader => "no replica",
        }
    }
}

#[cfg(test)]
mod tests;
