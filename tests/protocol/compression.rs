//! P-14, P-15, P-93: compression on either leg or both, over restarts at every piece and byte.
//!
//! Scripts of the other files run through compressed legs; what a client without compression gets
//! directly is what one with it gets, but for numbers. `ODP_TEST_COMPRESSION` has all scripts do
//! so.

use crate::support::compare::{compare, transparent_legs};
use crate::support::database::PASSWORD;
use crate::support::proxy::ADMIN_PASSWORD;
use crate::support::raw::{Login, command_packets, packets};
use crate::support::{Compression, Database, Every, Legs, Proxy, Server, Stage, Steps, Wire, com};

const ZLIB: Option<Compression> = Some(Compression::Zlib);
const ZSTD: Option<Compression> = Some(Compression::Zstd(3));

/// Answers that fill several frames, and statements of as many.
fn many_frames(stage: &Stage) {
    let mut wire = stage.open();
    for length in [0, 45, 46, 16_300, 16_384, 40_000, 300_000] {
        let reply = wire.query(&format!("SELECT REPEAT('x', {length}), '{}'", "y".repeat(length)));
        assert_eq!(reply.row_count(), 1, "{}", stage.name);
    }
    // More than 256 frames, then a command whose answer starts anew.
    let reply = wire.query("SELECT REPEAT(MD5(1), 160000)");
    assert_eq!(reply.text().len(), 32 * 160_000);
    assert_eq!(wire.query("SELECT 1").packets[0].sequence, 1);
}

/// Commands of one segment, with and without answers.
fn pipelined(stage: &Stage) {
    let mut wire = stage.open();
    let mut segment = Vec::new();
    for turn in 0..8 {
        segment.extend(command_packets(com::QUERY, format!("SELECT {turn}").as_bytes()));
        segment.extend(command_packets(com::CLOSE, &(1000 + turn as u32).to_le_bytes()));
        segment.extend(command_packets(com::PING, b""));
    }
    wire.send(&segment).expect("it takes a segment");
    for turn in 0..8 {
        assert_eq!(wire.reply(com::QUERY).text(), turn.to_string(), "{}", stage.name);
        assert_eq!(wire.reply(com::PING).packets[0].sequence, 1);
    }
}

/// A file of more packets than there are numbers, one of them of several frames.
fn local_file(stage: &Stage) {
    stage.setup(&["CREATE TABLE t (v LONGTEXT)"]);
    let mut wire = stage.open();
    let request = wire.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t");
    assert!(request.wants_file, "{request:?}");
    let mut sequence = request.last().sequence;
    let mut file = Vec::new();
    for length in [[1; 280].as_slice(), &[50_000, 0]].concat() {
        sequence = sequence.wrapping_add(1);
        let text = if length == 1 { b"\n".to_vec() } else { vec![b'x'; length] };
        file.extend(packets(&text, sequence));
    }
    wire.send(&file).expect("it takes a file");
    let reply = wire.reply(com::QUERY);
    assert_eq!(reply.error(), None, "{}", stage.name);
    assert_eq!(reply.packets[0].sequence, sequence.wrapping_add(1), "{}", stage.name);
    assert_eq!(wire.query("SELECT COUNT(*), MAX(LENGTH(v)) FROM t").text(), "281");
}

/// A packet of 16 MiB each way, and the lengths around it.
fn long_packets(stage: &Stage) {
    let mut wire = stage.open();
    for payload in [(1 << 24) - 2, (1 << 24) - 1, 17 << 20] {
        let around = "SELECT LENGTH('')".len() + 1;
        let sql = format!("SELECT LENGTH('{}')", "x".repeat(payload - around));
        assert_eq!(wire.query(&sql).text(), (payload - around).to_string(), "{}", stage.name);
    }
    let reply = wire.query("SELECT REPEAT('x', 17000000) UNION ALL SELECT 'short'");
    assert_eq!(reply.row_count(), 2);
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}

const fn legs(client: Option<Compression>, server: Option<Compression>) -> Legs {
    Legs { client, server, tls: false }
}

/// `on_legs!(name: script, server, client's compression, server's)`: through a proxy, moved at
/// every short piece, and at every byte.
macro_rules! on_legs {
    ($($name:ident: $script:path, $server:ident, $client:expr, $to_server:expr;)+) => {
        $(#[test]
        fn $name() {
            transparent_legs(Server::$server, legs($client, $to_server), $script);
        })+
    };
}

