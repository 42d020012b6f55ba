//! Servers that are to be left by everybody: each session whose home is there moves at its next
//! boundary, if there is another one that may be its home; each that reads there closes what it has
//! for that.
//!
//! A server that is in the config no more is left in the same way.
//!
//! Who cannot, now, is asked again: a pin may go, a transaction end, another server become the
//! primary; and more and more seldom, as long as it does not change. What keeps it is shown (SHOW
//! PROXYSESSION ATTRIBUTE, `pins`).

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::orders::Order;
use super::{Orders, Shared, Stays};
use crate::proxy::cluster::Cluster;
use crate::proxy::in_force::InForce;
use crate::proxy::relay::Relay;
use crate::proxy::service::client;
use crate::proxy::sessions::handle::{Handle, Stage};
use crate::proxy::sessions::view::{SessionState, SessionView};
use crate::route::order::Asker;
use crate::session::link::LinkId;
use crate::session::portable::Pins;
use crate::task;
use crate::wire::command::code;

/// How often it is looked who is still there.
const LOOK: Duration = Duration::from_millis(500);

/// How many times as seldom it is looked who is on a server that is there no more: for that all
/// sessions are looked at.
const SELDOM: u64 = 4;

/// After so long a silence nobody asks for the warnings of the statement before.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Sessions that move at once: each logs in, which costs the other server more than it does us.
const AT_ONCE: usize = 16;

/// How long a session may take to come between two commands, to close a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a server that is read from may take to hear that it is left.
const FAREWELL: Duration = Duration::from_millis(100);

/// Sees to it that servers are left that are drained.
pub async fn watch(watched: Weak<Shared>) {
    for turn in 0_u64.. {
        tokio::time::sleep(LOOK).await;
        let Some(shared) = watched.upgrade() else { return };
        let extent = if turn.is_multiple_of(SELDOM) { Extent::All } else { Extent::Drained };
        let mut leaving = leaving(&shared, extent).into_iter();
        drop(shared);
        let mut moving = JoinSet::new();
        loop {
            while moving.len() < AT_ONCE
                && let Some(leave) = leaving.next()
            {
                let watched = watched.clone();
                moving.spawn(task::caught("drain", Box::pin(leave.go(watched))));
            }
            if moving.join_next().await.is_none() {
                break;
            }
        }
    }
}

/// A session that is to leave servers.
struct Leave {
    handle: Arc<Handle>,
    ways: Vec<Way>,
}

/// How it leaves one.
enum Way {
    /// It closes what it has to this one.
    Close(Arc<str>),
    /// Its home moves to this one; these pins do not keep it.
    Move(Arc<str>, Pins),
}

impl Leave {
    async fn go(self, watched: Weak<Shared>) {
        let Some(shared) = watched.upgrade() else { return };
        let Self { handle, ways } = self;
        for way in ways {
            let left = match way {
                Way::Close(server) => close(&shared.orders, &handle, server).await,
                Way::Move(to, allowed) => shared.move_session(&handle, &to, allowed).await,
            };
            if let Err(why) = left {
                tracing::debug!(id = handle.id.0, %why, "stays on a server that is drained");
            }
        }
    }
}

/// Has a session close what it has to a server that it reads from.
async fn close(orders: &Orders, handle: &Arc<Handle>, server: Arc<str>) -> Result<(), Stays> {
    let order = orders.reserve(handle.id).ok_or(Stays::OnItsWay)?;
    order.give(handle, PATIENCE, |answer| Order::Close { server, answer }).await
}

/// Which servers are to be left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Those that an operator wants empty.
    Drained,
    /// Those that are in the config no more, too.
    All,
}

