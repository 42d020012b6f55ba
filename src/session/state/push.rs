//! A state, told to a session on another server.
//!
//! ```text
//!   plain reading │ role │ USE │ time_zone │ the session's own │ what the servers differ in
//!   │ user variables │ the session's reading: character sets, sql_mode │ what stands in the way
//! ```
//!
//! Everything between the first and the last but one is read in UTF-8 without modes. All of it can
//! be written at once; a SET that fails is told again in halves, so that one variable is lost and
//! not all of them. Those texts are read the same whatever the modes are, so they may come late.
//!
//! Never `= DEFAULT`, but for timestamp: MySQL has variables whose DEFAULT is not what a fresh
//! session has.

use std::collections::VecDeque;

use super::compare::Subject;
use super::inventory::Inventory;
use super::question::{Answer, Errand, Of, Question, StateError, rows};
use super::role::Role;
use super::snapshot::State;
use super::text::{is_number, is_word, put_name};
use super::user::put_variable;
use super::variable::{
    Origin, READING, Turn, Value, Variable, dragged_along, is_carried, is_of_the_server, turn,
};

/// Statements are about so long, unless one value is longer.
const USUAL: usize = 64 << 10;

/// Of a packet, what is not the statement.
const SPARE: u64 = 4 << 10;

/// What the target already has.
#[derive(Clone, Copy, Debug)]
pub enum Base<'a> {
    /// It is fresh from its log-in or a reset.
    Fresh,
    /// It has this state, pulled or pushed before.
    Told(&'a State),
}

/// Something that did not get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What.
    pub subject: Subject,
    /// The server's error; None if it was not even told.
    pub code: Option<u16>,
}

/// When an assignment is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Always,
    IfChanged,
}

/// An assignment of a SET.
#[derive(Clone)]
struct Assignment {
    /// The variable's name at its source.
    name: String,
    origin: Origin,
    sql: Vec<u8>,
}

enum Step {
    Plain(Vec<u8>),
    Set(Vec<Assignment>),
    One(Subject, Vec<u8>),
}

/// Tells a [`State`].
pub struct Push {
    queue: VecDeque<Step>,
    asked: VecDeque<Step>,
    refusals: Vec<Refusal>,
    left: Vec<String>,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (queue, asked) = (self.queue.len(), self.asked.len());
        f.debug_struct("Push")
            .field("queue", &queue)
            .field("asked", &asked)
            .field("refusals", &self.refusals)
            .field("left", &self.left)
            .finish()
    }
}

impl Push {
    /// What brings a session of the server with this inventory from `base` to `state`.
    pub fn new(state: &State, target: &Inventory, base: Base<'_>) -> Self {
        let mut push = Self {
            queue: VecDeque::from([Step::Plain(PLAIN.into())]),
            asked: VecDeque::new(),
            refusals: Vec::new(),
            left: Vec::new(),
        };
        push.put_place(state, target, base);
        let [first, own, others, last] = push.assignments(state, target, base);
        push.put_set(first);
        push.put_set(own);
        push.put_set(others);
        push.put_user_variables(state, target, base);
        push.put_reading(state);
        push.put_set(last);
        push.put_end(state, base);
        push
    }

    /// How many statements are still to be told, as far as none fails.
    pub fn length(&self) -> usize {
        self.queue.len()
    }

    /// What did not get there, though it should have. A verification finds it too.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Variables that the session never touched, and which this server keeps as it has them.
    pub fn left(&self) -> &[String] {
        &self.left
    }

    fn refuse(&mut self, subject: Subject, code: Option<u16>) {
        self.refusals.push(Refusal { subject, code });
    }

    /// Role first: the schema may be open to it alone.
    fn put_place(&mut self, state: &State, target: &Inventory, base: Base<'_>) {
        let told = match base {
            Base::Fresh => None,
            Base::Told(told) => Some(told),
        };
        let has_role = told.is_some_and(|told| told.role == state.role);
        if let Some(sql) = state.role.statement().filter(|_| !has_role) {
            match target.has_roles() {
                true => self.queue.push_back(Step::One(Subject::Role, sql)),
                false if state.role == Role::None => {}
                false => self.refuse(Subject::Role, None),
            }
        }
        let had = told.and_then(|told| told.schema.as_ref());
        match &state.schema {
            None if had.is_some() => self.refuse(Subject::Schema, None),
            None => {}
            Some(schema) if Some(schema) == had => {}
            Some(schema) => {
                let mut sql = b"USE ".to_vec();
                put_name(&mut sql, schema);
                self.queue.push_back(Step::One(Subject::Schema, sql));
            }
        }
    }

