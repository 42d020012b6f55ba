//! Why a server did not log us in, or gave no answer.

use std::io;
use std::time::Duration;

use crate::proxy::cluster::BackendError;

/// What a server says in an ERR packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} ({state}): {message}")]
pub struct ServerError {
    /// The number, as in MySQL's table of errors.
    pub code: u16,
    /// The SQLSTATE; `HY000` where none was told.
    pub state: String,
    /// The text. It may quote a statement.
    pub message: String,
}

/// Why there is no log-in, or no answer. The connection is good for nothing any more.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The server can't be had.
    #[error(transparent)]
    Backend(BackendError),
    /// It does not let us in.
    #[error("the server refuses the log-in: {0}")]
    Refused(#[source] ServerError),
    /// It wants a plugin that is not known here.
    #[error("the account wants {0}, which is not known here")]
    Plugin(String),
    /// It wants the password itself, and only a hash of it is at hand.
    #[error("{0} wants the password itself, of which only a hash is known")]
    WantsPassword(String),
    /// It may have let in us, and not the client on whose behalf we ask.
    #[error(
        "over the proxy's Unix socket the server may have taken the client for the proxy's own \
         user: the account needs a password and another name"
    )]
    Unproved,
    /// The password would travel in clear where others may listen.
    #[error("{0} would send the password in clear over a connection that is not secure")]
    InClear(String),
    /// It gave no RSA key for the password.
    #[error("the server gave no RSA key for the password")]
    NoKey,
    /// The password is too long for its key.
    #[error("the password is too long for the server's RSA key")]
    LongPassword,
    /// It cannot be spoken to as is wanted.
    #[error("the server lacks capabilities {capabilities:#x}, extended {extended:#x}")]
    OffersLess {
        /// Those of MySQL.
        capabilities: u32,
        /// Those of MariaDB.
        extended: u32,
    },
    /// What it is told first of all failed.
    #[error("a statement of init_sql failed: {0}")]
    Init(#[source] ServerError),
    /// The time was up.
    #[error("no {what} within {}", humantime::format_duration(*limit))]
    Silent {
        /// What it was to say.
        what: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
    /// It said something else than the protocol has there.
    #[error("{0}, which the protocol does not have there")]
    Malformed(&'static str),
    /// It says more than we care to hold.
    #[error("an answer of more than {limit} bytes")]
    TooLong {
        /// The most.
        limit: usize,
    },
    /// One result was expected.
    #[error("{0} results in place of one")]
    Several(usize),
}

impl From<BackendError> for ServiceError {
    fn from(error: BackendError) -> Self {
        let said = match &error {
            BackendError::Refused { payload, .. } => ServerError::parse(payload),
            _ => None,
        };
        said.map_or(Self::Backend(error), Self::Refused)
    }
}

impl ServerError {
    /// The payload of an ERR packet: "int<1> 0xFF, int<2> code, string<1> '#', string<5> state,
    /// text". Without protocol 4.1's state the text follows at once.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [0xFF, low, high, text @ ..] = payload else { return None };
        let (state, message) = match text {
            [b'#', rest @ ..] if rest.len() >= 5 => rest.split_at(5),
            _ => (&b"HY000"[..], text),
        };
        Some(Self {
            code: u16::from_le_bytes([*low, *high]),
            state: String::from_utf8_lossy(state).into_owned(),
            message: String::from_utf8_lossy(message).into_owned(),
        })
    }

    /// Whether an account lacks a privilege: ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR,
    /// ER_COLUMNACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR.
    pub fn is_of_privileges(&self) -> bool {
        matches!(self.code, 1044 | 1142 | 1143 | 1227)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_err_packet_has_code_state_and_text() {
        type Parts = (u16, &'static str, &'static str);
        let cases: [(&[u8], Option<Parts>); 6] = [
            (b"\xff\x15\x04#28000Access denied", Some((1045, "28000", "Access denied"))),
            (b"\xff\x10\x04Too many connections", Some((1040, "HY000", "Too many connections"))),
            (b"\xff\x10\x04#123", Some((1040, "HY000", "#123"))),
            (b"\xff\x10\x04", Some((1040, "HY000", ""))),
            (b"\xff\x10", None),
            (b"\x00\x00\x00", None),
        ];
        for (payload, expected) in cases {
            let parsed = ServerError::parse(payload);
            let parsed = parsed.as_ref().map(|it| (it.code, &*it.state, &*it.message));
            assert_eq!(parsed, expected, "{payload:?}");
        }
    }
}
