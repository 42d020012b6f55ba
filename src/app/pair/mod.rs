//! `odp run` as a pair: the keeper, which was started, and its clone, the proxy.
//!
//! ```text
//!   keeper ─ clone ─► proxy              one table of descriptors, one journal
//!     │ ◄──── dies ─────┘                its sockets stay open: they are the keeper's as well
//!     └─ clone ─► proxy: takes up what the journal has
//! ```
//! The keeper has one thread, opens nothing, and starts nothing but proxies: each of them begins
//! where it stood at its own beginning. Signals go to the proxy.
//!
//! Invariant: a proxy that was told to stop, or is in a restart, or never served, is not replaced.

mod estate;
mod heritage;
mod service;
mod verdict;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::signal::{kill, sigaction, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::journal::{Death, Journal, Phase};
pub(super) use heritage::Heritage;
pub(super) use service::Pair;
use verdict::{Next, Verdict};

/// What the keeper passes on.
const PASSED_ON: [Signal; 5] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR2];

/// A proxy's part in its pair.
#[derive(Clone, Debug)]
pub(super) struct Life {
    journal: Arc<Journal>,
    /// The process.
    keeper: u32,
    kind: Kind,
}

/// Which one of a keeper's proxies it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The first one.
    First,
    /// One after a crash: it takes up the sessions of the one before.
    Heir,
    /// One after several crashes: whatever there was is closed.
    Afresh,
}

/// Divides the process: returns in each proxy. The keeper ends with its last proxy.
pub(super) fn divide(sessions: u32) -> anyhow::Result<Life> {
    let journal = Arc::new(Journal::new(sessions).context("cannot make a journal")?);
    let (mine, before) = block().context("cannot hold back signals")?;
    let keeper = std::process::id();
    let mut verdict = Verdict::default();
    let mut kind = Kind::First;
    loop {
        match clone() {
            Ok(None) => {
                sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)
                    .context("cannot let signals through")?;
                return Ok(Life { journal, keeper, kind });
            }
            Ok(Some(proxy)) => {
                let (status, is_told) = watch(&mine, proxy, &journal);
                note(&journal, proxy, status);
                match verdict.on(status, journal.phase(), is_told, Instant::now()) {
                    Next::Exit(code) => std::process::exit(code),
                    Next::Again(next) => kind = next,
                }
                // Until it serves, orders that come too early must not end it.
                journal.set_phase(Phase::Resuming);
            }
            Err(error) => return Err(error).context("cannot start the proxy"),
        }
    }
}

/// Holds back what is passed on; the masks of now and before.
fn block() -> nix::Result<(SigSet, SigSet)> {
    extern "C" fn nothing(_: libc::c_int) {}
    let mut mine = SigSet::empty();
    PASSED_ON.into_iter().chain([Signal::SIGCHLD]).for_each(|signal| mine.add(signal));
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mine), Some(&mut before))?;
    // Who looks whether we hear these two is to find that we do; a proxy that starts ignores them.
    let heard = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGHUP, Signal::SIGUSR2] {
        // SAFETY: the handler does nothing at all.
        unsafe { sigaction(signal, &heard) }?;
    }
    Ok((mine, before))
}

/// A process that goes on here with the same descriptors: None in it, its pid in the keeper.
fn clone() -> nix::Result<Option<Pid>> {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: as fork(2) but for the table of descriptors. There is one thread, so no lock is held
    // that nobody would open; what the C library believes to be the thread's id is the keeper's,
    // which this thread never asks for: all that a proxy does it does in others.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    let pid = Errno::result(pid)?;
    Ok((pid != 0).then(|| Pid::from_raw(pid as i32)))
}

/// Passes signals on until the proxy is gone: how that ended, and whether it was told to stop.
fn watch(mine: &SigSet, proxy: Pid, journal: &Journal) -> (WaitStatus, bool) {
    let mut is_told = false;
    loop {
        // Only of others' making is an error of these: it is looked again.
        match mine.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(status) = reap(proxy) {
                    return (status, is_told);
                }
            }
            Ok(signal @ (Signal::SIGHUP | Signal::SIGUSR2)) => {
                if matches!(journal.phase(), Phase::Serving | Phase::Restarting) {
                    let _ = kill(proxy, signal);
                }
            }
            Ok(signal) => {
                is_told = true;
                let _ = kill(proxy, signal);
            }
            Err(_) => {}
        }
    }
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

fn note(journal: &Journal, proxy: Pid, status: WaitStatus) {
    let status = match status {
        WaitStatus::Signaled(_, signal, _) => signal as i32,
        WaitStatus::Exited(_, code) => code << 8,
        _ => return,
    };
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let pid = proxy.as_raw().unsigned_abs();
    let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    journal.note_death(Death { at_ms, pid, status, ..Death::default() });
}
