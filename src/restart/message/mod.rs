//! The messages of a handover: named fields in JSON, raw bytes beside them, file descriptors apart.
//!
//! ```text
//! frame   "ODPH" | one u16 | zero u16 | head length u32 | body length u32 | head | body
//! ```
//! All numbers are little endian. The frame, HELLO and REFUSE never change; everything else may
//! grow: unknown fields are skipped, an unknown kind is refused by its name. Golden files of every
//! version, in tests/handover, are decoded for ever.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::task::{Generation, Task};
use crate::names::named;

/// The versions of the protocol that this build speaks.
pub(super) const VERSIONS: Versions = Versions { min: 1, max: 1 };

/// The longest head or body that is believed.
pub(super) const LONGEST: usize = 1 << 28;

/// fds beside one frame: the kernel's SCM_MAX_FD is 253, and one may be the memfd that holds it.
pub(super) const MOST_FDS: usize = 252;

/// Before head and body.
pub(super) const PREFIX: usize = 16;

const MAGIC: &[u8; 4] = b"ODPH";

/// The version of the frame, which never changes: HELLO must be read whatever its sender speaks.
const FRAME: u16 = 1;

/// A range of protocol versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl Versions {
    /// The newest version that both sides speak.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

named! {
    /// What the two sides tell each other. P is the predecessor, S the successor.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(tag = "kind")]
    pub enum Message {
        /// S→P, the first: who I am.
        Hello(Hello) = "HELLO",
        /// Either way: it will not be, and nothing has happened.
        Refuse(Reason) = "REFUSE",
        /// P→S: what you will get. The body is the legacy of the data plane.
        Offer(Box<Terms>) = "OFFER",
        /// P→S: listening sockets, the fds in the order of their names.
        Listen(Listen) = "LISTEN",
        /// S→P: the data plane stands.
        Ready {} = "READY",
        /// Either way: sessions; fds and body in the order of the entries.
        Parcels(Parcels) = "PARCELS",
        /// The answer to PARCELS, for each session.
        Acks(Acks) = "ACKS",
        /// P→S: I have stopped accepting; accept.
        Go {} = "GO",
        /// S→P: I do.
        Accepted {} = "ACCEPTED",
        /// P→S, at least every 200 ms from READY on. The body is the counters, but for those that
        /// become more with time: they come with the one before GO, and with COMMIT.
        Progress(Progress) = "PROGRESS",
        /// S→P, the answer to PROGRESS.
        Seen {} = "SEEN",
        /// Either way: from data plane to data plane; the body is theirs.
        Note {} = "NOTE",
        /// S→P: end at once, with 1053 for whoever is left.
        Force {} = "FORCE",
        /// S→P: the operator wants it all taken back; or this side does, for a reason.
        Rollback(TakeBack) = "ROLLBACK",
        /// S→P: the operator does not want to wait for the end of the probation.
        Confirm {} = "CONFIRM",
        /// Either way: the whole proxy stops; so do you.
        Stop {} = "STOP",
        /// P→S: give all sessions back.
        Return {} = "RETURN",
        /// S→P: there is nothing left that I could give back. The body is what only I have counted.
        Returned {} = "RETURNED",
        /// P→S: end; you will be killed otherwise.
        Abort(Reason) = "ABORT",
        /// S→P: you did not answer; I serve on without you, and have read all that I will.
        Promoted(Reason) = "PROMOTED",
        /// P→S: everything is yours. The body is the final counters.
        Commit(Progress) = "COMMIT",
        /// S→P: so it is.
        Committed {} = "COMMITTED",
    }
}

/// HELLO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol versions that the successor speaks.
    pub versions: Versions,
    /// Its package version.
    #[serde(default)]
    pub build: String,
    /// Its process id, as it sees itself; its keeper's if it has one.
    #[serde(default)]
    pub pid: u32,
    /// The process of that pair that carries sessions; 0 if it is the same.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub carrier: u32,
    /// Tells one config from another; opaque.
    #[serde(default)]
    pub config_hash: String,
    /// How many fds it may open; 0 if it does not know.
    #[serde(default)]
    pub nofile: u64,
}

/// REFUSE, ABORT and PROMOTED.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// For people.
    #[serde(default)]
    pub reason: String,
}

/// ROLLBACK: why all is to be taken back. On the wire it is a reason; an empty one is the order of
/// an operator, who needs none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Reason", into = "Reason")]
pub enum TakeBack {
    /// RESTART ROLLBACK.
    Ordered,
    /// The sender cannot go on.
    Failed(String),
}

impl From<Reason> for TakeBack {
    fn from(Reason { reason }: Reason) -> Self {
        if reason.is_empty() { Self::Ordered } else { Self::Failed(reason) }
    }
}

