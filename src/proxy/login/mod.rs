//! From a client's connect to the end of its log-in.
//!
//! No password is stored: the client answers a server's challenge, with which it is greeted (see
//! `cluster::preconnect`). If that server can't be had when it has answered, or it was greeted with
//! a challenge of ours, its answer is thrown away: a server is told a plugin that does not exist,
//! so it sends an AuthSwitchRequest with its challenge. Works for every plugin that is a plain
//! exchange. A log-in cannot be frozen; it is bounded by `login_timeout`.

mod beginning;
mod change_user;
pub mod destination;
mod entrance;
mod exchange;
mod init;
mod local;
pub mod preamble;
mod refusal;
mod response;
mod second;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::accounts::impersonation;
use super::cluster::clusters::Clusters;
use super::cluster::loops::Trail;
use super::cluster::preconnect::Challenge;
use super::cluster::server_login::{Dialed, Turn};
use super::cluster::{Answered, BackendError, Cluster, Greeted};
use super::handshake::compression;
use super::handshake::rsa::OwnKey;
use super::moves::Shared;
use super::relay::leg::Leg;
use super::relay::link::Link;
use super::relay::{Relay, close_lingering};
use super::sessions::admission::address_of;
use super::sessions::handle::{Handle, Signal, Spoken};
use crate::config::Config;
use crate::config::tls::AcceptMode;
use crate::error::ClientError;
use crate::net::proxy_header::{Header, Route};
use crate::net::stream::Stream;
use crate::net::tls::settings::Connector;
use crate::proxy::handshake::packet_reader::{read_more, read_packet};
use crate::proxy::service::login::LoggedIn;
use crate::session::Session;
use crate::session::exchange::{Learned, Legs, Proof};
use crate::session::lane::{Lane, Source};
use crate::session::portable::LoggedInAs;
use crate::wire::authentication::is_empty;
use crate::wire::capability as cap;
use crate::wire::command::code;
use crate::wire::compressed::Compression;
use crate::wire::handshake::{
    Greeting, LoginResponse, MAX_LOGIN_RESPONSE, UNKNOWN_PLUGIN, is_request_for_tls,
};
use crate::wire::id::ThreadId;
use crate::wire::packet::{HEADER, packet};
use crate::wire::response::Dialect;
use beginning::{Begins, Whose};
use destination::Destination;
use exchange::{Exchange, Settled, Side};
pub use local::LocalLogin;
use preamble::{Preamble, PreambleError, read_preamble};
pub use refusal::Refusal;
use refusal::refusal;
use response::{answer_for_server, learned_of, logged_in_as};
use second::Second;

/// Users of this tenant are not the servers' but the proxy's own (ODP `root@proxysys`).
const ADMIN_TENANT: &[u8] = b"@proxysys";

/// More than a PROXY header and a login response of ours.
const MOST_EARLY: usize = 8 * 1024;

/// What log-ins need.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Servers, and who is here already.
    pub shared: &'a Shared,
    /// For clients without TLS.
    pub own_key: &'a OwnKey,
    /// Where log-ins have been.
    pub trail: &'a Trail,
}

/// A log-in under way.
pub struct Login<'a> {
    around: Surroundings<'a>,
    handle: &'a Arc<Handle>,
    /// None while TLS is being negotiated: nothing can be said then.
    client: Option<Stream>,
    /// The other end of its connection; None for Unix sockets.
    peer: Option<SocketAddr>,
    /// What a packet of ours would be numbered; before the greeting there is no protocol yet.
    sequence: Option<u8>,
    /// What the client has sent and is not dealt with.
    ahead: Vec<u8>,
    /// Where the client really comes from, if it is known and a server is to be told.
    route: Option<Route>,
    /// The compressions that the client was offered, as capabilities.
    offered: u32,
    /// What a log-in that succeeds has taught of the account.
    learned: Learned,
    /// The link to a reader that it has opened as well.
    second: Option<LoggedIn>,
    began: Instant,
}

/// How the legs are compressed once the server has given its verdict.
#[derive(Clone, Copy, Debug)]
struct Compressions {
    client: Option<Compression>,
    server: Option<Compression>,
}

/// A client's answer to its greeting, which its server has got.
struct Begun<'a> {
    /// What it is to.
    challenge: &'a [u8],
    /// The reader that is to be opened as well.
    second: Option<Second<'a>>,
}

