//! TLS that moves: rustls shakes hands, then the record layer is ours, in every process alike.
//!
//! ```text
//!   settings ─► handshake (rustls) ─► record (keys, message, alert) ◄─► stream (tray, socket)
//!                                          │
//!                                          ▼
//!                                     TlsState ─► another process
//! ```
//!
//! Keys are zeroized when dropped and never shown. The process forbids core dumps and debuggers
//! (PR_SET_DUMPABLE) where it starts.

pub mod alert;
pub mod fuzz;
pub mod handshake;
pub mod keys;
pub mod message;
pub mod record;
pub mod settings;
pub mod stream;
mod tray;
pub mod validity;
mod verify;
