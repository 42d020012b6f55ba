//! Sessions on their way from one side to the other, in either direction. Pure.
//!
//! Which are asked for next, which are on their way, and who came back. Invariant: a session is
//! outstanding from the moment it is sent until it is released or thawed; nobody reads or writes it
//! meanwhile.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Instant;

use crate::restart::message::{Acks, MOST_FDS};
use crate::restart::plane::Class;
use crate::restart::timeouts::Timeouts;

/// Canaries: 1, 8, then 64 idle sessions, no more than a batch at a time. Each waits for the one
/// before, and every session of them must be acknowledged.
const CANARIES: [usize; 6] = [1, 8, 16, 16, 16, 16];

/// Sessions in one batch. Each of them stands still for as long as the whole window takes, about
/// 40 µs a session; a batch of less costs more for its message than it gains.
const BATCH: usize = 16;

/// Batches that may be frozen and not yet acknowledged; only these sessions stand still. With two
/// one side freezes while the other adopts.
const WINDOW: usize = 2;

/// How often a refused session is offered.
const ATTEMPTS: u8 = 2;

/// What is to be done with sessions that are shipped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ship {
    /// Freeze sessions; then `handle_surrendered`.
    Surrender(Wanted),
    /// Send these frozen sessions in one message.
    Send(Vec<u32>),
    /// Go on with these frozen sessions here.
    Thaw(Vec<u32>),
}

/// ```text
///  Resting ──advance──► Freezing ──surrendered──► as long as enough is not on its way: Freezing
///     ▲                                           otherwise: Awaiting ──acks──► Freezing
///     └────────── rest, when all are through ─────────────────┘
/// ```
#[derive(Clone, Copy, Debug)]
enum Step {
    /// No batch until then.
    Resting(Option<Instant>),
    /// The data plane freezes one; others may be on their way.
    Freezing { until: Instant },
    /// As much is sent as may be without an ack; or all.
    Awaiting { until: Instant },
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The rest is over: every session once more; then `advance`.
    Rest,
    /// The data plane has not frozen the batch.
    Freezing,
    /// The other side has not answered.
    Acks,
}

/// Whether there is more to ship.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "when all are through, something else begins"]
pub(crate) enum Left {
    /// Some are frozen or on their way.
    Some,
    /// Every class is through, and everything was answered.
    Nothing,
}

/// A transfer, batch by batch.
#[derive(Debug)]
pub(crate) struct Shipment {
    transfer: Transfer,
    step: Step,
    timeouts: Timeouts,
}

impl Shipment {
    /// Nothing happens before `advance`.
    pub(crate) fn new(transfer: Transfer, timeouts: Timeouts) -> Self {
        Self { transfer, step: Step::Resting(None), timeouts }
    }

    /// No batch until then.
    pub(crate) fn rest(&mut self, until: Option<Instant>) {
        self.step = Step::Resting(until);
    }

    /// Whether no batch is under way.
    pub(crate) fn is_resting(&self) -> bool {
        matches!(self.step, Step::Resting(_))
    }

