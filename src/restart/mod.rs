//! Hot restart. Knows file descriptors and opaque parcels, nothing of MySQL.
//!
//! ```text
//! lifecycle   the handle for admin port and signals; its desk takes orders, one restart at a time
//!   outgoing    drives the predecessor's machine: channel, successor process, data plane
//!   incoming    drives the successor's machine: channel, data plane
//!     predecessor, successor    what happens next: sans-IO; `liveness`, `transfer`, `probation`
//!     custody, position         what was given out, and whether somebody has used it
//!     channel, message          fds and bytes over SOCK_SEQPACKET; `parcels` in one message
//!   door        run_dir/handover.sock, for a successor that somebody else starts
//!   plan        what one restart is to be, and how it ended
//!   process     preflight, spawn, and the end of a process
//! rehearsal   what a successor would refuse; both sides, and nothing moves
//! disguise    lets a test pass for another version
//! ```
//! Invariant: before COMMIT every error ends with the predecessor serving everything that is its.

#[path = "transport/channel.rs"]
mod channel;
#[path = "host/crash.rs"]
mod crash;
#[path = "drive/custody.rs"]
mod custody;
mod desk;
#[path = "transport/disguise.rs"]
mod disguise;
#[path = "transport/door.rs"]
mod door;
#[path = "drive/incoming.rs"]
mod incoming;
mod ledger;
mod lifecycle;
#[path = "machine/liveness.rs"]
mod liveness;
mod message;
pub mod notify;
#[path = "drive/outgoing.rs"]
mod outgoing;
#[path = "transport/parcels.rs"]
mod parcels;
#[path = "machine/plan.rs"]
mod plan;
#[path = "host/position.rs"]
mod position;
#[path = "machine/predecessor.rs"]
mod predecessor;
#[path = "machine/probation.rs"]
mod probation;
#[path = "host/process.rs"]
mod process;
#[path = "drive/rehearsal.rs"]
mod rehearsal;
#[path = "machine/successor.rs"]
mod successor;
pub mod task;
#[cfg(test)]
mod tests;
#[path = "machine/shipment.rs"]
mod transfer;

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub use door::prepare as prepare_run_dir;
pub use incoming::Offer;
pub use lifecycle::{Exit, Lifecycle, Origin, Settings, Standing, Start};
pub use rehearsal::understudy;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::metrics::pauses::Pauses;

/// One session in transit: its sockets, its state and the bytes it has read and not yet passed on.
///
/// Whoever holds a parcel owns the session. The predecessor keeps it until the ack, so a nack, or
/// the death of the other side, is answered by adopting it again where it came from.
#[derive(Debug)]
pub struct Parcel {
    /// The session's id, as SHOW PROXYSESSION shows it.
    pub id: u32,
    /// The client's socket, then the servers'.
    pub fds: Vec<OwnedFd>,
    /// The session's state: JSON with named fields, opaque here. There may be keys in it.
    pub state: Zeroizing<Vec<u8>>,
    /// Raw bytes that `state` refers to.
    pub bytes: Vec<u8>,
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
    /// The session, unharmed.
    pub parcel: Parcel,
    /// Such as `phase 'X' is unknown`.
    pub reason: String,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Census {
    /// All of them.
    pub sessions: u64,
    /// Those with an open (or possibly open) transaction.
    pub in_transaction: u64,
    /// Those still logging in.
    pub logging_in: u64,
    /// Closed with 1053 in this restart, so far.
    pub disconnected: u64,
}

impl Census {
    /// As many sessions as a process that may open so many files can have and hand over, with what
    /// an operator needs to ask for that.
    pub fn most_sessions(open_files: u64) -> usize {
        usize::try_from(transfer::sessions(open_files)).unwrap_or(usize::MAX)
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

/// What a restart may ask of the data plane. Nothing else crosses this line.
pub trait DataPlane: Send + Sync + 'static {
    /// Duplicates of every listening socket: clients', admin and HTTP.
    fn listeners(&self) -> std::io::Result<Vec<Listener>>;

    /// Starts or stops taking new clients on every listener; done when every accept loop obeyed.
    fn accept(&self, accepting: Accepting) -> impl Future<Output = ()> + Send;

    /// What the successor must know before it serves: id allocation, greetings, altered parameters.
    fn legacy(&self) -> Bytes;

    /// Counters of this process and its predecessors, for the other side to add to its own.
    fn counters(&self) -> Bytes;

    /// Takes over the counters of a predecessor; a later call replaces an earlier one.
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

    /// There is no other generation any more.
    fn part(&self) {}
}

/// What this future comes to; without one, nothing ever happens.
async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Decodes a message; for fuzzing.
pub fn fuzz(datagram: &[u8]) {
    let _ = message::Frame::decode(&Bytes::copy_from_slice(datagram));
}

/// How long one side waits for the other; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// `BINARY check` may take this long.
    pub preflight: Duration,
    /// For the answer to one message, and for a message to fit into the socket.
    pub answer: Duration,
    /// Without any message of the other side: it hangs.
    pub silence: Duration,
    /// Between two PROGRESS messages.
    pub progress: Duration,
    /// For the data plane to freeze a batch, or to start or stop accepting.
    pub step: Duration,
    /// Between looks for sessions that have become movable.
    pub again: Duration,
    /// Sessions of a successor that is taken back may go on logging in.
    pub login: Duration,
    /// From SIGTERM to SIGKILL.
    pub terminate: Duration,
    /// From SIGKILL until a process that is still there counts as dead: it can run no more code
    /// of its own.
    pub kill: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            preflight: Duration::from_secs(30),
            answer: Duration::from_secs(3),
            silence: Duration::from_secs(5),
            progress: Duration::from_millis(100),
            step: Duration::from_secs(10),
            again: Duration::from_millis(20),
            login: Duration::from_secs(2),
            terminate: Duration::from_secs(2),
            kill: Duration::from_secs(10),
        }
    }
}
