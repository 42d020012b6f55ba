//! The last resort: a proxy of this machine that does not answer is killed and started again.
//!
//! Nobody can ask it for anything any more. Who listens at its admin port, and how that was
//! started, is taken from `/proc`, as far as this user may look into it, and from what it has left
//! in its `run_dir`. Nothing is killed before all of that is known.

use std::collections::{BTreeSet, HashSet};
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

use super::owners::{listening_tcp, listening_unix, owners};
use super::port::AdminPort;
use super::progress::Progress;
use super::record::{Inode, Record, started};
use crate::config::{Config, ServerAddress};

/// How long a name may take to be resolved.
const RESOLVING: Duration = Duration::from_secs(5);
/// How long the kernel may take to end a process.
const ENDING: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What a proxy that is started again is to be.
pub(super) struct Again<'a> {
    /// The program; None: its own.
    pub(super) binary: Option<&'a Path>,
    /// The config; None: its own.
    pub(super) config: Option<&'a Path>,
}

/// A process as it was started.
struct Process {
    pid: u32,
    started: u64,
    /// Cannot come to mean another process.
    handle: OwnedFd,
    arguments: Vec<OsString>,
    origin: Origin,
    /// User and group, if they are not ours.
    user: Option<(u32, u32)>,
}

/// Where it comes from.
struct Origin {
    program: PathBuf,
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
    /// Where it writes its log; None if that cannot be opened again.
    log: Option<File>,
}

/// Kills whoever listens at the port and starts it again; says what was done. `known` is the config
/// of the proxy that is meant.
pub(super) async fn revive(
    port: &AdminPort,
    known: Option<&Path>,
    again: Again<'_>,
    progress: &impl Progress,
) -> anyhow::Result<String> {
    let mut sockets = listening(&port.address).await?;
    if let (true, Some(config)) = (sockets.is_empty(), known) {
        // Since its config was edited its port may be another.
        sockets = recorded(config);
    }
    if sockets.is_empty() {
        bail!("it does not answer, and nobody on this machine listens there");
    }
    let processes = takers(&sockets, known)?;
    if processes.is_empty() {
        bail!(
            "it does not answer, and nobody of this user is known to listen there; try -c CONFIG"
        );
    }
    // Of a predecessor and its successor the older one: it has served, while the other one may be
    // the reason for all this.
    let command = processes[0].command(again);
    for process in &processes {
        pidfd_send_signal(&process.handle, Signal::KILL)
            .with_context(|| format!("cannot kill {}", process.pid))?;
    }
    gone(&sockets, &processes).await?;
    progress.says(&port.name, "killed; starting it again");
    let program = processes[0].origin.program.display().to_string();
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

/// Sockets of the proxies that were started with this config, as they have recorded it themselves.
fn recorded(config: &Path) -> HashSet<Inode> {
    let Ok(found) = Config::look(config) else { return HashSet::new() };
    let real = |path: PathBuf| fs::canonicalize(path).ok();
    let meant = real(config.to_owned());
    let is_meant = |record: &Record| {
        let line = fs::read(format!("/proc/{}/cmdline", record.pid)).unwrap_or_default();
        // A relative path was relative to where it was started.
        let path = config_of(&pieces(&line)).map(|path| record.directory.join(path));
        meant.is_some() && path.and_then(real) == meant
    };
    let records = Record::all(&found.proxy.run_dir).into_iter().filter(is_meant);
    records.flat_map(|record| record.sockets).collect()
}

/// Those that listen at the sockets, oldest first.
fn takers(sockets: &HashSet<Inode>, config: Option<&Path>) -> anyhow::Result<Vec<Process>> {
    let mut found =
        owners(sockets)?.into_iter().map(Process::read).collect::<Result<Vec<_>, _>>()?;
    let records = run_dirs(config).into_iter().flat_map(|run_dir| Record::all(&run_dir));
    for record in records.filter(|record| record.sockets.iter().any(|it| sockets.contains(it))) {
        if !found.iter().any(|process| process.pid == record.pid) {
            found.push(Process::recorded(record)?);
        }
    }
    found.sort_by_key(|process| (process.started, process.pid));
    Ok(found)
}

/// Where records may be: by the config that was given, and by those of the proxies that run here.
fn run_dirs(config: Option<&Path>) -> BTreeSet<PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    // What a relative path was relative to is not told.
    let running = lines.filter_map(|line| config_of(&pieces(&line)).filter(|it| it.is_absolute()));
    let configs: BTreeSet<PathBuf> = running.chain(config.map(Path::to_owned)).collect();
    let configs = configs.iter().filter_map(|path| Config::look(path).ok());
    configs.map(|config| config.proxy.run_dir).collect()
}

