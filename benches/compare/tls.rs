//! Clients by TLS 1.3: what a query, a byte and a handshake cost the proxy that ends it.
//!
//! The same client asks, with and without TLS, so that a proxy is compared with itself, too. The
//! server is reached without.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::machine::Database;
use crate::process::Usage;
use crate::proxies::{Kind, Proxy};
use crate::sessions::connects_until;
use crate::{Figures, Outcome, Scale, joined};

/// Clients that ask at the same time.
const CLIENTS: usize = 16;

/// Clients that shake hands at the same time.
const CONNECTORS: usize = 8;

/// Before counting starts.
const WARM_UP: Duration = Duration::from_millis(500);

pub(crate) fn queries(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    let mut figures = Figures::new();
    for (tls, name) in [(false, "CPU us/query, plain"), (true, "CPU us/query, TLS")] {
        let Some((proxy, pid)) = started(kind, database, tls)? else { return Ok(Vec::new()) };
        let mut observer = database.client()?;
        let is_over = AtomicBool::new(false);
        let per_query = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|n| {
                    let (proxy, is_over) = (&proxy, &is_over);
                    scope.spawn(move || ask(proxy, n, is_over))
                })
                .collect();
            std::thread::sleep(WARM_UP);
            let measured = (|| {
                let count = "SHOW GLOBAL STATUS LIKE 'Questions'";
                let (before, first) = (Usage::of(pid)?, observer.number(count)?);
                std::thread::sleep(scale.window);
                let (after, last) = (Usage::of(pid)?, observer.number(count)?);
                Ok(after.since(before).cpu.as_secs_f64() * 1e6 / (last - first))
            })();
            is_over.store(true, Ordering::Relaxed);
            clients.into_iter().try_for_each(joined).and(measured)
        })?;
        figures.push((name, per_query));
    }
    Ok(figures)
}

fn ask(proxy: &Proxy, n: usize, is_over: &AtomicBool) -> Outcome<()> {
    let mut client = proxy.client()?;
    let mut id = n * 1000;
    while !is_over.load(Ordering::Relaxed) {
        id = (id * 31 + 17) % 25_000 + 1;
        client.rows(&format!("SELECT c FROM sbtest.sbtest1 WHERE id = {id}"))?;
    }
    client.quit()
}

pub(crate) fn large_result(kind: &Kind, database: &Database, _: Scale) -> Outcome<Figures> {
    let mut figures = Figures::new();
    for (tls, name) in [(false, "MB per CPU second, plain"), (true, "MB per CPU second, TLS")] {
        let Some((proxy, pid)) = started(kind, database, tls)? else { return Ok(Vec::new()) };
        let mut client = proxy.client()?;
        client.rows("SELECT 1")?;
        let before = Usage::of(pid)?;
        let bytes = client.drain("SELECT REPEAT('x', 1000000) FROM sbtest.seq_1_to_1074")?;
        let used = Usage::of(pid)?.since(before);
        figures.push((name, bytes as f64 / 1e6 / used.cpu.as_secs_f64()));
    }
    Ok(figures)
}

/// Connect, full handshake, log in, goodbye. What the same costs without TLS is taken off, as a
/// log-in is more for a proxy that takes part in it.
pub(crate) fn handshakes(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    let mut costs = [0.0; 2];
    for tls in [false, true] {
        let Some((proxy, pid)) = started(kind, database, tls)? else { return Ok(Vec::new()) };
        let (before, end) = (Usage::of(pid)?, Instant::now() + scale.window);
        let count = connects_until(end, CONNECTORS, || proxy.client()?.quit())?;
        let used = Usage::of(pid)?.since(before);
        costs[usize::from(tls)] = used.cpu.as_secs_f64() * 1e6 / count as f64;
    }
    let [plain, tls] = costs;
    Ok(vec![
        ("CPU us/connect, plain", plain),
        ("CPU us/connect, TLS", tls),
        ("CPU us/handshake", tls - plain),
        ("connects by TLS per CPU second", 1e6 / tls),
    ])
}

/// None for who ends no TLS.
fn started(kind: &Kind, database: &Database, tls: bool) -> Outcome<Option<(Proxy, u32)>> {
    if !kind.ends_tls() {
        return Ok(None);
    }
    let proxy = if tls { kind.start_with_tls(database)? } else { kind.start(database)? };
    let pid = proxy.pid().ok_or("no process")?;
    Ok(Some((proxy, pid)))
}
