//! What a restart does: reads and writes the channel, asks the data plane, starts and ends
//! processes, as a machine says. Knows the board, but neither the coordinator nor the handle.

pub(super) mod custody;
pub(super) mod incoming;
pub(super) mod outgoing;
pub(super) mod pump;
pub(super) mod rehearsal;

/// What this future comes to; without one, nothing ever happens.
pub(super) async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
