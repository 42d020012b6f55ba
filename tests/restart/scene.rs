//! A server, a proxy in front of it, sessions that wait and clients that never do.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::pressure::{EVERYTHING, Pressure, Tally, Waiting, audit, open_bank};
use crate::support::proxy::Options;
use crate::support::{Database, Process, Proxy, Server, scratch, until};

/// See the module. Dropped in this order: clients first.
pub(crate) struct Scene {
    pub pressure: Pressure,
    pub waiting: Waiting,
    pub proxy: Proxy,
    pub database: Database,
}

impl Scene {
    /// With the defaults; None if there is no MariaDB.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(|_| {})
    }

    /// With other options.
    pub(crate) fn start_with(change: impl FnOnce(&mut Options)) -> Option<Self> {
        let database = Database::start(Server::MariaDb)?;
        open_bank(&database);
        let mut options = Options::new(&[database.address()]);
        change(&mut options);
        let proxy = Proxy::start_with(&options);
        let waiting = Waiting::open(&proxy.address(), 30);
        let pressure = Pressure::start(&proxy.address(), &EVERYTHING);
        Some(Self { pressure, waiting, proxy, database })
    }

    /// Nothing was refused, failed, wrong or lost; the bank agrees.
    pub(crate) fn finish(mut self) -> Tally {
        self.pressure.until_more(5);
        assert_eq!(self.waiting.dead(), 0, "sessions died\n{}", self.proxy.log());
        let tally = self.pressure.stop_clean();
        assert_eq!(audit(&self.database), tally.acknowledged);
        tally
    }
}

/// How often a text stands in the log.
pub(crate) fn said(proxy: &Proxy, text: &str) -> usize {
    proxy.log().matches(text).count()
}

/// Waits until a text stands in the log more often than before.
pub(crate) fn until_said(proxy: &Proxy, text: &str, before: usize) {
    until(&format!("'{text}' in the log"), || (said(proxy, text) > before).then_some(()));
}

/// Sends a signal to a process of ours.
pub(crate) fn signal_pid(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).expect("the process lives");
}

/// Asks for a restart and waits until this stands in the log once more.
pub(crate) fn restart_until(proxy: &Proxy, text: &str) {
    let before = said(proxy, text);
    signal_pid(proxy.pid(), Signal::SIGUSR2);
    until_said(proxy, text, before);
}

/// Starts a restart and waits until the successor accepts and the predecessor drains.
pub(crate) fn until_draining(proxy: &Proxy) {
    restart_until(proxy, "state=DRAINING");
}

/// A restart, to its very end: the predecessor is gone and the successor could be restarted. Its
/// pid.
pub(crate) fn restart(proxy: &Proxy) -> u32 {
    let before = proxy.pid();
    restart_until(proxy, "takeover completed");
    let alone = || match *proxy.process().living() {
        [only] if only != before => Some(only),
        _ => None,
    };
    let after = until("the end of the predecessor", alone);
    until("the successor to be RUNNING", || {
        // The predecessor may have its last words after the successor's.
        let log = proxy.log();
        let lines = log.lines().filter(|line| line.contains("lifecycle state="));
        let generation = |line: &&str| -> u64 {
            line.rsplit_once("generation=").and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
        };
        // Of equal ones the last is the greatest.
        let last = lines.max_by_key(generation)?;
        last.contains("state=RUNNING").then_some(())
    });
    after
}

/// A successor that the test has started, as a service manager might.
pub(crate) struct Successor {
    process: Process,
    _dir: tempfile::TempDir,
}

impl Successor {
    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

/// `odp run --takeover` for a proxy, to the very end of its predecessor. It ends when dropped.
pub(crate) fn take_over(proxy: &Proxy) -> Successor {
    let dir = scratch();
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    command.args(["run", "--takeover", "-c"]).arg(proxy.config());
    let process = Process::spawn("the successor", command, &dir.path().join("log"));
    until("the takeover", || {
        assert!(process.ended().is_none(), "{}\n{}", process.log(), proxy.log());
        process.log().contains("takeover completed").then_some(())
    });
    until("the end of the predecessor", || proxy.process().living().is_empty().then_some(()));
    Successor { process, _dir: dir }
}

/// A restart that must be refused or undone; the same process serves on.
pub(crate) fn failing_restart(proxy: &Proxy) {
    let ended = || said(proxy, "restart undone") + said(proxy, "restart by signal refused");
    let (before, pid) = (ended(), proxy.pid());
    signal_pid(pid, Signal::SIGUSR2);
    until("the restart to fail", || (ended() > before).then_some(()));
    let alone = || (proxy.process().living() == [pid]).then_some(());
    until("only the predecessor to be left", alone);
}

/// Options with an exit timeout.
pub(crate) fn exit_timeout(database: &Database, timeout: &str) -> Options {
    let mut options = Options::new(&[database.address()]);
    options.proxy = format!("hot_upgrade_exit_timeout = \"{timeout}\"\n");
    options
}
