//! What a dead process has left. It may have died between any two stores, so nothing is trusted:
//! not that a number is one of a socket, nor that a place is in the heap.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::libc;
use rustix::net::Shutdown;

use super::heap::{Heap, Place};
use super::layout::{
    self, Counted, DEATH, Death, Deaths, Hot, LEGS, Phase, RING, head, slot, state,
};
use super::standing::{Since, Use, is_still, stand};
use super::{Free, Journal, STATE_WORDS, Slot, Stretch, cookie, lock};
use crate::buffer::arena::Piece;

/// All that was left.
#[derive(Debug, Default)]
pub struct Left {
    /// Sessions, in no order.
    pub sessions: Vec<Found>,
    /// Sessions of which nothing is on record, or whose sockets are gone.
    pub unknown: u64,
    /// Sessions in the middle of what is not put on record.
    pub unprotected: u64,
    /// What was left beside sessions.
    pub estate: Option<Vec<u8>>,
    /// Sessions that are not even tried.
    pub given_up: u64,
    /// The highest id that a session had.
    pub highest_id: u32,
}

impl Left {
    /// All sessions are closed, whatever their state.
    pub fn give_up(&mut self) {
        for found in self.sessions.drain(..) {
            // Whoever reads what is there reads the end, and not that it was thrown away.
            for fd in &found.fds {
                let _ = rustix::net::shutdown(fd, Shutdown::Write);
            }
            self.given_up += 1;
        }
    }
}

/// A session on record.
#[derive(Debug)]
pub struct Found {
    /// Its id.
    pub id: u32,
    /// Its slot, which it may go on with.
    pub slot: Slot,
    /// Its sockets.
    pub fds: Vec<OwnedFd>,
    /// Its state at the last commit: what seldom changes.
    pub cold: Vec<u8>,
    /// It was given to another process.
    pub is_given: bool,
    /// What has become of it since.
    pub standing: Result<Standing, Since>,
}

/// How a session stands.
#[derive(Debug)]
pub struct Standing {
    /// The state that changes with each message.
    pub hot: [u64; STATE_WORDS],
    /// Client to servers, then each server to the client.
    pub lanes: Vec<Lane>,
    /// How far each connection was used.
    pub counted: Vec<Counted>,
}

/// One direction, with what was read into it and written from it since the last commit.
#[derive(Debug)]
pub struct Lane {
    /// Its buffer, if it has bytes.
    pub piece: Option<Piece>,
    /// Where they are.
    pub stretch: Stretch,
}

/// A slot as it was found.
struct Record {
    index: u32,
    id: u32,
    hot: Hot,
    number: u64,
    place: Place,
    fds: Vec<RawFd>,
    is_given: bool,
}

impl Slot {
    /// Whether nobody has used its session's sockets since the last commit.
    pub fn is_still(&self, fds: &[OwnedFd]) -> bool {
        let uses = self.journal.uses(self.index, fds).collect::<Vec<_>>();
        is_still(&self.hot, &uses)
    }

    /// What is on record of its session, whose task has lost its way but not its sockets, nor its
    /// buffers; None if that is not enough to go on with.
    pub fn revisit(mut self, fds: Vec<OwnedFd>, mut pieces: Vec<Piece>) -> Option<Found> {
        let Record { id, hot, fds: known, .. } = self.journal.record(self.index)?;
        if !self.is_live || !fds.iter().map(|fd| fd.as_raw_fd()).eq(known) {
            return None;
        }
        let cold = self.journal.memory.read(hot.at, hot.len)?;
        let standing = self.journal.standing(self.index, &hot, &fds, |place| {
            let at = pieces.iter().position(|piece| piece.place() == place)?;
            Some(pieces.swap_remove(at))
        });
        self.is_live = standing.is_ok();
        Some(Found { id, slot: self, fds, cold, is_given: false, standing })
    }
}

