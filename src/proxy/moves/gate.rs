//! Sessions that move together.
//!
//! ```text
//!   logged in there, at work here ─► ready ─ Come ─► between two commands: all is carried ─► waits
//!                                                      ├─ Go ───► it has moved
//!                                      any of them ────┴─ Stay ─► as if nothing had been
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::Stays;
use crate::wire::id::SessionId;

/// No session waits longer for a word: who gives it has deadlines, and may be gone.
const MOST: Duration = Duration::from_secs(60);

/// What all of them are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Word {
    /// Go on.
    Wait,
    /// Be at the gate by then.
    Come(Instant),
    /// Move.
    Go,
    /// Go on where you are.
    Stay,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Standing {
    /// It is logged in at the other server.
    Ready(SessionId),
    /// The other server has all of it, and it does nothing any more.
    Waits(SessionId),
}

/// Where a session waits for others.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Gate {
    /// Hears how far each is.
    pub(in crate::proxy) stands: mpsc::UnboundedSender<Standing>,
    /// The word.
    pub(in crate::proxy) word: watch::Receiver<Word>,
    /// For log-ins at the other server, and for what is carried there.
    pub(in crate::proxy) room: Arc<Semaphore>,
}

impl Gate {
    /// Room for what costs both servers something.
    pub(super) async fn room(&self) -> Result<OwnedSemaphorePermit, Stays> {
        self.room.clone().acquire_owned().await.map_err(|_| Stays::CalledOff)
    }

    /// It is ready; by when it is to be there.
    pub(super) async fn called(&mut self, id: SessionId) -> Result<Instant, Stays> {
        // Nobody may be listening any more, here and below.
        let _ = self.stands.send(Standing::Ready(id));
        match self.word_but(|word| *word == Word::Wait).await {
            Word::Come(until) => Ok(until),
            Word::Wait | Word::Go | Word::Stay => Err(Stays::CalledOff),
        }
    }

    /// It waits; whether it is to go.
    pub(super) async fn pass(mut self, id: SessionId) -> bool {
        let _ = self.stands.send(Standing::Waits(id));
        let is_wait = |word: &Word| matches!(word, Word::Wait | Word::Come(_));
        self.word_but(is_wait).await == Word::Go
    }

    async fn word_but(&mut self, is_to_wait: impl Fn(&Word) -> bool) -> Word {
        let told = tokio::time::timeout(MOST, self.word.wait_for(|word| !is_to_wait(word))).await;
        match told {
            Ok(Ok(word)) => *word,
            Ok(Err(_)) | Err(_) => Word::Stay,
        }
    }
}
