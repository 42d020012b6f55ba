//! Sessions that go on with another server, and clients that do not notice.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod columns;
mod differential;
mod impersonation;
mod pins;
mod scene;
mod state;
mod swallowed;
mod variables;