impl Journal {
    /// Takes over what the writer before has left, which is dead. To be called before anything is
    /// entered; slots that cannot be understood are free from then on.
    pub fn take_over(self: &Arc<Self>) -> Left {
        let mut left = Left {
            estate: self.estate(),
            highest_id: self.memory.get(head::HIGHEST_ID).unwrap_or_default() as u32,
            ..Left::default()
        };
        // Only these pages are there; looking at others would make them.
        let used = self.memory.get(head::USED).unwrap_or_default();
        let used = u32::try_from(used).unwrap_or(u32::MAX).min(self.slots);
        let mut free = Free { given_back: Vec::new(), untouched: used };
        let mut records: Vec<Record> = Vec::new();
        // No descriptor is two sessions'.
        let mut owned = HashSet::new();
        let mut given = Vec::new();
        for index in 0..used {
            let word = |at| self.memory.get(layout::slot_at(index) + at);
            match word(slot::STATE) {
                Some(state::LIVE) => match self
                    .record(index)
                    .filter(|record| record.fds.iter().all(|fd| owned.insert(*fd)))
                {
                    Some(record) => records.push(record),
                    None => {
                        left.unknown += 1;
                        self.forget(index, &mut free);
                    }
                },
                Some(state::GIVEN) => given.push(index),
                state => {
                    // It was used for something that is not on record.
                    left.unprotected += u64::from(state == Some(state::REGISTERING));
                    self.forget(index, &mut free);
                }
            }
        }
        // Who has come back is on record twice for a moment: where it lives counts.
        for index in given {
            let is_back = |record: &Record| records.iter().any(|it| it.id == record.id);
            match self.record(index).filter(|record| !is_back(record)) {
                Some(record) => records.push(Record { is_given: true, ..record }),
                None => self.forget(index, &mut free),
            }
        }
        let taken = records.iter().map(|record| record.place);
        let taken = taken.chain(self.current(head::ESTATES).map(|(_, place)| place)).collect();
        *lock(&self.heap) =
            Heap::without(layout::heap(self.slots), layout::arena(self.slots), taken);
        *lock(&self.free) = free;
        for record in records {
            match self.find(record) {
                Some(found) => left.sessions.push(found),
                None => left.unknown += 1,
            }
        }
        left
    }

    fn estate(&self) -> Option<Vec<u8>> {
        let (_, at, len) = layout::newest(head::ESTATES, |at| self.memory.get(at))?;
        self.memory.read(at, len)
    }

    fn forget(&self, index: u32, free: &mut Free) {
        self.memory.word(layout::slot_at(index) + slot::STATE).store(state::FREE, layout::STORE);
        free.given_back.push(index);
    }

    fn record(&self, index: u32) -> Option<Record> {
        let word = |at| self.memory.get(layout::slot_at(index) + at);
        let count = usize::try_from(word(slot::COUNT)?).ok().filter(|count| *count <= LEGS)?;
        let (number, hot) = Hot::newest(count, word)?;
        let (begin, end) = (layout::heap(self.slots), layout::arena(self.slots));
        let is_inside = hot.at >= begin && hot.at.checked_add(hot.len)? <= end;
        let place = Place::of(hot.at, hot.len).filter(|_| is_inside)?;
        let fd = |leg| RawFd::try_from(word(slot::FDS + leg)?).ok();
        let fds = (0..count).map(fd).collect::<Option<Vec<_>>>()?;
        let id = u32::try_from(word(slot::ID)?).ok()?;
        Some(Record { index, id, hot, number, place, fds, is_given: false })
    }

