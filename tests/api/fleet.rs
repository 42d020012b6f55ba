//! Restarts of several proxies by the API, and what is to become of them.

use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::scene::{alone, before, console, manager, viewer};
use crate::support::database::PASSWORD;
use crate::support::fleet::introduce;
use crate::support::load::Load;
use crate::support::proxy::Options;
use crate::support::relay::Detour;
use crate::support::{Database, Login, Proxy, Server, Wire, until};

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
    let addresses: Vec<_> = members.iter().map(|it| it["address"].as_str()).collect();
    assert_eq!(
        addresses,
        [0, 1].map(|at| Some(fleet[at].address())).each_ref().map(|it| it.as_deref())
    );
    let is_local: Vec<_> = members.iter().map(|it| it["is_local"] == true).collect();
    assert_eq!(is_local, [true, false]);
    let before = [fleet[0].pid(), fleet[1].pid()];
    let answer = asker.ask("POST", RESTART, r#"{"mode": "restart", "canary": 0, "batch": 2}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    let path = answer.field("location").expect("where the task is").to_owned();
    assert_eq!(path, "/api/v1/tasks/fleet-1");
    assert_eq!(answer.json()["task"]["state"], "IN_PROGRESS");
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
    let members = asker.get("/api/v1/fleet").items();
    assert!(members.iter().all(|it| it["last_restart_moved"] == 0), "{members:?}");
    let own = tasks["items"].as_array().expect("restarts of this proxy");
    assert_eq!(own.iter().filter(|it| it["mode"] == "RESTART").count(), 1, "{tasks:#}");
    let retry = asker.ask("POST", &format!("{path}/retry"), "");
    assert_eq!(retry.status, 409, "it has completed: {retry:?}");
}

#[test]
fn a_cluster_under_load_is_restarted_and_nobody_notices() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let fleet = [(); 3].map(|()| before(&[database.address()]));
    introduce(&fleet);
    let loads = [0, 1, 2].map(|at| Load::start(&fleet[at], 4));
    let before = fleet.each_ref().map(Proxy::pid);
    let asker = manager(&fleet[1]);
    let answer = asker.ask("POST", RESTART, r#"{"mode": "restart"}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    let path = answer.field("location").expect("where the task is").to_owned();
    let task = until("the task to end", || {
        let task = asker.try_ask("GET", &path, "")?.json()["task"].clone();
        (task["state"] != "IN_PROGRESS").then_some(task)
    });
    assert_eq!((&task["state"], &task["done"]), (&"COMPLETED".into(), &3.into()), "{task:#}");
    loads.into_iter().for_each(Load::end_unharmed);
    for (before, proxy) in before.iter().zip(&fleet) {
        assert_ne!(*before, proxy.pid());
        let status = manager(proxy).get("/api/v1/proxies").items()[0]["status"].clone();
        assert_eq!(status, "RUNNING");
    }
}

#[test]
fn sessions_of_a_cluster_are_those_of_all_proxies() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxies = [(); 2].map(|()| {
        let mut options = Options::new(&[database.address()]);
        let two = "[[cluster]]\nname = \"two\"\n[[cluster.server]]\naddress = \"127.0.0.1:1\"\n";
        options.rest = console(two);
        Proxy::start_with(&options)
    });
    introduce(&proxies);
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let open = |at: usize| Wire::open(&proxies[at].address(), &login).expect("it is let in");
    let _clients = [open(0), open(1), open(1)];
    let asker = manager(&proxies[0]);
    until("all to be counted", || {
        let clusters = asker.get("/api/v1/clusters").items();
        let sessions = clusters.iter().map(|it| (it["name"].as_str(), it["sessions"].as_u64()));
        let sessions: Vec<_> = sessions.collect();
        (sessions == [(Some("main"), Some(3)), (Some("two"), Some(0))]).then_some(())
    });
    let own = proxies[1].admin().expect("admin").query("SHOW PROXYCLUSTER").named_rows();
    assert_eq!([&*own[0]["sessions"], &*own[1]["sessions"]], ["2", "0"], "{own:?}");
}

