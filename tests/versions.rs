//! Restarts between neighbouring versions, upwards and downwards, with live sessions.
//!
//! Builds of other versions cannot be had, so with the feature `crash-points` a process of this one
//! passes for another: see `src/restart/transport/disguise.rs`. Each "version" is a script that
//! starts the binary in its clothes, and `RESTART BINARY = …` names it.
#![cfg(feature = "crash-points")]

#[path = "split/pair.rs"]
#[allow(dead_code)] // Others use more of it.
mod pair;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use pair::Pair;
use support::proxy::Options;
use support::{Database, Login, Proxy, Server, Wire, com, scratch, until};

/// This version, the one before and the one after.
const SAME: &str = "same";
const OLDER: &str = "older";
const NEWER: &str = "newer";

/// A database, a proxy of some version, and sessions in every stage.
struct Scene {
    sessions: Sessions,
    proxy: Proxy,
    database: Database,
    dir: tempfile::TempDir,
}

/// The script that starts the binary as this version.
fn version(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    let built = env!("CARGO_BIN_EXE_odp");
    let text = format!("#!/bin/sh\nexport ODP_ACT_AS={name}\nexec {built} \"$@\"\n");
    std::fs::write(&path, text).expect("the directory is ours");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    path
}

impl Scene {
    fn start(first: &str) -> Option<Self> {
        let database = Database::start(Server::MariaDb)?;
        database.execute(&["CREATE TABLE t (v INT, w LONGTEXT) ENGINE=InnoDB"]);
        let dir = scratch();
        let mut options = Options::new(&[database.address()]);
        options.binary = Some(version(&dir, first));
        options.proxy = "hot_upgrade_exit_timeout = \"60s\"\n".into();
        let proxy = Proxy::start_with(&options);
        let sessions = Sessions::open(&proxy.address(), &database);
        Some(Self { sessions, proxy, database, dir })
    }

    /// Asks for a restart; the task's id.
    fn ask(&self, next: &str) -> u64 {
        let binary = version(&self.dir, next);
        let mut admin = self.proxy.admin().expect("the admin port");
        let reply = admin.run(&format!("RESTART BINARY = '{}'", binary.display()));
        // OK, no rows changed, and the id, which is small. The process may be gone by now.
        reply.last().payload[2].into()
    }

    /// The task's row, once it says so.
    fn until_task(
        &self,
        id: u64,
        is_so: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> BTreeMap<String, String> {
        until(&format!("task {id}\n{}", self.proxy.log()), || {
            let tasks = self.proxy.admin().ok()?.try_query("SHOW RESTART").ok()?.named_rows();
            tasks.into_iter().find(|task| task["task_id"] == id.to_string()).filter(&is_so)
        })
    }

    /// To another version, and everybody comes along.
    fn restart(&mut self, next: &str) {
        let before = self.proxy.pid();
        let id = self.ask(next);
        let task = self.until_task(id, |task| task["state"] != "IN_PROGRESS");
        assert_eq!(task["state"], "COMPLETED", "to {next}: {task:?}\n{}", self.proxy.log());
        assert_eq!(task["moved"], task["sessions"], "to {next}: {task:?}\n{}", self.proxy.log());
        assert_eq!((&*task["disconnected"], &*task["phase"]), ("0", "COMMIT"), "{task:?}");
        until("one generation to be left", || {
            matches!(*self.proxy.process().living(), [one] if one != before).then_some(())
        });
        self.sessions.all_go_on(&self.database);
    }
}

/// One session of each kind, and what it must find again.
struct Sessions {
    idle: Wire,
    in_transaction: Wire,
    waiting: Wire,
    preparing: Wire,
    half: Wire,
    statement: u32,
    round: u32,
    /// What the server calls them.
    threads: [String; 5],
}

const HALF: &[u8] = b"\x09\0\0\0\x03SELE";

impl Sessions {
    fn open(address: &str, database: &Database) -> Self {
        let open = || Wire::open(address, &Login::default()).expect("a session");
        let mut all = [open(), open(), open(), open(), open()];
        let threads = all.each_mut().map(|wire| wire.run("SELECT CONNECTION_ID()").text());
        let [idle, in_transaction, waiting, mut preparing, half] = all;
        let statement = preparing.prepare("INSERT INTO t VALUES (?, ?)");
        let mut sessions =
            Self { idle, in_transaction, waiting, preparing, half, statement, round: 0, threads };
        sessions.begin(database);
        sessions
    }

