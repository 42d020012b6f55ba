//! What is passed on of what a client says of ids. Sessions 7 and 1234 of the server are ours.

use super::super::front::LONG_COMMAND;
use super::*;
use crate::session::machine::tests::{Bench, COLUMN, DOWN, ERR, NEW, OK, UP, numbered};
use crate::wire::capability as cap;
use crate::wire::command::LATEST;
use crate::wire::packet::packet;

/// The id that the client of the server's session 7 was shown.
const SHOWN: u32 = OURS + 7;

fn query(sql: &str) -> Vec<u8> {
    [b"\x03", sql.as_bytes()].concat()
}

#[track_caller]
fn is_passed_as(capabilities: u32, asked: &[u8], passed: &[u8]) {
    let mut bench = Bench::new(capabilities, 0);
    // Byte by byte: nothing is passed on before it can be judged.
    packet(0, asked).iter().for_each(|byte| _ = bench.client(&[*byte]));
    assert_eq!(bench.passed[UP], packet(0, passed), "{}", asked.escape_ascii());
    bench.answers(&[ERR]).is_over();
    assert!(bench.unjudged[UP].is_empty());
}

#[test]
fn kill_reaches_whom_the_client_was_shown() {
    let process_kill = |id: u32, rest: &[u8]| [&[0x0C], &id.to_le_bytes()[..], rest].concat();
    let same = |sql: &str| (query(sql), query(sql));
    let other = OURS + 8;
    let table = [
        (query(&format!("KILL {SHOWN}")), query("KILL 7")),
        (query(&format!("kill query {SHOWN} ; -- x")), query("kill query 7 ; -- x")),
        same("KILL 7"),
        same(&format!("KILL {other}")),
        same(&format!("KILL USER u{SHOWN}")),
        same(&format!("SELECT {SHOWN}; SELECT 'KILL {SHOWN}'")),
        (
            query(&format!(
                "SELECT {SHOWN}; KILL {SHOWN}; KILL {other}; KILL QUERY {}",
                OURS + 1234
            )),
            query(&format!("SELECT {SHOWN}; KILL 7; KILL {other}; KILL QUERY 1234")),
        ),
        (query(&format!("/*!50000 KILL {SHOWN} */")), query("/*!50000 KILL 7 */")),
        (format!("\x16KILL {SHOWN}").into_bytes(), b"\x16KILL 7".to_vec()),
        (process_kill(OURS + 1234, b""), process_kill(1234, b"")),
        (process_kill(1234, b""), process_kill(1234, b"")),
        (process_kill(OURS + 1234, b"more"), process_kill(1234, b"more")),
        (b"\x0C\x01\x02".to_vec(), b"\x0C\x01\x02".to_vec()),
    ];
    for (asked, passed) in table {
        is_passed_as(NEW, &asked, &passed);
    }
}

/// Of a long statement the beginning is looked at.
#[test]
fn kill_is_found_in_the_first_kibibytes() {
    for before in [0, 10, 1024, LONG_COMMAND - 30, LONG_COMMAND] {
        let text = |id: u32| {
            format!("SELECT '{}'; KILL {id}; SELECT '{}'", "x".repeat(before), "y".repeat(9000))
        };
        let known = if before < LONG_COMMAND { 7 } else { SHOWN };
        is_passed_as(NEW, &query(&text(SHOWN)), &query(&text(known)));
    }
    // Of one that is prepared, too.
    let text = |id: u32| format!("\x16/*{}*/ KILL {id}", "x".repeat(5000)).into_bytes();
    is_passed_as(NEW, &text(SHOWN), &text(7));
    // One that is continued keeps its length.
    let start = query(&format!("KILL {SHOWN}; SELECT '"));
    let full = [&start[..], &vec![b'x'; MAX_PAYLOAD - start.len()]].concat();
    let mut bench = Bench::new(NEW, 0);
    let asked = [packet(0, &full), packet(1, b"'")].concat();
    bench.client(&asked);
    assert!(bench.passed[UP] == asked);
}

