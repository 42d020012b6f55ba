//! One round: what is asked of a server, over a connection that is made when there is none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::order::Order;
use super::programs::{self, Counted};
use super::question::{Spared, Subject, Why};
use super::reading::{self, Replicas};
use super::warm;
use crate::proxy::accounts::credentials::Credentials;
use crate::proxy::cluster::programs::Programs;
use crate::proxy::relay::leg::Leg;
use crate::proxy::service::answer::Answer;
use crate::proxy::service::client::{Terms, query, quit};
use crate::proxy::service::error::{ServerError, ServiceError};
use crate::proxy::service::login::{LoggedIn, Wanted, attributes, log_in};
use crate::route::roles::{Group, Said};
use crate::sql::analysis::Changes;
use crate::wire::flavour::Flavour;
use crate::wire::result::ResultSet;

/// The most that is heard of an answer.
const MOST: usize = 1 << 20;

/// No such command: ER_PARSE_ERROR.
const PARSE_ERROR: u16 = 1064;

/// See [`Programs::routines`].
type Routines = Arc<HashMap<Vec<u8>, Changes>>;

/// What stored programs there are.
const PROGRAMS: [Subject; 2] = [Subject::Routines, Subject::Triggers];

/// What is known of a server between two rounds.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    line: Option<Line>,
    spared: Spared,
    /// What is being asked, should it never be answered.
    asking: Option<Subject>,
    /// What was refused since it was last told.
    refused: Vec<ServerError>,
    /// A connection was made since that was last told.
    is_new: bool,
    /// What stored programs may do.
    programs: Programs,
    /// When that was asked, since it was last told.
    programs_asked: Option<Instant>,
}

/// A connection that is kept.
#[derive(Debug)]
struct Line {
    leg: Leg,
    terms: Terms,
    flavour: Flavour,
    credentials: Arc<Credentials>,
}

impl Rounds {
    /// Of roles, and of nothing that a server may be long about.
    pub(super) fn of_roles() -> Self {
        let mut rounds = Self::default();
        for subject in PROGRAMS {
            rounds.spared.add(subject, Why::Slow, Instant::now());
        }
        rounds
    }

    /// Asks everything that is to be asked, within the time of a round.
    pub(super) async fn ask(&mut self, order: &Order) -> Result<Said, ServiceError> {
        let limit = order.timeout;
        let until = Instant::now() + limit;
        // Who connects is to be the first to notice that the time is up: it tells clients.
        let asked = self.ask_at_leisure(order, limit - limit / 20);
        let asked = timeout_at(until.into(), asked).await;
        let said = asked.unwrap_or(Err(ServiceError::Silent { what: "answer", limit }));
        if let Err(error) = &said {
            // An answer may be under way.
            self.line = None;
            // Where the connection is lost the question is not to blame.
            let is_slow = matches!(error, ServiceError::Silent { .. });
            let unanswered = self.asking.take().filter(|subject| is_slow && subject.may_be_slow());
            unanswered.inspect(|subject| self.spared.add(*subject, Why::Slow, Instant::now()));
        }
        said
    }

    /// What the server did not want to answer since this was last asked.
    pub(super) fn take_refused(&mut self) -> Vec<ServerError> {
        std::mem::take(&mut self.refused)
    }

    /// How the last round came by its connection; None if it is not to a MySQL server.
    pub(super) fn take_line(&mut self) -> Option<warm::Line> {
        let is_mysql = matches!(self.line.as_ref()?.flavour, Flavour::MySql { .. });
        let is_new = std::mem::take(&mut self.is_new);
        is_mysql.then_some(if is_new { warm::Line::New } else { warm::Line::Kept })
    }

    /// What stored programs may change in a session, and as of when, if that was asked since this
    /// was last asked.
    pub(super) fn take_programs(&mut self) -> Option<(Programs, Instant)> {
        let began = self.programs_asked.take()?;
        Some((self.programs.clone(), began))
    }

