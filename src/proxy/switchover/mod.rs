//! Another primary, and all sessions on it: planned, while everybody is at work.
//!
//! ```text
//!   checked ─► called: each session is logged in at the target, and goes on meanwhile
//!     ─► the door is shut: log-ins wait
//!     ─► held: each session waits between two commands, with all that it is at the target
//!       ─► fenced: the primary takes no writes ─► caught up: the target has all of it
//!         ─► promoted: the target takes writes        from here on there is no way back
//!           ─► known: the cluster has another primary; sessions move, the door opens
//!             ─► followed: the other servers replicate from it
//! ```
//!
//! Whatever goes wrong before the target takes writes is undone, and every session goes on where it
//! is. Invariant: at no moment do both take writes. Each step has a deadline; clients notice the
//! time.
//!
//! - `words`: what servers are told. Pure. - `hand`: who tells them. - `held`: the sessions.
//! - `elsewhere`: the sessions of a proxy while another one does it.

pub(super) mod elsewhere;
mod hand;
mod held;
mod words;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::hand::{Failure, Hand};
use self::held::{COME, Held, Left};
use self::words::{Position, Source};
use super::cluster::door::Shut;
use super::cluster::{Cluster, Server};
use super::monitor::once;
use super::monitor::order::Detection;
use super::moves::Shared;
use crate::config::{ClusterKind, Secret, ServerAddress};
use crate::route::roles::{Observation, Run, Said};
use crate::route::topology::FoundRole;
use crate::task::{self, Panicked};
use crate::wire::id::SessionId;

/// How long the log-ins of all sessions at the target may take, during which they go on.
const ENTER: Duration = Duration::from_secs(30);

/// How long statements of others may keep the primary from taking no more writes.
const FENCE: Duration = Duration::from_secs(2);

/// How long the target may take to apply what is left.
const CATCH_UP: Duration = Duration::from_secs(5);

/// How long any other step may take.
const STEP: Duration = Duration::from_secs(5);

/// So many sessions are named.
const MOST_NAMED: usize = 5;

/// Why everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotSwitched {
    /// There is no such cluster.
    #[error("there is no cluster '{0}'")]
    NoCluster(String),
    /// There is no such server.
    #[error("no server of cluster '{cluster}' has the address {address}")]
    NoServer {
        /// The cluster's name.
        cluster: String,
        /// What was looked for.
        address: String,
    },
    /// OceanBase elects by itself.
    #[error("cluster '{0}' is OceanBase, which elects its leaders itself")]
    OceanBase(String),
    /// Nobody may tell servers anything.
    #[error("cluster '{0}' has no service_user, who would tell its servers")]
    NoService(String),
    /// There is nobody to be relieved.
    #[error("no server of cluster '{0}' is known to be its primary")]
    NoPrimary(String),
    /// It is done.
    #[error("{0} is the primary already")]
    Already(String),
    /// It has not what the primary has.
    #[error("{server} is not ready to be the primary: {why}")]
    NotReady {
        /// The target's address.
        server: String,
        /// Why.
        why: &'static str,
    },
    /// One at a time.
    #[error("a switchover of cluster '{0}' is under way")]
    UnderWay(String),
    /// Its sessions would not be asked.
    #[error("a restart is under way: the other process has sessions, too")]
    Restart,
    /// Log-ins did not end.
    #[error(
        "clients that were logging in did not come to an end within {}",
        humantime::format_duration(COME)
    )]
    LogIns,
    /// Sessions that would lose something.
    #[error("{0}; FORCE leaves them on a server that takes no writes")]
    Sessions(Staying),
    /// A server did not do its part.
    #[error("{server}: {step}: {source}")]
    Step {
        /// The server's address.
        server: String,
        /// What it was to do.
        step: &'static str,
        /// Why it did not.
        source: Failure,
    },
    /// The target did not come as far as the primary.
    #[error(
        "{server} has not applied what the primary has written within {}",
        humantime::format_duration(CATCH_UP)
    )]
    Behind {
        /// The target's address.
        server: String,
    },
    /// The primary cannot tell what it has written.
    #[error("{server} tells no GTID: it wants a binary log, and gtid_mode = ON if it is a MySQL")]
    NoGtid {
        /// The primary's address.
        server: String,
    },
    /// Its clients would have got errors.
    #[error("other proxies: {0}")]
    Others(String),
    /// Nobody has announced it, or it has taken too long since.
    #[error("no switchover of cluster '{0}' by another proxy is expected")]
    NotExpected(String),
    /// It did not come to its end.
    #[error("it broke off: see the log, and which server takes writes")]
    Panicked,
    /// Nobody knows whether the target takes writes, so nobody else may.
    #[error(
        "it is not known whether {server} takes writes now, so the primary takes none until \
        somebody has looked: {source}"
    )]
    Unclear {
        /// The target's address.
        server: String,
        /// Why it could not be made a replica again.
        source: Failure,
    },
    /// And that could not be undone.
    #[error("{first}; and the primary does not take writes again: {server}: {second}")]
    NotUndone {
        /// What went wrong.
        first: Box<NotSwitched>,
        /// The primary's address.
        server: String,
        /// What went wrong then.
        second: Failure,
    },
}

