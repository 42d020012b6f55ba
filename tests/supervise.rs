//! `odp supervise` as PID 1 of a PID namespace: with a stand-in for the proxy, and with the proxy.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::proxy::Options;
use support::{Database, Process, Proxy, Server, Wire, scratch, skip, until};

const ODP: &str = env!("CARGO_BIN_EXE_odp");

/// Hands over on SIGUSR2 as the proxy does: starts a successor, waits for it, exits 0.
const STAND_IN: &str = r#"#!/usr/bin/env python3
import os, signal, subprocess, sys
def say(what):
    with open(os.environ["STAND_IN_LOG"], "a") as log:
        log.write("%d %s\n" % (os.getpid(), what))
def hand_over(*_):
    args = [sys.executable, sys.argv[0], "run", "--takeover"]
    child = subprocess.Popen(args, stdout=subprocess.PIPE)
    child.stdout.readline()
    say("leaves")
    os._exit(0)
def stop(*_):
    say("stops")
    if "STUBBORN" not in os.environ:
        os._exit(0)
signal.signal(signal.SIGUSR2, hand_over)
signal.signal(signal.SIGHUP, lambda *_: say("reloads"))
signal.signal(signal.SIGTERM, stop)
say("starts " + " ".join(sys.argv[1:]))
if "--takeover" in sys.argv:
    os.write(1, b"ready\n")
while True:
    signal.pause()
"#;

/// Whether the machine lets us make a PID namespace.
fn has_namespaces() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null());
    let can = probe.status().is_ok_and(|status| status.success());
    if !can {
        skip("unshare --pid --mount-proc does not work here (it needs root)");
    }
    can
}

fn has_python() -> bool {
    let has = Command::new("python3").arg("-c").arg("").status().is_ok_and(|it| it.success());
    if !has {
        skip("python3 is not installed");
    }
    has
}

/// A supervisor with the stand-in as its proxy.
struct World {
    process: Process,
    dir: tempfile::TempDir,
}

impl World {
    fn start(supervise: &[&str], environment: &[(&str, &str)]) -> Option<Self> {
        if !has_namespaces() || !has_python() {
            return None;
        }
        let dir = scratch();
        let program = dir.path().join("stand-in");
        write_program(&program, STAND_IN);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", ODP, "supervise"]);
        command.arg("--program").arg(&program).args(supervise).arg("--").arg("--extra");
        command.env("STAND_IN_LOG", dir.path().join("said"));
        command.envs(environment.iter().copied());
        let process = Process::spawn("the supervisor", command, &dir.path().join("log"));
        let world = Self { process, dir };
        world.hear("starts run --extra", 1);
        Some(world)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("said")).unwrap_or_default()
    }

    /// Waits until something was said so many times.
    fn hear(&self, what: &str, times: usize) {
        until(&format!("{what} {times} times\n{}", self.process.log()), || {
            (self.said().matches(what).count() >= times).then_some(())
        });
    }

    fn signal(&self, signal: Signal) {
        kill(pid_one(&self.process), signal).expect("the supervisor lives");
    }

    /// The only generation, as this side of the namespace names it.
    fn generation(&self) -> u32 {
        generation(&self.process)
    }
}

fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the directory is ours");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .expect("the file is ours");
}

fn command_line(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// The supervisor, as this side names it: PID 1 of its namespace.
fn pid_one(process: &Process) -> Pid {
    let is_one = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        ids.is_some_and(|ids| ids.split_whitespace().skip(1).last() == Some("1"))
            && command_line(*pid).contains(" supervise ")
    };
    let found = until("PID 1", || process.living().into_iter().find(is_one));
    Pid::from_raw(found as i32)
}

fn generation(process: &Process) -> u32 {
    until(&format!("one generation\n{}", process.log()), || {
        let mut living = process.living();
        living.retain(|&pid| command_line(pid).contains(" run ") && pid != process.pid());
        match living[..] {
            [only] => Some(only),
            _ => None,
        }
    })
}

