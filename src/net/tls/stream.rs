//! A TLS session over a socket, with the same calls as its [`Socket`].
//!
//! ```text
//!   socket ─► incoming (ciphertext) ─► the caller's buffer     one decryption, no copy, if it fits
//!   caller's bytes ─► outgoing (ciphertext) ─► socket          one encryption, no copy
//! ```
//!
//! Invariant: every byte read from the socket was given to the caller or is in `incoming`; every
//! byte taken from the caller was written or is in `outgoing`. So the session can be taken apart
//! between any two calls. An idle one holds no memory for records. One that is on record does the
//! same step by step, see [`kept`](super::kept).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::handshake::{Established, Handshake, HandshakeError, Step, TicketSink};
use super::keys::{HEADER, Suite, Version};
use super::record::{Opened, RecordError, Records, RecordsState, Update};
use super::settings::{Acceptor, Connector};
use crate::buffer::arena::Piece;
use crate::buffer::tray::{self, Tray};
use crate::net::socket::Socket;

/// How much of a handshake is read at once.
const HANDSHAKE_READ: usize = 8 * 1024;

/// A TLS session.
#[derive(Debug)]
pub struct TlsStream {
    pub(super) socket: Socket,
    /// How far it was used: bytes read, then written.
    pub(super) counted: [u64; 2],
    pub(super) records: Records,
    pub(super) incoming: RecordBuffer,
    rest: Rest,
    /// The same of a session that is on record, whose records stay as they are.
    pub(super) spare: RecordBuffer,
    pub(super) outgoing: RecordBuffer,
    pub(super) fin: Fin,
    /// What ended the session; said again at each call.
    failed: Option<RecordError>,
    tickets: Option<Box<TicketSink>>,
}

/// Records as they travel.
pub(super) type RecordBuffer = Tray<{ tray::RECORDS }>;

/// The record at the front of `incoming`, when it is decrypted and the caller had no room for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Rest {
    /// Bytes of plaintext.
    plain: usize,
    /// Bytes behind them that are of no more use: type, padding, tag.
    trailer: usize,
}

/// The end of our direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fin {
    /// Not yet.
    #[default]
    No,
    /// To be sent behind what is in `outgoing`.
    Due,
    /// Sent.
    Sent,
}

/// A session taken apart.
#[derive(Debug)]
pub struct Parts {
    /// The socket.
    pub fd: OwnedFd,
    /// Everything but the bytes; about 500 bytes as JSON.
    pub state: TlsState,
    /// The raw bytes: those that came in, then those to be sent.
    pub bytes: Vec<u8>,
}

/// What another process needs to go on, beside the socket and the bytes. Holds keys: it may travel
/// only where a peer's credentials were checked, and copies of its text are to be zeroized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TlsState {
    records: RecordsState,
    /// Of the bytes, those that came in.
    incoming: usize,
    #[serde(default)]
    rest: Rest,
    /// Bytes to be sent.
    outgoing: usize,
    #[serde(default)]
    fin: Fin,
}

impl TlsStream {
    /// Handshake as a server; `early` is what was read behind the request for TLS.
    pub async fn accept(
        socket: Socket,
        acceptor: &Acceptor,
        early: &[u8],
        limit: Duration,
    ) -> Result<Self, HandshakeError> {
        let handshake = Handshake::accept(acceptor.config(), early)?;
        Self::shake(socket, handshake, limit).await
    }

    /// Handshake as a client.
    pub async fn connect(
        socket: Socket,
        connector: &Connector,
        name: ServerName<'static>,
        limit: Duration,
    ) -> Result<Self, HandshakeError> {
        let handshake = Handshake::connect(connector.config(), name)?;
        Self::shake(socket, handshake, limit).await
    }

    async fn shake(
        mut socket: Socket,
        mut handshake: Handshake,
        limit: Duration,
    ) -> Result<Self, HandshakeError> {
        let shaken = timeout(limit, run_handshake(&mut socket, &mut handshake)).await;
        shaken.map_err(|_| {
            let limit = humantime::format_duration(limit);
            io::Error::new(io::ErrorKind::TimedOut, format!("no end within {limit}"))
        })??;
        let Established { records, rest, tickets } = handshake.finish()?;
        let incoming = with(&rest).ok_or(HandshakeError::TooLong)?;
        Ok(Self {
            socket,
            counted: [0; 2],
            records,
            incoming,
            rest: Rest::default(),
            spare: RecordBuffer::default(),
            outgoing: RecordBuffer::default(),
            fin: Fin::No,
            failed: None,
            tickets: tickets.map(Box::new),
        })
    }

