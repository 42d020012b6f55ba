//! Example traces: what each side says, and how far the session thinks the two are.

pub(crate) mod laws;

use std::fmt::Write as _;

use super::*;
use crate::session::OURS;
use crate::session::snapshot::SessionSnapshot;
use crate::wire::capability as cap;
use crate::wire::id::{SessionId, ThreadId};
use crate::wire::packet::{MAX_PAYLOAD, packet, put_lenenc};
use crate::wire::response::ServerStatus;
use crate::wire::status as flags;

/// Sessions 7 and 1234 of the server are ours.
pub(crate) struct Ours;

impl Directory for Ours {
    fn server_thread(&self, connection: SessionId) -> Option<ThreadId> {
        [7, 1234].into_iter().find(|thread| thread + OURS == connection.0).map(ThreadId)
    }
}

/// A session with the unjudged bytes of both directions, as a relay holds them.
pub(crate) struct Bench {
    pub session: Session,
    pub counters: SessionCounters,
    pub unjudged: [Vec<u8>; 2],
    pub passed: [Vec<u8>; 2],
}

pub(crate) const UP: usize = 0;
pub(crate) const DOWN: usize = 1;

impl Bench {
    /// Just after the log-in, which took the packets 0 to 2.
    pub(crate) fn new(capabilities: u32, extended: u32) -> Self {
        let mut bench = Self::logging_in(capabilities, extended);
        bench.server(&packet(2, &[0, 0, 0, 2, 0, 0, 0]));
        assert!(bench.is_idle(), "the log-in is over");
        bench.passed = Default::default();
        bench
    }

    pub(crate) fn logging_in(capabilities: u32, extended: u32) -> Self {
        let attributes = capabilities & cap::QUERY_ATTRIBUTES != 0;
        let dialect = Dialect::new(capabilities, extended);
        Self {
            session: Session::logging_in(dialect, attributes, b"me", b"here"),
            counters: SessionCounters::default(),
            unjudged: Default::default(),
            passed: Default::default(),
        }
    }

    pub(crate) fn client(&mut self, bytes: &[u8]) -> &mut Self {
        self.unjudged[UP].extend(bytes);
        self.judge(UP);
        self
    }

    pub(crate) fn server(&mut self, bytes: &[u8]) -> &mut Self {
        self.unjudged[DOWN].extend(bytes);
        self.judge(DOWN);
        self.judge(UP);
        self
    }

    /// A command in one packet.
    pub(crate) fn asks(&mut self, payload: &[u8]) -> &mut Self {
        self.client(&packet(0, payload))
    }

    /// Packets of an answer, numbered from 1.
    pub(crate) fn answers(&mut self, payloads: &[&[u8]]) -> &mut Self {
        self.answers_from(1, payloads)
    }

    fn answers_from(&mut self, first: u8, payloads: &[&[u8]]) -> &mut Self {
        self.server(&numbered(first, payloads))
    }

    fn judge(&mut self, way: usize) {
        let bytes = &mut self.unjudged[way];
        if way == DOWN {
            let judged = self.session.handle_server(LinkId::HOME, bytes, &self.counters);
            self.passed[DOWN].extend(bytes.drain(..judged.consumed));
            return;
        }
        loop {
            let intake = self.session.handle_client(bytes, &Ours, &self.counters);
            assert!(intake.consumed <= bytes.len(), "a session judges only what it was given");
            let Some(Rewrite { range, with }) = intake.rewrite else {
                self.passed[way].extend(bytes.drain(..intake.consumed));
                return;
            };
            assert_eq!(range.end, intake.consumed);
            self.passed[way].extend(&bytes[..range.start]);
            self.passed[way].extend(with);
            bytes.drain(..intake.consumed);
        }
    }

    fn is_idle(&self) -> bool {
        self.session.conversation().is_idle()
    }

    #[track_caller]
    fn is_busy(&mut self) -> &mut Self {
        assert!(!self.is_idle(), "a command is under way: {:?}", self.session);
        assert!(!self.session.is_opaque(), "it is followed: {:?}", self.session);
        self
    }

