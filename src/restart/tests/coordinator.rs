//! The coordinator with successors that are real processes: scripts that fail in every way.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::plane::EchoPlane;
use super::world::timeouts;
use super::{BY, SOON, ended_tasks};
use crate::config::ExitTimeout;
use crate::restart::task::{Generation, Mode, Phase, Request, State, TaskId, TaskState};
use crate::restart::{
    Accepting, DataPlane, Exit, Lifecycle, Listener, Origin, Refusal, Settings, Start,
};

struct Proxy {
    lifecycle: Lifecycle,
    plane: Arc<EchoPlane>,
    exit: JoinHandle<Exit>,
}

fn lifecycle(dir: &Path, rollback_timeout: Duration) -> Lifecycle {
    let origin = Origin {
        binary: "/nonexistent/odp".into(),
        config: dir.join("odp.toml"),
        build: "test".into(),
        pid: std::process::id(),
        config_hash: String::new(),
        run_dir: dir.join("run"),
        oom_score_adj: None,
    };
    let settings = Settings {
        exit_timeout: ExitTimeout::Never,
        rollback_timeout,
        probation: Duration::ZERO,
        session_handover: true,
    };
    Lifecycle::new(origin, timeouts(), move || settings)
}

impl Proxy {
    async fn cold(dir: &Path, rollback_timeout: Duration) -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let listeners = vec![Listener { name: "sql x".into(), fd: socket.into() }];
        Self::serve(
            lifecycle(dir, rollback_timeout),
            EchoPlane::new(listeners, 1, vec![]),
            Start::Cold("test".into()),
        )
        .await
    }

    /// Takes over from the proxy that is found there.
    async fn warm(dir: &Path, first_id: u32) -> Self {
        let lifecycle = lifecycle(dir, SOON);
        let Ok(Start::Warm(mut offer)) = lifecycle.take_over().await else {
            panic!("whoever looks finds somebody");
        };
        let plane = EchoPlane::new(offer.listeners(), first_id, vec![]);
        Self::serve(lifecycle, plane, Start::Warm(offer)).await
    }

    async fn serve(lifecycle: Lifecycle, plane: Arc<EchoPlane>, start: Start) -> Self {
        let (served, own) = (plane.clone(), lifecycle.clone());
        let exit = tokio::spawn(async move { own.serve(served, start).await });
        let proxy = Self { lifecycle, plane, exit };
        proxy.until(State::Running).await;
        proxy
    }

    async fn until(&self, state: State) {
        let mut standing = self.lifecycle.subscribe();
        let reached = standing.wait_for(|standing| standing.state == state);
        timeout(SOON, reached).await.expect("soon").expect("alive");
    }

    async fn exit(self) -> Exit {
        timeout(SOON, self.exit).await.expect("soon").expect("no panic")
    }

    /// RUNNING again, and the newest task says why.
    async fn serves_on_because(&self, reason: &str) {
        self.until(State::Running).await;
        let task = self.lifecycle.tasks().remove(0);
        assert_eq!(task.state, TaskState::Failed);
        assert!(task.detail.contains(reason), "{}", task.detail);
        assert_eq!(self.plane.accepting(), Accepting::Yes);
        assert!(self.lifecycle.standing().takes_clients);
    }
}

/// A successor that checks with one script and runs with another.
fn script(dir: &Path, check: &str, run: &str) -> Request {
    let path = dir.join("successor");
    let text = format!("#!/bin/sh\ncase $1 in\ncheck) {check};;\nrun) {run};;\nesac\n");
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    request(Mode::Restart, Some(path))
}

fn request(mode: Mode, binary: Option<PathBuf>) -> Request {
    Request { binary, ..Request::of(mode) }
}

const HUNG: &str = "exec sleep 60 >/dev/null 2>&1";

#[tokio::test]
async fn t_1_a_binary_that_is_not_there_is_refused_before_anything_happens() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    let error =
        proxy.lifecycle.restart(request(Mode::Restart, None).by(BY)).await.expect_err("refused");
    let error = error.to_string();
    assert!(error.contains("binary /nonexistent/odp: "), "{error}");
    proxy.serves_on_because("No such file").await;
}

