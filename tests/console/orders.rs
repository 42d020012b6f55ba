//! A task of the fleet is stopped, gone on with and rolled back by what its page has to be pressed,
//! and a fleet is forced by its dialog.

use std::path::Path;

use crate::scene::{self, Person, alone};
use crate::support::database::PASSWORD;
use crate::support::fleet::introduce;
use crate::support::{Database, Login, Proxy, Server, Wire, fixtures_dir, until};

const TASK: &str = "/tasks/fleet-1";

/// The page of the task, once it says this.
fn says(person: &Person, text: &str) -> String {
    until(text, || {
        let page = person.asker.try_ask("GET", TASK, "")?.body;
        page.contains(text).then_some(page)
    })
}

/// The button of an order on a page, if there is one.
fn button<'p>(page: &'p str, order: &str) -> Option<&'p str> {
    let (_, form) = page.split_once(&format!("action=\"{TASK}/{order}\""))?;
    let (form, _) = form.split_once("</form>")?;
    let (_, button) = form.split_once("<button ")?;
    button.split('>').next()
}

/// Presses it.
fn press(person: &Person, page: &str, order: &str) {
    let button = button(page, order).unwrap_or_else(|| panic!("no {order}: {page}"));
    assert!(!button.contains("disabled"), "{button}");
    let answer = person.send(&format!("{TASK}/{order}"), "");
    assert_eq!((answer.status, answer.field("location")), (303, Some(TASK)), "{answer:?}");
}

fn binary(proxy: &Proxy) -> String {
    until("the binary", || {
        let rows = proxy.admin().ok()?.try_query("SHOW PROXYINFO BINARY").ok()?.named_rows();
        Some(rows.iter().find(|row| row["name"] == "binary")?["info"].clone())
    })
}

#[test]
fn a_task_is_stopped_and_retried_and_rolled_back_by_its_page() {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    let person = Person::log_in(&proxies[0], "root");
    let dir = tempfile::tempdir_in(fixtures_dir()).expect("a directory");
    let new = dir.path().join("odp-new");
    std::fs::copy(Path::new(env!("CARGO_BIN_EXE_odp")), &new).expect("a copy");
    let (before, new) = (binary(&proxies[0]), new.display().to_string());
    let runs = |expected: [&str; 2]| {
        assert_eq!(proxies.each_ref().map(binary), expected.map(str::to_owned));
    };
    // The dialog does not ask for another program.
    let sql = format!("RESTART FLEET PAUSE = '8s' BINARY = '{new}'");
    proxies[0].admin().expect("the admin port takes us").run(&sql);
    let page = says(&person, ">WATCHED<");
    assert!(button(&page, "retry").is_none(), "{page}");
    press(&person, &page, "stop");
    let page = says(&person, "Stopped");
    assert!(page.contains("1 of 2 proxies done"), "{page}");
    assert!(page.contains("stopped by an operator"), "{page}");
    assert!(button(&page, "stop").is_none() && button(&page, "rollback").is_some(), "{page}");
    runs([&before, &new]);
    press(&person, &page, "retry");
    let page = says(&person, "Completed");
    assert!(page.contains("2 of 2 proxies done"), "{page}");
    assert!(button(&page, "stop").is_none() && button(&page, "retry").is_none(), "{page}");
    runs([&new, &new]);
    press(&person, &page, "rollback");
    let page = says(&person, "Rolled back");
    for order in ["stop", "retry", "rollback"] {
        assert!(button(&page, order).is_none(), "{order}: {page}");
        assert_eq!(person.send(&format!("{TASK}/{order}"), "").status, 409, "{order}");
    }
    runs([&before, &before]);
    let audit = person.see("/audit");
    for order in ["STOP", "RETRY", "ROLLBACK"] {
        assert!(audit.contains(&format!("RESTART FLEET {order} 1")), "{order}: {audit}");
    }
}

#[test]
fn a_fleet_is_forced_by_its_dialog() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxies = [(); 2].map(|()| scene::before(&[database.address()]));
    introduce(&proxies);
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let mut clients = proxies.each_ref().map(|proxy| {
        let mut client = Wire::open(&proxy.address(), &login).expect("it is let in");
        client.run("BEGIN");
        client.run("SELECT 1");
        client
    });
    let person = Person::log_in(&proxies[0], "root");
    let before = proxies.each_ref().map(Proxy::pid);
    let fields = "mode=force&batch=1&canary=1&exit_timeout=&stop_on_failure=on";
    let answer = person.send("/clusters/main/restart", fields);
    assert_eq!((answer.status, answer.field("location")), (303, Some(TASK)), "{answer:?}");
    for client in &mut clients {
        assert_eq!(client.packet().error(), Some(1053));
        client.until_closed();
    }
    let page = says(&person, "Completed");
    assert!(page.contains("Force Restart of the fleet"), "{page}");
    assert!(page.contains("2 of 2 proxies done"), "{page}");
    for (proxy, before) in proxies.iter().zip(before) {
        until("the one before to be gone", || (proxy.process().living().len() == 1).then_some(()));
        assert_ne!(proxy.pid(), before);
    }
    let asked = "RESTART FLEET FORCE CLUSTER = ";
    assert!(person.see("/audit").contains(asked));
    // It is in the audit of each that was asked, too.
    let other = Person::log_in(&proxies[1], "root").see("/audit");
    assert!(other.contains("RESTART FORCE") && !other.contains(asked), "{other}");
}

/// What a page answers who presses twice.
#[test]
fn of_two_presses_in_one_console_one_begins() {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    let person = Person::log_in(&proxies[0], "root");
    let barrier = std::sync::Barrier::new(2);
    let answers = std::thread::scope(|scope| {
        let press = |()| {
            scope.spawn(|| {
                barrier.wait();
                person.send("/clusters/main/restart", "mode=restart&canary=0&batch=2")
            })
        };
        [(), ()].map(press).map(|pressed| pressed.join().expect("no panic"))
    });
    let mut states = answers.each_ref().map(|answer| answer.status);
    states.sort_unstable();
    assert_eq!(states, [303, 409], "{answers:?}");
    let refused = answers.iter().find(|answer| answer.status == 409).expect("one");
    assert!(refused.body.contains("fleet task 1 is under way"), "{refused:?}");
    says(&person, "2 of 2 proxies done");
    let tasks = person.see("/tasks");
    assert!(!tasks.contains("/tasks/fleet-2"), "{tasks}");
}
