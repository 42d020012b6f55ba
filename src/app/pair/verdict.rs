//! What becomes of a pair whose proxy has ended. Pure.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::Kind;
use crate::journal::{Blame, Phase};

/// Deaths that are further apart have nothing to do with each other.
const LOOP: Duration = Duration::from_secs(10);

/// So many within [`LOOP`] of which nobody knows why: it may be what the sessions have brought.
const AFRESH: usize = 3;

/// So many: it is not.
const HOPELESS: usize = 5;

/// So many are not far from one another by chance.
const SERIES: usize = 3;

/// Before the next proxy of a series, twice as long each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Deaths that are remembered; by then the pause is as long as it gets.
const MOST: usize = 8;

/// What a Rust program ends with that has panicked.
pub(super) const PANICKED: i32 = 101;

/// What the keeper does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Starts another proxy, after a pause.
    Again(Kind, Duration),
    /// Ends, with this code.
    Exit(i32),
}

/// How a proxy has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Died {
    /// What its parent is told.
    pub status: WaitStatus,
    /// Where it stood.
    pub phase: Phase,
    /// It was told to stop.
    pub is_told: bool,
    /// Whom that is blamed on.
    pub blame: Blame,
    /// The kernel has killed somebody of its control group meanwhile, as memory was short.
    pub is_for_memory: bool,
}

/// Remembers how often proxies have died.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The last one first.
    deaths: [Option<Death>; MOST],
}

/// One that may be of a series.
#[derive(Clone, Copy, Debug)]
struct Death {
    at: Instant,
    /// Somebody is suspected, who is not served for ever.
    has_suspect: bool,
    /// It was killed from outside before it served. That may be what it does to the machine, but
    /// not if the next one gets to serve.
    is_premature: bool,
}

impl Verdict {
    /// A proxy has ended like this.
    pub(super) fn on(&mut self, died: Died, now: Instant) -> Next {
        let Died { status, phase, is_told, blame, .. } = died;
        let (code, is_crash) = match status {
            // Whoever cannot begin with what another one served by has not been told to end.
            WaitStatus::Exited(_, code) => {
                (code, code == PANICKED || code != 0 && phase == Phase::Resuming)
            }
            WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, true),
            _ => (1, false),
        };
        let is_ours = matches!(phase, Phase::Serving | Phase::Resuming);
        if !is_crash || is_told || !is_ours {
            return Next::Exit(code);
        }
        let is_from_outside = died.is_from_outside();
        if phase == Phase::Serving {
            for death in &mut self.deaths {
                death.take_if(|death| death.is_premature);
            }
            if is_from_outside {
                return Next::Again(Kind::Heir, Duration::ZERO);
            }
        }
        self.deaths.rotate_right(1);
        let has_suspect = blame.suspects[0] != 0;
        self.deaths[0] = Some(Death { at: now, has_suspect, is_premature: is_from_outside });
        let (mut all, mut unexplained) = (0, 0);
        for Death { at, has_suspect, .. } in self.deaths.iter().flatten() {
            let is_recent = now.duration_since(*at) < LOOP;
            all += usize::from(is_recent);
            unexplained += usize::from(is_recent && !has_suspect);
        }
        let kind = match unexplained {
            HOPELESS.. => return Next::Exit(code),
            AFRESH.. => Kind::Afresh,
            _ => Kind::Heir,
        };
        let pause = match all {
            ..SERIES => Duration::ZERO,
            _ => SHORTEST_PAUSE * (1 << (all - SERIES)),
        };
        Next::Again(kind, pause)
    }
}

impl Died {
    /// Nothing within a process does that to it, short of all memory being gone.
    fn is_from_outside(&self) -> bool {
        let Self { status, blame, .. } = *self;
        let is_killed = match status {
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => !self.is_for_memory,
            WaitStatus::Signaled(_, Signal::SIGTERM, _) => true,
            _ => false,
        };
        blame.is_from_outside || is_killed && !blame.has_hung
    }
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

    const AGAIN: Next = Next::Again(Kind::Heir, Duration::ZERO);

    fn blamed_on(suspect: u32) -> Blame {
        let mut blame = Blame::default();
        blame.suspects[0] = suspect;
        blame
    }

    fn died(status: WaitStatus, phase: Phase) -> Died {
        let blame = Blame::default();
        Died { status, phase, is_told: false, blame, is_for_memory: false }
    }