    /// Takes the session apart, for another process or another time.
    pub fn into_parts(self) -> io::Result<(Parts, Vec<Piece>)> {
        let (state, bytes) = (self.describe(self.records.state()), self.bytes());
        let (fd, pieces) = self.into_pieces()?;
        Ok((Parts { fd, state, bytes }, pieces))
    }

    /// What [`Self::into_parts`] would give beside the socket, with zeros for the keys: for whoever
    /// only asks whether it would be understood.
    pub fn without_keys(&self) -> (TlsState, Vec<u8>) {
        (self.describe(self.records.state_without_keys()), self.bytes())
    }

    fn describe(&self, records: RecordsState) -> TlsState {
        let rest = match self.spare.len() {
            0 => self.rest,
            plain => Rest { plain, trailer: 0 },
        };
        TlsState {
            records,
            incoming: self.spare.len() + self.incoming.len(),
            rest,
            outgoing: self.outgoing.len(),
            fin: self.fin,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        [self.spare.bytes(), self.incoming.bytes(), self.outgoing.bytes()].concat()
    }

    /// What [`Self::without_keys`] gives, of a session over which nothing is under way.
    pub(super) fn at_rest(&self) -> TlsState {
        let records = self.records.state_without_keys();
        TlsState { records, incoming: 0, rest: Rest::default(), outgoing: 0, fin: self.fin }
    }

    /// What is decrypted at the front of `incoming` goes where it is on record.
    pub(super) fn spare_rest(&mut self) {
        let Rest { plain, trailer } = std::mem::take(&mut self.rest);
        if plain > 0 {
            self.spare.extend(&self.incoming.bytes()[..plain]);
        }
        self.incoming.take(plain + trailer);
    }

    /// Puts a session together again. On an error nothing was read or written.
    pub fn from_parts(parts: Parts) -> io::Result<Self> {
        let Parts { fd, state, bytes } = parts;
        let Revived { records, incoming, outgoing } = state.revive(&bytes)?;
        Ok(Self {
            counted: [0; 2],
            records,
            incoming,
            rest: state.rest,
            spare: RecordBuffer::default(),
            outgoing,
            fin: state.fin,
            failed: None,
            tickets: None,
            socket: Socket::from_fd(fd)?,
        })
    }

    /// The socket, for its options and addresses; reading or writing it would break the session.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The negotiated version.
    pub fn version(&self) -> Version {
        self.records.version()
    }

    /// The negotiated AEAD.
    pub fn suite(&self) -> Suite {
        self.records.suite()
    }

    /// Puts new keys into use with the next write. Of no effect in TLS 1.2.
    pub fn update_keys(&mut self, update: Update) {
        self.records.update_keys(update);
    }

    /// Decrypts what is there into `buffer`. Cancel safe. 0 is the end of the stream.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let read = self.poll_decrypt(cx, buffer);
        // Whatever is owed goes out as soon as the socket takes it; whether it does, changes
        // nothing for the reader. If it doesn't, the waker is registered.
        let _ = self.poll_speak(cx);
        self.incoming.settle();
        read
    }

    fn poll_decrypt(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.unload(buffer)? {
                Unloaded::Data(n) => return Poll::Ready(Ok(n)),
                Unloaded::End => return Poll::Ready(Ok(0)),
                Unloaded::Missing => {}
            }
            if ready!(self.poll_pull(cx))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
    }

    /// Decrypts what was read into `buffer`, which has room.
    pub fn unload(&mut self, buffer: &mut [u8]) -> io::Result<Unloaded> {
        loop {
            if self.rest.plain > 0 || !self.spare.is_empty() {
                return Ok(Unloaded::Data(self.hand_out(buffer)));
            }
            match self.open(buffer)? {
                Found::Data(n) => return Ok(Unloaded::Data(n)),
                Found::Within | Found::Nothing => {}
                Found::End => return Ok(Unloaded::End),
                Found::Missing(total) => {
                    self.incoming.make_room(total);
                    return Ok(Unloaded::Missing);
                }
            }
        }
    }

