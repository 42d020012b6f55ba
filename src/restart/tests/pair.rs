//! Both machines against each other in virtual time, with a fault at every message.
//!
//! The laws: it never hangs; no session is ever served by two; a session is lost only with the
//! process that owned it; whoever is left alive accepts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::restart::machine::plan::{Demands, Ending, Outcome, Plan};
use crate::restart::machine::predecessor::{self, Predecessor};
use crate::restart::machine::shipment::{Ship, Size, Wanted};
use crate::restart::machine::successor::{self, Successor};
use crate::restart::message::{
    Acks, Entry, Hello, Listen, Message, Nack, Parcels, Progress, Terms, VERSIONS,
};
use crate::restart::task::{Generation, Mode, Phase, Task, TaskId, TaskState};
use crate::restart::{Accepting, Timeouts};

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    P,
    FrozenInP,
    S,
    FrozenInS,
    /// Its client has left, or was told 1053.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    KillP,
    KillS,
    /// Nothing arrives any more, in either direction.
    Mute,
    /// Nothing arrives at the successor any more.
    MuteP,
    /// Nothing arrives at the predecessor any more.
    MuteS,
    Rollback,
    Force,
}

#[derive(Clone, Debug)]
struct Case {
    sessions: u32,
    refused: Vec<u32>,
    session_handover: bool,
    mode: Mode,
    exit_timeout: Option<u64>,
    probation: u64,
    fault: Fault,
    at: usize,
}

struct Pair {
    case: Case,
    now: Instant,
    start: Instant,
    p: Predecessor,
    s: Successor,
    p_alive: bool,
    s_alive: bool,
    to_p: VecDeque<Message>,
    to_s: VecDeque<Message>,
    passed: usize,
    p_accepts: bool,
    s_accepts: bool,
    /// Whether the next successor finds it.
    s_is_found: bool,
    places: BTreeMap<u32, Place>,
    over_at: Option<Instant>,
    arrived: [Vec<u32>; 2],
    /// Of those the predecessor has duplicates.
    parked: BTreeSet<u32>,
}

impl Pair {
    fn new(case: Case) -> Self {
        let now = Instant::now();
        let timeouts = Timeouts::default();
        let plan = Plan {
            mode: case.mode,
            session_handover: case.session_handover && case.mode == Mode::Restart,
            exit_timeout: case.exit_timeout.map(Duration::from_secs),
            probation: Duration::from_secs(case.probation),
            ready_by: now + Duration::from_secs(60),
            accepting: Accepting::Yes,
            demands: Demands { versions: VERSIONS, descriptors: 0 },
            timeouts,
        };
        Self {
            places: (1..=case.sessions).map(|id| (id, Place::P)).collect(),
            case,
            now,
            start: now,
            p: Predecessor::new(plan, now),
            s: Successor::new(hello(), timeouts, now),
            p_alive: true,
            s_alive: true,
            to_p: VecDeque::new(),
            to_s: VecDeque::new(),
            passed: 0,
            p_accepts: true,
            s_accepts: false,
            s_is_found: false,
            over_at: None,
            arrived: [vec![], vec![]],
            parked: BTreeSet::new(),
        }
    }

    fn run(mut self) {
        for _ in 0..50_000 {
            self.act();
            if self.is_over() {
                return self.judge();
            }
            if !self.deliver() && !self.close() {
                self.wait();
            }
        }
        panic!("it hangs: P {:?}, S {:?}", self.p, self.s);
    }

    fn is_over(&self) -> bool {
        (!self.p_alive || self.p.outcome().is_some())
            && (!self.s_alive || self.s.outcome().is_some())
    }

