//! c2: where an answer ends. P-20 to P-36.

use odp::wire::capability as cap;

use crate::support::compare::transparent_slow;
use crate::support::raw::{
    Reply, STATEMENT_ID, Wire, command_packets, packets, statement_id, status,
};
use crate::support::{Server, Stage, com};

/// Rows 1 to n in the table `t`. MyISAM knows how many there are, so plans, and with them the
/// status flag "no index was used", do not depend on when statistics were last renewed.
fn fill(stage: &Stage, rows: u32) {
    stage.setup(&[
        "CREATE TABLE t (n INT PRIMARY KEY) ENGINE = MyISAM",
        "SET SESSION cte_max_recursion_depth = 1000000",
        &format!(
            "INSERT INTO t WITH RECURSIVE s AS \
             (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) SELECT n FROM s"
        ),
    ]);
}

pub(crate) fn fill_any(stage: &Stage, rows: u32) {
    match stage.is_mysql() {
        true => fill(stage, rows),
        false => stage.setup(&[
            "CREATE TABLE t (n INT PRIMARY KEY) ENGINE = MyISAM",
            &format!("INSERT INTO t SELECT seq FROM seq_1_to_{rows}"),
        ]),
    }
}

/// An EXECUTE without parameters.
pub(crate) fn execute(statement: u32, flags: u8) -> Vec<u8> {
    let mut body = statement.to_le_bytes().to_vec();
    body.extend([flags, 1, 0, 0, 0]);
    body
}

/// P-20. Text and binary, no row, one row, many rows; both ways of marking the end.
pub(crate) fn p_20_ends_of_results(stage: &Stage) {
    fill_any(stage, 1000);
    let mut wire = stage.open();
    for (limit, rows) in [(0, 0), (1, 1), (1000, 1000)] {
        let sql = format!(
            "SELECT n, 'text', NULL FROM t FORCE INDEX (PRIMARY) \
             WHERE n <= {limit} ORDER BY n"
        );
        assert_eq!(wire.query(&sql).row_count(), rows, "{}", stage.name);
        let statement = wire.prepare(&sql);
        for _ in 0..2 {
            assert_eq!(wire.ask(com::EXECUTE, &execute(statement, 0)).row_count(), rows);
        }
        wire.command(com::CLOSE, &statement.to_le_bytes());
    }
    assert_eq!(wire.query("DO 1").packets.len(), 1);
    assert_eq!(wire.query("UPDATE t SET n = n + 5000 WHERE n > 990").packets[0].payload[1], 10);
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}
on!(p_20_ends_of_results: mariadb, mysql);

/// P-20. A million rows.
fn p_20_a_million_rows(stage: &Stage) {
    let mut wire = stage.open();
    let reply = wire.query("SELECT seq FROM seq_1_to_1000000");
    assert_eq!(reply.row_count(), 1_000_000);
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}
on!(p_20_a_million_rows: mariadb);

/// P-21. The OK at the end of rows is longer than an EOF when the session is tracked.
fn p_21_long_ok_at_the_end_of_rows(stage: &Stage) {
    stage.setup(&[
        "CREATE TABLE t (n INT PRIMARY KEY) ENGINE = InnoDB",
        "INSERT INTO t VALUES (1), (2), (3)",
    ]);
    let mut login = stage.login();
    login.capabilities |= cap::SESSION_TRACK;
    let mut wire = stage.open_with(&login).expect("log in");
    wire.run("SET SESSION session_track_state_change = ON");
    wire.run("SET SESSION session_track_system_variables = 'character_set_client,sql_mode'");
    wire.run("SET SESSION session_track_transaction_info = 'CHARACTERISTICS'");
    wire.run("SET autocommit = 0");
    let reply = wire.query("SELECT n FROM t");
    assert_eq!(reply.row_count(), 3);
    assert!(!stage.deprecate_eof || reply.last().payload.len() > 9, "{:?}", reply.last());
    wire.run("USE p");
    wire.run("SET SESSION sql_mode = 'ANSI'");
    wire.run("SET NAMES latin1");
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}
on!(p_21_long_ok_at_the_end_of_rows: mariadb, mysql);

