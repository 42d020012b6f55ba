//! A session ⇄ [`Parcel`]: what crosses a restart.
//!
//! The state is JSON with named fields; unknown ones are skipped, and what is missing has a
//! default. Bytes in transit stand beside it, raw: client to server first, then server to client,
//! then those inside the client's TLS and the server's, then those of compressed frames in the same
//! order, if there are any. What a reader must not skip, its writer names in `critical`; who does
//! not know it leaves the session where it is. Golden files of every version, in tests/handover,
//! are understood for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::frontend::{Parts, Relay};
use super::handle::{Facts, Handle};
use super::lane::{Lane, Source};
use super::leg::{Leg, LegState};
use super::numbering::Numbering;
use super::pause::FrozenAt;
use crate::metrics::Totals;
use crate::net::stream::{Parts as StreamParts, Stream};
use crate::net::tls::stream::{TlsState, TlsStream};
use crate::net::tls::wiped::Wiped;
use crate::restart::{Parcel, Refused, Replica};
use crate::session::Session;
use crate::session::snapshot::SessionSnapshot;

/// A session's sockets: its client's and its server's.
pub const SOCKETS: u64 = 2;

/// How much of a name from elsewhere is shown.
const LONGEST_NAME: usize = 64;

/// Bytes of JSON that all but sessions with long names and many pipelined commands stay below.
const USUAL_STATE: usize = 4096;

/// The client's [`LegTls`] in `critical`.
const CLIENT_TLS: &str = "client_tls";

/// The server's [`LegTls`] in `critical`.
const SERVER_TLS: &str = "servers.0.tls";

/// The client's [`LegFrames`] in `critical`.
const CLIENT_FRAMES: &str = "client_compression";

/// The server's [`LegFrames`] in `critical`.
const SERVER_FRAMES: &str = "servers.0.compression";

/// What a parcel's JSON says.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// Fields that a reader must know, each by its path from here: `session.conversation.turn`.
    /// To be named by a version that adds a field without which the session would go on wrongly,
    /// for the sessions that use it.
    #[serde(default)]
    critical: Vec<String>,
    session: SessionSnapshot,
    client: String,
    /// TLS of the client's connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_tls: Option<LegTls>,
    /// Compression of the client's connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_compression: Option<LegFrames>,
    /// When either connection is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    numbering: Option<Numbering>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<LegTls>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compression: Option<LegFrames>,
}

/// TLS of one connection, and how many of the raw bytes are in it.
#[derive(Debug, Serialize, Deserialize)]
struct LegTls {
    bytes: usize,
    session: TlsState,
}

/// Compression of one connection, and how many of the raw bytes are in frames of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct LegFrames {
    bytes: usize,
    state: LegState,
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
    let Parts { client, server, numbering, session, up, down, server_name } = parts;
    let legs = Legs {
        client: client.stream.tls,
        server: server.stream.tls,
        frames: [client.compression, server.compression],
    };
    let mut state = describe(session, &server_name, (&up, &down), handle);
    state.frozen_at = Some(frozen_at);
    state.numbering = numbering;
    let bytes = legs.describe(&mut state, &[up.bytes(), down.bytes()]);
    let fds = vec![client.stream.fd, server.stream.fd];
    Ok(Parcel { id: handle.id, fds, state: encode(&state)?, bytes })
}

/// What the parcel would be if the session were frozen now, but for the keys in it.
pub fn copy(relay: &Relay, handle: &Handle) -> Result<Replica, serde_json::Error> {
    let lanes = (&relay.up, &relay.down);
    let keyless = |leg: &Leg| leg.stream().tls().map(TlsStream::without_keys);
    let legs = Legs {
        client: keyless(&relay.client),
        server: keyless(&relay.server),
        frames: [relay.client.compression_parts(), relay.server.compression_parts()],
    };
    let mut state = describe(relay.session.clone(), &relay.server_name, lanes, handle);
    state.numbering = relay.numbering;
    let bytes = legs.describe(&mut state, &[relay.up.bytes(), relay.down.bytes()]);
    Ok(Replica { id: handle.id, fds: 2, state: serde_json::to_vec(&state)?, bytes })
}

