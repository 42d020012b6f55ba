//! The fleet on the Overview: ticked, restarted together, followed as a task.

use std::net::TcpListener;

use crate::scene::{Person, alone, options, with};
use crate::support::database::PASSWORD;
use crate::support::fleet::introduce;
use crate::support::{Database, Login, Proxy, Server, Wire, until};

#[test]
fn the_six_steps_for_what_is_ticked() {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    let person = Person::log_in(&proxies[0], "root");
    let overview = until("all to be asked", || {
        Some(person.see("/clusters/main")).filter(|page| !page.contains("being asked"))
    });
    for part in ["Batch Restart", "Restart Cluster", "value=\"a\"", "value=\"b\"", "f1-status"] {
        assert!(overview.contains(part), "{part}: {overview}");
    }
    let part = person.see("/clusters/main?part=own");
    assert!(part.contains("s0-state") && !part.contains("Batch Restart"), "{part}");
    // There is one table of proxies.
    assert!(!part.contains("p0-status") && !overview.contains("p0-status"), "{part}");
    let part = person.see("/clusters/main?part=fleet");
    assert!(part.contains("f1-status") && !part.contains("p0-status"), "{part}");
    // Where each is, and which of them serves the page.
    for proxy in &proxies {
        assert!(
            part.contains(&proxy.address()) && part.contains(&format!(">{}</td>", proxy.pid()))
        );
    }
    assert_eq!(part.matches("this one").count(), 1, "{part}");
    // What a load balancer has left is told in each dialog.
    let other = "1 of 1 other proxies of this cluster is ready";
    for path in ["/clusters/main/proxies/local/restart", "/clusters/main/restart?proxy=a"] {
        let dialog = person.see(path);
        assert!(dialog.contains(other), "{path}: {dialog}");
    }
    let none = person.asker.get("/clusters/main/restart?ticked=yes");
    assert_eq!(none.status, 400, "{none:?}");
    assert_eq!(person.asker.get("/clusters/main/restart?proxy=z").status, 404);
    let all = person.see("/clusters/main/restart");
    assert!(all.contains("Restart 2 proxies") && all.contains("RESTART FLEET CLUSTER = "), "{all}");
    assert!(all.contains("These are all proxies of this cluster"), "{all}");
    let dialog = person.see("/clusters/main/restart?ticked=yes&proxy=b");
    for part in ["Restart 1 proxy", "Force Restart", "--only b", "name=\"proxies\" value=\"b\""] {
        assert!(dialog.contains(part), "{part}: {dialog}");
    }
    let before = [proxies[0].pid(), proxies[1].pid()];
    let path = "/clusters/main/restart";
    assert_eq!(person.send(path, "proxies=b").status, 400, "how was not chosen");
    assert_eq!(person.send(path, "proxies=&mode=force").status, 400, "that would be all");
    let fields = "proxies=b&mode=restart&batch=1&canary=1&exit_timeout=&stop_on_failure=on";
    let answer = person.send(path, fields);
    assert_eq!((answer.status, answer.field("location")), (303, Some("/tasks/fleet-1")));
    // It goes on while somebody is about to press one of these.
    let orders = person.see("/tasks/fleet-1");
    assert_eq!(orders.matches("<form class=\"below\"").count(), 2, "{orders}");
    assert_eq!(orders.matches("hx-preserve").count(), 2, "{orders}");
    let page = until("the task to be completed", || {
        let page = person.asker.try_ask("GET", "/tasks/fleet-1", "")?.body;
        page.contains("Completed").then_some(page)
    });
    assert!(page.contains("1 of 1 proxies done") && page.contains("RESTART"), "{page}");
    assert_eq!(proxies[0].pid(), before[0]);
    assert_ne!(proxies[1].pid(), before[1]);
    assert!(person.see("/tasks").contains("href=\"/tasks/fleet-1\""));
    assert_eq!(person.send("/tasks/fleet-1/retry", "").status, 409);
    assert_eq!(person.send("/tasks/fleet-1/burn", "").status, 404);
    assert_eq!(person.asker.get("/tasks/fleet-2").status, 404);
    let viewer = Person::log_in(&proxies[0], "watch");
    let seen = viewer.see("/clusters/main/restart");
    assert!(seen.contains("disabled") && seen.contains("watch has the role viewer"), "{seen}");
    for (form, fields) in [(path, "mode=restart"), ("/tasks/fleet-1/rollback", "")] {
        assert_eq!(viewer.send(form, fields).status, 403, "{form}");
    }
}

