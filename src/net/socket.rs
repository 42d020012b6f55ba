//! A connected socket, TCP or Unix, that can be taken out of the runtime at any instant.
//!
//! Reads go straight into the caller's buffer and hold nothing back, so a socket that is turned
//! into a file descriptor has lost no byte.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, SockRef, TcpKeepalive};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::proxy_header::Route;
use crate::position::Mark;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP, v4 or v6.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixSocket),
}

/// A connected Unix socket. Who uses it first that has got it from elsewhere says so: see
/// `position`.
#[derive(Debug)]
pub struct UnixSocket {
    stream: UnixStream,
    is_unused: bool,
}

impl From<UnixStream> for UnixSocket {
    /// It is nobody else's.
    fn from(stream: UnixStream) -> Self {
        Self { stream, is_unused: false }
    }
}

impl UnixSocket {
    /// The same, about to be read or written.
    #[inline]
    fn using(&mut self) -> io::Result<Pin<&mut UnixStream>> {
        if self.is_unused {
            Mark::Used.put(self.stream.as_fd())?;
            self.is_unused = false;
        }
        Ok(Pin::new(&mut self.stream))
    }
}

/// When a silent TCP peer is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Until the first probe; 0 turns probes off.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Probes without an answer.
    pub count: u32,
    /// TCP_USER_TIMEOUT: unacknowledged data for so long; 0 leaves it to the kernel.
    pub user_timeout: Duration,
}

impl Keepalive {
    /// Sets a listening TCP socket to what connections shall have that come from it: they inherit
    /// it, so that none of them needs a system call for each. What is off is turned off, as it may
    /// have been on.
    pub fn tune_listener(&self, listener: &impl AsFd) -> io::Result<()> {
        let fd = listener.as_fd();
        let socket = SockRef::from(&fd);
        if socket.domain()? == Domain::UNIX {
            return Ok(());
        }
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        match self.idle.is_zero() {
            true => socket.set_keepalive(false),
            false => socket.set_tcp_keepalive(&self.probes()),
        }
    }

    fn probes(&self) -> TcpKeepalive {
        let second = Duration::from_secs(1);
        TcpKeepalive::new()
            .with_time(self.idle.max(second))
            .with_interval(self.interval.max(second))
            .with_retries(self.count.clamp(1, 127))
    }
}

impl Socket {
    /// Puts a socket that came from elsewhere into this runtime.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = socket2::Socket::from(fd);
        socket.set_nonblocking(true)?;
        if socket.domain()? == Domain::UNIX {
            let stream = UnixStream::from_std(socket.into())?;
            return Ok(Self::Unix(UnixSocket { stream, is_unused: true }));
        }
        TcpStream::from_std(socket.into()).map(Self::Tcp)
    }

    /// Takes it out of this runtime. The event queue forgets it: a duplicate that lives on in
    /// another process wakes nobody here.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Tcp(stream) => stream.into_std()?.into(),
            Self::Unix(socket) => socket.stream.into_std()?.into(),
        })
    }

    /// The same, if it is a Unix socket.
    pub fn unix(&self) -> Option<&UnixStream> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(socket) => Some(&socket.stream),
        }
    }

    /// Sets NODELAY and keepalive. Of no effect on a Unix socket.
    pub fn tune(&self, keepalive: Keepalive) -> io::Result<()> {
        let Self::Tcp(stream) = self else { return Ok(()) };
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        if !keepalive.idle.is_zero() {
            socket.set_tcp_keepalive(&keepalive.probes())?;
        }
        if !keepalive.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(keepalive.user_timeout))?;
        }
        Ok(())
    }

    /// Whether it has what [`Keepalive::tune_listener`] sets; a Unix socket needs nothing.
    pub fn is_tuned(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.nodelay().unwrap_or(false),
            Self::Unix(_) => true,
        }
    }

    /// The other end's address; None for Unix sockets.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(canonical),
            Self::Unix(_) => None,
        }
    }

    /// Both ends' addresses; None for Unix sockets.
    pub fn route(&self) -> Option<Route> {
        match self {
            Self::Tcp(stream) => Some(Route {
                source: canonical(stream.peer_addr().ok()?),
                destination: canonical(stream.local_addr().ok()?),
            }),
            Self::Unix(_) => None,
        }
    }

    /// Ready when a read may find something.
    #[inline]
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error is for the read to find.
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx).map(drop),
            Self::Unix(socket) => socket.stream.poll_read_ready(cx).map(drop),
        }
    }

    /// Reads what is there into `buffer`. Cancel safe. 0 is the end of the stream.
    #[inline]
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // Unlike try_read, poll_read learns from a short read that the socket is empty, which saves
        // one system call for each message.
        let mut target = ReadBuf::new(buffer);
        ready!(match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut target),
            Self::Unix(socket) => {
                // Who waits for something to read has used nothing.
                if socket.is_unused {
                    ready!(socket.stream.poll_read_ready(cx))?;
                }
                socket.using()?.poll_read(cx, &mut target)
            }
        })?;
        Poll::Ready(Ok(target.filled().len()))
    }

    /// Writes as much of `bytes` as it takes. Cancel safe.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(socket) => socket.using()?.poll_write(cx, bytes),
        }
    }

    /// What was taken by a write is the kernel's.
    #[inline]
    pub fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// It is about to be somebody else's. Nothing to a TCP socket, whose use the kernel counts.
    pub fn give(&self) {
        self.mark(Mark::Given);
    }

    /// It was somebody else's.
    pub fn take(&self) {
        self.mark(Mark::Taken);
    }

    fn mark(&self, mark: Mark) {
        if let Self::Unix(socket) = self {
            // Then it counts as used.
            let _ = mark.put(socket.stream.as_fd());
        }
    }

    /// Sends FIN; reading goes on.
    pub fn shutdown_write(&mut self) {
        if let Self::Unix(socket) = self {
            let _ = socket.using();
        }
        // A peer that is gone already makes this fail, which changes nothing.
        let _ = SockRef::from(&self.as_fd()).shutdown(std::net::Shutdown::Write);
    }
}

/// A v4 client of a v6 socket has its v4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(socket) => socket.stream.as_fd(),
        }
    }
}

/// AsyncRead and AsyncWrite of a type that has `poll_read`, `poll_flush`, `shutdown_write` and this
/// write itself.
macro_rules! tokio_io {
    ($type:ident, $write:ident) => {
        impl tokio::io::AsyncRead for $type {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut Context<'_>,
                target: &mut tokio::io::ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let buffer = target.initialize_unfilled();
                let n = ready!($type::poll_read(self.get_mut(), cx, buffer))?;
                target.advance(n);
                Poll::Ready(Ok(()))
            }
        }

        impl tokio::io::AsyncWrite for $type {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                $type::$write(self.get_mut(), cx, bytes)
            }

            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                $type::poll_flush(self.get_mut(), cx)
            }

            fn poll_shutdown(
                self: std::pin::Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                let stream = self.get_mut();
                ready!($type::poll_flush(stream, cx))?;
                stream.shutdown_write();
                // What TLS says last.
                $type::poll_flush(stream, cx)
            }
        }
    };
}
pub(crate) use tokio_io;

tokio_io!(Socket, poll_write);
