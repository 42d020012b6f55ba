//! What axe-core finds on the pages, in real headless Chromium: nothing serious; and no page is
//! wider than the window.

use serde_json::Value;

use crate::browser::{is_there, told};
use crate::scene::{self, Person};
use crate::support::database::PASSWORD;
use crate::support::fleet::introduce;
use crate::support::{Database, Login, Proxy, Server, Wire, until};

/// What is found on these pages, at widths and in colours.
fn look(proxy: &Proxy, cookie: &str, looks: &str, paths: &[String]) -> Value {
    let looks = std::iter::once(looks).chain(paths.iter().map(String::as_str));
    told("axe.js", proxy, cookie, looks)
}

fn is_good(who: &str, found: &Value) {
    for fault in ["grave", "wide"] {
        assert!(found[fault].as_array().is_some_and(Vec::is_empty), "{who}: {found:#}");
    }
}

#[test]
fn no_page_has_a_serious_fault() {
    if !is_there() {
        return;
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let servers = [database.address(), "127.0.0.1:1".into()];
    let fleet = [(); 2].map(|()| scene::before(&servers));
    introduce(&fleet);
    let proxy = &fleet[0];
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let mut client = Wire::open(&proxy.address(), &login).expect("it is let in");
    client.run("SELECT 1");
    proxy.restart();
    let mut admin = proxy.admin().expect("the admin port takes us");
    admin.run("ALTER PROXYCONFIG SET login_timeout = '7s'");
    // Nothing of it has a place where a line may be broken.
    let [schema, column, idc] = ["b", "c", "d"].map(|letter| letter.repeat(60));
    client.run(&format!("CREATE DATABASE {schema}"));
    client.run(&format!("USE {schema}"));
    client.run(&format!("SELECT 1 AS {column}"));
    admin.run(&format!("ALTER PROXYCONFIG SET proxy_idc_name = '{idc}'"));
    // A task that fails: there is no such program.
    admin.run("RESTART FLEET BINARY = '/none'");
    let id = until("a task that has failed, and the session", || {
        let tasks = admin.try_query("SHOW FLEET TASKS").ok()?.named_rows();
        let sessions = admin.try_query("SHOW PROXYSESSION").ok()?.named_rows();
        (tasks.first()?["state"] == "FAILED").then(|| sessions.first()?.get("Id").cloned())?
    });
    let of_cluster = "/clusters/main";
    let paths = [
        "/clusters".to_owned(),
        of_cluster.to_owned(),
        format!("{of_cluster}/restart"),
        format!("{of_cluster}/proxies/local/restart"),
        "/tasks".into(),
        "/tasks/1".into(),
        "/tasks/fleet-1".into(),
        "/sessions".into(),
        format!("/sessions/{id}"),
        "/statements".into(),
        "/parameters".into(),
        "/parameters?edit=connect_timeout".into(),
        "/audit".into(),
        "/nothing".into(),
    ];
    // Who may only look has the same pages, with other controls.
    for (user, looks) in [("root", "360-light,1024-dark,1600-light"), ("watch", "1024-light")] {
        let person = Person::log_in(proxy, user);
        let found = look(proxy, person.cookie(), looks, &paths);
        assert_eq!(found["looks"], looks.split(',').count() * paths.len(), "{found:#}");
        is_good(user, &found);
    }
    is_good("nobody", &look(proxy, "", "360-dark,1600-light", &["/login".to_owned()]));
}

/// Nothing has to be pressed for it, and nothing is asked for again when all have said it.
#[test]
fn the_dialog_of_several_has_them_rehearse_by_itself_and_once() {
    let fleet = [(); 2].map(|()| scene::alone());
    introduce(&fleet);
    let person = Person::log_in(&fleet[0], "root");
    let arguments = ["/clusters/main/restart", "#rehearsals", "2 of 2 proxies"];
    let seen = told("wait.js", &fleet[0], person.cookie(), arguments);
    if seen.is_null() {
        return;
    }
    assert_eq!((&seen["sent"], &seen["asked_since"]), (&1.into(), &0.into()), "{seen:#}");
    assert!(seen["said"].as_str().is_some_and(|said| said.contains("Yes 0 sessions")), "{seen:#}");
    for proxy in &fleet {
        let tasks = proxy.admin().expect("the admin port").query("SHOW RESTART").named_rows();
        assert_eq!(tasks.len(), 1, "{tasks:?}");
    }
}
