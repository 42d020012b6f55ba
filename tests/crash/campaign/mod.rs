//! Random kills under clients of every kind, each of whose answers is checked byte by byte: what
//! comes through the proxy is what the server says to whoever asks it without one.
//!
//! ```text
//!   client ── script ──► proxy ──► server        the bytes that came
//!   reference ── the same script ──► server      are the bytes that came here before
//!   killer ── SIGKILL, SIGABRT, a fault, an abort ──► whoever carries the sessions
//! ```
//! A short one is a test. `ODP_CAMPAIGN_KILLS` and `ODP_CAMPAIGN_SESSIONS` make it a long one,
//! whose clients rest up to `ODP_CAMPAIGN_REST` milliseconds between two rounds;
//! `ODP_CAMPAIGN_LAYERS` (`tls13`, `tls12`, `zlib`, `zstd`, `tls+zlib`) puts those on both legs,
//! `ODP_CAMPAIGN_SEED` makes it the same as before, as far as clocks allow.

mod client;
mod killer;
mod random;
mod script;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use client::{Client, Kind, Tally};
use killer::Killer;
pub(crate) use random::Random;

use crate::scene::{Layered, Layers};
use crate::support::Database;

/// Accounts of the bank, and what each holds at first.
const ACCOUNTS: u64 = 40;
const DEPOSIT: u64 = 1000;

/// What all clients share.
struct Plan {
    seed: u64,
    /// Milliseconds, at most, between two rounds.
    rest: u64,
    stop: AtomicBool,
}

#[test]
fn sessions_of_every_kind_outlive_random_kills() {
    run(from_environment("ODP_CAMPAIGN_SESSIONS", 26), from_environment("ODP_CAMPAIGN_KILLS", 25));
}

fn run(sessions: u64, kills: u64) {
    let layers = layers();
    let Some(layered) = Layered::start(layers) else { return };
    let layered = Arc::new(layered);
    let scene = &layered.scene;
    open_bank(&scene.database);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seed = from_environment("ODP_CAMPAIGN_SEED", now.as_nanos() as u64);
    eprintln!("campaign: {sessions} sessions, {layers:?}, {kills} kills, seed {seed}");
    let reference = Arc::new(script::Reference::of(&scene.database));
    let rest = from_environment("ODP_CAMPAIGN_REST", 0);
    let plan = Arc::new(Plan { seed, rest, stop: AtomicBool::new(false) });
    let clients: Vec<Client> = (0..sessions)
        .zip(Kind::over(layers).cycle())
        .map(|(number, kind)| Client::start(&plan, (&layered, &reference), number, kind))
        .collect();
    until_all(&clients);
    let begun = Instant::now();
    let mut killer = Killer::new(scene, seed);
    for number in 1..=kills {
        killer.kill();
        if number % 50 == 0 {
            eprintln!("campaign: {number} kills, {:?}", begun.elapsed());
        }
        let troubled = clients.iter().filter_map(Client::trouble).next();
        if let Some(trouble) = troubled {
            finish(&plan, clients);
            panic!("{trouble}\n{}", scene.proxy.log());
        }
    }
    // Everybody goes on.
    until_all(&clients);
    let tallies = finish(&plan, clients);
    report(&killer, &tallies, begun);
    let troubles: Vec<_> = tallies.iter().filter_map(|tally| tally.trouble.clone()).collect();
    assert!(troubles.is_empty(), "{troubles:#?}\n{}", scene.proxy.log());
    audit(&scene.database, &tallies, &reference);
}

/// Waits until each has played one more round.
fn until_all(clients: &[Client]) {
    let goals: Vec<u64> = clients.iter().map(|client| client.rounds() + 1).collect();
    for (client, goal) in clients.iter().zip(goals) {
        client.until_played(goal);
    }
}

fn finish(plan: &Plan, clients: Vec<Client>) -> Vec<Tally> {
    plan.stop.store(true, Ordering::Relaxed);
    clients.into_iter().map(Client::join).collect()
}

fn report(killer: &Killer, tallies: &[Tally], begun: Instant) {
    let mut by_kind: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for tally in tallies {
        let (sessions, rounds, bytes) = by_kind.entry(tally.kind.name()).or_default();
        (*sessions, *rounds, *bytes) =
            (*sessions + 1, *rounds + tally.rounds, *bytes + tally.bytes);
    }
    eprintln!("campaign: {:?}", begun.elapsed());
    for (kind, (sessions, rounds, bytes)) in by_kind {
        eprintln!("  {kind:12} {sessions:4} clients {rounds:8} rounds {bytes:12} bytes compared");
    }
    let refused: u64 = tallies.iter().map(|tally| tally.refused).sum();
    eprintln!("  log-ins under way that were cut: {refused}");
    killer.report();
}

fn layers() -> Layers {
    match std::env::var("ODP_CAMPAIGN_LAYERS").as_deref() {
        Err(_) => Layers::Nothing,
        Ok("tls13") => Layers::Tls13,
        Ok("tls12") => Layers::Tls12,
        Ok("zlib") => Layers::Zlib,
        Ok("zstd") => Layers::Zstd,
        Ok("tls+zlib") => Layers::TlsAndZlib,
        Ok(other) => panic!("ODP_CAMPAIGN_LAYERS: {other}"),
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
}

fn open_bank(database: &Database) {
    let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {DEPOSIT})")).collect();
    let fill = format!("INSERT INTO bank VALUES {}", rows.join(","));
    database.execute(&[
        "SET GLOBAL local_infile = 1",
        "SET GLOBAL max_connections = 2000",
        "CREATE TABLE bank (id INT PRIMARY KEY, amount BIGINT) ENGINE=InnoDB",
        "CREATE TABLE transfers (worker INT, n BIGINT, PRIMARY KEY (worker, n)) ENGINE=InnoDB",
        &fill,
    ]);
}

/// No money has come or gone, and what was acknowledged is there.
fn audit(database: &Database, tallies: &[Tally], reference: &script::Reference) {
    let mut wire = database.admin();
    let total = wire.run("SELECT SUM(amount) FROM bank").text();
    assert_eq!(total, (ACCOUNTS * DEPOSIT).to_string(), "money came or went");
    let known: u64 = wire.run("SELECT COUNT(*) FROM transfers").text().parse().expect("a count");
    let made: u64 = tallies.iter().filter(|it| it.kind == Kind::Bank).map(|it| it.rounds).sum();
    assert_eq!(known, made + reference.transfers, "transfers that were acknowledged");
}