    /// Idle, and the next command is followed.
    #[track_caller]
    pub(crate) fn is_over(&mut self) -> &mut Self {
        assert!(self.is_idle(), "no command is under way: {:?}", self.session);
        assert!(self.unjudged.iter().all(Vec::is_empty), "nothing is held back");
        self.asks(&[code::PING]).is_busy().answers(&[&OK]);
        assert!(self.is_idle(), "the next command is followed: {:?}", self.session);
        self
    }

    #[track_caller]
    fn is_opaque(&mut self) -> &mut Self {
        assert!(self.session.is_opaque(), "it is not followed: {:?}", self.session);
        self
    }

    #[track_caller]
    fn knows(&mut self, status: ServerStatus) -> &mut Self {
        assert_eq!(self.session.conversation().status(), status);
        self
    }
}

pub(crate) fn numbered(first: u8, payloads: &[&[u8]]) -> Vec<u8> {
    let one = |(at, payload): (usize, &&[u8])| packet(first.wrapping_add(at as u8), payload);
    payloads.iter().enumerate().map(one).collect::<Vec<_>>().concat()
}

pub(crate) const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];
const OK_MORE: [u8; 7] = [0, 0, 0, 10, 0, 0, 0];
pub(crate) const ERR: &[u8] = b"\xFF\x28\x04#42000no";
const EOF: [u8; 5] = [0xFE, 0, 0, 2, 0];
const EOF_MORE: [u8; 5] = [0xFE, 0, 0, 10, 0];
const EOF_CURSOR: [u8; 5] = [0xFE, 0, 0, 0x42, 0];
/// What ends rows under CLIENT_DEPRECATE_EOF.
const END: [u8; 7] = [0xFE, 0, 0, 2, 0, 0, 0];
const END_MORE: [u8; 7] = [0xFE, 0, 0, 10, 0, 0, 0];
const PROGRESS: &[u8] = b"\xFF\xFF\xFF\x01\x01\x02\x10\x00\x00\x05stage";
pub(crate) const COLUMN: &[u8] = b"\x03def\0\0\0\x01c\0\x0C\x21\0\x04\0\0\0\xFE\0\0\0\0\0";
const ROW: &[u8] = b"\x03abc";
const NULL_ROW: &[u8] = b"\xFB";
const INFILE: &[u8] = b"\xFBfile.csv";
pub(crate) const QUERY: &[u8] = b"\x03SELECT c FROM t";
const EXECUTE: &[u8] = b"\x17\x01\0\0\0\x01\x01\0\0\0";
const PREPARE: &[u8] = b"\x16SELECT c FROM t";

/// Prepare-OK.
fn prepared(columns: u16, parameters: u16) -> Vec<u8> {
    let counts = [columns.to_le_bytes(), parameters.to_le_bytes()].concat();
    [&[0, 1, 0, 0, 0], &counts[..], &[0, 0, 0]].concat()
}

pub(crate) const OLD: u32 = cap::LONG_PASSWORD;
pub(crate) const NEW: u32 = cap::LONG_PASSWORD | cap::DEPRECATE_EOF;

/// A command's answer in both dialects: what comes before the end, and the end.
pub(crate) struct Trace {
    name: &'static str,
    pub asked: &'static [u8],
    pub capabilities: u32,
    pub answer: Vec<Vec<u8>>,
    status: ServerStatus,
}

fn trace(
    name: &'static str,
    capabilities: u32,
    asked: &'static [u8],
    answer: &[&[u8]],
    status: ServerStatus,
) -> Trace {
    let answer = answer.iter().map(|payload| payload.to_vec()).collect();
    Trace { name, asked, capabilities, answer, status }
}

