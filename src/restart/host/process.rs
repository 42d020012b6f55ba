//! Other processes: preflight, spawn, and their certain death.
//!
//! The binary is opened once and run through that descriptor, so that a file which is replaced in
//! between cannot make preflight and successor differ.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::fd::watched;
use crate::restart::timeouts::Timeouts;

/// How much of what `check` says is passed on.
const LONGEST_VERDICT: usize = 2000;

/// A binary, pinned.
#[derive(Debug)]
pub struct Program {
    file: OwnedFd,
    path: PathBuf,
    is_script: bool,
}

impl Program {
    /// Pins what the path names now.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("binary {}: {error}", path.display());
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed(errno.into()))?;
        // To look into a FIFO would wait for somebody who writes to it.
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(format!("binary {}: expected a regular file", path.display()));
        }
        let program = Self { is_script: false, path: path.to_owned(), file };
        let is_script = program.is_script();
        Ok(Self { is_script, ..program })
    }

    /// Runs `check -c CONFIG`; the error is what it said.
    pub async fn check(&self, config: &Path, within: Duration) -> Result<(), String> {
        let mut command = self.command();
        command.arg("check").arg("-c").arg(config).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let binary = self.path.display();
        let child = command.spawn().map_err(|error| format!("binary {binary}: {error}"))?;
        let output = timeout(within, child.wait_with_output())
            .await
            .map_err(|_| format!("preflight: {binary} check did not end within {within:?}"))?
            .map_err(|error| format!("preflight: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        let said: String = said.trim().chars().take(LONGEST_VERDICT).collect();
        if said.is_empty() {
            return Err(format!("preflight: {binary} check: {}", output.status));
        }
        Err(format!("preflight: {said}"))
    }

    /// Starts `run -c CONFIG --takeover` with the channel as its standard input.
    pub fn spawn(&self, config: &Path, channel: OwnedFd) -> Result<Peer, String> {
        let mut command = self.command();
        command.arg("run").arg("-c").arg(config).arg("--takeover").stdin(Stdio::from(channel));
        self.start(&mut command)
    }

    /// Starts `rehearse -c CONFIG` with the channel as its standard input. It ends with its `Peer`.
    pub fn rehearse(&self, config: &Path, channel: OwnedFd) -> Result<Peer, String> {
        let mut command = self.command();
        command.arg("rehearse").arg("-c").arg(config).stdin(Stdio::from(channel));
        self.start(command.kill_on_drop(true))
    }

    fn start(&self, command: &mut Command) -> Result<Peer, String> {
        let failed = |error: io::Error| format!("cannot start {}: {error}", self.path.display());
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        Ok(Peer { pid, kind: Kind::Child(Box::new(child)) })
    }

    fn command(&self) -> Command {
        let through_fd = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        // An interpreter would have to open the descriptor again, after it was closed on exec.
        let program = if self.is_script { self.path.as_os_str() } else { OsStr::new(&through_fd) };
        let mut command = Command::new(program);
        command.arg0(&self.path);
        command
    }

    fn is_script(&self) -> bool {
        let through_fd = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let mut start = [0; 2];
        let read = File::open(through_fd).and_then(|mut file| file.read_exact(&mut start));
        read.is_ok() && &start == b"#!"
    }
}

/// The process on the other side.
#[derive(Debug)]
pub struct Peer {
    pid: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Child(Box<Child>),
    Other(AsyncFd<OwnedFd>),
}

impl Peer {
    /// A process that is not ours, by a descriptor that cannot come to mean another one.
    pub fn other(pid: u32, pidfd: OwnedFd) -> io::Result<Self> {
        Ok(Self { pid, kind: Kind::Other(watched(pidfd)?) })
    }

    /// The process id, as this process sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end, reaps it if it is a child, and says how it ended. Cancel safe.
    pub async fn gone(&mut self) -> String {
        match &mut self.kind {
            Kind::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            Kind::Other(pidfd) => {
                // A pidfd is readable once its process has ended.
                match pidfd.readable().await {
                    Ok(_) => "ended".into(),
                    Err(error) => error.to_string(),
                }
            }
        }
    }

    /// SIGKILL, without waiting.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGTERM, SIGKILL, and the wait for its end; says how it ended.
    pub async fn end(mut self, timeouts: Timeouts) -> String {
        self.signal(Signal::TERM);
        if let Ok(how) = timeout(timeouts.terminate, self.gone()).await {
            return how;
        }
        self.kill();
        match timeout(timeouts.kill, self.gone()).await {
            Ok(how) => how,
            Err(_) => "killed, and still in the kernel".into(),
        }
    }

    fn signal(&self, signal: Signal) {
        let sent = match &self.kind {
            // Not yet reaped, so the pid is still its own.
            Kind::Child(child) => match child.id().and_then(|pid| Pid::from_raw(pid as i32)) {
                Some(pid) => kill_process(pid, signal),
                None => Ok(()),
            },
            Kind::Other(pidfd) => pidfd_send_signal(pidfd.get_ref(), signal),
        };
        if let Err(error) = sent {
            tracing::debug!(pid = self.pid, %error, "the process is gone already");
        }
    }
}
