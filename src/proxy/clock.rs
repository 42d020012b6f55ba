//! A clock that goes on in other processes of a host: CLOCK_MONOTONIC.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since it began.
pub(super) fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1000)
}
