//! `odp load`: what do clients feel while a proxy restarts?
//!
//! Real connections of several classes work against a proxy (any that speaks MySQL) while it is
//! asked to restart. Every answer is checked, every loss is counted once, and afterwards the books
//! of the bank are compared with its ledger.
//!
//! ```text
//!   worker ── activity ── client ──→ tally ──→ outcome ──→ text, JSON, report
//!   restarts ── windows ───────────────┘
//!   moves: sessions are told to go on with another server; servers: who answered reads
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::chain;
use crate::{log, task};

mod activity;
mod bank;
mod books;
mod check;
mod client;
mod kill;
mod live;
mod mix;
mod moves;
mod outcome;
mod random;
mod report;
mod restarts;
mod rows;
mod run;
mod servers;
mod tables;
mod tally;
mod target;
mod timeline;
mod trouble;
mod worker;

use books::{Audit, Books};
pub(crate) use mix::Mix;
pub(crate) use moves::MovePlan;
pub(crate) use outcome::Outcome;
pub(crate) use restarts::{How, Plan};
pub(crate) use target::Target;

use mix::Class;
use moves::Moves;
use outcome::Circumstances;
use restarts::Restart;
use run::{ConnectionIds, Run};
use servers::Reads;
use tables::{Desk, Tables};
use tally::{ClientId, Tally};

/// Statements a second, where nothing else is said: enough to see a pause of a millisecond or two.
pub(crate) const RATE: u32 = 2000;
/// Connects at the same time; below the listen queue of any proxy.
const CONNECTS_AT_ONCE: usize = 64;
/// Connects that the whole connect class makes in a second. Far more would use up the ports of this
/// machine, each of which rests for a minute after it was used.
const CONNECTS_PER_SECOND: f64 = 100.0;
/// An idle client looks this often, or more seldom where there are thousands of them.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the clients may take to be all there; those that are not by then are troubles anyway.
const ASSEMBLY: Duration = Duration::from_secs(20);
/// How long replicas may take to have the tables, before the load begins.
const REPLICATION: Duration = Duration::from_secs(2);
/// How many descriptors the process needs beside those of its connections.
const DESCRIPTORS: u64 = 64;

/// What a load is to be.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Where to connect, with the password.
    pub(crate) target: Target,
    /// How many connections, all classes together.
    pub(crate) connections: u32,
    /// How long; a restart that is under way at the end is waited for.
    pub(crate) duration: Duration,
    /// What they do.
    pub(crate) mix: Mix,
    /// Statements a second that the load aims at.
    pub(crate) rate: u32,
    /// How long the transactions of that class are held open, at most.
    pub(crate) hold: Duration,
    /// How long a connect or a statement may take; a connection that takes longer is lost.
    pub(crate) timeout: Duration,
    /// The restarts, if there are to be any.
    pub(crate) plan: Option<Plan>,
    /// The moves, if there are to be any.
    pub(crate) moves: Option<MovePlan>,
    /// Where to write a page about the run.
    pub(crate) report: Option<PathBuf>,
}