/// A server's verdict, as its client is to hear it.
struct Verdict {
    verdict: Vec<u8>,
    is_welcome: bool,
    dialed: Dialed,
    server: Arc<str>,
    thread: ThreadId,
}

/// A server that was told who wants to log in.
struct Found {
    answered: Answered,
    begins: Begins,
    /// How its leg is to be compressed.
    compression: Option<Compression>,
}

/// Who is to serve the client.
pub enum Admitted {
    /// A server, which has given its verdict.
    ByServer(Box<Relay>),
    /// The proxy itself: an admin user.
    Locally {
        /// The challenge in the greeting, if it was ours.
        salt: Option<Vec<u8>>,
        /// The answer.
        response: Box<LoginResponse>,
        /// The user name without the tenant.
        user: String,
        /// How its leg is compressed once it is logged in.
        compression: Option<Compression>,
    },
}

impl<'a> Login<'a> {
    /// A client that has just connected.
    pub fn new(around: Surroundings<'a>, handle: &'a Arc<Handle>, client: Stream) -> Self {
        let (peer, client, ahead) = (client.peer(), Some(client), Vec::new());
        let (sequence, route, offered, began) = (None, None, 0, Instant::now());
        let (learned, second) = (Learned::Nothing, None);
        Self {
            around,
            handle,
            client,
            peer,
            sequence,
            ahead,
            route,
            offered,
            learned,
            second,
            began,
        }
    }

    /// Gets the client up to its server's verdict.
    pub async fn run(&mut self) -> Result<Admitted, Refusal> {
        let config = self.around.shared.in_force.config();
        let clusters = self.around.shared.in_force.clusters();
        let Challenge { greeting: known, place } = self.greet(&config, &clusters).await?;
        self.hear_header().await?;
        let mut response = self.read_response().await?;
        let client = compression::chosen(self.offered, &mut response);
        let user = response.user.strip_suffix(ADMIN_TENANT);
        if user.is_some() && !self.ahead.is_empty() {
            return Err(Refusal::Tell(ClientError::bad_handshake()));
        }
        if let Some(user) = user.map(|user| String::from_utf8_lossy(user).into_owned()) {
            let salt = place.is_none().then_some(known.salt);
            let (response, compression) = (response.into(), client);
            return Ok(Admitted::Locally { salt, response, user, compression });
        }
        if self.around.trail.leads_back(&response) {
            return Err(Refusal::Tell(ClientError::leads_back()));
        }
        let from = address_of(&self.handle.facts().client);
        let destination = destination::find(&config, &clusters, response, from);
        let Destination { cluster, tenant, response } = destination.map_err(Refusal::Tell)?;
        self.handle.facts().tenant = tenant;
        let greeted = match place {
            Some(place) if Arc::ptr_eq(&cluster, clusters.default()) => place.take(),
            _ => None,
        };
        // Boxed, as is the above: who is silent does not pay for what is still to come.
        let relay = self.find_server(&cluster, greeted, &known, &response, client);
        Ok(Admitted::ByServer(Box::pin(relay).await?.into()))
    }

    /// Greets the client that has just come.
    async fn greet(
        &mut self,
        config: &Arc<Config>,
        clusters: &Clusters,
    ) -> Result<Challenge, Refusal> {
        let tls = self.around.shared.in_force.tls().server();
        if clusters.iter().any(|cluster| cluster.tells_clients()) {
            self.route = self.stream()?.route();
        }
        let default = clusters.default();
        let until = self.began + default.budget(config).whole;
        let trail = self.around.trail;
        let challenge = Box::pin(clusters.challenge(config, tls.as_ref(), trail, until));
        let mut challenge = tokio::select! {
            biased;
            found = challenge => found.map_err(|error| refusal(&default.name, &error))?,
            refusal = self.hear_early() => return Err(refusal),
        };
        if challenge.place.is_none() {
            challenge.greeting.salt = random_salt().map_err(|_| {
                Refusal::Tell(ClientError::refused("no random numbers for the challenge"))
            })?;
        }
        self.say_greeting(&mut challenge.greeting).await?;
        Ok(challenge)
    }

