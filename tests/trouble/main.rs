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

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Login, Proxy, Wire, skip, until};

/// The program, which sees a file in the place of another one.
const SCRIPT: &str = "#!/bin/sh\nexec unshare --mount sh -c '\
    mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"' sh 'FILE' 'PLACE' 'ODP' \"$@\"\n";

/// The program under test as a script there, to which this file is the one of the system at
/// `place`; None: that cannot be.
fn seeing(dir: &Path, file: &Path, place: &str) -> Option<PathBuf> {
    let script = dir.join("odp");
    let text = SCRIPT.replace("FILE", file.to_str().expect("UTF-8")).replace("PLACE", place);
    let text = text.replace("ODP", env!("CARGO_BIN_EXE_odp"));
    std::fs::write(&script, text).expect("the directory is ours");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, executable).expect("the file is ours");
    let can = std::process::Command::new(&script).arg("--version").output();
    if !can.is_ok_and(|output| output.status.success()) {
        skip("unshare --mount does not work here (it needs root)");
        return None;
    }
    Some(script)
}

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
