//! A switchover that another proxy carries out: the sessions of this one wait for it, too.
//!
//! ```text
//!   ready: logged in at the target, at work ─ WAIT ─► held: log-ins wait as well
//!     │                                                 ├─ the target takes writes ─► they move
//!     └─ OVER, or no WAIT in time ─► they stay ◄────────┴─ OVER, or it does not in time
//! ```
//! Invariant: whoever was to say something may be gone, so each wait has an end. Whether the target
//! takes writes it says itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::held::Held;
use super::{ENTER, NotSwitched, Plan, Scene};
use crate::proxy::cluster::door::Shut;
use crate::route::roles::Observation;
use crate::task;

/// So long sessions are ready, and nobody says that they are to wait.
const CALLED: Duration = Duration::from_secs(60);

/// So long they wait: longer than whoever carries it out takes, unless that goes wrong.
const HELD: Duration = Duration::from_secs(15);

/// How often the target is asked meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Where those are told something that are ready or wait, by their clusters' names.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Elsewhere(Mutex<HashMap<String, mpsc::Sender<Word>>>);

#[derive(Debug)]
enum Word {
    /// They are to wait; how many do.
    Wait(oneshot::Sender<Result<usize, NotSwitched>>),
    /// It has come about by now, or will not.
    Over(oneshot::Sender<()>),
}

impl Elsewhere {
    /// Sessions are called, and go on meanwhile.
    pub(in crate::proxy) async fn announce(
        &self,
        scene: Scene,
        cluster: &str,
        address: &str,
        force: bool,
    ) -> Result<(), NotSwitched> {
        let plan = scene.plan(cluster, address)?;
        let (words, heard) = mpsc::channel(1);
        self.begin(cluster, words)?;
        let (ready, is_ready) = oneshot::channel();
        task::spawn("switchover elsewhere", async move {
            Box::pin(scene.stand_by(plan, force, ready, heard)).await;
        });
        is_ready.await.map_err(|_| NotSwitched::Panicked)
    }

    /// Done when all that were called wait; how many.
    pub(in crate::proxy) async fn wait(&self, cluster: &str) -> Result<usize, NotSwitched> {
        let (asked, answer) = oneshot::channel();
        let told = self.tell(cluster, Word::Wait(asked)).await;
        let none = || NotSwitched::NotExpected(cluster.to_owned());
        if !told {
            return Err(none());
        }
        answer.await.unwrap_or_else(|_| Err(none()))
    }

    /// Done when they go on.
    pub(in crate::proxy) async fn over(&self, cluster: &str) {
        let (asked, answer) = oneshot::channel();
        if self.tell(cluster, Word::Over(asked)).await {
            let _ = answer.await;
        }
    }

    fn begin(&self, cluster: &str, words: mpsc::Sender<Word>) -> Result<(), NotSwitched> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(cluster).is_some_and(|words| !words.is_closed()) {
            return Err(NotSwitched::UnderWay(cluster.to_owned()));
        }
        all.insert(cluster.to_owned(), words);
        Ok(())
    }

    async fn tell(&self, cluster: &str, word: Word) -> bool {
        let Some(words) = self.words(cluster) else { return false };
        words.send(word).await.is_ok()
    }

    fn words(&self, cluster: &str) -> Option<mpsc::Sender<Word>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(cluster).cloned()
    }
}

impl Scene {
    async fn stand_by(
        self,
        plan: Plan,
        force: bool,
        ready: oneshot::Sender<()>,
        mut words: mpsc::Receiver<Word>,
    ) {
        let mut held = Held::new();
        held.call(&self.0, &plan.cluster, plan.way(), Instant::now() + ENTER).await;
        // Whoever asked may have left: then nobody says more.
        let _ = ready.send(());
        match timeout(CALLED, words.recv()).await {
            Ok(Some(Word::Wait(asked))) => match self.hold(&plan, &mut held, force).await {
                Ok(waiting) => {
                    let _ = asked.send(Ok(held.len()));
                    self.wait(&plan, held, waiting.door, words).await;
                }
                Err(why) => {
                    held.stay().await;
                    let _ = asked.send(Err(why));
                }
            },
            Ok(Some(Word::Over(asked))) => {
                held.stay().await;
                let _ = asked.send(());
            }
            Ok(None) | Err(_) => held.stay().await,
        }
    }

    /// Until the target takes writes, or it is known or likely that it will not.
    async fn wait(&self, plan: &Plan, held: Held, door: Shut, mut words: mpsc::Receiver<Word>) {
        let (name, server, waiting) = (&*plan.cluster.name, &*plan.target.address, held.len());
        tracing::info!(cluster = name, server, waiting, "switchover elsewhere: sessions wait");
        let began = Instant::now();
        let mut over = None;
        loop {
            if let Ok(Some(Word::Over(asked))) = timeout(LOOK, words.recv()).await {
                over = Some(asked);
            }
            if self.has_come_about(plan).await {
                self.0.in_force.new_primary().tell();
                let (moved, left) = held.go().await;
                let (time, left) = (began.elapsed(), left.len());
                tracing::info!(cluster = name, server, moved, left, held = ?time, "they move");
                break;
            }
            if over.is_some() || began.elapsed() >= HELD {
                held.stay().await;
                let time = began.elapsed();
                tracing::warn!(cluster = name, server, held = ?time, "it has not come about");
                break;
            }
        }
        drop(door);
        if let Some(asked) = over {
            let _ = asked.send(());
        }
    }

    /// Whether the target takes writes; the cluster knows it then.
    async fn has_come_about(&self, plan: &Plan) -> bool {
        let Ok(said) = self.ask(plan, &plan.target, "asked what it is").await else { return false };
        if said.read_only != Some(false) {
            return false;
        }
        if let Ok(before) = self.ask(plan, &plan.primary, "asked what it is now").await {
            plan.cluster.hear(&plan.primary.address, Some(Observation::Said(before)), None);
        }
        plan.cluster.hear(&plan.target.address, Some(Observation::Said(said)), None);
        true
    }
}
