//! `odp load`: what do clients feel while a proxy restarts?
//!
//! Real connections of several classes work against a proxy (any that speaks MySQL) while it is
//! asked to restart. Every answer is checked, every loss is counted once, and afterwards the books
//! of the bank are compared with its ledger. Exit 1 if anything was lost.
//!
//! ```text
//!   worker ── activity ── client ──→ tally ──→ outcome ──→ text, JSON, report
//!   restarts ── windows ───────────────┘
//! ```

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::admin_client::AdminPort;
use super::admin_client::access::{self, Password};
use super::admin_client::tls::{TlsArgs, Unsaid};
use crate::config::{ServerAddress, Span};

mod activity;
mod bank;
mod check;
mod client;
mod live;
mod mix;
mod outcome;
mod random;
mod report;
mod restarts;
mod tables;
mod tally;
mod target;
mod timeline;
mod trouble;
mod worker;

use bank::{Audit, Books};
use client::Run;
use mix::{Class, Mix};
use outcome::{Circumstances, Outcome};
use restarts::{How, Plan, Restart};
use tables::{Desk, Tables};
use tally::{ClientId, Tally};
use target::Target;

/// Statements a second where nothing else is said: enough to see a pause of a millisecond or two.
const RATE: u32 = 2000;
/// Connects at the same time; below the listen queue of any proxy.
const CONNECTS_AT_ONCE: usize = 64;
/// Connects that the whole connect class makes in a second. Far more would use up the ports of this
/// machine, each of which rests for a minute after it was used.
const CONNECTS_PER_SECOND: f64 = 100.0;
/// An idle client looks this often, or more seldom where there are thousands of them.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the clients may take to be all there; those that are not by then are troubles anyway.
const ASSEMBLY: Duration = Duration::from_secs(20);
/// How many descriptors the process needs beside those of its connections.
const DESCRIPTORS: u64 = 64;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  A minute against odp, with a restart every ten seconds, and a page about it:
    odp load --url mysql://app:secret@127.0.0.1:2883/test --duration 1m \\
        --restart-every 10s -a 127.0.0.1:2885 --report load.html
  What a reload of HAProxy costs:
    odp load --url mysql://app:secret@127.0.0.1:3307/test --duration 30s \\
        --restart-every 10s --restart-command 'systemctl reload haproxy'

Tables named odp_load_* are made in the database of the URL, and dropped at the end.
Exit code 0: nothing was lost. 1: something was, or a restart failed. 2: usage.";

/// Arguments of `odp load`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to connect: mysql://USER[:PASSWORD]@HOST[:PORT]/DATABASE. The password may come from
    /// ODP_LOAD_PASSWORD instead. By TLS with ?require_ssl=true; &verify_ca=false takes any
    /// certificate.
    #[arg(long, value_name = "URL")]
    url: Target,
    /// How many connections, all classes together.
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// How long; a restart that is under way at the end is waited for.
    #[arg(long, value_name = "D", default_value = "30s", value_parser = positive)]
    duration: Span,
    /// What they do, with weights: idle, select, transaction, prepared, result, bank, state,
    /// connect. A class that is not named gets none.
    #[arg(long, value_name = "CLASS=WEIGHT,…")]
    mix: Option<Mix>,
    /// Statements a second that the load aims at.
    #[arg(long, value_name = "N", default_value_t = RATE)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long the transactions of that class are held open, at most.
    #[arg(long, value_name = "D", default_value = "3s")]
    hold: Span,
    /// How long a connect or a statement may take; a connection that takes longer is lost.
    #[arg(long, value_name = "D", default_value = "10s", value_parser = positive)]
    timeout: Span,
    /// Ask for a restart this often.
    #[arg(long, value_name = "D", requires = "how", value_parser = positive)]
    restart_every: Option<Span>,
    /// The admin port of the proxy; of several, each is restarted, one after the other.
    #[arg(short, long, value_name = "HOST:PORT", group = "how", requires = "restart_every")]
    admin: Vec<ServerAddress>,
    /// Instead of an admin port: what restarts the proxy, given to `sh -c`.
    #[arg(long, value_name = "COMMAND", group = "how", requires = "restart_every")]
    restart_command: Option<String>,
    /// How long a restart may take.
    #[arg(long, value_name = "D", default_value = "2m")]
    restart_timeout: Span,
    /// How long after a restart what happens still counts as in it [default: 0s, 5s for a command].
    #[arg(long, value_name = "D")]
    settle: Option<Span>,
    /// The user on the admin port.
    #[arg(long, value_name = "USER", default_value = "root")]
    admin_user: String,
    /// The password on the admin port; better given as ODP_ADMIN_PASSWORD.
    #[arg(long, value_name = "PASSWORD")]
    admin_password: Option<Password>,
    /// Speak TLS with the admin port.
    #[arg(long)]
    admin_tls: bool,
    /// By TLS, certificates must be by one of these CAs (PEM), and for the host [default: by one
    /// that the world knows; on the admin port by any].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Write a page about the run.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What `odp demo` asks of the load; the rest is as it is by default.
