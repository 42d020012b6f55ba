//! What changes, told to whoever looks, while somebody looks: server-sent events.
//!
//! ```text
//!   id: PID.NUMBER     an event of this process; the last ones can be had again
//!   event: state       how the proxy stands, all of it
//!   event: task        a restart, all of it
//!   event: fleet       a restart of the fleet, all of it
//!   event: topology    the clusters and their servers, without what is counted of them
//!   event: sample      ten seconds of the proxy
//!   event: look        the proxies of the fleet were asked how they are: one is otherwise
//!   event: hour        they were asked what they have counted
//! ```
//! Events tell how something is, not what has happened to it: who comes anew, or from another
//! process, is told how everything is, and has missed nothing. How many sessions a proxy has is
//! another with each second: where only that has changed it is told as often as it is asked of
//! other proxies. One task looks for all who listen; it ends with the last of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};

use super::door;
use super::fleet;
use super::look::Look;
use super::reply::{Problem, Reply, live};
use super::resource;
use super::who::Standing;
use crate::admin::{Admin, Caller};
use crate::lock::lock;
use crate::task;

/// So long one answer goes on; then a browser comes again.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// Listeners at most.
const MOST: usize = 256;

/// Events that can be had again.
const KEPT: usize = 256;

/// How often is looked, if nothing says that something has changed.
const PERIOD: Duration = Duration::from_secs(1);

/// So often a proxy is told of of which nothing but [`COUNTS`] has changed.
const COUNTED: Duration = Duration::from_secs(5);

/// What is another with each second.
const COUNTS: [&str; 2] = ["sessions", "in_transaction"];

/// At most so often, whatever changes.
const SHORTEST: Duration = Duration::from_millis(200);

/// Without an event for so long a line says that we live.
const SILENCE: Duration = Duration::from_secs(15);

/// A listener who takes nothing for so long is gone.
const STUCK: Duration = Duration::from_secs(30);

/// Pieces that may wait for a listener.
const WAITING: usize = 16;

/// When browsers come again after the end, in milliseconds: a restart takes less.
const RETRY_MS: u32 = 500;

#[derive(Clone, Debug, PartialEq)]
struct Event {
    number: u64,
    /// What it is about: later ones about the same replace it.
    about: String,
    kind: &'static str,
    data: String,
    /// What of it is told at once if it changes.
    gist: String,
    at: Instant,
}

impl Event {
    /// Whether there is no need yet to tell this instead.
    fn will_do(&self, data: &str, gist: &str, at: Instant) -> bool {
        let is_fresh = at.saturating_duration_since(self.at) < COUNTED;
        self.data == data || self.gist == gist && is_fresh
    }

    fn bytes(&self) -> Bytes {
        let Self { number, kind, data, .. } = self;
        let pid = std::process::id();
        format!("id: {pid}.{number}\nevent: {kind}\ndata: {data}\n\n").into()
    }
}

/// Who listens, and what there was.
pub(super) struct Hub {
    admin: Arc<Admin>,
    look: Arc<Look>,
    places: Arc<Semaphore>,
    told: Arc<Mutex<Told>>,
}

struct Told {
    number: u64,
    last: VecDeque<Arc<Event>>,
    to: broadcast::Sender<Arc<Event>>,
    is_watched: bool,
}

impl Hub {
    pub(super) fn new(admin: Arc<Admin>, look: Arc<Look>) -> Self {
        let to = broadcast::Sender::new(KEPT);
        let told = Told { number: 0, last: VecDeque::new(), to, is_watched: false };
        let (places, told) = (Arc::new(Semaphore::new(MOST)), Arc::new(Mutex::new(told)));
        Self { admin, look, places, told }
    }

    /// The number of what was told last.
    pub(super) fn last_event(&self) -> u64 {
        lock(&self.told).number
    }

    /// Tells somebody, who has heard `last` if anything, as long as he is somebody.
    pub(super) async fn listen(
        &self,
        caller: &Caller,
        standing: Standing,
        last: Option<&str>,
    ) -> Result<Reply, Problem> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            let text = format!("{MOST} listen already");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        let now = how_it_is(&self.admin, caller).await?;
        let (missed, events) = {
            let mut told = lock(&self.told);
            let events = told.to.subscribe();
            let missed = told.since(last);
            told.tell(now, Instant::now());
            if !std::mem::replace(&mut told.is_watched, true) {
                let (admin, look) = (self.admin.clone(), self.look.clone());
                let (told, caller) = (self.told.clone(), caller.clone());
                let again =
                    move || watch(admin.clone(), look.clone(), told.clone(), caller.clone());
                task::keep("console events", again);
            }
            (missed.unwrap_or_else(|| told.newest()), events)
        };
        let (to, pieces) = mpsc::channel(WAITING);
        task::spawn("console listener", pass_on(missed, events, to, standing, place));
        Ok(live("text/event-stream", pieces))
    }
}

