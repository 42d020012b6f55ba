//! The live line: one that renews itself on a terminal, a plain one every few seconds elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::outcome::{grouped, human};
use super::run::Run;
use super::tally::Totals;

/// How often the counters are gathered, which also keeps what is gathered small.
const TICK: Duration = Duration::from_millis(250);
/// A plain line comes every so many ticks.
const PLAIN: u64 = 20;

/// Writes lines to stderr until it is dropped.
pub(super) async fn run(run: Arc<Run>) {
    let terminal = std::io::stderr().is_terminal();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut number = 0_u64;
    let (mut last, mut last_at) = (Totals::default(), Duration::ZERO);
    let mut rate = 0.0;
    loop {
        // Cancel safe: a tick that is not taken comes again.
        ticks.tick().await;
        number += 1;
        let totals = run.tally.absorb();
        let now = run.tally.elapsed();
        if now - last_at >= Duration::from_secs(1) {
            rate = (totals.answers - last.answers) as f64 / (now - last_at).as_secs_f64();
            (last, last_at) = (totals, now);
        }
        if !terminal && !number.is_multiple_of(PLAIN) {
            continue;
        }
        let line = line(&run, totals, rate as u64);
        let (before, after) = if terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        // A closed stderr must not end the load.
        let _ = write!(std::io::stderr(), "{before}{line}{after}");
    }
}

/// Leaves the live line, so that what comes next begins on one of its own.
pub(super) fn end() {
    if std::io::stderr().is_terminal() {
        let _ = writeln!(std::io::stderr());
    }
}

fn line(run: &Run, totals: Totals, rate: u64) -> String {
    let p99 = run.tally.recent_p99().map_or("-".into(), |p99| human(p99.as_micros() as u64));
    let restarting = if run.tally.in_window() { "  RESTARTING" } else { "" };
    format!(
        "{:>6.1} s  {} open  {}/s  p99 {p99}  lost {}  refused {}  failed {}  wrong {}{restarting}",
        run.tally.elapsed().as_secs_f64(),
        run.tally.open_sessions(),
        grouped(rate),
        totals.lost,
        totals.connects_failed,
        totals.failed,
        totals.wrong,
    )
}
