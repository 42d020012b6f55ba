//! Why there was no log-in, and what of it a client is told.

use std::io;
use std::time::Duration;

use crate::error::ClientError;
use crate::proxy::cluster::BackendError;

/// Why there was no log-in.
#[derive(Debug)]
pub enum Refusal {
    /// The client is told so.
    Tell(ClientError),
    /// The client is told what the server said: an ERR packet's payload.
    Pass(Vec<u8>),
    /// The time was up, and the server had been silent for so long.
    Silent(Duration),
    /// The client is gone.
    Gone(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// What a client is told when no server can be had.
pub(super) fn refusal(cluster: &str, error: &BackendError) -> Refusal {
    match error {
        BackendError::Refused { payload, .. } => Refusal::Pass(payload.clone()),
        // The address stays in our log.
        BackendError::Unreachable { source, .. } => {
            let why = match source.kind() {
                io::ErrorKind::TimedOut => "timed out",
                io::ErrorKind::ConnectionRefused => "connection refused",
                _ => "unreachable",
            };
            Refusal::Tell(ClientError::server_unreachable(cluster, why))
        }
        BackendError::NotMysql { .. } => {
            Refusal::Tell(ClientError::server_unreachable(cluster, "not a MySQL server"))
        }
        BackendError::NoTls { .. } => {
            Refusal::Tell(ClientError::server_unreachable(cluster, "it does not offer TLS"))
        }
        BackendError::Tls { .. } => {
            Refusal::Tell(ClientError::server_unreachable(cluster, "TLS failed"))
        }
        BackendError::Silent { .. } => {
            Refusal::Tell(ClientError::server_unreachable(cluster, "timed out"))
        }
        BackendError::Loop { .. } => Refusal::Tell(ClientError::leads_back()),
        BackendError::TooLate => Refusal::Tell(ClientError::timed_out("log-in")),
        BackendError::Lost { .. } => Refusal::Tell(ClientError::server_lost()),
    }
}
