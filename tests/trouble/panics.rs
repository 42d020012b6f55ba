//! A panic in each kind of task: it is counted, harms nobody else, and what is needed goes on.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::support::database::PASSWORD;
use crate::support::fleet::introduce;
use crate::support::http::Asker;
use crate::support::proxy::{ADMIN_PASSWORD, Options};
use crate::support::{Database, Login, Proxy, Server, Wire, scratch, until};
use crate::{metric, open, signal, stop};

/// Who may look at the console.
const TOKEN: &str = "a viewer's token";

/// Its SHA-256.
const HASH: &str = "4b26b5679f2c7464966e596589d9d108ebe680636deba0fee395d7f6dac2e747";

struct Scene {
    _database: Database,
    proxy: Proxy,
    options: Options,
    /// Names the task that is to panic.
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn start() -> Option<Self> {
        Self::start_with("", "")
    }

    /// With these lines in the sections of the proxy and of its cluster.
    fn start_with(lines: &str, cluster: &str) -> Option<Self> {
        let database = Database::start(Server::MariaDb)?;
        let dir = scratch();
        let file = dir.path().join("panic");
        std::fs::write(&file, "").expect("the directory is ours");
        let mut options = Options::new(&[database.address()]);
        let path = file.to_str().expect("UTF-8").to_owned();
        options.environment = vec![("ODP_PANIC_IN".into(), path)];
        options.proxy = lines.into();
        options.cluster = cluster.into();
        let token =
            format!("[[admin.token]]\nname = \"eyes\"\nrole = \"viewer\"\nsha256 = \"{HASH}\"\n");
        options.rest = format!("[console]\nenabled = true\n{token}");
        let proxy = Proxy::start_with(&options);
        Some(Self { _database: database, proxy, options, file, _dir: dir })
    }

    fn arm(&self, task: &str) {
        std::fs::write(&self.file, task).expect("the directory is ours");
    }

    fn has_panicked(&self) -> bool {
        std::fs::read_to_string(&self.file).is_ok_and(|text| text.is_empty())
    }

    fn until_panicked(&self, task: &str) {
        until(&format!("{task} to panic"), || self.has_panicked().then_some(()));
    }

    fn until_counted(&self, task: &str) {
        let name = format!("odp_task_panics_total{{task=\"{task}\"}}");
        until(&format!("{name}\n{}", self.proxy.log()), || metric(&self.proxy, &name));
    }

    /// Once it has panicked, and once more when it was started again.
    fn until_twice(&self, task: &str) {
        let name = format!("odp_task_panics_total{{task=\"{task}\"}}");
        until(&format!("{name} 2\n{}", self.proxy.log()), || {
            (metric(&self.proxy, &name) == Some(2)).then_some(())
        });
    }

    fn until_sessions(&self, count: usize) {
        until(&format!("{count} sessions"), || {
            let mut admin = self.proxy.admin().ok()?;
            (admin.query("SHOW PROXYSESSION").row_count() == count).then_some(())
        });
    }
}

fn admin_on_the_clients_port(proxy: &Proxy) -> Option<Wire> {
    let login = Login {
        user: "root@proxysys".into(),
        password: ADMIN_PASSWORD.into(),
        database: None,
        ..Login::default()
    };
    Wire::open(&proxy.address(), &login).ok()
}

#[test]
fn what_the_process_needs_is_started_again() {
    let Some(scene) = Scene::start() else { return };
    let mut old = open(&scene.proxy);
    for task in ["accept loop", "silent sessions", "lookout", "signals", "admin users"] {
        scene.arm(task);
        until(&format!("{task} to panic"), || {
            // Each has something to do; who comes first when a loop panics may have to come again.
            let _ = Wire::open(&scene.proxy.address(), &Login::default());
            let _ = admin_on_the_clients_port(&scene.proxy);
            signal(&scene.proxy, Signal::SIGHUP);
            scene.has_panicked().then_some(())
        });
        scene.until_counted(task);
        until("a client to be served", || {
            Wire::open(&scene.proxy.address(), &Login::default()).ok()
        });
        until("an operator to be served", || admin_on_the_clients_port(&scene.proxy));
        old.run("SELECT 1");
    }
    // Accept loops are told to stop and to go on in a restart, and signals are heard.
    let first = scene.proxy.pid();
    assert_ne!(scene.proxy.restart_by_signal(), first);
    old.run("SELECT 1");
    stop(&scene.proxy);
}

/// Each of them is polled when it begins, and panics there.
#[test]
fn what_goes_on_in_the_background_is_started_again() {
    // Who watches servers must be able to log in there.
    let service = format!("service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n");
    let Some(mut scene) = Scene::start_with("", &service) else { return };
    for task in [
        "parameters",
        "keeper",
        "heartbeat",
        "journal",
        "announcer",
        "keep alive",
        "servers to be left",
        "new primaries",
        "lost servers",
        "drain deadline",
        "history",
        "monitor",
        "fleet",
    ] {
        // Nobody else is there whom the order could reach.
        scene.proxy.process().kill9();
        scene.arm(task);
        scene.proxy.start_again(&scene.options, &[]).unwrap_or_else(|said| panic!("{said}"));
        scene.until_panicked(task);
        scene.until_counted(task);
        open(&scene.proxy).run("SELECT 1");
    }
    let mut old = open(&scene.proxy);
    // What some of them are for.
    let mut admin = scene.proxy.admin().expect("the admin port");
    admin.run("ALTER PROXYCONFIG SET connect_timeout = '7s'");
    scene.proxy.restart();
    let mut admin = scene.proxy.admin().expect("the admin port");
    let row = &admin.query("SHOW PROXYCONFIG LIKE 'connect_timeout'").named_rows()[0];
    assert_eq!(row["value"], "7s");
    old.run("SELECT 1");
    stop(&scene.proxy);
}

