//! Few descriptors, and large sessions: what does not fit is refused before anything stands still.

use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::scene::{Scene, failing_restart, restart, said, signal_pid, take_over};
use crate::support::pressure::{Pressure, Work, audit};
use crate::support::{Database, Login, Proxy, Server, Wire, com, may_look_into_proxies, until};

/// Sets how many files a process, and whoever it starts from now on, may open.
fn set_open_files(pid: u32, most: u64) {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    let pid = Pid::from_raw(pid as i32);
    prlimit(pid, Resource::Nofile, limit).expect("a limit may always be lowered by its owner");
}

fn open_files(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count() as u64
}

/// How many files a successor needs for so many sessions, as the proxy reckons: see `plan`.
fn needed(sessions: u64) -> u64 {
    sessions * 2 + 64
}

fn open(proxy: &Proxy) -> Wire {
    Wire::open(&proxy.address(), &Login::default()).expect("a session")
}

#[test]
fn t_10_the_limit_of_open_files_just_below_and_at_what_is_needed() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wires: Vec<Wire> = (0..150).map(|_| open(&proxy)).collect();
    let ids: Vec<String> =
        wires.iter_mut().map(|wire| wire.run("SELECT CONNECTION_ID()").text()).collect();
    set_open_files(proxy.pid(), needed(150) - 1);
    failing_restart(&proxy);
    let tasks = proxy.admin().expect("the admin port").run("SHOW RESTART").named_rows();
    let detail = &tasks[0]["detail"];
    assert!(detail.contains("363 files (RLIMIT_NOFILE), 364 are needed"), "{detail}");
    assert_eq!((tasks[0]["state"].as_str(), tasks[0]["moved"].as_str()), ("FAILED", "0"));
    wires.pop();
    wires[0].run("SELECT 1");
    // One less: what is reckoned is really enough.
    let count = "SELECT COUNT(*) = 149 FROM information_schema.processlist WHERE host LIKE '127%'";
    database.until_counted(count);
    restart(&proxy);
    for (wire, id) in wires.iter_mut().zip(&ids) {
        assert_eq!(wire.run("SELECT CONNECTION_ID()").text(), *id);
    }
}

#[test]
fn t_22_sixteen_descriptors_are_left() {
    if !may_look_into_proxies() {
        return;
    }
    let Some(mut scene) = Scene::start() else { return };
    // New clients would be refused: no successor could take them over.
    let before = scene.pressure.stop_clean().acknowledged;
    let old_clients = [Work::Transfer, Work::Prepared, Work::Select];
    scene.pressure = Pressure::start(&scene.proxy.address(), &old_clients);
    let pid = scene.proxy.pid();
    scene.pressure.until_more(1);
    set_open_files(pid, open_files(pid) + 16);
    // Sixteen are enough to find out that a successor, which inherits the limit, has too few.
    for _ in 0..5 {
        failing_restart(&scene.proxy);
        assert_eq!(scene.waiting.dead(), 0);
    }
    let refusals = said(&scene.proxy, "(RLIMIT_NOFILE)");
    assert!(refusals >= 5, "the limit is named: {}", scene.proxy.log());
    // One that is started by somebody else has enough, and then the sixteen are enough as well.
    let successor = take_over(&scene.proxy);
    scene.pressure.until_more(5);
    assert_eq!(scene.waiting.dead(), 0);
    let after = scene.pressure.stop_clean().acknowledged;
    assert_eq!(audit(&scene.database), before + after);
    drop(successor);
}

