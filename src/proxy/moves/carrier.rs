//! Carries questions about a session's state to its server, and the answers back.

use super::recruit::Inventoried;
use crate::proxy::relay::Relay;
use crate::proxy::relay::channel::Channel;
use crate::proxy::relay::errand::AtHome;
use crate::proxy::relay::leg::Leg;
use crate::proxy::service::answer::Answer as Told;
use crate::proxy::service::client::{self, Terms};
use crate::proxy::service::error::ServiceError;
use crate::proxy::service::login::LoggedIn;
use crate::proxy::sessions::handle::Handle;
use crate::session::link::LinkId;
use crate::session::state::text::{UNCUT, is_word};
use crate::session::state::variable::Value;
use crate::session::state::{
    Answer, Base, Errand, Of, Pull, Push, Question, Scope, State, StateError, Subject, Survey,
};
use crate::wire::command::code;
use crate::wire::flavour::Flavour;
use crate::wire::id::{ServerStatementId, ThreadId};

/// The most that the answers to questions that are asked at once may hold: user variables can be
/// large.
const MOST: usize = 64 << 20;

/// What says in which character set results come.
const RESULTS: &str = "character_set_results";

/// What says in which character set statements are.
const CLIENT: &str = "character_set_client";

/// A session's own connection to a server, and perhaps one of the service account.
pub(in crate::proxy) struct Carrier<'a> {
    pub(in crate::proxy) channel: &'a mut dyn Channel,
    pub(in crate::proxy) terms: Terms,
    pub(in crate::proxy) service: Option<&'a mut LoggedIn>,
}

/// A session's home, to be asked things by the way.
pub(in crate::proxy) struct Home<'a> {
    line: Line<'a>,
    terms: Terms,
}

enum Line<'a> {
    /// All that is said and heard is on record.
    OnRecord(AtHome<'a>),
    /// Nothing is: if the process dies the session is lost.
    Leg(&'a mut Leg),
}

/// How a session gets its results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Results {
    charset: Vec<u8>,
    /// The number in the definitions of strings.
    collation: u16,
}

/// Why an errand came to nothing.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Stranded {
    /// A connection was lost, or is good for nothing any more.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The server did not tell what nothing goes without.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a server's sessions are like: of a fresh one of them.
pub(in crate::proxy) async fn survey(
    carrier: &mut Carrier<'_>,
    flavour: Flavour,
) -> Result<Inventoried, Stranded> {
    let mut survey = Survey::new(flavour);
    carrier.run(&mut survey).await?;
    let what = "its variables";
    survey.finish().ok_or(Stranded::State(StateError::Malformed { what }))
}

/// The same of a client's session, to which nothing was said yet: it is as it was.
pub(in crate::proxy) async fn survey_unseen(
    carrier: &mut Carrier<'_>,
    flavour: Flavour,
) -> Result<Inventoried, Stranded> {
    let surveyed = survey(carrier, flavour).await;
    // It has no warnings then and has found no rows; nor were any changed.
    let nothing = b"SELECT NULL FROM information_schema.CHARACTER_SETS LIMIT 0";
    carrier.value(nothing).await?;
    client::command(carrier.channel, carrier.terms, code::PING, &[]).await?;
    surveyed
}

/// The state of a session.
pub(in crate::proxy) async fn pull(
    carrier: &mut Carrier<'_>,
    inventory: &Inventoried,
    thread: ThreadId,
) -> Result<State, Stranded> {
    let mut pull = Pull::new(inventory, thread.0.into(), Scope::All);
    carrier.run(&mut pull).await?;
    pull.finish().ok_or(Stranded::State(StateError::Unasked))
}

impl<'a> Home<'a> {
    /// Of this session. It is asked until this is dropped.
    pub(in crate::proxy) fn of(relay: &'a mut Relay, handle: &'a Handle) -> Self {
        let terms = Terms::of(relay.session(), LinkId::HOME);
        let line = match AtHome::begin(relay, handle) {
            Ok(home) => Line::OnRecord(home),
            // Something is still on its way to the client.
            Err(relay) => Line::Leg(relay.leg(LinkId::HOME)),
        };
        Self { line, terms }
    }

    /// Asks it; `service` tells what its server keeps from the session itself.
    pub(in crate::proxy) fn carrier<'b>(
        &'b mut self,
        service: Option<&'b mut LoggedIn>,
    ) -> Carrier<'b> {
        let channel: &mut dyn Channel = match &mut self.line {
            Line::OnRecord(home) => home,
            Line::Leg(leg) => *leg,
        };
        Carrier { channel, terms: self.terms, service }
    }
}

