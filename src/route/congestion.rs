//! The black list: whether a server may be tried, by how it failed. One for each server; told by
//! whoever tries it, and by whoever asks it regularly.
//!
//! ```text
//!          fails             fails often
//!   Good ─────────▶ Suspect ─────────────▶ Congested
//!    ▲                 │                       │
//!    └─────────────────┴───────────────────────┘
//!       answers a log-in; or, for one client, after the interval
//! ```
//!
//! A *suspect* server is tried last. That takes a single failure, and one client at a time tries it
//! again: until that one knows, the others go elsewhere. A *congested* one is not tried at all
//! while there is another. ODP tells three kinds of it apart: *dead* (it could not be connected
//! to), *alive* (it could, and failed then), and *detect* (it was asked in vain several times in a
//! row; that ends when it answers, not by time).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The parameters of ODP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `congestion_failure_threshold`: so many failures,
    pub failures: u32,
    /// `congestion_fail_window`: in this time make a server congested
    pub window: Duration,
    /// `congestion_retry_interval`: for so long. One failure makes it suspect for as long.
    pub retry: Duration,
    /// `server_detect_fail_threshold`: so many times asked in vain make it congested.
    pub detect_failures: u32,
}

/// How it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection came about.
    Connect,
    /// It failed behind the connect: it said nothing in time, or nothing of use, or left.
    Alive,
}

/// How a server is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As any.
    Good,
    /// Last.
    Suspect,
    /// Not at all while there is another.
    Congested,
}

/// What was heard of it last, whoever has asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heard {
    /// Nobody has asked it yet.
    #[default]
    Nothing,
    /// It has answered.
    Answer,
    /// It has failed, and nobody has had an answer since.
    Failure,
}

/// What is known of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Congestion {
    /// For people: who chooses a server goes by its standing.
    heard: Heard,

    /// When it last failed, or was tried again since; None if it has answered since.
    suspected_at: Option<Instant>,
    connect: Kind,
    alive: Kind,
    detect: Detect,
}

/// One kind of failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kind {
    /// Those in the window, oldest first, no more than make it congested.
    recent: VecDeque<Instant>,
    /// Since when it is congested by them, or was tried again since.
    congested_at: Option<Instant>,
    history: History,
}

/// What a kind of failure has done so far; an answer does not take it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// How often it failed.
    pub failures: u64,
    /// When it last failed.
    pub last_failure: Option<Instant>,
    /// When it last became congested by it.
    pub last_congested: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Detect {
    /// How many times in a row it was asked in vain.
    in_a_row: u32,
    is_congested: bool,
    history: History,
}

/// A row of SHOW PROXYCONGESTION, as far as it is of one server's failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// `dead_congested`.
    pub is_dead_congested: bool,
    /// `alive_congested`.
    pub is_alive_congested: bool,
    /// `detect_congested`.
    pub is_detect_congested: bool,
    /// Of connects; `recent` of them count at present.
    pub connect: History,
    /// `conn_failure_events`.
    pub recent_connect: usize,
    /// Of failures behind the connect.
    pub alive: History,
    /// `alive_failure_events`.
    pub recent_alive: usize,
    /// Of being asked in vain.
    pub detect: History,
}

/// What came of having asked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// As before.
    Same,
    /// It is given up: whoever waits for it need not wait longer.
    Dead,
    /// It is back.
    Alive,
}

impl Congestion {
    /// Whether it was asked in vain so often in a row that it is given up.
    pub fn is_detected_dead(&self) -> bool {
        self.detect.is_congested
    }

    /// How it is to be treated.
    pub fn standing(&self, now: Instant, limits: &Limits) -> Standing {
        let is_within = |since: Option<Instant>| {
            since.is_some_and(|since| now.saturating_duration_since(since) < limits.retry)
        };
        let kinds = [&self.connect, &self.alive];
        let is_congested =
            self.detect.is_congested || kinds.iter().any(|kind| is_within(kind.congested_at));
        match (is_congested, is_within(self.suspected_at)) {
            (true, _) => Standing::Congested,
            (false, true) => Standing::Suspect,
            (false, false) => Standing::Good,
        }
    }

    /// Whether it has failed since it last answered.
    pub fn is_suspected(&self) -> bool {
        self.suspected_at.is_some()
    }

    /// What was heard of it last.
    pub fn heard(&self) -> Heard {
        self.heard
    }

    /// It has greeted somebody, which does not take back that it has failed.
    pub fn greet(&mut self) {
        if self.heard == Heard::Nothing {
            self.heard = Heard::Answer;
        }
    }

