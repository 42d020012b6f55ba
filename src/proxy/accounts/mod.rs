//! Accounts on servers, as far as a proxy knows them.
//!
//! - `credentials`: who logs in to servers for us, and by what.
//! - `impersonation`: whom a server behind a Unix socket lets in.
//! - `taught`: what log-ins have taught of an account, and how that crosses a restart.

pub mod credentials;
pub mod impersonation;
pub(in crate::proxy) mod taught;
