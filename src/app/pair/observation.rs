//! The keeper while a proxy lives: passes signals on, and ends a proxy that hangs.
//!
//! Invariant: nothing is opened but what /proc says of a proxy that seems to hang, for a moment, as
//! its table of descriptors is this one's as well.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::hang::{Hung, Watch};
use super::held::is_held;
use crate::journal::{Journal, Phase};

/// Who does not move for so long hangs.
const HANG: Duration = Duration::from_secs(10);

/// Between SIGABRT and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// A proxy that is watched.
pub(super) struct Observation<'a> {
    proxy: Pid,
    journal: &'a Journal,
    watch: Watch,
    is_told: bool,
    /// It hangs; then it is killed.
    kill_at: Option<Instant>,
}

impl<'a> Observation<'a> {
    /// It has just begun.
    pub(super) fn new(proxy: Pid, journal: &'a Journal) -> Self {
        let watch = Watch::new(hang(), Instant::now());
        Self { proxy, journal, watch, is_told: false, kill_at: None }
    }

    /// Until it is gone: how that ended, and whether it was told to stop.
    pub(super) fn watch(mut self, mine: &SigSet) -> (WaitStatus, bool) {
        loop {
            let due = self.kill_at.unwrap_or_else(|| self.watch.due());
            match wait(mine, due) {
                Some(Signal::SIGCHLD) => {
                    if let Some(status) = reap(self.proxy) {
                        return (status, self.is_told);
                    }
                }
                Some(signal) => self.pass_on(signal),
                None => {}
            }
            if Instant::now() >= due {
                self.look();
            }
        }
    }

    fn pass_on(&mut self, signal: Signal) {
        match signal {
            Signal::SIGHUP | Signal::SIGUSR2 => {
                if matches!(self.journal.phase(), Phase::Serving | Phase::Restarting) {
                    let _ = kill(self.proxy, signal);
                }
            }
            signal => {
                self.is_told = true;
                let _ = kill(self.proxy, signal);
            }
        }
    }

    fn look(&mut self) {
        if self.kill_at.is_some() {
            self.kill_at = Some(Instant::now() + GRACE);
            let _ = kill(self.proxy, Signal::SIGKILL);
            return;
        }
        let journal = self.journal;
        let now = Instant::now();
        let stands = (journal.phase(), journal.beats());
        let hung = self.watch.look(now, |at| journal.pulse(at), stands);
        if self.watch.is_slow() && is_held(self.proxy) {
            return self.watch.begin_again();
        }
        let worker = match hung {
            None => return,
            Some(Hung::Worker(worker)) => Some(worker),
            Some(Hung::Runtime) => None,
        };
        journal.note_hang(worker);
        self.kill_at = Some(now + GRACE);
        let _ = kill(self.proxy, Signal::SIGABRT);
    }
}

/// Waits; a signal that ends the process ends this one.
pub(super) fn rest(mine: &SigSet, pause: Duration) {
    let until = Instant::now() + pause;
    while Instant::now() < until {
        match wait(mine, until) {
            Some(Signal::SIGCHLD) => {
                let _ = reap(Pid::from_raw(0));
            }
            Some(signal @ (Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT)) => {
                std::process::exit(128 + signal as i32);
            }
            Some(_) | None => {}
        }
    }
}

/// A signal of these; None: none has come until then.
fn wait(mine: &SigSet, until: Instant) -> Option<Signal> {
    let left = until.saturating_duration_since(Instant::now());
    let left = libc::timespec {
        tv_sec: left.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(left.subsec_nanos()),
    };
    // SAFETY: both are there as long as the call takes.
    let signal =
        unsafe { libc::sigtimedwait(mine.as_ref(), std::ptr::null_mut(), &raw const left) };
    Signal::try_from(signal).ok()
}

/// How the proxy has ended, if it has; orphans that are left to us, too.
fn reap(proxy: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return None,
            Ok(status) if status.pid() == Some(proxy) => return Some(status),
            Ok(_) | Err(Errno::EINTR) => {}
            // It is nobody's child any more.
            Err(_) => return Some(WaitStatus::Exited(proxy, 1)),
        }
    }
}

#[cfg(not(feature = "crash-points"))]
fn hang() -> Duration {
    HANG
}

/// A test does not wait for so long: `ODP_HANG_MS` is less.
#[cfg(feature = "crash-points")]
fn hang() -> Duration {
    let set = std::env::var("ODP_HANG_MS").ok().and_then(|ms| ms.parse().ok());
    set.map_or(HANG, Duration::from_millis)
}
