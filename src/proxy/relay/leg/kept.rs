//! A leg that is on record, with something between its socket and the lanes.
//!
//! ```text
//!   socket ─ pull ─► records ─ unload ─► frames ─ unload ─► lane
//!   lane ─ load ─► frames ─ load ─► records ─ push ─► socket
//! ```
//!
//! Invariant: only `pull` and `push` use the socket, and change nothing but how far the trays next
//! to it are filled; only `load` and `unload` change the rest. So what is put on record between the
//! two is the whole truth, with what the kernel has counted since.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use zeroize::Zeroizing;

use super::{Compressor, Frame, Leg, LegState, MAX_INCOMING};
use crate::buffer;
use crate::buffer::arena::{Arena, Piece};
use crate::journal::{LAYER_WORDS, Layer, Layers, TRAYS, Tray as Stretch};
use crate::net::tls::kept::{Place, TRAYS as TLS_TRAYS, WORDS as TLS_WORDS};
use crate::net::tls::stream::{TlsState, TlsStream, Unloaded};
use crate::session::lane::{Lane, Target};
use crate::wire::compressed::{Decoder, DecoderState};

/// Where the word of frames stands.
const FRAMES_AT: usize = TLS_WORDS;

/// More of an answer to a log-in is not on record.
const MOST_PLAIN: usize = (1 << 13) - 1;

/// With less room behind it what is left of a frame is moved to the front.
const LEAST_ROOM: usize = 4 * 1024;

const _: () = assert!(TLS_WORDS < LAYER_WORDS && TLS_TRAYS + 2 <= TRAYS, "both have room");

impl Leg {
    /// Whether there is something between its socket and the lanes.
    #[inline]
    pub fn is_layered(&self) -> bool {
        self.compressor.is_some() || self.stream.tls().is_some()
    }

    /// From now on what is in between is in this arena.
    pub fn keep_in(&mut self, arena: &'static Arena) {
        self.stream.tls_mut().into_iter().for_each(|tls| tls.keep_in(arena));
        if let Some(compressor) = &mut self.compressor {
            compressor.frames().into_iter().for_each(|frames| frames.keep_in(arena));
            compressor.is_changed = true;
        }
    }

    /// Nobody keeps it any more.
    pub fn keep_no_more(&mut self) {
        self.stream.tls_mut().into_iter().for_each(TlsStream::keep_no_more);
        if let Some(compressor) = &mut self.compressor {
            compressor.frames().into_iter().for_each(|frames| frames.keep_no_more());
        }
    }

    /// Whether what is on record is not how it stands.
    #[inline]
    pub fn is_changed(&self) -> bool {
        let is_changed = |compressor: &Compressor| {
            let Compressor { incoming, outgoing, is_changed, .. } = compressor;
            *is_changed || incoming.is_changed() || outgoing.is_changed()
        };
        self.compressor.as_deref().is_some_and(is_changed)
            || self.stream.tls().is_some_and(TlsStream::is_changed)
    }

    /// How it stands is on record.
    pub fn recorded(&mut self) {
        self.stream.tls_mut().into_iter().for_each(TlsStream::recorded);
        if let Some(compressor) = &mut self.compressor {
            compressor.frames().into_iter().for_each(|frames| frames.recorded());
            compressor.is_changed = false;
        }
    }

    /// How often anything may have changed that is not among its [`Layers`].
    pub fn edition(&self) -> u32 {
        self.stream.tls().map_or(0, TlsStream::edition)
    }

    /// What changes with each message; None while some of it is where nobody finds it.
    pub fn layers(&self) -> Option<Layers> {
        let mut layers = Layers::default();
        let stretch = |(place, start, end): Place| Stretch { place, start, end };
        let mut trays = layers.trays.iter_mut();
        if let Some(tls) = self.stream.tls() {
            tls.places()?.into_iter().zip(&mut trays).for_each(|(at, tray)| *tray = stretch(at));
            layers.words[..TLS_WORDS].copy_from_slice(&tls.words());
        }
        if let Some(frames) = &self.compressor {
            *trays.next()? = stretch(frames.incoming.standing()?);
            *trays.next()? = stretch(frames.outgoing.standing()?);
            layers.words[FRAMES_AT] = frames.word()?;
        }
        Some(layers)
    }

