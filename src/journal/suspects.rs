//! Which session a process may have died of.
//!
//! ```text
//!   a thread serves a session ─► its word names it ─► lets go of it: 0
//!             │ the process dies of something of its own, or hangs
//!             ▼
//!   a strike for the session ── another death ─► two: it is not served any more
//!             └─ it was served and lived ─► none
//! ```
//! A signal that somebody has sent, and nothing else, gives none. Where the thread is known that
//! has died, only its session is suspected. Invariant: what is said here is words in the journal
//! and nothing else, so that a handler of signals may write it, and a keeper without memory read
//! it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use super::deaths::SUSPECTS;
use super::layout::{self, STORE, WORKERS, halves, head, pair, slot};
use super::{Journal, Slot};

/// A slot that there is not: the session is not on record.
const NO_SLOT: u32 = 0;

/// In a slot's place: the session is being taken up again.
const IN_RECOVERY: u32 = 1 << 31;

/// Of a slot's strikes: the last one was given for its recovery.
const RECOVERY_STRIKE: u64 = 1 << 32;

/// As many deaths a session may be suspected of.
const MOST_STRIKES: u32 = 2;

/// What a thread is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The session.
    pub id: u32,
    /// Its slot, if it has one.
    pub slot: Option<u32>,
}

/// Deaths that a session may be to blame for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strikes(u64);

/// Where a deadly signal came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Another process has sent it.
    Outside,
    /// The thread that got it has raised it, or done what is punished by it.
    Thread,
    /// The same, and it panics.
    Panic,
}

/// What a process has died of, as words tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Nobody has said it.
    Unknown,
    /// See [`Origin::Outside`].
    Outside,
    /// See [`Origin::Thread`]; this one, if it is one that serves sessions.
    Thread(Option<usize>),
    /// See [`Origin::Panic`]; the same.
    Panic(Option<usize>),
    /// It did not move; this thread, if it is one.
    Hang(Option<usize>),
}

/// Whom a death is blamed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blame {
    /// Sessions; 0: none.
    pub suspects: [u32; SUSPECTS],
    /// Somebody else has sent the signal.
    pub is_from_outside: bool,
    /// It did not move any more.
    pub has_hung: bool,
    /// The thread that raised the signal was in a panic.
    pub has_panicked: bool,
}

/// A session is being served by this thread as long as this lives.
#[derive(Debug)]
pub struct Serving<'a> {
    journal: &'a Journal,
    worker: usize,
    /// Whoever serves one while it serves another, as at the start of a process, goes back to it.
    before: u64,
}

