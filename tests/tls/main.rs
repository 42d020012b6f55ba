//! TLS, with rustls as the oracle on the other side.

mod answers;
mod forger;
mod garbage;
mod graveyard;
mod malformed;
mod openssl;
#[path = "../support/pki.rs"]
#[allow(dead_code)]
mod pki;
mod records;
mod settings;
mod streams;
mod support;
mod version_1;
mod wiped;
