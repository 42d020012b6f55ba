//! Hot restart. Knows file descriptors and opaque parcels, nothing of MySQL.
//!
//! ```text
//! lifecycle   the handle of admin port and signals: it asks the coordinator, and shows the board
//! coordinator takes orders one after another, runs one restart at a time; order: what it is asked
//! drive/      what a restart does: it moves bytes, sockets and sessions as a machine says
//!   outgoing, incoming        one for each side
//!   custody                   what was given out, and whether somebody has used it
//!   rehearsal                 what a successor would refuse; both sides, and nothing moves
//! machine/    what happens next, pure: handle_* in, poll_* out
//!   predecessor, successor    one for each side
//!   shipment                  which sessions go next, and which are on their way
//!   liveness, probation       whether the other side speaks; whom it has had for long enough
//!   plan                      what one restart is to be, and how it ended
//! transport/  messages and sockets between two processes
//!   channel, parcels          frames with fds over SOCK_SEQPACKET; sessions in one of them
//!   socket                    run_dir/handover.sock, for a successor that somebody else starts
//!   disguise, later           let a test pass for another version
//! host/       the system: processes, descriptors, how far a socket was used, crash points
//! board       what is shown: how the proxy stands, and the ledger of its tasks
//! plane       what a restart may ask of the data plane; tie: what is left of one by a crash
//! message     what two processes tell each other; task: what people are told
//! ```
//! A line leads downwards only: lifecycle, coordinator, drive, (machine, transport), (host,
//! board), and below them all plane, tie, message, task and timeouts. `machine` and `message`
//! know no runtime, no clock, no log and no socket.
//!
//! Invariant: before COMMIT every error ends with the predecessor serving everything that is its.

mod board;
mod coordinator;
mod drive;
mod host;
mod ledger;
mod lifecycle;
mod machine;
mod message;
pub mod notify;
mod order;
mod plane;
pub mod task;
#[cfg(test)]
mod tests;
mod tie;
mod timeouts;
mod transport;

pub use board::{Origin, Settings, Standing};
pub use drive::incoming::{Offer, TakeoverError};
pub use drive::rehearsal::understudy;
pub(crate) use host::crash;
pub use host::fd::ended;
pub use host::process::OOM_SCORE_ADJ;
pub use lifecycle::Lifecycle;
pub use order::{Exit, Refusal, Start, Unfinished};
pub use plane::{
    Accepting, Adopted, Census, Claim, Class, DataPlane, Listener, Parcel, Refused, Replica, Report,
};
pub use tie::{Other, Part, Tie};
pub use timeouts::Timeouts;
#[cfg(test)]
pub(crate) use transport::later;
pub use transport::socket::prepare as prepare_run_dir;

/// Decodes a message; for fuzzing.
pub fn fuzz(datagram: &[u8]) {
    let _ = message::Frame::decode(&bytes::Bytes::copy_from_slice(datagram));
}
