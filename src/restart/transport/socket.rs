//! `run_dir/handover.sock`: where a successor knocks that somebody else has started.
//!
//! The predecessor listens, the successor connects, never the reverse. The directory is 0700 and
//! ours, the socket 0600, and both sides look at the uid of the other: a local user who is neither
//! this one nor root gets nothing, and can delay nothing.

use std::collections::VecDeque;
use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::channel::{Channel, ChannelError};
use crate::restart::host::fd::{pidfd_of, watched};
use crate::restart::host::process::Peer;
use crate::restart::message::{Hello, Message, Reason};
use crate::restart::timeouts::Timeouts;
use crate::task::{self, Panicked};

/// The name of the socket in the directory.
const NAME: &str = "handover.sock";

/// The name under which it is made, so that at no instant there is none under the other.
const FRESH: &str = "handover.new";

/// Connections that have not said HELLO yet. One more, and the oldest of them has to go: a
/// successor says HELLO at once, so those that say nothing cannot keep it out.
const VISITORS: usize = 8;

/// Between two attempts to connect while the queue of the other side is full.
const RETRY: Duration = Duration::from_millis(20);

/// The listening socket.
#[derive(Debug)]
pub(crate) struct HandoverSocket {
    socket: Arc<AsyncFd<OwnedFd>>,
    path: PathBuf,
    /// None: what is there now is the successor's affair.
    inode: Option<(u64, u64)>,
    knocks: mpsc::Receiver<Knock>,
    sender: mpsc::Sender<Knock>,
    visitors: VecDeque<JoinHandle<Result<(), Panicked>>>,
    timeouts: Timeouts,
}

/// A successor that has said HELLO.
#[derive(Debug)]
pub(crate) struct Knock {
    /// The way to it.
    pub channel: Channel,
    /// Its process.
    pub peer: Peer,
    /// What it said.
    pub hello: Hello,
}

/// Why nobody is called on, although somebody may be there.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// What stands there is not ours, or does not answer.
    #[error("{}: {source}", place.display())]
    Place {
        /// The directory, or the socket.
        place: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A socket of another kind.
    #[error("{}: not the socket of a proxy", .0.display())]
    NotAProxy(PathBuf),
    /// Somebody else listens.
    #[error("{}: {owner}", place.display())]
    Owner {
        /// The socket.
        place: PathBuf,
        /// Who.
        owner: Foreign,
    },
}

