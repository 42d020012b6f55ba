//! From a server's greeting to a connection of ours that takes commands.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::client::{Terms, query_all};
use super::error::ServiceError;
use super::exchange::{Begun, Proved, at_once, prove};
use crate::config::Config;
use crate::net::socket::Keepalive;
use crate::net::tls::settings::Connector;
use crate::proxy::accounts::credentials::{Credentials, Password};
use crate::proxy::accounts::impersonation::{Behalf, may_be_us};
use crate::proxy::cluster::server_login::Dialed;
use crate::proxy::cluster::{Answered, Greeted, Server, server_keepalive};
use crate::proxy::handshake::compression;
use crate::proxy::relay::leg::Leg;
use crate::proxy::relay::link::Link;
use crate::route::Allotment;
use crate::session::lane::Lane;
use crate::session::link::Link as LinkState;
use crate::session::portable::LoggedInAs;
use crate::sql::analysis::statements;
use crate::wire::authentication::{CACHING_SHA2, NATIVE};
use crate::wire::capability as cap;
use crate::wire::compressed::Compression;
use crate::wire::handshake::{Greeting, LoginResponse, UNKNOWN_PLUGIN};
use crate::wire::id::ThreadId;
use crate::wire::packet::put_lenenc_str;
use crate::wire::response::{Dialect, ServerStatus};

/// The most that is heard of an answer to `init_sql`.
const MOST_OF_INIT: usize = 1 << 20;

/// utf8mb4_general_ci, which every server knows.
const UTF8MB4: u8 = 45;

/// How a connection is to be.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// For whom: a server at a Unix socket, which knows us by that, has to ask for a proof then.
    pub behalf: Behalf,
    /// What is spoken: what the server lacks of it is an error, but for what says only how a log-in
    /// looks. What belongs to the leg is left out, the database and what plugins need see to
    /// themselves.
    pub capabilities: u32,
    /// MariaDB's extended ones.
    pub extended: u32,
    /// The longest packet that we take.
    pub max_packet: u32,
    /// The collation of the session; the low byte of its id.
    pub collation: u8,
    /// The default database.
    pub database: Option<&'a [u8]>,
    /// Connection attributes, as in [`LoginResponse::rest`]; empty for none. See [`attributes`].
    pub attributes: &'a [u8],
    /// How the leg is compressed, if the server can.
    pub compression: Option<Compression>,
    /// What is run first of all; empty for nothing.
    pub init: &'a [u8],
}

impl<'a> Wanted<'a> {
    /// As a client's log-in wants it, with `init_sql`.
    pub fn like(
        login: LoggedInAs,
        behalf: Behalf,
        compression: Option<Compression>,
        init: &'a [u8],
    ) -> Self {
        let LoggedInAs { capabilities, extended, max_packet, collation } = login;
        let (database, attributes): (_, &[u8]) = (None, &[]);
        Self {
            behalf,
            capabilities,
            extended,
            max_packet,
            collation,
            database,
            attributes,
            compression,
            init,
        }
    }
}

impl Default for Wanted<'_> {
    /// What every server can, and what is easiest to read.
    fn default() -> Self {
        Self {
            behalf: Behalf::Ours,
            capabilities: cap::LONG_PASSWORD | cap::TRANSACTIONS,
            extended: 0,
            max_packet: 1 << 24,
            collation: UTF8MB4,
            database: None,
            attributes: &[],
            compression: None,
            init: &[],
        }
    }
}

/// A connection that takes commands.
#[derive(Debug)]
pub struct LoggedIn {
    /// The server.
    pub server: Arc<Server>,
    /// The connection; nothing that was read of it is left behind.
    pub leg: Leg,
    /// What was agreed on.
    pub terms: Terms,
    /// Its id on the server.
    pub thread: ThreadId,
    /// What the server said first.
    pub greeting: Arc<Greeting>,
    /// What it said last in the log-in: the payload of an OK packet, with what it tracks.
    pub verdict: Vec<u8>,
}

