//! Restarts of a whole fleet as tasks: begun by an operator at any of its proxies, which
//! coordinates them, and kept, so that they go on whatever becomes of that process.
//!
//! ```text
//! Tasks      the handle: start, stop, roll_back, retry, list, watch
//!   driver     does what a machine says, one task at a time, while this process serves
//!     machine    what happens next; verdict: what a proxy's answers mean. Both pure
//!   claim      who is about to begin one
//!   store      tasks in memory and on the disk
//!     record     what a task is
//! ```
//! There is no leader: each proxy refuses a second restart, so two coordinators harm nobody; and of
//! two that are asked at once for the same proxies the first begins. The proxy that coordinates is
//! restarted last; its successor finds the task and goes on.

mod claim;
mod driver;
mod machine;
mod record;
mod store;
mod verdict;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{sleep, timeout};

use claim::{Claim, Claims};
pub use record::{Build, Mode, Phase, Request, Stage, State, Step, StepState, Task};
use store::Store;

use super::hour::{Hours, Sum};
use super::lines::Lines;
use super::members::{Member, choose, members};
use super::port::{Row, is_settled};
pub use super::rehearsals::Rehearsal;
use super::rehearsals::Rehearsals;
use super::status::{self, Asked, Status, ask_all, ask_members};
pub(crate) use super::status::{serves, sessions};
use super::told;
pub(crate) use super::told::Told;
use crate::config::Config;
use crate::error::chain;
use crate::restart::{Lifecycle, task as restart};
use crate::task;

/// How long a process that has just begun to serve may take to know what was there before it.
const KNOWING: Duration = Duration::from_secs(5);
/// How long somebody who is asked at the same time may take to give way, or to begin; and an order
/// to be judged that came before.
const JUDGING: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The tasks of the fleet that this proxy coordinates. All clones are the same.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    config: Arc<ArcSwap<Config>>,
    lifecycle: Lifecycle,
    /// Of this process, as SHOW PROXYINFO BINARY has it: nobody else has both.
    identity: (u32, String),
    /// Whether what was kept has been read.
    is_known: watch::Sender<bool>,
    /// Whether what is known is all there is: nobody else drives.
    is_ready: watch::Sender<bool>,
    /// There is something to do.
    news: Notify,
    /// Held while a task is judged that is to be begun.
    judging: Mutex<()>,
    /// Who asks this proxy meanwhile is shown that.
    claims: Claims,
    /// By which the proxies are looked at.
    lines: Lines,
    /// What the proxies have counted.
    hours: Hours,
    /// What they have said that they would not move.
    rehearsals: Rehearsals,
}

