//! Commands of ours on a server connection, and their answers.
//!
//! The connection is between two commands before and after; nothing else reads or writes it
//! meanwhile. Invariant: after an error, and after a future that was dropped, it is good for
//! nothing: an answer may be under way. No function here is cancel safe, and none has a deadline:
//! both are the caller's. An ERR packet is an answer, and no error.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::answer::{Answer, Collecting, Prepared, Preparing, Step};
use super::error::{ServerError, ServiceError};
use crate::buffer::Buffer;
use crate::proxy::relay::channel::Channel;
use crate::proxy::relay::leg::Leg;
use crate::session::Session;
use crate::session::link::LinkId;
use crate::wire::command::{code, reply};
use crate::wire::packet::{HEADER, Header, MAX_PAYLOAD, packet};
use crate::wire::response::Dialect;

/// An answer of one packet is short.
const MOST_OF_ONE: usize = 64 * 1024;

/// What was agreed on in a log-in, as far as commands and answers look different for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// What answers look like.
    pub dialect: Dialect,
    /// A count of attributes stands in front of a statement's text.
    pub query_attributes: bool,
}

/// Runs one statement that has one result, of which no more than `limit` bytes are heard.
pub async fn query(
    channel: &mut dyn Channel,
    terms: Terms,
    sql: &[u8],
    limit: usize,
) -> Result<Answer, ServiceError> {
    only(query_all(channel, terms, sql, limit).await?)
}

/// Runs a text of one or several statements: their results, up to the first ERR.
pub async fn query_all(
    channel: &mut dyn Channel,
    terms: Terms,
    sql: &[u8],
    limit: usize,
) -> Result<Vec<Answer>, ServiceError> {
    let mut talk = Talk::new(channel, limit);
    talk.say(&terms.query(sql)).await?;
    let answers = talk.answers(Collecting::query(terms.dialect)).await?;
    talk.over()?;
    Ok(answers)
}

/// Runs statements that have one result each, all of which are sent before the first answer is
/// waited for: a later one runs whatever became of those before it. The limit is for all answers
/// together.
pub async fn queries(
    channel: &mut dyn Channel,
    terms: Terms,
    statements: &[&[u8]],
    limit: usize,
) -> Result<Vec<Answer>, ServiceError> {
    let mut talk = Talk::new(channel, limit);
    for sql in statements {
        talk.say(&terms.query(sql)).await?;
    }
    let mut answers = Vec::with_capacity(statements.len());
    for _ in statements {
        talk.sequence = 1;
        answers.push(only(talk.answers(Collecting::query(terms.dialect)).await?)?);
    }
    talk.over()?;
    Ok(answers)
}

/// A command that is answered by one packet, OK or ERR: COM_PING, COM_INIT_DB,
/// COM_RESET_CONNECTION and the like.
pub async fn command(
    channel: &mut dyn Channel,
    terms: Terms,
    code: u8,
    argument: &[u8],
) -> Result<Answer, ServiceError> {
    let mut talk = Talk::new(channel, MOST_OF_ONE);
    talk.say(&[&[code], argument].concat()).await?;
    let answers = talk.answers(Collecting::one(terms.dialect)).await?;
    talk.over()?;
    only(answers)
}

/// A command without an answer: COM_STMT_CLOSE, COM_STMT_SEND_LONG_DATA.
pub async fn tell(
    channel: &mut dyn Channel,
    code: u8,
    argument: &[u8],
) -> Result<(), ServiceError> {
    Talk::new(channel, MOST_OF_ONE).say(&[&[code], argument].concat()).await
}

/// Takes leave. Whether the server hears it is its affair.
pub async fn quit(mut leg: Leg) {
    let _ = tell(&mut leg, code::QUIT, &[]).await;
}

/// Prepares a statement.
pub async fn prepare(
    channel: &mut dyn Channel,
    terms: Terms,
    sql: &[u8],
    limit: usize,
) -> Result<Result<Prepared, ServerError>, ServiceError> {
    let mut talk = Talk::new(channel, limit);
    talk.say(&[&[code::STMT_PREPARE], sql].concat()).await?;
    let mut preparing = Preparing::new(terms.dialect);
    loop {
        let Logical { header, payload } = talk.hear().await?;
        if let Some(prepared) = preparing.handle(header, &payload)? {
            talk.over()?;
            return Ok(prepared);
        }
    }
}

fn only(mut answers: Vec<Answer>) -> Result<Answer, ServiceError> {
    match (answers.pop(), answers.len()) {
        (Some(answer), 0) => Ok(answer),
        (_, before) => Err(ServiceError::Several(before + 1)),
    }
}

impl Terms {
    /// What is spoken on a link of this session.
    pub fn of(session: &Session, link: LinkId) -> Self {
        Self {
            dialect: session.conversation().link(link).dialect(),
            query_attributes: session.has_query_attributes(),
        }
    }

