//! A second log-in: another server, for a session that is there already; and what has to be known
//! of both servers before the client is held up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::carrier::{Carrier, Stranded};
use super::{Orders, Stays};
use crate::proxy::cluster::{Cluster, Server};
use crate::proxy::compression;
use crate::proxy::credentials::Credentials;
use crate::proxy::in_force::InForce;
use crate::proxy::lock::lock;
use crate::proxy::service::answer::Answer;
use crate::proxy::service::client;
use crate::proxy::service::error::ServiceError;
use crate::proxy::service::login::{self, LoggedIn, Wanted};
use crate::proxy::sessions::handle::Facts;
use crate::session::portable::LoggedInAs;
use crate::session::state::{Errand, Inventory, Survey};
use crate::task;
use crate::wire::flavour::Flavour;

/// For how long what a server's fresh sessions are like is believed. What has changed since makes a
/// difference that is told the other server, or one for which the session stays.
const BELIEVED: Duration = Duration::from_secs(60);

/// The most that is heard of the hashes of one name's accounts.
const MOST_HASHES: usize = 1 << 20;

/// What a server's fresh sessions are like.
pub(in crate::proxy) type Inventoried = Inventory;

/// What is known of servers by their addresses.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Inventories(Mutex<HashMap<Arc<str>, Learned>>);

/// What a server is like, and since when that is known.
type Learned = (Instant, Arc<Inventoried>);

/// Everything that takes a session from one server to another.
#[derive(Debug)]
pub(in crate::proxy) struct Recruit {
    /// The session's new link.
    pub(in crate::proxy) link: LoggedIn,
    /// What the server is like that it is on.
    pub(in crate::proxy) here: Arc<Inventoried>,
    /// What the other server is like.
    pub(in crate::proxy) there: Arc<Inventoried>,
    /// The service account's connections, where a server tells it more than the session itself.
    pub(in crate::proxy) here_service: Option<LoggedIn>,
    /// The same for the other server.
    pub(in crate::proxy) there_service: Option<LoggedIn>,
}

/// On whose behalf, and between whom.
#[derive(Clone, Copy)]
pub(in crate::proxy) struct Wants<'a> {
    in_force: &'a InForce,
    inventories: &'a Inventories,
    cluster: &'a Cluster,
    from: &'a Arc<Server>,
    to: &'a Arc<Server>,
    user: &'a str,
    client: LoggedInAs,
}

impl<'a> Wants<'a> {
    /// Of the session of these facts; None if nothing is known of its log-in.
    pub(in crate::proxy) fn of(
        in_force: &'a InForce,
        orders: &'a Orders,
        cluster: &'a Cluster,
        (from, to): (&'a Arc<Server>, &'a Arc<Server>),
        facts: &'a Facts,
    ) -> Option<Self> {
        let (inventories, client) = (orders.inventories(), facts.login?);
        Some(Self { in_force, inventories, cluster, from, to, user: &facts.user, client })
    }

    /// Logs in to the other server as the client has to its own, and learns what else is needed.
    pub(in crate::proxy) async fn recruit(self) -> Result<Recruit, Stays> {
        let (here, there) = self.inventories().await?;
        let link = self.log_in_for_client().await?;
        let (here_service, there_service) = self.services(&here, &there).await?;
        Ok(Recruit { link, here, there, here_service, there_service })
    }

    /// Logs in to the other server as the client has to its own.
    pub(in crate::proxy) async fn log_in_for_client(self) -> Result<LoggedIn, Stays> {
        let config = self.in_force.config();
        let wanted = Wanted {
            capabilities: self.client.capabilities,
            extended: self.client.extended,
            max_packet: self.client.max_packet,
            collation: self.client.collation,
            compression: compression::wanted(&config.proxy),
            init: self.cluster.init_sql().as_bytes(),
            ..Wanted::default()
        };
        let credentials = self.credentials().await?;
        let logged_in = self.log_in(self.to, &credentials, &wanted).await;
        if let Err(Stays::Server { source: ServiceError::Refused(_), .. }) = &logged_in {
            self.cluster.forget(self.user);
        }
        logged_in
    }

    /// What both servers are like.
    pub(in crate::proxy) async fn inventories(
        self,
    ) -> Result<(Arc<Inventoried>, Arc<Inventoried>), Stays> {
        let credentials = self.credentials().await?;
        let here = self.inventory(self.from, &credentials).await?;
        Ok((here, self.inventory(self.to, &credentials).await?))
    }

