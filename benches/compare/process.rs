//! What a process has used so far, from /proc.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::Outcome;

/// What a process has used since it started.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// Time on a CPU, of all threads that there are or were.
    pub cpu: Duration,
    /// Voluntary context switches of the threads that there are.
    pub sleeps: f64,
}

impl Usage {
    /// Up to now.
    pub(crate) fn of(pid: u32) -> Outcome<Self> {
        let mut sleeps = 0.0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            sleeps += field(&status, "voluntary_ctxt_switches:").unwrap_or(0) as f64;
        }
        Ok(Self { cpu: cpu(pid)?, sleeps })
    }

    /// What was used since.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(earlier.cpu), sleeps: self.sleeps - earlier.sleeps }
    }
}

/// The child of a process that keeps one; else the process.
pub(crate) fn carrier(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    children.split_whitespace().next().and_then(|pid| pid.parse().ok()).unwrap_or(pid)
}

/// Time on a CPU, of all threads that there are or were; also of a process that has ended and is
/// not waited for yet.
pub(crate) fn cpu(pid: u32) -> Outcome<Duration> {
    Ok(clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?.now()?.into())
}

/// Resident memory in KiB, counted page by page.
pub(crate) fn resident_kib(pid: u32) -> Outcome<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(field(&rollup, "Rss:").ok_or("smaps_rollup: no Rss")?)
}

/// Proportional memory in KiB: a page that several processes have counts once among them all.
pub(crate) fn proportional_kib(pid: u32) -> Outcome<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(field(&rollup, "Pss:").ok_or("smaps_rollup: no Pss")?)
}

/// Whether it runs: one that has ended may still have to be waited for.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// A process of another parent that does not outlive this value.
pub(crate) struct Heir(pub u32);

impl Drop for Heir {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0) {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Sets the high-water mark of resident memory to what is resident now.
pub(crate) fn reset_peak(pid: u32) -> Outcome<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// The high-water mark of resident memory in KiB.
pub(crate) fn peak_kib(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(field(&status, "VmHWM:").ok_or("status: no VmHWM")?)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)).and_then(first_number)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// A child that does not outlive its owner.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program; what it writes goes to `log`.
    pub(crate) fn start(command: &mut Command, log: fs::File) -> Outcome<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let errors = log.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        Ok(Self(child.map_err(|error| format!("{program}: {error}"))?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // That of a keeper would go on without it.
        let carrier = carrier(self.pid());
        let _ = self.0.kill();
        drop(Heir(carrier));
        let _ = self.0.wait();
    }
}

/// Tries until it works or time is up; then the last error.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Outcome<T>,
) -> Outcome<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => return Err(format!("{what}: {error}").into()),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
