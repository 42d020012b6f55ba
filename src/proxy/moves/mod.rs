//! Sessions that go on with another server, and do not notice.
//!
//! ```text
//!   ordered (an operator; a server that is drained)
//!     ─► recruit: the other server is logged in to for the session, which goes on meanwhile
//!     ─► the session's task, between two of its commands:
//!          pull ─► push ─► pull again ─► statements ─► the new link is its home; the old one quits
//! ```
//!
//! Until the last step nothing has changed: whatever goes wrong before, the recruit quits and the
//! session goes on where it is. Invariant: an order is carried out by the session's own task, or is
//! taken back by who gave it; never both.
//!
//! - `orders`: who is to move where.
//! - `recruit`: a second log-in.
//! - `carry`: what happens between two commands. `carrier`: questions and answers.
//! - `look`: what a session's variables are.
//! - `drain`: servers that are to be left by everybody. `fence`: those that were the primary.
//!   `lost`: those that do not answer.
//! - `gate`: where sessions wait for each other.

pub(super) mod carrier;
pub(super) mod carry;
pub mod drain;
pub mod fence;
pub(super) mod gate;
pub mod look;
pub mod lost;
mod orders;
pub(super) mod recruit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_force::InForce;
use super::service::error::ServiceError;
use super::sessions::Sessions;
use super::sessions::handle::{Handle, Stage};
use super::sessions::stay::Cost;
use crate::session::portable::Pins;
use gate::Gate;
use orders::Order;
pub use orders::Orders;
use orders::Reserved;
use recruit::{Recruit, Wants};

/// How long a session that is asked to move may take to come between two commands.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether a pin has gone.
const GLANCE: Duration = Duration::from_millis(10);

/// Why a session stays where it is.
#[derive(Debug, thiserror::Error)]
pub enum Stays {
    /// Its cluster is not in the config any more.
    #[error("its cluster '{0}' is not in the config any more")]
    NoCluster(String),
    /// There is no such server.
    #[error("no server of cluster '{cluster}' has the address {address}")]
    NoServer {
        /// The cluster's name.
        cluster: String,
        /// What was looked for.
        address: String,
    },
    /// That is where it is.
    #[error("it is there already")]
    Already,
    /// It is ordered to move by somebody else.
    #[error("it is on its way already")]
    OnItsWay,
    /// Its own server cannot be named.
    #[error("the server that it is on has an address that is none")]
    NoWayBack,
    /// It lives in the other process.
    #[error("it is served by the other process while a restart is under way")]
    Elsewhere,
    /// It has not logged in yet, or ends.
    #[error("it has not logged in yet, or is about to end")]
    NotThere,
    /// What it has done since its log-in was not followed.
    #[error(
        "nothing is known of what it has done since its log-in: its cluster had neither \
         service_user nor [[cluster.user]] then"
    )]
    NotFollowed,
    /// Nobody can log in for it.
    #[error(
        "no password of user '{user}' is known, and its log-ins tell none that is good for another \
         server: it wants a [[cluster.user]] of its own"
    )]
    NoPassword {
        /// The account.
        user: String,
    },
    /// Something that nobody can carry.
    #[error("it is pinned: {0}")]
    Pinned(String),
    /// The same, as its server tells when it is asked.
    #[error("it is pinned: {0}")]
    Hidden(String),
    /// What it would close knows how its last statements went.
    #[error("its client may ask how its last statements went")]
    Asked,
    /// It was to move together with others, who stay.
    #[error("all of them stay")]
    CalledOff,
    /// It did not come between two commands.
    #[error("it is in the middle of a command or a transaction, for longer than {}",
        humantime::format_duration(*.0))]
    Busy(Duration),
    /// It has ended.
    #[error("it has ended meanwhile")]
    Ended,
    /// The other server.
    #[error("server {address}: {source}")]
    Server {
        /// Its address.
        address: String,
        /// What it failed by.
        source: ServiceError,
    },
    /// The server that it is on does not tell its state.
    #[error("its state is not to be had: {0}")]
    NotPulled(String),
    /// The other server does not take its state.
    #[error("server {address} does not take its state: {what}")]
    NotPushed {
        /// Its address.
        address: String,
        /// What it does not take.
        what: String,
    },
}

