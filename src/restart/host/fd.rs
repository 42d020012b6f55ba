//! Descriptors: watched by the runtime, of a process, given as standard input, and how many.
//!
//! The only `unsafe` is the registration of a descriptor with the event queue.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open};
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the event queue.
pub(crate) fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `OwnedFd` owns its descriptor before and after; it moves into the `AsyncFd`,
    // which closes it only after it is deregistered, and nobody here takes or replaces it in
    // between.
    unsafe { AsyncFd::register(fd) }.map_err(|error| error.into_parts().1)
}

/// A descriptor of the process with this id.
pub(crate) fn pidfd_of(pid: u32) -> io::Result<OwnedFd> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not a process id of this system");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(invalid)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Waits for the end of a process, which need not be a child.
pub async fn ended(pid: u32) -> io::Result<()> {
    match pidfd_of(pid) {
        Ok(pidfd) => watched(pidfd)?.readable().await.map(drop),
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
        Err(error) => Err(error),
    }
}

/// How many files this process may open, the reserve included that it keeps for its operators.
pub(crate) fn nofile() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// The channel that a predecessor has given as standard input; None if it is something else. What
/// stays as standard input is /dev/null.
pub(crate) fn channel_from_stdin() -> Option<io::Result<OwnedFd>> {
    let stdin = rustix::stdio::stdin();
    let is_channel = sockopt::socket_domain(stdin).is_ok_and(|it| it == AddressFamily::UNIX)
        && sockopt::socket_type(stdin).is_ok_and(|it| it == SocketType::SEQPACKET);
    is_channel.then(|| {
        let socket = stdin.try_clone_to_owned()?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        Ok(socket)
    })
}
