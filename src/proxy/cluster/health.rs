//! Whether a server can be used, as far as is known: told by whoever waits for it.
//!
//! Whoever has to stop waiting, as its log-in ends, tells as well: else a server that takes
//! connections and says nothing would be the first choice for ever. Held against a server is only a
//! wait that was long enough ([`Allotment::fair`]): a client that is slow, or leaves, is no
//! server's fault.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::config::ProxySection;
use crate::lock::lock;
use crate::route::Allotment;
use crate::route::congestion::{Congestion, Detected, Failure, Heard, Limits, Standing, View};

/// What is known of one server.
#[derive(Clone, Debug)]
pub(super) struct Health(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    congestion: Congestion,
    limits: Limits,
}

/// Somebody waits for a server. Whoever drops it had to stop.
#[derive(Debug)]
pub(super) struct Wait {
    health: Health,
    server: Arc<str>,
    what: &'static str,
    began: Instant,
    time: Allotment,
    is_over: bool,
}

/// The parameters of the black list.
pub(super) fn limits(proxy: &ProxySection) -> Limits {
    Limits {
        failures: proxy.congestion_failure_threshold,
        window: proxy.congestion_fail_window.0,
        retry: proxy.congestion_retry_interval.0,
        detect_failures: proxy.server_detect_fail_threshold,
    }
}

impl Health {
    /// Of a server of which nothing is known.
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Known { congestion: Congestion::default(), limits })))
    }

    /// The parameters.
    pub(super) fn limits(&self) -> Limits {
        lock(&self.0).limits
    }

    /// The parameters have changed.
    pub(super) fn set_limits(&self, limits: Limits) {
        lock(&self.0).limits = limits;
    }

    /// How it is to be treated.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        let known = lock(&self.0);
        known.congestion.standing(now, &known.limits)
    }

    /// Whether it has failed since it last answered.
    pub(super) fn is_suspected(&self) -> bool {
        lock(&self.0).congestion.is_suspected()
    }

    /// What was heard of it last.
    pub(super) fn heard(&self) -> Heard {
        lock(&self.0).congestion.heard()
    }

    /// It has greeted.
    pub(super) fn greet(&self) {
        lock(&self.0).congestion.greet();
    }

    /// It could not be used.
    pub(super) fn fail(&self, failure: Failure) {
        let Known { congestion, limits } = &mut *lock(&self.0);
        congestion.fail(failure, Instant::now(), limits);
    }

    /// It answers log-ins.
    pub(super) fn recover(&self) {
        lock(&self.0).congestion.recover();
    }

    /// It was asked whether it lives.
    pub(super) fn detect(&self, is_alive: bool) -> Detected {
        let Known { congestion, limits } = &mut *lock(&self.0);
        match is_alive {
            true => congestion.detect_alive(),
            false => congestion.detect_dead(Instant::now(), limits),
        }
    }

    /// Whether it was asked in vain so often that it counts as dead.
    pub(super) fn is_detected_dead(&self) -> bool {
        lock(&self.0).congestion.is_detected_dead()
    }

    /// Nobody asks it any more.
    pub(super) fn stop_detecting(&self) {
        lock(&self.0).congestion.stop_detecting();
    }

    /// What people see of it, and how it is to be treated.
    pub(super) fn view(&self, now: Instant) -> (View, Standing) {
        let known = lock(&self.0);
        let Known { congestion, limits } = &*known;
        (congestion.view(now, limits), congestion.standing(now, limits))
    }

    /// Begins to wait for the server's `what`.
    ///
    /// One that had failed is tried by one client alone: until that one knows, the others go
    /// elsewhere.
    pub(super) fn wait(&self, server: &Arc<str>, what: &'static str, time: Allotment) -> Wait {
        let began = Instant::now();
        lock(&self.0).congestion.begin(began);
        Wait { health: self.clone(), server: server.clone(), what, began, time, is_over: false }
    }
}

impl Wait {
    /// The time was up without an answer.
    pub(super) fn overdue(mut self) {
        self.is_over = true;
        self.blame();
    }

    /// It cannot be used.
    pub(super) fn failed(mut self, failure: Failure) {
        self.is_over = true;
        self.health.fail(failure);
    }

    /// It has answered, whatever that means.
    pub(super) fn over(mut self) {
        self.is_over = true;
    }

    fn blame(&self) -> bool {
        let is_at_fault = self.began.elapsed() >= self.time.fair;
        if is_at_fault {
            self.health.fail(Failure::Alive);
        }
        is_at_fault
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if !self.is_over && self.blame() {
            let (server, waited) = (&*self.server, self.began.elapsed());
            tracing::warn!(
                server,
                ?waited,
                "a log-in has ended without the server's {}",
                self.what
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NONE: Allotment = Allotment { limit: Duration::ZERO, fair: Duration::ZERO };
    const LONG: Allotment =
        Allotment { limit: Duration::from_secs(60), fair: Duration::from_secs(60) };

    #[test]
    fn a_wait_is_held_against_the_server_if_it_was_long() {
        let name: Arc<str> = "s".into();
        let failed = |wait: Wait| wait.failed(Failure::Connect);
        let ends: [fn(Wait); 4] = [drop, Wait::overdue, Wait::over, failed];
        for (time, expected) in
            [(NONE, [true, true, false, true]), (LONG, [false, false, false, true])]
        {
            let failed = ends.map(|end| {
                let health = Health::new(limits(&ProxySection::default()));
                end(health.wait(&name, "greeting", time));
                health.is_suspected()
            });
            assert_eq!(failed, expected, "{time:?}");
        }
    }

    #[test]
    fn one_that_had_failed_is_tried_by_one_alone() {
        let limits = Limits { retry: Duration::from_secs(20), ..limits(&ProxySection::default()) };
        let health = Health::new(limits);
        health.fail(Failure::Connect);
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(health.standing(later), Standing::Good, "it may be tried again");
        let wait = health.wait(&"s".into(), "greeting", LONG);
        assert_eq!(health.standing(Instant::now()), Standing::Suspect);
        wait.over();
        assert!(health.is_suspected(), "a greeting is not yet a log-in");
        health.recover();
        assert!(!health.is_suspected());
    }
}
