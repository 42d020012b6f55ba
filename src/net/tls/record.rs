//! The record layer after the handshake: TLS 1.3 (RFC 8446, 5) and TLS 1.2 with AEADs (RFC 5246,
//! 6).
//!
//! Sans-IO: [`Records::open`] takes one record out of the caller's buffer, [`Records::seal`] writes
//! records into one, [`Records::speak`] says what is owed to the peer (an answer to a KeyUpdate, an
//! alert). Everything is in [`RecordsState`], so a session can stop between any two bytes and go on
//! in another process. Invariant: after an error nothing more is opened.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::alert::Alert;
use super::keys::{Decrypted, HEADER, Half, HalfState, MAX_PLAIN, Place, Share, Suite, Version};
use super::message::{Heard, Message};

/// Content types: "change_cipher_spec(20), alert(21), handshake(22), application_data(23)".
pub const ALERT: u8 = 21;
/// The content type of handshake messages.
pub const HANDSHAKE: u8 = 22;
/// The content type of data, and the outer one of every protected TLS 1.3 record.
pub const APPLICATION_DATA: u8 = 23;

/// Records without data that may come one after another. As in other implementations: RFC 8446,
/// 5.4, allows empty records, and nothing bounds KeyUpdates; somebody who sends only such wants us
/// to work for nothing.
const MAX_UNPRODUCTIVE: u8 = 32;

/// RFC 8446, 5.2: "The length MUST NOT exceed 2^14 + 256 bytes. An endpoint that receives a record
/// that exceeds this length MUST terminate the connection with a "record_overflow" alert." RFC
/// 5246, 6.2.3: "The length MUST NOT exceed 2^14 + 2048." — but the AEADs add 24 bytes at the most,
/// so anything above 2^14 + 256 holds more than 2^14 bytes of plaintext there too.
pub const MAX_SEALED: usize = MAX_PLAIN + 256;

/// Words of what changes with each record.
pub const WORDS: usize = 5;

/// Which side of the session we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// We connected.
    Client,
    /// We accepted.
    Server,
}

/// Why a session can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The peer broke the protocol, and is told so.
    #[error("peer broke the TLS protocol: {0}")]
    Broken(Alert),
    /// The peer gave up.
    #[error("peer sent the TLS alert {0}")]
    Told(Alert),
    /// TLS 1.2 can't change keys, and these have encrypted all they safely may.
    #[error("the keys of the TLS 1.2 session are used up")]
    Spent,
    /// The session is over on this side.
    #[error("the TLS session is closed")]
    Closed,
}

/// What a call of [`Records::open`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The record is not whole: so many bytes are needed from its start.
    Missing(usize),
    /// A record of so many bytes that carried no data.
    Nothing(usize),
    /// So many bytes of data are in front of `out`.
    Out {
        /// Bytes of the record.
        consumed: usize,
        /// Bytes of data.
        length: usize,
    },
    /// Data that did not fit into `out` is in this part of the input.
    Within {
        /// Bytes of the record.
        consumed: usize,
        /// Where the data is.
        range: Range<usize>,
    },
    /// The peer has said close_notify; whatever follows is to be ignored.
    End,
}

/// What [`Records::seal`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Bytes of plaintext that are in the records.
    pub taken: usize,
    /// Bytes of records.
    pub written: usize,
}

/// Whether the peer is to change its keys too. "update_not_requested(0), update_requested(1)"
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Update {
    /// Only ours.
    Own,
    /// Both.
    Both,
}

/// What is to be said before anything else, in this order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Owed {
    no_renegotiation: bool,
    key_update: Option<Update>,
    /// The last thing that is said: a fatal alert or close_notify.
    last: Option<u8>,
}

/// How far one side is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    #[default]
    Open,
    Closed,
}

/// A session's records, both directions.
#[derive(Debug)]
pub struct Records {
    version: Version,
    suite: Suite,
    role: Role,
    read: Half,
    write: Half,
    message: Message,
    unproductive: u8,
    owed: Owed,
    reading: Side,
    writing: Side,
    edition: u32,
}

/// What another process needs to go on. Holds keys: to be zeroized wherever it is copied to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordsState {
    version: Version,
    suite: Suite,
    role: Role,
    read: HalfState,
    write: HalfState,
    #[serde(default)]
    message: Message,
    #[serde(default)]
    unproductive: u8,
    #[serde(default)]
    owed: Owed,
    #[serde(default)]
    reading: Side,
    #[serde(default)]
    writing: Side,
}

