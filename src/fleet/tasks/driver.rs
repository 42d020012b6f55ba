//! Does what the machine of a task says: asks, restarts and watches proxies, and keeps what has
//! happened before it goes on.
//!
//! Invariant: only a process that serves and is in no restart drives. What it has begun then goes
//! on without it, and whoever drives next finds out what became of that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::machine::{Action, Event};
use super::record::{Mark, Mode, State, StepState};
use super::verdict::{self, Restart};
use super::{Inner, Request, now};
use crate::error::chain;
use crate::fleet::members::members;
use crate::fleet::port::{Admin, AdminPort, Row, Trouble};
use crate::fleet::progress::Progress;
use crate::fleet::roll::{self, Order, What};
use crate::restart::Standing;
use crate::restart::task::State as Life;
use crate::task::caught;

/// How long a proxy may not be there, when it is to be found out how it is.
const SILENCE: Duration = Duration::from_secs(15);
/// How long an order may be on its way whose sender has died: it is written down first, for which a
/// disk that hangs has a second.
const ARRIVAL: Duration = Duration::from_secs(2);
/// How often a proxy is looked at meanwhile, and while it is watched.
const LOOK: Duration = Duration::from_millis(200);

type Standings = watch::Receiver<Standing>;

/// Drives one task after another while this process serves.
pub(super) async fn serve(inner: Arc<Inner>) {
    let mut standings = inner.lifecycle.subscribe();
    // To be shown; the predecessor may still drive.
    inner.store.load().await;
    inner.is_known.send_replace(true);
    loop {
        if standings.wait_for(is_free).await.is_err() {
            return;
        }
        // The other generation may have driven since.
        inner.store.load().await;
        inner.is_ready.send_replace(true);
        while is_free(&standings.borrow()) {
            if let Some(id) = inner.store.under_way() {
                drive(&inner, id, &mut standings).await;
                continue;
            }
            // All branches are cancel safe.
            tokio::select! {
                () = inner.news.notified() => {}
                _ = standings.wait_for(|standing| !is_free(standing)) => {}
            }
        }
        inner.is_ready.send_replace(false);
    }
}

fn is_free(standing: &Standing) -> bool {
    standing.state == Life::Running && standing.phase.is_none()
}

/// Something to do.
enum Work {
    Act(Action),
    /// To find out what became of a restart.
    Resume(usize),
}

/// Drives a task to its end, or until this process has something else to do.
async fn drive(inner: &Arc<Inner>, id: u64, standings: &mut Standings) {
    let mut changes = inner.store.watch();
    let under_way = inner.store.change(id, |task| task.resume()).unwrap_or_default();
    let mut works = JoinSet::new();
    let begin = |works: &mut JoinSet<()>, work| {
        let driver = Driver { inner: inner.clone(), id };
        works.spawn(async move { driver.work(work).await });
    };
    under_way.into_iter().for_each(|at| begin(&mut works, Work::Resume(at)));
    loop {
        changes.borrow_and_update();
        let next = inner.store.change(id, |task| (task.poll(now()), task.state));
        let Some((actions, state)) = next else { return };
        if !actions.is_empty() || state != State::InProgress {
            inner.save().await;
        }
        if state != State::InProgress {
            tracing::info!(task = id, %state, "fleet task ended");
            return;
        }
        actions.into_iter().for_each(|action| begin(&mut works, Work::Act(action)));
        // All branches are cancel safe. What is dropped with `works` only looked on.
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            Some(_) = works.join_next() => {}
            _ = standings.wait_for(|standing| !is_free(standing)) => return,
        }
    }
}

impl Inner {
    /// What cannot be kept is said: the task goes on as long as this process does.
    async fn save(&self) {
        if let Err(error) = self.store.save().await {
            tracing::error!(error, "a fleet task is not kept");
        }
    }
}

/// One thing that is done for a task.
struct Driver {
    inner: Arc<Inner>,
    id: u64,
}