static THREADS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Which of the threads that serve sessions this one is; none yet.
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Journal {
    /// This thread serves a session from now on.
    #[inline]
    pub fn serve(&self, served: Served) -> Option<Serving<'_>> {
        self.enter_thread(word_of(served, 0))
    }

    /// The same for a session that is being taken up.
    pub fn recover(&self, served: Served) -> Option<Serving<'_>> {
        self.enter_thread(word_of(served, IN_RECOVERY))
    }

    #[inline]
    fn enter_thread(&self, word: u64) -> Option<Serving<'_>> {
        let worker = WORKER.get().unwrap_or_else(new_worker);
        if worker >= WORKERS {
            return None;
        }
        let served = self.memory.word(current(worker));
        let before = served.load(Ordering::Relaxed);
        served.store(word, STORE);
        let ticks = self.memory.word(current(worker) + 1);
        ticks.store(ticks.load(Ordering::Relaxed).wrapping_add(1), STORE);
        Some(Serving { journal: self, worker, before })
    }

    /// The runtime runs.
    pub fn beat(&self) {
        let beats = self.memory.word(head::BEATS);
        beats.store(beats.load(Ordering::Relaxed).wrapping_add(1), STORE);
    }

    /// How often it has said so.
    pub fn beats(&self) -> u64 {
        self.memory.get(head::BEATS).unwrap_or_default()
    }

    /// What a thread is at, in a word, and how often it was at something; a word of 0: at nothing.
    pub fn pulse(&self, worker: usize) -> (u64, u64) {
        let word = |at| self.memory.get(at).unwrap_or_default();
        (word(current(worker)), word(current(worker) + 1))
    }

    /// A deadly signal has come. For a handler of signals; whoever is first is right.
    pub fn note_signal(&self, from: Origin) {
        let worker = || WORKER.try_with(Cell::get).ok().flatten();
        let cause = match from {
            Origin::Outside => Cause::Outside,
            Origin::Thread => Cause::Thread(worker()),
            Origin::Panic => Cause::Panic(worker()),
        };
        self.note_cause(cause);
    }

    /// The process does not move and will be ended: this thread, or all of it.
    pub fn note_hang(&self, worker: Option<usize>) {
        self.note_cause(Cause::Hang(worker));
    }

    fn note_cause(&self, cause: Cause) {
        let word = self.memory.word(head::CAUSE);
        let _ = word.compare_exchange(0, cause.word(), Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The process is dead, by something of its own or not as far as its parent can tell: strikes
    /// for whoever it may have died of. Nobody serves anything then.
    pub fn blame(&self, is_of_its_own: bool) -> Blame {
        let cause = Cause::of(self.memory.word(head::CAUSE).swap(0, Ordering::AcqRel));
        self.memory.word(head::BEATS).store(0, STORE);
        let mut blame = Blame {
            is_from_outside: cause == Cause::Outside,
            has_hung: matches!(cause, Cause::Hang(_)),
            has_panicked: matches!(cause, Cause::Panic(_)),
            ..Blame::default()
        };
        let mut named = 0;
        for worker in 0..WORKERS {
            let (word, _) = self.pulse(worker);
            self.memory.word(current(worker)).store(0, STORE);
            if word == 0 || !cause.is_by(worker, is_of_its_own) {
                continue;
            }
            let (id, place) = halves(word);
            self.strike_at(id, place);
            if let Some(suspect) = blame.suspects.get_mut(named) {
                *suspect = id;
                named += 1;
            }
        }
        blame
    }

    /// One more for the session, which is served as it is being taken up, or otherwise.
    fn strike_at(&self, id: u32, place: u32) {
        let Some(index) = (place & !IN_RECOVERY).checked_sub(1).filter(|it| *it < self.slots)
        else {
            return;
        };
        if !self.is_live(index, id) {
            return;
        }
        let Strikes(before) = self.strikes(index);
        let recovery = if place & IN_RECOVERY == 0 { 0 } else { RECOVERY_STRIKE };
        let count = (before as u32).saturating_add(1);
        self.set_strikes(index, Strikes(u64::from(count) | recovery));
    }

    /// How many there are against the session in a slot.
    pub fn strikes(&self, index: u32) -> Strikes {
        Strikes(self.memory.get(layout::slot_at(index) + slot::STRIKES).unwrap_or_default())
    }

    /// A session was served and has lived. Its slot may be another one's meanwhile, who has not.
    pub fn acquit(&self, id: u32, index: u32) {
        if self.memory.get(layout::slot_at(index) + slot::ID) == Some(u64::from(id)) {
            self.set_strikes(index, Strikes::default());
        }
    }

    fn set_strikes(&self, index: u32, strikes: Strikes) {
        self.memory.word(layout::slot_at(index) + slot::STRIKES).store(strikes.0, STORE);
    }
}

impl Slot {
    /// One more for its session.
    pub fn strike(&self) {
        let id = self.journal.memory.get(layout::slot_at(self.index) + slot::ID);
        self.journal.strike_at(id.unwrap_or_default() as u32, self.index + 1);
    }
}

impl Strikes {
    /// Whether it is suspected of anything.
    pub fn is_suspect(self) -> bool {
        self.0 as u32 > 0
    }

    /// Whether it is not to be served any more.
    pub fn is_out(self) -> bool {
        self.0 as u32 >= MOST_STRIKES
    }

    /// Whether it is not even to be taken up for a last word.
    pub fn is_untouchable(self) -> bool {
        self.is_out() && (self.0 & RECOVERY_STRIKE != 0 || self.0 as u32 > MOST_STRIKES)
    }
}

impl Drop for Serving<'_> {
    #[inline]
    fn drop(&mut self) {
        self.journal.memory.word(current(self.worker)).store(self.before, STORE);
    }
}

impl Cause {
    fn word(self) -> u64 {
        let thread = |worker: Option<usize>| worker.map_or(0, |worker| worker as u32 + 1);
        match self {
            Self::Unknown => 0,
            Self::Outside => 1,
            Self::Thread(worker) => pair(thread(worker), 2),
            Self::Hang(worker) => pair(thread(worker), 3),
            Self::Panic(worker) => pair(thread(worker), 4),
        }
    }

    fn of(word: u64) -> Self {
        let (thread, kind) = halves(word);
        let worker = thread.checked_sub(1).map(|worker| worker as usize);
        match kind {
            1 => Self::Outside,
            2 => Self::Thread(worker),
            3 => Self::Hang(worker),
            4 => Self::Panic(worker),
            _ => Self::Unknown,
        }
    }

    /// Whether it may be by what this thread was at.
    fn is_by(self, worker: usize, is_of_its_own: bool) -> bool {
        match self {
            Self::Unknown => is_of_its_own,
            Self::Outside => false,
            Self::Thread(known) | Self::Hang(known) | Self::Panic(known) => known == Some(worker),
        }
    }
}

/// Where the word is of what a thread is at; its count is behind it.
fn current(worker: usize) -> usize {
    head::WORKERS + 2 * worker
}

fn word_of(Served { id, slot }: Served, flag: u32) -> u64 {
    pair(id, slot.map_or(NO_SLOT, |slot| slot + 1) | flag)
}

