//! What one restart is to be, and how it ended.

use std::time::{Duration, Instant};

use crate::restart::message::{Hello, Versions};
use crate::restart::plane::Accepting;
use crate::restart::task::{Mode, TaskState};
use crate::restart::timeouts::Timeouts;

/// What one restart is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
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
    /// What a successor must be able to.
    pub demands: Demands,
    /// Waits.
    pub timeouts: Timeouts,
}

/// What a successor must be able to, or it is refused before anything has happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demands {
    /// The versions of the protocol that are spoken here.
    pub versions: Versions,
    /// How many files it must be allowed to open.
    pub descriptors: u64,
}

/// Why a successor is refused at its HELLO.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// There is no version that both speak.
    #[error(
        "handover protocol versions {} to {} here, {} to {} there",
        ours.min, ours.max, theirs.min, theirs.max
    )]
    Versions {
        /// What is spoken here.
        ours: Versions,
        /// What it speaks.
        theirs: Versions,
    },
    /// It could not hold all sessions.
    #[error("the successor may open {limit} files (RLIMIT_NOFILE), {need} are needed")]
    Descriptors {
        /// How many it may open.
        limit: u64,
        /// How many it would have to.
        need: u64,
    },
}

impl Demands {
    /// The version to speak, or why not with this successor.
    pub(crate) fn judge(self, hello: &Hello) -> Result<u16, Unfit> {
        let (ours, theirs) = (self.versions, hello.versions);
        let version = ours.common(theirs).ok_or(Unfit::Versions { ours, theirs })?;
        let (limit, need) = (hello.nofile, self.descriptors);
        // 0: it does not know.
        if limit > 0 && limit < need {
            return Err(Unfit::Descriptors { limit, need });
        }
        Ok(version)
    }
}

/// How far a restart is, for whoever decides what may be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The successor does not serve yet, or not any more.
    Moving,
    /// It serves; the predecessor's last sessions end.
    Draining,
    /// All are its; the predecessor only waits whether it goes on.
    Probation,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
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
pub(crate) struct Ending {
    /// Failed or rolled back.
    pub state: TaskState,
    /// For SHOW RESTART.
    pub reason: String,
}
