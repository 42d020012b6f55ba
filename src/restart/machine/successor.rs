//! What the side that takes over does next. Sans-IO: handle_* in, poll_* out.
//!
//! Invariant: it ends in [`Outcome`]; and as soon as it has the listening sockets, the death or the
//! silence of the predecessor makes it serve.

use std::collections::VecDeque;
use std::time::Instant;

use super::liveness::{Liveness, earliest};
use super::plan::Stage;
use super::shipment::{Due, Left, Ship, Shipment, Size, Transfer, thaw};
use crate::restart::message::{Acks, Hello, Message, Nack, Parcels, Reason, TakeBack};
use crate::restart::plane::Accepting;
use crate::restart::task::Phase;
use crate::restart::timeouts::Timeouts;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The predecessor has given everything over.
    Committed,
    /// It died or hangs: this process serves on with what it has.
    Promoted(String),
    /// It does not want to be succeeded, now or in this way: this process ends.
    Ended(String),
    /// The operator stops this process.
    Stopped,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send a message.
    Send(Message),
    /// Adopt what came with PARCELS; then `handle_adopted`.
    Adopt,
    /// Take the counters and the task that came with PROGRESS or COMMIT.
    KeepProgress,
    /// Start or stop taking clients; then `handle_accepting`.
    Accept(Accepting),
    /// Freeze, send or thaw sessions.
    Ship(Ship),
    /// Forget these: they are the predecessor's again.
    Release(Vec<u32>),
    /// SIGKILL: it was told to end at once and does not.
    KillPredecessor,
    /// The next successor is to knock here from now on.
    OpenSocket,
}

impl From<Ship> for Action {
    fn from(ship: Ship) -> Self {
        Self::Ship(ship)
    }
}

/// ```text
///  Greeting ─OFFER→ Listening ─all LISTEN→ Warm ─ready→ Waiting ─GO→ Opening ─accepts→ Serving
///     │ REFUSE, ABORT     │                  │             │ RETURN                │ RETURN │ COMMIT
///     ▼                   │ EOF              │ EOF         └───────► Closing ◄─────┘        ▼
///  Done(Ended) ◄──ABORT── └────────────► Promoting ◄── EOF,            │ accepts no more  Done(Committed)
///                                            │ accepts   silence    Returning ─all sent→ Returned
///                                            ▼        (all after)
///                                      Done(Promoted)
/// ```
#[derive(Debug)]
enum State {
    Greeting { until: Instant },
    Listening { left: usize, until: Instant },
    Warm { alone: Option<String> },
    Waiting,
    Opening { until: Instant },
    Serving { kill_at: Option<Instant> },
    Closing { until: Instant },
    Returning,
    Returned,
    Promoting { reason: String, until: Instant },
    Done(Outcome),
}

/// The successor's side.
#[derive(Debug)]
pub(crate) struct Successor {
    state: State,
    timeouts: Timeouts,
    shipment: Shipment,
    liveness: Liveness,
    /// Until then who is logging in may still be given back.
    login_until: Option<Instant>,
    /// It has asked the predecessor to take everything back; COMMIT is no answer to that.
    wants_back: bool,
    /// It has come after one that has died.
    is_heir: bool,
    actions: VecDeque<Action>,
}

impl Successor {
    /// Says HELLO.
    pub(crate) fn new(hello: Hello, timeouts: Timeouts, now: Instant) -> Self {
        Self {
            state: State::Greeting { until: now + timeouts.silence },
            timeouts,
            shipment: Shipment::new(Transfer::of_all(), timeouts),
            liveness: Liveness::new(timeouts.silence, now),
            login_until: None,
            wants_back: false,
            is_heir: false,
            actions: VecDeque::from([Action::Send(Message::Hello(hello))]),
        }
    }

    /// The process before this one has died when it had taken over, or not all of it: the
    /// predecessor is to take everything back. Of these sessions, which were given back, it is not
    /// known whether they have arrived.
    pub(crate) fn heir(
        hello: Hello,
        given: impl IntoIterator<Item = u32>,
        timeouts: Timeouts,
        now: Instant,
    ) -> Self {
        let state = State::Serving { kill_at: None };
        let mut machine = Self { state, is_heir: true, ..Self::new(hello, timeouts, now) };
        machine.shipment.inherit(given);
        machine.give_up(TakeBack::Failed("the successor has crashed".into()));
        machine
    }