#[test]
fn a_restart_keeps_pid_one_and_leaves_no_zombie() {
    let Some(world) = World::start(&[], &[]) else { return };
    let supervisor = pid_one(&world.process);
    for times in 1..=20 {
        let before = world.generation();
        world.signal(Signal::SIGUSR2);
        world.hear("leaves", times);
        until("the successor alone", || (world.generation() != before).then_some(()));
        until("the news", || {
            let log = world.process.log();
            (log.matches("a successor serves predecessor=").count() == times).then_some(())
        });
    }
    assert_eq!(pid_one(&world.process), supervisor);
    world.signal(Signal::SIGHUP);
    world.hear("reloads", 1);
    let children = format!("/proc/{supervisor}/task/{supervisor}/children");
    let children = std::fs::read_to_string(children).expect("the kernel lists children");
    assert_eq!(children.split_whitespace().count(), 1, "no zombie is left: {children}");
    world.signal(Signal::SIGTERM);
    assert_eq!(world.process.wait().code(), Some(0));
    assert_eq!(world.said().matches("stops").count(), 1);
}

#[test]
fn a_crash_is_answered_by_a_new_start_up_to_the_limit() {
    let Some(world) = World::start(&["--restarts", "2"], &[]) else { return };
    for starts in 2..=3 {
        kill(Pid::from_raw(world.generation() as i32), Signal::SIGKILL).expect("it lives");
        world.hear("starts", starts);
    }
    kill(Pid::from_raw(world.generation() as i32), Signal::SIGKILL).expect("it lives");
    assert_eq!(world.process.wait().code(), Some(137));
}

#[test]
fn a_successor_that_crashes_is_replaced_too() {
    let Some(world) = World::start(&[], &[]) else { return };
    world.signal(Signal::SIGUSR2);
    world.hear("leaves", 1);
    until("the news", || {
        world.process.log().contains("a successor serves predecessor=").then_some(())
    });
    kill(Pid::from_raw(world.generation() as i32), Signal::SIGKILL).expect("it lives");
    world.hear("starts run --extra", 2);
    world.signal(Signal::SIGTERM);
    assert_eq!(world.process.wait().code(), Some(0));
}

#[test]
fn one_that_does_not_stop_is_killed_after_the_grace() {
    let Some(world) = World::start(&["--grace", "300ms"], &[("STUBBORN", "1")]) else { return };
    world.signal(Signal::SIGTERM);
    world.hear("stops", 1);
    assert_eq!(world.process.wait().code(), Some(137));
}

/// A proxy behind a supervisor that is PID 1, as in a container.
fn contained(dir: &Path, database: &Database) -> Options {
    let wrapper: PathBuf = dir.join("contained");
    // It is called as `contained run -c FILE`.
    let unshare = "unshare --pid --fork --mount-proc --kill-child";
    write_program(
        &wrapper,
        &format!("#!/bin/sh\nshift\nexec {unshare} '{ODP}' supervise \"$@\"\n"),
    );
    let mut options = Options::new(&[database.address()]);
    options.binary = Some(wrapper);
    options
}

#[test]
fn t_40_the_proxy_is_restarted_in_a_container_and_sessions_live_on() {
    if !has_namespaces() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = scratch();
    let proxy = Proxy::start_with(&contained(dir.path(), &database));
    let supervisor = pid_one(proxy.process());
    let open = |n: usize| {
        let mut wire = Wire::open(&proxy.address(), &support::Login::default()).expect("a session");
        assert_eq!(wire.query(&format!("SET @n = {n}")).error(), None);
        wire
    };
    let mut wires: Vec<Wire> = (0..10).map(open).collect();
    for times in 1..=20 {
        let before = generation(proxy.process());
        kill(supervisor, Signal::SIGUSR2).expect("the supervisor lives");
        until(&format!("restart {times}\n{}", proxy.log()), || {
            let log = proxy.log();
            let is_known = log.matches("a successor serves predecessor=").count() == times;
            (is_known && generation(proxy.process()) != before).then_some(())
        });
        for (n, wire) in wires.iter_mut().enumerate() {
            let rows = wire.query("SELECT @n AS n").named_rows();
            assert_eq!(rows[0]["n"], n.to_string(), "session {n} after restart {times}");
        }
    }
    proxy.restart();
    assert_eq!(pid_one(proxy.process()), supervisor);
    kill(supervisor, Signal::SIGTERM).expect("the supervisor lives");
    assert_eq!(proxy.process().wait().code(), Some(0));
}

