//! c1: packets, sequence numbers and the edges of 16 MiB. P-01 to P-13 without compression.

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use nix::sys::signal::Signal;
use odp::wire::capability as cap;

use crate::support::proxy::is_haproxy;
use crate::support::raw::{MAX_PAYLOAD, WireError, command_packets};
use crate::support::{Database, Proxy, Server, Stage, Wire, com, until};

/// Around the lengths where a packet is continued.
const EDGES: [usize; 5] =
    [MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 2 * MAX_PAYLOAD, 33 << 20];

/// P-01. Statements that fill packets to the brim; a full last packet is followed by an empty one.
fn p_01_long_statements(stage: &Stage) {
    let mut wire = stage.open();
    for payload in EDGES {
        let frame = "SELECT LENGTH('')".len() + 1;
        let sql = format!("SELECT LENGTH('{}')", "x".repeat(payload - frame));
        assert_eq!(wire.query(&sql).text(), (payload - frame).to_string(), "{}", stage.name);
    }
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}
on!(p_01_long_statements: mariadb, mysql);

/// P-02. Rows of these lengths, also one that starts with 0xFE and is no EOF.
fn p_02_long_rows(stage: &Stage) {
    let mut wire = stage.open();
    for row in EDGES {
        // The length of a value of 16 MiB takes 9 bytes, of a shorter one 4.
        for prefix in [4, 9] {
            let value = row - prefix;
            let reply = wire.query(&format!("SELECT REPEAT('x', {value})"));
            assert_eq!(reply.text().len(), value, "{}", stage.name);
        }
    }
    let reply = wire.query("SELECT REPEAT('x', 16777216) UNION ALL SELECT 'short'");
    assert_eq!(reply.row_count(), 2);
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}
on!(p_02_long_rows: mariadb, mysql);

/// P-03. A continuation that starts like an EOF, ERR, OK, INFILE or a command is none.
fn p_03_telling_first_byte_of_a_continuation(stage: &Stage) {
    let mut wire = stage.open();
    let before = MAX_PAYLOAD - 9;
    for byte in [0xFE, 0xFF, 0x00, 0xFB] {
        let reply = wire.query(&format!(
            "SELECT CONCAT(REPEAT('x', {before}), UNHEX('{byte:02X}'), REPEAT('y', 10))"
        ));
        assert_eq!(reply.rows()[0][0].as_ref().map(Vec::len), Some(before + 11), "{}", stage.name);
    }
    let start = b"SELECT LENGTH(_binary'";
    for byte in [com::QUIT, com::QUERY, com::CLOSE, com::LONG_DATA, 0x00, 0xFE] {
        let mut body = start.to_vec();
        body.resize(MAX_PAYLOAD - 1, b'x');
        body.extend([byte, b'y', b'\'', b')']);
        let length = body.len() - start.len() - 2;
        assert_eq!(wire.ask(com::QUERY, &body).text(), length.to_string(), "{}", stage.name);
    }
}
on!(p_03_telling_first_byte_of_a_continuation: mariadb);

/// P-04. The sequence number wraps at 256.
pub(crate) fn p_04_sequence_wraps(stage: &Stage) {
    let mut wire = stage.open();
    let reply = wire.query(
        "WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 900) \
         SELECT n FROM s",
    );
    assert_eq!(reply.row_count(), 900);
    assert!(reply.packets.iter().any(|packet| packet.sequence == 0));
    assert_eq!(wire.query("SELECT 1").packets[0].sequence, 1);
}
on!(p_04_sequence_wraps: mariadb, mysql);

/// P-05. A wrong sequence number is the server's to judge: ERR 1156, then the end.
fn p_05_wrong_sequence_number(stage: &Stage) {
    let mut wire = stage.open();
    let mut bytes = command_packets(com::QUERY, b"SELECT 1");
    bytes[3] = 5;
    wire.send(&bytes).expect("it takes a packet");
    assert_eq!(wire.packet().error(), Some(1156));
    wire.until_closed();
}
on!(p_05_wrong_sequence_number: mariadb, mysql);

