//! What one restart is to be, and how it ended.

use std::time::{Duration, Instant};

use crate::restart::plane::Accepting;
use crate::restart::task::{Mode, TaskState};
use crate::restart::timeouts::Timeouts;

/// What one restart is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// RESTART or FORCE.
    pub mode: Mode,
    /// Whether sessions move; FORCE moves none.
    pub session_handover: bool,
    /// How long stragglers may go on; None is for ever.
    pub exit_timeout: Option<Duration>,
    /// How long the successor is on probation once it serves; zero is not at all.
    pub probation: Duration,
    /// When a successor must be ready.
    pub ready_by: Instant,
    /// What the data plane accepts before, and again after a failure.
    pub accepting: Accepting,
    /// How many fds the successor will need.
    pub fds: u64,
    /// Waits.
    pub timeouts: Timeouts,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The successor serves; this process is to exit with success.
    Committed,
    /// The successor serves; it had given this process up.
    Superseded(String),
    /// Both were stopped; this process is to exit with success.
    Stopped,
    /// This process serves on.
    Kept(Ending),
}

/// Why this process serves on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Failed or rolled back.
    pub state: TaskState,
    /// For SHOW RESTART.
    pub reason: String,
}
