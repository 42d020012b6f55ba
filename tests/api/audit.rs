//! The audit: whoever changes something is in it, whichever way he came.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{VIEWER, alone, console, manager, viewer};
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Proxy, scratch, skip, until};

fn entries(proxy: &Proxy) -> Vec<[String; 4]> {
    let items = manager(proxy).get("/api/v1/audit").items();
    let of = |it: serde_json::Value| {
        ["user", "by", "action", "outcome"].map(|name| it[name].as_str().expect(name).to_owned())
    };
    items.into_iter().map(of).collect()
}

#[test]
fn every_change_is_in_the_audit_with_who_and_what_came_of_it() {
    let proxy = alone();
    let asker = manager(&proxy);
    asker.ask("PATCH", "/api/v1/parameters", r#"{"connect_timeout": "3s"}"#);
    asker.ask("PATCH", "/api/v1/parameters", r#"{"connect_timeout": "soon"}"#);
    let mut admin = proxy.admin().expect("admin");
    admin.run("ALTER PROXYCONFIG SET connect_timeout = '4s'");
    admin.query("KILL PROXYSESSION 7");
    admin.run("ALTER CLUSTER main SET init_sql = ''");
    assert_eq!(viewer(&proxy).ask("DELETE", "/api/v1/sessions/7", "").status, 403);
    let shown: Vec<_> = entries(&proxy).into_iter().map(|entry| entry.join(" | ")).collect();
    let expected = [
        "eyes | api | DELETE /api/v1/sessions/7 | refused",
        "root | sql | ALTER CLUSTER 'main' SET init_sql = '***' | done",
        "root | sql | KILL PROXYSESSION 7 | refused",
        "root | sql | ALTER PROXYCONFIG SET connect_timeout = '4s' | done",
        "ops | api | ALTER PROXYCONFIG SET connect_timeout = 'soon' | refused",
        "ops | api | ALTER PROXYCONFIG SET connect_timeout = '3s' | done",
    ];
    assert_eq!(shown, expected);
    let rows = admin.query("SHOW AUDIT").named_rows();
    assert_eq!(rows.len(), expected.len());
    assert_eq!(rows[0]["outcome"], "refused");
    let path = proxy.state_dir().join("audit.log");
    assert_eq!(std::fs::metadata(&path).expect("the file").mode() & 0o777, 0o600);
    let file = std::fs::read_to_string(path).expect("text");
    assert!(!file.contains(PASSWORD) && !file.contains(VIEWER), "{file}");
}

#[test]
fn without_a_state_dir_the_audit_is_in_the_run_dir() {
    let mut options = Options::new(&["127.0.0.1:1".to_owned()]);
    options.proxy = "state_dir = \"\"\n".into();
    options.rest = console("");
    let proxy = Proxy::start_with(&options);
    manager(&proxy).ask("DELETE", "/api/v1/sessions/7", "");
    assert_eq!(entries(&proxy).len(), 1);
    assert!(proxy.run_dir().join("audit.log").exists());
}

#[test]
fn what_is_asked_by_a_signal_is_in_the_audit() {
    let proxy = alone();
    let text = std::fs::read_to_string(proxy.config()).expect("a config");
    let reload = |outcome: &str| {
        kill(Pid::from_raw(proxy.pid() as i32), Signal::SIGHUP).expect("it lives");
        let entry = ["signal", "signal", "RELOAD CONFIG", outcome].map(str::to_owned);
        until("the entry", || (entries(&proxy).first() == Some(&entry)).then_some(()));
    };
    reload("done");
    std::fs::write(proxy.config(), format!("{text}\n[nonsense]\n")).expect("ours");
    reload("refused");
    std::fs::write(proxy.config(), text).expect("ours");
    proxy.restart_by_signal();
    let entry = ["signal", "signal", "RESTART", "done"].map(str::to_owned);
    until("the successor", || {
        let audit = manager(&proxy).try_ask("GET", "/api/v1/audit", "")?.items();
        (audit[0]["address"] == "SIGUSR2" && audit[0]["detail"] == "task 1").then_some(())
    });
    assert_eq!(entries(&proxy)[0], entry);
}

#[test]
fn the_audit_outlives_a_restart() {
    let proxy = alone();
    manager(&proxy).ask("PATCH", "/api/v1/parameters", r#"{"connect_timeout": "3s"}"#);
    proxy.restart();
    let actions: Vec<_> = entries(&proxy).into_iter().map(|[_, _, action, _]| action).collect();
    assert_eq!(actions, ["RESTART", "ALTER PROXYCONFIG SET connect_timeout = '3s'"]);
}

/// Nobody has been told that it was done, and it was not; who has asked for it can be found.
#[cfg(feature = "crash-points")]
#[test]
fn what_a_proxy_dies_of_is_in_the_audit_as_asked_for() {
    let dir = scratch();
    let spec = dir.path().join("crash");
    std::fs::write(&spec, "").expect("ours");
    let mut options = Options::new(&["127.0.0.1:1".to_owned()]);
    options.environment = vec![("ODP_CRASH_AT".into(), format!("@{}", spec.display()))];
    options.proxy = "crash_protection = false\n".into();
    options.rest = console("");
    let mut proxy = Proxy::start_with(&options);
    std::fs::write(&spec, "predecessor:kept:1:kill").expect("ours");
    let body = r#"{"connect_timeout": "3s"}"#;
    let answer = manager(&proxy).try_ask("PATCH", "/api/v1/parameters", body);
    assert!(answer.is_none(), "nobody has said that it was done: {answer:?}");
    proxy.process().wait();
    std::fs::write(&spec, "").expect("ours");
    proxy.start_again(&options, &[]).expect("it starts");
    let action = "ALTER PROXYCONFIG SET connect_timeout = '3s'";
    assert_eq!(entries(&proxy), [["ops", "api", action, "asked"].map(str::to_owned)]);
}

/// The lines of a trace of system calls, each with its thread.
fn traced(path: &std::path::Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).expect("a trace");
    let line = |line: &str| line.split_once(' ').map(|(id, call)| (id.into(), call.trim().into()));
    text.lines().filter_map(line).collect()
}

#[test]
fn a_change_is_on_the_disk_as_asked_for_before_it_is_carried_out() {
    let dir = scratch();
    let strace = |more: &str| {
        format!("strace -f -qq -s 400 -o '{}' {more}", dir.path().join("trace").display())
    };
    let works = Command::new("sh").args(["-c", &strace("true")]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        return skip("strace is needed, and to be allowed to trace");
    }
    let binary = dir.path().join("odp-traced");
    let calls = "-e trace=openat,write,fdatasync,rename,renameat,renameat2";
    let traced_odp = strace(&format!("{calls} '{}' \"$@\"", env!("CARGO_BIN_EXE_odp")));
    std::fs::write(&binary, format!("#!/bin/sh\nexec {traced_odp}\n")).expect("ours");
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let mut options = Options::new(&["127.0.0.1:1".to_owned()]);
    options.proxy = "crash_protection = false\n".into();
    options.rest = console("");
    options.binary = Some(binary);
    let proxy = Proxy::start_with(&options);
    let body = r#"{"connect_timeout": "3s"}"#;
    let answer = manager(&proxy).ask("PATCH", "/api/v1/parameters", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let (trace, is_done) = until("all of it to be in the trace", || {
        let trace = traced(&dir.path().join("trace"));
        let is_done = |(_, call): &(String, String)| call.contains(r#"outcome\":\"done"#);
        let at = trace.iter().position(is_done)?;
        Some((trace, at))
    });
    let first = |from: usize, is_it: &dyn Fn(&str, &str) -> bool| {
        let found = trace.iter().skip(from).position(|(thread, call)| is_it(thread, call));
        from + found.unwrap_or_else(|| panic!("it is not there: {trace:#?}"))
    };
    let asked = first(0, &|_, call| {
        call.starts_with("write(") && call.contains("connect_timeout") && call.contains("asked")
    });
    let thread = trace[asked].0.clone();
    let synced = first(asked, &|of, call| {
        of == thread && call.contains("fdatasync") && call.ends_with("= 0")
    });
    let draft = first(0, &|_, call| {
        call.starts_with("openat(") && call.contains("parameters.toml") && call.contains("O_CREAT")
    });
    assert!(asked < synced && synced < draft && draft < is_done, "{trace:#?}");
}
