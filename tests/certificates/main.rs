//! What an operator has to do with TLS: turn it on, replace certificates, see what is spoken.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod faults;
mod identity;
mod recipe;
mod reload;
mod scene;
mod shown;
mod versions;
