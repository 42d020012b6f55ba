//! A predecessor, a successor, a relay between them, and clients that talk all the time.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::plane::{EchoPlane, FAREWELL};
use super::{BY, SOON, ended_tasks};
use crate::config::ExitTimeout;
use crate::restart::drive::outgoing::{Assignment, Link, Outgoing};
use crate::restart::host::fd::pidfd_of;
use crate::restart::host::process::Peer;
use crate::restart::machine::plan::{Demands, Outcome, Plan, Stage};
use crate::restart::message::VERSIONS;
use crate::restart::task::{Mode, State, Task};
use crate::restart::transport::channel::Channel;
use crate::restart::{
    Accepting, DataPlane, Exit, Lifecycle, Listener, Origin, Settings, Start, Timeouts,
};

/// What a test may want otherwise.
pub(crate) struct Rules {
    pub(crate) mode: Mode,
    pub(crate) session_handover: bool,
    pub(crate) exit_timeout: Option<Duration>,
    pub(crate) probation: Duration,
    /// Sessions that the successor refuses.
    pub(crate) refused: Vec<u32>,
    /// Listening sockets.
    pub(crate) listeners: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            mode: Mode::Restart,
            session_handover: true,
            exit_timeout: None,
            probation: Duration::ZERO,
            refused: vec![],
            listeners: 1,
        }
    }
}

/// What happens to the handover, after so many messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    None,
    SuccessorDies(usize),
    PredecessorDies(usize),
    Mute(usize),
}

pub(crate) struct World {
    _dir: tempfile::TempDir,
    rules: Rules,
    address: SocketAddr,
    old: Arc<EchoPlane>,
    new: Arc<Mutex<Option<Arc<EchoPlane>>>>,
    pub(crate) predecessor: Lifecycle,
    pub(crate) successor: Lifecycle,
    exit: Option<JoinHandle<Option<Exit>>>,
    clients: Vec<Client>,
    next_id: u32,
}

struct Client {
    id: u32,
    stream: TcpStream,
}

pub(crate) struct Restart {
    outcome: JoinHandle<Outcome>,
}

pub(crate) fn timeouts() -> Timeouts {
    Timeouts {
        preflight: SOON,
        answer: Duration::from_millis(400),
        silence: Duration::from_millis(800),
        progress: Duration::from_millis(10),
        step: Duration::from_secs(2),
        again: Duration::from_millis(5),
        login: Duration::from_millis(100),
        terminate: Duration::from_millis(500),
        kill: Duration::from_secs(2),
    }
}

fn lifecycle(rules: &Rules, dir: &Path) -> Lifecycle {
    let origin = Origin {
        binary: dir.join("nonexistent"),
        config: dir.join("nonexistent"),
        build: "test".into(),
        pid: std::process::id(),
        config_hash: String::new(),
        run_dir: dir.join("run"),
        oom_score_adj: None,
    };
    let settings = Settings {
        exit_timeout: rules.exit_timeout.map_or(ExitTimeout::Never, ExitTimeout::After),
        rollback_timeout: Duration::from_secs(2),
        probation: rules.probation,
        session_handover: rules.session_handover,
    };
    Lifecycle::new(origin, timeouts(), move || settings)
}

