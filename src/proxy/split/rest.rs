//! A home at rest: it has no commands, as its session reads elsewhere. See [`Vigil`].
//!
//! [`Vigil`]: crate::proxy::sessions::vigil::Vigil

use tokio::time::timeout;

use super::LIMIT;
use super::rules::Rules;
use crate::error::ClientError;
use crate::proxy::moves::carrier::Carrier;
use crate::proxy::relay::Relay;
use crate::proxy::sessions::handle::Handle;
use crate::session::link::LinkId;
use crate::wire::command::code;

/// Lets the home hear something, or ends a session whose client has been silent for as long as its
/// server would have waited; false if that has ended it.
pub(in crate::proxy) async fn see_to_home(
    relay: &mut Relay,
    handle: &Handle,
    rules: &Rules,
) -> bool {
    let (session, vigil) = (relay.session(), rules.trace().vigil());
    let version = session.standpoint().version;
    let known = vigil.timeout_of(version);
    if known.is_some_and(|limit| handle.idle() >= limit) && session.conversation().is_idle() {
        // MySQL says so unasked, MariaDB just closes.
        if rules.is_mariadb() {
            return false;
        }
        relay.close_with(ClientError::inactive());
        return true;
    }
    let is_at_home = session.conversation().current() == LinkId::HOME;
    if is_at_home || !relay.is_alive(LinkId::HOME).await {
        return true;
    }
    let mut home = Carrier::of(relay, LinkId::HOME, None);
    let asked = async {
        if known.is_some() {
            return home.command(code::PING, &[]).await.map(|()| None);
        }
        let seconds = home.value(b"SELECT @@wait_timeout LIMIT 1").await;
        seconds.map_err(|error| error.to_string())
    };
    match timeout(LIMIT, asked).await {
        Ok(Ok(None)) => {}
        Ok(Ok(Some(seconds))) => rules.note_wait_timeout(&seconds, version),
        // Whatever it says from now on belongs to nothing.
        Ok(Err(_)) | Err(_) => relay.break_link(LinkId::HOME),
    }
    true
}

/// The next command is the home's, which is lost: the session ends, and nothing was executed.
pub(super) fn end_without_home(relay: &mut Relay, handle: &Handle) -> bool {
    tracing::info!(id = handle.id.0, "the session's home was lost while it read elsewhere");
    relay.close_with(ClientError::home_lost());
    true
}