    /// The session of a record; None if one of its sockets is not there any more.
    fn find(self: &Arc<Self>, record: Record) -> Option<Found> {
        let Record { index, id, hot, number, place, fds, is_given } = record;
        let mut slot = Slot {
            journal: self.clone(),
            index,
            words: self.memory.words(layout::slot_at(index)),
            number,
            hot,
            used: STATE_WORDS,
            cold: Some(place),
            fills: [None; LEGS],
            is_live: true,
        };
        let word = |at| self.memory.get(layout::slot_at(index) + at);
        for (leg, fd) in fds.iter().enumerate() {
            // SAFETY: whatever it is, it stays open meanwhile: nobody else runs yet.
            let borrowed = unsafe { BorrowedFd::borrow_raw(*fd) };
            if !is_open(*fd) || cookie(borrowed) != word(slot::COOKIES + leg) {
                return None;
            }
        }
        // SAFETY: it is the socket that is on record, which nobody else owns: the process that did
        // is dead, and no two slots have the same.
        let own = |fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) };
        let fds: Vec<OwnedFd> = fds.into_iter().map(own).collect();
        let cold = self.memory.read(hot.at, hot.len)?;
        let standing = self.standing(index, &hot, &fds, |place| self.arena.claim(place));
        slot.is_live = standing.is_ok() && !is_given;
        Some(Found { id, slot, fds, cold, is_given, standing })
    }

    /// What has become of a session since a commit. `claim`: its buffers by their places.
    fn standing(
        &self,
        index: u32,
        hot: &Hot,
        fds: &[OwnedFd],
        mut claim: impl FnMut(u32) -> Option<Piece>,
    ) -> Result<Standing, Since> {
        let word = |at| self.memory.get(layout::slot_at(index) + at);
        let fills: [u64; LEGS] =
            std::array::from_fn(|lane| word(slot::FILLS + lane).unwrap_or(u64::MAX));
        let uses = self.uses(index, fds).collect::<Result<Vec<Use>, Since>>()?;
        let (stretches, counted) = stand(hot, &fills, &uses)?;
        let mut lane = |stretch: Stretch| {
            let piece = match stretch.place {
                Some(place) => Some(claim(place).ok_or(Since::Moved)?),
                None => None,
            };
            Ok(Lane { piece, stretch })
        };
        let lanes = stretches.into_iter().map(&mut lane).collect::<Result<_, Since>>()?;
        Ok(Standing { hot: hot.state, lanes, counted })
    }

    fn uses(&self, index: u32, fds: &[OwnedFd]) -> impl Iterator<Item = Result<Use, Since>> {
        fds.iter().enumerate().map(move |(leg, fd)| {
            let at = layout::slot_at(index) + slot::BASES + 2 * leg;
            let base = |word| self.memory.get(at + word).unwrap_or_default();
            Use::of(fd.as_fd(), [base(0), base(1)])
        })
    }

    /// Where the process stands, or stood, that writes.
    pub fn phase(&self) -> Phase {
        Phase::of(self.memory.get(head::PHASE).unwrap_or_default())
    }

    /// Notes that a process has died. No memory is needed for it.
    pub fn note_death(&self, death: Death) {
        let signal = (death.status & 0x7F) as usize % layout::SIGNALS;
        self.add(head::SIGNALS + signal, 1);
        self.remember_death(death);
    }

    /// One that another pair has counted.
    pub fn remember_death(&self, death: Death) {
        let number = self.memory.get(head::DEATHS).unwrap_or_default();
        self.set_death(number, death);
        self.memory.word(head::DEATHS).store(number.wrapping_add(1), layout::STORE);
    }

    /// What has become of the sessions of the last one that has died. To be said once.
    pub fn amend_death(&self, amended: impl FnOnce(Death) -> Death) {
        if let Some(last) = self.memory.get(head::DEATHS).and_then(|deaths| deaths.checked_sub(1)) {
            let death = amended(self.death(last));
            self.add(head::RESUMED, death.resumed);
            self.add(head::LOST, death.lost.all());
            self.set_death(last, death);
        }
    }

    /// Only one process writes at a time.
    fn add(&self, at: usize, more: u64) {
        let word = self.memory.word(at);
        word.store(word.load(Ordering::Acquire).wrapping_add(more), layout::STORE);
    }

    /// What there was since the pair was made.
    pub fn totals(&self) -> Deaths {
        let word = |at| self.memory.get(at).unwrap_or_default();
        let signals = (0..layout::SIGNALS).map(|it| (it as i32, word(head::SIGNALS + it)));
        Deaths {
            by_signal: signals.filter(|(_, deaths)| *deaths > 0).collect(),
            resumed: word(head::RESUMED),
            lost: word(head::LOST),
        }
    }

    /// The deaths that are remembered, the last one first.
    pub fn deaths(&self) -> Vec<Death> {
        let deaths = self.memory.get(head::DEATHS).unwrap_or_default();
        let first = deaths.saturating_sub(RING as u64);
        (first..deaths).rev().map(|number| self.death(number)).collect()
    }

    fn death(&self, number: u64) -> Death {
        let word = |at| self.memory.get(death_at(number) + at).unwrap_or_default();
        Death::of(std::array::from_fn::<_, DEATH, _>(word))
    }

    fn set_death(&self, number: u64, death: Death) {
        for (at, word) in death.words().into_iter().enumerate() {
            self.memory.word(death_at(number) + at).store(word, layout::STORE);
        }
    }

    /// Closes every descriptor that belongs to no session on record and is none of these: what the
    /// dead process has left open. Those of them that are open, in their order.
    ///
    /// # Errors
    ///
    /// What is open cannot be told.
    pub fn sweep(&self, left: &Left, keep: &[RawFd]) -> std::io::Result<Vec<Option<OwnedFd>>> {
        let mut open = HashSet::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
        }
        let of_sessions = left.sessions.iter().flat_map(|found| &found.fds);
        for fd in of_sessions.map(|fd| fd.as_raw_fd()).chain([0, 1, 2, self.memory.fd()]) {
            open.remove(&fd);
        }
        // SAFETY: who owned it is dead, it is no session's, and each is taken once.
        let own = |fd: &RawFd| open.remove(fd).then(|| unsafe { OwnedFd::from_raw_fd(*fd) });
        let kept = keep.iter().map(own).collect();
        for fd in open {
            // SAFETY: who owned it is dead; the one that listed them is closed already, and the
            // kernel then says so.
            unsafe { libc::close(fd) };
        }
        Ok(kept)
    }
}

fn death_at(number: u64) -> usize {
    head::RING + DEATH * (number % RING as u64) as usize
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: it only asks.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}
