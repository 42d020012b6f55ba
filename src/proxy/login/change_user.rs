//! COM_CHANGE_USER where a leg is not secure: its exchange is followed as a log-in's is, and
//! everything before and behind it is relayed.

use std::time::Instant;

use super::exchange::{Exchange, Settled, Side};
use super::{Refusal, Surroundings, told_to_go};
use crate::config::networks::Networks;
use crate::error::ClientError;
use crate::proxy::accounts::impersonation;
use crate::proxy::cluster::server_login::Turn;
use crate::proxy::handshake::rsa::OwnKey;
use crate::proxy::relay::{Ends, Relay};
use crate::proxy::sessions::handle::Handle;
use crate::wire::packet::HEADER;

impl Surroundings<'_> {
    /// Follows the exchange of a COM_CHANGE_USER; false when the session ended in it.
    pub async fn change_user(&self, relay: &mut Relay, handle: &Handle) -> bool {
        if let Some(error) = relay.take_refused() {
            let client = &*handle.facts().client.clone();
            tracing::info!(id = handle.id.0, client, %error, "COM_CHANGE_USER refused");
            relay.close_with(error);
            return true;
        }
        let limit = self.shared.in_force.load().proxy.login_timeout.0;
        let until = Instant::now() + limit;
        let trusted = self.shared.in_force.load().proxy.proxy_protocol_networks.clone();
        let changed = tokio::select! {
            biased;
            words = told_to_go(handle) => Err(words),
            changed = follow(relay, self.own_key, until, &trusted) => changed,
            () = tokio::time::sleep(limit) => {
                Err(Refusal::Tell(ClientError::timed_out("COM_CHANGE_USER")))
            }
        };
        match changed {
            Ok(()) => true,
            Err(Refusal::Tell(words)) => {
                relay.close_with(words);
                true
            }
            Err(Refusal::Silent(waited)) => {
                let (id, server) = (handle.id.0, &*relay.home().server);
                tracing::warn!(id, server, ?waited, "the server did not answer COM_CHANGE_USER");
                relay.close_with(ClientError::timed_out("COM_CHANGE_USER"));
                true
            }
            Err(Refusal::Pass(_) | Refusal::Gone(_)) => false,
        }
    }
}

/// Follows the exchange that is due, to the verdict. On an error the client's last words, if there
/// are any, can be said.
async fn follow(
    relay: &mut Relay,
    own_key: &OwnKey,
    until: Instant,
    trusted: &Networks,
) -> Result<(), Refusal> {
    let Ends { client, server, mut said, mut told, mut next } = relay.exchange_ends();
    let mut for_server = next;
    let client =
        Side { stream: client, ahead: &mut said, sequence: &mut next, turn: &mut Turn::Asked };
    let server =
        Side { stream: server, ahead: &mut told, sequence: &mut for_server, turn: &mut Turn::Told };
    let verdict = Exchange::new(client, server, own_key).run(until).await;
    relay.handle_exchange(next);
    let Settled { mut verdict, proof, .. } = verdict?;
    if verdict.get(HEADER) == Some(&0) {
        let (client, server, user) = relay.changing();
        let checked = impersonation::check(client, server.stream(), trusted, user, proof).await;
        checked.map_err(Refusal::Tell)?;
    }
    verdict.append(&mut told);
    relay.go_on(&said, &verdict).ok_or_else(|| Refusal::Tell(ClientError::bad_handshake()))
}
