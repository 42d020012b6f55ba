//! What happens next in a task. Pure: what has happened in, what is to be begun out.
//!
//! ```text
//!           ┌─ refused ─► FAILED                       a failure, and stop_on_failure ─► FAILED
//! REHEARSAL ┴─ all would restart ──► ROLLING: canary, WATCH, batch, WATCH, … the coordinator ─► COMPLETED
//!                                      │ └─ STOP, when what is under way is over ─► STOPPED
//!                                      └─ ROLLBACK ─► ROLLING_BACK ─► ROLLED_BACK
//! ```
//! RETRY leads back from FAILED and STOPPED to where it was. Invariant: nothing is begun while
//! those that were restarted last are not known to be well.

use super::record::{Build, Mark, Mode, Phase, Stage, State, Step, StepState, Task};

/// Rehearsals at a time.
const REHEARSALS: usize = 16;

/// What is to be begun. The numbers are those of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It says what it would not take over.
    Rehearse(usize),
    /// It is restarted as the task asks.
    Restart(usize),
    /// These are watched.
    Watch(Vec<usize>),
    /// Its restart is under way, and is to be taken back.
    Undo(usize),
    /// It is restarted into what it ran before.
    Return(usize),
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It would be restarted, or would refuse.
    Rehearsed(usize, Result<String, String>),
    /// It is about to be restarted, and stands so.
    Found(usize, Mark, Build),
    /// It is restarted, or its restart has failed.
    Restarted(usize, Result<String, String>),
    /// It has been watched, and is well, or not.
    Watched(usize, Result<String, String>),
}

/// Why an order makes no sense now.
pub(super) type Refused = String;

impl Task {
    /// What is to be begun now; it is begun then.
    pub(super) fn poll(&mut self, now: u64) -> Vec<Action> {
        if self.state != State::InProgress {
            return Vec::new();
        }
        match self.stage {
            Stage::Rehearsal => self.poll_rehearsal(now),
            Stage::Rolling => self.poll_rolling(now),
            Stage::RollingBack => self.poll_rolling_back(now),
        }
    }

    /// Takes what has happened. What does not fit what was begun is old, and means nothing.
    pub(super) fn handle(&mut self, event: Event, now: u64) {
        use StepState as S;
        match event {
            Event::Rehearsed(at, result) if self.steps[at].state == S::Rehearsing => {
                self.steps[at].end(result, S::Rehearsed, now);
            }
            Event::Found(at, mark, build) => {
                let step = &mut self.steps[at];
                step.mark = Some(mark);
                step.before.get_or_insert(build);
            }
            Event::Restarted(at, result) => {
                let step = &mut self.steps[at];
                match step.state {
                    S::Restarting => step.end(result, S::Restarted, now),
                    S::Returning => step.end(result, S::RolledBack, now),
                    // It was too late to take it back, or it is as it was.
                    S::Undoing if result.is_ok() => step.end(result, S::Restarted, now),
                    S::Undoing => step.end(Ok(result.unwrap_or_else(|it| it)), S::RolledBack, now),
                    _ => {}
                }
            }
            Event::Watched(at, result) if self.steps[at].state == S::Watched => {
                self.steps[at].end(result, S::Done, now);
            }
            Event::Rehearsed(..) | Event::Watched(..) => {}
        }
    }

    /// Whether it ends as soon as what is under way is over.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// It is to begin nothing more.
    pub(super) fn stop(&mut self) -> Result<(), Refused> {
        match (self.state, self.stage) {
            (State::InProgress, Stage::Rehearsal | Stage::Rolling) => {
                self.is_stopping = true;
                Ok(())
            }
            (State::InProgress, Stage::RollingBack) => Err("it is being rolled back".into()),
            _ => Err(format!("it is {}", self.state)),
        }
    }

