//! Handshake messages that may come after the handshake, put together from records.
//!
//! Only a message's header and the front of what we read are kept, whatever length it claims.

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::keys::Version;
use super::record::{Role, Update};

/// HandshakeType: "hello_request(0), client_hello(1), new_session_ticket(4), key_update(24)".
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
/// The type of a KeyUpdate message.
pub const KEY_UPDATE: u8 = 24;

/// Bytes of a message's header: "HandshakeType msg_type; uint24 length".
const HEADER: usize = 4;

/// RFC 8446, 4.6.1: "uint32 ticket_lifetime; uint32 ticket_age_add; opaque ticket_nonce<0..255>;
/// opaque ticket<1..2^16-1>; Extension extensions<0..2^16-2>", each opaque with its length.
const MAX_TICKET: usize = 4 + 4 + 256 + 65_537 + 65_536;

/// The shortest: no nonce, one byte of ticket, no extensions.
const MIN_TICKET: usize = 4 + 4 + 1 + 3 + 2;

/// A ticket longer than this is neither kept nor read; common ones have a few hundred bytes.
const KEPT_TICKET: usize = 4096;

/// A ClientHello that asks for a renegotiation may be so long; it is skipped.
const MAX_HELLO: usize = 1 << 16;

/// The message that is under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// What is there of the header.
    header: Vec<u8>,
    /// Bytes of the body that are to come.
    left: usize,
    /// What is kept of the body.
    body: Vec<u8>,
    /// Not moved: what a ticket belongs to stays in the process that made the handshake.
    #[serde(skip)]
    tickets: Tickets,
}

#[derive(Clone, Debug, Default, PartialEq)]
enum Tickets {
    #[default]
    Ignored,
    Kept(Option<Vec<u8>>),
}

/// What a stretch of a message came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The message is not whole.
    More,
    /// A ticket; kept if wanted.
    Ticket,
    /// The peer wants a new handshake, which it won't get.
    Renegotiation,
    /// The peer's next record has new keys.
    KeyUpdate(Update),
}

impl Message {
    /// A message from a snapshot; None when it can't be one.
    pub fn checked(self) -> Option<Self> {
        let whole = self.header.len() == HEADER;
        let fits = self.header.len() <= HEADER
            && self.left <= MAX_TICKET
            && self.body.len() <= KEPT_TICKET
            && (whole || (self.left == 0 && self.body.is_empty()))
            && (!whole || self.left > 0);
        fits.then_some(self)
    }

    /// Whether a message has begun and not ended.
    pub fn is_partial(&self) -> bool {
        !self.header.is_empty()
    }

    /// Keeps tickets from now on.
    pub fn keep_tickets(&mut self) {
        self.tickets = Tickets::Kept(None);
    }

    /// The last ticket, once.
    pub fn take_ticket(&mut self) -> Option<Vec<u8>> {
        match &mut self.tickets {
            Tickets::Ignored => None,
            Tickets::Kept(ticket) => ticket.take(),
        }
    }

    /// Takes from the front of `content` what belongs to the message.
    pub fn hear(
        &mut self,
        content: &mut &[u8],
        version: Version,
        role: Role,
    ) -> Result<Heard, Alert> {
        if self.header.len() < HEADER {
            self.header.extend_from_slice(take(content, HEADER - self.header.len()));
            let &[kind, high, middle, low] = &self.header[..] else { return Ok(Heard::More) };
            self.left = u32::from_be_bytes([0, high, middle, low]) as usize;
            let fits = check(kind, self.left, version, role);
            if fits.is_err() {
                (self.header, self.left) = (Vec::new(), 0);
            }
            fits?;
        }
        let part = take(content, self.left);
        self.left -= part.len();
        self.keep(part);
        if self.left > 0 {
            return Ok(Heard::More);
        }
        self.finish()
    }

