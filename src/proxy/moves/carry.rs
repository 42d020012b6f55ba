//! What happens between two commands: the state goes from one server to the other.
//!
//! Nothing of the session has changed until the other server was found to hold the same state. What
//! is asked of the session's own server changes nothing there but diagnostics, which are asked for
//! first of all, and put back as far as can be where the session stays.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout, timeout_at};

use super::carrier::{Carrier, Home, Results, Stranded, pull};
use super::drain::close_now;
use super::gate::Gate;
use super::look::look_now;
use super::orders::Order;
use super::recruit::Recruit;
use super::{Orders, Stays};
use crate::proxy::relay::Relay;
use crate::proxy::relay::link::Link;
use crate::proxy::service::client;
use crate::proxy::service::error::ServiceError;
use crate::proxy::service::login::LoggedIn;
use crate::proxy::sessions::Sessions;
use crate::proxy::sessions::handle::{Due, Handle, Seen};
use crate::proxy::sessions::stay::Cost;
use crate::proxy::sessions::wait_timeout::seconds;
use crate::session::lane::Lane;
use crate::session::link::Link as LinkState;
use crate::session::portable::Pins;
use crate::session::state::{Base, Diagnostics, PutBack, State, Subject};
use crate::task;
use crate::wire::command::code;
use crate::wire::id::ServerStatementId;
use crate::wire::response::ServerStatus;
use crate::wire::status;

/// How long the client is held up at the most.
const LIMIT: Duration = Duration::from_secs(5);

impl Orders {
    /// Carries out the order of this session, which is between two commands; false if that has
    /// ended it.
    pub async fn carry_out(
        &self,
        relay: &mut Relay,
        handle: &Arc<Handle>,
        sessions: &Sessions,
    ) -> bool {
        handle.set_done(Due::Move);
        // Nobody may be waiting any more for what comes of it.
        match self.take(handle.id) {
            None => true,
            Some(Order::Move { recruit, allowed, gate, answer }) => {
                let moved = Box::pin(move_now(relay, handle, sessions, *recruit, (allowed, gate)));
                let (outcome, goes_on) = moved.await;
                let _ = answer.send(outcome);
                goes_on
            }
            Some(Order::Close { server, answer }) => {
                let _ = answer.send(close_now(relay, handle, &server).await);
                true
            }
            Some(Order::Look { inventory, answer }) => {
                let looked = Box::pin(look_now(relay, handle, &inventory));
                let (outcome, goes_on) = looked.await;
                let _ = answer.send(outcome);
                goes_on
            }
        }
    }
}

/// Moves a session that is between two commands; what has come of it, and whether the session goes
/// on. `gate`: where it waits for others when all is done but the last step, from which on nothing
/// can go wrong.
pub(in crate::proxy) async fn move_now(
    relay: &mut Relay,
    handle: &Arc<Handle>,
    sessions: &Sessions,
    mut recruit: Recruit,
    (allowed, gate): (Pins, Option<Gate>),
) -> (Result<(), Stays>, bool) {
    let address = recruit.link.server.address.clone();
    let room = match &gate {
        Some(gate) => gate.room().await.ok(),
        None => None,
    };
    let carried = carry(relay, handle, &mut recruit, allowed).await;
    drop(room);
    let may_go = match (&carried, gate) {
        (Ok(_), Some(gate)) => gate.pass(handle.id).await,
        _ => true,
    };
    let (outcome, goes_on) = match carried {
        Ok(_) if !may_go => {
            task::spawn("parting", client::quit(recruit.link.leg));
            return (Err(Stays::CalledOff), true);
        }
        Ok(carried) => (settle(relay, handle, sessions, recruit, carried), true),
        Err(Failure::Stays(why)) => {
            task::spawn("parting", client::quit(recruit.link.leg));
            (Err(why), true)
        }
        Err(Failure::Broken(why)) => (Err(Stays::NotPulled(why)), false),
    };
    if let Err(why) = &outcome {
        // It is tried again and again.
        match why.note(handle, Cost::Held) {
            true => tracing::warn!(id = handle.id.0, server = &*address, %why, "session not moved"),
            false => tracing::debug!(id = handle.id.0, server = &*address, %why, "nor this time"),
        }
    }
    (outcome, goes_on)
}

