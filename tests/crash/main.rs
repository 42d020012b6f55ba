//! A proxy that is killed: its sessions go on in the process that comes after it.

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "crash-points")]
mod hanging;
mod killed;
#[cfg(feature = "crash-points")]
mod poison;
mod scene;
