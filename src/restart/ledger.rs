//! The ledger of restart tasks: newest first, bounded, carried from generation to generation.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::task::{Generation, Mode, Request, Task, TaskId, TaskState};
use crate::metrics::pauses::Pauses;

/// Tasks that are remembered.
const LONGEST: usize = 64;

/// The tasks of this process and its predecessors.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    tasks: VecDeque<Task>,
    /// The tasks that this process runs, and since when: a restart, and perhaps a rehearsal that
    /// has not noticed it yet.
    running: Vec<(TaskId, Instant)>,
    gauge: Option<Gauge>,
    /// What the newest task was that somebody has asked this process for.
    asked: Option<(TaskId, Request)>,
    /// The newest task that this process takes part in, and what the gauge showed before.
    gauged: Option<(TaskId, Pauses)>,
}

/// Reads how long sessions stood still, for as long as the process lives.
struct Gauge(Box<dyn Fn() -> Pauses + Send>);

impl std::fmt::Debug for Gauge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gauge").field(&self.0()).finish()
    }
}

impl Ledger {
    /// Opens a task of this process, which others know by this pid.
    pub(super) fn begin(
        &mut self,
        pid: u32,
        (mode, generation): (Mode, Generation),
        now: Instant,
    ) -> TaskId {
        let task_id = self.tasks.front().map_or(TaskId(1), |newest| newest.task_id.next());
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.running.push((task_id, now));
        self.gauge_task(task_id);
        let mut task = Task::begun(task_id, mode, generation, pid);
        task.started_at_ms = epoch.as_millis() as u64;
        task.reach(task.phase);
        self.put(task);
        task_id
    }

    /// What was asked for by a task.
    pub(super) fn remember(&mut self, task_id: TaskId, request: Request) {
        self.asked = Some((task_id, request));
    }

    /// The same, if it was the last one, and this process was asked.
    pub(super) fn asked(&self, task_id: TaskId) -> Option<Request> {
        let (_, request) = self.asked.as_ref().filter(|(last, _)| *last == task_id)?;
        Some(request.clone())
    }

    /// The newest of them.
    pub(super) fn newest(&self) -> Option<TaskId> {
        self.tasks.front().map(|task| task.task_id)
    }

    /// From now on pauses are read from here.
    pub(super) fn set_gauge(&mut self, gauge: impl Fn() -> Pauses + Send + 'static) {
        self.gauge = Some(Gauge(Box::new(gauge)));
    }

    /// What the gauge shows beyond what it shows now is this task's, until there is another one. It
    /// does not end with the task: the last session that moved may have to be polled yet.
    pub(super) fn gauge_task(&mut self, task_id: TaskId) {
        let own = self.own_pauses();
        if let Some((before, own)) = own
            && let Some(task) = self.tasks.iter_mut().find(|task| task.task_id == before)
        {
            task.pauses.add(&own);
        }
        let now = self.gauge.as_ref().map(|Gauge(read)| read());
        self.gauged = Some((task_id, now.unwrap_or_default()));
    }

    /// The task that pauses are counted for, and those that this process has counted.
    fn own_pauses(&self) -> Option<(TaskId, Pauses)> {
        let (task_id, before) = self.gauged.as_ref()?;
        let Gauge(read) = self.gauge.as_ref()?;
        Some((*task_id, read().since(before)))
    }

    /// Changes a task; closes it if its state says so.
    pub(super) fn update(&mut self, task_id: TaskId, change: impl FnOnce(&mut Task)) {
        let elapsed = self.elapsed(task_id, Instant::now());
        let Some(task) = self.tasks.iter_mut().find(|task| task.task_id == task_id) else { return };
        if let Some(elapsed) = elapsed {
            task.elapsed_ms = elapsed;
        }
        change(task);
        // Those that came while it was under way, and moved, were not there when it began.
        task.sessions = task.sessions.max(task.moved);
        if task.state != TaskState::InProgress {
            self.running.retain(|(running, _)| *running != task_id);
        }
    }

    /// Puts a task in its place, or replaces it.
    pub(super) fn put(&mut self, task: Task) {
        if let Some(known) = self.tasks.iter_mut().find(|known| known.task_id == task.task_id) {
            *known = task;
            return;
        }
        let at = self.tasks.iter().position(|known| known.task_id < task.task_id);
        self.tasks.insert(at.unwrap_or(self.tasks.len()), task);
        self.tasks.truncate(LONGEST);
    }