impl LoggedIn {
    /// A session's link to a reader, over which nothing is under way.
    pub(in crate::proxy) fn into_link(self, config: &Config) -> io::Result<(Link, LinkState)> {
        let Self { server, leg, terms, thread, .. } = self;
        leg.stream().tune(reader_keepalive(config))?;
        let link = Link { leg, down: Lane::default(), server: server.address.clone(), thread };
        Ok((link, LinkState::idle(terms.dialect, ServerStatus::Unknown)))
    }
}

/// The home answers where a reader does not. So one that acknowledges nothing is given up as soon
/// as one that is silent: the kernel's own measure is a quarter of an hour. A read may run for as
/// long as it likes, as a server that lives acknowledges.
fn reader_keepalive(config: &Config) -> Keepalive {
    let keepalive = server_keepalive(config);
    let user_timeout = match keepalive.user_timeout.is_zero() {
        true => keepalive.idle + keepalive.interval * keepalive.count,
        false => keepalive.user_timeout,
    };
    Keepalive { user_timeout, ..keepalive }
}

/// Logs in to a server that has greeted, by TLS as the connector says, within `limit`.
///
/// A log-in that is not finished is ended so that the server does not hold it against us. Whoever
/// drops the future does the same.
pub async fn log_in(
    greeted: Greeted,
    credentials: &Credentials,
    wanted: &Wanted<'_>,
    tls: Option<&Connector>,
    limit: Duration,
) -> Result<LoggedIn, ServiceError> {
    let until = Instant::now() + limit;
    let (mut response, begun) = response(&greeted, credentials, wanted)?;
    let compression = compression::ask(wanted.compression, &greeted.greeting, &mut response);
    let capabilities = response.capabilities;
    let time = Allotment { limit, fair: limit };
    let answered = greeted.answer(response, tls, time).await?;
    let going_on = async {
        let Answered { server, mut dialed, greeting } = answered;
        let Proved { verdict, proof } = prove(&mut dialed, &credentials.password, begun).await?;
        server.has_answered();
        let user = Some(&credentials.user[..]);
        if may_be_us(wanted.behalf, &dialed.stream, user, proof).await {
            return Err(ServiceError::Unproved);
        }
        let Dialed { stream, ahead, .. } = dialed.into_dialed();
        let mut leg = match compression {
            Some(how) => Leg::compressed(stream, how, 0, &ahead),
            None if ahead.is_empty() => Leg::plain(stream),
            None => return Err(ServiceError::Malformed("bytes behind the end of the log-in")),
        };
        let terms = Terms {
            dialect: Dialect::new(capabilities, wanted.extended),
            query_attributes: capabilities & cap::QUERY_ATTRIBUTES != 0,
        };
        initialise(&mut leg, terms, wanted.init).await?;
        let thread = ThreadId(greeting.connection_id);
        Ok(LoggedIn { server, leg, terms, thread, greeting, verdict })
    };
    let silent = |_| ServiceError::Silent { what: "end of the log-in", limit };
    timeout_at(until, going_on).await.map_err(silent)?
}

/// Connection attributes as a login response has them: name, value.
pub fn attributes(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut inside = Vec::new();
    for (name, value) in pairs {
        put_lenenc_str(&mut inside, name.as_bytes());
        put_lenenc_str(&mut inside, value.as_bytes());
    }
    let mut out = Vec::new();
    put_lenenc_str(&mut out, &inside);
    out
}

/// Runs `init_sql`: each statement by itself, as whether several may stand in one text is the
/// client's affair.
pub async fn initialise(leg: &mut Leg, terms: Terms, init: &[u8]) -> Result<(), ServiceError> {
    if init.is_empty() {
        return Ok(());
    }
    for statement in statements(init) {
        for answer in query_all(leg, terms, statement, MOST_OF_INIT).await? {
            if let Answer::Err(error) = answer {
                return Err(ServiceError::Init(error));
            }
        }
    }
    Ok(())
}

