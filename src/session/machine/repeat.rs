//! A command that another server than the home was asked, kept until its answer begins: if that
//! server is lost before, the home is asked instead, and the client notices nothing but the time.
//!
//! ```text
//!   passed on to a reader ─► kept ─┬─► its answer begins: forgotten
//!                                  └─► the reader is lost: the next command of the client's again
//! ```
//!
//! Invariant: only what changes nothing is asked of a reader (see [`routing`]), so that it does not
//! matter whether it was executed; and of what is kept the client has seen no byte of an answer. It
//! is one command at the most: the next one waits for the answer.
//!
//! [`routing`]: crate::session::routing

use serde::{Deserialize, Serialize};

use super::{Route, Session};
use crate::session::front::Turn;
use crate::session::link::{Link, LinkId};
use crate::wire::packet::{HEADER, Header};
use crate::wire::response::ServerStatus;

/// ER_SERVER_SHUTDOWN and ER_CONNECTION_KILLED: how servers take their leave of who waits for an
/// answer.
const FAREWELLS: [u16; 2] = [1053, 1927];

/// What was asked of a reader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::session) struct Kept {
    /// Its header and payload; empty: nothing, or too long to be kept.
    pub(in crate::session) command: Vec<u8>,
    /// The client's next command was asked before, of a reader that was lost.
    pub(in crate::session) is_again: bool,
}

impl Kept {
    pub(in crate::session) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a reader's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Nothing that an end is announced by.
    No,
    /// That can't be told yet.
    Perhaps,
    /// The server takes its leave: the reader is lost.
    Yes,
}

impl Session {
    /// A command goes to the link that has the client's.
    #[inline]
    pub(super) fn keep(&mut self, header: Header, head: &[u8]) {
        if self.conversation.current() != LinkId::HOME && header.length == head.len() {
            self.kept.command = [&header.encode()[..], head].concat();
        }
    }

    /// An answer may have begun.
    #[inline]
    pub(super) fn release(&mut self) {
        if !self.kept.command.is_empty() && !self.conversation.is_unanswered() {
            self.kept.command = Vec::new();
        }
    }

    /// How much room must be left in front of what the client sends, for what is kept.
    pub fn kept(&self) -> usize {
        self.kept.command.len()
    }

    /// Whether the client's next command was asked before, of a reader that was lost.
    pub fn is_asked_again(&self) -> bool {
        self.kept.is_again
    }

    /// The same, of the command at hand; the next one is another.
    pub(super) fn take_asked_again(&mut self) -> bool {
        self.kept.is_again && std::mem::take(&mut self.kept.is_again)
    }

    /// Whether the link that has the client's commands can be done without: it is a reader, and the
    /// client waits for nothing of it, or for an answer that has not begun.
    fn is_dispensable(&self) -> bool {
        let conversation = &self.conversation;
        let front = conversation.front();
        let is_between = front.turn() == Turn::Command && front.is_between_packets();
        let waits_for_kept = self.kept() > 0 && conversation.is_unanswered();
        conversation.current() != LinkId::HOME
            && is_between
            && (waits_for_kept || conversation.is_idle())
    }

    /// What these bytes of the server's are that has the client's commands, in which nothing was
    /// judged yet.
    pub fn farewell(&self, bytes: &[u8]) -> Farewell {
        if !self.is_dispensable() || bytes.is_empty() {
            return Farewell::No;
        }
        if self.conversation.is_idle() {
            // Who was asked nothing has nothing else to say.
            return Farewell::Yes;
        }
        let Some((header, payload)) = bytes.split_at_checked(HEADER) else {
            return Farewell::Perhaps;
        };
        let is_short = Header::parse(header).is_none_or(|header| header.length < 3);
        match payload {
            _ if is_short => Farewell::No,
            [0xFF, low, high, ..] if FAREWELLS.contains(&u16::from_le_bytes([*low, *high])) => {
                Farewell::Yes
            }
            [] | [0xFF] | [0xFF, _] => Farewell::Perhaps,
            _ => Farewell::No,
        }
    }

