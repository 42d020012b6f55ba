//! Two challenges in one log-in: the greeting carries the home's, and, once that has taken the
//! answer, an AuthSwitchRequest carries a reader's, so that the client's two answers open both.
//!
//! ```text
//!   client                    proxy                      home        reader
//!     │ ◄── greeting: home's challenge                     │            │
//!     │ ── answer ──────────────► ── answer ─────────────► │            │
//!     │                           ◄── [FAST_OK] OK: held ──│            │
//!     │                           ◄── challenge ────────────────────────│
//!     │ ◄── AuthSwitchRequest: reader's challenge          │            │
//!     │ ── answer ──────────────► ── answer ──────────────────────────► │
//!     │ ◄── [FAST_OK] OK          ◄── OK ───────────────────────────────│
//! ```
//!
//! To the client it looks like any log-in in which a server asks for another answer; no client
//! takes two such questions, so there is one reader, and none where the home asks itself. Nothing
//! of it is kept: the link is as good as its connection. Whatever goes wrong with the reader, the
//! session has one link, and its client is let in.

use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout_at;
use zeroize::Zeroizing;

use super::{Login, Refusal, gone};
use crate::config::Config;
use crate::error::ClientError;
use crate::proxy::accounts::credentials::{Credentials, Once, Password};
use crate::proxy::accounts::impersonation::Behalf;
use crate::proxy::cluster::{Cluster, Server, Try};
use crate::proxy::handshake::compression;
use crate::proxy::moves::carrier::{Carrier, Stranded, survey_unseen};
use crate::proxy::relay::Relay;
use crate::proxy::service::login::{LoggedIn, Wanted, log_in};
use crate::proxy::sessions::handle::Handle;
use crate::session::link::LinkId;
use crate::session::portable::LoggedInAs;
use crate::wire::authentication::{FAST_OK, more_data};
use crate::wire::capability as cap;
use crate::wire::flavour::Flavour;
use crate::wire::handshake::{LoginResponse, auth_switch_request};
use crate::wire::packet::packet;

/// How long a plugin's challenge is, without the NUL behind it.
const CHALLENGE: usize = 20;

/// A reader that is to be opened with its home.
#[derive(Debug)]
pub(super) struct Second<'a> {
    cluster: &'a Cluster,
    reader: Arc<Server>,
    response: &'a LoginResponse,
    login: LoggedInAs,
}

impl<'a> Second<'a> {
    /// For a client that has answered the challenge of its home; None: one link will do, or there
    /// is no more to be had.
    pub(super) fn wanted(
        cluster: &'a Cluster,
        config: &Config,
        handle: &Handle,
        response: &'a LoginResponse,
        login: LoggedInAs,
    ) -> Option<Self> {
        let plugin = response.plugin.as_deref()?;
        let user = String::from_utf8_lossy(&response.user);
        let can = response.capabilities & cap::PLUGIN_AUTH != 0 && !response.auth.is_empty();
        if !can || !cluster.wants_second_answer(&user, plugin, response.capabilities) {
            return None;
        }
        let reader = cluster.reader(config, handle.id.0.into())?;
        Some(Self { cluster, reader, response, login })
    }

    /// Whether it is another server than the home.
    pub(super) fn is_beside(&self, home: &Server) -> bool {
        self.reader.address != home.address
    }
}

