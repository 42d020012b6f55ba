//! A session's task, as the journal knows of it: the session is named while it is polled, so that
//! it is suspected if the process dies of that.
//!
//! Invariant: strikes expire once a session was polled and has lived, and not before.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::journal::{Journal, Served};
use crate::proxy::sessions::handle::Handle;

/// So often a suspect is polled before it is none.
const POLLS: u32 = 10;

/// Or it has lived for so long since it was polled first.
const LIFE: Duration = Duration::from_secs(1);

/// What a suspect has gone through here.
#[derive(Debug, Default)]
pub(super) struct Trial {
    polls: u32,
    begun: Option<Instant>,
}

/// The task of a session that may be in this journal.
#[derive(Debug)]
pub(super) struct Suspected<T> {
    pub journal: Arc<Journal>,
    pub handle: Arc<Handle>,
    pub task: Pin<Box<T>>,
    /// Few ever are. Boxed, as there is one of these for each session.
    pub trial: Option<Box<Trial>>,
}

impl<T: Future> Future for Suspected<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        let Self { journal, handle, task, trial } = &mut *self;
        let slot = handle.slot();
        if let Some(slot) = slot.filter(|slot| journal.strikes(*slot).is_suspect()) {
            trial.get_or_insert_default().begin(journal, (handle.id.0, slot));
        }
        let _serving = journal.serve(Served { id: handle.id.0, slot });
        task.as_mut().poll(cx)
    }
}

impl Trial {
    /// Before a suspect is polled: polls before count.
    fn begin(&mut self, journal: &Journal, (id, slot): (u32, u32)) {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        if self.polls >= POLLS || self.polls > 0 && begun.elapsed() >= LIFE {
            journal.acquit(id, slot);
            *self = Self::default();
        } else {
            self.polls += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::journal::Slot;
    use crate::proxy::sessions::protection::tests::{commit, entered};

    /// A session in a journal, with one strike.
    fn suspect() -> (Arc<Journal>, Slot, TcpStream) {
        let (journal, mut slot, stream) = entered();
        commit(&mut slot);
        std::mem::forget(journal.serve(Served { id: 7, slot: Some(slot.index()) }));
        journal.blame(true);
        (journal, slot, stream)
    }

    #[test]
    fn a_suspect_that_was_polled_and_lived_is_none_any_more() {
        let (journal, slot, _stream) = suspect();
        let mut trial = Trial::default();
        for poll in 0..POLLS {
            trial.begin(&journal, (7, slot.index()));
            assert!(journal.strikes(slot.index()).is_suspect(), "{poll}");
        }
        trial.begin(&journal, (7, slot.index()));
        assert!(!journal.strikes(slot.index()).is_suspect());
    }

    #[test]
    fn time_alone_acquits_nobody() {
        let (journal, slot, _stream) = suspect();
        let long_ago = Instant::now().checked_sub(LIFE).expect("the machine is up");
        let mut trial = Trial { polls: 0, begun: Some(long_ago) };
        trial.begin(&journal, (7, slot.index()));
        assert!(journal.strikes(slot.index()).is_suspect(), "it was not polled yet");
        trial.begin(&journal, (7, slot.index()));
        assert!(!journal.strikes(slot.index()).is_suspect());
    }
}
