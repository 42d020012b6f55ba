//! The ledger of restart tasks: newest first, bounded, carried from generation to generation.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::task::{Mode, Phase, Task, TaskState};

/// Tasks that are remembered.
const LONGEST: usize = 64;

/// The tasks of this process and its predecessors.
#[derive(Debug, Default)]
pub struct Ledger {
    tasks: VecDeque<Task>,
    /// The tasks that this process runs, and since when: a restart, and perhaps a rehearsal that
    /// has not noticed it yet.
    running: Vec<(u64, Instant)>,
}

impl Ledger {
    /// Opens a task of this process.
    pub fn begin(&mut self, mode: Mode, generation: u64, now: Instant) -> u64 {
        let task_id = self.tasks.front().map_or(1, |newest| newest.task_id + 1);
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.running.push((task_id, now));
        self.put(Task {
            task_id,
            mode,
            state: TaskState::InProgress,
            phase: Phase::Preflight,
            generation,
            old_pid: std::process::id(),
            new_pid: 0,
            started_at_ms: epoch.as_millis() as u64,
            elapsed_ms: 0,
            sessions: 0,
            moved: 0,
            draining: 0,
            in_transaction: 0,
            disconnected: 0,
            detail: String::new(),
        });
        task_id
    }

    /// Changes a task; closes it if its state says so.
    pub fn update(&mut self, task_id: u64, change: impl FnOnce(&mut Task)) {
        let elapsed = self.elapsed(task_id, Instant::now());
        let Some(task) = self.tasks.iter_mut().find(|task| task.task_id == task_id) else { return };
        if let Some(elapsed) = elapsed {
            task.elapsed_ms = elapsed;
        }
        change(task);
        if task.state != TaskState::InProgress {
            self.running.retain(|(running, _)| *running != task_id);
        }
    }

    /// Puts a task in its place, or replaces it.
    pub fn put(&mut self, task: Task) {
        if let Some(known) = self.tasks.iter_mut().find(|known| known.task_id == task.task_id) {
            *known = task;
            return;
        }
        let at = self.tasks.iter().position(|known| known.task_id < task.task_id);
        self.tasks.insert(at.unwrap_or(self.tasks.len()), task);
        self.tasks.truncate(LONGEST);
    }

    /// All of them, newest first.
    pub fn rows(&self, now: Instant) -> Vec<Task> {
        let row = |task: &Task| {
            let elapsed_ms = self.elapsed(task.task_id, now).unwrap_or(task.elapsed_ms);
            Task { elapsed_ms, ..task.clone() }
        };
        self.tasks.iter().map(row).collect()
    }

    /// One of them.
    pub fn task(&self, task_id: u64, now: Instant) -> Option<Task> {
        self.rows(now).into_iter().find(|task| task.task_id == task_id)
    }

    fn elapsed(&self, task_id: u64, now: Instant) -> Option<u64> {
        let (_, since) = self.running.iter().find(|(running, _)| *running == task_id)?;
        Some(now.saturating_duration_since(*since).as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_newest_first_bounded_and_numbered_across_generations() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        for expected in 1..=100 {
            assert_eq!(ledger.begin(Mode::Restart, expected + 1, now), expected);
            ledger.update(expected, |task| task.state = TaskState::Failed);
        }
        let rows = ledger.rows(now);
        assert_eq!((rows.len(), rows[0].task_id, rows[63].task_id), (64, 100, 37));
        let mut next = Ledger::default();
        rows.into_iter().for_each(|task| next.put(task));
        assert_eq!(next.begin(Mode::Force, 7, now), 101);
        assert_eq!(next.rows(now)[1].task_id, 100);
    }
}
