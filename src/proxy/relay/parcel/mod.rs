//! A session ⇄ [`Parcel`]: what crosses a restart.
//!
//! The state is JSON with named fields; unknown ones are skipped, and what is missing has a
//! default. Bytes in transit stand beside it, raw: client to server first, then server to client,
//! then those inside the client's TLS and the server's, then those of compressed frames in the same
//! order, if there are any; then the same of each further server: to the client, in TLS, in frames.
//! What a reader must not skip, its writer names in `critical`; who does
//! not know it leaves the session where it is. Golden files of every version, in tests/handover,
//! are understood for ever.

mod packed;

use std::borrow::Borrow;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::leg::{Leg, LegState};
use super::link::Link;
use super::pause::FrozenAt;
use super::{Parts, Relay};
use crate::buffer::arena::Piece;
use crate::journal::Slot;
use crate::metrics::Totals;
use crate::net::stream::{Parts as StreamParts, Stream};
use crate::net::tls::stream::{TlsState, TlsStream};
use crate::net::tls::wiped::Wiped;
use crate::proxy::accounts::taught::{AccountState, Taught};
use crate::proxy::relay::leg::Parts as LegParts;
use crate::proxy::sessions::handle::{Facts, Handle};
use crate::restart::{Claim, Parcel, Refused, Replica};
use crate::session::Session;
use crate::session::lane::{Lane, Source};
use crate::session::numbering::Numbering;
use crate::session::snapshot::{FURTHER_LINKS, OWN_IDS, SessionSnapshot, TRANSACTION, WISHES};
use crate::wire::id::{SessionId, ThreadId};

/// How much of a name from elsewhere is shown.
const LONGEST_NAME: usize = 64;

/// Bytes of JSON that all but sessions with long names and many pipelined commands stay below.
const USUAL_STATE: usize = 4096;

/// The client's [`LegTls`] in `critical`.
const CLIENT_TLS: &str = "client_tls";

/// The client's [`LegFrames`] in `critical`.
const CLIENT_FRAMES: &str = "client_compression";

/// A server's [`LegTls`] in `critical`.
fn server_tls(place: usize) -> String {
    format!("servers.{place}.tls")
}

/// A server's [`LegFrames`] in `critical`.
fn server_frames(place: usize) -> String {
    format!("servers.{place}.compression")
}

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
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tenant: String,
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
    /// What log-ins have taught of its account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<AccountState>,
}

/// One server connection of the session.
#[derive(Debug, Serialize, Deserialize)]
struct ServerState {
    address: String,
    thread: ThreadId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<LegTls>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compression: Option<LegFrames>,
    /// From it to the client; the first server's stands outside, where it stood when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    down: Option<LaneState>,
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

/// A session that was given out, as it stays on record: its slot, and the buffers that are named
/// there.
pub(in crate::proxy) struct Given {
    pub slot: Slot,
    _pieces: Vec<Piece>,
}

/// Packs a session that has been frozen since then, with what is known of its account and what is
/// on record of it.
pub(in crate::proxy) fn pack(
    parts: Parts,
    handle: &Handle,
    frozen_at: FrozenAt,
    taught: Option<&Taught>,
    slot: Option<Slot>,
) -> Result<Parcel, serde_json::Error> {
    let Parts { client, up, links, numbering, session } = parts;
    let mut fds = Vec::with_capacity(1 + links.len());
    let mut pieces = Vec::new();
    let mut inside = |leg: LegParts| {
        fds.push(leg.stream.fd);
        pieces.extend(leg.pieces);
        Inside { tls: leg.stream.tls, frames: leg.compression }
    };
    let client = inside(client);
    let servers = links.iter().map(|link| (link.server.clone(), link.thread)).collect();
    let links = links.into_iter().map(|link| (link.down, inside(link.leg)));
    let (downs, legs): (Vec<Lane>, _) = links.unzip();
    let lanes = downs.iter().collect();
    let whole = Whole { session, numbering, up: &up, downs: lanes, client, servers, legs };
    let (mut state, bytes) = whole.describe(handle);
    state.frozen_at = Some(frozen_at);
    state.account = taught.map(AccountState::from);
    let state = encode(&state)?;
    let claim = slot.map(|slot| {
        pieces.extend(std::iter::once(up).chain(downs).flat_map(Lane::into_pieces));
        Claim::new(Given { slot, _pieces: pieces })
    });
    Ok(Parcel { claim, id: handle.id.0, fds, state, bytes })
}

/// What the parcel would be if the session were frozen now, but for the keys in it.
pub fn copy(relay: &Relay, handle: &Handle) -> Result<Replica, serde_json::Error> {
    let inside = |leg: &Leg| Inside {
        tls: leg.stream().tls().map(TlsStream::without_keys),
        frames: leg.compression_parts(),
    };
    let whole = Whole {
        session: (*relay.session).clone(),
        numbering: relay.numbering,
        up: &relay.up,
        downs: relay.links.iter().map(|link| &link.down).collect(),
        client: inside(&relay.client),
        servers: relay.links.iter().map(|link| (link.server.clone(), link.thread)).collect(),
        legs: relay.links.iter().map(|link| inside(&link.leg)).collect(),
    };
    let fds = 1 + relay.links.len();
    let (state, bytes) = whole.describe(handle);
    Ok(Replica { id: handle.id.0, fds, state: serde_json::to_vec(&state)?, bytes })
}

/// The state in which somebody else could go on with it who has its lanes already, and its keys.
pub(super) fn cold(relay: &Relay, handle: &Handle) -> Option<Zeroizing<Vec<u8>>> {
    let empty = Lane::default();
    let inside = |leg: &Leg| {
        let (tls, frames) = leg.cold();
        let nothing = Vec::new;
        Inside {
            tls: tls.map(|state| (state, nothing())),
            frames: frames.map(|state| (state, nothing())),
        }
    };
    let whole = Whole {
        session: (*relay.session).clone(),
        numbering: relay.numbering,
        up: &empty,
        downs: relay.links.iter().map(|_| &empty).collect(),
        client: inside(&relay.client),
        servers: relay.links.iter().map(|link| (link.server.clone(), link.thread)).collect(),
        legs: relay.links.iter().map(|link| inside(&link.leg)).collect(),
    };
    let (mut state, _) = whole.describe(handle);
    state.frozen_at = Some(FrozenAt::now());
    packed::pack(&state)
}

fn encode(state: &State) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let mut text = Wiped::with_capacity(USUAL_STATE);
    serde_json::to_writer(&mut text, state)?;
    // No longer than it is: those of all sessions are kept until the probation is over.
    Ok(Zeroizing::new(text.into_inner().to_vec()))
}

