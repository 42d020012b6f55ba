//! Reads one whole packet: only in the log-in, where little is sent and nothing is streamed.
//!
//! Usually one system call. What comes behind the packet is kept: it is not the log-in's.

use std::io;

use tokio::io::AsyncReadExt;

use crate::net::stream::Stream;
use crate::wire::packet::{HEADER, Header};

/// More than a greeting or a login response usually has. A read that comes back short also tells
/// the runtime that the socket is empty.
const AT_FIRST: usize = 1024;

/// A packet with its payload.
#[derive(Debug)]
pub struct Whole {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: Vec<u8>,
    /// What came with it: at most as much as the first read asks for.
    pub surplus: Vec<u8>,
}

/// Reads a packet; None when its header claims more than `limit` bytes, or says nothing.
///
/// Memory grows with what is really sent: a claimed length costs nothing.
pub async fn read_packet(stream: &mut Stream, limit: usize) -> io::Result<Option<Whole>> {
    let mut bytes = vec![0; AT_FIRST];
    let mut have = 0;
    loop {
        let n = stream.read(&mut bytes[have..]).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        have += n;
        let Some(header) = Header::parse(&bytes[..have]) else { continue };
        if header.length > limit {
            return Ok(None);
        }
        let end = HEADER + header.length;
        if have >= end {
            bytes.truncate(have);
            let surplus = bytes.split_off(end);
            bytes.drain(..HEADER);
            return Ok(Some(Whole { header, payload: bytes, surplus }));
        }
        if have == bytes.len() {
            bytes.resize((have * 2).min(end), 0);
        }
    }
}
