//! Servers: which there are, how to reach them, and what they say first.
//!
//! A server's greeting is remembered, so that the next client is greeted before a server is chosen.
//! It is learned from the log-ins of clients. Only while none is known a connection is made to
//! look, by one client for all that wait. The first of them that answers gets it; it does not wait
//! long for that, as who has not sent its login response must not hold a server connection. Nor
//! does it wait where a PROXY header has to tell the server first whose connection it is.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::io::AsyncWriteExt;

use super::courtesy::{Dialed, LoggingIn, Partings, Turn};
use super::lock;
use super::whole::read_packet;
use crate::config::tls::ConnectMode;
use crate::config::{ClusterSection, Config, ProxyProtocol, ServerAddress};
use crate::net::dial::{Target, dial};
use crate::net::proxy_header::{Route, encode_v1, encode_v2};
use crate::net::stream::{Keepalive, Stream};
use crate::net::tls::handshake::HandshakeError;
use crate::net::tls::settings::Connector;
use crate::net::tls::stream::TlsStream;
use crate::route::{self, Candidate};
use crate::task;
use crate::wire::capability as cap;
use crate::wire::handshake::{Greeting, LoginResponse, Malformed};
use crate::wire::packet::packet;

/// How long a connection that was made to look waits for a client.
const SPARE: Duration = Duration::from_secs(5);

/// A greeting has a version, a salt and a plugin name; one that is longer is none.
const MAX_GREETING: usize = 4096;

/// Servers that hold the same data.
#[derive(Debug)]
pub struct Cluster {
    /// The name in the config.
    pub name: Arc<str>,
    servers: Vec<Arc<Server>>,
    proxy_protocol: ProxyProtocol,
    partings: Partings,
    /// The connection that was made to look, until a client wants it.
    spare: Arc<Mutex<Option<Greeted>>>,
    /// Held by who looks what a server says; the last failure.
    look: tokio::sync::Mutex<Option<Failure>>,
}

/// A look at the servers that told nothing.
#[derive(Debug)]
struct Failure {
    at: Instant,
    error: Arc<BackendError>,
}

/// The servers of a cluster for one client, one after another.
#[derive(Debug)]
pub struct Search<'a> {
    cluster: &'a Cluster,
    config: &'a Config,
    tls: Option<&'a Connector>,
    /// A PROXY header, or nothing.
    header: Vec<u8>,
    left: VecDeque<Arc<Server>>,
    /// What the last one failed by.
    last: Option<BackendError>,
}

/// One server.
#[derive(Debug)]
pub struct Server {
    /// The address in the config, as shown.
    pub address: Arc<str>,
    target: Target,
    greeting: ArcSwapOption<Greeting>,
    failed_at: Mutex<Option<Instant>>,
    partings: Partings,
}

/// A connection to a server that has greeted.
#[derive(Debug)]
pub struct Greeted {
    /// The server.
    pub server: Arc<Server>,
    /// The connection.
    pub dialed: LoggingIn,
    /// What it said.
    pub greeting: Arc<Greeting>,
}

/// A connection to a server that has a login response, and is to say something to it.
#[derive(Debug)]
pub struct Answered {
    /// The server.
    pub server: Arc<Server>,
    /// The connection.
    pub dialed: LoggingIn,
    /// What it said first.
    pub greeting: Arc<Greeting>,
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
    /// It left before it was answered.
    #[error("server {server} left in the log-in: {source}")]
    Lost {
        /// Its address.
        server: Arc<str>,
        /// What the system said.
        source: io::Error,
    },
}

impl Cluster {
    /// The cluster of a config, with the servers of `before` that are still in it.
    pub fn new(section: &ClusterSection, before: Option<&Cluster>) -> Self {
        let known = |address: &str| {
            before?.servers.iter().find(|server| *server.address == *address).cloned()
        };
        let partings = before.map(|before| before.partings.clone()).unwrap_or_default();
        let servers = section.server.iter().map(|server| {
            let address = server.address.to_string();
            known(&address).unwrap_or_else(|| Arc::new(Server::new(&server.address, &partings)))
        });
        Self {
            name: section.name.as_str().into(),
            servers: servers.collect(),
            proxy_protocol: section.proxy_protocol,
            partings: partings.clone(),
            spare: Arc::default(),
            look: tokio::sync::Mutex::default(),
        }
    }

    /// What to greet a client with; looks what a server says if none was heard yet. Many who ask at
    /// once share one look, and what came of it.
    pub async fn introduce(
        &self,
        config: &Config,
        tls: Option<&Connector>,
    ) -> Result<Greeting, Arc<BackendError>> {
        if let Some(greeting) = self.greeting() {
            return Ok(greeting);
        }
        let asked = Instant::now();
        let mut failure = self.look.lock().await;
        if let Some(greeting) = self.greeting() {
            return Ok(greeting);
        }
        if let Some(Failure { at, error }) = &*failure
            && *at >= asked
        {
            return Err(error.clone());
        }
        match self.search(config, tls, None).next().await {
            Ok(greeted) => {
                let greeting = for_clients((*greeted.greeting).clone());
                self.spare(greeted);
                Ok(greeting)
            }
            Err(error) => {
                let error = Arc::new(error);
                *failure = Some(Failure { at: Instant::now(), error: error.clone() });
                Err(error)
            }
        }
    }

