//! RESTART FLEET over three real proxies: under load, with a canary that fails, with a coordinator
//! that is killed in the middle, and by two operators at once.

#[path = "fleet/dns.rs"]
mod dns;
#[path = "fleet/kills.rs"]
mod kills;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::clock;
use support::database::PASSWORD;
use support::fleet::{NAMES, introduce};
use support::load::Load;
use support::pki::Pki;
use support::proxy::{ADMIN_PASSWORD, Options};
use support::{Database, Login, Proxy, Server, Wire, fixtures_dir, scratch, until};

type Row = BTreeMap<String, String>;

/// Three proxies that know each other.
struct Fleet {
    proxies: Vec<Proxy>,
    options: Options,
}

impl Fleet {
    fn start(server: &str) -> Self {
        let options = Options::new(&[server.to_owned()]);
        let proxies: Vec<Proxy> = NAMES.iter().map(|_| Proxy::start_with(&options)).collect();
        introduce(&proxies);
        Self { proxies, options }
    }

    fn pids(&self) -> Vec<u32> {
        self.proxies.iter().map(Proxy::pid).collect()
    }

    /// Gives an order to a proxy: the id of the task, or what is the matter.
    fn order(&self, at: usize, sql: &str) -> Result<u64, String> {
        let mut admin = self.proxies[at].admin().expect("the admin port takes us");
        let reply = admin.query(sql);
        let payload = &reply.last().payload;
        match reply.error() {
            Some(_) => Err(String::from_utf8_lossy(payload).into_owned()),
            // OK, no rows changed, and the id, which is small.
            None => Ok(payload[2].into()),
        }
    }

    fn rows(&self, at: usize, sql: &str) -> Option<Vec<Row>> {
        let reply = self.proxies[at].admin().ok()?.try_query(sql).ok()?;
        reply.error().is_none().then(|| reply.named_rows())
    }

    fn task(&self, at: usize, id: u64) -> Option<Row> {
        let rows = self.rows(at, "SHOW FLEET TASKS")?;
        rows.into_iter().find(|row| row["task_id"] == id.to_string())
    }

    fn steps(&self, at: usize, id: u64) -> Vec<Row> {
        until("the steps", || self.rows(at, &format!("SHOW FLEET TASK {id}")))
    }

    /// Waits for its end; its last row.
    fn ended(&self, at: usize, id: u64) -> Row {
        let logs = || self.proxies.iter().map(Proxy::log).collect::<Vec<_>>().join("\n---\n");
        let what = format!("the end of task {id}");
        let row = until(&what, || self.task(at, id).filter(|row| row["state"] != "IN_PROGRESS"));
        assert!(!row["ended_at"].is_empty(), "{row:?}\n{}", logs());
        row
    }

    /// What each proxy runs.
    fn binary(&self, at: usize) -> String {
        until("the binary", || {
            let rows = self.rows(at, "SHOW PROXYINFO BINARY")?;
            Some(rows.iter().find(|row| row["name"] == "binary")?["info"].clone())
        })
    }
}

/// One that has nobody behind it.
fn fleet() -> Fleet {
    Fleet::start("127.0.0.1:1")
}

