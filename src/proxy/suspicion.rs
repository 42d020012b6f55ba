//! A session's task, as the journal knows of it: the session is named while it is polled, so that
//! it is suspected if the process dies of that.
//!
//! Invariant: strikes expire once a session was polled and has lived, and not before.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sessions::handle::Handle;
use crate::journal::{Journal, Served};

/// So often a suspect is polled before it is none.
const POLLS: u32 = 10;

/// Or it has lived for so long since it was polled first.
const LIFE: Duration = Duration::from_secs(1);

/// What a suspect has gone through here.
#[derive(Debug, Default)]
struct Trial {
    polls: u32,
    begun: Option<Instant>,
}

/// The task of a session that may be in this journal.
pub(super) async fn suspected<T>(
    journal: Arc<Journal>,
    handle: Arc<Handle>,
    task: impl Future<Output = T>,
) -> T {
    let mut task = pin!(task);
    let mut trial = Trial::default();
    poll_fn(|cx| {
        trial.begin(&journal, &handle);
        let _serving = journal.serve(Served { id: handle.id.0, slot: handle.slot() });
        task.as_mut().poll(cx)
    })
    .await
}

impl Trial {
    /// Before a poll: those before count.
    fn begin(&mut self, journal: &Journal, handle: &Handle) {
        let Some(slot) = handle.slot().filter(|slot| journal.strikes(*slot).is_suspect()) else {
            return;
        };
        let begun = *self.begun.get_or_insert_with(Instant::now);
        if self.polls >= POLLS || self.polls > 0 && begun.elapsed() >= LIFE {
            journal.acquit(slot);
            *self = Self::default();
        } else {
            self.polls += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::journal::{Commit, Counted, Leg, Slot, Stretch};
    use crate::metrics::Totals;
    use crate::wire::id::SessionId;

    /// A session in a journal, with one strike.
    fn suspect() -> (Arc<Journal>, Slot, Handle, TcpStream) {
        let journal = Arc::new(Journal::new(4).expect("memory"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("one")).expect("connects");
        let leg = Leg { fd: stream.as_fd(), counted: Counted::default(), is_layered: false };
        let mut slot = journal.enter(7, &[leg; 2], None).expect("a slot");
        let (lanes, counted) = (&[Stretch::default(); 2], &[Counted::default(); 2]);
        let commit = Commit { lanes, counted, cold: Some(b"state"), ..Commit::default() };
        slot.commit(&commit).expect("room");
        let handle = Handle::new(SessionId(7), "c".into(), Instant::now(), &Totals::default());
        handle.set_slot(Some(slot.index()));
        std::mem::forget(journal.serve(Served { id: 7, slot: handle.slot() }));
        journal.blame(true);
        (journal, slot, handle, stream)
    }

    #[test]
    fn a_suspect_that_was_polled_and_lived_is_none_any_more() {
        let (journal, slot, handle, _stream) = suspect();
        let mut trial = Trial::default();
        for poll in 0..POLLS {
            trial.begin(&journal, &handle);
            assert!(journal.strikes(slot.index()).is_suspect(), "{poll}");
        }
        trial.begin(&journal, &handle);
        assert!(!journal.strikes(slot.index()).is_suspect());
    }

    #[test]
    fn time_alone_acquits_nobody() {
        let (journal, slot, handle, _stream) = suspect();
        let long_ago = Instant::now().checked_sub(LIFE).expect("the machine is up");
        let mut trial = Trial { polls: 0, begun: Some(long_ago) };
        trial.begin(&journal, &handle);
        assert!(journal.strikes(slot.index()).is_suspect(), "it was not polled yet");
        trial.begin(&journal, &handle);
        assert!(!journal.strikes(slot.index()).is_suspect());
    }
}