/// The state and the parent of a process, if it is there.
fn state_of(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A keeper and its proxy.
fn pair(process: &Process) -> [u32; 2] {
    until(&format!("a pair\n{}", process.log()), || {
        let living = process.all_living();
        let is_keeper = |pid: &&u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == support::process::KEEPER)
        };
        let keeper = *living.iter().find(is_keeper)?;
        let proxy = living.iter().find(|pid| state_of(**pid).is_some_and(|it| it.1 == keeper))?;
        Some([keeper, *proxy])
    })
}

/// As by who kills a whole control group: nobody is left who would go on, and clients find a closed
/// connection, not silence.
#[test]
fn a_pair_whose_processes_die_at_once_is_started_anew() {
    if !has_namespaces() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = scratch();
    let mut options = contained(dir.path(), &database);
    options.proxy = "crash_protection = true\n".into();
    let proxy = Proxy::start_with(&options);
    let all = proxy.process().all_living().len();
    for _ in 0..2 {
        let open = |_| Wire::open(&proxy.address(), &support::Login::default()).expect("a session");
        let mut wires: Vec<Wire> = (0..10).map(open).collect();
        let before = pair(proxy.process());
        let [keeper, carrier] = before.map(|pid| Pid::from_raw(pid as i32));
        // It is to see nothing of the other one's death.
        kill(keeper, Signal::SIGSTOP).expect("it lives");
        until("the keeper to stand still", || {
            state_of(before[0]).filter(|(state, _)| *state == 'T')
        });
        kill(carrier, Signal::SIGKILL).expect("it lives");
        kill(keeper, Signal::SIGKILL).expect("it lives");
        for wire in &mut wires {
            wire.until_closed();
        }
        until(&format!("another one\n{}", proxy.log()), || {
            (proxy.http_status("/readyz") == Some(200)).then_some(())
        });
        let after = pair(proxy.process());
        assert!(after.iter().all(|pid| !before.contains(pid)), "{before:?}, {after:?}");
        assert_eq!(proxy.process().all_living().len(), all, "nobody else is left");
    }
    kill(pid_one(proxy.process()), Signal::SIGTERM).expect("the supervisor lives");
    assert_eq!(proxy.process().wait().code(), Some(0));
}

/// The fixtures' own promise: what a test has started ends with it, though nothing of the test is
/// left to end it.
#[test]
fn what_a_killed_test_has_started_ends_too() {
    const NOTE: &str = "ODP_TEST_NOTE";
    if let Some(note) = std::env::var_os(NOTE) {
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let process = Process::spawn("a sleeper", sleep, &Path::new(&note).with_extension("log"));
        std::fs::write(&note, process.pid().to_string()).expect("the directory is ours");
        kill(Pid::this(), Signal::SIGKILL).expect("our own process");
    }
    let dir = scratch();
    let note = dir.path().join("pid");
    let mut again = Command::new(std::env::current_exe().expect("the test"));
    again.args(["--exact", "what_a_killed_test_has_started_ends_too"]).env(NOTE, &note);
    let status = again.stdout(Stdio::null()).status().expect("it starts");
    assert!(!status.success(), "it was killed");
    let pid = std::fs::read_to_string(&note).expect("it came so far");
    until("the end of the sleeper", || {
        // Nobody may have waited for it: then it is there, without a command line.
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.is_empty().then_some(())
    });
}
