//! Servers: which there are, how to reach them, and what they say first.
//!
//! A server's greeting is remembered, so that a client can be greeted when no connection that a
//! server has greeted is at hand (see `preconnect`). It is learned from the log-ins of clients.
//! While none is known a connection is made to look, by one client for all that wait. Where a PROXY
//! header has to tell the server first whose connection it is, that one is for nobody.
//!
//! Each server gets a part of the time that the client's log-in has left ([`Budget`]), from
//! the connect to its first word behind the login response. Until then nothing was asked of the
//! client, and the next server will do as well.

mod accounts;
pub mod clusters;
mod direct;
pub(super) mod door;
mod draining;
mod greeted;
mod greetings;
mod health;
pub(super) mod loops;
pub(super) mod preconnect;
pub mod programs;
mod roster;
pub(super) mod server_login;
pub mod view;
mod wallet;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::io::AsyncWriteExt;

use super::handshake::packet_reader::read_packet;
use crate::config::{
    ClusterSection, Config, ProxyProtocol, ProxySection, RoutingMode, ServerAddress,
};
use crate::lock::lock;
use crate::net::dial::Dialer;
use crate::net::proxy_header::Route;
use crate::net::socket::Keepalive;
use crate::net::tls::handshake::HandshakeError;
use crate::net::tls::settings::Connector;
use crate::route::congestion::{Detected, Failure, Limits, Standing};
use crate::route::order::{Asker, Homes, Unknown, homes};
use crate::route::roles::Observation;
use crate::route::topology::{ServerId, Topology};
use crate::route::{Allotment, Budget};
use crate::wire::capability as cap;
use crate::wire::handshake::{Greeting, Malformed};
use door::Door;
pub use greeted::{Answered, Greeted};
use health::{Health, Wait};
use loops::Trail;
use preconnect::{Fruitless, Lobby};
use roster::Roster;
use server_login::{Dialed, LoggingIn, Partings, Turn};
pub(super) use wallet::Try;
use wallet::Wallet;

/// How long a server may be silent before it is asked whether it is ourselves.
const PROBE: Duration = Duration::from_secs(1);

/// A greeting has a version, a salt and a plugin name; one that is longer is none.
const MAX_GREETING: usize = 4096;

/// Servers that hold the same data.
#[derive(Debug)]
pub struct Cluster {
    /// The name in the config.
    pub name: Arc<str>,
    servers: Vec<Arc<Server>>,
    /// What the config says of it.
    section: ClusterSection,
    /// What its servers are.
    roster: Arc<Roster>,
    /// What is known of accounts.
    wallet: Arc<Wallet>,
    /// Where log-ins come in.
    door: Arc<Door>,
    /// Counts clients, so that equals share them.
    turn: AtomicU64,
    /// Connections that wait for clients, or for their answers.
    pub(super) lobby: Arc<Lobby>,
    /// Held by who looks what a server says; the last failure.
    pub(super) look: tokio::sync::Mutex<Option<Fruitless>>,
}

/// The servers of a cluster for one client, one after another.
#[derive(Debug)]
pub struct Search<'a> {
    config: &'a Config,
    tls: Option<&'a Connector>,
    first: FirstWords,
    left: VecDeque<Arc<Server>>,
    /// Tried when all of the others have failed.
    spared: VecDeque<Arc<Server>>,
    budget: Budget,
    /// The end of the time for all of them.
    until: Instant,
    /// What the last one failed by.
    last: Option<BackendError>,
}

/// What a server is told before it has greeted.
#[derive(Debug)]
struct FirstWords {
    /// At once: a PROXY header, or nothing.
    header: Vec<u8>,
    /// If it is silent, and not needed for more than its greeting.
    probe: Option<Vec<u8>>,
}

/// One server.
#[derive(Debug)]
pub struct Server {
    /// The address in the config, as shown.
    pub address: Arc<str>,
    dialer: Dialer,
    greeting: ArcSwapOption<Greeting>,
    health: Health,
    /// What it last failed by, as people read it.
    last_error: Mutex<String>,
    counted: Statements,
    pub(super) programs: programs::Known,
    partings: Partings,
}

