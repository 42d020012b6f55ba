//! What the serving side of a handover does next. Sans-IO: handle_* in, poll_* out.
//!
//! Invariant: whatever comes in, in whatever order, it ends in [`Outcome`]; and unless that is a
//! commit, the data plane accepts again and every session that was not acknowledged is thawed,
//! after the successor is dead.

use std::collections::VecDeque;
use std::time::Instant;

use super::liveness::{Liveness, earliest};
use super::plan::{Ending, Outcome, Plan, Stage};
use super::probation::Probation;
use super::shipment::{Due, Left, Ship, Shipment, Size, Transfer, thaw};
use crate::restart::message::{Acks, Hello, Message, Reason, TakeBack};
use crate::restart::plane::Accepting;
use crate::restart::task::{Mode, Phase, TaskState};

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send a message that needs nothing more.
    Send(Message),
    /// Send OFFER, then LISTEN.
    SendOffer {
        /// The protocol version from here on.
        version: u16,
    },
    /// Send PROGRESS.
    SendProgress,
    /// Send COMMIT.
    SendCommit,
    /// Freeze, send or thaw sessions.
    Ship(Ship),
    /// These are the successor's; keep what is needed to take them back.
    Park(Vec<u32>),
    /// These are not taken back any more.
    Forget(Vec<u32>),
    /// The successor is dead: go on here with what it had not touched of all that are parked, and
    /// of these, which it had not acknowledged.
    Reclaim(Vec<u32>),
    /// Adopt what came with the last PARCELS, and answer.
    AdoptReturned,
    /// Start or stop taking clients; then `handle_accepting`.
    Accept(Accepting),
    /// Let sessions end.
    Drain(Option<Instant>),
    /// Take that back.
    Undrain,
    /// ABORT, SIGTERM, SIGKILL; then `handle_gone`.
    EndSuccessor {
        /// What it is told.
        reason: String,
        /// Why just now, for the log.
        because: Option<String>,
    },
}

impl From<Ship> for Action {
    fn from(ship: Ship) -> Self {
        Self::Ship(ship)
    }
}

/// ```text
///  Hello ─HELLO→ Warm ─READY→ Moving ─none left→ Closing ─closed→ Switching ─ACCEPTED→ Draining
///    │            │             │                   │                │                   │ emptied
///    │            │             │                   │                │               Probation
///    │            │             └───────────────────┴───── taken ────┴──── back ──┐      ▼ passed
///    │            │                                                      Returning◄── Committing
///    └────────────┴── failure: in every state ──────────► Ending ◄────────────────┘      │ COMMITTED
///                                                           │ gone                       ▼
///  any ─PROMOTED, STOP→ Alone ─emptied→ Done(its outcome)  Done(Kept)           Done(Committed)
/// ```
/// Closing follows READY at once if no sessions move.
#[derive(Debug)]
enum State {
    Hello,
    Warm,
    Moving,
    Closing { until: Instant },
    Switching { until: Instant },
    Draining { limit: Option<Instant> },
    Probation,
    Committing { until: Instant },
    Returning { ending: Ending, until: Instant },
    Ending(Ending),
    Alone { outcome: Outcome, limit: Option<Instant> },
    Done(Outcome),
}

/// The predecessor's side.
#[derive(Debug)]
pub(crate) struct Predecessor {
    plan: Plan,
    state: State,
    shipment: Shipment,
    probation: Probation,
    liveness: Liveness,
    progress_at: Instant,
    is_closed: bool,
    is_emptied: bool,
    is_heir: bool,
    note: Option<String>,
    actions: VecDeque<Action>,
}

impl Predecessor {
    /// A successor was started, or has connected.
    pub(crate) fn new(plan: Plan, now: Instant) -> Self {
        Self {
            liveness: Liveness::new(plan.timeouts.silence, now),
            probation: Probation::new(plan.probation),
            shipment: Shipment::new(Transfer::with_canaries(), plan.timeouts),
            plan,
            state: State::Hello,
            progress_at: now,
            is_closed: false,
            is_emptied: false,
            is_heir: false,
            note: None,
            actions: VecDeque::new(),
        }
    }

