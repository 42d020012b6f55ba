//! Trouble around the proxy and in it: a log that cannot be written, tasks that panic, listeners
//! that are taken away, calls that do not return, descriptors that run out, names with addresses
//! that swallow all.

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod descriptors;
mod listeners;
mod log;
mod names;
#[cfg(feature = "crash-points")]
mod panics;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Login, Proxy, Wire, until};

fn open(proxy: &Proxy) -> Wire {
    Wire::open(&proxy.address(), &Login::default()).expect("a session")
}

fn signal(proxy: &Proxy, signal: Signal) {
    kill(Pid::from_raw(proxy.pid() as i32), signal).expect("it lives");
}

/// The value of a metric, by its name with labels.
fn metric(proxy: &Proxy, name: &str) -> Option<u64> {
    let page = proxy.http_get("/metrics")?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line?.trim().parse().ok()
}

/// Stops it, and waits until no generation is left.
fn stop(proxy: &Proxy) {
    signal(proxy, Signal::SIGTERM);
    until("the end of all generations", || proxy.process().living().is_empty().then_some(()));
}
