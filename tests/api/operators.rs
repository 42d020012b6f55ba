//! Several operators, or one who presses twice; and a fleet that is forced.

use std::sync::Barrier;

use serde_json::Value;

use crate::scene::{alone, before, manager};
use crate::support::database::PASSWORD;
use crate::support::fleet::introduce;
use crate::support::http::{Answer, Asker};
use crate::support::{Database, Login, Proxy, Server, Wire, until};

const RESTART: &str = "/api/v1/clusters/main/restart";

fn fleet() -> [Proxy; 2] {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    proxies
}

/// What each is answered of those who ask for a restart at the same instant.
fn at_once(askers: [Asker; 2]) -> [Answer; 2] {
    let barrier = Barrier::new(askers.len());
    std::thread::scope(|scope| {
        let ask = |asker: Asker| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                asker.ask("POST", RESTART, r#"{"canary": 0, "batch": 2}"#)
            })
        };
        askers.map(ask).map(|asking| asking.join().expect("no panic"))
    })
}

/// How the task of this path has ended.
fn ended(asker: &Asker, path: &str) -> Value {
    until("the task to end", || {
        // Between two processes a connection may be lost.
        let whole = asker.try_ask("GET", path, "")?.json();
        (whole["task"]["state"] != "IN_PROGRESS").then_some(whole)
    })
}

/// How many tasks of the fleet a proxy coordinates.
fn tasks(asker: &Asker) -> usize {
    let tasks = until("its tasks", || asker.try_ask("GET", "/api/v1/tasks", "")).json();
    let is_own = |task: &&Value| task["coordinator"].is_null();
    tasks["fleet"].as_array().expect("a list").iter().filter(is_own).count()
}

/// There is one task, and whoever has not begun it knows why.
fn one_of(askers: [Asker; 2], whys: &[&str]) -> Asker {
    let answers = at_once(askers.clone());
    let begun = answers.iter().position(|it| it.status == 202);
    let begun = begun.unwrap_or_else(|| panic!("nobody has begun one: {answers:?}"));
    let refused = &answers[1 - begun];
    assert_eq!(refused.status, 409, "{answers:?}");
    let detail = refused.json()["detail"].as_str().expect("a text").to_owned();
    assert!(whys.iter().any(|why| detail.contains(why)), "{detail}");
    let path = answers[begun].field("location").expect("where the task is");
    let whole = ended(&askers[begun], path);
    assert_eq!((&whole["task"]["state"], &whole["task"]["done"]), (&"COMPLETED".into(), &2.into()));
    askers.into_iter().nth(begun).expect("one of two")
}

#[test]
fn what_is_asked_twice_at_once_with_one_key_is_one_task_with_one_answer() {
    let fleet = fleet();
    let asker = manager(&fleet[0]).with("Idempotency-Key", "a nervous finger");
    let answers = at_once([asker.clone(), asker.clone()]);
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (202, &answers[0].body), "{answers:?}");
        assert_eq!(answer.field("location"), Some("/api/v1/tasks/fleet-1"), "{answers:?}");
    }
    let replayed = answers.iter().filter(|it| it.field("idempotency-replayed") == Some("true"));
    assert_eq!(replayed.count(), 1, "{answers:?}");
    assert_eq!(ended(&asker, "/api/v1/tasks/fleet-1")["task"]["state"], "COMPLETED");
    assert_eq!(tasks(&asker), 1);
}

#[test]
fn who_presses_twice_begins_one_and_is_told_so() {
    let fleet = fleet();
    let asker = manager(&fleet[0]);
    one_of([asker.clone(), asker.clone()], &["fleet task 1 is under way"]);
    assert_eq!(tasks(&asker), 1);
    let restarts = asker.get("/api/v1/tasks").items();
    let restarts = restarts.iter().filter(|it| it["mode"] == "RESTART");
    assert_eq!(restarts.count(), 1);
}

#[test]
fn of_two_consoles_one_begins_and_the_other_says_who_was_first() {
    let fleet = fleet();
    let askers = [manager(&fleet[0]), manager(&fleet[1])];
    let whys =
        ["it coordinates fleet task 1, which is under way", "which somebody else has asked for"];
    one_of(askers.clone(), &whys);
    let counts = askers.each_ref().map(tasks);
    assert_eq!(counts.iter().sum::<usize>(), 1, "{counts:?}");
}

#[test]
fn a_fleet_that_is_forced_cuts_off_who_is_in_a_transaction_and_is_restarted() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let fleet = [(); 2].map(|()| before(&[database.address()]));
    introduce(&fleet);
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let open = |proxy: &Proxy| Wire::open(&proxy.address(), &login).expect("it is let in");
    let mut clients = fleet.each_ref().map(open);
    for client in &mut clients {
        client.run("BEGIN");
        client.run("SELECT 1");
    }
    let asker = manager(&fleet[0]);
    let before = fleet.each_ref().map(Proxy::pid);
    let answer = asker.ask("POST", RESTART, r#"{"mode": "force", "batch": 2, "canary": 0}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    for client in &mut clients {
        assert_eq!(client.packet().error(), Some(1053));
        client.until_closed();
    }
    let whole = ended(&asker, "/api/v1/tasks/fleet-1");
    let task = &whole["task"];
    assert_eq!((&task["state"], &task["done"]), (&"COMPLETED".into(), &2.into()), "{whole:#}");
    for (proxy, before) in fleet.iter().zip(before) {
        until("the one before to be gone", || (proxy.process().living().len() == 1).then_some(()));
        assert_ne!(proxy.pid(), before);
        open(proxy).run("SELECT 1");
    }
    let audit = |proxy: &Proxy| {
        let items = manager(proxy).get("/api/v1/audit").items();
        let of = |it: Value| ["user", "action", "outcome"].map(|name| it[name].to_string());
        items.into_iter().map(of).map(|it| it.join(" ").replace('"', "")).collect::<Vec<_>>()
    };
    let [first, other] = fleet.each_ref().map(audit);
    let asked = "ops RESTART FLEET FORCE BATCH = '2' CANARY = '0' CLUSTER = 'main' done".to_owned();
    assert!(first.contains(&asked), "{first:?}");
    // Each has been asked for it by the fleet.
    for audit in [first, other] {
        assert!(audit.contains(&"root RESTART FORCE done".to_owned()), "{audit:?}");
    }
}
