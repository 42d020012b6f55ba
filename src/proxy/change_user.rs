//! COM_CHANGE_USER where a leg is not secure: its exchange is followed as a log-in's is, and
//! everything before and behind it is relayed.

use super::courtesy::Turn;
use super::exchange::{Exchange, Side};
use super::handle::Handle;
use super::login::Refusal;
use super::relay::{Ends, Relay};
use super::rsa::OwnKey;
use super::{Proxy, told_to_go};
use crate::error::ClientError;

impl Proxy {
    /// Follows the exchange of a COM_CHANGE_USER; false when the session ended in it.
    pub(super) async fn change_user(&self, relay: &mut Relay, handle: &Handle) -> bool {
        let limit = self.config.load().proxy.login_timeout.0;
        let changed = tokio::select! {
            biased;
            words = told_to_go(handle) => Err(words),
            changed = follow(relay, &self.own_key) => changed,
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
            Err(Refusal::Pass(_) | Refusal::Gone(_)) => false,
        }
    }
}

/// Follows the exchange that is due, to the verdict. On an error the client's last words, if there
/// are any, can be said.
async fn follow(relay: &mut Relay, own_key: &OwnKey) -> Result<(), Refusal> {
    let Ends { client, server, mut said, mut told, mut next } = relay.exchange_ends();
    let mut for_server = next;
    let client = Side {
        stream: client,
        ahead: &mut said,
        sequence: &mut next,
        turn: &mut Turn::Asked,
    };
    let server = Side {
        stream: server,
        ahead: &mut told,
        sequence: &mut for_server,
        turn: &mut Turn::Told,
    };
    let verdict = Exchange::new(client, server, own_key).run().await;
    relay.handle_exchange(next);
    let mut verdict = verdict?;
    verdict.append(&mut told);
    relay.go_on(&said, &verdict).ok_or_else(|| Refusal::Tell(ClientError::bad_handshake()))
}
