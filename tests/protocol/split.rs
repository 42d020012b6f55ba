//! P-06: where the network cuts a stream changes nothing, in all four directions. P-90: nor does a
//! restart, wherever it falls.

use odp::wire::capability as cap;

use crate::results::execute;
use crate::support::compare::{compare, under_restarts};
use crate::support::proxy::{Options, is_haproxy};
use crate::support::raw::{Login, command_packets, packets};
use crate::support::{Chop, Database, Proxy, Relay, Server, Stage, com};

/// One of each kind of answer, short ones.
pub(crate) fn tour(stage: &Stage) {
    stage.setup(&[
        "CREATE TABLE t (n INT PRIMARY KEY, v TEXT)",
        "INSERT INTO t VALUES (1, 'one'), (2, NULL), (3, 'three')",
        "CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2; END",
    ]);
    let mut login = stage.login();
    login.capabilities |= cap::SESSION_TRACK;
    let mut wire = stage.open_with(&login).expect("log in");
    wire.run("SET SESSION session_track_state_change = ON");
    assert_eq!(wire.query("SELECT * FROM t FORCE INDEX (PRIMARY) WHERE n > 0").row_count(), 3);
    assert_eq!(wire.query("SELECT 1; SELECT 2, 3; SET @a = 1; SELECT 4").sets(), 3);
    assert_eq!(wire.query("SELECT nothing FROM t").error(), Some(1054));
    assert_eq!(wire.query("CALL two()").sets(), 2);
    let statement = wire.prepare("SELECT n, v FROM t FORCE INDEX (PRIMARY) WHERE n > 0");
    assert_eq!(wire.ask(com::EXECUTE, &execute(statement, 0)).row_count(), 3);
    wire.ask(com::EXECUTE, &execute(statement, 1));
    let mut body = statement.to_le_bytes().to_vec();
    body.extend(2u32.to_le_bytes());
    assert_eq!(wire.ask(com::FETCH, &body).row_count(), 2);
    assert_eq!(wire.ask(com::RESET, &statement.to_le_bytes()).error(), None);
    let mut segment = command_packets(com::CLOSE, &statement.to_le_bytes());
    segment.extend(command_packets(com::PING, b""));
    segment.extend(command_packets(com::QUERY, b"SELECT 'pipelined'"));
    segment.extend([0, 0, 0, 0]);
    segment.extend(command_packets(com::SET_OPTION, &[0, 0]));
    wire.send(&segment).expect("it takes a segment");
    wire.reply(com::PING);
    assert_eq!(wire.reply(com::QUERY).text(), "pipelined");
    assert_eq!(wire.packet().error(), Some(1047));
    wire.reply(com::SET_OPTION);
    let request = wire.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t");
    assert!(request.wants_file, "{request:?}");
    let mut file = packets(b"4\tfour\n5\tfi", 2);
    file.extend(packets(b"ve\n", 3));
    file.extend([0, 0, 0, 4]);
    wire.send(&file).expect("it takes a file");
    assert_eq!(wire.reply(com::QUERY).error(), None);
    assert_eq!(wire.query("SELECT COUNT(*) FROM t").text(), "5");
    assert_eq!(wire.ask(com::INIT_DB, b"mysql").error(), None);
    assert_eq!(wire.ask(com::RESET_CONNECTION, b"").error(), None);
    wire.command(com::QUIT, b"");
    wire.until_closed();
    let refused = Login { password: "wrong".into(), ..login };
    assert!(stage.open_with(&refused).is_err());
}

/// As [`tour`], with packets that are split and continued.
pub(crate) fn long_tour(stage: &Stage) {
    let mut wire = stage.open();
    for length in [100, 5_000, 70_000] {
        let reply = wire.query(&format!("SELECT REPEAT('x', {length}), '{}'", "y".repeat(length)));
        assert_eq!(reply.row_count(), 1);
    }
    assert_eq!(wire.query("SELECT seq, REPEAT('z', seq) FROM seq_1_to_300").row_count(), 300);
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}

/// Client → relay → proxy → relay → server.
fn chopped(server: Server, chop: Chop, script: fn(&Stage)) {
    let Some(database) = Database::start(server) else { return };
    let behind = Relay::start(database.address(), chop);
    let proxy = Proxy::start_with(&Options::new(&[behind.address]));
    let before = Relay::start(proxy.address(), chop);
    compare(&database, &database.address(), &before.address, false, script);
}

#[test]
fn p_06_byte_by_byte_mariadb() {
    chopped(Server::MariaDb, Chop::Bytes, tour);
}

#[test]
fn p_06_byte_by_byte_mysql() {
    chopped(Server::MySql, Chop::Bytes, tour);
}

#[test]
fn p_06_random_pieces_mariadb() {
    for seed in [1, 0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03] {
        chopped(Server::MariaDb, Chop::Random(seed), tour);
        chopped(Server::MariaDb, Chop::Random(seed), long_tour);
    }
}

#[test]
fn p_06_random_pieces_mysql() {
    chopped(Server::MySql, Chop::Random(0x2545_F491_4F6C_DD1D), tour);
}

/// P-90. The same while the proxy is restarted all the time: no byte differs.
fn under_a_storm_of_restarts(server: Server) {
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(server) else { return };
    let proxy = Proxy::start(&database);
    let count = under_restarts(&proxy, || {
        for _ in 0..5 {
            compare(&database, &database.address(), &proxy.address(), false, tour);
        }
    });
    assert!(count > 1, "{count} restarts");
}

#[test]
fn p_90_restart_storm_mariadb() {
    under_a_storm_of_restarts(Server::MariaDb);
}

#[test]
fn p_90_restart_storm_mysql() {
    under_a_storm_of_restarts(Server::MySql);
}