impl World {
    pub(crate) async fn new(rules: Rules, clients: usize) -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = socket.local_addr().expect("an address");
        let mut listeners = vec![Listener { name: format!("sql {address}"), fd: socket.into() }];
        for _ in 1..rules.listeners {
            // Duplicates will do, with names as long as the longest path.
            let fd = listeners[0].fd.try_clone().expect("a duplicate");
            listeners.push(Listener { name: format!("sql unix:/{}", "x".repeat(106)), fd });
        }
        let old = EchoPlane::new(listeners, 1, vec![]);
        old.accept(Accepting::Yes).await;
        let dir = tempfile::tempdir().expect("a directory");
        let mut world = Self {
            address,
            old,
            new: Arc::default(),
            predecessor: lifecycle(&rules, dir.path()),
            successor: lifecycle(&rules, dir.path()),
            _dir: dir,
            rules,
            exit: None,
            clients: Vec::new(),
            next_id: 1,
        };
        world.connect(clients).await;
        world
    }

    pub(crate) fn old_plane(&self) -> &EchoPlane {
        &self.old
    }

    pub(crate) fn new_plane(&self) -> Arc<EchoPlane> {
        self.new_plane_if_any().expect("the successor has a data plane")
    }

    pub(crate) fn new_plane_if_any(&self) -> Option<Arc<EchoPlane>> {
        self.new.lock().expect("unpoisoned").clone()
    }

    /// One after another, so that the n-th has the id n.
    pub(crate) async fn connect(&mut self, n: usize) {
        for _ in 0..n {
            let stream = TcpStream::connect(self.address).await.expect("never refused");
            let mut client = Client { id: self.next_id, stream };
            assert!(client.talk().await, "a new client is served");
            self.clients.push(client);
            self.next_id += 1;
        }
    }

    pub(crate) fn disconnect(&mut self, n: usize) {
        self.clients.drain(..n);
    }

    pub(crate) fn disconnect_id(&mut self, id: u32) {
        self.clients.retain(|client| client.id != id);
    }

    pub(crate) fn forget_clients(&mut self) {
        self.clients.clear();
    }

    pub(crate) async fn forget_clients_that_are_closed(&mut self) {
        let mut left = Vec::new();
        for mut client in std::mem::take(&mut self.clients) {
            if client.talk().await {
                left.push(client);
            }
        }
        self.clients = left;
    }

    pub(crate) async fn everybody_talks(&mut self) {
        for client in &mut self.clients {
            assert!(client.talk().await, "client {} is served", client.id);
        }
    }

    pub(crate) async fn everybody_is_told_1053(&mut self) {
        for client in &mut self.clients {
            let mut said = Vec::new();
            let read = client.stream.read_to_end(&mut said);
            timeout(SOON, read).await.expect("soon").expect("closed in order");
            assert_eq!(said, FAREWELL);
        }
    }

    pub(crate) async fn successor_serves_everybody(&mut self) {
        self.everybody_talks().await;
        let clients = self.clients.len();
        self.until(|world| world.new_plane().len() == clients).await;
    }

    pub(crate) async fn predecessor_serves_everybody(&mut self) {
        self.everybody_talks().await;
        let clients = self.clients.len();
        self.until(|world| world.old.len() == clients).await;
        self.connect(1).await;
        assert_eq!(self.old.len(), clients + 1);
    }

    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            let (old, new) = (self.old.len(), self.new_plane_if_any().map(|it| it.len()));
            assert!(start.elapsed() < SOON, "old {old}, new {new:?}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn until_successor(&self, state: State) {
        let mut standing = self.successor.subscribe();
        let reached = standing.wait_for(|standing| standing.state == state);
        timeout(SOON, reached).await.expect("soon").expect("alive");
    }

    /// The task as the successor knows it, once it has heard how it ended.
    pub(crate) async fn successors_task(&self) -> Task {
        ended_tasks(&self.successor).await.remove(0)
    }

    pub(crate) async fn successor_exit(&mut self) -> Option<Exit> {
        let exit = self.exit.take().expect("a successor");
        timeout(SOON, exit).await.expect("soon").expect("no panic")
    }

    pub(crate) async fn restart(&mut self, fate: Fate) -> Outcome {
        let restart = self.begin(fate).await;
        self.end(restart).await
    }

    pub(crate) async fn end(&mut self, restart: Restart) -> Outcome {
        let outcome = timeout(SOON, restart.outcome).await.expect("never hangs").expect("no panic");
        if let Outcome::Kept(_) = outcome {
            self.until(|world| world.new_plane_if_any().is_none_or(|it| it.is_buried())).await;
        }
        outcome
    }

    /// Both sides begin. A process that sleeps stands for the successor: its death is the
    /// successor's.
    pub(crate) async fn begin(&mut self, fate: Fate) -> Restart {
        let (p_end, p_relay) = Channel::pair().expect("a pair");
        let (s_end, s_relay) = Channel::pair().expect("a pair");
        let stand_in =
            Command::new("sleep").arg("60").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let stand_in = stand_in.expect("sleep");
        let peer = Peer::other(stand_in.id(), pidfd_of(stand_in.id()).expect("a pidfd"));
        let (kill, killed) = mpsc::channel(1);
        let (p_dies, p_dead) = oneshot::channel();
        let relay = Relay { fate, kill: kill.clone(), p_dies: Some(p_dies) };
        tokio::spawn(relay.run(p_relay, s_relay));
        self.exit = Some(self.run_successor(s_end));
        let abort = self.exit.as_ref().expect("just set").abort_handle();
        tokio::spawn(mourn(stand_in, killed, abort, self.new.clone()));
        let outcome = self.run_predecessor(p_end, peer.expect("a peer"), p_dead, kill);
        Restart { outcome }
    }

    fn run_successor(&self, socket: OwnedFd) -> JoinHandle<Option<Exit>> {
        let (lifecycle, slot) = (self.successor.clone(), self.new.clone());
        let (refused, expected) = (self.rules.refused.clone(), self.rules.listeners);
        tokio::spawn(async move {
            let Ok(Start::Warm(mut offer)) = lifecycle.take_over_from(socket).await else {
                return None;
            };
            let listeners = offer.listeners();
            if listeners.len() < expected {
                return None;
            }
            let plane = EchoPlane::new(listeners, 1_000_001, refused);
            plane.inherit(&offer.legacy());
            *slot.lock().expect("unpoisoned") = Some(plane.clone());
            Some(lifecycle.serve(plane, Start::Warm(offer)).await)
        })
    }

    fn run_predecessor(
        &self,
        socket: OwnedFd,
        peer: Peer,
        dead: oneshot::Receiver<()>,
        kill: mpsc::Sender<()>,
    ) -> JoinHandle<Outcome> {
        let task_id = self.predecessor.board().begin_task(self.rules.mode, BY);
        let plan = Plan {
            mode: self.rules.mode,
            session_handover: self.rules.session_handover && self.rules.mode == Mode::Restart,
            exit_timeout: self.rules.exit_timeout,
            probation: self.rules.probation,
            ready_by: Instant::now() + Duration::from_secs(2),
            accepting: Accepting::Yes,
            demands: Demands { versions: VERSIONS, descriptors: 0 },
            timeouts: timeouts(),
        };
        let channel = Channel::new(socket).expect("a channel");
        let link = Link { channel, peer: Some(peer), hello: None };
        let stage = watch::Sender::new(Stage::Moving);
        let assignment = Assignment { task_id, plan, binary: None, stage };
        let (plane, board) = (self.old.clone(), self.predecessor.board().clone());
        let outgoing = Outgoing::new(plane.clone(), board, link, assignment);
        tokio::spawn(async move {
            let (_orders, mut receiver) = mpsc::channel(1);
            tokio::select! {
                outcome = outgoing.run(&mut receiver) => {
                    if let Outcome::Kept(_) = outcome {
                        let _ = kill.try_send(());
                    } else {
                        // The process exits.
                        plane.die();
                    }
                    outcome
                }
                Ok(()) = dead => {
                    plane.die();
                    Outcome::Superseded("dead".into())
                }
            }
        })
    }
}

