//! A command that is kept until its answer begins, as it may have to be asked again: of the home,
//! if a reader is lost; of the next primary, if the home takes no writes any more. The client
//! notices nothing but the time.
//!
//! ```text
//!   a read, passed on to a reader ──┬─► kept ─┬─► its answer begins: forgotten
//!   a write outside of a            │         ├─► the reader is lost ──┬─► the next command of the
//!     transaction, passed on home ──┘         └─► refused: read-only ──┘   client's again
//! ```
//!
//! Invariant: of what is kept nothing was executed, or it does not matter: a reader is asked only
//! what changes nothing (see [`routing`]), and a server that is read-only says so before it does
//! any of a statement. The client has seen no byte of an answer. It is one command at the most: of
//! a reader the next one waits for the answer; with a next one on its way home nothing is kept.
//! What was refused once is not kept again.
//!
//! [`routing`]: crate::session::routing

use serde::{Deserialize, Serialize};

use super::{Route, Session};
use crate::metrics::SessionCounters;
use crate::session::front::Turn;
use crate::session::ids::Directory;
use crate::session::link::{Link, LinkId};
use crate::wire::packet::{HEADER, Header};
use crate::wire::response::ServerStatus;

/// ER_SERVER_SHUTDOWN and ER_CONNECTION_KILLED: how servers take their leave of who waits for an
/// answer.
const FAREWELLS: [u16; 2] = [1053, 1927];

/// ER_OPTION_PREVENTS_STATEMENT: one of its options is in the way, which it names.
const OPTION_PREVENTS: u16 = 1290;

/// The options by which a server takes no writes.
const READ_ONLY: [&[u8]; 2] = [b"--read-only", b"--super-read-only"];

/// ER_READ_ONLY_MODE.
const READ_ONLY_MODE: u16 = 1836;

/// More than the longest error of these.
const MOST_REFUSED: usize = 512;

/// What was asked, and may have to be asked again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::session) struct Kept {
    /// Its header and payload; empty: nothing, or too long to be kept.
    pub(in crate::session) command: Vec<u8>,
    /// The client's next command was asked before, of a reader that was lost or of a home that
    /// takes no writes.
    pub(in crate::session) is_again: bool,
    /// It was the home.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::session) is_refused: bool,
}

impl Kept {
    pub(in crate::session) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a server's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Nothing by which a command is to be asked again.
    No,
    /// That can't be told yet.
    Perhaps,
    /// The server takes its leave: the reader is lost.
    Yes,
    /// The home takes no writes, and has not executed what is kept. So many bytes say so.
    Refused(usize),
}

impl Session {
    /// A command goes to the link that has the client's.
    #[inline]
    pub(super) fn keep(&mut self, header: Header, head: &[u8]) {
        if self.conversation.current() != LinkId::HOME && header.length == head.len() {
            self.kept.command = [&header.encode()[..], head].concat();
        } else {
            // Of two on their way one may be refused, and the other not.
            self.forget_kept();
        }
    }

    /// Nothing that is under way is asked again.
    pub(super) fn forget_kept(&mut self) {
        if !self.kept.command.is_empty() {
            self.kept.command = Vec::new();
        }
    }

    /// A write goes to the home.
    pub(super) fn keep_write(&mut self, header: Header, head: &[u8], directory: &dyn Directory) {
        let home = self.conversation.link(LinkId::HOME);
        let is_alone = self.conversation.current() == LinkId::HOME
            && home.is_unanswered()
            && home.queue.is_empty()
            && !self.may_be_in_transaction();
        let may_move = self.portable().is_some_and(|portable| !portable.is_pinned());
        if is_alone && may_move && header.length == head.len() && directory.may_be_switched() {
            self.kept.command = [&header.encode()[..], head].concat();
        }
    }

    /// An answer may have begun.
    #[inline]
    pub(super) fn release(&mut self) {
        if !self.kept.command.is_empty() && !self.conversation.is_unanswered() {
            self.forget_kept();
        }
    }