fn encode(state: &State) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let mut text = Wiped::with_capacity(USUAL_STATE);
    serde_json::to_writer(&mut text, state)?;
    // No longer than it is: those of all sessions are kept until the probation is over.
    Ok(Zeroizing::new(text.into_inner().to_vec()))
}

/// TLS of both connections, and their compression, the client's first.
struct Legs {
    client: Option<(TlsState, Vec<u8>)>,
    server: Option<(TlsState, Vec<u8>)>,
    frames: [Option<(LegState, Vec<u8>)>; 2],
}

impl Legs {
    /// Puts them into a state that has none; all raw bytes.
    fn describe(self, state: &mut State, lanes: &[&[u8]]) -> Vec<u8> {
        let (client_tls, server_tls) = (self.client, self.server);
        let [client_frames, server_frames] = self.frames;
        let mut laid = Laid { bytes: lanes.concat(), critical: &mut state.critical };
        let tls = |(bytes, session)| LegTls { bytes, session };
        let client_tls = laid.put(client_tls, CLIENT_TLS).map(tls);
        let server_tls = laid.put(server_tls, SERVER_TLS).map(tls);
        let frames = |(bytes, state)| LegFrames { bytes, state };
        let client_frames = laid.put(client_frames, CLIENT_FRAMES).map(frames);
        let server_frames = laid.put(server_frames, SERVER_FRAMES).map(frames);
        let bytes = laid.bytes;
        (state.client_tls, state.client_compression) = (client_tls, client_frames);
        if let Some(first) = state.servers.first_mut() {
            (first.tls, first.compression) = (server_tls, server_frames);
        }
        bytes
    }
}

/// Raw bytes that are laid one behind the other, and what readers must know of them.
struct Laid<'a> {
    bytes: Vec<u8>,
    critical: &'a mut Vec<String>,
}

impl Laid<'_> {
    /// How many bytes it was, and what goes with them.
    fn put<T>(&mut self, inside: Option<(T, Vec<u8>)>, path: &str) -> Option<(usize, T)> {
        let (state, inside) = inside?;
        self.critical.push(path.to_owned());
        self.bytes.extend_from_slice(&inside);
        Some((inside.len(), state))
    }
}

