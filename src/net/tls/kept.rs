//! A TLS session that is on record, so that another process goes on with it after a crash.
//!
//! ```text
//!   socket ─ pull ─► incoming ─ unload ─► the caller's buffer     read, then decrypted elsewhere
//!   caller's bytes ─ load ─► outgoing ─ push ─► socket            sealed, then written
//! ```
//!
//! Only `pull` and `push` use the socket, only `load` and `unload` change what is to be on record:
//! whoever calls them in turn puts it there in between.

use std::io;
use std::task::{Context, Poll, ready};

use zeroize::Zeroizing;

use super::record::{Records, WORDS as RECORDS_WORDS};
use super::stream::{Fin, RecordBuffer, TlsState, TlsStream, failure};
use crate::buffer::arena::{Arena, Piece};
use crate::buffer::tray;

/// Words of what changes with each record.
pub const WORDS: usize = RECORDS_WORDS;

/// Trays of a session: what came in, what is to be sent, what is decrypted and was not given out.
pub const TRAYS: usize = 3;

/// Where a tray's bytes are: the piece, from where to where.
pub type Place = (Option<u32>, usize, usize);

/// Where the stage of our FIN stands in the first word.
const FIN: u32 = 32;

impl TlsStream {
    /// From now on its records are in this arena.
    pub fn keep_in(&mut self, arena: &'static Arena) {
        self.trays().into_iter().for_each(|tray| tray.keep_in(arena));
        self.spare_rest();
    }

    /// Nobody keeps its records any more.
    pub fn keep_no_more(&mut self) {
        self.trays().into_iter().for_each(|tray| tray.keep_no_more());
    }

    /// Whether what is on record is not how it stands.
    pub fn is_changed(&self) -> bool {
        [&self.incoming, &self.outgoing, &self.spare].into_iter().any(|tray| tray.is_changed())
    }

    /// How it stands is on record.
    pub fn recorded(&mut self) {
        self.trays().into_iter().for_each(|tray| tray.recorded());
    }

    /// How far its socket was used: bytes read, then written.
    pub fn counted(&self) -> [u64; 2] {
        self.counted
    }

    /// It was used so far before.
    pub fn resume_count(&mut self, counted: [u64; 2]) {
        self.counted = counted;
    }

    /// How often anything may have changed that is neither in words nor in trays: its keys, or a
    /// message that has begun.
    pub fn edition(&self) -> u32 {
        self.records.edition()
    }

    /// What changes with each record.
    pub fn words(&self) -> [u64; WORDS] {
        let mut words = self.records.words();
        let fin: u64 = match self.fin {
            Fin::No => 0,
            Fin::Due => 1,
            Fin::Sent => 2,
        };
        words[0] |= fin << FIN;
        words
    }

    /// Where its bytes are; None while some are where nobody finds them.
    pub fn places(&self) -> Option<[Place; TRAYS]> {
        Some([self.incoming.standing()?, self.outgoing.standing()?, self.spare.standing()?])
    }

    /// All keys, one behind the other.
    pub fn append_keys(&self, to: &mut Zeroizing<Vec<u8>>) {
        self.records.append_keys(to);
    }

    /// What else there is to know, without keys.
    pub fn cold(&self) -> TlsState {
        self.at_rest()
    }

    /// Stands as these words say, with keys from the front of these; None if that cannot be.
    pub fn take_up(
        &mut self,
        words: [u64; WORDS],
        trays: [(Option<Piece>, usize, usize); TRAYS],
        keys: &mut &[u8],
    ) -> Option<()> {
        self.fin = match words[0] >> FIN & 3 {
            0 => Fin::No,
            1 => Fin::Due,
            2 => Fin::Sent,
            _ => return None,
        };
        if trays.iter().any(|(_, _, end)| *end > tray::RECORDS) {
            return None;
        }
        self.records = Records::found(self.records.state(), words, keys)?;
        let trays = trays.map(|(piece, start, end)| RecordBuffer::found(piece, start, end));
        [self.incoming, self.outgoing, self.spare] = trays;
        Some(())
    }

    /// Where records are read to next, if that is not behind others. None: where nobody finds them.
    pub fn target(&mut self) -> Option<Option<u32>> {
        match self.incoming.is_empty() {
            true => self.incoming.place().map(Some),
            false => Some(None),
        }
    }

    /// Seals as much of this as there is room for, behind what is owed to the peer; how much was
    /// taken.
    pub fn load(&mut self, plain: &[u8]) -> io::Result<usize> {
        if plain.is_empty() {
            return self.load_owed().map(|()| 0);
        }
        let sealed = self.records.seal(plain, self.outgoing.room()).map_err(failure)?;
        self.outgoing.put(sealed.written);
        if sealed.taken == 0 {
            return Err(failure(self.records.refusal()));
        }
        Ok(sealed.taken)
    }

    /// Whether something is owed to the peer: the answer to a message, an alert.
    pub fn is_owing(&self) -> bool {
        self.records.is_owing()
    }

    /// Seals that.
    pub fn load_owed(&mut self) -> io::Result<()> {
        if self.records.is_owing() {
            let spoken = self.records.speak(self.outgoing.room()).map_err(failure)?;
            self.outgoing.put(spoken);
        }
        Ok(())
    }

    /// Whether something is sealed and not written.
    pub fn is_loaded(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Writes what is sealed; ready when the socket has all of it. FIN follows if it is due.
    /// Cancel safe.
    pub fn push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_push(cx))?;
        if !self.records.is_owing() {
            self.send_fin();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads records; 0 is the end of the stream. Cancel safe.
    pub fn pull(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let pulled = self.poll_pull(cx);
        self.incoming.settle();
        pulled
    }

    /// close_notify is owed, and FIN is due behind it.
    pub fn close_write(&mut self) {
        if self.fin == Fin::No {
            self.records.close();
            self.fin = Fin::Due;
        }
    }

    /// Its socket, and its memory that is in an arena.
    pub fn into_pieces(self) -> io::Result<(std::os::fd::OwnedFd, Vec<Piece>)> {
        let Self { socket, incoming, outgoing, spare, .. } = self;
        let trays = [incoming, outgoing, spare];
        let pieces = trays.into_iter().flat_map(|tray| tray.into_pieces().collect::<Vec<_>>());
        let pieces = pieces.collect();
        Ok((socket.into_fd()?, pieces))
    }

    fn trays(&mut self) -> [&mut RecordBuffer; TRAYS] {
        [&mut self.incoming, &mut self.outgoing, &mut self.spare]
    }
}
