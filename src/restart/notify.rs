//! What the service manager is told: systemd's notification protocol, sd_notify(3).
//!
//! A message is one datagram of `NAME=value` lines to the socket that NOTIFY_SOCKET names, by path
//! or, after an `@`, in the abstract namespace. Without that variable nothing is sent. With
//! NotifyAccess=main only the main process is heard, hence the order in a handover:
//! ```text
//! predecessor   RELOADING=1 … MAINPID=successor  BARRIER=1, waits for it, exits 0
//! successor                                                               READY=1, STATUS=
//! ```
//! Whose main process dies alone says MAINPID=itself; only with NotifyAccess=all is it heard.
//!
//! Invariants: STOPPING=1 is final, so it is for an orderly stop only, never for a handover; and no
//! error here harms the proxy.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::host::fd::{ended, pidfd_of};

/// How long a message may wait for room in the manager's queue.
const LONGEST_SEND: Duration = Duration::from_millis(200);

/// How long the manager may take to read what was sent before the predecessor exits.
const LONGEST_BARRIER: Duration = Duration::from_secs(2);

/// How long a predecessor that handed everything over may take to exit.
const LONGEST_EXIT: Duration = Duration::from_secs(10);

/// `PID_FS_MAGIC`: only there is the inode of a pidfd the id of its process.
const PIDFS: i64 = 0x5049_4446;

/// What a message says; the order of its lines is the order here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Serving, for the first time or again after RELOADING.
    Ready,
    /// A restart has begun, at this time of CLOCK_MONOTONIC.
    Reloading(Duration),
    /// An orderly stop has begun. Final.
    Stopping,
    /// One line for `systemctl status`.
    Status(&'a str),
    /// Another process is the main one from now on.
    MainPid(u32),
    /// The inode of its pidfd, which no later process will have.
    MainPidFdId(u64),
    /// Still alive.
    Watchdog,
    /// The start, reload or stop under way may take this much longer, from now.
    ExtendTimeout(Duration),
    /// The manager closes the descriptor beside it when it has read everything before it.
    Barrier,
}

/// A message. The text of a status is cut to its first line, so that it cannot add another one.
pub fn format(notices: &[Notice]) -> String {
    let line = |notice: &Notice| match notice {
        Notice::Ready => "READY=1".to_owned(),
        Notice::Reloading(at) => format!("RELOADING=1\nMONOTONIC_USEC={}", at.as_micros()),
        Notice::Stopping => "STOPPING=1".to_owned(),
        Notice::Status(text) => format!("STATUS={}", text.lines().next().unwrap_or_default()),
        Notice::MainPid(pid) => format!("MAINPID={pid}"),
        Notice::MainPidFdId(id) => format!("MAINPIDFDID={id}"),
        Notice::Watchdog => "WATCHDOG=1".to_owned(),
        Notice::ExtendTimeout(by) => format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()),
        Notice::Barrier => "BARRIER=1".to_owned(),
    };
    notices.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The address that NOTIFY_SOCKET means. None for kinds that this machine's manager does not use.
pub fn address(socket: &OsStr) -> Option<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(Path::new(socket)).ok(),
        _ => None,
    }
}

/// How often to say WATCHDOG=1: twice as often as WATCHDOG_USEC demands.
///
/// WATCHDOG_PID is not looked at: it names the first generation, and its successors inherit both.
fn keep_alive_interval(watchdog_usec: Option<&OsStr>) -> Option<Duration> {
    let usec: u64 = watchdog_usec?.to_str()?.parse().ok()?;
    (usec > 0).then(|| Duration::from_micros(usec.div_ceil(2)))
}

/// Speaks to the service manager; all clones are the same. Without one it does nothing.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    address: SocketAddr,
    keep_alive: Option<Duration>,
}

impl Notifier {
    /// As the environment says, which a successor inherits.
    pub fn from_environment() -> Self {
        let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return Self(None) };
        let keep_alive = keep_alive_interval(std::env::var_os("WATCHDOG_USEC").as_deref());
        Self::new(&socket, keep_alive)
    }

    /// Speaks to this socket.
    pub fn new(socket: &OsStr, keep_alive: Option<Duration>) -> Self {
        let Some(address) = address(socket) else {
            tracing::debug!(?socket, "NOTIFY_SOCKET is no local socket; nobody is notified");
            return Self(None);
        };
        Self(Some(Arc::new(Manager { address, keep_alive })))
    }

    /// Serving, for the first time or again after [`Self::reloading`].
    pub async fn ready(&self, status: &str) {
        self.send(&[Notice::Ready, Notice::Status(status)]).await;
    }

    /// As [`Self::ready`], once the predecessor is gone: before, this process is not heard. After
    /// ten seconds it speaks all the same.
    pub async fn ready_after(&self, predecessor: u32, status: &str) {
        if self.0.is_none() {
            return;
        }
        if let Err(error) = gone(predecessor).await {
            tracing::debug!(predecessor, %error, "the predecessor's end was not seen");
        }
        self.ready(status).await;
    }

    /// A restart has begun; ends with [`Self::ready`], here or in the successor.
    pub async fn reloading(&self, status: &str) {
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32);
        self.send(&[Notice::Reloading(now), Notice::Status(status)]).await;
    }

    /// Only a line for people.
    pub async fn status(&self, status: &str) {
        self.send(&[Notice::Status(status)]).await;
    }

    /// An orderly stop, which takes up to `grace`. Never in a handover.
    pub async fn stopping(&self, grace: Duration, status: &str) {
        let extend = Notice::ExtendTimeout(grace);
        self.send(&[Notice::Stopping, extend, Notice::Status(status)]).await;
    }

    /// The predecessor's last words: the successor is the main process. Returns when the manager
    /// has read them, or after two seconds; then the predecessor may exit.
    pub async fn hand_over(&self, successor: u32) {
        self.name_main(successor).await;
        let Some(manager) = &self.0 else { return };
        if let Err(error) = manager.barrier().await {
            tracing::debug!(%error, "the service manager did not confirm");
        }
    }

    /// This process is the main one: who was it is dead, and nobody is to wait for it.
    pub async fn take_lead(&self) {
        self.name_main(std::process::id()).await;
    }

    async fn name_main(&self, pid: u32) {
        let mut notices = vec![Notice::MainPid(pid)];
        notices.extend(pidfd_id(pid).map(Notice::MainPidFdId));
        self.send(&notices).await;
    }

    /// Says that this process lives, for ever, if the manager wants to hear it. To be spawned by
    /// every generation: the manager listens to the main process only.
    pub async fn keep_alive(self) {
        let Some(interval) = self.0.as_ref().and_then(|manager| manager.keep_alive) else { return };
        let mut ticks = tokio::time::interval(interval);
        loop {
            ticks.tick().await;
            self.send(&[Notice::Watchdog]).await;
        }
    }

    async fn send(&self, notices: &[Notice<'_>]) {
        let Some(manager) = &self.0 else { return };
        let message = format(notices);
        match manager.send(message.as_bytes(), &[]).await {
            Ok(_) => tracing::trace!(message, "service manager notified"),
            Err(error) => tracing::debug!(message, %error, "service manager not notified"),
        }
    }
}

