//! A second log-in: another server, for a session that is there already; and what has to be known
//! of both servers before the client is held up.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::carrier::{Carrier, Stranded, survey};
use super::{Shared, Stays};
use crate::lock::lock;
use crate::proxy::accounts::credentials::Credentials;
use crate::proxy::accounts::impersonation::Behalf;
use crate::proxy::cluster::{Cluster, Server, Try};
use crate::proxy::handshake::compression;
use crate::proxy::in_force::InForce;
use crate::proxy::service::answer::Answer;
use crate::proxy::service::client;
use crate::proxy::service::error::ServiceError;
use crate::proxy::service::login::{self, LoggedIn, Wanted};
use crate::proxy::sessions::handle::Facts;
use crate::session::portable::LoggedInAs;
use crate::session::state::Inventory;
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
pub(in crate::proxy) struct Inventories {
    /// By log-ins of ours.
    ours: Mutex<HashMap<Arc<str>, Learned>>,
    /// By clients' sessions, fresh from their log-ins: for those that nobody can log in for.
    clients: Mutex<HashMap<Arc<str>, Learned>>,
}

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
    client_uid: Option<u32>,
}

impl<'a> Wants<'a> {
    /// Of the session of these facts; None if nothing is known of its log-in.
    pub(in crate::proxy) fn of(
        shared: &'a Shared,
        cluster: &'a Cluster,
        (from, to): (&'a Arc<Server>, &'a Arc<Server>),
        facts: &'a Facts,
    ) -> Option<Self> {
        let (in_force, client) = (&shared.in_force, facts.login?);
        let inventories = shared.orders.inventories();
        let (user, client_uid) = (&*facts.user, facts.client_uid);
        Some(Self { in_force, inventories, cluster, from, to, user, client, client_uid })
    }

    /// Logs in to the other server as the client has to its own, and learns what else is needed.
    pub(in crate::proxy) async fn recruit(self) -> Result<Recruit, Stays> {
        let (here, there) = self.inventories().await.inspect_err(|why| self.tell(why))?;
        let link = self.log_in_for_client().await?;
        let (here_service, there_service) = self.services(&here, &there).await?;
        Ok(Recruit { link, here, there, here_service, there_service })
    }

    /// Logs in to the other server as the client has to its own.
    pub(in crate::proxy) async fn log_in_for_client(self) -> Result<LoggedIn, Stays> {
        let config = self.in_force.config();
        let compression = compression::wanted(&config.proxy);
        let behalf = Behalf::of(self.client_uid, &config.proxy.proxy_protocol_networks);
        let init = self.cluster.init_sql().as_bytes();
        let wanted = Wanted::like(self.client, behalf, compression, init);
        let credentials = self.credentials().await.inspect_err(|why| self.tell(why))?;
        let logged_in = self.log_in(self.to, &credentials, &wanted).await;
        if let Err(why) = &logged_in {
            self.tell(why);
        }
        if let Err(Stays::Server { source: ServiceError::Refused(_), .. }) = &logged_in {
            self.cluster.forget(self.user);
        }
        let is_vain =
            |why: &_| matches!(why, ServiceError::WantsPassword(_) | ServiceError::Unproved);
        if let Err(Stays::Server { source, .. }) = &logged_in
            && is_vain(source)
        {
            self.cluster.note_vain(self.user.as_bytes(), Try::Link(self.to.address.clone()));
        }
        logged_in
    }

    /// Tells operators of an account that nobody can log in to another server for. Its sessions
    /// keep to the one that they are on, which they do not notice themselves.
    fn tell(self, why: &Stays) {
        let is_shut_out = matches!(
            why,
            Stays::NoPassword { .. }
                | Stays::Server {
                    source: ServiceError::WantsPassword(_)
                        | ServiceError::Unproved
                        | ServiceError::Plugin(_),
                    ..
                }
        );
        if is_shut_out && self.cluster.note_shut_out(self.user.as_bytes()) {
            let (cluster, user) = (&*self.cluster.name, self.user);
            tracing::warn!(cluster, user, %why, "no second log-in for the sessions of an account");
        }
    }

    /// Whether the other server wanted more than is known when it was logged in to of late, or a
    /// proof.
    pub(in crate::proxy) fn is_in_vain(self) -> bool {
        self.cluster.is_vain(self.user.as_bytes(), Try::Link(self.to.address.clone()))
    }

    /// What both servers are like.
    pub(in crate::proxy) async fn inventories(
        self,
    ) -> Result<(Arc<Inventoried>, Arc<Inventoried>), Stays> {
        let ours = &self.inventories.ours;
        if let (Some(here), Some(there)) = (known(ours, self.from), known(ours, self.to)) {
            return Ok((here, there));
        }
        let credentials = match self.credentials().await {
            Ok(credentials) => credentials,
            Err(stays) => {
                let heard = |server| self.inventories.heard(server);
                return heard(self.from).zip(heard(self.to)).ok_or(stays);
            }
        };
        let here = self.inventory(self.from, &credentials).await?;
        Ok((here, self.inventory(self.to, &credentials).await?))
    }

