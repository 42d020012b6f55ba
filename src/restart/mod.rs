//! Hot restart. Knows file descriptors and opaque parcels, nothing of MySQL.

pub mod task;

use std::os::fd::OwnedFd;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

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
    /// The session's state: JSON with named fields, opaque here.
    pub state: Vec<u8>,
    /// Raw bytes that `state` refers to.
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

/// Whether new clients are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    /// Every listener accepts.
    Yes,
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

    /// Freezes up to `n` sessions of a class and gives them out; empty when there are none left.
    fn surrender(&self, class: Class, n: usize) -> impl Future<Output = Vec<Parcel>> + Send;

    /// Goes on with a session: in the successor, or in the predecessor after a nack.
    fn adopt(&self, parcel: Parcel) -> Result<(), Refused>;

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
}
