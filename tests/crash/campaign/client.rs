//! A client: a thread that plays its script again and again, and compares.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::script::{ROUNDS, Reference, Script};
use super::{Plan, Random};
use crate::scene::{Layered, Layers};
use crate::support::raw::WireError;
use crate::support::{Wire, until};

/// What a client does all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Waits, and looks whether its state is there.
    Idle,
    /// Transfers in transactions.
    Bank,
    /// Statements that take their time.
    Statement,
    /// Large results.
    Result,
    /// The same, read slowly, so that they stand everywhere on the way.
    Slow,
    /// Says FIN behind its question, and waits for the answer.
    HalfClosed,
    /// Sends files.
    LoadData,
    /// Many commands before it reads.
    Pipeline,
    /// Prepared statements, with long data.
    Prepared,
    /// Cursors.
    Cursor,
    /// Several statements in one command.
    Multi,
    /// Commands that come in pieces.
    Pieces,
    /// Connects, asks once, quits.
    Connect,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = [
        Self::Idle,
        Self::Bank,
        Self::Statement,
        Self::Result,
        Self::Slow,
        Self::HalfClosed,
        Self::LoadData,
        Self::Pipeline,
        Self::Prepared,
        Self::Cursor,
        Self::Multi,
        Self::Pieces,
        Self::Connect,
    ];

    /// All that there are over these. Who ends half of a connection ends what is in it.
    pub(crate) fn over(layers: Layers) -> impl Iterator<Item = Self> + Clone {
        let may_be = move |it: &Self| layers == Layers::Nothing || *it != Self::HalfClosed;
        Self::ALL.into_iter().filter(may_be)
    }

    /// For the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Bank => "bank",
            Self::Statement => "statement",
            Self::Result => "result",
            Self::Slow => "slow reader",
            Self::HalfClosed => "half-closed",
            Self::LoadData => "load data",
            Self::Pipeline => "pipeline",
            Self::Prepared => "prepared",
            Self::Cursor => "cursor",
            Self::Multi => "multi",
            Self::Pieces => "pieces",
            Self::Connect => "connect",
        }
    }

    /// Whether each round has a connection of its own.
    fn is_brief(self) -> bool {
        matches!(self, Self::HalfClosed | Self::Connect)
    }
}

/// What came of a client.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub kind: Kind,
    /// Rounds that were right.
    pub rounds: u64,
    /// Bytes that were compared.
    pub bytes: u64,
    /// Log-ins that were cut.
    pub refused: u64,
    /// It has ended with it.
    pub trouble: Option<String>,
}

/// See the module.
pub(crate) struct Client {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    kind: Kind,
    number: u64,
    rounds: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Client {
    /// Starts it.
    pub(crate) fn start(
        plan: &Arc<Plan>,
        (layered, reference): (&Arc<Layered>, &Arc<Reference>),
        number: u64,
        kind: Kind,
    ) -> Self {
        let shared = Arc::new(Shared {
            kind,
            number,
            rounds: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            trouble: Mutex::default(),
        });
        let (own, plan, reference) = (shared.clone(), plan.clone(), reference.clone());
        let layered = layered.clone();
        let thread = std::thread::spawn(move || {
            let played = catch_unwind(AssertUnwindSafe(|| own.play(&plan, &layered, &reference)));
            let trouble = match played {
                Ok(Ok(())) => return,
                Ok(Err(trouble)) => trouble,
                Err(panic) => {
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).into()));
                    text.unwrap_or_else(|| "a panic".into())
                }
            };
            let rounds = own.rounds.load(Ordering::Relaxed);
            let trouble = format!("{} {number} in round {rounds}: {trouble}", kind.name());
            eprintln!("campaign: {trouble}");
            *own.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        });
        Self { shared, thread }
    }

    /// What has ended it.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many rounds it has played.
    pub(crate) fn rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::Relaxed)
    }

    /// Waits until it has played so many rounds, or has ended.
    pub(crate) fn until_played(&self, goal: u64) {
        until(&format!("{} {}", self.shared.kind.name(), self.shared.number), || {
            let is_there = self.rounds() >= goal;
            (is_there || self.trouble().is_some()).then_some(())
        });
    }

    /// Waits for its end.
    pub(crate) fn join(self) -> Tally {
        let trouble = self.thread.join().err().map(|_| "it has panicked".to_owned());
        let shared = &self.shared;
        Tally {
            kind: shared.kind,
            rounds: shared.rounds.load(Ordering::Relaxed),
            bytes: shared.bytes.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            trouble: trouble.or(shared
                .trouble
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()),
        }
    }
}

impl Shared {
    fn play(&self, plan: &Plan, layered: &Layered, reference: &Reference) -> Result<(), String> {
        let mut script = Script {
            kind: self.kind,
            worker: self.number,
            random: Some(Random::new(plan.seed, self.number + 1)),
            statement: 0,
        };
        let Some(mut wire) = self.log_in(plan, layered, &mut script) else { return Ok(()) };
        for n in 0.. {
            if plan.stop.load(Ordering::Relaxed) {
                break;
            }
            wire.record.borrow_mut().bytes.clear();
            script.round(&mut wire, n);
            let expected = reference.of_round(self.kind, n % ROUNDS);
            let found = &wire.record.borrow().bytes.clone();
            if let Some(at) = first_difference(found, expected) {
                let around = |bytes: &[u8]| {
                    let part = &bytes[at.saturating_sub(20).min(bytes.len())..];
                    part[..part.len().min(60)].escape_ascii().to_string()
                };
                let (found, expected) = (around(found), around(expected));
                return Err(format!("byte {at} differs: {found} and not {expected}"));
            }
            self.bytes.fetch_add(found.len() as u64, Ordering::Relaxed);
            self.rounds.fetch_add(1, Ordering::Relaxed);
            script.pause(plan.rest);
            if self.kind.is_brief() {
                let Some(next) = self.log_in(plan, layered, &mut script) else { return Ok(()) };
                wire = next;
            }
        }
        Ok(())
    }

    /// A session. A log-in that is cut is tried again: only who has logged in is kept. None: it is
    /// over.
    fn log_in(&self, plan: &Plan, layered: &Layered, script: &mut Script) -> Option<Wire> {
        until("a log-in", || {
            if plan.stop.load(Ordering::Relaxed) {
                return Some(None);
            }
            match layered.try_open(self.kind.login()) {
                Ok(mut wire) => {
                    script.prepare(&mut wire);
                    Some(Some(wire))
                }
                Err(WireError::Io(_) | WireError::Refused(_)) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    None
                }
            }
        })
    }
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    Some(same)
}