    fn judge(&self) {
        assert!(self.now - self.start < Duration::from_secs(600), "too late");
        let kept = matches!(self.p.outcome(), Some(Outcome::Kept(_)));
        if self.p_alive && kept {
            assert!(self.p_accepts, "the predecessor accepts again");
            assert!(!self.s_alive, "the successor is dead");
        }
        let promoted = matches!(
            self.s.outcome(),
            Some(successor::Outcome::Promoted(_) | successor::Outcome::Committed)
        );
        if self.s_alive && promoted {
            assert!(self.s_accepts, "the successor accepts");
            assert!(self.s_is_found, "the next successor finds it");
        }
        let serves = [self.p_alive && kept, self.s_alive && promoted];
        let nobody_left = !self.p_alive && !self.s_alive;
        let died_early = self.case.fault == Fault::KillP && !self.s_accepts;
        // Right after it had confirmed the commit.
        let died_late =
            self.case.fault == Fault::KillS && matches!(self.p.outcome(), Some(Outcome::Committed));
        let is_excused = nobody_left || died_early || died_late;
        assert!(serves.contains(&true) || is_excused, "somebody serves");
        for (id, place) in &self.places {
            let is_frozen = matches!(place, Place::FrozenInP | Place::FrozenInS);
            assert!(!is_frozen, "session {id} is {place:?} for ever");
        }
        let moves = self.case.session_handover && self.case.mode == Mode::Restart;
        let in_time = self.case.exit_timeout.is_none_or(|timeout| timeout > 30);
        // Who is refused drains, and that may take longer than the probation.
        let is_probed = self.case.probation > 0 && self.case.refused.is_empty();
        if self.case.fault == Fault::KillS && kept && moves && in_time && is_probed {
            for (id, place) in &self.places {
                assert!(*place == Place::P || is_touched(*id), "session {id} was not touched");
            }
        }
        if self.case.fault == Fault::Rollback && kept && moves && in_time {
            let lost = self.places.values().filter(|place| **place != Place::P).count();
            assert_eq!(lost, 0, "every session is back");
        }
    }

    /// One message, from the side that has more to say; false if there is none.
    fn deliver(&mut self) -> bool {
        if self.passed == self.case.at {
            self.passed += 1;
            self.strike();
        }
        let p_can = self.p_alive && self.p.outcome().is_none() && !self.to_p.is_empty();
        let s_can = self.s_alive && self.s.outcome().is_none() && !self.to_s.is_empty();
        if p_can && (!s_can || self.to_p.len() >= self.to_s.len()) {
            let message = self.to_p.pop_front().expect("not empty");
            self.tell_p(&message);
        } else if s_can {
            let message = self.to_s.pop_front().expect("not empty");
            if let Message::Parcels(it) = &message {
                self.arrived[1].extend(it.parcels.iter().map(|entry| entry.id));
            }
            self.s.handle_message(&message, self.now);
        } else {
            return false;
        }
        self.passed += 1;
        true
    }

    fn tell_p(&mut self, message: &Message) {
        if let Message::Parcels(it) = message {
            self.arrived[0].extend(it.parcels.iter().map(|entry| entry.id));
        }
        self.p.handle_message(message, self.now);
    }

    fn strike(&mut self) {
        match self.case.fault {
            Fault::KillP => self.kill_p(),
            Fault::KillS => self.kill_s(),
            Fault::Rollback => {
                let reason = "rollback".into();
                let ending = Ending { state: TaskState::RolledBack, reason };
                self.p.handle_abort(ending, self.now);
            }
            Fault::Force => {
                self.p.drain_now(self.now);
                self.s.handle_force(self.now);
            }
            Fault::None | Fault::Mute | Fault::MuteP | Fault::MuteS => {}
        }
    }

    fn is_muted(&self, faults: [Fault; 2]) -> bool {
        faults.contains(&self.case.fault) && self.passed > self.case.at
    }

    fn kill_p(&mut self) {
        self.p_alive = false;
        self.p_accepts = false;
        self.end_sessions([Place::P, Place::FrozenInP]);
    }

    fn kill_s(&mut self) {
        self.s_alive = false;
        self.s_accepts = false;
        self.end_sessions([Place::S, Place::FrozenInS]);
    }

    fn end_sessions(&mut self, whose: [Place; 2]) {
        for place in self.places.values_mut().filter(|place| whose.contains(place)) {
            *place = Place::Over;
        }
    }