    /// Those that were restarted are to run again what they ran before.
    pub(super) fn roll_back(&mut self) -> Result<(), Refused> {
        let is_over = matches!(self.state, State::RolledBack);
        if is_over || self.stage == Stage::RollingBack && self.state == State::InProgress {
            return Err(format!("it is {}", if is_over { "ROLLED_BACK" } else { "ROLLING_BACK" }));
        }
        if let Some(step) = self.steps.iter().find(|step| step.is_changed()) {
            self.build_before(step)?;
        } else if !self.steps.iter().any(|step| step.state == StepState::Restarting) {
            return Err("nothing was restarted".into());
        }
        (self.state, self.ended_at_ms, self.is_stopping) = (State::InProgress, None, false);
        (self.stage, self.detail) = (Stage::RollingBack, String::new());
        Ok(())
    }

    /// Why it would not be rolled back, were it asked for; None: it would.
    pub fn why_no_roll_back(&self) -> Option<String> {
        self.clone().roll_back().err()
    }

    /// What a proxy is to be restarted into; the error is why that cannot be had.
    pub(super) fn build_before<'s>(&self, step: &'s Step) -> Result<&'s Build, Refused> {
        let proxy = &step.proxy;
        if self.request.binary.is_none() && self.request.config.is_none() {
            let why =
                "the task named neither BINARY nor CONFIG, so what it ran before was replaced";
            return Err(format!("{proxy}: {why}"));
        }
        let known = step.before.as_ref().filter(|build| !build.binary.is_empty());
        known.ok_or_else(|| format!("{proxy}: what it ran before is not known"))
    }

    /// It goes on from where it has failed, or was stopped.
    pub(super) fn retry(&mut self) -> Result<(), Refused> {
        if !matches!(self.state, State::Failed | State::Stopped) {
            return Err(format!("it is {}", self.state));
        }
        for step in &mut self.steps {
            let again = match self.stage {
                // To be returned, as it was before that failed.
                Stage::RollingBack if step.has_failed_to_return() => StepState::Done,
                Stage::RollingBack => continue,
                Stage::Rehearsal | Stage::Rolling => StepState::Waiting,
            };
            match step.state {
                StepState::Failed => (step.state, step.detail) = (again, String::new()),
                // What it said then may be true no more.
                StepState::Rehearsed => step.state = StepState::Waiting,
                _ => {}
            }
        }
        (self.state, self.ended_at_ms, self.is_stopping) = (State::InProgress, None, false);
        self.detail.clear();
        if self.stage == Stage::Rolling {
            self.stage = self.first_stage();
        }
        Ok(())
    }

    /// Where a task of this kind begins.
    pub(super) fn first_stage(&self) -> Stage {
        match self.request.rehearsal && self.request.mode == Mode::Restart {
            true => Stage::Rehearsal,
            false => Stage::Rolling,
        }
    }

    /// Another process goes on with it, which knows only what was kept: the restarts whose end has
    /// to be found out.
    pub(super) fn resume(&mut self) -> Vec<usize> {
        use StepState as S;
        let mut under_way = Vec::new();
        for (at, step) in self.steps.iter_mut().enumerate() {
            match step.state {
                S::Rehearsing => step.state = S::Waiting,
                S::Watched => step.state = S::Restarted,
                S::Restarting | S::Undoing | S::Returning => under_way.push(at),
                S::Waiting | S::Rehearsed | S::Restarted | S::Done => {}
                S::Failed | S::RolledBack => {}
            }
        }
        under_way
    }

    fn poll_rehearsal(&mut self, now: u64) -> Vec<Action> {
        use StepState as S;
        let under_way = self.count(S::Rehearsing);
        if self.is_stopping {
            return self.end_if(under_way == 0, State::Stopped, "stopped by an operator", now);
        }
        let waiting: Vec<usize> = self.all(S::Waiting).take(REHEARSALS - under_way).collect();
        if under_way == 0 && waiting.is_empty() {
            if self.count(S::Failed) > 0 {
                let why = self.failures();
                let what =
                    if self.steps.iter().any(Step::is_changed) { "more" } else { "anything" };
                let detail = format!("refused before {what} was restarted: {why}");
                return self.end_if(true, State::Failed, &detail, now);
            }
            self.stage = Stage::Rolling;
            return self.poll_rolling(now);
        }
        waiting.iter().for_each(|at| self.steps[*at].begin("REHEARSE", S::Rehearsing, now));
        waiting.into_iter().map(Action::Rehearse).collect()
    }

    fn poll_rolling(&mut self, now: u64) -> Vec<Action> {
        use StepState as S;
        if self.count(S::Restarting) + self.count(S::Watched) > 0 {
            return Vec::new();
        }
        let restarted: Vec<usize> = self.all(S::Restarted).collect();
        if !restarted.is_empty() {
            restarted.iter().for_each(|at| self.steps[*at].begin("WATCH", S::Watched, now));
            return vec![Action::Watch(restarted)];
        }
        let has_failed = self.count(S::Failed) > 0;
        if has_failed && self.request.stop_on_failure {
            let why = self.failures();
            return self.end_if(true, State::Failed, &why, now);
        }
        let next = self.next_batch();
        match (next.is_empty(), has_failed) {
            (true, false) => return self.end_if(true, State::Completed, "", now),
            (true, true) => {
                let why = self.failures();
                return self.end_if(true, State::Failed, &why, now);
            }
            (false, _) if self.is_stopping => {
                return self.end_if(true, State::Stopped, "stopped by an operator", now);
            }
            (false, _) => {}
        }
        next.iter().for_each(|at| self.steps[*at].begin("RESTART", S::Restarting, now));
        next.into_iter().map(Action::Restart).collect()
    }

    /// Who is restarted next: the canary, a batch, and the coordinator when all others are done.
    fn next_batch(&self) -> Vec<usize> {
        let waiting = |step: &Step| matches!(step.state, StepState::Waiting | StepState::Rehearsed);
        let all = || self.steps.iter().enumerate().filter(|(_, step)| waiting(step));
        let is_first = !self.steps.iter().any(|step| step.state == StepState::Done);
        let many = match is_first && self.request.canary > 0 {
            true => self.request.canary,
            false => self.request.batch,
        };
        let others = all().filter(|(_, step)| !step.coordinates);
        let others: Vec<usize> = others.take(many.max(1)).map(|(at, _)| at).collect();
        match others.is_empty() {
            true => all().map(|(at, _)| at).collect(),
            false => others,
        }
    }

    fn poll_rolling_back(&mut self, now: u64) -> Vec<Action> {
        use StepState as S;
        let under_way: Vec<usize> = self.all(S::Restarting).collect();
        if !under_way.is_empty() {
            under_way.iter().for_each(|at| self.steps[*at].state = S::Undoing);
            return under_way.into_iter().map(Action::Undo).collect();
        }
        if self.count(S::Undoing) + self.count(S::Returning) > 0 {
            return Vec::new();
        }
        let changed = || self.steps.iter().enumerate().rev().filter(|(_, step)| step.is_changed());
        let others = changed().filter(|(_, step)| !step.coordinates);
        let batch = self.request.batch.max(1);
        let mut next: Vec<usize> = others.take(batch).map(|(at, _)| at).collect();
        if next.is_empty() {
            next = changed().map(|(at, _)| at).collect();
        }
        let failed = self.steps.iter().filter(|step| step.state == S::Failed);
        if failed.into_iter().any(|step| step.has_failed_to_return()) {
            let why = self.failures();
            return self.end_if(true, State::Failed, &why, now);
        }
        if next.is_empty() {
            return self.end_if(true, State::RolledBack, "", now);
        }
        next.iter().for_each(|at| self.steps[*at].begin(ROLLBACK, S::Returning, now));
        next.into_iter().map(Action::Return).collect()
    }

    fn all(&self, state: StepState) -> impl Iterator<Item = usize> {
        let steps = self.steps.iter().enumerate();
        steps.filter(move |(_, step)| step.state == state).map(|(at, _)| at)
    }

    fn count(&self, state: StepState) -> usize {
        self.all(state).count()
    }

    /// Who has failed, and why.
    fn failures(&self) -> String {
        let failed = self.steps.iter().filter(|step| step.state == StepState::Failed);
        let whys: Vec<_> = failed.map(|step| format!("{}: {}", step.proxy, step.detail)).collect();
        whys.join("; ")
    }

    fn end_if(&mut self, is_over: bool, state: State, detail: &str, now: u64) -> Vec<Action> {
        if is_over {
            (self.state, self.ended_at_ms) = (state, Some(now));
            detail.clone_into(&mut self.detail);
        }
        Vec::new()
    }
}

