//! An authentication exchange: from a login response, or a COM_CHANGE_USER, to the server's
//! verdict.
//!
//! Packets go to and fro as they are, numbered anew for each leg: with TLS on one leg only its
//! numbers are one ahead. What a plugin says differs where only one leg is secure, because the
//! password itself travels in clear on a secure leg and under RSA on another. There we are the
//! other end of the RSA, of all but the first answer, see [`may_begin`]:
//!
//! ```text
//!   secure client, plain server      server: the password! ─► we ask for its key ─► key
//!                                    client: password ─► encrypted with it ─► server
//!   plain client, secure server      client: the key? ─► ours
//!                                    client: encrypted with it ─► password ─► server
//! ```
//!
//! An exchange can't be frozen, and its time is bounded. Whose turn it was at the end tells whose
//! fault it is.

use std::io;
use std::time::Instant;

use aws_lc_rs::rsa::OaepPublicEncryptingKey;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::courtesy::Turn;
use super::impersonation::Proof;
use super::leg::Line;
use super::login::Refusal;
use super::rsa::{self, OwnKey};
use super::whole::read_packet;
use crate::error::ClientError;
use crate::session::conversation::Held;
use crate::wire::authentication::{
    CACHING_SHA2, CACHING_SHA2_KEY, CLEAR, DIALOG, FAST_OK, FULL, SHA256, SHA256_KEY, Told,
    hides_password, is_empty, more_data,
};
use crate::wire::packet::packet;

/// The longest packet of any plugin: Kerberos tickets may have 64 KiB.
const LONGEST: usize = 128 * 1024;

/// One end of the exchange.
#[derive(Debug)]
pub struct Side<'a, L> {
    /// Its connection.
    pub stream: &'a mut L,
    /// What was read of it and is not dealt with.
    pub ahead: &'a mut Vec<u8>,
    /// The number of the next packet to it.
    pub sequence: &'a mut u8,
    /// Whose turn it is, as it sees it; of no meaning for a client.
    pub turn: &'a mut Turn,
}

/// An exchange under way.
#[derive(Debug)]
pub struct Exchange<'a, L> {
    client: Side<'a, L>,
    server: Side<'a, L>,
    own_key: &'a OwnKey,
    plugin: Vec<u8>,
    challenge: Vec<u8>,
    awaited: Awaited,
    proof: Proof,
    /// When the server was last told something.
    told_at: Instant,
}

/// How an exchange has ended.
#[derive(Debug)]
pub struct Settled {
    /// The server's verdict, an OK or ERR packet, numbered for the client, which has not got it.
    pub verdict: Vec<u8>,
    /// What the client has shown.
    pub proof: Proof,
}

/// What the client is to send next.
#[derive(Debug, Default)]
enum Awaited {
    /// Nothing: the server has the word.
    #[default]
    Nothing,
    /// Whatever its plugin sends.
    Data,
    /// The password in clear; the server wants it under this key of its.
    Clear(OaepPublicEncryptingKey),
    /// A request for our key, or the password under it; the server wants it in clear.
    Encrypted,
}

impl<L: Line> Side<'_, L> {
    async fn hear(&mut self) -> io::Result<Vec<u8>> {
        let whole = read_packet(self.stream, self.ahead, LONGEST).await?;
        let whole = whole.ok_or_else(|| {
            let what = format!("a packet of more than {LONGEST} bytes in the log-in");
            io::Error::new(io::ErrorKind::InvalidData, what)
        })?;
        *self.sequence = whole.header.sequence.wrapping_add(1);
        *self.turn = Turn::after(&whole.payload);
        Ok(whole.payload)
    }

    async fn tell(&mut self, payload: &[u8]) -> io::Result<()> {
        let bytes = Zeroizing::new(packet(*self.sequence, payload));
        *self.sequence = self.sequence.wrapping_add(1);
        *self.turn = Turn::Told;
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }
}

impl<'a, L: Line> Exchange<'a, L> {
    /// An exchange in which the server has the word.
    pub fn new(client: Side<'a, L>, server: Side<'a, L>, own_key: &'a OwnKey) -> Self {
        let (plugin, challenge) = (Vec::new(), Vec::new());
        let awaited = Awaited::Nothing;
        let (proof, told_at) = (Proof::None, Instant::now());
        Self { client, server, own_key, plugin, challenge, awaited, proof, told_at }
    }