impl Driver {
    async fn work(self, work: Work) {
        match work {
            Work::Act(Action::Rehearse(at)) => {
                let result = self.said(self.rehearse(at)).await;
                self.happened(Event::Rehearsed(at, result)).await;
            }
            Work::Act(Action::Restart(at)) => {
                let result = self.said(self.restart(at)).await;
                self.happened(Event::Restarted(at, result)).await;
            }
            Work::Act(Action::Return(at)) => {
                let result = self.said(self.restart(at)).await;
                self.happened(Event::Restarted(at, result)).await;
            }
            Work::Act(Action::Undo(at)) => {
                // How it ends is seen by who has begun it.
                if let Err(why) = self.said(self.undo(at)).await {
                    tracing::warn!(task = self.id, why, "a restart is not taken back");
                }
            }
            Work::Act(Action::Watch(all)) => {
                let mut watching = JoinSet::new();
                for at in all {
                    let driver = Driver { inner: self.inner.clone(), id: self.id };
                    watching.spawn(async move {
                        let result = driver.said(driver.watch(at)).await;
                        driver.happened(Event::Watched(at, result)).await;
                    });
                }
                watching.join_all().await;
            }
            Work::Resume(at) => {
                let result = self.said(self.resume(at)).await;
                self.happened(Event::Restarted(at, result)).await;
            }
        }
    }

    /// What came of it, in words.
    async fn said(
        &self,
        work: impl Future<Output = anyhow::Result<String>>,
    ) -> Result<String, String> {
        match caught("fleet task", Box::pin(work)).await {
            Ok(result) => result.map_err(|error| chain(error.as_ref())),
            Err(_) => Err("a defect of odp, which is in its log".into()),
        }
    }

    async fn happened(&self, event: Event) {
        self.inner.store.change(self.id, |task| task.handle(event, now()));
        self.inner.save().await;
    }

    async fn port(&self, at: usize) -> anyhow::Result<AdminPort> {
        let task = self.inner.store.find(self.id).context("the task is forgotten")?;
        let proxy = &task.steps[at].proxy;
        let all = members(&self.inner.config.load_full()).await?;
        let found = all.into_iter().find(|member| member.name == *proxy);
        Ok(found.with_context(|| format!("the fleet has no proxy '{proxy}' any more"))?.port)
    }

    async fn rehearse(&self, at: usize) -> anyhow::Result<String> {
        let request = self.request()?;
        let (binary, config) = (request.binary, request.config);
        let order = Order::new(What::Rehearsal, None, binary, config)?;
        roll::rehearse(&self.port(at).await?, &order, &self.watcher(at)).await
    }

    fn request(&self) -> anyhow::Result<Request> {
        Ok(self.inner.store.find(self.id).context("the task is forgotten")?.request)
    }

    fn watcher(&self, at: usize) -> Watcher {
        Watcher { inner: self.inner.clone(), id: self.id, at }
    }

    /// As the task asks, or into what it ran before.
    fn order(&self, at: usize) -> anyhow::Result<Order> {
        let task = self.inner.store.find(self.id).context("the task is forgotten")?;
        let Request { mode, exit_timeout, binary, config, .. } = task.request.clone();
        if task.steps[at].state == StepState::Returning {
            let build = task.build_before(&task.steps[at]).map_err(|why| anyhow!(why))?;
            let (binary, config) = (build.binary.clone().into(), build.config.clone().into());
            return Order::new(What::Restart, exit_timeout, Some(binary), Some(config));
        }
        let what = match mode {
            Mode::Restart => What::Restart,
            Mode::Force => What::Force(None),
        };
        Order::new(what, exit_timeout, binary, config)
    }

    async fn restart(&self, at: usize) -> anyhow::Result<String> {
        let (port, order, watcher) = (self.port(at).await?, self.order(at)?, self.watcher(at));
        let mut admin = port.connect().await?;
        let proxy = admin.proxy().await?;
        let (tasks, stat) = (admin.tasks().await?, admin.stat().await?);
        let (mark, build) = verdict::mark(&proxy, &tasks, &stat);
        self.inner.store.change(self.id, |task| task.handle(Event::Found(at, mark, build), now()));
        // Whoever goes on with the task is to know how it was before. Not if that cannot be kept.
        self.inner.store.save().await.map_err(|why| anyhow!("not restarted: {why}"))?;
        let restart = admin.restart(order.statement()).await?;
        self.see_through(&port, admin, restart, &watcher).await
    }

    async fn see_through(
        &self,
        port: &AdminPort,
        admin: Admin,
        restart: u64,
        watcher: &Watcher,
    ) -> anyhow::Result<String> {
        let how = roll::watch(port, admin, restart, watcher).await?;
        watcher.says(&port.name, "waiting for RUNNING");
        let proxy = roll::running(port).await?;
        let text = |name| proxy.text(name).unwrap_or("?");
        Ok(format!("RUNNING as pid {}, version {}; {how}", text("pid"), text("version")))
    }