    /// Both ends see the end of the other, once they have read everything.
    fn close(&mut self) -> bool {
        let p_gone = !self.p_alive || self.p.outcome().is_some();
        if p_gone && self.s_alive && self.s.outcome().is_none() {
            self.s.handle_closed(self.now);
            if self.s.is_warm() {
                self.s.handle_ready(self.now);
            }
            return true;
        }
        if self.p_alive && self.p.outcome().is_none() {
            if !self.s_alive {
                self.p.handle_channel_error("the successor died");
                return !self.p_actions_are_empty();
            }
            if self.s.outcome().is_some() {
                self.p.handle_closed(self.now);
                return !self.p_actions_are_empty();
            }
        }
        false
    }

    fn p_actions_are_empty(&mut self) -> bool {
        let before = self.p.outcome().is_none();
        self.act();
        before && self.p.outcome().is_none()
    }

    fn wait(&mut self) {
        let p = self.p_alive.then(|| self.p.poll_timeout()).flatten();
        let s = (self.s_alive && self.s.outcome().is_none()).then(|| self.s.poll_timeout());
        let next = [p, s.flatten(), self.over_at].into_iter().flatten().min();
        self.now = next.unwrap_or(self.now).max(self.now);
        if self.over_at.is_some_and(|at| self.now >= at) {
            self.over_at = None;
            self.end_sessions([Place::P, Place::P]);
        }
        if self.p_alive && self.p.outcome().is_none() {
            self.p.handle_timeout(self.now);
        }
        if self.s_alive && self.s.outcome().is_none() {
            self.s.handle_timeout(self.now);
        }
    }

    fn act(&mut self) {
        loop {
            if self.p_alive
                && let Some(action) = self.p.poll_action()
            {
                self.act_p(action);
                continue;
            }
            if self.s_alive
                && let Some(action) = self.s.poll_action()
            {
                self.act_s(action);
                continue;
            }
            if self.s_alive && self.s.is_warm() {
                self.s.handle_ready(self.now);
                continue;
            }
            break;
        }
        let left = self.places.values().any(|it| matches!(it, Place::P | Place::FrozenInP));
        if self.p_alive && self.p.is_draining() && !left {
            self.p.handle_emptied(self.now);
            if self.p.outcome().is_none() && !self.p.is_draining() {
                self.act();
            }
        }
        // A process that has come to its end exits; the successor's machine is done, not it.
        if self.s.outcome().is_some_and(|it| matches!(it, successor::Outcome::Ended(_))) {
            self.kill_s();
        }
    }

    fn act_p(&mut self, action: predecessor::Action) {
        use predecessor::Action;
        match action {
            Action::Send(message) => self.send_to_s(message),
            Action::SendOffer { version } => {
                let listeners = 2;
                self.send_to_s(Message::Offer(Box::new(terms(version, listeners))));
                let names = vec!["a".into(), "b".into()];
                self.send_to_s(Message::Listen(Listen { names }));
            }
            Action::SendProgress => self.send_to_s(Message::Progress(Progress { task: task() })),
            Action::SendCommit => self.send_to_s(Message::Commit(Progress { task: task() })),
            Action::Ship(Ship::Send(ids)) => {
                self.expect(&ids, Place::FrozenInP);
                self.send_to_s(parcels(&ids));
            }
            Action::Ship(Ship::Surrender(wanted)) => {
                let sizes = self.freeze(&wanted, Place::P, Place::FrozenInP);
                self.p.handle_surrendered(&sizes, self.now);
            }
            Action::Ship(Ship::Thaw(ids)) => self.change(&ids, Place::FrozenInP, Place::P),
            // They were adopted before this was learned.
            Action::Park(ids) => self.parked.extend(ids),
            Action::Forget(ids) => self.forget(&ids),
            Action::Reclaim(unacknowledged) => self.reclaim(&unacknowledged),
            Action::AdoptReturned => {
                let ids = std::mem::take(&mut self.arrived[0]);
                self.forget(&ids);
                self.change(&ids, Place::FrozenInS, Place::P);
                self.send_to_s(Message::Acks(Acks { adopted: ids, ..Acks::default() }));
            }
            Action::Accept(accepting) => {
                self.p_accepts = accepting == Accepting::Yes;
                self.p.handle_accepting(accepting, self.now);
            }
            Action::Drain(deadline) => {
                // Without a deadline the last client leaves at some time.
                self.over_at = Some(deadline.unwrap_or(self.now + Duration::from_secs(5)));
            }
            Action::Undrain => self.over_at = None,
            Action::EndSuccessor { .. } => {
                self.kill_s();
                while let Some(message) = self.to_p.pop_front() {
                    self.tell_p(&message);
                }
                self.act();
                self.p.handle_gone(None);
            }
        }
    }

