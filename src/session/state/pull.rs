//! A session's state, asked of the server that has it.
//!
//! ```text
//!   MariaDB   diagnostics, warnings │ variables, role, temporary tables, names │ types, values
//!   MySQL     by thread: variables, schema, names, locks, temporary tables
//!             and only if something is left to ask: warnings │ role, time │ types, values
//!             without a service account: warnings │ variables, place, role
//! ```
//!
//! Everything is asked so that no mode of the session cuts it or converts it: one row, LIMIT,
//! bytes.
//! A question that comes to nothing costs one variable or one reason in [`State::hidden`].

use std::collections::VecDeque;

use super::inventory::Inventory;
use super::question::{Answer, Errand, Of, Question, StateError, number, row, rows};
use super::reading::{self, Form, Told};
use super::role::Role;
use super::snapshot::{Diagnostics, Hidden, State, Warning};
use super::text::{UNCUT, bytes_of, is_word};
use super::user::{Kind, types_of, values_of, values_told};
use super::variable::{OF_THE_NODE, Origin, Value, Variable, is_asked, of_the_next};
use crate::wire::flavour::Flavour;

/// How much of a session is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Not its role nor its timestamp: the caller knows that neither was ever set. On MySQL with a
    /// service account a session without user variables is then not touched at all.
    WithoutRole,
}

/// User variables that are asked in one statement: their values come in one row.
const AT_ONCE: usize = 64;

/// A value as long as this may have been cut by performance_schema.
const CUT: usize = 1024;

#[derive(Debug)]
enum Step {
    Diagnostics,
    Warnings,
    Variables(Vec<String>),
    Place,
    Role,
    Timestamp,
    /// Whether a node of a Galera cluster numbers rows.
    Numbering,
    TemporaryCount,
    TemporaryList,
    Names,
    Types(Vec<Vec<u8>>),
    Values(Vec<(Vec<u8>, Kind)>),
    /// Our names are in UTF-8: character_set_client for their time.
    Client(Vec<u8>),
    ByThread(ByThread),
}

/// Questions for the service account.
#[derive(Clone, Copy, Debug)]
pub(super) enum ByThread {
    Variables,
    /// With their values.
    UserVariables,
    Schema,
    Names,
    Locks,
    TemporaryTables,
}

/// Makes a [`State`]. The link must be idle: all answers to the client's commands have come.
#[derive(Debug)]
pub struct Pull<'a> {
    inventory: &'a Inventory,
    scope: Scope,
    connection: u64,
    queue: VecDeque<Step>,
    asked: VecDeque<Step>,
    state: State,
    read: Vec<(String, Value)>,
    time: Option<Vec<u8>>,
    touched: bool,
    /// The schema by thread, a second time.
    asked_again: bool,
    /// See [`OF_THE_NODE`].
    is_numbered: bool,
}

impl<'a> Pull<'a> {
    /// Of the session with this connection id, on the server whose inventory it is.
    pub fn new(inventory: &'a Inventory, connection: u64, scope: Scope) -> Self {
        let names = names_of(inventory);
        let queue = match inventory.flavour() {
            Flavour::MariaDb { .. } => {
                let first = [Step::Diagnostics, Step::Warnings, Step::Variables(names), Step::Role];
                let numbering = is_node(inventory).then_some(Step::Numbering);
                let rest = [Step::TemporaryCount, Step::Names];
                first.into_iter().chain(numbering).chain(rest).collect()
            }
            Flavour::MySql { .. } => VecDeque::from([Step::ByThread(ByThread::Variables)]),
            Flavour::OceanBase => {
                VecDeque::from([Step::Warnings, Step::Variables(names), Step::Place, Step::Role])
            }
        };
        let mut state = State::new(inventory.flavour());
        if inventory.flavour() == Flavour::OceanBase {
            state.hidden.push(Hidden::UserVariables);
        }
        Self {
            inventory,
            scope,
            connection,
            queue,
            asked: VecDeque::new(),
            state,
            read: Vec::new(),
            time: None,
            touched: false,
            asked_again: false,
            is_numbered: false,
        }
    }