fn describe(session: Session, server: &str, lanes: (&Lane, &Lane), handle: &Handle) -> State {
    let facts: Facts = handle.facts().clone();
    let thread = facts.server_thread;
    State {
        critical: Vec::new(),
        session: SessionSnapshot::from(session),
        client: facts.client.into(),
        client_tls: None,
        client_compression: None,
        numbering: None,
        cluster: facts.cluster.to_string(),
        servers: vec![ServerState {
            address: server.to_owned(),
            thread,
            tls: None,
            compression: None,
        }],
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

/// Unpacks a session; a parcel that is not understood is given back unharmed, one whose sockets the
/// runtime does not take without them.
pub fn unpack(parcel: Parcel) -> Result<Unpacked, Refused> {
    match understand(&parcel.state, &parcel.bytes, parcel.fds.len()) {
        Ok(understood) => revive(parcel, understood),
        Err(reason) => Err(Refused { parcel, reason }),
    }
}

/// Whether a session in this state, with so many sockets, could go on here; the error is why not.
pub fn rehearse(state: &[u8], bytes: &[u8], fds: usize) -> Result<(), String> {
    let Legs { client, server, .. } = understand(state, bytes, fds)?.legs;
    let check = |(session, inside): (TlsState, Vec<u8>)| session.check(&inside);
    let checked = client.map_or(Ok(()), check).and_then(|()| server.map_or(Ok(()), check));
    checked.map_err(|error| error.to_string())
}

struct Understood {
    state: State,
    server: ServerState,
    up: Lane,
    down: Lane,
    legs: Legs,
}

fn understand(state: &[u8], bytes: &[u8], fds: usize) -> Result<Understood, String> {
    let mut state: State = serde_json::from_slice(state).map_err(|error| error.to_string())?;
    let client_tls = state.client_tls.take();
    let server_tls = state.servers.first_mut().and_then(|server| server.tls.take());
    if let Some(name) = first_unknown(&state).map_err(|error| error.to_string())? {
        // It ends in logs and in SHOW RESTART.
        let name: String = name.chars().take(LONGEST_NAME).collect();
        return Err(format!("field '{name}' is critical and unknown"));
    }
    let count = state.servers.len();
    let (Some(mut server), 1) = (state.servers.pop(), count) else {
        return Err(format!("{count} servers, expected 1"));
    };
    if fds != 2 {
        return Err(format!("{fds} sockets, expected 2"));
    }
    let mut raw = Raw(bytes);
    let up = raw.lane(&state.up, "for the server")?;
    let down = raw.lane(&state.down, "for the client")?;
    let client = raw.tls(client_tls, "in the client's TLS")?;
    let tls = raw.tls(server_tls, "in the server's TLS")?;
    let frames = [
        raw.frames(state.client_compression.take(), "in the client's frames")?,
        raw.frames(server.compression.take(), "in the server's frames")?,
    ];
    if !raw.0.is_empty() {
        return Err(format!("{} bytes left over", raw.0.len()));
    }
    Ok(Understood { state, server, up, down, legs: Legs { client, server: tls, frames } })
}

/// Raw bytes that are not dealt out yet.
struct Raw<'a>(&'a [u8]);

impl<'a> Raw<'a> {
    fn take(&mut self, n: usize, whose: &str) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .0
            .split_at_checked(n)
            .ok_or_else(|| format!("{n} bytes {whose}, but only {} came", self.0.len()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn lane(&mut self, lane: &LaneState, whose: &str) -> Result<Lane, String> {
        let LaneState { bytes, judged, source } = *lane;
        let made = Lane::with(self.take(bytes, whose)?, judged, source);
        made.ok_or_else(|| format!("a lane of {bytes} bytes, {judged} of them judged"))
    }

    fn tls(
        &mut self,
        tls: Option<LegTls>,
        whose: &str,
    ) -> Result<Option<(TlsState, Vec<u8>)>, String> {
        let Some(LegTls { bytes, session }) = tls else { return Ok(None) };
        Ok(Some((session, self.take(bytes, whose)?.to_vec())))
    }

    fn frames(
        &mut self,
        frames: Option<LegFrames>,
        whose: &str,
    ) -> Result<Option<(LegState, Vec<u8>)>, String> {
        let Some(LegFrames { bytes, state }) = frames else { return Ok(None) };
        state.check(bytes)?;
        Ok(Some((state, self.take(bytes, whose)?.to_vec())))
    }
}

/// The first critical field that this build does not know: had it been known, it would be written
/// again.
fn first_unknown(state: &State) -> Result<Option<&str>, serde_json::Error> {
    let mut critical = state.critical.iter().map(String::as_str);
    let mut foreign = critical.by_ref().filter(|name| ![CLIENT_TLS, SERVER_TLS].contains(name));
    let Some(first) = foreign.next() else { return Ok(None) };
    let known = serde_json::to_value(state)?;
    let is_known = |name: &&str| known.pointer(&format!("/{}", name.replace('.', "/"))).is_some();
    Ok(std::iter::once(first).chain(foreign).find(|name| !is_known(name)))
}

fn revive(mut parcel: Parcel, understood: Understood) -> Result<Unpacked, Refused> {
    let Understood { state, server: ServerState { address, thread, .. }, up, down, legs } =
        understood;
    let Legs { client, server, frames } = legs;
    let tls = [client, server];
    // Whoever has sent them still has its own duplicates.
    let fds = std::mem::take(&mut parcel.fds).into_iter();
    let streams: std::io::Result<Vec<Stream>> =
        fds.zip(tls).map(|(fd, tls)| Stream::from_parts(StreamParts { fd, tls })).collect();
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
    let session = Session::from(state.session);
    let [client_frames, server_frames] = frames;
    let client = Leg::from_parts(client, client_frames);
    let server = Leg::from_parts(server, server_frames);
    handle.facts().compression = [client.compression(), server.compression()];
    let mut relay = Relay::resumed(client, server, session, address.into(), up, down);
    relay.numbering = relay.numbering.map(|fresh| state.numbering.unwrap_or(fresh));
    let frozen_at = state.frozen_at;
    Ok(Unpacked { relay, handle: Arc::new(handle), thread, frozen_at })
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
