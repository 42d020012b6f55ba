//! A server connection that is logging in; and how one ends whose log-in will not be finished, so
//! that it is not held against us.
//!
//! A server counts handshakes that break off, by address: and behind a proxy all clients have one.
//! At `max_connect_errors` of them (100 by default) it takes nobody from there any more (1129),
//! until somebody flushes its hosts. A log-in that it refuses itself it does not count. So it gets
//! what it waits for, with nothing in it, until it has refused us; in the background, and not for
//! long. Price: it is told of a wrong password where there was none, once for a client that left
//! while it was asked for it, which counts where an account is locked after so many of them.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio_util::task::TaskTracker;

use crate::net::stream::Stream;
use crate::proxy::handshake::packet_reader::{Whole, read_packet};
use crate::task;
use crate::wire::authentication::{ED25519, FAST_OK, Told};
use crate::wire::capability as cap;
use crate::wire::command::code;
use crate::wire::handshake::{LoginResponse, UNKNOWN_PLUGIN};
use crate::wire::packet::packet;

/// How long a server may take to refuse us.
const PATIENCE: Duration = Duration::from_secs(1);

/// No plugin asks more often.
const MOST_QUESTIONS: usize = 8;

/// A longer packet of a server is no question.
const LONGEST: usize = 128 * 1024;

/// Who logs in where nobody does: the name that stands in the server's log.
pub(crate) const NOBODY: &[u8] = b"odp_no_login";

/// How long one of [`ED25519`] is.
const ED25519_ANSWER: usize = 64;

/// Whose turn it is.
///
/// ```text
///   Greeting ─► Greeted ─► Told ◄──► Challenged, Asked
///                           └─► Welcome
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The server's: it is to greet.
    Greeting,
    /// Ours: the login response is awaited.
    Greeted,
    /// The server's: it has what it wanted.
    Told,
    /// Ours: a plugin begins, and wants an answer to its challenge; a wrong one has this length.
    Challenged(usize),
    /// Ours: the plugin wants more.
    Asked,
    /// Ours: it has said OK.
    Welcome,
}

impl Turn {
    /// After a packet of the server's, behind its greeting.
    pub fn after(payload: &[u8]) -> Self {
        match Told::parse(payload, false) {
            Told::Verdict if payload[0] == 0 => Self::Welcome,
            // caching_sha2_password: it was right, and OK follows. Or it was wrong, and FIN does.
            Told::More(FAST_OK) | Told::Verdict => Self::Told,
            // It takes an answer of another length for a broken handshake. To the others an empty
            // one is an empty password, and some take all but that, or the right length, for one.
            Told::Plugin { name: ED25519, .. } => Self::Challenged(ED25519_ANSWER),
            Told::Plugin { .. } => Self::Challenged(0),
            Told::More(_) | Told::Other => Self::Asked,
        }
    }
}

/// A server connection that is logging in. Who drops it ends it politely.
#[derive(Debug)]
pub struct LoggingIn {
    dialed: Option<Dialed>,
    partings: Partings,
}

/// The connections that are being ended.
#[derive(Clone, Debug, Default)]
pub struct Partings(TaskTracker);

impl Partings {
    /// Waits until none is left: a process that ends would break them off.
    pub async fn over(&self) {
        self.0.close();
        // Each has its own limit; another one that comes now is not waited for any longer.
        let _ = tokio::time::timeout(PATIENCE, self.0.wait()).await;
    }
}

/// The state of one.
#[derive(Debug)]
pub struct Dialed {
    /// The connection.
    pub stream: Stream,
    /// What was read of it and is not dealt with.
    pub ahead: Vec<u8>,
    /// The number of the next packet to it.
    pub sequence: u8,
    /// Whose turn it is.
    pub turn: Turn,
}

impl LoggingIn {
    /// A connection that was just made.
    pub fn dialed(stream: Stream, partings: &Partings) -> Self {
        let turn = Turn::Greeting;
        Self::resumed(Dialed { stream, ahead: Vec::new(), sequence: 1, turn }, partings)
    }

    /// One that was gone on with without politeness.
    pub fn resumed(dialed: Dialed, partings: &Partings) -> Self {
        Self { dialed: Some(dialed), partings: partings.clone() }
    }

    /// Goes on without politeness.
    pub fn into_dialed(mut self) -> Dialed {
        self.dialed.take().expect("only this and drop take it")
    }
}

impl Deref for LoggingIn {
    type Target = Dialed;

    fn deref(&self) -> &Dialed {
        self.dialed.as_ref().expect("only into_dialed and drop take it")
    }
}

impl DerefMut for LoggingIn {
    fn deref_mut(&mut self) -> &mut Dialed {
        self.dialed.as_mut().expect("only into_dialed and drop take it")
    }
}

impl Drop for LoggingIn {
    fn drop(&mut self) {
        let Some(dialed) = self.dialed.take() else { return };
        // Without a runtime the process ends, and all its connections with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let leave = Box::pin(tokio::time::timeout(PATIENCE, dialed.take_leave()));
            self.partings.0.spawn_on(task::caught("parting", leave), &runtime);
        }
    }
}

impl Dialed {
    async fn take_leave(mut self) {
        for _ in 0..MOST_QUESTIONS {
            match self.let_it_refuse().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return tracing::debug!(%error, "a log-in that is not finished"),
            }
        }
    }

    /// Says what is to be said, and hears what it says to that; false at the end.
    async fn let_it_refuse(&mut self) -> io::Result<bool> {
        match self.turn {
            Turn::Greeted => self.tell(&nobody().encode()).await?,
            Turn::Challenged(length) => self.tell(&vec![0; length]).await?,
            // In the middle of an exchange it is the empty packet that breaks it off.
            Turn::Asked => self.tell(&[0]).await?,
            Turn::Welcome => {
                self.sequence = 0;
                self.tell(&[code::QUIT]).await?;
                return Ok(false);
            }
            Turn::Greeting | Turn::Told => {}
        }
        let read = read_packet(&mut self.stream, &mut self.ahead, LONGEST).await?;
        let Some(Whole { header, payload }) = read else { return Ok(false) };
        self.sequence = header.sequence.wrapping_add(1);
        self.turn = match self.turn {
            Turn::Greeting => Turn::Greeted,
            _ => Turn::after(&payload),
        };
        Ok(payload.first() != Some(&0xFF))
    }

    async fn tell(&mut self, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&packet(self.sequence, payload)).await?;
        self.stream.flush().await
    }
}

/// A login response that any server understands and refuses.
pub(crate) fn nobody() -> LoginResponse {
    LoginResponse {
        capabilities: cap::LONG_PASSWORD
            | cap::PROTOCOL_41
            | cap::SECURE_CONNECTION
            | cap::PLUGIN_AUTH,
        extended: 0,
        max_packet: 1 << 24,
        collation: 45,
        user: NOBODY.to_vec(),
        auth: Vec::new(),
        database: None,
        plugin: Some(UNKNOWN_PLUGIN.to_vec()),
        rest: Vec::new(),
    }
}
