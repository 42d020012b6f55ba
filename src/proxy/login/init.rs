//! `init_sql`: what a server is told on behalf of a client before that one's first statement.

use std::time::Instant;

use crate::error::ClientError;
use crate::proxy::relay::Relay;
use crate::proxy::service::client::Terms;
use crate::proxy::service::error::ServiceError;
use crate::proxy::service::login::initialise;
use crate::session::link::LinkId;
use crate::wire::packet::HEADER;

/// Runs `init_sql` on the link of a session that is let in, before its client hears so. If that
/// fails the client is told, and nothing else.
pub(super) async fn initialised(mut relay: Relay, init: &str, until: Instant) -> Relay {
    if init.is_empty() || relay.home().down.unjudged().get(HEADER) != Some(&0) {
        return relay;
    }
    let running = tokio::time::timeout_at(until.into(), run(&mut relay, init)).await;
    let why = match running {
        Ok(Ok(())) => return relay,
        Ok(Err(why)) => why,
        Err(_) => "no answer in the time of the log-in".into(),
    };
    tracing::warn!(why, "init_sql");
    relay.refuse(ClientError::refused("a statement of the proxy's init_sql failed"));
    relay
}

async fn run(relay: &mut Relay, init: &str) -> Result<(), String> {
    let terms = Terms::of(relay.session(), LinkId::HOME);
    let done = initialise(relay.leg(LinkId::HOME), terms, init.as_bytes()).await;
    done.map_err(|error| match error {
        // Its text may quote the statement.
        ServiceError::Init(error) => format!("error {}", error.code),
        error => error.to_string(),
    })
}