    /// Its keys behind these.
    pub fn append_keys(&self, to: &mut Zeroizing<Vec<u8>>) {
        self.stream.tls().into_iter().for_each(|tls| tls.append_keys(to));
    }

    /// What else there is to know.
    pub fn cold(&self) -> (Option<TlsState>, Option<LegState>) {
        let frames = self.compression_parts().map(|(state, _)| LegState { incoming: 0, ..state });
        (self.stream.tls().map(TlsStream::cold), frames)
    }

    /// Stands as this says, with keys from the front of these; None if that cannot be.
    pub fn take_up(&mut self, layer: Layer, keys: &mut &[u8]) -> Option<()> {
        let Layer { trays, words } = layer;
        let place = |(piece, Stretch { start, end, .. })| (piece, start, end);
        let mut trays = trays.map(place).into_iter();
        if let Some(tls) = self.stream.tls_mut() {
            let own = [trays.next()?, trays.next()?, trays.next()?];
            tls.take_up(*words.first_chunk()?, own, keys)?;
        }
        if let Some(compressor) = &mut self.compressor {
            let mut found = || {
                let (piece, start, end) = trays.next()?;
                Some(Frame::found(piece, start, end))
            };
            (compressor.incoming, compressor.outgoing) = (found()?, found()?);
            compressor.resume(words[FRAMES_AT])?;
        }
        Some(())
    }

    /// Where [`Leg::pull`] puts what comes.
    pub fn target(&mut self) -> Target {
        let target = match (self.stream.tls_mut(), &mut self.compressor) {
            (Some(tls), _) => tls.target(),
            (None, Some(compressor)) => compressor.target(),
            (None, None) => None,
        };
        match target {
            Some(Some(place)) => Target::Piece(place),
            Some(None) => Target::OnRecord,
            None => Target::Elsewhere,
        }
    }

    /// Brings what was read to the lane.
    pub fn unload(&mut self, lane: &mut Lane) -> io::Result<Unloaded> {
        let unloaded = self.unload_into(lane.room());
        lane.put(match unloaded {
            Ok(Unloaded::Data(n)) => n,
            Ok(Unloaded::End | Unloaded::Missing) | Err(_) => 0,
        });
        unloaded
    }

    fn unload_into(&mut self, out: &mut [u8]) -> io::Result<Unloaded> {
        let Some(compressor) = &mut self.compressor else {
            return self.stream.tls_mut().map_or(Ok(Unloaded::Missing), |tls| tls.unload(out));
        };
        loop {
            let given = compressor.decode(out)?;
            if given > 0 {
                return Ok(Unloaded::Data(given));
            }
            compressor.make_room();
            let Some(tls) = self.stream.tls_mut() else { return Ok(Unloaded::Missing) };
            match tls.unload(compressor.incoming.room())? {
                Unloaded::Data(n) => compressor.incoming.put(n),
                unloaded => return Ok(unloaded),
            }
        }
    }

    /// Takes what the lane has to be written, or some of it, and what is owed to the peer; whether
    /// there is something to be pushed. All before is.
    pub fn load(&mut self, lane: &mut Lane) -> io::Result<bool> {
        let Some(compressor) = &mut self.compressor else {
            let Some(tls) = self.stream.tls_mut() else { return Ok(false) };
            lane.taken(tls.load(lane.pending())?);
            return Ok(tls.is_loaded());
        };
        if compressor.outgoing.is_empty() && !lane.pending().is_empty() {
            lane.taken(compressor.load_any(lane.pending()));
        }
        let Some(tls) = self.stream.tls_mut() else { return Ok(!compressor.outgoing.is_empty()) };
        let taken = tls.load(compressor.outgoing.bytes())?;
        compressor.outgoing.take(taken);
        Ok(tls.is_loaded())
    }

    /// Takes what is owed to the peer; whether it was anything.
    pub fn load_owed(&mut self) -> io::Result<bool> {
        let Some(tls) = self.stream.tls_mut().filter(|tls| tls.is_owing()) else {
            return Ok(false);
        };
        tls.load_owed()?;
        Ok(true)
    }

