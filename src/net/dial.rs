//! Connecting to a server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::stream::{Keepalive, Stream};

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A name or an address, and a port. Every address of a name is tried in turn.
    Tcp(String, u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// The name or address that is dialed; None for a Unix socket.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp(host, _) => Some(host),
            Self::Unix(_) => None,
        }
    }
}

/// Connects within `limit`, all addresses together.
pub async fn dial(target: &Target, keepalive: Keepalive, limit: Duration) -> io::Result<Stream> {
    let connect = async {
        match target {
            Target::Tcp(host, port) => {
                TcpStream::connect((host.as_str(), *port)).await.map(Stream::Tcp)
            }
            Target::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
        }
    };
    let stream = tokio::time::timeout(limit, connect).await.map_err(|_| {
        let limit = humantime::format_duration(limit);
        io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit}"))
    })??;
    stream.tune(keepalive)?;
    Ok(stream)
}