/// P-22. An ERR after some rows ends the answer.
fn p_22_error_after_rows(stage: &Stage) {
    fill_any(stage, 600);
    let mut wire = stage.open();
    // At row 500 the subquery has two rows.
    let sql = "SELECT t.n, (SELECT x.n FROM t x WHERE x.n IN (t.n, IF(t.n = 500, 1, t.n))) \
               FROM t ORDER BY t.n";
    let reply = wire.query(sql);
    assert_eq!((reply.error(), reply.row_count()), (Some(1242), 499), "{}", stage.name);
    let statement = wire.prepare(sql);
    assert_eq!(wire.ask(com::EXECUTE, &execute(statement, 0)).error(), Some(1242));
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_22_error_after_rows: mariadb, mysql);

/// P-22. A statement that takes too long is ended by the server.
fn p_22_statement_timeout(stage: &Stage) {
    fill_any(stage, 900);
    let mut wire = stage.open();
    let (sql, code) = match stage.is_mysql() {
        true => (
            "SELECT /*+ MAX_EXECUTION_TIME(20) */ COUNT(*) FROM t a, t b, t c, t d \
                  WHERE a.n + b.n + c.n + d.n > 0",
            3024,
        ),
        false => ("SET STATEMENT max_statement_time = 0.02 FOR SELECT SLEEP(60)", 1969),
    };
    assert_eq!(wire.query(sql).error(), Some(code), "{}", stage.name);
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_22_statement_timeout: mariadb, mysql);

/// P-23. An ERR right behind the definitions, and one in a later result.
fn p_23_error_after_definitions(stage: &Stage) {
    fill_any(stage, 10);
    let mut wire = stage.open();
    let reply = wire.query("SELECT t.n, (SELECT x.n FROM t x WHERE x.n >= t.n) FROM t ORDER BY 1");
    assert_eq!((reply.error(), reply.row_count()), (Some(1242), 0), "{}", stage.name);
    let reply = wire.query("SELECT 1; SELECT * FROM nowhere; SELECT 3");
    assert_eq!((reply.error(), reply.sets()), (Some(1146), 1));
    let reply = wire.query("SELECT 1; SELECT syntax error here; SELECT 3");
    assert_eq!(reply.error(), Some(1064));
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_23_error_after_definitions: mariadb, mysql);

/// P-24. CALL: some result sets and an OK; in binary with OUT parameters.
pub(crate) fn p_24_call(stage: &Stage) {
    stage.setup(&[
        "CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2, 3 UNION SELECT 4, 5; END",
        "CREATE PROCEDURE into_out(IN a INT, OUT b INT) BEGIN SELECT 'first'; SET b = a * 2; END",
        "CREATE PROCEDURE fails() BEGIN SELECT 1; SELECT * FROM nowhere; END",
    ]);
    let mut wire = stage.open();
    let reply = wire.query("CALL two()");
    assert_eq!((reply.sets(), reply.row_count()), (2, 3));
    assert_eq!(wire.query("CALL fails()").error(), Some(1146));
    let statement = wire.prepare("CALL two()");
    assert_eq!(wire.ask(com::EXECUTE, &execute(statement, 0)).sets(), 2);
    let statement = wire.prepare("CALL into_out(?, ?)");
    let mut body = execute(statement, 0);
    // No NULL; types: LONG, LONG; values 21 and 0.
    body.extend([0, 1, 3, 0, 3, 0, 21, 0, 0, 0, 0, 0, 0, 0]);
    let reply = wire.ask(com::EXECUTE, &body);
    assert_eq!(reply.sets(), 2, "{}", stage.name);
    let row = [0, 0, 42, 0, 0, 0];
    assert!(reply.packets.iter().any(|packet| packet.payload == row), "{reply:?}");
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_24_call: mariadb, mysql);

/// Sends a file's lines and the empty packet that ends them.
fn send_file(wire: &mut Wire, request: &Reply, pieces: &[&[u8]]) {
    let mut sequence = request.last().sequence.wrapping_add(1);
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend(packets(piece, sequence));
        sequence = sequence.wrapping_add(1);
    }
    bytes.extend([0, 0, 0, sequence]);
    wire.send(&bytes).expect("it takes a file");
}

