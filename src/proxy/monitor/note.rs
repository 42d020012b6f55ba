//! What the log is told of a server: what has changed, and not too often.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::report::Outcome;
use crate::proxy::service::error::ServerError;
use crate::route::roles::Said;

/// No more than a line of a server in such a time, however often it changes.
const SELDOM: Duration = Duration::from_secs(10);

/// What was told of a server.
#[derive(Debug, Default)]
pub(super) struct Notes {
    told: Option<(Instant, String)>,
    refused: Vec<u16>,
    has_told_unseen: bool,
}

impl Notes {
    /// Tells what is new.
    pub(super) fn tell(&mut self, cluster: &str, server: &str, outcome: &Outcome, now: Instant) {
        let text = text(outcome);
        if !self.is_due(&text, now) {
            return;
        }
        match outcome {
            Ok(_) => tracing::info!(cluster, server, is = text, "server asked"),
            Err(_) => tracing::warn!(cluster, server, error = text, "cannot ask server"),
        }
    }

    /// Tells of what the account may not ask, once for each kind of refusal.
    pub(super) fn tell_refused(&mut self, cluster: &str, server: &str, refused: Vec<ServerError>) {
        for error in refused {
            if !self.refused.contains(&error.code) {
                self.refused.push(error.code);
                tracing::warn!(cluster, server, %error, "service_user may not ask everything");
            }
        }
    }

    /// Tells once that the account cannot see what triggers do.
    pub(super) fn tell_unseen(&mut self, cluster: &str, server: &str) {
        if !std::mem::replace(&mut self.has_told_unseen, true) {
            tracing::info!(
                cluster,
                server,
                "service_user cannot see what triggers do: it wants TRIGGER ON *.*"
            );
        }
    }

    fn is_due(&mut self, text: &str, now: Instant) -> bool {
        let is_due = self
            .told
            .as_ref()
            .is_none_or(|(at, told)| told != text && now.duration_since(*at) >= SELDOM);
        if is_due {
            self.told = Some((now, text.to_owned()));
        }
        is_due
    }
}

/// What is told, without what changes all the time.
fn text(outcome: &Outcome) -> String {
    let said = match outcome {
        Ok(said) => said,
        Err(error) => return error.to_string(),
    };
    let Said { at: _, read_only, super_read_only, replication, wsrep, group, lag: _ } = said;
    let mut text = String::from(match (read_only, super_read_only) {
        (Some(false), None | Some(false)) => "writable",
        (Some(_), _) | (None, Some(_)) => "read-only",
        (None, None) => "alive",
    });
    if let Some(replication) = replication {
        let _ = write!(text, ", replica of {}, {:?}", replication.source, replication.run);
    }
    if let Some(wsrep) = wsrep {
        let _ = write!(text, ", Galera: {wsrep:?}");
    }
    if let Some(group) = group {
        let _ = write!(text, ", group: {group:?}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_told_and_seldom() {
        let now = Instant::now();
        let mut notes = Notes::default();
        let table = [
            (0, "a", true),
            (1, "a", false),
            // Too soon, and then not any more.
            (9, "b", false),
            (10, "b", true),
            (100, "b", false),
            (101, "a", true),
            // It is what was told again: nothing has changed.
            (102, "b", false),
            (103, "a", false),
            (120, "a", false),
        ];
        for (second, text, is_due) in table {
            let now = now + Duration::from_secs(second);
            assert_eq!(notes.is_due(text, now), is_due, "{second}");
        }
    }
}
