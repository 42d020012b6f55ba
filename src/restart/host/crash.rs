//! Named points at which a test lets one side of a restart die, hang or fail.
//!
//! Only with the feature `crash-points`; otherwise [`at`] is nothing. `ODP_CRASH_AT` holds
//! `SIDE:POINT[:N]:WHAT`, or `@FILE` with that in the file, read again at each point. SIDE is
//! `predecessor` or `successor`, WHAT is `kill`, `stop`, `panic` or `err`, N counts the passes
//! from 1. A file is emptied by a kill, so that it befalls nobody who comes in its place.
//!
//! | point | crash points | where |
//! |---|---|---|
//! | `hello` | C1, C2 | S before HELLO; P on HELLO |
//! | `warm` | C3 | S has the offer; P has sent it |
//! | `listen` | C4 | P before the listeners; S with all of them |
//! | `ready` | C4 | S before READY; P on READY |
//! | `frozen` | C8 | P has a batch frozen |
//! | `send` | C9 | each side before it sends a batch |
//! | `sent` | C10 | each side has sent a batch |
//! | `rehearse` | | S is shown copies in a rehearsal |
//! | `parcels` | C5, C10, C13 | S before it adopts a batch |
//! | `adopt` | C10, C12 | each side before it adopts one session of the other |
//! | `acked` | C11 | S has acknowledged a batch; P on the ack |
//! | `closed` | C6 | P accepts no more, before GO |
//! | `go` | C6 | S on GO, before it accepts |
//! | `accepted` | C7, C14 | S accepts; P knows it |
//! | `drain` | C7, C14 | P at each progress in DRAIN |
//! | `probation` | C17 | P at each progress in PROBATION; S on it |
//! | `commit` | C16 | P before COMMIT; S on it |
//! | `committed` | C16, C19 | S has confirmed; P on it |
//! | `kept` | | P has what was altered in a file that has not got its name |

/// Which side passes a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that serves now.
    Predecessor,
    /// The one that takes over.
    Successor,
}

/// An error that a test has injected.
#[derive(Debug, thiserror::Error)]
#[error("injected error at {0}")]
pub struct Injected(&'static str);

/// Passes a point; the error is the injected one.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub(crate) fn at(_side: Side, _point: &'static str) -> Result<(), Injected> {
    Ok(())
}

/// Passes a point; the error is the injected one.
#[cfg(feature = "crash-points")]
pub(crate) fn at(side: Side, point: &'static str) -> Result<(), Injected> {
    armed::pass(side, point)
}

#[cfg(feature = "crash-points")]
mod armed {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Injected, Side};

    static PASSES: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(Mutex::default);

    pub(super) fn pass(side: Side, point: &'static str) -> Result<(), Injected> {
        let Ok(variable) = std::env::var("ODP_CRASH_AT") else { return Ok(()) };
        let file = variable.strip_prefix('@');
        let spec = match file {
            Some(file) => std::fs::read_to_string(file).unwrap_or_default(),
            None => variable.clone(),
        };
        let mut parts: Vec<&str> = spec.trim().split(':').collect();
        let what = parts.pop().unwrap_or_default();
        let nth = parts.get(2).and_then(|n| n.parse().ok()).unwrap_or(1);
        let name = match side {
            Side::Predecessor => "predecessor",
            Side::Successor => "successor",
        };
        if parts.first() != Some(&name) || parts.get(1) != Some(&point) || !is_due(&spec, nth) {
            return Ok(());
        }
        match what {
            "kill" => {
                file.into_iter().for_each(|file| drop(std::fs::write(file, "")));
                signal(Signal::KILL);
            }
            "stop" => signal(Signal::STOP),
            "panic" => panic!("injected panic at {point}"),
            _ => return Err(Injected(point)),
        }
        Ok(())
    }

    fn is_due(spec: &str, nth: u64) -> bool {
        let mut passes = PASSES.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passes.entry(spec.to_owned()).or_default();
        *count += 1;
        *count == nth
    }

    fn signal(signal: Signal) {
        if let Err(error) = kill_process(getpid(), signal) {
            tracing::error!(%error, "cannot crash");
        }
    }
}