/// Our login response, and whose challenge it answers.
fn response(
    greeted: &Greeted,
    credentials: &Credentials,
    wanted: &Wanted<'_>,
) -> Result<(LoginResponse, Begun), ServiceError> {
    // What depends on what else is wanted, or on how we prove who we are.
    const OURS: u32 = cap::CONNECT_WITH_DB | cap::PLUGIN_AUTH | cap::SECURE_CONNECTION;
    let greeting = &*greeted.greeting;
    let spoken = wanted.capabilities & !(cap::OF_THE_LEG | cap::OF_THE_LOG_IN | OURS);
    let lacking = spoken & !greeting.capabilities;
    let extended = wanted.extended & !greeting.extended;
    if lacking != 0 || extended != 0 {
        return Err(ServiceError::OffersLess { capabilities: lacking, extended });
    }
    let log_in = wanted.capabilities & (cap::LONG_PASSWORD | cap::EXPIRED_PASSWORDS);
    let mut capabilities = spoken | log_in & greeting.capabilities;
    capabilities |= cap::PROTOCOL_41 | cap::SECURE_CONNECTION;
    capabilities |= greeting.capabilities & (cap::PLUGIN_AUTH | cap::PLUGIN_AUTH_LENENC);
    if wanted.database.is_some() {
        capabilities |= cap::CONNECT_WITH_DB;
    }
    if !wanted.attributes.is_empty() {
        capabilities |= greeting.capabilities & cap::CONNECT_ATTRS;
    }
    let has_attributes = capabilities & cap::CONNECT_ATTRS != 0;
    let (plugin, auth) = match must_ask(greeted, wanted.behalf) {
        true => (UNKNOWN_PLUGIN, Vec::new()),
        false => first_answer(greeting, &credentials.password)?,
    };
    let has_plugin = capabilities & cap::PLUGIN_AUTH != 0;
    let response = LoginResponse {
        capabilities,
        extended: wanted.extended,
        max_packet: wanted.max_packet,
        collation: wanted.collation,
        user: credentials.user.clone(),
        auth,
        database: wanted.database.map(<[u8]>::to_vec),
        plugin: has_plugin.then(|| plugin.to_vec()),
        rest: if has_attributes { wanted.attributes.to_vec() } else { Vec::new() },
    };
    Ok((response, Begun { plugin: plugin.to_vec(), challenge: greeting.salt.clone() }))
}

/// Whether the server has to ask for a proof: what it says to one that it has not asked for looks
/// the same if it does not look at it.
fn must_ask(greeted: &Greeted, behalf: Behalf) -> bool {
    let can_ask = greeted.greeting.capabilities & cap::PLUGIN_AUTH != 0;
    behalf == Behalf::Client && greeted.dialed.stream.is_unix() && can_ask
}

/// The plugin of the first answer, and the answer: to the challenge in the greeting, if its plugin
/// or that of our hash is one that says nothing of the password. Any other is asked for anew, by
/// TLS if there is any.
fn first_answer<'a>(
    greeting: &'a Greeting,
    password: &'a Password,
) -> Result<(&'a [u8], Vec<u8>), ServiceError> {
    if greeting.capabilities & cap::PLUGIN_AUTH == 0 {
        // There was but one way then.
        let answer = at_once(password, NATIVE, &greeting.salt);
        let wants = || ServiceError::WantsPassword(String::from_utf8_lossy(NATIVE).into_owned());
        return answer.map(|answer| (NATIVE, answer)).ok_or_else(wants);
    }
    let own: &[u8] = match password {
        Password::Clear(_) => UNKNOWN_PLUGIN,
        Password::Native(_) => NATIVE,
        Password::Sha2(_) => CACHING_SHA2,
        Password::Once(once) => &once.plugin,
    };
    let answer = |plugin| Some((plugin, at_once(password, plugin, &greeting.salt)?));
    let found = answer(&*greeting.plugin).or_else(|| answer(own));
    Ok(found.unwrap_or((UNKNOWN_PLUGIN, Vec::new())))
}
