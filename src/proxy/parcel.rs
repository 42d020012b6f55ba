//! A session ⇄ [`Parcel`]: what crosses a restart.
//!
//! The state is JSON with named fields; unknown ones are skipped, and what is missing has a
//! default. Bytes in transit stand beside it, raw: client to server first. What a reader must not
//! skip, its writer names in `critical`; who does not know it leaves the session where it is.
//! Golden files of every version, in tests/handover, are understood for ever.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::frontend::{Parts, Relay};
use super::lane::{Lane, Source};
use super::pause::FrozenAt;
use super::registry::{Facts, Handle};
use crate::metrics::Totals;
use crate::net::stream::Stream;
use crate::restart::{Parcel, Refused, Replica};
use crate::session::Session;
use crate::session::snapshot::SessionSnapshot;

/// How much of a name from elsewhere is shown.
const LONGEST_NAME: usize = 64;

/// What a parcel's JSON says.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// Fields that a reader must know, each by its path from here: `session.conversation.turn`.
    /// To be named by a version that adds a field without which the session would go on wrongly,
    /// for the sessions that use it. This version has none.
    #[serde(default)]
    critical: Vec<String>,
    session: SessionSnapshot,
    client: String,
    cluster: String,
    servers: Vec<ServerState>,
    up: LaneState,
    down: LaneState,
    age_ms: u64,
    idle_ms: u64,
    #[serde(default)]
    counted: Totals,
    /// Older versions do not say it.
    #[serde(default)]
    frozen_at: Option<FrozenAt>,
}

/// One server connection of the session.
#[derive(Debug, Serialize, Deserialize)]
struct ServerState {
    address: String,
    thread: u32,
}

/// One direction: how many of the raw bytes are its own.
#[derive(Debug, Serialize, Deserialize)]
struct LaneState {
    bytes: usize,
    judged: usize,
    source: Source,
}

/// Packs a session that has been frozen since then.
pub fn pack(
    parts: Parts,
    handle: &Handle,
    frozen_at: FrozenAt,
) -> Result<Parcel, serde_json::Error> {
    let Parts { client, server, session, up, down, server_name } = parts;
    let mut state = describe(session, &server_name, (&up, &down), handle);
    state.frozen_at = Some(frozen_at);
    Ok(Parcel {
        id: handle.id,
        fds: vec![client, server],
        state: serde_json::to_vec(&state)?,
        bytes: [up.bytes(), down.bytes()].concat(),
    })
}

/// What the parcel would be if the session were frozen now.
pub fn copy(relay: &Relay, handle: &Handle) -> Result<Replica, serde_json::Error> {
    let lanes = (&relay.up, &relay.down);
    let state = describe(relay.session.clone(), &relay.server_name, lanes, handle);
    Ok(Replica {
        id: handle.id,
        fds: 2,
        state: serde_json::to_vec(&state)?,
        bytes: [relay.up.bytes(), relay.down.bytes()].concat(),
    })
}

fn describe(session: Session, server: &str, lanes: (&Lane, &Lane), handle: &Handle) -> State {
    let facts: Facts = handle.facts().clone();
    State {
        critical: Vec::new(),
        session: SessionSnapshot::from(session),
        client: handle.client.to_string(),
        cluster: facts.cluster.to_string(),
        servers: vec![ServerState { address: server.to_owned(), thread: facts.server_thread }],
        up: LaneState::of(lanes.0),
        down: LaneState::of(lanes.1),
        age_ms: millis(handle.born.elapsed()),
        idle_ms: millis(handle.idle()),
        counted: handle.counters.totals(),
        frozen_at: None,
    }
}

/// A session that can go on here.
pub struct Unpacked {
    /// The session with its sockets.
    pub relay: Relay,
    /// Its handle, not registered yet.
    pub handle: Arc<Handle>,
    /// Its id on the server.
    pub thread: u32,
    /// Since when it stands still, if its parcel says so.
    pub frozen_at: Option<FrozenAt>,
}