    /// Puts each into its stage again.
    fn begin(&mut self, database: &Database) {
        self.round += 1;
        self.idle.run(&format!("SET @round = {}", self.round));
        self.in_transaction.run("BEGIN");
        self.in_transaction.run(&format!("INSERT INTO t (v) VALUES ({})", self.round));
        // The one with the lock is no client of the proxy's.
        database.execute(&["DO RELEASE_ALL_LOCKS()"]);
        self.in_transaction.run("SELECT GET_LOCK('gate', 60)");
        self.waiting.command(com::QUERY, b"SELECT GET_LOCK('gate', 60), RELEASE_LOCK('gate')");
        database.until_counted(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User lock'",
        );
        let id = self.statement.to_le_bytes();
        self.preparing.command(0x18, &[&id[..], &[1, 0], b"long "].concat());
        self.half.send(HALF).expect("a session");
    }

    fn all_go_on(&mut self, database: &Database) {
        self.go_on_until_the_commit();
        self.commit();
        self.begin(database);
    }

    /// The transaction is still open.
    fn go_on_until_the_commit(&mut self) {
        assert_eq!(self.idle.run("SELECT @round").text(), self.round.to_string());
        assert!(self.in_transaction.run("SELECT RELEASE_LOCK('gate')").in_transaction());
        let waited = self.waiting.reply(com::QUERY);
        assert_eq!(waited.error(), None, "{:?}", waited.last());
        assert_eq!(self.idle.run(&self.inserted()).text(), "0", "it is not committed yet");
    }

    /// How often what the transaction inserts is there.
    fn inserted(&self) -> String {
        format!("SELECT COUNT(*) FROM t WHERE v = {}", self.round)
    }

    fn commit(&mut self) {
        self.in_transaction.run("COMMIT");
        assert_eq!(self.idle.run(&self.inserted()).text(), "1");
        self.execute();
        self.half.send(b"CT 1").expect("a session");
        assert_eq!(self.half.reply(com::QUERY).text(), "1");
        for (wire, thread) in [
            &mut self.idle,
            &mut self.in_transaction,
            &mut self.waiting,
            &mut self.preparing,
            &mut self.half,
        ]
        .into_iter()
        .zip(&self.threads)
        {
            assert_eq!(wire.run("SELECT CONNECTION_ID()").text(), *thread);
        }
    }

    /// The id of the one that is not understood, as operators see it.
    fn refused(&self) -> u32 {
        self.in_transaction.greeting.connection_id
    }

