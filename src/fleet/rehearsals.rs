//! What each proxy of the fleet would not take over in a restart: asked when somebody is about to
//! begin one, remembered for whoever else is.
//!
//! Nothing is kept: a minute later it may be otherwise. Invariant: a proxy is asked by one at a
//! time, and not for longer than [`LONGEST`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::members::Member;
use super::port::{AdminPort, Limits, Row, Trouble, follow};
use crate::error::chain;
use crate::names::named;
use crate::task;

/// Longer nobody waits for the answer of one.
const LONGEST: Duration = Duration::from_secs(60);
/// How long nothing may be heard of one that was begun.
const SILENCE: Duration = Duration::from_secs(10);
/// So many at once.
const MOST: usize = 16;

named! {
    /// How one stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum State {
        /// The proxy is being asked.
        InProgress = "IN_PROGRESS",
        /// Every session would move.
        Completed = "COMPLETED",
        /// Some would not, or the proxy has refused to say.
        Failed = "FAILED",
        /// It does not answer.
        Unreachable = "UNREACHABLE",
    }
}

/// What a proxy has said last.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// Which one.
    pub proxy: String,
    /// How it stands.
    pub state: State,
    /// When it was asked.
    pub started_at: SystemTime,
    /// Sessions that it has.
    pub sessions: u64,
    /// Those of them that would move.
    pub moved: u64,
    /// Those that would go on in the old process; then nothing else is the matter.
    pub draining: u64,
    /// What goes on, or why not all would.
    pub detail: String,
}

/// The last one of each proxy. All clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Rehearsals {
    last: Arc<Mutex<BTreeMap<String, Rehearsal>>>,
    places: Arc<Semaphore>,
}

impl Rehearsals {
    pub(super) fn new() -> Self {
        Self { last: Arc::default(), places: Arc::new(Semaphore::new(MOST)) }
    }

    /// What is known, by the names of the proxies.
    pub(super) fn list(&self) -> Vec<Rehearsal> {
        self.last().values().cloned().collect()
    }

    /// Has each of them asked, but for those that are being asked; those who are `left` are in the
    /// fleet, all others are forgotten.
    pub(super) fn begin(&self, members: Vec<Member>, left: &[Member]) {
        let is_left = |name: &String| left.iter().any(|member| member.name == *name);
        let mut last = self.last();
        last.retain(|name, _| is_left(name));
        for Member { name, port } in members {
            if last.get(&name).is_some_and(|it| it.state == State::InProgress) {
                continue;
            }
            last.insert(name.clone(), Rehearsal::begun(&name));
            let all = self.clone();
            task::spawn("fleet rehearsal", async move {
                let mut open = Open { all, name, ending: None };
                let Ok(_place) = open.all.places.clone().acquire_owned().await else { return };
                open.ending = Some(rehearse(&port).await);
            });
        }
    }

    fn last(&self) -> MutexGuard<'_, BTreeMap<String, Rehearsal>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rehearsal {
    fn begun(name: &str) -> Self {
        Self {
            proxy: name.to_owned(),
            state: State::InProgress,
            started_at: SystemTime::now(),
            sessions: 0,
            moved: 0,
            draining: 0,
            detail: String::new(),
        }
    }
}

/// How one has ended: what the proxy says of it, or its state and why there is nothing.
type Ending = Result<Row, (State, String)>;

/// One that has not ended; it does also by a panic.
struct Open {
    all: Rehearsals,
    name: String,
    ending: Option<Ending>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut last = self.all.last();
        // The fleet may have lost it meanwhile.
        let Some(it) = last.get_mut(&self.name) else { return };
        match self.ending.take() {
            Some(Ok(row)) => {
                let number = |name| row.number(name).unwrap_or_default();
                let is_good = row.text("state") == Some(State::Completed.name());
                it.state = if is_good { State::Completed } else { State::Failed };
                (it.sessions, it.moved) = (number("sessions"), number("moved"));
                it.draining = number("draining");
                row.text("detail").unwrap_or_default().clone_into(&mut it.detail);
            }
            Some(Err((state, why))) => (it.state, it.detail) = (state, why),
            None => {
                it.state = State::Failed;
                it.detail = "a defect of odp, which is in its log".into();
            }
        }
    }
}

async fn rehearse(port: &AdminPort) -> Ending {
    let late = (State::Failed, format!("no result in {LONGEST:?}"));
    timeout(LONGEST, ask(port)).await.unwrap_or(Err(late))
}

async fn ask(port: &AdminPort) -> Ending {
    let told = |trouble: Trouble| match trouble {
        Trouble::Denied(why, _) => (State::Failed, why),
        Trouble::Silent(_) | Trouble::Gone(_) => (State::Unreachable, chain(&trouble)),
    };
    let mut admin = port.connect().await.map_err(told)?;
    let task = admin.restart("RESTART REHEARSE").await.map_err(told)?;
    let limits = Limits { silence: SILENCE, whole: None };
    let followed = follow(port, admin, task, limits, |_| ()).await;
    followed.map_err(|error| (State::Failed, chain(error.as_ref())))
}