impl Records {
    /// A session whose handshake is over. None when the keys don't fit the suite.
    pub fn new(
        version: Version,
        suite: Suite,
        role: Role,
        read: HalfState,
        write: HalfState,
    ) -> Option<Self> {
        Self::resume(RecordsState {
            version,
            suite,
            role,
            read,
            write,
            message: Message::default(),
            unproductive: 0,
            owed: Owed::default(),
            reading: Side::Open,
            writing: Side::Open,
        })
    }

    /// A session that was stopped. None when the state makes no sense.
    pub fn resume(state: RecordsState) -> Option<Self> {
        Some(Self {
            version: state.version,
            suite: state.suite,
            role: state.role,
            read: Half::new(state.version, state.suite, state.read)?,
            write: Half::new(state.version, state.suite, state.write)?,
            message: state.message.checked()?,
            unproductive: state.unproductive,
            owed: state.owed,
            reading: state.reading,
            writing: state.writing,
            edition: 0,
        })
    }

    /// How often anything may have changed that is not in [`Records::words`].
    pub fn edition(&self) -> u32 {
        self.edition
    }

    /// Which changes with each record, as words:
    /// `unproductive (8) | no_renegotiation | key_update (2) | last (9) | reading | writing`, then
    /// how far reading and writing are.
    pub fn words(&self) -> [u64; WORDS] {
        let Owed { no_renegotiation, key_update, last } = &self.owed;
        let key_update: u64 = match key_update {
            None => 0,
            Some(Update::Own) => 1,
            Some(Update::Both) => 2,
        };
        let last = last.map_or(0, |last| u64::from(last) + 1);
        let is_closed = |side: Side| u64::from(side == Side::Closed);
        let flags = u64::from(self.unproductive)
            | u64::from(*no_renegotiation) << 8
            | key_update << 9
            | last << 11
            | is_closed(self.reading) << 20
            | is_closed(self.writing) << 21;
        let ([read, read_spent], [write, write_spent]) =
            (self.read.progress(), self.write.progress());
        [flags, read, read_spent, write, write_spent]
    }

    /// All keys of the session, one behind the other.
    pub fn append_keys(&self, to: &mut Zeroizing<Vec<u8>>) {
        self.read.state().append_keys(to);
        self.write.state().append_keys(to);
    }

    /// The session of a state without keys, which has these, from their front on, and stands as
    /// these words say; None if that cannot be.
    pub fn found(mut state: RecordsState, words: [u64; WORDS], keys: &mut &[u8]) -> Option<Self> {
        let [flags, read, read_spent, write, write_spent] = words;
        let side = |bit: u32| if flags >> bit & 1 == 1 { Side::Closed } else { Side::Open };
        state.read.take_keys(keys)?;
        state.write.take_keys(keys)?;
        (state.read.sequence, state.read.spent) = (read, read_spent);
        (state.write.sequence, state.write.spent) = (write, write_spent);
        state.unproductive = flags as u8;
        state.owed = Owed {
            no_renegotiation: flags >> 8 & 1 == 1,
            key_update: match flags >> 9 & 3 {
                0 => None,
                1 => Some(Update::Own),
                2 => Some(Update::Both),
                _ => return None,
            },
            last: match flags >> 11 & 0x1FF {
                0 => None,
                last => Some(u8::try_from(last - 1).ok()?),
            },
        };
        (state.reading, state.writing) = (side(20), side(21));
        Self::resume(state)
    }

    /// The state of the session at this instant, with zeros for its keys.
    pub fn state_without_keys(&self) -> RecordsState {
        let (read, write) = (self.read.state().without_keys(), self.write.state().without_keys());
        RecordsState { read, write, ..self.state() }
    }

    /// The state of the session at this instant.
    pub fn state(&self) -> RecordsState {
        RecordsState {
            version: self.version,
            suite: self.suite,
            role: self.role,
            read: self.read.state().clone(),
            write: self.write.state().clone(),
            message: self.message.clone(),
            unproductive: self.unproductive,
            owed: self.owed.clone(),
            reading: self.reading,
            writing: self.writing,
        }
    }

    /// The negotiated version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The negotiated AEAD.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Keeps TLS 1.3 session tickets for [`Records::take_ticket`].
    pub fn keep_tickets(&mut self) {
        self.message.keep_tickets();
    }

    /// The body of a NewSessionTicket that came.
    pub fn take_ticket(&mut self) -> Option<Vec<u8>> {
        self.message.take_ticket()
    }