    /// The same behind a login response that the server got with the client's answer to this
    /// challenge.
    pub fn begun(self, plugin: &[u8], challenge: &[u8]) -> Self {
        Self { plugin: plugin.to_vec(), challenge: challenge.to_vec(), ..self }
    }

    /// To the server's verdict; at most until then.
    pub async fn run(mut self, until: Instant) -> Result<Settled, Refusal> {
        let verdict = tokio::time::timeout_at(until.into(), self.go_on()).await;
        let verdict = verdict.unwrap_or_else(|_| Err(self.overdue()))?;
        Ok(Settled { verdict, proof: self.proof })
    }

    /// The server may be waiting for a person where PAM asks questions.
    fn overdue(&self) -> Refusal {
        match self.awaited {
            Awaited::Nothing if self.plugin != DIALOG => Refusal::Silent(self.told_at.elapsed()),
            _ => Refusal::Tell(ClientError::timed_out("log-in")),
        }
    }

    async fn go_on(&mut self) -> Result<Vec<u8>, Refusal> {
        loop {
            let Self { client, server, awaited, .. } = self;
            tokio::select! {
                biased;
                told = server.hear() => {
                    let payload = told.map_err(server_left)?;
                    if self.parse(&payload) == Told::Verdict {
                        return Ok(packet(*self.client.sequence, &payload));
                    }
                    self.handle_server(&payload).await?;
                }
                said = client.hear(), if !matches!(awaited, Awaited::Nothing) => {
                    self.handle_client(Zeroizing::new(said?)).await?;
                }
            }
        }
    }

    async fn handle_server(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        let is_caching = self.plugin == CACHING_SHA2;
        self.awaited = match self.parse(payload) {
            Told::Plugin { name, challenge } => {
                self.permit(name)?;
                (self.plugin, self.challenge) = (name.to_vec(), challenge.to_vec());
                Awaited::Data
            }
            Told::More(FAST_OK) if is_caching => Awaited::Nothing,
            Told::More(FULL) if is_caching => match self.secure_legs() {
                (true, false) => Awaited::Clear(self.ask_for_key(CACHING_SHA2_KEY).await?),
                (false, true) => Awaited::Encrypted,
                (true, true) | (false, false) => Awaited::Data,
            },
            Told::More(_) | Told::Other | Told::Verdict => Awaited::Data,
        };
        Ok(self.client.tell(payload).await?)
    }

    async fn handle_client(&mut self, payload: Zeroizing<Vec<u8>>) -> Result<(), Refusal> {
        // It is the same on every leg.
        let is_password = !is_empty(&payload);
        if is_password {
            self.proof = Proof::Given;
        }
        let for_server = match (std::mem::take(&mut self.awaited), self.secure_legs()) {
            (Awaited::Data, (true, false)) if self.plugin == SHA256 && is_password => {
                let key = self.ask_for_key(SHA256_KEY).await?;
                self.encrypt(&key, &payload)?
            }
            (Awaited::Data, (false, true)) if self.plugin == SHA256 && is_password => {
                return self.handle_encrypted(&payload).await;
            }
            (Awaited::Clear(key), _) => self.encrypt(&key, &payload)?,
            (Awaited::Encrypted, _) => return self.handle_encrypted(&payload).await,
            (Awaited::Data | Awaited::Nothing, _) => payload,
        };
        self.tell_server(&for_server).await;
        Ok(())
    }

    /// Whether the server still takes it is not asked: what it says next, or its end, tells.
    async fn tell_server(&mut self, payload: &[u8]) {
        self.told_at = Instant::now();
        if let Err(error) = self.server.tell(payload).await {
            tracing::debug!(%error, "server takes no more in the log-in");
        }
    }

    /// A client without TLS asks for our key, or sends a password under it.
    async fn handle_encrypted(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        let own = self.own_key.get().await.map_err(|_| {
            Refusal::Tell(ClientError::refused("no RSA key could be made for the password"))
        })?;
        let request = if self.plugin == SHA256 { SHA256_KEY } else { CACHING_SHA2_KEY };
        if payload == request {
            self.awaited = Awaited::Encrypted;
            return Ok(self.client.tell(&more_data(own.pem().as_bytes())).await?);
        }
        let password = own.decrypt(payload, &self.challenge);
        let password = password.map_err(|_| Refusal::Tell(ClientError::foreign_rsa_key()))?;
        self.tell_server(&password).await;
        Ok(())
    }