    /// The service account's connections to both, where these tell it more.
    pub(in crate::proxy) async fn services(
        self,
        here: &Inventoried,
        there: &Inventoried,
    ) -> Result<(Option<LoggedIn>, Option<LoggedIn>), Stays> {
        Ok((self.service(self.from, here).await?, self.service(self.to, there).await?))
    }

    /// What the account is logged in to with: as configured, or as its clients' log-ins and the
    /// hash on its server tell.
    async fn credentials(self) -> Result<Credentials, Stays> {
        if let Some(known) = self.cluster.credentials_of(self.user) {
            return Ok(known);
        }
        let unknown = || Stays::NoPassword { user: self.user.to_owned() };
        let answer = self.cluster.answer_of(self.user).ok_or_else(unknown)?;
        let service = self.cluster.service().ok_or_else(unknown)?;
        let mut asked = self.log_in(self.from, &service, &Wanted::default()).await?;
        let user: String = self.user.bytes().map(|byte| format!("{byte:02X}")).collect();
        let sql =
            format!("SELECT authentication_string FROM mysql.user WHERE User = _utf8mb4 X'{user}'");
        let limit = self.in_force.config().proxy.connect_timeout.0;
        let asking = client::query(&mut asked.leg, asked.terms, sql.as_bytes(), MOST_HASHES);
        let told = tokio::time::timeout(limit, asking).await;
        task::spawn("parting", client::quit(asked.leg));
        let Ok(Ok(Answer::Rows { set, .. })) = told else { return Err(unknown()) };
        let hashes = set.rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
        let found = hashes.filter_map(|hash| answer.with_hash(self.user.as_bytes(), &hash)).next();
        let found = found.ok_or_else(unknown)?;
        self.cluster.store(&found);
        Ok(found)
    }

    async fn log_in(
        self,
        server: &Arc<Server>,
        credentials: &Credentials,
        wanted: &Wanted<'_>,
    ) -> Result<LoggedIn, Stays> {
        let (config, tls) = (self.in_force.config(), self.in_force.tls().server());
        let limit = config.proxy.connect_timeout.0;
        let connected = self.cluster.connect_to(server, &config, tls.as_deref(), limit).await;
        let failed = |source| Stays::Server { address: server.address.to_string(), source };
        let greeted = connected.map_err(|error| failed(error.into()))?;
        login::log_in(greeted, credentials, wanted, tls.as_deref(), limit).await.map_err(failed)
    }

    /// A connection of the service account, if the server tells it more.
    async fn service(
        self,
        server: &Arc<Server>,
        inventory: &Inventoried,
    ) -> Result<Option<LoggedIn>, Stays> {
        match self.cluster.service().filter(|_| !inventory.flavour().is_mariadb()) {
            None => Ok(None),
            Some(credentials) => {
                self.log_in(server, &credentials, &Wanted::default()).await.map(Some)
            }
        }
    }

    /// What a server's fresh sessions are like.
    async fn inventory(
        self,
        server: &Arc<Server>,
        credentials: &Credentials,
    ) -> Result<Arc<Inventoried>, Stays> {
        let known = lock(&self.inventories.0).get(&server.address).cloned();
        if let Some((_, known)) = known.filter(|(since, _)| since.elapsed() < BELIEVED) {
            return Ok(known);
        }
        let mut asked = self.log_in(server, credentials, &Wanted::default()).await?;
        let mut survey = Survey::new(Flavour::of(&asked.greeting.version));
        let limit = self.in_force.config().proxy.connect_timeout.0;
        let mut carrier = Carrier { leg: &mut asked.leg, terms: asked.terms, service: None };
        let surveyed = tokio::time::timeout(limit, carrier.run(&mut survey)).await;
        let address = || server.address.to_string();
        let silent = |_| Stays::Server {
            address: address(),
            source: ServiceError::Silent { what: "answer about its variables", limit },
        };
        surveyed.map_err(silent)?.map_err(|error| match error {
            Stranded::Service(source) => Stays::Server { address: address(), source },
            Stranded::State(error) => {
                Stays::NotPushed { address: address(), what: error.to_string() }
            }
        })?;
        task::spawn("parting", client::quit(asked.leg));
        debug_assert!(survey.is_done());
        let nothing =
            || Stays::NotPushed { address: address(), what: "it tells no variables".into() };
        let inventory = Arc::new(survey.finish().ok_or_else(nothing)?);
        let known = (Instant::now(), inventory.clone());
        lock(&self.inventories.0).insert(server.address.clone(), known);
        Ok(inventory)
    }
}
