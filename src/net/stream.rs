//! A connected socket, TCP or Unix, that can be taken out of the runtime at any instant.
//!
//! Reads go straight into the caller's buffer and hold nothing back, so a stream that is turned
//! into a file descriptor has lost no byte.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP, v4 or v6.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
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

impl Stream {
    /// Puts a socket that came from elsewhere into this runtime.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        if socket.domain()? == Domain::UNIX {
            return UnixStream::from_std(socket.into()).map(Self::Unix);
        }
        TcpStream::from_std(socket.into()).map(Self::Tcp)
    }

    /// Takes the socket out of this runtime. The event queue forgets it: a duplicate that lives on
    /// in another process wakes nobody here.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Tcp(stream) => stream.into_std()?.into(),
            Self::Unix(stream) => stream.into_std()?.into(),
        })
    }

    /// Sets NODELAY and keepalive. Of no effect on a Unix socket.
    pub fn tune(&self, keepalive: Keepalive) -> io::Result<()> {
        let Self::Tcp(stream) = self else { return Ok(()) };
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        if !keepalive.idle.is_zero() {
            let second = Duration::from_secs(1);
            let probes = TcpKeepalive::new()
                .with_time(keepalive.idle.max(second))
                .with_interval(keepalive.interval.max(second))
                .with_retries(keepalive.count.clamp(1, 127));
            socket.set_tcp_keepalive(&probes)?;
        }
        if !keepalive.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(keepalive.user_timeout))?;
        }
        Ok(())
    }

    /// The other end's address; None for Unix sockets.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
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
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, &mut target),
        })?;
        Poll::Ready(Ok(target.filled().len()))
    }

    /// Writes as much of `bytes` as the socket takes. Cancel safe.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Sends FIN; reading goes on.
    pub fn shutdown_write(&self) {
        // A peer that is gone already makes this fail, which changes nothing.
        let _ = SockRef::from(&self.as_fd()).shutdown(std::net::Shutdown::Write);
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, target),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, target),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(self.get_mut(), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown_write();
        Poll::Ready(Ok(()))
    }
}