#[test]
fn who_may_only_look_has_nothing_that_he_could_tick_or_enter() {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    let [person, watcher] = ["root", "watch"].map(|user| Person::log_in(&proxies[0], user));
    for path in ["/clusters/main", "/clusters/main?part=fleet"] {
        let seen = until("all to be asked", || {
            Some(watcher.see(path)).filter(|page| !page.contains("being asked"))
        });
        assert!(seen.contains("value=\"a\" disabled"), "{path}: {seen}");
        assert!(seen.contains("<button class=\"action\" disabled"), "{path}: {seen}");
    }
    assert!(!person.see("/clusters/main?part=fleet").contains("disabled"));
    let to_dialog = "href=\"/clusters/main/restart\"";
    assert!(person.see("/clusters/main").contains(to_dialog));
    assert!(!watcher.see("/clusters/main").contains(to_dialog));
    let dialog = watcher.see("/clusters/main/restart");
    let (_, form) = dialog.split_once("<fieldset>").expect("the form");
    for input in form.split(['<', '>']).filter(|it| it.starts_with("input ")) {
        assert!(input.contains(" disabled"), "{input}");
    }
}

/// What is to be copied is what would be done.
#[test]
fn a_dialog_says_what_is_chosen_as_sql_and_as_a_command() {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    let person = Person::log_in(&proxies[0], "root");
    let config = proxies[0].config().display().to_string();
    let command = format!("odp restart --fleet --cluster main -c {config}<");
    for (dialog, fields, expected) in [
        (
            "/clusters/main/restart",
            "mode=force&batch=2&canary=0&exit_timeout=5s&stop_on_failure=off&proxies=a,b",
            [
                "RESTART FLEET FORCE BATCH = '2' CANARY = '0' STOP_ON_FAILURE = 'off' \
                 CLUSTER = 'main' PROXIES = 'a,b' EXIT_TIMEOUT = '5s';",
                "--force --batch 2 --canary 0 --exit-timeout 5s --stop-on-failure=false \
                 --only a --only b",
                "{\"batch\":2,\"canary\":0,\"exit_timeout\":\"5s\",\"mode\":\"force\",\
                 \"proxies\":[\"a\",\"b\"],\"stop_on_failure\":false}",
            ],
        ),
        (
            "/clusters/main/restart",
            "mode=restart&batch=1&canary=1&exit_timeout=&stop_on_failure=on",
            ["RESTART FLEET CLUSTER = 'main';", &command, "{\"mode\":\"restart\"}"],
        ),
        (
            "/clusters/main/proxies/local/restart",
            "mode=force&exit_timeout=5s",
            ["RESTART FORCE EXIT_TIMEOUT = '5s';", "--force --exit-timeout 5s", "\"force\""],
        ),
    ] {
        let part = person.see(&format!("{dialog}?part=ways&{fields}"));
        let part = part.replace("&#39;", "'").replace("&quot;", "\"");
        for text in expected {
            assert!(part.contains(text), "{text}: {part}");
        }
    }
    let part = person.see("/clusters/main/restart?part=ways&mode=restart&batch=0");
    assert!(part.contains("That cannot be asked for") && part.contains("batch"), "{part}");
}

#[test]
fn a_session_that_cannot_move_is_told_and_refuses_nothing() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxies = ["", "newer-critical"].map(|costume| {
        let mut options = options(&[database.address()]);
        options.environment.push(("ODP_ACT_AS".into(), costume.into()));
        Proxy::start_with(&options)
    });
    introduce(&proxies);
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let mut client = Wire::open(&proxies[1].address(), &login).expect("it is let in");
    client.run("BEGIN");
    let person = Person::log_in(&proxies[0], "root");
    let path = "/clusters/main/restart";
    let willing = |person: &Person, path: &str, asks: &str| {
        person.send(path.split('?').next().expect("a path"), asks);
        let page = until("the verdict", || {
            Some(person.see(path)).filter(|page| page.contains("1 session cannot move, because"))
        });
        assert!(page.contains("critical and unknown"), "{page}");
        assert!(!page.contains("Not now") && !page.contains("would refuse"), "{page}");
    };
    willing(&person, "/clusters/main/restart?proxy=b", "mode=rehearse&proxies=b");
    let own = Person::log_in(&proxies[1], "root");
    willing(&own, "/clusters/main/proxies/local/restart", "mode=rehearse");
    let answer = person.send(path, "proxies=b&mode=restart&exit_timeout=60s");
    assert_eq!(answer.status, 303, "{answer:?}");
    until("its session to be waited for", || {
        person.see("/tasks/fleet-1").contains("DRAIN, 0 of 1 sessions moved").then_some(())
    });
    client.run("COMMIT");
    drop(client);
    until("the task to be completed", || {
        let page = person.see("/tasks/fleet-1");
        (page.contains("Completed") && page.contains("0 disconnected")).then_some(())
    });
}

