//! Bytes and sockets. No MySQL in here: listen, accept, dial, streams, TLS, buffers.

pub mod dial;
pub mod listen;
pub mod private;
pub mod proxy_header;
pub mod socket;
pub mod stream;
pub mod tls;
