//! One side of a session: its stream, perhaps compressed.
//!
//! ```text
//!   stream ─► incoming (frames) ─► the caller's buffer
//!   caller's bytes ─► outgoing (one frame) ─► stream
//! ```
//!
//! Invariant: every byte read from the stream was given to the caller or can be had again from
//! `incoming`; every byte taken from the caller was written or is in `outgoing`. So it can be taken
//! apart between any two calls. An idle leg holds no memory for frames, one without compression
//! nothing at all.
//!
//! Frames have numbers of their own, which both sides check: a command starts at 0, and whoever
//! speaks next goes on behind what was heard last. What starts where, the owner knows and tells.

mod kept;

use std::io;
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::buffer::arena::Piece;
use crate::buffer::tray::{FRAMES, Tray};
use crate::buffer::{self, Buffer};
use crate::journal::Counted;
use crate::net::socket::tokio_io;
use crate::net::stream::{Parts as StreamParts, Stream};
use crate::net::tls::stream::TlsStream;
use crate::session::exchange::Legs;
use crate::session::lane::Lane;
use crate::session::link::Held;
use crate::session::numbering::Frames;
use crate::wire::compressed::{
    Compression, Corrupt, Decoded, Decoder, DecoderState, HEADER, MAX_CONTENT, MAX_PLAIN, encode_to,
};

/// The most raw bytes that are held: the longest frame, and what one read may bring behind it.
const MAX_INCOMING: usize = HEADER + MAX_CONTENT + buffer::SIZE;

const _: () = assert!(MAX_INCOMING <= buffer::LONG, "a long tray has room for it");

/// The most that waits to be written: one frame of ours.
const MAX_OUTGOING: usize = HEADER + MAX_PLAIN;

/// A stream, and what compresses it.
#[derive(Debug)]
pub struct Leg {
    stream: Stream,
    /// How far the stream was used.
    counted: Counted,
    compressor: Option<Box<Compressor>>,
}

/// Frames as they travel.
type Frame = Tray<FRAMES>;

#[derive(Debug)]
struct Compressor {
    how: Compression,
    decoder: Decoder,
    incoming: Frame,
    outgoing: Frame,
    /// What is on record is not how it stands.
    is_changed: bool,
    /// The number of the next frame of ours.
    next: u8,
    /// A piece of a frame has come since we last wrote one.
    heard: bool,
    /// So many bytes are still to be written as they are: compression starts behind them.
    plain: usize,
}

/// A leg taken apart.
#[derive(Debug)]
pub struct Parts {
    /// The stream.
    pub stream: StreamParts,
    /// With compression: its state, and the raw bytes of frames, those that came in first.
    pub compression: Option<(LegState, Vec<u8>)>,
    /// Its memory that is in an arena.
    pub pieces: Vec<Piece>,
}

/// What another process needs to go on with the compression of a leg, beside the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegState {
    compression: Compression,
    decoder: DecoderState,
    /// Of the bytes, those that came in.
    incoming: usize,
    next: u8,
    #[serde(default)]
    heard: bool,
    #[serde(default)]
    plain: usize,
}

impl Leg {
    /// A stream as it is.
    pub fn plain(stream: Stream) -> Self {
        Self { stream, counted: Counted::default(), compressor: None }
    }

    /// A stream that is compressed behind the next `plain` bytes that are written; what comes in is
    /// already, and so is what was read ahead of it.
    pub fn compressed(stream: Stream, how: Compression, plain: usize, ahead: &[u8]) -> Self {
        let compressor = Compressor {
            how,
            decoder: Decoder::new(how, DecoderState::new()),
            incoming: Frame::with(ahead),
            outgoing: Frame::default(),
            is_changed: true,
            next: 0,
            heard: false,
            plain,
        };
        Self { stream, counted: Counted::default(), compressor: Some(Box::new(compressor)) }
    }

    /// How it is compressed, if it is.
    pub fn compression(&self) -> Option<Compression> {
        self.compressor.as_ref().map(|compressor| compressor.how)
    }

    /// The stream below.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// How far its socket was used since it is this one, or was counted to be.
    pub fn counted(&self) -> Counted {
        match self.stream.tls().map(TlsStream::counted) {
            Some([read, written]) => Counted { read, written },
            None => self.counted,
        }
    }

    /// Its socket was used so far before.
    pub fn resume_count(&mut self, counted: Counted) {
        let Counted { read, written } = counted;
        match self.stream.tls_mut() {
            Some(tls) => tls.resume_count([read, written]),
            None => self.counted = counted,
        }
    }

    /// Why what came in is not understood, if that has ended it.
    pub fn corrupt(&self) -> Option<Corrupt> {
        self.compressor.as_ref()?.decoder.corrupt()
    }

