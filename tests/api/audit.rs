//! The audit: whoever changes something is in it, whichever way he came.

use std::os::unix::fs::MetadataExt as _;

use crate::scene::{VIEWER, alone, console, manager, viewer};
use crate::support::Proxy;
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;

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
fn the_audit_outlives_a_restart() {
    let proxy = alone();
    manager(&proxy).ask("PATCH", "/api/v1/parameters", r#"{"connect_timeout": "3s"}"#);
    proxy.restart();
    let actions: Vec<_> = entries(&proxy).into_iter().map(|[_, _, action, _]| action).collect();
    assert_eq!(actions, ["RESTART", "ALTER PROXYCONFIG SET connect_timeout = '3s'"]);
}