    fn keep(&mut self, part: &[u8]) {
        let wanted = match self.header.first() {
            Some(&KEY_UPDATE | &NEW_SESSION_TICKET) => KEPT_TICKET,
            _ => 0,
        };
        let room = wanted.saturating_sub(self.body.len());
        self.body.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn finish(&mut self) -> Result<Heard, Alert> {
        let kind = self.header.first().copied();
        let body = std::mem::take(&mut self.body);
        self.header.clear();
        match kind {
            Some(KEY_UPDATE) => match body[..] {
                [0] => Ok(Heard::KeyUpdate(Update::Own)),
                [1] => Ok(Heard::KeyUpdate(Update::Both)),
                // RFC 8446, 4.6.3: "If an implementation receives any other value, it MUST
                // terminate the connection with an "illegal_parameter" alert."
                _ => Err(Alert::IllegalParameter),
            },
            // One that is not here as a whole.
            Some(NEW_SESSION_TICKET) if body.len() == KEPT_TICKET => Ok(Heard::Ticket),
            Some(NEW_SESSION_TICKET) => {
                // RFC 8446, 6: "Peers which receive a message which cannot be parsed according to
                // the syntax … MUST terminate the connection with a "decode_error" alert."
                if !is_ticket(&body) {
                    return Err(Alert::DecodeError);
                }
                if let Tickets::Kept(ticket) = &mut self.tickets {
                    *ticket = Some(body);
                }
                Ok(Heard::Ticket)
            }
            Some(_) | None => Ok(Heard::Renegotiation),
        }
    }
}

/// Which messages may come, judged by their header.
fn check(kind: u8, length: usize, version: Version, role: Role) -> Result<(), Alert> {
    let limits = match (version, role, kind) {
        (Version::Tls13, _, KEY_UPDATE) => 1..=1,
        // RFC 8446, 4.6.1: "the server MAY send a NewSessionTicket message" "at any time after the
        // server has received the client Finished message".
        (Version::Tls13, Role::Client, NEW_SESSION_TICKET) => MIN_TICKET..=MAX_TICKET,
        // RFC 5246, 7.4.1.1: HelloRequest "MAY be ignored by the client if it does not wish to
        // renegotiate a session, or the client may, if it wishes, respond with a no_renegotiation
        // alert." 7.2.2: no_renegotiation is sent "by the server in response to a client hello
        // after initial handshaking".
        (Version::Tls12, Role::Client, HELLO_REQUEST) => 0..=0,
        (Version::Tls12, Role::Server, CLIENT_HELLO) => 0..=MAX_HELLO,
        // RFC 8446, 4.1.2: "If a server has negotiated TLS 1.3 and receives a ClientHello at any
        // other time, it MUST terminate the connection with an "unexpected_message" alert." 4.6.2:
        // a CertificateRequest needs the post_handshake_auth extension, which we never send.
        (Version::Tls12 | Version::Tls13, Role::Client | Role::Server, _) => {
            return Err(Alert::UnexpectedMessage);
        }
    };
    // RFC 8446, 6.2: "decode_error: A message could not be decoded because some field was out of
    // the specified range or the length of the message was incorrect."
    if limits.contains(&length) { Ok(()) } else { Err(Alert::DecodeError) }
}

/// Whether the lengths in a NewSessionTicket add up; see [`MAX_TICKET`].
fn is_ticket(body: &[u8]) -> bool {
    let opaque = |at: usize, size: usize| -> Option<usize> {
        let length = body.get(at..at + size)?;
        let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        Some(at + size + length)
    };
    let ticket = opaque(4 + 4, 1);
    let extensions = ticket.and_then(|at| opaque(at, 2));
    // "opaque ticket<1..2^16-1>"
    let is_empty = extensions.zip(ticket).is_some_and(|(end, start)| end == start + 2);
    !is_empty && extensions.and_then(|at| opaque(at, 2)) == Some(body.len())
}

fn take<'a>(content: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (taken, rest) = content.split_at(n.min(content.len()));
    *content = rest;
    taken
}
