//! Splitting that is turned on and off while sessions are there.

use crate::pair::Pair;
use crate::support::{Wire, until};

/// Has a session that is there already read elsewhere, or at home again.
fn turn(pair: &Pair, wire: &mut Wire, split: &str, reads_on: &str) {
    pair.splits(split);
    until(&format!("reads on the {reads_on}"), || {
        (wire.run("SELECT name FROM p.who").text() == reads_on).then_some(())
    });
}

#[test]
fn who_was_there_before_reads_are_split_has_them_split() {
    let Some(pair) = Pair::start("causal_reads = \"off\"") else { return };
    pair.marked();
    pair.splits("off");
    let (mut idle, mut wire) = (pair.open(), pair.open());
    wire.run("SET @a = 'own'");
    assert_eq!(wire.run("SELECT name FROM p.who").text(), "primary");
    turn(&pair, &mut wire, "on", "replica");
    assert_eq!(wire.run("SELECT name, @a FROM p.who").rows()[0][1].as_deref(), Some(&b"own"[..]));
    turn(&pair, &mut idle, "on", "replica");
    turn(&pair, &mut wire, "off", "primary");
    assert_eq!(idle.run("SELECT name FROM p.who").text(), "primary");
}