    async fn undo(&self, at: usize) -> anyhow::Result<String> {
        let mut admin = self.port(at).await?.connect().await?;
        admin.roll_back().await?;
        Ok(String::new())
    }

    /// Finds out what became of a restart that another process has asked for, and sees it through.
    async fn resume(&self, at: usize) -> anyhow::Result<String> {
        let (port, watcher) = (self.port(at).await?, self.watcher(at));
        watcher.says(&port.name, "finding out what became of its restart");
        let task = self.inner.store.find(self.id).context("the task is forgotten")?;
        let Some(mark) = task.steps[at].mark else { return self.restart(at).await };
        let (admin, restart) = found_out(&port, mark).await?;
        match (restart, task.steps[at].state) {
            (Restart::UnderWay(restart) | Restart::Ended(restart), _) => {
                self.see_through(&port, admin, restart, &watcher).await
            }
            (Restart::NotBegun, StepState::Undoing) => bail!("its restart was not begun"),
            (Restart::NotBegun, _) => {
                admin.quit().await;
                self.restart(at).await
            }
        }
    }

    /// Whether a proxy that was restarted is well, and stays so for a while; it is looked at once
    /// more, and not for longer, when the task is to stop.
    async fn watch(&self, at: usize) -> anyhow::Result<String> {
        let (port, request) = (self.port(at).await?, self.request()?);
        let task = self.inner.store.find(self.id).context("the task is forgotten")?;
        let usual = task.steps[at].mark.map(|mark| mark.answers).unwrap_or_default();
        let first = patiently(|| look(&port)).await?;
        let (begun, begin) = (Instant::now(), verdict::answers(&first.stat));
        loop {
            let stops = self.inner.store.find(self.id).is_none_or(|task| task.is_stopping());
            let is_last = stops || begun.elapsed() >= request.pause.0;
            let now = patiently(|| look(&port)).await?;
            let end = verdict::answers(&now.stat);
            let errors = verdict::too_many_errors(usual, begin, end, request.max_error_percent);
            if let Some(why) = verdict::illness(&first.proxy, &now.proxy, &now.status).or(errors) {
                bail!("not well {:.1} s after its restart: {why}", begun.elapsed().as_secs_f64());
            }
            if is_last {
                return Ok(task.steps[at].detail.clone());
            }
            sleep(LOOK.min(request.pause.0)).await;
        }
    }
}

/// How a proxy is.
struct Looked {
    proxy: Row,
    stat: Row,
    status: String,
}

async fn look(port: &AdminPort) -> Result<Looked, Trouble> {
    let mut admin = port.connect().await?;
    let (proxy, stat) = (admin.proxy().await?, admin.stat().await?);
    let status = admin.status().await?;
    admin.quit().await;
    Ok(Looked { proxy, stat, status })
}

/// What became of a restart that another process was about to ask for. What that has sent last may
/// not have been read yet.
async fn found_out(port: &AdminPort, mark: Mark) -> Result<(Admin, Restart), Trouble> {
    let begun = Instant::now();
    loop {
        let looked = patiently(|| async {
            let mut admin = port.connect().await?;
            let tasks = admin.tasks().await?;
            Ok((admin, tasks))
        });
        let (admin, tasks) = looked.await?;
        let restart = verdict::since(mark, &tasks);
        if restart != Restart::NotBegun || begun.elapsed() >= ARRIVAL {
            return Ok((admin, restart));
        }
        admin.quit().await;
        sleep(LOOK).await;
    }
}

/// Asks until there is an answer, for as long as a proxy may be silent.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Trouble>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(_) if begun.elapsed() < SILENCE => sleep(LOOK).await,
            answer => return answer,
        }
    }
}

/// Shows people what is going on with a proxy, as long as it does.
struct Watcher {
    inner: Arc<Inner>,
    id: u64,
    at: usize,
}

impl Progress for Watcher {
    fn says(&self, _: &str, text: &str) {
        self.inner.store.change(self.id, |task| text.clone_into(&mut task.steps[self.at].detail));
    }

    fn shows(&self, name: &str, restart: &Row) {
        let text = |column| restart.text(column).unwrap_or_default();
        let (phase, moved, sessions) = (text("phase"), text("moved"), text("sessions"));
        self.says(name, &format!("{phase}, {moved} of {sessions} sessions moved"));
    }

    fn ended(&self, _: &str, _: anyhow::Result<String>) {}

    fn left_alone(&self, _: &str) {}
}