    /// How much room must be left in front of what the client sends, for what is kept.
    pub fn kept(&self) -> usize {
        self.kept.command.len()
    }

    /// Whether the client's next command was asked before, of a reader that was lost or of a home
    /// that takes no writes.
    pub fn is_asked_again(&self) -> bool {
        self.kept.is_again
    }

    /// Whether that was a home that takes no writes.
    pub fn is_refused(&self) -> bool {
        self.kept.is_refused
    }

    /// Whether the command at hand was asked before; the next one is another.
    pub(super) fn take_asked_again(&mut self) -> bool {
        let is_again = self.kept.is_again;
        if is_again {
            (self.kept.is_again, self.kept.is_refused) = (false, false);
        }
        is_again
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
        if self.conversation.current() == LinkId::HOME {
            let is_kept = self.kept() > 0 && self.conversation.is_unanswered();
            return if is_kept { refusal(bytes) } else { Farewell::No };
        }
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

    /// The home has said in these bytes that it takes no writes: what is to be asked again comes
    /// before what the client has sent since.
    pub fn handle_refused(&mut self, bytes: &[u8]) -> Vec<u8> {
        let command = std::mem::take(&mut self.kept.command);
        let status = self.conversation.status();
        // Nobody counts an answer that nobody gets.
        let judged = self.handle_server(LinkId::HOME, bytes, &SessionCounters::default());
        debug_assert_eq!(judged.consumed, bytes.len(), "one error");
        // An error tells of none, and this one has changed none.
        self.handle_home_status(status);
        self.forget_finished();
        self.route = Route::Open;
        (self.kept.is_again, self.kept.is_refused) = (true, true);
        command
    }
}

/// Whether an answer begins with an error that only a server that is read-only makes.
fn refusal(bytes: &[u8]) -> Farewell {
    let Some((header, payload)) = bytes.split_at_checked(HEADER) else {
        return if bytes.is_empty() { Farewell::No } else { Farewell::Perhaps };
    };
    let length = Header::parse(header).map_or(0, |header| header.length);
    let is_error = payload.first().is_none_or(|first| *first == 0xFF);
    if !is_error || length > MOST_REFUSED {
        return Farewell::No;
    }
    let Some(payload) = payload.get(..length) else { return Farewell::Perhaps };
    let [_, low, high, message @ ..] = payload else { return Farewell::No };
    let names_one = || {
        let is_named = |option: &&[u8]| message.windows(option.len()).any(|it| it == *option);
        READ_ONLY.iter().any(is_named)
    };
    match u16::from_le_bytes([*low, *high]) {
        READ_ONLY_MODE => Farewell::Refused(HEADER + length),
        OPTION_PREVENTS if names_one() => Farewell::Refused(HEADER + length),
        _ => Farewell::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::portable::LoggedInAs;
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
        ask(&mut long, &[&[3][..], &[b'x'; 9000]].concat(), &counters);
        assert_eq!((long.kept(), long.handle_lost()), (0, None));
    }

    /// Where another server may come to take the writes.
    struct Cluster;

    impl Directory for Cluster {
        fn may_be_switched(&self) -> bool {
            true
        }

        fn server_thread(&self, _: SessionId) -> Option<ThreadId> {
            None
        }
    }

    const WRITE: &[u8] = b"\x03INSERT INTO t VALUES (1)";

    /// A session with one server, which can move.
    fn followed() -> Session {
        let mut session = Session::logging_in(Dialect::default(), false, b"me", b"here");
        session.follow(LoggedInAs::default());
        let ok = [7, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0];
        session.handle_server(LinkId::HOME, &ok, &SessionCounters::default());
        session
    }

    fn says(session: &mut Session, payload: &[u8]) -> Vec<u8> {
        let said = packet(0, payload);
        session.handle_client(&said, &Cluster, &SessionCounters::default());
        said
    }

    fn error(code: u16, message: &str) -> Vec<u8> {
        packet(1, &[&[0xFF][..], &code.to_le_bytes(), b"#HY000", message.as_bytes()].concat())
    }

    const BY_READ_ONLY: &str = "running with the --read-only option so it cannot";

    #[test]
    fn a_write_that_is_refused_is_asked_again_once() {
        let counters = SessionCounters::default();
        let mut session = followed();
        let asked = says(&mut session, WRITE);
        assert_eq!(session.kept(), asked.len());
        let refusal = error(1290, BY_READ_ONLY);
        for at in 1..refusal.len() {
            assert_eq!(session.farewell(&refusal[..at]), Farewell::Perhaps, "{at}");
        }
        assert_eq!(session.farewell(&refusal), Farewell::Refused(refusal.len()));
        assert_eq!(session.handle_refused(&refusal), asked);
        assert_eq!(counters.server_error_responses.value(), 0);
        // It goes nowhere by itself, and is known in the next process, too.
        let told = serde_json::to_vec(&SessionSnapshot::from(session)).expect("it can be told");
        let heard: SessionSnapshot = serde_json::from_slice(&told).expect("and heard");
        let mut session = Session::from(heard);
        assert!(session.is_refused() && session.is_between_commands());
        let intake = session.handle_client(&asked, &Cluster, &counters);
        assert_eq!((intake.consumed, intake.is_held), (0, true));
        session.route = Route::Taken;
        (session.kept.is_again, session.kept.is_refused) = (true, false);
        session.handle_client(&asked, &Cluster, &counters);
        assert_eq!(session.kept(), 0, "what it is told now is the client's");
        assert_eq!(session.farewell(&refusal), Farewell::No);
    }

    #[test]
    fn what_may_have_done_something_is_not_asked_again() {
        for (before, said, is_kept) in [
            (&b""[..], WRITE, true),
            (b"", b"\x03CREATE TABLE t (n INT)", true),
            (b"", b"\x03SELECT 1", false),
            (b"", b"\x03CALL p()", false),
            (b"", b"\x03INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", false),
            (b"\x03BEGIN", WRITE, false),
            (b"\x03DO GET_LOCK('l', 1)", WRITE, false),
            (b"", &[WRITE, &[b' '; 9000]].concat(), false),
        ] {
            let mut session = followed();
            if !before.is_empty() {
                says(&mut session, before);
                let status = if before == b"\x03BEGIN" { 3 } else { 2 };
                let ok = [7, 0, 0, 1, 0, 0, 0, status, 0, 0, 0];
                session.handle_server(LinkId::HOME, &ok, &SessionCounters::default());
            }
            says(&mut session, said);
            assert_eq!(session.kept() > 0, is_kept, "{}", said.escape_ascii());
        }
        let mut two = followed();
        says(&mut two, WRITE);
        says(&mut two, WRITE);
        assert_eq!(two.kept(), 0, "one may be refused and the other not");
        let mut nobody = followed();
        nobody.handle_client(&packet(0, WRITE), &Nobody, &SessionCounters::default());
        assert_eq!(nobody.kept(), 0, "nobody else takes writes");
    }

    #[test]
    fn a_refusal_names_what_keeps_writes_out() {
        for (code, message, is_one) in [
            (1290, BY_READ_ONLY, true),
            (1290, "running with the --super-read-only option", true),
            (1290, "running with the --secure-file-priv option", false),
            (1836, "Running in read-only mode", true),
            (1062, "Duplicate entry '--read-only'", false),
        ] {
            let error = error(code, message);
            let expected = if is_one { Farewell::Refused(error.len()) } else { Farewell::No };
            assert_eq!(refusal(&error), expected, "{code} {message}");
        }
        for bytes in [&b""[..], OK, b"\x02\0\0\x01\xFF\x0A", b"\xFF\xFF\0\x01\xFF"] {
            assert_eq!(refusal(bytes), Farewell::No, "{}", bytes.escape_ascii());
        }
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
