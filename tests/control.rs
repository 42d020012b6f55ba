//! The control socket in `run_dir`: its owner needs no password, so that a config whose admin user,
//! password or port was edited can be put into force by a restart.

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use support::proxy::{ADMIN_PASSWORD, Options, Revived, killed};
use support::user::{as_nobody, may_become_nobody};
use support::{Login, Process, Proxy, Wire, free_port, scratch, skip, until};

/// One that has nobody behind it.
fn proxy() -> Proxy {
    Proxy::start_with(&Options::new(&["127.0.0.1:1".into()]))
}

fn socket(proxy: &Proxy) -> PathBuf {
    proxy.run_dir().join("control.sock")
}

/// Runs the program with the config for all that it needs to know.
fn odp(arguments: &[&str], config: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    command.env_remove("ODP_ADMIN_PASSWORD").args(arguments).arg("-c").arg(config);
    let Output { status, stdout, stderr } = command.output().expect("odp runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

fn edit(config: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(config).expect("a config");
    assert!(text.contains(from), "{from} in {text}");
    std::fs::write(config, text.replacen(from, to, 1)).expect("ours");
}

fn log_in(address: &str, user: &str, password: &str) -> Result<Wire, Option<u16>> {
    let (user, password) = (user.into(), password.into());
    let login = Login { user, password, database: None, ..Login::default() };
    Wire::open(address, &login).map_err(|error| error.code())
}

#[test]
fn an_edited_password_name_or_port_is_put_into_force_by_a_restart() {
    let port = free_port();
    let new_address = format!("127.0.0.1:{port}");
    for what in ["password", "only a hash", "name", "port"] {
        let proxy = proxy();
        let (config, before) = (proxy.config(), proxy.pid());
        let secret = format!("\"{ADMIN_PASSWORD}\"");
        // Of 'new'.
        let hash = "password_sha1 = \"*6FE2B845E049CDA9EFED8CFAF265CD29622FD852\"";
        let (user, password, address) = match what {
            "password" => {
                edit(&config, &secret, "\"new\"");
                ("root", "new", proxy.admin_address())
            }
            "only a hash" => {
                edit(&config, &format!("password = {secret}"), hash);
                ("root", "new", proxy.admin_address())
            }
            "name" => {
                edit(&config, "name = \"root\"", "name = \"chief\"");
                ("chief", ADMIN_PASSWORD, proxy.admin_address())
            }
            _ => {
                edit(&config, &proxy.admin_address(), &new_address);
                ("root", ADMIN_PASSWORD, new_address.clone())
            }
        };
        // Looking does not need it either, and says by which way.
        let (code, table, errors) = odp(&["status"], &config);
        assert_eq!(code, Some(0), "{what}: {table}{errors}");
        assert!(table.contains("RUNNING") && table.contains("control.sock"), "{what}: {table}");
        let (code, results, progress) = odp(&["restart"], &config);
        assert_eq!(code, Some(0), "{what}: {results}{progress}\n{}", proxy.log());
        let through = format!("going through {}", socket(&proxy).display());
        assert!(progress.contains(&through), "{what}: {progress}");
        let refusal = if what == "port" { "Connection refused" } else { "(1045)" };
        assert_eq!(progress.matches(refusal).count(), 1, "{what}: {progress}");
        assert_ne!(proxy.pid(), before, "{what}");
        // What the file says is in force now, and what it said is not.
        let mut wire = log_in(&address, user, password).expect(what);
        assert_eq!(wire.query("PING PROXY").error(), None, "{what}");
        if what != "port" {
            let denied = log_in(&address, "root", ADMIN_PASSWORD).err();
            assert_eq!(denied, Some(Some(1045)), "{what}");
        }
        if what != "only a hash" {
            let (code, table, errors) = odp(&["status"], &config);
            assert_eq!(code, Some(0), "{what}: {errors}");
            assert!(!table.contains("control.sock"), "the port serves again: {table}");
        }
        // The socket has moved with the rest.
        let (code, results, errors) = odp(&["restart"], &config);
        assert_eq!(code, Some(0), "{what}: {results}{errors}");
        assert!(UnixStream::connect(socket(&proxy)).is_ok(), "{what}");
    }
}

#[test]
fn any_client_is_a_manager_there_by_any_name() {
    let proxy = proxy();
    for generation in 0..2 {
        for user in ["root", "whoever"] {
            let login = Login {
                user: user.into(),
                password: "wrong".into(),
                database: None,
                ..Login::default()
            };
            let mut wire = Wire::open_unix(&socket(&proxy), &login).expect("it is let in");
            assert_eq!(wire.query("SHOW PROCESSLIST").error(), None);
            let order = "ALTER PROXYCONFIG SET client_max_connections = '77'";
            assert_eq!(wire.query(order).error(), None, "a viewer could not");
        }
        if generation == 0 {
            proxy.restart();
        }
    }
    let listens = format!("unix:{}", socket(&proxy).display());
    let info = proxy.admin().expect("the admin port").query("SHOW PROXYINFO BINARY");
    assert!(format!("{:?}", info.named_rows()).contains(&listens), "{:?}", info.named_rows());
}

#[test]
fn another_user_is_refused() {
    if !may_become_nobody() {
        return;
    }
    let proxy = proxy();
    let path = socket(&proxy);
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&proxy.run_dir()), mode(&path)), (0o700, 0o600));
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("we are root");
    };
    set_mode(proxy.run_dir().parent().expect("it has one"), 0o755);
    assert!(as_nobody(|| UnixStream::connect(&path)).is_err(), "the modes are one line of defence");
    // As a careless administrator might; the uid of whoever comes is the next.
    set_mode(&proxy.run_dir(), 0o711);
    set_mode(&path, 0o666);
    let Ok(stream) = as_nobody(|| UnixStream::connect(&path)) else {
        return skip("nobody cannot reach the directory in which tests keep their files");
    };
    let refused = Wire::over_unix(stream).err().expect("it is not greeted");
    assert_eq!(refused.code(), Some(1045));
    until("it to be logged", || {
        proxy.log().contains("neither the proxy's user nor root").then_some(())
    });
    // And in a directory in which others may write, nobody knows who listens.
    set_mode(&proxy.run_dir(), 0o777);
    edit(&proxy.config(), ADMIN_PASSWORD, "new");
    let (code, _, errors) = odp(&["restart"], &proxy.config());
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("(1045)") && !errors.contains("going through"), "{errors}");
}

