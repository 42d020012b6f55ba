//! What a session remembers: set before a restart, asked for after, the same as without one.

use crate::scene::restart;
use crate::support::raw::{command_packets, statement_id};
use crate::support::reply::status;
use crate::support::{Database, Login, Proxy, Server, Wire, com};

/// Statements that make the state; each must succeed.
const MAKE: &[&str] = &[
    "DROP TABLE IF EXISTS s, counted",
    "CREATE TABLE s (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(30)) ENGINE=InnoDB",
    "CREATE TABLE counted (n INT) ENGINE=InnoDB",
    "SET NAMES latin1",
    "SET character_set_results = utf8mb4",
    "SET collation_connection = latin1_bin",
    "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
    "SET SESSION time_zone = '+05:45'",
    "SET SESSION autocommit = 0",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET SESSION sql_select_limit = 7",
    "SET SESSION max_join_size = 12345",
    "SET SESSION group_concat_max_len = 4321",
    "SET SESSION wait_timeout = 4242",
    "SET SESSION interactive_timeout = 4243",
    "SET SESSION net_read_timeout = 77",
    "SET SESSION net_write_timeout = 78",
    "SET SESSION lock_wait_timeout = 79",
    "SET SESSION innodb_lock_wait_timeout = 33",
    "SET SESSION foreign_key_checks = 0",
    "SET SESSION unique_checks = 0",
    "SET SESSION sort_buffer_size = 65536",
    "SET SESSION join_buffer_size = 65536",
    "SET SESSION tmp_table_size = 1048576",
    "SET SESSION max_heap_table_size = 1048576",
    "SET SESSION div_precision_increment = 9",
    "SET SESSION auto_increment_increment = 3",
    "SET SESSION auto_increment_offset = 2",
    "SET SESSION lc_time_names = 'de_DE'",
    "SET SESSION default_week_format = 3",
    "SET SESSION big_tables = 0",
    "SET SESSION optimizer_search_depth = 5",
    "SET SESSION max_sort_length = 999",
    "SET SESSION long_query_time = 555",
    "SET SESSION sql_safe_updates = 1",
    "SET SESSION sql_notes = 0",
    "SET SESSION query_prealloc_size = 32768",
    "SET SESSION eq_range_index_dive_limit = 17",
    "SET SESSION max_error_count = 31",
    "SET SESSION sql_big_selects = 1",
    "SET SESSION sql_auto_is_null = 1",
    "SET SESSION max_statement_time = 100",
    "SET SESSION default_storage_engine = 'MyISAM'",
    "SET timestamp = 86400",
    "SET insert_id = 50",
    "SET @int = 42, @text = 'caf\\e9', @null = NULL, @real = 1.5e10, @dec = 1.10, @bin = x'00ff10'",
    "CREATE TEMPORARY TABLE t1 (n INT) ENGINE=InnoDB",
    "INSERT INTO t1 VALUES (1), (2), (3)",
    "CREATE TEMPORARY TABLE s2 LIKE s",
    "SET SESSION sql_safe_updates = 0",
    "COMMIT",
    "SELECT GET_LOCK('mine', 5), GET_LOCK('mine too', 5)",
    "PREPARE text_statement FROM 'SELECT ? + ?, @text'",
    "INSERT INTO s (v) VALUES ('first'), ('second')",
    "SAVEPOINT here",
    "INSERT INTO s (v) VALUES ('third')",
    "HANDLER s OPEN AS h",
    "SELECT SQL_CALC_FOUND_ROWS 1 FROM seq_1_to_100 LIMIT 3",
];

