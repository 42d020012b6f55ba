//! TLS that moves: rustls shakes hands, then the record layer is ours, in every process alike.
//!
//! ```text
//!   settings ─► handshake (rustls) ─► record (keys, message, alert) ◄─► stream (buffer, socket)
//!                                          │
//!                                          ▼
//!                                     TlsState ─► another process
//! ```
//!
//! Keys are zeroized when dropped and never shown; what rustls frees of a handshake is not in our
//! hands. The process forbids core dumps and debuggers (PR_SET_DUMPABLE) where it starts.
//!
//! Left to rustls: extended_master_secret (RFC 7627), which resumption hangs on; record_size_limit
//! (RFC 8449), which it does not negotiate, so that a record has up to 2^14 bytes; early data,
//! which is off.

pub mod alert;
mod certificate;
pub mod fuzz;
pub mod handshake;
pub mod kept;
pub mod keys;
pub mod message;
pub mod record;
pub mod settings;
pub mod stream;
pub mod validity;
mod verify;
pub mod wiped;