/// P-25. OK, rows, LOCAL INFILE and an ERR in one statement.
pub(crate) fn p_25_multi_statement_of_everything(stage: &Stage) {
    stage.setup(&["CREATE TABLE t (n INT)"]);
    let mut wire = stage.open();
    wire.command(
        com::QUERY,
        b"SET @a = 1; SELECT 1; LOAD DATA LOCAL INFILE 'x' INTO TABLE t; SELECT COUNT(*) FROM t; \
          LOAD DATA LOCAL INFILE 'y' INTO TABLE t; INSERT INTO t VALUES (9); SELECT * FROM nowhere",
    );
    let before = wire.reply(com::QUERY);
    assert!(before.wants_file && before.sets() == 1, "{before:?}");
    send_file(&mut wire, &before, &[b"1\n2\n", b"3\n"]);
    let between = wire.reply(com::QUERY);
    assert!(between.wants_file, "{between:?}");
    assert_eq!(between.text(), "3");
    send_file(&mut wire, &between, &[b"4\n"]);
    assert_eq!(wire.reply(com::QUERY).error(), Some(1146));
    assert_eq!(wire.query("SELECT COUNT(*) FROM t").text(), "5");
}
on!(p_25_multi_statement_of_everything: mariadb, mysql);

/// P-26. Files: none, empty, with lines like commands, longer than a packet.
pub(crate) fn p_26_local_files(stage: &Stage) {
    stage.setup(&["CREATE TABLE t (v LONGTEXT)"]);
    let mut wire = stage.open();
    let load = "LOAD DATA LOCAL INFILE 'x' INTO TABLE t FIELDS ESCAPED BY ''";
    let files: [&[&[u8]]; 4] = [
        &[],
        &[b"one\n", b"two\n"],
        &[&[com::QUIT], b"\n", &[com::QUERY, b'S', b'\n'], &[0xFF, 0xFE, b'\n'], b"\x00\n"],
        &[&[b'x'; 1000], &[b'y'; 1000], b"\n", &[b'z'; 70_000]],
    ];
    for file in files {
        let request = wire.query(load);
        assert!(request.wants_file, "{request:?}");
        send_file(&mut wire, &request, file);
        let reply = wire.reply(com::QUERY);
        stage.note(&format!("{:?}", reply.error()));
        assert_eq!(wire.query("SELECT 'alive'").text(), "alive", "{}", stage.name);
    }
    stage.setup(&["TRUNCATE TABLE t"]);
    let request = wire.query(load);
    let mut long = vec![b'x'; 17 << 20];
    long.push(b'\n');
    // One piece of more than 16 MiB counts as two packets.
    let first = request.last().sequence.wrapping_add(1);
    let mut bytes = packets(&long, first);
    bytes.extend([0, 0, 0, first.wrapping_add(2)]);
    wire.send(&bytes).expect("it takes a file");
    assert_eq!(wire.reply(com::QUERY).error(), None, "{}", stage.name);
    assert_eq!(wire.query("SELECT LENGTH(v) FROM t").text(), (17usize << 20).to_string());
}
on!(p_26_local_files: mariadb);

/// P-26. The server refuses: before it asks for the file, and after it got it.
fn p_26_local_file_refused(stage: &Stage) {
    stage.setup(&["CREATE TABLE t (n INT PRIMARY KEY)", "INSERT INTO t VALUES (2)"]);
    let mut wire = stage.open();
    let reply = wire.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE nowhere");
    assert_eq!(reply.error(), Some(1146));
    wire.run("SET SESSION sql_mode = 'STRICT_ALL_TABLES'");
    // LOCAL turns duplicates into warnings; REPLACE and a trigger's error stay errors.
    stage.setup(&["CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW \
         SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no rows here'"]);
    let request = wire.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t");
    send_file(&mut wire, &request, &[b"1\n2\n3\n", b"4\n"]);
    stage.note(&format!("{:?}", wire.reply(com::QUERY).error()));
    assert_eq!(wire.query("SELECT COUNT(*) FROM t").text(), "1", "{}", stage.name);
}
on!(p_26_local_file_refused: mariadb, mysql);

