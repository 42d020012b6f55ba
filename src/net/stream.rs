//! A connected socket, TCP or Unix, perhaps with TLS, that can be taken out of the runtime at any
//! instant.
//!
//! Reads of a plain one go straight into the caller's buffer and hold nothing back, so a stream
//! that is turned into a file descriptor has lost no byte. TLS has state, which
//! [`Stream::into_parts`] gives out with it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::proxy_header::Route;
use super::tls::stream::{Parts as TlsParts, TlsState, TlsStream};
use crate::buffer::arena::Piece;

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP, v4 or v6.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
    /// TLS over one of the others.
    Tls(Box<TlsStream>),
}

/// A stream taken apart: the socket, and for TLS its state and the bytes in it.
#[derive(Debug)]
pub struct Parts {
    /// The socket.
    pub fd: OwnedFd,
    /// The TLS session, if there is one, and its bytes.
    pub tls: Option<(TlsState, Vec<u8>)>,
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

    /// Takes a plain socket out of this runtime. The event queue forgets it: a duplicate that lives
    /// on in another process wakes nobody here. Fails on TLS, whose state would be lost.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Tcp(stream) => stream.into_std()?.into(),
            Self::Unix(stream) => stream.into_std()?.into(),
            Self::Tls(_) => {
                let error = "a TLS session is more than its socket";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
            }
        })
    }

    /// Takes it out of this runtime, with what is needed to go on elsewhere, and its memory that is
    /// in an arena.
    pub fn into_parts(self) -> io::Result<(Parts, Vec<Piece>)> {
        match self {
            Self::Tls(stream) => {
                let (TlsParts { fd, state, bytes }, pieces) = stream.into_parts()?;
                Ok((Parts { fd, tls: Some((state, bytes)) }, pieces))
            }
            Self::Tcp(_) | Self::Unix(_) => {
                Ok((Parts { fd: self.into_fd()?, tls: None }, Vec::new()))
            }
        }
    }

    /// Takes it out of this runtime, with its memory that is in an arena; the rest of it is lost.
    pub fn into_pieces(self) -> io::Result<(OwnedFd, Vec<Piece>)> {
        match self {
            Self::Tls(stream) => stream.into_pieces(),
            Self::Tcp(_) | Self::Unix(_) => Ok((self.into_fd()?, Vec::new())),
        }
    }

    /// Puts a stream together that was taken apart, here or elsewhere.
    pub fn from_parts(parts: Parts) -> io::Result<Self> {
        let Parts { fd, tls } = parts;
        match tls {
            None => Self::from_fd(fd),
            Some((state, bytes)) => {
                let stream = TlsStream::from_parts(TlsParts { fd, state, bytes })?;
                Ok(Self::Tls(Box::new(stream)))
            }
        }
    }

    /// The TLS session, if there is one.
    pub fn tls(&self) -> Option<&TlsStream> {
        match self {
            Self::Tls(stream) => Some(stream),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// The same, to be used step by step.
    pub fn tls_mut(&mut self) -> Option<&mut TlsStream> {
        match self {
            Self::Tls(stream) => Some(stream),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Whether nobody between the two ends can listen: TLS, or no network at all.
    pub fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Unix(_))
    }

    /// Whether it is a Unix socket, perhaps with TLS.
    pub fn is_unix(&self) -> bool {
        self.unix().is_some()
    }

    /// The user that the other end ran as when it connected, or listened; None for TCP.
    pub fn peer_uid(&self) -> Option<u32> {
        self.unix()?.peer_cred().ok().map(|peer| peer.uid())
    }

    fn unix(&self) -> Option<&UnixStream> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(stream) => Some(stream),
            Self::Tls(stream) => stream.socket().unix(),
        }
    }

    /// Sets NODELAY and keepalive. Of no effect on a Unix socket.
    pub fn tune(&self, keepalive: Keepalive) -> io::Result<()> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Unix(_) => return Ok(()),
            Self::Tls(stream) => return stream.socket().tune(keepalive),
        };
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
            Self::Tls(stream) => stream.socket().is_tuned(),
        }
    }

    /// The other end's address; None for Unix sockets.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok().map(canonical),
            Self::Unix(_) => None,
            Self::Tls(stream) => stream.socket().peer(),
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
            Self::Tls(stream) => stream.socket().route(),
        }
    }

    /// Ready when a read may find something. TLS may have read ahead: it always is.
    #[inline]
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error is for the read to find.
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx).map(drop),
            Self::Unix(stream) => stream.poll_read_ready(cx).map(drop),
            Self::Tls(_) => Poll::Ready(()),
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
            Self::Tls(stream) => return stream.poll_read(cx, buffer),
        })?;
        Poll::Ready(Ok(target.filled().len()))
    }

    /// Writes as much of `bytes` as the socket takes; TLS may hold on to what it has taken until
    /// [`Stream::poll_flush`]. Cancel safe.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// Ready when the socket has everything that was taken by a write. Cancel safe.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Sends FIN, with TLS behind close_notify; reading goes on.
    pub fn shutdown_write(&mut self) {
        if let Self::Tls(stream) = self {
            return stream.shutdown_write();
        }
        // A peer that is gone already makes this fail, which changes nothing.
        let _ = SockRef::from(&self.as_fd()).shutdown(std::net::Shutdown::Write);
    }

    /// Ends the connection for everybody who holds a duplicate of it: closing this one would end it
    /// only once the last is closed.
    pub fn shutdown_both(&mut self) {
        // A peer that is gone already makes this fail, which changes nothing.
        let _ = SockRef::from(&self.as_fd()).shutdown(std::net::Shutdown::Both);
    }
}

/// A v4 client of a v6 socket has its v4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.as_fd(),
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

tokio_io!(Stream, poll_write);
