//! A restart by the API: begun, followed, and asked for once.

use serde_json::Value;

use crate::scene::{console, manager, pair};
use crate::support::database::PASSWORD;
use crate::support::http::Asker;
use crate::support::proxy::Options;
use crate::support::{Database, Login, Proxy, Server, Wire, scratch, until};

const RESTART: &str = "/api/v1/proxies/local/restart";

/// How a task has ended.
fn ended(asker: &Asker, path: &str) -> Value {
    until("the task to end", || {
        // Between two processes a connection may be lost.
        let task = asker.try_ask("GET", path, "")?.json();
        (task["state"] != "IN_PROGRESS" && task["state"].is_string()).then_some(task)
    })
}

fn client(proxy: &Proxy) -> Wire {
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    Wire::open(&proxy.address(), &login).expect("it is let in")
}

#[test]
fn a_restart_is_a_task_and_no_session_notices() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = manager(&proxy);
    let mut client = client(&proxy);
    client.run("SET @kept = 7");
    let before = asker.get("/api/v1/proxies/local").json();
    assert_eq!((&before["status"], &before["sessions"]), (&"RUNNING".into(), &1.into()));
    let answer = asker.ask("POST", RESTART, r#"{"mode": "restart", "exit_timeout": "20s"}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    let path = answer.field("location").expect("where the task is").to_owned();
    assert_eq!(answer.json()["mode"], "RESTART");
    let task = ended(&asker, &path);
    assert_eq!(task["state"], "COMPLETED", "{task}");
    assert_eq!(task["moved"], 1, "{task}");
    // The successor knows what its predecessor was asked by whom.
    let who = task["started_by"].as_str().expect("a text");
    assert_eq!(who, "ops@127.0.0.1");
    // And the successor where it has been, and when.
    let phases = task["phases"].as_array().expect("a list");
    let names: Vec<_> = phases.iter().map(|it| it["name"].as_str().expect("a text")).collect();
    assert_eq!((names[0], names[names.len() - 1]), ("PREFLIGHT", "COMMIT"), "{task}");
    assert!(names.contains(&"SESSIONS"), "{task}");
    let times: Vec<_> =
        phases.iter().map(|it| it["after_ms"].as_u64().expect("a number")).collect();
    assert!(times.is_sorted() && times[times.len() - 1] > 0, "{task}");
    assert!(times[times.len() - 1] <= task["elapsed_ms"].as_u64().expect("a number"), "{task}");
    let after = until("the successor", || {
        let after = asker.try_ask("GET", "/api/v1/proxies/local", "")?.json();
        (after["status"] == "RUNNING").then_some(after)
    });
    assert_ne!(before["pid"], after["pid"]);
    assert_eq!(after["last_restart"], task["id"]);
    assert_eq!(client.query("SELECT @kept").named_rows()[0]["@kept"], "7");
}

#[test]
fn what_is_asked_twice_with_one_key_is_done_once_across_the_restart() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = manager(&proxy).with("Idempotency-Key", "night shift 1");
    let first = asker.ask("POST", RESTART, "");
    assert_eq!(first.status, 202, "{first:?}");
    let path = first.field("location").expect("where the task is").to_owned();
    ended(&asker, &path);
    let again = until("an answer", || asker.try_ask("POST", RESTART, ""));
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(again.field("location"), Some(path.as_str()));
    assert_eq!(again.field("idempotency-replayed"), Some("true"));
    assert_eq!(asker.get("/api/v1/tasks").items().len(), 1, "there was one restart");
    let other = asker.ask("POST", RESTART, r#"{"mode": "force"}"#);
    assert_eq!(other.status, 422, "{other:?}");
    let long = manager(&proxy).with("Idempotency-Key", &"x".repeat(129));
    assert_eq!(long.ask("POST", RESTART, "").status, 400);
}

