//! What people see while proxies restart: bars that renew themselves on a terminal, a line for
//! each phase elsewhere. Progress goes to stderr, results to stdout.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::chain;
use crate::fleet::port::Row;
use crate::fleet::progress::Progress;

/// Phases of a restart in order, as SHOW RESTART names them.
const PHASES: [&str; 10] = [
    "PREFLIGHT",
    "HELLO",
    "WARM",
    "LISTEN",
    "CANARY",
    "SESSIONS",
    "ACCEPT",
    "DRAIN",
    "PROBATION",
    "COMMIT",
];
/// Characters of a bar.
const WIDTH: usize = 30;
/// More bars than that are not drawn: they would not fit the screen, and could not be renewed.
const MOST: usize = 16;

/// The proxies that are being restarted.
pub(super) struct Board {
    is_terminal: bool,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    /// What is shown of each.
    lines: BTreeMap<String, String>,
    /// What was said last of each; on a plain stderr the same is not said again.
    said: BTreeMap<String, String>,
    /// Lines on the screen that are to be renewed.
    drawn: usize,
}

impl Board {
    /// An empty one.
    pub(super) fn new() -> Self {
        let live = Mutex::default();
        Self { is_terminal: std::io::stderr().is_terminal(), live }
    }

    fn renew(&self, name: &str, said: &str, line: String) {
        let mut live = self.live();
        let before = live.said.insert(name.to_owned(), said.to_owned());
        if self.is_terminal {
            live.lines.insert(name.to_owned(), line);
            self.erase(&mut live);
            self.draw(&mut live);
        } else if before.as_deref() != Some(said) {
            let _ = writeln!(std::io::stderr(), "{name}: {said}");
        }
    }

    fn erase(&self, live: &mut Live) {
        if live.drawn > 0 {
            let _ = write!(std::io::stderr(), "\x1b[{}A\x1b[J", live.drawn);
            live.drawn = 0;
        }
    }

    fn draw(&self, live: &mut Live) {
        let lines: Vec<String> =
            live.lines.iter().take(MOST).map(|(name, line)| format!("{name}: {line}\n")).collect();
        live.drawn = lines.len();
        if live.drawn > 0 {
            // Without wrapping: a long name must not make two lines of one.
            let _ = write!(std::io::stderr(), "\x1b[?7l{}\x1b[?7h", lines.concat());
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Board {
    fn shows(&self, name: &str, task: &Row) {
        let text = |name| task.text(name).unwrap_or_default();
        let (phase, moved, sessions) = (text("phase"), text("moved"), text("sessions"));
        let left = match task.number("draining").unwrap_or_default() {
            0 => String::new(),
            left => format!(", {left} left, {} in transaction", text("in_transaction")),
        };
        let line = format!("{} {phase:<9} {moved}/{sessions} moved{left}", bar(task));
        self.renew(name, &format!("{phase}{left}"), line);
    }

    fn says(&self, name: &str, text: &str) {
        self.renew(name, text, text.to_owned());
    }

    fn ended(&self, name: &str, outcome: anyhow::Result<String>) {
        let mut live = self.live();
        live.lines.remove(name);
        self.erase(&mut live);
        // Somebody who reads only the first lines is no reason to stop halfway.
        let _ = match outcome {
            Ok(text) => writeln!(std::io::stdout(), "{name}: {text}"),
            Err(error) => {
                let error = chain(error.as_ref());
                writeln!(std::io::stderr(), "odp: {name}: {error}")
            }
        };
        self.draw(&mut live);
    }

    fn left_alone(&self, name: &str) {
        let _ = writeln!(std::io::stderr(), "odp: {name}: not restarted");
    }
}

/// How far a task is: each phase is a part of the bar, and SESSIONS fills as they move.
fn bar(task: &Row) -> String {
    let phase = task.text("phase").unwrap_or_default();
    let at = PHASES.iter().position(|name| *name == phase).unwrap_or_default();
    let part = WIDTH / PHASES.len();
    let sessions = task.number("sessions").unwrap_or_default().max(1);
    let moved = task.number("moved").unwrap_or_default().min(sessions);
    let within = if phase == "SESSIONS" { part * moved as usize / sessions as usize } else { 0 };
    let full = match task.text("state") {
        Some("COMPLETED") => WIDTH,
        _ => at * part + within,
    };
    format!("[{}{}]", "#".repeat(full), "-".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_with_the_phases_and_the_sessions() {
        for (state, phase, moved, full) in [
            ("IN_PROGRESS", "PREFLIGHT", "0", 0),
            ("IN_PROGRESS", "SESSIONS", "0", 15),
            ("IN_PROGRESS", "SESSIONS", "200", 17),
            ("IN_PROGRESS", "DRAIN", "300", 21),
            ("IN_PROGRESS", "PROBATION", "300", 24),
            ("COMPLETED", "COMMIT", "300", 30),
        ] {
            let columns =
                [("state", state), ("phase", phase), ("moved", moved), ("sessions", "300")];
            let task = Row(columns.map(|(name, text)| (name.into(), text.into())).to_vec());
            assert_eq!(bar(&task).matches('#').count(), full, "{state} {phase} {moved}");
            assert_eq!(bar(&task).len(), WIDTH + 2);
        }
    }
}
