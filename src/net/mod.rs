//! Bytes and sockets. No MySQL in here: listen, accept, dial, streams, buffers.

pub mod buffer;
pub mod dial;
pub mod listen;
pub mod stream;