on_legs! {
    p_14_tour_to_mysql: crate::split::tour, MySql, None, ZSTD;
    p_14_tour_from_the_client: crate::split::tour, MariaDb, ZLIB, None;
    p_15_tour_on_both_legs: crate::split::tour, MySql, ZSTD, ZLIB;
    p_14_many_frames_to_mariadb: many_frames, MariaDb, None, ZLIB;
    p_14_many_frames_from_the_client: many_frames, MariaDb, ZSTD, None;
    p_14_pipelined_to_mysql: pipelined, MySql, None, ZSTD;
    p_14_pipelined_from_the_client: pipelined, MariaDb, ZLIB, None;
}

/// Once through, without restarts.
fn once(server: Server, legs: Legs, script: fn(&Stage)) {
    let Some(database) = Database::start(server) else { return };
    let proxy = Proxy::start_with_lines(&database, legs.lines());
    let entrance = legs.entrance(&proxy.address());
    compare(&database, &database.address(), entrance.address(), false, script);
    entrance.check();
}

#[test]
fn p_15_long_packets_mariadb() {
    once(Server::MariaDb, legs(None, ZLIB), long_packets);
}

#[test]
fn p_15_long_packets_mysql() {
    once(Server::MySql, legs(ZLIB, ZSTD), long_packets);
}

#[test]
fn p_14_local_file() {
    for legs in [legs(None, ZLIB), legs(ZLIB, None), legs(ZSTD, ZLIB)] {
        once(Server::MariaDb, legs, local_file);
    }
}

/// Bytes that no compression shortens, and that SQL takes between quotes.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(&mut next).filter(|byte| !b"\0'\\".contains(byte)).take(length).collect()
}

/// In both directions more full frames than all buffers on the way hold.
fn incompressible(stage: &Stage) {
    let mut wire = stage.open();
    wire.run("SELECT 1");
    let sql = [b"SELECT LENGTH(_binary'", &noise(200_000)[..], b"')"].concat();
    assert_eq!(wire.ask(com::QUERY, &sql).text(), "200000", "{}", stage.name);
    let reply = wire.query("SELECT UNHEX(SHA2(seq, 512)) FROM seq_1_to_3000");
    assert_eq!(reply.row_count(), 3000, "{}", stage.name);
}

/// P-93. What could not be written moves, too, be it in a frame already or not yet.
///
/// A full frame of noise is longer than what fits between two handovers, which is a window and a
/// narrow buffer: so at one of them it is half written.
#[test]
fn p_93_narrow_windows() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let legs = legs(ZSTD, ZLIB);
    let steps = Steps::start_with(database.address(), Every::Window, legs);
    let entrance = legs.entrance(steps.address());
    for script in [crate::split::long_tour, incompressible] {
        compare(&database, &database.address(), entrance.address(), false, script);
    }
    let seen = steps.finish();
    entrance.check();
    eprintln!("{seen:?}");
    assert!(seen.moves > 10 && seen.unwritten > 10, "{seen:?}");
    assert!(seen.half_written.iter().all(|&times| times >= 10), "{seen:?}");
}

/// P-15. Compressed inside of TLS on the server's leg, moved at every byte of its records.
#[test]
fn p_15_compressed_inside_of_tls() {
    let Some(database) = crate::steps::database_with_tls(Server::MariaDb) else { return };
    let legs = Legs { tls: true, ..legs(None, ZLIB) };
    let steps = Steps::start_with(database.address(), Every::Byte, legs);
    compare(&database, &database.address(), steps.address(), true, crate::split::tour);
    let seen = steps.finish();
    assert!(seen.by_tls > 1000 && seen.within_tls > 1000, "{seen:?}");
}

