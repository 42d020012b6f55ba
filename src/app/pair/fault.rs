//! Deadly signals: whether somebody has sent one, or a thread has brought it upon itself.
//!
//! The handler writes that down and lets the signal do what it did before. Invariant: nothing here
//! takes memory or a lock, as it runs wherever the process was.

use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::journal::{Journal, Origin};

/// What a process does to itself.
pub(super) const DEADLY: [Signal; 7] = [
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGSEGV,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// Where it is written down.
static JOURNAL: OnceLock<Arc<Journal>> = OnceLock::new();

/// What was done with them before.
static BEFORE: OnceLock<[SigAction; DEADLY.len()]> = OnceLock::new();

/// From now on it is written down.
pub(super) fn note_down(journal: &Arc<Journal>) -> nix::Result<()> {
    if JOURNAL.set(journal.clone()).is_err() {
        return Ok(());
    }
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let handler = SigAction::new(SigHandler::SigAction(handle), flags, SigSet::empty());
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    let mut before = [default; DEADLY.len()];
    for (signal, before) in DEADLY.into_iter().zip(&mut before) {
        // SAFETY: the handler makes system calls and stores, and takes neither memory nor locks.
        *before = unsafe { sigaction(signal, &handler) }?;
    }
    let _ = BEFORE.set(before);
    Ok(())
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a siginfo_t to a handler with SA_SIGINFO; of a signal that was sent
    // it has the sender's pid.
    let (is_sent, sender) = unsafe { ((*info).si_code <= 0, (*info).si_pid()) };
    // SAFETY: these two only ask.
    let (own, thread) = unsafe { (libc::getpid(), libc::syscall(libc::SYS_gettid)) };
    let from = if is_sent && sender != own { Origin::Outside } else { Origin::Thread };
    JOURNAL.get().into_iter().for_each(|journal| journal.note_signal(from));
    let place = DEADLY.iter().position(|it| *it as libc::c_int == signal);
    let before = place.and_then(|place| Some(BEFORE.get()?[place]));
    // What was done before is right for what the thread does once more; not for what was sent, as
    // the one of Rust's runtime takes a first one for nothing.
    let next = before
        .filter(|_| !is_sent)
        .unwrap_or_else(|| SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty()));
    let Ok(name) = Signal::try_from(signal) else { return };
    let kept = Errno::last_raw();
    // SAFETY: what is put in place was there before, or is the default.
    let _ = unsafe { sigaction(name, &next) };
    if is_sent {
        // SAFETY: it is for this thread, which gets it when the handler returns. Not raise(3): what
        // the C library takes for the main thread's id is the keeper's.
        unsafe { libc::syscall(libc::SYS_tgkill, own, thread, signal) };
    }
    Errno::set_raw(kept);
}