    #[test]
    fn only_a_proxy_that_served_and_was_not_told_to_stop_is_replaced() {
        let table = [
            (killed(Signal::SIGKILL), Phase::Serving, false, AGAIN),
            (killed(Signal::SIGSEGV), Phase::Resuming, false, AGAIN),
            (killed(Signal::SIGABRT), Phase::Restarting, false, Next::Exit(134)),
            (killed(Signal::SIGKILL), Phase::Starting, false, Next::Exit(137)),
            (killed(Signal::SIGTERM), Phase::Serving, true, Next::Exit(143)),
            (exited(101), Phase::Serving, false, AGAIN),
            (exited(0), Phase::Serving, false, Next::Exit(0)),
            (exited(1), Phase::Starting, false, Next::Exit(1)),
            (exited(1), Phase::Serving, false, Next::Exit(1)),
            (exited(1), Phase::Resuming, false, AGAIN),
            (exited(1), Phase::Resuming, true, Next::Exit(1)),
            (exited(0), Phase::Resuming, false, Next::Exit(0)),
        ];
        for (status, phase, is_told, expected) in table {
            let died = Died { is_told, ..died(status, phase) };
            let next = Verdict::default().on(died, Instant::now());
            assert_eq!(next, expected, "{status:?} {phase:?} {is_told}");
        }
    }

    #[test]
    fn who_dies_again_and_again_starts_afresh_and_then_not_at_all() {
        let (mut verdict, begun) = (Verdict::default(), Instant::now());
        let mut die = |second| {
            let at = begun + Duration::from_secs(second);
            verdict.on(died(killed(Signal::SIGSEGV), Phase::Serving), at)
        };
        let all = [die(0), die(1), die(2), die(3), die(4)];
        let afresh = |ms| Next::Again(Kind::Afresh, Duration::from_millis(ms));
        assert_eq!(all, [AGAIN, AGAIN, afresh(100), afresh(200), Next::Exit(139)]);
        assert_eq!(die(30), AGAIN, "that is long ago");
    }

    #[test]
    fn who_never_gets_to_serve_is_not_tried_for_ever() {
        let (mut verdict, now) = (Verdict::default(), Instant::now());
        let all = [(); 5].map(|()| verdict.on(died(exited(1), Phase::Resuming), now));
        let afresh = |ms| Next::Again(Kind::Afresh, Duration::from_millis(ms));
        assert_eq!(all, [AGAIN, AGAIN, afresh(100), afresh(200), Next::Exit(1)]);
    }

    /// What takes all the memory may be what the sessions have brought, or every proxy.
    #[test]
    fn who_is_killed_for_memory_again_and_again_starts_afresh() {
        let (mut verdict, now) = (Verdict::default(), Instant::now());
        let died = died(killed(Signal::SIGKILL), Phase::Serving);
        let died = Died { is_for_memory: true, ..died };
        let all = [(); 5].map(|()| verdict.on(died, now));
        let afresh = |ms| Next::Again(Kind::Afresh, Duration::from_millis(ms));
        assert_eq!(all, [AGAIN, AGAIN, afresh(100), afresh(200), Next::Exit(137)]);
    }

    /// They are not served for ever, so it ends by itself; nobody else has to go for it.
    #[test]
    fn sessions_that_are_suspected_only_slow_it_down() {
        let (mut verdict, now) = (Verdict::default(), Instant::now());
        let mut die = |suspect| {
            let died = died(killed(Signal::SIGABRT), Phase::Serving);
            verdict.on(Died { blame: blamed_on(suspect), ..died }, now)
        };
        let after = |ms| Next::Again(Kind::Heir, Duration::from_millis(ms));
        let all = [die(1), die(1), die(2), die(2)];
        assert_eq!(all, [AGAIN, AGAIN, after(100), after(200)]);
        for suspect in 3..20 {
            die(suspect);
        }
        assert_eq!(die(20), after(3200));
    }

    /// An operator may; but who is killed before he serves may be what takes all the memory.
    #[test]
    fn who_is_killed_from_outside_is_not_to_blame() {
        let (mut verdict, now) = (Verdict::default(), Instant::now());
        let mut die = |phase| verdict.on(died(killed(Signal::SIGKILL), phase), now);
        for _ in 0..9 {
            assert_eq!(die(Phase::Serving), AGAIN);
        }
        let resuming = [(); 3].map(|()| die(Phase::Resuming));
        assert!(matches!(resuming[2], Next::Again(Kind::Afresh, _)));
        assert_eq!(die(Phase::Serving), AGAIN);
        for _ in 0..9 {
            assert_eq!(die(Phase::Resuming), AGAIN);
            assert_eq!(die(Phase::Serving), AGAIN, "the last one has got that far");
        }
        let sent = Blame { is_from_outside: true, ..Blame::default() };
        let mut abort = |blame| {
            verdict.on(Died { blame, ..died(killed(Signal::SIGABRT), Phase::Serving) }, now)
        };
        assert_eq!(abort(sent), AGAIN);
        let hung = Blame { has_hung: true, ..Blame::default() };
        let hung = [(); 3].map(|()| abort(hung));
        assert!(matches!(hung[2], Next::Again(Kind::Afresh, _)), "the keeper had a reason");
    }
}