fn odp(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    let output = command.env_remove("ODP_ADMIN_PASSWORD").args(arguments).output().expect("odp");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Names of proxies in the order in which their restarts were begun.
fn order_of_restarts(steps: &[Row]) -> Vec<String> {
    let mut restarts: Vec<&Row> = steps.iter().filter(|row| row["phase"] == "RESTART").collect();
    restarts.sort_by_key(|row| row["begun_at"].clone());
    restarts.into_iter().map(|row| row["proxy"].clone()).collect()
}

#[test]
fn a_fleet_under_load_is_restarted_and_nobody_notices() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let fleet = Fleet::start(&database.address());
    let loads: Vec<Load> = fleet.proxies.iter().map(|proxy| Load::start(proxy, 9)).collect();
    let before = fleet.pids();
    let config = fleet.proxies[1].config();
    let config = config.to_str().expect("UTF-8");
    let (code, results, progress) = odp(&["restart", "--fleet", "-c", config, "--pause", "300ms"]);
    assert_eq!(code, Some(0), "{results}{progress}\n{}", fleet.proxies[1].log());
    for name in NAMES {
        assert!(results.contains(&format!("{name}: DONE: RUNNING as pid")), "{results}");
    }
    assert!(results.contains("fleet task 1: COMPLETED"), "{results}");
    for (before, after) in before.iter().zip(fleet.pids()) {
        assert_ne!(*before, after, "{results}");
    }
    // The proxy that coordinates is the last, and its successor knows of it all.
    assert_eq!(order_of_restarts(&fleet.steps(1, 1)), ["a", "c", "b"]);
    assert_eq!(fleet.task(1, 1).expect("it is remembered")["state"], "COMPLETED");
    let (code, table, errors) = odp(&["status", "--fleet", "-c", config]);
    assert_eq!((code, table.matches("RUNNING").count()), (Some(0), 3), "{table}{errors}");
    for load in loads {
        load.end_unharmed();
    }
}

#[test]
fn a_command_has_those_rehearse_that_are_named_and_no_others() {
    let fleet = fleet();
    let config = fleet.proxies[0].config();
    let config = config.to_str().expect("UTF-8");
    let rehearse = |more: [&str; 2]| {
        let arguments = ["restart", "--fleet", "-c", config, "--rehearse"];
        odp(&[&arguments[..], &more].concat())
    };
    let (code, _, errors) = rehearse(["--only", "b"]);
    assert_eq!(code, Some(0), "{errors}");
    let tasks = [0, 1, 2].map(|at| fleet.rows(at, "SHOW RESTART").expect("its tasks").len());
    assert_eq!(tasks, [0, 1, 0], "{errors}");
    let (code, _, errors) = rehearse(["--only", "z"]);
    assert!(code == Some(1) && errors.contains("no such proxy"), "{errors}");
    let (code, results, errors) = rehearse(["--cluster", "main"]);
    assert_eq!((code, results.matches("nothing has moved").count()), (Some(0), 3), "{errors}");
    let tasks = [0, 1, 2].map(|at| fleet.rows(at, "SHOW RESTART").expect("its tasks").len());
    assert_eq!(tasks, [1, 2, 1], "{errors}");
    let (code, _, errors) = rehearse(["--cluster", "none"]);
    let why = "no proxy of the fleet serves the cluster 'none'";
    assert!(code == Some(1) && errors.contains(why), "{errors}");
}

#[test]
fn whoever_refuses_is_named_before_anything_is_done() {
    let mut fleet = fleet();
    let before = fleet.pids();
    let error = fleet.order(0, "RESTART FLEET PROXIES = 'a,d'").expect_err("there is no d");
    assert!(error.contains("no proxy 'd'"), "{error}");
    let error = fleet.order(0, "RESTART FLEET BATCH = 0").expect_err("none at a time");
    assert!(error.contains("expected 1 to 1000"), "{error}");
    // The new build would not take over; nobody is restarted.
    let id = fleet.order(0, "RESTART FLEET BINARY = '/none'").expect("it is taken");
    let row = fleet.ended(0, id);
    assert_eq!(row["state"], "FAILED", "{row:?}");
    assert!(row["detail"].starts_with("refused before anything was restarted: a: "), "{row:?}");
    assert_eq!(row["detail"].matches("binary /none").count(), 3, "{row:?}");
    // One is offline, one is not there.
    let done = fleet.order(1, "ALTER PROXYCONFIG SET proxy_local_cmd = '3'");
    done.expect("it takes no clients then");
    fleet.proxies[2].kill9();
    let error = fleet.order(0, "RESTART FLEET").expect_err("two are in the way");
    for part in ["nothing was begun", "b: it is OFFLINE, expected RUNNING", "c: "] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let options = fleet.options.clone();
    fleet.proxies[2].start_again(&options, &[]).expect("it starts");
    assert_eq!(fleet.pids()[..2], before[..2]);
    let mut viewer = {
        let login = support::Login {
            user: "watch".into(),
            password: ADMIN_PASSWORD.into(),
            database: None,
            ..support::Login::default()
        };
        support::Wire::open(&fleet.proxies[0].admin_address(), &login).expect("a viewer")
    };
    assert!(viewer.query("RESTART FLEET").error().is_some(), "only managers may");
    assert_eq!(viewer.query("SHOW FLEET TASKS").row_count(), 1);
}