    /// Writes what a lane has to be written; ready when the socket has all of it. Cancel safe.
    #[inline]
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, lane: &mut Lane) -> Poll<io::Result<()>> {
        // TLS and compression may hold on to what they have taken.
        match lane.is_drained() && !self.is_layered() {
            true => Poll::Ready(Ok(())),
            false => self.poll_drain_all(cx, lane),
        }
    }

    fn poll_drain_all(&mut self, cx: &mut Context<'_>, lane: &mut Lane) -> Poll<io::Result<()>> {
        while !lane.is_drained() {
            match ready!(self.poll_write(cx, lane.pending()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => lane.written(n),
            }
        }
        self.poll_flush(cx)
    }

    /// Ready when a read may find something, so that a lane need not have a buffer before. Of what
    /// is compressed something may have been read ahead: it always is.
    #[inline]
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.compressor {
            None => self.stream.poll_readable(cx),
            Some(_) => Poll::Ready(()),
        }
    }

    /// Reads more into a lane; 0 is the end of the stream. Cancel safe.
    #[inline]
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, lane: &mut Lane) -> Poll<io::Result<usize>> {
        let filled = self.poll_read(cx, lane.room());
        lane.filled(match filled {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        });
        filled
    }

    /// Reads what is there into `buffer`, which has room. Cancel safe. 0 is the end of the stream.
    #[inline]
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.compressor {
            None => {
                let read = self.stream.poll_read(cx, buffer);
                if let Poll::Ready(Ok(n)) = read {
                    self.counted.read += n as u64;
                }
                read
            }
            Some(_) => self.poll_decode(cx, buffer),
        }
    }

    /// Writes as much of `bytes` as can be; some of what was taken may be held until
    /// [`Leg::poll_flush`]. Cancel safe.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.compressor {
            None => {
                let written = self.stream.poll_write(cx, bytes);
                if let Poll::Ready(Ok(n)) = written {
                    self.counted.written += n as u64;
                }
                written
            }
            Some(_) => self.poll_encode(cx, bytes),
        }
    }

    fn poll_decode(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { stream, counted, compressor: Some(compressor) } = self else {
            return Poll::Ready(Ok(0));
        };
        loop {
            let given = compressor.decode(buffer)?;
            if given > 0 {
                return Poll::Ready(Ok(given));
            }
            match ready!(compressor.poll_pull(cx, stream))? {
                0 => return Poll::Ready(Ok(0)),
                n => counted.read += n as u64,
            }
        }
    }

    fn poll_encode(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, counted, compressor: Some(compressor) } = self else {
            return Poll::Ready(Ok(0));
        };
        ready!(compressor.poll_push(cx, stream, counted))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if compressor.plain > 0 {
            let plain = compressor.plain.min(bytes.len());
            let n = ready!(stream.poll_write(cx, &bytes[..plain]))?;
            compressor.plain -= n;
            counted.written += n as u64;
            return Poll::Ready(Ok(n));
        }
        let n = compressor.load(bytes);
        // Most sockets take it at once; for the others there is a flush.
        if let Poll::Ready(pushed) = compressor.poll_push(cx, stream, counted) {
            pushed?;
        }
        Poll::Ready(Ok(n))
    }

    /// As [`Leg::poll_write`], for those who speak in turns: it follows on what was heard.
    fn poll_say(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.go_on();
        self.poll_write(cx, bytes)
    }

    /// Ready when the socket has everything that was taken by a write. Cancel safe.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(compressor) = &mut self.compressor {
            ready!(compressor.poll_push(cx, &mut self.stream, &mut self.counted))?;
        }
        self.stream.poll_flush(cx)
    }

    /// Sends FIN; reading goes on. Everything that was written has been flushed.
    pub fn shutdown_write(&mut self) {
        self.stream.shutdown_write();
    }

    /// Ends the connection for everybody who holds a duplicate of it.
    pub fn shutdown_both(&mut self) {
        self.stream.shutdown_both();
    }

    /// Takes it out of this runtime, with what is needed to go on elsewhere.
    pub fn into_parts(self) -> io::Result<Parts> {
        let compression = self.compression_parts();
        let (stream, mut pieces) = self.stream.into_parts()?;
        pieces.extend(self.compressor.into_iter().flat_map(|frames| frames.into_pieces()));
        Ok(Parts { stream, compression, pieces })
    }

    /// The compression as it would travel.
    pub fn compression_parts(&self) -> Option<(LegState, Vec<u8>)> {
        let compressor = self.compressor.as_ref()?;
        let Compressor { how, decoder, incoming, outgoing, next, heard, plain, .. } = &**compressor;
        let state = LegState {
            compression: *how,
            decoder: decoder.state(),
            incoming: incoming.len(),
            next: *next,
            heard: *heard,
            plain: *plain,
        };
        Some((state, [incoming.bytes(), outgoing.bytes()].concat()))
    }

    /// Puts a leg together whose stream was put together before.
    pub fn from_parts(stream: Stream, compression: Option<(LegState, Vec<u8>)>) -> Self {
        let compressor = compression.map(|(state, bytes)| {
            let (incoming, outgoing) = bytes.split_at(state.incoming.min(bytes.len()));
            Box::new(Compressor {
                how: state.compression,
                decoder: Decoder::new(state.compression, state.decoder),
                incoming: Frame::with(incoming),
                outgoing: Frame::with(outgoing),
                is_changed: true,
                next: state.next,
                heard: state.heard,
                plain: state.plain,
            })
        });
        Self { stream, counted: Counted::default(), compressor }
    }
}