    /// Takes the first record of `input`, and puts its data into `out` if it fits.
    ///
    /// On an error the alert for the peer is owed, see [`Records::speak`].
    pub fn open(&mut self, input: &mut [u8], out: &mut [u8]) -> Result<Opened, RecordError> {
        if self.reading == Side::Closed {
            return Ok(Opened::End);
        }
        let opened = self.open_record(input, out);
        if let Err(error) = opened {
            self.reading = Side::Closed;
            match error {
                RecordError::Broken(alert) => {
                    self.owed.last.get_or_insert(alert.code());
                }
                // RFC 8446, 6: "Upon transmission or receipt of a fatal alert message, both parties
                // MUST immediately close the connection."
                RecordError::Told(_) | RecordError::Spent | RecordError::Closed => {
                    self.writing = Side::Closed;
                }
            }
        }
        opened
    }

    fn open_record(&mut self, input: &mut [u8], out: &mut [u8]) -> Result<Opened, RecordError> {
        let Some((header, rest)) = input.split_first_chunk_mut::<HEADER>() else {
            return Ok(Opened::Missing(HEADER));
        };
        let header = *header;
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        self.check_header(header, length).map_err(RecordError::Broken)?;
        let consumed = HEADER + length;
        let Some(body) = rest.get_mut(..length) else {
            return Ok(Opened::Missing(consumed));
        };
        let opened = self.read.open(header, body, out).map_err(RecordError::Broken)?;
        let Decrypted { kind, place, length } = opened;
        if kind == APPLICATION_DATA {
            return self.hear_data(consumed, place, length).map_err(RecordError::Broken);
        }
        let content = match place {
            Place::Out => &out[..length],
            Place::Within(start) => &body[start..start + length],
        };
        self.hear_control(consumed, kind, content)
    }

    fn check_header(&self, header: [u8; HEADER], length: usize) -> Result<(), Alert> {
        match self.version {
            Version::Tls13 => {
                // RFC 8446, 5: "If an implementation detects a change_cipher_spec record received …
                // after the peer's Finished message, it MUST be treated as an unexpected record
                // type"; "If a TLS implementation receives an unexpected record type, it MUST
                // terminate the connection with an "unexpected_message" alert." 5.2: the outer type
                // "is always set to the value 23". The version "MUST be ignored for all purposes".
                if header[0] != APPLICATION_DATA {
                    return Err(Alert::UnexpectedMessage);
                }
            }
            Version::Tls12 => {
                // RFC 5246, 6: "If a TLS implementation receives an unexpected record type, it MUST
                // send an unexpected_message alert." ChangeCipherSpec is one outside a handshake.
                if !matches!(header[0], ALERT | HANDSHAKE | APPLICATION_DATA) {
                    return Err(Alert::UnexpectedMessage);
                }
                if header[1..3] != [3, 3] {
                    return Err(Alert::ProtocolVersion);
                }
            }
        }
        if length > MAX_SEALED {
            return Err(Alert::RecordOverflow);
        }
        Ok(())
    }

    fn hear_data(&mut self, consumed: usize, place: Place, length: usize) -> Result<Opened, Alert> {
        self.check_interleaving()?;
        if length == 0 {
            // RFC 8446, 5.4: "Zero-length fragments of Application Data MAY be sent".
            self.count_unproductive()?;
            return Ok(Opened::Nothing(consumed));
        }
        self.unproductive = 0;
        Ok(match place {
            Place::Out => Opened::Out { consumed, length },
            Place::Within(start) => {
                let start = HEADER + start;
                Opened::Within { consumed, range: start..start + length }
            }
        })
    }

    /// RFC 8446, 5.1: "Handshake messages MUST NOT be interleaved with other record types. That is,
    /// if a handshake message is split over two or more records, there MUST NOT be any other
    /// records between them." TLS 1.2 has no such rule.
    fn check_interleaving(&self) -> Result<(), Alert> {
        match self.version {
            Version::Tls13 if self.message.is_partial() => Err(Alert::UnexpectedMessage),
            Version::Tls12 | Version::Tls13 => Ok(()),
        }
    }

    fn count_unproductive(&mut self) -> Result<(), Alert> {
        // A snapshot may hold any number.
        self.unproductive = self.unproductive.saturating_add(1);
        if self.unproductive > MAX_UNPRODUCTIVE {
            return Err(Alert::UnexpectedMessage);
        }
        Ok(())
    }

