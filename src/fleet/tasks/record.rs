//! A task as it is kept and shown: what was asked for, and how far each proxy is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{ExitTimeout, Span};
use crate::names::named;
use crate::restart::task as restart;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// How clients are treated.
    pub mode: Mode,
    /// Instead of what each proxy's config says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_timeout: Option<ExitTimeout>,
    /// The program that takes over, on the machine of each proxy; None is its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<PathBuf>,
    /// The config, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// So many at a time.
    pub batch: usize,
    /// So many first, before all others; 0: none.
    pub canary: usize,
    /// For so long those that were restarted are watched before it goes on.
    pub pause: Span,
    /// Percent by which more of their answers may be errors meanwhile than before.
    pub max_error_percent: u32,
    /// Whether it stops at the first failure.
    pub stop_on_failure: bool,
    /// Whether each is asked first what it would not take over.
    pub rehearsal: bool,
    /// Only those that serve this cluster; None: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Only these; empty: all.
    pub proxies: Vec<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            mode: Mode::Restart,
            exit_timeout: None,
            binary: None,
            config: None,
            batch: 1,
            canary: 1,
            pause: Span(std::time::Duration::from_secs(5)),
            max_error_percent: 5,
            stop_on_failure: true,
            rehearsal: true,
            cluster: None,
            proxies: Vec::new(),
        }
    }
}

named! {
    /// How clients are treated.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Mode {
        /// Nobody notices.
        Restart = "RESTART",
        /// Each gets an error, at once.
        Force = "FORCE",
    }
}

named! {
    /// How a task stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum State {
        /// It goes on.
        InProgress = "IN_PROGRESS",
        /// Every proxy is restarted, and well.
        Completed = "COMPLETED",
        /// One is not; those behind it were left alone.
        Failed = "FAILED",
        /// An operator has stopped it.
        Stopped = "STOPPED",
        /// Those that were restarted run again what they ran before.
        RolledBack = "ROLLED_BACK",
    }
}

named! {
    /// What a task is about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Stage {
        /// Each proxy is asked what it would not take over; nothing is restarted.
        Rehearsal = "REHEARSAL",
        /// They are restarted.
        Rolling = "ROLLING",
        /// They are restarted into what they ran before.
        RollingBack = "ROLLING_BACK",
    }
}

named! {
    /// How a proxy stands in it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum StepState {
        Waiting = "WAITING",
        Rehearsing = "REHEARSING",
        Rehearsed = "REHEARSED",
        Restarting = "RESTARTING",
        Restarted = "RESTARTED",
        Watched = "WATCHED",
        Done = "DONE",
        Failed = "FAILED",
        /// Its restart is being taken back.
        Undoing = "UNDOING",
        Returning = "RETURNING",
        RolledBack = "ROLLED_BACK",
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Counts up, at this proxy.
    pub id: u64,
    /// What was asked for.
    pub request: Request,
    /// By whom.
    pub by: String,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// The same, when it ended.
    pub ended_at_ms: Option<u64>,
    /// How it stands.
    pub state: State,
    /// What it is about.
    pub stage: Stage,
    /// An operator has asked it to begin nothing more.
    pub is_stopping: bool,
    /// The proxies, in order; the one that coordinates is the last.
    pub steps: Vec<Step>,
    /// Why it ended, or what it waits for.
    pub detail: String,
}

impl Task {
    /// Whether it has had the proxy that coordinates it begin a restart, or a rehearsal, just then.
    /// By the clock: a proxy that refuses one tells no id of it.
    pub(super) fn has_begun(&self, mode: restart::Mode, at_ms: u64) -> bool {
        let phases = match mode {
            restart::Mode::Rehearse => &["REHEARSE"][..],
            restart::Mode::Restart | restart::Mode::Force => &["RESTART", "ROLLBACK"],
            restart::Mode::Unknown => return false,
        };
        let own = self.steps.iter().filter(|step| step.coordinates).flat_map(|step| {
            let ends = step.phases.iter().skip(1).map(|next| next.begun_at_ms);
            // One that was interrupted has no end of its own.
            step.phases.iter().zip(ends.map(Some).chain([self.ended_at_ms]))
        });
        let mut own = own.filter(|(phase, _)| phases.contains(&phase.name.as_str()));
        own.any(|(phase, limit)| {
            let end = phase.ended_at_ms.or(limit).unwrap_or(u64::MAX);
            (phase.begun_at_ms..=end).contains(&at_ms)
        })
    }
}

/// A proxy's part in a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What people call the proxy.
    pub proxy: String,
    /// Its admin port.
    pub address: String,
    /// Whether it is the one that coordinates.
    pub coordinates: bool,
    /// How it stands.
    pub state: StepState,
    /// What it ran before the task.
    pub before: Option<Build>,
    /// How it stood before the restart that was asked for last.
    pub mark: Option<Mark>,
    /// What it has gone through.
    pub phases: Vec<Phase>,
    /// What is going on, or why it failed.
    pub detail: String,
}

/// What a proxy runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Of the program.
    pub version: String,
    /// The program's file; empty: it is not known.
    pub binary: String,
    /// The config's file.
    pub config: String,
}

/// By what a restart is told from those before it, whatever the clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The proxy's.
    pub generation: u64,
    /// The newest of its restart tasks; 0: there was none.
    pub last_task: u64,
    /// Answers until then, and how many of them were errors.
    pub answers: Answers,
}

/// What clients got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// All.
    pub all: u64,
    /// Errors among them.
    pub errors: u64,
}

/// Something that a proxy has gone through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// REHEARSE, RESTART, WATCH, ROLLBACK.
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub begun_at_ms: u64,
    /// The same, when it ended.
    pub ended_at_ms: Option<u64>,
    /// How it ended.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use restart::Mode::{Force, Rehearse, Restart};

    fn phase(name: &str, begun_at_ms: u64, ended_at_ms: Option<u64>) -> Phase {
        Phase { name: name.into(), begun_at_ms, ended_at_ms, detail: String::new() }
    }

    #[test]
    fn a_restart_is_part_of_the_task_that_has_it_begun() {
        let step = |coordinates: bool, phases: &[Phase]| Step {
            proxy: "a".into(),
            address: "127.0.0.1:1".into(),
            coordinates,
            state: StepState::Failed,
            before: None,
            mark: None,
            phases: phases.to_vec(),
            detail: String::new(),
        };
        let other = step(false, &[phase("RESTART", 0, None)]);
        let interrupted = phase("REHEARSE", 10, None);
        let own = [interrupted, phase("REHEARSE", 20, Some(30)), phase("RESTART", 40, None)];
        let task = Task {
            id: 1,
            request: Request::default(),
            by: "ann".into(),
            started_at_ms: 5,
            ended_at_ms: Some(50),
            state: State::Failed,
            stage: Stage::Rolling,
            is_stopping: false,
            steps: vec![other, step(true, &own)],
            detail: String::new(),
        };
        for (mode, at_ms, expected) in [
            (Rehearse, 9, false),
            (Rehearse, 15, true),
            (Rehearse, 30, true),
            (Rehearse, 31, false),
            (Rehearse, 45, false),
            (Restart, 25, false),
            (Restart, 40, true),
            (Force, 50, true),
            (Restart, 51, false),
            (restart::Mode::Unknown, 45, false),
        ] {
            assert_eq!(task.has_begun(mode, at_ms), expected, "{mode} at {at_ms}");
        }
        let under_way = Task { ended_at_ms: None, ..task };
        assert!(under_way.has_begun(Restart, 1000));
    }
}