#[test]
fn what_cannot_be_asked_is_told_with_the_name_and_nothing_begins() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = manager(&proxy);
    for (body, status, part) in [
        (r#"{"mode": "soon"}"#, 400, "mode = 'soon'"),
        (r#"{"exit_timeout": "soon"}"#, 422, "exit_timeout = 'soon'"),
        (r#"{"exit_timeout": 7}"#, 400, "exit_timeout: expected a string"),
        (r#"{"binary": "/bin/sh"}"#, 400, "binary: expected mode or exit_timeout"),
        ("[]", 400, "expected a JSON object"),
        ("{", 400, "expected a JSON object"),
    ] {
        let answer = asker.ask("POST", RESTART, body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        let detail = answer.json()["detail"].as_str().expect("a text").to_owned();
        assert!(detail.contains(part), "{body}: {detail}");
    }
    assert_eq!(asker.ask("POST", "/api/v1/proxies/other/restart", "").status, 404);
    let form = asker.form(RESTART, "mode=force");
    assert_eq!(form.status, 415, "{form:?}");
    assert!(asker.get("/api/v1/tasks").items().is_empty());
}

#[test]
fn a_restart_that_has_failed_is_begun_again_as_it_was_asked() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = manager(&proxy);
    let dir = scratch();
    let binary = dir.path().join("odp");
    let sql = format!("RESTART EXIT_TIMEOUT = '20s' BINARY = '{}'", binary.display());
    let refused = proxy.admin().expect("the admin port").query(&sql);
    assert!(refused.error().is_some(), "there is no such program");
    let retry = || asker.ask("POST", "/api/v1/tasks/1/retry", "");
    let stop = asker.ask("POST", "/api/v1/tasks/1/stop", "");
    assert!(stop.status == 409 && stop.body.contains("task 1 is FAILED: it is over"), "{stop:?}");
    // Nothing was mended.
    assert_eq!(retry().status, 409);
    assert_eq!(asker.get("/api/v1/tasks/2").json()["state"], "FAILED");
    let old = retry();
    assert!(old.status == 409 && old.body.contains("not the last one"), "{old:?}");
    std::fs::copy(env!("CARGO_BIN_EXE_odp"), &binary).expect("a program");
    let answer = asker.ask("POST", "/api/v1/tasks/2/retry", "");
    assert_eq!(answer.status, 202, "{answer:?}");
    let path = answer.field("location").expect("where the task is").to_owned();
    assert_eq!(ended(&asker, &path)["state"], "COMPLETED");
    let info = proxy.admin().expect("the admin port").query("SHOW PROXYINFO BINARY").named_rows();
    let runs = info.iter().find(|row| row["name"] == "binary").expect("which program");
    assert_eq!(runs["info"], binary.display().to_string());
    for (task, what, part) in [
        (3, "retry", "task 3 is COMPLETED: only one that has failed"),
        (3, "stop", "task 3 is COMPLETED: it is over"),
        // The process that was asked is gone.
        (2, "retry", "how it was asked is not known any more"),
    ] {
        let answer = asker.ask("POST", &format!("/api/v1/tasks/{task}/{what}"), "");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        assert!(answer.status == 409 && answer.body.contains(part), "{answer:?}");
    }
}

#[test]
fn a_restart_that_is_under_way_is_taken_back_and_not_stopped() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let mut options = Options::new(&[database.address()]);
    // Long enough for whatever is asked meanwhile.
    options.proxy = "hot_upgrade_probation = \"60s\"\n".into();
    options.rest = console("");
    let proxy = Proxy::start_with(&options);
    let asker = manager(&proxy);
    let mut client = client(&proxy);
    client.run("CREATE TEMPORARY TABLE kept (a INT)");
    let before = proxy.pid();
    let answer = asker.ask("POST", RESTART, "");
    let path = answer.field("location").expect("where the task is").to_owned();
    until("the probation", || {
        (asker.try_ask("GET", &path, "")?.json()["phase"] == "PROBATION").then_some(())
    });
    let stop = asker.ask("POST", &format!("{path}/stop"), "");
    assert!(stop.status == 409 && stop.body.contains("rollback takes it back"), "{stop:?}");
    let rollback = asker.ask("POST", &format!("{path}/rollback"), "");
    assert_eq!(rollback.status, 204, "{rollback:?}");
    assert_eq!(ended(&asker, &path)["state"], "ROLLED_BACK");
    assert_eq!(proxy.pid(), before);
    client.run("SELECT * FROM kept");
}

#[test]
fn a_task_that_is_over_is_not_taken_back() {
    let Some((_database, proxy)) = pair() else { return };
    let asker = manager(&proxy);
    let answer = asker.ask("POST", RESTART, r#"{"mode": "rehearse"}"#);
    let path = answer.field("location").expect("where the task is").to_owned();
    assert_eq!(ended(&asker, &path)["mode"], "REHEARSE");
    let answer = asker.ask("POST", &format!("{path}/rollback"), "");
    assert_eq!(answer.status, 409, "{answer:?}");
    assert_eq!(asker.ask("POST", "/api/v1/tasks/77/rollback", "").status, 404);
    assert_eq!(asker.get("/api/v1/tasks/77").status, 404);
}
