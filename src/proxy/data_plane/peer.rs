//! What two data planes tell each other while both live: who is where, whom to kill, and what
//! operators change.
//!
//! Unknown notes are skipped, so that a neighbouring version may say more.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::time::Instant;

use crate::config::alterations::Alterations;
use crate::lock::lock;
use crate::proxy::in_force::InForce;
use crate::proxy::sessions::handle::Signal;
use crate::proxy::sessions::other_generation::Since;
use crate::proxy::sessions::registry::Registry;
use crate::proxy::sessions::view::SessionView;
use crate::wire::id::SessionId;

/// The list of sessions is told this often at the most.
const BETWEEN_LISTS: Duration = Duration::from_secs(1);

/// A note.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "of")]
pub(super) enum Note {
    /// Every session that lives here.
    Sessions(Vec<SessionView>),
    /// Sessions that live here and were not told of yet.
    Born(Vec<SessionView>),
    /// Close this session, which lives with you.
    Kill(SessionId),
    /// Read the config file again.
    Reload,
    /// All that operators have altered.
    Altered(Alterations),
}

/// The kinds of [`Note`].
const KINDS: [&str; 5] = ["Sessions", "Born", "Kill", "Reload", "Altered"];

/// The data plane of the other generation: what it is to be told, and has said.
#[derive(Debug)]
pub(super) struct Peer {
    kills: mpsc::UnboundedSender<SessionId>,
    pending: Mutex<Pending>,
    told: std::sync::Mutex<Told>,
    revisions: watch::Sender<Revisions>,
    /// The other side was told to read the config file again, and so is this one.
    reload: Notify,
    /// Since the last note the other side was another one, or none.
    is_new: AtomicBool,
}

/// What the other side has heard of the sessions here.
#[derive(Debug, Default)]
struct Told {
    /// There is another side: it has been told something, or has told something.
    is_there: bool,
    /// It knows of these.
    ids: HashSet<SessionId>,
    /// How many had a known id on their server when it was told last; None: it was told nothing.
    named: Option<u64>,
    /// It has the config as it was then.
    revisions: Revisions,
}

/// How often operators have changed the config here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Revisions {
    reloads: u64,
    alterations: u64,
}

#[derive(Debug)]
struct Pending {
    kills: mpsc::UnboundedReceiver<SessionId>,
    /// Changes with each session whose id on its server becomes known.
    named: watch::Receiver<u64>,
    revisions: watch::Receiver<Revisions>,
    list: List,
}

/// When the list of sessions is to be told again.
#[derive(Debug)]
struct List {
    population: watch::Receiver<usize>,
    told_at: Option<Instant>,
}

impl Peer {
    /// Tells of the sessions of this registry.
    pub(super) fn new(registry: &Registry) -> Self {
        let (kills, received) = mpsc::unbounded_channel();
        let list = List { population: registry.population(), told_at: None };
        let (revisions, revised) = watch::channel(Revisions::default());
        let pending =
            Pending { kills: received, named: registry.named(), revisions: revised, list };
        Self {
            kills,
            pending: Mutex::new(pending),
            told: Default::default(),
            revisions,
            reload: Notify::new(),
            is_new: AtomicBool::new(true),
        }
    }

    /// Operators have altered parameters here.
    pub(super) fn altered(&self) {
        self.revisions.send_modify(|revisions| revisions.alterations += 1);
    }

    /// The other side starts from the config as it is here, or is about to be.
    pub(super) fn has_config(&self) {
        self.told().revisions = *self.revisions.borrow();
    }

    /// The other side has this session from here, or has given it.
    pub(super) fn knows(&self, id: SessionId) {
        let mut told = self.told();
        if told.is_there {
            told.ids.insert(id);
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        lock(&self.told)
    }

    /// Asks the other side to close a session.
    pub(super) fn kill(&self, id: SessionId) {
        // The receiver lives as long as `self`.
        let _ = self.kills.send(id);
    }
}

impl List {
    /// Waits until the list has changed, and was not told for a while. Cancel safe.
    async fn is_due(&mut self) {
        // Each session is told of once, before others can be given: the first list may wait.
        let told_at = *self.told_at.get_or_insert_with(Instant::now);
        if self.population.changed().await.is_err() {
            return std::future::pending().await;
        }
        self.population.mark_changed();
        tokio::time::sleep_until(told_at + BETWEEN_LISTS).await;
        self.population.mark_unchanged();
        self.told_at = Some(Instant::now());
    }
}

impl Peer {
    /// Operators have ordered the config file to be read again, and may mean the other generation,
    /// too, which they do not see.
    pub(super) fn pass_on_reload(&self) {
        self.revisions.send_modify(|revisions| revisions.reloads += 1);
    }

