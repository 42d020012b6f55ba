//! What becomes of a pair whose proxy has ended. Pure.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::Kind;
use crate::journal::Phase;

/// Deaths that are further apart have nothing to do with each other.
const LOOP: Duration = Duration::from_secs(10);

/// So many within [`LOOP`]: it may be what the sessions have brought.
const AFRESH: usize = 3;

/// So many: it is not.
const HOPELESS: usize = 5;

/// What a Rust program ends with that has panicked.
const PANICKED: i32 = 101;

/// What the keeper does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Starts another proxy.
    Again(Kind),
    /// Ends, with this code.
    Exit(i32),
}

/// Remembers how often proxies have died.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    deaths: [Option<Instant>; HOPELESS],
}

impl Verdict {
    /// A proxy has ended like this, in this phase, told to stop or not.
    pub(super) fn on(
        &mut self,
        status: WaitStatus,
        phase: Phase,
        is_told: bool,
        now: Instant,
    ) -> Next {
        let (code, is_crash) = match status {
            WaitStatus::Exited(_, code) => (code, code == PANICKED),
            WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, true),
            _ => (1, false),
        };
        let is_ours = matches!(phase, Phase::Serving | Phase::Resuming);
        if !is_crash || is_told || !is_ours {
            return Next::Exit(code);
        }
        if is_from_outside(status) && phase == Phase::Serving {
            return Next::Again(Kind::Heir);
        }
        self.deaths.rotate_right(1);
        self.deaths[0] = Some(now);
        let recent = |at: &&Option<Instant>| at.is_some_and(|at| now.duration_since(at) < LOOP);
        match self.deaths.iter().filter(recent).count() {
            HOPELESS => Next::Exit(code),
            AFRESH.. => Next::Again(Kind::Afresh),
            _ => Next::Again(Kind::Heir),
        }
    }
}

/// Nothing within a process does that to it, short of all memory being gone.
fn is_from_outside(status: WaitStatus) -> bool {
    matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL | Signal::SIGTERM, _))
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;

    use super::*;

    fn killed(signal: Signal) -> WaitStatus {
        WaitStatus::Signaled(Pid::from_raw(2), signal, false)
    }

    fn exited(code: i32) -> WaitStatus {
        WaitStatus::Exited(Pid::from_raw(2), code)
    }

    #[test]
    fn only_a_proxy_that_served_and_was_not_told_to_stop_is_replaced() {
        let table = [
            (killed(Signal::SIGKILL), Phase::Serving, false, Next::Again(Kind::Heir)),
            (killed(Signal::SIGSEGV), Phase::Resuming, false, Next::Again(Kind::Heir)),
            (killed(Signal::SIGABRT), Phase::Restarting, false, Next::Exit(134)),
            (killed(Signal::SIGKILL), Phase::Starting, false, Next::Exit(137)),
            (killed(Signal::SIGTERM), Phase::Serving, true, Next::Exit(143)),
            (exited(101), Phase::Serving, false, Next::Again(Kind::Heir)),
            (exited(0), Phase::Serving, false, Next::Exit(0)),
            (exited(1), Phase::Starting, false, Next::Exit(1)),
        ];
        for (status, phase, is_told, expected) in table {
            let next = Verdict::default().on(status, phase, is_told, Instant::now());
            assert_eq!(next, expected, "{status:?} {phase:?} {is_told}");
        }
    }

    #[test]
    fn who_dies_again_and_again_starts_afresh_and_then_not_at_all() {
        let (mut verdict, begun) = (Verdict::default(), Instant::now());
        let mut die = |second| {
            let at = begun + Duration::from_secs(second);
            verdict.on(killed(Signal::SIGSEGV), Phase::Serving, false, at)
        };
        let all = [die(0), die(1), die(2), die(3), die(4)];
        let again = Next::Again;
        let expected = [
            again(Kind::Heir),
            again(Kind::Heir),
            again(Kind::Afresh),
            again(Kind::Afresh),
            Next::Exit(139),
        ];
        assert_eq!(all, expected);
        assert_eq!(die(30), Next::Again(Kind::Heir), "that is long ago");
    }

    /// An operator may; but who is killed before he serves may be what takes all the memory.
    #[test]
    fn who_is_killed_from_outside_is_not_to_blame() {
        let (mut verdict, now) = (Verdict::default(), Instant::now());
        let mut die = |phase| verdict.on(killed(Signal::SIGKILL), phase, false, now);
        for _ in 0..9 {
            assert_eq!(die(Phase::Serving), Next::Again(Kind::Heir));
        }
        let resuming = [(); 3].map(|()| die(Phase::Resuming));
        assert_eq!(resuming[2], Next::Again(Kind::Afresh));
    }
}