#[test]
fn the_last_hour_is_that_of_all_and_who_is_not_in_it_is_named() {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    let person = Person::log_in(&proxies[0], "root");
    let page = until("both to have told", || {
        Some(person.see("/clusters/main")).filter(|page| page.contains("the sum of 2 proxies"))
    });
    assert!(
        page.contains("The last hour of the fleet") && !page.contains("id=\"missing\""),
        "{page}"
    );
    assert!(person.see("/clusters/main?hour=own").contains("The last hour of this proxy"));
    // Both count from when they have begun.
    let mut admin = proxies[0].admin().expect("the admin port takes us");
    let sums = admin.query("SHOW FLEET HISTORY").named_rows();
    let last = sums.last().expect("a sum");
    assert_eq!((&*last["ago_s"], &*last["proxies"], &*last["missing"]), ("0", "2", ""), "{sums:?}");
    assert!(admin.query("SHOW PROXYHISTORY soon").error().is_some());
    proxies[1].kill9();
    let page = until("the other one to be missed", || {
        Some(person.see("/clusters/main")).filter(|page| page.contains("Not in the sum"))
    });
    assert!(page.contains("Not in the sum: </b>b."), "{page}");
}

#[test]
fn the_dialog_of_a_cluster_is_about_those_that_serve_it() {
    let both = with("[[cluster]]\nname = \"two\"\n[[cluster.server]]\naddress = \"127.0.0.1:1\"");
    let proxies = [alone(), both];
    introduce(&proxies);
    let person = Person::log_in(&proxies[1], "root");
    let dialog = person.see("/clusters/two/restart");
    assert!(dialog.contains("Restart 1 proxy<") && dialog.contains("<b>b</b>"), "{dialog}");
    assert!(!dialog.contains("<b>a</b>"), "{dialog}");
    let other = person.asker.get("/clusters/two/restart?ticked=yes&proxy=a");
    assert_eq!(other.status, 409, "{other:?}");
    assert!(other.body.contains("a does not serve the cluster"), "{other:?}");
    assert!(person.see("/clusters/main/restart").contains("Restart 2 proxies"));
    // So does what is there to be ticked.
    let overview = until("all to be asked", || {
        Some(person.see("/clusters/two")).filter(|page| !page.contains("being asked"))
    });
    assert!(overview.contains("value=\"b\"") && !overview.contains("value=\"a\""), "{overview}");
    // It is as many as are restarted.
    let answer = person.send("/clusters/two/restart", "mode=restart&canary=0");
    assert_eq!(answer.status, 303, "{answer:?}");
    until("the task to be over", || {
        let page = person.asker.try_ask("GET", "/tasks/fleet-1", "")?.body;
        page.contains("1 of 1 proxies done").then_some(())
    });
    // One that is gone is in the way, and can be left out.
    proxies[0].kill9();
    let dialog = person.see("/clusters/main/restart");
    assert!(dialog.contains("a is UNREACHABLE"), "{dialog}");
    assert!(dialog.contains("href=\"/clusters/main/restart?ticked=yes&amp;proxy=b\""), "{dialog}");
}