/// P-15. The same on the client's leg, whose client is the command line.
#[test]
fn p_15_the_command_line_compresses_inside_of_tls() {
    let Some(database) = crate::steps::database_with_tls(Server::MariaDb) else { return };
    let legs = Legs { tls: true, ..legs(None, ZLIB) };
    let steps = Steps::start_with(database.address(), Every::Packet, legs);
    let (_, port) = steps.address().rsplit_once(':').expect("an address");
    let sql = "SELECT REPEAT('x', 100000), MD5(REPEAT('abc', 1000)); DO 1; SELECT seq FROM \
               seq_1_to_3000; SHOW STATUS LIKE 'Compression'";
    let mut command = std::process::Command::new("mariadb");
    command.args(["--no-defaults", "--compress", "--ssl", "--host=127.0.0.1", "--batch", "p"]);
    command.args([format!("--port={port}"), "--user=odp".into(), format!("--execute={sql}")]);
    let output = command.arg(format!("--password={PASSWORD}")).output().expect("it is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains(&"x".repeat(100_000)) && text.contains("\n3000\n"), "{text}");
    assert!(text.contains("Compression\tON"), "{text}");
    let seen = steps.finish();
    assert!(seen.by_tls > 5, "{seen:?}");
}

/// The command line's own compression, and what operators see of it.
#[test]
fn p_15_the_command_line_compresses() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start_with_lines(&database, "server_compression = 'zlib'\n");
    let run = |user: &str, password: &str, sql: &str| {
        let mut command = std::process::Command::new("mariadb");
        command.args(["--no-defaults", "--compress", "--host=127.0.0.1", "--batch"]);
        command.args([format!("--port={}", proxy.sql), format!("--user={user}")]);
        command.args([format!("--password={password}"), format!("--execute={sql}")]);
        let output = command.output().expect("the command line is installed");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let status = run("odp", PASSWORD, "SHOW STATUS LIKE 'Compression'; SELECT REPEAT('x', 100000)");
    assert!(status.contains("Compression\tON"), "{status}");
    assert!(status.contains(&"x".repeat(100_000)), "{} bytes", status.len());
    // One that stays, so that there is something to be seen.
    let login = Login::default();
    let entrance = legs(ZSTD, None).entrance(&proxy.address());
    let mut wire = Wire::open(entrance.address(), &login).expect("log in");
    let shown = run("root@proxysys", ADMIN_PASSWORD, "SHOW PROXYSESSION");
    let rows: Vec<&str> = shown.lines().collect();
    assert!(rows[0].contains("\tclient_compression\tserver_compression\t"), "{shown}");
    assert!(rows[1..].iter().any(|row| row.contains("\tzstd\tzlib\t")), "{shown}");
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}

/// A corrupt frame ends the session with the error that a server gives.
#[test]
fn p_14_a_corrupt_frame_is_answered() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut login = Login::default();
    login.capabilities |= odp::wire::capability::COMPRESS;
    let mut wire = Wire::open(&proxy.address(), &login).expect("log in");
    wire.send(&[3, 0, 0, 0, 9, 0, 0, 1, 2, 3]).expect("it takes bytes");
    let answer = wire.until_closed();
    // A stored frame that answers frame 0, and in it the ERR packet.
    assert_eq!(answer[3..7], [1, 0, 0, 0], "{answer:?}");
    assert_eq!(u16::from_le_bytes([answer[12], answer[13]]), 1157, "{answer:?}");
}

/// Commands of three frames, two, and one, all at once: each answer goes on from the last frame of
/// its command, as a server's does, which has not read the next one then.
#[test]
fn p_14_answers_to_pipelined_commands_of_several_frames() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    for asked in ["off", "zlib"] {
        let lines = format!("server_compression = '{asked}'\n");
        let proxy = Proxy::start_with_lines(&database, lines);
        let mut login = Login::default();
        login.capabilities |= odp::wire::capability::COMPRESS;
        let mut wire = Wire::open(&proxy.address(), &login).expect("log in");
        let mut bytes = Vec::new();
        for frames in [3, 2, 1, 2] {
            let command = command_packets(com::QUERY, b"DO 1");
            for (number, piece) in command.chunks(command.len().div_ceil(frames)).enumerate() {
                bytes.extend([piece.len() as u8, 0, 0, number as u8, 0, 0, 0]);
                bytes.extend(piece);
            }
        }
        wire.send(&bytes).expect("it takes commands");
        for frames in [3, 2, 1, 2] {
            let header = wire.take(7).expect("a frame");
            let ok = wire.take(header[0].into()).expect("its content");
            assert_eq!(header[3..7], [frames, 0, 0, 0], "{asked}: {ok:?}");
            assert_eq!(ok[3..5], [frames, 0], "{asked}: OK has the frame's number");
        }
    }
}
