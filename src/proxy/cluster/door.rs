//! The door of a cluster: log-ins wait in front of it while its primary is switched.
//!
//! ```text
//!   open ─ shut ─► shut: who is inside goes on ─► all have left ─ opened ─► open
//! ```

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::timeout_at;

use super::Cluster;

/// Where log-ins come in.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Door(watch::Sender<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_shut: bool,
    /// Log-ins that have chosen a server, or are about to.
    inside: usize,
}

/// A log-in that has come in; dropped, it has left.
#[derive(Debug)]
pub(in crate::proxy) struct Inside(Arc<Door>);

/// It is shut as long as this is kept.
#[derive(Debug)]
pub(in crate::proxy) struct Shut(Arc<Door>);

impl Cluster {
    /// Where log-ins come in.
    pub(in crate::proxy) fn door(&self) -> &Arc<Door> {
        &self.door
    }
}

impl Door {
    /// Whether who comes has to wait.
    pub(in crate::proxy) fn is_shut(&self) -> bool {
        self.0.borrow().is_shut
    }

    /// Comes in; None if it is shut for all this time. Cancel safe.
    pub(in crate::proxy) async fn enter(self: &Arc<Self>, until: Instant) -> Option<Inside> {
        let come_in = |state: &mut State| {
            state.inside += usize::from(!state.is_shut);
            !state.is_shut
        };
        while !self.0.send_if_modified(come_in) {
            let mut state = self.0.subscribe();
            timeout_at(until.into(), state.wait_for(|state| !state.is_shut)).await.ok()?.ok()?;
        }
        Some(Inside(self.clone()))
    }

    /// Shuts it; None if it is shut already.
    pub(in crate::proxy) fn shut(self: &Arc<Self>) -> Option<Shut> {
        let shut = |state: &mut State| !std::mem::replace(&mut state.is_shut, true);
        self.0.send_if_modified(shut).then(|| Shut(self.clone()))
    }
}

impl Shut {
    /// Waits until all log-ins have left that were inside; false if some are by then.
    pub(in crate::proxy) async fn left(&self, until: Instant) -> bool {
        let mut state = self.0.0.subscribe();
        timeout_at(until.into(), state.wait_for(|state| state.inside == 0)).await.is_ok()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.inside -= 1);
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.is_shut = false);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn who_comes_late_waits_until_it_opens() {
        let door = Arc::new(Door::default());
        let early = door.enter(soon()).await.expect("it is open");
        let shut = door.shut().expect("nobody has");
        assert!(door.shut().is_none(), "one at a time");
        assert!(door.enter(Instant::now()).await.is_none());
        assert!(!shut.left(Instant::now()).await, "one is inside");
        let late = tokio::spawn({
            let door = door.clone();
            async move { door.enter(soon()).await }
        });
        drop(early);
        assert!(shut.left(soon()).await);
        assert!(!late.is_finished());
        drop(shut);
        assert!(late.await.expect("no panic").is_some());
        assert!(door.shut().is_some());
    }
}