/// Why a session was not carried.
enum Failure {
    /// It can go on where it is.
    Stays(Stays),
    /// It can't: an answer of its own server is missing.
    Broken(String),
}

impl From<Stays> for Failure {
    fn from(why: Stays) -> Self {
        Self::Stays(why)
    }
}

/// The other server has it all.
struct Carried {
    /// By which ids it has prepared the session's statements, and their parameters.
    statements: Vec<(ServerStatementId, u16)>,
    status: ServerStatus,
    /// What was pulled.
    seen: Option<Arc<Seen>>,
    /// How many seconds its server lets its client be silent.
    wait_timeout: Option<u32>,
}

/// Within [`LIMIT`]. Once its home has told all the session goes on there, whatever becomes of the
/// other server.
async fn carry(
    relay: &mut Relay,
    handle: &Handle,
    recruit: &mut Recruit,
    allowed: Pins,
) -> Result<Carried, Failure> {
    let until = Instant::now() + LIMIT;
    let held = fetch(relay, handle, recruit, (allowed, until)).await?;
    let left = held.state.diagnostics.clone();
    let why = match timeout_at(until, bring(recruit, held)).await {
        Ok(Ok(carried)) => return Ok(carried),
        Ok(Err(why)) => why,
        Err(_) => {
            let source = ServiceError::Silent { what: "answer to what it is told", limit: LIMIT };
            Stays::Server { address: recruit.link.server.address.to_string(), source }
        }
    };
    if let Some(left) = left.filter(|_| recruit.here.flavour().is_mariadb()) {
        let mut home = Home::of(relay, handle);
        let told = timeout(LIMIT, leave_as(&mut home.carrier(None), &left)).await;
        drop(home);
        told.map_err(|_| silent())?.map_err(|error| Failure::Broken(error.to_string()))?;
        relay.put_on_record(handle);
    }
    Err(why.into())
}

/// Whose answer is missing is not told apart: an own server that is asked and does not answer would
/// not answer the client either.
fn silent() -> Failure {
    let silent = ServiceError::Silent { what: "answer about its state", limit: LIMIT };
    Failure::Broken(silent.to_string())
}

/// What a session is, in the words that another server takes.
struct Held {
    state: State,
    results: Option<Results>,
    /// Its prepared statements, each with its default schema.
    prepared: Vec<(Vec<u8>, Vec<u8>)>,
    /// The same of each PREPARE.
    texts: Vec<(Vec<u8>, Vec<u8>)>,
    /// The argument of its last COM_SET_OPTION.
    option: Option<u16>,
}

/// Asks its home.
async fn fetch(
    relay: &mut Relay,
    handle: &Handle,
    recruit: &mut Recruit,
    (allowed, until): (Pins, Instant),
) -> Result<Held, Failure> {
    let portable = relay.session().portable().ok_or(Stays::NotFollowed)?;
    let (pins, option) = (portable.pins().without(allowed), portable.option());
    if !pins.is_empty() {
        return Err(Failure::Stays(pins.into()));
    }
    let copy = |(text, schema): (&[u8], &[u8])| (text.to_vec(), schema.to_vec());
    let prepared = portable.prepared().texts().map(copy).collect();
    let texts = portable.texts().map(copy).collect();
    let thread = relay.home().thread;
    let Recruit { here, here_service, .. } = recruit;
    let mut home = Home::of(relay, handle);
    let asked = async {
        let mut asked = home.carrier(here_service.as_mut());
        let state = pull(&mut asked, here, thread).await?;
        Ok::<_, Stranded>((state, asked.results().await?))
    };
    let told = timeout_at(until, asked).await;
    drop(home);
    let (state, results) = match told {
        Ok(Ok(told)) => told,
        // All was answered, if not as it should be.
        Ok(Err(Stranded::State(error))) => return Err(Stays::NotPulled(error.to_string()).into()),
        Ok(Err(Stranded::Service(error))) => return Err(Failure::Broken(error.to_string())),
        Err(_) => return Err(silent()),
    };
    relay.put_on_record(handle);
    Ok(Held { state, results, prepared, texts, option })
}