    /// When `handle_timeout` has something to say.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self.step {
            Step::Resting(until) => until,
            Step::Freezing { until } | Step::Awaiting { until } => Some(until),
        }
    }

    /// Whether the canaries are still on: asked for, or not yet answered.
    pub(crate) fn is_canary(&self) -> bool {
        self.transfer.is_canary()
    }

    /// Sessions that are the other side's.
    pub(crate) fn moved(&self) -> u64 {
        self.transfer.moved()
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_settled(&self) -> bool {
        self.transfer.is_settled()
    }

    /// Once more every session, those included that were refused only once.
    pub(crate) fn again(&mut self) {
        self.transfer.again();
    }

    /// Takes back all that is on its way: the other side is dead.
    pub(crate) fn take_back(&mut self) -> Vec<u32> {
        self.transfer.take_back()
    }

    /// These were on their way when the process before this one died.
    pub(crate) fn inherit(&mut self, ids: impl IntoIterator<Item = u32>) {
        self.transfer.outstanding.extend(ids);
    }

    /// Sends all that is on its way once more: whoever has got it may have died.
    pub(crate) fn repeat<A: From<Ship>>(&self, actions: &mut VecDeque<A>) {
        let ids: Vec<u32> = self.transfer.outstanding.iter().copied().collect();
        actions.extend(ids.chunks(BATCH).map(|some| Ship::Send(some.to_vec()).into()));
    }

    /// Asks for the next batch, if enough is not on its way.
    pub(crate) fn advance<A: From<Ship>>(
        &mut self,
        actions: &mut VecDeque<A>,
        now: Instant,
    ) -> Left {
        if let Some(wanted) = self.transfer.next() {
            actions.push_back(Ship::Surrender(wanted).into());
            self.step = Step::Freezing { until: now + self.timeouts.step };
        } else if !self.transfer.is_settled() {
            self.step = Step::Awaiting { until: now + self.timeouts.answer };
        } else {
            return Left::Nothing;
        }
        Left::Some
    }

    /// The same after an answer. While a batch is being frozen, it is what comes next.
    pub(crate) fn advance_if_awaiting<A: From<Ship>>(
        &mut self,
        actions: &mut VecDeque<A>,
        now: Instant,
    ) -> Left {
        match self.step {
            Step::Awaiting { .. } => self.advance(actions, now),
            Step::Resting(_) | Step::Freezing { .. } => Left::Some,
        }
    }

    /// The data plane gives these out. Whoever was not asked for any more goes on here.
    pub(crate) fn handle_surrendered<A: From<Ship>>(
        &mut self,
        sizes: &[Size],
        actions: &mut VecDeque<A>,
        now: Instant,
    ) -> Left {
        if !matches!(self.step, Step::Freezing { .. }) {
            thaw(sizes.iter().map(|size| size.id).collect(), actions);
            return Left::Some;
        }
        let groups = self.transfer.handle_surrendered(sizes, MOST_FDS);
        thaw(groups.unsendable, actions);
        actions.extend(groups.sent.into_iter().map(|ids| Ship::Send(ids).into()));
        self.advance(actions, now)
    }

    /// The other side has answered; those that it refused go on here.
    pub(crate) fn handle_acks<A: From<Ship>>(
        &mut self,
        acks: &Acks,
        actions: &mut VecDeque<A>,
    ) -> Settled {
        let mut settled = self.transfer.handle_acks(acks);
        thaw(std::mem::take(&mut settled.thawed), actions);
        settled
    }

    /// The kernel did not take a message. False if there is nothing smaller to try.
    pub(crate) fn handle_congestion<A: From<Ship>>(
        &mut self,
        ids: Vec<u32>,
        actions: &mut VecDeque<A>,
    ) -> bool {
        let can_shrink = self.transfer.handle_congestion(&ids);
        thaw(ids, actions);
        can_shrink
    }

    /// Time has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        self.until().filter(|until| now >= *until)?;
        match self.step {
            Step::Resting(_) => {
                self.transfer.again();
                Some(Due::Rest)
            }
            Step::Freezing { .. } => Some(Due::Freezing),
            Step::Awaiting { .. } => Some(Due::Acks),
        }
    }
}

/// Goes on with these here, if there are any.
pub(crate) fn thaw<A: From<Ship>>(ids: Vec<u32>, actions: &mut VecDeque<A>) {
    if !ids.is_empty() {
        actions.push_back(Ship::Thaw(ids).into());
    }
}

/// In which order sessions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Canary(usize),
    Class(Class),
    Over,
}

/// A surrendered session, as far as a batch must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// The session.
    pub id: u32,
    /// Its fds.
    pub fds: usize,
}

/// What to ask of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Which sessions.
    pub class: Class,
    /// How many at most.
    pub n: usize,
    /// But not these.
    pub except: HashSet<u32>,
}

/// What an answer settles.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The other side's now.
    pub released: Vec<u32>,
    /// To go on where they are.
    pub thawed: Vec<u32>,
    /// Why, of one of them.
    pub reason: Option<String>,
}

/// One side's sessions on their way to the other.
#[derive(Debug)]
pub(crate) struct Transfer {
    pace: Pace,
    batch: usize,
    asked: usize,
    awaits_canaries: bool,
    outstanding: BTreeSet<u32>,
    attempts: HashMap<u32, u8>,
    except: HashSet<u32>,
    moved: u64,
}

impl Transfer {
    /// Begins with canaries.
    pub(crate) fn with_canaries() -> Self {
        Self { pace: Pace::Canary(0), ..Self::of_all() }
    }

