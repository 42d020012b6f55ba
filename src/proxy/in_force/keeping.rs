//! Whether what operators have altered would outlive this process, or is known to all of the fleet.
//!
//! Whoever keeps it, or shares it, is told of each change, and says what became of it; who has
//! altered something waits for that. Nothing is written here.

use std::time::Duration;

use tokio::sync::watch;

/// See above.
#[derive(Debug)]
pub struct Keeping {
    /// Counts changes.
    wanted: watch::Sender<u64>,
    kept: watch::Sender<Kept>,
}

/// What became of changes.
#[derive(Clone, Debug)]
struct Kept {
    /// Up to this one.
    change: u64,
    trouble: Option<String>,
}

impl Default for Keeping {
    fn default() -> Self {
        let kept = Kept { change: 0, trouble: None };
        Self { wanted: watch::Sender::new(0), kept: watch::Sender::new(kept) }
    }
}

impl Keeping {
    /// There is something else to be kept.
    pub(in crate::proxy) fn changed(&self) {
        self.wanted.send_modify(|change| *change += 1);
    }

    /// Counts changes from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.wanted.subscribe()
    }

    /// All changes up to this one are kept, or they are not, because.
    pub fn settle(&self, change: u64, trouble: Option<String>) {
        self.kept.send_replace(Kept { change, trouble });
    }

    /// Why the last change is not kept, as far as that is known; None: it is.
    pub fn trouble(&self) -> Option<String> {
        self.kept.borrow().trouble.clone()
    }

    /// The same of all changes until now, once it is known. Cancel safe.
    pub async fn settled(&self, within: Duration) -> Option<String> {
        let wanted = *self.wanted.borrow();
        let mut kept = self.kept.subscribe();
        let settled = kept.wait_for(|kept| kept.change >= wanted);
        match tokio::time::timeout(within, settled).await {
            Ok(Ok(kept)) => kept.trouble.clone(),
            Ok(Err(_)) => Some("the process ends".into()),
            Err(_) => Some(format!("it is not written after {within:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_changed_something_hears_what_became_of_that() {
        let keeping = Keeping::default();
        let (within, at_once) = (Duration::from_secs(60), Duration::ZERO);
        assert_eq!(keeping.settled(within).await, None, "there is nothing to be kept");
        keeping.changed();
        let late = keeping.settled(at_once).await;
        assert_eq!(late.as_deref(), Some("it is not written after 0ns"));
        let (heard, ()) = tokio::join!(keeping.settled(within), async {
            keeping.settle(1, Some("disk full".into()));
        });
        assert_eq!(heard.as_deref(), Some("disk full"));
        keeping.changed();
        keeping.settle(2, None);
        assert_eq!(keeping.settled(within).await, None);
    }
}