/// Statements of sessions that have left a server, and reads of those whose home is another.
#[derive(Debug, Default)]
struct Statements {
    reads: AtomicU64,
    writes: AtomicU64,
}

/// Why there is no server for a client.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The server answered the connect with an ERR packet: its payload.
    #[error("server {server} refused the connection")]
    Refused {
        /// Its address.
        server: Arc<str>,
        /// The ERR packet's payload, for the client.
        payload: Vec<u8>,
    },
    /// No server could be reached.
    #[error("server {server}: {source}")]
    Unreachable {
        /// The address of the last one tried.
        server: Arc<str>,
        /// What the system said.
        source: io::Error,
    },
    /// What greeted is no MySQL server.
    #[error("server {server}: greeting: {source}")]
    NotMysql {
        /// Its address.
        server: Arc<str>,
        /// What is wrong with its greeting.
        source: Malformed,
    },
    /// `[tls.server]` wants TLS, and the server can't.
    #[error("server {server} does not offer TLS, which tls.server.mode wants")]
    NoTls {
        /// Its address.
        server: Arc<str>,
    },
    /// The server can't be spoken to by TLS as `[tls.server]` wants it.
    #[error("server {server}: {source}")]
    Tls {
        /// Its address.
        server: Arc<str>,
        /// Who did not like what.
        source: HandshakeError,
    },
    /// It said nothing in the time that it had.
    #[error("server {server}: no {what} within {}", humantime::format_duration(*limit))]
    Silent {
        /// Its address.
        server: Arc<str>,
        /// What it was to say.
        what: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// It is ourselves, or leads there.
    #[error("server {server} leads back to this proxy")]
    Loop {
        /// Its address.
        server: Arc<str>,
    },
    /// The client has left no time for a server.
    #[error("no time was left for a server")]
    TooLate,
    /// It left before it was answered.
    #[error("server {server} left in the log-in: {source}")]
    Lost {
        /// Its address.
        server: Arc<str>,
        /// What the system said.
        source: io::Error,
    },
}

impl BackendError {
    /// Whether it is only that the time was up.
    fn is_of_time(&self) -> bool {
        let is_late = |source: &io::Error| source.kind() == io::ErrorKind::TimedOut;
        match self {
            Self::Silent { .. } | Self::TooLate => true,
            Self::Unreachable { source, .. } => is_late(source),
            Self::Tls { source: HandshakeError::Io(source), .. } => is_late(source),
            Self::Refused { .. }
            | Self::NotMysql { .. }
            | Self::NoTls { .. }
            | Self::Tls { .. }
            | Self::Loop { .. }
            | Self::Lost { .. } => false,
        }
    }
}

impl Cluster {
    /// The cluster of a config, with the servers of `before` that are still in it.
    pub fn new(
        section: &ClusterSection,
        proxy: &ProxySection,
        before: Option<&Self>,
        partings: &Partings,
    ) -> Self {
        let limits = health::limits(proxy);
        let is_watched = !section.service_user.is_empty() || proxy.server_detect_mode != 0;
        let known = |address: &str| {
            before?.servers.iter().find(|server| *server.address == *address).cloned()
        };
        let servers = section.server.iter().map(|server| {
            let address = server.address.to_string();
            let known = known(&address).inspect(|server| {
                server.health.set_limits(limits);
                if !is_watched {
                    server.health.stop_detecting();
                }
            });
            known.unwrap_or_else(|| Arc::new(Server::new(&server.address, limits, partings)))
        });
        let roster = before.map(|before| before.roster.clone());
        let roster = roster.unwrap_or_else(|| Roster::new(&section.name).into());
        roster.configure(section);
        Self {
            name: section.name.as_str().into(),
            servers: servers.collect(),
            roster,
            wallet: before.map(|before| before.wallet.clone()).unwrap_or_default(),
            door: before.map(|before| before.door.clone()).unwrap_or_default(),
            turn: AtomicU64::new(0),
            section: section.clone(),
            lobby: Arc::default(),
            look: tokio::sync::Mutex::default(),
        }
    }

