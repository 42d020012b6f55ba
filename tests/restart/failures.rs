//! Successors that fail: the predecessor serves on, and the next good restart succeeds.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::scene::{Scene, failing_restart, restart, said, signal_pid, until_said};
use crate::support::proxy::Options;
use crate::support::{Login, Wire, scratch, until};

fn built() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_odp"))
}

/// Puts another program into the place of the binary, by rename as package managers do.
fn replace(binary: &Path, with: impl FnOnce(&Path)) {
    let fresh = binary.with_extension("fresh");
    with(&fresh);
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).expect("ours");
    std::fs::rename(&fresh, binary).expect("a rename");
}

fn replace_by_text(binary: &Path, text: &str) {
    replace(binary, |path| std::fs::write(path, text).expect("the directory is ours"));
}

fn replace_by_good(binary: &Path) {
    replace(binary, |path| {
        std::fs::copy(built(), path).expect("a copy");
    });
}

/// A scene whose program is a file that may be replaced, with these lines in `[proxy]`.
fn with_own_binary(lines: &str) -> Option<(Scene, PathBuf, TempDir)> {
    let dir = scratch();
    let binary = dir.path().join("odp");
    replace_by_good(&binary);
    let scene = Scene::start_with(|options| {
        options.binary = Some(binary.clone());
        options.proxy = lines.into();
    })?;
    Some((scene, binary, dir))
}

#[test]
fn t_01_a_bad_config_is_refused() {
    let Some(scene) = Scene::start() else { return };
    let path = scene.proxy.config();
    let good = std::fs::read_to_string(&path).expect("the config");
    for bad in ["[[[", "[proxy]\nno_such_key = 1\n", "[proxy]\nlisten = []\n"] {
        std::fs::write(&path, bad).expect("the directory is ours");
        failing_restart(&scene.proxy);
        scene.pressure.until_more(2);
    }
    let mut admin = scene.proxy.admin().expect("the admin port");
    let reply = admin.query("RESTART");
    assert_eq!(reply.error(), Some(1105), "{:?}", reply.last());
    let tasks = admin.run("SHOW RESTART").named_rows();
    assert_eq!(tasks[0]["state"], "FAILED");
    assert!(tasks[0]["detail"].contains("listen"), "it says why: {tasks:?}");
    std::fs::remove_file(&path).expect("ours");
    failing_restart(&scene.proxy);
    std::fs::write(&path, good).expect("the directory is ours");
    restart(&scene.proxy);
    scene.finish();
}

#[test]
fn t_01_a_port_that_is_taken_undoes_the_restart() {
    let Some(scene) = Scene::start() else { return };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let path = scene.proxy.config();
    let good = std::fs::read_to_string(&path).expect("the config");
    let own = format!("\"127.0.0.1:{}\"", scene.proxy.sql);
    let both = format!("{own}, \"{}\"", taken.local_addr().expect("bound"));
    std::fs::write(&path, good.replacen(&own, &both, 1)).expect("the directory is ours");
    failing_restart(&scene.proxy);
    drop(taken);
    restart(&scene.proxy);
    scene.finish();
}

#[test]
fn t_01_t_29_programs_that_are_no_successors() {
    let Some((scene, binary, _dir)) = with_own_binary("") else { return };
    let text = |check: &str, run: &str| {
        format!("#!/bin/sh\ncase $1 in\ncheck) {check};;\n*) {run};;\nesac\n")
    };
    for bad in [
        "not a program\u{0}".to_owned(),
        text("exit 1", "exit 0"),
        text("exit 0", "exit 1"),
        text("exit 0", "exit 0"),
        text("exit 0", "kill -9 $$"),
        // Connects and closes.
        text("exit 0", "exec <&-; exec true"),
        // Says something else.
        text("exit 0", "echo HELLO >&0; exit 0"),
    ] {
        replace_by_text(&binary, &bad);
        failing_restart(&scene.proxy);
        scene.pressure.until_more(1);
    }
    std::fs::remove_file(&binary).expect("ours");
    failing_restart(&scene.proxy);
    replace_by_good(&binary);
    restart(&scene.proxy);
    scene.finish();
}

#[test]
fn t_04_a_successor_that_hangs_is_ended() {
    let lines = "hot_upgrade_rollback_timeout = \"1s\"\n";
    let Some((scene, binary, _dir)) = with_own_binary(lines) else { return };
    replace_by_text(&binary, "#!/bin/sh\n[ $1 = check ] || exec sleep 3600\n");
    failing_restart(&scene.proxy);
    replace_by_good(&binary);
    restart(&scene.proxy);
    scene.finish();
}

#[test]
fn t_35_the_binary_is_replaced_all_the_time() {
    let Some((scene, binary, _dir)) = with_own_binary("") else { return };
    for _ in 0..5 {
        let done = said(&scene.proxy, "takeover completed");
        let before = scene.proxy.pid();
        signal_pid(before, Signal::SIGUSR2);
        // Good and bad ones; what passed preflight is what runs.
        while said(&scene.proxy, "takeover completed") == done
            && said(&scene.proxy, "restart by signal refused") == 0
        {
            replace_by_good(&binary);
        }
        assert_eq!(said(&scene.proxy, "restart by signal refused"), 0, "{}", scene.proxy.log());
        until("one generation to be left", || {
            matches!(*scene.proxy.process().living(), [one] if one != before).then_some(())
        });
    }
    scene.finish();
}