/// Runs it, to the end of its report.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<Outcome> {
    raise_descriptor_limit(u64::from(settings.connections) + DESCRIPTORS)?;
    if let Some(report) = &settings.report {
        // A run of an hour should not fail at its last step.
        std::fs::write(report, "").with_context(|| format!("report {}", report.display()))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(drive(settings));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Prepares, loads, looks what came of it, and cleans up.
async fn drive(settings: &Settings) -> anyhow::Result<Outcome> {
    let target = &settings.target;
    // From here on Ctrl-C ends the load and not the process, which would leave its tables behind.
    let mut signals = Signals::new();
    let tables = Tables::new();
    tables
        .create(&target.opts(), settings.timeout)
        .await
        .with_context(|| format!("{target}: preparing the tables"))?;
    let counts = settings.mix.share(settings.connections as usize);
    if counts[Class::Own.index()] > 0 {
        let created = tables.create_own(&target.opts(), settings.timeout).await;
        created.with_context(|| format!("{target}: preparing the table of own writes"))?;
        tokio::time::sleep(REPLICATION).await;
    }
    let run = Arc::new(new_run(settings, tables, &counts));
    let restarts = load(&run, settings, &counts, &mut signals).await;
    let duration = run.tally.measured();
    let audit = match counts[Class::Bank.index()] {
        0 => None,
        _ => Some(audit(&run).await.map_err(|error| chain(error.as_ref()))),
    };
    if let Err(error) = run.tables.drop(&run.opts, run.deadline).await {
        let error = chain(error.as_ref());
        log::say(&format!("odp load: dropping the tables {}_*: {error}", run.tables.prefix()));
    }
    run.tally.absorb();
    let target = target.to_string();
    let (moved, servers) = (run.moves.as_ref().map(|moves| moves.moved()), run.reads.rows());
    let around = Circumstances { target, duration, counts, restarts, audit, moved, servers };
    let merged = run.tally.merged();
    let outcome = Outcome::of(&merged, run.tally.journal(), around);
    if let Some(file) = &settings.report {
        let page = report::page(&outcome, &run.tally.timeline(), &merged.statements());
        std::fs::write(file, page).with_context(|| format!("report {}", file.display()))?;
    }
    Ok(outcome)
}

fn new_run(settings: &Settings, tables: Tables, counts: &[usize; Class::ALL.len()]) -> Run {
    let idle = counts[Class::Idle.index()];
    let connecting = counts[Class::Connect.index()];
    let active = counts.iter().sum::<usize>() - idle - connecting;
    Run {
        opts: settings.target.opts(),
        database: settings.target.database().to_owned(),
        tables,
        tally: Tally::start(settings.duration),
        books: Books::default(),
        reads: Reads::default(),
        moves: settings.moves.as_ref().map(|_| Arc::<Moves>::default()),
        connection_ids: match settings.moves.is_some() || counts[Class::Own.index()] > 0 {
            true => ConnectionIds::MayChange,
            false => ConnectionIds::Stay,
        },
        deadline: settings.timeout,
        pause: Duration::from_secs_f64(active as f64 / f64::from(settings.rate)),
        silence: SILENCE.max(Duration::from_millis(5 * idle as u64)),
        hold: settings.hold,
        connect_pause: Duration::from_secs_f64(connecting as f64 / CONNECTS_PER_SECOND),
        stop: CancellationToken::new(),
        connects: Semaphore::new(CONNECTS_AT_ONCE),
    }
}

/// Lets all clients work for the duration, with restarts and moves if there are to be any.
async fn load(
    run: &Arc<Run>,
    settings: &Settings,
    counts: &[usize; Class::ALL.len()],
    signals: &mut Signals,
) -> Vec<Restart> {
    let mut workers = JoinSet::new();
    let classes = Class::ALL.into_iter().zip(counts);
    let classes = classes.flat_map(|(class, count)| std::iter::repeat_n(class, *count));
    for (number, class) in classes.enumerate() {
        workers.spawn(worker::run(run.clone(), class, ClientId(number as u32)));
    }
    let live = task::spawn("live line", live::run(run.clone()));
    let long_lived = counts.iter().sum::<usize>() - counts[Class::Connect.index()];
    tokio::select! {
        () = all_there(run, long_lived) => {}
        () = signals.next() => {}
    }
    run.tally.ready();
    let enough = CancellationToken::new();
    let restarts = settings
        .plan
        .clone()
        .map(|plan| task::spawn("restarts", restarts::run(run.clone(), plan, enough.clone())));
    let moves = run.moves.clone().zip(settings.moves.clone());
    let moves =
        moves.map(|(moves, plan)| task::spawn("moves", moves::run(moves, plan, enough.clone())));
    tokio::select! {
        () = tokio::time::sleep(settings.duration) => {}
        () = signals.next() => {}
    }
    enough.cancel();
    let restarts = match restarts {
        // Bounded by the deadline of a restart; a second Ctrl-C is for the impatient.
        Some(task) => tokio::select! {
            restarts = task => restarts.ok().and_then(Result::ok).unwrap_or_default(),
            () = signals.next() => Vec::new(),
        },
        None => Vec::new(),
    };
    if let Some(moves) = moves {
        tokio::select! {
            _ = moves => {}
            () = signals.next() => {}
        }
    }
    run.tally.over();
    run.stop.cancel();
    // Each client needs at most a few statements to end, and each of those has a deadline.
    let _ = tokio::time::timeout(run.deadline * 4, workers.join_all()).await;
    live.abort();
    live::end();
    restarts
}

/// Waits until all clients are connected, or for long enough.
async fn all_there(run: &Run, long_lived: usize) {
    let until = tokio::time::Instant::now() + ASSEMBLY;
    while run.tally.open_sessions() < long_lived as i64 && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Compares the books with the ledger.
async fn audit(run: &Run) -> anyhow::Result<Audit> {
    // A COMMIT whose client is gone may still be under way in the server.
    if run.tally.absorb().lost > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut desk = Desk::open(&run.opts, run.deadline).await?;
    let audit = run.books.audit(&mut desk, &run.tables).await?;
    desk.close().await;
    Ok(audit)
}

/// Ctrl-C and SIGTERM: both mean that the load is to end, look what it has done, and clean up.
struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Signals {
    fn new() -> Self {
        // Where a signal cannot be had, it ends the process as it always did.
        let signal = |kind| signal(kind).ok();
        let interrupt = signal(SignalKind::interrupt());
        Self { interrupt, terminate: signal(SignalKind::terminate()) }
    }

    /// Waits for the next one. Cancel safe.
    async fn next(&mut self) {
        async fn one(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = one(&mut self.interrupt) => {}
            () = one(&mut self.terminate) => {}
        }
    }
}

/// One descriptor a connection; the soft limit is often far below the hard one.
fn raise_descriptor_limit(needed: u64) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < needed {
        bail!("{needed} descriptors needed, and this process may have {hard} (ulimit -Hn)");
    }
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("RLIMIT_NOFILE")?;
    }
    Ok(())
}