    /// From a login response to a session. `greeted`: the server whose challenge was answered.
    async fn find_server(
        &mut self,
        cluster: &Cluster,
        greeted: Option<Greeted>,
        known: &Greeting,
        response: &LoginResponse,
        client: Option<Compression>,
    ) -> Result<Relay, Refusal> {
        let user = String::from_utf8_lossy(&response.user);
        let config = self.around.shared.in_force.config();
        self.handle.facts().cluster = cluster.name.clone();
        let room = self.around.shared.sessions.has_room_for(&config, self.handle, &user);
        room.map_err(|error| exceeded(self.handle, error))?;
        let budget = cluster.budget(&config);
        let until = self.began + budget.whole;
        let (greeted, _inside) = entrance::come_in(cluster, greeted, until).await?;
        let found = self.answer_a_server(cluster, greeted, known, response, until).await?;
        let Found { answered, begins, compression: server } = found;
        if let Some(spoken) = Spoken::on(&answered.dialed.stream) {
            self.handle.counters.server_tls_handshakes.add(1);
            self.handle.facts().server_tls = Some(spoken);
        }
        let backend = answered.server.clone();
        let compressions = Compressions { client, server };
        let login = logged_in_as(response, known);
        let second = Second::wanted(cluster, &config, self.handle, response, login);
        let second = second.filter(|second| second.is_beside(&backend));
        let begun =
            (begins == Begins::WithTheAnswer).then_some(Begun { challenge: &known.salt, second });
        let admitted = self.authenticate(answered, response, begun, compressions, until).await;
        let learned = std::mem::take(&mut self.learned);
        let admitted = match admitted {
            Ok(relay) => Ok(init::initialised(relay, cluster.init_sql(), until).await),
            Err(refusal) => Err(refusal),
        };
        let admitted = match admitted {
            Ok(relay) => self.follow(relay, cluster, login, learned).await,
            Err(refusal) => Err(refusal),
        };
        admitted.map_err(|refusal| match refusal {
            Refusal::Silent(waited) => {
                let fair = budget.allot(Duration::ZERO, 1).fair;
                let is_at_fault = backend.judge_silence(waited, fair);
                Refusal::Tell(ClientError::timed_out(match is_at_fault {
                    true => "the server did not answer in the log-in",
                    false => "log-in",
                }))
            }
            refusal => refusal,
        })
    }

    /// The session that is let in, with what its log-in has brought it beside its home.
    async fn follow(
        &mut self,
        mut relay: Relay,
        cluster: &Cluster,
        login: LoggedInAs,
        learned: Learned,
    ) -> Result<Relay, Refusal> {
        let user = relay.session().user();
        cluster.learn(user, learned);
        let knows = cluster.has_learned(user);
        let second = self.second.take();
        if cluster.can_move_sessions() || second.is_some() || knows {
            relay.follow(login);
            let mut facts = self.handle.facts();
            (facts.login, facts.client_uid) = (Some(login), relay.client_uid());
        }
        if let Some(second) = second {
            self.join(&mut relay, cluster, second).await?;
        }
        Ok(relay)
    }

    /// The first server that can be told who wants to log in.
    async fn answer_a_server(
        &self,
        cluster: &Cluster,
        greeted: Option<Greeted>,
        known: &Greeting,
        response: &LoginResponse,
        until: Instant,
    ) -> Result<Found, Refusal> {
        let config = self.around.shared.in_force.config();
        let tls = self.around.shared.in_force.tls().server();
        // What is asked of servers may have changed since it greeted.
        let mut greeted = greeted.filter(|greeted| greeted.suits(tls.as_deref()));
        let mut search = cluster.search(&config, tls.as_deref(), self.route, until);
        loop {
            let (greeted, whose) = match greeted.take() {
                Some(greeted) => (greeted, Whose::Servers),
                None => {
                    let next = search.next().await;
                    (next.map_err(|error| refusal(&cluster.name, &error))?, Whose::Ours)
                }
            };
            let begins = self.begins(response, &greeted, whose, tls.as_deref());
            let mut answer = answer_for_server(response, known, &greeted.greeting, begins)?;
            if begins == Begins::Anew {
                answer.auth = self.around.trail.go_on(response, &greeted.greeting);
            }
            let wanted = compression::wanted(&config.proxy);
            let compression = compression::ask(wanted, &greeted.greeting, &mut answer);
            let server = greeted.server.clone();
            match greeted.answer(answer, tls.as_deref(), search.allotment()).await {
                Ok(answered) => return Ok(Found { answered, begins, compression }),
                Err(error) => {
                    let by_tls = matches!(error, BackendError::Tls { .. });
                    self.handle.counters.server_tls_failures.add(by_tls.into());
                    search.go_on(&server, error);
                }
            }
        }
    }

