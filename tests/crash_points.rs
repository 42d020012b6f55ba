//! Each point at which one side of a restart can die, hang or fail, under load.
//!
//! Needs a binary with the feature `crash-points`; the points and their numbers C-n stand in
//! `src/restart/host/crash.rs`. After each the surviving side serves, sessions that did not belong
//! to the dead live, and the next restart succeeds. Of processes that nobody watches over; what
//! comes of the others is in `tests/crash`.
#![cfg(feature = "crash-points")]

#[path = "support/mod.rs"]
mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, prlimit};
use support::pressure::{EVERYTHING, Pressure, Waiting, audit, open_bank};
use support::proxy::Options;
use support::{Database, Login, Proxy, Server, Wire, may_look_into_proxies, scratch, until};

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The predecessor serves on and nobody notices.
    Undone,
    /// The successor serves and nobody notices.
    Done,
    /// Either, and nobody notices.
    Either,
    /// The predecessor serves on; sessions that the dead successor had touched are lost, those that
    /// say nothing live.
    Reclaimed,
    /// Somebody serves; sessions of the dead may be lost, the rest lives.
    Survives,
}

struct Stage {
    database: Database,
    proxy: Proxy,
    spec: std::path::PathBuf,
    socket: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn start() -> Option<Self> {
        let database = Database::start(Server::MariaDb)?;
        open_bank(&database);
        let dir = scratch();
        let [spec, socket] = ["crash", "odp.sock"].map(|name| dir.path().join(name));
        std::fs::write(&spec, "").expect("the directory is ours");
        let mut options = Options::new(&[database.address()]);
        options.environment = vec![("ODP_CRASH_AT".into(), format!("@{}", spec.display()))];
        options.listen = vec![format!("unix:{}", socket.display())];
        // The defaults are generous to slow starters.
        options.proxy = "crash_protection = false\nhot_upgrade_rollback_timeout = \"5s\"\n\
                         hot_upgrade_probation = \"1s\"\n"
            .into();
        let proxy = Proxy::start_with(&options);
        Some(Self { database, proxy, spec, socket, _dir: dir })
    }

    fn arm(&self, spec: &str) {
        std::fs::write(&self.spec, spec).expect("the directory is ours");
    }

    fn said(&self, text: &str) -> usize {
        self.proxy.log().matches(text).count()
    }

    /// Asks for a restart by signal.
    fn restart(&self) {
        kill(Pid::from_raw(self.proxy.pid() as i32), Signal::SIGUSR2).expect("it lives");
    }

    /// Begins a restart whose successor stops at a point; its pid once it stands still.
    fn stopped_successor(&self, point: &str) -> u32 {
        self.arm(&format!("successor:{point}:1:stop"));
        self.restart();
        let stopped = until("the successor to stop", || match *self.proxy.process().living() {
            [_, successor] if is_stopped(successor) => Some(successor),
            _ => None,
        });
        self.arm("");
        stopped
    }

    /// A restart that must fail; the same process serves on.
    fn failing_restart(&self, spec: &str) {
        let (undone, pid) = (self.said("restart undone"), self.proxy.pid());
        self.arm(spec);
        self.restart();
        until(&format!("{spec} to be undone"), || {
            let undone = self.said("restart undone") > undone;
            (undone && self.proxy.process().living() == [pid]).then_some(())
        });
        self.arm("");
    }

    /// Waits until the restart has ended one way or the other; whether a successor serves.
    fn settled(&self, before: usize, first: u32) -> bool {
        until("the restart to end", || {
            let won =
                self.said("takeover completed") + self.said("serving without the predecessor");
            if won > before {
                return Some(true);
            }
            let kept = self.said("restart undone") > 0;
            (kept && self.proxy.process().living() == [first]).then_some(false)
        })
    }
}

fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// One crash and what it leaves; then a good restart.
fn crash(spec: &str, expect: Expect) {
    let Some(stage) = Stage::start() else { return };
    let first = stage.proxy.pid();
    let mut waiting = Waiting::open(&stage.proxy.address(), 30);
    let mut by_unix = Waiting::open_unix(&stage.socket, 10);
    let pressure = Pressure::start(&stage.proxy.address(), &EVERYTHING);
    stage.arm(spec);
    kill(Pid::from_raw(first as i32), Signal::SIGUSR2).expect("it lives");
    let succeeded = stage.settled(0, first);
    stage.arm("");
    let is_stopped_predecessor = spec.starts_with("predecessor") && spec.ends_with("stop");
    if is_stopped_predecessor {
        // It wakes up after the successor has gone on without it: it must notice and leave.
        let _ = kill(Pid::from_raw(first as i32), Signal::SIGCONT);
    }
    if succeeded {
        until("the end of the predecessor", || {
            (!stage.proxy.process().living().contains(&first)).then_some(())
        });
    }
    match expect {
        Expect::Undone | Expect::Reclaimed => {
            assert!(!succeeded, "{spec}: the predecessor must serve on");
        }
        Expect::Done => assert!(succeeded, "{spec}: the successor must serve"),
        Expect::Either | Expect::Survives => {}
    }
    pressure.until_more(2);
    let dead = waiting.dead() + by_unix.dead();
    eprintln!("{spec}: successor serves: {succeeded}, sessions lost: {dead}");
    // The next restart succeeds at once.
    let done = stage.said("takeover completed");
    kill(Pid::from_raw(stage.proxy.pid() as i32), Signal::SIGUSR2).expect("it lives");
    until(&format!("a good restart after {spec}"), || {
        (stage.said("takeover completed") > done).then_some(())
    });
    Wire::open(&stage.proxy.address(), &Login::default()).expect("new sessions are served");
    if expect != Expect::Survives {
        assert_eq!(dead, 0, "{spec}: sessions were lost\n{}", stage.proxy.log());
    }
    if matches!(expect, Expect::Survives | Expect::Reclaimed) {
        pressure.stop();
        audit(&stage.database);
        return;
    }
    let tally = pressure.stop_clean();
    assert_eq!(audit(&stage.database), tally.acknowledged, "{spec}");
}

/// `point!(name: "SIDE:POINT:N:WHAT", Outcome)` makes a test of it.
macro_rules! point {
    ($($name:ident: $spec:literal, $expect:ident;)+) => {
        $(
            #[test]
            fn $name() {
                crash($spec, Expect::$expect);
            }
        )+
    };
}

point! {
    c_01_t_02_successor_dies_before_hello: "successor:hello:1:kill", Undone;
    c_02_t_29_successor_fails_at_hello: "successor:hello:1:err", Undone;
    c_02_predecessor_fails_at_hello: "predecessor:hello:1:err", Undone;
    c_03_t_25_successor_dies_warm: "successor:warm:1:kill", Undone;
    c_03_predecessor_fails_warm: "predecessor:warm:1:err", Undone;
    c_04_t_34_successor_dies_with_the_listeners: "successor:listen:1:kill", Undone;
    c_04_t_36_successor_dies_before_ready: "successor:ready:1:kill", Undone;
    c_04_successor_fails_with_the_listeners: "successor:listen:1:err", Undone;
    c_04_predecessor_fails_at_ready: "predecessor:ready:1:err", Undone;
    c_05_t_24_successor_fails_at_the_canary: "successor:parcels:1:err", Undone;
    c_05_successor_dies_at_the_canary: "successor:parcels:1:kill", Undone;
    c_08_predecessor_fails_with_a_batch_frozen: "predecessor:frozen:1:err", Undone;
    c_09_predecessor_fails_to_send: "predecessor:send:1:err", Undone;
    c_10_predecessor_fails_after_sending: "predecessor:sent:1:err", Either;
    c_10_successor_dies_with_the_second_batch: "successor:parcels:2:kill", Reclaimed;
    c_10_t_24_successor_fails_at_the_second_batch: "successor:parcels:2:err", Undone;
    c_10_t_25_successor_panics_at_the_first_session: "successor:adopt:1:panic", Undone;
    c_10_t_25_successor_panics_at_the_tenth_session: "successor:adopt:10:panic", Reclaimed;
    c_10_t_25_successor_panics_at_one_of_the_last: "successor:adopt:32:panic", Reclaimed;
    c_05_t_24_successor_refuses_the_canary: "successor:adopt:1:err", Undone;
    // A canary, or not if one of those before was gone when it was to freeze: then it is offered
    // once more.
    c_12_t_24_successor_refuses_one_session: "successor:adopt:20:err", Either;
    c_11_successor_dies_after_the_ack: "successor:acked:1:kill", Reclaimed;
    c_06_successor_dies_at_go: "successor:go:1:kill", Reclaimed;
    c_06_predecessor_fails_before_go: "predecessor:closed:1:err", Either;
    c_07_successor_fails_once_it_accepts: "successor:accepted:1:err", Undone;
    c_07_t_03_predecessor_dies_in_warm: "predecessor:warm:1:kill", Survives;
    c_07_t_03_predecessor_dies_with_a_batch_frozen: "predecessor:frozen:1:kill", Survives;
    c_07_t_03_predecessor_dies_before_go: "predecessor:closed:1:kill", Survives;
    c_07_t_03_predecessor_dies_once_the_other_accepts: "predecessor:accepted:1:kill", Survives;
    c_13_t_04_successor_hangs_before_hello: "successor:hello:1:stop", Undone;
    c_13_t_04_successor_hangs_with_the_listeners: "successor:listen:1:stop", Undone;
    c_13_t_04_successor_hangs_with_a_batch: "successor:parcels:1:stop", Undone;
    c_14_t_04_predecessor_hangs_once_the_other_accepts: "predecessor:accepted:1:stop", Survives;
    c_16_predecessor_fails_before_commit: "predecessor:commit:1:err", Either;
    c_16_predecessor_dies_before_commit: "predecessor:commit:1:kill", Survives;
    c_16_predecessor_dies_after_commit: "predecessor:committed:1:kill", Done;
    c_16_successor_fails_at_commit: "successor:commit:1:err", Undone;
    c_17_successor_dies_on_probation: "successor:probation:1:kill", Reclaimed;
    c_17_successor_hangs_on_probation: "successor:probation:1:stop", Reclaimed;
    c_17_successor_fails_on_probation: "successor:probation:1:err", Undone;
    c_17_predecessor_fails_in_probation: "predecessor:probation:1:err", Undone;
    c_17_predecessor_dies_in_probation: "predecessor:probation:1:kill", Done;
}

