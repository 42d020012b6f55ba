//! One look at the fleet for all who look: the proxies of it are asked by this process, not by each
//! browser.
//!
//! They are asked while somebody looks, and no more often than each [`FRESH`]. Nobody waits for a
//! proxy that does not answer: what was known last is shown, and what comes is told as an event, if
//! it is another than before. What all have counted is asked for as often as they count.

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

/// So long it is no news that all have served for longer.
const OLDER: Duration = Duration::from_secs(60);

/// So long the first who looks waits for it.
const PATIENCE: Duration = Duration::from_millis(50);

/// Longer than they may take.
const LONGEST: Duration = Duration::from_secs(15);

/// What was heard of the fleet.
#[derive(Clone)]
pub(super) struct Heard {
    /// A row is a proxy; or why nobody could be asked.
    pub proxies: Result<Arc<Table>, Problem>,
    /// A row is what all have counted in ten seconds.
    pub hour: Arc<Table>,
    /// How many looks have shown something new.
    pub looks: u64,
    /// How often they were asked what they have counted.
    pub counts: u64,
    /// When the last of them has answered, or failed to.
    at: Instant,
    /// When something was new.
    new_at: Instant,
    /// When they were asked what they have counted.
    counted_at: Instant,
}

impl Heard {
    /// Of nobody.
    fn nothing() -> Self {
        let (proxies, hour, now) = (Ok(Arc::default()), Arc::default(), Instant::now());
        Self { proxies, hour, looks: 0, counts: 0, at: now, new_at: now, counted_at: now }
    }

    /// What is known now that they have said this.
    fn followed_by(self, proxies: Result<Table, Problem>, hour: Option<Table>) -> Self {
        let now = Instant::now();
        let before = self.proxies.as_ref().map(|table| &**table);
        let is_new = self.looks == 0
            || self.new_at.elapsed() >= OLDER
            || shown(before) != shown(proxies.as_ref());
        let (counts, counted_at) = match hour {
            Some(_) => (self.counts + 1, now),
            None => (self.counts, self.counted_at),
        };
        Self {
            proxies: proxies.map(Arc::new),
            hour: hour.map_or(self.hour, Arc::new),
            looks: self.looks + u64::from(is_new),
            counts,
            at: now,
            new_at: if is_new { now } else { self.new_at },
            counted_at,
        }
    }
}

/// What of a look is news if it is another.
fn shown<'a>(of: Result<&'a Table, &'a Problem>) -> Result<Table, &'a Problem> {
    of.map(|table| table.clone().without(&["uptime_s"]))
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
            return Some(Heard::nothing());
        }
        let mut heard = self.heard.subscribe();
        self.ask(caller);
        if heard.borrow().is_none() {
            let _ = tokio::time::timeout(PATIENCE, heard.wait_for(Option::is_some)).await;
        }
        heard.borrow_and_update().clone()
    }

    /// What was heard last; nobody is asked, and nobody waits.
    pub(super) fn last(&self) -> Option<Heard> {
        self.heard.borrow().clone()
    }

    /// What is known; who is the first waits until they have answered, or failed to.
    pub(super) async fn heard(self: &Arc<Self>, caller: &Caller) -> Option<Heard> {
        let known = self.known(caller).await;
        if known.is_some() {
            return known;
        }
        let mut heard = self.heard.subscribe();
        // Who asks has deadlines; if he panics, there is nothing to be had.
        let waited = tokio::time::timeout(LONGEST, heard.wait_for(Option::is_some)).await;
        waited.ok()?.ok()?.clone()
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
            let (proxies, hour) =
                tokio::join!(members(&look.admin, &caller), look.hour(&caller, before.as_ref()));
            let before = before.unwrap_or_else(Heard::nothing);
            look.heard.send_replace(Some(before.followed_by(proxies, hour)));
        });
    }

    /// What all have counted; None: they have not counted since they were asked.
    async fn hour(&self, caller: &Caller, before: Option<&Heard>) -> Option<Table> {
        if before.is_some_and(|it| it.counted_at.elapsed() < COUNTED) {
            return None;
        }
        // Whoever cannot be asked for that cannot be asked how he is, which is told.
        Some(hour(&self.admin, caller).await.unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sessions: &str, uptime: &str) -> Table {
        let mut table = Table::with_columns(&["name", "uptime_s", "sessions"]);
        table.push(["a", uptime, sessions].map(str::to_owned));
        table
    }

    #[test]
    fn a_look_is_news_if_it_shows_something_else_than_that_time_goes_by() {
        let first = Heard::nothing().followed_by(Ok(table("1", "7")), None);
        let same = first.clone().followed_by(Ok(table("1", "9")), None);
        let other = same.clone().followed_by(Ok(table("2", "9")), None);
        let looks = [&first, &same, &other].map(|heard| heard.looks);
        assert_eq!(looks, [1, 1, 2]);
        let gone = || Err(Problem::not_found("no fleet"));
        let none = other.clone().followed_by(gone(), None).followed_by(gone(), None);
        assert_eq!(none.looks, 3);
        // It is shown, too: now and then.
        let past = Instant::now().checked_sub(OLDER).expect("the machine runs for longer");
        let old = Heard { new_at: past, ..same };
        assert_eq!(old.followed_by(Ok(table("1", "69")), None).looks, 2);
    }

    #[test]
    fn what_all_have_counted_is_kept_until_they_have_counted_more() {
        let counted = Heard::nothing().followed_by(Ok(table("1", "7")), Some(table("3", "")));
        let same = counted.clone().followed_by(Ok(table("1", "8")), None);
        assert_eq!((counted.counts, same.counts), (1, 1));
        assert_eq!(same.hour, counted.hour);
        assert_eq!(same.followed_by(Ok(table("1", "9")), Some(Table::default())).counts, 2);
    }
}
