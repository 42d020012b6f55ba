//! A thread of another process in hand: it goes on by single instructions, or does what it never
//! would. For who may trace every process.

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::support::until;

/// epoll_wait(2) and epoll_pwait(2).
const WAITS: [libc::c_long; 2] = [libc::SYS_epoll_wait, libc::SYS_epoll_pwait];

/// Where nothing ever is.
const NOWHERE: u64 = 0x10;

/// A thread that is stopped; dropped, it goes on.
pub(crate) struct Traced {
    thread: Pid,
    has_ended: bool,
}

impl Traced {
    /// Stops one of a process's threads that waits for its sockets.
    pub(crate) fn attach(process: Pid) -> Self {
        let is_waiting = |call: Option<libc::c_long>| call.is_some_and(|it| WAITS.contains(&it));
        Self::attach_one(process, is_waiting)
    }

    /// Stops one of a process's threads that is at work, or waits for some.
    fn attach_busy(process: Pid) -> Self {
        Self::attach_one(process, |call| call.is_none_or(|call| WAITS.contains(&call)))
    }

    fn attach_one(process: Pid, is_it: impl Fn(Option<libc::c_long>) -> bool) -> Self {
        let thread = until("a thread that serves sockets", || thread(process, &is_it));
        ptrace::attach(thread).expect("it lives, and we may");
        let mut traced = Self { thread, has_ended: false };
        traced.wait();
        ptrace::setoptions(thread, ptrace::Options::PTRACE_O_TRACESYSGOOD).expect("it is stopped");
        traced
    }

    /// One instruction; a system call is one. False: it is dead.
    pub(crate) fn step(&mut self) -> bool {
        ptrace::step(self.thread, None).is_ok() && self.wait()
    }

    /// Up to where a system call begins, or ends. False: it is dead.
    pub(crate) fn run_to_call(&mut self) -> bool {
        ptrace::syscall(self.thread, None).is_ok() && self.wait()
    }

    /// Whether the call begins that it stands at, and which one it is.
    pub(crate) fn begins(&self) -> Option<u64> {
        let registers = ptrace::getregs(self.thread).expect("it is stopped");
        (registers.rax as i64 == -i64::from(libc::ENOSYS)).then_some(registers.orig_rax)
    }

    /// Whether it begins to wait for its sockets.
    pub(crate) fn begins_to_wait(&self) -> bool {
        self.begins().is_some_and(|call| WAITS.contains(&(call as libc::c_long)))
    }

    fn blocks_signals(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.thread));
        let status = status.expect("it is stopped");
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        blocked.is_some_and(|mask| mask.trim().bytes().any(|digit| digit != b'0'))
    }

    /// Its process is dead: what is known of the thread is let go, so that its parent is told.
    pub(crate) fn bury(mut self) {
        while self.wait() {}
    }

    fn wait(&mut self) -> bool {
        match waitpid(self.thread, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) => {
                self.has_ended = true;
                false
            }
            Ok(_) => true,
        }
    }

    fn change(&self, change: impl FnOnce(&mut libc::user_regs_struct)) {
        let mut registers = ptrace::getregs(self.thread).expect("it is stopped");
        change(&mut registers);
        ptrace::setregs(self.thread, registers).expect("it is stopped");
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.has_ended {
            let _ = ptrace::detach(self.thread, None);
        }
    }
}

/// A thread of it jumps to where nothing is.
pub(crate) fn fault(process: Pid) {
    Traced::attach_busy(process).change(|registers| {
        registers.rip = NOWHERE;
        // No call that was under way begins anew.
        registers.orig_rax = u64::MAX;
    });
}

/// A thread of it sends itself what abort(3) does.
pub(crate) fn abort(process: Pid) {
    let is_sent = || {
        let mut traced = Traced::attach_busy(process);
        // Who blocks signals is about to end, and would take it along.
        while traced.begins().is_none() || traced.blocks_signals() {
            if !traced.run_to_call() {
                return None;
            }
        }
        let thread = traced.thread;
        traced.change(|registers| {
            registers.orig_rax = libc::SYS_tgkill as u64;
            registers.rdi = process.as_raw() as u64;
            registers.rsi = thread.as_raw() as u64;
            registers.rdx = Signal::SIGABRT as u64;
        });
        Some(())
    };
    until("a thread that aborts", is_sent);
}

/// A thread of it by the system call that it is in, if there is one.
fn thread(process: Pid, is_it: impl Fn(Option<libc::c_long>) -> bool) -> Option<Pid> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let id = |entry: &std::fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    threads
        // The first one waits for the others' end.
        .filter(|entry| id(entry).is_some_and(|id| id != process.as_raw()))
        .filter(|entry| {
            let call = std::fs::read_to_string(entry.path().join("syscall"));
            // Who is in none is said to be running.
            call.is_ok_and(|call| is_it(call.split(' ').next().and_then(|it| it.parse().ok())))
        })
        .find_map(|entry| id(&entry))
        .map(Pid::from_raw)
}
