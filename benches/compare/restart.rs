//! From RESTART to the successor accepting.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::machine::Database;
use crate::proxies::{ADMIN, Kind};
use crate::{Figures, Outcome};

/// A successor that is not there by then will not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Idle sessions that are there when the restart is asked for.
const SESSIONS: usize = 100;

/// Asks on a connection made before, and looks at the task until the successor accepts.
pub fn restart(kind: &Kind, database: &Database, _: Duration) -> Outcome<Figures> {
    if !kind.restarts() {
        return Ok(Vec::new());
    }
    let proxy = kind.start(database)?;
    let sessions = (0..SESSIONS).map(|_| proxy.client()).collect::<Outcome<Vec<_>>>()?;
    let mut admin = Client::connect(proxy.admin, ADMIN)?;
    let start = Instant::now();
    admin.rows("RESTART")?;
    let asked = start.elapsed();
    let accepting = loop {
        let phase = phase(&mut admin)?;
        if matches!(phase.as_str(), "DRAIN" | "COMMIT" | "DONE") {
            break start.elapsed();
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("no successor accepts; phase {phase}").into());
        }
        std::thread::sleep(Duration::from_micros(500));
    };
    drop(sessions);
    Ok(vec![
        ("RESTART answered ms", asked.as_secs_f64() * 1e3),
        ("successor accepts ms", accepting.as_secs_f64() * 1e3),
    ])
}

fn phase(admin: &mut Client) -> Outcome<String> {
    let rows = admin.rows("SHOW RESTART")?;
    // task_id, mode, state, phase, …: the newest task first.
    let phase = rows.first().and_then(|row| row.get(3)).and_then(|value| value.clone());
    Ok(phase.ok_or("SHOW RESTART: no task")?)
}
