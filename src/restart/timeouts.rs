//! How long one side of a restart waits for the other, and for its own data plane.

use std::time::Duration;

/// How long one side waits for the other; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// `BINARY check` may take this long.
    pub preflight: Duration,
    /// For the answer to one message, and for a message to fit into the socket.
    pub answer: Duration,
    /// Without any message of the other side: it hangs.
    pub silence: Duration,
    /// Between two PROGRESS messages.
    pub progress: Duration,
    /// For the data plane to freeze a batch, or to start or stop accepting.
    pub step: Duration,
    /// Between looks for sessions that have become movable.
    pub again: Duration,
    /// Sessions of a successor that is taken back may go on logging in.
    pub login: Duration,
    /// From SIGTERM to SIGKILL.
    pub terminate: Duration,
    /// From SIGKILL until a process that is still there counts as dead: it can run no more code
    /// of its own.
    pub kill: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            preflight: Duration::from_secs(30),
            answer: Duration::from_secs(3),
            silence: Duration::from_secs(5),
            progress: Duration::from_millis(100),
            step: Duration::from_secs(10),
            again: Duration::from_millis(20),
            login: Duration::from_secs(2),
            terminate: Duration::from_secs(2),
            kill: Duration::from_secs(10),
        }
    }
}
