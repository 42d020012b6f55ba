//! Authentication exchanges that are the caller's: nothing of them is judged.

use super::{Answering, Held, Link};
use crate::wire::authentication::CLEAR;
use crate::wire::packet::{HEADER, Header};
use crate::wire::response::Answer;

impl Link {
    /// Which authentication exchanges are left with the caller.
    pub fn hold_exchanges(&mut self, held: Held) {
        self.held = held;
    }

    /// Whether all of them are.
    pub fn holds_exchanges(&self) -> bool {
        matches!(self.held, Held::All | Held::Asked)
    }

    /// An exchange is under way that nothing is judged of, up to [`Self::handle_exchange`].
    pub fn holds_exchange(&self) -> bool {
        let waits = |answering: Answering| answering.answer == Answer::Auth && !answering.begun;
        self.holds_exchanges() && self.answering.is_some_and(waits)
    }

    /// The exchange is over, but for the server's verdict, which is judged as ever.
    pub fn handle_exchange(&mut self) {
        if let Some(answering) = &mut self.answering {
            answering.begun = true;
        }
    }

    /// Leaves an exchange with the caller in which these bytes of the server's ask for a password
    /// in clear; true also as long as that can't be told.
    pub(super) fn holds_clear_password(&mut self, bytes: &[u8], next: u8) -> bool {
        let Some(answering) = &mut self.answering else { return false };
        if self.held != Held::InClear || !self.framer.is_between_packets() {
            return false;
        }
        match Asks::judge(bytes) {
            Asks::Otherwise => return false,
            Asks::Perhaps => return true,
            Asks::InClear => {}
        }
        self.held = Held::All;
        if answering.begun {
            // The exchange begins here.
            (answering.begun, answering.sequence) = (false, next.wrapping_sub(1));
        }
        true
    }
}

/// Whether a server's packet asks for a password in clear, as far as its beginning tells.
enum Asks {
    InClear,
    Otherwise,
    /// It is too short to tell.
    Perhaps,
}

impl Asks {
    /// Of bytes that begin with a header.
    fn judge(bytes: &[u8]) -> Self {
        let Some(header) = Header::parse(bytes) else { return Self::Perhaps };
        let payload = &bytes[HEADER..];
        let payload = &payload[..payload.len().min(header.length)];
        let is_whole = payload.len() == header.length;
        match payload.split_first() {
            Some((0xFE | 0x02, name)) if name.starts_with(CLEAR) => Self::InClear,
            Some((0xFE | 0x02, name)) if !is_whole && CLEAR.starts_with(name) => Self::Perhaps,
            None if !is_whole => Self::Perhaps,
            _ => Self::Otherwise,
        }
    }
}
