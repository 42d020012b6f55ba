//! Two processes of a restart, each as the other's heir is to find it: one that comes after a crash
//! goes on with what the dead one had begun.
//!
//! ```text
//!   the predecessor has died   its heir asks for all sessions: RETURN
//!   the successor has died     its heir asks to be asked for them: ROLLBACK
//! ```
//! So a crash of either side undoes the restart. Of sessions that were on their way nobody knows
//! whether they have arrived: the heir holds them until the other side has acknowledged them, has
//! given them back, or has nothing left to give.

use std::os::fd::RawFd;

/// Descriptors that outlive the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tie {
    /// What this process is.
    pub part: Part,
    /// The way to the other one.
    pub channel: RawFd,
    /// The other one.
    pub other: Other<RawFd>,
}

/// What a process is in a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It gives its sessions away.
    Predecessor,
    /// It takes them over.
    Successor,
}

/// The other process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other<Fd> {
    /// Its id.
    pub pid: u32,
    /// Tells of its end; of its keeper's, if it has one.
    pub process: Option<Fd>,
    /// Tells of the end of the process that such a keeper has.
    pub carrier: Option<Fd>,
}
