//! Sessions with several servers, and such as have moved, outlive the proxy.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use odp::wire::command::code;

use crate::pair::Pair;
use crate::scene::Scene;
use crate::support::database::PASSWORD;
use crate::support::pki::Pki;
use crate::support::proxy::Options;
use crate::support::raw::command_packets;
use crate::support::replication::replicating;
use crate::support::{Database, Ender, Login, Server, Wire, scratch, until};

pub(crate) const WHO: &str = "SELECT name FROM p.who";

/// Where clients of a primary read.
pub(crate) struct Split {
    pub scene: Scene,
    pub replica: Database,
    /// How clients log in.
    login: Login,
    /// Whoever comes after a crash may read the files again.
    _dir: Option<tempfile::TempDir>,
}

impl Split {
    fn start() -> Option<Self> {
        Self::start_with("causal_reads = \"off\"", |_| ())
    }

    /// With this line for the cluster, and other options.
    pub(crate) fn start_with(causal_reads: &str, change: fn(&mut Options)) -> Option<Self> {
        if crate::support::proxy::is_haproxy() {
            return None;
        }
        Self::over(Pair::replicating(Server::MariaDb)?, causal_reads, change)
    }

    /// The same, where all connections have TLS.
    pub(crate) fn start_with_tls(causal_reads: &str) -> Option<Self> {
        if crate::support::proxy::is_haproxy() {
            return None;
        }
        let dir = scratch();
        let files = Pki::new().write(dir.path());
        let of_server = files.of_server();
        let of_server: Vec<&str> = of_server.iter().map(String::as_str).collect();
        let two = replicating(Server::MariaDb, &of_server)?;
        let tls = files.of_proxy("require");
        let split = Self::over(two, causal_reads, |options| options.rest.push_str(&tls))?;
        Some(Self { login: Login { tls: true, ..Login::default() }, _dir: Some(dir), ..split })
    }

    fn over(
        (primary, replica): (Database, Database),
        causal_reads: &str,
        change: impl FnOnce(&mut Options),
    ) -> Option<Self> {
        let mut options = Options::new(&[replica.address(), primary.address()]);
        options.cluster = format!(
            "service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n\
             read_write_split = \"on\"\n{causal_reads}\n"
        );
        options.proxy =
            "crash_protection = true\nserver_detect_refresh_interval = \"100ms\"\n".into();
        options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
        change(&mut options);
        let pair = Pair::with(primary, replica, &options);
        pair.marked();
        let Pair { primary, replica, proxy } = pair;
        let (scene, login) = (Scene { database: primary, proxy }, Login::default());
        Some(Self { scene, replica, login, _dir: None })
    }

    fn open(&self) -> Wire {
        let wire = Wire::open(&self.scene.proxy.address(), &self.login);
        let mut wire = wire.expect("takes clients");
        self.until_roles(&mut wire);
        wire
    }

    /// Waits until the proxy knows again who is a replica.
    fn until_roles(&self, wire: &mut Wire) {
        until("the roles to be known", || (wire.run(WHO).text() == "replica").then_some(()));
    }

    /// Kills the proxy; all of this many sessions go on. Whoever has left may not have been seen
    /// off by its servers yet.
    fn kill(&self, sessions: usize) {
        until("all others to be gone", || {
            let shown = self.scene.admin().query("SHOW PROXYSESSION").row_count();
            (shown == sessions).then_some(())
        });
        self.scene.kill(Signal::SIGKILL);
        let (crash, sessions) = (&self.scene.crashes()[0], sessions.to_string());
        let log = || self.scene.proxy.log();
        let found = (&crash["sessions"], &crash["resumed"]);
        assert_eq!(found, (&sessions, &sessions), "{crash:?}\n{}", log());
    }

    /// Has the replica keep readers of `p.who` waiting, as long as this is there.
    fn hold(&self) -> Wire {
        let mut wire = self.replica.admin();
        wire.run("LOCK TABLES p.who WRITE");
        wire
    }
}

fn attribute(scene: &Scene, wire: &Wire) -> String {
    let id = wire.greeting.connection_id;
    let show = format!("SHOW PROXYSESSION ATTRIBUTE {id} LIKE 'crash_protected'");
    scene.admin().query(&show).named_rows()[0]["value"].clone()
}