/// Questions, in this order: each is one piece, or several, of the state.
const ASK: &[&str] = &[
    "SELECT FOUND_ROWS()",
    "SELECT LAST_INSERT_ID(), ROW_COUNT()",
    "SELECT @@identity",
    "SELECT @int, @text, @null, @real, @dec, HEX(@bin)",
    "SELECT COLLATION(@text), COERCIBILITY(@text), CHARSET('x')",
    "SELECT @@character_set_client, @@character_set_connection, @@character_set_results",
    "SELECT @@collation_connection, @@collation_database, @@character_set_database",
    "SELECT @@sql_mode, @@time_zone, @@autocommit, @@tx_isolation, @@tx_read_only",
    "SELECT @@sql_select_limit, @@max_join_size, @@group_concat_max_len",
    "SELECT @@wait_timeout, @@interactive_timeout, @@net_read_timeout, @@net_write_timeout",
    "SELECT @@lock_wait_timeout, @@innodb_lock_wait_timeout, @@foreign_key_checks",
    "SELECT @@unique_checks, @@sort_buffer_size, @@join_buffer_size, @@tmp_table_size",
    "SELECT @@max_heap_table_size, @@div_precision_increment, 1 / 3",
    "SELECT @@auto_increment_increment, @@auto_increment_offset, @@lc_time_names",
    "SELECT DATE_FORMAT('2024-03-05', '%W %M'), @@default_week_format, WEEK('2024-03-05')",
    "SELECT @@big_tables, @@optimizer_search_depth, @@max_sort_length, @@long_query_time",
    "SELECT @@sql_safe_updates, @@sql_notes, @@query_prealloc_size",
    "SELECT @@eq_range_index_dive_limit, @@max_error_count, @@sql_big_selects",
    "SELECT @@sql_auto_is_null, @@max_statement_time, @@default_storage_engine",
    "SELECT NOW(), UNIX_TIMESTAMP(), @@timestamp",
    "SELECT DATABASE(), USER(), CURRENT_USER(), CURRENT_ROLE()",
    "SELECT \"id\" FROM s ORDER BY id",
    "SELECT n FROM t1 ORDER BY n",
    "SELECT COUNT(*) FROM s2",
    "SELECT IS_FREE_LOCK('mine'), IS_USED_LOCK('mine too') = CONNECTION_ID()",
    "EXECUTE text_statement USING @int, @dec",
    "HANDLER h READ FIRST",
    "HANDLER h READ NEXT",
    "SELECT @@in_transaction",
    "ROLLBACK TO SAVEPOINT here",
    "SELECT v FROM s ORDER BY id",
    "INSERT INTO s (v) VALUES ('fourth')",
    "SELECT id, v FROM s ORDER BY id",
    "SELECT LAST_INSERT_ID()",
    "ROLLBACK",
    "SELECT COUNT(*) FROM s",
    "SELECT RELEASE_LOCK('mine'), RELEASE_LOCK('mine too'), RELEASE_LOCK('mine')",
    "SELECT 'back\\slash'",
    "SELECT 1/0, CAST('x' AS INT)",
    "SHOW WARNINGS",
    "SHOW COUNT(*) WARNINGS",
    "SELECT 9 FROM nowhere",
    "SHOW ERRORS",
    "DEALLOCATE PREPARE text_statement",
    "EXECUTE text_statement",
];

/// All answers to a list of statements, as bytes of packets.
fn answers(wire: &mut Wire, questions: &[&str]) -> Vec<(String, Vec<Vec<u8>>)> {
    let ask = |question: &&str| {
        let packets = wire.query(question).packets;
        (question.to_string(), packets.into_iter().map(|packet| packet.payload).collect())
    };
    questions.iter().map(ask).collect()
}

fn open(address: &str) -> Wire {
    Wire::open(address, &Login::default()).expect("a session")
}

fn make(wire: &mut Wire) {
    for statement in MAKE {
        wire.run(statement);
    }
}

#[test]
fn t_17_every_piece_of_state_is_the_same_after_a_restart() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut direct = open(&database.address());
    make(&mut direct);
    let without = answers(&mut direct, ASK);
    drop(direct);
    let count = "SELECT COUNT(*) = 1 FROM information_schema.processlist WHERE user = 'odp'";
    database.until_counted(count);
    let mut wire = open(&proxy.address());
    make(&mut wire);
    restart(&proxy);
    restart(&proxy);
    let with = answers(&mut wire, ASK);
    for (without, with) in without.iter().zip(&with) {
        assert_eq!(without, with, "{}", without.0);
    }
}

#[test]
fn t_17_warnings_of_the_last_statement_stay() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = open(&proxy.address());
    wire.run("SELECT CAST('x' AS INT), 1 / 'y', CAST('300z' AS INT)");
    restart(&proxy);
    // Three values cut short, one division by zero.
    assert_eq!(wire.run("SHOW WARNINGS").row_count(), 4);
    assert_eq!(wire.query("SELECT 9 FROM nowhere").error(), Some(1146));
    restart(&proxy);
    assert_eq!(wire.run("SHOW ERRORS").rows()[0][1], Some(b"1146".to_vec()));
}

#[test]
fn t_17_an_xa_transaction_and_locked_tables_move() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    database.execute(&["CREATE TABLE x (n INT) ENGINE=InnoDB", "CREATE TABLE l (n INT)"]);
    let proxy = Proxy::start(&database);
    let mut xa = open(&proxy.address());
    xa.run("XA START 'gtrid', 'bqual'");
    xa.run("INSERT INTO x VALUES (1)");
    restart(&proxy);
    xa.run("INSERT INTO x VALUES (2)");
    xa.run("XA END 'gtrid', 'bqual'");
    restart(&proxy);
    xa.run("XA PREPARE 'gtrid', 'bqual'");
    restart(&proxy);
    xa.run("XA COMMIT 'gtrid', 'bqual'");
    assert_eq!(xa.run("SELECT SUM(n) FROM x").text(), "3");
    let mut locks = open(&proxy.address());
    locks.run("LOCK TABLES l WRITE");
    restart(&proxy);
    locks.run("INSERT INTO l VALUES (1)");
    assert_eq!(locks.query("SELECT * FROM x").error(), Some(1100), "x is not locked");
    let mut other = open(&proxy.address());
    other.run("SET SESSION lock_wait_timeout = 1");
    assert_eq!(other.query("INSERT INTO l VALUES (2)").error(), Some(1205), "l is locked");
    locks.run("UNLOCK TABLES");
    other.run("INSERT INTO l VALUES (2)");
}

