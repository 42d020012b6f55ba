//! The data plane, as far as a restart knows it: one trait, and what stands in its signatures.
//!
//! Invariant: whoever holds a [`Parcel`] owns the session. Nothing else of the data plane is known
//! here, and the data plane knows nothing else of a restart.

use std::any::Any;
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::time::Instant;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::tie::Tie;
use crate::metrics::pauses::Pauses;

/// One session in transit: its sockets, its state and the bytes it has read and not yet passed on.
///
/// Whoever holds a parcel owns the session. The predecessor keeps it until the ack, so a nack, or
/// the death of the other side, is answered by adopting it again where it came from.
#[derive(Debug)]
pub struct Parcel {
    /// What keeps it on record meanwhile, as this side's or the other's.
    pub claim: Option<Claim>,
    /// The session's id, as SHOW PROXYSESSION shows it.
    pub id: u32,
    /// The client's socket, then the servers'.
    pub fds: Vec<OwnedFd>,
    /// The session's state: JSON with named fields, opaque here. There may be keys in it.
    pub state: Zeroizing<Vec<u8>>,
    /// Raw bytes that `state` refers to.
    pub bytes: Vec<u8>,
}

/// A session's record that outlives this process; dropped, there is none any more. Opaque here.
pub struct Claim(Box<dyn Any + Send + Sync>);

impl Claim {
    /// By whatever keeps it.
    pub fn new(record: impl Any + Send + Sync) -> Self {
        Self(Box::new(record))
    }

    /// What keeps it, if it is such a thing.
    pub fn record<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Claim")
    }
}

/// A copy of a session that goes on: what its [`Parcel`] would be, without the sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The session's id.
    pub id: u32,
    /// How many sockets the parcel would have.
    pub fds: usize,
    /// As in the parcel.
    pub state: Vec<u8>,
    /// As in the parcel.
    pub bytes: Vec<u8>,
}

/// A parcel that was not adopted, and why.
#[derive(Debug)]
pub struct Refused {
    /// The session. Its sockets are gone if they were what was wrong; whoever has sent it has his
    /// own.
    pub parcel: Box<Parcel>,
    /// Such as `phase 'X' is unknown`.
    pub reason: String,
    /// The session is here, by another parcel.
    pub is_here: bool,
}

impl Refused {
    /// It cannot go on here.
    pub fn new(parcel: Parcel, reason: impl Into<String>) -> Self {
        Self { parcel: parcel.into(), reason: reason.into(), is_here: false }
    }
}

/// A session that is this side's, and that does nothing until the other side knows it.
#[must_use = "the session is kept, and stands still"]
pub struct Adopted(Box<dyn FnOnce() + Send>);

impl Adopted {
    /// What lets it go on.
    pub fn new(go_on: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(go_on))
    }

    /// Reading and writing begin.
    pub fn go_on(self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Adopted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Adopted")
    }
}

/// Whether new clients are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    /// Every listener accepts.
    Yes,
    /// Only the admin and HTTP listeners do; clients wait in the kernel's queue.
    Control,
    /// None does; the sockets stay open, so clients wait in the kernel's queue.
    No,
}

/// Which sessions to surrender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Between two commands and outside a transaction.
    Idle,
    /// Between two commands, in a transaction.
    InTransaction,
    /// Every session that is logged in.
    Any,
}

/// How many sessions there are, and in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All of them.
    pub sessions: u64,
    /// The sockets that they have, or will have once they are logged in.
    pub sockets: u64,
    /// Those with an open (or possibly open) transaction.
    pub in_transaction: u64,
    /// Those still logging in.
    pub logging_in: u64,
    /// Closed with 1053 in this restart, so far.
    pub disconnected: u64,
}

/// What a process needs for itself: listeners, operators, a restart.
const OWN_DESCRIPTORS: u64 = 64;

impl Census {
    /// How many descriptors a successor needs for all of them, and for itself.
    pub fn descriptors(&self) -> u64 {
        self.sockets + OWN_DESCRIPTORS
    }

    /// As many sessions of so many sockets each as a process that may open so many files can have
    /// and hand over, with what an operator needs to ask for that. One at least, or nobody would
    /// see what is wrong.
    pub fn most_sessions(open_files: u64, sockets: u64) -> usize {
        let most = open_files.saturating_sub(OWN_DESCRIPTORS) / sockets;
        usize::try_from(most.max(1)).unwrap_or(usize::MAX)
    }
}

