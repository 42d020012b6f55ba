//! What a server has: its session variables, and what they are in a fresh session.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::question::{Answer, Errand, Of, Question, StateError, number, rows};
use super::reading::{self, Form, Told};
use super::text;
use super::variable::{Value, is_asked, other_name};
use crate::wire::flavour::Flavour;

/// A session variable of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What a fresh session has.
    pub fresh: Value,
    /// Whether its values are numbers.
    pub is_number: bool,
    /// Whether a session can set it, as far as the server says.
    pub is_writable: bool,
}

/// What is known of a server's session variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    flavour: Flavour,
    variables: BTreeMap<String, Known>,
    has_roles: bool,
}

/// What every server allows, if it does not say.
const SMALL_PACKET: u64 = 1 << 20;

impl Inventory {
    /// Which kind of server it is of.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// A variable by its name in lower case.
    pub fn variable(&self, name: &str) -> Option<&Known> {
        self.variables.get(name)
    }

    /// The names of all variables that can be read in a session.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// What this server calls another's variable.
    pub fn name_here<'a>(&self, name: &'a str) -> Option<&'a str> {
        let has = |name: &&str| self.variables.contains_key(*name);
        Some(name).filter(has).or_else(|| other_name(name).filter(has))
    }

    /// Whether sessions have a role.
    pub fn has_roles(&self) -> bool {
        self.has_roles
    }

    /// A value that came as bytes, or in performance_schema's way, as it is read with its type.
    pub(super) fn typed(&self, name: &str, value: Value) -> Value {
        let Some(known) = self.variable(name) else { return value };
        match value {
            Value::Null => Value::Null,
            Value::Text(text) | Value::Number(text) => match (known.is_number, &text[..]) {
                (true, b"ON") => Value::Number(b"1".to_vec()),
                (true, b"OFF") => Value::Number(b"0".to_vec()),
                (true, _) => Value::Number(text),
                (false, _) => Value::Text(text),
            },
        }
    }

    /// The value of a session's variable as performance_schema tells it; None: nobody asks for it.
    pub(super) fn by_thread(&self, name: &str, value: Option<Vec<u8>>) -> Option<Value> {
        let known = self.variable(name).filter(|_| is_asked(name))?;
        // NULL comes as an empty string.
        let is_null = name == "character_set_results" || known.fresh == Value::Null;
        Some(match value {
            Some(text) if !(text.is_empty() && is_null) => self.typed(name, Value::Text(text)),
            _ => Value::Null,
        })
    }

    /// The longest packet that it takes.
    pub fn max_allowed_packet(&self) -> u64 {
        match self.variable("max_allowed_packet").map(|known| &known.fresh) {
            Some(Value::Number(digits)) => number(Some(digits)).unwrap_or(SMALL_PACKET),
            _ => SMALL_PACKET,
        }
    }
}

/// A question of the survey.
#[derive(Debug)]
enum Step {
    Names(Source),
    Values(Vec<String>),
    Role,
}

/// Where names are to be had, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Which scope a variable has, and whether it is read-only.
    MariaDb,
    /// Which scope it has.
    Metadata,
    /// Those of all scopes.
    Sessions,
    /// The same, where there is no performance_schema.
    Show,
}

impl Source {
    fn sql(self) -> String {
        let question = match self {
            Self::MariaDb => {
                "SELECT VARIABLE_NAME, READ_ONLY FROM \
                 information_schema.SYSTEM_VARIABLES WHERE VARIABLE_SCOPE<>'GLOBAL'"
            }
            Self::Metadata => {
                "SELECT VARIABLE_NAME, 'NO' FROM performance_schema.variables_metadata \
                 WHERE VARIABLE_SCOPE<>'GLOBAL' LIMIT 100000"
            }
            Self::Sessions => {
                "SELECT VARIABLE_NAME, 'NO' FROM performance_schema.session_variables LIMIT 100000"
            }
            Self::Show => "SHOW SESSION VARIABLES",
        };
        let head = if self == Self::MariaDb { text::UNCUT } else { "" };
        [head, question].concat()
    }