/// P-07. A thousand commands in one segment, some of which have no answer.
pub(crate) fn p_07_pipelined_commands(stage: &Stage) {
    let mut wire = stage.open();
    let statement = wire.prepare("SELECT ?");
    let mut segment = Vec::new();
    let mut long_data = statement.to_le_bytes().to_vec();
    long_data.extend([0, 0, b'x']);
    for turn in 0..250 {
        segment.extend(command_packets(com::QUERY, format!("SELECT {turn}").as_bytes()));
        segment.extend(command_packets(com::LONG_DATA, &long_data));
        segment.extend(command_packets(com::PING, b""));
        // An id that does not exist: closing it is no error.
        segment.extend(command_packets(com::CLOSE, &(1000 + turn as u32).to_le_bytes()));
    }
    wire.send(&segment).expect("it takes a segment");
    for turn in 0..250 {
        let reply = wire.reply(com::QUERY);
        assert_eq!((reply.text(), reply.packets[0].sequence), (turn.to_string(), 1));
        assert_eq!(wire.reply(com::PING).packets[0].sequence, 1);
    }
    let reply = wire.ask(com::EXECUTE, &execute_string(statement));
    assert_eq!(reply.error(), None, "{}", stage.name);
    // A binary row: 00, the NULL bitmap, the value.
    assert_eq!(reply.packets[reply.packets.len() - 2].payload.len(), 2 + 1 + 250);
}
on!(p_07_pipelined_commands: mariadb, mysql);

/// An EXECUTE with one string parameter whose value came by LONG_DATA.
fn execute_string(statement: u32) -> Vec<u8> {
    let mut body = statement.to_le_bytes().to_vec();
    body.extend([0, 1, 0, 0, 0, 0, 1, 0xFD, 0]);
    body
}

/// P-08. A client that sends FIN behind its last command still gets the answer.
fn p_08_half_closed_client(stage: &Stage) {
    let mut wire = stage.open();
    wire.command(com::QUERY, b"SELECT 'the last word'");
    wire.half_close();
    assert_eq!(wire.reply(com::QUERY).text(), "the last word");
    wire.until_closed();
}
on!(p_08_half_closed_client: mariadb, mysql);

/// P-09. A zero-length packet is an unknown command; the session lives.
fn p_09_zero_length_packet(stage: &Stage) {
    let mut wire = stage.open();
    wire.send(&[0, 0, 0, 0]).expect("it takes a packet");
    assert_eq!(wire.packet().error(), Some(1047));
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}
on!(p_09_zero_length_packet: mariadb, mysql);

/// P-10. Above max_allowed_packet: the server's ERR reaches the client although a reset follows.
fn p_10_more_than_max_allowed_packet(stage: &Stage) {
    let mut wire = stage.open();
    let sql = format!("SELECT LENGTH('{}')", "x".repeat(2 << 20));
    // The server may stop reading at any byte.
    let _ = wire.send(&command_packets(com::QUERY, sql.as_bytes()));
    assert_eq!(wire.packet().error(), Some(1153), "{}", stage.name);
    wire.until_closed();
}
on!(p_10_more_than_max_allowed_packet with ["--max-allowed-packet=1M"]: mariadb, mysql);

fn resident_kib(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with(key)).expect("a line of that name");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

/// More than this a session must not take, whatever passes through it.
const ALLOWED_KIB: u64 = 8 * 1024;

/// A session that has asked something, and the most memory that the proxy had by then.
fn warm(proxy: &Proxy) -> (Wire, u64) {
    let mut wire = Wire::open(&proxy.address(), &Default::default()).expect("log in");
    wire.run("SELECT 1");
    (wire, resident_kib(proxy.pid(), "VmHWM:"))
}

/// P-11. A client that does not read holds the server up, and costs no memory.
#[test]
fn p_11_slow_reader() {
    const ROWS: usize = 256;
    const ROW: usize = 1 << 20;
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let (mut wire, before) = warm(&proxy);
    wire.set_recording(false);
    let sql = format!("SELECT REPEAT('x', {ROW}) FROM seq_1_to_{ROWS}");
    wire.command(com::QUERY, sql.as_bytes());
    database.until_counted(
        "SELECT COUNT(*) FROM information_schema.processlist \
         WHERE info LIKE 'SELECT REPEAT%' AND state = 'Writing to net'",
    );
    let reply = wire.reply(com::QUERY);
    assert_eq!(reply.row_count(), ROWS);
    let grown = resident_kib(proxy.pid(), "VmHWM:") - before;
    assert!(grown < ALLOWED_KIB, "the proxy took {grown} KiB more");
}

