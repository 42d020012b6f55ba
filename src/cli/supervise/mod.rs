//! `odp supervise`: PID 1 of a container. Starts `odp run`, reaps, passes signals on.
//!
//! A restart makes the successor a child of its predecessor; when that exits, the successor becomes
//! a child of this process, which is a subreaper even where it is not PID 1:
//! ```text
//!  Serving(P) ──P exits, a generation S is left──► Serving(S)
//!      │ ──P crashes, nobody is left──► pause ──► Serving(new)      at most `--restarts` in a row
//!      │ ──P exits 0, nobody is left──► the end, its status
//!      └─ SIGTERM, SIGINT, SIGQUIT ──► stopping: all are told, `--grace`, SIGKILL ──► the end
//! ```
//! Invariant: it has one thread (and the log's), no socket and no part in a handover, so that it
//! has no reason to fail: whatever happens to a generation, the container stays.

mod backoff;
mod processes;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal as Arrivals, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::config::LogSection;
use crate::{log, task};
use backoff::Backoff;

/// How long killed processes may take to be gone.
const LONGEST_DEATH: Duration = Duration::from_secs(5);

/// How often stopping generations are looked for: one may have been started meanwhile.
const STOP_POLL: Duration = Duration::from_millis(200);

/// `odp run` ended because of its command line: another start would end the same way.
const USAGE: i32 = 2;

/// Arguments of `odp supervise`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file, for `odp run -c FILE`.
    #[arg(short, long, value_name = "FILE", required_unless_present = "rest")]
    config: Option<PathBuf>,
    /// How long a stop may take before SIGKILL. More than `delay_exit_time`, less than the
    /// container's own grace.
    #[arg(long, value_name = "D", default_value = "25s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// How many crashes in a row are answered by a new start.
    #[arg(long, value_name = "N", default_value_t = 5)]
    restarts: u32,
    /// The program to run instead of this one.
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Further arguments of `odp run`.
    #[arg(last = true, value_name = "ARGS")]
    rest: Vec<OsString>,
}

/// Runs the command; exits as the last generation did.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Both before anything is started: an orphan has to come here.
    nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
    let _log = log::start(&LogSection::default()).context("cannot start the log")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    task::see_through(runtime.context("cannot start the runtime")?, supervise(args))
}

async fn supervise(args: Args) -> anyhow::Result<ExitCode> {
    // Taken now: after an upgrade the link would name a deleted file.
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("cannot tell the path of this program")?,
    };
    let mut supervisor = Supervisor {
        signals: Signals::new().context("cannot listen for signals")?,
        backoff: Backoff::new(args.restarts),
        program,
        args,
        serving: Pid::from_raw(0),
        started: Instant::now(),
    };
    supervisor.start()?;
    let code = loop {
        match supervisor.live().await {
            Ending::Last(code) => break code,
            Ending::Crash(code) => match supervisor.backoff.pause(supervisor.started.elapsed()) {
                Some(pause) => {
                    tracing::warn!(code, ?pause, "the proxy crashed; starting it again");
                    if supervisor.signals.stop_within(pause).await {
                        break code;
                    }
                    supervisor.start()?;
                }
                None => {
                    tracing::error!(code, "the proxy crashed too often; giving up");
                    break code;
                }
            },
        }
    };
    tracing::info!(code, "the last generation is gone; leaving");
    Ok(ExitCode::from(code))
}

/// How there came to be no generation any more; the exit code that says so.
enum Ending {
    /// It was meant to end.
    Last(u8),
    /// Nobody wanted that.
    Crash(u8),
}

/// What has arrived.
enum Event {
    Child,
    Forward(Signal),
    Stop(Signal),
}

struct Supervisor {
    args: Args,
    program: PathBuf,
    signals: Signals,
    backoff: Backoff,
    /// Our child, and not reaped, so the id is its own.
    serving: Pid,
    started: Instant,
}