/// Sessions that stay, each with its reason.
#[derive(Debug)]
pub struct Staying(Vec<Left>);

impl fmt::Display for Staying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.0.iter().take(MOST_NAMED);
        let named = named.map(|(SessionId(id), why)| format!("{id}: {why}"));
        let named = named.collect::<Vec<_>>().join("; ");
        let more = match self.0.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        write!(f, "sessions that cannot move now: {named}{more}")
    }
}

/// It is done.
#[derive(Debug)]
pub struct Switched {
    /// The primary from now on.
    primary: Arc<str>,
    /// Sessions that have moved.
    moved: usize,
    /// Sessions that have not.
    staying: Staying,
    /// From the first session that waited to the word to go.
    held: Duration,
    /// What is left for somebody to do.
    remarks: Vec<String>,
}

impl fmt::Display for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { primary, moved, staying, held, remarks } = self;
        let held = held.as_millis();
        write!(f, "{primary} is the primary; {moved} sessions moved, held for {held} ms")?;
        if !staying.0.is_empty() {
            write!(f, "; {staying}")?;
        }
        remarks.iter().try_for_each(|remark| write!(f, "; {remark}"))
    }
}

/// What another one is told, and says to that: why it does not do it.
pub type Told<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Other proxies in front of the same servers, whose clients are to wait, too.
pub trait Others: Send {
    /// Their sessions are logged in at the target, and go on.
    fn ready(&mut self) -> Told<'_>;
    /// They wait, until the target takes writes, or for a while.
    fn wait(&mut self) -> Told<'_>;
    /// They need not wait any more.
    fn over(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What is to be done.
struct Plan {
    cluster: Arc<Cluster>,
    detection: Detection,
    primary: Arc<Server>,
    target: Arc<Server>,
}

impl Plan {
    /// From where to where.
    fn way(&self) -> (&Server, &Server) {
        (&self.primary, &self.target)
    }
}

/// Everybody waits.
struct Waiting {
    /// Log-ins do while it is there.
    door: Shut,
    /// When sessions were told to.
    since: Instant,
    /// Those that do not.
    left: Vec<Left>,
}

/// The sessions of a data plane, and the servers that they are on.
#[derive(Clone, Debug)]
pub(super) struct Scene(pub(super) Arc<Shared>);

impl Scene {
    /// Makes a replica the primary, with all sessions. It goes on if nobody waits.
    ///
    /// # Errors
    ///
    /// Why nothing has changed.
    pub(super) async fn switch_over(
        self,
        cluster: &str,
        address: &str,
        force: bool,
        others: Option<Box<dyn Others>>,
    ) -> Result<Switched, NotSwitched> {
        let (cluster, address) = (cluster.to_owned(), address.to_owned());
        let switched = task::spawn("switchover", async move {
            let Some(mut others) = others else {
                return Box::pin(self.switch(&cluster, &address, force, None)).await;
            };
            let switched = self.switch(&cluster, &address, force, Some(&mut *others));
            let switched = Box::pin(switched).await;
            others.over().await;
            switched
        });
        let panicked = Err(NotSwitched::Panicked);
        switched.await.unwrap_or(Err(Panicked)).unwrap_or(panicked)
    }

    /// Makes a replica the primary, with all sessions. `force`: those that cannot move stay behind.
    ///
    /// # Errors
    ///
    /// Why nothing has changed.
    async fn switch(
        &self,
        cluster: &str,
        address: &str,
        force: bool,
        others: Option<&mut dyn Others>,
    ) -> Result<Switched, NotSwitched> {
        let plan = self.plan(cluster, address)?;
        let (cluster, primary, target) = (&plan.cluster, &plan.primary, &plan.target);
        let before = self.ask(&plan, primary, "asked what it is").await?;
        let after = self.ask(&plan, target, "asked what it is").await?;
        is_ready(&before, &after)
            .map_err(|why| NotSwitched::NotReady { server: target.address.to_string(), why })?;
        let (mut from, mut to) =
            (self.hand(cluster, primary).await?, { self.hand(cluster, target).await? });
        let mut held = Held::new();
        // At leisure: everybody is at work meanwhile.
        let called = held.call(&self.0, cluster, plan.way(), Instant::now() + ENTER);
        if let Err(why) = gather(called, others).await {
            held.stay().await;
            return Err(NotSwitched::Others(why));
        }
        let Waiting { door, since, left } = match self.hold(&plan, &mut held, force).await {
            Ok(waiting) => waiting,
            Err(why) => {
                held.stay().await;
                return Err(why);
            }
        };
        let waiting = held.len();
        let (name, server) = (&*cluster.name, &*target.address);
        tracing::info!(cluster = name, server, waiting, "switchover: sessions wait");
        let position = match self.promote(cluster, &mut from, &mut to).await {
            Ok(position) => position,
            Err(why) => {
                held.stay().await;
                tracing::warn!(cluster = name, server, %why, "switchover called off");
                return Err(why);
            }
        };
        let mut remarks = Vec::new();
        for server in [primary, target] {
            match self.ask(&plan, server, "asked what it is now").await {
                Ok(said) => {
                    cluster.hear(&server.address, Some(Observation::Said(said)), None);
                }
                Err(why) => remarks.push(why.to_string()),
            }
        }
        self.0.in_force.new_primary().tell();
        let time = since.elapsed();
        let (moved, late) = held.go().await;
        drop(door);
        let staying = Staying(left.into_iter().chain(late).collect());
        tracing::info!(cluster = name, server, moved, held = ?time, "switchover: done");
        self.follow(&plan, (from, to), &position, &mut remarks).await;
        Ok(Switched { primary: target.address.clone(), moved, staying, held: time, remarks })
    }

    /// Has log-ins wait, and those sessions that were called; on an error they are to stay.
    async fn hold(
        &self,
        plan: &Plan,
        held: &mut Held,
        force: bool,
    ) -> Result<Waiting, NotSwitched> {
        let cluster = &plan.cluster;
        let door = cluster.door().shut();
        let door = door.ok_or_else(|| NotSwitched::UnderWay(cluster.name.to_string()))?;
        if !door.left(Instant::now() + COME).await {
            return Err(NotSwitched::LogIns);
        }
        // Those who have come meanwhile.
        held.call(&self.0, cluster, plan.way(), Instant::now() + COME).await;
        let since = Instant::now();
        let left = held.come(since + COME).await;
        match left.is_empty() || force {
            true => Ok(Waiting { door, since, left }),
            false => Err(NotSwitched::Sessions(Staying(left))),
        }
    }

    fn plan(&self, name: &str, address: &str) -> Result<Plan, NotSwitched> {
        let config = self.0.in_force.config();
        let cluster = self.0.in_force.clusters().find(name).cloned();
        let cluster = cluster.ok_or_else(|| NotSwitched::NoCluster(name.into()))?;
        let target = cluster.server(address).cloned().ok_or_else(|| NotSwitched::NoServer {
            cluster: name.into(),
            address: address.into(),
        })?;
        if cluster.section().kind == ClusterKind::Oceanbase {
            return Err(NotSwitched::OceanBase(name.into()));
        }
        let detection = Detection::of(&cluster, &config).filter(|it| it.credentials.is_some());
        let detection = detection.ok_or_else(|| NotSwitched::NoService(name.into()))?;
        if !self.0.sessions.registry.other_generation.all().is_empty() {
            return Err(NotSwitched::Restart);
        }
        let topology = cluster.topology();
        let primary = topology.primary().map(|server| server.member.address.clone());
        let primary = primary.ok_or_else(|| NotSwitched::NoPrimary(name.into()))?;
        if primary == target.address {
            return Err(NotSwitched::Already(address.into()));
        }
        let primary = cluster.server(&primary).cloned();
        let primary = primary.ok_or_else(|| NotSwitched::NoPrimary(name.into()))?;
        Ok(Plan { cluster, detection, primary, target })
    }

    async fn ask(
        &self,
        plan: &Plan,
        server: &Arc<Server>,
        step: &'static str,
    ) -> Result<Said, NotSwitched> {
        let (config, tls) = (self.0.in_force.config(), self.0.in_force.tls().server());
        let said = once::ask(&plan.detection, server, &config, tls.as_ref()).await;
        said.map_err(|error| failed(&server.address, step)(error.into()))
    }

    async fn hand(&self, cluster: &Cluster, server: &Arc<Server>) -> Result<Hand, NotSwitched> {
        let hand = Hand::on(&self.0.in_force, cluster, server).await;
        hand.map_err(failed(&server.address, "logged in to by the service account"))
    }

    /// From the primary's last write to the target's first. How far the primary was.
    async fn promote(
        &self,
        cluster: &Cluster,
        from: &mut Hand,
        to: &mut Hand,
    ) -> Result<Position, NotSwitched> {
        let fenced = fence(from, to).await;
        let first = match fenced {
            Ok(at) => match to.run_all(to.words.open(), STEP).await {
                Ok(()) => return Ok(at),
                Err(why) => {
                    let server = to.server.address.to_string();
                    // It may have come about: first of all it is to take none.
                    self.fence_again(cluster, to).await.map_err(|source| NotSwitched::Unclear {
                        server: server.clone(),
                        source,
                    })?;
                    failed(&server, "made writable")(why)
                }
            },
            Err(first) => first,
        };
        let opened = match Hand::on(&self.0.in_force, cluster, &from.server).await {
            Ok(mut again) => {
                let opened = again.run_all(again.words.open(), STEP).await;
                again.part();
                opened
            }
            Err(why) => Err(why),
        };
        match opened {
            Ok(()) => Err(first),
            Err(second) => {
                let (first, server) = (Box::new(first), from.server.address.to_string());
                Err(NotSwitched::NotUndone { first, server, second })
            }
        }
    }

    /// The target is a replica again, whichever part of its promotion came about.
    async fn fence_again(&self, cluster: &Cluster, to: &Hand) -> Result<(), Failure> {
        let mut again = Hand::on(&self.0.in_force, cluster, &to.server).await?;
        again.run_all(again.words.fence(FENCE), FENCE + STEP).await?;
        let started = again.run(again.words.start(), STEP).await;
        again.part();
        started.map(drop)
    }

    /// The other servers replicate from the new primary. What does not succeed is told.
    async fn follow(
        &self,
        plan: &Plan,
        (mut from, mut to): (Hand, Hand),
        position: &Position,
        remarks: &mut Vec<String>,
    ) {
        if let Err(why) = to.run(to.words.forget(), STEP).await {
            remarks.push(format!("{} remembers its source: {why}", to.server.address));
        }
        to.part();
        let section = plan.cluster.section();
        let place = section.server.iter().map(|server| &server.address);
        let place = place.into_iter().find(|it| *it.to_string() == *plan.target.address);
        let Some(ServerAddress::Tcp { host, port }) = place else {
            remarks.push("the other servers do not follow: its address is a Unix socket".into());
            return;
        };
        let password = section.service_password.as_ref().map_or("", Secret::reveal);
        let account = Some((&*section.service_user, password));
        let old = Source { host, port: *port, account };
        match from.is_private() {
            true => {
                let words = from.words.follow(&old, Some(position));
                let followed = from.run_all(words, STEP).await;
                remarks.push(told(&from.server.address, followed));
            }
            false => remarks.push(format!(
                "{} does not follow: by a connection without TLS it cannot be told a password",
                from.server.address
            )),
        }
        from.part();
        let source = Source { account: None, ..old };
        let topology = plan.cluster.topology();
        for replica in topology.servers().iter().filter(|it| it.found == FoundRole::Replica) {
            let address = &replica.member.address;
            let is_other = *address != plan.primary.address && *address != plan.target.address;
            let Some(server) = plan.cluster.server(address).filter(|_| is_other) else { continue };
            let followed = match Hand::on(&self.0.in_force, &plan.cluster, server).await {
                Ok(mut hand) => {
                    let words = hand.words.follow(&source, None);
                    let followed = hand.run_all(words, STEP).await;
                    hand.part();
                    followed
                }
                Err(why) => Err(why),
            };
            remarks.push(told(address, followed));
        }
    }
}

/// Sessions are called, here and elsewhere; those elsewhere wait then.
async fn gather(
    called: impl Future<Output = ()>,
    others: Option<&mut dyn Others>,
) -> Result<(), String> {
    let Some(others) = others else {
        called.await;
        return Ok(());
    };
    let ((), ready) = tokio::join!(called, others.ready());
    ready?;
    others.wait().await
}

fn told(address: &str, followed: Result<(), Failure>) -> String {
    match followed {
        Ok(()) => format!("{address} follows it"),
        Err(why) => format!("{address} does not follow it: {why}"),
    }
}

/// Whether one may take over from the other, by what both say.
fn is_ready(primary: &Said, target: &Said) -> Result<(), &'static str> {
    let is_grouped = |said: &Said| said.wsrep.is_some() || said.group.is_some();
    let runs = target.replication.as_ref().map(|replication| replication.run);
    match (primary.read_only, target.read_only, runs) {
        _ if is_grouped(primary) || is_grouped(target) => {
            Err("it is of a group, which elects by itself")
        }
        (Some(true), ..) => Err("the primary takes no writes, so nobody knows who is to follow it"),
        (.., None) => Err("it does not replicate"),
        (.., Some(Run::Stopped)) => Err("its replication is stopped"),
        (_, Some(false), _) => Err("it takes writes of its own: read_only is OFF"),
        (_, _, Some(Run::Running)) => Ok(()),
    }
}

fn failed(address: &str, step: &'static str) -> impl FnOnce(Failure) -> NotSwitched + use<> {
    let server = address.to_owned();
    move |source| NotSwitched::Step { server, step, source }
}

/// From the primary's last write to the moment before the target's first. How far the primary was.
async fn fence(from: &mut Hand, to: &mut Hand) -> Result<Position, NotSwitched> {
    let (old, new) = (from.server.address.clone(), to.server.address.clone());
    let fenced = from.run_all(from.words.fence(FENCE), FENCE + STEP).await;
    fenced.map_err(failed(&old, "made read-only"))?;
    let at = from.run(from.words.position(), STEP).await;
    let at = at.map_err(failed(&old, "asked how far it is"))?;
    let at = at.as_deref().and_then(Position::read);
    let at = at.ok_or_else(|| NotSwitched::NoGtid { server: old.to_string() })?;
    let caught_up = to.run(&to.words.catch_up(&at, CATCH_UP), CATCH_UP + STEP).await;
    let caught_up = caught_up.map_err(failed(&new, "waited for"))?;
    if caught_up.as_deref() != Some(b"0") {
        return Err(NotSwitched::Behind { server: new.to_string() });
    }
    let stopped = to.run(to.words.stop(), STEP).await;
    stopped.map_err(failed(&new, "its replication stopped"))?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::moves::Stays;
    use crate::route::roles::{Replication, Wsrep};

    fn said(read_only: bool, run: Option<Run>) -> Said {
        let replication = run.map(|run| Replication { source: "10.0.0.1:3306".into(), run });
        Said {
            at: Instant::now(),
            read_only: Some(read_only),
            super_read_only: None,
            replication,
            wsrep: None,
            group: None,
            lag: None,
        }
    }

    #[test]
    fn who_is_a_replica_that_replicates_may_take_over() {
        let primary = said(false, None);
        let running = said(true, Some(Run::Running));
        assert_eq!(is_ready(&primary, &running), Ok(()));
        for (target, why) in [
            (said(true, None), "does not replicate"),
            (said(true, Some(Run::Stopped)), "is stopped"),
            (said(false, Some(Run::Running)), "read_only is OFF"),
            (Said { wsrep: Some(Wsrep::Synced), ..running.clone() }, "elects by itself"),
        ] {
            let told = is_ready(&primary, &target).expect_err(why);
            assert!(told.contains(why), "{told}");
        }
        assert!(is_ready(&said(true, None), &running).is_err());
    }

    #[test]
    fn a_few_sessions_are_named() {
        let left = |id| (SessionId(id), Stays::Pinned("user lock".into()));
        let one = Staying(vec![left(7)]).to_string();
        assert_eq!(one, "sessions that cannot move now: 7: it is pinned: user lock");
        let many = Staying((0..8).map(left).collect()).to_string();
        assert!(many.ends_with("; and 3 more"), "{many}");
    }
}