pub(crate) fn traces() -> Vec<Trace> {
    let auto = ServerStatus::Known(flags::AUTOCOMMIT);
    let unknown = ServerStatus::Unknown;
    let cursor = ServerStatus::Known(flags::AUTOCOMMIT | flags::CURSOR_EXISTS);
    let wide: Vec<&[u8]> = vec![COLUMN; 300];
    let many: Vec<&[u8]> = [&[&b"\xFC\x2C\x01"[..]][..], &wide, &[ROW, &END]].concat();
    let many_old: Vec<&[u8]> = [&[&b"\xFC\x2C\x01"[..]][..], &wide, &[&EOF, ROW, &EOF]].concat();
    let long_end = [&END[..], b"\x0F\0\x05\x0D\x0Bautocommit\x02ON"].concat();
    let (none, column, both) = (prepared(0, 0), prepared(1, 0), prepared(1, 1));
    let parameters = prepared(0, 2);
    vec![
        trace("ok", NEW, QUERY, &[&OK], auto),
        trace("error", NEW, QUERY, &[ERR], unknown),
        trace("rows", NEW, QUERY, &[&[1], COLUMN, ROW, &END], auto),
        trace("rows, eof", OLD, QUERY, &[&[1], COLUMN, &EOF, ROW, &EOF], auto),
        trace("no rows", NEW, QUERY, &[&[1], COLUMN, &END], auto),
        trace("no rows, eof", OLD, QUERY, &[&[1], COLUMN, &EOF, &EOF], auto),
        trace("rows of null", NEW, QUERY, &[&[1], COLUMN, NULL_ROW, NULL_ROW, &END], auto),
        trace("empty rows", NEW, QUERY, &[&[1], COLUMN, b"\0", b"\0", &END], auto),
        trace("300 columns", NEW, QUERY, &many, auto),
        trace("300 columns, eof", OLD, QUERY, &many_old, auto),
        trace("long end", NEW, QUERY, &[&[1], COLUMN, ROW, &long_end], auto),
        trace("error after definitions", OLD, QUERY, &[&[1], COLUMN, &EOF, ERR], unknown),
        trace("error in definitions", NEW, QUERY, &[&[2], COLUMN, ERR], unknown),
        trace("error in definitions, eof", OLD, QUERY, &[&[2], COLUMN, ERR], unknown),
        trace("error after rows", NEW, QUERY, &[&[1], COLUMN, ROW, ERR], unknown),
        trace("ok, ok", NEW, QUERY, &[&OK_MORE, &OK], auto),
        trace("ok, error", NEW, QUERY, &[&OK_MORE, ERR], unknown),
        trace("rows, ok", NEW, QUERY, &[&[1], COLUMN, ROW, &END_MORE, &OK], auto),
        trace("rows, ok, eof", OLD, QUERY, &[&[1], COLUMN, &EOF, &EOF_MORE, &OK], auto),
        trace("ok, rows", NEW, QUERY, &[&OK_MORE, &[1], COLUMN, ROW, &END], auto),
        trace("cursor", NEW, EXECUTE, &[&[1], COLUMN, &[0xFE, 0, 0, 0x42, 0, 0, 0]], cursor),
        trace("cursor, eof", OLD, EXECUTE, &[&[1], COLUMN, &EOF_CURSOR], cursor),
        trace("executed without cursor", OLD, EXECUTE, &[&[1], COLUMN, &EOF, b"\0\0", &EOF], auto),
        trace("executed insert", NEW, EXECUTE, &[&OK], auto),
        trace("fetch", NEW, b"\x1C\x01\0\0\0\x01\0\0\0", &[b"\0\0\x01", &END], auto),
        trace("fetch, eof", OLD, b"\x1C\x01\0\0\0\x01\0\0\0", &[b"\0\0\x01", &EOF], auto),
        trace("fetch nothing", OLD, b"\x1C\x01\0\0\0\x01\0\0\0", &[ERR], unknown),
        trace("prepare", NEW, PREPARE, &[&none], auto),
        trace("prepare, error", NEW, PREPARE, &[ERR], unknown),
        trace("prepare, a column", NEW, PREPARE, &[&column, COLUMN], auto),
        trace("prepare, a column, eof", OLD, PREPARE, &[&column, COLUMN, &EOF], auto),
        trace("prepare, both", NEW, PREPARE, &[&both, COLUMN, COLUMN], auto),
        trace("prepare, both, eof", OLD, PREPARE, &[&both, COLUMN, &EOF, COLUMN, &EOF], auto),
        trace("prepare, parameters", NEW, PREPARE, &[&parameters, COLUMN, COLUMN], auto),
        trace("prepare, parameters, eof", OLD, PREPARE, &[&parameters, COLUMN, COLUMN, &EOF], auto),
        trace("prepare, error in definitions", NEW, PREPARE, &[&both, COLUMN, ERR], unknown),
        trace("prepare, error in definitions, eof", OLD, PREPARE, &[&both, COLUMN, ERR], unknown),
        trace("fields", NEW, b"\x04t\0", &[COLUMN, COLUMN, &END], auto),
        trace("fields, eof", OLD, b"\x04t\0", &[COLUMN, COLUMN, &EOF], auto),
        trace("no fields", OLD, b"\x04t\0", &[&EOF], auto),
        trace("fields, error", OLD, b"\x04t\0", &[ERR], unknown),
        trace("statistics", NEW, b"\x09", &[b"Uptime: 1"], auto),
        trace("set option", NEW, b"\x1B\0\0", &[&END], auto),
        trace("set option, eof", OLD, b"\x1B\0\0", &[&EOF], auto),
        trace("empty packet", NEW, b"", &[ERR], unknown),
        trace("unknown command", NEW, b"\x77", &[ERR], unknown),
        trace("reset connection", NEW, b"\x1F", &[&OK], auto),
        trace("statement reset", NEW, b"\x1A\x01\0\0\0", &[&OK], auto),
        trace("bulk", NEW, b"\xFA\x01\0\0\0", &[&OK], auto),
        trace("processes", NEW, b"\x0A", &[&[1], COLUMN, ROW, &END], auto),
        trace("dump refused", NEW, b"\x12\0\0\0\0", &[ERR], unknown),
    ]
}

