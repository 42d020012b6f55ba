//! A child process that never outlives the test.
//!
//! It gets a process group of its own, and a watchdog in another one: a shell that reads from a
//! pipe whose other end only the test holds. When the test ends in any way, also by SIGKILL, the
//! pipe closes and the watchdog kills the group, with every successor the child has started.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::{skip, until};

/// What the system calls a process that only watches over a proxy.
pub(crate) const KEEPER: &str = "odp-keeper";

/// See the module.
pub(crate) struct Process {
    name: String,
    child: Mutex<Child>,
    group: Pid,
    watchdog: Child,
    log: PathBuf,
}

/// Whether `/proc` tells this user what files a proxy has open. It lets nobody look into it but who
/// may trace every process; the test is skipped for others.
pub(crate) fn may_look_into_proxies() -> bool {
    /// CAP_SYS_PTRACE, as a bit of `CapEff`.
    const SYS_PTRACE: u64 = 1 << 19;
    let status = std::fs::read_to_string("/proc/self/status").expect("our own status");
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("CapEff");
    let may = u64::from_str_radix(mask.trim(), 16).expect("a mask") & SYS_PTRACE != 0;
    if !may {
        skip("only who may trace every process (CAP_SYS_PTRACE) sees a proxy's open files");
    }
    may
}

/// What a process has for itself, and its share of what it has with its keeper, in KiB. Its program
/// is not in it: that is shared with all the proxies of other tests, and grows when one ends.
fn share_kb(pid: u32) -> usize {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it lives");
    let share = |name: &str| -> usize {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    share("Pss_Anon:") + share("Pss_Shmem:")
}

/// What a proxy holds for each of its sessions while they wait, in KiB.
pub(crate) fn kb_each<T>(pid: u32, mut session: impl FnMut() -> T) -> usize {
    const MORE: usize = 200;
    // What there is but once is there by then.
    let _first: Vec<T> = (0..50).map(|_| session()).collect();
    let before = share_kb(pid);
    let _more: Vec<T> = (0..MORE).map(|_| session()).collect();
    share_kb(pid).saturating_sub(before) / MORE
}

impl Process {
    /// Starts it; both its outputs go to the file `log`.
    pub(crate) fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let output = File::create(log).expect("a log file");
        let errors = output.try_clone().expect("a second handle of the log");
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        let group = Pid::from_raw(child.id() as i32);
        let watchdog = Command::new("sh")
            // `kill -9 -- -PID` is none to dash; this form is POSIX's.
            .args(["-c", "read -r line && exit; kill -s KILL -- \"-$0\"", &group.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a watchdog");
        Self { name: name.into(), child: Mutex::new(child), group, watchdog, log: log.into() }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The process that was started; a proxy's successors have other ones, see [`Self::living`].
    pub(crate) fn pid(&self) -> u32 {
        self.group.as_raw() as u32
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("our own child can be waited for")
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) -> ExitStatus {
        until(&format!("the end of {}\n{}", self.name, self.log()), || self.ended())
    }

    /// Sends a signal to the process that was started.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.group, signal).unwrap_or_else(|error| panic!("{signal} {}: {error}", self.name));
    }

    /// Everything it wrote so far.
    pub(crate) fn log(&self) -> String {
        // A proxy's lines are written a moment after what they tell of, by a thread of their own.
        let mut before = self.read_log();
        for _ in 0..50 {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.read_log();
            if now == before {
                break;
            }
            before = now;
        }
        before
    }

    fn read_log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The living processes of its group, oldest first: the proxy and its successors, without those
    /// that only watch over them.
    pub(crate) fn living(&self) -> Vec<u32> {
        self.living_but(Some(KEEPER))
    }

    /// The same with those that watch over them.
    pub(crate) fn all_living(&self) -> Vec<u32> {
        self.living_but(None)
    }

    fn living_but(&self, watching: Option<&str>) -> Vec<u32> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            // The name stands in brackets and may hold anything; behind it: state, ppid, pgrp, …
            // as the 18th the threads, and as the 20th the start time.
            let Some((front, rest)) = stat.rsplit_once(") ") else { continue };
            let name = front.split_once('(').map(|(_, name)| name);
            let fields: Vec<&str> = rest.split(' ').collect();
            // Other threads may outlive the first for a moment, and hold what it has open.
            let ends = matches!(fields[0], "Z" | "X");
            let threads: u32 = fields[17].parse().expect("a count in /proc/PID/stat");
            if !(ends && threads <= 1) && name != watching && fields[2] == self.group.to_string() {
                let started: u64 = fields[19].parse().expect("a start time in /proc/PID/stat");
                found.push((started, pid));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Kills the whole group at once, and waits until nobody has anything of it open.
    pub(crate) fn kill9(&self) {
        self.kill_group();
        // Those that came later are nobody's children whose end could be waited for.
        until("all to be gone", || self.all_living().is_empty().then_some(()));
    }

    fn kill_group(&self) {
        // ESRCH: all of it is gone already.
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.child().wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.ended();
        self.kill_group();
        if let Some(mut pipe) = self.watchdog.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.watchdog.wait();
        if std::thread::panicking() {
            let state = ended.map_or("lived on".into(), |status| format!("had ended: {status}"));
            eprintln!("--- {} {state}; its log:\n{}---", self.name, self.log());
        }
    }
}
