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
fn with_narrow_windows(script: fn(&Stage)) {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let seen = moved(&database, Every::Window, script);
    assert!(seen.unwritten > 10, "{seen:?}");
}

#[test]
fn p_90_narrow_windows_long_rows() {
    with_narrow_windows(long_tour);
}

#[test]
fn p_90_narrow_windows_many_rows() {
    with_narrow_windows(crate::results::p_20_ends_of_results);
}

#[test]
fn p_90_narrow_windows_many_commands() {
    with_narrow_windows(crate::framing::p_07_pipelined_commands);
}

#[test]
fn p_90_narrow_windows_local_files() {
    with_narrow_windows(crate::results::p_26_local_files);
}
