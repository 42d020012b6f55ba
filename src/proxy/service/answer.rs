//! An answer put together from its packets. Pure.
//!
//! Where it ends is [`response`]'s to tell; here its packets are taken apart as well.

use super::error::{ServerError, ServiceError};
use crate::wire::command::Reply;
use crate::wire::id::ServerStatementId;
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
        /// With their columns; without them where the session has turned them off.
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
    pub id: ServerStatementId,
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
    /// Of the result that is coming: how many columns it has, and what has come of it.
    width: usize,
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
        Self { dialect, follow, status, width: 0, set, answers }
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
                let row = parse_row(payload, self.width);
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
        match payload.first() {
            Some(0x00 | 0xFE) => {
                let done = Done::parse(payload).ok_or(ServiceError::Malformed("an OK cut off"))?;
                self.answers.push(Answer::Ok(done));
            }
            // A report of progress.
            Some(0xFF) | None => {}
            Some(_) => {
                let count = lenenc(payload).and_then(|(count, _)| usize::try_from(count).ok());
                self.width = count.ok_or(ServiceError::Malformed("a count of columns"))?;
            }
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
        Some(Self { id: ServerStatementId(u32::from_le_bytes([a, b, c, d])), columns, parameters })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::rows::{Encoding, Shape, Writer};
    use crate::wire::{handshake, packet};

    /// The payloads of what a server of ours would answer.
    fn payloads(shape: Shape, rows: &[Vec<Option<String>>]) -> Vec<Vec<u8>> {
        let mut writer = Writer::new(1, shape);
        writer.result_set(&["a", "b"].map(String::from), rows, Encoding::Text, 2);
        let (mut payloads, bytes) = (Vec::new(), writer.into_bytes());
        let mut rest = &bytes[..];
        while let Some(header) = Header::parse(rest) {
            let (packet, behind) = rest.split_at(packet::HEADER + header.length);
            payloads.push(packet[packet::HEADER..].to_vec());
            rest = behind;
        }
        payloads
    }

    fn header(payload: &[u8]) -> Header {
        Header { length: payload.len().min(packet::MAX_PAYLOAD), sequence: 1 }
    }

    fn collect(dialect: Dialect, payloads: &[Vec<u8>]) -> Result<Step, ServiceError> {
        let mut collecting = Collecting::query(dialect);
        for (at, payload) in payloads.iter().enumerate() {
            match collecting.handle(header(payload), payload)? {
                Step::More => {}
                over if at + 1 == payloads.len() => return Ok(over),
                Step::Over(_) => panic!("it was over at {at}"),
            }
        }
        Ok(Step::More)
    }

    fn dialect(shape: Shape) -> Dialect {
        let Shape { deprecate_eof, metadata_flag, .. } = shape;
        Dialect { deprecate_eof, metadata_flag, progress: true }
    }

    #[test]
    fn what_is_neither_rows_nor_an_error_is_an_ok() {
        let ok = handshake::ok(300, 70_000, 2, 1);
        let done = Done { affected: 300, insert_id: 70_000, status: 2, warnings: 1 };
        let report = b"\xff\xff\xff\x01\x01\x01\0\0\0\x04copy".to_vec();
        for payloads in [vec![ok.clone()], vec![report, ok.clone()]] {
            let dialect = Dialect { progress: true, ..Dialect::default() };
            let collected = collect(dialect, &payloads).expect("an answer");
            assert_eq!(collected, Step::Over(vec![Answer::Ok(done)]));
        }
        for cut in 1..ok.len() {
            collect(Dialect::default(), &[ok[..cut].to_vec()]).expect_err("cut off");
        }
    }

    proptest! {
        #[test]
        fn rows_are_what_a_server_has_written(
            rows in prop::collection::vec(
                prop::collection::vec(prop::option::of("[a-z\u{fe}]{0,20}"), 2), 0..5),
            deprecate_eof: bool,
            metadata_flag: bool,
        ) {
            let shape = Shape { deprecate_eof, metadata_flag, ..Shape::default() };
            let collected = collect(dialect(shape), &payloads(shape, &rows)).expect("an answer");
            let Step::Over(answers) = collected else { panic!("it is over") };
            let [Answer::Rows { set, status }] = &answers[..] else { panic!("{answers:?}") };
            prop_assert_eq!(*status, ServerStatus::Known(2));
            let names: Vec<_> = set.columns.iter().map(|column| column.name.clone()).collect();
            prop_assert_eq!(names, [b"a", b"b"]);
            let text = |value: &Option<Vec<u8>>| {
                value.clone().map(|bytes| String::from_utf8(bytes).expect("a text"))
            };
            let read: Vec<Vec<_>> =
                set.rows.iter().map(|row| row.iter().map(text).collect()).collect();
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn any_packets_are_taken_without_panic(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            first in prop::option::of(0..4_u8),
            deprecate_eof: bool,
        ) {
            let dialect = Dialect { deprecate_eof, metadata_flag: true, progress: true };
            let mut collecting = Collecting::query(dialect);
            let mut preparing = Preparing::new(dialect);
            let first = first.map(|count| vec![count, 1]);
            for payload in first.iter().chain(&payloads) {
                let header = header(payload);
                let collected = collecting.handle(header, payload);
                let prepared = preparing.handle(header, payload);
                if collected.is_err() && prepared.is_err() {
                    break;
                }
            }
        }
    }
}
