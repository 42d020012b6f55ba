//! Restarts between any two bytes, and while nobody reads. Every script of the other files runs
//! with a restart behind each packet besides; see `support/steps.rs`.

use crate::split::{long_tour, tour};
use crate::support::compare::compare;
use crate::support::steps::Seen;
use crate::support::{Database, Every, Server, Stage, Steps};

/// Compares a direct run with one through planes that hand the session over all the time.
fn moved(database: &Database, every: Every, script: fn(&Stage)) -> Seen {
    let steps = Steps::start(database.address(), every);
    compare(database, &database.address(), steps.address(), script);
    let seen = steps.finish();
    eprintln!("{seen:?}");
    seen
}

/// Both directions; nothing of the script is left out.
fn at_every_byte(server: Server, script: fn(&Stage)) {
    let Some(database) = Database::start(server) else { return };
    let seen = moved(&database, Every::Byte, script);
    assert!(seen.pieces_left_out == 0, "too long for this: {seen:?}");
    assert!(seen.unread > 1000 && seen.unjudged > 1000, "{seen:?}");
}

#[test]
fn p_90_every_byte_mariadb() {
    at_every_byte(Server::MariaDb, tour);
}

#[test]
fn p_90_every_byte_mysql() {
    at_every_byte(Server::MySql, tour);
}

/// Bytes were judged and could not be written: they move, too.
#[test]
fn p_90_narrow_windows() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let seen = moved(&database, Every::Window, long_tour);
    assert!(seen.unwritten > 100, "{seen:?}");
}
