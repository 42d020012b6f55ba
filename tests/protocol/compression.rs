//! P-14, P-15, P-93: compression on either leg or both, over restarts at every piece and byte.
//!
//! Scripts of the other files run through compressed legs; what a client without compression gets
//! directly is what one with it gets, but for numbers. `ODP_TEST_COMPRESSION` has all scripts do so.

use crate::support::compare::transparent_legs;
use crate::support::{Compression, Legs, Server, Stage, com};

const ZLIB: Option<Compression> = Some(Compression::Zlib);
const ZSTD: Option<Compression> = Some(Compression::Zstd(3));

/// Answers that fill several frames, and statements of as many.
fn many_frames(stage: &Stage) {
    let mut wire = stage.open();
    for length in [0, 45, 46, 16_300, 16_384, 40_000, 300_000] {
        let reply = wire.query(&format!("SELECT REPEAT('x', {length}), '{}'", "y".repeat(length)));
        assert_eq!(reply.row_count(), 1, "{}", stage.name);
    }
    // More than 256 frames, then a command whose answer starts anew.
    let reply = wire.query("SELECT REPEAT(MD5(1), 160000)");
    assert_eq!(reply.text().len(), 32 * 160_000);
    assert_eq!(wire.query("SELECT 1").packets[0].sequence, 1);
}

/// A packet of 16 MiB each way, and the lengths around it.
fn long_packets(stage: &Stage) {
    let mut wire = stage.open();
    for payload in [(1 << 24) - 2, (1 << 24) - 1, 17 << 20] {
        let around = "SELECT LENGTH('')".len() + 1;
        let sql = format!("SELECT LENGTH('{}')", "x".repeat(payload - around));
        assert_eq!(wire.query(&sql).text(), (payload - around).to_string(), "{}", stage.name);
    }
    let reply = wire.query("SELECT REPEAT('x', 17000000) UNION ALL SELECT 'short'");
    assert_eq!(reply.row_count(), 2);
    assert_eq!(wire.ask(com::PING, b"").error(), None);
}

/// `legs!(name, script, server: client / server)`
macro_rules! legs {
    ($($name:ident: $script:path, $server:ident, $client:expr, $to_server:expr;)+) => {
        $(#[test]
        fn $name() {
            let legs = Legs { client: $client, server: $to_server, tls: false };
            transparent_legs(Server::$server, legs, $script);
        })+
    };
}

legs! {
    p_14_zlib_to_mariadb: crate::split::tour, MariaDb, None, ZLIB;
    p_14_zlib_to_mysql: crate::split::tour, MySql, None, ZLIB;
    p_14_zstd_to_mysql: crate::split::tour, MySql, None, ZSTD;
    p_14_zlib_from_the_client: crate::split::tour, MariaDb, ZLIB, None;
    p_14_zstd_from_the_client: crate::split::tour, MySql, ZSTD, None;
    p_15_both_legs: crate::split::tour, MySql, ZLIB, ZSTD;
    p_14_many_frames_to_mariadb: many_frames, MariaDb, None, ZLIB;
    p_14_many_frames_from_the_client: many_frames, MariaDb, ZSTD, None;
    p_14_pipelined_to_mysql: crate::framing::p_07_pipelined_commands, MySql, None, ZSTD;
    p_14_pipelined_from_the_client: crate::framing::p_07_pipelined_commands, MariaDb, ZLIB, None;
    p_14_local_files_to_mariadb: crate::results::p_26_local_files, MariaDb, None, ZLIB;
    p_14_local_files_from_the_client: crate::results::p_26_local_files, MariaDb, ZLIB, None;
}