    /// Whether servers are told of each connection for whom it is made.
    pub(super) fn tells_clients(&self) -> bool {
        self.section.proxy_protocol != ProxyProtocol::Off
    }

    /// What the config says of it.
    pub(super) fn section(&self) -> &ClusterSection {
        &self.section
    }

    /// Its servers as they are now.
    pub(super) fn topology(&self) -> Arc<Topology> {
        self.roster.topology()
    }

    /// How one of its servers is to be treated.
    pub(super) fn standing(&self, topology: &Topology, id: ServerId, now: Instant) -> Standing {
        let server = topology.server(id).and_then(|known| self.server(&known.member.address));
        server.map_or(Standing::Good, |server| server.health.standing(now))
    }

    /// The version that a server greets with, if it was heard.
    pub(super) fn version_of(&self, address: &str) -> Option<Vec<u8>> {
        let greeting = self.server(address)?.greeting.load_full()?;
        Some(greeting.version.clone())
    }

    /// Whether its sessions may go on with another server: there is a way to log in for them.
    pub(super) fn can_move_sessions(&self) -> bool {
        !self.section.user.is_empty() || !self.section.service_user.is_empty()
    }

    /// What is run on every new server connection; empty for nothing.
    pub(super) fn init_sql(&self) -> &str {
        &self.section.init_sql
    }

    /// One of its servers was asked for what it is. `observation`: None if it lives and would not
    /// say; `error`: why it would not, or could not.
    pub(super) fn hear(
        &self,
        address: &str,
        observation: Option<Observation>,
        error: Option<String>,
    ) {
        let Some(server) = self.server(address) else { return };
        let detected = server.health.detect(observation != Some(Observation::Unreachable));
        // `server_detect_fail_threshold`: before that it is only suspect.
        let is_given_up = server.health.is_detected_dead();
        let observation = observation.filter(|it| *it != Observation::Unreachable || is_given_up);
        if let Some(error) = error {
            *lock(&server.last_error) = error;
        }
        if detected != Detected::Same {
            let (cluster, server) = (&*self.name, &*server.address);
            let is_dead = detected == Detected::Dead;
            tracing::warn!(cluster, server, is_dead, "asked whether it lives");
        }
        self.roster.observe(&server.address, observation);
    }

    /// Whether a server has been asked since then what it is, and has said so.
    pub fn has_said(&self, server: ServerId, since: Instant) -> bool {
        self.roster.has_said(server, since)
    }

    /// Remembers a greeting that a predecessor has heard.
    pub fn remember(&self, address: &str, greeting: Greeting) {
        if let Some(server) = self.servers.iter().find(|server| *server.address == *address) {
            server.greeting.store(Some(Arc::new(greeting)));
        }
    }

