//! Reads on replicas: what they cost, what a session with two links holds, and what several servers
//! give. Of odp alone: nobody else here splits.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::load::{self, POINT_SELECT_16};
use crate::machine::Database;
use crate::process::{resident_kib, wait_for};
use crate::proxies::{Kind, Proxy, Servers};
use crate::rated::Rated;
use crate::{Figures, Outcome, Scale, joined};

/// The most sessions that are idle.
const IDLE: usize = 2000;

/// How long memory has to settle.
const SETTLE: Duration = Duration::from_secs(2);

/// What a server of a fixed rate does in a second: far less than what this machine could.
const RATE: u32 = 500;

/// Enough that each of them waits for the servers.
const CLIENTS: usize = 64;

/// All reads of all sessions on one replica, against the same replica behind a plain relay.
pub(crate) fn point_select_16(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    let Some([primary, replica, _]) = splits(kind, database)? else { return Ok(Vec::new()) };
    let mut observer = Client::connect(replica, crate::machine::ACCOUNT)?;
    let mut measure = |servers: &Servers| -> Outcome<f64> {
        let proxy = started(kind, servers, &[replica])?;
        load::cpu_per_query(&proxy, &mut observer, scale.window, POINT_SELECT_16)
    };
    let plain = measure(&Servers::one(replica))?;
    let split = measure(&Servers::split(&[primary, replica], "session"))?;
    Ok(vec![
        ("plain relay, CPU us/query", plain),
        ("split, CPU us/query", split),
        ("split / plain relay", split / plain),
    ])
}

/// Resident memory of a session that has read on a replica and now waits.
pub(crate) fn idle(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    let Some([primary, replica, _]) = splits(kind, database)? else { return Ok(Vec::new()) };
    let proxy = started(kind, &Servers::split(&[primary, replica], "session"), &[replica])?;
    let pid = proxy.pid().ok_or("no process")?;
    let (fresh, sessions) = (resident_kib(pid)?, scale.sessions.min(IDLE));
    let mut clients = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let mut client = proxy.client()?;
        client.rows("SELECT c FROM sbtest.sbtest1 WHERE id = 1")?;
        clients.push(client);
    }
    std::thread::sleep(SETTLE);
    let held = resident_kib(pid)?.saturating_sub(fresh) as f64;
    let mut observer = Client::connect(replica, crate::machine::ACCOUNT)?;
    let links = observer.number("SHOW GLOBAL STATUS LIKE 'Threads_connected'")?;
    clients.into_iter().try_for_each(Client::quit)?;
    Ok(vec![("KiB/session", held / sessions as f64), ("links to the replica", links)])
}

/// Nine reads to a write over several servers of a fixed rate, against one of them.
pub(crate) fn fixed_rate(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    let Some([primary, one, other]) = splits(kind, database)? else { return Ok(Vec::new()) };
    let rated = |at| Rated::start(at, RATE);
    let alone = {
        let server = rated(primary)?;
        let proxy = started(kind, &Servers::one(server.address), &[])?;
        mixed(&proxy, scale.window)?
    };
    // The same replica behind two relays is two servers: what limits is the relay.
    let [primary, one, other, third] = [rated(primary)?, rated(one)?, rated(other)?, rated(other)?];
    let addresses = [&primary, &one, &other, &third].map(|server| server.address);
    let split = |count: usize| -> Outcome<f64> {
        let servers = Servers::split(&addresses[..count], "off");
        let proxy = started(kind, &servers, &addresses[1..count])?;
        Ok(mixed(&proxy, scale.window)? / alone)
    };
    Ok(vec![
        ("one server, statements/s", alone),
        ("a primary and two replicas, times", split(3)?),
        ("a primary and three replicas, times", split(4)?),
    ])
}

/// The servers' addresses, if this is somebody who splits.
fn splits(kind: &Kind, database: &Database) -> Outcome<Option<[SocketAddr; 3]>> {
    match kind.restarts() {
        true => Ok(Some(database.replication()?.addresses())),
        false => Ok(None),
    }
}

/// A proxy in front of these servers, once it reads from all of these replicas.
fn started(kind: &Kind, servers: &Servers, replicas: &[SocketAddr]) -> Outcome<Proxy> {
    let proxy = kind.start_before(servers)?;
    if !servers.is_split() {
        return Ok(proxy);
    }
    wait_for("the replicas", Duration::from_secs(20), || {
        let mut admin = Client::connect(proxy.admin, crate::proxies::ADMIN)?;
        let rows = admin.named_rows("SHOW PROXYROUTE")?;
        let is_replica = |row: &&Vec<(String, String)>| {
            row.iter().any(|(name, value)| name == "role" && value == "replica")
        };
        match rows.iter().filter(is_replica).count() {
            found if found == replicas.len() => Ok(()),
            found => Err(format!("{found} of {} replicas", replicas.len()).into()),
        }
    })?;
    Ok(proxy)
}

/// Statements a second of many clients, a tenth of which are writes. Each of them has all its links
/// before any is counted.
fn mixed(proxy: &Proxy, window: Duration) -> Outcome<f64> {
    let barrier = Barrier::new(CLIENTS);
    let client = |number: usize| {
        let opened = ready(proxy);
        barrier.wait();
        let (mut client, begin, mut asked) = (opened?, Instant::now(), number);
        while begin.elapsed() < window {
            let id = asked % 25_000 + 1;
            client.rows(&match asked % 10 {
                0 => format!("UPDATE sbtest.sbtest1 SET k = k + 1 WHERE id = {id}"),
                _ => format!("SELECT c FROM sbtest.sbtest1 WHERE id = {id}"),
            })?;
            asked += 1;
        }
        client.quit()?;
        Ok(asked - number)
    };
    let counted: usize = std::thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || client(number * 7))).collect();
        clients.into_iter().map(joined).sum::<Outcome<usize>>()
    })?;
    Ok(counted as f64 / window.as_secs_f64())
}

/// A client that has written and read.
fn ready(proxy: &Proxy) -> Outcome<Client> {
    let mut client = proxy.client()?;
    client.rows("UPDATE sbtest.sbtest1 SET k = k + 1 WHERE id = 1")?;
    client.rows("SELECT c FROM sbtest.sbtest1 WHERE id = 1")?;
    Ok(client)
}
