//! The messages of a handover: named fields in JSON, raw bytes beside them, file descriptors apart.
//!
//! ```text
//! frame   "ODPH" | version u16 | zero u16 | head length u32 | body length u32 | head | body
//! ```
//! All numbers are little endian. The frame, HELLO and REFUSE never change; everything else may
//! grow: unknown fields are skipped, an unknown kind is refused by its name. Golden files of every
//! version, in tests/handover, are decoded for ever.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::task::Task;

/// The versions of the protocol that this build speaks.
pub const VERSIONS: Versions = Versions { min: 1, max: 1 };

/// The longest head or body that is believed.
pub const LONGEST: usize = 1 << 28;

/// Before head and body.
pub const PREFIX: usize = 16;

const MAGIC: &[u8; 4] = b"ODPH";

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

/// What the two sides tell each other. P is the predecessor, S the successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "UPPERCASE")]
pub enum Message {
    /// S→P, the first: who I am.
    Hello(Hello),
    /// Either way: it will not be, and nothing has happened.
    Refuse(Reason),
    /// P→S: what you will get. The body is the legacy of the data plane.
    Offer(Box<Terms>),
    /// P→S: listening sockets, the fds in the order of their names.
    Listen(Listen),
    /// S→P: the data plane stands.
    Ready {},
    /// Either way: sessions; fds and body in the order of the entries.
    Parcels(Parcels),
    /// The answer to PARCELS, for each session.
    Acks(Acks),
    /// P→S: I have stopped accepting; accept.
    Go {},
    /// S→P: I do.
    Accepted {},
    /// P→S, at least every 200 ms from READY on. The body is the counters.
    Progress(Progress),
    /// S→P, the answer to PROGRESS.
    Seen {},
    /// Either way: from data plane to data plane; the body is theirs.
    Note {},
    /// S→P: end at once, with 1053 for whoever is left.
    Force {},
    /// S→P: the operator wants it all taken back.
    Rollback {},
    /// S→P: the whole proxy stops; so do you.
    Stop {},
    /// P→S: give all sessions back.
    Return {},
    /// S→P: there is nothing left that I could give back.
    Returned {},
    /// P→S: end; you will be killed otherwise.
    Abort(Reason),
    /// S→P: you did not answer; I serve on without you, and have read all that I will.
    Promoted(Reason),
    /// P→S: everything is yours. The body is the final counters.
    Commit(Progress),
    /// S→P: so it is.
    Committed {},
}

const KINDS: &[&str] = &[
    "HELLO",
    "REFUSE",
    "OFFER",
    "LISTEN",
    "READY",
    "PARCELS",
    "ACKS",
    "GO",
    "ACCEPTED",
    "PROGRESS",
    "SEEN",
    "NOTE",
    "FORCE",
    "ROLLBACK",
    "STOP",
    "RETURN",
    "RETURNED",
    "ABORT",
    "PROMOTED",
    "COMMIT",
    "COMMITTED",
];

/// HELLO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol versions that the successor speaks.
    pub versions: Versions,
    /// Its package version.
    #[serde(default)]
    pub build: String,
    /// Its process id, as it sees itself.
    #[serde(default)]
    pub pid: u32,
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
    pub generation: u64,
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
    /// Of a version that this build does not speak.
    #[error("handover protocol version {0} is not supported")]
    Version(u16),
    /// A message of a later version.
    #[error("unknown message '{0}'")]
    UnknownKind(String),
    /// Of a known kind, but malformed.
    #[error("malformed message: {0}")]
    Malformed(String),
}

impl Message {
    /// Its name, for logs and errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "HELLO",
            Self::Refuse(_) => "REFUSE",
            Self::Offer(_) => "OFFER",
            Self::Listen(_) => "LISTEN",
            Self::Ready {} => "READY",
            Self::Parcels(_) => "PARCELS",
            Self::Acks(_) => "ACKS",
            Self::Go {} => "GO",
            Self::Accepted {} => "ACCEPTED",
            Self::Progress(_) => "PROGRESS",
            Self::Seen {} => "SEEN",
            Self::Note {} => "NOTE",
            Self::Force {} => "FORCE",
            Self::Rollback {} => "ROLLBACK",
            Self::Stop {} => "STOP",
            Self::Return {} => "RETURN",
            Self::Returned {} => "RETURNED",
            Self::Abort(_) => "ABORT",
            Self::Promoted(_) => "PROMOTED",
            Self::Commit(_) => "COMMIT",
            Self::Committed {} => "COMMITTED",
        }
    }
}

