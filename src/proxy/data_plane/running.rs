//! Statements that are under way.

use std::sync::Arc;
use std::time::Duration;

use crate::proxy::clock::monotonic_us;
use crate::proxy::moves::Shared;
use crate::proxy::sessions::handle::Handle;
use crate::sql::digest::Digest;
use crate::wire::id::SessionId;

/// A statement whose answer has not ended.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its session.
    pub session: SessionId,
    /// The user, as the server knows it.
    pub user: String,
    /// The session's server.
    pub server: String,
    /// What it will be counted as.
    pub digest: Digest,
    /// Its shape.
    pub text: String,
    /// For how long.
    pub elapsed: Duration,
}

/// The slowest statements that are under way in this process, so many at most.
pub(super) fn running(shared: &Shared, most: usize) -> Vec<Running> {
    let now = monotonic_us();
    let all = shared.sessions.registry.all().into_iter();
    let mut running: Vec<(u64, Digest, Arc<Handle>)> = all
        .filter_map(|handle| {
            let (digest, since_us) = handle.running()?;
            Some((since_us, digest, handle))
        })
        .collect();
    running.sort_by_key(|(since_us, ..)| *since_us);
    running.truncate(most);
    let of = |(since_us, digest, handle): (u64, Digest, Arc<Handle>)| {
        let facts = handle.facts().clone();
        Running {
            session: handle.id,
            user: facts.user.to_string(),
            server: facts.server.to_string(),
            digest,
            text: shared.in_force.digests().text(digest).unwrap_or_default(),
            elapsed: Duration::from_micros(now.saturating_sub(since_us)),
        }
    };
    running.into_iter().map(of).collect()
}
