//! An answer put together from its packets. Pure.
//!
//! Where it ends is [`response`]'s to tell; here its packets are taken apart as well.

use super::error::{ServerError, ServiceError};
use crate::wire::command::Reply;
use crate::wire::packet::{Header, lenenc};
use crate::wire::response::{self, Dialect, HEAD, ServerStatus, Verdict};
use crate::wire::result::{Column, ResultSet, parse_row};

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Ok(Done),
    /// Rows.
    Rows {
        /// With their columns.
        set: ResultSet,
        /// The session's status behind them.
        status: ServerStatus,
    },
    /// It failed.
    Err(ServerError),
}

/// What stands in an OK packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows that were changed.
    pub affected: u64,
    /// The id that the first of them was given.
    pub insert_id: u64,
    /// [`crate::wire::status`].
    pub status: u16,
    /// How many warnings there are.
    pub warnings: u16,
}

/// A statement that was prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its id on this connection.
    pub id: u32,
    /// Columns of its result. More than 65535 wrap, in the protocol.
    pub columns: u16,
    /// Its parameters.
    pub parameters: u16,
}

/// How far an answer has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Packets are to come.
    More,
    /// That was the last one.
    Over(Vec<Answer>),
}

/// An answer to anything but a prepare, as far as it has come.
#[derive(Debug)]
pub(super) struct Collecting {
    dialect: Dialect,
    follow: response::Answer,
    status: ServerStatus,
    /// Of the result that is coming.
    set: ResultSet,
    answers: Vec<Answer>,
}

/// An answer to a prepare, as far as it has come.
#[derive(Debug)]
pub(super) struct Preparing {
    dialect: Dialect,
    follow: response::Answer,
    status: ServerStatus,
    prepared: Option<Prepared>,
}

impl Collecting {
    /// The answer to a COM_QUERY.
    pub(super) fn query(dialect: Dialect) -> Self {
        Self::to(Reply::ResultSets, dialect)
    }

    /// An answer of one packet.
    pub(super) fn one(dialect: Dialect) -> Self {
        Self::to(Reply::One, dialect)
    }

    fn to(reply: Reply, dialect: Dialect) -> Self {
        let follow = response::Answer::to(reply).expect("both kinds have an answer");
        let (status, set, answers) = (ServerStatus::Unknown, ResultSet::default(), Vec::new());
        Self { dialect, follow, status, set, answers }
    }

    /// A packet: its payload, and the header of the first piece of it.
    pub(super) fn handle(&mut self, header: Header, payload: &[u8]) -> Result<Step, ServiceError> {
        let before = self.follow;
        let verdict = judge(&mut self.follow, self.dialect, header, payload, &mut self.status)?;
        match (before, verdict) {
            (_, Verdict::LocalInfile) => {
                return Err(ServiceError::Malformed("the server asks for a file"));
            }
            (_, Verdict::Row) => {
                let row = parse_row(payload, self.set.columns.len());
                self.set.rows.push(row.ok_or(ServiceError::Malformed("a row that is none"))?);
            }
            // An ERR ends whatever has come of a result before it.
            _ if is_error(payload, verdict) => self.answers.push(Answer::Err(error(payload)?)),
            (response::Answer::Rows { .. }, _) if payload.first() == Some(&0xFE) => {
                let set = std::mem::take(&mut self.set);
                self.answers.push(Answer::Rows { set, status: self.status });
            }
            (response::Answer::ResultSets { .. } | response::Answer::One, _) => {
                self.first(payload)?;
            }
            (response::Answer::Definitions { .. }, _) => self.define(payload)?,
            // The EOF behind them leads to rows.
            (response::Answer::DefinitionsUntilEof { .. }, _) if self.follow == before => {
                self.define(payload)?;
            }
            _ => {}
        }
        Ok(match verdict {
            Verdict::Ends(_) => Step::Over(std::mem::take(&mut self.answers)),
            _ => Step::More,
        })
    }

