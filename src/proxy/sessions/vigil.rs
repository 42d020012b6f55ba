//! The home of a session that reads elsewhere, which hears nothing meanwhile: after `wait_timeout`
//! its server would close it, and the session's next write would be lost with it.
//!
//! ```text
//!   each second: silent for wait_timeout ─► the session ends, as it would with one server
//!                its client has spoken since the home last heard something, which is half of
//!                wait_timeout ago ─► the home hears something
//! ```
//!
//! So a client that says nothing is not kept: the home hears no more for it than once. Written by
//! the session's task, looked at by who counts its seconds. Invariant: nothing here is asked of a
//! session with one connection.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::wait_timeout::WaitTimeout;

/// See above.
#[derive(Debug, Default)]
pub struct Vigil {
    /// The session's.
    timeout: WaitTimeout,
    /// The home has had a command since the last second.
    is_used: AtomicBool,
    /// Seconds since it had one, or was asked.
    rest: AtomicU32,
    /// What had moved when it was last asked.
    bytes: AtomicU64,
}

/// A session as it is in this second.
#[derive(Clone, Copy, Debug)]
pub struct Second {
    /// How long nothing has moved.
    pub idle: Duration,
    /// What has moved so far.
    pub bytes: u64,
    /// Another connection has the client's commands.
    pub reads_elsewhere: bool,
}

impl Vigil {
    /// The session's `wait_timeout` is this, in this version of its state.
    pub fn set_timeout(&self, seconds: u32, version: u32) {
        self.timeout.set(Some(seconds), version);
    }

    /// `wait_timeout` of a session whose state has this version, if it is known.
    pub fn timeout_of(&self, version: u32) -> Option<Duration> {
        self.timeout.of(version)
    }

    /// A command goes to the home.
    pub fn handle_use(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }

    /// Called each second: whether the session is to see to its home.
    pub fn tick(&self, second: Second) -> bool {
        let Second { idle, bytes, reads_elsewhere } = second;
        let timeout = self.timeout.get().map(|(timeout, _)| timeout);
        if timeout.is_some_and(|timeout| idle >= timeout) {
            return true;
        }
        let is_used = self.is_used.swap(false, Ordering::Relaxed);
        if is_used || !reads_elsewhere {
            self.rest.store(0, Ordering::Relaxed);
        }
        let rest = self.rest.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let is_active = self.bytes.load(Ordering::Relaxed) != bytes;
        let rest = Duration::from_secs(rest.into());
        let is_due = timeout.is_none_or(|timeout| rest * 2 >= timeout);
        if !(reads_elsewhere && is_active && is_due) {
            return false;
        }
        self.rest.store(0, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each second comes to: `r` a read elsewhere, `h` a command at home, `-` silence; and
    /// where the home hears something, `!`.
    fn heard(timeout: u32, seconds: &str) -> String {
        let vigil = Vigil::default();
        vigil.set_timeout(timeout, 7);
        let (mut bytes, mut idle, mut reads_elsewhere) = (1, 0, false);
        let tick = |what: char| {
            let is_silent = what == '-';
            (bytes, idle) = if is_silent { (bytes, idle + 1) } else { (bytes + 1, 0) };
            if !is_silent {
                reads_elsewhere = what == 'r';
            }
            if what == 'h' {
                vigil.handle_use();
            }
            let idle = Duration::from_secs(idle);
            if vigil.tick(Second { idle, bytes, reads_elsewhere }) { '!' } else { '.' }
        };
        seconds.chars().map(tick).collect()
    }

    #[test]
    fn a_home_hears_something_if_its_client_has_spoken() {
        for (timeout, seconds, expected) in [
            // At half of the time, as long as somebody reads.
            (8, "hrrrrrrrrr", "...!...!.."),
            (2, "hrrr", ".!!!"),
            // What is said between two looks counts.
            (8, "hr---r----", "...!...!.."),
            // Nobody speaks: no more than once, and then it is over.
            (8, "hr---------", "...!.....!!"),
            (8, "hhhh---------", "...........!!"),
            // It is the home that has the commands.
            (8, "hrhhhhhhhhh", "..........."),
            // Not known: it is asked once, as soon as somebody reads.
            (0, "hrrr", ".!!!"),
            (0, "hr--", ".!.."),
        ] {
            assert_eq!(heard(timeout, seconds), expected, "{timeout} {seconds}");
        }
    }

    #[test]
    fn what_is_known_is_known_of_one_state() {
        let vigil = Vigil::default();
        assert_eq!(vigil.timeout_of(0), None);
        vigil.set_timeout(28_800, 3);
        assert_eq!(vigil.timeout_of(3), Some(Duration::from_secs(28_800)));
        assert_eq!(vigil.timeout_of(4), None);
    }
}