    /// Somebody begins to try it. One that had failed is tried by this one alone: until it is
    /// known how that went, the others go elsewhere.
    pub fn begin(&mut self, now: Instant) {
        let Self { suspected_at, connect, alive, heard: _, detect: _ } = self;
        for since in [suspected_at, &mut connect.congested_at, &mut alive.congested_at] {
            if since.is_some() {
                *since = Some(now);
            }
        }
    }

    /// It could not be used.
    pub fn fail(&mut self, failure: Failure, now: Instant, limits: &Limits) {
        (self.heard, self.suspected_at) = (Heard::Failure, Some(now));
        match failure {
            Failure::Connect => self.connect.fail(now, limits),
            Failure::Alive => self.alive.fail(now, limits),
        }
    }

    /// It has answered a log-in.
    pub fn recover(&mut self) {
        (self.heard, self.suspected_at) = (Heard::Answer, None);
        self.connect.recover();
        self.alive.recover();
    }

    /// It was asked and has answered.
    pub fn detect_alive(&mut self) -> Detected {
        self.heard = Heard::Answer;
        self.detect.in_a_row = 0;
        match std::mem::take(&mut self.detect.is_congested) {
            true => Detected::Alive,
            false => Detected::Same,
        }
    }

    /// It was asked and did not answer in time.
    pub fn detect_dead(&mut self, now: Instant, limits: &Limits) -> Detected {
        self.heard = Heard::Failure;
        let Detect { in_a_row, is_congested, history } = &mut self.detect;
        *in_a_row = in_a_row.saturating_add(1);
        history.failures += 1;
        history.last_failure = Some(now);
        if *is_congested || *in_a_row < limits.detect_failures {
            return Detected::Same;
        }
        *is_congested = true;
        history.last_congested = Some(now);
        Detected::Dead
    }

    /// Nobody asks it any more: what came of it is forgotten, as no answer would take it back.
    pub fn stop_detecting(&mut self) {
        self.detect = Detect { history: self.detect.history, ..Detect::default() };
    }

    /// What to show.
    pub fn view(&self, now: Instant, limits: &Limits) -> View {
        View {
            is_dead_congested: self.connect.congested_at.is_some(),
            is_alive_congested: self.alive.congested_at.is_some(),
            is_detect_congested: self.detect.is_congested,
            connect: self.connect.history,
            recent_connect: self.connect.recent(now, limits),
            alive: self.alive.history,
            recent_alive: self.alive.recent(now, limits),
            detect: self.detect.history,
        }
    }
}

impl Kind {
    fn fail(&mut self, now: Instant, limits: &Limits) {
        self.history.failures += 1;
        self.history.last_failure = Some(now);
        // The limits may have been changed: a threshold of none is one.
        let threshold = usize::try_from(limits.failures.max(1)).unwrap_or(usize::MAX);
        self.recent.push_back(now);
        while self.recent.len() > threshold || self.is_first_old(now, limits) {
            self.recent.pop_front();
        }
        let is_congested = self.congested_at.is_some();
        if self.recent.len() < threshold && !is_congested {
            return;
        }
        // Tried again, it failed again: from now on it is left alone for as long.
        self.congested_at = Some(now);
        if !is_congested {
            self.history.last_congested = Some(now);
        }
    }

    fn is_first_old(&self, now: Instant, limits: &Limits) -> bool {
        self.recent.front().is_some_and(|&first| !is_recent(first, now, limits))
    }

    fn recent(&self, now: Instant, limits: &Limits) -> usize {
        self.recent.iter().filter(|&&at| is_recent(at, now, limits)).count()
    }

    fn recover(&mut self) {
        self.recent.clear();
        self.congested_at = None;
    }
}

