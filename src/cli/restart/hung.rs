//! The last resort: a proxy of this machine that does not answer is killed and started again.
//!
//! Nobody can ask it for anything any more, so all is taken from `/proc`: who listens at its admin
//! port, and how that was started. Nothing is killed before all of that is known.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{sleep, timeout};

use super::board::Board;
use super::owners::{Inode, listening_tcp, listening_unix, owners};
use super::{LOOK, Order};
use crate::cli::admin_client::AdminPort;
use crate::config::ServerAddress;

/// How long a name may take to be resolved.
const RESOLVING: Duration = Duration::from_secs(5);
/// How long the kernel may take to end a process.
const ENDING: Duration = Duration::from_secs(10);

/// A process as it was started.
struct Process {
    pid: u32,
    /// Cannot come to mean another process.
    handle: OwnedFd,
    program: PathBuf,
    arguments: Vec<OsString>,
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
    /// Where it writes its log; None if that cannot be opened again.
    log: Option<File>,
    /// User and group, if they are not ours.
    user: Option<(u32, u32)>,
}

/// Kills whoever listens at the port and starts it again; says what was done.
pub(super) async fn revive(
    port: &AdminPort,
    order: &Order,
    board: &Board,
) -> anyhow::Result<String> {
    let sockets = listening(&port.address).await?;
    if sockets.is_empty() {
        bail!("it does not answer, and nobody on this machine listens there");
    }
    let pids = owners(&sockets)?;
    if pids.is_empty() {
        bail!("it does not answer, and no process that this user may look into listens there");
    }
    let processes = pids.into_iter().map(Process::read).collect::<anyhow::Result<Vec<_>>>()?;
    // Of a predecessor and its successor the older one: it has served, while the other one may be
    // the reason for all this.
    let command = processes[0].command(order.binary.as_deref(), order.config.as_deref());
    for process in &processes {
        pidfd_send_signal(&process.handle, Signal::KILL)
            .with_context(|| format!("cannot kill {}", process.pid))?;
    }
    gone(&sockets).await?;
    board.says(&port.name, "killed; starting it again");
    let program = processes[0].program.display().to_string();
    start(command?).with_context(|| format!("cannot start {program}"))?;
    let killed: Vec<String> = processes.iter().map(|process| process.pid.to_string()).collect();
    Ok(format!("it hung; killed pid {}, all its sessions lost", killed.join(", ")))
}

/// Sockets of this machine behind the port.
async fn listening(address: &ServerAddress) -> anyhow::Result<HashSet<Inode>> {
    let (host, port) = match address {
        ServerAddress::Unix(path) => return Ok(listening_unix(path)?),
        ServerAddress::Tcp { host, port } => (host.as_str(), *port),
    };
    let resolved = timeout(RESOLVING, tokio::net::lookup_host((host, port))).await;
    let resolved = resolved.with_context(|| format!("resolve {host}: no answer"))?;
    let mut found = HashSet::new();
    for address in resolved.with_context(|| format!("resolve {host}"))? {
        found.extend(listening_tcp(address)?);
    }
    Ok(found)
}

/// Waits until nobody holds the sockets: then their ports are free.
async fn gone(sockets: &HashSet<Inode>) -> anyhow::Result<()> {
    let until = Instant::now() + ENDING;
    loop {
        let left = owners(sockets)?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            bail!("killed, and still in the kernel after {ENDING:?}: {left:?}");
        }
        sleep(LOOK).await;
    }
}

/// Starts it, and leaves it alone: it lives on when this process ends.
fn start(mut command: Command) -> anyhow::Result<()> {
    let mut child = command.spawn()?;
    // Reaped while this process lives, so that its end is not mistaken for life.
    std::thread::spawn(move || child.wait());
    Ok(())
}