impl Told {
    /// What came behind an event of ours; None: it is not known any more, or another process's.
    fn since(&self, last: Option<&str>) -> Option<Vec<Arc<Event>>> {
        let (pid, number) = last?.split_once('.')?;
        let number: u64 = number.parse().ok()?;
        let is_ours = pid.parse() == Ok(std::process::id()) && number <= self.number;
        let first = self.last.front().map_or(self.number + 1, |event| event.number);
        (is_ours && number + 1 >= first)
            .then(|| self.last.iter().filter(|event| event.number > number).cloned().collect())
    }

    /// How everything is.
    fn newest(&self) -> Vec<Arc<Event>> {
        let is_last = |event: &&Arc<Event>| {
            let same = self.last.iter().rev().find(|other| other.about == event.about);
            same.is_some_and(|same| same.number == event.number)
        };
        self.last.iter().filter(is_last).cloned().collect()
    }

    /// Tells what has changed of this.
    fn tell(&mut self, now: Vec<(String, &'static str, Value)>, at: Instant) {
        for (about, kind, value) in now {
            let (data, gist) = (value.to_string(), gist(kind, value));
            let before = self.last.iter().rev().find(|event| event.about == about);
            if before.is_some_and(|before| before.will_do(&data, &gist, at)) {
                continue;
            }
            self.number += 1;
            let event = Arc::new(Event { number: self.number, about, kind, data, gist, at });
            self.last.push_back(event.clone());
            if self.last.len() > KEPT {
                self.last.pop_front();
            }
            // Nobody may be there any more.
            let _ = self.to.send(event);
        }
    }
}

fn gist(kind: &str, mut value: Value) -> String {
    if let (Some(fields), "state") = (value.as_object_mut(), kind) {
        COUNTS.iter().for_each(|name| drop(fields.remove(*name)));
    }
    value.to_string()
}

/// Everything that events are about.
async fn how_it_is(
    admin: &Admin,
    caller: &Caller,
) -> Result<Vec<(String, &'static str, Value)>, Problem> {
    let proxies = door::proxies(admin, caller).await?;
    let tasks = door::show(admin, caller, "SHOW RESTART").await?;
    let mut now = Vec::new();
    for row in proxies.rows() {
        let mut value = resource::PROXY.value(&row);
        // It would be news each second.
        value.as_object_mut().map(|it| it.remove("uptime_s"));
        now.push((format!("proxy {}", row.text("name")), "state", value));
    }
    // Older ones do not change.
    for row in tasks.rows().take(8).collect::<Vec<_>>().into_iter().rev() {
        let about = format!("task {}", row.text("task_id"));
        now.push((about, "task", resource::TASK.value(&row)));
    }
    now.push(("topology".into(), "topology", topology(admin, caller).await?));
    let history = door::show(admin, caller, "SHOW PROXYHISTORY").await?;
    if let Some(row) = history.rows().next_back() {
        now.push(("sample".into(), "sample", resource::SAMPLE.value(&row)));
    }
    let fleet = fleet::tasks(admin, caller).await?;
    for row in fleet.rows().take(4).collect::<Vec<_>>().into_iter().rev() {
        let name = row.text("task_id");
        if let Some(whole) = fleet::whole(admin, caller, name).await? {
            now.push((name.to_owned(), "fleet", whole));
        }
    }
    Ok(now)
}

async fn topology(admin: &Admin, caller: &Caller) -> Result<Value, Problem> {
    let clusters = door::show(admin, caller, "SHOW PROXYCLUSTER").await?;
    let clusters: Vec<_> = clusters.rows().map(|row| row.text("cluster_name").to_owned()).collect();
    let mut servers = resource::SERVER.values(&door::show(admin, caller, "SHOW PROXYROUTE").await?);
    for server in servers.iter_mut().filter_map(Value::as_object_mut) {
        // They would be news each second.
        ["lag_s", "links", "reads", "writes"].iter().for_each(|name| drop(server.remove(*name)));
    }
    Ok(json!({"clusters": clusters, "servers": servers}))
}

/// Looks for all who listen.
async fn watch(admin: Arc<Admin>, look: Arc<Look>, told: Arc<Mutex<Told>>, caller: Caller) {
    let mut standing = admin.lifecycle.subscribe();
    let heard = look.subscribe();
    loop {
        look.ask(&caller);
        tokio::time::sleep(SHORTEST).await;
        let changed = tokio::time::timeout(PERIOD - SHORTEST, standing.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            tokio::time::sleep(PERIOD).await;
        }
        let mut now = how_it_is(&admin, &caller).await;
        if let (Some(heard), Ok(now)) = (&*heard.borrow(), &mut now) {
            now.push(("look".into(), "look", json!({"looks": heard.looks})));
            now.push(("hour".into(), "hour", json!({"counts": heard.counts})));
        }
        let mut told = lock(&told);
        if told.to.receiver_count() == 0 {
            told.is_watched = false;
            return;
        }
        match now {
            Ok(now) => told.tell(now, Instant::now()),
            Err(error) => tracing::warn!(error = error.detail, "console: nothing to tell"),
        }
    }
}

/// Passes events on to one listener, until he is gone or has not kept up.
async fn pass_on(
    missed: Vec<Arc<Event>>,
    mut events: broadcast::Receiver<Arc<Event>>,
    to: mpsc::Sender<Bytes>,
    mut standing: Standing,
    _place: OwnedSemaphorePermit,
) {
    let hello = Bytes::from(format!("retry: {RETRY_MS}\n\n"));
    let mut heard = missed.last().map_or(0, |event| event.number);
    for piece in std::iter::once(hello).chain(missed.iter().map(|event| event.bytes())) {
        if !send(&to, piece).await {
            return;
        }
    }
    loop {
        let next = tokio::select! {
            // A receiver that is dropped in the middle has lost nothing.
            next = tokio::time::timeout(SILENCE, events.recv()) => next,
            () = standing.has_ended() => return,
            () = to.closed() => return,
        };
        let piece = match next {
            Err(_) => Bytes::from_static(b": alive\n\n"),
            Ok(Ok(event)) if event.number <= heard => continue,
            Ok(Ok(event)) => {
                heard = event.number;
                event.bytes()
            }
            // He comes again, and is told how everything is.
            Ok(Err(_)) => return,
        };
        if !send(&to, piece).await {
            return;
        }
    }
}

async fn send(to: &mpsc::Sender<Bytes>, piece: Bytes) -> bool {
    matches!(tokio::time::timeout(STUCK, to.send(piece)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told() -> Told {
        let to = broadcast::Sender::new(KEPT);
        Told { number: 0, last: VecDeque::new(), to, is_watched: false }
    }

    fn tell(told: &mut Told, (about, kind, value): (&str, &'static str, Value)) {
        told.tell(vec![(about.into(), kind, value)], Instant::now());
    }

    fn numbers(events: &[Arc<Event>]) -> Vec<u64> {
        events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn who_comes_again_gets_what_he_missed_or_how_everything_is() {
        let mut told = told();
        for pid in 0..3 {
            tell(&mut told, ("proxy", "state", json!({"pid": pid})));
        }
        tell(&mut told, ("task 1", "task", json!({"state": "COMPLETED"})));
        let own = |number: u64| format!("{}.{number}", std::process::id());
        let since = |last: &str| told.since(Some(last)).map(|events| numbers(&events));
        assert_eq!(since(&own(2)), Some(vec![3, 4]));
        assert_eq!(since(&own(4)), Some(vec![]));
        assert_eq!(since(&own(0)), Some(vec![1, 2, 3, 4]));
        for strange in
            ["", "x", "1.2", &own(5), "9999999999.1", &format!("{}.x", std::process::id())]
        {
            assert_eq!(since(strange), None, "{strange}");
        }
        assert_eq!(numbers(&told.newest()), [3, 4], "of each thing the last");
    }

    #[test]
    fn what_is_the_same_is_no_news_and_old_news_go() {
        let mut told = told();
        for round in 0..2 * KEPT {
            tell(&mut told, ("proxy", "state", json!({"round": round / 2})));
        }
        assert_eq!(told.number, KEPT as u64);
        tell(&mut told, ("proxy", "state", json!({"round": "last"})));
        assert_eq!(told.last.len(), KEPT);
        assert_eq!(told.since(Some(&format!("{}.0", std::process::id()))), None);
    }

    #[test]
    fn how_many_sessions_there_are_is_told_now_and_then_and_all_else_at_once() {
        let (mut told, begun) = (told(), Instant::now());
        let numbers = [
            (0, "RUNNING", 1, 1),
            (1, "RUNNING", 2, 1),
            (4, "RUNNING", 3, 1),
            (5, "RUNNING", 4, 2),
            (6, "OFFLINE", 4, 3),
            (7, "OFFLINE", 9, 3),
            (11, "OFFLINE", 9, 4),
        ];
        for (second, status, sessions, expected) in numbers {
            let value = json!({"status": status, "sessions": sessions});
            let at = begun + Duration::from_secs(second);
            told.tell(vec![("proxy".into(), "state", value)], at);
            assert_eq!(told.number, expected, "after {second} s");
        }
    }

    #[test]
    fn an_event_is_one_whatever_is_in_it() {
        let mut told = told();
        tell(&mut told, ("proxy", "state", json!({"detail": "a\n\ndata: b\r\nid: 7"})));
        let bytes = told.newest()[0].bytes();
        let text = std::str::from_utf8(&bytes).expect("text");
        assert_eq!(text.trim_end().lines().count(), 3, "{text}");
    }
}
