//! A page that is looked at tells what happens, and is never loaded anew.

use crate::browser::{is_there, told, told_while};
use crate::scene::{Person, alone, nowhere};
use crate::support::fleet::introduce;
use crate::support::proxy::ADMIN_PASSWORD;
use crate::support::until;

#[test]
fn an_overview_shows_who_dies_and_comes_back_and_goes_on_with_the_successor() {
    if !is_there() {
        return;
    }
    let (proxy, mut other) = (alone(), alone());
    introduce(&[&proxy, &other]);
    let person = Person::log_in(&proxy, "root");
    let before = proxy.pid();
    let happens = |what: &str| match what {
        "kill" => other.kill9(),
        "start" => other.start_again(&nowhere(), &[]).expect("it starts"),
        "restart" => drop(proxy.restart()),
        "offline" => {
            let mut admin = until("the admin port", || proxy.admin().ok());
            admin.run("ALTER PROXYCONFIG SET proxy_local_cmd = '3'");
        }
        other => panic!("{other}"),
    };
    let seen = told_while("live.js", &proxy, person.cookie(), [], happens);
    let pids = [&seen["before"], &seen["after"]];
    let expected = [before, proxy.pid()].map(|pid| pid.to_string());
    assert_eq!(pids, expected.each_ref().map(|pid| pid.as_str()), "{seen:#}");
    assert_eq!((&seen["loads"], &seen["troubles"]), (&0.into(), &serde_json::json!([])));
    // It has told the successor what it had heard last.
    let listened = seen["listened"].as_array().expect("a list");
    assert_eq!(listened[0], "", "{seen:#}");
    let last = listened.last().and_then(|it| it.as_str()).expect("a text");
    assert!(last.starts_with(&format!("{before}.")), "{seen:#}");
}

#[test]
fn a_dialog_keeps_its_choice_when_the_rehearsal_that_it_asks_for_has_answered() {
    if !is_there() {
        return;
    }
    let (proxy, other) = (alone(), alone());
    introduce(&[&proxy, &other]);
    let person = Person::log_in(&proxy, "root");
    for of in ["proxies/local/restart", "restart"] {
        let path = format!("/clusters/main/{of}");
        let seen = told("dialog.js", &proxy, person.cookie(), [&*path]);
        assert_eq!(seen["chosen"], "restart", "{path}: {seen:#}");
        assert_eq!(seen["choices"], serde_json::json!(["restart", "force"]), "{path}");
    }
}

#[test]
fn an_operator_without_a_mouse_restarts_a_proxy_and_sees_where_he_is() {
    let proxy = alone();
    let seen = told("keyboard.js", &proxy, "", ["root", ADMIN_PASSWORD]);
    if seen.is_null() {
        return;
    }
    assert_eq!(seen["unseen"], serde_json::json!([]), "{seen:#}");
    let skip = &seen["skip"];
    assert_eq!((&skip["kind"], &skip["isShown"]), (&"skip".into(), &true.into()), "{seen:#}");
    assert_eq!(seen["skipped"]["isInMain"], true, "{seen:#}");
    assert_eq!(seen["path"], "/tasks/2", "{seen:#}");
}