#[test]
fn sessions_with_readers_go_on_where_they_stood() {
    let Some(split) = Split::start() else { return };
    let mut sessions: Vec<Wire> = (0..10).map(|_| split.open()).collect();
    let ids: Vec<String> =
        sessions.iter_mut().map(|wire| wire.run("SELECT CONNECTION_ID()").text()).collect();
    for (n, wire) in sessions.iter_mut().enumerate() {
        assert_eq!(attribute(&split.scene, wire), "true");
        wire.run(&format!("SET @n = {n}"));
        if n % 2 == 0 {
            wire.run("BEGIN");
            wire.run(&format!("INSERT INTO p.t (n) VALUES ({})", 100 + n));
        }
    }
    for _ in 0..4 {
        split.kill(10);
        split.until_roles(&mut split.open());
        for (n, (wire, id)) in sessions.iter_mut().zip(&ids).enumerate() {
            let is_writing = n % 2 == 0;
            let (who, read) = (if is_writing { "primary" } else { "replica" }, n.to_string());
            let row = wire.run("SELECT @n, name FROM p.who").rows()[0].clone();
            assert_eq!(row, [Some(read.into_bytes()), Some(who.as_bytes().to_vec())]);
            assert_eq!(&wire.run("SELECT CONNECTION_ID()").text(), id);
        }
    }
    for (n, wire) in sessions.iter_mut().enumerate().filter(|(n, _)| n % 2 == 0) {
        let count = format!("SELECT COUNT(*) FROM p.t WHERE n = {}", 100 + n);
        assert_eq!(wire.run(&count).text(), "1");
        wire.run("COMMIT");
        split.until_roles(wire);
    }
}

/// A read waits on the replica, others and writes wait behind it.
#[test]
fn answers_of_readers_come_after_a_crash() {
    let Some(split) = Split::start() else { return };
    let (mut reading, mut behind) = (split.open(), split.open());
    let holder = split.hold();
    reading.command(code::QUERY, WHO.as_bytes());
    let all = [WHO, "INSERT INTO p.t (n) VALUES (8)", WHO, "SELECT name FROM p.who FOR UPDATE"];
    let packets: Vec<u8> =
        all.iter().flat_map(|sql| command_packets(code::QUERY, sql.as_bytes())).collect();
    behind.send(&packets).expect("it takes them");
    split.replica.until_counted(
        "SELECT COUNT(*) > 1 FROM information_schema.processlist \
         WHERE state LIKE 'Waiting for table%'",
    );
    split.kill(2);
    split.kill(2);
    drop(holder);
    assert_eq!(reading.reply(code::QUERY).text(), "replica");
    assert_eq!(behind.reply(code::QUERY).text(), "replica");
    assert_eq!(behind.reply(code::QUERY).error(), None);
    // Whether it is known by then who is a replica or not.
    assert_eq!(behind.reply(code::QUERY).error(), None);
    assert_eq!(behind.reply(code::QUERY).text(), "primary");
}

/// Nor does it matter that both are gone.
#[test]
fn what_a_reader_was_asked_the_home_answers_if_it_is_lost_with_the_proxy() {
    let Some(mut split) = Split::start() else { return };
    let mut reading = split.open();
    let _holder = split.hold();
    reading.command(code::QUERY, WHO.as_bytes());
    split.replica.until_counted(
        "SELECT COUNT(*) FROM information_schema.processlist \
         WHERE state LIKE 'Waiting for table%'",
    );
    split.kill(1);
    split.replica.kill9();
    assert_eq!(reading.reply(code::QUERY).text(), "primary");
    assert_eq!(reading.run(WHO).text(), "primary");
}

#[test]
fn a_readers_result_that_is_read_slowly_arrives_as_it_was_sent() {
    let Some(split) = Split::start() else { return };
    let rows = "SELECT seq, name, REPEAT(CHAR(65 + seq % 26), 17 * seq % 3001) \
                FROM p.who, p.seq_1_to_9000";
    let mut wire = split.open();
    let expected = wire.run(rows).packets;
    let whole: usize = expected.iter().map(|packet| packet.payload.len()).sum();
    let (mut read, mut kills) = (0, 0);
    wire.command(code::QUERY, rows.as_bytes());
    for expected in &expected {
        let found = wire.packet();
        assert_eq!(found.sequence, expected.sequence, "behind {read} bytes");
        assert!(found.payload == expected.payload, "behind {read} bytes");
        read += found.payload.len();
        if kills < 3 && read > (2 * kills + 1) * whole / 8 {
            kills += 1;
            split.kill(1);
        }
    }
    assert_eq!((kills, wire.run("SELECT 7").text()), (3, "7".to_owned()));
}

