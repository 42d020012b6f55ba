//! Large results: CPU per byte, and how much memory they take.

use std::time::Instant;

use crate::machine::Database;
use crate::process::{Usage, peak_kib, reset_peak, resident_kib};
use crate::proxies::Kind;
use crate::{Figures, Outcome, Scale};

pub(crate) fn large_rows(kind: &Kind, database: &Database, _: Scale) -> Outcome<Figures> {
    result(kind, database, "SELECT REPEAT('x', 1000000) FROM sbtest.seq_1_to_1074")
}

pub(crate) fn small_rows(kind: &Kind, database: &Database, _: Scale) -> Outcome<Figures> {
    result(kind, database, "SELECT REPEAT('x', 100) FROM sbtest.seq_1_to_2000000")
}

fn result(kind: &Kind, database: &Database, sql: &str) -> Outcome<Figures> {
    let proxy = kind.start(database)?;
    let mut client = proxy.client()?;
    client.rows("SELECT 1")?;
    let Some(pid) = proxy.pid() else {
        let start = Instant::now();
        let bytes = client.drain(sql)?;
        return Ok(vec![("MB/s", bytes as f64 / 1e6 / start.elapsed().as_secs_f64())]);
    };
    let resident = resident_kib(pid)?;
    reset_peak(pid)?;
    let (before, start) = (Usage::of(pid)?, Instant::now());
    let bytes = client.drain(sql)? as f64;
    let elapsed = start.elapsed().as_secs_f64();
    let used = Usage::of(pid)?.since(before);
    Ok(vec![
        ("MB/s", bytes / 1e6 / elapsed),
        ("CPU ns/KiB", used.cpu.as_secs_f64() * 1e9 * 1024.0 / bytes),
        ("peak KiB above idle", peak_kib(pid)?.saturating_sub(resident) as f64),
    ])
}
