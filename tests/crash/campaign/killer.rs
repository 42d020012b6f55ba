//! Whoever kills the proxy at random, by every means: from outside, and so that it does it itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Random;
use crate::scene::Scene;
use crate::support::{may_look_into_proxies, until};
use crate::tracer;

/// Between two kills, at most.
const PAUSE: Duration = Duration::from_millis(300);

/// Deaths of which the proxy may be to blame itself are further apart: three within ten seconds and
/// it starts empty.
const BLAMELESS: Duration = Duration::from_secs(6);

/// How a proxy is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Means {
    /// SIGKILL.
    Kill,
    /// SIGABRT that somebody sends.
    Sent,
    /// A thread of it jumps to where nothing is.
    Fault,
    /// A thread of it aborts.
    Abort,
}

/// See the module.
pub(crate) struct Killer<'a> {
    scene: &'a Scene,
    random: Random,
    own: Instant,
    may_trace: bool,
    kills: BTreeMap<Means, u64>,
    /// From the death until the last session went on, as the proxy says.
    resumed_ms: Vec<u64>,
    sessions: u64,
    /// Sessions that are not there any more, by why.
    lost: BTreeMap<String, u64>,
}

impl<'a> Killer<'a> {
    pub(crate) fn new(scene: &'a Scene, seed: u64) -> Self {
        Self {
            scene,
            random: Random::new(seed, 0),
            own: Instant::now(),
            may_trace: may_look_into_proxies(),
            kills: BTreeMap::new(),
            resumed_ms: Vec::new(),
            sessions: 0,
            lost: BTreeMap::new(),
        }
    }

    /// Kills it after a while, and waits until the next one serves; no session may be lost.
    pub(crate) fn kill(&mut self) {
        self.random.pause(PAUSE);
        let carrier = self.scene.carrier();
        let means = self.means();
        let pid = Pid::from_raw(carrier as i32);
        match means {
            Means::Kill => kill(pid, Signal::SIGKILL).expect("it lives"),
            Means::Sent => kill(pid, Signal::SIGABRT).expect("it lives"),
            Means::Fault => tracer::fault(pid),
            Means::Abort => tracer::abort(pid),
        }
        *self.kills.entry(means).or_default() += 1;
        let what = format!("somebody after {carrier}, that died of {means:?}");
        let death = until(&what, || self.scene.death_of(carrier));
        let number = |name: &str| death[name].parse::<u64>().expect("a number");
        self.resumed_ms.push(number("resume_ms"));
        self.sessions += number("resumed");
        self.note_lost(&death);
        until("it to serve", || {
            (self.scene.proxy.http_status("/readyz") == Some(200)).then_some(())
        });
    }

    fn means(&mut self) -> Means {
        let is_due = self.own.elapsed() > BLAMELESS && self.may_trace;
        let means = match self.random.below(10) {
            0..2 => Means::Sent,
            2..4 if is_due => Means::Fault,
            4..6 if is_due => Means::Abort,
            _ => Means::Kill,
        };
        if matches!(means, Means::Fault | Means::Abort) {
            self.own = Instant::now();
        }
        means
    }

    /// Log-ins under way, and sessions that are being closed, are nobody's yet or any more; clients
    /// tell of those that were somebody's.
    fn note_lost(&mut self, death: &BTreeMap<String, String>) {
        for reason in death["reasons"].split(", ").filter(|reason| !reason.is_empty()) {
            let (why, count) = reason.rsplit_once(": ").expect("a number behind it");
            let count: u64 = count.parse().expect("a number");
            *self.lost.entry(why.to_owned()).or_default() += count;
        }
    }

    /// What came of it.
    pub(crate) fn report(&self) {
        let mut ms = self.resumed_ms.clone();
        ms.sort_unstable();
        let at = |share: f64| ms.get((ms.len() as f64 * share) as usize).or(ms.last()).copied();
        eprintln!("  kills: {:?}; sessions resumed: {}", self.kills, self.sessions);
        eprintln!("  not resumed: {:?}", self.lost);
        let [median, p95, most] = [at(0.5), at(0.95), at(1.0)].map(Option::unwrap_or_default);
        eprintln!("  ms to the last resumed: median {median}, p95 {p95}, most {most}");
    }
}