#[test]
fn t_19_a_new_config_without_the_listener_and_the_server_in_use() {
    let Some(mut scene) = Scene::start_with(|options| {
        options.proxy = "hot_upgrade_exit_timeout = \"2s\"\n".into();
    }) else {
        return;
    };
    let path = scene.proxy.config();
    let good = std::fs::read_to_string(&path).expect("the config");
    let other = crate::support::Database::start(crate::support::Server::MariaDb);
    let Some(other) = other else { return };
    let gone = scene.database.address();
    // Sessions keep their server; new ones go where the new config says.
    std::fs::write(&path, good.replace(&gone, &other.address())).expect("the directory is ours");
    restart(&scene.proxy);
    assert_eq!(scene.waiting.dead(), 0);
    let mut wire = Wire::open(&scene.proxy.address(), &Login::default()).expect("a session");
    assert_eq!(wire.run("SELECT @@port").text(), other.port.to_string());
    assert_eq!(
        scene.waiting.wires()[0].run("SELECT @@port").text(),
        scene.database.port.to_string()
    );
    scene.finish();
}

#[test]
fn t_05_a_predecessor_that_is_killed_before_it_restarts() {
    // Nobody comes after it.
    let change = |options: &mut Options| options.proxy = "crash_protection = false\n".into();
    let Some(scene) = Scene::start_with(change) else { return };
    restart(&scene.proxy);
    // Stale files of a dead proxy in the way of the next: it starts cold.
    let Scene { pressure, waiting, proxy, database } = scene;
    drop((pressure, waiting));
    let config = std::fs::read_to_string(proxy.config()).expect("the config");
    signal_pid(proxy.pid(), Signal::SIGKILL);
    until("its end", || proxy.process().living().is_empty().then_some(()));
    assert!(proxy.run_dir().join("handover.sock").exists(), "it left its socket behind");
    let mut command = std::process::Command::new(built());
    std::fs::write(proxy.config(), config).expect("ours");
    command.args(["run", "--takeover", "-c"]).arg(proxy.config());
    let dir = scratch();
    let next = crate::support::Process::spawn("the next", command, &dir.path().join("log"));
    until("a cold start", || next.log().contains("cold start").then_some(()));
    until("a session", || Wire::open(&proxy.address(), &Login::default()).ok());
    assert!(next.ended().is_none());
    drop((next, database));
}

#[test]
fn t_12_the_takeover_path_leads_to_something_else() {
    let Some(scene) = Scene::start() else { return };
    let dir = scratch();
    let run_dir = dir.path().join("run");
    std::fs::create_dir(&run_dir).expect("a fresh directory");
    std::fs::set_permissions(&run_dir, std::fs::Permissions::from_mode(0o700)).expect("ours");
    let socket = std::os::unix::net::UnixListener::bind(run_dir.join("handover.sock"));
    let config = std::fs::read_to_string(scene.proxy.config()).expect("the config");
    let own = scene.proxy.run_dir().display().to_string();
    let config = config.replace(&own, &run_dir.display().to_string());
    std::fs::write(dir.path().join("odp.toml"), config).expect("the directory is ours");
    let output = std::process::Command::new(built())
        .args(["run", "--takeover", "-c"])
        .arg(dir.path().join("odp.toml"))
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("not the socket of a proxy"), "{errors}");
    drop(socket);
    restart(&scene.proxy);
    scene.finish();
}

#[test]
fn t_15_no_pidfile_and_a_run_dir_that_has_gone() {
    let Some(scene) = Scene::start() else { return };
    restart(&scene.proxy);
    std::fs::remove_dir_all(scene.proxy.run_dir()).expect("ours");
    // The successor is a child with an inherited socket: it needs no path.
    restart(&scene.proxy);
    restart(&scene.proxy);
    scene.finish();
}

#[test]
fn restart_force_goes_ahead_at_once() {
    let Some(mut scene) = Scene::start_with(|options| {
        options.proxy = "hot_upgrade_exit_timeout = \"1s\"\n".into();
    }) else {
        return;
    };
    let done = said(&scene.proxy, "takeover completed");
    let before = scene.proxy.pid();
    let reply = scene.proxy.admin().expect("the admin port").query("RESTART FORCE");
    assert_eq!(reply.error(), None, "{:?}", reply.last());
    until_said(&scene.proxy, "takeover completed", done);
    until("one generation to be left", || {
        matches!(*scene.proxy.process().living(), [one] if one != before).then_some(())
    });
    // Classic: those who do not go are ended at the timeout, and new ones are served.
    assert_eq!(scene.waiting.dead(), 30);
    Wire::open(&scene.proxy.address(), &Login::default()).expect("new sessions are served");
}
