//! Whose connection it is, and where its packets end: what a relay reads along.

use std::sync::{Arc, Mutex as Lock, PoisonError};

use odp::proxy::Proxy;
use odp::wire::handshake::Greeting;
use odp::wire::id::ThreadId;

/// Which of a session's two sockets; as its place in a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    Client = 0,
    Server = 1,
}

/// Whose connection it is, as its greeting tells.
pub(super) struct Who {
    /// Which of its session's sockets it is.
    pub leg: Leg,
    heard: Lock<Heard>,
}

enum Heard {
    /// The start of the greeting.
    Start(Vec<u8>),
    /// The id in the server's.
    Thread(ThreadId),
    /// The id that the client was shown.
    Id(u32),
    /// It was none.
    Nothing,
}

impl Who {
    /// Nothing was heard yet.
    pub(super) fn new(leg: Leg) -> Self {
        Self { leg, heard: Lock::new(Heard::Start(Vec::new())) }
    }

    /// Bytes that may be part of the greeting of this leg.
    pub(super) fn hear(&self, bytes: &[u8], leg: Leg) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let Heard::Start(start) = &mut *heard else { return };
        if leg != self.leg {
            return;
        }
        start.extend(bytes);
        let (length, ends) = Packets::new(false).take(start);
        if ends {
            *heard = match Greeting::parse(&start[4..length]) {
                Ok(greeting) => match self.leg {
                    Leg::Client => Heard::Id(greeting.connection_id),
                    Leg::Server => Heard::Thread(ThreadId(greeting.connection_id)),
                },
                Err(_) => Heard::Nothing,
            };
        }
    }

    /// The session's id; None before there is a session.
    pub(super) fn id(&self, planes: &[Arc<Proxy>; 2]) -> Option<u32> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Heard::Thread(thread) = *heard {
            let mut sessions = planes.iter().flat_map(|plane| plane.sessions());
            *heard = Heard::Id(sessions.find(|it| it.server_thread == thread)?.id.0);
        }
        match *heard {
            Heard::Id(id) => Some(id),
            Heard::Start(_) | Heard::Thread(_) | Heard::Nothing => None,
        }
    }
}

/// Where packets end, and once there are any, TLS records.
pub(super) struct Packets {
    /// Whether records may come.
    tls: bool,
    header: Vec<u8>,
    left: usize,
}

impl Packets {
    /// At the beginning of a stream.
    pub(super) fn new(tls: bool) -> Self {
        Self { tls, header: Vec::new(), left: 0 }
    }

    /// A record's type and version; as a packet it would have 198 KB, which none in a log-in has,
    /// and behind it there are only records.
    fn is_record(&self) -> bool {
        self.tls && matches!(self.header[..], [20..=23, 3, 1..=3, ..])
    }

    fn header(&self) -> usize {
        if self.is_record() { 5 } else { 4 }
    }

    /// How many of these bytes belong to the current packet, and whether it ends with them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut head = bytes.len().min(4_usize.saturating_sub(self.header.len()));
        self.header.extend(&bytes[..head]);
        let more = (bytes.len() - head).min(self.header().saturating_sub(self.header.len()));
        self.header.extend(&bytes[head..head + more]);
        head += more;
        if self.header.len() < self.header() {
            return (head, false);
        }
        if head > 0 {
            self.left = match self.header[..] {
                [.., high, low] if self.is_record() => u16::from_be_bytes([high, low]).into(),
                [a, b, c, ..] => u32::from_le_bytes([a, b, c, 0]) as usize,
                _ => 0,
            };
        }
        let body = self.left.min(bytes.len() - head);
        self.left -= body;
        if self.left == 0 {
            self.header.clear();
        }
        (head + body, self.left == 0)
    }
}