impl Frame {
    /// Prefix and head; the body follows as it is.
    pub fn encode_head(&self) -> Vec<u8> {
        let head = serde_json::to_vec(&self.message).expect("strings and numbers are always JSON");
        let mut out = Vec::with_capacity(PREFIX + head.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSIONS.min.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(head.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.body.len() as u32).to_le_bytes());
        out.extend_from_slice(&head);
        out
    }

    /// The inverse of [`Frame::encode_head`] with the body behind it.
    pub fn decode(datagram: &Bytes) -> Result<Self, DecodeError> {
        let prefix = datagram.get(..PREFIX).ok_or(DecodeError::NotOurs)?;
        if &prefix[..4] != MAGIC {
            return Err(DecodeError::NotOurs);
        }
        let version = u16::from_le_bytes([prefix[4], prefix[5]]);
        if version != VERSIONS.min {
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

fn decode_head(head: &[u8]) -> Result<Message, DecodeError> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    let malformed = |error: serde_json::Error| DecodeError::Malformed(error.to_string());
    let kind = serde_json::from_slice::<Kind>(head).map_err(malformed)?.kind;
    if !KINDS.contains(&kind.as_str()) {
        // It ends in logs and in SHOW RESTART: not longer than a name is.
        return Err(DecodeError::UnknownKind(kind.chars().take(40).collect()));
    }
    serde_json::from_slice(head).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datagram(head: &str, body: &[u8]) -> Bytes {
        let mut out = Vec::from(*MAGIC);
        out.extend_from_slice(&[1, 0, 0, 0]);
        out.extend_from_slice(&(head.len() as u32).to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body);
        out.into()
    }

    /// One golden file a message: never edited, only added.
    #[test]
    fn golden_messages_of_every_version_are_understood() {
        let mut kinds = Vec::new();
        for file in std::fs::read_dir("tests/handover/v1").expect("golden files") {
            let path = file.expect("readable").path();
            let head = std::fs::read_to_string(&path).expect("readable");
            let frame = Frame::decode(&datagram(head.trim_end(), b"body"));
            let frame = frame.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(&frame.body[..], b"body");
            kinds.push(frame.message.kind());
        }
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), KINDS.len(), "each kind has a golden file: {kinds:?}");
    }

    #[test]
    fn unknown_fields_are_skipped_and_unknown_kinds_named() {
        let known = datagram(r#"{"kind":"REFUSE","reason":"x","colour":[1,{"a":2}]}"#, b"");
        let reason = Reason { reason: "x".into() };
        assert_eq!(Frame::decode(&known), Ok(Message::Refuse(reason).into()));
        let unknown = datagram(r#"{"kind":"TELEPORT","to":"moon"}"#, b"");
        assert_eq!(Frame::decode(&unknown), Err(DecodeError::UnknownKind("TELEPORT".into())));
        let http = Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(Frame::decode(&http), Err(DecodeError::NotOurs));
    }

    #[test]
    fn versions_agree_on_the_newest_that_both_speak() {
        let versions = |min, max| Versions { min, max };
        assert_eq!(versions(1, 3).common(versions(2, 5)), Some(3));
        assert_eq!(versions(1, 3).common(versions(3, 3)), Some(3));
        assert_eq!(versions(1, 2).common(versions(3, 4)), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Frame::decode(&bytes.into());
        }

        #[test]
        fn arbitrary_heads_never_panic(
            kind in proptest::sample::select(KINDS),
            fields in r#"[a-z0-9{}\[\]":, -]{0,60}"#,
            body in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let _ = Frame::decode(&datagram(&format!(r#"{{"kind":"{kind}",{fields}}}"#), &body));
        }

        #[test]
        fn decode_inverts_encode(
            ids in proptest::collection::vec(any::<u32>(), 0..50),
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let entry = |id: &u32| Entry { id: *id, fds: 2, state: 3, bytes: 4 };
            let message = Message::Parcels(Parcels { parcels: ids.iter().map(entry).collect() });
            let frame = Frame { message, body: body.into() };
            let datagram = [&frame.encode_head()[..], &frame.body].concat();
            prop_assert_eq!(Frame::decode(&datagram.into()), Ok(frame));
        }
    }
}
