//! Kills a proxy of this machine, and waits for the process that comes in its place.

use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fleet::port::{AdminPort, Row};

/// How often the next process is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// What a proxy calls itself.
const NAME: &str = "odp";

/// SIGKILL to the process that the port names; the row of SHOW CRASH, once there is one.
pub(super) async fn crash(port: &AdminPort) -> anyhow::Result<Row> {
    if !port.is_here() {
        bail!("admin port {}: expected one of this machine", port.name);
    }
    let proxy = port.proxy().await.with_context(|| format!("admin port {}", port.name))?;
    let pid = proxy.number("pid").context("SHOW PROXYINFO BINARY: no pid")?;
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if comm.trim_end() != NAME {
        bail!("pid {pid} is not a proxy of this machine");
    }
    let process = i32::try_from(pid).ok().filter(|pid| *pid > 1).context("a pid that is none")?;
    kill(Pid::from_raw(process), Signal::SIGKILL).with_context(|| format!("kill {pid}"))?;
    loop {
        if let Some(row) = told_of(port, pid).await {
            return Ok(row);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The crash of this process, if somebody tells of it.
async fn told_of(port: &AdminPort, pid: u64) -> Option<Row> {
    let mut admin = port.connect().await.ok()?;
    let crashes = admin.crashes().await.ok()?;
    let crash = crashes.into_iter().find(|row| row.number("pid") == Some(pid));
    admin.quit().await;
    crash
}