fn is_recent(at: Instant, now: Instant, limits: &Limits) -> bool {
    now.saturating_duration_since(at) < limits.window
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        failures: 5,
        window: Duration::from_secs(120),
        retry: Duration::from_secs(20),
        detect_failures: 3,
    };

    /// What happens to a server, at the second that stands in front of it.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Connect,
        Alive,
        Begin,
        Recover,
        Greeted,
        AskedInVain,
        Answered,
        StopAsking,
        /// The standing is this.
        Is(Standing),
    }
    use Event::{Alive, Answered, AskedInVain, Begin, Connect, Greeted, Is, Recover, StopAsking};
    use Standing::{Congested, Good, Suspect};

    fn apply(congestion: &mut Congestion, event: Event, now: Instant) {
        match event {
            Connect => congestion.fail(Failure::Connect, now, &LIMITS),
            Alive => congestion.fail(Failure::Alive, now, &LIMITS),
            Begin => congestion.begin(now),
            Recover => congestion.recover(),
            Greeted => congestion.greet(),
            AskedInVain => drop(congestion.detect_dead(now, &LIMITS)),
            Answered => drop(congestion.detect_alive()),
            StopAsking => congestion.stop_detecting(),
            Is(expected) => assert_eq!(congestion.standing(now, &LIMITS), expected),
        }
    }

    fn after(events: &[(u64, Event)]) -> Congestion {
        let start = Instant::now();
        let mut congestion = Congestion::default();
        for &(second, event) in events {
            apply(&mut congestion, event, start + Duration::from_secs(second));
        }
        congestion
    }

    #[test]
    fn one_that_failed_is_suspect_for_a_while() {
        for failure in [Connect, Alive] {
            after(&[
                (0, Is(Good)),
                (0, failure),
                (0, Is(Suspect)),
                (19, Is(Suspect)),
                (20, Is(Good)),
                (30, failure),
                (31, Is(Suspect)),
                (31, Recover),
                (31, Is(Good)),
            ]);
        }
    }

    #[test]
    fn one_that_had_failed_is_tried_by_one_alone() {
        let congestion =
            after(&[(0, Connect), (20, Is(Good)), (20, Begin), (21, Is(Suspect)), (40, Is(Good))]);
        assert!(congestion.is_suspected(), "a greeting is not yet a log-in");
        assert!(!after(&[(0, Connect), (20, Begin), (21, Recover)]).is_suspected());
        // One that had not is tried by all.
        after(&[(0, Begin), (0, Is(Good))]);
    }

    #[test]
    fn one_that_fails_often_is_congested() {
        for failure in [Connect, Alive] {
            let four = [(0, failure), (1, failure), (2, failure), (100, failure)];
            let congested =
                [(119, failure), (119, Is(Congested)), (138, Is(Congested)), (139, Is(Good))];
            after(&[&four[..], &congested].concat());
            // The first one is too long ago.
            after(&[&four[..], &[(120, failure), (120, Is(Suspect))]].concat());
            // It has answered in between.
            after(&[&four[..], &[(101, Recover), (102, failure), (102, Is(Suspect))]].concat());
        }
        // Each kind by itself.
        after(&[(0, Connect), (0, Connect), (0, Alive), (0, Alive), (0, Alive), (0, Is(Suspect))]);
    }

    #[test]
    fn a_congested_one_is_tried_by_one_alone_and_fails_at_once() {
        for failure in [Connect, Alive] {
            let then = |events: &[(u64, Event)]| after(&[&[(0, failure); 5], events].concat());
            let tried = [(20, Is(Good)), (20, Begin), (20, Is(Congested)), (25, failure)];
            then(&[&tried[..], &[(44, Is(Congested)), (45, Is(Good))]].concat());
            then(&[&tried[..], &[(44, Recover), (44, Is(Good))]].concat());
            // Still so long after the window: it has not answered since.
            then(&[(500, Is(Good)), (500, failure), (500, Is(Congested))]);
            // Nobody ever says how it went.
            then(&[(20, Begin), (39, Is(Congested)), (40, Is(Good))]);
        }
    }

    #[test]
    fn one_that_is_asked_in_vain_is_congested_until_it_answers() {
        let vain = [(0, AskedInVain), (1, AskedInVain), (1, Is(Good))];
        after(
            &[&vain[..], &[(2, AskedInVain), (2, Is(Congested)), (9999, Is(Congested))]].concat(),
        );
        after(&[&vain[..], &[(2, Answered), (3, AskedInVain), (3, Is(Good))]].concat());
        let dead = [&vain[..], &[(2, AskedInVain)]].concat();
        after(&[&dead[..], &[(3, Answered), (3, Is(Good))]].concat());
        after(
            &[&dead[..], &[(3, StopAsking), (3, Is(Good)), (4, AskedInVain), (4, Is(Good))]]
                .concat(),
        );
        // A client's log-in does not stand for it, nor the other way round.
        after(&[&dead[..], &[(3, Recover), (3, Is(Congested))]].concat());
        after(&[(0, Connect), (1, Answered), (1, Is(Suspect))]);
    }

    #[test]
    fn what_was_heard_last_is_of_whoever_has_asked() {
        let heard = |events: &[(u64, Event)]| after(events).heard();
        for (events, expected) in [
            (&[(0, Begin), (0, StopAsking)][..], Heard::Nothing),
            (&[(0, Greeted)], Heard::Answer),
            (&[(0, Answered), (1, AskedInVain)], Heard::Failure),
            (&[(0, AskedInVain), (1, Recover)], Heard::Answer),
            (&[(0, Connect), (1, Answered)], Heard::Answer),
            // Neither by time, nor by a greeting.
            (&[(0, Alive), (999, Is(Good)), (999, Begin), (999, Greeted)], Heard::Failure),
        ] {
            assert_eq!(heard(events), expected, "{events:?}");
        }
    }

    #[test]
    fn what_detection_finds_is_told_once() {
        let now = Instant::now();
        let mut congestion = Congestion::default();
        let told: Vec<_> = (0..5).map(|_| congestion.detect_dead(now, &LIMITS)).collect();
        use Detected::{Dead, Same};
        assert_eq!(told, [Same, Same, Dead, Same, Same]);
        let told = [congestion.detect_alive(), congestion.detect_alive()];
        assert_eq!(told, [Detected::Alive, Same]);
    }

    #[test]
    fn counts_and_times_are_kept() {
        let start = Instant::now();
        let mut congestion = Congestion::default();
        let at = |second| start + Duration::from_secs(second);
        for second in [0, 1, 2, 3, 4, 30] {
            apply(&mut congestion, Connect, at(second));
        }
        for second in [31, 32, 33] {
            apply(&mut congestion, AskedInVain, at(second));
        }
        apply(&mut congestion, Alive, at(34));
        let expected = View {
            is_dead_congested: true,
            is_alive_congested: false,
            is_detect_congested: true,
            connect: History {
                failures: 6,
                last_failure: Some(at(30)),
                last_congested: Some(at(4)),
            },
            recent_connect: 5,
            alive: History { failures: 1, last_failure: Some(at(34)), last_congested: None },
            recent_alive: 1,
            detect: History {
                failures: 3,
                last_failure: Some(at(33)),
                last_congested: Some(at(33)),
            },
        };
        assert_eq!(congestion.view(at(34), &LIMITS), expected);
        assert_eq!(congestion.view(at(123), &LIMITS).recent_connect, 2);
        congestion.recover();
        congestion.detect_alive();
        let [connect, detect] = [expected.connect, expected.detect];
        let View { recent_connect, recent_alive, .. } = congestion.view(at(34), &LIMITS);
        assert_eq!((recent_connect, recent_alive), (0, 0));
        let view = congestion.view(at(34), &LIMITS);
        assert_eq!((view.connect, view.detect), (connect, detect), "history stays");
        assert!(!view.is_dead_congested && !view.is_detect_congested);
    }

    fn event() -> impl Strategy<Value = Event> {
        let events = [Connect, Alive, Begin, Recover, Greeted, AskedInVain, Answered, StopAsking];
        prop::sample::select(events.to_vec())
    }

    proptest! {
        /// Today's rule holds inside the new one: whatever happens, a server that was suspected
        /// within the interval is not good, and one that was not is not suspect.
        #[test]
        fn the_single_failure_still_counts(
            events in prop::collection::vec((0u64..40, event()), 0..40)
        ) {
            let mut now = Instant::now();
            let mut congestion = Congestion::default();
            let mut failed_at: Option<Instant> = None;
            for (pause, event) in events {
                now += Duration::from_secs(pause);
                apply(&mut congestion, event, now);
                match event {
                    Connect | Alive => failed_at = Some(now),
                    Begin => failed_at = failed_at.map(|_| now),
                    Recover => failed_at = None,
                    Greeted | AskedInVain | Answered | StopAsking | Is(_) => {}
                }
                let is_of_late = failed_at.is_some_and(|at| now - at < LIMITS.retry);
                match congestion.standing(now, &LIMITS) {
                    Good => prop_assert!(!is_of_late),
                    Suspect => prop_assert!(is_of_late),
                    Congested => {}
                }
                prop_assert_eq!(congestion.is_suspected(), failed_at.is_some());
                prop_assert!(congestion.connect.recent.len() <= 5);
                // All of it ends by time, but for what ends by an answer.
                let mut undetected = congestion.clone();
                undetected.stop_detecting();
                let later = now + LIMITS.retry;
                prop_assert_eq!(undetected.standing(later, &LIMITS), Good);
            }
        }
    }
}