    fn next(self) -> Option<Self> {
        match self {
            Self::MariaDb | Self::Sessions => Some(Self::Show),
            Self::Metadata => Some(Self::Sessions),
            Self::Show => None,
        }
    }
}

/// Makes an [`Inventory`]: to be asked in a fresh session of an ordinary account, whose character
/// set is utf8mb4. Questions are for the session.
#[derive(Debug)]
pub struct Survey {
    queue: VecDeque<Step>,
    asked: VecDeque<Step>,
    read_only: Vec<String>,
    found: Inventory,
}

const NAMES: &str = "the names of its variables";
const VALUES: &str = "the values of its variables";

impl Survey {
    /// Of a server of this kind.
    pub fn new(flavour: Flavour) -> Self {
        let source = match flavour {
            Flavour::MariaDb { .. } => Source::MariaDb,
            Flavour::MySql { .. } => Source::Metadata,
            Flavour::OceanBase => Source::Show,
        };
        Self {
            queue: VecDeque::from([Step::Names(source), Step::Role]),
            asked: VecDeque::new(),
            read_only: Vec::new(),
            found: Inventory { flavour, variables: BTreeMap::new(), has_roles: false },
        }
    }

    /// The inventory, when it is done.
    pub fn finish(self) -> Option<Inventory> {
        (self.is_done() && !self.found.variables.is_empty()).then_some(self.found)
    }

    fn hear_names(&mut self, source: Source, answer: Answer) -> Result<(), StateError> {
        if let (Answer::Err { .. }, Some(next)) = (&answer, source.next()) {
            self.queue.push_back(Step::Names(next));
            return Ok(());
        }
        let mut names = Vec::new();
        for row in rows(answer, NAMES)?.rows {
            let mut row = row.into_iter();
            let (name, read_only) = (row.next().flatten(), row.next().flatten());
            let name = name.ok_or(StateError::Malformed { what: NAMES })?.to_ascii_lowercase();
            // Those of plug-ins and components have other names; none of them is a session's.
            let Some(name) = String::from_utf8(name).ok().filter(|name| is_plain(name)) else {
                continue;
            };
            if source == Source::MariaDb && read_only.as_deref() == Some(b"YES") {
                self.read_only.push(name.clone());
            }
            names.push(name);
        }
        if names.is_empty() {
            return Err(StateError::Malformed { what: NAMES });
        }
        self.queue.push_back(Step::Values(names));
        Ok(())
    }

    fn hear_values(&mut self, names: Vec<String>, answer: Answer) -> Result<(), StateError> {
        let numbers: Vec<bool> = match &answer {
            Answer::Rows(result) => {
                result.columns.iter().map(|column| column.is_number()).collect()
            }
            Answer::Ok | Answer::Err { .. } | Answer::Refused => Vec::new(),
        };
        match reading::hear(names, answer, VALUES)? {
            Told::Halves(halves) => self.queue.extend(halves.into_iter().map(Step::Values)),
            Told::Values(values) => {
                for ((name, fresh), is_number) in values.into_iter().zip(numbers) {
                    let is_writable = !self.read_only.contains(&name);
                    let known = Known { fresh, is_number, is_writable };
                    self.found.variables.insert(name, known);
                }
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    text::is_word(name.as_bytes())
}

impl Errand for Survey {
    fn ask(&mut self) -> Option<Question> {
        let step = self.queue.pop_front()?;
        let sql = match &step {
            Step::Names(source) => source.sql().into(),
            Step::Values(names) => reading::statement(names, Form::Typed),
            Step::Role => b"SELECT CURRENT_ROLE() LIMIT 1".to_vec(),
        };
        self.asked.push_back(step);
        Some(Question { of: Of::Session, sql })
    }

    fn hear(&mut self, answer: Answer) -> Result<(), StateError> {
        match self.asked.pop_front().ok_or(StateError::Unasked)? {
            Step::Names(source) => self.hear_names(source, answer),
            Step::Values(names) => self.hear_values(names, answer),
            Step::Role => {
                self.found.has_roles = matches!(answer, Answer::Rows(_));
                Ok(())
            }
        }
    }

    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.asked.is_empty()
    }
}