#[test]
fn answers_end_where_they_end_and_not_before() {
    for Trace { name, asked, capabilities, answer, status } in traces() {
        let mut bench = Bench::new(capabilities, 0);
        bench.asks(asked);
        let last = answer.len() - 1;
        for (at, payload) in answer.iter().enumerate() {
            assert!(!bench.is_idle(), "{name}: over before packet {at}");
            bench.server(&packet((at as u8).wrapping_add(1), payload));
            assert!(!bench.session.is_opaque(), "{name}: opaque at packet {at}");
            assert_eq!(bench.is_idle(), at == last, "{name}: over at packet {at}");
        }
        bench.knows(status).is_over();
    }
}

/// The session is another user's, and in no database.
#[test]
fn who_becomes_another_user_by_a_statement_is_in_no_database() {
    let mut bench = Bench::new(0, 0);
    bench.session.follow(LoggedInAs::default());
    let statement = b"\x03SET SESSION AUTHORIZATION u@localhost";
    bench.asks(statement).answers(&[b"\xff\x28\x04#42000no"]).is_over();
    assert_eq!(bench.session.database(), b"here", "it has failed");
    bench.asks(statement).answers(&[&[0, 0, 0, 2, 0, 0, 0]]).is_over();
    assert_eq!(bench.session.database(), b"");
}

/// Each trace follows each: pipelined, byte by byte, with a restart at every byte.
#[test]
fn pipelined_commands_are_answered_in_turn() {
    for capabilities in [OLD, NEW] {
        let traces: Vec<Trace> =
            traces().into_iter().filter(|trace| trace.capabilities == capabilities).collect();
        let asked = |trace: &Trace| packet(0, trace.asked);
        // A replica's packets are no commands, so that trace does not take part.
        let takes_part = |trace: &&Trace| trace.asked.first() != Some(&code::BINLOG_DUMP);
        let asked: Vec<u8> = traces.iter().filter(takes_part).flat_map(asked).collect();
        let mut bench = Bench::new(capabilities, 0);
        bench.client(&asked);
        for Trace { name, answer, .. } in traces.iter().filter(takes_part) {
            assert!(bench.session.conversation().awaits_answer(), "before {name}");
            let payloads: Vec<&[u8]> = answer.iter().map(Vec::as_slice).collect();
            for byte in numbered(1, &payloads) {
                let before = bench.session.clone();
                bench.server(&[byte]);
                let snapshot = serde_json::to_string(&SessionSnapshot::from(before));
                let snapshot = snapshot.expect("a session can be told");
                let read: SessionSnapshot = serde_json::from_str(&snapshot).expect("and read");
                assert_eq!(serde_json::to_string(&read).expect("again"), snapshot);
            }
            assert!(!bench.session.is_opaque(), "after {name}");
        }
        assert_eq!(bench.passed[UP], asked);
        bench.is_over();
    }
}

