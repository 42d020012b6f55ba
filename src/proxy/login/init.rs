//! `init_sql`: what a server is told on behalf of a client before that one's first statement.

use std::time::Instant;

use super::Refusal;
use crate::error::ClientError;
use crate::proxy::relay::Relay;
use crate::proxy::service::answer::Answer;
use crate::proxy::service::client::{self, Terms};
use crate::session::link::LinkId;
use crate::wire::packet::HEADER;

/// The most that is heard of the answers.
const MOST_OF_INIT: usize = 1 << 20;

/// Runs `init_sql` on the link of a session that is let in, before its client hears so.
pub(super) async fn initialised(
    mut relay: Relay,
    init: &str,
    until: Instant,
) -> Result<Relay, Refusal> {
    if init.is_empty() || relay.home().down.unjudged().get(HEADER) != Some(&0) {
        return Ok(relay);
    }
    let terms = Terms {
        dialect: relay.session().conversation().link(LinkId::HOME).dialect(),
        query_attributes: relay.session().has_query_attributes(),
    };
    let failed = |why: String| {
        tracing::warn!(why, "init_sql");
        Refusal::Tell(ClientError::refused("a statement of the proxy's init_sql failed"))
    };
    let running = client::query_all(relay.home_leg(), terms, init.as_bytes(), MOST_OF_INIT);
    let answers = tokio::time::timeout_at(until.into(), running).await;
    let answers = answers.map_err(|_| failed("no answer in the time of the log-in".into()))?;
    for answer in answers.map_err(|error| failed(error.to_string()))? {
        if let Answer::Err(error) = answer {
            // Its text may quote the statement.
            return Err(failed(format!("error {}", error.code)));
        }
    }
    Ok(relay)
}
