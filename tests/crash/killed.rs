//! What goes on after a kill, and what does not.

use std::io::Read as _;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::Scene;
use crate::support::proxy::{Revived, is_haproxy};
use crate::support::{Database, Ender, Login, Server, Wire, until};
use odp::wire::command::code;

type Row = std::collections::BTreeMap<String, String>;

/// Idle, in a transaction, with state that only its server has.
#[test]
fn sessions_go_on_where_they_stood() {
    let Some(scene) = Scene::start() else { return };
    scene.database.execute(&["CREATE TABLE t (n INT)"]);
    let open = || Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    let mut sessions: Vec<Wire> = (0..30).map(|_| open()).collect();
    let ids: Vec<String> =
        sessions.iter_mut().map(|wire| wire.run("SELECT CONNECTION_ID()").text()).collect();
    for (n, wire) in sessions.iter_mut().enumerate() {
        wire.run(&format!("SET @n = {n}"));
        wire.run("CREATE TEMPORARY TABLE mine (n INT)");
        wire.run("BEGIN");
        wire.run(&format!("INSERT INTO t VALUES ({n})"));
    }
    for round in 0..6 {
        let signal = if round == 3 { Signal::SIGABRT } else { Signal::SIGKILL };
        scene.kill(signal);
        for (n, (wire, id)) in sessions.iter_mut().zip(&ids).enumerate() {
            assert_eq!(&wire.run("SELECT CONNECTION_ID()").text(), id);
            assert_eq!(wire.run("SELECT @n").text(), n.to_string());
            wire.run(&format!("INSERT INTO mine VALUES ({n})"));
        }
        let crash = &scene.crashes()[0];
        assert_eq!(crash["how"], signal.as_str(), "{crash:?}");
        assert_eq!((&crash["sessions"][..], &crash["resumed"][..]), ("30", "30"), "{crash:?}");
    }
    for wire in &mut sessions {
        assert_eq!(wire.run("SELECT COUNT(*) FROM mine").text(), "6");
        wire.run("COMMIT");
    }
    let mut late = open();
    assert_eq!(late.run("SELECT COUNT(*) FROM t").text(), "30");
}

/// The server works on it while nobody is there.
#[test]
fn a_statement_under_way_is_answered_all_the_same() {
    let Some(scene) = Scene::start() else { return };
    let login = Login::default();
    let mut waiting = Wire::open(&scene.proxy.address(), &login).expect("takes clients");
    let mut other = Wire::open(&scene.proxy.address(), &login).expect("takes clients");
    other.run("DO GET_LOCK('gate', 60)");
    waiting.command(code::QUERY, b"SELECT GET_LOCK('gate', 60), 'done'");
    until("it waits", || {
        let waits = "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User lock'";
        (other.run(waits).text() == "1").then_some(())
    });
    scene.kill(Signal::SIGKILL);
    other.run("DO RELEASE_LOCK('gate')");
    assert_eq!(waiting.reply(code::QUERY).text(), "1");
    assert_eq!(waiting.run("SELECT 7").text(), "7");
}

/// One before and one after, by a pair that came after another pair.
#[test]
fn a_restart_brings_a_pair_that_survives_as_well() {
    let Some(scene) = Scene::start() else { return };
    let mut wire = Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    wire.run("SET @kept = 'yes'");
    for _ in 0..2 {
        scene.kill(Signal::SIGKILL);
        scene.proxy.restart();
        assert_eq!(wire.run("SELECT @kept").text(), "yes");
    }
    scene.kill(Signal::SIGKILL);
    assert_eq!(wire.run("SELECT @kept").text(), "yes");
    // A crash is no restart: the generation is the same.
    let info = scene.admin().query("SHOW PROXYINFO BINARY").named_rows();
    let generation = info.iter().find(|row| row["name"] == "generation").expect("it has one");
    assert_eq!(generation["info"], "3");
}