#[test]
fn commands_without_an_answer_leave_the_session_idle() {
    let mut bench = Bench::new(NEW, 0);
    bench.asks(b"\x19\x01\0\0\0").asks(b"\x18\x01\0\0\0\0\0data").is_over();
    bench.asks(QUERY).asks(b"\x19\x01\0\0\0").asks(&[code::PING]).asks(b"\x19\x02\0\0\0");
    bench.answers(&[&OK]).is_busy().answers(&[&OK]).is_over();
}

#[test]
fn a_file_is_data_up_to_an_empty_packet() {
    let mut bench = Bench::new(NEW, 0);
    bench.asks(b"\x03LOAD DATA LOCAL").answers(&[INFILE]).is_busy();
    bench.client(&packet(2, b"\x01quit?")).client(&packet(3, b"\x11change user?")).is_busy();
    bench.client(&packet(4, b"")).is_busy().answers_from(5, &[&OK]).is_over();
    // Two in one statement, and a result behind them.
    bench.asks(QUERY).answers(&[INFILE]).client(&packet(2, b"")).answers_from(3, &[&OK_MORE]);
    bench.answers_from(4, &[INFILE]).client(&packet(5, b"x")).client(&packet(6, b"")).is_busy();
    bench.answers_from(7, &[&OK_MORE, &[1], COLUMN, ROW, &END]).is_over();
}

#[test]
fn a_file_refused_before_its_end_is_still_read() {
    let mut bench = Bench::new(NEW, 0);
    bench.asks(QUERY).answers(&[INFILE, ERR]).client(&packet(2, b"\x0E")).is_busy();
    bench.client(&packet(3, b"")).is_over();
}

#[test]
fn pipelined_commands_are_file_data_when_a_file_is_asked_for() {
    let mut bench = Bench::new(NEW, 0);
    bench.asks(QUERY).asks(QUERY).asks(b"").asks(&[code::PING]);
    bench.answers(&[INFILE]).is_busy().answers_from(2, &[&OK]).is_busy();
    bench.answers(&[&OK]).is_over();
    // The file goes on behind them.
    bench.asks(QUERY).asks(b"\x19\x01\0\0\0").asks(QUERY);
    bench.answers(&[INFILE]).client(&packet(1, b"\x0E")).client(&packet(2, b"")).is_busy();
    bench.answers_from(3, &[&OK]).is_over();
}

#[test]
fn a_pipelined_change_of_user_that_is_file_data_changes_no_turn() {
    let mut bench = Bench::new(NEW, 0);
    bench.asks(QUERY).asks(b"\x11you\0\0\0");
    // Whatever it was meant to be, the server reads on for the end of the file.
    bench.client(&packet(1, b"")).answers(&[INFILE]);
    bench.client(&packet(2, b"")).answers_from(3, &[&OK]).is_over();
    assert_eq!(bench.session.user(), b"me");
}

#[test]
fn progress_reports_end_nothing() {
    let mut bench = Bench::new(cap::DEPRECATE_EOF, cap::mariadb::PROGRESS);
    bench.asks(QUERY).answers(&[PROGRESS, PROGRESS]).is_busy();
    bench.answers_from(3, &[&[1], COLUMN, PROGRESS, ROW, PROGRESS]).is_busy();
    bench.answers_from(8, &[&END]).is_over();
    // Who has not asked for them is told of an error.
    let mut bench = Bench::new(NEW, 0);
    bench.asks(QUERY).answers(&[PROGRESS]).is_over();
}

#[test]
fn definitions_may_be_left_out() {
    let mut mariadb = Bench::new(cap::DEPRECATE_EOF, cap::mariadb::CACHE_METADATA);
    mariadb.asks(EXECUTE).answers(&[&[1, 0], b"\0\0x", &END]).is_over();
    mariadb.asks(EXECUTE).answers(&[&[1, 1], COLUMN, b"\0\0x"]).is_busy();
    mariadb.answers_from(4, &[&END]).is_over();
    let mut mysql = Bench::new(NEW | cap::OPTIONAL_METADATA, 0);
    mysql.asks(QUERY).answers(&[&[1, 0], ROW]).is_busy().answers_from(3, &[&END]).is_over();
    let left_out = [&prepared(1, 1)[..], &[0]].concat();
    let told = [&prepared(1, 1)[..], &[1]].concat();
    mysql.asks(PREPARE).answers(&[&left_out]).is_over();
    mysql.asks(PREPARE).answers(&[&told, COLUMN]).is_busy().answers_from(3, &[COLUMN]).is_over();
    let mut eof = Bench::new(OLD | cap::OPTIONAL_METADATA, 0);
    eof.asks(QUERY).answers(&[&[1, 0], &EOF, ROW]).is_busy().answers_from(4, &[&EOF]).is_over();
    eof.asks(PREPARE).answers(&[&left_out, &EOF]).is_busy().answers_from(3, &[&EOF]).is_over();
}