#[tokio::test]
async fn t_1_what_is_no_file_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    for binary in [fifo, dir.path().to_owned()] {
        let bad = request(Mode::Restart, Some(binary));
        let error = timeout(SOON, proxy.lifecycle.restart(bad.by(BY))).await.expect("no hang");
        assert!(error.expect_err("refused").to_string().ends_with("expected a regular file"));
    }
    proxy.serves_on_because("expected a regular file").await;
}

#[tokio::test]
async fn t_1_what_preflight_says_is_the_refusal() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    let bad = script(dir.path(), "echo line 3: expected a port >&2; exit 1", "exit 0");
    let error = proxy.lifecycle.restart(bad.by(BY)).await.expect_err("refused");
    assert_eq!(error.to_string(), "preflight: line 3: expected a port");
    proxy.serves_on_because("line 3: expected a port").await;
    assert_eq!(proxy.lifecycle.tasks()[0].phase, Phase::Preflight);
}

#[tokio::test]
async fn t_2_successors_that_die_leave_no_trace_and_the_next_restart_is_taken_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    for (task, (run, how)) in
        [("exit 3", "exit status: 3"), ("kill -9 $$", "signal: 9")].into_iter().enumerate()
    {
        let bad = script(dir.path(), "exit 0", run);
        assert_eq!(proxy.lifecycle.restart(bad.by(BY)).await, Ok(TaskId(task as u64 + 1)));
        proxy.serves_on_because(how).await;
    }
}

#[tokio::test]
async fn t_4_a_successor_that_hangs_is_killed_at_the_rollback_timeout() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), Duration::from_millis(200)).await;
    let hung = script(dir.path(), "exit 0", &format!("trap '' TERM; {HUNG}"));
    assert_eq!(proxy.lifecycle.restart(hung.by(BY)).await, Ok(TaskId(1)));
    assert_eq!(proxy.lifecycle.state(), State::Restarting);
    proxy.serves_on_because("did not send HELLO in time (signal: 9").await;
}

#[tokio::test]
async fn t_11_a_second_restart_is_refused_with_state_and_phase() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    let hung = script(dir.path(), "exit 0", HUNG);
    assert_eq!(proxy.lifecycle.restart(hung.clone().by(BY)).await, Ok(TaskId(1)));
    let error = proxy.lifecycle.restart(hung.by(BY)).await.expect_err("refused");
    let error = error.to_string();
    assert!(error.starts_with("RESTART refused: state is RESTARTING, phase "), "{error}");
    assert_eq!(proxy.lifecycle.rollback().await, Ok(TaskId(1)));
    proxy.until(State::Running).await;
    let task = proxy.lifecycle.tasks().remove(0);
    assert_eq!(task.state, TaskState::RolledBack);
    assert!(proxy.lifecycle.rollback().await.is_err());
}

#[tokio::test]
async fn force_ends_a_hung_restart_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    let hung = script(dir.path(), "exit 0", HUNG);
    assert_eq!(proxy.lifecycle.restart(hung.clone().by(BY)).await, Ok(TaskId(1)));
    let force = Request { mode: Mode::Force, ..hung };
    assert_eq!(proxy.lifecycle.restart(force.by(BY)).await, Ok(TaskId(2)));
    let tasks = proxy.lifecycle.tasks();
    assert_eq!((tasks[0].mode, tasks[0].state), (Mode::Force, TaskState::InProgress));
    assert_eq!((tasks[1].mode, tasks[1].state), (Mode::Restart, TaskState::Failed));
    assert!(tasks[1].detail.starts_with("ended by RESTART FORCE"), "{}", tasks[1].detail);
    proxy.lifecycle.stop(Duration::ZERO);
    assert_eq!(proxy.exit().await, Exit::Stopped);
}

#[tokio::test]
async fn force_ends_a_preflight_that_hangs() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    let hung = script(dir.path(), HUNG, HUNG);
    let own = proxy.lifecycle.clone();
    let first = tokio::spawn(async move { own.restart(hung.by(BY)).await });
    proxy.until(State::Restarting).await;
    let force = Request { mode: Mode::Force, ..script(dir.path(), "exit 0", HUNG) };
    assert_eq!(proxy.lifecycle.restart(force.by(BY)).await, Ok(TaskId(2)));
    let refused = first.await.expect("no panic");
    assert_eq!(refused, Err(Refusal::Undone("ended by RESTART FORCE".into())));
}