impl<'a> Carrier<'a> {
    /// Of a reader's link of this session; `service` tells what its server keeps from the session
    /// itself.
    pub(in crate::proxy) fn of(
        relay: &'a mut Relay,
        link: LinkId,
        service: Option<&'a mut LoggedIn>,
    ) -> Self {
        let terms = Terms::of(relay.session(), link);
        Self { channel: relay.leg(link), terms, service }
    }

    /// Carries what an errand asks until it is done.
    pub(in crate::proxy) async fn run(&mut self, errand: &mut impl Errand) -> Result<(), Stranded> {
        while !errand.is_done() {
            let questions: Vec<_> = std::iter::from_fn(|| errand.ask()).collect();
            if questions.is_empty() {
                return Err(Stranded::State(StateError::Unasked));
            }
            // Those for the same connection are sent at once.
            for alike in questions.chunk_by(|one, other| one.of == other.of) {
                for answer in self.carry(alike).await? {
                    errand.hear(answer)?;
                }
            }
        }
        Ok(())
    }

    async fn carry(&mut self, questions: &[Question]) -> Result<Vec<Answer>, ServiceError> {
        let texts: Vec<&[u8]> = questions.iter().map(|question| &*question.sql).collect();
        let told = match (questions.first().map(|question| question.of), &mut self.service) {
            (Some(Of::Service), None) => return Ok(vec![Answer::Refused; questions.len()]),
            (Some(Of::Service), Some(service)) => {
                client::queries(&mut service.leg, service.terms, &texts, MOST).await?
            }
            (Some(Of::Session) | None, _) => {
                client::queries(self.channel, self.terms, &texts, MOST).await?
            }
        };
        Ok(told.into_iter().map(answer).collect())
    }

    /// Has statements prepared, each in its default schema, the session's own being `schema`: by
    /// which ids, and how many parameters they have.
    pub(in crate::proxy) async fn prepare(
        &mut self,
        texts: &[(Vec<u8>, Vec<u8>)],
        schema: &[u8],
    ) -> Result<Vec<(ServerStatementId, u16)>, String> {
        let (mut ids, mut current) = (Vec::with_capacity(texts.len()), schema);
        for (text, own) in texts {
            if own != current {
                self.command(code::INIT_DB, own).await?;
                current = own;
            }
            let prepared = client::prepare(self.channel, self.terms, text, MOST).await;
            let prepared = prepared.map_err(|error| error.to_string())?;
            // The error's text may quote the statement.
            let failed = |code| format!("a prepared statement (error {code})");
            let prepared = prepared.map_err(|error| failed(error.code))?;
            ids.push((prepared.id, prepared.parameters));
        }
        if schema != current {
            self.command(code::INIT_DB, schema).await?;
        }
        Ok(ids)
    }

    /// Has these PREPAREs said, each in its default schema, the session's own being `schema`.
    pub(in crate::proxy) async fn prepare_texts(
        &mut self,
        texts: &[(Vec<u8>, Vec<u8>)],
        schema: &[u8],
    ) -> Result<(), String> {
        let mut current = schema;
        for (text, own) in texts {
            if own != current {
                self.command(code::INIT_DB, own).await?;
                current = own;
            }
            let answer = client::query(self.channel, self.terms, text, MOST).await;
            match answer.map_err(|error| error.to_string())? {
                Told::Ok(_) => {}
                Told::Err(error) => return Err(format!("a PREPARE (error {})", error.code)),
                Told::Rows { .. } => return Err("a PREPARE".into()),
            }
        }
        if schema != current {
            self.command(code::INIT_DB, schema).await?;
        }
        Ok(())
    }

    /// A command that is answered by OK.
    pub(in crate::proxy) async fn command(
        &mut self,
        code: u8,
        argument: &[u8],
    ) -> Result<(), String> {
        let answer = client::command(self.channel, self.terms, code, argument).await;
        match answer.map_err(|error| error.to_string())? {
            Told::Err(error) => Err(format!("command {code:#x} (error {})", error.code)),
            Told::Ok(_) | Told::Rows { .. } => Ok(()),
        }
    }

    /// Tells this session all of another one's state that it lacks; in what they differ then.
    pub(in crate::proxy) async fn bring(
        &mut self,
        state: &State,
        results: Option<Results>,
        inventory: &Inventoried,
        base: Base<'_>,
        thread: ThreadId,
    ) -> Result<Vec<Subject>, Stranded> {
        let mut told = state.clone();
        if inventory.flavour().is_mariadb() {
            told.collation = self.client_collation(state, results.as_ref()).await?;
        }
        let is_named = told.collation.is_some();
        let is_alike = results.as_ref().map(|it| &it.charset[..]) == text(state, CLIENT);
        if self.take_results(results).await? && (is_alike || !is_named) {
            told.variables.remove(RESULTS);
        }
        let mut push = Push::new(&told, inventory, base);
        self.run(&mut push).await?;
        let after = pull(self, inventory, thread).await?;
        Ok(state.differences(&after, &push))
    }