/// TLS of a connection, and its compression.
#[derive(Default)]
struct Inside {
    tls: Option<(TlsState, Vec<u8>)>,
    frames: Option<(LegState, Vec<u8>)>,
}

/// All of a session but its sockets. Lanes may be borrowed.
struct Whole<'a, L> {
    session: Session,
    numbering: Option<Numbering>,
    up: &'a Lane,
    downs: Vec<L>,
    client: Inside,
    /// Their addresses, and the session's ids there.
    servers: Vec<(Arc<str>, ThreadId)>,
    legs: Vec<Inside>,
}

impl<L: Borrow<Lane>> Whole<'_, L> {
    /// What a parcel's JSON says, and the raw bytes beside it.
    fn describe(self, handle: &Handle) -> (State, Vec<u8>) {
        let facts: Facts = handle.facts().clone();
        let lanes = (self.up, self.downs.first().expect("a session has a server").borrow());
        let mut state = State {
            critical: Vec::new(),
            session: SessionSnapshot::from(self.session),
            client: facts.client.into(),
            client_tls: None,
            client_compression: None,
            numbering: self.numbering,
            cluster: facts.cluster.to_string(),
            tenant: facts.tenant.to_string(),
            servers: Vec::with_capacity(self.servers.len()),
            up: LaneState::of(lanes.0),
            down: LaneState::of(lanes.1),
            age_ms: millis(handle.born.elapsed()),
            idle_ms: millis(handle.idle()),
            counted: handle.counters.totals(),
            frozen_at: None,
            account: None,
        };
        let bytes = [lanes.0.bytes(), lanes.1.bytes()].concat();
        let mut laid = Laid { bytes, critical: &mut state.critical };
        let mut legs = self.legs.into_iter();
        // The first server's stand between the client's, as when there was only one.
        let home = legs.next().expect("a session has a server");
        state.client_tls = laid.tls(self.client.tls, CLIENT_TLS);
        let tls = laid.tls(home.tls, &server_tls(0));
        state.client_compression = laid.frames(self.client.frames, CLIENT_FRAMES);
        let compression = laid.frames(home.frames, &server_frames(0));
        let mut servers = self.servers.iter();
        let mut server = |tls, compression, down| {
            let (address, thread) = servers.next().expect("one for each leg");
            ServerState { address: address.to_string(), thread: *thread, tls, compression, down }
        };
        state.servers.push(server(tls, compression, None));
        for ((place, leg), lane) in (1..).zip(legs).zip(&self.downs[1..]) {
            let lane = lane.borrow();
            laid.bytes.extend_from_slice(lane.bytes());
            let tls = laid.tls(leg.tls, &server_tls(place));
            let compression = laid.frames(leg.frames, &server_frames(place));
            state.servers.push(server(tls, compression, Some(LaneState::of(lane))));
        }
        let bytes = laid.bytes;
        if state.servers.len() > 1 {
            state.critical.push(FURTHER_LINKS.to_owned());
        }
        if state.session.has_own_ids() {
            state.critical.push(OWN_IDS.to_owned());
        }
        if state.session.is_joined() {
            state.critical.push(TRANSACTION.to_owned());
        }
        if state.session.has_wishes() {
            state.critical.push(WISHES.to_owned());
        }
        (state, bytes)
    }
}