    /// All of them, newest first.
    pub(super) fn rows(&self, now: Instant) -> Vec<Task> {
        let own = self.own_pauses();
        let row = |task: &Task| {
            let elapsed_ms = self.elapsed(task.task_id, now).unwrap_or(task.elapsed_ms);
            let mut row = Task { elapsed_ms, ..task.clone() };
            if let Some((_, own)) = own.as_ref().filter(|(gauged, _)| *gauged == task.task_id) {
                row.pauses.add(own);
            }
            row
        };
        self.tasks.iter().map(row).collect()
    }

    /// One of them.
    pub(super) fn task(&self, task_id: TaskId, now: Instant) -> Option<Task> {
        self.rows(now).into_iter().find(|task| task.task_id == task_id)
    }

    fn elapsed(&self, task_id: TaskId, now: Instant) -> Option<u64> {
        let (_, since) = self.running.iter().find(|(running, _)| *running == task_id)?;
        Some(now.saturating_duration_since(*since).as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::metrics::pauses::PauseClock;
    use crate::restart::task::Phase;

    #[test]
    fn tasks_are_newest_first_bounded_and_numbered_across_generations() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        for expected in 1..=100 {
            let task_id = ledger.begin(1, (Mode::Restart, Generation(expected + 1)), now);
            assert_eq!(task_id, TaskId(expected));
            ledger.update(task_id, |task| task.state = TaskState::Failed);
        }
        let rows = ledger.rows(now);
        assert_eq!((rows.len(), rows[0].task_id, rows[63].task_id), (64, TaskId(100), TaskId(37)));
        let mut next = Ledger::default();
        rows.into_iter().for_each(|task| next.put(task));
        assert_eq!(next.begin(1, (Mode::Force, Generation(7)), now), TaskId(101));
        assert_eq!(next.rows(now)[1].task_id, TaskId(100));
    }

    #[test]
    fn no_more_sessions_move_than_there_are() {
        let mut ledger = Ledger::default();
        let task_id = ledger.begin(1, (Mode::Restart, Generation(2)), Instant::now());
        ledger.update(task_id, |task| (task.sessions, task.moved) = (58, 0));
        // Two have come while it was under way.
        ledger.update(task_id, |task| task.moved = task.sessions + 2);
        let task = ledger.rows(Instant::now()).remove(0);
        assert_eq!((task.moved, task.sessions), (60, 60));
        ledger.update(task_id, |task| task.moved = 3);
        assert_eq!(ledger.rows(Instant::now())[0].sessions, 60);
    }

    #[test]
    fn pauses_are_those_of_the_newest_task_until_the_next() {
        let now = Instant::now();
        let clock = Arc::new(PauseClock::default());
        let mut ledger = Ledger::default();
        ledger.begin(1, (Mode::Restart, Generation(2)), now);
        let mut theirs = ledger.rows(now)[0].clone();
        theirs.pauses = pauses(&[300]);
        // Another process: a task arrives, then sessions, then the task again.
        let mut ledger = Ledger::default();
        ledger.put(theirs.clone());
        ledger.gauge_task(theirs.task_id);
        let read = clock.clone();
        ledger.set_gauge(move || read.pauses());
        clock.record(Duration::from_micros(100));
        ledger.put(Task { state: TaskState::Completed, ..theirs });
        clock.record(Duration::from_micros(200));
        assert_eq!(ledger.rows(now)[0].pauses, pauses(&[100, 200, 300]));
        let second = ledger.begin(1, (Mode::Restart, Generation(3)), now);
        clock.record(Duration::from_micros(900));
        ledger.update(second, |task| task.state = TaskState::Failed);
        let rows = ledger.rows(now);
        assert_eq!((rows[0].pauses.count(), rows[0].pauses.sum_us()), (1, 900));
        assert_eq!(rows[1].pauses, pauses(&[100, 200, 300]));
    }

    #[test]
    fn a_task_tells_when_it_came_to_which_phase() {
        let mut ledger = Ledger::default();
        let began = Instant::now();
        let task_id = ledger.begin(1, (Mode::Restart, Generation(2)), began);
        for phase in [Phase::Hello, Phase::Hello, Phase::Warm] {
            ledger.update(task_id, |task| task.reach(phase));
        }
        let task = ledger.rows(Instant::now()).remove(0);
        let phases: Vec<_> = task.phases.iter().map(|reached| reached.phase).collect();
        assert_eq!(phases, [Phase::Preflight, Phase::Hello, Phase::Warm]);
        assert!(task.phases.is_sorted_by_key(|reached| reached.after_ms));
        assert!(task.phases.iter().all(|reached| reached.after_ms <= task.elapsed_ms));
    }

    fn pauses(all_us: &[u64]) -> Pauses {
        let clock = PauseClock::default();
        all_us.iter().for_each(|us| clock.record(Duration::from_micros(*us)));
        clock.pauses()
    }
}