#[test]
fn t_44_prepared_statements_long_data_and_bound_types_move() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = open(&proxy.address());
    let echo = wire.prepare("SELECT CONCAT(?, ':', ?)");
    let ids: Vec<u32> = (0..200).map(|n| wire.prepare(&format!("SELECT {n}, ?"))).collect();
    let execute = |types: bool| {
        let mut body = echo.to_le_bytes().to_vec();
        body.extend([0, 1, 0, 0, 0, 0, u8::from(types)]);
        if types {
            // A BLOB for the long data, a LONGLONG.
            body.extend([252, 0, 8, 0]);
        }
        body.extend(77_i64.to_le_bytes());
        body
    };
    let long = |text: &[u8]| {
        let mut body = echo.to_le_bytes().to_vec();
        body.extend([0, 0]);
        body.extend(text);
        command_packets(com::LONG_DATA, &body)
    };
    wire.send(&long(b"ab")).expect("a session");
    restart(&proxy);
    wire.send(&long(b"cd")).expect("a session");
    restart(&proxy);
    let reply = wire.ask(com::EXECUTE, &execute(true));
    assert!(reply.packets[2].payload.ends_with(b"abcd:77"), "{:?}", reply.packets);
    // After that the types are known: new_params_bound = 0.
    wire.send(&long(b"efg")).expect("a session");
    restart(&proxy);
    let reply = wire.ask(com::EXECUTE, &execute(false));
    assert!(reply.packets[2].payload.ends_with(b"efg:77"), "{:?}", reply.packets);
    for (n, id) in ids.iter().enumerate() {
        let mut body = id.to_le_bytes().to_vec();
        body.extend([0, 1, 0, 0, 0, 0, 1, 8, 0]);
        body.extend(5_i64.to_le_bytes());
        let reply = wire.ask(com::EXECUTE, &body);
        assert_eq!(reply.error(), None, "statement {n}");
    }
    assert_eq!(wire.ask(com::RESET, &echo.to_le_bytes()).error(), None);
}

#[test]
fn t_44_a_cursor_stays_open() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = open(&proxy.address());
    let reply = wire.ask(com::PREPARE, b"SELECT seq FROM seq_1_to_10");
    let id = statement_id(&reply.packets[0]);
    let mut body = id.to_le_bytes().to_vec();
    body.extend([1, 1, 0, 0, 0]);
    let reply = wire.ask(com::EXECUTE, &body);
    assert_ne!(reply.status() & status::CURSOR_EXISTS, 0, "a cursor is open");
    let mut rows = 0;
    for _ in 0..3 {
        restart(&proxy);
        let fetch = [id.to_le_bytes(), 4_u32.to_le_bytes()].concat();
        let reply = wire.ask(com::FETCH, &fetch);
        rows += reply.packets.len() - 1;
    }
    assert_eq!(rows, 10);
}

#[test]
fn t_16_partial_packets_in_both_directions() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = open(&proxy.address());
    // A command of 100 kB in pieces, a restart between them.
    let text = "0123456789".repeat(10_000);
    let command = command_packets(com::QUERY, format!("SELECT MD5('{text}')").as_bytes());
    let direct = open(&database.address()).run(&format!("SELECT MD5('{text}')")).text();
    for piece in [1, 3, 4, 5, 50_000] {
        wire.send(&command[..piece]).expect("a session");
        restart(&proxy);
        wire.send(&command[piece..]).expect("a session");
        assert_eq!(wire.reply(com::QUERY).text(), direct, "cut after {piece} bytes");
    }
    // An answer of 40 MB that the client does not read yet: much of it is in the kernel.
    wire.command(com::QUERY, b"SELECT seq, REPEAT(CHAR(65 + seq % 26), 20000) FROM seq_1_to_2000");
    restart(&proxy);
    restart(&proxy);
    let reply = wire.reply(com::QUERY);
    assert_eq!(reply.row_count(), 2000);
    for (number, row) in reply.rows().iter().enumerate() {
        let seq = number as u32 + 1;
        let value = row[1].as_deref().expect("text");
        let letter = 65 + (seq % 26) as u8;
        assert_eq!(row[0].as_deref(), Some(seq.to_string().as_bytes()));
        assert!(value.len() == 20_000 && value.iter().all(|&byte| byte == letter), "row {seq}");
    }
}

#[test]
fn multi_results_are_cut_by_restarts() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = open(&proxy.address());
    let sql = "SELECT 1; SELECT SLEEP(1); SELECT 3; DO 1; SELECT REPEAT('x', 100000)";
    wire.command(com::QUERY, sql.as_bytes());
    database.until_counted(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'",
    );
    restart(&proxy);
    let reply = wire.reply(com::QUERY);
    assert_eq!(reply.error(), None);
    assert_eq!(reply.sets(), 4);
}
