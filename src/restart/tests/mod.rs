//! Both drivers in one process, over a relay that can stop at every message, with live TCP clients.

mod coordinator;
mod pair;
mod plane;
mod world;

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::machine::plan::Outcome;
use super::plane::Accepting;
use super::task::{Generation, Mode, Request, State, Task, TaskState};
use super::{Exit, Lifecycle};
use world::{Fate, Rules, World};

/// Longer than any way to the end, with the tests' timeouts.
const SOON: Duration = Duration::from_secs(20);

/// Who asks for restarts.
const BY: &str = "ann@127.0.0.1:9";

/// The tasks of a process, once it has heard how each has ended.
async fn ended_tasks(lifecycle: &Lifecycle) -> Vec<Task> {
    let begun = Instant::now();
    loop {
        let tasks = lifecycle.tasks();
        if tasks.iter().all(|task| task.state != TaskState::InProgress) {
            return tasks;
        }
        assert!(begun.elapsed() < SOON, "{tasks:?}");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_session_moves_and_no_client_notices() {
    let mut world = World::new(Rules::default(), 100).await;
    let outcome = world.restart(Fate::None).await;
    assert_eq!(outcome, Outcome::Committed);
    world.successor_serves_everybody().await;
    let task = world.successors_task().await;
    assert_eq!((task.state, task.moved, task.disconnected), (TaskState::Completed, 100, 0));
    assert_eq!(world.successor.state(), State::Running);
    assert_eq!(world.successor.generation(), Generation(2));
    assert_eq!(world.new_plane().counters_seen(), b"counters");
    assert_eq!(world.new_plane().inherited(), b"legacy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_30_three_hundred_listeners_with_the_longest_names() {
    let mut world = World::new(Rules { listeners: 300, ..Rules::default() }, 2).await;
    assert_eq!(world.restart(Fate::None).await, Outcome::Committed);
    world.successor_serves_everybody().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classic_mode_moves_nothing_and_waits_for_the_last_session() {
    let rules = Rules { session_handover: false, ..Rules::default() };
    let mut world = World::new(rules, 5).await;
    let restart = world.begin(Fate::None).await;
    world.until_successor(State::Draining).await;
    assert_eq!(world.old_plane().len(), 5);
    world.everybody_talks().await;
    // A new client is the successor's.
    world.connect(1).await;
    assert_eq!(world.new_plane().len(), 1);
    world.disconnect(5);
    assert_eq!(world.end(restart).await, Outcome::Committed);
    world.everybody_talks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_at_the_exit_timeout_is_told_so() {
    let rules = Rules {
        session_handover: false,
        exit_timeout: Some(Duration::from_millis(50)),
        ..Rules::default()
    };
    let mut world = World::new(rules, 3).await;
    assert_eq!(world.restart(Fate::None).await, Outcome::Committed);
    world.everybody_is_told_1053().await;
    let task = world.successors_task().await;
    assert_eq!((task.state, task.disconnected), (TaskState::Completed, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn force_tells_everybody_at_once_and_refuses_no_connect() {
    let rules = Rules { mode: Mode::Force, ..Rules::default() };
    let mut world = World::new(rules, 3).await;
    assert_eq!(world.restart(Fate::None).await, Outcome::Committed);
    world.everybody_is_told_1053().await;
    world.forget_clients();
    world.connect(2).await;
    world.successor_serves_everybody().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_session_stays_and_drains_where_it_was() {
    let rules = Rules { refused: vec![90], ..Rules::default() };
    let mut world = World::new(rules, 100).await;
    let restart = world.begin(Fate::None).await;
    world.until_successor(State::Draining).await;
    world.until(|world| world.old_plane().len() == 1).await;
    world.everybody_talks().await;
    let task = world.predecessor.tasks().remove(0);
    assert!(task.detail.contains("session 90 refused: not this one"), "{}", task.detail);
    world.disconnect_id(90);
    assert_eq!(world.end(restart).await, Outcome::Committed);
    world.everybody_talks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_canary_takes_everything_back() {
    let rules = Rules { refused: vec![1, 2, 3, 4, 5], ..Rules::default() };
    let mut world = World::new(rules, 5).await;
    let outcome = world.restart(Fate::None).await;
    let Outcome::Kept(ending) = outcome else { panic!("{outcome:?}") };
    assert_eq!(ending.state, TaskState::Failed);
    assert!(ending.reason.starts_with("canary: session"), "{}", ending.reason);
    world.predecessor_serves_everybody().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollback_brings_every_session_back() {
    let rules = Rules { session_handover: true, refused: vec![90], ..Rules::default() };
    let mut world = World::new(rules, 100).await;
    let restart = world.begin(Fate::None).await;
    world.until_successor(State::Draining).await;
    world.until(|world| world.old_plane().len() == 1).await;
    world.connect(3).await;
    world.successor.rollback().await.expect("accepted");
    let outcome = world.end(restart).await;
    let Outcome::Kept(ending) = outcome else { panic!("{outcome:?}") };
    assert_eq!(ending.state, TaskState::RolledBack);
    assert_eq!(world.old_plane().len(), 103);
    world.predecessor_serves_everybody().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn force_on_the_successor_ends_the_drain_of_the_predecessor() {
    let rules = Rules { session_handover: false, ..Rules::default() };
    let mut world = World::new(rules, 2).await;
    let restart = world.begin(Fate::None).await;
    world.until_successor(State::Draining).await;
    let force = Request::of(Mode::Force).by("bob");
    // It is taken, and then fails for its own reason: there is no such binary.
    let error = world.successor.restart(force).await.expect_err("no binary");
    assert!(error.to_string().contains("No such file"), "{error}");
    assert_eq!(world.end(restart).await, Outcome::Committed);
    world.everybody_is_told_1053().await;
    let tasks = world.successor.tasks();
    assert_eq!((tasks[0].mode, tasks[0].state), (Mode::Force, TaskState::Failed));
    assert_eq!((tasks[1].state, tasks[1].disconnected), (TaskState::Completed, 2));
    assert_eq!([&*tasks[0].by, &*tasks[1].by], ["bob", BY]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_of_the_successor_in_drain_stops_both() {
    let rules = Rules { session_handover: false, ..Rules::default() };
    let mut world = World::new(rules, 2).await;
    let restart = world.begin(Fate::None).await;
    world.until_successor(State::Draining).await;
    world.successor.stop(Duration::ZERO);
    assert_eq!(world.end(restart).await, Outcome::Stopped);
    assert_eq!(world.successor_exit().await, Some(Exit::Stopped));
    world.everybody_is_told_1053().await;
}

/// Until READY 8 frames pass: HELLO, OFFER, LISTEN, READY, and then three a batch.
const STEPS: usize = 24;

/// A restart whose successor fails at some step: unless all was done by then, the predecessor
/// serves whom it has not given away.
async fn fails_by_the_rules(fate: Fate, step: usize) {
    let mut world = World::new(Rules::default(), 20).await;
    match world.restart(fate).await {
        Outcome::Kept(ending) => {
            assert_eq!(ending.state, TaskState::Failed, "step {step}");
            world.forget_clients_that_are_closed().await;
            world.predecessor_serves_everybody().await;
            assert_eq!(world.old_plane().accepting(), Accepting::Yes, "step {step}");
        }
        Outcome::Committed => {}
        other => panic!("step {step}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_successor_at_every_step_loses_only_what_it_had() {
    for step in 0..STEPS {
        fails_by_the_rules(Fate::SuccessorDies(step), step).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_predecessor_at_every_step_leaves_the_successor_serving() {
    for step in 0..STEPS {
        let mut world = World::new(Rules::default(), 20).await;
        world.restart(Fate::PredecessorDies(step)).await;
        if world.new_plane_if_any().is_some() {
            world.until_successor(State::Running).await;
            world.forget_clients_that_are_closed().await;
            world.connect(2).await;
            world.successor_serves_everybody().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_channel_at_every_step_ends_by_the_rules() {
    for step in 0..STEPS {
        fails_by_the_rules(Fate::Mute(step), step).await;
    }
}