    /// The state, when it is done.
    pub fn finish(mut self) -> Option<State> {
        if !self.is_done() {
            return None;
        }
        for (name, value) in std::mem::take(&mut self.read) {
            if self.is_numbered && OF_THE_NODE.contains(&&*name) {
                continue;
            }
            let Some(known) = self.inventory.variable(&name) else { continue };
            let origin = if known.fresh == value { Origin::Server } else { Origin::Session };
            if let Some(name) = of_the_next(&name) {
                let is_set = origin == Origin::Session;
                self.state.hidden.extend(is_set.then_some(Hidden::OfTheNext(name)));
                continue;
            }
            self.state.variables.insert(name, Variable { value, origin });
        }
        Some(self.state)
    }

    /// The link itself is asked: on MySQL that costs its diagnostics, so they are saved.
    fn touch(&mut self) {
        if !std::mem::replace(&mut self.touched, true) && !self.inventory.flavour().is_mariadb() {
            self.queue.push_back(Step::Warnings);
        }
    }

    /// These are asked next.
    fn first(&mut self, steps: [Step; 2]) {
        steps.into_iter().rev().for_each(|step| self.queue.push_front(step));
    }

    fn hide(&mut self, why: Hidden) {
        if !self.state.hidden.contains(&why) {
            self.state.hidden.push(why);
        }
    }

    fn hear_diagnostics(&mut self, answer: Answer) -> Result<(), StateError> {
        const WHAT: &str = "diagnostics";
        let [rows, found, insert_id, warnings, errors, schema, time, user] = row(answer, WHAT)?;
        let count = |digits: Option<Vec<u8>>| {
            number(digits.as_deref()).ok_or(StateError::Malformed { what: WHAT })
        };
        let rows = rows.and_then(|digits| std::str::from_utf8(&digits).ok()?.parse().ok());
        self.state.diagnostics = Some(Diagnostics {
            row_count: rows,
            found_rows: number(found.as_deref()),
            warning_count: Some(count(warnings)?),
            error_count: Some(count(errors)?),
            warnings: Vec::new(),
        });
        self.state.last_insert_id = count(insert_id)?;
        self.state.schema = schema;
        self.time = time;
        self.state.user = user.map(name_of);
        Ok(())
    }