/// P-30: the count of a prepare has 16 bits; the definitions come all the same.
#[test]
fn a_wrapped_count_desynchronises_nothing() {
    for (capabilities, parameters) in [(OLD, 0), (OLD, 1), (NEW, 0), (NEW, 1)] {
        for columns in [65_535_u32, 65_536, 65_537, 70_000] {
            let name = format!("{columns} columns, {parameters} parameters, {capabilities}");
            let eof = capabilities & cap::DEPRECATE_EOF == 0;
            let mut answer = vec![prepared(columns as u16, parameters)];
            for (count, definition) in [(u32::from(parameters), COLUMN), (columns, COLUMN)] {
                answer.extend((0..count).map(|_| definition.to_vec()));
                answer.extend((eof && count > 0).then(|| EOF.to_vec()));
            }
            let payloads: Vec<&[u8]> = answer.iter().map(Vec::as_slice).collect();
            let bytes = numbered(1, &payloads);
            let mut bench = Bench::new(capabilities, 0);
            bench.asks(PREPARE).server(&bytes);
            assert!(!bench.session.is_opaque(), "{name}: opaque");
            bench.is_over();
            bench.asks(PREPARE).asks(QUERY).asks(b"\x04t\0").server(&bytes).is_busy();
            bench.answers(&[&OK]).is_busy();
            bench.answers(&[COLUMN, if eof { &EOF } else { &END }]).is_over();
        }
    }
}

#[test]
fn continuations_are_not_judged() {
    let full = vec![b'x'; MAX_PAYLOAD];
    for first in [0xFE, 0xFF, 0x00, 0xFB] {
        let mut bench = Bench::new(NEW, 0);
        let row = [&[0xFD, 0xFF, 0xFF, 0xFF][..], &full[4..]].concat();
        bench.asks(QUERY).answers(&[&[1], COLUMN, &row, &[first]]).is_busy();
        bench.answers_from(5, &[&END]).is_over();
        // A value of 16 MiB or more: its row starts as EOF does.
        let row = [&[0xFE, 0, 0, 0, 1, 0, 0, 0, 0][..], &full[9..]].concat();
        bench.asks(QUERY).answers(&[&[1], COLUMN, &row, &full, &[]]).is_busy();
        bench.answers_from(6, &[&END]).is_over();
        let statement = [QUERY, &full[QUERY.len()..]].concat();
        bench.client(&packet(0, &statement)).client(&packet(1, &[first])).is_busy();
        bench.answers_from(2, &[&OK]).is_over();
        bench.client(&packet(0, &statement)).client(&packet(1, &[])).is_busy();
        bench.answers_from(2, &[&OK]).is_over();
    }
    let mut eof = Bench::new(OLD, 0);
    let row = [&[0xFE, 0, 0, 0, 1, 0, 0, 0, 0][..], &full[9..]].concat();
    eof.asks(QUERY).answers(&[&[1], COLUMN, &EOF, &row, &[0xFE; 5]]).is_busy();
    eof.answers_from(6, &[&EOF]).is_over();
}

#[test]
fn sequence_numbers_wrap() {
    let mut bench = Bench::new(NEW, 0);
    let rows: Vec<&[u8]> = vec![ROW; 1000];
    bench.asks(QUERY).answers(&[&[1], COLUMN]).answers_from(3, &rows);
    assert_eq!(bench.session.conversation().injection_sequence(), Some((1003 % 256) as u8));
    bench.answers_from(235, &[&END]).is_over();
}

