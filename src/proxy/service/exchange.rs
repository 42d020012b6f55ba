//! The part of our own log-in in which plugins speak: up to the server's verdict.
//!
//! ```text
//!   response ─► Server says ─┬─ OK ─► logged in          ERR ─► refused
//!                ▲           ├─ a plugin, its challenge ─► our answer ─┐
//!                │           ├─ caching_sha2 wants all ─► password, or its key is asked for
//!                │           ├─ the key ─► password under it ──────────┤
//!                │           └─ parsec's salt ─► signature ────────────┤
//!                └─────────────────────────────────────────────────────┘
//! ```
//!
//! The password itself travels over TLS and Unix sockets only; elsewhere under the server's key,
//! where its plugin has one. A server that nobody vouches for (no `ca` in `[tls.server]`) may be
//! anybody, and gets it as well: that is what the mode says.

use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::ed25519;
use super::error::{ServerError, ServiceError};
use super::parsec::{self, PARSEC};
use super::proof;
use crate::proxy::accounts::credentials::Password;
use crate::proxy::cluster::server_login::{Dialed, Turn};
use crate::proxy::handshake::packet_reader::read_packet;
use crate::proxy::handshake::rsa;
use crate::session::exchange::Proof;
use crate::wire::authentication::{
    CACHING_SHA2, CACHING_SHA2_KEY, CLEAR, ED25519, FAST_OK, FULL, NATIVE, OLD, SHA256, SHA256_KEY,
    Told, is_empty,
};
use crate::wire::packet::packet;

/// No plugin says more than a key.
const LONGEST: usize = 16 * 1024;

/// A server that goes on and on is none.
const MOST_QUESTIONS: usize = 8;

/// What the server was answered.
#[derive(Debug)]
pub(super) struct Begun {
    /// By this plugin.
    pub plugin: Vec<u8>,
    /// To this challenge.
    pub challenge: Vec<u8>,
}

/// A server has let us in.
#[derive(Debug)]
pub(super) struct Proved {
    /// What it said last: the payload of an OK packet.
    pub verdict: Vec<u8>,
    /// What it was shown, after it had asked.
    pub proof: Proof,
}

/// An exchange under way.
#[derive(Debug)]
struct Exchange<'a> {
    password: &'a Password,
    is_secure: bool,
    has_tls: bool,
    begun: Begun,
    awaits: Awaits,
}

/// What was asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Nothing,
    /// Its RSA key.
    Key,
    /// Salt of `parsec`.
    Salt,
}

/// What the server is told next.
type Said = Zeroizing<Vec<u8>>;

/// What is answered to a challenge without being asked for more; None if only hashes are answered
/// at once, and this plugin wants something else.
pub(super) fn at_once(password: &Password, plugin: &[u8], challenge: &[u8]) -> Option<Vec<u8>> {
    if let Password::Once(once) = password {
        return once.to(plugin, challenge);
    }
    match plugin {
        NATIVE => proof::native(password, challenge),
        CACHING_SHA2 => proof::caching_sha2(password, challenge),
        _ => None,
    }
}

/// Answers the server, which has the word, until it says OK.
pub(super) async fn prove(
    dialed: &mut Dialed,
    password: &Password,
    begun: Begun,
) -> Result<Proved, ServiceError> {
    let is_secure = dialed.stream.is_secure();
    let has_tls = dialed.stream.tls().is_some();
    let mut exchange = Exchange { password, is_secure, has_tls, begun, awaits: Awaits::Nothing };
    let mut proof = Proof::None;
    for _ in 0..MOST_QUESTIONS {
        let payload = hear(dialed).await?;
        if payload.first() == Some(&0x00) {
            return Ok(Proved { verdict: payload, proof });
        }
        if let Some(said) = exchange.handle(&payload)? {
            if !is_empty(&said) {
                proof = Proof::Given;
            }
            tell(dialed, &said).await?;
        }
    }
    Err(ServiceError::Malformed("a log-in without end"))
}

async fn hear(dialed: &mut Dialed) -> Result<Vec<u8>, ServiceError> {
    let Dialed { stream, ahead, sequence, turn } = dialed;
    let whole = read_packet(stream, ahead, LONGEST).await?;
    let whole = whole.ok_or(ServiceError::TooLong { limit: LONGEST })?;
    *sequence = whole.header.sequence.wrapping_add(1);
    *turn = Turn::after(&whole.payload);
    Ok(whole.payload)
}

async fn tell(dialed: &mut Dialed, said: &[u8]) -> Result<(), ServiceError> {
    let bytes = Zeroizing::new(packet(dialed.sequence, said));
    dialed.turn = Turn::Told;
    dialed.stream.write_all(&bytes).await?;
    Ok(dialed.stream.flush().await?)
}

