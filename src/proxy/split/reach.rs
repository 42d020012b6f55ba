//! A reader is made ready for a read: opened, told what it lacks, and waited for.

use std::sync::Arc;

use super::rules::Rules;
use crate::config::CausalReads;
use crate::proxy::in_force::InForce;
use crate::proxy::moves::Orders;
use crate::proxy::moves::carrier::{Carrier, Stranded, pull};
use crate::proxy::moves::recruit::Wants;
use crate::proxy::relay::Relay;
use crate::proxy::relay::link::Link;
use crate::proxy::service::client::Terms;
use crate::proxy::service::login::LoggedIn;
use crate::proxy::sessions::handle::Handle;
use crate::session::lane::{Lane, Source};
use crate::session::link::{Link as LinkState, LinkId};
use crate::session::state::{Base, Flavour, Push};
use crate::wire::response::ServerStatus;

/// What it takes to make a reader ready.
pub(super) struct Reach<'a> {
    pub(super) in_force: &'a InForce,
    pub(super) orders: &'a Orders,
    pub(super) rules: &'a Rules,
    pub(super) address: &'a Arc<str>,
}

/// Why a reader is not ready.
pub(super) enum Unreached {
    /// It is the reader's affair: home will do.
    Reader(String),
    /// The home's link is good for nothing any more.
    Home(String),
}

impl From<String> for Unreached {
    fn from(why: String) -> Self {
        Self::Reader(why)
    }
}

