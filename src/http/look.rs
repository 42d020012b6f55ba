//! One look at the fleet for all who look: the proxies of it are asked by this process, not by each
//! browser.
//!
//! They are asked while somebody looks, and no more often than each [`FRESH`]. Nobody waits for a
//! proxy that does not answer: what was known last is shown, and what comes is told as an event.
//! What all have counted is asked for as often as they count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::fleet::{hour, members};
use super::reply::Problem;
use crate::admin::{Admin, Caller, Table};
use crate::task;

/// What was heard is new for so long.
const FRESH: Duration = Duration::from_secs(5);

/// So long what they have counted is.
const COUNTED: Duration = Duration::from_secs(10);

/// So long the first who looks waits for it.
const PATIENCE: Duration = Duration::from_millis(50);

/// What was heard of the fleet.
#[derive(Clone)]
pub(super) struct Heard {
    /// A row is a proxy; or why nobody could be asked.
    pub proxies: Result<Arc<Table>, Problem>,
    /// A row is what all have counted in ten seconds.
    pub hour: Arc<Table>,
    /// How many looks there were.
    pub looks: u64,
    /// When the last of them has answered, or failed to.
    at: Instant,
    /// When they were asked what they have counted.
    counted_at: Instant,
}

/// The look.
pub(super) struct Look {
    admin: Arc<Admin>,
    heard: watch::Sender<Option<Heard>>,
    is_asking: AtomicBool,
}

impl Look {
    pub(super) fn new(admin: Arc<Admin>) -> Arc<Self> {
        let (heard, is_asking) = (watch::Sender::new(None), AtomicBool::new(false));
        Arc::new(Self { admin, heard, is_asking })
    }

    /// Whether there is anybody to be asked.
    fn has_fleet(&self) -> bool {
        !self.admin.proxy.config().fleet.is_empty()
    }

    /// What is known of the fleet; None: they are being asked for the first time.
    pub(super) async fn known(self: &Arc<Self>, caller: &Caller) -> Option<Heard> {
        if !self.has_fleet() {
            let (proxies, hour, now) = (Ok(Arc::default()), Arc::default(), Instant::now());
            return Some(Heard { proxies, hour, looks: 0, at: now, counted_at: now });
        }
        let mut heard = self.heard.subscribe();
        self.ask(caller);
        if heard.borrow().is_none() {
            let _ = tokio::time::timeout(PATIENCE, heard.wait_for(Option::is_some)).await;
        }
        heard.borrow_and_update().clone()
    }

    /// Has all be asked, unless that was done a moment ago, or is being done.
    pub(super) fn ask(self: &Arc<Self>, caller: &Caller) {
        let is_fresh = self.heard.borrow().as_ref().is_some_and(|it| it.at.elapsed() < FRESH);
        if is_fresh || !self.has_fleet() || self.is_asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (asking, caller) = (Asking(self.clone()), caller.clone());
        task::spawn("fleet look", async move {
            let look = &asking.0;
            let before = look.heard.borrow().clone();
            let (proxies, (hour, counted_at)) =
                tokio::join!(members(&look.admin, &caller), look.hour(&caller, before.as_ref()));
            let (proxies, at) = (proxies.map(Arc::new), Instant::now());
            let looks = before.map_or(0, |heard| heard.looks) + 1;
            look.heard.send_replace(Some(Heard { proxies, hour, looks, at, counted_at }));
        });
    }

    /// What all have counted, and when they were asked.
    async fn hour(&self, caller: &Caller, before: Option<&Heard>) -> (Arc<Table>, Instant) {
        let known = before.filter(|it| it.counted_at.elapsed() < COUNTED);
        if let Some(known) = known {
            return (known.hour.clone(), known.counted_at);
        }
        let now = Instant::now();
        // Whoever cannot be asked for that cannot be asked how he is, which is told.
        let hour = hour(&self.admin, caller).await;
        (Arc::new(hour.unwrap_or_default()), now)
    }

    /// Hears of each look.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Heard>> {
        self.heard.subscribe()
    }
}

/// Somebody is asking; ended also by a panic.
struct Asking(Arc<Look>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.is_asking.store(false, Ordering::Release);
    }
}
