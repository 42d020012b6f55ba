//! The sessions of the primary: brought to where they wait, and told to move or to stay.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use crate::proxy::cluster::{Cluster, Server};
use crate::proxy::moves::gate::{Gate, Standing, Word};
use crate::proxy::moves::{Shared, Stays};
use crate::proxy::sessions::handle::{Handle, Stage};
use crate::task::{self, Panicked};
use crate::wire::id::SessionId;

/// How long log-ins that are under way may take, and then sessions until they wait.
pub(super) const COME: Duration = Duration::from_secs(3);

/// Sessions that log in, or are carried, at once: each costs the other server more than it does us.
const AT_ONCE: usize = 16;

/// Those that cannot come say so by themselves, at the latest so long after their time.
const GRACE: Duration = Duration::from_millis(200);

/// A session that stays, and why.
pub(super) type Left = (SessionId, Stays);

/// A session that waits for nothing any more.
type Ended = (SessionId, Result<Result<(), Stays>, Panicked>);

/// Sessions on their way to the gate, and those that wait there.
#[derive(Debug)]
pub(super) struct Held {
    word: watch::Sender<Word>,
    gate: Gate,
    stands: mpsc::UnboundedReceiver<Standing>,
    moving: JoinSet<Ended>,
    /// Logging in at the other server.
    entering: HashSet<SessionId>,
    ready: HashSet<SessionId>,
    waiting: HashSet<SessionId>,
    /// Those of which it is known that they will not come.
    left: Vec<Left>,
}

impl Held {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        let (word, told) = watch::channel(Word::Wait);
        let (stands, heard) = mpsc::unbounded_channel();
        let gate = Gate { stands, word: told, room: Arc::new(Semaphore::new(AT_ONCE)) };
        Self {
            word,
            gate,
            stands: heard,
            moving: JoinSet::new(),
            entering: HashSet::new(),
            ready: HashSet::new(),
            waiting: HashSet::new(),
            left: Vec::new(),
        }
    }

    /// Each session of one server that is not called yet is logged in at another, and goes on
    /// meanwhile. Done when all are, or it is known who will not be, or the time is up.
    pub(super) async fn call(
        &mut self,
        shared: &Arc<Shared>,
        cluster: &Arc<Cluster>,
        (from, to): (&Server, &Server),
        until: Instant,
    ) {
        let is_new = |handle: &Arc<Handle>| {
            let facts = handle.facts();
            let is_here = facts.cluster == cluster.name && facts.server == from.address;
            let is_known = self.ready.contains(&handle.id) || self.has_left(handle.id);
            is_here && !is_known && !matches!(handle.stage(), Stage::Closing)
        };
        let new: Vec<_> = shared.sessions.registry.all().into_iter().filter(is_new).collect();
        for handle in new {
            self.entering.insert(handle.id);
            let (shared, gate, to) = (shared.clone(), self.gate.clone(), to.address.clone());
            self.moving.spawn(async move {
                let id = handle.id;
                let moved = Box::pin(shared.move_together(&handle, &to, gate));
                (id, task::caught("switchover", moved).await)
            });
        }
        while !self.entering.is_empty() && self.hear(until).await {}
    }

    /// All are to wait by then. Done when all do, or it is known that one will not, or the time is
    /// up; who does not.
    pub(super) async fn come(&mut self, until: Instant) -> Vec<Left> {
        self.word.send_replace(Word::Come(until));
        let is_coming = |held: &Self| !(held.ready.is_empty() && held.entering.is_empty());
        while is_coming(self) && self.left.is_empty() && self.hear(until + GRACE).await {}
        let mut left = std::mem::take(&mut self.left);
        if left.is_empty() {
            let late = self.ready.iter().chain(&self.entering);
            left.extend(late.map(|id| (*id, Stays::Busy(COME))));
        }
        left
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// They move: how many have, and who has not.
    pub(super) async fn go(mut self) -> (usize, Vec<Left>) {
        self.word.send_replace(Word::Go);
        let mut moved = 0;
        while let Some(done) = self.moving.join_next().await {
            moved += usize::from(matches!(&done, Ok((_, Ok(Ok(()))))));
            self.note(done);
        }
        (moved, self.left)
    }

    /// They stay. Done when all of them know.
    pub(super) async fn stay(mut self) {
        self.word.send_replace(Word::Stay);
        while self.moving.join_next().await.is_some() {}
    }

    fn has_left(&self, id: SessionId) -> bool {
        self.left.iter().any(|(left, _)| *left == id)
    }

    /// What one of them says; false if none does by then. Cancel safe.
    async fn hear(&mut self, until: Instant) -> bool {
        tokio::select! {
            biased;
            Some(standing) = self.stands.recv() => match standing {
                Standing::Ready(id) => {
                    self.entering.remove(&id);
                    self.ready.insert(id);
                }
                Standing::Waits(id) => {
                    self.ready.remove(&id);
                    self.waiting.insert(id);
                }
            },
            Some(done) = self.moving.join_next() => self.note(done),
            () = tokio::time::sleep_until(until.into()) => return false,
        }
        true
    }

    fn note(&mut self, done: Result<Ended, JoinError>) {
        let Ok((id, outcome)) = done else { return };
        for standing in [&mut self.entering, &mut self.ready, &mut self.waiting] {
            standing.remove(&id);
        }
        match outcome {
            Ok(Ok(()) | Err(Stays::Ended | Stays::NotThere | Stays::Already)) | Err(Panicked) => {}
            Ok(Err(why)) => self.left.push((id, why)),
        }
    }
}
