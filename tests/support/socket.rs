//! A client's connection: TCP, a Unix socket, or TLS by stock rustls.

use std::io::{Error, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::anybody::Anybody;

/// The only suite that clients speak, if `ODP_TEST_TLS_SUITE` names one as rustls does.
pub(crate) fn wanted_suite() -> Option<String> {
    std::env::var("ODP_TEST_TLS_SUITE").ok()
}

/// A connection.
pub(crate) enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// TLS from here on, with whoever is there, 1.2 if no other is to be; the handshake is over
    /// when this returns.
    pub(crate) fn into_tls(self, is_12: bool) -> std::io::Result<Self> {
        let Self::Tcp(mut stream) = self else { panic!("TLS over TCP only") };
        let mut provider = default_provider();
        if let Some(wanted) = wanted_suite() {
            provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()) == wanted);
        }
        if is_12 {
            provider
                .cipher_suites
                .retain(|suite| !format!("{:?}", suite.suite()).starts_with("TLS13_"));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(Arc::new(config), name);
        let mut client = client.expect("a config without faults");
        while client.is_handshaking() {
            client.complete_io(&mut stream)?;
        }
        Ok(Self::Tls(Box::new(StreamOwned::new(client, stream))))
    }

    /// Whether a server takes it for secure.
    pub(crate) fn is_secure(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }

    /// As `Read`.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    /// As `Write`, with a flush.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Sends FIN, with TLS behind close_notify.
    pub(crate) fn half_close(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
                stream.sock.shutdown(Shutdown::Write)
            }
        }
    }

    /// The TCP socket itself.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(_) => panic!("not a TCP connection"),
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Asks the other side for new keys, and takes new ones for what is written from now on.
    pub(crate) fn update_keys(&mut self) -> std::io::Result<()> {
        let Self::Tls(stream) = self else { panic!("no TLS") };
        stream.conn.refresh_traffic_keys().map_err(Error::other)?;
        stream.flush()
    }
}