/// Nobody counts what is done with a Unix socket but who does it, so whoever is killed at that very
/// moment leaves a session that cannot go on: its connection closes, and it is counted by why.
#[test]
fn sessions_by_unix_sockets_go_on_but_for_one_a_thread() {
    const KILLS: usize = 8;
    const THREADS: usize = 2;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("odp.sock");
    if is_haproxy() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let server = format!("unix:{}", database.socket.display());
    let scene = Scene::before(database, |options| {
        options.listen = vec![format!("unix:{}", path.display())];
        options.servers = vec![server];
        options.proxy = format!("workers = {THREADS}\n");
    });
    let open = || Wire::open_unix(&path, &Login::default()).expect("takes clients");
    let mut idle: Vec<Wire> = (0..10).map(|_| open()).collect();
    for (n, wire) in idle.iter_mut().enumerate() {
        wire.run(&format!("SET @n = {n}"));
    }
    let id = idle[0].greeting.connection_id;
    let show = format!("SHOW PROXYSESSION ATTRIBUTE {id} LIKE 'crash_protected'");
    assert_eq!(scene.admin().query(&show).named_rows()[0]["value"], "true");
    let (is_over, are_there) = (AtomicBool::new(false), Barrier::new(13));
    // Whether it has gone on to the end.
    let ask = |mut wire: Wire| {
        are_there.wait();
        for n in 0_u64.. {
            let Ok(reply) =
                wire.try_query(&format!("SELECT {n}, REPEAT('x', {})", n * 97 % 20_011))
            else {
                return false;
            };
            assert_eq!(reply.rows()[0][0], Some(n.to_string().into_bytes()));
            if is_over.load(Ordering::Relaxed) {
                break;
            }
        }
        true
    };
    let lost = std::thread::scope(|scope| {
        let busy: Vec<_> = (0..12).map(|_| scope.spawn(|| ask(open()))).collect();
        are_there.wait();
        let _ender = Ender(&is_over);
        for _ in 0..KILLS {
            scene.kill(Signal::SIGKILL);
            for (n, wire) in idle.iter_mut().enumerate() {
                assert_eq!(wire.run("SELECT @n").text(), n.to_string());
            }
        }
        is_over.store(true, Ordering::Relaxed);
        busy.into_iter()
            .map(|it| it.join().expect("it says the truth"))
            .filter(|has_gone_on| !has_gone_on)
            .count()
    });
    let counted: usize = scene
        .crashes()
        .iter()
        .map(|crash| {
            assert!(crash["lost"] == "0" || crash["reasons"].starts_with("bytes on their way"));
            let lost = crash["lost"].parse::<usize>().expect("a number");
            assert!(lost <= THREADS, "{crash:?}");
            lost
        })
        .sum();
    assert_eq!(counted, lost);
    assert_eq!(open().run("SELECT 2").text(), "2");
}

/// The listening sockets are open as long as the keeper lives, so who connects waits in their
/// queues.
#[test]
fn who_connects_while_nobody_serves_is_not_refused() {
    let Some(scene) = Scene::start() else { return };
    let (keeper, carrier) = (scene.proxy.process(), scene.carrier());
    keeper.signal(Signal::SIGSTOP);
    kill(Pid::from_raw(carrier as i32), Signal::SIGKILL).expect("it lives");
    until("the carrier to be gone", || (!keeper.all_living().contains(&carrier)).then_some(()));
    let connect = |_| TcpStream::connect(scene.proxy.address()).expect("nobody is refused");
    let mut waiting: Vec<TcpStream> = (0..20).map(connect).collect();
    keeper.signal(Signal::SIGCONT);
    for client in &mut waiting {
        let mut greeting = [0; 5];
        client.read_exact(&mut greeting).expect("it is greeted");
        assert_eq!(greeting[3..], [0, 10], "packet 0, protocol 10");
    }
}

/// At no moment: one after the other, all the time.
#[test]
fn who_connects_all_the_time_while_proxies_die_is_never_refused() {
    let Some(scene) = Scene::start() else { return };
    let is_over = AtomicBool::new(false);
    let connect = || {
        let (mut greeted, mut cut) = (0, 0);
        while !is_over.load(Ordering::Relaxed) {
            let client = TcpStream::connect(scene.proxy.address());
            // Who is greeted by a process that dies is cut.
            match client.expect("nobody is refused").read_exact(&mut [0; 5]) {
                Ok(()) => greeted += 1,
                Err(_) => cut += 1,
            }
        }
        (greeted, cut)
    };
    let counts = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(connect)).collect();
        let ender = Ender(&is_over);
        for _ in 0..12 {
            scene.kill(Signal::SIGKILL);
        }
        drop(ender);
        clients.into_iter().map(|it| it.join().expect("nobody was refused")).collect::<Vec<_>>()
    });
    assert!(counts.iter().all(|(greeted, cut)| greeted > cut), "{counts:?}");
}

#[test]
fn a_stop_ends_both_processes() {
    let Some(scene) = Scene::start() else { return };
    let _wire = Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    let carrier = scene.carrier();
    assert_eq!(scene.proxy.process().all_living().len(), 2);
    scene.proxy.process().signal(Signal::SIGTERM);
    until("both to be gone", || scene.proxy.process().all_living().is_empty().then_some(()));
    assert_eq!(scene.proxy.process().ended().and_then(|status| status.code()), Some(0));
    assert!(!std::path::Path::new(&format!("/proc/{carrier}")).exists());
}

/// Nobody is left to start another process, so the sessions go to another pair.
#[test]
fn who_has_lost_the_keeper_restarts_into_a_new_pair() {
    let Some(scene) = Scene::start() else { return };
    let mut wire = Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    wire.run("SET @kept = 'yes'");
    let keeper = scene.proxy.process().pid();
    let before = scene.carrier();
    assert_ne!(keeper, before, "the process that was started only watches");
    scene.proxy.process().signal(Signal::SIGKILL);
    until(&format!("another pair\n{}", scene.proxy.log()), || {
        let living = scene.proxy.process().all_living();
        (living.len() == 2 && !living.contains(&before)).then_some(())
    });
    assert_eq!(wire.run("SELECT @kept").text(), "yes");
    scene.kill(Signal::SIGKILL);
    assert_eq!(wire.run("SELECT @kept").text(), "yes");
}