#[test]
fn a_command_goes_on_past_failures_if_it_is_told_to() {
    let fleet = fleet();
    let config = fleet.proxies[0].config();
    let config = config.to_str().expect("UTF-8");
    let arguments = ["--no-rehearsal", "--pause", "100ms", "--binary", "/none"];
    let states = |more: &[&str], task: u64| {
        let all = [&["restart", "--fleet", "-c", config], &arguments[..], more].concat();
        let (code, results, errors) = odp(&all);
        assert_eq!(code, Some(1), "{results}{errors}");
        let steps = fleet.steps(0, task).into_iter();
        steps.map(|mut row| row.remove("state").expect("one")).collect::<Vec<_>>()
    };
    assert_eq!(states(&[], 1), ["WAITING", "FAILED", "WAITING"]);
    assert_eq!(states(&["--stop-on-failure=true"], 2), ["WAITING", "FAILED", "WAITING"]);
    assert_eq!(states(&["--stop-on-failure=false"], 3), ["FAILED"; 3]);
}

#[test]
fn a_canary_that_fails_is_the_only_one_and_a_retry_goes_on() {
    let fleet = fleet();
    let dir = scratch();
    let binary = dir.path().join("odp");
    let before = fleet.pids();
    let sql =
        format!("RESTART FLEET REHEARSAL = 'off' PAUSE = '100ms' BINARY = '{}'", binary.display());
    let id = fleet.order(2, &sql).expect("it is taken");
    let row = fleet.ended(2, id);
    assert_eq!(row["state"], "FAILED", "{row:?}");
    assert!(row["detail"].starts_with("a: ") && row["detail"].contains("binary"), "{row:?}");
    assert_eq!(fleet.pids(), before);
    let states: Vec<String> =
        fleet.steps(2, id).into_iter().map(|mut row| row.remove("state").expect("one")).collect();
    assert_eq!(states, ["FAILED", "WAITING", "WAITING"]);
    // What was the matter is mended.
    link(&binary);
    assert_eq!(fleet.order(2, "RESTART FLEET RETRY"), Ok(id));
    let row = fleet.ended(2, id);
    assert_eq!(row["state"], "COMPLETED", "{row:?}");
    assert!(fleet.pids().iter().zip(&before).all(|(after, before)| after != before));
}

/// Another path of the program under test.
fn link(path: &Path) {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_odp"));
    if std::fs::hard_link(&built, path).is_err() {
        std::fs::copy(&built, path).expect("a copy");
    }
}

#[test]
fn who_answers_with_more_errors_after_its_restart_is_the_only_one_restarted() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let fleet = Fleet::start(&database.address());
    let before = fleet.pids();
    let login = Login { password: PASSWORD.into(), ..Login::default() };
    let mut client = Wire::open(&fleet.proxies[0].address(), &login).expect("it is let in");
    client.run("SELECT 1");
    let sql = "RESTART FLEET PAUSE = '60s' MAX_ERROR_PERCENT = '5'";
    let id = fleet.order(2, sql).expect("it is taken");
    until("the canary to be watched", || {
        fleet.steps(2, id).iter().any(|step| step["phase"] == "WATCH").then_some(())
    });
    // What the new build does not understand any more, as it were.
    let row = until("the end", || {
        (0..10).for_each(|_| drop(client.query("SELECT nonsense")));
        fleet.task(2, id).filter(|row| row["state"] != "IN_PROGRESS")
    });
    assert_eq!(row["state"], "FAILED", "{row:?}");
    let detail = &row["detail"];
    assert!(detail.starts_with("a: not well") && detail.contains("answers were errors"), "{row:?}");
    let after = fleet.pids();
    assert_eq!((before[0] != after[0], &before[1..]), (true, &after[1..]));
}