/// Why the other end of a socket gets nothing.
#[derive(Debug, thiserror::Error)]
pub enum Foreign {
    /// The kernel does not say whose it is.
    #[error("SO_PEERCRED: {0}")]
    Unknown(#[source] nix::Error),
    /// It is another user's.
    #[error("uid {uid} is neither {own} nor root")]
    User {
        /// Whose it is.
        uid: u32,
        /// Whose this process is.
        own: u32,
    },
}

/// Why a visitor is no successor.
#[derive(Debug, thiserror::Error)]
enum Unwelcome {
    #[error(transparent)]
    Foreign(#[from] Foreign),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("expected HELLO, not {0}")]
    NoHello(&'static str),
    #[error("the successor's process cannot be watched from here: {0}")]
    Unwatched(#[source] io::Error),
}

impl HandoverSocket {
    /// Listens; replaces what a dead process, or a predecessor, has left there.
    pub(crate) fn open(run_dir: &Path, timeouts: Timeouts) -> io::Result<Self> {
        prepare(run_dir)?;
        let path = run_dir.join(NAME);
        let fresh = run_dir.join(FRESH);
        let address = SocketAddrUnix::new(&fresh)?;
        let socket = seqpacket()?;
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => bind(&socket, &address)?,
        }
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        listen(&socket, VISITORS as i32)?;
        std::fs::rename(&fresh, &path)?;
        let metadata = std::fs::symlink_metadata(&path)?;
        let (sender, knocks) = mpsc::channel(VISITORS);
        Ok(Self {
            socket: Arc::new(watched(socket)?),
            path,
            inode: Some((metadata.dev(), metadata.ino())),
            knocks,
            sender,
            visitors: VecDeque::with_capacity(VISITORS),
            timeouts,
        })
    }

    /// [`open`](Self::open), or an error in the log: without its socket a proxy can still be
    /// restarted by RESTART, so that is no reason not to serve.
    pub(crate) fn if_possible(run_dir: &Path, timeouts: Timeouts) -> Option<Self> {
        Self::open(run_dir, timeouts)
            .inspect_err(|error| {
                let run_dir = run_dir.display();
                tracing::error!(%run_dir, %error, "run_dir: no handover socket");
            })
            .ok()
    }

    /// Whether whoever looks for this proxy finds it: nobody has put another socket there.
    pub(crate) fn is_in_place(&self) -> bool {
        std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| Some((metadata.dev(), metadata.ino())) == self.inode)
    }

    /// Closes it, and leaves the file for the successor to replace. It may have done so already,
    /// and its socket can have the number that this one had: whoever removed "his" would remove
    /// that.
    pub(crate) fn leave(mut self) {
        self.inode = None;
    }

    /// The next successor that has said HELLO. Cancel safe.
    pub(crate) async fn knock(&mut self) -> Knock {
        loop {
            // Both branches are cancel safe.
            let visitor = tokio::select! {
                Some(knock) = self.knocks.recv() => return knock,
                visitor = accept(&self.socket) => visitor,
            };
            match visitor {
                Ok(socket) => self.greet(socket),
                Err(error) => {
                    tracing::warn!(%error, "handover socket");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Hears a visitor out, without keeping anybody else waiting.
    fn greet(&mut self, socket: OwnedFd) {
        self.visitors.retain(|visitor| !visitor.is_finished());
        if self.visitors.len() >= VISITORS
            && let Some(oldest) = self.visitors.pop_front()
        {
            tracing::warn!("handover socket: too many connections that say nothing");
            oldest.abort();
        }
        let (sender, timeouts) = (self.sender.clone(), self.timeouts);
        self.visitors.push_back(task::spawn("visitor", async move {
            match hear(socket, timeouts).await {
                Ok(knock) => {
                    // The coordinator takes them as fast as they come, or is going away.
                    let _ = sender.try_send(knock);
                }
                Err(reason) => tracing::warn!(%reason, "handover socket: visitor refused"),
            }
        }));
    }
}

impl Drop for HandoverSocket {
    fn drop(&mut self) {
        // A successor may have put its own there.
        if self.is_in_place()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "handover socket left behind");
        }
    }
}

impl Knock {
    /// Sends it away.
    pub(crate) async fn refuse(self, reason: &str) {
        refuse(&self.channel, reason).await;
    }
}

/// Connects to the proxy that is running; None if there is none. Whatever somebody else may have
/// put into its place is an error that names it.
pub(crate) async fn call(run_dir: &Path, within: Duration) -> Result<Option<OwnedFd>, SocketError> {
    let path = run_dir.join(NAME);
    let failed = |source: io::Error| SocketError::Place { place: path.clone(), source };
    match inspect(run_dir, &path) {
        Ok(()) => {}
        Err((_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err((place, source)) => return Err(SocketError::Place { place: place.to_owned(), source }),
    }
    let address = SocketAddrUnix::new(&path).map_err(|errno| failed(errno.into()))?;
    let deadline = Instant::now() + within;
    loop {
        let socket = seqpacket().map_err(failed)?;
        match connect(&socket, &address) {
            Ok(()) => {
                let owned = check_owner(&socket).map(|()| Some(socket));
                return owned.map_err(|owner| SocketError::Owner { place: path, owner });
            }
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            Err(Errno::AGAIN) if Instant::now() < deadline => sleep(RETRY).await,
            Err(Errno::PROTOTYPE) => return Err(SocketError::NotAProxy(path)),
            Err(error) => return Err(failed(error.into())),
        }
    }
}

/// A socket that a proxy of ours has opened is a socket in a directory that only we can write to.
fn inspect<'a>(run_dir: &'a Path, path: &'a Path) -> Result<(), (&'a Path, io::Error)> {
    let look = |place: &'a Path| std::fs::symlink_metadata(place).map_err(|error| (place, error));
    let directory = look(run_dir)?;
    check_directory(&directory).map_err(|error| (run_dir, error))?;
    let file_type = look(path)?.file_type();
    if directory.mode() & 0o022 != 0 {
        let mode = directory.mode() & 0o7777;
        return Err((run_dir, refused(format!("others may write to it (mode {mode:o})"))));
    }
    match file_type.is_socket() {
        true => Ok(()),
        false => Err((path, refused("expected a socket".into()))),
    }
}

/// The process at the other end, and a descriptor of it.
pub(crate) fn peer_of(socket: &impl AsFd) -> io::Result<Peer> {
    let credentials = getsockopt(socket, sockopt::PeerCredentials)?;
    let pid = u32::try_from(credentials.pid()).unwrap_or(0);
    // Kernels before 6.5 know no SO_PEERPIDFD; there the pid could be another's by now only if the
    // peer is dead, and then its end of the socket is closed.
    let pidfd = match getsockopt(socket, sockopt::PeerPidfd) {
        Ok(pidfd) => pidfd,
        Err(_) => pidfd_of(pid)?,
    };
    Peer::other(pid, pidfd)
}

async fn hear(socket: OwnedFd, timeouts: Timeouts) -> Result<Knock, Unwelcome> {
    check_owner(&socket)?;
    let peer = peer_of(&socket);
    let mut channel = Channel::new(socket)?;
    let heard = match channel.recv_within(timeouts.answer).await {
        Ok(received) => hello_of(received.frame.message),
        Err(error) => Err(error.into()),
    };
    match heard.and_then(|hello| Ok((hello, peer.map_err(Unwelcome::Unwatched)?))) {
        Ok((hello, peer)) => Ok(Knock { channel, peer, hello }),
        Err(reason) => {
            refuse(&channel, &reason.to_string()).await;
            Err(reason)
        }
    }
}

fn hello_of(message: Message) -> Result<Hello, Unwelcome> {
    match message {
        Message::Hello(hello) => Ok(hello),
        other => Err(Unwelcome::NoHello(other.name())),
    }
}

async fn refuse(channel: &Channel, reason: &str) {
    let message = Message::Refuse(Reason { reason: reason.into() });
    if let Err(error) = channel.send(&message.into(), &[], RETRY).await {
        tracing::debug!(%error, "the visitor did not hear the refusal");
    }
}

async fn accept(socket: &AsyncFd<OwnedFd>) -> io::Result<OwnedFd> {
    loop {
        let mut ready = socket.readable().await?;
        let accepted = ready.try_io(|socket| {
            Ok(accept_with(socket.get_ref(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
        });
        if let Ok(accepted) = accepted {
            return accepted;
        }
    }
}

fn check_owner(socket: &OwnedFd) -> Result<(), Foreign> {
    let credentials = getsockopt(socket, sockopt::PeerCredentials).map_err(Foreign::Unknown)?;
    let own = rustix::process::geteuid().as_raw();
    if credentials.uid() == own || credentials.uid() == 0 {
        return Ok(());
    }
    Err(Foreign::User { uid: credentials.uid(), own })
}

fn seqpacket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Makes the directory if it is missing, and private. It must be ours alone, or somebody else could
/// put another socket there.
pub fn prepare(run_dir: &Path) -> io::Result<()> {
    if let Err(error) = std::fs::DirBuilder::new().mode(0o700).create(run_dir)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    let metadata = std::fs::symlink_metadata(run_dir)?;
    check_directory(&metadata)?;
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(run_dir, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn check_directory(metadata: &Metadata) -> io::Result<()> {
    if !metadata.is_dir() {
        return Err(refused("expected a directory".into()));
    }
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        return Err(refused(format!("it belongs to uid {}, expected {own}", metadata.uid())));
    }
    Ok(())
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_there_is_no_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let nobody = call(dir.path(), Duration::from_secs(1)).await;
        assert!(nobody.expect("no error").is_none());
        // A socket whose process has died (T-5).
        let stale = std::os::unix::net::UnixListener::bind(dir.path().join("x")).expect("bound");
        drop(stale);
        std::fs::rename(dir.path().join("x"), dir.path().join(NAME)).expect("renamed");
        assert!(call(dir.path(), Duration::from_secs(1)).await.is_ok_and(|it| it.is_none()));
        let socket = HandoverSocket::open(dir.path(), Timeouts::default()).expect("replaces it");
        let mode = std::fs::metadata(dir.path().join(NAME)).expect("a socket").mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert!(!dir.path().join(NAME).exists());
    }

    #[tokio::test]
    async fn another_kind_of_socket_is_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(NAME);
        let _other = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let error = call(dir.path(), Duration::from_secs(1)).await.expect_err("T-12");
        assert!(matches!(error, SocketError::NotAProxy(at) if at == path), "T-12");
    }

    #[tokio::test]
    async fn a_visitor_who_speaks_something_else_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut socket = HandoverSocket::open(dir.path(), Timeouts::default()).expect("open");
        let visitor = async {
            let socket =
                call(dir.path(), Duration::from_secs(1)).await.expect("ok").expect("there");
            let mut channel = Channel::new(socket).expect("a channel");
            let text = Message::Ready {};
            channel.send(&text.into(), &[], Duration::from_secs(1)).await.expect("sent");
            channel.recv_within(Duration::from_secs(5)).await.expect("an answer")
        };
        let answer = tokio::select! {
            _ = socket.knock() => panic!("READY is no HELLO"),
            answer = visitor => answer,
        };
        let expected = Message::Refuse(Reason { reason: "expected HELLO, not READY".into() });
        assert_eq!(answer.frame.message, expected);
    }

    #[test]
    fn a_directory_of_everybody_becomes_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(dir.path(), open).expect("set");
        prepare(dir.path()).expect("ours");
        assert_eq!(std::fs::metadata(dir.path()).expect("there").mode() & 0o777, 0o700);
    }
}
