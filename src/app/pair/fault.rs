//! Deadly signals: whether somebody has sent one, or a thread has brought it upon itself; and
//! panics, in case the process dies of them.
//!
//! Who is called writes that down and lets the signal, or the panic, do what it did before.
//! Invariant: nothing here takes memory or a lock, as it runs wherever the process was.

use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::journal::{Journal, Origin};
use crate::log::panic_text;

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
    note_panics();
    Ok(())
}

/// From now on panics are written down as well, before they are told of as they are now: to be
/// called whenever somebody else is to tell of them.
pub(in crate::app) fn note_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let says = Says(panic);
        if !says.is_consequence() {
            JOURNAL.get().into_iter().for_each(|journal| journal.note_panic(&says));
        }
        tell(panic);
    }));
}

/// A panic, as it is written down: its place and its text.
struct Says<'a>(&'a PanicHookInfo<'a>);

impl Says<'_> {
    fn text(&self) -> &str {
        panic_text(self.0).unwrap_or_default()
    }

    /// What Rust's runtime says when it aborts for a panic that must not leave a function, or the
    /// unwinding of another one: that one has said what is the matter.
    fn is_consequence(&self) -> bool {
        self.text().starts_with("panic in a ")
    }
}

impl fmt::Display for Says<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = unquoted(self.text());
        match self.0.location() {
            Some(place) => write!(f, "{place}: {text}"),
            None => f.write_str(text),
        }
    }
}

/// The first line up to where it quotes values, which may be a statement's text, or a secret.
fn unquoted(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    let quotes = ["\"", "[", " of `"].into_iter().filter_map(|quote| line.find(quote));
    let end = quotes.min().unwrap_or(line.len());
    line[..end].trim_end()
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a siginfo_t to a handler with SA_SIGINFO; of a signal that was sent
    // it has the sender's pid.
    let (is_sent, sender) = unsafe { ((*info).si_code <= 0, (*info).si_pid()) };
    // SAFETY: these two only ask.
    let (own, thread) = unsafe { (libc::getpid(), libc::syscall(libc::SYS_gettid)) };
    let from = match is_sent && sender != own {
        true => Origin::Outside,
        false if std::thread::panicking() => Origin::Panic,
        false => Origin::Thread,
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_quotes_is_left_out() {
        for (text, kept) in [
            ("index out of bounds: the len is 3 but the index is 5", None),
            ("called `Option::unwrap()` on a `None` value", None),
            ("assertion `left == right` failed: two\n  left: 1\n right: 2", {
                Some("assertion `left == right` failed: two")
            }),
            (
                "byte index 2 is out of bounds of `SELECT 'x'`",
                Some("byte index 2 is out of bounds"),
            ),
            ("a statement: Err(Unknown(\"SELECT 'x'\"))", Some("a statement: Err(Unknown(")),
            ("bytes: Err([83, 69])", Some("bytes: Err(")),
            ("", None),
        ] {
            assert_eq!(unquoted(text), kept.unwrap_or(text));
        }
    }
}
