//! What tracking the protocol costs: nanoseconds for a packet or a round trip, without any socket.
//!
//! `cargo bench --bench wire`. Each figure is the best of several runs: the pure code has no reason
//! to be slower than that but the machine's other work.

#[path = "../tests/support/nobody.rs"]
mod nobody;

use std::hint::black_box;
use std::time::{Duration, Instant};

use nobody::Nobody;
use odp::metrics::SessionCounters;
use odp::session::Session;
use odp::session::link::LinkId;
use odp::sql;
use odp::wire::capability as cap;
use odp::wire::packet::packet;
use odp::wire::response::Dialect;

/// As large as a relay's buffer.
const PIECE: usize = 16 * 1024;

/// How long one run takes.
const RUN: Duration = Duration::from_millis(50);

/// Runs of each case.
const RUNS: usize = 7;

/// Rows of the large result.
const ROWS: usize = 10_000;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let query = packet(0, b"\x03SELECT c FROM sbtest1 WHERE id=50123");
    let execute = packet(0, b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\x03\0\xcb\xc3\0\0");
    let point = result_set(&[&[b'x'; 119]]);
    report("point select, COM_QUERY, round trip", 1, round_trip(&query, &point));
    report("point select, COM_STMT_EXECUTE, round trip", 1, round_trip(&execute, &point));
    for length in [10, 100, 1000] {
        let row = vec![b'x'; length];
        let large = result_set(&vec![row.as_slice(); ROWS]);
        let name = format!("10 000 rows of {length} bytes, each row");
        report(&name, ROWS, round_trip(&query, &large));
    }
    for text in [
        "SELECT c FROM sbtest1 WHERE id=50123",
        "  /* a comment */ select 1",
        "UPDATE sbtest1 SET k=k+1 WHERE id=50123",
        "COMMIT",
        "SELECT 1; KILL QUERY 2164260865",
    ] {
        let text = text.as_bytes();
        let classify = || {
            let kind = sql::inspect(black_box(text));
            if sql::ids::are_likely(&kind, text) {
                black_box(sql::ids::connections(text, sql::ids::Extent::Whole));
            }
        };
        report(&format!("sql: {}", String::from_utf8_lossy(text)), 1, classify);
    }
}

/// Prints the time of one of the `units` that a call handles.
fn report(name: &str, units: usize, mut call: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let (start, mut calls) = (Instant::now(), 0u32);
        while start.elapsed() < RUN {
            // Looking at the clock costs as much as some of what is measured.
            (0..64).for_each(|_| call());
            calls += 64;
        }
        let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(calls);
        best = best.min(each / units as f64);
    }
    println!("{name:<60}{best:>10.1} ns");
}

/// A logged-in session that handles a command and its answer at each call.
fn round_trip(command: &[u8], answer: &[u8]) -> impl FnMut() {
    let dialect = Dialect::new(cap::DEPRECATE_EOF, 0);
    let mut session = Session::logging_in(dialect, false, b"user", b"database");
    let counters = SessionCounters::default();
    session.handle_server(LinkId::HOME, &packet(2, &[0, 0, 0, 2, 0, 0, 0]), &counters);
    move || {
        session.handle_client(black_box(command), &Nobody, &counters);
        let (mut start, mut end) = (0, 0);
        while start < answer.len() {
            end = (end + PIECE).min(answer.len());
            let answer = black_box(&answer[start..end]);
            start += session.handle_server(LinkId::HOME, answer, &counters).consumed;
        }
        assert!(session.conversation().is_idle(), "the answer is over");
    }
}

/// One column, and rows of one value each, as under CLIENT_DEPRECATE_EOF.
fn result_set(rows: &[&[u8]]) -> Vec<u8> {
    let mut sequence = 1u8;
    let mut bytes = Vec::new();
    let mut put = |payload: &[u8]| {
        bytes.extend(packet(sequence, payload));
        sequence = sequence.wrapping_add(1);
    };
    put(&[1]);
    put(b"\x03def\x06sbtest\x07sbtest1\x07sbtest1\x01c\x01c\x0c\x21\0\x68\x01\0\0\xfe\x01\0\0\0\0");
    for row in rows {
        let mut payload = Vec::new();
        odp::wire::packet::put_lenenc_str(&mut payload, row);
        put(&payload);
    }
    put(&[0xfe, 0, 0, 2, 0, 0, 0]);
    bytes
}
