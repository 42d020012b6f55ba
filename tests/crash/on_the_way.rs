//! Kills while bytes are on their way through the proxy: not one is lost, doubled or changed.

use odp::wire::command::code;
use rustix::process::{Resource, getrlimit};

use crate::scene::{Layered, Layers};
use crate::support::raw::{command_packets, packets};
use crate::support::{Packet, may_look_into_proxies};

/// Each of these scenes over connections of this kind.
macro_rules! over {
    ($name:ident, $layers:expr, [$($scene:ident),* $(,)?]) => {
        mod $name {
            $(
                #[test]
                fn $scene() {
                    if let Some(layered) = super::Layered::start($layers) {
                        super::$scene(&layered);
                    }
                }
            )*
        }
    };
}

over!(
    plain,
    super::Layers::Nothing,
    [
        a_result_that_is_read_slowly_arrives_as_it_was_sent,
        a_statement_that_comes_in_pieces_is_executed_as_it_was_said,
        commands_that_were_sent_at_once_are_answered_in_their_order,
        a_file_that_is_loaded_arrives_as_it_is,
        who_has_said_all_it_has_to_say_is_answered,
        who_never_stops_does_not_notice_kills,
    ]
);
over!(
    tls_1_3,
    super::Layers::Tls13,
    [
        a_result_that_is_read_slowly_arrives_as_it_was_sent,
        a_statement_that_comes_in_pieces_is_executed_as_it_was_said,
        commands_that_were_sent_at_once_are_answered_in_their_order,
        a_file_that_is_loaded_arrives_as_it_is,
        who_has_said_all_it_has_to_say_is_answered,
        who_never_stops_does_not_notice_kills,
        secrets_are_in_no_memory_that_is_dumped,
    ]
);
over!(
    tls_1_2,
    super::Layers::Tls12,
    [
        a_result_that_is_read_slowly_arrives_as_it_was_sent,
        a_statement_that_comes_in_pieces_is_executed_as_it_was_said,
        commands_that_were_sent_at_once_are_answered_in_their_order,
        who_never_stops_does_not_notice_kills,
    ]
);
over!(
    zlib,
    super::Layers::Zlib,
    [
        a_result_that_is_read_slowly_arrives_as_it_was_sent,
        a_statement_that_comes_in_pieces_is_executed_as_it_was_said,
        commands_that_were_sent_at_once_are_answered_in_their_order,
        a_file_that_is_loaded_arrives_as_it_is,
        who_never_stops_does_not_notice_kills,
    ]
);
over!(
    zstd,
    super::Layers::Zstd,
    [
        a_result_that_is_read_slowly_arrives_as_it_was_sent,
        a_statement_that_comes_in_pieces_is_executed_as_it_was_said,
        who_never_stops_does_not_notice_kills,
    ]
);
over!(
    tls_and_zlib,
    super::Layers::TlsAndZlib,
    [
        a_result_that_is_read_slowly_arrives_as_it_was_sent,
        a_statement_that_comes_in_pieces_is_executed_as_it_was_said,
        commands_that_were_sent_at_once_are_answered_in_their_order,
        who_never_stops_does_not_notice_kills,
    ]
);

fn is_as(found: &Packet, expected: &Packet) -> bool {
    (found.sequence, &found.payload) == (expected.sequence, &expected.payload)
}

/// Rows of all lengths, each of which says which one it is.
const ROWS: &str = "SELECT seq, REPEAT(CHAR(65 + seq % 26), 17 * seq % 3001) FROM seq_1_to_12000";

/// The client reads a piece now and then, so that the answer stands everywhere on the way.
fn a_result_that_is_read_slowly_arrives_as_it_was_sent(layered: &Layered) {
    let mut wire = layered.open();
    let expected = wire.run(ROWS).packets;
    let whole: usize = expected.iter().map(|packet| packet.payload.len()).sum();
    assert!(whole > 16 << 20, "more than sockets hold: {whole}");
    let (mut read, mut kills) = (0, 0);
    wire.command(code::QUERY, ROWS.as_bytes());
    for expected in &expected {
        let found = wire.packet();
        assert!(is_as(&found, expected), "the packet behind {read} bytes");
        read += found.payload.len();
        if kills < 5 && read > (2 * kills + 1) * whole / 10 {
            kills += 1;
            layered.kill(1);
        }
    }
    assert_eq!((kills, &wire.run("SELECT 7").text()[..]), (5, "7"));
}

