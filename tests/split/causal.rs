//! A session reads what it wrote.

use crate::pair::Pair;

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