    /// Asks the server for its key, before anything is heard of the client that it is to protect.
    async fn ask_for_key(&mut self, request: &[u8]) -> Result<OaepPublicEncryptingKey, Refusal> {
        self.tell_server(request).await;
        let payload = self.server.hear().await.map_err(server_left)?;
        let key = match self.parse(&payload) {
            Told::More(pem) => rsa::parse(pem),
            Told::Plugin { .. } | Told::Verdict | Told::Other => None,
        };
        key.ok_or_else(|| Refusal::Tell(ClientError::no_rsa_key()))
    }

    fn encrypt(
        &self,
        key: &OaepPublicEncryptingKey,
        password: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let sent = rsa::encrypt(key, password, &self.challenge);
        sent.map(Zeroizing::new).map_err(|_| Refusal::Tell(ClientError::password_too_long()))
    }

    /// Refuses plugins that would carry a password in clear over a leg that is not secure.
    fn permit(&self, plugin: &[u8]) -> Result<(), Refusal> {
        let (client, server) = self.secure_legs();
        if is_permitted(plugin, client, server) {
            return Ok(());
        }
        let leg = if client { "from the proxy to the server" } else { "to the proxy" };
        Err(Refusal::Tell(ClientError::clear_password(&String::from_utf8_lossy(plugin), leg)))
    }

    /// Only PAM's questions look like the beginning of another factor. Whether factors were
    /// negotiated need not be known: without them nothing but those begins so.
    fn parse<'b>(&self, payload: &'b [u8]) -> Told<'b> {
        Told::parse(payload, self.plugin != DIALOG)
    }

    fn secure_legs(&self) -> (bool, bool) {
        (self.client.stream.is_secure(), self.server.stream.is_secure())
    }
}

/// Whether a plugin carries no password in clear over a leg that is not secure. Without TLS on
/// either leg PAM's dialog does what it would do without us.
fn is_permitted(plugin: &[u8], client: bool, server: bool) -> bool {
    match plugin {
        CLEAR => client && server,
        DIALOG => server || !client,
        _ => true,
    }
}

/// Whether a client's first answer may go to the server with its login response; `client` and
/// `server`: whether the legs are secure. Any other the server has to ask for again, so that it is
/// turned into what may travel there.
pub fn may_begin(plugin: &[u8], answer: &[u8], client: bool, server: bool) -> bool {
    is_permitted(plugin, client, server)
        && (is_empty(answer)
            || match (client, server) {
                (true, true) | (false, false) => true,
                // A request for a key, which to a server with TLS would be a password.
                (false, true) => plugin != SHA256,
                (true, false) => hides_password(plugin, answer),
            })
}

/// Which exchanges of a COM_CHANGE_USER have to be followed. With one secure leg a password may
/// have to be turned from clear to RSA, or back; with none it may not be asked for in clear. A
/// server behind a Unix socket must have asked the client, and not only looked at us.
pub fn held(client: &impl Line, server: &impl Line) -> Held {
    match (client.is_secure(), server.is_secure()) {
        _ if server.stream().is_unix() => Held::Asked,
        (true, true) => Held::None,
        (false, false) => Held::InClear,
        (true, false) | (false, true) => Held::All,
    }
}

fn server_left(error: io::Error) -> Refusal {
    tracing::debug!(%error, "server left in the log-in");
    Refusal::Tell(ClientError::server_lost())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::authentication::NATIVE;

    #[test]
    fn first_answers_that_may_go_on() {
        let (native, sha2, password) = ([7; 20], [7; 32], b"swordfish\0");
        // (client, server): neither leg is secure, that one, that one, both.
        let legs = [(false, false), (true, false), (false, true), (true, true)];
        let cases: [(&[u8], &[u8], [bool; 4]); 12] = [
            (NATIVE, &native, [true; 4]),
            (CACHING_SHA2, &sha2, [true; 4]),
            (b"", &native, [true; 4]),
            (SHA256, password, [true, false, false, true]),
            (SHA256, b"\x01", [true, false, false, true]),
            (SHA256, b"\0", [true; 4]),
            (CACHING_SHA2, password, [true, false, true, true]),
            (CLEAR, password, [false, false, false, true]),
            (CLEAR, b"", [false, false, false, true]),
            (DIALOG, password, [true, false, true, true]),
            (DIALOG, b"", [true, false, true, true]),
            (b"whatever", password, [true, false, true, true]),
        ];
        for (plugin, answer, expected) in cases {
            let found = legs.map(|(client, server)| may_begin(plugin, answer, client, server));
            assert_eq!(found, expected, "{}: {answer:?}", String::from_utf8_lossy(plugin));
        }
    }
}