    fn forget(&mut self, ids: &[u32]) {
        ids.iter().for_each(|id| {
            self.parked.remove(id);
        });
    }

    /// The successor is dead: what it had not touched is the predecessor's again.
    fn reclaim(&mut self, unacknowledged: &[u32]) {
        assert!(!self.s_alive, "never while the successor may run");
        let parked: Vec<_> = std::mem::take(&mut self.parked).into_iter().collect();
        let acknowledged = parked.iter().filter(|id| !is_touched(**id)).copied();
        let back: Vec<_> = acknowledged.chain(unacknowledged.iter().copied()).collect();
        self.change(&back, Place::FrozenInP, Place::P);
    }

    fn act_s(&mut self, action: successor::Action) {
        use successor::Action;
        match action {
            Action::Send(message) => {
                let may_leave = matches!(message, Message::Committed {});
                assert!(self.s_is_found || !may_leave, "nobody is found once the predecessor left");
                if self.p_alive && !self.is_muted([Fault::Mute, Fault::MuteS]) {
                    self.to_p.push_back(message);
                }
            }
            Action::KeepProgress => {}
            Action::Adopt => {
                let (refused, adopted): (Vec<_>, Vec<_>) = std::mem::take(&mut self.arrived[1])
                    .into_iter()
                    .partition(|id| self.case.refused.contains(id));
                // The predecessor may be dead: then its copy is gone, and this one is what is left.
                for id in &adopted {
                    let place = self.places.insert(*id, Place::S).expect("known");
                    let dead = !self.p_alive && place == Place::Over;
                    assert!(place == Place::FrozenInP || dead, "session {id} was {place:?}");
                }
                let nack = |id| Nack { id, reason: "no".into() };
                let refused = refused.into_iter().map(nack).collect();
                self.s.handle_adopted(Acks { adopted, refused, lost: None });
            }
            Action::Accept(accepting) => {
                self.s_accepts = accepting == Accepting::Yes;
                self.s.handle_accepting(accepting, self.now);
            }
            Action::Ship(Ship::Surrender(wanted)) => {
                let sizes = self.freeze(&wanted, Place::S, Place::FrozenInS);
                self.s.handle_surrendered(&sizes, self.now);
            }
            Action::Ship(Ship::Send(ids)) => {
                self.expect(&ids, Place::FrozenInS);
                if !self.is_muted([Fault::Mute, Fault::MuteS]) {
                    self.to_p.push_back(parcels(&ids));
                }
            }
            Action::Ship(Ship::Thaw(ids)) => self.change(&ids, Place::FrozenInS, Place::S),
            Action::Release(_) => {}
            Action::KillPredecessor => self.kill_p(),
            Action::OpenSocket => self.s_is_found = true,
        }
    }

    fn send_to_s(&mut self, message: Message) {
        if self.s_alive && !self.is_muted([Fault::Mute, Fault::MuteP]) {
            self.to_s.push_back(message);
        }
    }

    fn freeze(&mut self, wanted: &Wanted, from: Place, to: Place) -> Vec<Size> {
        let free = self
            .places
            .iter_mut()
            .filter(|(id, place)| **place == from && !wanted.except.contains(*id));
        let freeze = |(id, place): (&u32, &mut Place)| {
            *place = to;
            Size { id: *id, fds: 2 }
        };
        free.take(wanted.n).map(freeze).collect()
    }

    fn expect(&self, ids: &[u32], place: Place) {
        ids.iter().for_each(|id| assert_eq!(self.places[id], place, "session {id}"));
    }