#[test]
fn who_takes_no_clients_after_its_restart_is_the_only_one_restarted() {
    let fleet = fleet();
    let before = fleet.pids();
    let id = fleet.order(2, "RESTART FLEET PAUSE = '60s'").expect("it is taken");
    until("the canary to be watched", || {
        fleet.steps(2, id).iter().any(|step| step["phase"] == "WATCH").then_some(())
    });
    let done = fleet.order(0, "ALTER PROXYCONFIG SET proxy_local_cmd = '3'");
    done.expect("it takes no clients then");
    let row = fleet.ended(2, id);
    assert_eq!(row["state"], "FAILED", "{row:?}");
    assert!(row["detail"].starts_with("a: not well"), "{row:?}");
    assert!(row["detail"].contains("it is OFFLINE"), "{row:?}");
    assert_eq!(before[1..], fleet.pids()[1..]);
}

#[test]
fn a_proxy_of_the_fleet_must_have_a_certificate_by_its_ca() {
    let dir = scratch();
    let files = Pki::new().write(dir.path());
    let mut options = Options::new(&["127.0.0.1:1".to_owned()]);
    options.rest = format!(
        "[tls.admin]\nmode = \"require\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        files.server.display(),
        files.server_key.display()
    );
    let other = Proxy::start_with(&options);
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).expect("ours");
    let foreign = Pki::new().write(&foreign);
    let own = other.admin_address();
    // By another name: one address is one proxy.
    let by_name = own.replace("127.0.0.1", "localhost");
    let member = |name: &str, address: &str, ca: &Path| {
        let ca = ca.display();
        format!("[[fleet.proxy]]\nname = \"{name}\"\naddress = \"{address}\"\nca = \"{ca}\"\n")
    };
    let mut options = Options::new(&["127.0.0.1:1".to_owned()]);
    options.rest =
        [member("known", &own, &files.ca), member("foreign", &by_name, &foreign.ca)].concat();
    let proxy = Proxy::start_with(&options);
    let mut admin = proxy.admin().expect("the admin port takes us");
    let rows = admin.query("SHOW FLEET").named_rows();
    let states: Vec<_> = rows.iter().map(|row| (&*row["name"], &*row["state"])).collect();
    assert_eq!(states, [("known", "RUNNING"), ("foreign", "UNREACHABLE")], "{rows:?}");
    assert!(rows[1]["error"].contains("certificate"), "{rows:?}");
    // And is restarted by it.
    let before = other.pid();
    admin.run("RESTART FLEET PROXIES = 'known' PAUSE = '100ms'");
    let row = until("the end", || {
        let rows = admin.query("SHOW FLEET TASKS").named_rows();
        rows.into_iter().find(|row| row["state"] != "IN_PROGRESS")
    });
    assert_eq!(row["state"], "COMPLETED", "{row:?}");
    assert_ne!(other.pid(), before);
}

