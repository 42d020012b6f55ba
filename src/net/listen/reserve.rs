//! File descriptors for operators alone, when all others are in use.
//!
//! The soft limit stays a few below the hard one, and is raised for one call at a time. So nobody
//! else gets these numbers, also when one of them is free again; a file that was kept open to be
//! closed in need would be lost to whoever opens the next one.

use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// So many operators at a time. Part of what a process needs for itself.
const RESERVE: u64 = 8;

/// Who has less is not to lose any of it.
const SCARCE: u64 = 32;

/// Makes the limit of open files as high as it may be, but for the reserve.
pub fn raise_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum.map(|most| if most > SCARCE { most - RESERVE } else { most });
    Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
}

/// How many files may be open, the reserve included. Asked for each time: both limits may be
/// changed while the process runs.
pub fn open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    raised(limit).unwrap_or(u64::MAX)
}

/// What this opens may come from the reserve. It must not wait.
pub(super) fn lend<T>(open: impl FnOnce() -> T) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = getrlimit(Resource::Nofile);
    let lent = setrlimit(Resource::Nofile, Rlimit { current: raised(limit), ..limit });
    let opened = open();
    if lent.is_ok() {
        // What may be raised may be lowered.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    opened
}

/// The soft limit with the reserve; None is no limit.
fn raised(limit: Rlimit) -> Option<u64> {
    let higher = limit.current?.saturating_add(RESERVE);
    Some(limit.maximum.map_or(higher, |most| higher.min(most)))
}