#[test]
fn t_22_no_descriptor_is_left() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wires: Vec<Wire> = (0..20).map(|_| open(&proxy)).collect();
    let mut admin = proxy.admin().expect("the admin port");
    let pid = proxy.pid();
    let undone = || said(&proxy, "restart undone");
    let completes_with = |spare: u64| {
        // The soft limit counts here; the successor raises its own again.
        let pid = Pid::from_raw(pid as i32);
        let limit = Rlimit {
            current: Some(open_files(proxy.pid()) + spare),
            ..getrlimit(Resource::Nofile)
        };
        prlimit(pid, Resource::Nofile, limit).expect("a limit may be lowered");
        let before = undone();
        signal_pid(proxy.pid(), Signal::SIGUSR2);
        until("the restart to end", || match undone() > before {
            true => Some(false),
            false => (said(&proxy, "takeover completed") > 0).then_some(true),
        })
    };
    let mut spare = 0;
    while !completes_with(spare) {
        let tasks = admin.run("SHOW RESTART").named_rows();
        let detail = &tasks[0]["detail"];
        assert!(detail.contains("Too many open files"), "{spare} left: {detail}");
        assert_eq!(tasks[0]["moved"], "0");
        wires.iter_mut().for_each(|wire| drop(wire.run("SELECT 1")));
        spare += 1;
    }
    assert!((1..=16).contains(&spare), "{spare} are needed");
    wires.iter_mut().for_each(|wire| drop(wire.run("SELECT 1")));
}

/// Clients beyond what descriptors suffice for are told so, operators come in, and a successor that
/// inherits the limit has enough.
#[test]
fn clients_leave_descriptors_for_operators_and_a_restart() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    set_open_files(proxy.pid(), needed(10));
    let mut wires: Vec<Wire> = (0..10).map(|_| open(&proxy)).collect();
    for _ in 0..40 {
        let error = Wire::open(&proxy.address(), &Login::default()).err().expect("it is full");
        assert_eq!(error.code(), Some(1203), "{error:?}");
    }
    let log = proxy.log();
    assert!(!log.contains("cannot accept"), "{log}");
    proxy.restart();
    for wire in &mut wires {
        wire.run("SELECT 1");
    }
    let log = proxy.log();
    let remark = "open files is enough for 10 sessions, client_max_connections is";
    assert!(log.contains(remark), "the successor says so: {log}");
    wires.clear();
    until("room", || Wire::open(&proxy.address(), &Login::default()).ok());
}

#[test]
fn t_43_ten_thousand_prepared_statements_move() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = open(&proxy);
    wire.set_recording(false);
    // One text, so that only the number of statements counts.
    let ids: Vec<u32> = (0..10_000).map(|_| wire.prepare("SELECT ?")).collect();
    // Bound types and long data of each are part of the state.
    for id in &ids {
        wire.send(&long_data(*id, b"moved")).expect("a session");
    }
    restart(&proxy);
    restart(&proxy);
    for id in &ids {
        let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0, 0, 1, 252, 0]].concat();
        let reply = wire.ask(com::EXECUTE, &body);
        assert_eq!(reply.error(), None, "{:?}", reply.last());
        assert!(reply.packets[2].payload.ends_with(b"moved"), "{:?}", reply.packets);
    }
}

fn long_data(id: u32, data: &[u8]) -> Vec<u8> {
    let body = [&id.to_le_bytes()[..], &[0, 0], data].concat();
    crate::support::raw::command_packets(com::LONG_DATA, &body)
}

#[test]
fn t_43_large_log_ins_and_long_names_move() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let name = "n".repeat(64);
    database.execute(&[
        &format!("CREATE DATABASE {name}"),
        &format!("CREATE USER '{name}'@'%' IDENTIFIED BY 'long'"),
        &format!("GRANT ALL ON *.* TO '{name}'@'%'"),
    ]);
    let proxy = Proxy::start(&database);
    let login = Login {
        user: name.clone(),
        password: "long".into(),
        database: Some(name.clone()),
        attributes: (0..60).map(|n| (format!("key{n}"), "v".repeat(1000))).collect(),
        ..Login::default()
    };
    let open = || Wire::open(&proxy.address(), &login).expect("a session");
    // A batch of them is far longer than a datagram.
    let mut wires: Vec<Wire> = (0..70).map(|_| open()).collect();
    for _ in 0..2 {
        restart(&proxy);
    }
    for wire in &mut wires {
        assert_eq!(wire.run("SELECT DATABASE()").text(), name);
        assert!(wire.run("SELECT USER()").text().starts_with(&name));
    }
}
