//! Other processes: preflight, spawn, and their certain death.
//!
//! The binary is opened once and run through that descriptor, so that a file which is replaced in
//! between cannot make preflight and successor differ.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::fd::{pidfd_of, watched};
use crate::restart::tie::Other;
use crate::restart::timeouts::Timeouts;

/// How much of what `check` says is passed on.
const LONGEST_VERDICT: usize = 2000;

/// Why a binary cannot be run, or is not to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It cannot be opened, or not be run to check the config.
    #[error("binary {}: {source}", path.display())]
    Binary {
        /// The binary.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is a directory, or the like.
    #[error("binary {}: expected a regular file", .0.display())]
    NotAFile(PathBuf),
    /// `check` goes on and on.
    #[error("preflight: {} check did not end within {within:?}", path.display())]
    Late {
        /// The binary.
        path: PathBuf,
        /// How long it was waited for.
        within: Duration,
    },
    /// `check` ran, and nobody knows how it ended.
    #[error("preflight: {0}")]
    Lost(#[source] io::Error),
    /// `check` refuses the config, without a word.
    #[error("preflight: {} check: {status}", path.display())]
    Silent {
        /// The binary.
        path: PathBuf,
        /// How `check` ended.
        status: ExitStatus,
    },
    /// What `check` has against the config.
    #[error("preflight: {0}")]
    Verdict(String),
    /// It does not start.
    #[error("cannot start {}: {source}", path.display())]
    Start {
        /// The binary.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// How a process has ended.
#[derive(Debug)]
pub(crate) enum End {
    /// As its parent is told.
    Status(ExitStatus),
    /// It was not a child, so that is all there is to know.
    Ended,
    /// The system does not say.
    Unknown(io::Error),
    /// It was killed, runs none of its own code any more, and is still there.
    InKernel,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Ended => f.write_str("ended"),
            Self::Unknown(error) => error.fmt(f),
            Self::InKernel => f.write_str("killed, and still in the kernel"),
        }
    }
}

/// Tells a successor what it is to be worth to the kernel when memory is short: as a child it is
/// worth what its parent is.
pub const OOM_SCORE_ADJ: &str = "ODP_OOM_SCORE_ADJ";

/// A binary, pinned.
#[derive(Debug)]
pub(crate) struct Program {
    file: OwnedFd,
    path: PathBuf,
    is_script: bool,
}

impl Program {
    /// Pins what the path names now.
    pub(crate) fn open(path: &Path) -> Result<Self, ProgramError> {
        let failed = |source| ProgramError::Binary { path: path.to_owned(), source };
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed(errno.into()))?;
        // To look into a FIFO would wait for somebody who writes to it.
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ProgramError::NotAFile(path.to_owned()));
        }
        let program = Self { is_script: false, path: path.to_owned(), file };
        let is_script = program.is_script();
        Ok(Self { is_script, ..program })
    }

    /// Runs `check -c CONFIG`; the error is what it said.
    pub(crate) async fn check(&self, config: &Path, within: Duration) -> Result<(), ProgramError> {
        let mut command = self.command();
        command.arg("check").arg("-c").arg(config).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let path = || self.path.clone();
        let failed = |source| ProgramError::Binary { path: path(), source };
        let child = command.spawn().map_err(failed)?;
        let output = timeout(within, child.wait_with_output())
            .await
            .map_err(|_| ProgramError::Late { path: path(), within })?
            .map_err(ProgramError::Lost)?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        let said: String = said.trim().chars().take(LONGEST_VERDICT).collect();
        if said.is_empty() {
            return Err(ProgramError::Silent { path: path(), status: output.status });
        }
        Err(ProgramError::Verdict(said))
    }

    /// Starts `run -c CONFIG --takeover` with the channel as its standard input, to be worth so
    /// much to the kernel when memory is short.
    pub(crate) fn spawn(
        &self,
        config: &Path,
        channel: OwnedFd,
        score: Option<i32>,
    ) -> Result<Peer, ProgramError> {
        let mut command = self.command();
        command.envs(score.map(|score| (OOM_SCORE_ADJ, score.to_string())));
        command.arg("run").arg("-c").arg(config).arg("--takeover").stdin(Stdio::from(channel));
        self.start(&mut command)
    }

    /// Starts `rehearse -c CONFIG` with the channel as its standard input. It ends with its `Peer`.
    pub(crate) fn rehearse(&self, config: &Path, channel: OwnedFd) -> Result<Peer, ProgramError> {
        let mut command = self.command();
        command.arg("rehearse").arg("-c").arg(config).stdin(Stdio::from(channel));
        self.start(command.kill_on_drop(true))
    }

    fn start(&self, command: &mut Command) -> Result<Peer, ProgramError> {
        let failed = |source| ProgramError::Start { path: self.path.clone(), source };
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        // Not reaped yet, so it is its own.
        let pidfd = pidfd_of(pid).ok();
        Ok(Peer { pid, kind: Kind::Child(Box::new(child), pidfd), carrier: None })
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
pub(crate) struct Peer {
    pid: u32,
    kind: Kind,
    /// If that is a keeper: the process that would go on with sessions, whatever becomes of it.
    carrier: Option<AsyncFd<OwnedFd>>,
}

#[derive(Debug)]
enum Kind {
    /// With a descriptor of it for who comes after this process, and is not its parent.
    Child(Box<Child>, Option<OwnedFd>),
    Other(AsyncFd<OwnedFd>),
}

impl Peer {
    /// A process that is not ours, by a descriptor that cannot come to mean another one.
    pub(crate) fn other(pid: u32, pidfd: OwnedFd) -> io::Result<Self> {
        Ok(Self { pid, kind: Kind::Other(watched(pidfd)?), carrier: None })
    }

    /// One that the process before this one has left.
    pub(crate) fn left(other: Other<OwnedFd>) -> io::Result<Self> {
        let Other { pid, process, carrier } = other;
        let process = process.ok_or(io::ErrorKind::NotFound)?;
        let carrier = carrier.map(watched).transpose()?;
        Ok(Self { pid, kind: Kind::Other(watched(process)?), carrier })
    }

    /// What is to be left of it.
    pub(crate) fn to_leave(&self) -> Other<RawFd> {
        let process = match &self.kind {
            Kind::Child(_, pidfd) => pidfd.as_ref().map(AsRawFd::as_raw_fd),
            Kind::Other(pidfd) => Some(pidfd.as_raw_fd()),
        };
        let carrier = self.carrier.as_ref().map(AsRawFd::as_raw_fd);
        Other { pid: self.pid, process, carrier }
    }

    /// The process id, as this process sees it.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// It is the keeper of this one.
    pub(crate) fn is_carried_by(&mut self, pid: u32) -> io::Result<()> {
        if pid != self.pid {
            self.carrier = Some(watched(pidfd_of(pid)?)?);
        }
        Ok(())
    }

    /// It has this one as its keeper: it is gone when both are.
    pub(crate) fn is_kept_by(&mut self, pid: u32) -> io::Result<()> {
        if pid != self.pid
            && let Kind::Other(_) = self.kind
        {
            let keeper = Kind::Other(watched(pidfd_of(pid)?)?);
            if let Kind::Other(carrier) = std::mem::replace(&mut self.kind, keeper) {
                self.carrier = Some(carrier);
            }
        }
        Ok(())
    }

    /// Whether it is two processes.
    pub(crate) fn has_keeper(&self) -> bool {
        self.carrier.is_some()
    }

    /// Waits for its end, reaps it if it is a child, and says how it ended. Cancel safe.
    pub(crate) async fn gone(&mut self) -> End {
        if let Some(carrier) = &self.carrier
            && let Err(error) = carrier.readable().await
        {
            return End::Unknown(error);
        }
        match &mut self.kind {
            Kind::Child(child, _) => match child.wait().await {
                Ok(status) => End::Status(status),
                Err(error) => End::Unknown(error),
            },
            Kind::Other(pidfd) => {
                // A pidfd is readable once its process has ended.
                match pidfd.readable().await {
                    Ok(_) => End::Ended,
                    Err(error) => End::Unknown(error),
                }
            }
        }
    }

    /// SIGKILL, without waiting.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGTERM, SIGKILL, and the wait for its end; says how it ended.
    pub(crate) async fn end(mut self, timeouts: Timeouts) -> End {
        self.signal(Signal::TERM);
        if let Ok(how) = timeout(timeouts.terminate, self.gone()).await {
            return how;
        }
        self.kill();
        match timeout(timeouts.kill, self.gone()).await {
            Ok(how) => how,
            Err(_) => End::InKernel,
        }
    }

    fn signal(&self, signal: Signal) {
        // First a keeper: it passes on what ends, and has nobody come after the process that it
        // has, which may be another one than is known here.
        let sent = match &self.kind {
            // Not yet reaped, so the pid is still its own.
            Kind::Child(child, _) => match child.id().and_then(|pid| Pid::from_raw(pid as i32)) {
                Some(pid) => kill_process(pid, signal),
                None => Ok(()),
            },
            Kind::Other(pidfd) => pidfd_send_signal(pidfd.get_ref(), signal),
        };
        let carrier = self.carrier.as_ref();
        let carried = carrier.map_or(Ok(()), |it| pidfd_send_signal(it.get_ref(), signal));
        for error in [sent, carried].into_iter().filter_map(Result::err) {
            tracing::debug!(pid = self.pid, %error, "the process is gone already");
        }
    }
}