/// Why an order was not taken; nothing was begun.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Tasks {
    /// Of a process that was started then, as people are told.
    pub fn new(config: Arc<ArcSwap<Config>>, lifecycle: Lifecycle, started_at: String) -> Self {
        Self(Arc::new(Inner {
            store: Arc::new(Store::new(&config.load())),
            config,
            lifecycle,
            identity: (std::process::id(), started_at),
            is_known: watch::Sender::new(false),
            is_ready: watch::Sender::new(false),
            news: Notify::new(),
            judging: Mutex::default(),
            claims: Claims::default(),
            lines: Lines::default(),
            hours: Hours::new(),
            rehearsals: Rehearsals::new(),
        }))
    }

    /// Goes on with what is under way, from when this process serves.
    pub fn serve(&self) {
        let inner = self.0.clone();
        task::keep("fleet", move || driver::serve(inner.clone()));
    }

    /// All tasks that are remembered, the newest first. A process that has just begun is waited
    /// for until it knows them.
    pub async fn list(&self) -> Vec<Task> {
        let mut known = self.0.is_known.subscribe();
        // What is kept cannot be read: what there is has to do.
        let _ = timeout(KNOWING, known.wait_for(|is_known| *is_known)).await;
        self.0.store.list()
    }

    /// The one that is under way.
    pub fn under_way(&self) -> Option<u64> {
        self.0.store.under_way()
    }

    /// What others are shown while it is judged whether one can be begun.
    pub fn claim(&self) -> Option<String> {
        self.0.claims.shown()
    }

    /// Counts changes of them.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.store.watch()
    }

    /// Begins a task, once it is sure that every proxy can be asked and may be restarted; its id.
    ///
    /// # Errors
    ///
    /// Somebody stands in its way: everybody who does is named.
    pub async fn start(&self, request: Request, by: &str) -> Result<u64, Refused> {
        let inner = &self.0;
        let _judging = inner.judging().await?;
        // It is shown until the task is.
        let claim = inner.claims.make();
        let steps = inner.judge(&request, &claim).await?;
        let mut task = Task {
            id: 0,
            request,
            by: by.to_owned(),
            started_at_ms: now(),
            ended_at_ms: None,
            state: State::InProgress,
            stage: Stage::Rolling,
            is_stopping: false,
            steps,
            detail: String::new(),
        };
        task.stage = task.first_stage();
        let id = inner.store.add(task);
        if let Err(error) = inner.store.save().await {
            inner.store.forget(id);
            return Err(Refused(error));
        }
        tracing::info!(task = id, by, "fleet task begun");
        inner.news.notify_one();
        Ok(id)
    }

    /// Has a task begin nothing more; what is under way is seen to its end.
    ///
    /// # Errors
    ///
    /// There is no such task, or it has ended.
    pub async fn stop(&self, id: u64, by: &str) -> Result<(), Refused> {
        self.order(id, by, "stopped", Task::stop).await
    }

    /// Restarts those that the task has restarted into what they ran before, where that is known.
    ///
    /// # Errors
    ///
    /// There is no such task, nothing was restarted, or nobody knows what ran before.
    pub async fn roll_back(&self, id: u64, by: &str) -> Result<(), Refused> {
        self.order(id, by, "rolled back", Task::roll_back).await
    }

    /// Goes on with a task that has failed or was stopped, from there.
    ///
    /// # Errors
    ///
    /// There is no such task, or it is under way or completed.
    pub async fn retry(&self, id: u64, by: &str) -> Result<(), Refused> {
        self.order(id, by, "tried again", Task::retry).await
    }

    /// The task that a restart of this proxy is part of, or a rehearsal, by when it has begun.
    pub fn of_restart(&self, mode: restart::Mode, started_at_ms: u64) -> Option<u64> {
        self.0.store.newest(|task| task.has_begun(mode, started_at_ms))
    }

    /// How each proxy of the fleet is, by its name; or only this one, if there is one.
    pub(crate) async fn members(&self, only: Option<&str>) -> anyhow::Result<Vec<Asked>> {
        let mut members = members(&self.0.config.load_full()).await?;
        members.retain(|member| only.is_none_or(|name| name == member.name));
        Ok(ask_members(members, &self.0.lines).await)
    }

    /// What the other proxies tell of the tasks that they coordinate, or only that one.
    pub(crate) async fn of_others(&self, only: Option<&str>) -> anyhow::Result<Vec<Told>> {
        let mut members = members(&self.0.config.load_full()).await?;
        members.retain(|member| only.is_none_or(|name| name == member.name));
        let inner = self.0.clone();
        Ok(told::ask(members, &self.0.lines, move |proxy| inner.is_us(proxy)).await)
    }

    /// What each proxy has gone through in a task that this one coordinates.
    pub(crate) async fn steps_of(&self, name: &str, task: u64) -> anyhow::Result<Vec<Row>> {
        let all = members(&self.0.config.load_full()).await?;
        let member = all.iter().find(|member| member.name == name);
        let member = member.ok_or_else(|| anyhow!("the fleet has no proxy '{name}'"))?;
        let steps = told::steps(member, &self.0.lines, task).await;
        steps.with_context(|| name.to_owned())
    }

    /// The other proxies of the fleet that serve a cluster.
    ///
    /// # Errors
    ///
    /// One does not answer, so nobody knows whether it does.
    pub(crate) async fn others(&self, cluster: &str) -> Result<Vec<Member>, Refused> {
        let all = members(&self.0.config.load_full()).await;
        let all = all.map_err(|error| Refused(chain(error.as_ref())))?;
        let asked = ask(all.clone()).await;
        let mut others = Vec::new();
        for (member, Asked { name, answer }) in all.into_iter().zip(asked) {
            let status =
                answer.map_err(|trouble| Refused(format!("{name}: {}", chain(&trouble))))?;
            if !self.is_this(&status) && serves(status.clusters.as_deref(), cluster) {
                others.push(member);
            }
        }
        Ok(others)
    }

    /// Has each that a task would be of asked what it would not move, and restarts none; how many
    /// they are.
    ///
    /// # Errors
    ///
    /// There is no such proxy.
    pub async fn rehearse(&self, request: &Request) -> Result<usize, Refused> {
        let inner = &self.0;
        let all = members(&inner.config.load_full()).await;
        let all = all.map_err(|error| Refused(chain(error.as_ref())))?;
        let mut chosen = all.clone();
        request.choose(&mut chosen)?;
        // Whoever was named is asked, which tells most.
        if let (Some(cluster), []) = (&request.cluster, &*request.proxies) {
            chosen = of_cluster(chosen, cluster, &[]).await?;
        }
        let count = chosen.len();
        inner.rehearsals.begin(chosen, &all);
        Ok(count)
    }

    /// What each proxy has said last to that.
    pub fn rehearsals(&self) -> Vec<Rehearsal> {
        self.0.rehearsals.list()
    }

    /// Whether it is this process that has said so.
    pub(crate) fn is_this(&self, status: &Status) -> bool {
        self.0.is_us(&status.proxy)
    }

    /// The last hour of all of them in one sum, the oldest first.
    pub(crate) async fn hour(&self) -> anyhow::Result<Vec<Sum>> {
        self.0.hours.ask(&self.0.config.load_full(), &self.0.lines).await
    }

    async fn order(
        &self,
        id: u64,
        by: &str,
        what: &str,
        order: impl FnOnce(&mut Task) -> Result<(), String>,
    ) -> Result<(), Refused> {
        let inner = &self.0;
        let _judging = inner.judging().await?;
        if let Some(other) = inner.store.under_way().filter(|other| *other != id) {
            return Err(Refused(format!("fleet task {other} is under way")));
        }
        let before = inner.store.find(id);
        let done = inner.store.change(id, order);
        let done = done.ok_or_else(|| Refused(format!("there is no fleet task {id}")))?;
        done.map_err(|why| Refused(format!("fleet task {id}: {why}")))?;
        if let Err(error) = inner.store.save().await {
            inner.store.change(id, |task| before.into_iter().for_each(|before| *task = before));
            return Err(Refused(error));
        }
        tracing::info!(task = id, by, "fleet task {what}");
        inner.news.notify_one();
        Ok(())
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tasks").field(&self.0.store).finish()
    }
}

