//! Many restarts: nothing is refused, fails, is wrong, leaks or slows down.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{Scene, restart, said, until_said};
use crate::support::pressure::{Pressure, Waiting, Work, audit, open_bank};
use crate::support::{Database, Login, Proxy, Server, Wire, may_look_into_proxies, until};

#[test]
fn t_06_commands_back_to_back_through_restarts() {
    let Some(scene) = Scene::start() else { return };
    for _ in 0..30 {
        restart(&scene.proxy);
        scene.pressure.until_more(1);
    }
    scene.finish();
}

#[test]
fn t_07_two_hundred_restarts_in_a_row_each_hand_over() {
    let Some(scene) = Scene::start() else { return };
    let first = scene.proxy.pid();
    for _ in 0..200 {
        restart(&scene.proxy);
    }
    assert_ne!(scene.proxy.pid(), first);
    assert_eq!(said(&scene.proxy, "takeover completed"), 200);
    assert_eq!(said(&scene.proxy, "restart undone"), 0);
    scene.finish();
}

#[test]
fn the_bank_agrees_after_restarts() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    open_bank(&database);
    let proxy = Proxy::start(&database);
    let pressure = Pressure::start(&proxy.address(), &[Work::Transfer; 8]);
    for _ in 0..40 {
        restart(&proxy);
    }
    pressure.until_more(1);
    let tally = pressure.stop_clean();
    assert_eq!(audit(&database), tally.acknowledged, "commits lost or made up");
}

#[test]
fn t_11_a_second_restart_is_refused_and_harms_nothing() {
    let Some(scene) = Scene::start() else { return };
    let before = scene.proxy.pid();
    let done = said(&scene.proxy, "takeover completed");
    for _ in 0..5 {
        // To the predecessor, always: it may have left before the last of them.
        let _ = kill(Pid::from_raw(before as i32), Signal::SIGUSR2);
    }
    until_said(&scene.proxy, "takeover completed", done);
    let alone = || matches!(*scene.proxy.process().living(), [one] if one != before).then_some(());
    until("one generation to be left", alone);
    restart(&scene.proxy);
    scene.finish();
}

#[test]
fn t_18_the_age_of_a_statement_and_of_a_session_goes_on() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    wire.run("SET SESSION wait_timeout = 3");
    restart(&proxy);
    // The server's timer runs where it ran: the session is not touched by the restart.
    let rest = wire.until_closed();
    assert!(rest.len() < 200, "at most an ERR packet before the end");
    assert!(Wire::open(&proxy.address(), &Login::default()).is_ok());
}

#[test]
fn t_20_silent_clients_move_and_live() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start_with(&crate::scene::exit_timeout(&database, "1s"));
    let mut waiting = Waiting::open(&proxy.address(), 200);
    for _ in 0..5 {
        // The predecessor is gone although nobody has said a word.
        restart(&proxy);
    }
    assert_eq!(waiting.dead(), 0);
}

#[test]
fn t_21_a_chain_leaks_no_descriptors_and_no_memory() {
    if !may_look_into_proxies() {
        return;
    }
    let Some(scene) = Scene::start() else { return };
    let mut shapes = Vec::new();
    for _ in 0..60 {
        let pid = restart(&scene.proxy);
        shapes.push((descriptors(pid), resident_kb(pid)));
    }
    // Those that connect just now come and go.
    let steady = &shapes[5..];
    let fds: Vec<usize> = steady.iter().map(|&(fds, _)| fds).collect();
    let spread = fds.iter().max().expect("some") - fds.iter().min().expect("some");
    assert!(spread <= 12, "{fds:?}");
    let mean = |part: &[(usize, usize)]| part.iter().map(|&(_, kb)| kb).sum::<usize>() / part.len();
    let (early, late) = (mean(&steady[..15]), mean(&steady[steady.len() - 15..]));
    assert!(late < early + early / 4, "from {early} kB to {late} kB");
    scene.finish();
}

#[test]
fn t_21_every_descriptor_is_closed_at_exec() {
    if !may_look_into_proxies() {
        return;
    }
    let Some(scene) = Scene::start() else { return };
    let pid = restart(&scene.proxy);
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("/proc/{pid}/fdinfo/{name}");
        let Ok(info) = std::fs::read_to_string(path) else { continue };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
        let flags = u32::from_str_radix(flags.trim(), 8).expect("octal");
        // Those that whoever started the test has left open are theirs.
        let target = |pid: &str| std::fs::read_link(format!("/proc/{pid}/fd/{name}")).ok();
        let inherited = target("self").is_some_and(|own| target(&pid.to_string()) == Some(own));
        let standard = inherited || ["0", "1", "2"].contains(&name.as_str());
        assert!(standard || flags & 0o2_000_000 != 0, "descriptor {name} of {pid}: {info}");
    }
    scene.finish();
}

#[test]
fn t_23_ids_stay_are_unique_and_kill_works_after() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut all = HashSet::new();
    let mut generations: Vec<Waiting> = Vec::new();
    for _ in 0..6 {
        let waiting = Waiting::open(&proxy.address(), 10);
        for id in waiting.ids() {
            assert!(all.insert(id), "{id} is given twice");
        }
        generations.push(waiting);
        restart(&proxy);
    }
    for waiting in &mut generations {
        assert_eq!(waiting.dead(), 0);
    }
    let victim = generations[0].ids()[3];
    let killer = &mut generations[5].wires()[0];
    killer.run(&format!("KILL {victim}"));
    assert_eq!(generations[0].dead(), 1, "KILL {victim} ends exactly that one");
    assert_eq!(generations[1].dead(), 0);
}

#[test]
fn t_31_the_listeners_are_the_same_sockets() {
    if !may_look_into_proxies() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let ports = [proxy.sql, proxy.admin, proxy.http];
    let before = ports.map(|port| listeners(proxy.pid(), port));
    for _ in 0..3 {
        restart(&proxy);
    }
    let after = ports.map(|port| listeners(proxy.pid(), port));
    assert!(before.iter().all(|inodes| inodes.len() == 1), "{before:?}");
    assert_eq!(before, after);
}

#[test]
fn t_32_the_predecessor_exits_as_soon_as_it_is_empty() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    // Were it to wait for that timeout, this test would fail by its own.
    let proxy = Proxy::start_with(&crate::scene::exit_timeout(&database, "1h"));
    let mut waiting = Waiting::open(&proxy.address(), 50);
    restart(&proxy);
    assert!(proxy.process().wait().success(), "the predecessor exits with 0");
    assert_eq!(waiting.dead(), 0);
}

#[test]
fn t_37_a_flood_of_connects_is_never_refused_or_reset() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let pressure = Pressure::start(&proxy.address(), &[Work::Connect; 8]);
    for _ in 0..50 {
        restart(&proxy);
    }
    pressure.until_more(1);
    pressure.stop_clean();
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count()
}

fn resident_kb(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The inodes of the sockets of a process that listen at a TCP port.
fn listeners(pid: u32, port: u16) -> Vec<u64> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("it lives");
    let own: HashSet<u64> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it lives")
        .flatten()
        .filter_map(|entry| std::fs::metadata(entry.path()).ok())
        .map(|metadata| metadata.ino())
        .collect();
    let listening = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_listener = fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A";
        is_listener.then(|| fields[9].parse().expect("an inode"))
    });
    listening.filter(|inode| own.contains(inode)).collect()
}
