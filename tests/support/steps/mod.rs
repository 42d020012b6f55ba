//! A restart at every step: bytes pass one piece at a time, and behind each the session moves.
//!
//! ```text
//!   client ─► relay ─► data plane A ⇄ data plane B ─► relay ─► server       (and back)
//! ```
//! All but client and server is one thread, and one piece is on its way at a time. A session is
//! taken from its plane, the next piece is put before it, and the other plane goes on with it: the
//! piece is still in the kernel. Once it was read and passed on as far as it can be, which half a
//! packet cannot, the session moves again. So nothing hangs on timing, and nothing sleeps.

mod sockets;
mod who;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::thread::JoinHandle;

use odp::proxy::Proxy;
use odp::restart::{Class, DataPlane, Parcel};
use odp::wire::compressed::{FrameHeader, HEADER};
use serde::Deserialize;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pki::Pki;
use super::planes::{self, Planes};
use super::{LIMIT, Legs};
use sockets::{be_polled, has_arrived, local, read, shut_down, unread, write_all};
use who::{Leg, Packets, Who};

/// So many packets are followed by a handover each; in a longer script only every [`SELDOM`]th is.
const MOST_PACKETS: u64 = 2000;
const SELDOM: u64 = 997;

/// As [`MOST_PACKETS`], for bytes.
const MOST_BYTES: u64 = 50_000;

/// How many there are: one gives, one takes.
const PLANES: u64 = 2;

/// Bytes that are read from the proxy at a time in [`Every::Window`].
const SIP: usize = 1000;

/// Pieces of compressed frames.
const SLICE: usize = 61;

/// The smallest buffers that loopback still carries well.
const NARROW: usize = 2 * 1024;

/// A lane that holds so much may read no more.
const FULL: usize = 16 * 1024 - 64;

/// How much is passed on between two handovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Every {
    /// Up to the end of a packet of the client's or the server's.
    Packet,
    /// One byte of the client's or the server's.
    Byte,
    /// What both send comes at once, and who receives takes sips: the proxy sits on bytes that it
    /// could not write.
    Window,
}

/// What sessions went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Connections of clients.
    pub clients: u64,
    /// Connections to the server.
    pub servers: u64,
    /// Packets or bytes that were followed by no handover, as there had been so many.
    pub pieces_left_out: u64,
    /// Handovers.
    pub moves: u64,
    /// Of those: a piece waited in the kernel.
    pub unread: u64,
    /// Bytes had been read that were not judged yet, such as half a packet.
    pub unjudged: u64,
    /// Bytes had been judged and could not be written.
    pub unwritten: u64,
    /// Both legs had TLS.
    pub by_tls: u64,
    /// Records were half read, or could not be written.
    pub within_tls: u64,
    /// Compressed frames were half read.
    pub within_frames: u64,
    /// Compressed frames were half written: to the client, to the server.
    pub half_written: [u64; 2],
}

/// Runs until it is finished or dropped.
pub(crate) struct Steps {
    address: String,
    carried: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Seen>>,
}

impl Steps {
    /// In front of this server.
    pub(crate) fn start(server: String, every: Every) -> Self {
        Self::start_with(server, every, Legs::default())
    }

    /// The same with TLS to the server, and to those clients that ask for it. Records take the
    /// place of packets.
    pub(crate) fn start_with_tls(server: String, every: Every) -> Self {
        Self::start_with(server, every, Legs { tls: true, ..Legs::default() })
    }