    /// The link is lost that has the client's commands: the home has them from now on. What is to
    /// be asked again comes before what the client has sent since; None if that can't be, as part
    /// of its answer was passed on, or the link is the home.
    pub fn handle_lost(&mut self) -> Option<Vec<u8>> {
        if !self.is_dispensable() {
            return None;
        }
        let lost = self.conversation.current();
        let link = self.conversation.link_mut(lost);
        // Who asks for its warnings is told that they are lost, and not that there are none.
        let has_warnings = link.has_warnings;
        // Nothing waits in it: it is a reader.
        let queue = std::mem::take(&mut link.queue);
        *link = Link { has_warnings, queue, ..Link::idle(link.dialect(), ServerStatus::Unknown) };
        link.queue.clear();
        self.conversation.current = LinkId::HOME;
        self.route = Route::Open;
        let command = std::mem::take(&mut self.kept.command);
        self.kept.is_again = !command.is_empty();
        Some(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::SessionCounters;
    use crate::session::ids::Directory;
    use crate::session::snapshot::SessionSnapshot;
    use crate::wire::id::{SessionId, ThreadId};
    use crate::wire::packet::packet;
    use crate::wire::response::Dialect;

    struct Nobody;

    impl Directory for Nobody {
        fn server_thread(&self, _: SessionId) -> Option<ThreadId> {
            None
        }
    }

    const OK: &[u8] = &[7, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0];
    const READ: &[u8] = b"\x03SELECT n FROM t";

    /// A session that has turned to its second link.
    fn session() -> Session {
        let dialect = Dialect::default();
        let mut session = Session::logging_in(dialect, false, b"me", b"here");
        let ok = [7, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0];
        session.handle_server(LinkId::HOME, &ok, &SessionCounters::default());
        let reader = session.add_link(Link::idle(dialect, ServerStatus::Unknown));
        assert!(session.turn_to(reader));
        session
    }

    fn ask(session: &mut Session, payload: &[u8], counters: &SessionCounters) -> Vec<u8> {
        let asked = packet(0, payload);
        let intake = session.handle_client(&asked, &Nobody, counters);
        assert_eq!(intake.consumed, asked.len());
        asked
    }

    #[test]
    fn what_was_not_answered_is_asked_again() {
        let (mut session, counters) = (session(), SessionCounters::default());
        let asked = ask(&mut session, READ, &counters);
        assert_eq!(session.kept(), asked.len());
        // A restart in between forgets nothing.
        let told = serde_json::to_vec(&SessionSnapshot::from(session)).expect("it can be told");
        let heard: SessionSnapshot = serde_json::from_slice(&told).expect("and heard");
        let mut session = Session::from(heard);
        assert_eq!(session.handle_lost().as_deref(), Some(&asked[..]));
        assert!(session.is_asked_again() && session.kept() == 0);
        assert_eq!(session.conversation().current(), LinkId::HOME);
        assert!(session.conversation().is_idle());
        ask(&mut session, READ, &counters);
        assert!(!session.is_asked_again(), "once");
        assert_eq!(counters.client_requests.value(), 1, "the client has asked once");
        assert_eq!(session.handle_lost(), None, "without its home there is no session");
    }

    #[test]
    fn what_has_begun_to_be_answered_is_not_asked_again() {
        let counters = SessionCounters::default();
        let mut waiting = session();
        ask(&mut waiting, READ, &counters);
        let mut begun = waiting.clone();
        let judged = begun.handle_server(LinkId::at(1), &[1, 0, 0, 1, 1], &counters);
        assert_eq!((judged.consumed, begun.kept()), (5, 0));
        assert_eq!(begun.handle_lost(), None);
        let mut over = waiting.clone();
        over.handle_server(LinkId::at(1), OK, &counters);
        assert_eq!(over.handle_lost(), Some(Vec::new()), "the session goes on at home");
        assert!(!over.is_asked_again());
        // What is not at hand as a whole is not known to be a read.
        let mut long = session();
        ask(&mut long, &[&[3][..], &[b'x'; 5000]].concat(), &counters);
        assert_eq!((long.kept(), long.handle_lost()), (0, None));
    }

    #[test]
    fn a_farewell_is_no_answer() {
        let counters = SessionCounters::default();
        let mut waiting = session();
        assert_eq!(waiting.farewell(b""), Farewell::No);
        assert_eq!(waiting.farewell(OK), Farewell::Yes, "nobody has asked");
        ask(&mut waiting, READ, &counters);
        for (bytes, expected) in [
            (&b""[..], Farewell::No),
            (b"\x09\0\0", Farewell::Perhaps),
            (b"\x09\0\0\x01", Farewell::Perhaps),
            (b"\x09\0\0\x01\xFF", Farewell::Perhaps),
            (b"\x09\0\0\x01\xFF\x1D", Farewell::Perhaps),
            (b"\x09\0\0\x01\xFF\x1D\x04#08S01", Farewell::Yes),
            (b"\x09\0\0\x01\xFF\x87\x07#70100", Farewell::Yes),
            // ER_QUERY_INTERRUPTED: somebody wanted it to end.
            (b"\x09\0\0\x01\xFF\x25\x05#70100", Farewell::No),
            (b"\x01\0\0\x01\x02", Farewell::No),
            (b"\x01\0\0\x01", Farewell::No),
            (OK, Farewell::No),
        ] {
            assert_eq!(waiting.farewell(bytes), expected, "{}", bytes.escape_ascii());
        }
        assert!(waiting.turn_to(LinkId::at(1)));
        let mut home = waiting.clone();
        home.handle_server(LinkId::at(1), OK, &counters);
        assert!(home.turn_to(LinkId::HOME));
        assert_eq!(home.farewell(OK), Farewell::No, "its words are the client's");
    }
}
