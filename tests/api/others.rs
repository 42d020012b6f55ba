//! What one proxy tells of the others of its fleet: tasks that they coordinate, and what each would
//! not move in a restart.

use serde_json::{Value, json};

use crate::scene::{alone, manager, viewer};
use crate::support::Proxy;
use crate::support::fleet::introduce;
use crate::support::until;

const RESTART: &str = "/api/v1/clusters/main/restart";

fn fleet() -> [Proxy; 2] {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    proxies
}

/// Has a proxy coordinate a task that fails: there is no such program.
fn fail(proxy: &Proxy) {
    let mut admin = proxy.admin().expect("the admin port takes us");
    admin.run("RESTART FLEET BINARY = '/none'");
    until("the task to fail", || {
        let tasks = admin.try_query("SHOW FLEET TASKS").ok()?.named_rows();
        (tasks.first()?["state"] == "FAILED").then_some(())
    });
}

#[test]
fn tasks_that_another_proxy_coordinates_are_told_of_after_their_end() {
    let fleet = fleet();
    fail(&fleet[1]);
    let asker = viewer(&fleet[0]);
    let tasks = || asker.get("/api/v1/tasks").json()["fleet"].as_array().cloned().expect("a list");
    let told = until("it to be heard of", || tasks().first().cloned());
    let what = ["id", "coordinator", "state"].map(|name| &told[name]);
    assert_eq!(what, ["fleet-1@b", "b", "FAILED"], "{told:#}");
    let path = "/api/v1/tasks/fleet-1%40b";
    let mut whole = asker.get(path).json();
    assert_eq!(whole["task"], told);
    // But for its name it is what the one that coordinates it tells.
    let own = viewer(&fleet[1]).get("/api/v1/tasks/fleet-1").json();
    assert_eq!(own["task"]["coordinator"], Value::Null);
    assert_eq!(own["steps"].as_array().map(Vec::len), Some(2), "{own:#}");
    (whole["task"]["id"], whole["task"]["coordinator"]) = ("fleet-1".into(), Value::Null);
    assert_eq!(whole, own);
    // Those of all are one list, the newest first.
    fail(&fleet[0]);
    let ids: Vec<_> = tasks().iter().map(|task| task["id"].clone()).collect();
    assert_eq!(ids, ["fleet-1", "fleet-1@b"]);
    let manager = manager(&fleet[0]);
    let retry = manager.ask("POST", &format!("{path}/retry"), "");
    assert_eq!(retry.status, 409, "{retry:?}");
    assert!(retry.body.contains("b coordinates it") && retry.body.contains("RETRY 1"), "{retry:?}");
    for none in ["fleet-2%40b", "fleet-1%40z", "fleet-1%40a", "fleet-01%40b", "fleet-1%40"] {
        assert_eq!(asker.get(&format!("/api/v1/tasks/{none}")).status, 404, "{none}");
    }
}

#[test]
fn who_does_not_tell_of_its_tasks_is_told_of() {
    let fleet = fleet();
    fail(&fleet[1]);
    let rows = |at: usize, sql: &str| fleet[at].admin().expect("admin").query(sql).named_rows();
    let others = "SHOW FLEET TASKS OF OTHERS";
    let told = rows(0, others).remove(0);
    let what = ["coordinator", "task_id", "state"].map(|name| &*told[name]);
    assert_eq!(what, ["b", "1", "FAILED"], "{told:?}");
    assert_eq!(rows(0, "SHOW FLEET TASK '1@b'"), rows(1, "SHOW FLEET TASK 1"));
    assert!(rows(1, others)[..].is_empty(), "the other one coordinates none");
    assert!(rows(0, &format!("{others} 'a'")).is_empty(), "it is itself no other one");
    fleet[1].kill9();
    let told = rows(0, others).remove(0);
    assert_eq!((&*told["coordinator"], told.get("task_id")), ("b", None), "{told:?}");
    assert!(told["error"].contains("refused"), "{told:?}");
    let gone = viewer(&fleet[0]).get("/api/v1/tasks/fleet-1%40b");
    assert_eq!(gone.status, 502, "{gone:?}");
    assert!(gone.body.contains("b does not answer: "), "{gone:?}");
}

#[test]
fn a_cluster_rehearses_and_the_answer_is_what_each_would_not_move() {
    let fleet = fleet();
    let asker = manager(&fleet[0]);
    let before = [fleet[0].pid(), fleet[1].pid()];
    let rehearse = |body: Value| {
        let answer = asker.ask("POST", RESTART, &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        let items = answer.items();
        let said = |item: &Value| [&item["proxy"], &item["state"]].map(|it| it.to_string());
        items.iter().map(|item| said(item).join(" ").replace('"', "")).collect::<Vec<_>>()
    };
    let all = json!({"mode": "rehearse"});
    assert_eq!(rehearse(all.clone()), ["a COMPLETED", "b COMPLETED"]);
    assert_eq!(rehearse(json!({"mode": "rehearse", "proxies": ["b"]})), ["b COMPLETED"]);
    assert_eq!([fleet[0].pid(), fleet[1].pid()], before);
    let audit = asker.get("/api/v1/audit").items();
    let asked = "RESTART FLEET REHEARSE CLUSTER = 'main' PROXIES = 'b'";
    assert!(audit.iter().any(|it| it["action"] == asked), "{audit:?}");
    fleet[1].kill9();
    assert_eq!(rehearse(all), ["a COMPLETED", "b UNREACHABLE"]);
    let body = r#"{"mode": "rehearse"}"#;
    assert_eq!(viewer(&fleet[0]).ask("POST", RESTART, body).status, 403);
    assert!(asker.get("/api/v1/tasks").json()["fleet"].as_array().is_some_and(Vec::is_empty));
}
