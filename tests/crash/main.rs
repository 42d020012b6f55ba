//! A proxy that is killed: its sessions go on in the process that comes after it.

#[path = "../support/mod.rs"]
mod support;

#[path = "../split/pair.rs"]
#[allow(dead_code, reason = "others do more with it")]
mod pair;

#[cfg(target_arch = "x86_64")]
mod campaign;
#[cfg(feature = "crash-points")]
mod hanging;
mod heirs;
#[cfg(feature = "crash-points")]
mod keeperless;
mod killed;
mod long_frames;
mod memory;
mod on_the_way;
#[cfg(feature = "crash-points")]
mod poison;
#[cfg(feature = "crash-points")]
mod restarting;
mod scene;
mod several;
#[cfg(target_arch = "x86_64")]
mod stepping;
#[cfg(target_arch = "x86_64")]
mod tracer;