/// Who was frozen and goes on where it was has felt a pause as well.
#[test]
fn c_08_a_session_that_thaws_where_it_was_counts_its_pause() {
    let Some(stage) = Stage::start() else { return };
    let first = stage.proxy.pid();
    let mut waiting = Waiting::open(&stage.proxy.address(), 3);
    stage.arm("predecessor:frozen:1:err");
    kill(Pid::from_raw(first as i32), Signal::SIGUSR2).expect("it lives");
    assert!(!stage.settled(0, first), "the predecessor must serve on");
    until("the canary's pause", || {
        let tasks = stage.proxy.admin().ok()?.query("SHOW RESTART").named_rows();
        let newest = tasks.first()?;
        (newest["state"] == "FAILED" && newest["pause_count"] == "1").then_some(())
    });
    assert_eq!(waiting.dead(), 0);
}

/// Twenty crashes of successors in one proxy; after each a good restart succeeds.
#[test]
fn t_02_many_dead_successors_in_a_row() {
    let Some(stage) = Stage::start() else { return };
    let mut waiting = Waiting::open(&stage.proxy.address(), 20);
    let pressure = Pressure::start(&stage.proxy.address(), &EVERYTHING);
    for point in ["hello", "listen", "warm", "ready", "parcels"].iter().cycle().take(20) {
        stage.failing_restart(&format!("successor:{point}:1:kill"));
        assert_eq!(stage.proxy.restart_by_signal(), stage.proxy.pid());
        pressure.until_more(1);
    }
    assert_eq!(waiting.dead(), 0);
    let tally = pressure.stop_clean();
    assert_eq!(audit(&stage.database), tally.acknowledged);
}

/// Points at which a restart fails without any harm.
const HARMLESS: &[&str] = &[
    "successor:hello:1:kill",
    "predecessor:hello:1:err",
    "successor:listen:1:kill",
    "successor:warm:1:err",
    "successor:ready:1:panic",
    "predecessor:ready:1:err",
    "predecessor:frozen:1:err",
    "successor:parcels:1:kill",
    "successor:adopt:1:err",
    "predecessor:send:1:err",
];