    /// The rest of the long data, and the statement with it.
    fn execute(&mut self) {
        let id = self.statement.to_le_bytes();
        self.preparing.command(0x18, &[&id[..], &[1, 0], b"data"].concat());
        let number = (self.round + 1000).to_le_bytes();
        // Flags, iterations, no NULLs, new types: LONG and LONG_BLOB; the latter was sent before.
        let values = [&id[..], &[0, 1, 0, 0, 0, 0, 1, 3, 0, 251, 0], &number].concat();
        let reply = self.preparing.ask(com::EXECUTE, &values);
        assert_eq!(reply.error(), None, "{:?}", reply.last());
        let written = format!("SELECT w FROM t WHERE v = {}", self.round + 1000);
        assert_eq!(self.preparing.run(&written).text(), "long data");
    }
}

#[test]
fn up_and_down_between_neighbouring_versions_nobody_notices() {
    let Some(mut scene) = Scene::start(SAME) else { return };
    let mut serving = SAME;
    for next in [OLDER, SAME, NEWER, OLDER, NEWER, SAME] {
        scene.restart(next);
        let mut admin = scene.proxy.admin().expect("the admin port");
        let who = admin.run("SHOW RESTART").named_rows()[0]["started_by"].clone();
        assert_eq!(who.starts_with("root@127.0.0.1:"), serving != OLDER, "from {serving}: {who}");
        serving = next;
    }
    let tasks = scene.proxy.admin().expect("the admin port").run("SHOW RESTART").named_rows();
    // What only the newer one understands is shown as what it is.
    let odd = tasks.last().expect("a task");
    let seen = (&*odd["task_id"], &*odd["mode"], &*odd["state"], &*odd["phase"]);
    assert_eq!(seen, ("0", "UNKNOWN", "UNKNOWN", "UNKNOWN"), "{tasks:?}");
    assert_eq!(tasks[0]["state"], "COMPLETED");
}

#[test]
fn versions_that_have_none_in_common_name_both_ranges_and_nothing_happens() {
    let Some(mut scene) = Scene::start(SAME) else { return };
    for stranger in ["former", "future"] {
        let pid = scene.proxy.pid();
        let id = scene.ask(stranger);
        let task = scene.until_task(id, |task| task["state"] != "IN_PROGRESS");
        assert_eq!((&*task["state"], &*task["moved"]), ("FAILED", "0"), "{task:?}");
        let [ours, theirs] = ranges(&task["detail"]);
        assert!(ours[1] < theirs[0] || theirs[1] < ours[0], "{task:?}");
        until("only the predecessor to be left", || {
            (scene.proxy.process().living() == [pid]).then_some(())
        });
        scene.sessions.all_go_on(&scene.database);
    }
    scene.restart(SAME);
}

/// With a client that does not log in, a restart comes as far as DRAIN and stays there.
fn rolls_back(next: &str) {
    let Some(mut scene) = Scene::start(SAME) else { return };
    let first = scene.proxy.pid();
    let slow = Wire::connect(&scene.proxy.address()).expect("a greeting");
    let id = scene.ask(next);
    scene.until_task(id, |task| task["moved"] == "5" && task["draining"] == "1");
    until("the successor to serve", || {
        let mut admin = scene.proxy.admin().ok()?;
        let binary = admin.try_query("SHOW PROXYINFO BINARY").ok()?.rows();
        let pid = binary.iter().find(|row| row[0].as_deref() == Some(b"pid"))?[1].clone()?;
        if pid == first.to_string().into_bytes() {
            return None;
        }
        (admin.try_query("RESTART ROLLBACK").ok()?.error().is_none()).then_some(())
    });
    let task = scene.until_task(id, |task| task["state"] != "IN_PROGRESS");
    assert_eq!(task["state"], "ROLLED_BACK", "{task:?}\n{}", scene.proxy.log());
    until("only the predecessor to be left", || {
        (scene.proxy.process().living() == [first]).then_some(())
    });
    drop(slow);
    scene.sessions.all_go_on(&scene.database);
    scene.restart(next);
}

#[test]
fn a_newer_successor_gives_every_session_back() {
    rolls_back(NEWER);
}

#[test]
fn an_older_successor_gives_every_session_back() {
    rolls_back(OLDER);
}

/// `… versions A to B here, C to D there …`
fn ranges(detail: &str) -> [[u32; 2]; 2] {
    let numbers: Vec<u32> = detail.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let [a, b, c, d, ..] = numbers[..] else { panic!("no ranges in '{detail}'") };
    [[a, b], [c, d]]
}

/// A session that this version does not understand stays with a newer predecessor.
fn stays(predecessor: &str, reason: &str) {
    let Some(mut scene) = Scene::start(predecessor) else { return };
    let first = scene.proxy.pid();
    let id = scene.ask(SAME);
    let task = scene.until_task(id, |task| task["phase"] == "DRAIN" || task["draining"] == "1");
    let refused = format!("session {} refused: {reason}", scene.sessions.refused());
    let task = match task["detail"].contains(&refused) {
        true => task,
        false => scene.until_task(id, |task| task["detail"].contains(&refused)),
    };
    assert_eq!((&*task["draining"], &*task["moved"]), ("1", "4"), "{task:?}");
    assert!(scene.proxy.process().living().contains(&first));
    scene.sessions.go_on_until_the_commit();
    // Between two transactions it is a session as any other, and may move.
    assert!(scene.proxy.process().living().contains(&first), "it is still served there");
    scene.sessions.commit();
    // With its last session the predecessor goes.
    let Scene { sessions, .. } = &mut scene;
    sessions.in_transaction.send(b"\x01\0\0\0\x01").expect("a session");
    sessions.in_transaction.until_closed();
    let task = scene.until_task(id, |task| task["state"] != "IN_PROGRESS");
    assert_eq!((&*task["state"], &*task["disconnected"]), ("COMPLETED", "0"), "{task:?}");
}

#[test]
fn a_session_with_a_critical_field_stays_with_who_knows_it() {
    stays("newer-critical", "field 'rewind' is critical and unknown");
}

/// A session that reads from a replica goes on where its links are known; others move.
#[test]
fn a_session_with_several_links_stays_with_who_knows_them() {
    const WHO: &str = "SELECT name FROM p.who";
    let Some(pair) = Pair::start("causal_reads = \"off\"") else { return };
    pair.marked();
    let (dir, proxy) = (scratch(), &pair.proxy);
    let ask = |next| {
        let before = proxy.process().living();
        let binary = version(&dir, next);
        let mut admin = proxy.admin().expect("the admin port");
        admin.run(&format!("RESTART BINARY = '{}'", binary.display()));
        before
    };
    let newest =
        || proxy.admin().ok()?.try_query("SHOW RESTART").ok()?.named_rows().into_iter().next();
    let first = ask("newer-links");
    until("that version alone", || {
        let living = proxy.process().living();
        (living.len() == 1 && living != first).then_some(())
    });
    pair.until_roles(&["replica", "primary"]);
    let [mut split, mut plain] = [pair.open(), pair.open()];
    assert_eq!(split.run(WHO).text(), "replica");
    plain.run("SET @a = 'kept'");
    // It is not among those that are tried first, all of which have to be taken.
    split.run("BEGIN");
    let second = ask(SAME);
    let refused = "refused: field 'session.conversation.branches' is critical and unknown";
    let task = until("the other to have moved", || {
        newest().filter(|task| task["detail"].contains(refused) && task["moved"] == "1")
    });
    assert_eq!(&*task["draining"], "1", "{task:?}");
    assert!(split.run("SELECT COUNT(*) FROM p.t").in_transaction());
    split.run("COMMIT");
    for _ in 0..3 {
        assert_eq!(split.run(WHO).text(), "replica");
        split.run("INSERT INTO p.t (n) VALUES (7)");
        assert_eq!(split.run("SELECT name FROM p.who FOR UPDATE").text(), "primary");
    }
    assert_eq!(plain.run("SELECT @a").text(), "kept");
    assert!(proxy.process().living().contains(&second[0]), "it is still served there");
    drop(split);
    until("the end of the restart", || newest().filter(|task| task["state"] == "COMPLETED"));
}

#[test]
fn a_session_in_an_unknown_phase_stays_with_who_knows_it() {
    stays("newer-phase", "unknown variant `Suspended`");
}

#[test]
fn a_rehearsal_says_what_a_restart_would_refuse_and_moves_nothing() {
    let Some(mut scene) = Scene::start("newer-critical") else { return };
    let pid = scene.proxy.pid();
    let rehearse = |next| {
        let binary = version(&scene.dir, next);
        let mut admin = scene.proxy.admin().expect("the admin port");
        admin.run(&format!("RESTART REHEARSE BINARY = '{}'", binary.display()));
        let tasks = admin.run("SHOW RESTART").named_rows();
        let id = tasks[0]["task_id"].parse().expect("a number");
        scene.until_task(id, |task| task["state"] != "IN_PROGRESS")
    };
    let task = rehearse(SAME);
    let refused = scene.sessions.refused();
    let expected = format!(
        "4 of 5 sessions would move; session {refused}: field 'rewind' is critical and unknown"
    );
    assert_eq!((&*task["state"], &*task["detail"]), ("FAILED", &*expected), "{task:?}");
    assert_eq!((&*task["mode"], &*task["moved"]), ("REHEARSE", "4"), "{task:?}");
    // Who knows no version in common is told so before anything is shown.
    let task = rehearse("former");
    assert_eq!((&*task["state"], &*task["moved"]), ("FAILED", "0"), "{task:?}");
    let [ours, theirs] = ranges(&task["detail"]);
    assert!(theirs[1] < ours[0], "{task:?}");
    until("only the predecessor to be left", || {
        (scene.proxy.process().living() == [pid]).then_some(())
    });
    scene.sessions.all_go_on(&scene.database);
}

#[test]
fn a_successor_that_hangs_or_dies_in_a_rehearsal_is_ended() {
    let Some(mut scene) = Scene::start(SAME) else { return };
    let pid = scene.proxy.pid();
    for (what, why) in [
        ("stop", "the successor hangs: no ACKS"),
        ("kill", "the successor died"),
        ("err", "the successor: injected error at rehearse"),
    ] {
        let binary = version(&scene.dir, SAME);
        let text = std::fs::read_to_string(&binary).expect("ours");
        let crash = format!("export ODP_CRASH_AT=successor:rehearse:1:{what}\nexec");
        std::fs::write(&binary, text.replace("exec", &crash)).expect("ours");
        let mut admin = scene.proxy.admin().expect("the admin port");
        admin.run(&format!("RESTART REHEARSE BINARY = '{}'", binary.display()));
        let tasks = admin.run("SHOW RESTART").named_rows();
        let id = tasks[0]["task_id"].parse().expect("a number");
        let task = scene.until_task(id, |task| task["state"] != "IN_PROGRESS");
        assert_eq!((&*task["state"], &*task["detail"]), ("FAILED", why), "{what}: {task:?}");
        until("only the predecessor to be left", || {
            (scene.proxy.process().living() == [pid]).then_some(())
        });
    }
    scene.sessions.all_go_on(&scene.database);
}