#[test]
fn a_task_is_stopped_and_rolled_back_into_the_build_before() {
    let fleet = fleet();
    let dir = tempfile::tempdir_in(fixtures_dir()).expect("a directory");
    let new = dir.path().join("odp-new");
    link(&new);
    let [before, new] = [fleet.binary(0), new.display().to_string()];
    // Whoever stops it ends the watch, too.
    let sql = format!("RESTART FLEET PAUSE = '1h' BINARY = '{new}'");
    let id = fleet.order(0, &sql).expect("it is taken");
    let error = fleet.order(0, "RESTART FLEET").expect_err("one at a time");
    assert!(error.contains(&format!("fleet task {id} is under way")), "{error}");
    let error = fleet.order(1, "RESTART FLEET").expect_err("one at a time");
    assert!(error.contains(&format!("a: it coordinates fleet task {id}")), "{error}");
    until("the first to be watched", || {
        let steps = fleet.rows(0, &format!("SHOW FLEET TASK {id}"))?;
        steps.iter().any(|row| row["state"] == "WATCHED").then_some(())
    });
    // Whoever is asked knows who does it; the command finds it whichever it is given.
    let members = fleet.rows(1, "SHOW FLEET").expect("the fleet");
    let doing: Vec<_> = members.iter().map(|row| row.get("fleet_task").cloned()).collect();
    assert_eq!(doing, [Some(id.to_string()), None, None], "{members:?}");
    let config = fleet.proxies[1].config();
    let config = config.to_str().expect("UTF-8");
    let (code, results, errors) = odp(&["restart", "--fleet", "-c", config, "--stop"]);
    assert_eq!(code, Some(0), "{results}{errors}");
    assert_eq!(fleet.ended(0, id)["state"], "STOPPED");
    assert_eq!([0, 1, 2].map(|at| fleet.binary(at)), [&before, &new, &before].map(String::clone));
    let rollback =
        |id: u64| odp(&["restart", "--fleet", "-c", config, "--rollback", &id.to_string()]);
    let (code, _, errors) = rollback(id + 1);
    let none = format!("no proxy of the fleet has a fleet task {}", id + 1);
    assert!(code == Some(1) && errors.contains(&none), "{errors}");
    let (code, results, errors) = rollback(id);
    assert_eq!(code, Some(0), "{results}{errors}");
    assert_eq!(fleet.ended(0, id)["state"], "ROLLED_BACK");
    assert_eq!(
        [0, 1, 2].map(|at| fleet.binary(at)),
        [&before, &before, &before].map(String::clone)
    );
    // In place nobody knows what was there.
    let id = fleet.order(0, "RESTART FLEET PAUSE = '0s' CANARY = 3").expect("it is taken");
    assert_eq!(fleet.ended(0, id)["state"], "COMPLETED");
    let error = fleet.order(0, "RESTART FLEET ROLLBACK").expect_err("nobody knows");
    assert!(error.contains("neither BINARY nor CONFIG"), "{error}");
}

#[test]
fn a_coordinator_that_is_killed_goes_on_after_its_start() {
    for moment in ["RESTARTING", "WATCHED"] {
        let mut fleet = fleet();
        let before = fleet.pids();
        let id = fleet.order(0, "RESTART FLEET PAUSE = '1s'").expect("it is taken");
        until("the first to be there", || {
            let steps = fleet.rows(0, &format!("SHOW FLEET TASK {id}"))?;
            steps.iter().any(|row| row["state"] == moment).then_some(())
        });
        let options = fleet.options.clone();
        fleet.proxies[0].start_again(&options, &[]).expect("it starts");
        let row = fleet.ended(0, id);
        assert_eq!(row["state"], "COMPLETED", "{row:?}\n{}", fleet.proxies[0].log());
        let steps = fleet.steps(0, id);
        assert_eq!(order_of_restarts(&steps), ["b", "c", "a"], "{steps:?}");
        assert!(fleet.pids().iter().zip(&before).all(|(after, before)| after != before));
        // Each once: what was under way was found and seen through.
        for at in [1, 2] {
            let restarts = fleet.rows(at, "SHOW RESTART").expect("its tasks");
            let count = restarts.iter().filter(|row| row["mode"] == "RESTART").count();
            assert_eq!(count, 1, "{moment}: {restarts:?}");
        }
    }
}

