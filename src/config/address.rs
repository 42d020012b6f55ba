//! Where the proxy listens, and where servers are, as people write it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::serde_by_text;

/// `IP:PORT` or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// TCP, v4 or v6.
    Tcp(SocketAddr),
    /// A Unix socket in the file system.
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = unix_path(text)? {
            return Ok(Self::Unix(path));
        }
        let expected = "expected IP:PORT, [IPv6]:PORT or unix:/PATH";
        text.parse().map(Self::Tcp).map_err(|_| format!("'{text}': {expected}"))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `HOST:PORT` or `unix:/PATH` of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// TCP; the host is resolved at each connect.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = unix_path(text)? {
            return Ok(Self::Unix(path));
        }
        let expected = || format!("'{text}': expected HOST:PORT, [IPv6]:PORT or unix:/PATH");
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(expected)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(expected());
        }
        Ok(Self::Tcp { host: host.into(), port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

serde_by_text!(ListenAddress, "IP:PORT, [IPv6]:PORT or unix:/PATH");
serde_by_text!(ServerAddress, "HOST:PORT, [IPv6]:PORT or unix:/PATH");

/// The path of a Unix socket; None if it is another address.
fn unix_path(text: &str) -> Result<Option<PathBuf>, String> {
    let Some(path) = text.strip_prefix("unix:") else { return Ok(None) };
    // sun_path holds 108 bytes with the final NUL.
    if !path.starts_with('/') || path.len() > 107 {
        return Err(format!("'{text}': expected unix:/PATH of at most 107 bytes"));
    }
    Ok(Some(path.into()))
}