/// The file is for the next reload; a crash asks for nothing.
#[test]
fn a_config_that_was_spoiled_meanwhile_is_not_read() {
    let Some(scene) = Scene::start() else { return };
    let mut wire = Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    wire.run("SET @kept = 'yes'");
    scene.admin().run("ALTER PROXYCONFIG SET client_max_connections = 77");
    std::fs::write(scene.proxy.config(), "nonsense").expect("the directory is ours");
    // It is on record soon after it was answered.
    until("what was altered to be kept", || {
        scene.kill(Signal::SIGKILL);
        let mut admin = scene.admin();
        let row = &admin.query("SHOW PROXYCONFIG LIKE 'client_max_connections'");
        let is_kept = row.named_rows()[0]["value"] == "77";
        if !is_kept {
            admin.run("ALTER PROXYCONFIG SET client_max_connections = 77");
        }
        is_kept.then_some(())
    });
    assert_eq!(wire.run("SELECT @kept").text(), "yes");
}

#[test]
fn crashes_are_counted_and_told_of_after_a_restart() {
    let Some(scene) = Scene::start() else { return };
    let mut wire = Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    wire.run("SELECT 1");
    scene.kill(Signal::SIGKILL);
    let metrics = scene.proxy.http_get("/metrics").expect("an answer");
    for line in [
        "odp_crashes_total{how=\"SIGKILL\"} 1",
        "odp_crash_sessions_total{result=\"resumed\"} 1",
        "odp_crash_sessions_total{result=\"lost\"} 0",
        "odp_keeper_up{} 1.0",
        "odp_unprotected_sessions{} 0.0",
        "odp_crash_resume_seconds{} 0.",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let before = scene.crashes();
    scene.proxy.restart();
    assert_eq!(scene.crashes(), before);
    // And of restarts after a crash.
    let restarts = || scene.admin().query("SHOW RESTART").named_rows();
    until("one to be on record", || {
        // The last one may not be yet.
        scene.proxy.restart();
        let before = restarts();
        scene.kill(Signal::SIGKILL);
        let same = |(now, then): (&Row, &Row)| {
            ["state", "task_id", "new_pid"].iter().all(|it| now.get(*it) == then.get(*it))
        };
        let now = restarts();
        (now.len() == before.len() && now.iter().zip(&before).all(same)).then_some(())
    });
}

/// It does not answer any more, and nobody would know who serves in its place.
#[test]
fn a_proxy_that_hangs_is_replaced_with_its_keeper() {
    let Some(scene) = Scene::start() else { return };
    let config = scene.proxy.config();
    let revived = Revived { config: &config };
    let before = scene.proxy.process().all_living();
    let carrier = scene.carrier();
    kill(Pid::from_raw(carrier as i32), Signal::SIGSTOP).expect("it lives");
    let odp = Command::new(env!("CARGO_BIN_EXE_odp"))
        .args(["restart", "--force", "-c"])
        .arg(scene.proxy.config())
        .output()
        .expect("it runs");
    assert!(odp.status.success(), "{odp:?}");
    until("another pair", || {
        let living = revived.all_pids();
        let is_new = |pid: &i32| !before.contains(&(*pid as u32));
        (living.len() == 2 && living.iter().all(is_new)).then_some(())
    });
    let mut wire = Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    assert_eq!(wire.run("SELECT 1").text(), "1");
}

/// As soon as one is over whose place in the journal it gets.
#[test]
fn who_has_found_no_place_gets_one_when_there_is_one() {
    let Some(scene) = Scene::start_with(|options| {
        // Twice as many have a place.
        options.proxy = "client_max_connections = 1\n".into();
    }) else {
        return;
    };
    scene.admin().run("ALTER PROXYCONFIG SET client_max_connections = 10");
    let open = || Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    let mut sessions = [open(), open(), open()];
    let attribute = |wire: &Wire| {
        let id = wire.greeting.connection_id;
        let show = format!("SHOW PROXYSESSION ATTRIBUTE {id} LIKE 'crash_protected'");
        scene.admin().query(&show).named_rows()[0]["value"].clone()
    };
    sessions.iter_mut().for_each(|wire| drop(wire.run("SET @kept = 'yes'")));
    let [first, _second, mut third] = sessions;
    assert_eq!((&attribute(&first)[..], &attribute(&third)[..]), ("true", NO_ROOM));
    drop(first);
    until("it to be on record", || {
        third.run("SELECT 1");
        (attribute(&third) == "true").then_some(())
    });
    scene.kill(Signal::SIGKILL);
    assert_eq!(third.run("SELECT @kept").text(), "yes");
}

const NO_ROOM: &str = "false: no room in the journal";
