//! A connected socket, perhaps with TLS, that can be taken out of the runtime at any instant.
//!
//! A plain one is its [`Socket`]. TLS has state, which [`Stream::into_parts`] gives out with it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

use super::proxy_header::Route;
use super::socket::{Keepalive, Socket, tokio_io};
use super::tls::handshake::HandshakeError;
use super::tls::settings::{Acceptor, Connector};
use super::tls::stream::{Parts as TlsParts, TlsState, TlsStream};
use crate::buffer::arena::Piece;

/// A connected socket, perhaps with TLS.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(Socket),
    /// With it.
    Tls(Box<TlsStream>),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(Socket::Tcp(stream))
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Plain(Socket::Unix(stream.into()))
    }
}

/// A stream taken apart: the socket, and for TLS its state and the bytes in it.
#[derive(Debug)]
pub struct Parts {
    /// The socket.
    pub fd: OwnedFd,
    /// The TLS session, if there is one, and its bytes.
    pub tls: Option<(TlsState, Vec<u8>)>,
}

impl Stream {
    /// Puts a socket that came from elsewhere into this runtime.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        Socket::from_fd(fd).map(Self::Plain)
    }

    /// Takes a plain socket out of this runtime, as [`Socket::into_fd`]. Fails on TLS, whose state
    /// would be lost.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        self.into_socket()?.into_fd()
    }

    fn into_socket(self) -> io::Result<Socket> {
        match self {
            Self::Plain(socket) => Ok(socket),
            Self::Tls(_) => {
                let error = "a TLS session is more than its socket";
                Err(io::Error::new(io::ErrorKind::InvalidInput, error))
            }
        }
    }

    /// TLS over it, as a server; `early` is what was read behind the request for it.
    pub async fn accept_tls(
        self,
        acceptor: &Acceptor,
        early: &[u8],
        limit: Duration,
    ) -> Result<Self, HandshakeError> {
        let accepted = TlsStream::accept(self.into_socket()?, acceptor, early, limit).await?;
        Ok(Self::Tls(Box::new(accepted)))
    }

    /// TLS over it, as a client.
    pub async fn connect_tls(
        self,
        connector: &Connector,
        name: ServerName<'static>,
        limit: Duration,
    ) -> Result<Self, HandshakeError> {
        let connected = TlsStream::connect(self.into_socket()?, connector, name, limit).await?;
        Ok(Self::Tls(Box::new(connected)))
    }

    /// Takes it out of this runtime, with what is needed to go on elsewhere, and its memory that is
    /// in an arena.
    pub fn into_parts(self) -> io::Result<(Parts, Vec<Piece>)> {
        match self {
            Self::Tls(stream) => {
                let (TlsParts { fd, state, bytes }, pieces) = stream.into_parts()?;
                Ok((Parts { fd, tls: Some((state, bytes)) }, pieces))
            }
            Self::Plain(socket) => Ok((Parts { fd: socket.into_fd()?, tls: None }, Vec::new())),
        }
    }

    /// Takes it out of this runtime, with its memory that is in an arena; the rest of it is lost.
    pub fn into_pieces(self) -> io::Result<(OwnedFd, Vec<Piece>)> {
        match self {
            Self::Tls(stream) => stream.into_pieces(),
            Self::Plain(socket) => Ok((socket.into_fd()?, Vec::new())),
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
            Self::Plain(_) => None,
        }
    }

    /// The same, to be used step by step.
    pub fn tls_mut(&mut self) -> Option<&mut TlsStream> {
        match self {
            Self::Tls(stream) => Some(stream),
            Self::Plain(_) => None,
        }
    }

    /// The socket, for its options and addresses.
    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// Whether nobody between the two ends can listen: TLS, or no network at all.
    pub fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_)) || self.is_unix()
    }

    /// Whether it is a Unix socket, perhaps with TLS.
    pub fn is_unix(&self) -> bool {
        self.socket().unix().is_some()
    }

    /// The user that the other end ran as when it connected, or listened; None for TCP.
    pub fn peer_uid(&self) -> Option<u32> {
        self.socket().unix()?.peer_cred().ok().map(|peer| peer.uid())
    }

    /// See [`Socket::give`].
    pub fn give(&self) {
        self.socket().give();
    }

    /// See [`Socket::take`].
    pub fn take(&self) {
        self.socket().take();
    }

    /// See [`Socket::tune`].
    pub fn tune(&self, keepalive: Keepalive) -> io::Result<()> {
        self.socket().tune(keepalive)
    }

    /// See [`Socket::is_tuned`].
    pub fn is_tuned(&self) -> bool {
        self.socket().is_tuned()
    }

    /// The other end's address; None for Unix sockets.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.socket().peer()
    }

    /// Both ends' addresses; None for Unix sockets.
    pub fn route(&self) -> Option<Route> {
        self.socket().route()
    }

    /// Ready when a read may find something. TLS may have read ahead: it always is.
    #[inline]
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(socket) => socket.poll_readable(cx),
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
        match self {
            Self::Plain(socket) => socket.poll_read(cx, buffer),
            Self::Tls(stream) => stream.poll_read(cx, buffer),
        }
    }

    /// Writes as much of `bytes` as the socket takes; TLS may hold on to what it has taken until
    /// [`Stream::poll_flush`]. Cancel safe.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write(cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// Ready when the socket has everything that was taken by a write. Cancel safe.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_flush(cx),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Sends FIN, with TLS behind close_notify; reading goes on.
    pub fn shutdown_write(&mut self) {
        match self {
            Self::Plain(socket) => socket.shutdown_write(),
            Self::Tls(stream) => stream.shutdown_write(),
        }
    }

    /// Ends the connection for everybody who holds a duplicate of it: closing this one would end it
    /// only once the last is closed.
    pub fn shutdown_both(&mut self) {
        // A peer that is gone already makes this fail, which changes nothing.
        let _ = SockRef::from(&self.as_fd()).shutdown(std::net::Shutdown::Both);
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) => socket.as_fd(),
            Self::Tls(stream) => stream.as_fd(),
        }
    }
}

tokio_io!(Stream, poll_write);
