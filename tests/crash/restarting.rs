//! A crash of either side in the middle of a restart, wherever it is: every session goes on, in one
//! process, and no byte is lost; who is left serves, in one pair.

use std::io::Read as _;
use std::net::TcpStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{Mined, Scene};
use crate::support::pressure::{Pressure, Waiting, Work, audit, open_bank};
use crate::support::tunnel::{Compression, Tunnel};
use crate::support::{Login, Wire, until};

/// No log-ins: those under way end with a process.
const WORKS: [Work; 5] =
    [Work::Transfer, Work::Transfer, Work::Prepared, Work::Select, Work::Select];

/// Clients that wait: plain ones, by TLS, compressed ones, and by a Unix socket.
const WAITING: [usize; 4] = [24, 8, 8, 8];

/// A client in the middle of its log-in.
struct Halfway(#[expect(dead_code, reason = "it is only to be there")] TcpStream);

impl Halfway {
    fn open(scene: &Scene) -> Self {
        let mut client = TcpStream::connect(scene.proxy.address()).expect("takes clients");
        client.read_exact(&mut [0; 16]).expect("is greeted");
        Self(client)
    }
}

/// Clients that wait, and clients that work.
struct Busy {
    waiting: [Waiting; 4],
    pressure: Pressure,
    tunnel: Tunnel,
    mined: Mined,
}

impl Busy {
    fn start(probation: &str, server_tls: &str) -> Option<Self> {
        let lines = format!("hot_upgrade_probation = \"{probation}\"\n");
        let mined = Mined::start(&lines, server_tls)?;
        open_bank(&mined.scene.database);
        let address = mined.scene.proxy.address();
        let tunnel = Tunnel::start(address.clone(), Compression::Zlib);
        let [plain, tls, compressed, unix] = WAITING;
        let waiting = [
            Waiting::open(&address, plain),
            Waiting::open_with(&address, tls, &Login { tls: true, ..Login::default() }),
            Waiting::open(&tunnel.address, compressed),
            Waiting::open_unix(&mined.socket, unix),
        ];
        let pressure = Pressure::start(&address, &WORKS);
        Some(Self { waiting, pressure, tunnel, mined })
    }

    /// Somebody has passed there, and every session is here.
    fn have_all_gone_on(&mut self, at: &str) {
        assert!(!self.mined.is_armed(), "{at}: nobody has passed there");
        self.pressure.until_more(2);
        self.nobody_is_dead(at);
        let here = self.mined.scene.admin().query("SHOW PROXYSESSION").named_rows();
        let all = WAITING.iter().sum::<usize>() + WORKS.len();
        assert_eq!(here.len(), all, "{at}: {here:?}");
    }

    fn nobody_is_dead(&mut self, at: &str) {
        let dead = self.waiting.each_mut().map(Waiting::dead);
        assert_eq!(dead, [0; 4], "{at}\n{}", self.mined.scene.proxy.log());
        self.tunnel.check();
    }

    /// Nobody has noticed anything, and no money has come or gone.
    fn end(self, at: &str) {
        let Self { pressure, mined: Mined { scene, .. }, .. } = self;
        let tally = pressure.stop();
        assert_eq!(tally.troubles, Vec::<String>::new(), "{at}\n{}", scene.proxy.log());
        assert_eq!(audit(&scene.database), tally.acknowledged, "{at}");
    }
}

fn crash(at: &str) {
    crash_with(at, "off");
}

/// The same with TLS to the server, too.
fn crash_by_tls(at: &str) {
    crash_with(at, "require");
}

fn crash_with(at: &str, server_tls: &str) {
    let Some(mut busy) = Busy::start("1s", server_tls) else { return };
    let scene = &busy.mined.scene;
    // Without somebody who cannot move there may be nothing to drain.
    let _halfway = at.contains(":drain:").then(|| Halfway::open(scene));
    let before = scene.proxy.process().all_living();
    busy.mined.arm(at);
    kill(Pid::from_raw(before[0] as i32), Signal::SIGUSR2).expect("it lives");
    let is_over = |log: &str| {
        let ends = ["restart undone", "takeover completed", "serving without the predecessor"];
        ends.iter().any(|end| log.contains(end))
    };
    until(&format!("one pair after {at}"), || {
        let is_one = scene.proxy.process().all_living().len() == 2
            && scene.proxy.http_status("/readyz") == Some(200);
        let has_crashed = || scene.try_crashes().is_some_and(|deaths| deaths.len() == 1);
        (is_one && (is_over(&scene.proxy.log()) || has_crashed())).then_some(())
    });
    busy.have_all_gone_on(at);
    let scene = &busy.mined.scene;
    // It is a pair as any other: its carrier may die, and it can be succeeded.
    let mut late = Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    late.run("SELECT 1");
    scene.kill(Signal::SIGKILL);
    scene.proxy.restart();
    busy.nobody_is_dead(at);
    late.run("SELECT 1");
    busy.pressure.until_more(2);
    busy.end(at);
}

/// The same while sessions come back.
fn crash_on_the_way_back(at: &str) {
    let Some(mut busy) = Busy::start("1h", "off") else { return };
    let scene = &busy.mined.scene;
    let before = scene.proxy.process().all_living();
    scene.admin().run("RESTART");
    until("the probation", || {
        let rows = scene.proxy.admin().ok()?.try_query("SHOW RESTART").ok()?.named_rows();
        (rows.first()?["phase"] == "PROBATION").then_some(())
    });
    busy.pressure.until_more(2);
    busy.mined.arm(at);
    // Whoever is asked may be dead before it has answered.
    let _ = scene.admin().try_query("RESTART ROLLBACK");
    until(&format!("the first pair again after {at}"), || {
        let living = scene.proxy.process().all_living();
        let is_one = living.len() == 2 && living[0] == before[0];
        (is_one && scene.proxy.http_status("/readyz") == Some(200)).then_some(())
    });
    busy.have_all_gone_on(at);
    busy.mined.scene.kill(Signal::SIGKILL);
    busy.nobody_is_dead(at);
    busy.end(at);
}

/// `point!(crash name: "SIDE:POINT:N:WHAT")` makes a test of it.
macro_rules! point {
    ($crash:ident $($name:ident: $spec:literal;)+) => {
        $(
            #[test]
            fn $name() {
                $crash($spec);
            }
        )+
    };
}

point! {
    crash
    the_successor_dies_before_hello: "successor:hello:1:kill";
    the_successor_dies_warm: "successor:warm:1:kill";
    the_successor_dies_with_the_listeners: "successor:listen:1:kill";
    the_successor_dies_before_it_has_anything: "successor:ready:1:kill";
    the_successor_dies_with_the_canary: "successor:parcels:1:kill";
    the_successor_dies_while_sessions_move: "successor:parcels:3:kill";
    the_successor_dies_at_the_first_session: "successor:adopt:1:kill";
    the_successor_dies_in_the_middle_of_a_batch: "successor:adopt:15:kill";
    the_successor_dies_at_one_of_the_last: "successor:adopt:44:kill";
    the_successor_dies_after_an_ack: "successor:acked:1:kill";
    the_successor_dies_after_another_ack: "successor:acked:3:kill";
    the_successor_dies_at_go: "successor:go:1:kill";
    the_successor_dies_once_it_accepts: "successor:accepted:1:kill";
    the_successor_dies_on_probation: "successor:probation:1:kill";
    the_successor_dies_later_on_probation: "successor:probation:4:kill";
    the_successor_dies_at_the_commit: "successor:commit:1:kill";
    the_successor_dies_when_it_has_confirmed: "successor:committed:1:kill";
    the_predecessor_dies_when_the_successor_has_come: "predecessor:hello:1:kill";
    the_predecessor_dies_before_it_gives_its_listeners: "predecessor:listen:1:kill";
    the_predecessor_dies_when_it_has_given_its_listeners: "predecessor:warm:1:kill";
    the_predecessor_dies_before_it_gives_sessions: "predecessor:ready:1:kill";
    the_predecessor_dies_with_the_canary_frozen: "predecessor:frozen:1:kill";
    the_predecessor_dies_with_a_batch_frozen: "predecessor:frozen:3:kill";
    the_predecessor_dies_before_it_sends: "predecessor:send:2:kill";
    the_predecessor_dies_when_it_has_sent_the_canary: "predecessor:sent:1:kill";
    the_predecessor_dies_while_sessions_move: "predecessor:sent:3:kill";
    the_predecessor_dies_at_an_ack: "predecessor:acked:1:kill";
    the_predecessor_dies_at_another_ack: "predecessor:acked:3:kill";
    the_predecessor_dies_when_it_accepts_no_more: "predecessor:closed:1:kill";
    the_predecessor_dies_once_the_other_accepts: "predecessor:accepted:1:kill";
    the_predecessor_dies_in_its_drain: "predecessor:drain:1:kill";
    the_predecessor_dies_on_probation: "predecessor:probation:1:kill";
    the_predecessor_dies_later_on_probation: "predecessor:probation:4:kill";
    the_predecessor_dies_before_it_commits: "predecessor:commit:1:kill";
    the_predecessor_dies_when_all_is_confirmed: "predecessor:committed:1:kill";
}

point! {
    crash_by_tls
    the_successor_dies_with_a_canary_by_tls: "successor:parcels:1:kill";
    the_successor_dies_with_sessions_by_tls: "successor:acked:2:kill";
    the_predecessor_dies_with_sessions_by_tls_frozen: "predecessor:frozen:3:kill";
    the_predecessor_dies_when_sessions_by_tls_move: "predecessor:sent:3:kill";
}

point! {
    crash_on_the_way_back
    the_successor_dies_before_it_gives_back: "successor:send:1:kill";
    the_successor_dies_when_it_has_given_one_batch_back: "successor:sent:1:kill";
    the_successor_dies_when_it_has_given_more_back: "successor:sent:2:kill";
    the_predecessor_dies_at_the_first_that_comes_back: "predecessor:adopt:1:kill";
    the_predecessor_dies_at_one_that_comes_back: "predecessor:adopt:20:kill";
}