impl Stays {
    /// Whether it would be the same a moment later, as far as is known; what else keeps a session
    /// is seen without trying.
    fn is_lasting(&self) -> bool {
        match self {
            Self::NoPassword { .. }
            | Self::Hidden(_)
            | Self::Server { .. }
            | Self::NotPulled(_)
            | Self::NotPushed { .. } => true,
            Self::NoCluster(_)
            | Self::NoServer { .. }
            | Self::Already
            | Self::OnItsWay
            | Self::NoWayBack
            | Self::Elsewhere
            | Self::NotThere
            | Self::NotFollowed
            | Self::Pinned(_)
            | Self::Asked
            | Self::CalledOff
            | Self::Busy(_)
            | Self::Ended => false,
        }
    }

    /// Shows it of a session that stays for it; whether that is news.
    pub(super) fn note(&self, handle: &Handle, cost: Cost) -> bool {
        !self.is_lasting() || handle.note_stay(self.to_string(), cost)
    }
}

impl From<Pins> for Stays {
    fn from(pins: Pins) -> Self {
        Self::Pinned(pins.to_string())
    }
}

/// What all sessions of a data plane have in common. Tasks that watch over them hold it weakly.
#[derive(Debug)]
pub struct Shared {
    /// Config, TLS, servers.
    pub(super) in_force: InForce,
    /// Who is here.
    pub(super) sessions: Sessions,
    /// Who is to move where, and what is known of what servers are like.
    pub(super) orders: Orders,
}

impl Shared {
    /// No sessions yet.
    pub(super) fn new(in_force: InForce) -> Self {
        Self { in_force, sessions: Sessions::default(), orders: Orders::default() }
    }

    /// Moves a session to the server of its cluster that has this address; done when it is there.
    /// What is allowed does not keep it.
    ///
    /// # Errors
    ///
    /// Why it stays where it is, as if nothing had been.
    pub async fn move_session(
        &self,
        handle: &Arc<Handle>,
        address: &str,
        allowed: Pins,
    ) -> Result<(), Stays> {
        let pins = handle.pins().without(allowed);
        if !pins.is_empty() {
            return Err(pins.into());
        }
        let (order, recruit) = self.recruit(handle, address, None).await?;
        let give = |answer| Order::Move { recruit, allowed, gate: None, answer };
        order.give(handle, PATIENCE, give).await
    }

    /// Moves a session together with others; done when it is there.
    ///
    /// # Errors
    ///
    /// Why it stays where it is, as if nothing had been.
    pub(super) async fn move_together(
        &self,
        handle: &Arc<Handle>,
        address: &str,
        mut gate: Gate,
    ) -> Result<(), Stays> {
        let allowed = Pins::default();
        let (order, recruit) = self.recruit(handle, address, Some(&gate)).await?;
        let until = gate.called(handle.id).await?;
        while !handle.pins().is_empty() {
            if Instant::now() >= until {
                return Err(handle.pins().into());
            }
            tokio::time::sleep(GLANCE).await;
        }
        let patience = until.saturating_duration_since(Instant::now());
        let give = |answer| Order::Move { recruit, allowed, gate: Some(gate), answer };
        order.give(handle, patience, give).await
    }

    /// The right to move a session, and its log-in at the other server.
    async fn recruit(
        &self,
        handle: &Arc<Handle>,
        address: &str,
        gate: Option<&Gate>,
    ) -> Result<(Reserved<'_>, Box<Recruit>), Stays> {
        if matches!(handle.stage(), Stage::LoggingIn | Stage::Closing) {
            return Err(Stays::NotThere);
        }
        let facts = handle.facts().clone();
        let cluster = self.in_force.clusters().find(&facts.cluster).cloned();
        let cluster = cluster.ok_or_else(|| Stays::NoCluster(facts.cluster.to_string()))?;
        let to = cluster.server(address).ok_or_else(|| Stays::NoServer {
            cluster: facts.cluster.to_string(),
            address: address.to_owned(),
        })?;
        if facts.server == to.address {
            return Err(Stays::Already);
        }
        // Where it was is asked even if it is no server of the cluster any more.
        let from = cluster.present_or_former(&facts.server).ok_or(Stays::NoWayBack)?;
        let wants = Wants::of(self, &cluster, (&from, to), &facts);
        let wants = wants.ok_or(Stays::NotFollowed)?;
        let order = self.orders.reserve(handle.id).ok_or(Stays::OnItsWay)?;
        let _room = match gate {
            Some(gate) => Some(gate.room().await?),
            None => None,
        };
        let recruit = wants.recruit().await.inspect_err(|why| {
            why.note(handle, Cost::LogIn);
        })?;
        Ok((order, Box::new(recruit)))
    }
}