/// The phase in which a proxy goes back to what it ran before.
const ROLLBACK: &str = "ROLLBACK";

impl Step {
    /// Whether it runs what the task has put there, as far as is known.
    fn is_changed(&self) -> bool {
        use StepState as S;
        let was_restarted = || {
            let ended = |phase: &Phase| phase.name == "RESTART" && phase.detail.is_empty();
            self.phases.iter().any(ended) && !self.has_failed_to_return()
        };
        match self.state {
            S::Restarted | S::Watched | S::Done => true,
            // It was restarted, and is not well.
            S::Failed => was_restarted(),
            S::Waiting | S::Rehearsing | S::Rehearsed | S::Restarting => false,
            S::Undoing | S::Returning | S::RolledBack => false,
        }
    }

    fn has_failed_to_return(&self) -> bool {
        let last = self.phases.last().is_some_and(|phase| phase.name == ROLLBACK);
        self.state == StepState::Failed && last
    }

    fn begin(&mut self, phase: &str, state: StepState, now: u64) {
        self.state = state;
        let (name, detail) = (phase.to_owned(), String::new());
        self.phases.push(Phase { name, begun_at_ms: now, ended_at_ms: None, detail });
    }

    fn end(&mut self, result: Result<String, String>, state: StepState, now: u64) {
        let failure = match result {
            Ok(detail) => {
                (self.state, self.detail) = (state, detail);
                String::new()
            }
            Err(why) => {
                (self.state, self.detail) = (StepState::Failed, why.clone());
                why
            }
        };
        if let Some(phase) = self.phases.last_mut() {
            (phase.ended_at_ms, phase.detail) = (Some(now), failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Answers, Request};
    use super::*;

    fn task(proxies: &str, request: Request) -> Task {
        let step = |name: char| Step {
            proxy: name.to_string(),
            address: format!("{name}:1"),
            coordinates: name == 'z',
            state: StepState::Waiting,
            before: None,
            mark: None,
            phases: Vec::new(),
            detail: String::new(),
        };
        let mut task = Task {
            id: 1,
            request,
            by: "root".into(),
            started_at_ms: 0,
            ended_at_ms: None,
            state: State::InProgress,
            stage: Stage::Rolling,
            is_stopping: false,
            steps: proxies.chars().map(step).collect(),
            detail: String::new(),
        };
        task.stage = task.first_stage();
        task
    }

    fn good() -> Result<String, String> {
        Ok(String::new())
    }

    fn bad() -> Result<String, String> {
        Err("no".into())
    }

    fn found(task: &mut Task, at: usize) {
        let mark = Mark { generation: 1, last_task: 0, answers: Answers::default() };
        let build = |binary: &str| Build {
            version: "1".into(),
            binary: binary.into(),
            config: "/c".into(),
        };
        task.handle(Event::Found(at, mark, build("/odp")), 0);
    }

    /// What a task does when all goes well but for what a test says, in words.
    fn run(task: &mut Task, fails: impl Fn(&Action, usize) -> bool) -> Vec<String> {
        let mut said = Vec::new();
        for _ in 0..100 {
            let actions = task.poll(0);
            if actions.is_empty() {
                return said;
            }
            let names = |all: &[usize]| -> String {
                all.iter().map(|at| task.steps[*at].proxy.as_str()).collect()
            };
            let word = |action: &Action| match action {
                Action::Rehearse(at) => format!("rehearse {}", names(&[*at])),
                Action::Restart(at) => format!("restart {}", names(&[*at])),
                Action::Watch(all) => format!("watch {}", names(all)),
                Action::Undo(at) => format!("undo {}", names(&[*at])),
                Action::Return(at) => format!("return {}", names(&[*at])),
            };
            let words: Vec<_> = actions.iter().map(word).collect();
            said.push(words.join(", "));
            for action in actions {
                let result = |at: usize| if fails(&action, at) { bad() } else { good() };
                match &action {
                    Action::Rehearse(at) => task.handle(Event::Rehearsed(*at, result(*at)), 0),
                    Action::Restart(at) => {
                        found(task, *at);
                        task.handle(Event::Restarted(*at, result(*at)), 0);
                    }
                    Action::Return(at) => task.handle(Event::Restarted(*at, result(*at)), 0),
                    Action::Watch(all) => {
                        let results: Vec<_> = all.iter().map(|at| (*at, result(*at))).collect();
                        for (at, result) in results {
                            task.handle(Event::Watched(at, result), 0);
                        }
                    }
                    Action::Undo(at) => task.handle(Event::Restarted(*at, bad()), 0),
                }
            }
        }
        panic!("it does not end: {said:?}")
    }

    fn all_well(_: &Action, _: usize) -> bool {
        false
    }

    const NO_REHEARSAL: fn() -> Request = || Request { rehearsal: false, ..Request::default() };

    #[test]
    fn a_canary_then_batches_each_watched_and_the_coordinator_last() {
        let request = Request { batch: 2, ..Request::default() };
        let mut task = task("zabcd", request);
        let expected = [
            "rehearse z, rehearse a, rehearse b, rehearse c, rehearse d",
            "restart a",
            "watch a",
            "restart b, restart c",
            "watch b, watch c",
            "restart d",
            "watch d",
            "restart z",
            "watch z",
        ];
        let said = run(&mut task, all_well);
        let watch_both = "watch bc".to_owned();
        let mut expected: Vec<_> = expected.map(str::to_owned).into();
        expected[4] = watch_both;
        assert_eq!(said, expected);
        assert_eq!((task.state, task.ended_at_ms), (State::Completed, Some(0)));
        assert!(task.steps.iter().all(|step| step.state == StepState::Done));
        let phases: Vec<_> = task.steps[0].phases.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(phases, ["REHEARSE", "RESTART", "WATCH"]);
    }

    #[test]
    fn who_refuses_in_the_rehearsal_keeps_all_from_being_restarted() {
        let mut task = task("abz", Request::default());
        let said = run(&mut task, |action, at| matches!(action, Action::Rehearse(_)) && at == 1);
        assert_eq!(said, ["rehearse a, rehearse b, rehearse z"]);
        assert_eq!(task.state, State::Failed);
        assert_eq!(task.detail, "refused before anything was restarted: b: no");
        // Whatever was the matter is mended: all are asked again.
        task.retry().expect("it has failed");
        let said = run(&mut task, all_well);
        assert_eq!(said[0], "rehearse a, rehearse b, rehearse z");
        assert_eq!(task.state, State::Completed);
    }

    #[test]
    fn the_first_failure_ends_it_and_retry_goes_on_there() {
        type Fails = fn(&Action, usize) -> bool;
        let in_restart: Fails = |action, at| matches!(action, Action::Restart(_)) && at == 1;
        let watched: Fails = |action, at| matches!(action, Action::Watch(_)) && at == 1;
        for (fails, last) in [(in_restart, "restart b"), (watched, "watch b")] {
            let mut task = task("abcz", NO_REHEARSAL());
            let said = run(&mut task, fails);
            assert_eq!(said.last().map(String::as_str), Some(last));
            assert_eq!((task.state, task.detail.as_str()), (State::Failed, "b: no"));
            assert_eq!(task.poll(0), []);
            task.retry().expect("it has failed");
            let said = run(&mut task, all_well);
            assert_eq!(said[0], "restart b");
            assert_eq!((task.state, said.len()), (State::Completed, 6));
        }
    }

    #[test]
    fn who_is_not_to_stop_goes_on_after_a_failure_and_has_failed_in_the_end() {
        let request = Request { stop_on_failure: false, ..NO_REHEARSAL() };
        let mut task = task("abz", request);
        let said = run(&mut task, |action, at| matches!(action, Action::Restart(_)) && at == 0);
        assert_eq!(said, ["restart a", "restart b", "watch b", "restart z", "watch z"]);
        assert_eq!((task.state, task.detail.as_str()), (State::Failed, "a: no"));
    }

    #[test]
    fn a_stop_lets_what_is_under_way_end_and_begins_nothing() {
        let mut task = task("abz", NO_REHEARSAL());
        assert_eq!(task.poll(0), [Action::Restart(0)]);
        task.stop().expect("it goes on");
        assert_eq!((task.poll(0), task.state), (Vec::new(), State::InProgress));
        task.handle(Event::Restarted(0, good()), 0);
        assert_eq!(task.poll(0), [Action::Watch(vec![0])]);
        task.handle(Event::Watched(0, good()), 0);
        assert_eq!((task.poll(0), task.state), (Vec::new(), State::Stopped));
        assert!(task.stop().is_err());
        task.retry().expect("it was stopped");
        assert_eq!(run(&mut task, all_well)[0], "restart b");
    }

    #[test]
    fn a_rollback_takes_back_what_is_under_way_and_returns_what_was_done() {
        let request = Request { binary: Some("/new".into()), ..NO_REHEARSAL() };
        let mut task = task("abcz", request);
        for at in [0, 1] {
            assert_eq!(task.poll(0), [Action::Restart(at)]);
            found(&mut task, at);
            task.handle(Event::Restarted(at, good()), 0);
            assert_eq!(task.poll(0), [Action::Watch(vec![at])]);
            task.handle(Event::Watched(at, good()), 0);
        }
        assert_eq!(task.poll(0), [Action::Restart(2)]);
        found(&mut task, 2);
        task.roll_back().expect("it names a binary");
        assert!(task.roll_back().is_err(), "once");
        let said = run(&mut task, all_well);
        assert_eq!(said, ["undo c", "return b", "return a"]);
        assert_eq!(task.state, State::RolledBack);
        assert_eq!(task.steps[3].state, StepState::Waiting);
        assert!(task.retry().is_err() && task.roll_back().is_err());
    }

    #[test]
    fn a_rollback_that_fails_is_tried_again_by_retry() {
        let request = Request { binary: Some("/new".into()), batch: 9, ..NO_REHEARSAL() };
        let mut task = task("abz", request);
        run(&mut task, all_well);
        task.roll_back().expect("it names a binary");
        let said = run(&mut task, |action, at| matches!(action, Action::Return(_)) && at == 0);
        assert_eq!(said, ["return b, return a"]);
        assert_eq!((task.state, task.detail.as_str()), (State::Failed, "a: no"));
        task.retry().expect("it has failed");
        assert_eq!(run(&mut task, all_well), ["return a", "return z"]);
        assert_eq!(task.state, State::RolledBack);
    }

    #[test]
    fn nobody_returns_to_what_was_replaced() {
        let mut task = task("az", NO_REHEARSAL());
        assert_eq!(task.roll_back().expect_err("nothing is done"), "nothing was restarted");
        run(&mut task, all_well);
        let why = task.roll_back().expect_err("no binary is named");
        assert!(why.contains("neither BINARY nor CONFIG"), "{why}");
        assert_eq!(task.state, State::Completed);
    }

    #[test]
    fn another_process_finds_out_what_was_under_way_and_goes_on() {
        let mut task = task("abz", Request::default());
        assert_eq!(task.poll(0).len(), 3);
        assert!(task.resume().is_empty(), "a rehearsal changes nothing");
        assert_eq!(task.poll(0).len(), 3);
        (0..3).for_each(|at| task.handle(Event::Rehearsed(at, good()), 0));
        assert_eq!(task.poll(0), [Action::Restart(0)]);
        assert_eq!(task.resume(), [0]);
        assert_eq!(task.poll(0), [], "it is not begun twice");
        task.handle(Event::Restarted(0, good()), 0);
        assert_eq!(task.poll(0), [Action::Watch(vec![0])]);
        assert!(task.resume().is_empty());
        assert_eq!(task.poll(0), [Action::Watch(vec![0])], "it is watched anew");
    }
}