/// Thirty restarts under everything, of which every third is made to fail: nobody notices any.
#[test]
fn t_07_restarts_in_a_row_with_every_third_failing() {
    let Some(stage) = Stage::start() else { return };
    let mut waiting = Waiting::open(&stage.proxy.address(), 40);
    let pressure = Pressure::start(&stage.proxy.address(), &EVERYTHING);
    for spec in HARMLESS {
        stage.proxy.restart_by_signal();
        stage.proxy.restart_by_signal();
        stage.failing_restart(spec);
        assert_eq!(waiting.dead(), 0, "{spec}: sessions were lost\n{}", stage.proxy.log());
    }
    pressure.until_more(2);
    assert_eq!(stage.said("takeover completed"), 2 * HARMLESS.len());
    assert_eq!(stage.said("restart undone"), HARMLESS.len());
    assert_eq!(waiting.dead(), 0);
    let tally = pressure.stop_clean();
    assert_eq!(audit(&stage.database), tally.acknowledged);
}

/// The limit of open files with which a process has so many numbers left for descriptors.
fn limit_that_leaves(spare: usize, pid: u32) -> u64 {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").flatten();
    let taken: Vec<u64> =
        fds.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    (0..).filter(|number| !taken.contains(number)).nth(spare).expect("numbers never end")
}

/// A successor that may open only so many more files than it has open, from READY on.
fn starved(spare: usize, sessions: usize) {
    if !may_look_into_proxies() {
        return;
    }
    let Some(stage) = Stage::start() else { return };
    let mut waiting = Waiting::open(&stage.proxy.address(), sessions);
    let pressure = Pressure::start(&stage.proxy.address(), &EVERYTHING);
    let first = stage.proxy.pid();
    let successor = stage.stopped_successor("ready");
    let most = Some(limit_that_leaves(spare, successor));
    let pid = rustix::process::Pid::from_raw(successor as i32);
    let limit = Rlimit { current: most, maximum: most };
    prlimit(pid, Resource::Nofile, limit).expect("a limit may be lowered");
    kill(Pid::from_raw(successor as i32), Signal::SIGCONT).expect("it lives");
    assert!(!stage.settled(0, first), "it cannot succeed: {}", stage.proxy.log());
    let log = stage.proxy.log();
    let undone = log.lines().find(|line| line.contains("restart undone")).expect("it was undone");
    assert!(undone.contains("limit of open files"), "the cause is named: {undone}");
    assert_eq!(waiting.dead(), 0, "{log}");
    stage.proxy.restart_by_signal();
    assert_eq!(waiting.dead(), 0);
    let tally = pressure.stop_clean();
    assert_eq!(audit(&stage.database), tally.acknowledged);
}

#[test]
fn t_13_descriptors_of_the_canary_are_lost_on_the_way() {
    starved(1, 30);
}

#[test]
fn t_13_descriptors_of_a_later_batch_are_lost_on_the_way() {
    // Enough for the canaries, 1 and 8; the next batch is of 64.
    starved(40, 120);
}

#[test]
fn t_33_a_slow_successor_has_the_time_it_is_given() {
    let Some(stage) = Stage::start() else { return };
    let mut admin = stage.proxy.admin().expect("the admin port");
    let mut set = |value: &str| {
        admin.run(&format!("ALTER PROXYCONFIG SET hot_upgrade_rollback_timeout = '{value}'"));
    };
    let mut waiting = Waiting::open(&stage.proxy.address(), 30);
    let pressure = Pressure::start(&stage.proxy.address(), &EVERYTHING);
    let first = stage.proxy.pid();
    // Not ready in time: it is undone, and nobody was kept waiting for it.
    set("1s");
    stage.stopped_successor("ready");
    assert!(!stage.settled(0, first));
    assert_eq!(waiting.dead(), 0);
    // It takes as long as it takes.
    set("1h");
    let slow = stage.stopped_successor("ready");
    pressure.until_more(30);
    assert_eq!(waiting.dead(), 0);
    assert_eq!(stage.proxy.process().living(), [first, slow]);
    kill(Pid::from_raw(slow as i32), Signal::SIGCONT).expect("it lives");
    until("the successor alone", || (stage.proxy.process().living() == [slow]).then_some(()));
    assert_eq!(waiting.dead(), 0);
    let tally = pressure.stop_clean();
    assert_eq!(audit(&stage.database), tally.acknowledged);
}
