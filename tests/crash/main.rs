//! A proxy that is killed: its sessions go on in the process that comes after it.

#[path = "../support/mod.rs"]
mod support;

#[cfg(target_arch = "x86_64")]
mod campaign;
#[cfg(feature = "crash-points")]
mod hanging;
#[cfg(feature = "crash-points")]
mod keeperless;
mod killed;
mod memory;
mod on_the_way;
#[cfg(feature = "crash-points")]
mod poison;
#[cfg(feature = "crash-points")]
mod restarting;
mod scene;
#[cfg(target_arch = "x86_64")]
mod stepping;
#[cfg(target_arch = "x86_64")]
mod tracer;
