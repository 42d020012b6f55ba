//! The audit: whoever changes something is in it, whichever way he came.

use std::os::unix::fs::MetadataExt as _;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{VIEWER, alone, console, manager, viewer};
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Proxy, until};

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