impl Reach<'_> {
    /// The link to the reader, which has the session's state and what it wrote.
    pub(super) async fn make_ready(
        &self,
        relay: &mut Relay,
        handle: &Arc<Handle>,
    ) -> Result<LinkId, Unreached> {
        let cluster = self.rules.cluster().ok_or_else(|| "no such cluster".to_owned())?;
        let to = cluster.server(self.address).ok_or_else(|| "no such server".to_owned())?;
        let home = relay.home().server.clone();
        let from = cluster.server(&home).ok_or_else(|| "its home is dropped".to_owned())?;
        let facts = handle.facts().clone();
        let client = facts.login.ok_or_else(|| "nothing is known of its log-in".to_owned())?;
        let wants = Wants {
            in_force: self.in_force,
            inventories: self.orders.inventories(),
            cluster: &cluster,
            from,
            to,
            user: &facts.user,
            client,
        };
        let link = match self.open_link(relay) {
            Some(link) => link,
            None => self.open(relay, handle, wants).await?,
        };
        let version = relay.session().standpoint().version;
        if relay.session().conversation().link(link).told() != Some(version) {
            self.tell(relay, link, wants).await?;
            relay.session_mut().handle_told(link, version);
        }
        self.catch_up(relay, link).await?;
        Ok(link)
    }

    /// The link that there is, unless its server has closed it.
    fn open_link(&self, relay: &Relay) -> Option<LinkId> {
        let at = self.place(relay)?;
        (relay.links()[at.place()].down.source() == Source::Open).then_some(at)
    }

    fn place(&self, relay: &Relay) -> Option<LinkId> {
        let mut links = relay.links().iter().enumerate().skip(1);
        links.find(|(_, link)| link.server == *self.address).map(|(at, _)| LinkId::at(at))
    }

    async fn open(
        &self,
        relay: &mut Relay,
        handle: &Handle,
        wants: Wants<'_>,
    ) -> Result<LinkId, Unreached> {
        let recruit = wants.log_in_for_client().await.map_err(|error| error.to_string())?;
        let LoggedIn { server, leg, terms, thread, .. } = recruit;
        let at = self.place(relay);
        let link = Link { leg, down: Lane::default(), server: server.address.clone(), thread };
        let state = LinkState::idle(terms.dialect, ServerStatus::Unknown);
        let link = relay.put_link(at, link, state);
        relay.publish_connections(handle);
        Ok(link)
    }

    /// Brings the session's state from its home.
    async fn tell(
        &self,
        relay: &mut Relay,
        link: LinkId,
        wants: Wants<'_>,
    ) -> Result<(), Unreached> {
        let stays = |error: crate::proxy::moves::Stays| Unreached::Reader(error.to_string());
        let (here, there) = wants.inventories().await.map_err(stays)?;
        let (mut here_service, mut there_service) =
            wants.services(&here, &there).await.map_err(stays)?;
        let (home_thread, thread) = (relay.home().thread, relay.links()[link.place()].thread);
        let terms = self.terms(relay, LinkId::HOME);
        let mut home =
            Carrier { leg: relay.leg(LinkId::HOME), terms, service: here_service.as_mut() };
        let lost = |error: Stranded| Unreached::Home(error.to_string());
        let state = pull(&mut home, &here, home_thread).await.map_err(lost)?;
        let results = home.results().await.map_err(|error| lost(error.into()))?;
        if !state.hidden.is_empty() {
            return Err(Unreached::Reader("its state cannot be carried".into()));
        }
        let terms = self.terms(relay, link);
        let mut reader = Carrier { leg: relay.leg(link), terms, service: there_service.as_mut() };
        let failed = |error: Stranded| Unreached::Reader(error.to_string());
        let told = pull(&mut reader, &there, thread).await.map_err(failed)?;
        let mut to_tell = state.clone();
        if reader.take_results(results).await.map_err(|error| failed(error.into()))? {
            to_tell.variables.remove("character_set_results");
        }
        let mut push = Push::new(&to_tell, &there, Base::Told(&told));
        reader.run(&mut push).await.map_err(failed)?;
        let after = pull(&mut reader, &there, thread).await.map_err(failed)?;
        let mut differences = state.differences(&after, &push);
        // Who asks for that goes home.
        differences.retain(|it| *it != crate::session::state::Subject::LastInsertId);
        match differences.first() {
            None => Ok(()),
            Some(first) => Err(Unreached::Reader(format!("it does not take {first}"))),
        }
    }

    /// Waits until the reader has what was written.
    async fn catch_up(&self, relay: &mut Relay, link: LinkId) -> Result<(), Unreached> {
        let is_wanted = match self.rules.causal_reads() {
            CausalReads::Off => false,
            CausalReads::Session => relay.session().standpoint().has_written,
            CausalReads::Cluster => true,
        };
        if !is_wanted {
            return Ok(());
        }
        let cluster = self.rules.cluster().ok_or_else(|| "no such cluster".to_owned())?;
        let limit = cluster.section().causal_reads_timeout.0;
        let version = cluster.version_of(&relay.home().server);
        let flavour = Flavour::of(&version.ok_or_else(|| "its home is not known".to_owned())?);
        // What the whole cluster has acknowledged is at least what this session has.
        let (position, wait): (&[u8], &str) = match flavour.is_mariadb() {
            true => (b"SELECT @@gtid_binlog_pos LIMIT 1", "MASTER_GTID_WAIT"),
            false => (b"SELECT @@global.gtid_executed LIMIT 1", "WAIT_FOR_EXECUTED_GTID_SET"),
        };
        let terms = self.terms(relay, LinkId::HOME);
        let mut home = Carrier { leg: relay.leg(LinkId::HOME), terms, service: None };
        let lost = |error: String| Unreached::Home(error);
        let position = home.value(position).await.map_err(lost)?.unwrap_or_default();
        let position = String::from_utf8_lossy(&position).replace('\n', "");
        let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | ':' | ',');
        if position.is_empty() || !position.chars().all(is_plain) {
            return Err(Unreached::Reader("its home has no GTIDs".into()));
        }
        let terms = self.terms(relay, link);
        let mut reader = Carrier { leg: relay.leg(link), terms, service: None };
        let sql = format!("SELECT {wait}('{position}', {}) LIMIT 1", limit.as_secs_f64());
        match reader.value(sql.as_bytes()).await?.as_deref() {
            Some(b"0") => {
                relay.session_mut().handle_caught_up();
                Ok(())
            }
            _ => Err(Unreached::Reader("it has not what was written".into())),
        }
    }

    fn terms(&self, relay: &Relay, link: LinkId) -> Terms {
        Terms {
            dialect: relay.session().conversation().link(link).dialect(),
            query_attributes: relay.session().has_query_attributes(),
        }
    }
}
