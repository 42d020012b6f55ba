//! What a client has answered to its greeting: what its server gets of it, and what it teaches.

use zeroize::Zeroizing;

use super::Begins;
use super::refusal::Refusal;
use crate::error::ClientError;
use crate::session::exchange::Learned;
use crate::session::portable::LoggedInAs;
use crate::wire::authentication::{NATIVE, is_empty};
use crate::wire::capability as cap;
use crate::wire::handshake::{Greeting, LoginResponse, UNKNOWN_PLUGIN};

/// The client's login response as the server gets it; refused when the session would be spoken in a
/// way that this server, whatever was remembered of it, can't, or the client can't be asked again.
pub(super) fn answer_for_server(
    response: &LoginResponse,
    known: &Greeting,
    server: &Greeting,
    begins: Begins,
) -> Result<LoginResponse, Refusal> {
    let (beyond, extended) = response.beyond(known, server);
    if beyond & !(cap::OF_THE_LEG | cap::OF_THE_LOG_IN) != 0 || extended != 0 {
        tracing::debug!(
            beyond,
            extended,
            "the server offers less than the client was greeted with"
        );
        return Err(Refusal::Tell(ClientError::server_offers_less()));
    }
    let mut answer = response.clone();
    answer.capabilities &= !cap::OF_THE_LEG;
    if begins == Begins::Anew {
        if response.capabilities & cap::PLUGIN_AUTH == 0 {
            return Err(Refusal::Tell(ClientError::no_auth_switch()));
        }
        // An empty answer of the right plugin would be an empty password.
        (answer.auth, answer.plugin) = (Vec::new(), Some(UNKNOWN_PLUGIN.to_vec()));
    }
    Ok(answer.without(beyond & cap::OF_THE_LOG_IN))
}

/// What other servers are to be asked for on behalf of this client.
pub(super) fn logged_in_as(response: &LoginResponse, known: &Greeting) -> LoggedInAs {
    LoggedInAs {
        capabilities: response.capabilities & known.capabilities & !cap::OF_THE_LEG,
        extended: response.extended & known.extended,
        max_packet: response.max_packet,
        collation: response.collation,
    }
}

/// What an exchange has taught; if that is nothing, what a first answer does, which the server took
/// for one to this challenge.
pub(super) fn learned_of(
    learned: Learned,
    response: &LoginResponse,
    answers: Option<&[u8]>,
) -> Learned {
    let (Learned::Nothing, Some(challenge)) = (&learned, answers) else { return learned };
    let is_native = match &response.plugin {
        Some(plugin) => plugin == NATIVE,
        None => true,
    };
    match is_native && response.auth.len() == 20 {
        // No password is one, too: any plugin takes it.
        _ if is_empty(&response.auth) => Learned::Empty,
        true => Learned::Native {
            challenge: challenge.to_vec(),
            answer: Zeroizing::new(response.auth.clone()),
        },
        false => Learned::Nothing,
    }
}