impl Supervisor {
    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("run").stdin(Stdio::null());
        if let Some(config) = &self.args.config {
            command.arg("-c").arg(config);
        }
        command.args(&self.args.rest);
        // The manager outside knows this process as the main one; a MAINPID of in here misleads it.
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        let failed = || format!("cannot start {}", self.program.display());
        let child = command.spawn().with_context(failed)?;
        let pid = i32::try_from(child.id()).context("a process id that is none")?;
        // Whoever it is that ends, `reap` learns it; the handle is not needed.
        drop(child);
        self.serving = Pid::from_raw(pid);
        self.started = Instant::now();
        tracing::info!(pid, "the proxy is started");
        Ok(())
    }

    /// Until there is no generation.
    async fn live(&mut self) -> Ending {
        loop {
            match self.signals.next().await {
                Event::Child => {
                    if let Some(ending) = self.handle_deaths() {
                        return ending;
                    }
                }
                Event::Forward(signal) => self.forward(signal),
                Event::Stop(signal) => return Ending::Last(self.stop(signal).await),
            }
        }
    }

    fn handle_deaths(&mut self) -> Option<Ending> {
        let reaped = reap(self.serving);
        let code = reaped.served?;
        if self.follow() {
            return None;
        }
        // A successor that died meanwhile has the last word.
        let code = reap(self.serving).other.or(reaped.other).filter(|_| code == 0).unwrap_or(code);
        let is_meant = code == 0 || i32::from(code) == USAGE;
        Some(if is_meant { Ending::Last(code) } else { Ending::Crash(code) })
    }

    /// Goes over to the successor that the serving generation has left, if it has.
    fn follow(&mut self) -> bool {
        let Some(successor) = processes::children().into_iter().rfind(|&pid| is_ours(pid)) else {
            return false;
        };
        tracing::info!(predecessor = %self.serving, %successor, "a successor serves");
        self.serving = successor;
        self.started = Instant::now();
        true
    }

    /// Only to a process that has a handler: to others SIGHUP and SIGUSR2 are deadly, and one that
    /// is just starting has the newest config and needs no restart.
    fn forward(&self, signal: Signal) {
        if processes::handles(self.serving, signal) {
            tell(self.serving, signal);
        } else {
            tracing::warn!(%signal, pid = %self.serving, "the proxy is not ready for it; ignored");
        }
    }

    /// Tells all generations, waits, kills; the status of the one that served.
    async fn stop(&mut self, signal: Signal) -> u8 {
        let until = Instant::now() + self.args.grace;
        let mut told = BTreeSet::new();
        let mut code = None;
        tracing::info!(%signal, grace = ?self.args.grace, "stopping");
        while Instant::now() < until {
            let served = reap(self.serving).served;
            code = served.or(code);
            if served.is_some() {
                self.follow();
            }
            let left: Vec<Pid> =
                processes::descendants().into_iter().filter(|&pid| is_ours(pid)).collect();
            if left.is_empty() {
                // It may have died between the two looks.
                return reap(self.serving).served.or(code).unwrap_or(0);
            }
            for pid in left.into_iter().filter(|&pid| told.insert(pid)) {
                tell(pid, signal);
            }
            // A stop that is asked for again changes nothing; every arrival is a reason to look.
            let _ = timeout(STOP_POLL, self.signals.next()).await;
        }
        self.kill_all().await.or(code).unwrap_or(128 + Signal::SIGKILL as u8)
    }

    async fn kill_all(&mut self) -> Option<u8> {
        let until = Instant::now() + LONGEST_DEATH;
        let mut code = None;
        while Instant::now() < until {
            let left = processes::descendants();
            tracing::warn!(processes = left.len(), "the grace is over; killing");
            left.into_iter().for_each(|pid| tell(pid, Signal::SIGKILL));
            let reaped = reap(self.serving);
            code = reaped.served.or(code);
            if reaped.is_empty {
                break;
            }
            sleep(STOP_POLL / 10).await;
        }
        code
    }
}

/// A generation, as opposed to a preflight or a stray: it was started as `odp run`.
fn is_ours(pid: Pid) -> bool {
    processes::arguments(pid).iter().skip(1).any(|argument| argument == b"run")
}

fn tell(pid: Pid, signal: Signal) {
    match kill(pid, signal) {
        Ok(()) => tracing::info!(%pid, %signal, "signal passed on"),
        Err(error) => tracing::debug!(%pid, %signal, %error, "signal not passed on"),
    }
}

/// What reaping has brought.
struct Reaped {
    /// The exit code of the serving generation, if it has ended.
    served: Option<u8>,
    /// The exit code of another process, the last one that has failed.
    other: Option<u8>,
    /// Whether there is no child left.
    is_empty: bool,
}

/// Reaps all that have ended; several deaths may be one SIGCHLD.
fn reap(serving: Pid) -> Reaped {
    let (mut served, mut other) = (None, None);
    loop {
        let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code as u8),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as u8),
            Err(Errno::EINTR) => continue,
            Err(_) => return Reaped { served, other, is_empty: true },
            Ok(_) => return Reaped { served, other, is_empty: false },
        };
        tracing::debug!(%pid, code, "reaped");
        if pid == serving {
            served = Some(code);
        } else if code != 0 {
            other = Some(code);
        }
    }
}

struct Signals {
    child: Arrivals,
    hangup: Arrivals,
    restart: Arrivals,
    terminate: Arrivals,
    interrupt: Arrivals,
    quit: Arrivals,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            hangup: signal(SignalKind::hangup())?,
            restart: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Cancel safe.
    async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Stop(Signal::SIGTERM),
            _ = self.interrupt.recv() => Event::Stop(Signal::SIGINT),
            _ = self.quit.recv() => Event::Stop(Signal::SIGQUIT),
            _ = self.hangup.recv() => Event::Forward(Signal::SIGHUP),
            _ = self.restart.recv() => Event::Forward(Signal::SIGUSR2),
            _ = self.child.recv() => Event::Child,
        }
    }

    /// Whether a stop is asked for within this time.
    async fn stop_within(&mut self, pause: Duration) -> bool {
        let stop = async { while !matches!(self.next().await, Event::Stop(_)) {} };
        timeout(pause, stop).await.is_ok()
    }
}