#[test]
fn kill_is_found_behind_query_attributes() {
    let attributes = [
        &b"\x03\0\x01"[..],
        b"\x03\x01\x01\0\x01\xFE\0\x01a\x01x",
        b"\x03\x02\x01\x02\x01\x03\0\x01n\xFE\0\x04name1234",
    ];
    for before in attributes {
        let with = |sql: String| [before, sql.as_bytes()].concat();
        let asked = with(format!("KILL {SHOWN}"));
        is_passed_as(NEW | cap::QUERY_ATTRIBUTES, &asked, &with("KILL 7".into()));
    }
    // The value is no part of the text, and one that is cut off is left alone.
    let value = format!("KILL {SHOWN}");
    let odd = [b"\x03\x01\x01\0\x01\xFE\0\x01a\x0F", value.as_bytes(), b"DO 1"].concat();
    is_passed_as(NEW | cap::QUERY_ATTRIBUTES, &odd, &odd);
    let broken = [b"\x03\x09\x01\0\x01\xFE\0\x01a", value.as_bytes()].concat();
    is_passed_as(NEW | cap::QUERY_ATTRIBUTES, &broken, &broken);
}

/// COM_STMT_EXECUTE with one parameter.
fn execute(statement: u32, types: Option<u8>, value: &[u8]) -> Vec<u8> {
    let statement = statement.to_le_bytes();
    let start = [&[0x17], &statement[..], &[0, 1, 0, 0, 0, 0]].concat();
    let types = types.map_or(vec![0], |kind| vec![1, kind, 0]);
    [&start[..], &types, value].concat()
}

/// A session that has prepared a statement under this id.
fn prepared(capabilities: u32, sql: &str, statement: u8) -> Bench {
    let mut bench = Bench::new(capabilities, 0);
    prepare(&mut bench, sql, statement);
    bench
}

fn prepare(bench: &mut Bench, sql: &str, statement: u8) {
    bench.asks(&[b"\x16", sql.as_bytes()].concat());
    bench.answers(&[&[0, statement, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], COLUMN]).is_over();
    bench.passed = Default::default();
}

#[track_caller]
fn passes(bench: &mut Bench, asked: &[u8], passed: &[u8]) {
    bench.passed = Default::default();
    packet(0, asked).iter().for_each(|byte| _ = bench.client(&[*byte]));
    assert_eq!(bench.passed[UP], packet(0, passed), "{}", asked.escape_ascii());
    bench.answers(&[&OK]).is_over();
}

#[test]
fn a_parameter_is_an_id_where_the_statement_takes_one() {
    let id = u64::from(SHOWN);
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let double = |number: f64| number.to_le_bytes().to_vec();
    let table = [
        (kind::LONG, SHOWN.to_le_bytes().to_vec(), 7_u32.to_le_bytes().to_vec()),
        (kind::INT24, SHOWN.to_le_bytes().to_vec(), 7_u32.to_le_bytes().to_vec()),
        (kind::LONGLONG, id.to_le_bytes().to_vec(), 7_u64.to_le_bytes().to_vec()),
        (kind::LONGLONG, (id + (1 << 32)).to_le_bytes().to_vec(), vec![]),
        (kind::LONGLONG, (id + 1).to_le_bytes().to_vec(), vec![]),
        (kind::LONGLONG, 7_u64.to_le_bytes().to_vec(), vec![]),
        (kind::DOUBLE, double(f64::from(SHOWN)), double(7.0)),
        (kind::DOUBLE, double(f64::from(SHOWN) + 0.5), vec![]),
        (kind::DOUBLE, double(f64::NAN), vec![]),
        (0xFD, text(&SHOWN.to_string()), text("7")),
        (0xFE, text(&SHOWN.to_string()), text("7")),
        (0xF6, text(&SHOWN.to_string()), text("7")),
        (0xFE, text(&format!("+{SHOWN}")), vec![]),
        (0xFE, text("x"), vec![]),
        (kind::TINY, vec![7], vec![]),
        (kind::NULL, vec![], vec![]),
    ];
    for sql in ["KILL ?", "KILL QUERY ?", "/*! KILL ? */", "SHOW EXPLAIN FOR ?"] {
        for (kind, value, with) in &table {
            let with = if with.is_empty() { value } else { with };
            let mut bench = prepared(NEW, sql, 5);
            let passed = execute(5, Some(*kind), with);
            passes(&mut bench, &execute(5, Some(*kind), value), &passed);
            // The type is the last one that was told.
            passes(&mut bench, &execute(5, None, value), &execute(5, None, with));
            passes(&mut bench, &execute(6, Some(*kind), value), &execute(6, Some(*kind), value));
        }
    }
    let asked = execute(5, Some(kind::LONGLONG), &id.to_le_bytes());
    for sql in ["SELECT ?", "KILL ? + 1", "SELECT ?, 'KILL ?'"] {
        passes(&mut prepared(NEW, sql, 5), &asked, &asked);
    }
}

