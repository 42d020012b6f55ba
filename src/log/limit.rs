//! So many lines a second of one cause; how many more there were is told when the second is over.
//!
//! A cause is a place in the program: what anybody outside can provoke at will must not fill a disk
//! nor push out what else is to be said. Who asks for `debug` or `trace` wants all of it.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines of one cause in one second.
const MOST: u64 = 50;

const SECOND: Duration = Duration::from_secs(1);

/// What was said by whom in this second.
#[derive(Debug, Default)]
pub(super) struct Limit(Mutex<HashMap<Identifier, Cause>>);

#[derive(Debug)]
struct Cause {
    since: Instant,
    said: u64,
    left_out: LeftOut,
}

/// Lines that were left out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LeftOut {
    count: u64,
    level: Level,
    /// What they said.
    line: String,
}

/// What is to be done with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Say,
    /// It is the first one of many: what does it say?
    Remember,
    LeaveOut,
}

impl Limit {
    /// Tells what was left out in seconds that are over; when the next one is.
    pub(super) fn tell(&self) -> Option<Instant> {
        let (all, due) = self.take_over(Instant::now());
        for LeftOut { count, level, line } in all {
            match level {
                Level::ERROR => tracing::error!(line, "… and {count} more"),
                Level::WARN => tracing::warn!(line, "… and {count} more"),
                _ => tracing::info!(line, "… and {count} more"),
            }
        }
        due
    }

    fn take_over(&self, now: Instant) -> (Vec<LeftOut>, Option<Instant>) {
        let (mut over, mut due) = (Vec::new(), None::<Instant>);
        self.lock().retain(|_, cause| {
            let end = cause.since + SECOND;
            if now < end {
                due = Some(due.map_or(end, |due| due.min(end)));
                return true;
            }
            if cause.left_out.count > 0 {
                over.push(cause.left_out.clone());
            }
            false
        });
        (over, due)
    }

    fn judge(&self, metadata: &Metadata, now: Instant) -> Verdict {
        let mut causes = self.lock();
        let cause = causes.entry(metadata.callsite()).or_insert_with(|| {
            let left_out = LeftOut { count: 0, level: *metadata.level(), line: String::new() };
            Cause { since: now, said: 0, left_out }
        });
        if now.saturating_duration_since(cause.since) >= SECOND {
            (cause.since, cause.said) = (now, 0);
        }
        if cause.said < MOST {
            cause.said += 1;
            return Verdict::Say;
        }
        cause.left_out.count += 1;
        if cause.left_out.count == 1 { Verdict::Remember } else { Verdict::LeaveOut }
    }

    fn remember(&self, metadata: &Metadata, line: String) {
        if let Some(cause) = self.lock().get_mut(&metadata.callsite()) {
            cause.left_out.line = line;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Cause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets pass what the limit allows.
#[derive(Debug)]
pub(super) struct Limiter<'a>(pub &'a Limit);

impl<S: Subscriber> Layer<S> for Limiter<'static> {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        match self.0.judge(metadata, Instant::now()) {
            Verdict::Say => true,
            Verdict::LeaveOut => false,
            Verdict::Remember => {
                // Not while the lock is held: whatever writes itself there may log, or panic.
                let mut words = Words::default();
                event.record(&mut words);
                self.0.remember(metadata, words.0);
                false
            }
        }
    }
}

/// The words of a line, without its values.
#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // A String takes everything.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Keeps what gets through.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<(String, &'static Metadata<'static>)>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            let mut words = Words::default();
            event.record(&mut words);
            self.0.lock().expect("no panic").push((words.0, event.metadata()));
        }
    }

    #[test]
    fn a_flood_of_one_cause_leaves_others_alone_and_is_summed_up() {
        let limit: &'static Limit = Box::leak(Box::default());
        let seen = Seen::default();
        let subscriber = tracing_subscriber::registry().with(seen.clone()).with(Limiter(limit));
        let begun = Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..10 * MOST {
                tracing::info!(client = "anybody", "client refused");
                tracing::debug!("asked for");
            }
            tracing::warn!("something else");
        });
        let count = |what: &str| {
            let seen = seen.0.lock().expect("no panic");
            seen.iter().filter(|(line, _)| line == what).count() as u64
        };
        // The machine may have taken more than a second for it.
        let seconds = begun.elapsed().as_secs() + 1;
        let said = count("client refused");
        assert!((MOST..=MOST * seconds).contains(&said), "{said} in {seconds} s");
        assert_eq!((count("asked for"), count("something else")), (10 * MOST, 1));
        let (over, due) = limit.take_over(Instant::now() + SECOND);
        let left_out =
            LeftOut { count: 10 * MOST - said, level: Level::INFO, line: "client refused".into() };
        assert_eq!((over, due), (vec![left_out], None));
    }

    #[test]
    fn what_was_left_out_is_told_when_its_second_is_over() {
        let (limit, now, seen) = (Limit::default(), Instant::now(), Seen::default());
        let subscriber = tracing_subscriber::registry().with(seen.clone());
        tracing::subscriber::with_default(subscriber, || tracing::info!("a line"));
        let metadata = seen.0.lock().expect("no panic")[0].1;
        assert_eq!(limit.judge(metadata, now), Verdict::Say);
        assert_eq!(limit.take_over(now), (vec![], Some(now + SECOND)));
        assert_eq!(limit.take_over(now + SECOND), (vec![], None), "nothing was left out");
        for _ in 0..MOST {
            assert_eq!(limit.judge(metadata, now), Verdict::Say);
        }
        assert_eq!(limit.judge(metadata, now), Verdict::Remember);
        assert_eq!(limit.judge(metadata, now), Verdict::LeaveOut);
        // The next second has begun, and nobody has told of the last one.
        assert_eq!(limit.judge(metadata, now + SECOND), Verdict::Say);
        let (over, _) = limit.take_over(now + 2 * SECOND);
        assert_eq!(over.iter().map(|it| it.count).collect::<Vec<_>>(), [2]);
    }
}