    /// The servers, in the order in which they are to be tried for one client, until its time for
    /// servers ends ([`Budget::whole`] from its connect).
    ///
    /// With a connector that insists on TLS a server that does not offer it can't be used. The
    /// route is the client's, None if it is not to be told or it is a connection of our own.
    pub fn search<'a>(
        &'a self,
        config: &'a Config,
        tls: Option<&'a Connector>,
        route: Option<Route>,
        until: Instant,
    ) -> Search<'a> {
        let Homes { to_try, spared } = self.homes(config);
        // No time is kept for those that will not be asked while another answers.
        let budget = Budget { servers: to_try.len(), ..self.budget(config) };
        let left = self.servers_of(&to_try);
        let spared = self.servers_of(&spared);
        let first = self.first_words(route);
        Search { config, tls, first, left, spared, budget, until, last: None }
    }

    /// The servers in the order in which a new session's home is looked for.
    fn homes(&self, config: &Config) -> Homes {
        let (topology, now) = (self.roster.topology(), Instant::now());
        let standing = |id: ServerId| self.standing(&topology, id, now);
        let share = self.turn.fetch_add(1, Ordering::Relaxed);
        let asker = Asker { idc: &config.proxy.proxy_idc_name, share };
        let unknown = match config.proxy.server_routing_mode {
            RoutingMode::Oceanbase | RoutingMode::Mysql => Unknown::First,
            RoutingMode::Random => Unknown::Any,
        };
        let homes = homes(&topology, &standing, asker, unknown);
        homes.within(config.proxy.connect_observer_max_retries)
    }

    /// The server of this address.
    pub(super) fn server(&self, address: &str) -> Option<&Arc<Server>> {
        self.servers.iter().find(|server| *server.address == *address)
    }

    /// A session leaves its home, which has had these statements.
    pub(super) fn count(&self, address: &str, (reads, writes): (u64, u64)) {
        if let Some(server) = self.server(address) {
            server.counted.reads.fetch_add(reads, Ordering::Relaxed);
            server.counted.writes.fetch_add(writes, Ordering::Relaxed);
        }
    }

    fn servers_of(&self, ids: &[ServerId]) -> VecDeque<Arc<Server>> {
        let topology = self.roster.topology();
        let found = ids.iter().filter_map(|id| {
            let known = topology.server(*id)?;
            self.server(&known.member.address).cloned()
        });
        found.collect()
    }

    /// The time that servers have in one log-in.
    pub fn budget(&self, config: &Config) -> Budget {
        let proxy = &config.proxy;
        Budget::new(proxy.login_timeout.0, proxy.connect_timeout.0, self.servers.len())
    }
}

impl Search<'_> {
    /// Connects to the next server that can be reached, and hears its greeting.
    ///
    /// # Errors
    ///
    /// What the last server failed by, when none is left, or no time; and a refusal at once, which
    /// the next server would not take back.
    pub async fn next(&mut self) -> Result<Greeted, BackendError> {
        while !self.time_left().is_zero()
            && let Some(server) = self.left.pop_front().or_else(|| self.spared.pop_front())
        {
            let time = self.allotment();
            match server.connect(self.config, self.tls, &self.first, time).await {
                Ok(greeted) => return Ok(greeted),
                Err(error @ BackendError::Refused { .. }) => return Err(error),
                Err(error) => self.give_up(error),
            }
        }
        Err(self.last.take().unwrap_or(BackendError::TooLate))
    }

    /// Asks whoever is silent whether it is ourselves.
    pub fn probing(mut self, trail: &Trail) -> Self {
        self.first.probe = Some(trail.probe());
        self
    }

    /// Goes no further than the first server that was never heard, or is one of us: that may be
    /// ourselves, whom we would wait for in turn. It is tried when it is known who wants to log in.
    pub fn only_known(mut self) -> Self {
        let is_known = |server: &&Arc<Server>| {
            let known = server.greeting.load();
            known.as_ref().is_some_and(|known| !loops::is_one_of_us(known))
        };
        let known = self.left.iter().take_while(is_known).count();
        self.left.truncate(known);
        self.spared.clear();
        self
    }

    /// How long the server that [`Self::next`] gave may take for what it is to do next, so that
    /// those that are left get their time as well.
    pub fn allotment(&self) -> Allotment {
        self.budget.allot(self.time_left(), self.left.len() + 1)
    }

    fn time_left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// A server that had greeted failed before anything was asked of the client: the next one will
    /// do as well.
    pub fn go_on(&mut self, server: &Server, error: BackendError) {
        // A connection that was made before was not of those that are left.
        for servers in [&mut self.left, &mut self.spared] {
            servers.retain(|left| left.address != server.address);
        }
        self.give_up(error);
    }

    fn give_up(&mut self, error: BackendError) {
        tracing::warn!(%error, "cannot use server");
        // A loop is what somebody has to mend, whatever else does not work.
        if !matches!(self.last, Some(BackendError::Loop { .. })) {
            self.last = Some(error);
        }
    }
}

