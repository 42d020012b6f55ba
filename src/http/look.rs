//! One look at the fleet for all who look: the proxies of it are asked by this process, not by each
//! browser.
//!
//! They are asked while somebody looks, and no more often than each [`FRESH`]. Nobody waits for a
//! proxy that does not answer: what was known last is shown, and what comes is told as an event, if
//! it is another than before. What all have counted is asked for as often as they count; and as
//! often, or while one is under way each time, which tasks they coordinate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::fleet::{hour, members, tasks_at_others, tasks_of_others};
use super::reply::Problem;
use crate::admin::{Admin, Caller, Row, Table};
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
    /// A row is a task that another proxy coordinates, or a proxy that does not tell.
    pub tasks: Arc<Table>,
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
    /// When they were asked for their tasks.
    told_at: Instant,
}

impl Heard {
    /// Of nobody.
    fn nothing() -> Self {
        let now = Instant::now();
        Self {
            proxies: Ok(Arc::default()),
            hour: Arc::default(),
            tasks: Arc::default(),
            looks: 0,
            counts: 0,
            at: now,
            new_at: now,
            counted_at: now,
            told_at: now,
        }
    }

    /// What is known now that they have said this.
    fn followed_by(
        self,
        proxies: Result<Table, Problem>,
        hour: Option<Table>,
        tasks: Option<Table>,
    ) -> Self {
        let now = Instant::now();
        let before = self.proxies.as_ref().map(|table| &**table);
        let is_new = self.looks == 0
            || self.new_at.elapsed() >= OLDER
            || tasks.as_ref().is_some_and(|tasks| *tasks != *self.tasks)
            || shown(before) != shown(proxies.as_ref());
        let (counts, counted_at) = match hour {
            Some(_) => (self.counts + 1, now),
            None => (self.counts, self.counted_at),
        };
        let told_at = if tasks.is_some() { now } else { self.told_at };
        Self {
            proxies: proxies.map(Arc::new),
            hour: hour.map_or(self.hour, Arc::new),
            tasks: tasks.map_or(self.tasks, Arc::new),
            looks: self.looks + u64::from(is_new),
            counts,
            at: now,
            new_at: if is_new { now } else { self.new_at },
            counted_at,
            told_at,
        }
    }

    /// Whether others may coordinate other tasks than is known, or these may stand otherwise.
    fn may_have_news(&self, proxies: &Table) -> bool {
        let is_under_way = |row: Row| row.text("state") == "IN_PROGRESS";
        self.told_at.elapsed() >= COUNTED
            || self.tasks.rows().any(is_under_way)
            || !tasks_of_others(proxies).is_empty()
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
            // Afterwards: what they say tells whether there is one that is not known yet.
            let tasks = look.tasks(&caller, before.as_ref(), proxies.as_ref().ok()).await;
            let before = before.unwrap_or_else(Heard::nothing);
            look.heard.send_replace(Some(before.followed_by(proxies, hour, tasks)));
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

    /// Tasks that others coordinate; None: those that are known are all, as they stood.
    async fn tasks(
        &self,
        caller: &Caller,
        before: Option<&Heard>,
        proxies: Option<&Table>,
    ) -> Option<Table> {
        let proxies = proxies?;
        if before.is_some_and(|before| !before.may_have_news(proxies)) {
            return None;
        }
        Some(tasks_at_others(&self.admin, caller).await.unwrap_or_default())
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
        let first = Heard::nothing().followed_by(Ok(table("1", "7")), None, None);
        let same = first.clone().followed_by(Ok(table("1", "9")), None, None);
        let other = same.clone().followed_by(Ok(table("2", "9")), None, None);
        let looks = [&first, &same, &other].map(|heard| heard.looks);
        assert_eq!(looks, [1, 1, 2]);
        let gone = || Err(Problem::not_found("no fleet"));
        let none = other.clone().followed_by(gone(), None, None).followed_by(gone(), None, None);
        assert_eq!(none.looks, 3);
        // It is shown, too: now and then.
        let past = Instant::now().checked_sub(OLDER).expect("the machine runs for longer");
        let old = Heard { new_at: past, ..same };
        assert_eq!(old.followed_by(Ok(table("1", "69")), None, None).looks, 2);
    }

    #[test]
    fn what_all_have_counted_is_kept_until_they_have_counted_more() {
        let counted = Heard::nothing().followed_by(Ok(table("1", "7")), Some(table("3", "")), None);
        let same = counted.clone().followed_by(Ok(table("1", "8")), None, None);
        assert_eq!((counted.counts, same.counts), (1, 1));
        assert_eq!(same.hour, counted.hour);
        assert_eq!(same.followed_by(Ok(table("1", "9")), Some(Table::default()), None).counts, 2);
    }

    #[test]
    fn tasks_of_others_are_asked_for_again_while_one_is_under_way() {
        let of = |state: &str| {
            let mut tasks = Table::with_columns(&["task_id", "state"]);
            tasks.push(["fleet-1@b", state].map(str::to_owned));
            tasks
        };
        let mut quiet = Table::with_columns(&["name", "is_local", "fleet_task"]);
        quiet.rows.push(vec![Some("b".into()), Some("no".into()), None]);
        let mut busy = quiet.clone();
        busy.rows[0][2] = Some("fleet-2".into());
        let first = Heard::nothing().followed_by(Ok(quiet.clone()), None, Some(of("COMPLETED")));
        assert!(!first.may_have_news(&quiet));
        assert!(first.may_have_news(&busy), "one that was not known");
        let next = first.clone().followed_by(Ok(quiet.clone()), None, Some(of("IN_PROGRESS")));
        assert!(next.may_have_news(&quiet), "it may have ended");
        assert_eq!((first.looks, next.looks), (1, 2));
        let same = next.followed_by(Ok(quiet.clone()), None, None);
        assert_eq!((same.looks, same.tasks.rows().count()), (2, 1));
        let past = Instant::now().checked_sub(COUNTED).expect("the machine runs for longer");
        assert!(Heard { told_at: past, ..first }.may_have_news(&quiet));
    }
}