impl Exchange<'_> {
    /// What is said to a packet that is not OK; None: it says more.
    fn handle(&mut self, payload: &[u8]) -> Result<Option<Said>, ServiceError> {
        // Factors were not negotiated, so that nothing but a plugin's data begins with 2.
        let told = Told::parse(payload, false);
        let is_caching = self.begun.plugin == CACHING_SHA2;
        match told {
            Told::Verdict => Err(match ServerError::parse(payload) {
                Some(error) => ServiceError::Refused(error),
                None => ServiceError::Malformed("an ERR without a number"),
            }),
            Told::Plugin { name, challenge } => {
                let name = if name.is_empty() { OLD } else { name };
                self.begun = Begun { plugin: name.into(), challenge: challenge.into() };
                self.awaits = Awaits::Nothing;
                self.answer().map(Some)
            }
            Told::More(pem) if self.awaits == Awaits::Key => self.seal(pem).map(Some),
            Told::More(salt) if self.awaits == Awaits::Salt => self.sign(salt).map(Some),
            Told::Other if self.awaits == Awaits::Salt => self.sign(payload).map(Some),
            Told::More(FAST_OK) if is_caching => Ok(None),
            Told::More(FULL) if is_caching => {
                self.in_full(self.is_secure, CACHING_SHA2_KEY).map(Some)
            }
            Told::More(_) | Told::Other => {
                Err(ServiceError::Malformed("a question in the log-in that is not known"))
            }
        }
    }

    /// The answer to a plugin's challenge.
    fn answer(&mut self) -> Result<Said, ServiceError> {
        let Begun { plugin, challenge } = &self.begun;
        match &**plugin {
            NATIVE | CACHING_SHA2 => {
                let answer = at_once(self.password, plugin, challenge);
                answer.map(Zeroizing::new).ok_or_else(|| self.wants_password())
            }
            SHA256 if self.clear()?.is_empty() => Ok(Zeroizing::new(vec![0])),
            // The older plugin takes a Unix socket for no better than a network.
            SHA256 => self.in_full(self.has_tls, SHA256_KEY),
            CLEAR if self.is_secure => self.with_nul(),
            CLEAR => Err(ServiceError::InClear(self.plugin())),
            ED25519 => {
                let answer = ed25519::answer(self.clear()?, challenge);
                answer.map(Zeroizing::new).ok_or(ServiceError::Malformed("no challenge of ed25519"))
            }
            PARSEC => {
                self.clear()?;
                self.awaits = Awaits::Salt;
                Ok(Zeroizing::default())
            }
            _ => Err(ServiceError::Plugin(self.plugin())),
        }
    }

    /// The signature that `parsec` wants.
    fn sign(&mut self, salt: &[u8]) -> Result<Said, ServiceError> {
        self.awaits = Awaits::Nothing;
        let mut own = [0; 32];
        getrandom::fill(&mut own).map_err(|error| ServiceError::Lost(error.into()))?;
        let answer = parsec::answer(self.clear()?, &self.begun.challenge, salt, own);
        answer.map(Zeroizing::new).ok_or(ServiceError::Malformed("no salt of parsec"))
    }

    /// The password itself, or, where others may listen, what asks for the server's key.
    fn in_full(&mut self, in_clear: bool, request: &[u8]) -> Result<Said, ServiceError> {
        let password = self.with_nul()?;
        self.awaits = if in_clear { Awaits::Nothing } else { Awaits::Key };
        Ok(if in_clear { password } else { Zeroizing::new(request.to_vec()) })
    }

    /// The password under the server's key.
    fn seal(&mut self, pem: &[u8]) -> Result<Said, ServiceError> {
        self.awaits = Awaits::Nothing;
        let key = rsa::parse(pem).ok_or(ServiceError::NoKey)?;
        let sealed = rsa::encrypt(&key, &self.with_nul()?, &self.begun.challenge);
        sealed.map(Zeroizing::new).map_err(|_| ServiceError::LongPassword)
    }

    fn with_nul(&self) -> Result<Said, ServiceError> {
        Ok(Zeroizing::new([self.clear()?, &[0]].concat()))
    }

    fn clear(&self) -> Result<&[u8], ServiceError> {
        match self.password {
            Password::Clear(password) => Ok(password),
            Password::Native(_) | Password::Sha2(_) | Password::Once(_) => {
                Err(self.wants_password())
            }
        }
    }

    fn wants_password(&self) -> ServiceError {
        ServiceError::WantsPassword(self.plugin())
    }

    fn plugin(&self) -> String {
        String::from_utf8_lossy(&self.begun.plugin).into_owned()
    }
}