    /// The first packet of a result.
    fn first(&mut self, payload: &[u8]) -> Result<(), ServiceError> {
        let is_over = matches!(payload.first(), Some(0x00 | 0xFE));
        if is_over {
            let done = Done::parse(payload).ok_or(ServiceError::Malformed("an OK cut off"))?;
            self.answers.push(Answer::Ok(done));
        } else if let response::Answer::Rows { .. } = self.follow {
            // Only a statement that was prepared may leave them out, as they are known.
            return Err(ServiceError::Malformed("rows without columns"));
        }
        Ok(())
    }

    fn define(&mut self, payload: &[u8]) -> Result<(), ServiceError> {
        let column = Column::parse(payload);
        self.set.columns.push(column.ok_or(ServiceError::Malformed("a column that is none"))?);
        Ok(())
    }
}

impl Preparing {
    /// Nothing has come.
    pub(super) fn new(dialect: Dialect) -> Self {
        let follow = response::Answer::Prepare;
        Self { dialect, follow, status: ServerStatus::Unknown, prepared: None }
    }

    /// A packet; what was prepared, or why not, when it was the last one.
    pub(super) fn handle(
        &mut self,
        header: Header,
        payload: &[u8],
    ) -> Result<Option<Result<Prepared, ServerError>>, ServiceError> {
        let verdict = judge(&mut self.follow, self.dialect, header, payload, &mut self.status)?;
        if is_error(payload, verdict) {
            return Ok(Some(Err(error(payload)?)));
        }
        if self.prepared.is_none() {
            self.prepared = Prepared::parse(payload);
        }
        let over = matches!(verdict, Verdict::Ends(_));
        let prepared = self.prepared.ok_or(ServiceError::Malformed("a prepare-OK cut off"))?;
        Ok(over.then_some(Ok(prepared)))
    }
}

impl Done {
    /// Out of an OK packet: "int<1> header, int<lenenc> affected_rows, int<lenenc> last_insert_id,
    /// int<2> status_flags, int<2> warnings". An EOF packet has the last two in the other order.
    fn parse(payload: &[u8]) -> Option<Self> {
        if let [0xFE, w0, w1, s0, s1] = *payload {
            let (status, warnings) = (u16::from_le_bytes([s0, s1]), u16::from_le_bytes([w0, w1]));
            return Some(Self { status, warnings, ..Self::default() });
        }
        let rest = payload.get(1..)?;
        let (affected, width) = lenenc(rest)?;
        let rest = &rest[width..];
        let (insert_id, width) = lenenc(rest)?;
        let [s0, s1, w0, w1] = *rest[width..].first_chunk()?;
        let (status, warnings) = (u16::from_le_bytes([s0, s1]), u16::from_le_bytes([w0, w1]));
        Some(Self { affected, insert_id, status, warnings })
    }
}

impl Prepared {
    /// "int<1> 0x00, int<4> statement_id, int<2> num_columns, int<2> num_params".
    fn parse(payload: &[u8]) -> Option<Self> {
        let [0, a, b, c, d, c0, c1, p0, p1] = *payload.first_chunk()? else { return None };
        let (columns, parameters) = (u16::from_le_bytes([c0, c1]), u16::from_le_bytes([p0, p1]));
        Some(Self { id: u32::from_le_bytes([a, b, c, d]), columns, parameters })
    }
}

fn judge(
    follow: &mut response::Answer,
    dialect: Dialect,
    header: Header,
    payload: &[u8],
    status: &mut ServerStatus,
) -> Result<Verdict, ServiceError> {
    let head = &payload[..payload.len().min(HEAD)];
    match follow.handle(dialect, header, head, status) {
        Verdict::Impossible => Err(ServiceError::Malformed("a packet that no answer has there")),
        verdict => Ok(verdict),
    }
}

fn is_error(payload: &[u8], verdict: Verdict) -> bool {
    verdict == Verdict::Ends(response::Ending::Error) && payload.first() == Some(&0xFF)
}

fn error(payload: &[u8]) -> Result<ServerError, ServiceError> {
    ServerError::parse(payload).ok_or(ServiceError::Malformed("an ERR without a number"))
}