/// They are there as long as there is something to look after, and are started but once for it.
#[test]
fn who_looks_after_others_is_started_again() {
    let Some(scene) = Scene::start() else { return };
    scene.arm("lobby:2");
    let mut old = open(&scene.proxy);
    scene.until_twice("lobby");
    scene.arm("console events:2");
    let mut events = Asker::token(&scene.proxy, TOKEN).listen();
    scene.until_twice("console events");
    let mut admin = scene.proxy.admin().expect("the admin port");
    admin.run("ALTER PROXYCONFIG SET proxy_local_cmd = '3'");
    events.until("state", |state| state["status"] == "OFFLINE").expect("news");
    scene.arm("fleet lines:2");
    introduce(&[&scene.proxy]);
    scene.until_twice("fleet lines");
    old.run("SELECT 1");
}

#[test]
fn a_session_that_panics_ends_alone_and_leaves_nothing_behind() {
    // With it the session would go on.
    let Some(scene) = Scene::start_with("crash_protection = false\n", "") else { return };
    let mut old = open(&scene.proxy);
    // In its log-in, and later.
    scene.arm("session");
    assert!(Wire::open(&scene.proxy.address(), &Login::default()).is_err());
    scene.until_counted("session");
    scene.until_sessions(1);
    // One that came from a predecessor, which holds its sockets in case the successor dies.
    for task in ["relay", "session"] {
        let mut other = open(&scene.proxy);
        scene.proxy.restart();
        scene.arm(task);
        assert!(other.try_query("SELECT 1").is_err());
        scene.until_counted(task);
        scene.until_sessions(1);
        old.run("SELECT 1");
    }
}

#[test]
fn a_connection_of_an_operator_that_panics_ends_alone() {
    let Some(scene) = Scene::start() else { return };
    let mut other = scene.proxy.admin().expect("the admin port");
    scene.arm("http");
    assert_eq!(scene.proxy.http_status("/healthz"), None);
    assert_eq!(scene.proxy.http_status("/healthz"), Some(200));
    scene.arm("operator");
    assert!(scene.proxy.admin().is_err());
    other.run("SHOW PROXYSTAT");
    for task in ["http", "operator"] {
        scene.until_counted(task);
    }
}

/// The coordinator goes on, and as soon as it may a successor takes over.
#[test]
fn a_coordinator_that_panics_has_a_successor_take_over() {
    let Some(scene) = Scene::start() else { return };
    let mut old = open(&scene.proxy);
    let first = scene.proxy.pid();
    scene.arm("coordinator");
    // An order is what wakes it; this one is lost.
    let _ = scene.proxy.admin().expect("admin").query("RESTART ROLLBACK");
    scene.until_panicked("the coordinator");
    until("a successor alone", || match *scene.proxy.process().living() {
        [only] if only != first => Some(()),
        _ => None,
    });
    old.run("SELECT 1");
    open(&scene.proxy).run("SELECT 1");
    scene.proxy.restart();
    old.run("SELECT 1");
}

#[test]
fn a_restart_in_which_either_side_panics_is_undone() {
    let Some(scene) = Scene::start() else { return };
    let mut old = open(&scene.proxy);
    let first = scene.proxy.pid();
    let undone = || scene.proxy.log().matches("restart undone").count();
    for task in ["handover", "handover:2", "handover:3", "takeover", "job", "data plane"] {
        let before = undone();
        scene.arm(task);
        signal(&scene.proxy, Signal::SIGUSR2);
        until(&format!("{task} to be undone\n{}", scene.proxy.log()), || {
            let is_undone = undone() > before && scene.has_panicked();
            (is_undone && scene.proxy.process().living() == [first]).then_some(())
        });
        old.run("SELECT 1");
        open(&scene.proxy).run("SELECT 1");
        until("/readyz", || (scene.proxy.http_status("/readyz") == Some(200)).then_some(()));
    }
    scene.proxy.restart();
    old.run("SELECT 1");
}

#[test]
fn a_rehearsal_that_panics_is_over() {
    let Some(scene) = Scene::start() else { return };
    let mut admin = scene.proxy.admin().expect("the admin port");
    scene.arm("rehearsal");
    let refused = admin.query("RESTART REHEARSE");
    assert!(refused.error().is_some(), "{refused:?}");
    assert_eq!(admin.query("SHOW RESTART").named_rows()[0]["state"], "FAILED");
    assert_eq!(admin.query("RESTART REHEARSE").error(), None, "another one may begin");
}