#[test]
fn our_words_are_numbered_as_the_answer_they_interrupt() {
    let sequence = |bench: &Bench| bench.session.conversation().injection_sequence();
    let mut bench = Bench::logging_in(NEW, 0);
    assert_eq!(sequence(&bench), Some(2));
    bench.server(&packet(2, b"\xFEed25519\0salt")).client(&packet(3, b"answer"));
    assert_eq!(sequence(&bench), Some(4));
    let mut bench = Bench::new(NEW, 0);
    assert_eq!(sequence(&bench), Some(0));
    bench.asks(QUERY);
    assert_eq!(sequence(&bench), Some(1));
    bench.answers(&[&[1], COLUMN, ROW]);
    assert_eq!(sequence(&bench), Some(4));
    bench.asks(&[code::PING]);
    assert_eq!(sequence(&bench), Some(4), "a pipelined command is not what is being answered");
    bench.server(&packet(4, ROW)[..5]);
    assert_eq!(sequence(&bench), None, "in the middle of a packet");
    bench.server(&packet(4, ROW)[5..]).answers_from(5, &[&END]);
    assert_eq!(sequence(&bench), Some(1), "the ping's");
    bench.answers(&[&OK]).client(&packet(9, &[code::PING]));
    assert_eq!(sequence(&bench), Some(10));
    bench.answers_from(10, &[&OK]).asks(QUERY).answers(&[INFILE]).client(&packet(2, b"data"));
    assert_eq!(sequence(&bench), Some(3));
}

#[test]
fn a_notice_before_the_server_closes_is_passed_on() {
    let mut bench = Bench::new(NEW, 0);
    let notice = packet(0, b"\xFF\xBF\x0F#HY000The client was disconnected");
    bench.server(&notice);
    assert_eq!(bench.passed[DOWN], notice);
    bench.is_over();
}

#[test]
fn users_change_in_an_exchange() {
    let mut bench = Bench::new(NEW | cap::SECURE_CONNECTION, 0);
    bench.asks(b"\x11you\0\x02abthere\0\x21\0native\0").answers(&[b"\xFEnative\0salt"]);
    bench.client(&packet(2, b"\x03not a query")).is_busy();
    bench.answers_from(3, &[b"\x01\x03"]).is_busy().answers_from(4, &[&OK]).is_over();
    assert_eq!((bench.session.user(), bench.session.database()), (&b"you"[..], &b"there"[..]));
    // Refused: MariaDB goes on with the user it had.
    bench.asks(b"\x11other\0\0\0").answers(&[b"\xFEnative\0salt"]);
    bench.client(&packet(2, b"wrong")).answers_from(3, &[ERR]).knows(ServerStatus::Unknown);
    bench.is_over();
    assert_eq!((bench.session.user(), bench.session.database()), (&b"you"[..], &b"there"[..]));
    // Without a database there is none afterwards.
    bench.asks(b"\x11other\0\0\0").answers(&[&OK]).is_over();
    assert_eq!((bench.session.user(), bench.session.database()), (&b"other"[..], &b""[..]));
}

