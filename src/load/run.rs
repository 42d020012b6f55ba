//! What all clients of a run share.

use std::sync::Arc;
use std::time::Duration;

use mysql_async::Opts;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::books::Books;
use super::moves::Moves;
use super::servers::Reads;
use super::tables::Tables;
use super::tally::Tally;

/// Its plan, and what has come of it so far.
pub(super) struct Run {
    pub(super) opts: Opts,
    /// The schema that every session is in.
    pub(super) database: String,
    pub(super) tables: Tables,
    pub(super) tally: Tally,
    pub(super) books: Books,
    pub(super) reads: Reads,
    /// The sessions that are to move; None if none are.
    pub(super) moves: Option<Arc<Moves>>,
    pub(super) connection_ids: ConnectionIds,
    /// How long a connect or a statement may take.
    pub(super) deadline: Duration,
    /// The mean pause of an active client between two statements.
    pub(super) pause: Duration,
    /// The pause of an idle client between two looks.
    pub(super) silence: Duration,
    /// How long the transaction class holds one open, at most.
    pub(super) hold: Duration,
    /// The mean pause between two connects of a client of the connect class.
    pub(super) connect_pause: Duration,
    /// Cancelled when the load is to end.
    pub(super) stop: CancellationToken,
    /// Connects at the same time, so that thousands do not overrun a listen queue at once.
    pub(super) connects: Semaphore,
}

/// What CONNECTION_ID() says while a connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionIds {
    /// Always the same, unless something ties a session to its server.
    Stay,
    /// Another server's may answer, unless something ties the session to its own.
    MayChange,
}
