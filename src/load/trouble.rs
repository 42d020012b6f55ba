//! What can go wrong for a client, told apart: lost, failed, wrong, or only a conflict.

use std::io;

use mysql_async::{DriverError, Error, IoError, ServerError};

/// Why a statement did not get the answer that it should have got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The connection is gone, and the session with it.
    Lost(String),
    /// The server (or proxy) said no; the session lives.
    Failed {
        /// The error number.
        code: u16,
        /// SQLSTATE and text.
        text: String,
    },
    /// Two transactions wanted the same rows: a database's daily bread, nobody's fault.
    Conflict,
    /// There was an answer, and it was not the right one.
    Wrong(String),
}

/// The end of a connection of which nobody gave notice.
const CLOSED: &str = "closed without an error";

/// Errors after which a session is gone although its SQLSTATE does not begin with 08.
///
/// 1053 server shutdown in progress, 1077 normal shutdown, 1927 connection was killed,
/// 4031 disconnected by the server because of inactivity.
const FATAL: [u16; 4] = [1053, 1077, 1927, 4031];

/// 1213 deadlock, 1205 lock wait timeout, 1020 record has changed since last read.
const CONFLICTS: [u16; 3] = [1213, 1205, 1020];

impl Trouble {
    /// What an error of the driver means for the session.
    pub(super) fn of_statement(error: &Error) -> Self {
        match error {
            Error::Server(error) => Self::of_server(error),
            Error::Io(IoError::Io(error)) => Self::Lost(hang_up(error)),
            Error::Driver(DriverError::ConnectionClosed) => Self::Lost(CLOSED.into()),
            // What else the driver complains about are answers that it cannot make sense of.
            Error::Driver(error) => Self::Wrong(format!("the driver: {}", brief(error))),
            Error::Other(error) => Self::Wrong(format!("the driver: {}", brief(error))),
            // A session that does not come about, or is torn apart.
            Error::Io(error @ IoError::Tls(_)) => Self::Lost(format!("TLS: {}", brief(error))),
            Error::Url(error) => Self::Wrong(format!("the driver: {}", brief(error))),
        }
    }

    fn of_server(error: &ServerError) -> Self {
        let ServerError { code, state, message } = error;
        if state.starts_with("08") || FATAL.contains(code) {
            return Self::Lost(format!("closed with error {code}"));
        }
        if CONFLICTS.contains(code) {
            return Self::Conflict;
        }
        Self::Failed { code: *code, text: format!("({state}) {}", brief(message)) }
    }
}

/// Whose connect failed, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConnectTrouble {
    /// The target refused, reset, closed, was silent, or answered with an error.
    Target(String),
    /// This machine has no ports or descriptors left; says nothing about the target.
    Local(String),
}

impl ConnectTrouble {
    /// What an error of the driver means for a connect.
    pub(super) fn of(error: &Error) -> Self {
        let Error::Io(IoError::Io(error)) = error else {
            return match Trouble::of_statement(error) {
                Trouble::Lost(text) | Trouble::Wrong(text) => Self::Target(text),
                Trouble::Failed { code, text } => Self::Target(format!("error {code} {text}")),
                Trouble::Conflict => Self::Target("conflict".into()),
            };
        };
        use nix::libc::{EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS};
        match error.raw_os_error() {
            Some(EADDRNOTAVAIL | EMFILE | ENFILE | ENOBUFS) => Self::Local(error.to_string()),
            _ => Self::Target(hang_up(error)),
        }
    }
}

/// The end of a connection in one or two words.
fn hang_up(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset".into(),
        io::ErrorKind::ConnectionAborted => "aborted".into(),
        io::ErrorKind::UnexpectedEof => CLOSED.into(),
        io::ErrorKind::TimedOut => "timed out".into(),
        // The codec's words for an end of the stream in the middle of a packet.
        io::ErrorKind::Other if error.to_string().contains("bytes remaining") => {
            "closed within an answer".into()
        }
        _ => brief(error),
    }
}

/// The first line of a text, at most 120 characters of it.
pub(super) fn brief(text: impl ToString) -> String {
    let text = text.to_string();
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, state: &str) -> Error {
        Error::Server(ServerError { code, state: state.into(), message: "m".into() })
    }

    #[test]
    fn a_shutdown_is_a_loss_and_a_deadlock_is_not() {
        let lost = Trouble::Lost("closed with error 1053".into());
        assert_eq!(Trouble::of_statement(&server(1053, "08S01")), lost);
        let lost = Trouble::Lost("closed with error 1927".into());
        assert_eq!(Trouble::of_statement(&server(1927, "70100")), lost);
        assert_eq!(Trouble::of_statement(&server(1213, "40001")), Trouble::Conflict);
        let failed = Trouble::Failed { code: 1146, text: "(42S02) m".into() };
        assert_eq!(Trouble::of_statement(&server(1146, "42S02")), failed);
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_wrong() {
        let error = Error::Driver(DriverError::PacketOutOfOrder);
        assert!(matches!(Trouble::of_statement(&error), Trouble::Wrong(_)));
    }

    #[test]
    fn no_ports_left_is_not_the_targets_fault() {
        let error: Error = io::Error::from_raw_os_error(nix::libc::EADDRNOTAVAIL).into();
        assert!(matches!(ConnectTrouble::of(&error), ConnectTrouble::Local(_)));
        let error: Error = io::Error::from(io::ErrorKind::ConnectionRefused).into();
        assert_eq!(ConnectTrouble::of(&error), ConnectTrouble::Target("refused".into()));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(brief("ä".repeat(200)).chars().count(), 121);
    }
}