    /// What the server is like that the session is on; asked by whoever may log in.
    pub(super) async fn inventory_of_home(self) -> Result<Arc<Inventoried>, Stays> {
        let credentials = match self.credentials().await {
            Ok(known) => known,
            Err(why) => self.cluster.service().ok_or(why)?,
        };
        self.inventory(self.from, &credentials).await
    }

    /// The service account's connection to that, where it tells it more.
    pub(super) async fn service_at_home(
        self,
        inventory: &Inventoried,
    ) -> Result<Option<LoggedIn>, Stays> {
        self.service(self.from, inventory).await
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
        let service = self.cluster.service().filter(|_| !self.cluster.hides_hashes());
        let service = service.ok_or_else(unknown)?;
        let mut asked = self.log_in(self.from, &service, &Wanted::default()).await?;
        let user: String = self.user.bytes().map(|byte| format!("{byte:02X}")).collect();
        let sql =
            format!("SELECT authentication_string FROM mysql.user WHERE User = _utf8mb4 X'{user}'");
        let limit = self.in_force.config().proxy.connect_timeout.0;
        let asking = client::query(&mut asked.leg, asked.terms, sql.as_bytes(), MOST_HASHES);
        let told = tokio::time::timeout(limit, asking).await;
        task::spawn("parting", client::quit(asked.leg));
        let set = match told {
            Ok(Ok(Answer::Rows { set, .. })) => set,
            Ok(Ok(Answer::Err(_))) => {
                self.cluster.note_hidden_hashes();
                return Err(unknown());
            }
            Ok(Ok(Answer::Ok(_)) | Err(_)) | Err(_) => return Err(unknown()),
        };
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
        if let Some(known) = known(&self.inventories.ours, server) {
            return Ok(known);
        }
        let mut asked = self.log_in(server, credentials, &Wanted::default()).await?;
        let flavour = Flavour::of(&asked.greeting.version);
        let limit = self.in_force.config().proxy.connect_timeout.0;
        let mut carrier = Carrier { channel: &mut asked.leg, terms: asked.terms, service: None };
        let surveyed = tokio::time::timeout(limit, survey(&mut carrier, flavour)).await;
        let address = || server.address.to_string();
        let silent = |_| Stays::Server {
            address: address(),
            source: ServiceError::Silent { what: "answer about its variables", limit },
        };
        let inventory = surveyed.map_err(silent)?.map_err(|error| match error {
            Stranded::Service(source) => Stays::Server { address: address(), source },
            Stranded::State(error) => {
                Stays::NotPushed { address: address(), what: error.to_string() }
            }
        })?;
        task::spawn("parting", client::quit(asked.leg));
        let inventory = Arc::new(inventory);
        let known = (Instant::now(), inventory.clone());
        lock(&self.inventories.ours).insert(server.address.clone(), known);
        Ok(inventory)
    }
}

impl Inventories {
    /// Whether nothing was heard of clients' fresh sessions on a server of late.
    pub(in crate::proxy) fn wants_to_hear(&self, server: &str) -> bool {
        let known = lock(&self.clients);
        known.get(server).is_none_or(|(since, _)| since.elapsed() >= BELIEVED)
    }

    /// Such a session is like this.
    pub(in crate::proxy) fn hear(&self, server: Arc<str>, inventory: Inventoried) {
        lock(&self.clients).insert(server, (Instant::now(), Arc::new(inventory)));
    }

    /// All that was heard, for a successor.
    pub(in crate::proxy) fn all_heard(&self) -> BTreeMap<String, serde_json::Value> {
        let known = lock(&self.clients);
        let known = known.iter().map(|(server, (_, it))| (server.to_string(), &**it));
        known.filter_map(|(server, it)| Some((server, serde_json::to_value(it).ok()?))).collect()
    }

    /// What a predecessor has heard; what is not understood is left out.
    pub(in crate::proxy) fn inherit(&self, heard: BTreeMap<String, serde_json::Value>) {
        for (server, it) in heard {
            if let Ok(inventory) = serde_json::from_value(it) {
                self.hear(server.into(), inventory);
            }
        }
    }

    /// What was heard, if that is all that is to be had: however old, as who could tell anew is a
    /// session that is not fresh any more.
    fn heard(&self, server: &Server) -> Option<Arc<Inventoried>> {
        lock(&self.clients).get(&server.address).map(|(_, known)| known.clone())
    }
}

fn known(
    inventories: &Mutex<HashMap<Arc<str>, Learned>>,
    server: &Server,
) -> Option<Arc<Inventoried>> {
    let known = lock(inventories).get(&server.address).cloned();
    known.filter(|(since, _)| since.elapsed() < BELIEVED).map(|(_, known)| known)
}