/// Every session on a server that is to be left, that could leave it as far as is known.
fn leaving(shared: &Shared, extent: Extent) -> Vec<Leave> {
    let (clusters, config) = (shared.in_force.clusters(), shared.in_force.config());
    let draining: HashMap<_, _> =
        clusters.iter().map(|cluster| (&*cluster.name, cluster.draining())).collect();
    if extent == Extent::Drained && draining.values().all(Vec::is_empty) {
        return Vec::new();
    }
    let leave = |handle: Arc<Handle>| {
        let (name, server, further) = {
            let facts = handle.facts();
            facts.login?;
            (facts.cluster.clone(), facts.server.clone(), facts.further.clone())
        };
        let (cluster, draining) = (clusters.find(&name)?, draining.get(&*name)?);
        let is_left = |it: &Arc<str>| draining.contains(it) || cluster.server(it).is_none();
        let left = further.into_iter().filter(is_left);
        let mut ways: Vec<_> = left.map(Way::Close).collect();
        let allowed = if is_silent(&handle) { Pins::DIAGNOSTICS } else { Pins::default() };
        let asker = Asker { idc: &config.proxy.proxy_idc_name, share: handle.id.0.into() };
        let is_too_soon = handle.stay().is_some_and(|stay| stay.is_fresh(Instant::now()));
        if handle.pins().without(allowed).is_empty()
            && !is_too_soon
            && let Some(Ok(to)) = cluster.refuge(&server, asker)
        {
            ways.push(Way::Move(to, allowed));
        }
        (is_between(handle.stage()) && !ways.is_empty()).then_some(Leave { handle, ways })
    };
    shared.sessions.registry.all().into_iter().filter_map(leave).collect()
}

/// The same sessions, with what keeps those that no server takes.
pub fn explained(in_force: &InForce, mut sessions: Vec<SessionView>) -> Vec<SessionView> {
    let (clusters, config) = (in_force.clusters(), in_force.config());
    let asker = Asker { idc: &config.proxy.proxy_idc_name, share: 0 };
    for cluster in clusters.iter() {
        let has_several = cluster.topology().servers().len() > 1;
        for view in sessions.iter_mut().filter(|view| *view.cluster == *cluster.name) {
            let refuge = cluster.refuge(&view.server, asker).and_then(Result::err);
            let none = || no_second_log_in(cluster, view).filter(|_| has_several);
            let tried = || (!view.stays.is_empty()).then(|| format!("cannot move: {}", view.stays));
            let stays = refuge.map(|stays| stays.to_string()).or_else(none).or_else(tried);
            if let Some(stays) = stays {
                let separator = if view.pins.is_empty() { "" } else { ", " };
                view.pins = format!("{}{separator}{stays}", view.pins);
            }
        }
    }
    sessions
}

/// Why nobody can log in elsewhere for a session, if that is known.
fn no_second_log_in(cluster: &Cluster, view: &SessionView) -> Option<String> {
    if view.state == SessionState::LoggingIn {
        return None;
    }
    let stays = match view.is_followed {
        false => Stays::NotFollowed,
        true if cluster.may_log_in(&view.user) => return None,
        true => Stays::NoPassword { user: view.user.clone() },
    };
    Some(format!("no second log-in: {stays}"))
}

/// Closes what a session that is between two commands has to this server.
pub(super) async fn close_now(
    relay: &mut Relay,
    handle: &Handle,
    server: &str,
) -> Result<(), Stays> {
    let further = relay.links().iter().enumerate().skip(1);
    let there = further.filter(|(_, link)| link.is_open() && *link.server == *server);
    let there: Vec<_> = there.map(|(place, _)| LinkId::at(place)).collect();
    for link in there {
        if !is_silent(handle) && relay.session().standpoint().asked_at.is_at(link) {
            return Err(Stays::Asked);
        }
        if relay.session().conversation().current() == link
            && !relay.session_mut().turn_to(LinkId::HOME)
        {
            return Err(Stays::Busy(PATIENCE));
        }
        let parting = client::tell(relay.leg(link), code::QUIT, &[]);
        // Whether it hears it is its affair.
        let _ = tokio::time::timeout(FAREWELL, parting).await;
        relay.break_link(link);
        tracing::info!(id = handle.id.0, server, "session reads there no more");
    }
    relay.publish_connections(handle);
    Ok(())
}

/// Whether nobody asks any more how the statement before went.
fn is_silent(handle: &Handle) -> bool {
    handle.idle() >= FORGOTTEN
}

/// Whether a session may come between two commands soon.
fn is_between(stage: Stage) -> bool {
    matches!(stage, Stage::Idle | Stage::Active)
}