/// Those of them that serve a cluster, or do not say. Whoever was named must serve it.
///
/// # Errors
///
/// One that was named does not, or none does.
pub(crate) async fn of_cluster(
    members: Vec<Member>,
    cluster: &str,
    named: &[String],
) -> Result<Vec<Member>, Refused> {
    let asked = ask(members.clone()).await;
    let both = serving(members.into_iter().zip(asked).collect(), cluster, named)?;
    Ok(both.into_iter().map(|(member, _)| member).collect())
}

/// How they are, by their names.
async fn ask(members: Vec<Member>) -> Vec<Asked> {
    let names: Vec<String> = members.iter().map(|member| member.name.clone()).collect();
    let asked = ask_all(members.into_iter().map(|member| member.port).collect()).await;
    names.into_iter().zip(asked).map(|(name, asked)| Asked { name, ..asked }).collect()
}

impl Inner {
    /// One order at a time, and none before it is known what there is.
    async fn judging(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Refused> {
        let refused = |_| Refused("the proxy does not serve yet, or another one follows".into());
        let mut ready = self.is_ready.subscribe();
        let known = timeout(KNOWING, ready.wait_for(|is_ready| *is_ready)).await;
        drop(known.map_err(refused)?);
        // What has become of the one before is what is to be told.
        let judging = timeout(JUDGING, self.judging.lock()).await;
        judging.map_err(|_| Refused("another order is being judged".into()))
    }

    /// The steps of a task, if nobody stands in its way.
    async fn judge(&self, request: &Request, claim: &Claim<'_>) -> Result<Vec<Step>, Refused> {
        if let Some(other) = self.store.under_way() {
            return Err(Refused(format!("fleet task {other} is under way")));
        }
        let all = members(&self.config.load_full()).await;
        let mut all = all.map_err(|error| Refused(chain(error.as_ref())))?;
        request.choose(&mut all)?;
        let asked = ask(all.clone()).await;
        let mut both: Vec<_> = all.into_iter().zip(asked).collect();
        if let Some(cluster) = &request.cluster {
            both = serving(both, cluster, &request.proxies)?;
        }
        let mut whys = Vec::new();
        let mut steps = Vec::new();
        for (member, asked) in both {
            let asked = self.settled(&member, asked, claim).await;
            let (name, address) = (asked.name, member.port.name);
            let status = match asked.answer {
                Ok(status) => status,
                Err(trouble) => {
                    whys.push(format!("{name}: {}", chain(&trouble)));
                    continue;
                }
            };
            let coordinates = self.is_us(&status.proxy);
            let others = status.proxy.number("fleet_task").filter(|_| !coordinates);
            let others =
                others.map(|id| format!("it coordinates fleet task {id}, which is under way"));
            let claimed = self.claim_of(&status).map(|_| {
                "it is about to begin a restart of the fleet, which somebody else has asked for"
            });
            let others = others.or(claimed.map(str::to_owned));
            let why = in_the_way(&status, request.mode).or(others);
            whys.extend(why.map(|why| format!("{name}: {why}")));
            steps.push(step(name, address, coordinates));
        }
        match whys.is_empty() {
            true => Ok(steps),
            false => Err(Refused(format!("nothing was begun: {}", whys.join("; ")))),
        }
    }

    /// The same proxy once it is no more about to begin a task that has to wait for ours.
    async fn settled(&self, member: &Member, mut asked: Asked, claim: &Claim<'_>) -> Asked {
        let begun = Instant::now();
        let is_about_to = |asked: &Asked| {
            let other = asked.answer.as_ref().ok().and_then(|status| self.claim_of(status));
            other.is_some_and(|other| claim.is_before(other))
        };
        while is_about_to(&asked) && begun.elapsed() < JUDGING {
            sleep(LOOK).await;
            asked.answer = status::ask(&member.port).await;
        }
        asked
    }

    /// The claim of a proxy that is another one.
    fn claim_of<'s>(&self, status: &'s Status) -> Option<&'s str> {
        let claim = status.proxy.text("fleet_claim").filter(|claim| !claim.is_empty());
        claim.filter(|_| !self.is_us(&status.proxy))
    }

    fn is_us(&self, proxy: &Row) -> bool {
        let (pid, started_at) = &self.identity;
        proxy.number("pid") == Some(u64::from(*pid))
            && proxy.text("started_at") == Some(started_at.as_str())
    }
}

