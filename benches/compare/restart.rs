//! Restarts with thousands of sessions: who lives, how long each stands still, what it takes.
//!
//! One proxy goes through several restarts; figures are medians of them and the worst. A last one
//! is watched for memory, whose measuring would disturb the others.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::Client;
use crate::crowd::{Crowd, Muster};
use crate::machine::Database;
use crate::process::{Heir, carrier, cpu, is_alive, proportional_kib, wait_for};
use crate::proxies::{ADMIN, Kind, Proxy};
use crate::{Figures, Outcome, Scale};

/// For a restart to be over, the end of the predecessor included.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before a restart, for the longest wait of an active session without one.
const CALM: Duration = Duration::from_secs(1);

/// Between two looks at the memory of both processes.
const LOOK: Duration = Duration::from_millis(3);

/// What is measured of each restart, by the names of its median and of its worst.
const FIGURES: [(&str, &str); 13] = [
    ("pause p50 us", "  worst"),
    ("pause p99 us", "  worst "),
    ("pause max us", "  worst  "),
    ("longest wait in it ms", "  worst   "),
    ("longest wait before ms", "  worst    "),
    ("first canary to last session ms", "  worst     "),
    ("RESTART to last session ms", "  worst      "),
    ("RESTART to accepting ms", "  worst       "),
    ("RESTART to old one gone - probation", "  worst        "),
    ("server connects caused", "  worst         "),
    ("sessions not moved", "  worst          "),
    ("connections disturbed", "  worst           "),
    ("CPU of both us/session", "  worst            "),
];

/// One restart after another, with a crowd.
pub(crate) fn restart(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    if !kind.restarts() {
        return Ok(Vec::new());
    }
    through_restarts(kind.start(database)?, database, scale)
}

/// The same with a crowd that speaks TLS.
pub(crate) fn restart_with_tls(kind: &Kind, database: &Database, scale: Scale) -> Outcome<Figures> {
    if !kind.restarts() {
        return Ok(Vec::new());
    }
    through_restarts(kind.start_with_tls(database)?, database, scale)
}

fn through_restarts(proxy: Proxy, database: &Database, scale: Scale) -> Outcome<Figures> {
    // Successors are ours then, and what they have used can be seen when they have ended.
    nix::sys::prctl::set_child_subreaper(true)?;
    let crowd = Crowd::gather(&proxy, scale.sessions, scale.rest)?;
    let mut heir = Heir(proxy.main_pid().ok_or("no process")?);
    let mut restarts = Vec::new();
    for _ in 0..scale.restarts.max(1) {
        restarts.push(one_restart(&proxy, &crowd, database, &mut heir)?);
    }
    let mut figures = Figures::new();
    for (at, (name, worst)) in FIGURES.into_iter().enumerate() {
        let mut values: Vec<f64> = restarts.iter().map(|restart| restart[at]).collect();
        values.sort_by(f64::total_cmp);
        figures.push((name, values[(values.len() - 1) / 2]));
        figures.push((worst, values[values.len() - 1]));
    }
    figures.extend(memory(&proxy, &mut heir)?);
    figures.extend(classes(&crowd.muster(database)?));
    Ok(figures)
}

fn one_restart(
    proxy: &Proxy,
    crowd: &Crowd,
    database: &Database,
    heir: &mut Heir,
) -> Outcome<[f64; FIGURES.len()]> {
    let mut observer = database.client()?;
    let mut admin = Client::connect(proxy.admin, ADMIN)?;
    crowd.start_watch();
    std::thread::sleep(CALM);
    let calm = crowd.longest_wait()?;
    let connects = "SHOW GLOBAL STATUS LIKE 'Connections'";
    let (before, logged) = (observer.number(connects)?, proxy.log()?.len());
    crowd.start_watch();
    let probation = probation(&mut admin)?;
    let (old, used) = (carrier(heir.0), cpu(carrier(heir.0))?);
    let (start, asked) = (Instant::now(), second_of_day()?);
    admin.rows("RESTART")?;
    let gone = end_of(heir.0, start)?.saturating_sub(probation);
    let task = Task::newest(proxy)?;
    heir.0 = task.number("new_pid")? as u32;
    // Whoever has ended is not waited for yet.
    let both = cpu(old)?.saturating_sub(used) + cpu(carrier(heir.0))?;
    let wait = crowd.longest_wait()?;
    let log = proxy.log()?;
    let since = |phase: &str| milliseconds(asked, second_of(&log[logged..], phase)?);
    let over = since("phase=ACCEPT")?;
    Ok([
        task.number("pause_p50_us")?,
        task.number("pause_p99_us")?,
        task.number("pause_max_us")?,
        wait.as_secs_f64() * 1e3,
        calm.as_secs_f64() * 1e3,
        over - since("phase=CANARY")?,
        over,
        since("state=DRAINING")?,
        gone.as_secs_f64() * 1e3,
        observer.number(connects)? - before,
        crowd.len() as f64 - task.number("moved")?,
        crowd.disturbed() as f64,
        both.as_secs_f64() * 1e6 / crowd.len() as f64,
    ])
}

