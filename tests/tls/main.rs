//! TLS, with rustls as the oracle on the other side.

mod malformed;
mod openssl;
mod records;
mod settings;
mod streams;
mod support;