impl Manager {
    /// By a socket for one message: a manager that was replaced meanwhile is found again.
    async fn send(&self, message: &[u8], fds: &[RawFd]) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&self.address)?;
        // A full queue must not hold up a thread that serves sessions.
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UnixDatagram::from_std(socket)?;
        let (data, rights) = ([IoSlice::new(message)], [ControlMessage::ScmRights(fds)]);
        let control = if fds.is_empty() { &[][..] } else { &rights[..] };
        let sent = socket.async_io(Interest::WRITABLE, || {
            let fd = socket.as_raw_fd();
            Ok(sendmsg::<()>(fd, &data, control, MsgFlags::MSG_NOSIGNAL, None)?)
        });
        timeout(LONGEST_SEND, sent).await.map_err(late)?.map(drop)
    }

    /// Waits until everything sent so far was read.
    async fn barrier(&self) -> io::Result<()> {
        let (reader, writer) = std::io::pipe()?;
        self.send(format(&[Notice::Barrier]).as_bytes(), &[writer.as_raw_fd()]).await?;
        // Only the manager's duplicate holds the pipe open now.
        drop(writer);
        let mut reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        // Nothing is ever written into it: the end is what is waited for.
        timeout(LONGEST_BARRIER, reader.read(&mut [0])).await.map_err(late)?.map(drop)
    }
}

fn late(_: Elapsed) -> io::Error {
    io::ErrorKind::TimedOut.into()
}

async fn gone(pid: u32) -> io::Result<()> {
    timeout(LONGEST_EXIT, ended(pid)).await.map_err(late)?
}

/// The id of a process for all time, on kernels that have one (Linux 6.9).
fn pidfd_id(pid: u32) -> Option<u64> {
    let pidfd = pidfd_of(pid).ok()?;
    let filesystem = rustix::fs::fstatfs(&pidfd).ok()?;
    (i128::from(filesystem.f_type) == i128::from(PIDFS))
        .then(|| rustix::fs::fstat(&pidfd).ok())?
        .map(|stat| stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_notice_is_a_line() {
        let at = Duration::from_micros(1_234_567);
        let table: &[(&[Notice], &str)] = &[
            (&[Notice::Ready, Notice::Status("serving")], "READY=1\nSTATUS=serving"),
            (&[Notice::Reloading(at)], "RELOADING=1\nMONOTONIC_USEC=1234567"),
            (&[Notice::Stopping, Notice::ExtendTimeout(at)], {
                "STOPPING=1\nEXTEND_TIMEOUT_USEC=1234567"
            }),
            (&[Notice::MainPid(7), Notice::MainPidFdId(99)], "MAINPID=7\nMAINPIDFDID=99"),
            (&[Notice::Watchdog], "WATCHDOG=1"),
            (&[Notice::Barrier], "BARRIER=1"),
        ];
        for (notices, expected) in table {
            assert_eq!(format(notices), *expected);
        }
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(format(&[Notice::Status("a\nMAINPID=1")]), "STATUS=a");
        assert_eq!(format(&[Notice::Status("")]), "STATUS=");
    }

    #[test]
    fn sockets_are_paths_or_abstract() {
        let of = |text: &str| address(OsStr::new(text));
        let path = of("/run/systemd/notify").expect("a path");
        assert_eq!(path.as_pathname(), Some(Path::new("/run/systemd/notify")));
        assert_eq!(of("@odp").expect("abstract").as_abstract_name(), Some(&b"odp"[..]));
        for other in ["", "vsock:2:1234", "run/notify"] {
            assert!(of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn keep_alive_is_twice_as_often_as_demanded() {
        let of = |text: &str| keep_alive_interval(Some(OsStr::new(text)));
        assert_eq!(of("30000000"), Some(Duration::from_secs(15)));
        assert_eq!(of("1"), Some(Duration::from_micros(1)));
        for nothing in ["0", "", "-1", "soon"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
        assert_eq!(keep_alive_interval(None), None);
    }

    #[test]
    fn the_id_of_a_process_is_its_own() {
        // None on a kernel without pidfs.
        let own = pidfd_id(std::process::id());
        assert_eq!(own, pidfd_id(std::process::id()));
        assert!(own.is_none_or(|id| id > 0));
    }
}