    /// Writes what was loaded; ready when the socket has all of it. Cancel safe.
    pub fn push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, counted, compressor } = self;
        match (stream.tls_mut(), compressor) {
            (Some(tls), _) => tls.push(cx),
            (None, Some(compressor)) => compressor.poll_push(cx, stream, counted),
            (None, None) => Poll::Ready(Ok(())),
        }
    }

    /// Reads once; 0 is the end of the stream. Cancel safe.
    pub fn pull(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { stream, counted, compressor } = self;
        let n = match (stream.tls_mut(), compressor) {
            (Some(tls), _) => return tls.pull(cx),
            (None, None) => return Poll::Ready(Ok(0)),
            (None, Some(compressor)) => {
                if compressor.incoming.room().is_empty() {
                    let n = ready!(compressor.poll_pull(cx, stream))?;
                    counted.read += n as u64;
                    return Poll::Ready(Ok(n));
                }
                let most = compressor.most_pulled();
                let pulled = stream.poll_read(cx, &mut compressor.incoming.room()[..most]);
                let Poll::Ready(Ok(n)) = pulled else {
                    compressor.incoming.settle();
                    return pulled;
                };
                compressor.incoming.filled(n);
                n
            }
        };
        counted.read += n as u64;
        Poll::Ready(Ok(n))
    }

    /// FIN follows what is loaded. What TLS says before it is owed.
    pub fn close_write(&mut self) {
        match self.stream.tls_mut() {
            Some(tls) => tls.close_write(),
            None => self.stream.shutdown_write(),
        }
    }

    /// Its socket, and its memory that is in an arena.
    pub fn into_pieces(self) -> io::Result<(OwnedFd, Vec<Piece>)> {
        let Self { stream, compressor, .. } = self;
        let (fd, mut pieces) = stream.into_pieces()?;
        pieces.extend(compressor.into_iter().flat_map(|frames| frames.into_pieces()));
        Ok((fd, pieces))
    }
}

impl Compressor {
    /// Its memory that is in an arena.
    pub(super) fn into_pieces(self) -> impl Iterator<Item = Piece> {
        self.incoming.into_pieces().chain(self.outgoing.into_pieces())
    }

    fn frames(&mut self) -> [&mut Frame; 2] {
        [&mut self.incoming, &mut self.outgoing]
    }

    /// `decoder (42) | next (8) | heard | plain (13)`; None if it has no room.
    fn word(&self) -> Option<u64> {
        let plain = Some(self.plain as u64).filter(|_| self.plain <= MOST_PLAIN)?;
        let next = u64::from(self.next) << 42 | u64::from(self.heard) << 50;
        Some(self.decoder.state().word() | next | plain << 51)
    }

    fn resume(&mut self, word: u64) -> Option<()> {
        self.decoder = Decoder::new(self.how, DecoderState::of_word(word)?);
        self.next = (word >> 42) as u8;
        self.heard = word >> 50 & 1 == 1;
        self.plain = (word >> 51) as usize;
        self.is_changed = true;
        Some(())
    }

    /// As [`TlsStream::target`].
    fn target(&mut self) -> Option<Option<u32>> {
        match self.incoming.is_empty() {
            true => self.incoming.place().map(Some),
            false => (!self.incoming.room().is_empty()).then_some(None),
        }
    }

    /// Moves what is left of a frame to the front if there is little room behind it. What has come
    /// of a long one stays until all of it has.
    fn make_room(&mut self) {
        if self.incoming.is_empty() {
            return;
        }
        if self.incoming.room().len() < LEAST_ROOM {
            self.incoming.compact();
        }
        self.incoming.lengthen(1);
    }

    /// As much may be read at once: a long piece has room for more than a frame.
    fn most_pulled(&mut self) -> usize {
        let most = MAX_INCOMING.saturating_sub(self.incoming.len()).min(buffer::TRAY);
        self.incoming.room().len().min(most)
    }

    /// A frame, or what comes before the first.
    fn load_any(&mut self, bytes: &[u8]) -> usize {
        if self.plain == 0 {
            return self.load(bytes);
        }
        let room = self.outgoing.room();
        let n = self.plain.min(bytes.len()).min(room.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.outgoing.put(n);
        self.plain -= n;
        self.is_changed = true;
        n
    }
}
