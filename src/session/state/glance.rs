//! A session's variables, asked of somebody else: the session is not touched, whatever it does.
//!
//! MySQL tells them in performance_schema, to whom may read it.

use std::collections::VecDeque;

use super::inventory::Inventory;
use super::pull::ByThread;
use super::question::{Answer, Errand, Of, Question, StateError, number, rows};
use super::shown::Shown;

/// Asks for what a session's variables are. Its questions are for a session of the service account.
#[derive(Debug)]
pub struct Glance<'a> {
    inventory: &'a Inventory,
    connection: u64,
    queue: VecDeque<ByThread>,
    asked: VecDeque<ByThread>,
    found: Vec<Shown>,
}

impl<'a> Glance<'a> {
    /// Of the session with this connection id, on the server whose inventory it is.
    pub fn new(inventory: &'a Inventory, connection: u64) -> Self {
        let queue = VecDeque::from([ByThread::Variables, ByThread::UserVariables]);
        Self { inventory, connection, queue, asked: VecDeque::new(), found: Vec::new() }
    }

    /// The variables; None: it is not done, or the server has no such session.
    pub fn finish(self) -> Option<Vec<Shown>> {
        (self.is_done() && !self.found.is_empty()).then_some(self.found)
    }

    fn hear_row(&mut self, what: ByThread, row: Vec<Option<Vec<u8>>>) -> Option<()> {
        let [name, value]: [Option<Vec<u8>>; 2] = row.try_into().ok()?;
        let name = name?;
        if let ByThread::UserVariables = what {
            self.found.push(Shown::user(&name, value.as_deref()));
            return Some(());
        }
        let name = String::from_utf8(name).ok()?.to_ascii_lowercase();
        match &*name {
            "last_insert_id" => {
                self.found.push(Shown::last_insert_id(number(value.as_deref())?));
            }
            _ => self.found.extend(self.inventory.shown(&name, value)),
        }
        Some(())
    }
}

impl Errand for Glance<'_> {
    fn ask(&mut self) -> Option<Question> {
        let what = self.queue.pop_front()?;
        self.asked.push_back(what);
        Some(Question { of: Of::Session, sql: what.sql(self.connection).into_bytes() })
    }

    fn hear(&mut self, answer: Answer) -> Result<(), StateError> {
        const WHAT: &str = "the variables of a session";
        let what = self.asked.pop_front().ok_or(StateError::Unasked)?;
        for row in rows(answer, WHAT)?.rows {
            self.hear_row(what, row).ok_or(StateError::Malformed { what: WHAT })?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.asked.is_empty()
    }
}