    /// The variables that differ: those to be told first, the session's own, others, and last.
    fn assignments(
        &mut self,
        state: &State,
        target: &Inventory,
        base: Base<'_>,
    ) -> [Vec<Assignment>; 4] {
        let [mut first, mut own, mut others, mut last] = [const { Vec::new() }; 4];
        for (name, variable) in state.variables.iter().filter(|(name, _)| is_carried(name)) {
            let turn = turn(name);
            if turn == Turn::Reading {
                continue;
            }
            let is_dragged =
                last.iter().any(|it: &Assignment| dragged_along(&it.name) == Some(name.as_str()));
            let need = if is_dragged { Need::Always } else { Need::IfChanged };
            let Some(assignment) = self.assignment(name, variable, target, base, need) else {
                continue;
            };
            match (turn, variable.origin) {
                (Turn::First, _) => first.push(assignment),
                (Turn::Any | Turn::Reading, Origin::Session) => own.push(assignment),
                (Turn::Any | Turn::Reading, Origin::Server) => others.push(assignment),
                (Turn::Last, _) => last.push(assignment),
            }
        }
        [first, own, others, last]
    }

    fn assignment(
        &mut self,
        name: &str,
        variable: &Variable,
        target: &Inventory,
        base: Base<'_>,
        need: Need,
    ) -> Option<Assignment> {
        let origin = variable.origin;
        let found = target.name_here(name).and_then(|here| Some((here, target.variable(here)?)));
        let Some((here, known)) = found else {
            if origin == Origin::Session {
                self.refuse(Subject::Variable(name.into()), None);
            }
            return None;
        };
        let has = match base {
            Base::Fresh => &known.fresh,
            Base::Told(told) => told.variables.get(here).map_or(&known.fresh, |it| &it.value),
        };
        if origin == Origin::Server && is_of_the_server(name) {
            return None;
        }
        let value = match need {
            Need::Always => variable.value.clone(),
            Need::IfChanged => variable.value.to_tell(name, has)?,
        };
        let is_sane = match &value {
            Value::Number(digits) => is_number(digits),
            Value::Null | Value::Text(_) => true,
        };
        if !known.is_writable || !is_sane {
            self.give_up(name.into(), origin, None);
            return None;
        }
        let mut sql = [here.as_bytes(), b"="].concat();
        value.put(&mut sql);
        Some(Assignment { name: name.into(), origin, sql })
    }

    fn give_up(&mut self, name: String, origin: Origin, code: Option<u16>) {
        match origin {
            Origin::Session => self.refuse(Subject::Variable(name), code),
            Origin::Server => self.left.push(name),
        }
    }

    fn put_set(&mut self, assignments: Vec<Assignment>) {
        if !assignments.is_empty() {
            self.queue.push_back(Step::Set(assignments));
        }
    }

    fn put_user_variables(&mut self, state: &State, target: &Inventory, base: Base<'_>) {
        let packet = target.max_allowed_packet().saturating_sub(SPARE);
        let limit = usize::try_from(packet).unwrap_or(usize::MAX);
        let mut together: Vec<u8> = Vec::new();
        for (name, value) in &state.user_variables {
            if let Base::Told(told) = base
                && told.user_variables.get(name) == Some(value)
            {
                continue;
            }
            let Some(mut assignments) = value.assignments(name, limit) else {
                self.refuse(Subject::UserVariable(name.clone()), None);
                continue;
            };
            let last = assignments.pop().filter(|_| assignments.is_empty());
            let Some(assignment) = last else {
                // They belong together, and each is as long as a packet may be.
                let Some(all) = value.assignments(name, limit) else { continue };
                for assignment in all {
                    let sql = [b"SET ", &assignment[..]].concat();
                    self.queue.push_back(Step::One(Subject::UserVariable(name.clone()), sql));
                }
                continue;
            };
            self.join(&mut together, &assignment);
        }
        if let Base::Told(told) = base {
            let is_gone = |name: &&Vec<u8>| !state.user_variables.contains_key(*name);
            for name in told.user_variables.keys().filter(is_gone) {
                let mut sql = Vec::new();
                put_variable(&mut sql, name);
                sql.extend(b"=NULL");
                self.join(&mut together, &sql);
            }
        }
        self.flush(&mut together);
    }

    fn join(&mut self, together: &mut Vec<u8>, assignment: &[u8]) {
        if !together.is_empty() && together.len() + assignment.len() > USUAL {
            self.flush(together);
        }
        together.extend(if together.is_empty() { &b"SET "[..] } else { b", " });
        together.extend(assignment);
    }