    /// Keeps a connection for the first client that wants one.
    fn spare(&self, greeted: Greeted) {
        if self.proxy_protocol != ProxyProtocol::Off {
            return;
        }
        *lock(&self.spare) = Some(greeted);
        let spare = self.spare.clone();
        task::spawn("spare", async move {
            tokio::time::sleep(SPARE).await;
            drop(lock(&spare).take());
        });
    }

    /// What was spared, if the server still holds it.
    async fn spared(&self) -> Option<Greeted> {
        let mut greeted = lock(&self.spare).take()?;
        // Between its greeting and our answer a server has nothing to say but that it goes.
        let is_silent = poll_fn(|cx| {
            let read = greeted.dialed.stream.poll_read(cx, &mut [0]);
            Poll::Ready(read.is_pending())
        });
        is_silent.await.then_some(greeted)
    }

    /// What to greet a client with: what every server that is known can do, in the words of the
    /// first of them. None before any server was heard.
    pub fn greeting(&self) -> Option<Greeting> {
        let mut known = self.servers.iter().filter_map(|server| server.greeting.load_full());
        let mut greeting = (*known.next()?).clone();
        for other in known {
            greeting.capabilities &= other.capabilities;
            greeting.extended &= other.extended;
        }
        Some(for_clients(greeting))
    }

    /// Every remembered greeting, by server address.
    pub fn greetings(&self) -> Vec<(String, Greeting)> {
        let known = |server: &Arc<Server>| {
            Some((server.address.to_string(), (*server.greeting.load_full()?).clone()))
        };
        self.servers.iter().filter_map(known).collect()
    }

    /// Waits until no connection is being ended any more; not for long.
    pub async fn parted(&self) {
        drop(lock(&self.spare).take());
        self.partings.over().await;
    }

    /// Remembers a greeting that a predecessor has heard.
    pub fn remember(&self, address: &str, greeting: Greeting) {
        if let Some(server) = self.servers.iter().find(|server| *server.address == *address) {
            server.greeting.store(Some(Arc::new(greeting)));
        }
    }

    /// The servers, in the order in which they are to be tried for one client.
    ///
    /// With a connector that insists on TLS a server that does not offer it can't be used. The
    /// route is the client's, None if it is not to be told or it is a connection of our own.
    pub fn search<'a>(
        &'a self,
        config: &'a Config,
        tls: Option<&'a Connector>,
        route: Option<Route>,
    ) -> Search<'a> {
        let header = match self.proxy_protocol {
            ProxyProtocol::Off => Vec::new(),
            ProxyProtocol::V1 => encode_v1(route),
            ProxyProtocol::V2 => encode_v2(route),
        };
        let candidates: Vec<_> = self.servers.iter().map(|server| server.candidate()).collect();
        let order = route::order(&candidates, Instant::now());
        let left = order.into_iter().map(|at| self.servers[at].clone()).collect();
        Search { cluster: self, config, tls, header, left, last: None }
    }
}

impl Search<'_> {
    /// Connects to the next server that can be reached, and hears its greeting.
    ///
    /// # Errors
    ///
    /// What the last server failed by, when none is left; and a refusal at once, which the next
    /// server would not take back.
    pub async fn next(&mut self) -> Result<Greeted, BackendError> {
        if self.last.is_none()
            && let Some(greeted) = self.cluster.spared().await
        {
            return Ok(greeted);
        }
        while let Some(server) = self.left.pop_front() {
            match server.connect(self.config, self.tls, &self.header).await {
                Ok(greeted) => return Ok(greeted),
                Err(error @ BackendError::Refused { .. }) => return Err(error),
                Err(error) => self.give_up(error),
            }
        }
        Err(self.last.take().expect("a parsed config has a server in each cluster"))
    }

    /// A server that had greeted failed before it was told who wants to log in: the next one will
    /// do as well.
    pub fn go_on(&mut self, server: &Server, error: BackendError) {
        // A connection that was spared was not of those that are left.
        self.left.retain(|left| left.address != server.address);
        self.give_up(error);
    }

    fn give_up(&mut self, error: BackendError) {
        tracing::warn!(%error, "cannot use server");
        self.last = Some(error);
    }
}

impl Server {
    fn new(address: &ServerAddress, partings: &Partings) -> Self {
        let target = match address {
            ServerAddress::Tcp { host, port } => Target::Tcp(host.clone(), *port),
            ServerAddress::Unix(path) => Target::Unix(path.clone()),
        };
        Self {
            address: address.to_string().into(),
            target,
            greeting: ArcSwapOption::empty(),
            failed_at: Mutex::new(None),
            partings: partings.clone(),
        }
    }

    fn candidate(&self) -> Candidate {
        Candidate { failed_at: *lock(&self.failed_at) }
    }

    fn note(&self, failed_at: Option<Instant>) {
        *lock(&self.failed_at) = failed_at;
    }