    /// As [`Self::start`], with these legs. Short pieces take the place of packets on those that
    /// are compressed.
    pub(crate) fn start_with(server: String, every: Every, legs: Legs) -> Self {
        let (tell, address) = std::sync::mpsc::channel();
        let carried = Arc::<AtomicU64>::default();
        let counted = carried.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let (world, doors) = World::new(server, every, legs, counted).await;
                tell.send(local(&doors.clients)).expect("somebody waits");
                tokio::select! {
                    never = world.clone().serve(doors) => match never {},
                    _ = stopped => world.seen(),
                }
            })
        });
        let address = address.recv().expect("an address");
        Self { address, carried, stop: Some(stop), thread: Some(thread) }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How many bytes passed since this was last asked.
    pub(crate) fn take_carried(&self) -> u64 {
        self.carried.swap(0, Ordering::Relaxed)
    }

    /// Ends it; what was seen. Fails if anything went wrong inside.
    pub(crate) fn finish(mut self) -> Seen {
        self.stop.take();
        let thread = self.thread.take().expect("it is finished only here");
        let seen = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Each plane looks once what the server says, before it greets its first client.
        let most = seen.clients + PLANES;
        assert!(seen.servers <= most, "the server was connected to again: {seen:?}");
        seen
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is put before the proxy.
#[derive(Clone, Copy, Debug)]
enum Piece<'a> {
    Bytes(&'a [u8]),
    Fin,
}

struct Doors {
    clients: TcpListener,
    servers: TcpListener,
}

struct World {
    every: Every,
    legs: Legs,
    /// Where the planes take clients.
    inside: String,
    /// The real server.
    server: String,
    planes: [Arc<Proxy>; PLANES as usize],
    carried: Arc<AtomicU64>,
    pieces: AtomicU64,
    /// Held for a whole step.
    turn: Mutex<()>,
    /// Where each session was last.
    homes: Lock<HashMap<u32, usize>>,
    seen: Lock<Seen>,
}

impl World {
    async fn new(
        server: String,
        every: Every,
        legs: Legs,
        carried: Arc<AtomicU64>,
    ) -> (Arc<Self>, Doors) {
        let clients = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let servers = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        if every == Every::Window {
            // What is accepted inherits it.
            SockRef::from(&servers).set_recv_buffer_size(NARROW).expect("a narrow window");
        }
        let dir = super::scratch();
        // They are read before this returns.
        let files = legs.tls.then(|| Pki::new().write(dir.path()));
        let Planes { planes, address } =
            planes::start(&local(&servers), files.as_ref(), &legs.lines()).await;
        let world = Self {
            every,
            legs,
            inside: address,
            server,
            planes,
            carried,
            pieces: AtomicU64::new(0),
            turn: Mutex::default(),
            homes: Lock::default(),
            seen: Lock::default(),
        };
        (Arc::new(world), Doors { clients, servers })
    }

    async fn serve(self: Arc<Self>, doors: Doors) -> std::convert::Infallible {
        let mut connections = JoinSet::new();
        loop {
            // All branches are cancel safe.
            tokio::select! {
                Ok((client, _)) = doors.clients.accept() => {
                    self.note(|seen| seen.clients += 1);
                    connections.spawn(self.clone().client(client));
                }
                Ok((proxy, _)) = doors.servers.accept() => {
                    self.note(|seen| seen.servers += 1);
                    connections.spawn(self.clone().server(proxy));
                }
                Some(ended) = connections.join_next() => ended.expect("a connection ends well"),
            }
        }
    }

    async fn client(self: Arc<Self>, client: TcpStream) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        if self.every == Every::Window {
            socket.set_recv_buffer_size(NARROW).expect("a narrow window");
        }
        let inside: std::net::SocketAddr = self.inside.parse().expect("an address");
        socket.connect(&inside.into()).expect("the proxy listens");
        socket.set_nonblocking(true).expect("a flag");
        let proxy = TcpStream::from_std(socket.into()).expect("a socket of the runtime");
        let who = Who::new(Leg::Client);
        tokio::join!(self.forth(&client, &proxy, &who), self.back(&proxy, &client, &who));
    }

    async fn server(self: Arc<Self>, proxy: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.server).await else { return };
        let who = Who::new(Leg::Server);
        tokio::join!(self.forth(&server, &proxy, &who), self.back(&proxy, &server, &who));
    }

    /// From an end to the proxy, in pieces.
    async fn forth(&self, end: &TcpStream, proxy: &TcpStream, who: &Who) {
        let _ = proxy.set_nodelay(true);
        let mut packets = Packets::new(self.legs.tls);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = read(end, &mut buffer).await;
            self.carried.fetch_add(read as u64, Ordering::Relaxed);
            who.hear(&buffer[..read], Leg::Server);
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let (length, step) = match self.is_framed(who.leg) {
                    true => self.cut_frames(rest),
                    false => self.cut(&mut packets, rest),
                };
                let (piece, behind) = rest.split_at(length);
                let sent = match step {
                    Step::Here => self.step(who, proxy, Piece::Bytes(piece)).await,
                    Step::Later => 0,
                };
                if write_all(proxy, &piece[sent..]).await.is_err() {
                    return;
                }
                rest = behind;
            }
            if read == 0 {
                self.step(who, proxy, Piece::Fin).await;
                return;
            }
        }
    }

    /// From the proxy to an end.
    async fn back(&self, proxy: &TcpStream, end: &TcpStream, who: &Who) {
        let _ = end.set_nodelay(true);
        let mut buffer = vec![0; if self.every == Every::Window { SIP } else { 64 * 1024 }];
        let mut listens = true;
        loop {
            let read = read(proxy, &mut buffer).await;
            if read == 0 {
                shut_down(end);
                return;
            }
            who.hear(&buffer[..read], Leg::Client);
            // An end that is gone takes nothing; the proxy learns it from its FIN.
            listens = listens && write_all(end, &buffer[..read]).await.is_ok();
            if self.every == Every::Window && self.is_due() {
                self.move_once(who).await;
            }
        }
    }

    /// The next piece: how long, and whether a handover belongs to it.
    fn cut(&self, packets: &mut Packets, bytes: &[u8]) -> (usize, Step) {
        let mut length = 0;
        while length < bytes.len() {
            let rest = &bytes[length..];
            let every_byte = self.every == Every::Byte && self.is_short();
            let rest = if every_byte { &rest[..1] } else { rest };
            let (taken, ends) = packets.take(rest);
            length += taken;
            if self.every != Every::Window && (every_byte || ends) && self.is_due() {
                return (length, Step::Here);
            }
        }
        (length, Step::Later)
    }

    fn is_framed(&self, leg: Leg) -> bool {
        let Legs { client, server, .. } = self.legs;
        let compression = if leg == Leg::Client { client } else { server };
        compression.is_some()
    }

    /// As [`Self::cut`]; where packets end in there nobody can tell, so all pieces are short.
    fn cut_frames(&self, bytes: &[u8]) -> (usize, Step) {
        let length = match self.every {
            Every::Byte if self.is_short() => 1,
            Every::Byte | Every::Packet if self.is_short() => bytes.len().min(SLICE),
            Every::Byte | Every::Packet | Every::Window => bytes.len(),
        };
        let here = self.every != Every::Window && self.is_due();
        (length, if here { Step::Here } else { Step::Later })
    }

    /// Whether every piece counts.
    fn is_short(&self) -> bool {
        self.pieces.load(Ordering::Relaxed) < self.most()
    }

    fn is_due(&self) -> bool {
        let piece = self.pieces.fetch_add(1, Ordering::Relaxed);
        let due = piece < self.most() || piece.is_multiple_of(SELDOM);
        if !due {
            self.note(|seen| seen.pieces_left_out += 1);
        }
        due
    }

    fn most(&self) -> u64 {
        match self.every {
            Every::Byte => MOST_BYTES,
            Every::Packet | Every::Window => MOST_PACKETS,
        }
    }

    /// Puts a piece before a session that nobody has, has the other plane go on with it, and moves
    /// it back when the piece was read. How much of the piece was sent.
    ///
    /// A session that logs in or is on its way out does not move.
    async fn step(&self, who: &Who, proxy: &TcpStream, piece: Piece<'_>) -> usize {
        let _turn = self.turn.lock().await;
        let id = who.id(&self.planes);
        let taken = match id {
            Some(id) => self.take(id).await,
            None => None,
        };
        let sent = match piece {
            Piece::Bytes(bytes) => proxy.try_write(bytes).unwrap_or(0),
            Piece::Fin => {
                shut_down(proxy);
                0
            }
        };
        let (Some(id), Some(taken)) = (id, taken) else { return sent };
        if sent > 0 {
            has_arrived(&taken.parcel.fds[who.leg as usize]).await;
        }
        self.give(taken);
        // At every byte the next piece's handover follows at once, so every second one will do.
        let also_settled = match (self.every, piece) {
            (Every::Byte, Piece::Bytes(_)) => self.pieces.load(Ordering::Relaxed).is_multiple_of(2),
            (Every::Packet | Every::Window, _) | (Every::Byte, Piece::Fin) => true,
        };
        match also_settled {
            true => self.settle(id, who.leg, piece).await,
            false => be_polled().await,
        }
        sent
    }

    /// Moves a session until it has read what it was sent.
    async fn settle(&self, id: u32, leg: Leg, piece: Piece<'_>) {
        let moved = async {
            loop {
                be_polled().await;
                let Some(taken) = self.take(id).await else { return };
                let state = taken.state();
                let is_settled = taken.is_settled(&state, leg, piece);
                self.look(&state, &taken.parcel.bytes);
                self.give(taken);
                if is_settled {
                    return;
                }
            }
        };
        timeout(LIMIT, moved).await.expect("the proxy reads what it is sent");
    }

    async fn move_once(&self, who: &Who) {
        let _turn = self.turn.lock().await;
        let Some(id) = who.id(&self.planes) else { return };
        if let Some(taken) = self.take(id).await {
            self.look(&taken.state(), &taken.parcel.bytes);
            for fd in &taken.parcel.fds {
                SockRef::from(fd).set_send_buffer_size(NARROW).expect("a narrow window");
            }
            self.give(taken);
        }
    }

    /// Freezes a session, wherever it is; None if it cannot move.
    async fn take(&self, id: u32) -> Option<Taken> {
        let home = self.homes().get(&id).copied().unwrap_or(0);
        for from in [home, 1 - home] {
            let plane = &self.planes[from];
            let others: HashSet<u32> =
                plane.sessions().iter().map(|it| it.id.0).filter(|&other| other != id).collect();
            let frozen = timeout(LIMIT, plane.surrender(Class::Any, 1, &others)).await;
            if let Some(parcel) = frozen.expect("a session freezes or ends").pop() {
                assert_eq!(parcel.id, id, "the session that was asked for");
                return Some(Taken { parcel, from });
            }
        }
        None
    }

    fn look(&self, state: &State, bytes: &[u8]) {
        let lanes = [&state.up, &state.down];
        self.note(|seen| {
            seen.unjudged += u64::from(lanes.iter().any(|lane| lane.bytes > lane.judged));
            let held = [Leg::Client, Leg::Server].map(|leg| state.unwritten_frames(leg));
            let is_held = held.contains(&true) || lanes.iter().any(|lane| lane.judged > 0);
            seen.unwritten += u64::from(is_held);
            let frames = [&state.client_compression, &state.servers[0].compression];
            seen.within_frames +=
                u64::from(frames.into_iter().flatten().any(|frames| frames.state.incoming > 0));
            for (count, held) in seen.half_written.iter_mut().zip(state.held_frames(bytes)) {
                *count += u64::from(is_rest_of_a_frame(held));
            }
            let legs = [&state.client_tls, &state.servers[0].tls];
            seen.by_tls += u64::from(legs.iter().all(|tls| tls.is_some()));
            seen.within_tls += u64::from(legs.into_iter().flatten().any(|tls| tls.bytes > 0));
        });
    }

    /// The other plane goes on with it.
    fn give(&self, taken: Taken) {
        let Taken { parcel, from } = taken;
        let unread = parcel.fds.iter().any(|fd| unread(fd) > 0);
        self.note(|seen| {
            seen.moves += 1;
            seen.unread += u64::from(unread);
        });
        let (id, to) = (parcel.id, 1 - from);
        if let Some(news) = self.planes[from].news() {
            self.planes[to].hear(&news);
        }
        let adopted = self.planes[to].adopt(parcel).expect("a session is adopted");
        self.planes[from].released(id);
        adopted.go_on();
        self.homes().insert(id, to);
    }

    fn homes(&self) -> std::sync::MutexGuard<'_, HashMap<u32, usize>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A frozen session.