    /// How results come.
    pub(in crate::proxy) async fn results(&mut self) -> Result<Option<Results>, ServiceError> {
        let sql = b"SELECT @@character_set_results LIMIT 1";
        Ok(match client::query(self.channel, self.terms, sql, MOST).await? {
            Told::Rows { mut set, .. } => {
                let collation = set.columns.first().map(|column| column.charset);
                let value = set.rows.pop().and_then(|row| row.into_iter().next().flatten());
                value.zip(collation).map(|(charset, collation)| Results { charset, collation })
            }
            Told::Ok(_) | Told::Err(_) => None,
        })
    }

    /// Has results come in the same way; whether they do, so that nothing more is to be said.
    ///
    /// Which collation stands in their definitions no variable tells: it is that of the log-in, or
    /// of SET NAMES. So a SET NAMES is said where it is another one.
    async fn take_results(&mut self, wanted: Option<Results>) -> Result<bool, ServiceError> {
        let Some(wanted) = wanted else { return Ok(false) };
        if self.results().await?.as_ref() == Some(&wanted) {
            return Ok(true);
        }
        let sql = format!(
            "SELECT COLLATION_NAME FROM information_schema.COLLATIONS WHERE ID = {} LIMIT 1",
            wanted.collation
        );
        let answer = client::query(self.channel, self.terms, sql.as_bytes(), MOST).await?;
        let Told::Rows { mut set, .. } = answer else { return Ok(false) };
        let name = set.rows.pop().and_then(|row| row.into_iter().next().flatten());
        let Some(name) = name.filter(|name| is_word(name) && is_word(&wanted.charset)) else {
            return Ok(false);
        };
        let sql = [b"SET NAMES ", &wanted.charset[..], b" COLLATE ", &name[..]].concat();
        let answer = client::query(self.channel, self.terms, &sql, MOST).await?;
        Ok(matches!(answer, Told::Ok(_)) && self.results().await?.as_ref() == Some(&wanted))
    }

    /// Of which collation a client's statements are: on MariaDB so are parameters that it binds.
    ///
    /// No variable tells, but a log-in and SET NAMES have that of results and of literals be the
    /// same one, and what sets the character set alone sets its own collation.
    async fn client_collation(
        &mut self,
        state: &State,
        results: Option<&Results>,
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        let charset = text(state, CLIENT);
        if let Some(results) = results.filter(|it| Some(&it.charset[..]) == charset) {
            return self.collation_name(results.collation).await;
        }
        let collation = text(state, "collation_connection");
        let collation = collation.filter(|_| text(state, "character_set_connection") == charset);
        Ok(collation.filter(|name| is_word(name)).map(<[u8]>::to_vec))
    }

    /// A collation by its number, whatever limits the session's statements have.
    async fn collation_name(&mut self, number: u16) -> Result<Option<Vec<u8>>, ServiceError> {
        let sql = format!(
            "{UNCUT}SELECT COLLATION_NAME FROM information_schema.COLLATIONS WHERE ID={number}"
        );
        Ok(self.value(sql.as_bytes()).await?.filter(|name| is_word(name)))
    }

    /// The one value that a statement has for an answer; None is NULL, or an error.
    pub(in crate::proxy) async fn value(
        &mut self,
        sql: &[u8],
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        Ok(match client::query(self.channel, self.terms, sql, MOST).await? {
            Told::Rows { mut set, .. } => {
                set.rows.pop().and_then(|row| row.into_iter().next().flatten())
            }
            Told::Ok(_) | Told::Err(_) => None,
        })
    }

    /// The session's status flags.
    pub(in crate::proxy) async fn status(&mut self) -> Result<u16, String> {
        let answer = client::query(self.channel, self.terms, b"DO 1", MOST).await;
        match answer.map_err(|error| error.to_string())? {
            Told::Ok(done) => Ok(done.status),
            Told::Rows { .. } | Told::Err(_) => Err("its status flags".into()),
        }
    }
}

fn text<'a>(state: &'a State, variable: &str) -> Option<&'a [u8]> {
    match &state.variables.get(variable)?.value {
        Value::Text(text) => Some(text),
        Value::Number(_) | Value::Null => None,
    }
}

fn answer(told: Told) -> Answer {
    match told {
        Told::Ok(_) => Answer::Ok,
        Told::Rows { set, .. } => Answer::Rows(set),
        Told::Err(error) => Answer::Err { code: error.code, message: error.message.into() },
    }
}