/// Raw bytes that are laid one behind the other, and what readers must know of them.
struct Laid<'a> {
    bytes: Vec<u8>,
    critical: &'a mut Vec<String>,
}

impl Laid<'_> {
    fn tls(&mut self, tls: Option<(TlsState, Vec<u8>)>, path: &str) -> Option<LegTls> {
        self.put(tls, path).map(|(bytes, session)| LegTls { bytes, session })
    }

    fn frames(&mut self, frames: Option<(LegState, Vec<u8>)>, path: &str) -> Option<LegFrames> {
        self.put(frames, path).map(|(bytes, state)| LegFrames { bytes, state })
    }

    /// How many bytes it was, and what goes with them.
    fn put<T>(&mut self, inside: Option<(T, Vec<u8>)>, path: &str) -> Option<(usize, T)> {
        let (state, inside) = inside?;
        self.critical.push(path.to_owned());
        self.bytes.extend_from_slice(&inside);
        Some((inside.len(), state))
    }
}

/// A session that can go on here.
pub struct Unpacked {
    /// The session with its sockets.
    pub relay: Relay,
    /// Its handle, not registered yet.
    pub handle: Arc<Handle>,
    /// Since when it stands still, if its parcel says so.
    pub frozen_at: Option<FrozenAt>,
    /// What was known of its account where it comes from.
    pub(in crate::proxy) taught: Option<Taught>,
}

/// Unpacks a session; a parcel that is not understood is given back unharmed, one whose sockets the
/// runtime does not take without them.
pub fn unpack(parcel: Parcel) -> Result<Unpacked, Refused> {
    let state = read(&parcel.state);
    go_on(parcel, state)
}

/// The same of one whose state is what was on record.
pub(in crate::proxy) fn unpack_record(parcel: Parcel) -> Result<Unpacked, Refused> {
    let state = packed::unpack(&parcel.state).ok_or_else(|| "its state is none".to_owned());
    go_on(parcel, state)
}

fn go_on(parcel: Parcel, state: Result<State, String>) -> Result<Unpacked, Refused> {
    match state.and_then(|state| understand(state, &parcel.bytes, parcel.fds.len())) {
        Ok(understood) => revive(parcel, understood),
        Err(reason) => Err(Refused::new(parcel, reason)),
    }
}

/// Whether a session in this state, with so many sockets, could go on here; the error is why not.
pub fn rehearse(state: &[u8], bytes: &[u8], fds: usize) -> Result<(), String> {
    let Understood { client, servers, .. } = understand(read(state)?, bytes, fds)?;
    let legs = std::iter::once(client).chain(servers.into_iter().map(|server| server.inside));
    for (session, inside) in legs.filter_map(|leg| leg.tls) {
        session.check(&inside).map_err(|error| error.to_string())?;
    }
    Ok(())
}

struct Understood {
    state: State,
    account: Option<AccountState>,
    up: Lane,
    client: Inside,
    /// As many as the session has links.
    servers: Vec<UnderstoodServer>,
}

struct UnderstoodServer {
    address: String,
    thread: ThreadId,
    down: Lane,
    inside: Inside,
}

fn read(state: &[u8]) -> Result<State, String> {
    serde_json::from_slice(state).map_err(|error| error.to_string())
}

