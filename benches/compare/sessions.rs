//! Many sessions: what an idle one holds, and what a new one costs.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::machine::Database;
use crate::process::{Usage, resident_kib};
use crate::proxies::Kind;
use crate::{Figures, Outcome, Scale, joined};

/// How many sessions are idle.
const IDLE: usize = 5000;

/// Connections of a pool, and what it asks as soon as it is made.
const POOL: usize = 10;
const POOL_QUERIES: usize = 10_000;

/// How long memory has to settle.
const SETTLE: Duration = Duration::from_secs(2);

/// Resident memory of a session that has asked something and now waits.
pub(crate) fn idle(kind: &Kind, database: &Database, _: Scale) -> Outcome<Figures> {
    let proxy = kind.start(database)?;
    let Some(pid) = proxy.pid() else { return Ok(Vec::new()) };
    let fresh = resident_kib(pid)?;
    let mut clients = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut client = proxy.client()?;
        client.rows("SELECT 1")?;
        clients.push(client);
    }
    std::thread::sleep(SETTLE);
    let held = resident_kib(pid)?;
    let figures = vec![
        ("fresh KiB", fresh as f64),
        ("KiB/session", held.saturating_sub(fresh) as f64 / IDLE as f64),
    ];
    clients.into_iter().try_for_each(Client::quit)?;
    // The database ends a thread a session; that is not for the next one to pay.
    let mut observer = database.client()?;
    crate::process::wait_for("sessions end", Duration::from_secs(30), || {
        let left = observer.number("SHOW GLOBAL STATUS LIKE 'Threads_connected'")?;
        if left < 5.0 { Ok(()) } else { Err(format!("{left} left").into()) }
    })?;
    Ok(figures)
}

/// Connect, log in, one query, goodbye; some at a time.
pub(crate) fn connects_8(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    connects(8, kind, database, scale)
}

/// The same of more.
pub(crate) fn connects_64(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    connects(64, kind, database, scale)
}

fn connects(at_once: usize, kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    let window = scale.window;
    let proxy = kind.start(database)?;
    let before = proxy.pid().map(Usage::of).transpose()?;
    let start = Instant::now();
    let total = connects_until(start + window, at_once, || {
        let mut client = proxy.client()?;
        client.rows("SELECT 1")?;
        client.quit()
    })? as f64;
    let elapsed = start.elapsed().as_secs_f64();
    let after = proxy.pid().map(Usage::of).transpose()?;
    let mut figures = vec![("connects/s", total / elapsed)];
    if let (Some(before), Some(after)) = (before, after) {
        figures.push(("CPU us/connect", after.since(before).cpu.as_secs_f64() * 1e6 / total));
    }
    Ok(figures)
}

/// A pool opens all its connections at once, and small queries are asked over them.
pub(crate) fn pool_grows(kind: &Kind, database: &Database, _: Scale) -> Outcome<Figures> {
    let proxy = kind.start(database)?;
    let before = proxy.pid().map(Usage::of).transpose()?;
    let start = Instant::now();
    let left = AtomicUsize::new(POOL_QUERIES);
    let ask = || {
        let mut client = proxy.client()?;
        while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            client.rows("SELECT 1")?;
        }
        client.quit()
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..POOL).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().try_for_each(joined)
    })?;
    let elapsed = start.elapsed().as_secs_f64();
    let after = proxy.pid().map(Usage::of).transpose()?;
    let mut figures = vec![("ms", elapsed * 1e3)];
    if let (Some(before), Some(after)) = (before, after) {
        figures.push(("CPU ms", after.since(before).cpu.as_secs_f64() * 1e3));
    }
    Ok(figures)
}

/// Many at a time connect, and leave, again and again; how often they did.
pub(crate) fn connects_until(
    end: Instant,
    at_once: usize,
    connect_and_leave: impl Fn() -> Outcome<()> + Sync,
) -> Outcome<u64> {
    let connector = || {
        let mut connects = 0;
        while Instant::now() < end {
            connect_and_leave()?;
            connects += 1;
        }
        Ok(connects)
    };
    std::thread::scope(|scope| {
        let connectors: Vec<_> = (0..at_once).map(|_| scope.spawn(connector)).collect();
        connectors.into_iter().map(joined).sum()
    })
}