    /// Begins with every session, in no order.
    pub(crate) fn of_all() -> Self {
        Self {
            pace: Pace::Class(Class::Any),
            batch: BATCH,
            asked: 0,
            awaits_canaries: false,
            outstanding: BTreeSet::new(),
            attempts: HashMap::new(),
            except: HashSet::new(),
            moved: 0,
        }
    }

    /// Whether the canaries are still on: asked for, or not yet answered.
    fn is_canary(&self) -> bool {
        matches!(self.pace, Pace::Canary(_)) || self.awaits_canaries
    }

    /// Sessions that are the other side's.
    fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether nothing is on its way.
    fn is_settled(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// The next batch; None when all classes are through, or enough is on its way. Canaries wait
    /// for one another.
    fn next(&mut self) -> Option<Wanted> {
        let allowed = if self.is_canary() { 0 } else { (WINDOW - 1) * self.batch };
        if self.outstanding.len() > allowed {
            return None;
        }
        let (class, n) = match self.pace {
            Pace::Canary(at) => (Class::Idle, CANARIES[at].min(self.batch)),
            Pace::Class(class) => (class, self.batch),
            Pace::Over => return None,
        };
        self.asked = n;
        Some(Wanted { class, n, except: self.except.clone() })
    }

    /// Once more every session, those included that were refused only once.
    fn again(&mut self) {
        self.pace = Pace::Class(Class::Any);
        let attempts = &self.attempts;
        self.except.retain(|id| attempts.get(id).is_none_or(|count| *count >= ATTEMPTS));
    }

    /// The data plane has given these out. The groups are to be sent, each in one message; the
    /// rest cannot be sent at all.
    fn handle_surrendered(&mut self, sizes: &[Size], most_fds: usize) -> Groups {
        let is_full = sizes.len() >= self.asked;
        let are_canaries = matches!(self.pace, Pace::Canary(_));
        self.pace = match self.pace {
            Pace::Canary(at) if is_full && at + 1 < CANARIES.len() => Pace::Canary(at + 1),
            Pace::Canary(_) => Pace::Class(Class::Idle),
            same @ Pace::Class(_) if is_full => same,
            Pace::Class(Class::Idle) => Pace::Class(Class::InTransaction),
            Pace::Class(Class::InTransaction) => Pace::Class(Class::Any),
            Pace::Class(Class::Any) | Pace::Over => Pace::Over,
        };
        let groups = Groups::new(sizes, most_fds);
        self.outstanding.extend(groups.sent.iter().flatten());
        groups.unsendable.iter().for_each(|id| self.give_up(*id));
        self.awaits_canaries = are_canaries && !self.is_settled();
        groups
    }

    /// The other side has answered. What was not outstanding is ignored.
    fn handle_acks(&mut self, acks: &Acks) -> Settled {
        let mut settled = Settled::default();
        for id in &acks.adopted {
            if self.outstanding.remove(id) {
                self.moved += 1;
                settled.released.push(*id);
            }
        }
        for nack in &acks.refused {
            if self.outstanding.remove(&nack.id) {
                *self.attempts.entry(nack.id).or_default() += 1;
                self.except.insert(nack.id);
                settled.thawed.push(nack.id);
                settled.reason = Some(format!("session {} refused: {}", nack.id, nack.reason));
            }
        }
        self.awaits_canaries &= !self.is_settled();
        settled
    }

    /// The kernel did not take a message. These go on where they are; the next batches are smaller.
    /// False if there is nothing smaller.
    fn handle_congestion(&mut self, ids: &[u32]) -> bool {
        ids.iter().for_each(|id| {
            self.outstanding.remove(id);
        });
        let can_shrink = self.batch > 1;
        self.batch = (self.batch / 2).max(1);
        if self.pace == Pace::Over {
            self.pace = Pace::Class(Class::Any);
        }
        self.awaits_canaries &= !self.is_settled();
        can_shrink
    }

    /// Takes back all that is on its way: the other side is dead.
    fn take_back(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.outstanding).into_iter().collect()
    }

    fn give_up(&mut self, id: u32) {
        self.attempts.insert(id, ATTEMPTS);
        self.except.insert(id);
    }
}

/// A batch, cut into messages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Groups {
    /// One message each.
    sent: Vec<Vec<u32>>,
    /// More fds than a message can carry.
    unsendable: Vec<u32>,
}

