//! What a test's two legs have besides packets: compression, TLS.

use super::tunnel::{Compression, Tunnel};

/// What both legs have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Legs {
    /// The client's compression: it comes through a tunnel.
    pub client: Option<Compression>,
    /// The server's.
    pub server: Option<Compression>,
    /// TLS to the server, and to those clients that ask for it.
    pub tls: bool,
}

impl Legs {
    /// As `ODP_TEST_COMPRESSION` says: plain ones, if it says nothing.
    pub(crate) fn wanted() -> Self {
        let Some(text) = std::env::var_os("ODP_TEST_COMPRESSION") else { return Self::default() };
        let text = text.to_str().expect("CLIENT/SERVER").to_owned();
        let (client, server) = text.split_once('/').expect("CLIENT/SERVER");
        let leg = |name| match name {
            "off" => None,
            "zlib" => Some(Compression::Zlib),
            "zstd" => Some(Compression::Zstd(3)),
            other => panic!("{other}: expected off, zlib or zstd"),
        };
        Self { client: leg(client), server: leg(server), tls: false }
    }

    /// The way in front of a proxy.
    pub(crate) fn entrance(self, address: &str) -> Entrance {
        match self.client {
            Some(how) => Entrance::Tunnel(Tunnel::start(address.to_owned(), how)),
            None => Entrance::Direct(address.to_owned()),
        }
    }

    /// Lines for `[proxy]`.
    pub(crate) fn lines(self) -> String {
        match self.server {
            None => String::new(),
            Some(Compression::Zlib) => "server_compression = 'zlib'\n".into(),
            Some(Compression::Zstd(level)) => {
                format!("server_compression = 'zstd'\nzstd_level = {level}\n")
            }
        }
    }
}

/// How clients come to a proxy.
pub(crate) enum Entrance {
    /// They connect to it.
    Direct(String),
    /// They connect to a tunnel before it.
    Tunnel(Tunnel),
}

impl Entrance {
    /// Where they connect.
    pub(crate) fn address(&self) -> &str {
        match self {
            Self::Direct(address) => address,
            Self::Tunnel(tunnel) => &tunnel.address,
        }
    }

    /// See [`Tunnel::check`].
    pub(crate) fn check(&self) {
        if let Self::Tunnel(tunnel) = self {
            tunnel.check();
        }
    }
}
