//! Reads whole packets: only in log-ins, where little is sent and nothing is streamed.
//!
//! Usually one system call a packet. What comes behind the packet is kept: it may be the next one,
//! or not the log-in's at all. It may be a password, too: no copy is left where it passed.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use zeroize::Zeroizing;

use crate::net::tls::wiped;
use crate::wire::packet::{HEADER, Header};

/// More than a packet of a log-in usually has. A read that comes back short also tells the runtime
/// that the socket is empty.
const CHUNK: usize = 1024;

/// A packet with its payload.
#[derive(Debug)]
pub(in crate::proxy) struct Whole {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Takes a packet from the front of `ahead`, reading more behind it as long as it is not whole;
/// None when its header claims more than `limit` bytes. Cancel safe.
///
/// What is left in `ahead` was sent behind the packet: less than a chunk. Memory grows with what is
/// really sent: a claimed length costs nothing.
pub(in crate::proxy) async fn read_packet(
    stream: &mut (impl AsyncRead + Unpin),
    ahead: &mut Vec<u8>,
    limit: usize,
) -> io::Result<Option<Whole>> {
    loop {
        if let Some(header) = Header::parse(ahead) {
            if header.length > limit {
                return Ok(None);
            }
            if ahead.len() >= HEADER + header.length {
                let behind = ahead.split_off(HEADER + header.length);
                let mut payload = std::mem::replace(ahead, behind);
                payload.drain(..HEADER);
                return Ok(Some(Whole { header, payload }));
            }
        }
        read_more(stream, ahead).await?;
    }
}

/// Reads what is there behind what is `ahead`; the end of the stream is an error. Cancel safe.
///
/// Whoever is waited for costs no buffer: it exists while bytes are copied.
pub(in crate::proxy) async fn read_more<S: AsyncRead + Unpin>(
    stream: &mut S,
    ahead: &mut Vec<u8>,
) -> io::Result<()> {
    poll_fn(|cx| {
        let mut chunk = Zeroizing::new([0; CHUNK]);
        let mut space = ReadBuf::new(&mut *chunk);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut space))?;
        Poll::Ready(match space.filled() {
            [] => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                wiped::append(ahead, read);
                Ok(())
            }
        })
    })
    .await
}