    fn hear_control(
        &mut self,
        consumed: usize,
        kind: u8,
        content: &[u8],
    ) -> Result<Opened, RecordError> {
        self.count_unproductive().map_err(RecordError::Broken)?;
        match kind {
            // RFC 8446, 5.4: "Implementations MUST NOT send Handshake and Alert records that have a
            // zero-length TLSInnerPlaintext.content; if such a message is received, the receiving
            // implementation MUST terminate the connection with an "unexpected_message" alert."
            // RFC 5246, 6.2.1: "Implementations MUST NOT send zero-length fragments of Handshake,
            // Alert, or ChangeCipherSpec content types."
            HANDSHAKE | ALERT if content.is_empty() => {
                Err(RecordError::Broken(Alert::UnexpectedMessage))
            }
            HANDSHAKE => {
                self.hear_handshake(content).map_err(RecordError::Broken)?;
                Ok(Opened::Nothing(consumed))
            }
            ALERT => {
                self.check_interleaving().map_err(RecordError::Broken)?;
                self.hear_alert(consumed, content)
            }
            _ => Err(RecordError::Broken(Alert::UnexpectedMessage)),
        }
    }

    fn hear_handshake(&mut self, mut content: &[u8]) -> Result<(), Alert> {
        self.edition = self.edition.wrapping_add(1);
        while !content.is_empty() {
            let heard = self.message.hear(&mut content, self.version, self.role)?;
            match heard {
                Heard::More | Heard::Ticket => {}
                Heard::Renegotiation => self.owed.no_renegotiation = true,
                Heard::KeyUpdate(answer) => {
                    // RFC 8446, 5.1: "Handshake messages MUST NOT span key changes. Implementations
                    // MUST verify that all messages immediately preceding a key change align with a
                    // record boundary; if not, then they MUST terminate the connection with an
                    // "unexpected_message" alert."
                    if !content.is_empty() {
                        return Err(Alert::UnexpectedMessage);
                    }
                    self.read.update()?;
                    self.owe_answer(answer);
                }
            }
        }
        Ok(())
    }

    /// RFC 8446, 4.6.3: "If the request_update field is set to "update_requested", then the
    /// receiver MUST send a KeyUpdate of its own with request_update set to "update_not_requested"
    /// prior to sending its next Application Data record. This mechanism … causes an implementation
    /// which receives multiple KeyUpdates while it is silent to respond with a single update." A
    /// request of ours that has not been sent is met by the peer's update.
    fn owe_answer(&mut self, asked: Update) {
        match asked {
            Update::Both => self.owed.key_update = Some(Update::Own),
            Update::Own => {}
        }
    }

    fn hear_alert(&mut self, consumed: usize, content: &[u8]) -> Result<Opened, RecordError> {
        // RFC 8446, 5.1: "a record with an Alert type MUST contain exactly one message." RFC 5246,
        // 6.2.1, would let one be cut or joined, which nobody does and stock implementations
        // refuse: half an alert could hold a session open for ever.
        let [level, description] = content else {
            return Err(RecordError::Broken(Alert::DecodeError));
        };
        let alert = Alert::from(*description);
        let is_fatal = match (self.version, level) {
            // RFC 8446, 6: "In TLS 1.3, the severity is implicit in the type of alert being sent,
            // and the "level" field can safely be ignored"; "All the alerts listed in Section 6.2
            // MUST be sent with AlertLevel=fatal and MUST be treated as error alerts when received
            // regardless of the AlertLevel in the message. Unknown Alert types MUST be treated as
            // error alerts." user_canceled is a closure alert, not an error.
            (Version::Tls13, _) => alert != Alert::UserCanceled,
            (Version::Tls12, 1) => false,
            (Version::Tls12, 2) => true,
            (Version::Tls12, _) => return Err(RecordError::Broken(Alert::IllegalParameter)),
        };
        if alert == Alert::CloseNotify {
            // RFC 8446, 6.1: "Any data received after a closure alert has been received MUST be
            // ignored." It "does not have any effect on its read side": ours goes on until we say
            // the same. RFC 5246, 7.2.1, wants an immediate close_notify in return, "discarding
            // any pending writes"; RFC 8446 names the price, "truncation in the read side", which
            // for a proxy would be the end of an answer that a half-closed client waits for. So
            // TLS 1.2 is treated alike, as stock implementations do: ours follows the last answer.
            self.reading = Side::Closed;
            return Ok(Opened::End);
        }
        if is_fatal { Err(RecordError::Told(alert)) } else { Ok(Opened::Nothing(consumed)) }
    }

    /// Whether [`Records::speak`] has anything to say.
    pub fn is_owing(&self) -> bool {
        let Owed { no_renegotiation, key_update, last } = &self.owed;
        self.writing == Side::Open && (*no_renegotiation || key_update.is_some() || last.is_some())
    }

