//! What a session's variables are, without its client noticing.
//!
//! ```text
//!   MySQL, with a service account    performance_schema is asked, and the session not at all
//!   MariaDB                          its home is asked between two commands, if all can be put
//!                                    back that this puts away
//!   otherwise, or not now            what was pulled last, as of then
//! ```

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::carrier::{Carrier, Home, Stranded, pull};
use super::orders::Order;
use super::recruit::{Inventoried, Wants};
use super::{Shared, Stays};
use crate::proxy::relay::Relay;
use crate::proxy::service::client;
use crate::proxy::service::error::ServiceError;
use crate::proxy::sessions::handle::{Handle, Seen, Stage};
use crate::proxy::sessions::view::{Then, VariablesView};
use crate::session::state::{Glance, PutBack, Shown, State, StateError};
use crate::task;

/// How long a session may take to come between two commands.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a client is held up at the most, if its server answers us as slowly as it would have
/// answered it.
const LIMIT: Duration = Duration::from_secs(60);

/// Why a session was not asked.
#[derive(Debug, thiserror::Error)]
pub enum Unseen {
    /// Nobody can ask it, or it is not to be had.
    #[error(transparent)]
    Away(#[from] Stays),
    /// Its client would notice.
    #[error("asking it now would not go unnoticed: {0}")]
    Noticed(String),
    /// Only somebody else may be asked.
    #[error("its server tells it to nobody but a service account, and service_user is not set")]
    NobodyToAsk,
    /// Its server.
    #[error("server {address}: {source}")]
    Server {
        /// Its address.
        address: String,
        /// What it failed by.
        source: ServiceError,
    },
    /// Its server does not tell.
    #[error("server {address}: {source}")]
    NotTold {
        /// Its address.
        address: String,
        /// What came of it.
        source: StateError,
    },
}

impl Unseen {
    fn at(address: &str, why: Stranded) -> Self {
        let address = address.to_owned();
        match why {
            Stranded::Service(source) => Self::Server { address, source },
            Stranded::State(source) => Self::NotTold { address, source },
        }
    }
}

impl Shared {
    /// What the session's variables are.
    ///
    /// # Errors
    ///
    /// Why it was not asked, if nothing was ever pulled of it either.
    pub async fn look(&self, handle: &Arc<Handle>) -> Result<VariablesView, Unseen> {
        let asked = self.ask(handle).await;
        let seen = handle.facts().seen.clone();
        match (asked, seen) {
            (Ok(variables), _) => Ok(VariablesView { variables, then: None }),
            (Err(why), None) => Err(why),
            (Err(why), Some(seen)) => {
                let then = Some(Then { at: seen.at, why: why.to_string() });
                Ok(VariablesView { variables: seen.changed.clone(), then })
            }
        }
    }

    async fn ask(&self, handle: &Arc<Handle>) -> Result<Vec<Shown>, Unseen> {
        if matches!(handle.stage(), Stage::LoggingIn | Stage::Closing) {
            return Err(Stays::NotThere.into());
        }
        let facts = handle.facts().clone();
        let cluster = self.in_force.clusters().find(&facts.cluster).cloned();
        let cluster = cluster.ok_or_else(|| Stays::NoCluster(facts.cluster.to_string()))?;
        let home = cluster.present_or_former(&facts.server).ok_or(Stays::NoWayBack)?;
        let wants = Wants::of(self, &cluster, (&home, &home), &facts);
        let wants = wants.ok_or(Stays::NotFollowed)?;
        let inventory = wants.inventory_of_home().await?;
        if !inventory.flavour().is_mariadb() {
            let Some(mut service) = wants.service_at_home(&inventory).await? else {
                return Err(Unseen::NobodyToAsk);
            };
            let limit = self.in_force.config().proxy.connect_timeout.0;
            let mut glance = Glance::new(&inventory, facts.server_thread.0.into());
            let mut carrier =
                Carrier { channel: &mut service.leg, terms: service.terms, service: None };
            let glanced = timeout(limit, carrier.run(&mut glance)).await;
            let silent = |_| ServiceError::Silent { what: "answer about a session", limit };
            glanced
                .map_err(|error| Unseen::at(&facts.server, silent(error).into()))?
                .map_err(|error| Unseen::at(&facts.server, error))?;
            task::spawn("parting", client::quit(service.leg));
            return glance.finish().ok_or(Stays::Ended.into());
        }
        let order = self.orders.reserve(handle.id).ok_or(Stays::OnItsWay)?;
        order.give(handle, PATIENCE, |answer| Order::Look { inventory, answer }).await
    }
}

/// Asks a session that is between two commands; what came of it, and whether the session goes on.
pub(super) async fn look_now(
    relay: &mut Relay,
    handle: &Handle,
    inventory: &Inventoried,
) -> (Result<Vec<Shown>, Unseen>, bool) {
    if let Some(why) = noticed_by(relay) {
        return (Err(why), true);
    }
    let (address, thread) = (relay.home().server.clone(), relay.home().thread);
    let mut home = Home::of(relay, handle);
    let asked = async {
        let mut asked = home.carrier(None);
        let state = pull(&mut asked, inventory, thread).await?;
        let is_as_before = put_back(&mut asked, &state).await?;
        Ok::<_, Stranded>((state, is_as_before))
    };
    match timeout(LIMIT, asked).await {
        Ok(Ok((state, is_as_before))) => {
            if !is_as_before {
                tracing::warn!(id = handle.id.0, "a session may notice that it was looked at");
            }
            let shown = state.shown();
            handle.facts().seen = Seen::of(&shown, SystemTime::now());
            (Ok(shown), true)
        }
        // All was answered, if not as it should be.
        Ok(Err(Stranded::State(source))) => (Err(Unseen::at(&address, source.into())), true),
        Ok(Err(why)) => (Err(Unseen::at(&address, why)), false),
        Err(_) => {
            let limit = LIMIT;
            let silent = ServiceError::Silent { what: "answer about its state", limit };
            (Err(Unseen::at(&address, silent.into())), false)
        }
    }
}

/// By what the client would notice.
fn noticed_by(relay: &Relay) -> Option<Unseen> {
    let session = relay.session();
    let Some(portable) = session.portable() else { return Some(Stays::NotFollowed.into()) };
    let (pins, standpoint) = (portable.noticed_by(), session.standpoint());
    let noticed = |why: &str| Some(Unseen::Noticed(why.into()));
    match () {
        () if !pins.is_empty() => noticed(&pins.to_string()),
        () if standpoint.home_has_warnings => noticed("warnings of an earlier statement"),
        () if standpoint.begins_by_itself => noticed("a statement would begin a transaction"),
        () => None,
    }
}

/// Whether what its last statement left is there again.
async fn put_back(home: &mut Carrier<'_>, state: &State) -> Result<bool, ServiceError> {
    let Some(mut put_back) = state.diagnostics.as_ref().and_then(PutBack::of) else {
        return Ok(false);
    };
    match home.run(&mut put_back).await {
        Ok(()) => Ok(true),
        Err(Stranded::State(_)) => Ok(false),
        Err(Stranded::Service(error)) => Err(error),
    }
}