impl Groups {
    fn new(sizes: &[Size], most_fds: usize) -> Self {
        let mut groups = Self::default();
        let mut fds = 0;
        for size in sizes {
            if size.fds > most_fds {
                groups.unsendable.push(size.id);
                continue;
            }
            match groups.sent.last_mut() {
                Some(last) if fds + size.fds <= most_fds => last.push(size.id),
                Some(_) | None => {
                    groups.sent.push(vec![size.id]);
                    fds = 0;
                }
            }
            fds += size.fds;
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::message::Nack;

    fn sizes(ids: std::ops::Range<u32>) -> Vec<Size> {
        ids.map(|id| Size { id, fds: 2 }).collect()
    }

    fn adopted(ids: &[u32]) -> Acks {
        Acks { adopted: ids.to_vec(), ..Acks::default() }
    }

    #[test]
    fn canaries_come_first_then_idle_then_in_transaction_then_any() {
        let mut transfer = Transfer::with_canaries();
        let mut asked = Vec::new();
        let mut id = 0;
        while let Some(wanted) = transfer.next() {
            asked.push((wanted.class, wanted.n));
            // 80 idle sessions, 3 in a transaction, 1 in flight.
            let left = match wanted.class {
                Class::Idle => 80 - id.min(80),
                Class::InTransaction => 83 - id.min(83),
                Class::Any => 84 - id.min(84),
            };
            let n = (wanted.n as u32).min(left);
            let groups = transfer.handle_surrendered(&sizes(id..id + n), 252);
            for group in groups.sent {
                assert_eq!(transfer.handle_acks(&adopted(&group)).released, group);
            }
            id += n;
        }
        let expected = [
            (Class::Idle, 1),
            (Class::Idle, 8),
            (Class::Idle, 16),
            (Class::Idle, 16),
            (Class::Idle, 16),
            (Class::Idle, 16),
            (Class::Idle, 16),
            (Class::InTransaction, 16),
            (Class::Any, 16),
        ];
        assert_eq!(asked, expected);
        assert_eq!(transfer.moved(), 84);
    }

    #[test]
    fn one_batch_is_frozen_while_another_is_on_its_way_but_no_canary() {
        let mut transfer = Transfer::with_canaries();
        let mut id = 0;
        for n in CANARIES {
            assert_eq!(transfer.next().map(|wanted| wanted.n), Some(n));
            let canaries: Vec<u32> = (id..id + n as u32).collect();
            id += n as u32;
            transfer.handle_surrendered(&sizes(canaries[0]..id), 252);
            assert!(transfer.is_canary());
            assert_eq!(transfer.next(), None);
            transfer.handle_acks(&adopted(&canaries));
        }
        for _ in 0..WINDOW {
            assert!(transfer.next().is_some());
            transfer.handle_surrendered(&sizes(id..id + BATCH as u32), 252);
            id += BATCH as u32;
        }
        assert_eq!(transfer.next(), None);
        let first: Vec<u32> = (73..73 + BATCH as u32).collect();
        transfer.handle_acks(&adopted(&first));
        assert!(transfer.next().is_some());
    }

    #[test]
    fn a_refused_session_is_offered_once_more_and_then_left_alone() {
        let mut transfer = Transfer::of_all();
        for round in 0..3 {
            let wanted = transfer.next().expect("a class");
            assert_eq!(wanted.except.contains(&5), round == 2);
            transfer.handle_surrendered(&sizes(5..6), 252);
            let nack = Nack { id: 5, reason: "no".into() };
            let settled = transfer.handle_acks(&Acks { refused: vec![nack], ..Acks::default() });
            assert_eq!(settled.thawed, [5]);
            assert!(transfer.next().is_none());
            transfer.again();
        }
    }

    #[test]
    fn no_message_has_more_fds_than_the_kernel_takes() {
        let sizes = [(1, 100), (2, 152), (3, 1), (4, 253), (5, 252)];
        let sizes: Vec<_> = sizes.iter().map(|&(id, fds)| Size { id, fds }).collect();
        let groups = Transfer::of_all().handle_surrendered(&sizes, 252);
        assert_eq!(groups.sent, [vec![1, 2], vec![3], vec![5]]);
        assert_eq!(groups.unsendable, [4]);
    }
}
