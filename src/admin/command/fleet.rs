//! RESTART FLEET: its words.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::ExitTimeout;
use crate::error::ClientError;
use crate::fleet::tasks::{Mode, Request};

/// What may follow RESTART FLEET.
pub(super) const EXPECTED: &str = "expected FORCE, BATCH, CANARY, PAUSE, MAX_ERROR_PERCENT, \
    STOP_ON_FAILURE, REHEARSAL, CLUSTER, PROXIES, EXIT_TIMEOUT, BINARY or CONFIG; or STOP, \
    ROLLBACK or RETRY, and perhaps the id of a task; or REHEARSE, CLUSTER and PROXIES";

/// RESTART FLEET …
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A new task.
    Start(Request),
    /// REHEARSE: each says what it would not move, and nothing is restarted. Only of a cluster, and
    /// of proxies by their names.
    Rehearse(Request),
    /// Of a task; None is the newest.
    Of(Word, Option<u64>),
}

/// What is to become of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It begins nothing more.
    Stop,
    /// What was restarted runs again what it ran before.
    RollBack,
    /// It goes on from where it has failed or was stopped.
    Retry,
}

impl Word {
    /// As operators say them.
    pub const ALL: [(&str, Self); 3] =
        [("stop", Self::Stop), ("rollback", Self::RollBack), ("retry", Self::Retry)];
}

/// Sets an option of a task by its name.
pub fn set(request: &mut Request, option: &str, value: &str) -> Result<(), ClientError> {
    let wrong = |expected: &str| ClientError::wrong_value(option, value, expected);
    let count = |from: usize| {
        let count = value.parse().ok().filter(|count| (from..=1000).contains(count));
        count.ok_or_else(|| wrong(&format!("expected {from} to 1000")))
    };
    let flag = || match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err(wrong("expected 'on' or 'off'")),
    };
    match option {
        "batch" => request.batch = count(1)?,
        "canary" => request.canary = count(0)?,
        "pause" => request.pause = value.parse().map_err(|error: String| wrong(&error))?,
        "max_error_percent" => {
            let percent = value.parse().ok().filter(|percent| *percent <= 100);
            request.max_error_percent = percent.ok_or_else(|| wrong("expected 0 to 100"))?;
        }
        "stop_on_failure" => request.stop_on_failure = flag()?,
        "rehearsal" => request.rehearsal = flag()?,
        "cluster" if value.is_empty() => return Err(wrong("expected the name of a cluster")),
        "cluster" => request.cluster = Some(value.to_owned()),
        "proxies" => {
            let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
            request.proxies = names.map(str::to_owned).collect();
        }
        "exit_timeout" => {
            let timeout: Result<ExitTimeout, String> = match value {
                "0" => Ok(ExitTimeout::After(Duration::ZERO)),
                other => other.parse(),
            };
            request.exit_timeout = Some(timeout.map_err(|error| wrong(&error))?);
        }
        "binary" => request.binary = Some(absolute(value).map_err(wrong)?),
        "config" => request.config = Some(absolute(value).map_err(wrong)?),
        _ => return Err(ClientError::syntax(format!("RESTART FLEET: '{option}': {EXPECTED}"))),
    }
    Ok(())
}

/// Every proxy has a working directory of its own.
fn absolute(value: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(value);
    path.is_absolute().then_some(path).ok_or("expected an absolute path")
}

/// The mode of a task that is asked for by a word.
pub(super) fn force(request: &mut Request) {
    request.mode = Mode::Force;
}
