//! What the forms do: the same as SQL; and nothing for who may only look.

use crate::scene::{Person, nowhere, pair};
use crate::support::database::PASSWORD;
use crate::support::{Login, Proxy, Wire, until};

#[test]
fn the_six_steps_of_a_restart() {
    let Some((_database, proxy)) = pair() else { return };
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let mut client = Wire::open(&proxy.address(), &login).expect("it is let in");
    client.run("SET @kept = 7");
    let person = Person::log_in(&proxy, "root");
    let clusters = person.see("/clusters");
    assert!(clusters.contains("href=\"/clusters/main\""), "{clusters}");
    let overview = person.see("/clusters/main");
    let link = "/clusters/main/proxies/local/restart";
    assert!(overview.contains("More") && overview.contains(link), "{overview}");
    let dialog = person.see(link);
    for part in ["Restart", "(recommended)", "Force Restart", "1 session", "exit_timeout"] {
        assert!(dialog.contains(part), "{part}: {dialog}");
    }
    let before = proxy.pid();
    let answer = person.send(link, "mode=restart&exit_timeout=20s");
    assert_eq!(answer.status, 303, "{answer:?}");
    let task = answer.field("location").expect("the task").to_owned();
    // The one before may be asked in its last moments.
    let page = until("the task to be completed, as the new process tells it", || {
        let page = person.asker.try_ask("GET", &task, "")?.body;
        page.contains("served by the new process now: generation 2").then_some(page)
    });
    assert!(page.contains("Completed"), "{page}");
    let phase = "</b> <span>All sessions move</span> <span class=\"hint\">after ";
    let (_, times) = page.split_once(phase).expect("when its sessions moved");
    assert!(times.split('<').next().is_some_and(|it| it.contains(" ms, took ")), "{page}");
    for page in [&page, &person.see("/tasks")] {
        assert!(page.contains("Asked by") && page.contains(">root@127.0.0.1"), "{page}");
    }
    assert!(page.contains(&format!("{before} → {}", proxy.pid())), "{page}");
    assert!(person.see("/clusters/main").contains("RUNNING"));
    assert!(person.see("/clusters/main").contains("1 session moved"));
    assert_eq!(client.query("SELECT @kept").named_rows()[0]["@kept"], "7");
    assert!(
        person.see("/audit").contains("RESTART EXIT_TIMEOUT = &#39;20s&#39;")
            || person.see("/audit").contains("RESTART EXIT_TIMEOUT = '20s'")
    );
}

#[test]
fn a_rehearsal_tells_what_would_move() {
    let Some((_database, proxy)) = pair() else { return };
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let _client = Wire::open(&proxy.address(), &login).expect("it is let in");
    let person = Person::log_in(&proxy, "root");
    let link = "/clusters/main/proxies/local/restart";
    // Whoever opens the page has it begin by itself; not the page that is kept up to date.
    let begins = |page: &str| page.contains("hx-trigger=\"load\"");
    assert!(begins(&person.see(link)));
    assert!(!begins(&person.with("HX-Request", "true").see(link)));
    let answer = person.send(link, "mode=rehearse");
    assert_eq!((answer.status, answer.field("location")), (303, Some(link)));
    until("the verdict", || person.see(link).contains("1 of 1 sessions would move").then_some(()));
    for (fields, status) in [("", 400), ("mode=soon", 400), ("mode=restart&exit_timeout=x", 422)] {
        assert_eq!(person.send(link, fields).status, status, "{fields}");
    }
    assert_eq!(person.send("/clusters/main/proxies/other/restart", "mode=restart").status, 404);
}

#[test]
fn what_a_rehearsal_has_found_out_refuses_the_restart_until_it_is_mended() {
    let Some((_database, proxy)) = pair() else { return };
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let mut client = Wire::open(&proxy.address(), &login).expect("it is let in");
    client.run("SELECT 1");
    let person = Person::log_in(&proxy, "root");
    let link = "/clusters/main/proxies/local/restart";
    let text = std::fs::read_to_string(proxy.config()).expect("a config");
    let rehearsed = |part: &str| {
        person.send(link, "mode=rehearse");
        until(part, || Some(person.see(link)).filter(|page| page.contains(part)))
    };
    let soft = |page: &str| {
        let (_, rest) = page.split_once("value=\"restart\"").expect("the choice");
        rest.split('>').next().expect("its end").to_owned()
    };
    let good = rehearsed("1 of 1 sessions would move");
    assert!(!soft(&good).contains("disabled") && !good.contains("Not now"), "{good}");
    std::fs::write(proxy.config(), format!("{text}\n[nonsense]\n")).expect("ours");
    let bad = rehearsed("Not now: the rehearsal has failed");
    assert!(soft(&bad).contains("disabled") && bad.contains("nonsense"), "{bad}");
    // What needs no successor to be willing may be chosen.
    assert_eq!(bad.matches("Not now").count(), 1, "{bad}");
    std::fs::write(proxy.config(), text).expect("ours");
    let page = rehearsed("1 of 1 sessions would move");
    assert_eq!(soft(&page), soft(&good));
}