fn understand(mut state: State, bytes: &[u8], fds: usize) -> Result<Understood, String> {
    let (client_tls, account) = (state.client_tls.take(), state.account.take());
    let tls: Vec<_> = state.servers.iter_mut().map(|server| server.tls.take()).collect();
    if let Some(name) = first_unknown(&state).map_err(|error| error.to_string())? {
        // It ends in logs and in SHOW RESTART.
        let name: String = name.chars().take(LONGEST_NAME).collect();
        return Err(format!("field '{name}' is critical and unknown"));
    }
    let (count, links) = (state.servers.len(), state.session.links());
    if count != links || !state.session.is_whole() {
        return Err(format!("{count} servers, expected {links}"));
    }
    if fds != 1 + links {
        return Err(format!("{fds} sockets, expected {}", 1 + links));
    }
    let mut raw = Raw(bytes);
    let up = raw.lane(&state.up, "for the server")?;
    let down = raw.lane(&state.down, "for the client")?;
    let mut described = std::mem::take(&mut state.servers).into_iter().zip(tls);
    let (home, home_tls) = described.next().ok_or("no server")?;
    let client_tls = raw.tls(client_tls, "in the client's TLS")?;
    let tls = raw.tls(home_tls, "in the server's TLS")?;
    let client_frames = raw.frames(state.client_compression.take(), "in the client's frames")?;
    let frames = raw.frames(home.compression, "in the server's frames")?;
    let client = Inside { tls: client_tls, frames: client_frames };
    let ServerState { address, thread, .. } = home;
    let mut servers =
        vec![UnderstoodServer { address, thread, down, inside: Inside { tls, frames } }];
    for (ServerState { address, thread, compression, down, .. }, tls) in described {
        let down = down.ok_or("a further server without bytes for the client")?;
        let down = raw.lane(&down, "of a further server for the client")?;
        let tls = raw.tls(tls, "in a further server's TLS")?;
        let frames = raw.frames(compression, "in a further server's frames")?;
        servers.push(UnderstoodServer { address, thread, down, inside: Inside { tls, frames } });
    }
    if !raw.0.is_empty() {
        return Err(format!("{} bytes left over", raw.0.len()));
    }
    Ok(Understood { state, account, up, client, servers })
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
    // TLS is taken out, because it does not travel as it stands there.
    let is_tls = |name: &str| {
        name == CLIENT_TLS || (0..state.servers.len()).any(|place| name == server_tls(place))
    };
    let mut critical = state.critical.iter().map(String::as_str);
    let mut foreign = critical.by_ref().filter(|name| !is_tls(name));
    let Some(first) = foreign.next() else { return Ok(None) };
    let known = serde_json::to_value(state)?;
    let is_known = |name: &&str| known.pointer(&format!("/{}", name.replace('.', "/"))).is_some();
    Ok(std::iter::once(first).chain(foreign).find(|name| !is_known(name)))
}

fn revive(mut parcel: Parcel, understood: Understood) -> Result<Unpacked, Refused> {
    let Understood { state, account, up, client, servers } = understood;
    // Whoever has sent them still has its own duplicates.
    let mut fds = std::mem::take(&mut parcel.fds).into_iter();
    let mut leg = |inside: Inside| {
        let fd = fds.next().ok_or_else(|| io::Error::other("a socket is missing"))?;
        let stream = Stream::from_parts(StreamParts { fd, tls: inside.tls })?;
        io::Result::Ok(Leg::from_parts(stream, inside.frames))
    };
    let revived = leg(client).and_then(|client| {
        let links = servers.into_iter().map(|server| {
            let UnderstoodServer { address, thread, down, inside } = server;
            Ok(Link { leg: leg(inside)?, down, server: address.into(), thread })
        });
        Ok((client, links.collect::<io::Result<SmallVec<_>>>()?))
    });
    let (client, links) = match revived {
        Ok(revived) => revived,
        Err(error) => return Err(Refused::new(parcel, error.to_string())),
    };
    let now = Instant::now();
    // What a crash leaves may have been written down long ago.
    let since = state.frozen_at.and_then(FrozenAt::pause).unwrap_or_default();
    let age = since.saturating_add(Duration::from_millis(state.age_ms));
    let born = now.checked_sub(age).unwrap_or(now);
    let handle = Handle::new(SessionId(parcel.id), state.client.into(), born, &state.counted);
    handle.resume_idle(Duration::from_millis(state.idle_ms));
    handle.count_statements_anew();
    handle.facts().cluster = state.cluster.into();
    handle.facts().tenant = state.tenant.into();
    let session = Session::from(state.session);
    handle.facts().login = session.portable().map(|portable| portable.login);
    let mut relay = Relay::resumed(client, up, links, session);
    relay.reserve_room();
    handle.facts().client_uid = relay.client_uid();
    handle.facts().compression = relay.compressions();
    relay.numbering = relay.numbering.map(|fresh| state.numbering.unwrap_or(fresh));
    let frozen_at = state.frozen_at;
    let taught = account.as_ref().and_then(AccountState::taught);
    Ok(Unpacked { relay, handle: Arc::new(handle), frozen_at, taught })
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