/// P-27. Progress reports start like an ERR and end nothing.
fn p_27_progress_reports(stage: &Stage) {
    stage.setup(&[
        "SET GLOBAL progress_report_time = 1",
        "CREATE TABLE t (n INT) ENGINE = Aria",
        "INSERT INTO t SELECT seq FROM seq_1_to_20000",
    ]);
    let mut login = stage.login();
    login.extended = cap::mariadb::PROGRESS;
    let mut wire = stage.open_with(&login).expect("log in");
    assert_eq!(wire.extended, cap::mariadb::PROGRESS, "{}: it is offered", stage.name);
    wire.set_recording(false);
    let reply = wire.query(
        "ALTER TABLE t ADD COLUMN hash CHAR(128) DEFAULT (SHA2(REPEAT(n, 20000), 512)), \
         ALGORITHM = COPY",
    );
    assert_eq!(reply.error(), None);
    assert!(reply.progress > 0, "{}: no progress was reported", stage.name);
    wire.set_recording(true);
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}

#[test]
fn p_27_progress_reports_mariadb() {
    transparent_slow(Server::MariaDb, p_27_progress_reports);
}

/// P-28. MariaDB leaves out definitions that the client has.
fn p_28_cached_metadata(stage: &Stage) {
    fill_any(stage, 10);
    let mut login = stage.login();
    login.extended = cap::mariadb::CACHE_METADATA;
    let mut wire = stage.open_with(&login).expect("log in");
    assert_eq!(wire.extended, cap::mariadb::CACHE_METADATA, "{}: it is offered", stage.name);
    let statement = wire.prepare("SELECT n, n + 1 FROM t");
    for _ in 0..3 {
        let reply = wire.ask(com::EXECUTE, &execute(statement, 0));
        assert_eq!(reply.row_count(), 10, "{}", stage.name);
        assert_eq!(reply.packets[0].payload, [2, 0], "{}: nothing follows", stage.name);
    }
    assert_eq!(wire.query("SELECT n FROM t").packets[0].payload, [1, 1]);
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_28_cached_metadata: mariadb);

/// P-29. MySQL leaves out definitions when told to.
fn p_29_no_metadata(stage: &Stage) {
    fill_any(stage, 10);
    let mut login = stage.login();
    login.capabilities |= cap::OPTIONAL_METADATA;
    let mut wire = stage.open_with(&login).expect("log in");
    assert_ne!(wire.capabilities & cap::OPTIONAL_METADATA, 0, "{}: it is offered", stage.name);
    for setting in ["FULL", "NONE"] {
        wire.run(&format!("SET SESSION resultset_metadata = {setting}"));
        assert_eq!(wire.query("SELECT n, n + 1 FROM t").row_count(), 10, "{}", stage.name);
        let statement = wire.prepare("SELECT n FROM t WHERE n > ?");
        wire.command(com::CLOSE, &statement.to_le_bytes());
        let statement = wire.prepare("SELECT n FROM t");
        assert_eq!(wire.ask(com::EXECUTE, &execute(statement, 0)).row_count(), 10);
    }
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}
on!(p_29_no_metadata: mysql);

/// P-30. The counts in PREPARE's answer have 16 bits and wrap; all definitions follow.
fn p_30_prepare_with_very_many_columns(stage: &Stage) {
    let mut wire = stage.open();
    for columns in [65_535, 65_536, 65_537, 70_000usize] {
        let told = columns as u16;
        let sql = format!("SELECT 1{}", ",1".repeat(columns - 1));
        wire.command(com::PREPARE, sql.as_bytes());
        let first = wire.packet();
        wire.hide(STATEMENT_ID);
        assert_eq!(first.payload[5..7], told.to_le_bytes(), "{}", stage.name);
        // However the count wrapped, all definitions follow, and the EOF where there is one.
        for _ in 0..columns + usize::from(!stage.deprecate_eof) {
            wire.packet();
        }
        wire.command(com::CLOSE, &statement_id(&first).to_le_bytes());
        assert_eq!(wire.query("SELECT 'alive'").text(), "alive", "{}", stage.name);
        assert_eq!(wire.ask(com::PING, b"").packets[0].sequence, 1);
    }
}
on!(p_30_prepare_with_very_many_columns: mariadb, mysql);

/// P-30. As many parameters as there can be, and one more.
fn p_30_prepare_with_very_many_parameters(stage: &Stage) {
    stage.setup(&["CREATE TABLE t (n INT)"]);
    let mut wire = stage.open();
    let insert = |count: usize| format!("INSERT INTO t VALUES (?){}", ",(?)".repeat(count - 1));
    let reply = wire.ask(com::PREPARE, insert(65_535).as_bytes());
    assert_eq!(reply.packets[0].payload[7..9], [0xFF, 0xFF]);
    assert_eq!(wire.ask(com::PREPARE, insert(65_536).as_bytes()).error(), Some(1390));
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive", "{}", stage.name);
}
on!(p_30_prepare_with_very_many_parameters: mariadb, mysql);