    async fn connect(
        self: &Arc<Self>,
        config: &Config,
        tls: Option<&Connector>,
        header: &[u8],
    ) -> Result<Greeted, BackendError> {
        let limit = config.proxy.connect_timeout.0;
        let greeted = tokio::time::timeout(limit, self.hear(config, header, limit)).await;
        let greeted = greeted.unwrap_or_else(|_| {
            let error = format!("no greeting within {}", config.proxy.connect_timeout);
            Err(self.unreachable(io::Error::new(io::ErrorKind::TimedOut, error)))
        });
        let insists = tls.is_some_and(|tls| tls.mode() != ConnectMode::Prefer);
        let greeted = greeted.and_then(|greeted| match insists && !greeted.offers_tls() {
            true => Err(BackendError::NoTls { server: self.address.clone() }),
            false => Ok(greeted),
        });
        match &greeted {
            Ok(_) | Err(BackendError::Refused { .. }) => self.note(None),
            Err(_) => self.note(Some(Instant::now())),
        }
        greeted
    }

    async fn hear(
        self: &Arc<Self>,
        config: &Config,
        header: &[u8],
        limit: Duration,
    ) -> Result<Greeted, BackendError> {
        let keepalive = server_keepalive(config);
        let stream = dial(&self.target, keepalive, limit).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        let mut dialed = LoggingIn::dialed(stream, &self.partings);
        let sent = dialed.stream.write_all(header).await;
        sent.map_err(|error| self.unreachable(error))?;
        let payload = read_greeting(&mut dialed).await.map_err(|error| self.unreachable(error))?;
        if payload.first() == Some(&0xFF) {
            let server = self.address.clone();
            return Err(BackendError::Refused { server, payload });
        }
        let greeting = Greeting::parse(&payload)
            .map_err(|source| BackendError::NotMysql { server: self.address.clone(), source })?
            .in_the_terms_of_mysql();
        dialed.turn = Turn::Greeted;
        Ok(Greeted { server: self.clone(), dialed, greeting: self.remember(greeting) })
    }

    /// Keeps what other clients may be greeted with; a server that was upgraded says new things.
    fn remember(&self, greeting: Greeting) -> Arc<Greeting> {
        let known = self.greeting.load();
        let is_new = known
            .as_ref()
            .is_none_or(|known| for_clients((**known).clone()) != for_clients(greeting.clone()));
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

/// A greeting without what belongs to one connection or one leg.
fn for_clients(mut greeting: Greeting) -> Greeting {
    greeting.capabilities &= !cap::OF_THE_LEG;
    greeting.salt.clear();
    greeting.connection_id = 0;
    greeting
}

fn server_keepalive(config: &Config) -> Keepalive {
    let proxy = &config.proxy;
    Keepalive {
        idle: proxy.server_tcp_keepidle.0,
        interval: proxy.server_tcp_keepintvl.0,
        count: proxy.server_tcp_keepcnt,
        user_timeout: proxy.server_tcp_user_timeout.0,
    }
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

impl Greeted {
    fn offers_tls(&self) -> bool {
        self.greeting.capabilities & cap::SSL != 0
    }

    /// Sends the login response, by TLS if there is a connector and the server can. The handshake
    /// ends within `limit`.
    pub async fn answer(
        self,
        mut response: LoginResponse,
        tls: Option<&Connector>,
        limit: Duration,
    ) -> Result<Answered, BackendError> {
        let tls = tls.filter(|_| self.offers_tls());
        let Self { server, mut dialed, greeting } = self;
        let lost = |source| BackendError::Lost { server: server.address.clone(), source };
        if let Some(tls) = tls {
            response.capabilities |= cap::SSL;
            let request = packet(dialed.sequence, &response.request_for_tls());
            let name = Connector::server_name(server.target.host());
            let name = name.ok_or_else(|| {
                let what = "the host in its address can't be in a certificate";
                lost(io::Error::new(io::ErrorKind::InvalidInput, what))
            })?;
            // A handshake that is broken off is one, whatever is said: from here to its end nothing
            // can be polite.
            let Dialed { mut stream, sequence, ahead, .. } = dialed.into_dialed();
            stream.write_all(&request).await.map_err(lost)?;
            let shaken = TlsStream::connect(stream, tls, name, limit).await;
            let shaken = shaken.inspect_err(|_| server.note(Some(Instant::now())));
            let failed = |source| BackendError::Tls { server: server.address.clone(), source };
            let stream = Stream::Tls(Box::new(shaken.map_err(failed)?));
            let (sequence, turn) = (sequence + 1, Turn::Greeted);
            let resumed = Dialed { stream, ahead, sequence, turn };
            dialed = LoggingIn::resumed(resumed, &server.partings);
        }
        let sent = packet(dialed.sequence, &response.encode());
        dialed.stream.write_all(&sent).await.map_err(lost)?;
        dialed.stream.flush().await.map_err(lost)?;
        dialed.sequence += 1;
        dialed.turn = Turn::Told;
        Ok(Answered { server, dialed, greeting })
    }
}
