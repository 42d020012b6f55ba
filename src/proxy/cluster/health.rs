//! Whether a server can be used, as far as is known: told by whoever waits for it.
//!
//! Whoever has to stop waiting, as its log-in ends, tells as well: else a server that takes
//! connections and says nothing would be the first choice for ever. Held against a server is only a
//! wait that was long enough ([`Allotment::fair`]): a client that is slow, or leaves, is no
//! server's fault.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::proxy::lock::lock;
use crate::route::Allotment;

/// What is known of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(Arc<Mutex<Option<Instant>>>);

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

impl Health {
    /// When it last could not be used; None if it could since.
    pub(super) fn failed_at(&self) -> Option<Instant> {
        *lock(&self.0)
    }

    /// It could not be used.
    pub(super) fn fail(&self) {
        *lock(&self.0) = Some(Instant::now());
    }

    /// It answers log-ins.
    pub(super) fn recover(&self) {
        *lock(&self.0) = None;
    }

    /// Begins to wait for the server's `what`.
    ///
    /// One that had failed is tried by one client alone: until that one knows, the others go
    /// elsewhere.
    pub(super) fn wait(&self, server: &Arc<str>, what: &'static str, time: Allotment) -> Wait {
        let began = Instant::now();
        if let Some(failed_at) = &mut *lock(&self.0) {
            *failed_at = began;
        }
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
    pub(super) fn failed(mut self) {
        self.is_over = true;
        self.health.fail();
    }

    /// It has answered, whatever that means.
    pub(super) fn over(mut self) {
        self.is_over = true;
    }

    fn blame(&self) -> bool {
        let is_at_fault = self.began.elapsed() >= self.time.fair;
        if is_at_fault {
            self.health.fail();
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
        let ends: [fn(Wait); 4] = [drop, Wait::overdue, Wait::over, Wait::failed];
        for (time, expected) in
            [(NONE, [true, true, false, true]), (LONG, [false, false, false, true])]
        {
            let failed = ends.map(|end| {
                let health = Health::default();
                end(health.wait(&name, "greeting", time));
                health.failed_at().is_some()
            });
            assert_eq!(failed, expected, "{time:?}");
        }
    }

    #[test]
    fn one_that_had_failed_is_tried_by_one_alone() {
        let health = Health::default();
        health.fail();
        let before = health.failed_at();
        let wait = health.wait(&"s".into(), "greeting", LONG);
        assert!(health.failed_at() >= before);
        wait.over();
        assert!(health.failed_at().is_some(), "a greeting is not yet a log-in");
        health.recover();
        assert_eq!(health.failed_at(), None);
    }
}