/// Cut within a header, within what is looked at, and far behind.
fn a_statement_that_comes_in_pieces_is_executed_as_it_was_said(layered: &Layered) {
    let mut wire = layered.open();
    let text: String = (0..60_000_u64).map(|n| char::from(b'a' + (n * n % 26) as u8)).collect();
    let crc = crc32(text.as_bytes());
    let command = command_packets(code::QUERY, format!("SELECT CRC32('{text}')").as_bytes());
    for cut in [1, 4, 5, 30, 1000, 5000, 20_000, 50_000, command.len() - 1] {
        wire.send(&command[..cut]).expect("the connection is open");
        layered.kill(1);
        wire.send(&command[cut..]).expect("the connection is open");
        assert_eq!(wire.reply(code::QUERY).text(), crc.to_string(), "{cut}");
    }
}

/// Commands that are sent at once.
const MANY: usize = 240;

/// More commands than are answered before anything is read.
fn commands_that_were_sent_at_once_are_answered_in_their_order(layered: &Layered) {
    let mut wire = layered.open();
    wire.run("CREATE TEMPORARY TABLE said (n INT)");
    let mut kills = 0;
    for round in 0..4 {
        let command = |n: usize| {
            let sql = match n % 3 {
                0 => format!("INSERT INTO said VALUES ({n})"),
                1 => format!("SELECT {n}, REPEAT('{n}', {})", n % 997),
                _ => "USE p".to_owned(),
            };
            command_packets(code::QUERY, sql.as_bytes())
        };
        let all: Vec<u8> = (0..MANY).flat_map(command).collect();
        // What is not taken yet does not keep us from reading.
        let (first, rest) = all.split_at(all.len() * (1 + round) / 6);
        wire.send(first).expect("the connection is open");
        layered.kill(1);
        wire.send(rest).expect("the connection is open");
        for n in 0..MANY {
            let reply = wire.reply(code::QUERY);
            assert_eq!(reply.error(), None);
            if n % 3 == 1 {
                assert_eq!(reply.rows()[0][1], Some(n.to_string().repeat(n % 997).into_bytes()));
            }
            if n == MANY / 3 + MANY / 12 * round {
                layered.kill(1);
                kills += 1;
            }
        }
    }
    let sums = wire.run("SELECT COUNT(*), SUM(n) FROM said").rows();
    let sum: usize = (0..MANY).filter(|n| n % 3 == 0).sum();
    let text = |number: usize| Some(number.to_string().into_bytes());
    assert_eq!((kills, &sums[0][..]), (4, &[text(4 * MANY / 3), text(4 * sum)][..]));
}

/// The file comes in packets, cut anywhere.
fn a_file_that_is_loaded_arrives_as_it_is(layered: &Layered) {
    let mut wire = layered.open();
    layered.scene.database.execute(&["SET GLOBAL local_infile = 1"]);
    wire.run("CREATE TEMPORARY TABLE t (n INT, words VARCHAR(100))");
    let mut expected = 0;
    for round in 0..3 {
        wire.command(code::QUERY, b"LOAD DATA LOCAL INFILE 'x' INTO TABLE t");
        let asked = wire.packet();
        assert_eq!(asked.payload, b"\xFBx");
        layered.kill(1);
        let lines: Vec<u8> =
            (0..3000).flat_map(|n| format!("{n}\tline {n}\n").into_bytes()).collect();
        let mut sequence = asked.sequence;
        for (at, piece) in lines.chunks(5000 + 7 * round).enumerate() {
            sequence = sequence.wrapping_add(1);
            let packet = packets(piece, sequence);
            let (first, rest) = packet.split_at(packet.len() / (at + 1));
            wire.send(first).expect("the connection is open");
            if at % 3 == round {
                layered.kill(1);
            }
            wire.send(rest).expect("the connection is open");
        }
        wire.send(&packets(&[], sequence.wrapping_add(1))).expect("the connection is open");
        layered.kill(1);
        let end = wire.packet();
        assert_eq!(end.payload[0], 0, "{}", end.payload.escape_ascii());
        expected += 3000;
        let sums = wire.run("SELECT COUNT(*), SUM(words = CONCAT('line ', n)) FROM t").rows();
        let count = Some(expected.to_string().into_bytes());
        assert_eq!(sums[0], [count.clone(), count]);
    }
}