impl From<TakeBack> for Reason {
    fn from(it: TakeBack) -> Self {
        match it {
            TakeBack::Ordered => Self { reason: String::new() },
            TakeBack::Failed(reason) => Self { reason },
        }
    }
}

/// OFFER.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The protocol version from here on.
    pub version: u16,
    /// The predecessor's package version.
    #[serde(default)]
    pub build: String,
    /// Its process id.
    #[serde(default)]
    pub pid: u32,
    /// The successor's generation.
    pub generation: Generation,
    /// How many listening sockets come.
    pub listeners: usize,
    /// How many sessions there are.
    #[serde(default)]
    pub sessions: u64,
    /// The file that the predecessor ran it from; it was opened before, so the successor cannot
    /// tell by itself what its next restart is to run.
    #[serde(default)]
    pub binary: Option<std::path::PathBuf>,
    /// This restart's task.
    pub task: Task,
    /// Earlier tasks, newest first.
    #[serde(default)]
    pub tasks: Vec<Task>,
}

/// LISTEN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// One name an fd: `ROLE ADDRESS`.
    pub names: Vec<String>,
}

/// PARCELS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcels {
    /// One a session.
    pub parcels: Vec<Entry>,
}

/// One session in PARCELS: how much of the fds and of the body is its.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The session.
    pub id: u32,
    /// Its fds.
    pub fds: usize,
    /// Its state, in bytes of the body.
    pub state: usize,
    /// Its unread bytes, after the state.
    pub bytes: usize,
}

/// ACKS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acks {
    /// Adopted: the sender of the parcels forgets them.
    #[serde(default)]
    pub adopted: Vec<u32>,
    /// Not adopted: they go on where they came from.
    #[serde(default)]
    pub refused: Vec<Nack>,
    /// Why none of them even arrived. That is no matter of these sessions: no other would.
    #[serde(default)]
    pub lost: Option<String>,
}

/// A session that was not adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// The session.
    pub id: u32,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// PROGRESS and COMMIT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The task as it stands.
    pub task: Task,
}

/// A message with its bytes; its fds travel apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The named part.
    pub message: Message,
    /// The raw part.
    pub body: Bytes,
}

impl From<Message> for Frame {
    fn from(message: Message) -> Self {
        Self { message, body: Bytes::new() }
    }
}

/// Why bytes are no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Something else speaks here.
    #[error("not a handover message")]
    NotOurs,
    /// In a frame of another kind than has ever been.
    #[error("frame version {0} of the handover protocol is not supported")]
    Version(u16),
    /// A message of a later version.
    #[error("unknown message '{0}'")]
    UnknownKind(String),
    /// Of a known kind, but malformed.
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// A head with its prefix; a body of this length follows.
pub(super) fn prefixed(head: &[u8], body: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX + head.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FRAME.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(head.len() as u32).to_le_bytes());
    out.extend_from_slice(&(body as u32).to_le_bytes());
    out.extend_from_slice(head);
    out
}

impl Frame {
    /// Prefix and head; the body follows as it is.
    pub fn encode_head(&self) -> Vec<u8> {
        let head = serde_json::to_vec(&self.message).expect("strings and numbers are always JSON");
        prefixed(&head, self.body.len())
    }

    /// The inverse of [`Frame::encode_head`] with the body behind it.
    pub fn decode(datagram: &Bytes) -> Result<Self, DecodeError> {
        let prefix = datagram.get(..PREFIX).ok_or(DecodeError::NotOurs)?;
        if &prefix[..4] != MAGIC {
            return Err(DecodeError::NotOurs);
        }
        let version = u16::from_le_bytes([prefix[4], prefix[5]]);
        if version != FRAME {
            return Err(DecodeError::Version(version));
        }
        let length = |at: usize| {
            let bytes = [prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]];
            u32::from_le_bytes(bytes) as usize
        };
        let (head, body) = (length(8), length(12));
        if head > LONGEST || body > LONGEST || PREFIX + head + body != datagram.len() {
            let text = format!("{head} and {body} bytes announced, {} came", datagram.len());
            return Err(DecodeError::Malformed(text));
        }
        let message = decode_head(&datagram[PREFIX..PREFIX + head])?;
        Ok(Self { message, body: datagram.slice(PREFIX + head..) })
    }
}

fn is_zero(pid: &u32) -> bool {
    *pid == 0
}

fn decode_head(head: &[u8]) -> Result<Message, DecodeError> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    let malformed = |error: serde_json::Error| DecodeError::Malformed(error.to_string());
    let kind = serde_json::from_slice::<Kind>(head).map_err(malformed)?.kind;
    if !Message::NAMES.contains(&kind.as_str()) {
        // It ends in logs and in SHOW RESTART: not longer than a name is.
        return Err(DecodeError::UnknownKind(kind.chars().take(40).collect()));
    }
    serde_json::from_slice(head).map_err(malformed)
}

#[cfg(test)]
mod tests;