    fn flush(&mut self, together: &mut Vec<u8>) {
        if !together.is_empty() {
            let sql = std::mem::take(together);
            self.queue.push_back(Step::One(Subject::UserVariables, sql));
        }
    }

    fn put_reading(&mut self, state: &State) {
        let mut assignments = Vec::new();
        let is_named = self.put_names(state);
        for &name in READING {
            let Some(variable) = state.variables.get(name) else { continue };
            if is_named && name == "character_set_client" {
                continue;
            }
            let mut sql = [name.as_bytes(), b"="].concat();
            variable.value.put(&mut sql);
            // Told in any case, so a refusal of it matters in any case.
            assignments.push(Assignment { name: name.into(), origin: Origin::Session, sql });
        }
        self.put_set(assignments);
    }

    /// Only SET NAMES has statements be of another collation than their character set has.
    fn put_names(&mut self, state: &State) -> bool {
        let charset = state.variables.get("character_set_client").map(|it| &it.value);
        let (Some(Value::Text(charset)), Some(collation)) = (charset, &state.collation) else {
            return false;
        };
        if !is_word(charset) || !is_word(collation) {
            return false;
        }
        let sql = [b"SET NAMES ", &charset[..], b" COLLATE ", collation].concat();
        self.queue.push_back(Step::One(Subject::Reading, sql));
        true
    }

    fn put_end(&mut self, state: &State, base: Base<'_>) {
        let (insert_id, timestamp) = match base {
            Base::Fresh => (0, &None),
            Base::Told(told) => (told.last_insert_id, &told.timestamp),
        };
        match &state.timestamp {
            same if same == timestamp => {}
            Some(time) if is_number(time) => {
                let sql = [b"SET timestamp=", &time[..]].concat();
                self.queue.push_back(Step::One(Subject::Timestamp, sql));
            }
            Some(_) => self.refuse(Subject::Timestamp, None),
            None => {
                let sql = b"SET timestamp=DEFAULT".to_vec();
                self.queue.push_back(Step::One(Subject::Timestamp, sql));
            }
        }
        if state.last_insert_id != insert_id {
            let sql = format!("SET last_insert_id={}", state.last_insert_id).into_bytes();
            self.queue.push_back(Step::One(Subject::LastInsertId, sql));
        }
    }

    /// Half of a SET that failed. Both go to the end: what was asked stays in its order.
    fn halve(&mut self, mut assignments: Vec<Assignment>, code: u16) {
        let behind = assignments.split_off(assignments.len() / 2);
        if assignments.is_empty() {
            for Assignment { name, origin, .. } in behind {
                self.give_up(name, origin, Some(code));
            }
            return;
        }
        self.queue.push_back(Step::Set(assignments));
        self.queue.push_back(Step::Set(behind));
    }
}

/// No mode, and UTF-8. An empty literal in quotes would be NULL in some modes.
const PLAIN: &str = "SET SESSION sql_mode=_utf8mb4 X'', character_set_client=utf8mb4, \
    character_set_connection=utf8mb4";

impl Step {
    fn sql(&self) -> Vec<u8> {
        match self {
            Self::Plain(sql) | Self::One(_, sql) => sql.clone(),
            Self::Set(assignments) => {
                let mut sql = b"SET SESSION ".to_vec();
                for (at, assignment) in assignments.iter().enumerate() {
                    if at > 0 {
                        sql.extend(b", ");
                    }
                    sql.extend(&assignment.sql);
                }
                sql
            }
        }
    }
}

impl Errand for Push {
    fn ask(&mut self) -> Option<Question> {
        let step = self.queue.pop_front()?;
        let sql = step.sql();
        self.asked.push_back(step);
        Some(Question { of: Of::Session, sql })
    }

    fn hear(&mut self, answer: Answer) -> Result<(), StateError> {
        let step = self.asked.pop_front().ok_or(StateError::Unasked)?;
        let code = match answer {
            Answer::Ok => return Ok(()),
            Answer::Err { code, .. } => code,
            answer @ (Answer::Rows(_) | Answer::Refused) => {
                rows(answer, "what it is told")?;
                return Err(StateError::Malformed { what: "what it is told" });
            }
        };
        match step {
            Step::Plain(_) => self.refuse(Subject::Reading, Some(code)),
            Step::One(subject, _) => self.refuse(subject, Some(code)),
            Step::Set(assignments) => self.halve(assignments, code),
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.asked.is_empty()
    }
}