    /// Thawed is only what is frozen here: it is served by nobody else.
    fn change(&mut self, ids: &[u32], from: Place, to: Place) {
        for id in ids {
            let place = self.places.get_mut(id).expect("known");
            // The other side adopted it and died with it: its sockets live on here.
            let inherited = !self.s_alive && *place == Place::Over;
            assert!(*place == from || inherited, "session {id} is {place:?}, not {from:?}");
            *place = to;
        }
    }
}

/// Whether the successor reads or writes a session as soon as it has it.
fn is_touched(id: u32) -> bool {
    id.is_multiple_of(3)
}

fn parcels(ids: &[u32]) -> Message {
    let entry = |id: &u32| Entry { id: *id, fds: 2, state: 0, bytes: 0 };
    Message::Parcels(Parcels { parcels: ids.iter().map(entry).collect() })
}

fn hello() -> Hello {
    Hello {
        versions: VERSIONS,
        build: String::new(),
        pid: 2,
        config_hash: String::new(),
        nofile: 0,
        carrier: 0,
    }
}

fn task() -> Task {
    Task {
        phase: Phase::Hello,
        new_pid: 2,
        ..Task::begun(TaskId(1), Mode::Restart, Generation(2), 1)
    }
}

fn terms(version: u16, listeners: usize) -> Terms {
    Terms {
        version,
        build: String::new(),
        pid: 1,
        generation: Generation(2),
        listeners,
        sessions: 0,
        binary: None,
        task: task(),
        tasks: vec![],
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let fault = prop_oneof![
        Just(Fault::None),
        Just(Fault::KillP),
        Just(Fault::KillS),
        Just(Fault::Mute),
        Just(Fault::MuteP),
        Just(Fault::MuteS),
        Just(Fault::Rollback),
        Just(Fault::Force),
    ];
    let mode = prop_oneof![4 => Just(Mode::Restart), 1 => Just(Mode::Force)];
    let refused = proptest::collection::vec(1..200_u32, 0..3);
    let timeout = proptest::option::of(0..40_u64);
    let probation = prop_oneof![Just(0), 1..20_u64];
    let fault = (fault, 0..120_usize);
    (0..200_u32, refused, any::<bool>(), mode, timeout, probation, fault).prop_map(
        |(sessions, refused, session_handover, mode, exit_timeout, probation, (fault, at))| Case {
            sessions,
            refused,
            session_handover,
            mode,
            exit_timeout,
            probation,
            fault,
            at,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_it_ends_by_the_rules(case in cases()) {
        Pair::new(case).run();
    }
}

/// The kernel takes no message any more, once the canaries are through: batches shrink, and while
/// one is being frozen no other is asked for.
#[test]
fn batches_that_are_not_taken_are_asked_for_one_by_one() {
    let case = Case {
        sessions: 0,
        refused: vec![],
        session_handover: true,
        mode: Mode::Restart,
        exit_timeout: None,
        probation: 0,
        fault: Fault::None,
        at: usize::MAX,
    };
    let Pair { mut p, now, .. } = Pair::new(case);
    p.handle_message(&Message::Hello(hello()), now);
    p.handle_message(&Message::Ready {}, now);
    let (mut asked, mut id, mut refusals) = (vec![], 0, 0);
    while p.phase().is_some() {
        while let Some(action) = p.poll_action() {
            match action {
                predecessor::Action::Ship(Ship::Surrender(wanted)) => asked.push(wanted.n),
                predecessor::Action::Ship(Ship::Send(ids)) if p.phase() == Some(Phase::Canary) => {
                    let acks = Acks { adopted: ids, ..Acks::default() };
                    p.handle_message(&Message::Acks(acks), now);
                }
                predecessor::Action::Ship(Ship::Send(ids)) => {
                    refusals += 1;
                    p.handle_congestion(ids, "no room", now);
                }
                _ => {}
            }
        }
        assert!(asked.len() <= 1, "asked for batches of {asked:?} at once");
        let n = asked.pop().unwrap_or_default() as u32;
        let sizes: Vec<_> = (id..id + n).map(|id| Size { id, fds: 2 }).collect();
        id += n;
        p.handle_surrendered(&sizes, now);
    }
    assert!(refusals > 2, "{refusals} messages were not taken");
}
