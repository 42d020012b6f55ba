//! Log-ins: every plugin, with TLS on either leg, both or none; each session lives over restarts.

#[path = "../support/mod.rs"]
mod support;

mod checks;
mod first;
mod impersonation;
mod malformed;
mod matrix;
mod refusals;