    /// Takes leave.
    pub(super) async fn end(self, limit: Duration) {
        if let Some(line) = self.line {
            let _ = tokio::time::timeout(limit, quit(line.leg)).await;
        }
    }

    async fn ask_at_leisure(
        &mut self,
        order: &Order,
        limit: Duration,
    ) -> Result<Said, ServiceError> {
        let Some(credentials) = &order.credentials else {
            // A greeting is all that can be had without an account.
            let tls = order.tls.as_deref();
            order.cluster.look_at(&order.server, &order.config, tls, limit).await?;
            return Ok(nothing());
        };
        if self.line.as_ref().is_some_and(|line| line.credentials != *credentials) {
            self.line = None;
        }
        if order.server.programs.is_stale(Instant::now()) {
            PROGRAMS.iter().for_each(|subject| self.spared.remove(*subject));
        }
        let is_kept = self.line.is_some();
        if !is_kept {
            self.connect(order, credentials, limit).await?;
        }
        match self.ask_all(is_kept).await {
            // What was kept may have been closed long ago, which says nothing of the server now.
            Err(ServiceError::Lost(_) | ServiceError::Malformed(_)) if is_kept => {
                self.connect(order, credentials, limit).await?;
                self.ask_all(false).await
            }
            said => said,
        }
    }

    async fn connect(
        &mut self,
        order: &Order,
        credentials: &Arc<Credentials>,
        limit: Duration,
    ) -> Result<(), ServiceError> {
        self.line = Some(connect(order, credentials.clone(), limit).await?);
        self.is_new = true;
        self.spared.handle_connection();
        Ok(())
    }

    /// `is_kept`: it was asked before, so that nobody waits to know what it is.
    async fn ask_all(&mut self, is_kept: bool) -> Result<Said, ServiceError> {
        let mut said = nothing();
        let began = Instant::now();
        let flavour = self.line.as_ref().map(|line| line.flavour);
        for subject in flavour.map(Subject::of).into_iter().flatten() {
            let is_spared = self.spared.has(*subject, Instant::now());
            if is_spared || !is_kept && PROGRAMS.contains(subject) {
                continue;
            }
            match self.ask_one(*subject).await? {
                Some(set) => self.read(&mut said, *subject, &set).await?,
                None => self.handle_refused(*subject),
            }
            if PROGRAMS.contains(subject) {
                self.programs_asked = Some(began);
            }
        }
        said.at = Instant::now();
        Ok(said)
    }

    async fn read(
        &mut self,
        said: &mut Said,
        subject: Subject,
        set: &ResultSet,
    ) -> Result<(), ServiceError> {
        match subject {
            Subject::ReadOnly => said.read_only = reading::is_on(set),
            Subject::SuperReadOnly => said.super_read_only = reading::is_on(set),
            Subject::Replication => {
                let Replicas { replication, lag } = reading::replicas(set);
                (said.replication, said.lag) = (replication, lag);
            }
            Subject::Wsrep if reading::is_on(set) == Some(true) => {
                let status = self.ask_one(Subject::WsrepStatus).await?;
                said.wsrep = status.as_ref().map(reading::wsrep);
            }
            Subject::Wsrep => {}
            Subject::WsrepStatus => said.wsrep = Some(reading::wsrep(set)),
            Subject::Group => {
                said.group = reading::group(set);
                let is_there = matches!(said.group, Some(Group::Primary | Group::Secondary));
                if is_there && !self.spared.has(Subject::GroupLag, Instant::now()) {
                    let behind = self.ask_one(Subject::GroupLag).await?;
                    said.lag = said.lag.max(behind.as_ref().and_then(reading::behind));
                }
            }
            Subject::GroupLag => said.lag = reading::behind(set),
            Subject::Triggers => {
                // Before: bodies that do not come are not asked for again in each round.
                self.spared.add(subject, Why::Slow, Instant::now());
                self.programs.triggers = None;
                self.programs.triggers = self.read_triggers(set).await?;
            }
            Subject::Routines => {
                self.spared.add(subject, Why::Slow, Instant::now());
                self.programs.routines = Arc::default();
                self.programs.routines = self.read_routines(set).await?;
            }
            Subject::TriggerBodies | Subject::RoutineBodies | Subject::Parameters => {}
        }
        Ok(())
    }