/// Unpacks a session; a parcel that is not understood is given back unharmed.
pub fn unpack(parcel: Parcel) -> Result<Unpacked, Refused> {
    match understand(&parcel.state, &parcel.bytes, parcel.fds.len()) {
        Ok(understood) => revive(parcel, understood),
        Err(reason) => Err(Refused { parcel, reason }),
    }
}

/// Whether a session in this state, with so many sockets, could go on here; the error is why not.
pub fn rehearse(state: &[u8], bytes: &[u8], fds: usize) -> Result<(), String> {
    understand(state, bytes, fds).map(drop)
}

struct Understood {
    state: State,
    up: Lane,
    down: Lane,
}

fn understand(state: &[u8], bytes: &[u8], fds: usize) -> Result<Understood, String> {
    let state: State = serde_json::from_slice(state).map_err(|error| error.to_string())?;
    if let Some(name) = first_unknown(&state).map_err(|error| error.to_string())? {
        // It ends in logs and in SHOW RESTART.
        let name: String = name.chars().take(LONGEST_NAME).collect();
        return Err(format!("field '{name}' is critical and unknown"));
    }
    if fds != 1 + state.servers.len() || state.servers.len() != 1 {
        let servers = state.servers.len();
        return Err(format!("{fds} sockets and {servers} servers, expected 2 and 1"));
    }
    let Some((up, down)) = bytes.split_at_checked(state.up.bytes) else {
        let (announced, held) = (state.up.bytes, bytes.len());
        return Err(format!("{announced} bytes for the server, but only {held} came"));
    };
    if down.len() != state.down.bytes {
        let bytes = state.down.bytes;
        return Err(format!("{bytes} bytes for the client, but {} came", down.len()));
    }
    let lane = |bytes: &[u8], lane: &LaneState| {
        let held = bytes.len();
        let made = Lane::with(bytes, lane.judged, lane.source);
        made.ok_or_else(|| format!("a lane of {held} bytes, {} of them judged", lane.judged))
    };
    let (up, down) = (lane(up, &state.up)?, lane(down, &state.down)?);
    Ok(Understood { state, up, down })
}

/// The first critical field that this build does not know: had it been known, it would be written
/// again.
fn first_unknown(state: &State) -> Result<Option<&str>, serde_json::Error> {
    if state.critical.is_empty() {
        return Ok(None);
    }
    let known = serde_json::to_value(state)?;
    let is_known =
        |name: &&String| known.pointer(&format!("/{}", name.replace('.', "/"))).is_some();
    Ok(state.critical.iter().find(|name| !is_known(name)).map(String::as_str))
}

fn revive(parcel: Parcel, understood: Understood) -> Result<Unpacked, Refused> {
    let Understood { state, up, down } = understood;
    // Duplicates go into the runtime, so that a failure leaves the parcel as it was.
    let streams: std::io::Result<Vec<Stream>> =
        parcel.fds.iter().map(OwnedFd::try_clone).map(|fd| Stream::from_fd(fd?)).collect();
    let mut streams = match streams {
        Ok(streams) => streams.into_iter(),
        Err(error) => return Err(Refused { parcel, reason: error.to_string() }),
    };
    let (Some(client), Some(server)) = (streams.next(), streams.next()) else {
        return Err(Refused { parcel, reason: "a socket is missing".into() });
    };
    let now = Instant::now();
    let born = now.checked_sub(Duration::from_millis(state.age_ms)).unwrap_or(now);
    let handle = Handle::new(parcel.id, state.client.into(), born, &state.counted);
    handle.resume_idle(Duration::from_millis(state.idle_ms));
    handle.facts().cluster = state.cluster.into();
    let [ServerState { address, thread }] = &state.servers[..] else {
        return Err(Refused { parcel, reason: "not one server".into() });
    };
    let session = Session::from(state.session);
    let address: Arc<str> = address.as_str().into();
    let relay = Relay::resumed(client, server, session, address, up, down);
    let frozen_at = state.frozen_at;
    Ok(Unpacked { relay, handle: Arc::new(handle), thread: *thread, frozen_at })
}

impl LaneState {
    fn of(lane: &Lane) -> Self {
        Self { bytes: lane.bytes().len(), judged: lane.pending().len(), source: lane.source() }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