    /// The process before this one has died in a restart; what it had given may have arrived.
    pub(crate) fn heir(plan: Plan, given: impl IntoIterator<Item = u32>, now: Instant) -> Self {
        let mut machine = Self { is_heir: true, ..Self::new(plan, now) };
        machine.shipment.inherit(given);
        let (state, reason) = (TaskState::Failed, "the predecessor has crashed".into());
        machine.take_back(Ending { state, reason }, now);
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

    /// The phase that people see.
    pub(crate) fn phase(&self) -> Option<Phase> {
        match self.state {
            State::Hello => Some(Phase::Hello),
            State::Warm => Some(Phase::Warm),
            State::Moving if self.shipment.is_canary() => Some(Phase::Canary),
            State::Moving => Some(Phase::Sessions),
            State::Closing { .. } | State::Switching { .. } => Some(Phase::Accept),
            State::Draining { .. } | State::Alone { .. } => Some(Phase::Drain),
            State::Probation => Some(Phase::Probation),
            State::Committing { .. } => Some(Phase::Commit),
            State::Returning { .. } | State::Ending(_) | State::Done(_) => None,
        }
    }

    /// How far it is.
    pub(crate) fn stage(&self) -> Stage {
        match self.phase() {
            Some(Phase::Probation | Phase::Commit) => Stage::Probation,
            Some(Phase::Drain) => Stage::Draining,
            Some(_) | None => Stage::Moving,
        }
    }

    /// What the data plane accepts outside of a restart.
    pub(crate) fn accepting(&self) -> Accepting {
        self.plan.accepting
    }

    /// Sessions that the successor has adopted.
    pub(crate) fn moved(&self) -> u64 {
        self.shipment.moved()
    }

    /// What people should know, such as why a session was refused.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Whether all but what is here is the successor's for good.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self.state, State::Alone { .. })
    }