    /// A COM_QUERY.
    fn query(self, sql: &[u8]) -> Vec<u8> {
        // "parameter_count" 0, "parameter_set_count" 1.
        let attributes: &[u8] = if self.query_attributes { &[0, 1] } else { &[] };
        [&[code::QUERY], attributes, sql].concat()
    }
}

/// Commands and answers that belong together.
struct Talk<'a> {
    channel: &'a mut dyn Channel,
    /// What was read, and how much of it is dealt with.
    ahead: Vec<u8>,
    at: usize,
    /// Bytes that were read, and the most of them.
    heard: usize,
    limit: usize,
    /// The number of the next packet.
    sequence: u8,
}

/// A packet, or several that go on with each other.
struct Logical {
    /// Of the first of them.
    header: Header,
    payload: Vec<u8>,
}

impl<'a> Talk<'a> {
    fn new(channel: &'a mut dyn Channel, limit: usize) -> Self {
        Self { channel, ahead: Vec::new(), at: 0, heard: 0, limit, sequence: 0 }
    }

    /// Sends a command. What the server says meanwhile is kept: while it waits for us to read it
    /// would not read either.
    async fn say(&mut self, payload: &[u8]) -> Result<(), ServiceError> {
        self.sequence = 0;
        self.channel.begin(reply(payload.first().copied()));
        let mut rest = payload;
        loop {
            let (piece, behind) = rest.split_at(rest.len().min(MAX_PAYLOAD));
            self.write(&packet(self.sequence, piece)).await?;
            self.sequence = self.sequence.wrapping_add(1);
            rest = behind;
            // "If the payload is a multiple of 2^24-1, an empty packet follows."
            if piece.len() < MAX_PAYLOAD {
                return Ok(());
            }
        }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), ServiceError> {
        poll_fn(|cx| {
            loop {
                let written = match bytes {
                    [] => self.channel.poll_flush(cx).map_ok(|()| 0),
                    _ => self.channel.poll_write(cx, bytes),
                };
                match written {
                    Poll::Ready(Ok(_)) if bytes.is_empty() => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(0)) => {
                        let error = io::Error::from(io::ErrorKind::WriteZero);
                        return Poll::Ready(Err(error.into()));
                    }
                    Poll::Ready(Ok(n)) => bytes = &bytes[n..],
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Pending => ready!(self.poll_more(cx))?,
                }
            }
        })
        .await
    }

    /// Every result of an answer.
    async fn answers(&mut self, mut collecting: Collecting) -> Result<Vec<Answer>, ServiceError> {
        loop {
            let Logical { header, payload } = self.hear().await?;
            if let Step::Over(answers) = collecting.handle(header, &payload)? {
                return Ok(answers);
            }
        }
    }

    async fn hear(&mut self) -> Result<Logical, ServiceError> {
        let (header, mut payload) = self.hear_packet().await?;
        let mut last = header;
        while last.length == MAX_PAYLOAD {
            let (header, more) = self.hear_packet().await?;
            payload.extend(more);
            last = header;
        }
        Ok(Logical { header, payload })
    }

    async fn hear_packet(&mut self) -> Result<(Header, Vec<u8>), ServiceError> {
        loop {
            let rest = &self.ahead[self.at..];
            if let Some(header) = Header::parse(rest)
                && let Some(payload) = rest.get(HEADER..HEADER + header.length)
            {
                let payload = payload.to_vec();
                self.at += HEADER + header.length;
                // In frames nobody numbers packets one by one, see `session::numbering`.
                if !self.channel.is_framed() && header.sequence != self.sequence {
                    return Err(ServiceError::Malformed("a packet out of order"));
                }
                self.sequence = header.sequence.wrapping_add(1);
                return Ok((header, payload));
            }
            poll_fn(|cx| self.poll_more(cx)).await?;
        }
    }

    /// Reads what is there.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServiceError>> {
        let mut chunk = Buffer::lend();
        let n = ready!(self.channel.poll_read(cx, &mut chunk))?;
        if n == 0 {
            let error = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Poll::Ready(Err(error.into()));
        }
        self.heard += n;
        if self.heard > self.limit {
            return Poll::Ready(Err(ServiceError::TooLong { limit: self.limit }));
        }
        self.ahead.drain(..std::mem::take(&mut self.at));
        self.ahead.extend_from_slice(&chunk[..n]);
        Poll::Ready(Ok(()))
    }

    /// Nothing more is expected.
    fn over(&self) -> Result<(), ServiceError> {
        match self.at == self.ahead.len() {
            true => Ok(()),
            false => Err(ServiceError::Malformed("bytes behind the end of an answer")),
        }
    }
}