/// The config of an `odp run`.
fn config_of(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().skip(1);
    rest.next().filter(|second| *second == "run")?;
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        let joined = bytes.strip_prefix(b"--config=").or_else(|| bytes.strip_prefix(b"-c"));
        match joined {
            _ if bytes == b"-c" || bytes == b"--config" => return rest.next().map(PathBuf::from),
            Some(path) => return Some(OsStr::from_bytes(path).into()),
            None => {}
        }
    }
    None
}

/// Waits until nobody holds the sockets: then their ports are free.
async fn gone(sockets: &HashSet<Inode>, killed: &[Process]) -> anyhow::Result<()> {
    let until = Instant::now() + ENDING;
    loop {
        let mut left = owners(sockets)?;
        let living = killed.iter().filter(|process| started(process.pid) == Some(process.started));
        left.extend(living.map(|process| process.pid));
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
    /// What `/proc` tells.
    fn read(pid: u32) -> anyhow::Result<Self> {
        let read = || format!("process {pid} that listens there");
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let environment = pieces(&fs::read(proc.join("environ")).with_context(read)?);
        let environment = environment.iter().filter_map(|text| variable(text)).collect();
        let origin = Origin {
            program: present(&fs::read_link(proc.join("exe")).with_context(read)?),
            directory: fs::read_link(proc.join("cwd")).with_context(read)?,
            environment,
            log: reopened(&proc.join("fd/2")).ok(),
        };
        Self::of(pid, origin)
    }

    /// What it has left behind of itself.
    fn recorded(record: Record) -> anyhow::Result<Self> {
        let Record { pid, started, program, directory, environment, log, .. } = record;
        let environment = environment.into_iter().map(|(name, it)| (name.into(), it.into()));
        let log = log.and_then(|path| reopened(&path).ok());
        let origin = Origin { program, directory, environment: environment.collect(), log };
        let process = Self::of(pid, origin)?;
        if process.started != started {
            bail!("process {pid} that listens there has ended");
        }
        Ok(process)
    }

    fn of(pid: u32, origin: Origin) -> anyhow::Result<Self> {
        let read = || format!("process {pid} that listens there");
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).with_context(read)?;
        let handle = pidfd_open(raw, PidfdFlags::empty()).with_context(read)?;
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let arguments = pieces(&fs::read(proc.join("cmdline")).with_context(read)?);
        if arguments.get(1).is_none_or(|second| second != "run") {
            let name = arguments.first().cloned().unwrap_or_default();
            bail!("process {pid} ({}) listens there, and is no odp run", name.display());
        }
        let started = started(pid).with_context(read)?;
        let user = other_user(&proc).with_context(read)?;
        Ok(Self { pid, started, handle, arguments, origin, user })
    }

    /// What starts it again, from cold.
    fn command(&self, as_told: Again<'_>) -> anyhow::Result<Command> {
        let Again { binary, config } = as_told;
        let Origin { program, directory, environment, log } = &self.origin;
        let mut command = Command::new(binary.unwrap_or(program));
        command.args(again(&self.arguments, config)).current_dir(directory);
        command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        let log = match log {
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
    fn the_config_of_a_command_line_is_found() {
        for (line, config) in [
            ("odp run -c a", Some("a")),
            ("odp run --takeover -c /b", Some("/b")),
            ("odp run -c/b", Some("/b")),
            ("odp run --config /b --takeover", Some("/b")),
            ("odp run --config=/b", Some("/b")),
            ("odp check -c /b", None),
            ("odp run", None),
            ("odp run -c", None),
        ] {
            assert_eq!(config_of(&words(line)).as_deref(), config.map(Path::new), "{line}");
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