#[test]
fn what_is_named_is_restarted_and_nobody_else() {
    let fleet = fleet();
    let asker = manager(&fleet[0]);
    let mut events = asker.listen();
    let before = [fleet[0].pid(), fleet[1].pid()];
    let answer = asker.ask("POST", RESTART, r#"{"proxies": ["b"]}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    let told = events.until("fleet", |it| it["task"]["state"] != "IN_PROGRESS");
    let (_, whole) = told.expect("an event");
    assert!(whole["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{whole:#}");
    assert_eq!(whole["task"]["proxies"], 1, "{whole:#}");
    assert_eq!(fleet[0].pid(), before[0]);
    assert_ne!(fleet[1].pid(), before[1]);
    let audit = asker.get("/api/v1/audit").items();
    let actions: Vec<_> = audit.iter().map(|it| it["action"].as_str().expect("SQL")).collect();
    let restart = "RESTART FLEET CLUSTER = 'main' PROXIES = 'b'";
    // The first is how it was told of its fleet.
    assert_eq!(actions, [restart, "RELOAD CONFIG"]);
}

#[test]
fn while_a_task_is_under_way_no_other_begins_and_it_can_be_stopped() {
    let fleet = fleet();
    let asker = manager(&fleet[0]);
    let mut events = asker.listen();
    let running = || asker.get("/api/v1/clusters").items()[0]["running_fleet_task"].clone();
    assert_eq!(running(), Value::Null);
    // It goes on until it is stopped.
    let begun = "RESTART FLEET PAUSE = '1h' PROXIES = 'b'";
    fleet[0].admin().expect("the admin port takes us").run(begun);
    assert_eq!(running(), "fleet-1");
    let again = asker.ask("POST", RESTART, "");
    assert_eq!(again.status, 409, "{again:?}");
    assert!(again.body.contains("fleet task 1 is under way"), "{again:?}");
    let stop = asker.ask("POST", "/api/v1/tasks/fleet-1/stop", "");
    assert_eq!(stop.status, 204, "{stop:?}");
    let told = events.until("fleet", |it| it["task"]["state"] != "IN_PROGRESS");
    told.expect("an event");
    assert_eq!(running(), Value::Null);
    let audit = asker.get("/api/v1/audit").items();
    let actions: Vec<_> = audit.iter().take(3).map(|it| it["action"].clone()).collect();
    assert_eq!(actions, ["RESTART FLEET STOP 1", "RESTART FLEET CLUSTER = 'main'", begun]);
}

#[test]
fn what_cannot_be_asked_of_a_fleet_is_told_and_nothing_begins() {
    let fleet = fleet();
    let asker = manager(&fleet[0]);
    for (body, status, part) in [
        (r#"{"mode": "rehearse", "batch": 2}"#, 400, "batch: a rehearsal takes nothing but"),
        (r#"{"mode": "rehearse", "proxies": []}"#, 400, "proxies: expected the name of one"),
        (r#"{"mode": "rehearse", "proxies": ["c"]}"#, 409, "no proxy 'c'"),
        (r#"{"mode": "soon"}"#, 400, "mode = 'soon'"),
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
fn of_a_cluster_only_those_are_restarted_that_serve_it() {
    let mut both = Options::new(&["127.0.0.1:1".to_owned()]);
    both.rest = console(&cluster("two"));
    let mut other = both.clone();
    other.rest = other.rest.replace("name = \"two\"", "name = \"three\"");
    let fleet = [alone(), Proxy::start_with(&both), Proxy::start_with(&other)];
    introduce(&fleet);
    let pids = || fleet.iter().map(Proxy::pid).collect::<Vec<_>>();
    let before = pids();
    let asker = manager(&fleet[1]);
    let named = asker.ask("POST", "/api/v1/clusters/two/restart", r#"{"proxies": ["a", "b"]}"#);
    assert_eq!(named.status, 409, "{named:?}");
    assert!(named.body.contains("a does not serve the cluster 'two'"), "{named:?}");
    let rehearse = |proxies: &str| {
        let body = format!("{{\"mode\": \"rehearse\"{proxies}}}");
        asker.ask("POST", "/api/v1/clusters/two/restart", &body)
    };
    let named = rehearse(", \"proxies\": [\"a\", \"b\"]");
    assert_eq!(named.status, 409, "{named:?}");
    assert!(named.body.contains("a does not serve the cluster 'two'"), "{named:?}");
    let said = rehearse("").items();
    assert_eq!((said.len(), &said[0]["proxy"]), (1, &"b".into()), "{said:?}");
    let answer = asker.ask("POST", "/api/v1/clusters/two/restart", r#"{"canary": 0}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["task"]["proxies"], 1, "{answer:?}");
    let path = answer.field("location").expect("where the task is").to_owned();
    let whole = until("the task to end", || {
        let whole = asker.try_ask("GET", &path, "")?.json();
        (whole["task"]["state"] != "IN_PROGRESS").then_some(whole)
    });
    assert_eq!(whole["task"]["state"], "COMPLETED", "{whole:#}");
    let after = pids();
    assert_eq!([after[0], after[2]], [before[0], before[2]]);
    assert_ne!(after[1], before[1]);
    let audit = asker.get("/api/v1/audit").items();
    // Its own restart by the task is there as well.
    let begun = "RESTART FLEET CANARY = '0' CLUSTER = 'two'";
    assert!(audit.iter().any(|it| it["action"] == begun), "{audit:?}");
    // All of them serve this one.
    let answer = manager(&fleet[0]).ask("POST", RESTART, "");
    assert_eq!((answer.status, &answer.json()["task"]["proxies"]), (202, &3.into()), "{answer:?}");
    // A proxy that does not know a cluster may be asked by SQL.
    let sql = "RESTART FLEET CLUSTER = 'none'";
    let reply = fleet[2].admin().expect("the admin port").query(sql);
    assert!(reply.error().is_some());
    let told = String::from_utf8_lossy(&reply.last().payload).into_owned();
    assert!(told.contains("no proxy of the fleet serves the cluster 'none'"), "{told}");
}

/// Lines of a config.
fn cluster(name: &str) -> String {
    format!("[[cluster]]\nname = \"{name}\"\n[[cluster.server]]\naddress = \"127.0.0.1:1\"")
}

#[test]
fn clusters_and_proxies_are_told_of_the_whole_fleet() {
    let fleet = fleet();
    let asker = viewer(&fleet[0]);
    // By whoever asks first, too.
    let proxies = asker.get("/api/v1/proxies").items();
    let told: Vec<_> = proxies.iter().map(|it| (&it["name"], &it["pid"])).collect();
    let pids = [0, 1].map(|at| Value::from(fleet[at].pid()));
    assert_eq!(told, [(&"local".into(), &pids[0]), (&"b".into(), &pids[1])]);
    assert!(proxies.iter().all(|it| it["status"] == "RUNNING" && it["sessions"] == 0));
    let counts = || {
        let cluster = asker.get("/api/v1/clusters").items().remove(0);
        let whole = asker.get("/api/v1/clusters/main").json();
        assert_eq!(whole["proxies"].as_array().map(Vec::len), Some(2), "{whole:#}");
        (cluster["proxies"].clone(), cluster["proxies_running"].clone())
    };
    assert_eq!(counts(), (2.into(), 2.into()));
    fleet[1].kill9();
    until("the other one to be missed", || (counts() == (2.into(), 1.into())).then_some(()));
    let other = asker.get("/api/v1/proxies").items().remove(1);
    assert_eq!((&other["status"], &other["pid"]), (&"UNREACHABLE".into(), &Value::Null));
}

#[test]
fn a_proxy_is_asked_by_one_connection_and_after_its_restart_its_successor_is() {
    let other = alone();
    let detour = Detour::start();
    detour.lead_to(other.admin_address());
    let mut options = Options::new(&["127.0.0.1:1".to_owned()]);
    let address = &detour.address;
    options.rest = console(&format!("[[fleet.proxy]]\nname = \"b\"\naddress = \"{address}\""));
    let proxy = Proxy::start_with(&options);
    let asker = viewer(&proxy);
    let seen = || {
        let all = asker.get("/api/v1/fleet").items();
        (all[0]["status"].clone(), all[0]["pid"].clone())
    };
    let expected = |pid: u32| (Value::from("RUNNING"), Value::from(pid));
    for _ in 0..3 {
        assert_eq!(seen(), expected(other.pid()));
    }
    assert_eq!(detour.count.load(Ordering::SeqCst), 1);
    let successor = other.restart();
    for _ in 0..3 {
        assert_eq!(seen(), expected(successor));
    }
    assert_eq!(detour.count.load(Ordering::SeqCst), 2);
}

#[test]
fn its_last_hour_is_that_of_all_and_who_is_not_in_it_is_named() {
    let fleet = fleet();
    let asker = viewer(&fleet[0]);
    let last = || asker.get("/api/v1/fleet/history").items().pop();
    let sum = until("both to have counted", || last().filter(|sum| sum["proxies"] == 2));
    assert_eq!((&sum["seconds"], &sum["missing"]), (&10.into(), &Value::Array(vec![])), "{sum}");
    // SQL tells the same.
    let mut admin = fleet[0].admin().expect("the admin port takes us");
    let rows = admin.query("SHOW FLEET HISTORY").named_rows();
    let told = rows.last().expect("a sum");
    assert_eq!((&*told["seconds"], &*told["proxies"], &*told["missing"]), ("10", "2", ""));
    assert!(told["time"].ends_with('Z'), "{told:?}");
    fleet[1].kill9();
    let sum = until("the other one to be missed", || last().filter(|sum| sum["proxies"] != 2));
    assert_eq!((&sum["proxies"], &sum["missing"]), (&1.into(), &serde_json::json!(["b"])), "{sum}");
}

#[test]
fn without_a_fleet_there_is_none() {
    let proxy = alone();
    let asker = manager(&proxy);
    assert!(asker.get("/api/v1/fleet").items().is_empty());
    assert!(asker.get("/api/v1/fleet/history").items().is_empty());
    let answer = asker.ask("POST", RESTART, "");
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.body.contains("there is no fleet"), "{answer:?}");
}

#[test]
fn a_proxy_of_the_fleet_is_asked_and_restarted_by_its_name() {
    let fleet = fleet();
    let asker = manager(&fleet[0]);
    let before = [fleet[0].pid(), fleet[1].pid()];
    let other = asker.get("/api/v1/proxies/b").json();
    assert_eq!((&other["name"], &other["status"]), (&"b".into(), &"RUNNING".into()), "{other}");
    assert_eq!((&other["pid"], &other["address"]), (&before[1].into(), &fleet[1].address().into()));
    assert_eq!((&other["last_restart"], &other["phase"]), (&Value::Null, &Value::Null), "{other}");
    assert!(other["started_at"].is_string(), "{other}");
    let path = "/api/v1/proxies/b/restart";
    let rehearsal = asker.ask("POST", path, r#"{"mode": "rehearse"}"#);
    assert_eq!((rehearsal.status, &rehearsal.json()["proxy"]), (202, &"b".into()), "{rehearsal:?}");
    let said = rehearsal.field("location").expect("where it is").to_owned();
    until("the rehearsal to end", || {
        let all = asker.get(&said).items();
        (all.len() == 1 && all[0]["state"] == "COMPLETED").then_some(())
    });
    let answer = asker.ask("POST", path, r#"{"exit_timeout": "20s"}"#);
    assert_eq!((answer.status, &answer.json()["task"]["proxies"]), (202, &1.into()), "{answer:?}");
    let task = answer.field("location").expect("where the task is").to_owned();
    until("the task to end", || {
        let whole = asker.try_ask("GET", &task, "")?.json();
        (whole["task"]["state"] == "COMPLETED").then_some(())
    });
    assert_eq!(fleet[0].pid(), before[0]);
    assert_ne!(fleet[1].pid(), before[1]);
    let other = asker.get("/api/v1/proxies/b").json();
    assert_eq!(
        (&other["generation"], &other["last_restart_state"]),
        (&2.into(), &"COMPLETED".into())
    );
    // Its own list says that it was restarted, and has no more than it needs to.
    assert!(other["last_restart"].is_u64() && other["last_restart_at"].is_string(), "{other}");
    assert_eq!(asker.ask("POST", path, r#"{"mode": "soon"}"#).status, 400);
    for name in ["z", "it's", "b%2Cb"] {
        for (method, path) in [("GET", ""), ("POST", "/restart")] {
            let answer = asker.ask(method, &format!("/api/v1/proxies/{name}{path}"), "");
            let kind = answer.field("content-type");
            assert_eq!((answer.status, kind), (404, Some("application/problem+json")), "{name}");
        }
    }
    fleet[1].kill9();
    for (method, path) in [("GET", "/api/v1/proxies/b"), ("POST", path)] {
        let answer = asker.ask(method, path, "");
        assert_eq!(answer.status, 502, "{answer:?}");
        assert!(answer.body.contains("b does not answer: "), "{answer:?}");
    }
    let begun = asker.get("/api/v1/tasks").json()["fleet"].as_array().map(Vec::len);
    assert_eq!(begun, Some(1));
}
