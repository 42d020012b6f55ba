//! Restarts of several proxies by the API, and what is to become of them.

use crate::scene::{alone, manager};
use crate::support::fleet::introduce;
use crate::support::{Proxy, until};

const RESTART: &str = "/api/v1/clusters/main/restart";

fn fleet() -> [Proxy; 2] {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    proxies
}

#[test]
fn a_fleet_is_restarted_and_who_coordinates_is_the_last() {
    let fleet = fleet();
    let asker = manager(&fleet[0]);
    let members = asker.get("/api/v1/fleet").items();
    let names: Vec<_> = members.iter().map(|it| (&it["name"], &it["status"])).collect();
    assert_eq!(names, [(&"a".into(), &"RUNNING".into()), (&"b".into(), &"RUNNING".into())]);
    let before = [fleet[0].pid(), fleet[1].pid()];
    let answer = asker.ask("POST", RESTART, r#"{"mode": "restart", "canary": 0, "batch": 2}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    let path = answer.field("location").expect("where the task is").to_owned();
    assert_eq!(path, "/api/v1/tasks/fleet-1");
    assert_eq!(answer.json()["task"]["state"], "IN_PROGRESS");
    let again = asker.ask("POST", RESTART, "");
    assert_eq!(again.status, 409, "{again:?}");
    let whole = until("the task to end", || {
        let whole = asker.try_ask("GET", &path, "")?.json();
        let state = whole["task"]["state"].as_str()?;
        (state != "IN_PROGRESS").then(|| whole.clone())
    });
    assert_eq!(whole["task"]["state"], "COMPLETED", "{whole:#}");
    assert_eq!(whole["task"]["done"], 2, "{whole:#}");
    let steps = whole["steps"].as_array().expect("steps");
    let mut restarts: Vec<_> = steps.iter().filter(|it| it["phase"] == "RESTART").collect();
    restarts.sort_by_key(|it| it["begun_at"].to_string());
    let order: Vec<_> = restarts.iter().map(|it| (&it["proxy"], &it["coordinates"])).collect();
    assert_eq!(order, [(&"b".into(), &false.into()), (&"a".into(), &true.into())], "{whole:#}");
    assert!(restarts.iter().all(|it| it["ended_at"].is_string()), "{whole:#}");
    assert!(before[0] != fleet[0].pid() && before[1] != fleet[1].pid());
    let tasks = asker.get("/api/v1/tasks").json();
    assert_eq!(tasks["fleet"][0]["id"], "fleet-1", "{tasks:#}");
    let own = tasks["items"].as_array().expect("restarts of this proxy");
    assert_eq!(own.iter().filter(|it| it["mode"] == "RESTART").count(), 1, "{tasks:#}");
    let retry = asker.ask("POST", &format!("{path}/retry"), "");
    assert_eq!(retry.status, 409, "it has completed: {retry:?}");
}

#[test]
fn what_is_named_is_restarted_and_nobody_else() {
    let fleet = fleet();
    let asker = manager(&fleet[0]);
    let mut events = asker.listen();
    let before = [fleet[0].pid(), fleet[1].pid()];
    let answer = asker.ask("POST", RESTART, r#"{"proxies": ["b"]}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    let stop = asker.ask("POST", "/api/v1/tasks/fleet-1/stop", "");
    assert_eq!(stop.status, 204, "{stop:?}");
    let told = events.until("fleet", |it| it["task"]["state"] != "IN_PROGRESS");
    let (_, whole) = told.expect("an event");
    assert!(whole["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{whole:#}");
    assert_eq!(whole["task"]["proxies"], 1, "{whole:#}");
    assert_eq!(fleet[0].pid(), before[0]);
    let audit = asker.get("/api/v1/audit").items();
    let actions: Vec<_> = audit.iter().map(|it| it["action"].as_str().expect("SQL")).collect();
    assert_eq!(actions, ["RESTART FLEET STOP 1", "RESTART FLEET PROXIES = 'b'"]);
}

#[test]
fn what_cannot_be_asked_of_a_fleet_is_told_and_nothing_begins() {
    let fleet = fleet();
    let asker = manager(&fleet[0]);
    for (body, status, part) in [
        (r#"{"mode": "rehearse"}"#, 400, "mode = 'rehearse'"),
        (r#"{"batch": "two"}"#, 400, "batch: expected a number"),
        (r#"{"batch": 0}"#, 422, "batch"),
        (r#"{"stop_on_failure": 1}"#, 400, "stop_on_failure: expected true or false"),
        (r#"{"proxies": []}"#, 400, "proxies: expected the name of one"),
        (r#"{"proxies": ["a,b"]}"#, 400, "proxies: expected a list of names"),
        (r#"{"proxies": ["c"]}"#, 409, "no proxy 'c'"),
        (r#"{"binary": "/bin/sh"}"#, 400, "binary: expected mode"),
    ] {
        let answer = asker.ask("POST", RESTART, body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let detail = answer.json()["detail"].as_str().expect("a text").to_owned();
        assert!(detail.contains(part), "{body}: {detail}");
    }
    assert_eq!(asker.ask("POST", "/api/v1/clusters/none/restart", "").status, 404);
    for path in ["fleet-1/stop", "fleet-1/retry", "fleet-1/rollback", "1/stop", "fleet-01/retry"] {
        let answer = asker.ask("POST", &format!("/api/v1/tasks/{path}"), "");
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    assert!(asker.get("/api/v1/tasks").json()["fleet"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn without_a_fleet_there_is_none() {
    let proxy = alone();
    let asker = manager(&proxy);
    assert!(asker.get("/api/v1/fleet").items().is_empty());
    let answer = asker.ask("POST", RESTART, "");
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.body.contains("there is no fleet"), "{answer:?}");
}
