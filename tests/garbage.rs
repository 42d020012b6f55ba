//! The entry points for fuzzing, for some seconds each: random bytes, and seeds with bytes changed.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Packets that make sense, to be spoilt.
const SEEDS: &[&[u8]] = &[
    b"\x09\0\0\0\x03select 1\x01\0\0\x01\x01\
      \x17\0\0\x02\x03def\0\0\0\x01\x31\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0",
    b"\x0a5.5.5-10.11\0\x05\0\0\0abcdefgh\
      \0\xfe\xf7\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\x1d\0\0\0ijklmnopqrst\0mysql_native_password\0",
    b"\x8d\xa6\xff\x01\0\0\0\x01\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0app\0\x14aaaaaaaaaaaaaaaaaaaadb\0mysql_native_password\0",
    b"kill /* x */ query 2147483649 ;",
    b"select 1; /*!50000 kill 2147483649 */; execute immediate 'kill ?' using 2147483649",
    b"\x07\0\0\0\x16KILL ?\x0c\0\0\x01\0\x05\0\0\0\0\0\0\0\0\0\0\
      \x15\0\0\0\x17\x05\0\0\0\0\x01\0\0\0\0\x01\x08\x80\x01\0\0\x80\0\0\0\0",
    b"\xFFPROXY TCP4 10.1.2.3 10.9.9.9 4000 3306\r\n\x20\0\0\x01",
    b"\x14\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\
      \x0a\x01\x02\x03\x0a\x09\x09\x09\x0f\xa0\x0c\xea\x04\0\x02\0\0",
    b"ODPH\x01\0\0\0\x10\0\0\0\0\0\0\0{\"kind\":\"READY\"}",
];

fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    let seed = proptest::sample::select(SEEDS);
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6);
    (seed, changes, any::<proptest::sample::Index>()).prop_map(|(seed, changes, cut)| {
        let mut bytes = seed.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
        bytes
    })
}

fn feed(entry: fn(&[u8])) {
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() };
    let input = prop_oneof![proptest::collection::vec(any::<u8>(), 0..300), spoilt()];
    let fed = TestRunner::new(config).run(&input, |bytes| {
        entry(&bytes);
        Ok(())
    });
    fed.expect("any input is judged without panic");
}

#[test]
fn wire() {
    feed(odp::fuzz::wire);
}

#[test]
fn login() {
    feed(odp::fuzz::login);
}

#[test]
fn sql() {
    feed(odp::fuzz::sql);
}

#[test]
fn session() {
    feed(odp::fuzz::session);
}

#[test]
fn proxy_header() {
    feed(odp::fuzz::proxy_header);
}

#[test]
fn handover() {
    feed(odp::fuzz::handover);
}

/// Found by `session`: only the head of the packet was here, and all of it was to be replaced.
#[test]
fn a_process_kill_with_a_tail_harms_nobody() {
    odp::fuzz::session(&[0, 0, 0, 1, 0, 12, 0, 0, 0, 0]);
}

/// Found by `login`: a challenge that fills all of the length's byte, without its NUL.
#[test]
fn a_greeting_with_the_longest_challenge_is_greeted_with() {
    let greeting = [
        &b"\x0a8\0\x05\0\0\0abcdefgh\0\xff\xff\x2d\x02\0\xff\xff\xff"[..],
        &[0; 10],
        &[b'x'; 247],
        b"mysql_native_password\0",
    ];
    odp::fuzz::login(&greeting.concat());
}
