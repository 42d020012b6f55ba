//! What stored routines do to the session that calls them is known on the replica, too.

use crate::pair::Pair;
use crate::support::{Wire, com, until};

const ROUTINES: [&str; 6] = [
    "CREATE PROCEDURE p.sets(IN n INT, OUT twice INT) \
     BEGIN SET @x = n; SET twice = 2 * n; SET SESSION div_precision_increment = 7; END",
    "CREATE FUNCTION p.counts(n INT) RETURNS INT NO SQL \
     BEGIN SET @x = COALESCE(@x, 0) + n; RETURN n; END",
    "CREATE PROCEDURE p.outer_() BEGIN CALL p.sets(40, @twice); DO p.counts(2); END",
    "CREATE PROCEDURE p.locks() SELECT GET_LOCK('of a routine', 1)",
    "CREATE PROCEDURE p.builds() \
     BEGIN PREPARE s FROM 'SET @x = 9'; EXECUTE s; DEALLOCATE PREPARE s; END",
    "CREATE PROCEDURE p.fails() BEGIN SET @x = 77; SIGNAL SQLSTATE '45000'; END",
];

fn scene(start: fn(&str) -> Option<Pair>) -> Option<Pair> {
    let pair = start("causal_reads = \"off\"")?;
    pair.marked();
    pair.primary.execute(&["SET GLOBAL log_bin_trust_function_creators = 1"]);
    pair.primary.execute(&ROUTINES);
    // Who asks now sees them.
    pair.proxy.restart();
    pair.until_roles(&["replica", "primary"]);
    until("the routines to be seen", || {
        let mut wire = pair.open();
        wire.run("CALL p.sets(1, @y)");
        pair.pins(&wire).is_empty().then_some(())
    });
    Some(pair)
}

/// What the session has in these, and where it reads that.
fn who(wire: &mut Wire, what: &str) -> String {
    wire.run(&format!("SELECT {what}, name FROM p.who")).line("NULL")
}

fn what_they_set_is_known(start: fn(&str) -> Option<Pair>) {
    let Some(pair) = scene(start) else { return };
    let mut wire = pair.open();
    wire.run("CALL p.sets(3, @y)");
    assert_eq!(who(&mut wire, "@x, @y, 1 / 3"), "3 6 0.3333333 replica");
    assert_eq!(wire.run("SELECT p.counts(4)").text(), "4");
    assert_eq!(who(&mut wire, "@x"), "7 replica", "behind a function");
    wire.run("CALL p.outer_");
    assert_eq!(who(&mut wire, "@x, @twice"), "42 80 replica", "behind what calls others");
    assert_eq!(wire.query("CALL p.fails()").error(), Some(1644));
    // Whether that has left a transaction open nobody says.
    assert!(who(&mut wire, "@x").starts_with("77 "), "behind one that has failed");
    let id = wire.prepare("CALL p.sets(8, @y)");
    let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
    assert_eq!(wire.ask(com::EXECUTE, &body).error(), None);
    assert_eq!(who(&mut wire, "@x, @y"), "8 16 replica", "behind a prepared one");
    wire.run("PREPARE c FROM 'CALL p.sets(9, @y)'");
    wire.run("EXECUTE c");
    assert_eq!(who(&mut wire, "@x, @y"), "9 18 replica", "behind a PREPARE");
    // Of a move it would be: they may have set the modes that statements are read in.
    assert!(!pair.pins(&wire).contains("anything"), "{}", pair.pins(&wire));
}

#[test]
fn mariadb_routines_set_what_replicas_know() {
    what_they_set_is_known(Pair::start);
}

#[test]
fn mysql_routines_set_what_replicas_know() {
    what_they_set_is_known(Pair::start_mysql);
}

#[test]
fn what_nobody_can_carry_keeps_the_session_home() {
    let Some(pair) = scene(Pair::start) else { return };
    for (call, reason) in [
        ("CALL p.locks()", "user lock"),
        ("CALL p.builds()", "a statement that may have done anything"),
        ("SELECT p.nowhere(1)", "a statement that may have done anything"),
    ] {
        let mut wire = pair.open();
        assert_eq!(who(&mut wire, "1"), "1 replica");
        wire.query(call);
        assert!(pair.pins(&wire).starts_with(reason), "{call}: {}", pair.pins(&wire));
        assert_eq!(who(&mut wire, "1"), "1 primary", "{call}");
        wire.ask(com::RESET_CONNECTION, b"");
        assert_eq!(who(&mut wire, "1"), "1 replica", "{call}");
    }
}

/// One that takes a lock now and did not before is believed no more once its definition has passed.
#[test]
fn one_that_is_defined_anew_is_not_taken_for_the_old_one() {
    let Some(pair) = scene(Pair::start) else { return };
    let mut wire = pair.open();
    wire.run("CREATE OR REPLACE PROCEDURE p.sets(n INT, m INT) SELECT GET_LOCK('new', 1)");
    wire.run("CALL p.sets(1, 2)");
    assert_ne!(pair.pins(&wire), "");
    // It is read anew without the minute that passes otherwise.
    until("the new one to be seen", || {
        let mut wire = pair.open();
        wire.query("CALL p.sets(1, 2)");
        (pair.pins(&wire) == "user lock").then_some(())
    });
}
