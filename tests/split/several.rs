//! What several statements in one text do to a session is known on the replica, too.

use crate::pair::Pair;
use crate::support::{Wire, com};

/// What the session has in @x, and where it reads that.
fn who(wire: &mut Wire) -> String {
    wire.run("SELECT @x, name FROM p.who").line("")
}

fn what_they_set_is_known(start: fn(&str) -> Option<Pair>) {
    let Some(pair) = start("causal_reads = \"off\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    // MYSQL_OPTION_MULTI_STATEMENTS_ON.
    assert_eq!(wire.ask(com::SET_OPTION, &[0, 0]).error(), None);
    assert_eq!(who(&mut wire), " replica");
    wire.run("SET @x = 1; SELECT 2; INSERT INTO p.t (n) VALUES (3)");
    assert_eq!(who(&mut wire), "1 replica");
    wire.run("/*!40101 SET @x = 'of a comment' */; /*!40101 SET @old = @x */;");
    assert_eq!(who(&mut wire), "of a comment replica");
    // The first one is done. Whether they have left a transaction open nobody says.
    wire.query("SET @x = 5; SELECT nothing FROM p.nowhere; SET @x = 6");
    assert!(who(&mut wire).starts_with("5 "));
    assert_eq!(who(&mut wire), "5 replica");
    wire.run("BEGIN; SET @x = 7; COMMIT");
    assert_eq!(who(&mut wire), "7 replica");
    wire.run("BEGIN; SET @x = 8");
    assert_eq!(who(&mut wire), "8 primary", "in a transaction");
    wire.run("COMMIT; SELECT 1");
    assert_eq!(who(&mut wire), "8 replica");
    wire.run("SELECT 1; DO GET_LOCK('of several', 1)");
    assert_eq!(who(&mut wire), "8 primary");
    wire.run("SELECT 1; DO RELEASE_ALL_LOCKS()");
    assert_eq!(who(&mut wire), "8 replica");
    wire.run("CREATE TEMPORARY TABLE p.mine (n INT); SELECT 1");
    assert_eq!(who(&mut wire), "8 primary");
}

#[test]
fn mariadb_replicas_know_what_several_have_set() {
    what_they_set_is_known(Pair::start);
}

#[test]
fn mysql_replicas_know_what_several_have_set() {
    what_they_set_is_known(Pair::start_mysql);
}