    /// Whether the client's answer to the greeting is for this server. One that is empty answers
    /// no challenge, so that it is good for any.
    fn begins(
        &self,
        response: &LoginResponse,
        server: &Greeted,
        whose: Whose,
        tls: Option<&Connector>,
    ) -> Begins {
        let plugin = response.plugin.as_deref().unwrap_or_default();
        let legs = Legs {
            client: self.client.as_ref().is_some_and(Stream::is_secure),
            server: server.will_be_secure(tls),
        };
        let is_for_it = whose == Whose::Servers || is_empty(&response.auth);
        let may = is_for_it
            && server.takes_answers()
            && plugin != UNKNOWN_PLUGIN
            && legs.may_begin(plugin, &response.auth);
        if may { Begins::WithTheAnswer } else { Begins::Anew }
    }

    /// The exchange between the two; the session is, from its verdict on, relayed.
    async fn authenticate(
        &mut self,
        answered: Answered,
        response: &LoginResponse,
        begun: Option<Begun<'_>>,
        compressions: Compressions,
        until: Instant,
    ) -> Result<Relay, Refusal> {
        let Answered { server, mut dialed, greeting } = answered;
        let registry = &self.around.shared.sessions.registry;
        registry.set_server(self.handle, &server.address, ThreadId(greeting.connection_id));
        let capabilities = response.capabilities & greeting.capabilities;
        let (Some(client), Some(next)) = (&mut self.client, &mut self.sequence) else {
            return Err(gone());
        };
        let turn = &mut Turn::Told;
        let client = Side { stream: client, ahead: &mut self.ahead, sequence: next, turn };
        let Dialed { stream, ahead, sequence, turn } = &mut *dialed;
        let server_side = Side { stream, ahead, sequence, turn };
        let mut exchange = Exchange::new(client, server_side, self.around.own_key);
        let (answers, second) = match begun {
            Some(Begun { challenge, second }) => (Some(challenge), second),
            None => (None, None),
        };
        if let Some(challenge) = answers {
            exchange = exchange.begun(response.plugin.as_deref().unwrap_or_default(), challenge);
        }
        if second.is_some() {
            exchange = exchange.holding_fast_ok();
        }
        let Settled { mut verdict, proof, learned, holds_fast_ok } = exchange.run(until).await?;
        server.has_answered();
        let is_welcome = verdict.get(HEADER) == Some(&0);
        if is_welcome {
            self.learned = learned_of(learned, response, answers);
            self.check_proof(&dialed.stream, response, proof).await?;
            // Where the home has asked itself, the client takes no other question.
            if proof == Proof::None
                && let Some(second) = second
            {
                self.second = self.open_second(second, until).await?;
            }
        }
        if holds_fast_ok {
            self.say_fast_ok().await?;
        }
        let next = self.sequence.unwrap_or_default();
        verdict[HEADER - 1] = next;
        let dialect = Dialect::new(capabilities, response.extended & greeting.extended);
        let attributes = capabilities & cap::QUERY_ATTRIBUTES != 0;
        let database = response.database.as_deref().unwrap_or_default();
        let mut session = Session::logging_in(dialect, attributes, &response.user, database);
        session.handle_exchange(next);
        let dialed = dialed.into_dialed();
        let thread = ThreadId(greeting.connection_id);
        let told = Verdict { verdict, is_welcome, dialed, server: server.address.clone(), thread };
        self.relay(told, response, compressions, session).await
    }

    /// Whom a server behind a Unix socket has let in.
    async fn check_proof(
        &self,
        server: &Stream,
        response: &LoginResponse,
        proof: Proof,
    ) -> Result<(), Refusal> {
        let Some(client) = &self.client else { return Ok(()) };
        let trusted = &self.around.shared.in_force.config().proxy.proxy_protocol_networks;
        let user = Some(&response.user[..]);
        let checked = impersonation::check(client, server, trusted, user, proof).await;
        checked.map_err(Refusal::Tell)
    }

