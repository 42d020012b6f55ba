//! What triggers do to the session whose statement fires them is known on the replica, too.

use crate::pair::Pair;
use crate::support::{Wire, com};

fn scene(start: fn(&str) -> Option<Pair>, triggers: &[&str]) -> Option<Pair> {
    let pair = start("causal_reads = \"off\"")?;
    pair.marked();
    pair.primary.execute(&["CREATE TABLE p.fires (n INT PRIMARY KEY)"]);
    pair.primary.execute(triggers);
    // Who asks now sees them; before that it is what they usually do.
    pair.proxy.restart();
    pair.until_roles(&["replica", "primary"]);
    Some(pair)
}

/// What the session has in @x, and where it reads that.
fn who(wire: &mut Wire) -> String {
    wire.run("SELECT @x, name FROM p.who").line("NULL")
}

fn user_variables_are_known(start: fn(&str) -> Option<Pair>) {
    let trigger = "CREATE TRIGGER p.b BEFORE INSERT ON p.fires FOR EACH ROW SET @x = NEW.n";
    let Some(pair) = scene(start, &[trigger]) else { return };
    let mut wire = pair.open();
    assert_eq!(who(&mut wire), "NULL replica");
    wire.run("INSERT INTO p.fires VALUES (1), (2)");
    let id = wire.prepare("INSERT INTO p.fires VALUES (3)");
    assert_eq!(who(&mut wire), "2 replica", "behind an insert");
    let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
    assert_eq!(wire.ask(com::EXECUTE, &body).error(), None);
    assert_eq!(who(&mut wire), "3 replica", "behind a prepared one");
    assert_eq!(wire.query("INSERT INTO p.fires VALUES (4), (1)").error(), Some(1062));
    // Whether that has left a transaction open nobody says.
    assert!(who(&mut wire).starts_with("1 "), "behind one that has failed in the middle");
    wire.run("REPLACE INTO p.fires VALUES (5)");
    assert_eq!(who(&mut wire), "5 replica", "behind a replace");
    wire.run("INSERT INTO p.fires SELECT 6");
    assert_eq!(who(&mut wire), "6 replica", "behind a select");
}

#[test]
fn mariadb_triggers_set_user_variables() {
    user_variables_are_known(Pair::start);
}

#[test]
fn mysql_triggers_set_user_variables() {
    user_variables_are_known(Pair::start_mysql);
}

/// A lock cannot be told another server: the session stays on its home.
#[test]
fn a_lock_of_a_trigger_keeps_the_session_home() {
    let trigger = "CREATE TRIGGER p.b BEFORE INSERT ON p.fires FOR EACH ROW \
        BEGIN IF GET_LOCK('of a trigger', 1) = 0 THEN SIGNAL SQLSTATE '45000'; END IF; END";
    let Some(pair) = scene(Pair::start, &[trigger]) else { return };
    let mut wire = pair.open();
    assert_eq!(wire.run("SELECT name FROM p.who").text(), "replica");
    crate::support::until("the triggers to be seen", || {
        wire.run("DELETE FROM p.fires");
        wire.run("INSERT INTO p.fires VALUES (1)");
        pair.pins(&wire).contains("user lock").then_some(())
    });
    assert_eq!(wire.run("SELECT name FROM p.who").text(), "primary");
    wire.ask(com::RESET_CONNECTION, b"");
    assert_eq!(wire.run("SELECT name FROM p.who").text(), "replica");
}
