//! What a client sends first: perhaps, before its first packet, a PROXY header by whoever connects
//! on its behalf.
//!
//! As MariaDB does it: everybody is greeted at once, and the first bytes of the answer tell. They
//! cannot be a packet, which would have the number 1 where a header has `X` or a line feed; so
//! nobody needs a port of his own. Who is not trusted with a header is refused, not ignored: it is
//! a balancer that was not listed, and its clients would be taken for one.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncRead;

use crate::config::networks::Networks;
use crate::error::ClientError;
use crate::net::proxy_header::{self, Header};
use crate::proxy::handshake::packet_reader::read_more;

/// The first bytes of a client.
#[derive(Debug)]
pub struct Preamble {
    /// The header, if there is one.
    pub header: Option<Header>,
    /// What was read behind it.
    pub rest: Vec<u8>,
}

impl Preamble {
    /// The client's address as it is shown; None: it is the peer's own.
    pub fn client(&self) -> Option<String> {
        self.header.and_then(Header::client)
    }
}

/// Why a client gets no further.
#[derive(Debug)]
pub enum PreambleError {
    /// It is told so.
    Refused(ClientError),
    /// It is gone.
    Gone(io::Error),
}

/// Reads a client's first bytes, of which these are known.
///
/// Usually one system call. Waits for ever: the log-in has a deadline.
pub async fn read_preamble<S: AsyncRead + Unpin>(
    stream: &mut S,
    early: Vec<u8>,
    networks: &Networks,
    peer: Option<SocketAddr>,
) -> Result<Preamble, PreambleError> {
    let trusted = networks.contain(peer.map(|peer| peer.ip()));
    let mut rest = early;
    loop {
        if rest.is_empty() || is_cut(&rest) {
            read_more(stream, &mut rest).await.map_err(PreambleError::Gone)?;
        }
        if !trusted && proxy_header::is_signed(&rest) {
            let from = peer.map_or_else(|| "localhost".into(), |peer| peer.ip().to_string());
            return Err(PreambleError::Refused(ClientError::proxy_header_not_accepted(&from)));
        }
        match proxy_header::parse(&rest) {
            Ok(proxy_header::Opening::More(_)) => {}
            Ok(proxy_header::Opening::Other) => return Ok(Preamble { header: None, rest }),
            Ok(proxy_header::Opening::Header(header, length)) => {
                rest.drain(..length);
                return Ok(Preamble { header: Some(header), rest });
            }
            Err(error) => {
                tracing::info!(?peer, %error, "PROXY header");
                return Err(PreambleError::Refused(ClientError::bad_proxy_header()));
            }
        }
    }
}

/// Whether it takes more bytes to tell what they are.
fn is_cut(bytes: &[u8]) -> bool {
    matches!(proxy_header::parse(bytes), Ok(proxy_header::Opening::More(_)))
}
