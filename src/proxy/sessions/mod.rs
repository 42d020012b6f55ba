//! Who is here: the sessions under way, what others see of them and ask of them, and who may come
//! in.

pub mod admission;
pub mod counters;
pub mod handle;
pub mod limits;
pub mod other_generation;
pub mod protection;
pub mod registry;
pub mod stay;
pub mod trace;
pub mod view;
pub mod vigil;
pub mod wait_timeout;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::metrics::Totals;
use crate::wire::id::SessionId;
use counters::Counters;
use handle::{Handle, Signal, Stage};
use registry::Registry;
use view::SessionView;

/// All sessions, and what was counted of them.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Those of this process, and what is known of the other generation's.
    pub registry: Registry,
    /// What was counted.
    pub counters: Counters,
}

impl Sessions {
    /// Every session of both generations, while two live, each once.
    pub fn all(&self) -> Vec<SessionView> {
        let row = |handle: &Arc<Handle>| (handle.id, handle.view());
        // In this order nobody is missed who goes there, or comes from there, meanwhile.
        let mut rows: BTreeMap<SessionId, SessionView> =
            self.registry.all().iter().map(row).collect();
        rows.extend(self.registry.other_generation.all().into_iter().map(|view| (view.id, view)));
        let own = self.registry.all();
        rows.extend(own.iter().filter(|handle| handle.stage() != Stage::Moving).map(row));
        rows.into_values().collect()
    }

    /// What was counted here and in predecessors. Never goes back, also while sessions move.
    pub fn totals(&self) -> Totals {
        self.counters.totals(|| self.registry.totals())
    }

    /// Every session gets 1053 and is closed.
    pub fn disconnect_all(&self) {
        for handle in self.registry.all() {
            if handle.stage() != Stage::Closing {
                self.counters.disconnected.fetch_add(1, Ordering::Relaxed);
            }
            handle.raise(Signal::Shutdown);
        }
    }
}
