//! A session ⇄ [`Parcel`]: what crosses a restart.
//!
//! The state is JSON with named fields; unknown ones are skipped, and what is missing has a
//! default. Bytes in transit stand beside it, raw: client to server first.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::frontend::{Parts, Relay};
use super::lane::{Lane, Source};
use super::registry::{Facts, Handle};
use crate::metrics::Totals;
use crate::net::stream::Stream;
use crate::restart::{Parcel, Refused};
use crate::session::Session;
use crate::session::snapshot::SessionSnapshot;

/// What a parcel's JSON says.
#[derive(Debug, Serialize, Deserialize)]
struct State {
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
    /// What of that will not come with the sender's own sum: all that a successor which gives the
    /// session back has counted for it.
    #[serde(default)]
    unsummed: Totals,
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

/// Packs a frozen session; `unsummed` is what of its counters will not come with the sender's sum.
pub fn pack(parts: Parts, handle: &Handle, unsummed: Totals) -> Result<Parcel, serde_json::Error> {
    let facts: Facts = handle.facts().clone();
    let state = State {
        session: SessionSnapshot::from(parts.session),
        client: handle.client.to_string(),
        cluster: facts.cluster.to_string(),
        servers: vec![ServerState {
            address: parts.server_name.to_string(),
            thread: facts.server_thread,
        }],
        up: LaneState::of(&parts.up),
        down: LaneState::of(&parts.down),
        age_ms: millis(handle.born.elapsed()),
        idle_ms: millis(handle.idle()),
        counted: handle.counters.totals(),
        unsummed,
    };
    Ok(Parcel {
        id: handle.id,
        fds: vec![parts.client, parts.server],
        state: serde_json::to_vec(&state)?,
        bytes: [parts.up.bytes(), parts.down.bytes()].concat(),
    })
}

/// A session that can go on here.
pub struct Unpacked {
    /// The session with its sockets.
    pub relay: Relay,
    /// Its handle, not registered yet.
    pub handle: Arc<Handle>,
    /// Its id on the server.
    pub thread: u32,
}

/// Unpacks a session; a parcel that is not understood is given back unharmed. `before` is what it
/// was here until it was frozen.
pub fn unpack(parcel: Parcel, before: Option<&Handle>) -> Result<Unpacked, Refused> {
    let understood = understand(&parcel);
    match understood {
        Ok(understood) => revive(parcel, understood, before),
        Err(reason) => Err(Refused { parcel, reason }),
    }
}

struct Understood {
    state: State,
    up: Lane,
    down: Lane,
}

fn understand(parcel: &Parcel) -> Result<Understood, String> {
    let state: State = serde_json::from_slice(&parcel.state).map_err(|error| error.to_string())?;
    if parcel.fds.len() != 1 + state.servers.len() || state.servers.len() != 1 {
        let (fds, servers) = (parcel.fds.len(), state.servers.len());
        return Err(format!("{fds} sockets and {servers} servers, expected 2 and 1"));
    }
    let Some((up, down)) = parcel.bytes.split_at_checked(state.up.bytes) else {
        let (bytes, held) = (state.up.bytes, parcel.bytes.len());
        return Err(format!("{bytes} bytes for the server, but only {held} came"));
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

fn revive(
    parcel: Parcel,
    understood: Understood,
    before: Option<&Handle>,
) -> Result<Unpacked, Refused> {
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
    let summed = match before {
        Some(before) => before.summed,
        None => state.counted.less(&state.unsummed),
    };
    let handle = Handle::new(parcel.id, state.client.into(), born, &state.counted, summed);
    handle.resume_idle(Duration::from_millis(state.idle_ms));
    handle.facts().cluster = state.cluster.into();
    let [ServerState { address, thread }] = &state.servers[..] else {
        return Err(Refused { parcel, reason: "not one server".into() });
    };
    let session = Session::from(state.session);
    let address: Arc<str> = address.as_str().into();
    let relay = Relay::resumed(client, server, session, address, up, down);
    Ok(Unpacked { relay, handle: Arc::new(handle), thread: *thread })
}

impl LaneState {
    fn of(lane: &Lane) -> Self {
        Self { bytes: lane.bytes().len(), judged: lane.pending().len(), source: lane.source() }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
