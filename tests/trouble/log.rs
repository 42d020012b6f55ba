//! Whatever becomes of the log, the proxy serves, restarts and stops.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::libc::O_NONBLOCK;
use nix::sys::signal::Signal;

use crate::support::proxy::{ADMIN_PASSWORD, Options};
use crate::support::{Database, LIMIT, Process, Proxy, Server, scratch, until};
use crate::{metric, open, stop};

/// The program under test with its stderr somewhere else.
fn logging_to(dir: &Path, target: &Path) -> PathBuf {
    let script = dir.join("odp");
    let odp = env!("CARGO_BIN_EXE_odp");
    let text = format!("#!/bin/sh\nexec '{odp}' \"$@\" 2>'{}'\n", target.display());
    std::fs::write(&script, text).expect("the directory is ours");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, executable).expect("the file is ours");
    script
}

/// A pipe with a name, and its reading end.
fn pipe(dir: &Path) -> (PathBuf, File) {
    let path = dir.join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("the directory is ours");
    // It opens without a writer.
    let reader = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&path);
    (path, reader.expect("a pipe"))
}

fn start(database: &Database, dir: &Path, log: &Path) -> Proxy {
    let mut options = Options::new(&[database.address()]);
    options.binary = Some(logging_to(dir, log));
    options.proxy = "client_max_connections = 20\n".into();
    Proxy::start_with(&options)
}

/// A handshake that is none; the proxy is done with it when this returns.
fn garbage(proxy: &Proxy) {
    let mut stream = TcpStream::connect(proxy.address()).expect("somebody listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    // It may be closed before all is sent or read.
    let _ = stream.write_all(b"\x05\0\0\x01GET /");
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Provokes a line of each kind that outsiders and operators can provoke; everybody is served.
fn live_on(proxy: &Proxy) {
    let mut old = open(proxy);
    garbage(proxy);
    let crowd = std::iter::from_fn(|| {
        let wire = crate::support::Wire::open(&proxy.address(), &Default::default());
        wire.inspect_err(|error| assert_eq!(error.code(), Some(1203))).ok()
    });
    let crowd: Vec<_> = crowd.collect();
    assert!(crowd.len() >= 10, "{} were let in", crowd.len());
    drop(crowd);
    until("the entries of those who left to be gone", || {
        let mut admin = proxy.admin().ok()?;
        (admin.query("SHOW PROXYSESSION").row_count() == 1).then_some(())
    });
    assert_eq!(proxy.http_status("/healthz"), Some(200));
    proxy.process().signal(Signal::SIGHUP);
    old.run("SELECT 1");
    proxy.restart();
    old.run("SELECT 1");
    proxy.restart_by_signal();
    old.run("SELECT 1");
    open(proxy).run("SELECT 1");
}

#[test]
fn the_reader_of_the_log_goes_away() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = scratch();
    let (path, reader) = pipe(dir.path());
    let proxy = start(&database, dir.path(), &path);
    drop(reader);
    live_on(&proxy);
    until("lost lines to be counted", || {
        (metric(&proxy, "odp_log_lines_lost_total{}")? > 0).then_some(())
    });
    // Somebody reads again: what was lost is told, and what comes is there.
    let mut reader = File::open(&path).expect("the writers live");
    garbage(&proxy);
    let mut text = Vec::new();
    until("the lost lines to be told", || {
        let mut some = [0; 4096];
        let count = reader.read(&mut some).expect("a line");
        text.extend_from_slice(&some[..count]);
        let text = String::from_utf8_lossy(&text);
        text.contains("lines of this log were lost lines=").then_some(())
    });
    drop(reader);
    stop(&proxy);
}

#[test]
fn the_disk_of_the_log_is_full() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = scratch();
    let proxy = start(&database, dir.path(), Path::new("/dev/full"));
    live_on(&proxy);
    assert!(metric(&proxy, "odp_log_lines_lost_total{}") > Some(0));
    stop(&proxy);
}

#[test]
fn nobody_reads_the_log() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = scratch();
    let (path, reader) = pipe(dir.path());
    // The smallest there is.
    let size = nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096));
    size.expect("a pipe may be made smaller");
    let mut options = Options::new(&[database.address()]);
    options.binary = Some(logging_to(dir.path(), &path));
    options.proxy = "client_max_connections = 20\n".into();
    options.rest = "[log]\nlevel = \"trace\"\n".into();
    let proxy = Proxy::start_with(&options);
    // Not one line more fits into it, and each of these is one or more.
    until("the pipe to be full", || {
        garbage(&proxy);
        (rustix::io::ioctl_fionread(&reader).expect("a pipe") > 3500).then_some(())
    });
    (0..100).for_each(|_| garbage(&proxy));
    live_on(&proxy);
    stop(&proxy);
    drop(reader);
}

#[test]
fn what_outsiders_provoke_is_limited_and_summed_up() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let before = proxy.log().lines().count();
    for _ in 0..2000 {
        garbage(&proxy);
    }
    until("the summary", || proxy.log().contains("… and ").then_some(()));
    let log = proxy.log();
    let said = log.lines().count() - before;
    let of_them = log.lines().filter(|line| line.contains("… and ")).count();
    assert!(said < 1500, "{said} lines, {of_them} summaries: {log}");
}

#[test]
fn the_log_of_a_supervisor_goes_away() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let config = proxy.config();
    stop(&proxy);
    let dir = scratch();
    let (path, reader) = pipe(dir.path());
    let mut command = Command::new(logging_to(dir.path(), &path));
    command.args(["supervise", "-c"]).arg(&config);
    let process = Process::spawn("the supervisor", command, &dir.path().join("log"));
    let is_ready = || (proxy.http_status("/readyz") == Some(200)).then_some(());
    until("the proxy under it", is_ready);
    drop(reader);
    let generation = || process.living().into_iter().find(|pid| *pid != process.pid());
    let first = until("a generation", generation);
    // A crash, of which it tells; and a restart, which it passes on.
    let kill = |pid: u32, signal| {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).expect("it lives");
    };
    kill(first, Signal::SIGKILL);
    let second = until("another one", || generation().filter(|pid| *pid != first));
    until("the proxy under it", is_ready);
    process.signal(Signal::SIGUSR2);
    until("its successor", || generation().filter(|pid| ![first, second].contains(pid)));
    until("the proxy under it", is_ready);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
}

/// Exit code and stderr of a command whose stdout is this.
fn said(arguments: &[&str], stdout: Stdio) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    command.env("ODP_ADMIN_PASSWORD", ADMIN_PASSWORD).args(arguments);
    let output = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("odp runs");
    let output = output.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn results_that_nobody_reads_are_no_failure_and_a_full_disk_is() {
    let proxy = Proxy::start_with(&Options::new(&["127.0.0.1:1".into()]));
    let config = proxy.config();
    let config = config.to_str().expect("UTF-8");
    let admin = proxy.admin_address();
    let commands: [&[&str]; 4] = [
        &["check", "-c", config],
        &["status", "-a", &admin],
        &["status", "--json", "-a", &admin],
        &["restart", "-a", &admin],
    ];
    for command in commands {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        assert_eq!(said(command, writer.into()).0, Some(0), "{command:?}");
    }
    for command in &commands[..3] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let (code, errors) = said(command, full.into());
        assert_eq!(code, Some(1), "{command:?}");
        assert!(errors.contains("standard output: No space left"), "{command:?}: {errors}");
    }
    // Not even the error can be said.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    let ended = command.args(["check", "-c", "/nowhere"]).stderr(writer).status();
    assert_eq!(ended.expect("odp runs").code(), Some(1));
}