impl Login<'_> {
    /// Asks the client for its answer to the reader's challenge, and opens the reader with it. An
    /// error is the client's.
    pub(super) async fn open_second(
        &mut self,
        second: Second<'_>,
        until: Instant,
    ) -> Result<Option<LoggedIn>, Refusal> {
        let Second { cluster, reader, response, login } = second;
        let config = self.around.shared.in_force.config();
        let tls = self.around.shared.in_force.tls().server();
        // Time is left for the client, and for what the reader says to its answer.
        let left = until.saturating_duration_since(Instant::now());
        let limit = config.proxy.connect_timeout.0.min(left / 4);
        let (id, server) = (self.handle.id.0, &*reader.address);
        let greeted = match cluster.connect_to(&reader, &config, tls.as_deref(), limit).await {
            Ok(greeted) if greeted.takes_answers() => greeted,
            Ok(_) => return Ok(None),
            Err(error) => {
                tracing::debug!(id, %error, "no second link");
                return Ok(None);
            }
        };
        let challenge = greeted.greeting.salt.clone();
        let plugin = response.plugin.clone().unwrap_or_default();
        if challenge.len() != CHALLENGE {
            return Ok(None);
        }
        self.say(&auth_switch_request(&plugin, &challenge)).await?;
        let answer = timeout_at(until.into(), self.read()).await;
        let answer = answer.map_err(|_| Refusal::Tell(ClientError::timed_out("log-in")))??;
        let once = Once { plugin, challenge, answer: Zeroizing::new(answer) };
        let credentials =
            Credentials { user: response.user.clone(), password: Password::Once(once) };
        let compression = compression::wanted(&config.proxy);
        let init = cluster.init_sql().as_bytes();
        let wanted = Wanted::like(login, Behalf::Client, compression, init);
        match log_in(greeted, &credentials, &wanted, tls.as_deref(), limit).await {
            Ok(link) => Ok(Some(link)),
            Err(error) => {
                tracing::debug!(id, server, %error, "no second link");
                cluster.note_vain(&response.user, Try::Answer(response.capabilities));
                Ok(None)
            }
        }
    }

    /// The session has this link, too. What its servers are like only its own connections can tell,
    /// as long as nothing was said over them: they are asked, if nobody was of late.
    pub(super) async fn join(
        &self,
        relay: &mut Relay,
        cluster: &Cluster,
        link: LoggedIn,
    ) -> Result<(), Refusal> {
        let Ok((link, state)) = link.into_link(&self.around.shared.in_force.config()) else {
            return Ok(());
        };
        let reader = relay.put_link(None, link, state, self.handle);
        if self.survey(relay, reader, cluster).await.is_none() {
            relay.break_link(reader);
        }
        relay.publish_connections(self.handle);
        let surveyed = self.survey(relay, LinkId::HOME, cluster).await;
        surveyed.ok_or_else(|| Refusal::Tell(ClientError::server_lost()))
    }

    /// None: the link is good for nothing any more.
    async fn survey(&self, relay: &mut Relay, link: LinkId, cluster: &Cluster) -> Option<()> {
        let (inventories, server) =
            (self.around.shared.orders.inventories(), relay.links()[link.place()].server.clone());
        let Some(version) = cluster.version_of(&server) else { return Some(()) };
        if !inventories.wants_to_hear(&server) {
            return Some(());
        }
        let limit = self.around.shared.in_force.config().proxy.connect_timeout.0;
        let mut carrier = Carrier::of(relay, link, None);
        let surveyed = survey_unseen(&mut carrier, Flavour::of(&version));
        match tokio::time::timeout(limit, surveyed).await.ok()? {
            Ok(inventory) => inventories.hear(server, inventory),
            Err(Stranded::State(error)) => tracing::debug!(id = self.handle.id.0, %error, "survey"),
            Err(Stranded::Service(_)) => return None,
        }
        Some(())
    }

    /// Tells the client that caching_sha2_password has taken its answer, which is told behind all
    /// that is asked of it.
    pub(super) async fn say_fast_ok(&mut self) -> Result<(), Refusal> {
        self.say(&more_data(FAST_OK)).await
    }

    async fn say(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        let (Some(client), Some(sequence)) = (&mut self.client, &mut self.sequence) else {
            return Err(gone());
        };
        let bytes = packet(*sequence, payload);
        *sequence = sequence.wrapping_add(1);
        client.write_all(&bytes).await?;
        Ok(client.flush().await?)
    }
}
