//! Listening sockets, and the gate that all accept loops obey.
//!
//! A socket is never closed while somebody may connect to it: a closed gate only means that nobody
//! accepts *here*; clients wait in the kernel's queue, which a duplicate in another process shares.
//! While the gate is closed a socket is not registered in this process's event queue.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::stream::Stream;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How long to wait when there is no file descriptor or memory for one more connection.
const OUT_OF_FDS: Duration = Duration::from_millis(50);

/// How often that is logged.
const COMPLAINT: Duration = Duration::from_secs(10);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP, v4 or v6.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A bound and listening socket.
#[derive(Debug)]
pub struct Listener {
    name: String,
    socket: Socket,
    /// The address that people know it by, if the socket does not.
    known_as: Option<String>,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Listener {
    /// Binds and listens.
    pub fn bind(name: String, address: &Address) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp(address) => bind_tcp(*address)?,
            Address::Unix(path) => bind_unix(path)?,
        };
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { name, socket, known_as: None })
    }

    /// The same, by another address than the one that it was bound to.
    pub fn known_as(self, address: String) -> Self {
        Self { known_as: Some(address), ..self }
    }

    /// A socket that listens already.
    pub fn inherited(name: String, fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        if !socket.is_listener()? {
            let error = format!("inherited socket '{name}' does not listen");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        socket.set_nonblocking(true)?;
        Ok(Self { name, socket, known_as: None })
    }

    /// What it is called in a handover.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A duplicate of the socket.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// The address it is bound to; shows the port that the kernel chose for port 0.
    pub fn local(&self) -> String {
        if let Some(address) = &self.known_as {
            return address.clone();
        }
        match self.socket.local_addr() {
            Ok(address) => match (address.as_socket(), address.as_pathname()) {
                (Some(address), _) => address.to_string(),
                (None, Some(path)) => format!("unix:{}", path.display()),
                (None, None) => self.name.clone(),
            },
            Err(_) => self.name.clone(),
        }
    }

    /// Accepts while the gate is open, for ever. Each connection goes to `serve`, which must not
    /// block.
    pub async fn accept_loop(&self, gate: Gate, mut serve: impl FnMut(Stream)) {
        let mut open = gate.open.subscribe();
        loop {
            if open.wait_for(|open| *open).await.is_err() {
                return;
            }
            gate.accepting.send_modify(|count| *count += 1);
            let closed = async {
                let _ = open.wait_for(|open| !*open).await;
            };
            let ended = self.accept_until(closed, &mut serve).await;
            gate.accepting.send_modify(|count| *count -= 1);
            if let Err(error) = ended {
                tracing::error!(listener = self.name, %error, "cannot accept; trying again");
                tokio::time::sleep(OUT_OF_FDS).await;
            }
        }
    }

    /// The socket is registered only while this runs.
    async fn accept_until(
        &self,
        closed: impl Future<Output = ()>,
        serve: &mut impl FnMut(Stream),
    ) -> io::Result<()> {
        let acceptor = Acceptor::new(self.duplicate()?)?;
        let mut complained: Option<Instant> = None;
        tokio::pin!(closed);
        loop {
            // Both branches are cancel safe.
            let accepted = tokio::select! {
                biased;
                () = &mut closed => return Ok(()),
                accepted = acceptor.accept() => accepted,
            };
            match accepted {
                Ok(stream) => serve(stream),
                // The client was gone before we came to it, or the like: not the listener's fault.
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    if complained.is_none_or(|at| at.elapsed() >= COMPLAINT) {
                        tracing::warn!(listener = self.name, %error, "cannot accept");
                        complained = Some(Instant::now());
                    }
                    tokio::time::sleep(OUT_OF_FDS).await;
                }
            }
        }
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        if socket.domain()? == Domain::UNIX {
            return UnixListener::from_std(socket.into()).map(Self::Unix);
        }
        TcpListener::from_std(socket.into()).map(Self::Tcp)
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that [::]:P and 0.0.0.0:P can both be listed.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_unix(path: &Path) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse || !is_stale(path, &address)? {
            return Err(error);
        }
        std::fs::remove_file(path)?;
        socket.bind(&address)?;
    }
    // As servers do: who may log in is decided by user and password.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    Ok(socket)
}

/// Whether the file is a socket that nobody listens on.
fn is_stale(path: &Path, address: &SockAddr) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    Ok(probe.connect(address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

/// Opens and closes all accept loops together.
#[derive(Clone, Debug)]
pub struct Gate {
    open: watch::Sender<bool>,
    accepting: watch::Sender<usize>,
    loops: usize,
}

impl Gate {
    /// A closed gate for so many accept loops.
    pub fn closed(loops: usize) -> Self {
        Self { open: watch::Sender::new(false), accepting: watch::Sender::new(0), loops }
    }

    /// Lets the loops accept; done when all do, or when the gate is closed again.
    pub async fn open(&self) {
        self.open.send_replace(true);
        let mut accepting = self.accepting.subscribe();
        let mut open = self.open.subscribe();
        tokio::select! {
            _ = accepting.wait_for(|count| *count >= self.loops) => {}
            _ = open.wait_for(|open| !*open) => {}
        }
    }

    /// Stops the loops; done when none accepts any more, or when the gate is opened again.
    pub async fn close(&self) {
        self.open.send_replace(false);
        let mut accepting = self.accepting.subscribe();
        let mut open = self.open.subscribe();
        tokio::select! {
            _ = accepting.wait_for(|count| *count == 0) => {}
            _ = open.wait_for(|open| *open) => {}
        }
    }

    /// Whether the loops may accept.
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }
}
