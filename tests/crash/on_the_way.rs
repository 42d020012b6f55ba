//! Kills while bytes are on their way through the proxy: not one is lost, doubled or changed.

use nix::sys::signal::Signal;
use odp::wire::command::code;

use crate::scene::Scene;
use crate::support::raw::{command_packets, packets};
use crate::support::{Login, Packet, Wire};

fn open(scene: &Scene) -> Wire {
    Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients")
}

/// Kills the proxy; all of this many sessions go on.
fn kill(scene: &Scene, sessions: usize) {
    scene.kill(Signal::SIGKILL);
    let (crash, sessions) = (&scene.crashes()[0], sessions.to_string());
    assert_eq!((&crash["sessions"], &crash["resumed"]), (&sessions, &sessions), "{crash:?}");
}

fn is_as(found: &Packet, expected: &Packet) -> bool {
    (found.sequence, &found.payload) == (expected.sequence, &expected.payload)
}

/// Rows of all lengths, each of which says which one it is.
const ROWS: &str = "SELECT seq, REPEAT(CHAR(65 + seq % 26), 17 * seq % 3001) FROM seq_1_to_12000";

/// The client reads a piece now and then, so that the answer stands everywhere on the way.
#[test]
fn a_result_that_is_read_slowly_arrives_as_it_was_sent() {
    let Some(scene) = Scene::start() else { return };
    let mut wire = open(&scene);
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
            kill(&scene, 1);
        }
    }
    assert_eq!((kills, &wire.run("SELECT 7").text()[..]), (5, "7"));
}

/// Cut within a header, within what is looked at, and far behind.
#[test]
fn a_statement_that_comes_in_pieces_is_executed_as_it_was_said() {
    let Some(scene) = Scene::start() else { return };
    let mut wire = open(&scene);
    let text: String = (0..60_000_u64).map(|n| char::from(b'a' + (n * n % 26) as u8)).collect();
    let crc = crc32(text.as_bytes());
    let command = command_packets(code::QUERY, format!("SELECT CRC32('{text}')").as_bytes());
    for cut in [1, 4, 5, 30, 1000, 5000, 20_000, 50_000, command.len() - 1] {
        wire.send(&command[..cut]).expect("the connection is open");
        kill(&scene, 1);
        wire.send(&command[cut..]).expect("the connection is open");
        assert_eq!(wire.reply(code::QUERY).text(), crc.to_string(), "{cut}");
    }
}

/// More commands than are answered before anything is read.
#[test]
fn commands_that_were_sent_at_once_are_answered_in_their_order() {
    let Some(scene) = Scene::start() else { return };
    let mut wire = open(&scene);
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
        let all: Vec<u8> = (0..600).flat_map(command).collect();
        // What is not taken yet does not keep us from reading.
        let (first, rest) = all.split_at(all.len() * (1 + round) / 6);
        wire.send(first).expect("the connection is open");
        kill(&scene, 1);
        wire.send(rest).expect("the connection is open");
        for n in 0..600 {
            let reply = wire.reply(code::QUERY);
            assert_eq!(reply.error(), None);
            if n % 3 == 1 {
                assert_eq!(reply.rows()[0][1], Some(n.to_string().repeat(n % 997).into_bytes()));
            }
            if n == 200 + 50 * round {
                kill(&scene, 1);
                kills += 1;
            }
        }
    }
    let sums = wire.run("SELECT COUNT(*), SUM(n) FROM said").rows();
    let sum: usize = (0..600).filter(|n| n % 3 == 0).sum();
    let text = |number: usize| Some(number.to_string().into_bytes());
    assert_eq!((kills, &sums[0][..]), (4, &[text(4 * 200), text(4 * sum)][..]));
}

/// The file comes in packets, cut anywhere.
#[test]
fn a_file_that_is_loaded_arrives_as_it_is() {
    let Some(scene) = Scene::start() else { return };
    let mut wire = open(&scene);
    scene.database.execute(&["SET GLOBAL local_infile = 1"]);
    wire.run("CREATE TEMPORARY TABLE t (n INT, words VARCHAR(100))");
    let mut expected = 0;
    for round in 0..3 {
        wire.command(code::QUERY, b"LOAD DATA LOCAL INFILE 'x' INTO TABLE t");
        let asked = wire.packet();
        assert_eq!(asked.payload, b"\xFBx");
        kill(&scene, 1);
        let lines: Vec<u8> =
            (0..3000).flat_map(|n| format!("{n}\tline {n}\n").into_bytes()).collect();
        let mut sequence = asked.sequence;
        for (at, piece) in lines.chunks(5000 + 7 * round).enumerate() {
            sequence = sequence.wrapping_add(1);
            let packet = packets(piece, sequence);
            let (first, rest) = packet.split_at(packet.len() / (at + 1));
            wire.send(first).expect("the connection is open");
            if at % 3 == round {
                kill(&scene, 1);
            }
            wire.send(rest).expect("the connection is open");
        }
        wire.send(&packets(&[], sequence.wrapping_add(1))).expect("the connection is open");
        kill(&scene, 1);
        let end = wire.packet();
        assert_eq!(end.payload[0], 0, "{}", end.payload.escape_ascii());
        expected += 3000;
        let sums = wire.run("SELECT COUNT(*), SUM(words = CONCAT('line ', n)) FROM t").rows();
        let count = Some(expected.to_string().into_bytes());
        assert_eq!(sums[0], [count.clone(), count]);
    }
}

/// Nothing more comes from the client, which still waits for its answer.
#[test]
fn who_has_said_all_it_has_to_say_is_answered() {
    let Some(scene) = Scene::start() else { return };
    let mut wire = open(&scene);
    let expected = wire.run(ROWS).packets;
    let mut kept = open(&scene);
    kept.run("SELECT 1");
    wire.command(code::QUERY, ROWS.as_bytes());
    wire.half_close();
    for (at, expected) in expected.iter().enumerate() {
        assert!(is_as(&wire.packet(), expected), "packet {at}");
        // Later all of it may be with the client, and the session over.
        if at % 1000 == 100 && at < 3000 {
            kill(&scene, 2);
        }
    }
    assert!(wire.until_closed().is_empty());
}

/// As the server's CRC32().
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let shift = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), shift)
    };
    !bytes.iter().fold(!0, step)
}