    /// Whether the wait for the last session is on.
    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.state, State::Draining { .. } | State::Alone { .. })
    }

    /// When `handle_timeout` wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let own = match &self.state {
            State::Hello | State::Warm => Some(self.plan.ready_by),
            State::Moving => self.shipment.until(),
            State::Closing { until }
            | State::Switching { until }
            | State::Committing { until }
            | State::Returning { until, .. } => Some(*until),
            State::Draining { limit } => {
                earliest(earliest(self.shipment.until(), *limit), self.probation.next_due())
            }
            State::Probation => self.probation.until(),
            State::Alone { limit, .. } => *limit,
            State::Ending(_) | State::Done(_) => return None,
        };
        earliest(own, self.is_linked().then_some(self.progress_at))
    }

    /// Time has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.is_linked() {
            self.liveness.handle_tick(now);
            if self.liveness.is_silent(now) {
                let silence = self.plan.timeouts.silence;
                return self.fail(format!("the successor hangs: silent for {silence:?}"));
            }
            if now >= self.progress_at {
                self.progress_at = now + self.plan.timeouts.progress;
                self.actions.push_back(Action::SendProgress);
            }
        }
        match &self.state {
            State::Hello if now >= self.plan.ready_by => self.fail(late("HELLO")),
            State::Warm if now >= self.plan.ready_by => self.fail(late("READY")),
            State::Moving => self.handle_shipment_timeout(now),
            State::Closing { until } if now >= *until => {
                self.fail("the data plane does not stop accepting".into());
            }
            State::Switching { until } if now >= *until => self.fail(late("ACCEPTED")),
            State::Committing { until } if now >= *until => self.fail(late("COMMITTED")),
            State::Returning { until, .. } if now >= *until => self.end("no session comes back"),
            State::Draining { limit: Some(limit) } if now >= *limit => {
                self.note = Some("sessions left that did not take their error packet".into());
                self.drained(now);
            }
            State::Probation if self.probation.is_over(now) => self.commit(now),
            State::Draining { .. } => {
                self.let_pass(now);
                self.handle_shipment_timeout(now);
            }
            State::Alone { outcome, limit: Some(limit) } if now >= *limit => {
                self.state = State::Done(outcome.clone());
            }
            State::Hello
            | State::Warm
            | State::Closing { .. }
            | State::Switching { .. }
            | State::Committing { .. }
            | State::Returning { .. }
            | State::Ending(_)
            | State::Probation
            | State::Alone { .. }
            | State::Done(_) => {}
        }
    }

    /// The successor says something.
    pub(crate) fn handle_message(&mut self, message: &Message, now: Instant) {
        self.liveness.handle_word(now);
        match (message, &self.state) {
            (_, State::Done(_) | State::Alone { .. }) => {}
            (Message::Acks(acks), _) => self.handle_acks(acks, now),
            // What is back is ours, also if it comes late: the successor has let go of it.
            (Message::Parcels(_), State::Returning { .. } | State::Ending(_)) => {
                self.actions.push_back(Action::AdoptReturned);
                self.handle_returning(now);
            }
            (_, State::Ending(_)) => {}
            (Message::Promoted(it), _) => self.handle_promoted(&it.reason, now),
            (Message::Returned {}, State::Returning { .. }) => self.end("all that could came back"),
            // Whoever has come after it has not heard that.
            (Message::Rollback(_), State::Returning { .. }) => {
                self.send(Message::Return {});
                self.handle_returning(now);
            }
            (Message::Hello(_), _) if self.is_linked() => {} // Of another process of its pair.
            (_, State::Returning { .. }) => {}
            (Message::Hello(hello), State::Hello) => self.handle_hello(hello),
            (Message::Refuse(it), _) => self.fail(format!("the successor: {}", it.reason)),
            (Message::Ready {}, State::Warm) => self.handle_ready(now),
            (Message::Accepted {}, State::Switching { .. }) => self.handle_accepted(now),
            (Message::Committed {}, State::Committing { .. }) => {
                self.state = State::Done(Outcome::Committed);
            }
            (Message::Seen {} | Message::Note {}, _) => {}
            (Message::Force {}, State::Draining { .. } | State::Probation) => self.drain_now(now),
            (Message::Stop {}, State::Draining { .. } | State::Probation) => self.handle_stop(now),
            (Message::Rollback(it), _) => self.handle_rollback(it, now),
            (Message::Confirm {}, State::Probation) => self.commit(now),
            (Message::Confirm {}, _)
            | (Message::Force {} | Message::Stop {}, State::Committing { .. }) => {}
            (other, _) => self.fail(format!("unexpected {} from the successor", other.name())),
        }
    }

    /// The other end is closed, but its process lives.
    pub(crate) fn handle_closed(&mut self, now: Instant) {
        match self.state {
            // Had it not taken everything, it had said so before.
            State::Committing { .. } => self.state = State::Done(Outcome::Committed),
            // What it has said the process before this one has heard.
            State::Returning { .. } if self.is_heir => self.handle_promoted("it has left", now),
            _ => self.handle_channel_error("the successor closed the channel"),
        }
    }

    /// COMMIT could not be sent: what the successor has is to come back.
    pub(crate) fn handle_uncommitted(&mut self, error: String, now: Instant) {
        if let State::Committing { .. } = self.state {
            self.state = State::Draining { limit: None };
            self.handle_error(error, now);
        }
    }

    /// The other end is dead, or what comes is no message.
    pub(crate) fn handle_channel_error(&mut self, error: &str) {
        match &self.state {
            State::Ending(_) | State::Alone { .. } | State::Done(_) => {}
            State::Returning { .. } => self.end(error),
            _ => self.fail(error.to_owned()),
        }
    }

    /// The successor cannot go on, or its operator does not want it; it gives back what it has.
    fn handle_rollback(&mut self, it: &TakeBack, now: Instant) {
        let (state, reason) = match it {
            TakeBack::Ordered => (TaskState::RolledBack, "RESTART ROLLBACK".into()),
            TakeBack::Failed(reason) => (TaskState::Failed, format!("the successor: {reason}")),
        };
        let ending = Ending { state, reason };
        // It has not taken the COMMIT then, and will not.
        if let State::Committing { .. } = self.state {
            self.state = State::Draining { limit: None };
        }
        self.handle_abort(ending, now);
    }

    /// Something on this side went wrong.
    pub(crate) fn handle_error(&mut self, error: String, now: Instant) {
        self.handle_abort(Ending { state: TaskState::Failed, reason: error }, now);
    }

    /// It is to be undone: by the operator, or for want of something here. Too late after COMMIT.
    pub(crate) fn handle_abort(&mut self, ending: Ending, now: Instant) {
        let gives_back = self.plan.session_handover && self.is_linked();
        match &self.state {
            State::Committing { .. }
            | State::Returning { .. }
            | State::Ending(_)
            | State::Alone { .. }
            | State::Done(_) => {}
            _ if gives_back => {
                self.resume();
                self.take_back(ending, now);
            }
            _ => self.end_with(ending),
        }
    }

    fn take_back(&mut self, ending: Ending, now: Instant) {
        self.send(Message::Return {});
        let until = now + self.plan.timeouts.answer + self.plan.timeouts.login;
        self.state = State::Returning { ending, until };
    }

    /// It is to be undone, and what the successor has is not wanted back: FORCE, or a stop.
    pub(crate) fn handle_discard(&mut self, ending: Ending) {
        match &self.state {
            State::Committing { .. } | State::Ending(_) | State::Alone { .. } | State::Done(_) => {}
            _ => self.end_with(ending),
        }
    }

    /// Whoever is left goes now. Only in DRAIN, and in PROBATION, which it ends.
    pub(crate) fn drain_now(&mut self, now: Instant) {
        if let State::Probation = self.state {
            return self.commit(now);
        }
        let grace = now + self.plan.timeouts.answer;
        match &mut self.state {
            State::Draining { limit, .. } | State::Alone { limit, .. } => *limit = Some(grace),
            _ => return,
        }
        self.actions.push_back(Action::Drain(Some(now)));
    }

    /// The data plane gives these sessions out.
    pub(crate) fn handle_surrendered(&mut self, sizes: &[Size], now: Instant) {
        if !self.ships() {
            return thaw(sizes.iter().map(|size| size.id).collect(), &mut self.actions);
        }
        let left = self.shipment.handle_surrendered(sizes, &mut self.actions, now);
        self.handle_left(left, now);
    }

    /// The kernel did not take a message of parcels.
    pub(crate) fn handle_congestion(&mut self, ids: Vec<u32>, error: &str, now: Instant) {
        if !self.shipment.handle_congestion(ids, &mut self.actions) {
            return self.handle_error(error.to_owned(), now);
        }
        self.next_if_awaiting(now);
    }

    /// The data plane has started or stopped accepting.
    pub(crate) fn handle_accepting(&mut self, accepting: Accepting, now: Instant) {
        if let State::Closing { .. } = self.state
            && accepting == Accepting::No
        {
            self.send(Message::Go {});
            self.state = State::Switching { until: now + self.plan.timeouts.answer };
        }
    }

    /// The data plane has no session left.
    pub(crate) fn handle_emptied(&mut self, now: Instant) {
        self.is_emptied = true;
        self.finish_if_empty(now);
    }

    /// The successor is dead, and all it had said is handled.
    pub(crate) fn handle_gone(&mut self, how: Option<&str>) {
        let State::Ending(ending) = &self.state else { return };
        let mut ending = ending.clone();
        if let Some(how) = how {
            ending.reason = format!("{} ({how})", ending.reason);
        }
        let unacknowledged = self.shipment.take_back();
        self.actions.push_back(Action::Reclaim(unacknowledged));
        self.state = State::Done(Outcome::Kept(ending));
    }

    fn handle_hello(&mut self, hello: &Hello) {
        match self.plan.demands.judge(hello) {
            Ok(version) => {
                self.actions.push_back(Action::SendOffer { version });
                self.state = State::Warm;
            }
            Err(unfit) => {
                let reason = unfit.to_string();
                self.send(Message::Refuse(Reason { reason: reason.clone() }));
                self.fail(reason);
            }
        }
    }

    fn handle_ready(&mut self, now: Instant) {
        self.progress_at = now + self.plan.timeouts.progress;
        self.liveness = Liveness::new(self.plan.timeouts.silence, now);
        if self.plan.session_handover {
            self.state = State::Moving;
            self.next_batch(now);
        } else {
            self.close(now);
        }
    }

    fn handle_acks(&mut self, acks: &Acks, now: Instant) {
        let was_canary = self.shipment.is_canary();
        let settled = self.shipment.handle_acks(acks, &mut self.actions);
        self.release(settled.released, now);
        if let Some(lost) = &acks.lost {
            return self.handle_error(format!("sessions did not arrive: {lost}"), now);
        }
        if let Some(reason) = settled.reason {
            self.note = Some(reason.clone());
            if was_canary {
                return self.handle_error(format!("canary: {reason}"), now);
            }
        }
        self.next_if_awaiting(now);
    }

    fn next_if_awaiting(&mut self, now: Instant) {
        if self.ships() {
            let left = self.shipment.advance_if_awaiting(&mut self.actions, now);
            self.handle_left(left, now);
        }
    }

    fn next_batch(&mut self, now: Instant) {
        let left = self.shipment.advance(&mut self.actions, now);
        self.handle_left(left, now);
    }

    fn handle_left(&mut self, left: Left, now: Instant) {
        match (left, &self.state) {
            (Left::Some, _) => return,
            (Left::Nothing, State::Moving) => self.close(now),
            (Left::Nothing, _) => self.shipment.rest(Some(now + self.plan.timeouts.again)),
        }
        self.finish_if_empty(now);
    }

    fn handle_shipment_timeout(&mut self, now: Instant) {
        match self.shipment.handle_timeout(now) {
            Some(Due::Rest) => self.next_batch(now),
            Some(Due::Freezing) => {
                self.handle_error("the data plane does not freeze its sessions".into(), now);
            }
            Some(Due::Acks) => self.fail(late("ACKS")),
            None => {}
        }
    }

    /// Whether sessions are asked for; those that come later go on here.
    fn ships(&self) -> bool {
        matches!(self.state, State::Moving | State::Draining { .. })
    }

    fn close(&mut self, now: Instant) {
        self.is_closed = true;
        self.actions.push_back(Action::Accept(Accepting::No));
        self.state = State::Closing { until: now + self.plan.timeouts.step };
    }

    fn handle_accepted(&mut self, now: Instant) {
        self.probation.begin(now);
        let deadline = self.deadline(now);
        self.actions.push_back(Action::Drain(deadline));
        self.shipment.rest(self.plan.session_handover.then_some(now));
        let limit = deadline.map(|deadline| deadline + self.plan.timeouts.answer);
        self.state = State::Draining { limit };
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        match self.plan.mode {
            Mode::Force => Some(now),
            Mode::Restart | Mode::Rehearse | Mode::Unknown => {
                self.plan.exit_timeout.map(|timeout| now + timeout)
            }
        }
    }

    fn finish_if_empty(&mut self, now: Instant) {
        match &self.state {
            State::Alone { outcome, .. } if self.is_emptied => {
                self.state = State::Done(outcome.clone());
            }
            State::Draining { .. }
                if self.shipment.is_resting() && self.is_emptied && self.shipment.is_settled() =>
            {
                self.drained(now);
            }
            _ => {}
        }
    }

    /// Nothing is left to wait for here, but for what the successor may still do.
    fn drained(&mut self, now: Instant) {
        if self.probation.is_over(now) {
            return self.commit(now);
        }
        self.state = State::Probation;
    }

    /// Who has been the successor's for long enough is, while others drain for longer. All at once
    /// pass with COMMIT.
    fn let_pass(&mut self, now: Instant) {
        let passed = self.probation.due(now);
        if !passed.is_empty() {
            self.actions.push_back(Action::Forget(passed));
        }
    }

    fn commit(&mut self, now: Instant) {
        // What is still on its way then is lost to the deadline: the successor has not answered.
        self.actions.push_back(Action::SendCommit);
        self.state = State::Committing { until: now + self.plan.timeouts.answer };
    }

    fn handle_returning(&mut self, now: Instant) {
        let soon = now + self.plan.timeouts.answer + self.plan.timeouts.login;
        if let State::Returning { until, .. } = &mut self.state {
            *until = soon;
        }
    }

    fn handle_promoted(&mut self, reason: &str, now: Instant) {
        let unacknowledged = self.shipment.take_back();
        match self.is_heir {
            // It may have acknowledged them to the process before this one.
            true => self.release(unacknowledged, now),
            false => thaw(unacknowledged, &mut self.actions),
        }
        self.forget_all();
        if !self.is_closed {
            self.actions.push_back(Action::Accept(Accepting::No));
        }
        let deadline = self.deadline(now);
        self.actions.push_back(Action::Drain(deadline));
        let limit = deadline.map(|deadline| deadline + self.plan.timeouts.answer);
        self.is_emptied = false;
        self.state = State::Alone { outcome: Outcome::Superseded(reason.to_owned()), limit };
    }

    /// The operator stops the proxy, and has asked this process. Only in DRAIN and PROBATION.
    pub(crate) fn stop(&mut self, now: Instant) {
        if matches!(self.state, State::Draining { .. } | State::Probation) {
            self.send(Message::Stop {});
            self.handle_stop(now);
        }
    }

    /// The successor leaves on purpose, and so does this process.
    fn handle_stop(&mut self, now: Instant) {
        self.forget_all();
        self.state = State::Alone { outcome: Outcome::Stopped, limit: None };
        self.drain_now(now);
        self.finish_if_empty(now);
    }

    /// The successor is not to be trusted with anything any more.
    fn fail(&mut self, reason: String) {
        self.end_with(Ending { state: TaskState::Failed, reason });
    }

    fn end_with(&mut self, ending: Ending) {
        self.resume();
        let reason = ending.reason.clone();
        self.actions.push_back(Action::EndSuccessor { reason, because: None });
        self.state = State::Ending(ending);
    }

    /// Ends what was being taken back.
    fn end(&mut self, because: &str) {
        let State::Returning { ending, .. } = &self.state else { return };
        let ending = ending.clone();
        let (reason, because) = (ending.reason.clone(), Some(because.to_owned()));
        self.actions.push_back(Action::EndSuccessor { reason, because });
        self.state = State::Ending(ending);
    }

    fn resume(&mut self) {
        if self.is_closed {
            self.is_closed = false;
            self.actions.push_back(Action::Accept(self.plan.accepting));
        }
        if self.is_draining() || matches!(self.state, State::Probation | State::Committing { .. }) {
            self.actions.push_back(Action::Undrain);
        }
    }

    /// Whether the other side has heard what it was told last.
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
            State::Moving
            | State::Closing { .. }
            | State::Switching { .. }
            | State::Draining { .. }
            | State::Probation
            | State::Committing { .. }
            | State::Returning { .. } => true,
            State::Hello
            | State::Warm
            | State::Ending(_)
            | State::Alone { .. }
            | State::Done(_) => false,
        }
    }

    fn release(&mut self, ids: Vec<u32>, now: Instant) {
        if ids.is_empty() {
            return;
        }
        self.actions.push_back(Action::Park(ids.clone()));
        match self.probation.is_on() {
            true => self.probation.park(ids, now),
            false => self.actions.push_back(Action::Forget(ids)),
        }
    }

    /// The successor lives and keeps what it has.
    fn forget_all(&mut self) {
        self.actions.push_back(Action::Forget(self.probation.end()));
    }

    fn send(&mut self, message: Message) {
        self.actions.push_back(Action::Send(message));
    }
}

fn late(what: &str) -> String {
    format!("the successor did not send {what} in time")
}