#[test]
fn clocks_that_differ_make_no_difference() {
    if clock::shifted("+0").is_none() {
        return;
    }
    let shifted = |by: &str| {
        let environment = clock::shifted(by).unwrap_or_default();
        Options { environment, ..Options::new(&["127.0.0.1:1".to_owned()]) }
    };
    let proxies = ["+2h", "-3h", "+0"].map(|by| Proxy::start_with(&shifted(by))).into();
    let mut fleet = Fleet { proxies, options: shifted("+0") };
    introduce(&fleet.proxies);
    let started = |at: usize| {
        let rows = fleet.rows(at, "SHOW PROXYINFO BINARY").expect("it answers");
        rows.iter().find(|row| row["name"] == "started_at").expect("a time")["info"].clone()
    };
    assert!(started(0) > started(2) && started(2) > started(1), "the clocks differ");
    let before = fleet.pids();
    // Of the coordinator's clock, the one that is ahead, and the one behind, in turn.
    for at in 0..3 {
        let id = fleet.order(at, "RESTART FLEET PAUSE = '200ms'").expect("it is taken");
        let row = fleet.ended(at, id);
        assert_eq!(row["state"], "COMPLETED", "{row:?}\n{}", fleet.proxies[at].log());
        assert!(row["started_at"] <= row["ended_at"], "{row:?}");
    }
    assert!(fleet.pids().iter().zip(&before).all(|(after, before)| after != before));
    // Each was restarted once by each task.
    for at in 0..3 {
        let restarts = fleet.rows(at, "SHOW RESTART").expect("its tasks");
        let restarts = restarts.iter().filter(|row| row["mode"] == "RESTART");
        assert_eq!(restarts.count(), 3);
    }
    // The one that is killed meanwhile comes back with another time.
    let id = fleet.order(0, "RESTART FLEET PAUSE = '1s'").expect("it is taken");
    until("the first to be there", || {
        let steps = fleet.rows(0, &format!("SHOW FLEET TASK {id}"))?;
        steps.iter().any(|row| row["state"] == "WATCHED").then_some(())
    });
    fleet.proxies[0].start_again(&shifted("-5h"), &[]).expect("it starts");
    let row = fleet.ended(0, id);
    assert_eq!(row["state"], "COMPLETED", "{row:?}\n{}", fleet.proxies[0].log());
}

#[test]
fn of_two_operators_at_once_one_begins_and_the_other_is_told_why_he_does_not() {
    let fleet = fleet();
    let sql = "RESTART FLEET PAUSE = '0s' CANARY = 3 BATCH = 3 REHEARSAL = 'off'";
    let mut counts = [0, 0];
    for round in 0..4 {
        // Who is given it a moment before the other one is not to matter.
        let mut order = [0, 1];
        order.rotate_left(round % 2);
        let barrier = std::sync::Barrier::new(2);
        let ids = std::thread::scope(|scope| {
            let start = |at: usize| {
                let (fleet, barrier) = (&fleet, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    (at, fleet.order(at, sql))
                })
            };
            order.map(start).map(|started| started.join().expect("no panic"))
        });
        let (begun, refused): (Vec<_>, Vec<_>) = ids.iter().partition(|(_, id)| id.is_ok());
        let ([(at, Ok(id))], [(_, Err(why))]) = (&begun[..], &refused[..]) else {
            panic!("one of them: {ids:?}");
        };
        assert!(why.contains("under way") || why.contains("somebody else"), "{why}");
        let row = fleet.ended(*at, *id);
        assert_eq!(row["state"], "COMPLETED", "{row:?}");
        counts[*at] += 1;
    }
    let tasks = [0, 1].map(|at| fleet.rows(at, "SHOW FLEET TASKS").expect("they are there").len());
    assert_eq!(tasks, counts, "who has begun none has none");
    for at in 0..3 {
        let restarts = fleet.rows(at, "SHOW RESTART").expect("its tasks");
        assert!(restarts.iter().all(|row| row["state"] == "COMPLETED"), "{restarts:?}");
        assert_eq!(fleet.proxies[at].process().living().len(), 1);
    }
}