    /// The session, from the server's verdict on.
    async fn relay(
        &mut self,
        told: Verdict,
        response: &LoginResponse,
        compressions: Compressions,
        session: Session,
    ) -> Result<Relay, Refusal> {
        let Verdict { mut verdict, is_welcome, dialed, server, thread } = told;
        let length = verdict.len();
        let Dialed { stream: server_stream, mut ahead, .. } = dialed;
        let server_leg = match compressions.server {
            Some(how) => Leg::compressed(server_stream, how, 0, &ahead),
            None => {
                verdict.append(&mut ahead);
                Leg::plain(server_stream)
            }
        };
        let server_leg = match is_welcome {
            true => self.admit_to(server_leg, response).await?,
            false => server_leg,
        };
        let client = self.client.take().ok_or_else(gone)?;
        self.handle.facts().compression = [compressions.client, compressions.server];
        // What was sent behind the last packet of the exchange is compressed already.
        let client = match compressions.client {
            Some(how) => Leg::compressed(client, how, length, &std::mem::take(&mut self.ahead)),
            None => Leg::plain(client),
        };
        let lane = |bytes: &[u8]| {
            let lane = Lane::with(bytes, 0, Source::Open);
            lane.ok_or_else(|| Refusal::Tell(ClientError::bad_handshake()))
        };
        let (up, down) = (lane(&self.ahead)?, lane(&verdict)?);
        Ok(Relay::new(client, up, Link { leg: server_leg, down, server, thread }, session))
    }

    /// Counts the session at its user, now that the server has let it in; or takes leave of the
    /// server.
    async fn admit_to(&self, mut server: Leg, response: &LoginResponse) -> Result<Leg, Refusal> {
        let user = String::from_utf8_lossy(&response.user);
        let Shared { in_force, sessions, .. } = self.around.shared;
        let admitted = sessions.admit_user(&in_force.load(), self.handle, &user);
        let Err(error) = admitted else { return Ok(server) };
        // Whether it hears it is its affair.
        let _ = server.write_all(&packet(0, &[code::QUIT])).await;
        let _ = server.flush().await;
        Err(exceeded(self.handle, error))
    }

    /// What a client sends that cannot be greeted yet, up to the end of its time: whether it is
    /// ourselves.
    async fn hear_early(&mut self) -> Refusal {
        while self.ahead.len() < MOST_EARLY
            && let Some(stream) = &mut self.client
        {
            if read_more(stream, &mut self.ahead).await.is_err() {
                // The look goes on without it: a server would count one that is broken off.
                break;
            }
            if self.around.trail.is_own_probe(&self.ahead) {
                return Refusal::Tell(ClientError::leads_back());
            }
        }
        std::future::pending().await
    }

    /// A PROXY header, if one comes, tells who the client really is.
    async fn hear_header(&mut self) -> Result<(), Refusal> {
        let config = self.around.shared.in_force.config();
        let networks = &config.proxy.proxy_protocol_networks;
        let (early, peer) = (std::mem::take(&mut self.ahead), self.peer);
        let stream = self.stream()?;
        let preamble =
            read_preamble(stream, early, networks, peer).await.map_err(|error| match error {
                PreambleError::Refused(error) => Refusal::Tell(error),
                PreambleError::Gone(error) => Refusal::Gone(error),
            })?;
        let Preamble { header, rest } = preamble;
        self.ahead = rest;
        if let Some(header) = header {
            self.route = header.route().or(self.route.filter(|_| header == Header::Own));
            let client = header.client();
            client.into_iter().for_each(|client| self.handle.facts().client = client.into());
        }
        let address = match header {
            None => self.peer.map(|peer| peer.ip().to_canonical()),
            Some(_) => address_of(&self.handle.facts().client),
        };
        let sessions = &self.around.shared.sessions;
        let admitted = address
            .map_or(Ok(()), |address| sessions.admit(&config, &mut self.handle.seat(), address));
        admitted.map_err(|error| exceeded(self.handle, error))
    }

    /// Tells the client why it is not served, as far as it still listens.
    pub async fn refuse(self, refusal: Refusal) {
        let packet = match (&refusal, self.sequence) {
            (Refusal::Gone(error), _) => {
                tracing::debug!(id = self.handle.id.0, %error, "client left in the log-in");
                return;
            }
            (Refusal::Tell(error), None) => error.packet_before_greeting(),
            (Refusal::Tell(error), Some(sequence)) => error.packet(sequence),
            (Refusal::Pass(payload), sequence) => packet(sequence.unwrap_or(0), payload),
            (Refusal::Silent(_), sequence) => {
                ClientError::timed_out("log-in").packet(sequence.unwrap_or(0))
            }
        };
        if let Refusal::Tell(error) = &refusal {
            if self.client.is_none() {
                // The whole log-in took too long, and this is where it was.
                self.handle.counters.client_tls_failures.add(1);
            }
            let client = &*self.handle.facts().client.clone();
            tracing::info!(id = self.handle.id.0, client, %error, "log-in refused");
        }
        if let Some(stream) = self.client {
            close_lingering(stream, &packet).await;
        }
    }

