//! How long a server lets a session's client be silent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A session's `wait_timeout` in seconds, 0 if it is not known; above it, as of which version of
/// the session's state.
#[derive(Debug, Default)]
pub struct WaitTimeout(AtomicU64);

impl WaitTimeout {
    /// It is this, in this version of the session's state; None: it is not known.
    pub fn set(&self, seconds: Option<u32>, version: u32) {
        let seconds = u64::from(seconds.unwrap_or_default());
        self.0.store(u64::from(version) << 32 | seconds, Ordering::Relaxed);
    }

    /// It, if it is known, and the version.
    pub fn get(&self) -> Option<(Duration, u32)> {
        let both = self.0.load(Ordering::Relaxed);
        let (seconds, version) = (both & u64::from(u32::MAX), both >> 32);
        let version = u32::try_from(version).unwrap_or_default();
        (seconds > 0).then(|| (Duration::from_secs(seconds), version))
    }

    /// That of a session whose state has this version, if it is known.
    pub fn of(&self, version: u32) -> Option<Duration> {
        self.get().filter(|(_, known)| *known == version).map(|(timeout, _)| timeout)
    }
}

/// The seconds, as a server writes them.
pub fn seconds(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
