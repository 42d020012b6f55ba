//! A session reads what it wrote.

use crate::pair::Pair;
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Database, Server};

#[test]
fn a_session_reads_its_own_writes() {
    let Some(pair) = Pair::start("causal_reads = \"session\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    for n in 1..=200 {
        wire.run(&format!("UPDATE p.t SET n = {n} WHERE id = 1"));
        assert_eq!(wire.run("SELECT n FROM p.t WHERE id = 1").text(), n.to_string());
        assert_eq!(wire.run("SELECT name FROM p.who").text(), "replica", "after {n}");
    }
}

/// Another session's write that was acknowledged before the read began.
#[test]
fn a_cluster_reads_what_anybody_wrote() {
    let Some(pair) = Pair::start("causal_reads = \"cluster\"") else { return };
    let (mut writer, mut reader) = (pair.open(), pair.open());
    for n in 1..=200 {
        writer.run(&format!("UPDATE p.t SET n = {n} WHERE id = 1"));
        assert_eq!(reader.run("SELECT n FROM p.t WHERE id = 1").text(), n.to_string());
    }
}

/// A replica that is too far behind is not waited for: the primary answers.
#[test]
fn a_replica_that_stands_still_is_not_read_from() {
    let lines = "causal_reads = \"session\"\ncausal_reads_timeout = \"50ms\"";
    let Some(pair) = Pair::start(lines) else { return };
    pair.marked();
    let mut wire = pair.open();
    assert_eq!(wire.run("SELECT name FROM p.who").text(), "replica");
    pair.replica.execute(&["STOP SLAVE SQL_THREAD"]);
    wire.run("UPDATE p.t SET n = 77 WHERE id = 1");
    assert_eq!(wire.run("SELECT n FROM p.t WHERE id = 1").text(), "77");
    assert_eq!(wire.run("SELECT name FROM p.who").text(), "primary");
}

/// Without GTIDs nobody can tell what a replica has: who has written reads on the primary.
#[test]
fn without_gtids_who_has_written_reads_on_the_primary() {
    let start = |id: &str| {
        let gtids = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
        let own = [&*format!("--server-id={id}"), "--log-bin=b"];
        Database::start_with(Server::MySql, &[own, gtids].concat())
    };
    let (Some(primary), Some(replica)) = (start("1"), start("2")) else { return };
    primary.execute(&["RESET BINARY LOGS AND GTIDS"]);
    let source = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, \
         SOURCE_USER = 'odp', SOURCE_PASSWORD = '{PASSWORD}', SOURCE_LOG_FILE = 'b.000001', \
         SOURCE_LOG_POS = 4, GET_SOURCE_PUBLIC_KEY = 1",
        primary.port
    );
    replica.execute(&[&source, "SET GLOBAL read_only = ON", "START REPLICA"]);
    let mut options = Options::new(&[replica.address(), primary.address()]);
    options.cluster = format!(
        "service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n\
         read_write_split = \"on\"\n"
    );
    options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
    let pair = Pair::with(primary, replica, &options);
    pair.marked();
    let (mut wire, mut reader) = (pair.open(), pair.open());
    for n in 1..=20 {
        wire.run(&format!("UPDATE p.t SET n = {n} WHERE id = 1"));
        assert_eq!(wire.run("SELECT n FROM p.t WHERE id = 1").text(), n.to_string());
        assert_eq!(wire.run("SELECT name FROM p.who").text(), "primary", "after {n}");
        assert_eq!(reader.run("SELECT name FROM p.who").text(), "replica", "it has not written");
    }
}
