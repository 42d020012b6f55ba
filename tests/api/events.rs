//! Events: how things are, as it changes, across restarts.

use crate::scene::{alone, manager, viewer};
use crate::support::http::Asker;
use crate::support::until;

#[test]
fn who_listens_is_told_how_it_is_and_what_changes() {
    let proxy = alone();
    let mut events = viewer(&proxy).listen();
    let (_, state) = events.until("state", |_| true).expect("how it is");
    assert_eq!(state["status"], "RUNNING");
    let mut admin = proxy.admin().expect("admin");
    admin.run("ALTER PROXYCONFIG SET proxy_local_cmd = '3'");
    events.until("state", |state| state["status"] == "OFFLINE").expect("news");
    admin.run("ALTER PROXYCONFIG SET proxy_local_cmd = '4'");
    let (id, _) = events.until("state", |state| state["status"] == "RUNNING").expect("news");
    let mut again = viewer(&proxy).with("Last-Event-ID", &id).listen();
    admin.run("ALTER PROXYCONFIG SET proxy_local_cmd = '3'");
    let (_, state) = again.until("state", |_| true).expect("only what came behind it");
    assert_eq!(state["status"], "OFFLINE");
}

#[test]
fn who_listens_hears_of_the_restart_and_goes_on_with_the_successor() {
    let proxy = alone();
    let asker = manager(&proxy);
    let mut events = asker.listen();
    let (id, before) = events.until("state", |_| true).expect("how it is");
    let answer = asker.ask("POST", "/api/v1/proxies/local/restart", "");
    assert_eq!(answer.status, 202, "{answer:?}");
    // The old process ends, and with it the stream.
    let mut last = id;
    while let Some((id, _, value)) = events.next() {
        assert_ne!(value["state"], "FAILED", "{value}\n{}", proxy.log());
        last = id;
    }
    until("the successor's events", || {
        let mut events = asker.with("Last-Event-ID", &last).listen();
        let (mut is_new, mut is_completed) = (false, false);
        while !(is_new && is_completed) {
            let (_, kind, value) = events.next()?;
            is_new |=
                kind == "state" && value["status"] == "RUNNING" && value["pid"] != before["pid"];
            is_completed |= kind == "task" && value["state"] == "COMPLETED";
        }
        Some(())
    });
}

#[test]
fn nobody_hears_nothing_and_many_find_no_place() {
    let proxy = alone();
    assert_eq!(Asker::nobody(&proxy).get("/api/v1/events").status, 401);
    let mut listeners: Vec<_> = (0..256).map(|_| viewer(&proxy).listen()).collect();
    for events in &mut listeners {
        events.next().expect("a place");
    }
    assert_eq!(viewer(&proxy).get("/api/v1/events").status, 503);
    drop(listeners);
    until("a place", || viewer(&proxy).listen().next());
}