impl Server {
    /// A session whose home is another server reads here.
    pub(super) fn count_read(&self) {
        self.counted.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn new(address: &ServerAddress, limits: Limits, partings: &Partings) -> Self {
        Self {
            address: address.to_string().into(),
            dialer: Dialer::new(address.clone()),
            greeting: ArcSwapOption::empty(),
            health: Health::new(limits),
            last_error: Mutex::default(),
            counted: Statements::default(),
            programs: programs::Known::default(),
            partings: partings.clone(),
        }
    }

    /// What it last failed by; empty if it never did.
    pub(super) fn last_error(&self) -> String {
        lock(&self.last_error).clone()
    }

    /// Connects and hears the greeting. What comes of it is noted, also when this is dropped.
    async fn connect(
        self: &Arc<Self>,
        config: &Config,
        tls: Option<&Connector>,
        first: &FirstWords,
        time: Allotment,
    ) -> Result<Greeted, BackendError> {
        let wait = self.wait("greeting", time);
        let greeted = self.reach(config, tls, first, time.limit).await;
        match &greeted {
            Ok(_) => wait.over(),
            Err(BackendError::Refused { .. }) => {
                wait.over();
                self.health.recover();
            }
            Err(error) => {
                *lock(&self.last_error) = error.to_string();
                conclude(wait, error);
            }
        }
        greeted
    }

    /// The same, of which nothing is noted.
    async fn reach(
        self: &Arc<Self>,
        config: &Config,
        tls: Option<&Connector>,
        first: &FirstWords,
        limit: Duration,
    ) -> Result<Greeted, BackendError> {
        let heard = tokio::time::timeout(limit, self.hear(config, first, limit)).await;
        let greeted = heard.unwrap_or_else(|_| Err(self.silent("greeting", limit)))?;
        match greeted.suits(tls) {
            true => Ok(greeted),
            false => Err(BackendError::NoTls { server: self.address.clone() }),
        }
    }

    /// Begins to wait for it.
    fn wait(&self, what: &'static str, time: Allotment) -> Wait {
        self.health.wait(&self.address, what, time)
    }

    /// Whether it could not be used of late.
    pub fn is_suspect(&self) -> bool {
        self.health.is_suspected()
    }

    /// It has said a word in a log-in.
    pub fn has_answered(&self) {
        self.health.recover();
    }

    /// Its log-in took the whole time, and it was silent for so long at the end of it. Whether that
    /// is its fault.
    pub fn judge_silence(&self, waited: Duration, fair: Duration) -> bool {
        let is_at_fault = waited >= fair;
        let server = &*self.address;
        if is_at_fault {
            self.health.fail(Failure::Alive);
            tracing::warn!(server, ?waited, "the server did not answer in a log-in");
        } else {
            tracing::info!(server, ?waited, "a log-in took too long; the server is not to blame");
        }
        is_at_fault
    }

    fn silent(&self, what: &'static str, limit: Duration) -> BackendError {
        BackendError::Silent { server: self.address.clone(), what, limit }
    }

    async fn hear(
        self: &Arc<Self>,
        config: &Config,
        first: &FirstWords,
        limit: Duration,
    ) -> Result<Greeted, BackendError> {
        let keepalive = server_keepalive(config);
        let stream = self.dialer.dial(keepalive, limit).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        let mut dialed = LoggingIn::dialed(stream, &self.partings);
        let sent = dialed.stream.write_all(&first.header).await;
        sent.map_err(|error| self.unreachable(error))?;
        let heard = hear_greeting(&mut dialed, first.probe.as_deref()).await;
        let (payload, turn) = heard.map_err(|error| self.unreachable(error))?;
        if loops::is_told(&payload) {
            return Err(BackendError::Loop { server: self.address.clone() });
        }
        if payload.first() == Some(&0xFF) {
            let server = self.address.clone();
            return Err(BackendError::Refused { server, payload });
        }
        let greeting = Greeting::parse(&payload)
            .map_err(|source| BackendError::NotMysql { server: self.address.clone(), source })?
            .in_the_terms_of_mysql();
        dialed.turn = turn;
        Ok(Greeted { server: self.clone(), dialed, greeting: self.remember(greeting) })
    }

    /// Keeps what other clients may be greeted with; a server that was upgraded says new things.
    fn remember(&self, greeting: Greeting) -> Arc<Greeting> {
        self.health.greet();
        let known = self.greeting.load();
        let is_new = known.as_ref().is_none_or(|known| {
            loops::is_one_of_us(known) != loops::is_one_of_us(&greeting)
                || !is_same_for_clients(known, &greeting)
        });
        let greeting = Arc::new(greeting);
        if is_new {
            self.greeting.store(Some(greeting.clone()));
        }
        greeting
    }

    fn unreachable(&self, source: io::Error) -> BackendError {
        BackendError::Unreachable { server: self.address.clone(), source }
    }
}

/// A wait has ended with this.
fn conclude(wait: Wait, error: &BackendError) {
    match error {
        error if error.is_of_time() => wait.overdue(),
        BackendError::Unreachable { .. } => wait.failed(Failure::Connect),
        _ => wait.failed(Failure::Alive),
    }
}

/// A greeting without what belongs to one connection or one leg.
pub(super) fn for_clients(mut greeting: Greeting) -> Greeting {
    greeting.capabilities &= !cap::OF_THE_LEG;
    greeting.salt.clear();
    greeting.connection_id = 0;
    greeting
}

/// Whether clients could be greeted with the one as well as with the other.
fn is_same_for_clients(one: &Greeting, other: &Greeting) -> bool {
    // Every field is named, so that a new one is not forgotten.
    let Greeting {
        version,
        connection_id: _,
        salt: _,
        capabilities,
        extended,
        collation,
        status,
        plugin,
    } = other;
    one.version == *version
        && one.plugin == *plugin
        && (one.capabilities ^ capabilities) & !cap::OF_THE_LEG == 0
        && one.extended == *extended
        && one.collation == *collation
        && one.status == *status
}

/// What the config says of connections to servers.
pub(super) fn server_keepalive(config: &Config) -> Keepalive {
    let proxy = &config.proxy;
    Keepalive {
        idle: proxy.server_tcp_keepidle.0,
        interval: proxy.server_tcp_keepintvl.0,
        count: proxy.server_tcp_keepcnt,
        user_timeout: proxy.server_tcp_user_timeout.0,
    }
}

/// Waits for the greeting, and whose turn it is then. One that is silent for too long gets the
/// probe, which is what a log-in that is not finished ends with anyhow.
async fn hear_greeting(dialed: &mut Dialed, probe: Option<&[u8]>) -> io::Result<(Vec<u8>, Turn)> {
    let Some(probe) = probe else { return Ok((read_greeting(dialed).await?, Turn::Greeted)) };
    if let Ok(heard) = tokio::time::timeout(PROBE, read_greeting(dialed)).await {
        return Ok((heard?, Turn::Greeted));
    }
    let Dialed { stream, ahead, .. } = dialed;
    stream.write_all(probe).await?;
    let whole = read_packet(stream, ahead, MAX_GREETING).await?;
    dialed.sequence += 1;
    let too_long = || io::Error::new(io::ErrorKind::InvalidData, "a greeting that is too long");
    Ok((whole.ok_or_else(too_long)?.payload, Turn::Told))
}

/// Reads the greeting: nothing follows it before we answer.
async fn read_greeting(dialed: &mut Dialed) -> io::Result<Vec<u8>> {
    let Dialed { stream, ahead, .. } = dialed;
    let whole = read_packet(stream, ahead, MAX_GREETING).await?;
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    match whole {
        Some(whole) if ahead.is_empty() => Ok(whole.payload),
        Some(_) => Err(invalid("bytes behind the greeting".into())),
        None => Err(invalid(format!("greeting longer than {MAX_GREETING} bytes"))),
    }
}