#[test]
fn servers_sessions_and_parameters() {
    let Some((database, proxy)) = pair() else { return };
    let person = Person::log_in(&proxy, "root");
    let server = format!("/clusters/main/servers/{}", database.address().replace(':', "%3A"));
    assert_eq!(person.send(&format!("{server}/drain"), "").status, 303);
    assert!(person.see("/clusters/main").contains(">draining<"));
    assert_eq!(person.send(&format!("{server}/online"), "").status, 303);
    assert!(!person.see("/clusters/main").contains(">draining<"));
    assert_eq!(person.send(&format!("{server}/drop"), "").status, 404);
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let mut client = Wire::open(&proxy.address(), &login).expect("it is let in");
    let id = until("the session", || {
        let rows = proxy.admin().ok()?.query("SHOW PROXYSESSION").named_rows();
        Some(rows.first()?["proxy_sessid"].clone())
    });
    assert!(person.see("/sessions?sort=idle_ms&only=").contains(&format!("/sessions/{id}")));
    assert!(!person.see("/sessions?q=nobody").contains(&format!("/sessions/{id}")));
    assert!(person.see(&format!("/sessions/{id}")).contains("crash_protected"));
    assert_eq!(person.send(&format!("/sessions/{id}/kill"), "").status, 303);
    client.until_closed();
    let edit = person.see("/parameters?edit=connect_timeout");
    assert!(edit.contains("ALTER PROXYCONFIG SET connect_timeout"), "{edit}");
    assert!(!edit.contains("is not kept"), "{edit}");
    let chosen = "part=ways&name=connect_timeout&value=7s";
    let ways = person.see(&format!("/parameters?{chosen}"));
    assert!(ways.contains("connect_timeout = '7s'"), "{ways}");
    let answer = person.send("/parameters", "name=connect_timeout&value=soon");
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("connect_timeout"), "{}", answer.body);
    assert_eq!(person.send("/parameters", "name=proxy_local_cmd&value=1").status, 400);
    assert_eq!(person.send("/parameters", "name=connect_timeout&value=9s").status, 303);
    assert!(person.see("/parameters?q=connect_timeout").contains("9s"));
    let differing = person.see("/parameters?only=diff");
    for part in ["1 not as in the file", "changed live", "by root@127.0.0.1", "10s"] {
        assert!(differing.contains(part), "{part}: {differing}");
    }
    assert!(!differing.contains("login_timeout"), "{differing}");
}

#[test]
fn what_is_changed_and_not_kept_is_told_where_it_is_changed() {
    let mut options = nowhere();
    options.proxy = "state_dir = \"\"\n".into();
    let proxy = Proxy::start_with(&options);
    let person = Person::log_in(&proxy, "root");
    let note = "What is changed while the proxy runs is not kept: ";
    assert!(!person.see("/clusters/main").contains(note));
    assert_eq!(person.send("/parameters", "name=connect_timeout&value=9s").status, 303);
    for page in ["/parameters", "/clusters/main"] {
        let seen = person.see(page);
        assert!(seen.contains(note), "{page}: {seen}");
    }
}

#[test]
fn who_may_only_look_sees_everything_and_does_nothing() {
    let Some((database, proxy)) = pair() else { return };
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let mut client = Wire::open(&proxy.address(), &login).expect("it is let in");
    client.run("SELECT 1");
    let viewer = Person::log_in(&proxy, "watch");
    let id = proxy.admin().expect("admin").query("SHOW PROXYSESSION").named_rows()[0]["Id"].clone();
    let server = database.address().replace(':', "%3A");
    let why = "watch has the role viewer";
    for (page, control) in [
        ("/clusters/main".to_owned(), "disabled"),
        ("/clusters/main/proxies/local/restart".to_owned(), "disabled"),
        (format!("/sessions/{id}"), "disabled"),
        ("/parameters".to_owned(), "needs manager"),
        ("/parameters?edit=connect_timeout".to_owned(), "disabled"),
    ] {
        let seen = viewer.see(&page);
        assert!(seen.contains(control) && seen.contains(why), "{page}: {seen}");
    }
    viewer.see("/tasks");
    viewer.see("/audit");
    let before = proxy.pid();
    for (form, fields) in [
        ("/clusters/main/proxies/local/restart".to_owned(), "mode=restart"),
        ("/clusters/main/proxies/local/restart".to_owned(), "mode=rehearse"),
        ("/clusters/main/proxies/local/restart".to_owned(), "mode=force"),
        (format!("/clusters/main/servers/{server}/drain"), ""),
        (format!("/clusters/main/servers/{server}/online"), ""),
        ("/tasks/1/rollback".to_owned(), ""),
        (format!("/sessions/{id}/kill"), ""),
        ("/parameters".to_owned(), "name=connect_timeout&value=9s"),
        ("/nothing".to_owned(), ""),
    ] {
        let answer = viewer.send(&form, fields);
        assert_eq!(answer.status, 403, "{form}: {answer:?}");
        assert!(answer.body.contains(why), "{form}");
    }
    assert_eq!(proxy.pid(), before);
    assert_eq!(client.query("SELECT 1").error(), None);
    assert!(proxy.admin().expect("admin").query("SHOW RESTART").named_rows().is_empty());
}