impl Frames for Leg {
    fn is_framed(&self) -> bool {
        self.compressor.is_some()
    }

    fn begin_command(&mut self) {
        if let Some(compressor) = &mut self.compressor {
            (compressor.next, compressor.is_changed) = (0, true);
        }
    }

    fn begin_reply(&mut self) -> Option<u8> {
        self.begin_reply_to(self.frame()?)
    }

    fn begin_reply_to(&mut self, frame: u8) -> Option<u8> {
        let compressor = self.compressor.as_mut()?;
        (compressor.next, compressor.is_changed) = (frame.wrapping_add(1), true);
        Some(compressor.next)
    }

    fn frame(&self) -> Option<u8> {
        self.compressor.as_ref().map(|compressor| compressor.decoder.sequence())
    }

    fn has_heard(&self) -> bool {
        self.compressor.as_ref().is_some_and(|compressor| compressor.heard)
    }

    fn go_on(&mut self) {
        if self.has_heard() {
            self.begin_reply();
        }
    }

    fn is_corrupt(&self) -> bool {
        self.corrupt().is_some()
    }
}

impl LegState {
    /// Whether a leg can go on from this state and so many bytes; the error is why not.
    pub fn check(&self, bytes: usize) -> Result<(), String> {
        let incoming = self.incoming;
        let outgoing = bytes.checked_sub(incoming);
        match outgoing.filter(|outgoing| *outgoing <= MAX_OUTGOING && incoming <= MAX_INCOMING) {
            Some(_) => Ok(()),
            None => Err(format!("{bytes} bytes of frames, {incoming} of them read")),
        }
    }
}

/// What an authentication can be had over.
pub trait Line: AsyncRead + AsyncWrite + Unpin {
    /// The stream below.
    fn stream(&self) -> &Stream;

    /// Whether it has TLS, or is a Unix socket.
    fn is_secure(&self) -> bool {
        self.stream().is_secure()
    }
}

impl Line for Stream {
    fn stream(&self) -> &Stream {
        self
    }
}

impl Line for Leg {
    fn stream(&self) -> &Stream {
        &self.stream
    }
}

/// Which of two is secure.
pub fn secure(client: &impl Line, server: &impl Line) -> Legs {
    Legs { client: client.is_secure(), server: server.is_secure() }
}

/// Which exchanges of a COM_CHANGE_USER have to be followed. A server behind a Unix socket must
/// have asked the client, and not only looked at us.
pub fn held(client: &impl Line, server: &impl Line) -> Held {
    if server.stream().is_unix() { Held::Asked } else { secure(client, server).held() }
}

tokio_io!(Leg, poll_say);

impl Compressor {
    /// Gives what is in the frames that were read.
    fn decode(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Ok(0);
        }
        let decoded = self.decoder.decode(self.incoming.bytes(), buffer);
        let Decoded { consumed, given } =
            decoded.map_err(|corrupt| io::Error::new(io::ErrorKind::InvalidData, corrupt))?;
        self.incoming.take(consumed);
        self.incoming.shorten();
        self.incoming.settle();
        self.heard |= given > 0;
        self.is_changed = true;
        Ok(given)
    }

    /// Takes as many bytes as one frame does.
    fn load(&mut self, bytes: &[u8]) -> usize {
        let (taken, length) = encode_to(self.how, self.next, bytes, self.outgoing.room());
        self.outgoing.put(length);
        self.next = self.next.wrapping_add(1);
        (self.heard, self.is_changed) = (false, true);
        taken
    }

    /// Reads frames, or pieces of them.
    fn poll_pull(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        let mut chunk = Buffer::lend();
        let n = ready!(stream.poll_read(cx, &mut chunk))?;
        if n > 0 {
            self.incoming.extend(&chunk[..n]);
        }
        Poll::Ready(Ok(n))
    }

    /// Hands frames of ours to the stream.
    fn poll_push(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        counted: &mut Counted,
    ) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            match ready!(stream.poll_write(cx, self.outgoing.bytes()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => {
                    self.outgoing.written(n);
                    counted.written += n as u64;
                }
            }
        }
        self.outgoing.settle();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
