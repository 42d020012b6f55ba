//! Who is here: one [`Handle`] a session, found by the id its client was shown.
//!
//! Sums over the registry never go back: a session that ends is added to the ended ones and removed
//! in one step.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::handle::{Handle, Signal, Stage};
use super::limits::Limits;
use super::other_generation::OtherGeneration;
use super::view::{Gauges, SessionView};
use crate::lock::lock;
use crate::metrics::Totals;
use crate::restart::{Census, Class};
use crate::session::OURS;
use crate::wire::id::{SessionId, ThreadId};

const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    sessions: HashMap<SessionId, Arc<Handle>>,
    ended: Totals,
}

/// All sessions of this process.
#[derive(Debug)]
pub struct Registry {
    shards: [Mutex<Shard>; SHARDS],
    /// Those of the other generation.
    pub other_generation: OtherGeneration,
    /// Who may still come.
    pub limits: Limits,
    count: watch::Sender<usize>,
    named: watch::Sender<u64>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            other_generation: OtherGeneration::default(),
            limits: Limits::default(),
            count: watch::Sender::new(0),
            named: watch::Sender::new(0),
        }
    }
}

impl Registry {
    /// How many sessions there are.
    pub fn len(&self) -> usize {
        *self.count.borrow()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are, and every change of it.
    pub fn population(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Changes when a session's id on its server becomes known.
    pub fn named(&self) -> watch::Receiver<u64> {
        self.named.subscribe()
    }

    /// How often such an id became known.
    pub fn named_count(&self) -> u64 {
        *self.named.borrow()
    }

    /// Adds a session unless its id is taken.
    #[must_use]
    pub fn insert(&self, handle: &Arc<Handle>) -> bool {
        let mut shard = lock(self.shard(handle.id));
        if shard.sessions.contains_key(&handle.id) {
            return false;
        }
        shard.sessions.insert(handle.id, handle.clone());
        drop(shard);
        self.count.send_modify(|count| *count += 1);
        true
    }

    /// Puts a session in the place of what it was before it was frozen. At no time is it missing.
    pub fn supersede(&self, before: &Handle, handle: &Arc<Handle>) {
        assert_eq!(before.id, handle.id, "a session keeps its id");
        let present = lock(self.shard(handle.id)).sessions.insert(handle.id, handle.clone());
        if present.is_none() {
            self.count.send_modify(|count| *count += 1);
        }
        self.limits.leave(std::mem::take(&mut *before.seat()));
    }

    /// Removes a session that has ended; what it counted stays in the sums.
    pub fn end(&self, handle: &Arc<Handle>) {
        self.remove(handle, |shard| shard.ended.add(&handle.counters.totals()));
    }

    /// Removes a session that another process goes on with, and counts on for.
    pub fn release(&self, handle: &Arc<Handle>) {
        self.remove(handle, |_| {});
    }

    fn remove(&self, handle: &Arc<Handle>, keep: impl FnOnce(&mut Shard)) {
        self.limits.leave(std::mem::take(&mut *handle.seat()));
        let mut shard = lock(self.shard(handle.id));
        // A session that was thawed has a new handle under the same id.
        if !shard.sessions.get(&handle.id).is_some_and(|present| Arc::ptr_eq(present, handle)) {
            return;
        }
        shard.sessions.remove(&handle.id);
        keep(&mut shard);
        drop(shard);
        self.count.send_modify(|count| *count -= 1);
    }

    /// The session's server and its id there are known now. The other generation is to be told.
    pub fn set_server(&self, handle: &Handle, server: &Arc<str>, thread: ThreadId) {
        self.keep_server(handle, server, thread);
        self.named.send_modify(|named| *named += 1);
    }

    /// The same for a session that the other generation has given, and so knows.
    pub fn keep_server(&self, handle: &Handle, server: &Arc<str>, thread: ThreadId) {
        let mut facts = handle.facts();
        facts.server = server.clone();
        facts.server_thread = thread;
    }

    /// A session by the id its client was shown.
    pub fn find(&self, id: SessionId) -> Option<Arc<Handle>> {
        lock(self.shard(id)).sessions.get(&id).cloned()
    }

    /// A session by the id its client was shown, or by the one that it has on its home, which is on
    /// this server.
    pub fn find_named(&self, id: u64, server: &str) -> Option<Arc<Handle>> {
        let id = u32::try_from(id).ok()?;
        let is_meant = |handle: &Arc<Handle>| {
            let facts = handle.facts();
            facts.server_thread.is_known()
                && facts.server_thread == ThreadId(id)
                && *facts.server == *server
        };
        match id & OURS {
            0 => self.all().into_iter().find(is_meant),
            _ => self.find(SessionId(id)),
        }
    }

    /// The id on this server of a session, by the id its client was shown; in either generation.
    pub fn server_thread(&self, id: SessionId, server: &Arc<str>) -> Option<ThreadId> {
        let here = || {
            let handle = self.find(id)?;
            let facts = handle.facts();
            match &facts.reader {
                Some(reader) if reader.server == *server => Some(reader.thread),
                _ => (facts.server == *server).then_some(facts.server_thread),
            }
        };
        either_side(here, || self.other_generation.server_thread(id, server))
    }

    /// How many sessions of this kind the other generation has. One that is here as well, on its
    /// way, is counted here.
    pub fn count_elsewhere(&self, is_meant: impl Fn(&SessionView) -> bool) -> usize {
        let is_here =
            |view: &SessionView| lock(self.shard(view.id)).sessions.contains_key(&view.id);
        self.other_generation
            .look(|others| others.filter(|view| is_meant(view) && !is_here(view)).count())
    }

    /// Every session, in no order.
    pub fn all(&self) -> Vec<Arc<Handle>> {
        let mut all = Vec::with_capacity(self.len());
        self.parts().for_each(|part| all.extend(part));
        all
    }

    /// The same in parts, for one who lets others go on between two of them.
    pub fn parts(&self) -> impl Iterator<Item = Vec<Arc<Handle>>> {
        self.shards.iter().map(|shard| lock(shard).sessions.values().cloned().collect())
    }

    /// Up to `n` sessions of a class that are not asked for anything, and none of `except`.
    pub fn of_class(&self, class: Class, n: usize, except: &HashSet<u32>) -> Vec<Arc<Handle>> {
        let fits = |handle: &Arc<Handle>| {
            let stage = handle.stage();
            let of_class = match class {
                Class::Idle => stage == Stage::Idle,
                Class::InTransaction => stage == Stage::IdleInTransaction,
                Class::Any => !matches!(stage, Stage::LoggingIn | Stage::Moving | Stage::Closing),
            };
            of_class && handle.signal() == Signal::None && !except.contains(&handle.id.0)
        };
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let wanted = n - found.len();
            found.extend(
                shard.sessions.values().filter(|handle| fits(handle)).take(wanted).cloned(),
            );
        }
        found
    }

    /// What all sessions together have counted, ended ones included.
    pub fn totals(&self) -> Totals {
        self.totals_of(|_| true)
    }

    /// The same without those on their way to the other generation, which count on there.
    pub fn settled_totals(&self) -> Totals {
        self.totals_of(|handle| handle.stage() != Stage::Moving)
    }

    fn totals_of(&self, counts: impl Fn(&Handle) -> bool) -> Totals {
        let mut sum = Totals::default();
        for shard in &self.shards {
            let shard = lock(shard);
            sum.add(&shard.ended);
            let sessions = shard.sessions.values().filter(|handle| counts(handle));
            sessions.for_each(|handle| sum.add(&handle.counters.totals()));
        }
        sum
    }

    /// Numbers of the moment, of both generations while two live; nobody is counted twice.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        self.each_once(|session| {
            let (is_active, in_transaction, thread) = match session {
                Lives::Here(handle) => {
                    let stage = handle.stage();
                    let thread = handle.facts().server_thread;
                    (stage.is_active(), stage.is_in_transaction(), thread)
                }
                Lives::There(view) => (view.is_active(), view.in_transaction, view.server_thread),
            };
            gauges.current_client_connections += 1;
            gauges.current_active_client_connections += u64::from(is_active);
            gauges.current_client_transactions += u64::from(in_transaction);
            gauges.current_server_connections += u64::from(thread.is_known());
        });
        gauges
    }

    /// How many sessions each cluster has, by its name; those of both generations, each once.
    pub fn by_cluster(&self) -> HashMap<Arc<str>, usize> {
        let mut count: HashMap<Arc<str>, usize> = HashMap::new();
        self.each_once(|session| {
            let cluster = match session {
                Lives::Here(handle) => handle.facts().cluster.clone(),
                Lives::There(view) => view.cluster.as_str().into(),
            };
            *count.entry(cluster).or_default() += 1;
        });
        count
    }

    /// Shows every session of both generations, while two live; none twice.
    fn each_once(&self, mut show: impl FnMut(Lives<'_>)) {
        // Nobody goes there or is taken from there meanwhile: who goes is here until he is there,
        // and who comes is there until he is here.
        self.other_generation.look(|others| {
            let mut shown: HashSet<SessionId> = HashSet::new();
            for handle in self.all() {
                show(Lives::Here(&handle));
                if others.len() > 0 {
                    shown.insert(handle.id);
                }
            }
            for view in others.filter(|view| !shown.contains(&view.id)) {
                show(Lives::There(view));
            }
        });
    }

    /// Numbers for SHOW RESTART.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for handle in self.all() {
            let stage = handle.stage();
            census.sessions += 1;
            census.sockets += handle.sockets();
            census.in_transaction += u64::from(stage.is_in_transaction());
            census.logging_in += u64::from(stage == Stage::LoggingIn);
        }
        census
    }

    /// Waits until there is no session.
    pub async fn emptied(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    fn shard(&self, id: SessionId) -> &Mutex<Shard> {
        &self.shards[id.0 as usize % SHARDS]
    }
}

/// A session of this generation, or of the other one.
enum Lives<'a> {
    Here(&'a Handle),
    There(&'a SessionView),
}

/// A session that arrives is put here before it is taken from there: who has found it on neither
/// side has looked in between, and finds it here now.
fn either_side<T>(here: impl Fn() -> Option<T>, there: impl Fn() -> Option<T>) -> Option<T> {
    here().or_else(there).or_else(here)
}