/// P-31. Definitions without a count.
pub(crate) fn p_31_field_list(stage: &Stage) {
    stage.setup(&["CREATE TABLE t (a INT, b VARCHAR(10) DEFAULT 'x', c BLOB)"]);
    let mut wire = stage.open();
    let reply = wire.ask(com::FIELD_LIST, b"t\0%");
    if stage.is_mysql() {
        // MySQL 9 has given the command up.
        stage.note(&format!("{:?}", reply.error()));
    } else {
        assert_eq!(reply.packets.len(), 4);
    }
    assert_eq!(wire.ask(com::FIELD_LIST, b"nowhere\0").packets.len(), 1);
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_31_field_list: mariadb, mysql);

/// P-32. STATISTICS answers with bare text.
fn p_32_statistics(stage: &Stage) {
    let mut wire = stage.open();
    for _ in 0..3 {
        // Uptime and counters differ by nature.
        wire.set_recording(false);
        let reply = wire.ask(com::STATISTICS, b"");
        wire.set_recording(true);
        assert!(reply.packets[0].payload.starts_with(b"Uptime"), "{reply:?}");
        assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
    }
}
on!(p_32_statistics: mariadb, mysql);

/// P-33. SET_OPTION and DEBUG answer with an EOF.
fn p_33_set_option_and_debug(stage: &Stage) {
    let mut wire = stage.open();
    assert_eq!(wire.ask(com::SET_OPTION, &[1, 0]).packets[0].payload[0], 0xFE);
    assert_eq!(wire.query("SELECT 1; SELECT 2").error(), Some(1064), "{}", stage.name);
    assert_eq!(wire.ask(com::SET_OPTION, &[0, 0]).packets[0].payload[0], 0xFE);
    assert_eq!(wire.query("SELECT 1; SELECT 2").sets(), 2);
    assert_eq!(wire.ask(com::SET_OPTION, &[9, 0]).error(), Some(1047));
    let reply = wire.ask(com::DEBUG, b"");
    stage.note(&format!("{:?}", reply.error()));
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_33_set_option_and_debug: mariadb, mysql);

/// P-34. Column counts of more than one byte.
fn p_34_many_columns(stage: &Stage) {
    let mut wire = stage.open();
    for columns in [250, 251, 252, 4096] {
        let sql = format!("SELECT 1{}", ",1".repeat(columns - 1));
        assert_eq!(wire.query(&sql).rows()[0].len(), columns, "{}", stage.name);
    }
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}
on!(p_34_many_columns: mariadb, mysql);

/// P-35. Statements of nothing.
fn p_35_empty_statements(stage: &Stage) {
    let mut wire = stage.open();
    assert_eq!(wire.query("").error(), Some(1065));
    stage.note(&format!("{:?}", wire.query("  ").error()));
    assert_eq!(wire.query("-- nothing").packets.len(), 1);
    assert_eq!(wire.query("/* nothing */").packets.len(), 1);
    assert_eq!(wire.query("SELECT 1;;").sets(), 1);
    stage.note(&format!("{:?}", wire.query(";").error()));
    assert_eq!(wire.query("SELECT 'alive'").text(), "alive");
}
on!(p_35_empty_statements: mariadb, mysql);

/// P-36. A row that starts with NULL is no request for a file.
fn p_36_rows_of_null(stage: &Stage) {
    let mut wire = stage.open();
    let reply = wire.query("SELECT NULL UNION ALL SELECT NULL");
    assert_eq!(reply.rows(), [[None], [None]]);
    assert!(!reply.wants_file);
    let mut both = command_packets(com::QUERY, b"SELECT NULL, NULL");
    both.extend(command_packets(com::QUERY, b"SELECT 'alive'"));
    wire.send(&both).expect("it takes a segment");
    assert_eq!(wire.reply(com::QUERY).rows(), [[None, None]]);
    assert_eq!(wire.reply(com::QUERY).text(), "alive");
    assert_eq!(wire.query("SELECT 1").status() & status::MORE_RESULTS, 0);
}
on!(p_36_rows_of_null: mariadb, mysql);
