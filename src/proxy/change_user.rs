//! COM_CHANGE_USER where a leg is not secure: its exchange is followed as a log-in's is, and
//! everything before and behind it is relayed.

use std::time::Instant;

use super::courtesy::Turn;
use super::exchange::{Exchange, Settled, Side};
use super::frontend::Relay;
use super::handle::Handle;
use super::impersonation;
use super::lane::Lane;
use super::login::Refusal;
use super::rsa::OwnKey;
use super::{Proxy, told_to_go};
use crate::config::networks::Networks;
use crate::error::ClientError;
use crate::wire::packet::HEADER;

impl Proxy {
    /// Follows the exchange of a COM_CHANGE_USER; false when the session ended in it.
    pub(super) async fn change_user(&self, relay: &mut Relay, handle: &Handle) -> bool {
        let limit = self.config.load().proxy.login_timeout.0;
        let until = Instant::now() + limit;
        let trusted = self.config.load().proxy.proxy_protocol_networks.clone();
        let changed = tokio::select! {
            biased;
            words = told_to_go(handle) => Err(words),
            changed = relay.exchange(&self.own_key, until, &trusted) => changed,
            () = tokio::time::sleep(limit) => {
                Err(Refusal::Tell(ClientError::timed_out("COM_CHANGE_USER")))
            }
        };
        match changed {
            Ok(()) => true,
            Err(Refusal::Tell(words)) => {
                relay.bid_farewell(words);
                true
            }
            Err(Refusal::Silent(waited)) => {
                let (id, server) = (handle.id, &*relay.server_name);
                tracing::warn!(id, server, ?waited, "the server did not answer COM_CHANGE_USER");
                relay.bid_farewell(ClientError::timed_out("COM_CHANGE_USER"));
                true
            }
            Err(Refusal::Pass(_) | Refusal::Gone(_)) => false,
        }
    }
}

impl Relay {
    /// Whether the next packets belong to an [`Exchange`]: they are in the lanes, not judged.
    pub(super) fn is_exchange_due(&self) -> bool {
        let is_sent = self.up.pending().is_empty() && self.down.pending().is_empty();
        is_sent && self.session.conversation().is_exchange_due() && self.farewell.is_none()
    }

    /// Follows the exchange that is due, to the verdict. On an error the client's last words, if
    /// there are any, can be said.
    async fn exchange(
        &mut self,
        own_key: &OwnKey,
        until: Instant,
        trusted: &Networks,
    ) -> Result<(), Refusal> {
        let (mut said, mut told) = (self.up.unjudged().to_vec(), self.down.unjudged().to_vec());
        self.up.clear();
        self.down.clear();
        let conversation = self.session.conversation();
        let mut next = conversation.injection_sequence().unwrap_or_default();
        let mut for_server = next;
        let client = Side {
            stream: &mut self.client,
            ahead: &mut said,
            sequence: &mut next,
            turn: &mut Turn::Asked,
        };
        let server = Side {
            stream: &mut self.server,
            ahead: &mut told,
            sequence: &mut for_server,
            turn: &mut Turn::Told,
        };
        let verdict = Exchange::new(client, server, own_key).run(until).await;
        self.session.handle_exchange(next);
        if let Some(numbering) = &mut self.numbering {
            numbering.hear(&self.client);
        }
        let Settled { mut verdict, proof } = verdict?;
        if verdict.get(HEADER) == Some(&0) {
            let user = self.session.changing_user();
            let (client, server) = (self.client.stream(), &self.server);
            let checked = impersonation::check(client, server, trusted, user, proof).await;
            checked.map_err(Refusal::Tell)?;
        }
        verdict.append(&mut told);
        let full = || Refusal::Tell(ClientError::bad_handshake());
        self.up = Lane::with(&said, 0, self.up.source()).ok_or_else(full)?;
        self.down = Lane::with(&verdict, 0, self.down.source()).ok_or_else(full)?;
        Ok(())
    }
}
