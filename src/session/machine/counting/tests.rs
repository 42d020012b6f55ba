//! Example traces: what is counted of what each side says, however it comes in pieces.

use std::cell::Cell;

use super::*;
use crate::metrics::SessionCounters;
use crate::session::ids::Directory;
use crate::session::link::LinkId;
use crate::session::snapshot::SessionSnapshot;
use crate::sql::Extent;
use crate::sql::digest;
use crate::wire::command::LATEST;
use crate::wire::id::{SessionId, ThreadId};
use crate::wire::packet::packet;
use crate::wire::response::Dialect;

/// Counts by a clock that goes on by 10 µs with each look.
#[derive(Debug, Default)]
struct Counting(Cell<u64>);

impl Shapes for Counting {
    fn digest(&self, sql: &[u8], extent: Extent, modes: Modes) -> Digest {
        digest::digest(sql, extent, modes)
    }

    fn now_us(&self) -> u64 {
        self.0.set(self.0.get() + 10);
        self.0.get()
    }
}

impl Directory for Counting {
    fn shapes(&self) -> Option<&dyn Shapes> {
        Some(self)
    }

    fn server_thread(&self, _connection: SessionId) -> Option<ThreadId> {
        None
    }
}

struct Bench {
    session: Session,
    counting: Counting,
    counters: SessionCounters,
    unjudged: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let dialect = Dialect { deprecate_eof: true, ..Dialect::default() };
        let session = Session::logging_in(dialect, false, b"me", b"here");
        let (counting, counters) = (Counting::default(), SessionCounters::default());
        let mut bench = Self { session, counting, counters, unjudged: Vec::new() };
        bench.says(&packet(2, &[0, 0, 0, 2, 0, 0, 0]));
        bench
    }

    fn asks(&mut self, payload: &[u8]) -> &mut Self {
        let packet = packet(0, payload);
        let intake = self.session.handle_client(&packet, &self.counting, &self.counters);
        assert_eq!(intake.consumed, packet.len());
        // The payload.
        self
    }

    fn query(&mut self, sql: &str) -> &mut Self {
        self.asks(&[&[code::QUERY], sql.as_bytes()].concat())
    }

    fn execute(&mut self, id: u32) -> &mut Self {
        let id = id.to_le_bytes();
        self.asks(&[&[code::STMT_EXECUTE], &id[..], &[0, 1, 0, 0, 0]].concat())
    }

    fn says(&mut self, bytes: &[u8]) -> &mut Self {
        self.unjudged.extend(bytes);
        let judged = self.session.handle_server(LinkId::HOME, &self.unjudged, &self.counters);
        self.unjudged.drain(..judged.consumed);
        self
    }

    /// Digest, since when, rows, bytes, whether it was an error.
    fn finished(&mut self) -> Vec<(Digest, u64, u64, u64, bool)> {
        let of = |it: &Finished| {
            let stamp = it.stamp;
            (stamp.digest, stamp.since_us, stamp.rows, stamp.bytes(), it.is_error)
        };
        let finished = self.session.finished().iter().map(of).collect();
        self.session.forget_finished();
        finished
    }
}

fn of(sql: &str) -> Digest {
    digest::digest(sql.as_bytes(), Extent::Whole, Modes::USUAL)
}

const OK: &[u8] = &[0, 3, 0, 2, 0, 0, 0];

/// One column and three rows; 8 packets' headers in all.
fn rows() -> Vec<u8> {
    let payloads: [&[u8]; 6] =
        [&[1], b"\x03def column", b"\x011", b"\x012", b"\x013", &[0xFE, 0, 0, 2, 0, 0, 0]];
    (1..).zip(payloads).flat_map(|(number, payload)| packet(number, payload)).collect()
}