impl Process {
    fn read(pid: u32) -> anyhow::Result<Self> {
        let read = || format!("process {pid} that listens there");
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).with_context(read)?;
        let handle = pidfd_open(raw, PidfdFlags::empty()).with_context(read)?;
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let arguments = pieces(&fs::read(proc.join("cmdline")).with_context(read)?);
        if arguments.get(1).is_none_or(|second| second != "run") {
            let name = arguments.first().cloned().unwrap_or_default();
            bail!("process {pid} ({}) listens there, and is no odp run", name.display());
        }
        let environment = pieces(&fs::read(proc.join("environ")).with_context(read)?);
        let environment = environment.iter().filter_map(|text| variable(text)).collect();
        Ok(Self {
            pid,
            handle,
            program: present(&fs::read_link(proc.join("exe")).with_context(read)?),
            arguments,
            directory: fs::read_link(proc.join("cwd")).with_context(read)?,
            environment,
            log: reopened(&proc.join("fd/2")).ok(),
            user: other_user(&proc).with_context(read)?,
        })
    }

    /// What starts it again, from cold.
    fn command(&self, binary: Option<&Path>, config: Option<&Path>) -> anyhow::Result<Command> {
        let mut command = Command::new(binary.unwrap_or(&self.program));
        command.args(again(&self.arguments, config)).current_dir(&self.directory);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let log = match &self.log {
            Some(file) => Stdio::from(file.try_clone()?),
            None => Stdio::null(),
        };
        // Ctrl-C in this terminal is not meant for it.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        Ok(command)
    }
}

/// The arguments behind the program's name, without `--takeover`, and with another config if one
/// is given.
fn again(arguments: &[OsString], config: Option<&Path>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut rest = arguments.iter().skip(1).filter(|argument| *argument != "--takeover");
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        match config {
            Some(_) if bytes == b"-c" || bytes == b"--config" => drop(rest.next()),
            Some(_) if bytes.starts_with(b"-c") || bytes.starts_with(b"--config=") => {}
            _ => kept.push(argument.clone()),
        }
    }
    if let Some(config) = config {
        kept.extend(["-c".into(), config.into()]);
    }
    kept
}

/// What stands between NULs.
fn pieces(bytes: &[u8]) -> Vec<OsString> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    bytes.split(|byte| *byte == 0).map(|piece| OsString::from_vec(piece.to_vec())).collect()
}

fn variable(text: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    let piece = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    Some((piece(&bytes[..at]), piece(&bytes[at + 1..])))
}

/// The path of a program without the kernel's remark that its file was replaced: whoever starts it
/// now gets the new one.
fn present(program: &Path) -> PathBuf {
    let bytes = program.as_os_str().as_bytes();
    OsString::from_vec(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes).to_vec()).into()
}

/// The same file once more, to be written at its end. Opened without waiting: a pipe may have no
/// reader any more.
fn reopened(path: &Path) -> std::io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().append(true).custom_flags(flags.bits()).open(path)?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(file)
}

/// Effective user and group of a process, unless the user is that of this one.
fn other_user(proc: &Path) -> anyhow::Result<Option<(u32, u32)>> {
    let status = fs::read_to_string(proc.join("status"))?;
    let effective = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|ids| ids.split_whitespace().nth(1)?.parse::<u32>().ok())
    };
    let user = effective("Uid:").context("no Uid in its status")?;
    let group = effective("Gid:").context("no Gid in its status")?;
    Ok((user != nix::unistd::geteuid().as_raw()).then_some((user, group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn it_is_started_as_before_but_from_cold() {
        for (before, config, after) in [
            ("odp run -c a", None, "run -c a"),
            ("odp run -c a --takeover", None, "run -c a"),
            ("odp run -c a --takeover", Some("/b"), "run -c /b"),
            ("odp run --config=a", Some("/b"), "run -c /b"),
            ("odp run -ca --takeover", Some("/b"), "run -c /b"),
            ("odp run --config a", Some("/b"), "run -c /b"),
        ] {
            assert_eq!(again(&words(before), config.map(Path::new)), words(after), "{before}");
        }
    }

    #[test]
    fn what_proc_says_is_taken_apart() {
        assert_eq!(pieces(b"odp\0run\0"), words("odp run"));
        assert_eq!(pieces(b"odp\0\0x\0"), [OsString::from("odp"), "".into(), "x".into()]);
        assert_eq!(variable(OsStr::new("A=b=c")), Some(("A".into(), "b=c".into())));
        assert_eq!(variable(OsStr::new("=x")), None);
        assert_eq!(present(Path::new("/bin/odp (deleted)")), Path::new("/bin/odp"));
        assert_eq!(present(Path::new("/bin/odp")), Path::new("/bin/odp"));
    }
}
