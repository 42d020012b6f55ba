//! What stored programs of servers may change in the sessions that run them, as far as is known.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::Cluster;
use crate::sql::analysis::Changes;

/// What triggers may do that nobody has seen: what they usually do, if they do anything to a
/// session. That they take no locks is said in the limits.
pub(in crate::proxy) const UNSEEN: Changes = Changes::USER_VARIABLES.with(Changes::VARIABLES);

/// How long nothing is believed of programs of which one is being defined anew.
const DOUBTFUL: Duration = Duration::from_secs(5);

/// What stored programs may change in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// Any trigger; None: they cannot be seen.
    pub triggers: Option<Changes>,
    /// Routines of a name, in lower case, of whatever schema, with all that they call. Of others
    /// nothing is known.
    pub routines: Arc<HashMap<Vec<u8>, Changes>>,
}

/// What is known of a server's.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Known(ArcSwap<State>);

#[derive(Clone, Debug, Default)]
struct State {
    programs: Programs,
    /// One was defined anew then, and they were not read since.
    doubted: Option<Instant>,
}

impl Known {
    /// Whether they are to be read before their time.
    pub(in crate::proxy) fn is_stale(&self, now: Instant) -> bool {
        let doubted = self.0.load().doubted;
        doubted.is_some_and(|at| now.saturating_duration_since(at) > DOUBTFUL)
    }

    /// They were read, from this instant on.
    fn hear(&self, programs: Programs, began: Instant) {
        self.0.rcu(|state| {
            let is_early = state.doubted.is_some_and(|at| began < at + DOUBTFUL);
            match is_early {
                true => state.clone(),
                false => Arc::new(State { programs: programs.clone(), doubted: None }),
            }
        });
    }

    fn doubt(&self, now: Instant) {
        self.0.rcu(|state| {
            let triggers = state.programs.triggers.map(|changes| changes | UNSEEN);
            let programs = Programs { triggers, ..Programs::default() };
            State { programs, doubted: Some(now) }
        });
    }
}

impl Cluster {
    /// What stored programs of one of its servers may do, as of this instant.
    pub(in crate::proxy) fn hear_programs(
        &self,
        address: &str,
        programs: Programs,
        began: Instant,
    ) {
        if let Some(server) = self.server(address) {
            server.programs.hear(programs, began);
        }
    }

    /// One of a server's is being defined anew.
    pub(in crate::proxy) fn doubt_programs(&self, address: &str) {
        if let Some(server) = self.server(address) {
            server.programs.doubt(Instant::now());
        }
    }

    /// What triggers of one of its servers may change in a session, as far as is known.
    pub(in crate::proxy) fn fired(&self, address: &str) -> Changes {
        let of = |server: &super::Server| server.programs.0.load().programs.triggers;
        self.server(address).and_then(|server| of(server)).unwrap_or(UNSEEN)
    }

    /// What routines of this name may change in a session.
    pub(in crate::proxy) fn called(&self, address: &str, name: &[u8]) -> Changes {
        let of = |server: &super::Server| {
            let state = server.programs.0.load();
            state.programs.routines.get(&name.to_ascii_lowercase()).copied()
        };
        self.server(address).and_then(|server| of(server)).unwrap_or(Changes::ANYTHING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_defined_anew_is_believed_when_it_was_read_after_that() {
        let known = Known::default();
        let routines = HashMap::from([(b"p".to_vec(), Changes::USER_VARIABLES)]);
        let programs = Programs { triggers: None, routines: Arc::new(routines) };
        let now = Instant::now();
        let knows = |known: &Known| known.0.load().programs == programs;
        known.hear(programs.clone(), now);
        assert!(knows(&known) && !known.is_stale(now + DOUBTFUL * 2));
        known.doubt(now);
        assert!(!knows(&known) && !known.is_stale(now + DOUBTFUL));
        known.hear(programs.clone(), now + DOUBTFUL / 2);
        assert!(!knows(&known), "it may not be there yet");
        assert!(known.is_stale(now + DOUBTFUL * 2));
        known.hear(programs.clone(), now + DOUBTFUL);
        assert!(knows(&known) && !known.is_stale(now + DOUBTFUL * 2));
    }
}
