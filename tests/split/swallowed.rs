//! Servers whose packets vanish: no session waits for longer than it is allowed to, and who does
//! not need that server notices nothing.

use crate::pair::Pair;
use crate::support::blackhole::Blackhole;
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server, Wire, com, until};

const WHO: &str = "SELECT name FROM p.who";

/// What is waited for is short.
const DEADLINES: &str = "
server_detect_refresh_interval = \"100ms\"
server_detect_timeout = \"500ms\"
connect_timeout = \"2s\"
server_tcp_keepidle = \"1s\"
server_tcp_keepintvl = \"1s\"
server_tcp_keepcnt = 2
server_tcp_user_timeout = \"2s\"
";

/// A pair, and what stands before each of its servers.
struct Scene {
    pair: Pair,
    primary: Blackhole,
    replica: Blackhole,
}

fn scene(server: Server) -> Option<Scene> {
    let (primary, replica) = Pair::replicating(server)?;
    let before = |server: &Database| Blackhole::start(server.address());
    let (before_primary, before_replica) = (before(&primary), before(&replica));
    let mut options =
        Options::new(&[before_replica.address.clone(), before_primary.address.clone()]);
    options.cluster = format!(
        "service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\nread_write_split = \"on\"\n\
         causal_reads = \"off\"\n"
    );
    options.proxy = DEADLINES.into();
    options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
    let pair = Pair::with(primary, replica, &options);
    pair.marked();
    Some(Scene { pair, primary: before_primary, replica: before_replica })
}

/// A session that has read on the replica and written at home.
fn split(pair: &Pair) -> Wire {
    let mut wire = pair.open();
    assert_eq!(wire.run(WHO).text(), "replica");
    wire.run("UPDATE p.t SET n = n + 1 WHERE id = 2");
    assert_eq!(wire.run(WHO).text(), "replica");
    wire
}

/// Somebody who needs no more than the primary writes as ever.
fn others_write(wire: &mut Wire) {
    for _ in 0..20 {
        wire.run("UPDATE p.t SET n = n + 1 WHERE id = 1");
    }
}

fn until_read_by_the_replica(proxy: &Proxy, wire: &mut Wire) {
    until(&format!("reads on the replica\n{}", proxy.log()), || {
        (wire.run(WHO).text() == "replica").then_some(())
    });
}

#[test]
fn a_replica_is_swallowed_between_two_commands() {
    for server in [Server::MariaDb, Server::MySql] {
        let Some(Scene { pair, replica, .. }) = scene(server) else { continue };
        let (mut wire, mut other) = (split(&pair), pair.open());
        other.run("UPDATE p.t SET n = n + 1 WHERE id = 1");
        replica.swallow();
        wire.command(com::QUERY, WHO.as_bytes());
        others_write(&mut other);
        assert_eq!(wire.reply(com::QUERY).text(), "primary", "{server:?}");
        assert_eq!(wire.query("INSERT INTO p.t (n) VALUES (9)").error(), None);
        assert_eq!(wire.run(WHO).text(), "primary");
        // Who comes now is not held up by it.
        assert_eq!(pair.open().run(WHO).text(), "primary");
        replica.heal();
        until_read_by_the_replica(&pair.proxy, &mut wire);
    }
}

#[test]
fn a_replica_is_swallowed_in_the_middle_of_a_read() {
    let Some(Scene { pair, replica, .. }) = scene(Server::MariaDb) else { return };
    let (mut wire, mut other) = (split(&pair), pair.open());
    let mut holder = pair.replica.admin();
    holder.run("LOCK TABLES p.who WRITE");
    wire.command(com::QUERY, WHO.as_bytes());
    pair.replica.until_counted(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'",
    );
    replica.swallow();
    others_write(&mut other);
    assert_eq!(wire.reply(com::QUERY).text(), "primary");
    assert_eq!(wire.query("INSERT INTO p.t (n) VALUES (9)").error(), None);
    replica.heal();
    holder.run("UNLOCK TABLES");
    until_read_by_the_replica(&pair.proxy, &mut wire);
}

/// In a transaction nobody else has what it has read.
#[test]
fn a_replica_is_swallowed_in_a_transaction() {
    let Some(Scene { pair, replica, .. }) = scene(Server::MariaDb) else { return };
    let mut wire = split(&pair);
    wire.run("START TRANSACTION READ ONLY");
    assert_eq!(wire.run(WHO).text(), "replica");
    replica.swallow();
    assert_eq!(wire.query(WHO).error(), Some(1105));
    wire.run("ROLLBACK");
    assert_eq!(wire.run(WHO).text(), "primary");
    replica.heal();
    until_read_by_the_replica(&pair.proxy, &mut wire);
}

/// Who only reads goes on; who writes is told the end of its connection, and not late.
#[test]
fn a_primary_is_swallowed_between_two_commands() {
    let Some(Scene { pair, primary, .. }) = scene(Server::MariaDb) else { return };
    let (mut reader, mut writer) = (split(&pair), split(&pair));
    primary.swallow();
    writer.command(com::QUERY, b"UPDATE p.t SET n = n + 1 WHERE id = 3");
    for _ in 0..20 {
        assert_eq!(reader.run(WHO).text(), "replica");
    }
    writer.try_reply(com::QUERY).expect_err("nothing is known of the write");
    primary.heal();
    until("sessions that write", || {
        let mut wire =
            crate::support::Wire::open(&pair.proxy.address(), &Default::default()).ok()?;
        let reply = wire.try_query("UPDATE p.t SET n = n + 1 WHERE id = 1").ok()?;
        reply.error().is_none().then_some(())
    });
}

/// The home is asked what its session is before a reader is told: then it does not answer.
#[test]
fn a_primary_is_swallowed_while_a_reader_is_told() {
    let Some(Scene { pair, primary, .. }) = scene(Server::MariaDb) else { return };
    let (mut reader, mut wire) = (split(&pair), split(&pair));
    wire.run("SET @a = 1");
    primary.swallow();
    wire.command(com::QUERY, b"SELECT @a, name FROM p.who");
    for _ in 0..20 {
        assert_eq!(reader.run(WHO).text(), "replica");
    }
    wire.try_reply(com::QUERY).expect_err("the home is lost, and with it the session");
}