pub(super) struct Demo {
    /// Where the proxy of the demo is, with the password.
    pub(super) url: String,
    /// Its admin port.
    pub(super) admin: String,
    pub(super) admin_password: String,
    pub(super) connections: u32,
    pub(super) duration: Span,
    pub(super) restart_every: Span,
    pub(super) report: Option<PathBuf>,
}

impl Args {
    /// The arguments of the load of a demo.
    pub(super) fn of_demo(demo: Demo) -> anyhow::Result<Self> {
        let address = |text: &str| text.parse().map_err(|error: String| anyhow::anyhow!(error));
        Ok(Self {
            url: demo.url.parse().map_err(|error: String| anyhow::anyhow!(error))?,
            connections: demo.connections,
            duration: demo.duration,
            mix: None,
            rate: RATE,
            hold: Span(Duration::from_secs(3)),
            timeout: Span(Duration::from_secs(10)),
            restart_every: Some(demo.restart_every),
            admin: vec![address(&demo.admin)?],
            restart_command: None,
            admin_tls: false,
            ca: None,
            restart_timeout: Span(Duration::from_secs(60)),
            settle: None,
            admin_user: "root".into(),
            admin_password: Some(Password(demo.admin_password)),
            report: demo.report,
            json: false,
        })
    }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    raise_descriptor_limit(u64::from(args.connections) + DESCRIPTORS)?;
    if let Some(report) = &args.report {
        // A run of an hour should not fail at its last step.
        std::fs::write(report, "").with_context(|| format!("report {}", report.display()))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(drive(&args));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let outcome = outcome?;
    let text = match args.json {
        true => format!("{}\n", serde_json::to_string_pretty(&outcome)?),
        false => outcome.to_string(),
    };
    // Who reads only the first lines has closed the pipe, which is no reason to complain.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if outcome.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prepares, loads, looks what came of it, and cleans up.
async fn drive(args: &Args) -> anyhow::Result<Outcome> {
    let password = std::env::var("ODP_LOAD_PASSWORD").ok();
    let target = args.url.clone().or_password(password).trusting(args.ca.as_deref())?;
    let plan = plan(args)?;
    // From here on Ctrl-C ends the load and not the process, which would leave its tables behind.
    let mut signals = Signals::new();
    let tables = Tables::new();
    tables
        .create(&target.opts(), args.timeout.0)
        .await
        .with_context(|| format!("{target}: preparing the tables"))?;
    let counts = args.mix.unwrap_or_default().share(args.connections as usize);
    let run = Arc::new(new_run(args, &target, tables, &counts));
    let restarts = load(&run, args.duration.0, plan, &counts, &mut signals).await;
    let duration = run.tally.measured();
    let audit = match counts[Class::Bank.index()] {
        0 => None,
        _ => Some(audit(&run).await.map_err(|error| format!("{error:#}"))),
    };
    if let Err(error) = run.tables.drop(&run.opts, run.deadline).await {
        eprintln!("odp load: dropping the tables {}_*: {error:#}", run.tables.prefix());
    }
    run.tally.absorb();
    let target = target.to_string();
    let around = Circumstances { target, duration, counts, restarts, audit };
    let merged = run.tally.merged();
    let outcome = Outcome::of(&merged, run.tally.journal(), around);
    if let Some(file) = &args.report {
        let page = report::page(&outcome, &run.tally.timeline(), &merged.statements());
        std::fs::write(file, page).with_context(|| format!("report {}", file.display()))?;
    }
    Ok(outcome)
}

fn new_run(
    args: &Args,
    target: &Target,
    tables: Tables,
    counts: &[usize; Class::ALL.len()],
) -> Run {
    let idle = counts[Class::Idle.index()];
    let connecting = counts[Class::Connect.index()];
    let active = counts.iter().sum::<usize>() - idle - connecting;
    Run {
        opts: target.opts(),
        database: target.database().to_owned(),
        tables,
        tally: Tally::start(args.duration.0),
        books: Books::default(),
        deadline: args.timeout.0,
        pause: Duration::from_secs_f64(active as f64 / f64::from(args.rate)),
        silence: SILENCE.max(Duration::from_millis(5 * idle as u64)),
        hold: args.hold.0,
        connect_pause: Duration::from_secs_f64(connecting as f64 / CONNECTS_PER_SECOND),
        stop: CancellationToken::new(),
        connects: Semaphore::new(CONNECTS_AT_ONCE),
    }
}

/// Lets all clients work for the duration, with restarts if there are to be any.
async fn load(
    run: &Arc<Run>,
    duration: Duration,
    plan: Option<Plan>,
    counts: &[usize; Class::ALL.len()],
    signals: &mut Signals,
) -> Vec<Restart> {
    let mut workers = JoinSet::new();
    let classes = Class::ALL.into_iter().zip(counts);
    let classes = classes.flat_map(|(class, count)| std::iter::repeat_n(class, *count));
    for (number, class) in classes.enumerate() {
        workers.spawn(worker::run(run.clone(), class, ClientId(number as u32)));
    }
    let live = tokio::spawn(live::run(run.clone()));
    let long_lived = counts.iter().sum::<usize>() - counts[Class::Connect.index()];
    tokio::select! {
        () = all_there(run, long_lived) => {}
        () = signals.next() => {}
    }
    run.tally.ready();
    let enough = CancellationToken::new();
    let restarts: Option<JoinHandle<Vec<Restart>>> =
        plan.map(|plan| tokio::spawn(restarts::run(run.clone(), plan, enough.clone())));
    tokio::select! {
        () = tokio::time::sleep(duration) => {}
        () = signals.next() => {}
    }
    enough.cancel();
    let restarts = match restarts {
        // Bounded by the deadline of a restart; a second Ctrl-C is for the impatient.
        Some(task) => tokio::select! {
            restarts = task => restarts.unwrap_or_default(),
            () = signals.next() => Vec::new(),
        },
        None => Vec::new(),
    };
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

fn plan(args: &Args) -> anyhow::Result<Option<Plan>> {
    let Some(Span(every)) = args.restart_every else { return Ok(None) };
    let how = match &args.restart_command {
        Some(command) => How::Command(command.clone()),
        None => How::Admin(admin_ports(args)?),
    };
    let settle = args.settle.map_or_else(
        || match how {
            How::Command(_) => Duration::from_secs(5),
            How::Admin(_) => Duration::ZERO,
        },
        |settle| settle.0,
    );
    Ok(Some(Plan { every, deadline: args.restart_timeout.0, settle, how }))
}

fn admin_ports(args: &Args) -> anyhow::Result<Vec<AdminPort>> {
    let tls = match args.admin_tls {
        true => TlsArgs::by(args.ca.as_deref()).opts(Unsaid::Tls)?,
        false => None,
    };
    let password = access::password(args.admin_password.as_ref());
    let port = |address: &ServerAddress| {
        AdminPort::new(address, &args.admin_user, password.clone(), tls.clone())
    };
    Ok(args.admin.iter().map(port).collect())
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

/// A duration that is not 0.
fn positive(text: &str) -> Result<Span, String> {
    match text.parse::<Span>()? {
        Span(Duration::ZERO) => Err(format!("'{text}': expected more than 0")),
        span => Ok(span),
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