    fn hear_warnings(&mut self, answer: Answer) -> Result<(), StateError> {
        let rows = match rows(answer, "warnings") {
            Ok(result) => result.rows,
            // Nobody can read them then, and nothing else depends on them.
            Err(StateError::Refused { .. } | StateError::NobodyToAsk { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let warning = |row: Vec<Option<Vec<u8>>>| {
            let [level, code, message] = row.try_into().ok()?;
            let (level, message) = (level?, message.unwrap_or_default());
            Some(Warning { level, code: code.unwrap_or_default(), message })
        };
        let warnings: Option<Vec<_>> = rows.into_iter().map(warning).collect();
        let warnings = warnings.ok_or(StateError::Malformed { what: "warnings" })?;
        self.state.diagnostics.get_or_insert_default().warnings = warnings;
        Ok(())
    }

    fn hear_variables(&mut self, names: Vec<String>, answer: Answer) -> Result<(), StateError> {
        match reading::hear(names, answer, "its variables")? {
            Told::Halves(halves) => {
                // User variables may need to know the character set: first things first.
                for half in halves.into_iter().rev() {
                    self.queue.push_front(Step::Variables(half));
                }
            }
            Told::Values(values) => {
                for (name, value) in values {
                    let value = self.inventory.typed(&name, value);
                    self.read.push((name, value));
                }
            }
        }
        Ok(())
    }

    fn hear_place(&mut self, answer: Answer) -> Result<(), StateError> {
        const WHAT: &str = "its schema";
        let [insert_id, schema, time] = row(answer, WHAT)?;
        let insert_id = number(insert_id.as_deref());
        self.state.last_insert_id = insert_id.ok_or(StateError::Malformed { what: WHAT })?;
        self.state.schema = schema;
        self.time = time;
        Ok(())
    }

    fn hear_role(&mut self, answer: Answer) -> Result<(), StateError> {
        const WHAT: &str = "its role";
        let [role, time] = row(answer, WHAT)?;
        let role = Role::parse(self.inventory.flavour(), role);
        self.state.role = role.ok_or(StateError::Malformed { what: WHAT })?;
        self.hear_time(time);
        Ok(())
    }

    fn hear_numbering(&mut self, answer: Answer) -> Result<(), StateError> {
        let [is_numbered] = row(answer, "who numbers its rows")?;
        self.is_numbered = is_numbered.is_some_and(|it| it == b"1");
        Ok(())
    }

    /// A timestamp that is not set is the time of the statement that reads it.
    fn hear_time(&mut self, time: Option<Vec<u8>>) {
        match self.time.take() {
            None => self.time = time,
            Some(before) => {
                self.state.timestamp = Some(before).filter(|it| Some(it) == time.as_ref())
            }
        }
    }

    fn hear_temporary_count(&mut self, answer: Answer) -> Result<(), StateError> {
        let count = match row(answer, "temporary tables") {
            Ok([count]) => number(count.as_deref()),
            Err(_) => None,
        };
        match (count, self.inventory.flavour()) {
            (Some(0), _) => {}
            (Some(_), Flavour::MariaDb { major: 11.., .. }) => {
                self.queue.push_back(Step::TemporaryList);
            }
            (Some(_), _) => self.hide(Hidden::TemporaryTables),
            (None, _) => self.hide(Hidden::NotTold("temporary tables")),
        }
        Ok(())
    }

    /// A count of what must not be there.
    fn hear_count(&mut self, answer: Answer, found: Hidden) {
        match row(answer, "a count") {
            Ok([Some(count)]) if count == b"0" => {}
            Ok(_) => self.hide(found),
            Err(_) => self.hide(Hidden::NotTold(found.what())),
        }
    }

    fn hear_names(&mut self, answer: Answer) -> Result<(), StateError> {
        const WHAT: &str = "the names of user variables";
        let result = match answer {
            Answer::Err { .. } | Answer::Refused => {
                self.hide(Hidden::UserVariables);
                return Ok(());
            }
            answer => rows(answer, WHAT)?,
        };
        let first = |row: Vec<Option<Vec<u8>>>| row.into_iter().next().flatten();
        let names: Option<Vec<Vec<u8>>> = result.rows.into_iter().map(first).collect();
        let names = names.ok_or(StateError::Malformed { what: WHAT })?;
        if names.is_empty() {
            return Ok(());
        }
        self.touch();
        let is_client = |(name, _): &&(String, Value)| name == "character_set_client";
        let client = match self.read.iter().find(is_client) {
            Some((_, Value::Text(client))) if is_word(client) => Some(client.clone()),
            _ => None,
        };
        let utf8 = |client: &Vec<u8>| client.starts_with(b"utf8");
        let foreign = names.iter().any(|name| !name.is_ascii());
        let restore = client.filter(|client| foreign && !utf8(client));
        if restore.is_some() {
            self.queue.push_back(Step::Client(b"utf8mb4".to_vec()));
        }
        self.queue.extend(names.chunks(AT_ONCE).map(|names| Step::Types(names.to_vec())));
        if let Some(client) = restore {
            self.queue.push_back(Step::Client(client));
        }
        Ok(())
    }

    fn hear_types(&mut self, mut names: Vec<Vec<u8>>, answer: Answer) -> Result<(), StateError> {
        const WHAT: &str = "types of user variables";
        if matches!(answer, Answer::Err { .. } | Answer::Refused) {
            let behind = names.split_off(names.len() / 2);
            match names.is_empty() {
                true => behind.into_iter().for_each(|name| self.hide(Hidden::UserVariable(name))),
                false => self.first([Step::Types(names), Step::Types(behind)]),
            }
            return Ok(());
        }
        let result = rows(answer, WHAT)?;
        if result.columns.len() != names.len() {
            return Err(StateError::Malformed { what: WHAT });
        }
        let kinds = result.columns.iter().map(Kind::of);
        // In front of whatever puts character_set_client back.
        self.queue.push_front(Step::Values(names.into_iter().zip(kinds).collect()));
        Ok(())
    }

    fn hear_values(
        &mut self,
        mut names: Vec<(Vec<u8>, Kind)>,
        answer: Answer,
    ) -> Result<(), StateError> {
        const WHAT: &str = "user variables";
        if matches!(answer, Answer::Err { .. } | Answer::Refused) {
            // Together they may be longer than a packet.
            let behind = names.split_off(names.len() / 2);
            match names.is_empty() {
                true => behind.into_iter().for_each(|it| self.hide(Hidden::UserVariable(it.0))),
                false => self.first([Step::Values(names), Step::Values(behind)]),
            }
            return Ok(());
        }
        let mut result = rows(answer, WHAT)?;
        let told = result.rows.pop().and_then(|row| values_told(&names, row));
        let values = told.ok_or(StateError::Malformed { what: WHAT })?;
        self.state.user_variables.extend(names.into_iter().map(|(name, _)| name).zip(values));
        Ok(())
    }

    fn hear_by_thread(&mut self, what: ByThread, answer: Answer) -> Result<(), StateError> {
        match what {
            ByThread::Variables => self.hear_variables_by_thread(answer),
            // Not asked here: the values do not tell what they are.
            ByThread::UserVariables => Err(StateError::Unasked),
            ByThread::Schema => {
                let [schema] = row(answer, "its schema")?;
                self.hear_schema_by_thread(schema);
                Ok(())
            }
            ByThread::Names => self.hear_names_by_thread(answer),
            ByThread::Locks => {
                self.hear_count(answer, Hidden::Locks);
                Ok(())
            }
            ByThread::TemporaryTables => {
                self.hear_count(answer, Hidden::TemporaryTables);
                Ok(())
            }
        }
    }

    fn hear_names_by_thread(&mut self, answer: Answer) -> Result<(), StateError> {
        match answer {
            Answer::Rows(result) if result.rows.is_empty() => {
                self.hide(Hidden::UserVariables);
                Ok(())
            }
            Answer::Rows(mut result) => {
                result.rows.retain(|row| !matches!(row[..], [None]));
                self.hear_names(Answer::Rows(result))
            }
            Answer::Ok | Answer::Err { .. } | Answer::Refused => self.hear_names(answer),
        }
    }

    /// The server shows no schema while it is still busy with the end of a statement, and says so
    /// nowhere: none is believed only when it is told again.
    fn hear_schema_by_thread(&mut self, schema: Option<Vec<u8>>) {
        let is_told_again = std::mem::replace(&mut self.asked_again, true);
        if schema.is_none() && !is_told_again {
            self.queue.push_back(Step::ByThread(ByThread::Schema));
        }
        self.state.schema = schema;
    }

    fn hear_variables_by_thread(&mut self, answer: Answer) -> Result<(), StateError> {
        let told = match rows(answer, "its variables") {
            Ok(result) => result.rows,
            Err(StateError::Malformed { what }) => return Err(StateError::Malformed { what }),
            Err(_) => Vec::new(),
        };
        let is_cut = |row: &Vec<Option<Vec<u8>>>| row.iter().flatten().any(|it| it.len() >= CUT);
        let is_whole = !told.is_empty() && !told.iter().any(is_cut);
        if !is_whole {
            self.touch();
            self.queue.push_back(Step::Variables(names_of(self.inventory)));
            self.queue.push_back(Step::Place);
        } else {
            told.into_iter().try_for_each(|row| self.hear_variable_by_thread(row))?;
            self.queue.push_back(Step::ByThread(ByThread::Schema));
            if self.scope == Scope::All {
                self.touch();
                self.queue.push_back(Step::Timestamp);
            }
        }
        let asks_role = self.scope == Scope::All || !is_whole;
        self.queue.extend(asks_role.then_some(Step::Role));
        let rest = [ByThread::Names, ByThread::Locks, ByThread::TemporaryTables];
        self.queue.extend(rest.map(Step::ByThread));
        Ok(())
    }

    fn hear_variable_by_thread(&mut self, row: Vec<Option<Vec<u8>>>) -> Result<(), StateError> {
        const WHAT: &str = "its variables";
        let told: Option<[Option<Vec<u8>>; 2]> = row.try_into().ok();
        let [name, value] = told.ok_or(StateError::Malformed { what: WHAT })?;
        let name = name.and_then(|name| String::from_utf8(name).ok());
        let name = name.ok_or(StateError::Malformed { what: WHAT })?.to_ascii_lowercase();
        if name == "last_insert_id" {
            let digits = number(value.as_deref());
            self.state.last_insert_id = digits.ok_or(StateError::Malformed { what: WHAT })?;
        }
        if let Some(value) = self.inventory.by_thread(&name, value) {
            self.read.push((name, value));
        }
        Ok(())
    }
}

impl Step {
    /// The statement, and for whom it is.
    fn question(&self, pull: &Pull<'_>) -> Question {
        let of = if let Self::ByThread(_) = self { Of::Service } else { Of::Session };
        let sql = match self {
            Self::Variables(names) => reading::statement(names, Form::Bytes),
            Self::Types(names) => types_of(names),
            Self::Values(named) => values_of(named),
            Self::Client(charset) => [b"SET character_set_client=", &charset[..]].concat(),
            Self::ByThread(what) => what.sql(pull.connection).into_bytes(),
            Self::Role if !pull.inventory.has_roles() => bytes_of(&["NULL", "@@session.timestamp"]),
            Self::Role => bytes_of(&["CURRENT_ROLE()", "@@session.timestamp"]),
            Self::Diagnostics => bytes_of(DIAGNOSTICS),
            Self::Warnings => b"SHOW WARNINGS LIMIT 65535".to_vec(),
            Self::Place => bytes_of(PLACE),
            Self::Timestamp => bytes_of(&["@@session.timestamp"]),
            Self::Numbering => bytes_of(&["@@global.wsrep_auto_increment_control"]),
            Self::TemporaryCount => [UNCUT, TEMPORARY_COUNT].concat().into_bytes(),
            Self::TemporaryList => [UNCUT, TEMPORARY_LIST].concat().into_bytes(),
            Self::Names => [UNCUT, NAMES].concat().into_bytes(),
        };
        Question { of, sql }
    }
}

const DIAGNOSTICS: &[&str] = &[
    "ROW_COUNT()",
    "FOUND_ROWS()",
    "LAST_INSERT_ID()",
    "@@session.warning_count",
    "@@session.error_count",
    "DATABASE()",
    "@@session.timestamp",
    "USER()",
];

const PLACE: &[&str] = &["LAST_INSERT_ID()", "DATABASE()", "@@session.timestamp"];

const NAMES: &str = "SELECT CAST(VARIABLE_NAME AS BINARY) FROM information_schema.USER_VARIABLES";

const TEMPORARY_COUNT: &str = "SELECT CAST(VARIABLE_VALUE AS BINARY) \
    FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME='Com_create_temporary_table'";

const TEMPORARY_LIST: &str = "SELECT CAST(COUNT(*) AS BINARY) FROM information_schema.TABLES \
    WHERE TABLE_TYPE='TEMPORARY'";

/// The variables that are asked for.
fn names_of(inventory: &Inventory) -> Vec<String> {
    inventory.names().filter(|name| is_asked(name)).map(str::to_owned).collect()
}

/// Whether a server is a node of a Galera cluster.
fn is_node(inventory: &Inventory) -> bool {
    let wsrep_on = inventory.variable("wsrep_on");
    wsrep_on.is_some_and(|known| known.fresh == Value::Number(b"1".to_vec()))
}

/// Of `name@host`, which is where we come from, the name.
fn name_of(mut user: Vec<u8>) -> Vec<u8> {
    let at = user.iter().rposition(|byte| *byte == b'@');
    user.truncate(at.unwrap_or(user.len()));
    user
}

impl ByThread {
    pub(super) fn sql(self, connection: u64) -> String {
        let thread = format!(
            "(SELECT THREAD_ID FROM performance_schema.threads WHERE PROCESSLIST_ID={connection})"
        );
        match self {
            Self::Variables => format!(
                "SELECT CAST(VARIABLE_NAME AS BINARY), CAST(VARIABLE_VALUE AS BINARY) \
                 FROM performance_schema.variables_by_thread WHERE THREAD_ID={thread} LIMIT 100000"
            ),
            Self::UserVariables => format!(
                "SELECT CAST(VARIABLE_NAME AS BINARY), CAST(VARIABLE_VALUE AS BINARY) FROM \
                 performance_schema.user_variables_by_thread WHERE THREAD_ID={thread} LIMIT 100000"
            ),
            Self::Schema => format!(
                "SELECT CAST(PROCESSLIST_DB AS BINARY) FROM performance_schema.threads \
                 WHERE PROCESSLIST_ID={connection} LIMIT 1"
            ),
            // A row without a name says that the thread was found, and has none.
            Self::Names => format!(
                "SELECT CAST(v.VARIABLE_NAME AS BINARY) FROM performance_schema.threads t \
                 LEFT JOIN performance_schema.user_variables_by_thread v USING (THREAD_ID) \
                 WHERE t.PROCESSLIST_ID={connection} LIMIT 1000000"
            ),
            // Those of statements and transactions end with them.
            Self::Locks => format!(
                "SELECT CAST(COUNT(*) AS BINARY) FROM performance_schema.metadata_locks \
                 WHERE OWNER_THREAD_ID={thread} AND LOCK_DURATION='EXPLICIT' LIMIT 1"
            ),
            // `#sqlPROCESS_CONNECTION_n`, in hexadecimal.
            Self::TemporaryTables => format!(
                "SELECT CAST(COUNT(*) AS BINARY) FROM information_schema.INNODB_TEMP_TABLE_INFO \
                 WHERE SUBSTRING_INDEX(SUBSTRING_INDEX(NAME, '_', 2), '_', -1)='{connection:x}' \
                 LIMIT 1"
            ),
        }
    }
}

impl Errand for Pull<'_> {
    fn ask(&mut self) -> Option<Question> {
        // What is asked of types and values may turn out to need another try before the character
        // set is put back, and names need the character set.
        let waits = self
            .queue
            .front()
            .is_some_and(|step| matches!(step, Step::Client(_) | Step::Names | Step::ByThread(_)));
        if waits && !self.asked.is_empty() {
            return None;
        }
        let step = self.queue.pop_front()?;
        let question = step.question(self);
        self.asked.push_back(step);
        Some(question)
    }

    fn hear(&mut self, answer: Answer) -> Result<(), StateError> {
        match self.asked.pop_front().ok_or(StateError::Unasked)? {
            Step::Diagnostics => self.hear_diagnostics(answer),
            Step::Warnings => self.hear_warnings(answer),
            Step::Variables(names) => self.hear_variables(names, answer),
            Step::Place => self.hear_place(answer),
            Step::Role => self.hear_role(answer),
            Step::Timestamp => {
                let [time] = row(answer, "its timestamp")?;
                self.hear_time(time);
                Ok(())
            }
            Step::Numbering => self.hear_numbering(answer),
            Step::TemporaryCount => self.hear_temporary_count(answer),
            Step::TemporaryList => {
                self.hear_count(answer, Hidden::TemporaryTables);
                Ok(())
            }
            Step::Names => self.hear_names(answer),
            Step::Types(names) => self.hear_types(names, answer),
            Step::Values(names) => self.hear_values(names, answer),
            Step::Client(_) => match answer {
                Answer::Ok => Ok(()),
                answer => rows(answer, "its character set").and(Ok(())),
            },
            Step::ByThread(what) => self.hear_by_thread(what, answer),
        }
    }

    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.asked.is_empty()
    }
}
