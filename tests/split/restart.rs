//! Restarts in the middle of what sessions with several links do.

use crate::lost::{hold, pair, start_reading};
use crate::pair::Pair;
use crate::support::com;
use crate::support::raw::command_packets;

const WHO: &str = "SELECT name FROM p.who";

const WAITING: &str = "SELECT COUNT(*) FROM information_schema.processlist \
                       WHERE state LIKE '%lock%' OR state IN ('Updating', 'Statistics')";

/// Reads wait on the replica and at home, commands wait behind them, and a transaction begins.
#[test]
fn answers_on_their_way_come_after_a_restart() {
    let Some((pair, mut reading)) = pair(Pair::start) else { return };
    let [mut behind, mut writing, mut begins] = std::array::from_fn(|_| pair.open());
    for wire in [&mut behind, &mut writing, &mut begins] {
        assert_eq!(wire.run(WHO).text(), "replica");
        wire.run("SET @a = 'kept'");
    }
    let (reads, mut holder) = (hold(&pair), pair.primary.admin());
    holder.run("BEGIN");
    holder.run("UPDATE p.t SET n = 1 WHERE id = 1");
    start_reading(&pair, &mut reading);
    let packets = |texts: &[&str]| -> Vec<u8> {
        texts.iter().flat_map(|sql| command_packets(com::QUERY, sql.as_bytes())).collect()
    };
    let all = [WHO, "INSERT INTO p.t (n) VALUES (8)", "SELECT @a, name FROM p.who"];
    behind.send(&packets(&all)).expect("it takes them");
    writing.command(com::QUERY, b"UPDATE p.t SET n = n + 1 WHERE id = 1");
    let all = ["BEGIN", "SELECT n FROM p.t WHERE id = 1 FOR UPDATE", WHO, "COMMIT", WHO];
    begins.send(&packets(&all)).expect("it takes them");
    pair.primary.until_counted(&WAITING.replace("COUNT(*)", "COUNT(*) > 1"));
    pair.replica.until_counted(&WAITING.replace("COUNT(*)", "COUNT(*) > 1"));
    pair.proxy.restart();
    pair.proxy.restart();
    drop(reads);
    holder.run("COMMIT");
    assert_eq!(reading.reply(com::QUERY).text(), "replica");
    assert_eq!(behind.reply(com::QUERY).text(), "replica");
    assert_eq!(behind.reply(com::QUERY).error(), None);
    assert_eq!(behind.reply(com::QUERY).text(), "kept");
    assert_eq!(writing.reply(com::QUERY).error(), None);
    let [begun, locked, inside, committed, outside] = all.map(|_| begins.reply(com::QUERY));
    assert!(begun.in_transaction() && inside.in_transaction() && !committed.in_transaction());
    assert_eq!((locked.error(), inside.text().as_str()), (None, "primary"));
    assert_eq!(outside.text(), "replica");
    pair.until_roles(&["replica", "primary"]);
    for wire in [&mut reading, &mut behind, &mut writing, &mut begins] {
        assert_eq!(wire.run(WHO).text(), "replica");
        assert_eq!(wire.run("SELECT name FROM p.who FOR UPDATE").text(), "primary");
    }
}