    /// What triggers may do; None: they are too many, or cannot be seen.
    async fn read_triggers(&mut self, set: &ResultSet) -> Result<Option<Changes>, ServiceError> {
        match programs::counted(set) {
            Counted::None => Ok(Some(Changes::default())),
            Counted::TooMany | Counted::Hidden => Ok(None),
            Counted::Some => {
                let bodies = self.ask_one(Subject::TriggerBodies).await?;
                let routines = &self.programs.routines;
                Ok(bodies.map(|bodies| programs::fired(&bodies, routines)))
            }
        }
    }

    /// What routines may do, as far as they can be seen.
    async fn read_routines(&mut self, set: &ResultSet) -> Result<Routines, ServiceError> {
        if !programs::can_read_routines(set) {
            return Ok(Routines::default());
        }
        let Some(bodies) = self.ask_one(Subject::RoutineBodies).await? else {
            return Ok(Routines::default());
        };
        let parameters = self.ask_one(Subject::Parameters).await?;
        let parameters = parameters.unwrap_or(ResultSet { columns: Vec::new(), rows: Vec::new() });
        Ok(Arc::new(programs::routines(&bodies, &parameters)))
    }

    /// The server does not want to answer this.
    fn handle_refused(&mut self, subject: Subject) {
        match subject {
            Subject::Triggers => self.programs.triggers = None,
            Subject::Routines => self.programs.routines = Arc::default(),
            _ => {}
        }
    }

    /// The answer; None if the server does not want to give any.
    async fn ask_one(&mut self, subject: Subject) -> Result<Option<ResultSet>, ServiceError> {
        let Some(line) = &mut self.line else { return Ok(None) };
        self.asking = Some(subject);
        let mut refused = None;
        for words in subject.words(line.flavour) {
            match query(&mut line.leg, line.terms, words.as_bytes(), MOST).await? {
                Answer::Rows { set, .. } => {
                    self.asking = None;
                    return Ok(Some(set));
                }
                Answer::Ok(_) => return Err(ServiceError::Malformed("an OK in place of rows")),
                Answer::Err(error) => {
                    let is_unknown = error.code == PARSE_ERROR;
                    refused = Some(error);
                    if !is_unknown {
                        break;
                    }
                }
            }
        }
        self.asking = None;
        self.spared.add(subject, Why::Refused, Instant::now());
        self.refused.extend(refused.filter(ServerError::is_of_privileges));
        Ok(None)
    }
}

async fn connect(
    order: &Order,
    credentials: Arc<Credentials>,
    limit: Duration,
) -> Result<Line, ServiceError> {
    let Order { cluster, server, config, tls, .. } = order;
    let greeted = cluster.look_at(server, config, tls.as_deref(), limit).await?;
    let attributes = attributes(&[("program_name", "odp"), ("_client_name", "odp")]);
    let wanted = Wanted { attributes: &attributes, ..Wanted::default() };
    let entered = log_in(greeted, &credentials, &wanted, tls.as_deref(), limit).await?;
    let LoggedIn { leg, terms, greeting, .. } = entered;
    Ok(Line { leg, terms, flavour: Flavour::of(&greeting.version), credentials })
}

/// It lives, and says nothing.
fn nothing() -> Said {
    Said {
        at: Instant::now(),
        read_only: None,
        super_read_only: None,
        replication: None,
        wsrep: None,
        group: None,
        lag: None,
    }
}
