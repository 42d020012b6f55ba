//! Many system variables in one row, and what to do when a server does not have one of them.
//!
//! One name that is not known fails the whole statement, so the names are then asked in halves:
//! one variable is lost by it, and not the session.

use super::question::{Answer, StateError, rows};
use super::text::bytes_of;
use super::variable::Value;

/// How values are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With their type. Strings, and on MariaDB numbers too, come in the session's character set
    /// for results: only for a session of ours, whose is UTF-8.
    Typed,
    /// As bytes, which no character set changes.
    Bytes,
}

/// ER_UNKNOWN_SYSTEM_VARIABLE, ER_INCORRECT_GLOBAL_LOCAL_VAR, ER_SPECIFIC_ACCESS_DENIED_ERROR,
/// ER_WRONG_TYPE_FOR_VAR: the fault of one variable.
const OF_ONE_VARIABLE: &[u16] = &[1193, 1238, 1227, 1232];

/// What an answer to a list of names told.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// Their values.
    Values(Vec<(String, Value)>),
    /// One of them is not to be had: ask for these lists.
    Halves(Vec<Vec<String>>),
}

/// The statement that reads variables of the session.
pub fn statement(names: &[String], form: Form) -> Vec<u8> {
    let variables: Vec<String> = names.iter().map(|name| format!("@@session.{name}")).collect();
    match form {
        Form::Typed => format!("SELECT {} LIMIT 1", variables.join(", ")).into_bytes(),
        Form::Bytes => bytes_of(&variables),
    }
}

/// The answer to a [`statement`].
pub fn hear(
    mut names: Vec<String>,
    answer: Answer,
    what: &'static str,
) -> Result<Told, StateError> {
    if let Answer::Err { code, message } = &answer
        && OF_ONE_VARIABLE.contains(code)
    {
        // The error names it, in quotes that depend on the language.
        if let Some(at) = names.iter().position(|name| is_quoted_in(message, name.as_bytes())) {
            names.remove(at);
            return Ok(Told::Halves(if names.is_empty() { vec![] } else { vec![names] }));
        }
        let behind = names.split_off(names.len() / 2);
        return Ok(Told::Halves(match names.is_empty() {
            true => vec![],
            false => vec![names, behind],
        }));
    }
    let mut result = rows(answer, what)?;
    let row = result.rows.pop().filter(|row| result.rows.is_empty() && row.len() == names.len());
    let row = row.ok_or(StateError::Malformed { what })?;
    let values = row.into_iter().zip(&result.columns).map(|(value, column)| match value {
        None => Value::Null,
        Some(digits) if column.is_number() => Value::Number(digits),
        Some(text) => Value::Text(text),
    });
    Ok(Told::Values(names.into_iter().zip(values).collect()))
}

fn is_quoted_in(message: &[u8], name: &[u8]) -> bool {
    let quoted = [b"'", name, b"'"].concat();
    message.windows(quoted.len()).any(|window| window.eq_ignore_ascii_case(&quoted))
}