    /// Writes what is owed to `out`; returns the bytes written. What does not fit stays owed.
    pub fn speak(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        let mut at = 0;
        if self.writing == Side::Closed {
            return Ok(0);
        }
        if self.owed.no_renegotiation && self.fits(2, &out[at..]) {
            // RFC 5246, 7.2.2: "no_renegotiation: … This message is always a warning."
            at += self.say(ALERT, &[1, Alert::NoRenegotiation.code()], &mut out[at..])?;
            self.owed.no_renegotiation = false;
        }
        if let Some(update) = self.owed.key_update
            && self.fits(5, &out[at..])
        {
            at += self.say_key_update(update, &mut out[at..])?;
            self.owed.key_update = None;
        }
        if let Some(last) = self.owed.last
            && self.fits(2, &out[at..])
        {
            // close_notify is a warning in TLS 1.2, the others are fatal in both.
            let level = if last == Alert::CloseNotify.code() { 1 } else { 2 };
            at += self.say(ALERT, &[level, last], &mut out[at..])?;
            self.owed.last = None;
            self.writing = Side::Closed;
        }
        Ok(at)
    }

    fn fits(&self, length: usize, out: &[u8]) -> bool {
        self.write.sealed_len(length) <= out.len()
    }

    fn say(&mut self, kind: u8, content: &[u8], out: &mut [u8]) -> Result<usize, RecordError> {
        self.write.seal(kind, content, out).map_err(|_| {
            self.writing = Side::Closed;
            RecordError::Closed
        })
    }

    /// RFC 8446, 4.6.3: "all KeyUpdate messages … MUST be encrypted with the old key."
    fn say_key_update(&mut self, update: Update, out: &mut [u8]) -> Result<usize, RecordError> {
        let request = match update {
            Update::Own => 0,
            Update::Both => 1,
        };
        let message = [super::message::KEY_UPDATE, 0, 0, 1, request];
        let written = self.say(HANDSHAKE, &message, out)?;
        self.write.update().map_err(|_| RecordError::Closed)?;
        self.edition = self.edition.wrapping_add(1);
        Ok(written)
    }

    /// Puts new keys into use before the next record. Of no effect in TLS 1.2, which has no such
    /// message.
    pub fn update_keys(&mut self, update: Update) {
        match self.version {
            Version::Tls12 => {}
            Version::Tls13 => self.owed.key_update = Some(update),
        }
    }

    /// Says close_notify after everything else; nothing is sealed from now on.
    pub fn close(&mut self) {
        self.owed.last.get_or_insert(Alert::CloseNotify.code());
    }

    /// Seals what is owed, then as much of `plain` as `out` has room for.
    ///
    /// RFC 8446, 5.1: "The record layer fragments information blocks into TLSPlaintext records
    /// carrying data in chunks of 2^14 bytes or less."
    pub fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> Result<Sealed, RecordError> {
        self.look_after_keys();
        let mut sealed = Sealed { taken: 0, written: self.speak(out)? };
        if self.is_owing() {
            return Ok(sealed);
        }
        if self.writing == Side::Closed {
            return if sealed.written > 0 { Ok(sealed) } else { Err(self.refusal()) };
        }
        while sealed.taken < plain.len() {
            let room = out.len() - sealed.written;
            let overhead = self.write.sealed_len(0);
            let length =
                (plain.len() - sealed.taken).min(MAX_PLAIN).min(room.saturating_sub(overhead));
            // A short record in the rest of the room would cost the peer more than it gains.
            if length == 0 || (sealed.taken > 0 && length < MAX_PLAIN && room < MAX_PLAIN) {
                break;
            }
            let chunk = &plain[sealed.taken..sealed.taken + length];
            sealed.written += self.say(APPLICATION_DATA, chunk, &mut out[sealed.written..])?;
            sealed.taken += length;
        }
        Ok(sealed)
    }

    /// Why nothing is sealed any more.
    pub fn refusal(&self) -> RecordError {
        match self.version {
            Version::Tls12 if self.write.is_spent(Share::Whole) => RecordError::Spent,
            Version::Tls12 | Version::Tls13 => RecordError::Closed,
        }
    }

    /// New keys in time; where there are none, the end in time.
    fn look_after_keys(&mut self) {
        match self.version {
            // RFC 8446, 5.5: "Implementations SHOULD do a key update as described in Section 4.6.3
            // prior to reaching these limits."
            Version::Tls13 if self.write.is_spent(Share::Half) => {
                self.owed.key_update.get_or_insert(Update::Own);
            }
            // RFC 5246 has no KeyUpdate, and a renegotiation is not to be had: AES-GCM's limit is
            // the same there, so the session ends, by close_notify, before a nonce is a risk.
            Version::Tls12 if self.write.is_spent(Share::Whole) => self.close(),
            Version::Tls12 | Version::Tls13 => {}
        }
    }
}
