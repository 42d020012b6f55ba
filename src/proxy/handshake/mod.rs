//! What log-ins of clients, and ours to servers, have in common. It waits for its peer at most, and
//! knows no session.
//!
//! - `packet_reader`: whole packets.
//! - `compression`: what each leg agrees on before it compresses.
//! - `rsa`: passwords under RSA, ours and the servers' keys.

pub(in crate::proxy) mod compression;
pub(in crate::proxy) mod packet_reader;
pub mod rsa;
