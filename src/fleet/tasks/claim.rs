//! Who is about to begin a task: of two proxies that are asked at once for a restart of each other
//! only one does it, and the other one says why it does not.
//!
//! A claim can be seen from before its proxy asks anybody how he is until its task is begun or
//! refused. So of two each asks when its own can be seen, and at least one sees the other. Whoever
//! sees one that is before its own gives way; whoever sees a later one waits what becomes of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::now;

/// The claim of this process, if it has one.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<Option<String>>);

/// It can be seen as long as this is there.
#[must_use]
pub(super) struct Claim<'c> {
    claims: &'c Claims,
    name: String,
}

impl Claims {
    /// Makes one. Orders are judged one at a time: there is no other one.
    pub(super) fn make(&self) -> Claim<'_> {
        let mut noise = [0; 8];
        // Two that are the same give way both.
        let _ = getrandom::fill(&mut noise);
        let name = format!("{:015}.{:016x}", now(), u64::from_be_bytes(noise));
        *self.lock() = Some(name.clone());
        Claim { claims: self, name }
    }

    /// The one that there is.
    pub(super) fn shown(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// Whether another one has to give way.
    pub(super) fn is_before(&self, other: &str) -> bool {
        *self.name < *other
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.lock().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_one_gives_way_and_whoever_has_it_shows_it() {
        let (here, there) = (Claims::default(), Claims::default());
        let (one, other) = (here.make(), there.make());
        let shown = |claims: &Claims| claims.shown().expect("it is there");
        assert_ne!(one.is_before(&shown(&there)), other.is_before(&shown(&here)));
        assert!(!one.is_before(&shown(&here)), "of two that are the same both do");
        drop(one);
        assert_eq!(here.shown(), None);
    }
}