/// Has the other server hold the same.
async fn bring(recruit: &mut Recruit, held: Held) -> Result<Carried, Stays> {
    let Held { state, results, prepared, texts, option } = held;
    if !state.hidden.is_empty() {
        let hidden: Vec<_> = state.hidden.iter().map(ToString::to_string).collect();
        return Err(Stays::Hidden(hidden.join(", ")));
    }
    let Recruit { link, there, there_service, .. } = recruit;
    let address = link.server.address.to_string();
    let refused = |what: String| Stays::NotPushed { address: address.clone(), what };
    let terms = link.terms;
    let mut other = Carrier { channel: &mut link.leg, terms, service: there_service.as_mut() };
    let taken = |brought: Result<Vec<Subject>, Stranded>| -> Result<(), Stays> {
        let differences = brought.map_err(|error| refused(error.to_string()))?;
        let names: Vec<_> = differences.iter().map(ToString::to_string).collect();
        if names.is_empty() { Ok(()) } else { Err(refused(names.join(", "))) }
    };
    taken(other.bring(&state, results.clone(), there, Base::Fresh, link.thread).await)?;
    let schema = state.schema.as_deref().unwrap_or_default();
    let statements = other.prepare(&prepared, schema).await.map_err(&refused)?;
    other.prepare_texts(&texts, schema).await.map_err(&refused)?;
    // What sets a variable gives it another character set as soon as it is prepared.
    let names_variables = |(text, _): &(Vec<u8>, Vec<u8>)| text.contains(&b'@');
    if prepared.iter().chain(&texts).any(names_variables) && !state.user_variables.is_empty() {
        let told = pull(&mut other, there, link.thread).await;
        let told = told.map_err(|error| refused(error.to_string()))?;
        let brought = other.bring(&state, results, there, Base::Told(&told), link.thread).await;
        taken(brought)?;
    }
    if let Some(option) = option {
        other.command(code::SET_OPTION, &option.to_le_bytes()).await.map_err(&refused)?;
    }
    let flags = other.status().await.map_err(&refused)?;
    if let Some(left) = state.diagnostics.as_ref().filter(|_| there.flavour().is_mariadb()) {
        leave_as(&mut other, left).await.map_err(|error| refused(error.to_string()))?;
    }
    if flags & status::IN_TRANS != 0 {
        return Err(refused("it has begun a transaction".into()));
    }
    let seen = Seen::of(&state.shown(), SystemTime::now());
    let status = ServerStatus::Known(flags);
    let wait_timeout = state.variables.get("wait_timeout").and_then(|it| seconds(it.value.text()?));
    Ok(Carried { statements, status, seen, wait_timeout })
}

/// What the session's last statement left: what can be is brought about, what cannot is lost.
async fn leave_as(server: &mut Carrier<'_>, left: &Diagnostics) -> Result<(), ServiceError> {
    match server.run(&mut PutBack::what_can_be(left)).await {
        Ok(()) | Err(Stranded::State(_)) => Ok(()),
        Err(Stranded::Service(error)) => Err(error),
    }
}

/// The other server has it all: it is the session's from now on.
fn settle(
    relay: &mut Relay,
    handle: &Arc<Handle>,
    sessions: &Sessions,
    recruit: Recruit,
    carried: Carried,
) -> Result<(), Stays> {
    let LoggedIn { server, leg, terms, thread, .. } = recruit.link;
    let (address, from) = (server.address.clone(), handle.facts().server.clone());
    let home = Link { leg, down: Lane::default(), server: address.clone(), thread };
    let state = LinkState::idle(terms.dialect, carried.status);
    match relay.move_home(home, state, &carried.statements, handle) {
        Ok(before) => {
            sessions.registry.set_server(handle, &address, thread);
            relay.publish_connections(handle);
            let compression = relay.home().leg.compression();
            let mut facts = handle.facts();
            (facts.compression[1], facts.seen) = (compression, carried.seen);
            facts.stay = None;
            drop(facts);
            handle.set_silence(carried.wait_timeout);
            tracing::info!(id = handle.id.0, from = &*from, to = &*address, "session moved");
            task::spawn("parting", client::quit(before.leg));
            Ok(())
        }
        Err(other) => {
            task::spawn("parting", client::quit(other.leg));
            let what = "a prepared statement: it has other parameters there".into();
            Err(Stays::NotPushed { address: address.to_string(), what })
        }
    }
}
