//! KILL reaches what runs on a replica.

use crate::lost::{hold, pair, start_reading};
use crate::pair::Pair;
use crate::support::{Reply, Wire, com};

const WHO: &str = "SELECT name FROM p.who";

fn id(wire: &Wire) -> u32 {
    wire.greeting.connection_id
}

/// Has somebody end what `victim` reads on the replica; what that is answered.
fn ended(pair: &Pair, victim: &mut Wire, end: impl FnOnce(&mut Wire)) -> Reply {
    let holder = hold(pair);
    start_reading(pair, victim);
    end(&mut pair.open());
    let reply = victim.reply(com::QUERY);
    drop(holder);
    reply
}

fn a_query_is_ended(start: fn(&str) -> Option<Pair>) {
    let Some((pair, mut victim)) = pair(start) else { return };
    let shown = id(&victim);
    let told = victim.run("SELECT CONNECTION_ID()").text();
    let texts = [
        format!("KILL QUERY {shown}"),
        format!("kill query {told} -- that one"),
        format!("/* stop */ KILL QUERY {shown};"),
    ];
    for text in texts {
        assert_eq!(victim.run(WHO).text(), "replica");
        let reply =
            ended(&pair, &mut victim, |killer| assert_eq!(killer.query(&text).error(), None));
        assert_eq!(reply.error(), Some(1317), "{text}: {:?}", reply.packets);
        assert_eq!(victim.run(WHO).text(), "replica", "{text}");
        assert_eq!(victim.run("SELECT name FROM p.who FOR UPDATE").text(), "primary");
    }
}

#[test]
fn a_query_on_a_replica_is_ended_mariadb() {
    a_query_is_ended(Pair::start);
}

#[test]
fn a_query_on_a_replica_is_ended_mysql() {
    a_query_is_ended(Pair::start_mysql);
}

/// What reads ends with its connection, and does not begin again at home.
fn a_session_is_ended(start: fn(&str) -> Option<Pair>) {
    let Some((pair, mut victim)) = pair(start) else { return };
    let holder = hold(&pair);
    start_reading(&pair, &mut victim);
    let mut killer = pair.open();
    assert_eq!(killer.query(&format!("KILL CONNECTION {}", id(&victim))).error(), None);
    let rest = victim.until_closed();
    assert!(!rest.windows(7).any(|seven| seven == b"primary"), "{}", rest.escape_ascii());
    drop(holder);
    // The same between two commands.
    let mut idle = pair.open();
    assert_eq!(idle.run(WHO).text(), "replica");
    assert_eq!(killer.query(&format!("KILL {}", id(&idle))).error(), None);
    idle.until_closed();
    assert_eq!(killer.run(WHO).text(), "replica", "nobody else is harmed");
}

#[test]
fn a_session_on_a_replica_is_ended_mariadb() {
    a_session_is_ended(Pair::start);
}

#[test]
fn a_session_on_a_replica_is_ended_mysql() {
    a_session_is_ended(Pair::start_mysql);
}

#[test]
fn the_command_ends_what_is_on_a_replica() {
    let Some((pair, mut victim)) = pair(Pair::start) else { return };
    let holder = hold(&pair);
    start_reading(&pair, &mut victim);
    let mut killer = pair.open();
    let reply = killer.ask(com::PROCESS_KILL, &id(&victim).to_le_bytes());
    assert_eq!(reply.error(), None, "{:?}", reply.packets);
    victim.until_closed();
    drop(holder);
}

#[test]
fn a_hint_says_whose_an_id_is() {
    let Some((pair, mut victim)) = pair(Pair::start) else { return };
    let reply = ended(&pair, &mut victim, |killer| {
        let processes = "SELECT id FROM information_schema.processlist \
                         WHERE state LIKE 'Waiting for table%'";
        let thread = pair.replica.admin().run(processes).text();
        let target = pair.replica.address();
        killer.run(&format!("KILL /*+ TARGET_DB_SERVER='{target}' */ QUERY {thread}"));
    });
    assert_eq!(reply.error(), Some(1317), "{:?}", reply.packets);
}

#[test]
fn who_cannot_follow_is_told_so() {
    let Some((pair, mut victim)) = pair(Pair::start) else { return };
    let kill = format!("KILL QUERY {}", id(&victim));
    let reply = ended(&pair, &mut victim, |killer| {
        killer.run("BEGIN");
        assert_eq!(killer.query(&kill).error(), Some(1105));
        assert!(killer.run("ROLLBACK").error().is_none());
        killer.run(&kill);
    });
    assert_eq!(reply.error(), Some(1317), "{:?}", reply.packets);
}

/// What runs at home is ended there.
#[test]
fn a_query_at_home_is_ended() {
    let Some((pair, mut victim)) = pair(Pair::start) else { return };
    let told = victim.run("SELECT CONNECTION_ID()").text();
    for id in [id(&victim).to_string(), told] {
        victim.command(com::QUERY, b"SELECT SLEEP(300)");
        let asleep =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep'";
        pair.primary.until_counted(asleep);
        pair.open().run(&format!("KILL QUERY {id}"));
        assert_eq!(victim.reply(com::QUERY).error(), Some(1317));
    }
    let mut own = pair.open();
    assert_eq!(own.run(WHO).text(), "replica");
    let kill = format!("KILL {}", id(&own));
    assert_eq!(own.query(&kill).error(), Some(1927), "itself");
    own.until_closed();
}
