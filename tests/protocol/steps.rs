//! Restarts between any two bytes, and while nobody reads. Every script of the other files runs
//! with a restart behind each packet besides; see `support/steps.rs`.

use crate::split::{long_tour, tour};
use crate::support::compare::compare;
use crate::support::pki::Pki;
use crate::support::steps::Seen;
use crate::support::{Database, Every, Server, Stage, Steps, scratch};

/// Compares a direct run with one through planes that hand the session over all the time.
fn moved(database: &Database, every: Every, tls: bool, script: fn(&Stage)) -> Seen {
    let start = if tls { Steps::start_with_tls } else { Steps::start };
    let steps = start(database.address(), every);
    compare(database, &database.address(), steps.address(), tls, script);
    let seen = steps.finish();
    eprintln!("{seen:?}");
    seen
}

/// Both directions; nothing of the script is left out.
fn at_every_byte(server: Server, script: fn(&Stage)) {
    let Some(database) = Database::start(server) else { return };
    let seen = moved(&database, Every::Byte, false, script);
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
    let seen = moved(&database, Every::Window, false, script);
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

/// A server with a certificate.
pub(crate) fn database_with_tls(server: Server) -> Option<Database> {
    let dir = scratch();
    let files = Pki::new().write(dir.path());
    let options = files.of_server();
    // It has read them when it has started.
    Database::start_with(server, &options.each_ref().map(String::as_str))
}

/// Both legs with TLS: between any two bytes of any record, header and tag included.
fn tls_at_every_byte(server: Server, script: fn(&Stage)) {
    let Some(database) = database_with_tls(server) else { return };
    let seen = moved(&database, Every::Byte, true, script);
    assert!(seen.pieces_left_out == 0, "too long for this: {seen:?}");
    assert!(seen.unread > 1000 && seen.by_tls > 1000 && seen.within_tls > 1000, "{seen:?}");
}

#[test]
fn p_93_tls_at_every_byte_mariadb() {
    tls_at_every_byte(Server::MariaDb, tour);
}

#[test]
fn p_93_tls_at_every_byte_mysql() {
    tls_at_every_byte(Server::MySql, tour);
}

/// Both legs with TLS, behind every record.
#[test]
fn p_93_tls_at_every_record() {
    let Some(database) = database_with_tls(Server::MariaDb) else { return };
    for script in [
        long_tour,
        crate::results::p_20_ends_of_results,
        crate::framing::p_07_pipelined_commands,
        crate::results::p_26_local_files,
    ] {
        let seen = moved(&database, Every::Packet, true, script);
        assert!(seen.unread > 10 && seen.by_tls > 10, "{seen:?}");
    }
}

/// The proxy sits on ciphertext that it could not write, and on records that it could not give out.
#[test]
fn p_93_tls_with_narrow_windows() {
    let Some(database) = database_with_tls(Server::MariaDb) else { return };
    for script in [long_tour, crate::results::p_20_ends_of_results] {
        let seen = moved(&database, Every::Window, true, script);
        assert!(seen.by_tls > 100 && seen.within_tls > 10, "{seen:?}");
    }
}
