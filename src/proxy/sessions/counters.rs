//! What was counted: here, in predecessors, and what people were told of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use crate::lock::lock;
use crate::metrics::Totals;
use crate::metrics::pauses::{PauseClock, Pauses};
use crate::proxy::digests::Counted as Digests;

/// What is counted beside the sessions' own counters.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that were refused.
    pub refused: AtomicU64,
    /// Sessions that were asked to end when the time of a drain was over.
    pub disconnected: AtomicU64,
    /// Of sessions that arrived in this process, or came back to it.
    pub pauses: PauseClock,
    inherited: Mutex<Counted>,
    shown: Mutex<Shown>,
}

/// What people were told of the counters.
#[derive(Debug, Default)]
struct Shown {
    counted: Counted,
    /// Nobody is accepted here any more. Who still asks must not hear of more than the successor
    /// counts on from, or what it tells would go back.
    is_final: bool,
}

/// What one generation hands to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counted {
    #[serde(flatten)]
    totals: Totals,
    pauses: Pauses,
    /// Statements by their shapes, which are counted elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub digests: Vec<Digests>,
}

impl Counted {
    fn add(&mut self, other: &Self) {
        self.totals.add(&other.totals);
        self.pauses.add(&other.pauses);
    }
}

impl Counters {
    /// What was counted here and in predecessors, when these sessions counted so much. Never goes
    /// back, also while sessions move.
    pub fn totals(&self, sessions: impl FnOnce() -> Totals) -> Totals {
        let mut shown = self.shown();
        if !shown.is_final {
            shown.counted.totals.raise_to(&self.counted(sessions()).totals);
        }
        shown.counted.totals
    }

    /// How long sessions stood still in restarts, here and in predecessors. Never goes back.
    pub fn all_pauses(&self) -> Pauses {
        let mut shown = self.shown();
        if !shown.is_final {
            shown.counted.pauses.raise_to(&self.counted(Totals::default()).pauses);
        }
        shown.counted.pauses.clone()
    }

    /// Whether what people are told stays as it is.
    pub fn close(&self, is_final: bool) {
        self.shown().is_final = is_final;
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        lock(&self.shown)
    }

    /// What these sessions counted, and all that no session counts, here and in predecessors.
    pub fn counted(&self, sessions: Totals) -> Counted {
        let mut counted = self.counted_here(sessions);
        counted.add(&lock(&self.inherited));
        counted
    }

    /// The same of this process alone.
    pub fn counted_here(&self, sessions: Totals) -> Counted {
        let mut totals = sessions;
        let refused = self.refused.load(Ordering::Relaxed);
        totals.refused_client_connections += refused;
        totals.total_client_connections += refused;
        Counted { totals, pauses: self.pauses.pauses(), digests: Vec::new() }
    }

    /// Counts on from what a predecessor has counted.
    pub fn inherit(&self, counted: Counted) {
        *lock(&self.inherited) = counted;
    }

    /// Adds what a successor has counted that gives its sessions back.
    pub fn credit(&self, counted: &Counted) {
        lock(&self.inherited).add(counted);
    }
}