/// Whoever is asked shows that it is under way, and that who does it cannot be restarted meanwhile.
#[test]
fn a_task_is_seen_on_the_pages_of_those_that_do_not_coordinate_it() {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    let mut admin = proxies[1].admin().expect("the admin port takes us");
    admin.run("RESTART FLEET PROXIES = 'b' PAUSE = '1h'");
    // Until then it is its own restart that is in the way of another.
    until("it to be restarted, and watched", || {
        let mut admin = proxies[1].admin().ok()?;
        let steps = admin.try_query("SHOW FLEET TASK 1").ok()?.named_rows();
        steps.iter().any(|step| step["phase"] == "WATCH").then_some(())
    });
    let person = Person::log_in(&proxies[0], "root");
    let link = "<a href=\"/tasks/fleet-1%40b\">Task fleet-1 of b</a>";
    let tasks =
        until("it to be seen", || Some(person.see("/tasks")).filter(|page| page.contains(link)));
    assert!(tasks.contains("In progress") && tasks.contains("1 running"), "{tasks}");
    for path in ["/clusters", "/clusters/main"] {
        let link = link.trim_end_matches("</a>");
        until("it to be seen there", || person.see(path).contains(link).then_some(()));
    }
    let page = person.see("/tasks/fleet-1%40b");
    let way = format!("-P {} -u NAME -p -e &#39;RESTART FLEET STOP 1&#39;", proxies[1].admin);
    for part in
        ["Task fleet-1 of b: ", "<b>b</b> does it", "In progress", &way.replace("&#39;", "'")]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let why = "task fleet-1 of b is in progress";
    for (query, is_free) in [("", false), ("?proxy=b", false), ("?proxy=a", true)] {
        let dialog = person.see(&format!("/clusters/main/restart{query}"));
        assert_eq!(dialog.contains(why), !is_free, "{query}: {dialog}");
    }
    let answer = person.send("/clusters/main/restart", "proxies=a,b&mode=restart");
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.body.contains("b: it coordinates fleet task 1"), "{answer:?}");
}

#[test]
fn a_task_of_another_proxy_that_has_failed_is_seen_with_all_that_it_has_gone_through() {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    let mut admin = proxies[1].admin().expect("the admin port takes us");
    admin.run("RESTART FLEET BINARY = '/none'");
    until("the task to fail", || {
        let tasks = admin.try_query("SHOW FLEET TASKS").ok()?.named_rows();
        (tasks.first()?["state"] == "FAILED").then_some(())
    });
    let person = Person::log_in(&proxies[0], "root");
    let path = "/tasks/fleet-1%40b";
    until("it to be seen", || {
        let page = person.see("/tasks");
        (page.contains(&format!("href=\"{path}\"")) && page.contains("Failed")).then_some(())
    });
    let page = person.see(path);
    for part in ["refused before anything was restarted", "RESTART FLEET RETRY 1", "REHEARSE"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<button class=\"quiet\">Retry"), "only b can be asked for it: {page}");
    // The same link on the console of the one that does it is its own page of the task.
    let other = Person::log_in(&proxies[1], "root");
    let own = until("it to know its name", || {
        let answer = other.asker.get(path);
        (answer.status == 303).then(|| answer.field("location").map(str::to_owned))
    });
    assert_eq!(own.as_deref(), Some("/tasks/fleet-1"));
    proxies[1].kill9();
    until("it to be missed", || {
        person.see("/tasks").contains("<b>b</b> does not tell of its tasks").then_some(())
    });
}

/// A proxy that takes connections and says nothing is no reason to wait with the page.
#[test]
fn nobody_waits_for_a_proxy_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("it is bound");
    let member = format!(
        "[[fleet.proxy]]\nname = \"mute\"\naddress = \"{address}\"\nuser = \"root\"\n\
         password = \"x\"\n"
    );
    let proxy = with(&member);
    let person = Person::log_in(&proxy, "root");
    let page = person.see("/clusters/main");
    assert!(page.contains("being asked") && page.contains("p0-status"), "{page}");
    let part = until("it to be given up", || {
        let part = person.see("/clusters/main?part=fleet");
        part.contains("UNREACHABLE").then_some(part)
    });
    assert!(part.contains("mute") && part.contains("no answer in"), "{part}");
    let asked = silent.incoming().take(1).count();
    assert_eq!(asked, 1);
}