impl Request {
    /// Leaves those that are named, or all.
    fn choose(&self, all: &mut Vec<Member>) -> Result<(), Refused> {
        let unknown = |name| Refused(format!("the fleet has no proxy '{name}'"));
        choose(all, &self.proxies).map_err(unknown)
    }
}

/// Why a proxy cannot be restarted now.
fn in_the_way(status: &Status, mode: Mode) -> Option<String> {
    let text = |name| status.proxy.text(name).unwrap_or_default();
    match mode {
        Mode::Force => None,
        Mode::Restart if is_settled(&status.proxy) => None,
        Mode::Restart => Some(match text("phase") {
            "" => format!("it is {}, expected RUNNING", text("state")),
            phase => format!("it is {} ({phase}), expected RUNNING", text("state")),
        }),
    }
}

/// Those of them that serve a cluster, and those that cannot be asked, which is in the way. Whoever
/// was named must serve it.
fn serving(
    mut both: Vec<(Member, Asked)>,
    cluster: &str,
    named: &[String],
) -> Result<Vec<(Member, Asked)>, Refused> {
    let serves = |asked: &Asked| {
        let clusters = asked.answer.as_ref().ok().and_then(|status| status.clusters.as_deref());
        status::serves(clusters, cluster)
    };
    let other = both.iter().find(|(_, asked)| !serves(asked) && named.contains(&asked.name));
    if let Some((_, Asked { name, .. })) = other {
        return Err(Refused(format!("{name} does not serve the cluster '{cluster}'")));
    }
    both.retain(|(_, asked)| serves(asked));
    match both.is_empty() {
        true => Err(Refused(format!("no proxy of the fleet serves the cluster '{cluster}'"))),
        false => Ok(both),
    }
}

fn step(proxy: String, address: String, coordinates: bool) -> Step {
    Step {
        proxy,
        address,
        coordinates,
        state: StepState::Waiting,
        before: None,
        mark: None,
        phases: Vec::new(),
        detail: String::new(),
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