    /// Greets; what only this leg can do is added to what the client hears.
    async fn say_greeting(&mut self, greeting: &mut Greeting) -> io::Result<()> {
        greeting.connection_id = self.handle.id.0;
        if self.around.shared.in_force.tls().client().is_some() {
            greeting.capabilities |= cap::SSL;
        }
        let config = self.around.shared.in_force.config();
        self.offered = compression::offered(config.proxy.client_compression, greeting);
        greeting.capabilities |= self.offered;
        let stream = self.client.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(&packet(0, &greeting.encode())).await?;
        self.sequence = Some(2);
        Ok(())
    }

    async fn read_response(&mut self) -> Result<LoginResponse, Refusal> {
        let mut payload = self.read().await?;
        if is_request_for_tls(&payload) {
            Box::pin(self.negotiate_tls()).await?;
            payload = self.read().await?;
        }
        let tls = self.around.shared.in_force.tls().client();
        let is_required = tls.is_some_and(|tls| tls.mode() == AcceptMode::Require);
        if is_required && !self.stream()?.is_secure() {
            return Err(Refusal::Tell(ClientError::tls_required()));
        }
        LoginResponse::parse(&payload).map_err(|error| {
            tracing::debug!(id = self.handle.id.0, %error, "login response");
            Refusal::Tell(ClientError::bad_handshake())
        })
    }

    async fn read(&mut self) -> Result<Vec<u8>, Refusal> {
        let Some(stream) = &mut self.client else { return Err(gone()) };
        let Some(whole) = read_packet(stream, &mut self.ahead, MAX_LOGIN_RESPONSE).await? else {
            return Err(Refusal::Tell(ClientError::bad_handshake()));
        };
        self.sequence = Some(whole.header.sequence.wrapping_add(1));
        Ok(whole.payload)
    }

    /// What was read behind the request is the beginning of the handshake.
    async fn negotiate_tls(&mut self) -> Result<(), Refusal> {
        let Some(tls) = self.around.shared.in_force.tls().client() else {
            return Err(Refusal::Tell(ClientError::bad_handshake()));
        };
        let stream = self.client.take().ok_or_else(gone)?;
        let early = std::mem::take(&mut self.ahead);
        let limit = self.around.shared.in_force.config().proxy.login_timeout.0;
        let accepted = stream.accept_tls(&tls, &early, limit).await;
        let stream = accepted.map_err(|error| {
            self.handle.counters.client_tls_failures.add(1);
            let client = &*self.handle.facts().client.clone();
            tracing::info!(id = self.handle.id.0, client, %error, "no TLS");
            Refusal::Gone(io::Error::other(error))
        })?;
        self.handle.counters.client_tls_handshakes.add(1);
        self.handle.facts().client_tls = Spoken::on(&stream);
        self.client = Some(stream);
        Ok(())
    }

    fn stream(&mut self) -> Result<&mut Stream, Refusal> {
        self.client.as_mut().ok_or_else(gone)
    }
}

/// A limit was reached.
fn exceeded(handle: &Handle, error: ClientError) -> Refusal {
    handle.counters.refused_client_connections.add(1);
    Refusal::Tell(error)
}

/// Waits until the session is asked to end.
pub async fn told_to_go(handle: &Handle) -> Refusal {
    std::future::poll_fn(|cx| {
        handle.listen(cx.waker());
        match handle.signal() {
            Signal::None | Signal::Freeze => std::task::Poll::Pending,
            _ => std::task::Poll::Ready(Refusal::Tell(ClientError::shutdown())),
        }
    })
    .await
}

fn gone() -> Refusal {
    Refusal::Gone(io::ErrorKind::NotConnected.into())
}

/// A challenge: 20 bytes, none of them 0 (it would end it) or `$` (it would end a stored hash).
pub fn random_salt() -> Result<Vec<u8>, getrandom::Error> {
    let mut salt = vec![0; 20];
    getrandom::fill(&mut salt)?;
    for byte in &mut salt {
        // 7 bits, as servers do: some clients take the challenge for a text.
        *byte = match *byte & 0x7F {
            0 | b'$' => b'#',
            other => other,
        };
    }
    Ok(salt)
}