/// Nothing more comes from the client, which still waits for its answer.
fn who_has_said_all_it_has_to_say_is_answered(layered: &Layered) {
    let mut wire = layered.open();
    let expected = wire.run(ROWS).packets;
    let mut kept = layered.open();
    kept.run("SELECT 1");
    wire.command(code::QUERY, ROWS.as_bytes());
    wire.half_close();
    for (at, expected) in expected.iter().enumerate() {
        assert!(is_as(&wire.packet(), expected), "packet {at}");
        // Later all of it may be with the client, and the session over.
        if at % 1000 == 100 && at < 3000 {
            layered.kill(2);
        }
    }
    assert!(wire.until_closed().is_empty());
}

/// Small questions and answers of all lengths, without a pause, while the proxy is killed again and
/// again.
fn who_never_stops_does_not_notice_kills(layered: &Layered) {
    let begin = "CREATE TEMPORARY TABLE said (n INT)";
    layered.kill_under((6, 15), begin, |wire, n, turns| {
        let length = (turns * 7919 + n) % 60_001;
        let text = wire.run(&format!("SELECT REPEAT('{n}', {length})")).text();
        assert_eq!(text.len(), length);
        assert!(text.bytes().all(|byte| char::from(byte).to_string() == n.to_string()));
        let long = "x".repeat(turns * 131 % 40_003);
        wire.run(&format!("INSERT INTO said SELECT LENGTH('{long}')"));
        let sums = wire.run("SELECT COUNT(*), MAX(n) FROM said").rows();
        assert_eq!(sums[0][0], Some((turns + 1).to_string().into_bytes()));
    });
}

/// Bytes of it that a proxy wants by default.
const WANTED_SECRETS: u64 = 8 << 20;

/// Where the kernel has such memory, keys are where no other process sees them.
fn secrets_are_in_no_memory_that_is_dumped(layered: &Layered) {
    if !may_look_into_proxies() {
        return;
    }
    let mut wire = layered.open();
    wire.run("SELECT 1");
    let maps = std::fs::read_to_string(format!("/proc/{}/smaps", layered.scene.carrier()));
    let maps = maps.expect("it lives");
    let of = |name: &str| {
        let (_, from) = maps.split_once(name)?;
        from.lines().find(|line| line.starts_with("VmFlags:")).map(ToOwned::to_owned)
    };
    let journal = of("/memfd:odp-journal").expect("there is a journal");
    assert!(journal.contains(" dd"), "{journal}");
    let secrets = of("/secretmem");
    let log = layered.scene.proxy.log();
    let why = log.lines().find(|line| line.contains("keys are in memory like any other"));
    assert_eq!(secrets.is_none(), why.is_some(), "{why:?}");
    // The kernel has none, or whoever starts us lets nobody have it, or not so much.
    let is_excused = |why: &str| {
        let most = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
        why.contains("(os error 38)") || why.contains("(os error 1)") || most < WANTED_SECRETS
    };
    assert!(why.is_none_or(is_excused), "{why:?}");
    assert!(secrets.is_none_or(|secrets| secrets.contains(" dd")));
    layered.kill(1);
    assert_eq!(wire.run("SELECT 7").text(), "7");
}

/// As the server's CRC32().
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let shift = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), shift)
    };
    !bytes.iter().fold(!0, step)
}