#[test]
fn a_run_dir_may_have_a_longer_name_than_an_address() {
    let proxy = proxy();
    let config = proxy.config();
    let long = proxy.run_dir().join("x".repeat(120));
    edit(&config, &proxy.run_dir().display().to_string(), &long.display().to_string());
    // Of the new directory nobody knows yet; the port still serves.
    let (code, results, errors) = odp(&["restart"], &config);
    assert_eq!(code, Some(0), "{results}{errors}");
    edit(&config, ADMIN_PASSWORD, "new");
    let (code, results, errors) = odp(&["restart"], &config);
    assert_eq!(code, Some(0), "{results}{errors}\n{}", proxy.log());
    assert!(errors.contains(&format!("going through {}/control.sock", long.display())), "{errors}");
    proxy.process().signal(Signal::SIGTERM);
}

#[test]
fn a_hung_proxy_whose_port_was_edited_is_revived_by_force() {
    let proxy = proxy();
    let config = proxy.config();
    let new_address = format!("127.0.0.1:{}", free_port());
    edit(&config, &proxy.admin_address(), &new_address);
    let hung = proxy.pid();
    let revived = Revived { config: &config };
    kill(Pid::from_raw(hung as i32), Signal::SIGSTOP).expect("it is ours");
    let (code, _, errors) = odp(&["restart"], &config);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("--force"), "{errors}");
    let (code, results, errors) = odp(&["restart", "--force"], &config);
    assert_eq!(code, Some(0), "{results}{errors}\n{}", proxy.log());
    assert!(killed(&results).contains(&hung), "{results}");
    let (code, status, errors) = odp(&["status", "--json"], &config);
    assert_eq!(code, Some(0), "{errors}");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status[0]["state"], "RUNNING", "{status:#}");
    let pid = status[0]["pid"].as_i64().expect("a pid") as i32;
    assert_eq!(revived.pids(), [pid]);
}

#[test]
fn the_socket_of_another_proxy_is_left_alone() {
    let first = proxy();
    let dir = scratch();
    let config = dir.path().join("odp.toml");
    let ports = [first.sql, first.admin, first.http];
    let text = std::fs::read_to_string(first.config()).expect("the config");
    let admin = free_port();
    // The same run_dir, but ports of its own.
    let text = ports.iter().fold(text, |text, port| {
        let own = if *port == first.admin { admin } else { 0 };
        text.replace(&format!("127.0.0.1:{port}\""), &format!("127.0.0.1:{own}\""))
    });
    std::fs::write(&config, text).expect("ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    command.args(["run", "-c"]).arg(&config);
    let second = Process::spawn("the second", command, &dir.path().join("log"));
    until("it to serve", || second.log().contains("state=RUNNING").then_some(()));
    assert!(second.log().contains("run_dir: no control socket"), "{}", second.log());
    let before = (first.pid(), second.pid());
    edit(&config, ADMIN_PASSWORD, "new");
    let (code, _, errors) = odp(&["restart"], &config);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("is that of") && errors.contains("(1045)"), "{errors}");
    assert_eq!((first.pid(), second.pid()), before, "neither was restarted");
    drop(second);
    let mut wire = Wire::open_unix(&socket(&first), &Login { database: None, ..Login::default() });
    let reply = wire.as_mut().expect("it still leads to the first").query("PING PROXY");
    assert_eq!(reply.error(), None);
}

#[test]
fn what_has_happened_to_its_file_does_not_matter() {
    let proxy = proxy();
    let path = socket(&proxy);
    // A cleaner has been there; a restart by the port brings it back.
    std::fs::remove_file(&path).expect("ours");
    edit(&proxy.config(), ADMIN_PASSWORD, ADMIN_PASSWORD);
    let (code, results, errors) = odp(&["restart"], &proxy.config());
    assert_eq!(code, Some(0), "{results}{errors}");
    until("the socket", || UnixStream::connect(&path).ok());
    // Killed, it leaves its file behind, which the next one replaces.
    proxy.kill9();
    assert!(path.exists());
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    command.args(["run", "-c"]).arg(proxy.config());
    let dir = scratch();
    let next = Process::spawn("the next", command, &dir.path().join("log"));
    until("it to serve", || next.log().contains("state=RUNNING").then_some(()));
    until("the socket", || UnixStream::connect(&path).ok());
    // One that stops takes it along.
    next.signal(Signal::SIGTERM);
    until("its end", || next.ended());
    assert!(!path.exists(), "{}", next.log());
}
