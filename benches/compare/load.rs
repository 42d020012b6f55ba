//! sysbench: CPU per query, and the latency of the same run.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::Client;
use crate::machine::{ACCOUNT, Database, SCHEMA};
use crate::process::Usage;
use crate::proxies::{Kind, Proxy};
use crate::{Figures, Outcome, Scale};

/// How long every session has to connect and prepare, before counting starts.
const WARM_UP: Duration = Duration::from_millis(1500);

/// Between the last count and sysbench's own end.
const MARGIN: Duration = Duration::from_millis(500);

/// Samples a second for the split of user and kernel; no divisor of the kernel's own ticks.
const SAMPLES_PER_SECOND: &str = "3989";

pub(crate) fn point_select_16(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    queries(
        kind,
        database,
        scale.window,
        Load { script: "oltp_point_select", threads: 16, protocol: Protocol::Prepared },
    )
}

pub(crate) fn point_select_256(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    queries(
        kind,
        database,
        scale.window,
        Load { script: "oltp_point_select", threads: 256, protocol: Protocol::Prepared },
    )
}

pub(crate) fn read_write_16(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    queries(
        kind,
        database,
        scale.window,
        Load { script: "oltp_read_write", threads: 16, protocol: Protocol::Prepared },
    )
}

pub(crate) fn read_write_256(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    queries(
        kind,
        database,
        scale.window,
        Load { script: "oltp_read_write", threads: 256, protocol: Protocol::Prepared },
    )
}

/// Point selects of sixteen sessions.
///
/// In texts: of a client that lets its server leave out columns that it knows, as MariaDB's does,
/// prepared statements stay at home.
pub(crate) const POINT_SELECT_16: Load =
    Load { script: "oltp_point_select", threads: 16, protocol: Protocol::Text };

/// CPU that a proxy uses for a query, in microseconds; the server counts the queries.
pub(crate) fn cpu_per_query(
    proxy: &Proxy,
    server: &mut Client,
    window: Duration,
    load: Load,
) -> Outcome<f64> {
    let pid = proxy.pid().ok_or("no process")?;
    let sysbench = under_way(proxy.address, load, window)?;
    let count = "SHOW GLOBAL STATUS LIKE 'Questions'";
    let (before, first) = (Usage::of(pid)?, server.number(count)?);
    std::thread::sleep(window);
    let (after, last) = (Usage::of(pid)?, server.number(count)?);
    sysbench.wait_with_output()?;
    match last - first {
        asked if asked > 0.0 => Ok(after.since(before).cpu.as_secs_f64() * 1e6 / asked),
        _ => Err("no queries were under way: a longer --seconds may do".into()),
    }
}

/// What sysbench is to do.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    script: &'static str,
    threads: usize,
    protocol: Protocol,
}

/// How statements are sent.
#[derive(Clone, Copy)]
enum Protocol {
    /// Prepared once by each session.
    Prepared,
    /// As texts.
    Text,
}

/// Fills the tables.
pub(crate) fn prepare(database: &Database) -> Outcome<()> {
    let load = Load { script: "oltp_read_write", threads: 2, protocol: Protocol::Prepared };
    let output = sysbench(database.address, load).arg("prepare").output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("sysbench prepare: {}", String::from_utf8_lossy(&output.stdout)).into())
}

fn sysbench(address: SocketAddr, load: Load) -> Command {
    let mut command = Command::new("sysbench");
    command
        .arg(load.script)
        .args(["--db-driver=mysql", "--tables=4", "--table-size=25000", "--percentile=99"])
        .arg(format!("--mysql-host={}", address.ip()))
        .arg(format!("--mysql-port={}", address.port()))
        .arg(format!("--mysql-user={}", ACCOUNT.user))
        .arg(format!("--mysql-password={}", ACCOUNT.password))
        .arg(format!("--mysql-db={SCHEMA}"))
        .arg(format!("--threads={}", load.threads));
    if let Protocol::Text = load.protocol {
        command.arg("--db-ps-mode=disable");
    }
    command
}

/// A running sysbench, past its warm-up.
fn under_way(address: SocketAddr, load: Load, window: Duration) -> Outcome<Child> {
    let time = (WARM_UP + window + MARGIN).as_secs_f64().ceil();
    let child = sysbench(address, load)
        .arg(format!("--time={time}"))
        .arg("run")
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    std::thread::sleep(WARM_UP);
    Ok(child)
}

fn queries(kind: &Kind, database: &Database, window: Duration, load: Load) -> Outcome<Figures> {
    let proxy = kind.start(database)?;
    let mut observer = database.client()?;
    let sysbench = under_way(proxy.address, load, window)?;
    // The database counts: every query passed the proxy, and sysbench's own count has no middle.
    let count = "SHOW GLOBAL STATUS LIKE 'Questions'";
    let usage = |pid: Option<u32>| pid.map(Usage::of).transpose();
    let (before, first) = (usage(proxy.pid())?, observer.number(count)?);
    let start = std::time::Instant::now();
    std::thread::sleep(window);
    let (after, last) = (usage(proxy.pid())?, observer.number(count)?);
    let (elapsed, asked) = (start.elapsed().as_secs_f64(), last - first);
    let output = sysbench.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let p99 = number_after(&text, "99th percentile:").ok_or("sysbench: no percentile")?;
    let mut figures = vec![("queries/s", asked / elapsed), ("p99 ms", p99)];
    if let (Some(before), Some(after)) = (before, after) {
        let used = after.since(before);
        figures.push(("CPU us/query", used.cpu.as_secs_f64() * 1e6 / asked));
        figures.push(("sleeps/query", used.sleeps / asked));
    }
    Ok(figures)
}

/// The split of user and kernel comes from sampling, as the kernel's own is too coarse.
pub(crate) fn user_space(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    let window = scale.window;
    let proxy = kind.start(database)?;
    let Some(pid) = proxy.pid() else { return Ok(Vec::new()) };
    let mut observer = database.client()?;
    let load = Load { script: "oltp_point_select", threads: 16, protocol: Protocol::Prepared };
    let sysbench = under_way(proxy.address, load, window)?;
    let count = "SHOW GLOBAL STATUS LIKE 'Questions'";
    let (before, first) = (Usage::of(pid)?, observer.number(count)?);
    let share = user_share(pid, window);
    let (after, last) = (Usage::of(pid)?, observer.number(count)?);
    sysbench.wait_with_output()?;
    let per_query = after.since(before).cpu.as_secs_f64() * 1e6 / (last - first);
    Ok(vec![("user us/query", per_query * share?)])
}

/// How much of a process's time is spent outside the kernel, by perf.
fn user_share(pid: u32, window: Duration) -> Outcome<f64> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("perf.data");
    let recorded = Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", SAMPLES_PER_SECOND, "-o"])
        .arg(&data)
        .args(["-p", &pid.to_string(), "--", "sleep", &window.as_secs().to_string()])
        .output()
        .map_err(|error| format!("perf: {error}"))?;
    if !recorded.status.success() {
        return Err(format!("perf: {}", String::from_utf8_lossy(&recorded.stderr)).into());
    }
    let script = Command::new("perf").args(["script", "-F", "ip", "-i"]).arg(&data).output()?;
    let (mut user, mut all) = (0.0, 0.0);
    for line in String::from_utf8_lossy(&script.stdout).lines() {
        let Ok(address) = u64::from_str_radix(line.trim(), 16) else { continue };
        all += 1.0;
        if address >> 63 == 0 {
            user += 1.0;
        }
    }
    if all == 0.0 { Err("perf: no samples".into()) } else { Ok(user / all) }
}

fn number_after(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}