#[test]
fn databases_change_when_the_server_says_so() {
    type Row<'a> = (&'a [&'a [u8]], &'a [&'a [u8]], &'a [u8]);
    let table: &[Row] = &[
        (&[b"\x02shop"], &[&OK], b"shop"),
        (&[b"\x02shop"], &[ERR], b"here"),
        (&[b"\x03use shop"], &[&OK], b"shop"),
        (&[b"\x03USE `my shop` ;"], &[&OK], b"my shop"),
        (&[b"\x02a", b"\x02b"], &[&OK, &OK], b"b"),
        (&[b"\x02a", b"\x02b"], &[&OK, ERR], b"a"),
        (&[b"\x02a", b"\x02b"], &[ERR, &OK], b"b"),
        (&[b"\x02a", b"\x0E", b"\x02b"], &[&OK, &OK], b"a"),
        (&[b"\x02a", b"\x11you\0\0c\0"], &[&OK, &OK], b"c"),
    ];
    for (asked, answers, database) in table {
        let mut bench = Bench::new(NEW | cap::SECURE_CONNECTION, 0);
        asked.iter().for_each(|payload| _ = bench.asks(payload));
        answers.iter().for_each(|payload| _ = bench.answers(&[payload]));
        assert_eq!(bench.session.database(), *database, "{asked:?}");
    }
}

#[test]
fn a_database_named_in_file_data_is_no_database() {
    let mut bench = Bench::new(NEW, 0);
    bench.asks(QUERY).asks(b"\x02data").asks(b"").asks(b"\x02shop");
    bench.answers(&[INFILE]).answers_from(2, &[&OK]).answers(&[&OK]).is_over();
    assert_eq!(bench.session.database(), b"shop");
}

#[test]
fn a_replica_is_streamed_to_until_the_end() {
    let mut bench = Bench::new(OLD, 0);
    bench.asks(b"\x12\x04\0\0\0").answers(&[b"\0event", b"\0\xFE\xFE", b"\0another"]).is_busy();
    bench.client(&packet(0, b"\xEFacknowledged")).is_busy();
    bench.answers_from(4, &[&EOF]).is_over();
    bench.asks(b"\x1E\x04\0\0\0").answers(&[b"\0event", ERR]).is_over();
}

#[test]
fn impossible_packets_make_it_opaque_and_lose_nothing() {
    let cases: &[(&[u8], &[u8])] = &[
        (QUERY, b"\x20 neither a count nor a definition"),
        (PREPARE, b"\x01"),
        (PREPARE, b"\0short"),
        (QUERY, b""),
        (b"\x20clone", b"anything"),
    ];
    for (asked, answer) in cases {
        let mut bench = Bench::new(NEW, 0);
        bench.asks(asked).answers(&[answer]).is_opaque();
        bench.client(b"whatever").server(b"comes");
        assert_eq!(bench.passed[UP], [&packet(0, asked)[..], b"whatever"].concat());
        assert_eq!(bench.passed[DOWN], [&packet(1, answer)[..], b"comes"].concat());
        assert!(!bench.is_idle());
        assert_eq!(bench.session.conversation().injection_sequence(), None);
    }
    let mut bench = Bench::new(NEW, 0);
    bench.server(&packet(1, &OK)).is_opaque();
    assert_eq!(bench.counters.opaque_sessions.value(), 1);
}

#[test]
fn requests_are_counted_by_kind() {
    let mut bench = Bench::new(NEW, 0);
    let texts = ["select 1", "insert t values (1)", "update t set a=1", "delete from t", "set a=1"];
    for sql in texts.into_iter().chain(["create table t (a int)"]) {
        bench.asks(&[b"\x03", sql.as_bytes()].concat()).answers(&[&OK]);
    }
    bench.asks(QUERY).answers(&[&[1], COLUMN, &END]).asks(b"").answers(&[ERR]);
    let mut counted = String::new();
    for (name, value, _) in bench.counters.totals().rows() {
        if value > 0 {
            writeln!(counted, "{name} {value}").expect("a string takes all");
        }
    }
    for line in [
        "client_requests 8",
        "client_select_requests 2",
        "client_insert_requests 1",
        "client_update_requests 1",
        "client_delete_requests 1",
        "client_other_requests 3",
        "client_ddl_requests 1",
        "server_error_responses 1",
        "server_resultset_responses 1",
    ] {
        assert!(counted.lines().any(|counted| counted.ends_with(line)), "{line}: {counted}");
    }
}

/// 32 Ki commands may wait; the others are left with the caller, and none is lost.
#[test]
fn too_many_pipelined_commands_wait_their_turn() {
    let mut bench = Bench::new(NEW, 0);
    let commands = packet(0, &[code::PING]).repeat(40_000);
    bench.client(&commands);
    assert!(!bench.unjudged[UP].is_empty());
    let answers = packet(1, &OK).repeat(40_000);
    answers.chunks(70_001).for_each(|piece| _ = bench.server(piece));
    assert_eq!(bench.passed[UP], commands);
    bench.is_over();
}

#[test]
fn lenenc_counts_of_every_width_are_read() {
    for count in [1_u64, 250, 251, 4096] {
        let mut head = Vec::new();
        put_lenenc(&mut head, count);
        let mut payloads: Vec<&[u8]> = vec![COLUMN; count as usize];
        payloads.insert(0, &head);
        payloads.extend([ROW, &END]);
        let mut bench = Bench::new(NEW, 0);
        bench.asks(QUERY).answers(&payloads).is_over();
    }
}