    /// Waits until the other generation passes such an order on. Cancel safe.
    pub(super) async fn told_to_reload(&self) {
        self.reload.notified().await;
    }

    /// The next note. Cancel safe.
    pub(super) async fn next_note(&self, registry: &Registry, in_force: &InForce) -> Bytes {
        let mut pending = self.pending.lock().await;
        let Pending { kills, named, revisions, list } = &mut *pending;
        if self.is_new.swap(false, Ordering::Relaxed) {
            list.told_at = None;
        }
        loop {
            // All branches are cancel safe. A new session is told of at once: its client may have
            // it killed as soon as its log-in is over, by a session that lives over there.
            let note = tokio::select! {
                biased;
                Some(id) = kills.recv() => Note::Kill(id),
                Ok(()) = named.changed() => match self.born(registry) {
                    Some(born) => born,
                    None => continue,
                },
                Ok(news) = self.news_of_config(revisions, in_force) => news,
                () = list.is_due() => Note::Sessions(living(registry)),
            };
            return encode(&note);
        }
    }

    /// Waits until the other side has another config than is in force here. Cancel safe.
    async fn news_of_config(
        &self,
        revisions: &mut watch::Receiver<Revisions>,
        in_force: &InForce,
    ) -> Result<Note, watch::error::RecvError> {
        let is_news = |revisions: &Revisions| *revisions != self.told().revisions;
        let now = *revisions.wait_for(is_news).await?;
        let mut told = self.told();
        // The file first: what it says new is altered no more.
        if told.revisions.reloads != now.reloads {
            told.revisions.reloads = now.reloads;
            return Ok(Note::Reload);
        }
        told.revisions.alterations = now.alterations;
        drop(told);
        Ok(Note::Altered(in_force.altered()))
    }

    /// What the other side must have heard before it gets sessions.
    pub(super) fn news_of_sessions(&self, registry: &Registry) -> Option<Bytes> {
        self.born(registry).as_ref().map(encode)
    }

    /// Sessions that the other side was not told of, and that it could be asked to kill.
    fn born(&self, registry: &Registry) -> Option<Note> {
        let mut told = self.told();
        // Asked for with every batch of sessions: mostly there is nothing new among thousands.
        told.is_there = true;
        let named = Some(registry.named_count());
        if std::mem::replace(&mut told.named, named) == named {
            return None;
        }
        let mut all = registry.all();
        all.retain(|it| it.facts().server_thread.is_known() && told.ids.insert(it.id));
        (!all.is_empty()).then(|| Note::Born(all.iter().map(|it| it.view()).collect()))
    }

    /// There is no other side any more.
    pub(super) fn part(&self, registry: &Registry) {
        registry.other_generation.clear();
        *self.told() = Told::default();
        self.is_new.store(true, Ordering::Relaxed);
    }

    /// Heeds a note.
    pub(super) fn heed(&self, note: &[u8], registry: &Registry, in_force: &InForce) {
        self.told().is_there = true;
        match decode(note) {
            Ok(Some(Note::Sessions(sessions))) => {
                let here = |session: &SessionView| registry.find(session.id).is_none();
                registry.other_generation.replace(sessions.into_iter().filter(here).collect());
            }
            Ok(Some(Note::Born(sessions))) => {
                for session in sessions {
                    if registry.find(session.id).is_none() {
                        registry.other_generation.add(session, Since::Told);
                    }
                }
            }
            Ok(Some(Note::Kill(id))) => {
                if let Some(handle) = registry.find(id) {
                    handle.raise(Signal::Kill);
                }
            }
            Ok(Some(Note::Reload)) => self.reload.notify_one(),
            Ok(Some(Note::Altered(altered))) => in_force.inherit_altered(altered),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a note of the other generation"),
        }
    }
}

fn living(registry: &Registry) -> Vec<SessionView> {
    // Those on their way too: until they have arrived they are here.
    registry.all().iter().map(|it| it.view()).collect()
}

/// None: of a kind that only a later version knows, whatever it is about.
pub(super) fn decode(note: &[u8]) -> Result<Option<Note>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    let Kind { kind } = serde_json::from_slice(note)?;
    KINDS.contains(&kind.as_str()).then(|| serde_json::from_slice(note)).transpose()
}

fn encode(note: &Note) -> Bytes {
    serde_json::to_vec(note).map(Bytes::from).unwrap_or_default()
}