#[test]
fn a_parameter_is_found_among_query_attributes() {
    let body = |id: u64| {
        let start = &[0x17, 5, 0, 0, 0, 8, 1, 0, 0, 0, 2, 0, 1, 8, 0, 0, 0xFE, 0, 1, b'a'];
        [start, &id.to_le_bytes()[..], b"\x01x"].concat()
    };
    let mut bench = prepared(NEW | cap::QUERY_ATTRIBUTES, "KILL ?", 5);
    passes(&mut bench, &body(SHOWN.into()), &body(7));
    // Without the flag it is another shape.
    let mut without = body(SHOWN.into());
    without[5] = 0;
    passes(&mut bench, &without.clone(), &without);
}

/// MariaDB's clients send PREPARE and EXECUTE at once.
#[test]
fn the_latest_statement_needs_no_id() {
    let id = u64::from(SHOWN).to_le_bytes();
    let thread = 7_u64.to_le_bytes();
    let mut bench = Bench::new(NEW, 0);
    bench.asks(b"\x16KILL ?").asks(&execute(LATEST, Some(8), &id));
    let passed = [packet(0, b"\x16KILL ?"), packet(0, &execute(LATEST, Some(8), &thread))];
    assert_eq!(bench.passed[UP], passed.concat());
    bench.answers(&[&[0, 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], COLUMN]).answers(&[&OK]).is_over();
    passes(&mut bench, &execute(5, None, &id), &execute(5, None, &thread));
    prepare(&mut bench, "SELECT ?", 6);
    passes(&mut bench, &execute(LATEST, Some(8), &id), &execute(LATEST, Some(8), &id));
    passes(&mut bench, &execute(5, None, &id), &execute(5, None, &thread));
}

#[test]
fn a_statement_that_is_gone_is_forgotten() {
    let asked = execute(5, Some(8), &u64::from(SHOWN).to_le_bytes());
    for ends in [&b"\x19\x05\0\0\0"[..], b"\x1F", b"\x11you\0\0\0"] {
        let mut bench = prepared(NEW, "KILL ?", 5);
        bench.asks(ends);
        if ends[0] != 0x19 {
            bench.answers(&[&OK]);
        }
        passes(&mut bench, &asked, &asked);
    }
    // One that is not prepared is none, and of too many the oldest is forgotten.
    let mut bench = Bench::new(NEW, 0);
    bench.asks(b"\x16KILL ?").answers(&[ERR]).is_over();
    passes(&mut bench, &asked, &asked);
    for statement in 5..=MAX_STATEMENTS as u8 + 5 {
        prepare(&mut bench, "KILL ?", statement);
    }
    passes(&mut bench, &asked, &asked);
    let next = |id: u64| execute(6, Some(8), &id.to_le_bytes());
    passes(&mut bench, &next(SHOWN.into()), &next(7));
}

/// What a server says of ids is its own, and agrees with whatever else it says.
#[test]
fn rows_are_passed_on_as_they_are() {
    for sql in ["SELECT connection_id()", "SHOW FULL PROCESSLIST", "SELECT 1"] {
        let answer = numbered(
            1,
            &[&[1], COLUMN, b"\x047777", b"\x041234", b"\x017", &[0xFE, 0, 0, 2, 0, 0, 0]],
        );
        let mut bench = Bench::new(NEW, 0);
        bench.asks(&query(sql));
        answer.iter().for_each(|byte| _ = bench.server(&[*byte]));
        assert_eq!(bench.passed[DOWN], answer, "{sql}");
        bench.is_over();
    }
}