#[tokio::test]
async fn offline_takes_no_clients_and_online_does_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    proxy.lifecycle.offline().await.expect("taken");
    assert_eq!(proxy.lifecycle.state(), State::Offline);
    assert!(!proxy.lifecycle.standing().takes_clients);
    assert_eq!(proxy.plane.accepting(), Accepting::Control);
    let bad = script(dir.path(), "exit 0", "exit 1");
    assert!(proxy.lifecycle.restart(bad.clone().by(BY)).await.is_err());
    // A FORCE that fails leaves it as it was.
    proxy.lifecycle.restart(Request { mode: Mode::Force, ..bad }.by(BY)).await.expect("taken");
    proxy.until(State::Offline).await;
    assert_eq!(proxy.plane.accepting(), Accepting::Control);
    proxy.lifecycle.online().await.expect("taken");
    assert_eq!(proxy.lifecycle.state(), State::Running);
    assert_eq!(proxy.plane.accepting(), Accepting::Yes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_take_over_through_the_handover_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut proxy = Proxy::cold(dir.path(), SOON).await;
    for generation in 2..=20 {
        let begun = Instant::now();
        let successor = Proxy::warm(dir.path(), generation as u32 * 1000).await;
        assert!(matches!(proxy.exit().await, Exit::Succeeded(_)));
        assert!(begun.elapsed() < SOON);
        assert_eq!(successor.lifecycle.generation(), Generation(generation));
        let tasks = ended_tasks(&successor.lifecycle).await;
        assert_eq!(tasks.len() as u64, generation - 1);
        assert!(tasks.iter().all(|task| task.state == TaskState::Completed));
        proxy = successor;
    }
    proxy.lifecycle.stop(Duration::ZERO);
    assert_eq!(proxy.exit().await, Exit::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_socket_a_successor_has_replaced_before_it_failed_is_found_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    std::fs::remove_file(dir.path().join("run/handover.sock")).expect("it is there");
    let bad = script(dir.path(), "exit 0", "exit 3");
    assert_eq!(proxy.lifecycle.restart(bad.by(BY)).await, Ok(TaskId(1)));
    proxy.serves_on_because("exit status: 3").await;
    let successor = Proxy::warm(dir.path(), 1000).await;
    assert!(matches!(proxy.exit().await, Exit::Succeeded(_)));
    successor.lifecycle.stop(Duration::ZERO);
    assert_eq!(successor.exit().await, Exit::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_5_nobody_to_take_over_from_is_a_cold_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let alone = lifecycle(dir.path(), SOON);
    assert!(matches!(alone.take_over().await, Ok(Start::Cold(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_during_a_restart_is_refused_and_disturbs_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    let hung = script(dir.path(), "exit 0", HUNG);
    assert_eq!(proxy.lifecycle.restart(hung.by(BY)).await, Ok(TaskId(1)));
    let error = lifecycle(dir.path(), SOON).take_over().await.expect_err("refused");
    let error = error.to_string();
    assert!(error.starts_with("takeover refused: state is RESTARTING"), "{error}");
    assert_eq!(proxy.lifecycle.state(), State::Restarting);
    proxy.lifecycle.stop(Duration::ZERO);
    assert_eq!(proxy.exit().await, Exit::Stopped);
}

#[tokio::test]
async fn stop_waits_no_longer_than_its_grace_and_tells_everybody() {
    let dir = tempfile::tempdir().expect("a directory");
    let proxy = Proxy::cold(dir.path(), SOON).await;
    let listener = proxy.plane.listeners().expect("listeners").remove(0);
    let address = std::net::TcpListener::from(listener.fd).local_addr().expect("an address");
    let mut client = tokio::net::TcpStream::connect(address).await.expect("connected");
    while proxy.plane.len() == 0 {
        tokio::task::yield_now().await;
    }
    proxy.lifecycle.stop(Duration::from_millis(20));
    assert_eq!(proxy.exit().await, Exit::Stopped);
    let mut said = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut client, &mut said).await.expect("closed");
    assert_eq!(said, super::plane::FAREWELL);
}
