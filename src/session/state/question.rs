//! Questions to a server and their answers: what an errand and whoever carries it agree on.

use std::fmt;

use crate::wire::result::ResultSet;

/// Which connection a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The session's own link.
    Session,
    /// A connection of the service account to the same server. Where there is none, the answer is
    /// [`Answer::Refused`].
    Service,
}

/// A statement to carry. It is never shown: it may hold a client's values.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// Where to.
    pub of: Of,
    /// One statement, for COM_QUERY.
    pub sql: Vec<u8>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("of", &self.of).field("length", &self.sql.len()).finish()
    }
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An OK without rows.
    Ok,
    /// A result set.
    Rows(ResultSet),
    /// An ERR.
    Err {
        /// Its number.
        code: u16,
        /// Its text, in the session's character set for results.
        message: Vec<u8>,
    },
    /// The question was not carried: there is no such connection.
    Refused,
}

/// A conversation of questions with a server.
///
/// Questions may be pipelined: everything [`Self::ask`] gives, up to None, may be written before
/// the first answer is heard. Answers are told in the order of the questions. When the errand is
/// neither asking nor waiting it [is done](Self::is_done).
pub trait Errand {
    /// The next question, if there is one that does not depend on an answer still to come.
    fn ask(&mut self) -> Option<Question>;

    /// The answer to the oldest question that has none yet. After an error the errand is over.
    fn hear(&mut self, answer: Answer) -> Result<(), StateError>;

    /// Whether everything was asked and answered.
    fn is_done(&self) -> bool;
}

/// Why an errand came to nothing. It is the server's doing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The server does not tell what nothing goes without.
    #[error("the server does not tell {what}: error {code}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its error.
        code: u16,
    },
    /// There is no connection for what nothing goes without.
    #[error("no connection to ask for {what}")]
    NobodyToAsk {
        /// What was to be asked.
        what: &'static str,
    },
    /// The answer is not one to the question.
    #[error("the server's answer about {what} is malformed")]
    Malformed {
        /// What was asked.
        what: &'static str,
    },
    /// Nothing was asked.
    #[error("the server answers without a question")]
    Unasked,
}

/// The rows of an answer.
pub(super) fn rows(answer: Answer, what: &'static str) -> Result<ResultSet, StateError> {
    match answer {
        Answer::Rows(result) => {
            let width = result.columns.len();
            match result.rows.iter().all(|row| row.len() == width) {
                true => Ok(result),
                false => Err(StateError::Malformed { what }),
            }
        }
        Answer::Ok => Err(StateError::Malformed { what }),
        Answer::Err { code, .. } => Err(StateError::Refused { what, code }),
        Answer::Refused => Err(StateError::NobodyToAsk { what }),
    }
}

/// The one row of an answer, of this many values.
pub(super) fn row<const N: usize>(
    answer: Answer,
    what: &'static str,
) -> Result<[Option<Vec<u8>>; N], StateError> {
    let mut result = rows(answer, what)?;
    let row = result.rows.pop().filter(|_| result.rows.is_empty());
    row.and_then(|row| row.try_into().ok()).ok_or(StateError::Malformed { what })
}

/// A number in digits, as a server writes it.
pub(super) fn number(digits: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(digits?).ok()?.parse().ok()
}
