//! Who has failed to prove himself, by address: each failure doubles the wait before the next try.
//!
//! During the wait nobody of that address is looked at, not even with the right password: else a
//! guess would cost nothing. Log-ins that are there already go on.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After the first failure.
const SHORTEST: Duration = Duration::from_millis(250);

/// After many: somebody else may be behind the same address.
const LONGEST: Duration = Duration::from_secs(15);

/// Without a failure for so long an address begins afresh.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// Addresses that are remembered; of more the one that failed longest ago is forgotten.
const MOST: usize = 4096;

/// All of them.
#[derive(Default)]
pub(super) struct Failures(Mutex<HashMap<String, Failed>>);

struct Failed {
    times: u32,
    last: Instant,
}

impl Failed {
    fn wait(&self) -> Duration {
        (SHORTEST * (1 << self.times.saturating_sub(1).min(16))).min(LONGEST)
    }
}

impl Failures {
    /// How long an address has to wait still.
    pub(super) fn wait(&self, peer: &str, now: Instant) -> Option<Duration> {
        let all = self.lock();
        let failed = all.get(&key(peer))?;
        let until = failed.last + failed.wait();
        (until > now).then(|| until - now)
    }

    /// One more.
    pub(super) fn note(&self, peer: &str, now: Instant) {
        let mut all = self.lock();
        all.retain(|_, failed| now.saturating_duration_since(failed.last) < FORGOTTEN);
        if all.len() >= MOST {
            let oldest = all.iter().min_by_key(|(_, failed)| failed.last);
            let oldest = oldest.map(|(peer, _)| peer.clone());
            oldest.and_then(|peer| all.remove(&peer));
        }
        let failed = all.entry(key(peer)).or_insert(Failed { times: 0, last: now });
        failed.times = failed.times.saturating_add(1);
        failed.last = now;
    }

    /// It has proved itself.
    pub(super) fn forget(&self, peer: &str) {
        self.lock().remove(&key(peer));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Failed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who has an address of IPv6 has 2^64 of them.
fn key(peer: &str) -> String {
    match peer.parse() {
        Ok(IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.to_string(),
            None => {
                let [a, b, c, d, ..] = ip.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_string()
            }
        },
        Ok(IpAddr::V4(_)) | Err(_) => peer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_limit() {
        let (failures, begun) = (Failures::default(), Instant::now());
        assert_eq!(failures.wait("10.0.0.1", begun), None);
        for (times, expected) in [(1, 250), (2, 500), (3, 1000), (4, 2000)] {
            failures.note("10.0.0.1", begun);
            let wait = failures.wait("10.0.0.1", begun);
            assert_eq!(wait, Some(Duration::from_millis(expected)), "{times}");
        }
        for _ in 0..100 {
            failures.note("10.0.0.1", begun);
        }
        assert_eq!(failures.wait("10.0.0.1", begun), Some(LONGEST));
        assert_eq!(failures.wait("10.0.0.1", begun + LONGEST), None);
        assert_eq!(failures.wait("10.0.0.2", begun), None, "others do not wait");
        failures.note("10.0.0.1", begun + FORGOTTEN);
        let wait = failures.wait("10.0.0.1", begun + FORGOTTEN);
        assert_eq!(wait, Some(SHORTEST), "it has begun afresh");
        failures.forget("10.0.0.1");
        assert_eq!(failures.wait("10.0.0.1", begun + FORGOTTEN), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (failures, now) = (Failures::default(), Instant::now());
        failures.note("2001:db8:1:2:3:4:5:6", now);
        assert!(failures.wait("2001:db8:1:2::1", now).is_some());
        assert!(failures.wait("2001:db8:1:3::1", now).is_none());
        failures.note("::ffff:10.0.0.1", now);
        assert!(failures.wait("10.0.0.1", now).is_some());
    }

    #[test]
    fn there_is_room_for_so_many() {
        let (failures, now) = (Failures::default(), Instant::now());
        for number in 0..=MOST as u64 {
            failures.note(&format!("a{number}"), now + Duration::from_micros(number));
        }
        assert_eq!(failures.lock().len(), MOST);
        assert!(failures.wait("a0", now).is_none() && failures.wait("a1", now).is_some());
    }
}
