//! c3: commands without an answer or with an odd one. P-40 to P-49.

use crate::results::execute;
use crate::support::raw::{command_packets, scramble, status};
use crate::support::{Stage, Wire, com};

/// MariaDB's extended capability of bulk execution.
const STMT_BULK: u32 = 1 << 2;

/// P-40. CLOSE has no answer, be the id right or wrong.
pub(crate) fn p_40_close_has_no_answer(stage: &Stage) {
    let mut wire = stage.open();
    let statement = wire.prepare("SELECT 1");
    let mut segment = command_packets(com::CLOSE, &statement.to_le_bytes());
    segment.extend(command_packets(com::CLOSE, &9999u32.to_le_bytes()));
    segment.extend(command_packets(com::PING, b""));
    wire.send(&segment).expect("it takes a segment");
    assert_eq!(wire.reply(com::PING).error(), None);
    assert_eq!(wire.ask(com::EXECUTE, &execute(statement, 0)).error(), Some(1243));
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
// The ERR names the id, which MariaDB counts for all connections together.
on!(p_40_close_has_no_answer: mysql);

/// P-40. The same where ERR packets name ids that differ by nature.
fn p_40_close_then_ping(stage: &Stage) {
    let mut wire = stage.open();
    for _ in 0..100 {
        let statement = wire.prepare("SELECT 1");
        let mut segment = command_packets(com::CLOSE, &statement.to_le_bytes());
        segment.extend(command_packets(com::CLOSE, &0x00FF_FFFFu32.to_le_bytes()));
        segment.extend(command_packets(com::PING, b""));
        wire.send(&segment).expect("it takes a segment");
        assert_eq!(wire.reply(com::PING).packets[0].sequence, 1);
    }
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_40_close_then_ping: mariadb, mysql);

fn long_data(statement: u32, parameter: u16, data: &[u8]) -> Vec<u8> {
    let mut body = statement.to_le_bytes().to_vec();
    body.extend(parameter.to_le_bytes());
    body.extend(data);
    command_packets(com::LONG_DATA, &body)
}

/// An EXECUTE whose string parameters came by LONG_DATA.
fn execute_long(statement: u32, parameters: usize) -> Vec<u8> {
    let mut body = execute(statement, 0);
    body.extend(vec![0; parameters.div_ceil(8)]);
    body.push(1);
    for _ in 0..parameters {
        body.extend([0xFC, 0]);
    }
    body
}

/// P-41. LONG_DATA has no answer, be it right or wrong; what is wrong shows at EXECUTE.
pub(crate) fn p_41_long_data(stage: &Stage) {
    let mut wire = stage.open();
    let statement = wire.prepare("SELECT LENGTH(?), LENGTH(?)");
    let mut segment = Vec::new();
    for turn in 0..1000 {
        segment.extend(long_data(statement, turn % 2, &[b'x'; 100]));
    }
    segment.extend(long_data(0x00FF_FFFF, 0, b"no such statement"));
    wire.send(&segment).expect("it takes a segment");
    let reply = wire.ask(com::EXECUTE, &execute_long(statement, 2));
    assert_eq!(reply.row_count(), 1, "{}: {reply:?}", stage.name);
    wire.send(&long_data(statement, 77, b"no such parameter")).expect("it takes a packet");
    let reply = wire.ask(com::EXECUTE, &execute_long(statement, 2));
    stage.note(&format!("{:?}", reply.error()));
    assert_eq!(wire.ask(com::RESET, &statement.to_le_bytes()).error(), None);
    // 17 MiB in one piece: its continuation is no command.
    wire.send(&long_data(statement, 0, &vec![b'x'; 17 << 20])).expect("it takes a packet");
    wire.send(&long_data(statement, 1, b"y")).expect("it takes a packet");
    assert_eq!(wire.ask(com::EXECUTE, &execute_long(statement, 2)).row_count(), 1);
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_41_long_data: mariadb, mysql);

fn fetch(wire: &mut Wire, statement: u32, rows: u32) -> crate::support::Reply {
    let mut body = statement.to_le_bytes().to_vec();
    body.extend(rows.to_le_bytes());
    wire.ask(com::FETCH, &body)
}

fn ten_rows(stage: &Stage) {
    stage.setup(&[
        "CREATE TABLE t (n INT PRIMARY KEY)",
        "INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)",
    ]);
}

/// P-42. RESET closes a cursor.
fn p_42_reset_of_an_open_cursor(stage: &Stage) {
    ten_rows(stage);
    let mut wire = stage.open();
    let statement = wire.prepare("SELECT n FROM t FORCE INDEX (PRIMARY) ORDER BY n");
    wire.ask(com::EXECUTE, &execute(statement, 1));
    assert_eq!(fetch(&mut wire, statement, 3).row_count(), 3);
    assert_eq!(wire.ask(com::RESET, &statement.to_le_bytes()).error(), None);
    wire.set_recording(false);
    assert_eq!(fetch(&mut wire, statement, 3).error(), Some(1421), "{}", stage.name);
    wire.set_recording(true);
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_42_reset_of_an_open_cursor: mariadb, mysql);

/// P-43. Cursors: no row behind EXECUTE; other statements in between; beyond the end.
fn p_43_cursors(stage: &Stage) {
    ten_rows(stage);
    let mut wire = stage.open();
    for (limit, expected) in [(0, 0), (1, 1), (10, 10)] {
        let statement = wire.prepare(&format!(
            "SELECT n FROM t FORCE INDEX (PRIMARY) WHERE n <= {limit} ORDER BY n"
        ));
        let reply = wire.ask(com::EXECUTE, &execute(statement, 1));
        assert_eq!(reply.row_count(), 0, "{}: {reply:?}", stage.name);
        assert_ne!(reply.status() & status::CURSOR_EXISTS, 0, "{}", stage.name);
        assert_eq!(wire.query("SELECT 'between'").text(), "between");
        let mut rows = 0;
        loop {
            let reply = fetch(&mut wire, statement, 4);
            rows += reply.row_count();
            if reply.status() & status::LAST_ROW_SENT != 0 {
                break;
            }
            assert_eq!(wire.ask(com::PING, b"").error(), None);
        }
        assert_eq!(rows, expected, "{}", stage.name);
        wire.set_recording(false);
        assert_eq!(fetch(&mut wire, statement, 1).error(), Some(1421), "{}", stage.name);
        wire.set_recording(true);
        wire.command(com::CLOSE, &statement.to_le_bytes());
    }
    let statement = wire.prepare("INSERT INTO t VALUES (11)");
    assert_eq!(wire.ask(com::EXECUTE, &execute(statement, 1)).packets.len(), 1);
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_43_cursors: mariadb, mysql);

/// P-43. A cursor lives on behind COMMIT, and two of them side by side.
pub(crate) fn p_43_cursors_in_transactions(stage: &Stage) {
    ten_rows(stage);
    let mut wire = stage.open();
    wire.run("BEGIN");
    let sql = "SELECT n FROM t FORCE INDEX (PRIMARY) ORDER BY n";
    let (one, two) = (wire.prepare(sql), wire.prepare(sql));
    wire.ask(com::EXECUTE, &execute(one, 1));
    wire.ask(com::EXECUTE, &execute(two, 1));
    for _ in 0..2 {
        fetch(&mut wire, one, 2);
        fetch(&mut wire, two, 3);
    }
    wire.run("COMMIT");
    stage.note(&format!("{:?}", fetch(&mut wire, one, 2).error()));
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_43_cursors_in_transactions: mariadb, mysql);

/// P-44. QUIT: the server closes, and nothing of the session stays behind.
pub(crate) fn p_44_quit(stage: &Stage) {
    let mut wire = stage.open();
    wire.run("SET @before = 1");
    wire.command(com::QUIT, b"");
    assert_eq!(wire.until_closed(), b"");
    // The connection that counts is the only one of that user.
    let rest = "SELECT COUNT(*) = 1 FROM information_schema.processlist WHERE user = 'odp'";
    stage.database.until_counted(rest);
}
on!(p_44_quit: mariadb, mysql);

/// COM_CHANGE_USER, answering the last challenge at once as clients do.
fn change_user(wire: &Wire, user: &str, password: &str, plugin: &str) -> Vec<u8> {
    let auth = scramble(plugin.as_bytes(), &wire.salt, password).unwrap_or_default();
    let mut body = Vec::new();
    body.extend(user.as_bytes());
    body.push(0);
    body.push(auth.len() as u8);
    body.extend(auth);
    body.extend(b"p\0");
    body.extend(45u16.to_le_bytes());
    body.extend(plugin.as_bytes());
    body.push(0);
    // No attributes.
    body.push(0);
    body
}

/// P-45. CHANGE_USER: another challenge, another user, a session without the old one's state.
pub(crate) fn p_45_change_user(stage: &Stage) {
    stage.setup(&[
        "CREATE USER IF NOT EXISTS other@'%' IDENTIFIED BY 'odp-secret'",
        "GRANT ALL ON p.* TO other@'%'",
    ]);
    let plugin = if stage.is_mysql() { "caching_sha2_password" } else { "mysql_native_password" };
    let mut wire = stage.open();
    for user in ["other", "odp", "other"] {
        wire.run("SET @state = 'old'");
        // The challenge is random.
        wire.set_recording(false);
        let body = change_user(&wire, user, "odp-secret", plugin);
        let reply = wire.ask(com::CHANGE_USER, &body);
        wire.set_recording(true);
        assert_eq!(reply.error(), None, "{}: {reply:?}", stage.name);
        stage.note(&format!("{:?}", reply.last().payload));
        let reply = wire.query("SELECT SUBSTRING_INDEX(USER(), '@', 1), @state, DATABASE()");
        let cells = &reply.rows()[0];
        assert_eq!(cells[..2], [Some(user.into()), None], "{}", stage.name);
        assert_eq!(wire.ask(com::PING, b"").packets[0].sequence, 1);
    }
}
on!(p_45_change_user: mariadb, mysql);

/// P-45. CHANGE_USER refused.
pub(crate) fn p_45_change_user_refused(stage: &Stage) {
    let plugin = if stage.is_mysql() { "caching_sha2_password" } else { "mysql_native_password" };
    let mut wire = stage.open();
    wire.set_recording(false);
    let body = change_user(&wire, "nobody", "wrong", plugin);
    let reply = wire.ask(com::CHANGE_USER, &body);
    wire.set_recording(true);
    assert_eq!(reply.error(), Some(1045), "{}", stage.name);
    stage.note(&reply.last().payload.escape_ascii().to_string());
    // MariaDB keeps the session as it was, MySQL ends it.
    match wire.try_query("SELECT 'what now'") {
        Ok(reply) => stage.note(&format!("{:?}", reply.error())),
        Err(_) => stage.note("closed"),
    }
}
on!(p_45_change_user_refused: mariadb, mysql);

/// P-46. RESET_CONNECTION clears the session and keeps its database.
fn p_46_reset_connection(stage: &Stage) {
    ten_rows(stage);
    let mut wire = stage.open();
    wire.run("SET @state = 'old'");
    wire.run("CREATE TEMPORARY TABLE temp (n INT)");
    wire.run("BEGIN");
    wire.run("INSERT INTO t VALUES (99)");
    wire.run("SELECT GET_LOCK('lock', 0)");
    let statement = wire.prepare("SELECT 1");
    let reply = wire.ask(com::RESET_CONNECTION, b"");
    assert_eq!((reply.error(), reply.in_transaction()), (None, false), "{}", stage.name);
    let reply = wire.query("SELECT DATABASE(), @state, COUNT(*) FROM t");
    assert_eq!(reply.rows()[0], [Some(b"p".to_vec()), None, Some(b"10".to_vec())]);
    assert_eq!(wire.query("SELECT * FROM temp").error(), Some(1146));
    assert_eq!(wire.query("SELECT IS_FREE_LOCK('lock')").text(), "1");
    wire.set_recording(false);
    assert_eq!(wire.ask(com::EXECUTE, &execute(statement, 0)).error(), Some(1243));
}
on!(p_46_reset_connection: mariadb, mysql);

/// P-47. MariaDB's bulk execution: one answer for many rows.
fn p_47_bulk_execute(stage: &Stage) {
    ten_rows(stage);
    let mut login = stage.login();
    login.extended = STMT_BULK;
    let mut wire = stage.open_with(&login).expect("log in");
    assert_eq!(wire.extended, STMT_BULK, "{}: it is offered", stage.name);
    let statement = wire.prepare("INSERT INTO t VALUES (?)");
    let mut body = statement.to_le_bytes().to_vec();
    // The types come along: LONG.
    body.extend([128, 0, 3, 0]);
    for value in 100..1100u32 {
        body.push(0);
        body.extend(value.to_le_bytes());
    }
    assert_eq!(wire.ask(com::BULK_EXECUTE, &body).error(), None, "{}", stage.name);
    assert_eq!(wire.query("SELECT COUNT(*) FROM t").text(), "1010");
    // All of it once more: duplicates.
    assert_eq!(wire.ask(com::BULK_EXECUTE, &body).error(), Some(1062), "{}", stage.name);
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_47_bulk_execute: mariadb);

/// P-48. Commands that nobody knows, and those that nobody serves any more.
fn p_48_unknown_commands(stage: &Stage) {
    let mut wire = stage.open();
    // SLEEP, CREATE_DB, DROP_DB, CONNECT, TIME, DELAYED_INSERT, CONNECT_OUT, and unused numbers.
    for command in [0x00, 0x05, 0x06, 0x0B, 0x0F, 0x10, 0x14, 0x42, 0x80, 0xC8] {
        let reply = wire.ask(command, b"argument");
        assert_eq!(reply.error(), Some(1047), "{}: {command:#x}", stage.name);
        assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
    }
}
on!(p_48_unknown_commands: mariadb, mysql);

/// P-48. Commands of MySQL 5 that later servers serve, or not, each in its own way.
fn p_48_old_commands(stage: &Stage) {
    let mut wire = stage.open();
    assert_eq!(wire.ask(com::INIT_DB, b"mysql").error(), None);
    assert_eq!(wire.ask(com::INIT_DB, b"nowhere").error(), Some(1049));
    assert_eq!(wire.query("SELECT DATABASE()").text(), "mysql");
    // REFRESH of the status.
    let reply = wire.ask(com::REFRESH, &[0x10]);
    stage.note(&format!("refresh: {:?}", reply.error()));
    // The list of processes differs by nature.
    wire.set_recording(false);
    let reply = wire.ask(com::PROCESS_INFO, b"");
    wire.set_recording(true);
    stage.note(&format!("process info: {:?}", reply.error()));
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_48_old_commands: mariadb, mysql);

/// P-49. A binary log: a stream of packets until the EOF.
fn p_49_binlog_dump(stage: &Stage) {
    let (reset, checksum) = match stage.is_mysql() {
        true => ("RESET BINARY LOGS AND GTIDS", "source_binlog_checksum"),
        false => ("RESET MASTER", "master_binlog_checksum"),
    };
    let rows = if stage.is_mysql() { "DO 0" } else { "SET SESSION binlog_format = 'ROW'" };
    let long = format!("INSERT INTO t VALUES (REPEAT('x', {}))", 17 << 20);
    stage.setup(&[reset, rows, "CREATE TABLE t (v LONGTEXT)", "INSERT INTO t VALUES ('a')", &long]);
    let mut wire = stage.open();
    wire.run(&format!("SET @{checksum} = 'NONE'"));
    // Server id 77, no host, user, password, port, rank, source.
    let mut body = 77u32.to_le_bytes().to_vec();
    body.extend([0; 3 + 2 + 4 + 4]);
    assert_eq!(wire.ask(com::REGISTER_SLAVE, &body).error(), None);
    // From byte 4, without waiting for more.
    let mut body = 4u32.to_le_bytes().to_vec();
    body.extend(1u16.to_le_bytes());
    body.extend(77u32.to_le_bytes());
    body.extend(b"log.000001");
    // Events carry times.
    wire.set_recording(false);
    wire.command(com::BINLOG_DUMP, &body);
    let mut lengths = Vec::new();
    loop {
        let packet = wire.packet();
        assert_eq!(packet.error(), None, "{}: {packet:?}", stage.name);
        if packet.payload[0] == 0xFE {
            break;
        }
        assert_eq!(packet.payload[0], 0x00, "{}: {packet:?}", stage.name);
        lengths.push(packet.payload.len());
    }
    assert!(lengths.iter().any(|&length| length > 17 << 20), "{}: {lengths:?}", stage.name);
    stage.note(&format!("{lengths:?}"));
}
on!(p_49_binlog_dump with ["--log-bin=log", "--server-id=1"]: mariadb, mysql);

/// P-49. A binary log that does not exist: an ERR ends the stream.
fn p_49_binlog_dump_refused(stage: &Stage) {
    let mut wire = stage.open();
    let mut body = 4u32.to_le_bytes().to_vec();
    body.extend([0, 0, 77, 0, 0, 0]);
    body.extend(b"nowhere");
    wire.command(com::BINLOG_DUMP, &body);
    stage.note(&format!("{:?}", wire.packet().error()));
    wire.set_recording(false);
    stage.note(&format!("{:?}", wire.try_query("SELECT 1").is_ok()));
}
on!(p_49_binlog_dump_refused with ["--log-bin=log", "--server-id=1"]: mariadb, mysql);