struct Taken {
    parcel: Parcel,
    from: usize,
}

impl Taken {
    /// How far its bytes are.
    fn state(&self) -> State {
        serde_json::from_slice(&self.parcel.state).expect("a parcel's state")
    }

    /// Whether the session has read a piece, or may not read it before it gets rid of others.
    fn is_settled(&self, state: &State, leg: Leg, piece: Piece<'_>) -> bool {
        let lane = match leg {
            Leg::Client => &state.up,
            Leg::Server => &state.down,
        };
        let has_read = match piece {
            Piece::Bytes(_) => unread(&self.parcel.fds[leg as usize]) == 0,
            Piece::Fin => lane.source != "Open",
        };
        has_read || lane.judged > 0 || lane.bytes >= FULL || state.unwritten_frames(leg)
    }
}

/// The part of a parcel's state that tells how far its bytes are.
#[derive(Deserialize)]
struct State {
    up: Lane,
    down: Lane,
    client_tls: Option<Tls>,
    client_compression: Option<Frames>,
    servers: Vec<Server>,
}

impl State {
    /// Whether frames of what came from this leg could not be written on the other.
    fn unwritten_frames(&self, leg: Leg) -> bool {
        let frames = match leg {
            Leg::Client => &self.servers[0].compression,
            Leg::Server => &self.client_compression,
        };
        frames.as_ref().is_some_and(|frames| frames.bytes > frames.state.incoming)
    }