impl Client {
    /// Says something and hears it again; false if the connection is closed.
    async fn talk(&mut self) -> bool {
        let said = format!("client {} says hello\n", self.id);
        if self.stream.write_all(said.as_bytes()).await.is_err() {
            return false;
        }
        let mut heard = vec![0; said.len()];
        match timeout(SOON, self.stream.read_exact(&mut heard)).await.expect("an answer") {
            Ok(_) => {
                assert_eq!(String::from_utf8_lossy(&heard), said);
                true
            }
            Err(_) => false,
        }
    }
}

/// The stand-in dies with the successor, and the successor with it.
async fn mourn(
    mut stand_in: Child,
    mut killed: mpsc::Receiver<()>,
    successor: tokio::task::AbortHandle,
    plane: Arc<Mutex<Option<Arc<EchoPlane>>>>,
) {
    let mut is_dead = false;
    while !is_dead && !successor.is_finished() {
        sleep(Duration::from_millis(1)).await;
        is_dead = stand_in.try_wait().expect("a child").is_some();
        let killed = timeout(Duration::from_millis(2), killed.recv()).await;
        is_dead |= killed.is_ok_and(|it| it.is_some());
    }
    if is_dead {
        successor.abort();
        // The dead open no gate any more.
        while !successor.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
    }
    if let Some(plane) = &*plane.lock().expect("unpoisoned") {
        plane.die();
    }
    let _ = stand_in.kill();
    let _ = stand_in.wait();
}

/// Between the two; counts messages.
struct Relay {
    fate: Fate,
    kill: mpsc::Sender<()>,
    p_dies: Option<oneshot::Sender<()>>,
}

impl Relay {
    async fn run(mut self, p: OwnedFd, s: OwnedFd) {
        let mut p = Channel::new(p).expect("a channel");
        let mut s = Channel::new(s).expect("a channel");
        let mut passed = 0;
        loop {
            match self.fate {
                Fate::SuccessorDies(at) if passed == at => {
                    let _ = self.kill.send(()).await;
                    return;
                }
                Fate::PredecessorDies(at) if passed == at => {
                    let _ = self.p_dies.take().map(|it| it.send(()));
                    return;
                }
                // Holds both ends open, until the ends themselves are gone.
                Fate::Mute(at) if passed == at => return sleep(SOON).await,
                _ => {}
            }
            let (received, to) = tokio::select! {
                received = p.recv() => (received, &s),
                received = s.recv() => (received, &p),
            };
            let Ok(received) = received else { return };
            let fds: Vec<_> = received.fds.iter().map(std::os::fd::AsFd::as_fd).collect();
            let kind = received.frame.message.name();
            if to.send(&received.frame, &fds, SOON).await.is_err() {
                return;
            }
            // Heartbeats come whenever they like.
            passed += usize::from(kind != "PROGRESS" && kind != "SEEN");
        }
    }
}