#[test]
fn the_dialog_of_several_says_of_each_whether_all_would_move() {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    let person = Person::log_in(&proxies[0], "root");
    let path = "/clusters/main/restart";
    let rehearsals = |at: usize| {
        let tasks = proxies[at].admin().ok()?.try_query("SHOW RESTART").ok()?.named_rows();
        Some(tasks.iter().filter(|task| task["mode"] == "REHEARSE").count())
    };
    // Whoever opens it has them asked; not the page that is kept up to date, nor who only looks.
    let begins = |page: &str| page.contains("hx-trigger=\"load\"");
    let dialog = person.see(path);
    assert!(begins(&dialog) && dialog.contains("Not known yet"), "{dialog}");
    let again = person.with("HX-Request", "true");
    assert!(!begins(&again.see(path)));
    assert!(!begins(&Person::log_in(&proxies[0], "watch").see(path)));
    let answer = person.send(path, "mode=rehearse&proxies=a,b");
    assert_eq!((answer.status, answer.field("location")), (303, Some(path)), "{answer:?}");
    let page = until("both to have said it", || {
        Some(again.see(path)).filter(|page| page.contains("<b>2 of 2 proxies</b>"))
    });
    assert!(!page.contains("every 1s"), "nothing is left: {page}");
    let dialog = person.see(path);
    let (before, button) = dialog.split_once("<fieldset>").expect("the form");
    assert_eq!(before.matches(">Yes</span> 0 sessions").count(), 2, "{before}");
    assert!(button.contains("Restart</button>"), "{button}");
    // They were asked a moment ago, once.
    assert!(!begins(&dialog), "{dialog}");
    assert_eq!([rehearsals(0), rehearsals(1)], [Some(1), Some(1)]);
    // What one has found out is in the way of all.
    let text = std::fs::read_to_string(proxies[1].config()).expect("a config");
    std::fs::write(proxies[1].config(), format!("{text}\n[nonsense]\n")).expect("ours");
    person.send(path, "mode=rehearse&proxies=a,b");
    let refusal = "Not now: b would refuse";
    let page = until("the refusal", || Some(again.see(path)).filter(|page| page.contains(refusal)));
    assert!(page.contains("id=\"soft\"") && page.contains("nonsense"), "{page}");
    assert!(person.see(path).contains(refusal));
    std::fs::write(proxies[1].config(), text).expect("ours");
    // One that is gone is named, and holds nobody up.
    proxies[1].kill9();
    let ticked = "mode=rehearse&proxies=b&ticked=yes";
    let answer = person.send(path, ticked);
    assert_eq!(answer.field("location"), Some("/clusters/main/restart?ticked=yes&proxy=b"));
    let page = until("the other one to be missed", || {
        let is_told = |page: &String| {
            page.contains(">Unreachable<") && page.contains("<b>1 of 2 proxies</b>")
        };
        Some(again.see(path)).filter(is_told)
    });
    assert!(!page.contains("every 1s"), "{page}");
    assert_eq!(person.send(path, "mode=rehearse&proxies=z").status, 409);
    assert_eq!(person.send(path, "mode=rehearse&proxies=").status, 400);
    let watcher = Person::log_in(&proxies[0], "watch");
    assert_eq!(watcher.send(path, "mode=rehearse&proxies=a").status, 403);
    assert!(person.see("/audit").contains("RESTART FLEET REHEARSE CLUSTER"));
}

#[test]
fn a_failure_of_the_fleet_is_counted_once() {
    let proxies = [alone(), alone()];
    introduce(&proxies);
    let mut admin = proxies[0].admin().expect("the admin port takes us");
    // Each says in its rehearsal that there is no such program, also the one that is asked.
    admin.run("RESTART FLEET BINARY = '/none'");
    until("the task to fail", || {
        let tasks = admin.try_query("SHOW FLEET TASKS").ok()?.named_rows();
        (tasks.first()?["state"] == "FAILED").then_some(())
    });
    let own = admin.query("SHOW RESTART").named_rows();
    let told = [&own[0]["mode"], &own[0]["state"], &own[0]["fleet_task"]];
    assert_eq!(told, ["REHEARSE", "FAILED", "1"], "{own:?}");
    let person = Person::log_in(&proxies[0], "root");
    let page = person.see("/tasks");
    assert!(
        page.contains(">1 failed<") && page.contains("for <a href=\"/tasks/fleet-1\""),
        "{page}"
    );
    // What an operator asks for by himself is another one.
    assert!(admin.query("RESTART REHEARSE BINARY = '/none'").error().is_some());
    assert!(person.see("/tasks").contains(">2 failed<"));
    // The other one knows of no fleet's task, and of one failure.
    assert!(Person::log_in(&proxies[1], "root").see("/tasks").contains(">1 failed<"));
}