    /// What is to be done next.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How it ended, once it has.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            State::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Whether the data plane may be built now.
    pub(crate) fn is_warm(&self) -> bool {
        matches!(self.state, State::Warm { .. })
    }

    /// Whether it has come after one that has died.
    pub(crate) fn is_heir(&self) -> bool {
        self.is_heir
    }

    /// Whether this side takes clients.
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.state, State::Serving { .. })
    }

    /// The phase, as far as this side knows it better than PROGRESS does.
    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Greeting { .. } => Phase::Hello,
            State::Listening { .. } => Phase::Listen,
            State::Warm { .. } => Phase::Warm,
            State::Waiting | State::Closing { .. } | State::Returning | State::Returned => {
                Phase::Sessions
            }
            State::Opening { .. } => Phase::Accept,
            State::Serving { .. } | State::Promoting { .. } => Phase::Drain,
            State::Done(_) => Phase::Commit,
        }
    }

    /// How far it is, if the predecessor says that it is in this phase.
    pub(crate) fn stage(&self, theirs: Phase) -> Stage {
        match (self.is_serving(), theirs) {
            (false, _) => Stage::Moving,
            (true, Phase::Probation) => Stage::Probation,
            (true, _) => Stage::Draining,
        }
    }

    /// When `handle_timeout` wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.state {
            State::Greeting { until }
            | State::Listening { until, .. }
            | State::Opening { until }
            | State::Closing { until }
            | State::Promoting { until, .. } => Some(until),
            State::Serving { kill_at } => kill_at,
            State::Returning => self.shipment.until(),
            State::Warm { .. } | State::Waiting | State::Returned | State::Done(_) => None,
        };
        let tick = self.liveness.next_tick(self.timeouts.progress);
        earliest(own, self.is_linked().then_some(tick))
    }

    /// Time has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.is_linked() {
            self.liveness.handle_tick(now);
            if self.liveness.is_silent(now) {
                let silence = self.timeouts.silence;
                if self.is_heir {
                    // It lives, and may have acknowledged these to the process before this one.
                    self.actions.push_back(Action::Release(self.shipment.take_back()));
                }
                return self.promote(format!("the predecessor hangs: silent for {silence:?}"), now);
            }
        }
        match &mut self.state {
            State::Greeting { until } | State::Listening { until, .. } if now >= *until => {
                self.done(Outcome::Ended("the predecessor does not answer HELLO".into()));
            }
            State::Opening { until } if now >= *until => {
                *until = now + self.timeouts.step;
                self.handle_error("its data plane does not start accepting");
            }
            State::Promoting { reason, until } if now >= *until => {
                let reason = reason.clone();
                self.done(Outcome::Promoted(reason));
            }
            State::Serving { kill_at } if kill_at.is_some_and(|at| now >= at) => {
                *kill_at = None;
                self.actions.push_back(Action::KillPredecessor);
            }
            State::Closing { until } if now >= *until => self.finish_returning(),
            State::Returning => match self.shipment.handle_timeout(now) {
                Some(Due::Rest) => self.next_batch(now),
                Some(Due::Freezing | Due::Acks) => self.finish_returning(),
                None => {}
            },
            _ => {}
        }
    }

    /// The predecessor says something.
    pub(crate) fn handle_message(&mut self, message: &Message, now: Instant) {
        self.liveness.handle_word(now);
        match (message, &mut self.state) {
            (_, State::Done(_) | State::Promoting { .. }) | (Message::Note {}, _) => {}
            (Message::Refuse(it) | Message::Abort(it), _) => {
                self.done(Outcome::Ended(it.reason.clone()));
            }
            (Message::Offer(terms), State::Greeting { .. }) => {
                let until = now + self.timeouts.silence;
                self.state = State::Listening { left: terms.listeners, until };
                self.warm_if_complete();
            }
            (Message::Listen(listen), State::Listening { left, .. }) => {
                *left = left.saturating_sub(listen.names.len());
                self.warm_if_complete();
            }
            (Message::Progress(_), _) => {
                self.actions.push_back(Action::KeepProgress);
                self.send(Message::Seen {});
            }
            (Message::Parcels(_), State::Waiting | State::Serving { .. }) => {
                self.actions.push_back(Action::Adopt);
            }
            (Message::Parcels(it), _) => self.refuse_parcels(it),
            (Message::Acks(acks), _) => self.handle_acks(acks, now),
            (Message::Go {}, State::Waiting) => {
                self.actions.push_back(Action::Accept(Accepting::Yes));
                self.state = State::Opening { until: now + self.timeouts.step };
            }
            (
                Message::Return {},
                State::Waiting | State::Opening { .. } | State::Serving { .. },
            ) => {
                self.actions.push_back(Action::Accept(Accepting::No));
                self.login_until = Some(now + self.timeouts.login);
                self.state = State::Closing { until: now + self.timeouts.step };
            }
            // It has heard that already, or the one that did has died.
            (Message::Return {}, State::Closing { .. }) => {}
            (Message::Return {}, State::Returning | State::Returned) => self.give_back(now),
            (Message::Stop {}, State::Serving { .. }) => self.done(Outcome::Stopped),
            (Message::Commit(_), State::Serving { .. }) if self.wants_back => {}
            (Message::Commit(_), State::Serving { .. }) => {
                self.actions.push_back(Action::KeepProgress);
                // Before the predecessor leaves its own: somebody is found there at any instant.
                self.actions.push_back(Action::OpenSocket);
                self.send(Message::Committed {});
                self.done(Outcome::Committed);
            }
            (other, _) => {
                let text = format!("unexpected {} from the predecessor", other.name());
                self.handle_error(&text);
            }
        }
    }

    /// The other end is closed: the predecessor is dead, for otherwise it had said ABORT.
    pub(crate) fn handle_closed(&mut self, now: Instant) {
        match &mut self.state {
            State::Done(_) | State::Promoting { .. } => {}
            State::Warm { alone } => *alone = Some("the predecessor died".into()),
            State::Greeting { .. } | State::Listening { .. } => {
                self.state = State::Warm { alone: Some("the predecessor died".into()) };
            }
            _ => self.promote("the predecessor died".into(), now),
        }
    }

    /// The predecessor has crashed, and its keeper has a process that goes on in its place: it had
    /// not given anything yet.
    pub(crate) fn handle_outlived(&mut self, now: Instant) {
        if self.is_heir {
            // What it has said the process before this one has heard.
            return self.done(Outcome::Ended("the predecessor goes on".into()));
        }
        match &self.state {
            State::Greeting { .. }
            | State::Listening { .. }
            | State::Warm { .. }
            | State::Waiting => {
                self.done(Outcome::Ended("the predecessor has crashed, and goes on".into()));
            }
            State::Opening { .. }
            | State::Serving { .. }
            | State::Closing { .. }
            | State::Returning
            | State::Returned
            | State::Promoting { .. }
            | State::Done(_) => self.handle_closed(now),
        }
    }

    /// What comes is no message, or the like. Who may have sessions gives them back; it goes on
    /// with them until they are asked for.
    pub(crate) fn handle_error(&mut self, error: &str) {
        match self.state {
            State::Done(_) => {}
            State::Waiting | State::Opening { .. } | State::Serving { .. } => {
                self.give_up(TakeBack::Failed(error.to_owned()));
            }
            _ => self.refuse(error),
        }
    }

    /// The data plane stands.
    pub(crate) fn handle_ready(&mut self, now: Instant) {
        let State::Warm { alone } = &mut self.state else { return };
        self.liveness = Liveness::new(self.timeouts.silence, now);
        match alone.take() {
            Some(reason) => self.promote(reason, now),
            None => {
                self.send(Message::Ready {});
                self.state = State::Waiting;
            }
        }
    }

    /// Sessions of the last PARCELS are adopted, or not.
    pub(crate) fn handle_adopted(&mut self, acks: Acks) {
        self.send(Message::Acks(acks));
    }

    /// The data plane has started or stopped accepting.
    pub(crate) fn handle_accepting(&mut self, accepting: Accepting, now: Instant) {
        match (&self.state, accepting) {
            (State::Opening { .. }, Accepting::Yes) => {
                self.send(Message::Accepted {});
                self.state = State::Serving { kill_at: None };
            }
            (State::Promoting { reason, .. }, Accepting::Yes) => {
                let reason = reason.clone();
                self.done(Outcome::Promoted(reason));
            }
            (State::Closing { .. }, Accepting::No) => self.give_back(now),
            _ => {}
        }
    }

    /// The data plane gives these sessions out.
    pub(crate) fn handle_surrendered(&mut self, sizes: &[Size], now: Instant) {
        if !matches!(self.state, State::Returning) {
            return thaw(sizes.iter().map(|size| size.id).collect(), &mut self.actions);
        }
        let left = self.shipment.handle_surrendered(sizes, &mut self.actions, now);
        self.handle_left(left, now);
    }

    /// The kernel did not take a message of parcels.
    pub(crate) fn handle_congestion(&mut self, ids: Vec<u32>, now: Instant) {
        if !self.shipment.handle_congestion(ids, &mut self.actions) {
            return self.finish_returning();
        }
        self.next_if_awaiting(now);
    }

    /// RESTART FORCE: the predecessor is to end at once.
    pub(crate) fn handle_force(&mut self, now: Instant) {
        if let State::Serving { kill_at } = &mut self.state {
            *kill_at = Some(now + self.timeouts.answer);
            self.send(Message::Force {});
        }
    }

    /// RESTART ROLLBACK: the predecessor is to take everything back.
    pub(crate) fn handle_rollback(&mut self) {
        if self.is_linked() {
            self.give_up(TakeBack::Ordered);
        }
    }

    /// RESTART while this side is on probation: that is over.
    pub(crate) fn handle_confirm(&mut self) {
        if let State::Serving { .. } = self.state {
            self.send(Message::Confirm {});
        }
    }

    /// All that is here, once more what was sent already.
    fn give_back(&mut self, now: Instant) {
        self.state = State::Returning;
        self.shipment.repeat(&mut self.actions);
        self.next_batch(now);
    }

    fn give_up(&mut self, why: TakeBack) {
        if !self.wants_back {
            self.wants_back = true;
            self.send(Message::Rollback(why));
        }
    }

    /// This process stops for good, and the predecessor with it.
    pub(crate) fn handle_stop(&mut self) {
        match self.state {
            State::Done(_) => return,
            State::Serving { .. } => self.send(Message::Stop {}),
            _ => {
                let reason = "the successor was stopped".into();
                self.send(Message::Refuse(Reason { reason }));
            }
        }
        self.done(Outcome::Stopped);
    }

    fn handle_acks(&mut self, acks: &Acks, now: Instant) {
        let settled = self.shipment.handle_acks(acks, &mut self.actions);
        if !settled.released.is_empty() {
            self.actions.push_back(Action::Release(settled.released));
        }
        self.next_if_awaiting(now);
    }

    fn next_if_awaiting(&mut self, now: Instant) {
        if let State::Returning = self.state {
            let left = self.shipment.advance_if_awaiting(&mut self.actions, now);
            self.handle_left(left, now);
        }
    }

    fn next_batch(&mut self, now: Instant) {
        let left = self.shipment.advance(&mut self.actions, now);
        self.handle_left(left, now);
    }

    fn handle_left(&mut self, left: Left, now: Instant) {
        match left {
            Left::Some => {}
            Left::Nothing if self.login_until.is_some_and(|until| now < until) => {
                self.shipment.rest(Some(now + self.timeouts.again));
            }
            Left::Nothing => self.finish_returning(),
        }
    }

    /// Nobody is logging in: who was can be given back now, and after that nobody else can be.
    pub(crate) fn handle_all_logged_in(&mut self, now: Instant) {
        if matches!(self.state, State::Returning) && self.shipment.is_resting() {
            self.login_until = None;
            self.shipment.again();
            self.next_batch(now);
        }
    }

    fn finish_returning(&mut self) {
        self.send(Message::Returned {});
        self.state = State::Returned;
    }

    fn warm_if_complete(&mut self) {
        if let State::Listening { left: 0, .. } = self.state {
            self.state = State::Warm { alone: None };
        }
    }

    /// Serves from now on, whatever the predecessor does.
    fn promote(&mut self, reason: String, now: Instant) {
        // All acks are sent already: what is not acknowledged is the predecessor's.
        self.send(Message::Promoted(Reason { reason: reason.clone() }));
        thaw(self.shipment.take_back(), &mut self.actions);
        self.actions.push_back(Action::OpenSocket);
        self.actions.push_back(Action::Accept(Accepting::Yes));
        self.state = State::Promoting { reason, until: now + self.timeouts.step };
    }

    fn refuse_parcels(&mut self, parcels: &Parcels) {
        let reason = || "not now".to_owned();
        let refused = parcels.parcels.iter().map(|it| Nack { id: it.id, reason: reason() });
        self.send(Message::Acks(Acks { refused: refused.collect(), ..Acks::default() }));
    }

    fn refuse(&mut self, reason: &str) {
        self.send(Message::Refuse(Reason { reason: reason.into() }));
        self.done(Outcome::Ended(reason.into()));
    }

    fn done(&mut self, outcome: Outcome) {
        self.state = State::Done(outcome);
    }

    /// Whether the other side can be told something, and has heard what it was told last.
    pub(crate) fn may_tell(&self) -> bool {
        self.is_linked() && self.liveness.may_tell()
    }

    /// The other side was told something.
    pub(crate) fn handle_told(&mut self) {
        self.liveness.handle_told();
    }

    /// From READY on both sides talk all the time.
    fn is_linked(&self) -> bool {
        match self.state {
            State::Waiting
            | State::Opening { .. }
            | State::Serving { .. }
            | State::Closing { .. }
            | State::Returning
            | State::Returned => true,
            State::Greeting { .. }
            | State::Listening { .. }
            | State::Warm { .. }
            | State::Promoting { .. }
            | State::Done(_) => false,
        }
    }

    fn send(&mut self, message: Message) {
        self.actions.push_back(Action::Send(message));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::restart::message::VERSIONS;

    fn serving(now: Instant) -> Successor {
        let hello = Hello {
            versions: VERSIONS,
            build: String::new(),
            pid: 2,
            config_hash: String::new(),
            nofile: 0,
            carrier: 0,
        };
        let mut machine = Successor::new(hello, Timeouts::default(), now);
        machine.state = State::Warm { alone: None };
        machine.handle_ready(now);
        machine.handle_message(&Message::Go {}, now);
        machine.handle_accepting(Accepting::Yes, now);
        assert!(machine.is_serving());
        while machine.poll_action().is_some() {}
        machine
    }

    #[test]
    fn a_predecessor_that_does_not_heed_force_is_killed() {
        let now = Instant::now();
        let mut machine = serving(now);
        machine.handle_force(now);
        assert_eq!(machine.poll_action(), Some(Action::Send(Message::Force {})));
        let later = now + Timeouts::default().answer;
        machine.handle_timeout(later);
        assert_eq!(machine.poll_action(), Some(Action::KillPredecessor));
        machine.handle_closed(later);
        machine.handle_accepting(Accepting::Yes, later);
        assert_eq!(machine.outcome(), Some(&Outcome::Promoted("the predecessor died".into())));
    }

    #[test]
    fn a_predecessor_that_hangs_is_told_that_it_is_given_up() {
        let mut now = Instant::now();
        let mut machine = serving(now);
        let start = now;
        while machine.is_serving() {
            now += Duration::from_millis(100);
            machine.handle_timeout(now);
        }
        assert_eq!(now - start, Timeouts::default().silence);
        let Some(Action::Send(Message::Promoted(it))) = machine.poll_action() else {
            panic!("PROMOTED comes first");
        };
        assert!(it.reason.starts_with("the predecessor hangs"), "{}", it.reason);
        assert_eq!(machine.poll_action(), Some(Action::OpenSocket));
        assert_eq!(machine.poll_action(), Some(Action::Accept(Accepting::Yes)));
    }

    #[test]
    fn a_death_before_the_offer_leaves_nothing_to_take_over() {
        let now = Instant::now();
        let mut machine = serving(now);
        machine.state = State::Greeting { until: now };
        machine.handle_closed(now);
        assert!(machine.is_warm());
    }
}