/// A listening socket by the address that names it.
#[derive(Debug)]
pub struct Listener {
    /// `ROLE ADDRESS`, such as `sql 127.0.0.1:2883`.
    pub name: String,
    /// A duplicate; the original stays open.
    pub fd: OwnedFd,
}

/// How much is told of what was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// What is of one size however long the proxy has run: five times a second.
    Brief,
    /// Everything: before the other side serves, and at the end.
    Full,
}

/// What a restart may ask of the data plane. Nothing else crosses this line.
pub trait DataPlane: Send + Sync + 'static {
    /// Duplicates of every listening socket: clients', admin and HTTP.
    fn listeners(&self) -> std::io::Result<Vec<Listener>>;

    /// Starts or stops taking new clients on every listener; done when every accept loop obeyed.
    fn accept(&self, accepting: Accepting) -> impl Future<Output = ()> + Send;

    /// What the successor must know before it serves: id allocation, greetings, altered parameters.
    fn legacy(&self) -> Bytes;

    /// Counters of this process and its predecessors, for the other side to add to its own.
    fn counters(&self, report: Report) -> Bytes;

    /// Takes over the counters of a predecessor; a later call replaces an earlier one, but for what
    /// a brief report leaves out.
    fn inherit_counters(&self, counters: &[u8]);

    /// What only this process has counted, for the predecessor that takes everything back. What its
    /// sessions have counted goes with them.
    fn own_counters(&self) -> Bytes {
        Bytes::new()
    }

    /// What only the successor had counted, which has given everything back.
    fn credit_counters(&self, _counters: &[u8]) {}

    /// Freezes up to `n` sessions of a class and gives them out; empty when there are none left.
    /// Those in `except` stay: the other side has refused them. A session that was given out still
    /// counts in `census` and `emptied`, until it is `adopt`ed again here or `released`.
    fn surrender(
        &self,
        class: Class,
        n: usize,
        except: &HashSet<u32>,
    ) -> impl Future<Output = Vec<Parcel>> + Send;

    /// Takes a session: in the successor, or in the predecessor after a nack.
    fn adopt(&self, parcel: Parcel) -> Result<Adopted, Refused>;

    /// The other side has adopted this session: forget it.
    fn released(&self, id: u32);

    /// Sessions go on until `deadline`; what is left then gets 1053. None: no deadline.
    fn drain(&self, deadline: Option<Instant>);

    /// Takes back a drain that has not ended: sessions go on as if nothing had been asked.
    fn undrain(&self);

    /// Waits until no session is left.
    fn emptied(&self) -> impl Future<Output = ()> + Send;

    /// Numbers for SHOW RESTART.
    fn census(&self) -> Census;

    /// How long sessions stood still, from their freezing to their going on in this process, be it
    /// after their journey or after one that was called off.
    fn pauses(&self) -> Pauses {
        Pauses::default()
    }

    /// The next thing to tell the data plane of the other generation, while two live: which
    /// sessions are here, or that one of those over there is to be killed. Opaque here. Cancel
    /// safe.
    fn tell(&self) -> impl Future<Output = Bytes> + Send {
        std::future::pending()
    }

    /// What the other side must have heard before it gets sessions, or may take clients: which
    /// sessions are here that it was not told of. None if there are none.
    fn news(&self) -> Option<Bytes> {
        None
    }

    /// What the data plane of the other generation tells.
    fn hear(&self, _note: &[u8]) {}

    /// The sessions that could be asked for in a restart now.
    fn movable(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Copies of these sessions, which go on as if nothing had been asked; none of those that have
    /// ended.
    fn replicate(&self, _ids: &[u32]) -> impl Future<Output = Vec<Replica>> + Send {
        std::future::ready(Vec::new())
    }

    /// From here on nobody else has a part in what is here: if this process dies, nobody takes
    /// anything back.
    fn own(&self) {}

    /// From here on the other process may have sessions of this one: whoever comes after this one
    /// is to find it.
    fn tie(&self, _tie: Tie) {}

    /// From here on all is the other process's: nobody is to come after this one.
    fn conclude(&self) {}

    /// There is no other generation any more.
    fn part(&self) {}
}
