//! A proxy that is killed: its sessions go on in the process that comes after it.

#[path = "../support/mod.rs"]
mod support;

mod killed;
mod scene;