    /// Reads once from the socket; 0 is the end of the stream. Cancel safe.
    pub(super) fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let n = ready!(self.socket.poll_read(cx, self.incoming.room()))?;
        self.incoming.filled(n);
        self.counted[0] += n as u64;
        if n == 0 {
            return Poll::Ready(self.handle_eof());
        }
        Poll::Ready(Ok(n))
    }

    /// RFC 8446, 6.1, wants a close_notify before FIN, so that nobody can cut a stream short
    /// unseen. The MySQL protocol shows by itself where a message ends, and many of its clients
    /// just close: between two records FIN is an end like any other, within one it is an error.
    fn handle_eof(&self) -> io::Result<usize> {
        if self.incoming.is_empty() { Ok(0) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn open(&mut self, buffer: &mut [u8]) -> io::Result<Found> {
        if let Some(error) = self.failed {
            return Err(failure(error));
        }
        if self.incoming.is_kept() {
            return self.open_apart(buffer);
        }
        let opened = self.records.open(self.incoming.bytes_mut(), buffer);
        self.found(opened)
    }

    /// The same, and the record stays as it is.
    fn open_apart(&mut self, buffer: &mut [u8]) -> io::Result<Found> {
        let length = match self.incoming.bytes() {
            &[_, _, _, high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
            _ => 0,
        };
        if buffer.len() >= length {
            let opened = self.records.open(self.incoming.bytes_mut(), buffer);
            return self.found(opened);
        }
        let opened = self.records.open(self.incoming.bytes_mut(), self.spare.room());
        if let Ok(Opened::Out { length, .. }) = opened {
            self.spare.put(length);
        }
        Ok(match self.found(opened)? {
            Found::Data(_) => Found::Within,
            found => found,
        })
    }

    fn found(&mut self, opened: Result<Opened, RecordError>) -> io::Result<Found> {
        Ok(match opened {
            Ok(Opened::Missing(total)) => Found::Missing(total.max(HEADER)),
            Ok(Opened::Nothing(consumed)) => {
                self.incoming.take(consumed);
                self.store_ticket();
                Found::Nothing
            }
            Ok(Opened::Out { consumed, length }) => {
                self.incoming.take(consumed);
                Found::Data(length)
            }
            Ok(Opened::Within { consumed, range }) => {
                self.incoming.take(range.start);
                self.rest = Rest { plain: range.len(), trailer: consumed - range.end };
                Found::Within
            }
            Ok(Opened::End) => {
                self.incoming.take(self.incoming.len());
                Found::End
            }
            Err(error) => {
                self.failed = Some(error);
                return Err(failure(error));
            }
        })
    }

    fn store_ticket(&mut self) {
        let Some(sink) = &mut self.tickets else { return };
        if let Some(ticket) = self.records.take_ticket() {
            sink.store(&ticket);
        }
    }

    /// Gives out what was decrypted before.
    fn hand_out(&mut self, buffer: &mut [u8]) -> usize {
        if !self.spare.is_empty() {
            let n = self.spare.len().min(buffer.len());
            buffer[..n].copy_from_slice(&self.spare.bytes()[..n]);
            self.spare.take(n);
            return n;
        }
        let n = self.rest.plain.min(buffer.len());
        buffer[..n].copy_from_slice(&self.incoming.bytes()[..n]);
        self.incoming.take(n);
        self.rest.plain -= n;
        if self.rest.plain == 0 {
            self.incoming.take(self.rest.trailer);
            self.rest.trailer = 0;
        }
        n
    }

    /// Encrypts `bytes`, or a part of them, and writes what the socket takes. Cancel safe: what was
    /// taken is in the session; [`TlsStream::poll_flush`] tells when all of it has been written.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_flush(cx))?;
        let sealed = self.records.seal(bytes, self.outgoing.room());
        if let Ok(sealed) = sealed {
            self.outgoing.put(sealed.written);
        }
        let flushed = self.poll_flush(cx);
        let sealed = sealed.map_err(failure)?;
        if let Poll::Ready(Err(error)) = flushed {
            return Poll::Ready(Err(error));
        }
        if sealed.taken == 0 {
            return Poll::Ready(Err(failure(self.records.refusal())));
        }
        Poll::Ready(Ok(sealed.taken))
    }

    /// Writes what is encrypted and what is owed to the peer; ready when all of it is written.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.poll_drain(cx);
        self.outgoing.settle();
        flushed
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.records.is_owing() {
                let spoken = self.records.speak(self.outgoing.room()).map_err(failure)?;
                self.outgoing.put(spoken);
            }
            if self.outgoing.is_empty() {
                break;
            }
            ready!(self.poll_push(cx))?;
        }
        self.send_fin();
        Poll::Ready(Ok(()))
    }

    /// Writes what is encrypted; ready when all of it is written. Cancel safe.
    pub(super) fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let n = ready!(self.socket.poll_write(cx, self.outgoing.bytes()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.written(n);
            self.counted[1] += n as u64;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends FIN if it is due; all before it is written.
    pub(super) fn send_fin(&mut self) {
        if self.fin == Fin::Due {
            self.fin = Fin::Sent;
            self.socket.shutdown_write();
        }
    }

    /// Says close_notify, then FIN, behind everything that was taken; reading goes on. What the
    /// socket does not take now is written by the next call of any other function.
    pub fn shutdown_write(&mut self) {
        if self.fin != Fin::No {
            return;
        }
        self.records.close();
        self.fin = Fin::Due;
        // Not ready or failed: the next poll finds out, with a waker of the caller's.
        let _ = self.poll_flush(&mut Context::from_waker(Waker::noop()));
    }

    fn poll_speak(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_empty() && self.fin != Fin::Due && !self.records.is_owing() {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }
}

/// The parts of a session that are made from its state.
struct Revived {
    records: Records,
    incoming: RecordBuffer,
    outgoing: RecordBuffer,
}

impl TlsState {
    /// Whether a session can go on from this state and these bytes.
    pub fn check(&self, bytes: &[u8]) -> io::Result<()> {
        self.revive(bytes).map(drop)
    }

    fn revive(&self, bytes: &[u8]) -> io::Result<Revived> {
        let nonsense =
            |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("TLS session: {what}"));
        let halves = bytes.split_at_checked(self.incoming);
        let (incoming, outgoing) = halves
            .filter(|(_, outgoing)| outgoing.len() == self.outgoing)
            .ok_or_else(|| nonsense("bytes missing or left over"))?;
        let rest = self.rest.plain.checked_add(self.rest.trailer);
        if rest.is_none_or(|rest| rest > incoming.len()) {
            return Err(nonsense("plaintext outside of what came in"));
        }
        let too_many = || nonsense("more bytes than a session holds");
        let records = Records::resume(self.records.clone());
        Ok(Revived {
            records: records.ok_or_else(|| nonsense("keys don't fit"))?,
            incoming: with(incoming).ok_or_else(too_many)?,
            outgoing: with(outgoing).ok_or_else(too_many)?,
        })
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A buffer with these bytes; None when there are too many.
fn with(bytes: &[u8]) -> Option<RecordBuffer> {
    (bytes.len() <= tray::RECORDS).then(|| RecordBuffer::with(bytes))
}

/// What came of what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unloaded {
    /// So many bytes.
    Data(usize),
    /// That there are no more.
    End,
    /// Nothing: more has to be read.
    Missing,
}

/// What is at the front of `incoming`.
enum Found {
    /// Data, in the caller's buffer.
    Data(usize),
    /// Data, decrypted in place.
    Within,
    /// A record without data.
    Nothing,
    /// close_notify.
    End,
    /// A record that is not whole; so many bytes are needed from its start.
    Missing(usize),
}

pub(super) fn failure(error: RecordError) -> io::Error {
    let kind = match error {
        RecordError::Broken(_) => io::ErrorKind::InvalidData,
        RecordError::Told(_) => io::ErrorKind::ConnectionAborted,
        RecordError::Spent | RecordError::Closed => io::ErrorKind::BrokenPipe,
    };
    io::Error::new(kind, error)
}

/// Until the handshake is over. Not cancel safe: a handshake can't be taken apart.
async fn run_handshake(
    socket: &mut Socket,
    handshake: &mut Handshake,
) -> Result<(), HandshakeError> {
    let mut chunk = Vec::new();
    loop {
        let step = handshake.step();
        let sent = socket.write_all(&handshake.output).await;
        handshake.output.clear();
        // The reason for a failure matters more than whether the peer could be told.
        let step = step?;
        sent?;
        match step {
            Step::Done => return Ok(()),
            Step::Read => {
                chunk.resize(HANDSHAKE_READ, 0);
                let n = socket.read(&mut chunk).await?;
                if n == 0 {
                    let error = "connection closed in the middle";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error).into());
                }
                handshake.handle_input(&chunk[..n])?;
            }
        }
    }
}
