//! Drives an authentication exchange between two connections: whole packets, numbered anew for each
//! leg, as with TLS on one leg only its numbers are one ahead.
//!
//! What is said is [`session::exchange`]'s. An exchange can't be frozen, and its time is bounded.
//! Whose turn it was at the end tells whose fault it is.
//!
//! [`session::exchange`]: crate::session::exchange

use std::io;
use std::time::Instant;

use aws_lc_rs::rsa::OaepPublicEncryptingKey;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::Refusal;
use crate::error::ClientError;
use crate::proxy::cluster::server_login::Turn;
use crate::proxy::handshake::packet_reader::read_packet;
use crate::proxy::handshake::rsa::{self, KeyPair, OwnKey};
use crate::proxy::relay::leg::{Line, secure};
use crate::session::exchange::{self as pure, Act, Broken, Learned, Proof, Rsa, Secret};
use crate::wire::packet::packet;

/// The longest packet of any plugin: Kerberos tickets may have 64 KiB.
const LONGEST: usize = 128 * 1024;

/// One end of the exchange.
#[derive(Debug)]
pub(super) struct Side<'a, L> {
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
pub(super) struct Exchange<'a, L> {
    client: Side<'a, L>,
    server: Side<'a, L>,
    rsa: Keys<'a>,
    exchange: pure::Exchange<OaepPublicEncryptingKey>,
    /// When the server was last told something.
    told_at: Instant,
}

/// How an exchange has ended.
#[derive(Debug)]
pub(super) struct Settled {
    /// The server's verdict, an OK or ERR packet, numbered for the client, which has not got it.
    pub verdict: Vec<u8>,
    /// What the client has shown.
    pub proof: Proof,
    /// What could be learned of it.
    pub learned: Learned,
    /// The client is still to be told that its answer was right.
    pub holds_fast_ok: bool,
}

/// Our key, once it is made, and the RSA of both.
#[derive(Clone, Copy, Debug)]
struct Keys<'a> {
    own: &'a OwnKey,
    made: Option<&'a KeyPair>,
}

impl Rsa for Keys<'_> {
    type Key = OaepPublicEncryptingKey;

    fn parse(&self, pem: &[u8]) -> Option<Self::Key> {
        rsa::parse(pem)
    }

    fn encrypt(&self, key: &Self::Key, password: &[u8], challenge: &[u8]) -> Option<Secret> {
        rsa::encrypt(key, password, challenge).map(Zeroizing::new).ok()
    }

    fn own_pem(&self) -> Option<&str> {
        self.made.map(KeyPair::pem)
    }

    fn decrypt(&self, sent: &[u8], challenge: &[u8]) -> Option<Secret> {
        self.made?.decrypt(sent, challenge).ok()
    }
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
    pub(super) fn new(client: Side<'a, L>, server: Side<'a, L>, own: &'a OwnKey) -> Self {
        let exchange = pure::Exchange::new(secure(client.stream, server.stream));
        let rsa = Keys { own, made: None };
        Self { client, server, rsa, exchange, told_at: Instant::now() }
    }

    /// The same behind a login response that the server got with the client's answer to this
    /// challenge.
    pub(super) fn begun(self, plugin: &[u8], challenge: &[u8]) -> Self {
        Self { exchange: self.exchange.begun(plugin, challenge), ..self }
    }

    /// The same, of whose client something may still be asked behind the verdict.
    pub(super) fn holding_fast_ok(self) -> Self {
        Self { exchange: self.exchange.holding_fast_ok(), ..self }
    }

    /// To the server's verdict; at most until then.
    pub(super) async fn run(mut self, until: Instant) -> Result<Settled, Refusal> {
        let verdict = tokio::time::timeout_at(until.into(), self.go_on()).await;
        let verdict = verdict.unwrap_or_else(|_| Err(self.overdue()))?;
        let (proof, holds_fast_ok) = (self.exchange.proof(), self.exchange.holds_fast_ok());
        Ok(Settled { verdict, proof, learned: self.exchange.into_learned(), holds_fast_ok })
    }

    fn overdue(&self) -> Refusal {
        match self.exchange.awaits_server() {
            true => Refusal::Silent(self.told_at.elapsed()),
            false => Refusal::Tell(ClientError::timed_out("log-in")),
        }
    }

    async fn go_on(&mut self) -> Result<Vec<u8>, Refusal> {
        loop {
            let Self { client, server, exchange, rsa, .. } = self;
            let mut act = tokio::select! {
                biased;
                told = server.hear() => {
                    let payload = told.map_err(server_left)?;
                    match exchange.handle_server(&payload, rsa)? {
                        Act::Settle => return Ok(packet(*client.sequence, &payload)),
                        act => act,
                    }
                }
                said = client.hear(), if exchange.awaits_client() => {
                    exchange.handle_client(Zeroizing::new(said?), rsa)?
                }
            };
            if act == Act::MakeOwnKey {
                rsa.made = Some(rsa.own.get().await.map_err(|_| {
                    Refusal::Tell(ClientError::refused("no RSA key could be made for the password"))
                })?);
                act = exchange.handle_own_key(rsa)?;
            }
            match act {
                Act::TellClient(payload) => client.tell(&payload).await?,
                Act::TellServer(payload) => self.tell_server(&payload).await,
                Act::MakeOwnKey | Act::Settle | Act::Wait => {}
            }
        }
    }

    /// Whether the server still takes it is not asked: what it says next, or its end, tells.
    async fn tell_server(&mut self, payload: &[u8]) {
        self.told_at = Instant::now();
        if let Err(error) = self.server.tell(payload).await {
            tracing::debug!(%error, "server takes no more in the log-in");
        }
    }
}

impl From<Broken> for Refusal {
    fn from(broken: Broken) -> Self {
        Self::Tell(match broken {
            Broken::ClearPassword { plugin, is_client_secure } => {
                let leg = match is_client_secure {
                    true => "from the proxy to the server",
                    false => "to the proxy",
                };
                ClientError::clear_password(&String::from_utf8_lossy(&plugin), leg)
            }
            Broken::NoKey => ClientError::no_rsa_key(),
            Broken::ForeignKey => ClientError::foreign_rsa_key(),
            Broken::TooLong => ClientError::password_too_long(),
        })
    }
}

fn server_left(error: io::Error) -> Refusal {
    tracing::debug!(%error, "server left in the log-in");
    Refusal::Tell(ClientError::server_lost())
}