fn prepared(id: u8) -> Vec<u8> {
    packet(1, &[0, id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

#[test]
fn statements_are_counted_when_their_answers_have_ended() {
    let (read, write, wrong) = ("select a from t", "delete from t where a = 1", "select nothing");
    let mut bench = Bench::new();
    assert_eq!(bench.finished(), [], "a log-in is none");
    bench.query(read);
    assert_eq!(bench.session.running().map(|it| (it.digest, it.since_us)), Some((of(read), 10)));
    let all = rows();
    bench.says(&all);
    assert_eq!(bench.session.running(), None);
    assert_eq!(bench.finished(), [(of(read), 10, 3, all.len() as u64, false)]);
    bench.query(write).says(&packet(1, OK));
    assert_eq!(bench.finished(), [(of(write), 20, 3, 4 + OK.len() as u64, false)]);
    bench.query(wrong).says(&packet(1, b"\xFF\x48\x04#HY000no"));
    assert_eq!(bench.finished(), [(of(wrong), 30, 0, 4 + 11, true)]);
    bench.asks(&[code::PING]).says(&packet(1, OK));
    assert_eq!(bench.finished(), [], "nor is a ping");
}

#[test]
fn pieces_and_pipelines_do_not_matter() {
    let answers = [rows(), packet(1, OK), rows()].concat();
    let texts = ["select a from t", "insert into t values (7)", "select b from t"];
    let counted = |size: usize| {
        let mut bench = Bench::new();
        for sql in texts {
            bench.query(sql);
        }
        let mut finished = Vec::new();
        for piece in answers.chunks(size) {
            bench.says(piece);
            finished.extend(bench.finished());
        }
        finished
    };
    let bytes = [rows().len() as u64, 4 + OK.len() as u64, rows().len() as u64];
    let expected = (0..3).map(|at| (of(texts[at]), 10 + 10 * at as u64, 3, bytes[at], false));
    let expected: Vec<_> = expected.collect();
    for size in [answers.len(), 1, 2, 3, 5, 7, 11] {
        assert_eq!(counted(size), expected, "{size}");
    }
}

#[test]
fn executions_are_counted_as_what_was_prepared() {
    let sql = "select a from t where b = ?";
    let prepare = [&[code::STMT_PREPARE], sql.as_bytes()].concat();
    let mut bench = Bench::new();
    bench.asks(&prepare).says(&prepared(7));
    assert_eq!(bench.finished(), [], "to prepare is not to execute");
    let digests = |bench: &mut Bench, id: u32| {
        bench.execute(id).says(&packet(1, OK));
        bench.finished().iter().map(|it| it.0).collect::<Vec<_>>()
    };
    assert_eq!(digests(&mut bench, 7), [of(sql)]);
    assert_eq!(digests(&mut bench, LATEST), [of(sql)]);
    assert_eq!(digests(&mut bench, 8), [Digest::REST], "nobody has prepared it");
    // Over a restart, with one under way.
    bench.execute(7);
    let text = serde_json::to_string(&SessionSnapshot::from(bench.session)).expect("plain data");
    let snapshot: SessionSnapshot = serde_json::from_str(&text).expect("the same");
    bench.session = snapshot.into();
    bench.says(&packet(1, OK));
    assert_eq!(bench.finished().len(), 1);
    assert_eq!(digests(&mut bench, 7), [of(sql)]);
    bench.asks(&[code::STMT_CLOSE, 7, 0, 0, 0]);
    assert_eq!(digests(&mut bench, 7), [Digest::REST]);
    bench.asks(&prepare).says(&prepared(9));
    bench.asks(&[code::RESET_CONNECTION]).says(&packet(1, OK));
    assert_eq!(digests(&mut bench, 9), [Digest::REST]);
}

#[test]
fn what_is_file_data_is_no_statement() {
    let mut bench = Bench::new();
    bench.query("load data local infile 'x' into table t").query("select 1").asks(&[]);
    bench.says(&packet(1, b"\xFBx")).says(&packet(2, OK));
    let finished = bench.finished();
    assert_eq!(finished.len(), 1, "{finished:?}");
    assert_eq!(finished[0].0, of("load data local infile 'x' into table t"));
}

#[test]
fn modes_that_commands_on_their_way_may_change_are_not_known() {
    let mut bench = Bench::new();
    assert_eq!(bench.session.modes().no_backslash_escapes, Known::No);
    bench.query("set sql_mode = 'NO_BACKSLASH_ESCAPES'").query("select 1");
    assert_eq!(bench.session.modes().no_backslash_escapes, Known::Unknown);
    let told = [0, 0, 0, 2, 2, 0, 0];
    bench.says(&packet(1, &told)).says(&packet(1, &told));
    assert_eq!(bench.session.modes().no_backslash_escapes, Known::Yes);
}