/// P-11. A server that does not read holds the client up, and costs no memory.
#[test]
fn p_11_slow_writer() {
    const LENGTH: usize = 256 << 20;
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let (mut wire, before) = warm(&proxy);
    database.process().signal(Signal::SIGSTOP);
    let sql = format!("SELECT LENGTH('{}')", "x".repeat(LENGTH));
    let bytes = command_packets(com::QUERY, sql.as_bytes());
    // All buffers on the way are full when a write has waited in vain for some time.
    wire.tcp().set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let mut sent = 0;
    loop {
        match wire.tcp().write(&bytes[sent..]) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("write: {error}"),
        }
        assert!(sent < bytes.len(), "256 MiB went into buffers");
    }
    database.process().signal(Signal::SIGCONT);
    wire.tcp().set_write_timeout(Some(crate::support::LIMIT)).expect("a timeout");
    wire.send(&bytes[sent..]).expect("the server reads on");
    assert_eq!(wire.reply(com::QUERY).text(), LENGTH.to_string());
    let grown = resident_kib(proxy.pid(), "VmHWM:") - before;
    assert!(grown < ALLOWED_KIB, "the proxy took {grown} KiB more");
}

/// P-12. A log-in response with 60 KB of attributes, which arrive in the server.
fn p_12_many_attributes(stage: &Stage) {
    let mut login = stage.login();
    for at in 0..60 {
        login.attributes.push((format!("name{at}"), "v".repeat(1000)));
    }
    let mut wire = stage.open_with(&login).expect("log in");
    assert_eq!(wire.query("SELECT 'in'").text(), "in");
}
on!(p_12_many_attributes: mariadb, mysql);

/// P-12. No database, no attributes, the old one-byte length of the answer, another collation.
fn p_12_little_log_in_response(stage: &Stage) {
    let mut login = stage.login();
    login.capabilities &= !(cap::CONNECT_ATTRS | cap::PLUGIN_AUTH_LENENC | cap::CONNECT_WITH_DB);
    login.collation = 8;
    login.database = None;
    let mut wire = stage.open_with(&login).expect("log in");
    let reply = wire.query("SELECT @@character_set_client, DATABASE()");
    assert_eq!(reply.rows()[0], [Some(b"latin1".to_vec()), None]);
}
on!(p_12_little_log_in_response: mariadb, mysql);

/// P-12. What is too short to be a log-in response gets an ERR and the end.
fn p_12_cut_off_log_in_response(stage: &Stage) {
    for length in [0, 1, 3, 8, 31] {
        let mut wire = Wire::connect(&stage.address).expect("a greeting");
        let response = wire.login_response(&stage.login()).encode();
        wire.send_payload(&response[..length], 1).expect("it takes a packet");
        let code = match wire.finish_log_in() {
            Err(WireError::Refused(packet)) => packet.error(),
            Err(WireError::Io(_)) => None,
            Ok(_) => panic!("logged in with {length} bytes"),
        };
        stage.note(&format!("{length} bytes: {code:?}"));
    }
}
on!(p_12_cut_off_log_in_response: mariadb);

/// P-13. The greeting does not wait for the server.
#[test]
fn p_13_greeting_comes_at_once() {
    // What copies bytes cannot do this.
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    Wire::open(&proxy.address(), &Default::default()).expect("log in").run("SELECT 1");
    database.process().signal(Signal::SIGSTOP);
    let greeted = until("a greeting", || Wire::connect(&proxy.address()).ok());
    database.process().signal(Signal::SIGCONT);
    let mut wire = greeted.log_in(&Default::default()).expect("log in");
    assert_eq!(wire.query("SELECT 'in'").text(), "in");
}
