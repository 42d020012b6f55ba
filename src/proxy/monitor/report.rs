//! What is told of a server, round by round.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::proxy::cluster::BackendError;
use crate::proxy::cluster::programs::Programs;
use crate::proxy::service::error::ServiceError;
use crate::route::roles::{Observation, Said};

/// What came of a round.
pub type Outcome = Result<Said, ServiceError>;

/// What came of a round with a server.
#[derive(Debug)]
pub struct Report {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// The server, by its address in the config.
    pub server: Arc<str>,
    /// What it said. Without an account only that it lives.
    pub outcome: Outcome,
    /// What its stored programs may change in a session, and as of when, if that was asked.
    pub programs: Option<(Programs, Instant)>,
}

/// Who is told what came of each round. It is told by many tasks, and must not wait.
pub trait Watcher: fmt::Debug + Send + Sync {
    /// A round has ended.
    fn handle_report(&self, report: Report);
}

impl Report {
    /// What it means for roles; None if nothing: a server that refuses us, or says more than is
    /// understood, is neither gone nor something else than before.
    pub fn observation(&self) -> Option<Observation> {
        match &self.outcome {
            Ok(said) => Some(Observation::Said(said.clone())),
            Err(
                ServiceError::Lost(_)
                | ServiceError::Silent { .. }
                | ServiceError::Backend(
                    BackendError::Unreachable { .. }
                    | BackendError::Silent { .. }
                    | BackendError::Lost { .. }
                    | BackendError::NotMysql { .. }
                    | BackendError::Tls { .. }
                    | BackendError::NoTls { .. }
                    | BackendError::Loop { .. },
                ),
            ) => Some(Observation::Unreachable),
            Err(
                ServiceError::Backend(BackendError::Refused { .. } | BackendError::TooLate)
                | ServiceError::Refused(_)
                | ServiceError::Plugin(_)
                | ServiceError::WantsPassword(_)
                | ServiceError::Unproved
                | ServiceError::InClear(_)
                | ServiceError::NoKey
                | ServiceError::LongPassword
                | ServiceError::OffersLess { .. }
                | ServiceError::Init(_)
                | ServiceError::Malformed(_)
                | ServiceError::TooLong { .. }
                | ServiceError::Several(_),
            ) => None,
        }
    }
}