/// One more, and how much memory both processes have together at most, against one before.
fn memory(proxy: &Proxy, heir: &mut Heir) -> Outcome<Figures> {
    let mut admin = Client::connect(proxy.admin, ADMIN)?;
    let before = proportional_kib(carrier(heir.0))?;
    let predecessor = carrier(heir.0);
    admin.rows("RESTART")?;
    let successor = Task::newest(proxy)?.number("new_pid")? as u32;
    let (start, mut peak) = (Instant::now(), 0);
    while is_alive(predecessor) && start.elapsed() < PATIENCE {
        // One of them may end between the two looks.
        let (old, new) = (proportional_kib(predecessor), proportional_kib(carrier(successor)));
        peak = peak.max(old.unwrap_or_default() + new.unwrap_or_default());
        std::thread::sleep(LOOK);
    }
    end_of(predecessor, start)?;
    heir.0 = Task::newest(proxy)?.number("new_pid")? as u32;
    let after = proportional_kib(carrier(heir.0))?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    Ok(vec![
        ("memory before MiB", mib(before)),
        ("memory of both at the peak MiB", mib(peak)),
        ("  above 1.5 x before + 64 MiB", mib(peak) - 1.5 * mib(before) - 64.0),
        ("memory after MiB", mib(after)),
    ])
}

fn classes(muster: &Muster) -> Figures {
    const NAMES: [(&str, &str); 4] = [
        ("idle sessions", "  preserved %"),
        ("sessions in a transaction", "  preserved % "),
        ("sessions in a long statement", "  preserved %  "),
        ("active sessions", "  preserved %   "),
    ];
    let classes = NAMES.into_iter().zip(muster.expected.into_iter().zip(muster.present));
    let figures = classes.flat_map(|((name, share), (expected, present))| {
        let preserved = 100.0 * present as f64 / expected.max(1) as f64;
        [(name, expected as f64), (share, preserved)]
    });
    figures.collect()
}

/// How long after `start` a process was gone. Looks often: a few milliseconds matter.
fn end_of(pid: u32, start: Instant) -> Outcome<Duration> {
    while is_alive(pid) {
        if start.elapsed() > PATIENCE {
            return Err(format!("the predecessor {pid} does not end").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(start.elapsed())
}

/// How long the predecessor stays on purpose; a build that knows of no probation does not.
fn probation(admin: &mut Client) -> Outcome<Duration> {
    let rows = admin.named_rows("SHOW PROXYCONFIG LIKE 'hot_upgrade_probation'")?;
    let value = rows.into_iter().flatten().find(|(column, _)| column == "value");
    Ok(value.map_or(Ok(Duration::ZERO), |(_, value)| humantime::parse_duration(&value))?)
}

/// A row of SHOW RESTART.
struct Task(Vec<(String, String)>);

impl Task {
    /// The newest, as whoever serves now knows it.
    fn newest(proxy: &Proxy) -> Outcome<Self> {
        wait_for("SHOW RESTART", PATIENCE, || {
            let mut admin = Client::connect(proxy.admin, ADMIN)?;
            let task = admin.named_rows("SHOW RESTART")?.into_iter().next();
            let task = Self(task.ok_or("no task")?);
            if task.text("state") == Some("FAILED") {
                return Err(format!("the restart failed: {:?}", task.0).into());
            }
            // While it is under way there is nobody yet, for a moment.
            if task.number("new_pid")? > 0.0 { Ok(task) } else { Err("no successor".into()) }
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(column, _)| column == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Outcome<f64> {
        let text = self.text(name).ok_or_else(|| format!("SHOW RESTART: no {name}"))?;
        Ok(text.parse()?)
    }
}

/// Seconds since midnight, UTC, as the log has them.
fn second_of_day() -> Outcome<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() % 86400.0)
}

/// When the first line with this text was written: `2026-01-31T23:59:59.123456Z …`.
fn second_of(log: &str, text: &str) -> Outcome<f64> {
    let line = log.lines().find(|line| line.contains(text)).ok_or_else(|| format!("no {text}"))?;
    let (_, rest) = line.split_once('T').ok_or("a line without a time")?;
    let (clock, _) = rest.split_once('Z').ok_or("a line without a time")?;
    clock.split(':').try_fold(0.0, |sum, part| Ok(sum * 60.0 + part.parse::<f64>()?))
}

fn milliseconds(from: f64, to: f64) -> Outcome<f64> {
    Ok((to - from).rem_euclid(86400.0) * 1e3)
}