/// Reads, writes and transactions that never stop, while the proxy is killed again and again: also
/// while a session's home is asked about its state, or how far a reader must be.
fn reads_here_and_writes_there(split: &Split) {
    const CLIENTS: usize = 8;
    let (is_over, are_there) = (AtomicBool::new(false), Barrier::new(CLIENTS + 1));
    let turn = |wire: &mut Wire, own: usize, turns: usize| -> String {
        wire.run(&format!("INSERT INTO p.t (n) VALUES ({own})"));
        wire.run(&format!("SET @turns = {turns}"));
        // The primary, as long as it is not known who else there is.
        let row = wire.run("SELECT @turns, name FROM p.who").rows().remove(0);
        assert_eq!(row[0], Some(turns.to_string().into_bytes()));
        let who = row[1].clone().expect("a name");
        wire.run("BEGIN");
        wire.run("UPDATE p.t SET n = n WHERE id = 1 AND n = 0");
        assert_eq!(wire.run(WHO).text(), "primary");
        wire.run("COMMIT");
        String::from_utf8(who).expect("a name")
    };
    let client = |n: usize| {
        let (mut wire, mut turns, own) = (split.open(), 0, 1000 * (n + 1));
        are_there.wait();
        while !is_over.load(Ordering::Relaxed) {
            let who = turn(&mut wire, own, turns);
            assert!(["primary", "replica"].contains(&&*who), "{who}");
            turns += 1;
        }
        let count = format!("SELECT COUNT(*) FROM p.t WHERE n = {own} FOR UPDATE");
        assert_eq!(wire.run(&count).text(), turns.to_string());
    };
    let client = &client;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || client(n))).collect();
        are_there.wait();
        for _ in 0..12 {
            split.scene.kill(Signal::SIGKILL);
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|it| it.join().expect("nothing wrong is told"));
    });
    for crash in split.scene.crashes() {
        assert_eq!(crash["lost"], "0", "{crash:?}");
    }
}

#[test]
fn who_reads_here_and_writes_there_goes_on() {
    let Some(split) = Split::start() else { return };
    reads_here_and_writes_there(&split);
}

#[test]
fn who_reads_its_own_writes_elsewhere_goes_on() {
    let Some(split) = Split::start_with("causal_reads = \"session\"", |_| ()) else { return };
    reads_here_and_writes_there(&split);
}

#[test]
fn who_reads_here_and_writes_there_by_tls_goes_on() {
    let Some(split) = Split::start_with_tls("causal_reads = \"session\"") else { return };
    reads_here_and_writes_there(&split);
}

/// Two servers that a session may move between.
struct Two {
    scene: Scene,
    other: Database,
}

impl Two {
    fn start() -> Option<Self> {
        if crate::support::proxy::is_haproxy() {
            return None;
        }
        let start = || Database::start(Server::MariaDb);
        let (one, other) = (start()?, start()?);
        let mut options = Options::new(&[one.address(), other.address()]);
        options.proxy = "crash_protection = true\n".into();
        options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
        let proxy = crate::support::Proxy::start_with(&options);
        Some(Self { scene: Scene { database: one, proxy }, other })
    }

    /// A client, and the id that operators know it by.
    fn open(&self) -> (Wire, u32) {
        let wire = Wire::open(&self.scene.proxy.address(), &Login::default());
        let mut wire = wire.expect("takes clients");
        wire.run("SET @kept = 'yes'");
        let id = wire.greeting.connection_id;
        (wire, id)
    }

    /// Kills the proxy; the one session goes on.
    fn kill(&self) {
        self.scene.kill(Signal::SIGKILL);
        let crash = &self.scene.crashes()[0];
        assert_eq!((&crash["sessions"][..], &crash["resumed"][..]), ("1", "1"), "{crash:?}");
    }
}

#[test]
fn a_session_that_has_moved_goes_on_where_it_went() {
    let Some(two) = Two::start() else { return };
    let (mut wire, id) = two.open();
    for _ in 0..3 {
        let port = wire.run("SELECT @@port").text();
        let is_at_one = two.scene.database.address().ends_with(&format!(":{port}"));
        let to = if is_at_one { two.other.address() } else { two.scene.database.address() };
        two.scene.admin().run(&format!("MOVE PROXYSESSION {id} TO '{to}'"));
        two.kill();
        let port = wire.run("SELECT @@port").text();
        assert!(to.ends_with(&format!(":{port}")), "{to}, but it is on {port}");
        assert_eq!(wire.run("SELECT @kept").text(), "yes");
    }
}

#[test]
fn a_session_on_its_way_goes_on_here_or_there() {
    let Some(two) = Two::start() else { return };
    let (mut wire, id) = two.open();
    let (two, is_over, moves) = (&two, AtomicBool::new(false), AtomicU64::new(0));
    let mut random = crate::campaign::Random::new(std::process::id().into(), 3);
    std::thread::scope(|scope| {
        let _ender = Ender(&is_over);
        scope.spawn(|| {
            let ways = [two.other.address(), two.scene.database.address()];
            for to in ways.iter().cycle() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // Whoever is asked may be about to die.
                let Ok(mut admin) = two.scene.proxy.admin() else { continue };
                let moved = admin.try_query(&format!("MOVE PROXYSESSION {id} TO '{to}'"));
                moves.fetch_add(u64::from(moved.is_ok()), Ordering::Relaxed);
            }
        });
        for _ in 0..15 {
            let goal = moves.load(Ordering::Relaxed) + 1;
            until("a move", || (moves.load(Ordering::Relaxed) >= goal).then_some(()));
            random.pause(Duration::from_millis(12));
            two.kill();
            assert_eq!(wire.run("SELECT @kept").text(), "yes");
        }
    });
}