#[cold]
fn new_worker() -> usize {
    let worker = THREADS.fetch_add(1, Ordering::Relaxed) as usize;
    WORKER.set(Some(worker));
    worker
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::sync::Arc;

    use super::*;
    use crate::journal::{Commit, Counted, Leg, Stretch};

    fn live(journal: &Arc<Journal>, id: u32) -> (Slot, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("one")).expect("connects");
        let leg = Leg { fd: stream.as_fd(), counted: Counted::default(), is_layered: false };
        let mut slot = journal.enter(id, &[leg; 2], None).expect("a slot");
        let (lanes, counted) = (&[Stretch::default(); 2], &[Counted::default(); 2]);
        let commit = Commit { lanes, counted, cold: Some(b"state"), ..Commit::default() };
        slot.commit(&commit).expect("room");
        (slot, stream)
    }

    fn suspects(ids: &[u32]) -> [u32; SUSPECTS] {
        std::array::from_fn(|at| ids.get(at).copied().unwrap_or_default())
    }

    /// How a process dies while this thread serves a session.
    fn die(journal: &Journal, served: Served, cause: Option<Origin>, is_of_its_own: bool) -> Blame {
        std::mem::forget(journal.serve(served));
        cause.into_iter().for_each(|from| journal.note_signal(from));
        journal.blame(is_of_its_own)
    }

    #[test]
    fn who_was_served_is_blamed_for_what_nobody_has_sent() {
        let journal = Arc::new(Journal::new(8).expect("memory"));
        let (slot, _stream) = live(&journal, 7);
        let served = Served { id: 7, slot: Some(slot.index()) };
        let table = [
            (None, true, &[7][..], 1),
            (None, false, &[], 1),
            (Some(Origin::Outside), true, &[], 1),
            (Some(Origin::Thread), true, &[7], 2),
        ];
        for (cause, is_of_its_own, ids, strikes) in table {
            let blame = die(&journal, served, cause, is_of_its_own);
            assert_eq!(blame.suspects, suspects(ids), "{cause:?} {is_of_its_own}");
            assert_eq!(blame.is_from_outside, cause == Some(Origin::Outside));
            assert_eq!(journal.strikes(slot.index()), Strikes(strikes), "{cause:?}");
        }
        assert!(journal.strikes(slot.index()).is_out());
        assert!(!journal.strikes(slot.index()).is_untouchable());
        journal.acquit(8, slot.index());
        assert!(journal.strikes(slot.index()).is_suspect(), "it is another one's");
        journal.acquit(7, slot.index());
        assert!(!journal.strikes(slot.index()).is_suspect());
        assert_eq!(journal.blame(true), Blame::default(), "nobody is served any more");
    }

    #[test]
    fn only_the_thread_is_blamed_that_has_died_or_hangs() {
        let journal = Arc::new(Journal::new(8).expect("memory"));
        let ids = [11, 12];
        let own = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                std::mem::forget(journal.serve(Served { id: ids[0], slot: None }));
            });
            other.join().expect("it ends");
            std::mem::forget(journal.serve(Served { id: ids[1], slot: None }));
            journal.note_signal(Origin::Thread);
            journal.blame(true)
        });
        assert_eq!(own.suspects, suspects(&[12]));
        let own = WORKER.get().expect("it has served");
        std::mem::forget(journal.serve(Served { id: ids[1], slot: None }));
        journal.note_hang(Some(own));
        journal.note_signal(Origin::Outside);
        let hung = journal.blame(true);
        assert_eq!((hung.suspects, hung.has_hung), (suspects(&[12]), true));
    }

    /// A slot that is somebody else's meanwhile.
    #[test]
    fn a_strike_is_for_a_session_and_not_for_a_slot() {
        let journal = Arc::new(Journal::new(8).expect("memory"));
        let (slot, _stream) = live(&journal, 7);
        for served in [
            Served { id: 8, slot: Some(slot.index()) },
            Served { id: 7, slot: Some(7) },
            Served { id: 7, slot: Some(4000) },
        ] {
            die(&journal, served, None, true);
        }
        assert_eq!(journal.strikes(slot.index()), Strikes::default());
    }

    #[test]
    fn who_is_deadly_to_take_up_is_left_alone() {
        let journal = Arc::new(Journal::new(8).expect("memory"));
        let (slot, _stream) = live(&journal, 7);
        for is_out in [false, true] {
            std::mem::forget(journal.recover(Served { id: 7, slot: Some(slot.index()) }));
            assert_eq!(journal.blame(true).suspects, suspects(&[7]));
            assert_eq!(journal.strikes(slot.index()).is_untouchable(), is_out);
        }
    }

    #[test]
    fn who_lets_go_is_at_what_it_was_at_before() {
        let journal = Journal::new(8).expect("memory");
        let outer = journal.serve(Served { id: 1, slot: None });
        let worker = WORKER.get().expect("it serves");
        drop(journal.recover(Served { id: 2, slot: None }));
        assert_eq!(journal.pulse(worker), (pair(1, 0), 2));
        drop(outer);
        assert_eq!(journal.pulse(worker), (0, 2));
    }
}