    /// What stands at the end of a parcel's bytes: frames for the client that could not be written,
    /// and those for the server.
    fn held_frames<'a>(&self, bytes: &'a [u8]) -> [&'a [u8]; 2] {
        let held = |rest: &mut &'a [u8], frames: &Option<Frames>| {
            let Some(frames) = frames else { return &[][..] };
            let (before, own) = rest.split_at(rest.len() - frames.bytes);
            *rest = before;
            &own[frames.state.incoming..]
        };
        let mut rest = bytes;
        let to_server = held(&mut rest, &self.servers[0].compression);
        [held(&mut rest, &self.client_compression), to_server]
    }
}

/// One frame that was begun, without its start. A whole one says how long it is.
fn is_rest_of_a_frame(held: &[u8]) -> bool {
    let is_whole = |header: FrameHeader| HEADER + header.length == held.len();
    !held.is_empty() && !FrameHeader::parse(held).is_some_and(is_whole)
}

#[derive(Deserialize)]
struct Frames {
    bytes: usize,
    state: FramesState,
}

#[derive(Deserialize)]
struct FramesState {
    incoming: usize,
}

#[derive(Deserialize)]
struct Server {
    tls: Option<Tls>,
    compression: Option<Frames>,
}

#[derive(Deserialize)]
struct Tls {
    bytes: usize,
}

#[derive(Deserialize)]
struct Lane {
    bytes: usize,
    judged: usize,
    source: String,
}

/// Whether a handover belongs to a piece.
enum Step {
    Here,
    Later,
}
