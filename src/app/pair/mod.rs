//! `odp run` as a pair: the keeper, which was started, and its clone, the proxy.
//!
//! ```text
//!   keeper ─ clone ─► proxy              one table of descriptors, one journal
//!     │ ◄──── dies ─────┘                its sockets stay open: they are the keeper's as well
//!     └─ clone ─► proxy: takes up what the journal has
//! ```
//! The keeper has one thread, takes no memory, and starts nothing but proxies: each of them begins
//! where it stood at its own beginning. Signals go to the proxy. A proxy that hangs is ended.
//!
//! Invariant: a proxy that was told to stop, or is in a restart, or never served, is not replaced.

mod estate;
mod fault;
mod hang;
mod held;
mod heritage;
mod memory;
mod observation;
mod service;
mod verdict;

use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::signal::{sigaction, sigprocmask};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::journal::{Blame, Death, Journal, Phase};
pub(super) use fault::note_panics;
pub(super) use heritage::Heritage;
use memory::Kills;
pub(super) use memory::Score;
use observation::{Observation, rest};
pub(super) use service::Pair;
use verdict::{Died, Next, PANICKED, Verdict};

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
    /// The keeper's descriptor for what processes are worth, and what it is worth itself.
    score: Option<(RawFd, i32)>,
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

/// Divides the process: returns in each proxy. The keeper ends with its last proxy. Without a score
/// whoever has more memory goes first, which is the proxy most of the time.
pub(super) fn divide(sessions: u32, score: Option<Score>) -> anyhow::Result<Life> {
    let journal = Arc::new(Journal::new(sessions).context("cannot make a journal")?);
    let (mine, before) = block().context("cannot hold back signals")?;
    let keeper = std::process::id();
    // People who look at processes are to tell the two apart.
    let _ = prctl::set_name(c"odp-keeper");
    let kills = Kills::look();
    let mut verdict = Verdict::default();
    let mut kind = Kind::First;
    loop {
        // It makes no difference before memory is short.
        let _ = score.as_ref().map(Score::raise);
        // A proxy closes what it finds open and knows nothing of.
        let kills_before = kills.count();
        let cloned = clone();
        if cloned != Ok(None) {
            let _ = score.as_ref().map(Score::restore);
        }
        match cloned {
            Ok(None) => {
                let _ = prctl::set_name(c"odp");
                sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)
                    .context("cannot let signals through")?;
                // What is closed here is closed for the keeper.
                let score = score.map(ManuallyDrop::new).map(|score| (score.fd(), score.own()));
                return Ok(Life { journal, keeper, kind, score });
            }
            Ok(Some(proxy)) => {
                let (status, is_told) = Observation::new(proxy, &journal).watch(&mine);
                let blame = journal.blame(is_of_its_own(status));
                note(&journal, proxy, status, blame);
                let phase = journal.phase();
                let is_for_memory =
                    kills_before.zip(kills.count()).is_some_and(|(then, now)| now > then);
                let died = Died { status, phase, is_told, blame, is_for_memory };
                match verdict.on(died, Instant::now()) {
                    Next::Exit(code) => std::process::exit(code),
                    Next::Again(next, pause) => {
                        kind = next;
                        rest(&mine, pause);
                    }
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

/// Whether nobody else need have had a hand in it.
fn is_of_its_own(status: WaitStatus) -> bool {
    matches!(status, WaitStatus::Signaled(_, signal, _) if fault::DEADLY.contains(&signal))
}

fn note(journal: &Journal, proxy: Pid, status: WaitStatus, blame: Blame) {
    let status = match status {
        WaitStatus::Signaled(_, signal, _) => signal as i32,
        WaitStatus::Exited(_, code) => code << 8,
        _ => return,
    };
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let pid = proxy.as_raw().unsigned_abs();
    let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    let Blame { suspects, has_hung, .. } = blame;
    let has_panicked = blame.has_panicked || status == PANICKED << 8;
    let how = Death { at_ms, pid, status, suspects, has_hung, has_panicked, ..Death::default() };
    journal.note_death(&how);
}
