//! `odp status` and `odp restart` against real proxies, and one that hangs.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

mod support;

use support::proxy::{ADMIN_PASSWORD, Options, Revived, config_text, killed};
use support::user::{NOBODY, may_become_nobody};
use support::{Database, Login, Process, Proxy, Wire, until};

/// Runs the program with the admin's password.
fn odp(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    command.env("ODP_ADMIN_PASSWORD", ADMIN_PASSWORD).args(arguments).output().expect("odp runs")
}

/// Exit code, stdout and stderr.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// One that has nobody behind it.
fn proxy() -> Proxy {
    Proxy::start_with(&Options::new(&["127.0.0.1:1".into()]))
}

/// `-a HOST:PORT` for each.
fn addresses(proxies: &[&Proxy]) -> Vec<String> {
    proxies.iter().flat_map(|proxy| ["-a".into(), proxy.admin_address()]).collect()
}

fn restart(proxies: &[&Proxy], options: &[&str]) -> (Option<i32>, String, String) {
    let addresses = addresses(proxies);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    said(&odp(&[&["restart"], &addresses[..], options].concat()))
}

fn status(proxy: &Proxy) -> Value {
    let output = odp(&["status", "--json", "-a", &proxy.admin_address()]);
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    found[0].clone()
}

#[test]
fn status_tells_how_a_proxy_is() {
    let proxy = proxy();
    let found = status(&proxy);
    assert_eq!(found["pid"], proxy.pid(), "{found:#}");
    assert_eq!((&found["state"], &found["reachable"]), (&"RUNNING".into(), &true.into()));
    assert_eq!(found["last_restart"], Value::Null);
    let (code, table, _) = said(&odp(&["status", "-a", &proxy.admin_address()]));
    assert_eq!(code, Some(0), "{table}");
    assert!(table.starts_with("ADDRESS") && table.contains("RUNNING"), "{table}");
}

#[test]
fn a_config_tells_where_the_proxy_is_and_the_password() {
    let proxy = proxy();
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    command.env_remove("ODP_ADMIN_PASSWORD").arg("status").arg("-c").arg(proxy.config());
    let (code, table, errors) = said(&command.output().expect("odp runs"));
    assert_eq!(code, Some(0), "{table}{errors}");
    assert!(table.contains(&proxy.admin_address()), "{table}");
}

#[test]
fn one_that_cannot_be_asked_is_a_failure_and_hides_no_other() {
    let (one, other) = (proxy(), proxy());
    other.kill9();
    let [one, other] = [one.admin_address(), other.admin_address()];
    let (code, table, _) = said(&odp(&["status", "-a", &other, "-a", &one]));
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("UNREACHABLE") && table.contains("RUNNING"), "{table}");
    let (code, table, _) = said(&odp(&["status", "-a", &one, "--password", "wrong"]));
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("(1045)") && !table.contains("wrong"), "{table}");
}

#[test]
fn a_rehearsal_tells_what_would_move() {
    let Some(database) = Database::start(support::Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    let before = proxy.pid();
    let (code, results, progress) = restart(&[&proxy], &["--rehearse"]);
    assert_eq!(code, Some(0), "{results}{progress}");
    assert!(results.contains("1 of 1 sessions would move; nothing has moved"), "{results}");
    // Each is asked, whatever the one before it has said.
    let other = self::proxy();
    let (code, results, errors) = restart(&[&proxy, &other], &["--rehearse", "--binary", "/none"]);
    assert_eq!((code, results.as_str()), (Some(1), ""), "{errors}");
    assert_eq!(errors.matches("binary /none").count(), 2, "{errors}");
    assert_eq!((proxy.pid(), wire.query("SELECT 7").rows().len()), (before, 1));
    let (code, _, errors) = restart(&[&proxy], &["--rehearse", "--force"]);
    assert_eq!(code, Some(2), "{errors}");
    let (code, _, errors) =
        said(&odp(&["rehearse", "-c", proxy.config().to_str().expect("UTF-8")]));
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("no handover channel"), "{errors}");
}

#[test]
fn a_restart_keeps_the_sessions() {
    let Some(database) = Database::start(support::Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    let before = proxy.pid();
    let (code, results, progress) = restart(&[&proxy], &[]);
    assert_eq!(code, Some(0), "{results}{progress}");
    assert!(results.contains("1 of 1 sessions moved, 0 disconnected"), "{results}");
    assert_eq!(wire.query("SELECT 7").rows()[0][0], Some(b"7".to_vec()));
    let found = status(&proxy);
    assert_ne!(found["pid"], before, "{found:#}");
    assert_eq!(found["last_restart"]["state"], "COMPLETED", "{found:#}");
}

#[test]
fn a_fleet_is_restarted_one_after_the_other() {
    let fleet = [proxy(), proxy(), proxy()];
    let fleet: Vec<&Proxy> = fleet.iter().collect();
    for options in [&[][..], &["--batch", "3"]] {
        let before: Vec<u32> = fleet.iter().map(|proxy| proxy.pid()).collect();
        let (code, results, progress) = restart(&fleet, options);
        assert_eq!(code, Some(0), "{results}{progress}");
        let named = |line: &str| line.split(": ").next().unwrap_or_default().to_owned();
        let mut order: Vec<String> = results.lines().map(named).collect();
        let mut expected: Vec<String> = fleet.iter().map(|proxy| proxy.admin_address()).collect();
        if !options.is_empty() {
            order.sort();
            expected.sort();
        }
        assert_eq!(order, expected, "{results}");
        for (proxy, before) in fleet.iter().zip(before) {
            assert_ne!(status(proxy)["pid"], before, "{results}{progress}");
        }
    }
}

#[test]
fn after_the_first_failure_nobody_is_restarted() {
    let [first, second, third] = [proxy(), proxy(), proxy()];
    second.kill9();
    let before = third.pid();
    let (code, results, errors) = restart(&[&first, &second, &third], &[]);
    assert_eq!(code, Some(1), "{results}{errors}");
    assert_eq!(results.lines().count(), 1, "{results}");
    assert!(results.starts_with(&first.admin_address()), "{results}");
    assert!(errors.contains(&format!("{}: not restarted", third.admin_address())), "{errors}");
    assert_eq!((third.pid(), &status(&third)["last_restart"]), (before, &Value::Null));
}

#[test]
fn a_refused_restart_says_why_and_changes_nothing() {
    let proxy = proxy();
    let before = proxy.pid();
    let (code, results, errors) = restart(&[&proxy], &["--config", "it's/not there.toml"]);
    assert_eq!((code, results.as_str()), (Some(1), ""), "{errors}");
    assert!(errors.contains("it's/not there.toml"), "{errors}");
    assert_eq!((proxy.pid(), &status(&proxy)["state"]), (before, &"RUNNING".into()));
    let (code, _, errors) = restart(&[&proxy], &["--user", "watch"]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("(1227)"), "{errors}");
}

#[test]
fn a_living_proxy_is_forced_without_being_killed() {
    let proxy = proxy();
    let before = proxy.pid();
    let (code, results, errors) = restart(&[&proxy], &["--force", "--exit-timeout", "0"]);
    assert_eq!(code, Some(0), "{results}{errors}");
    assert!(results.contains("task 1") && !results.contains("hung"), "{results}");
    let found = status(&proxy);
    assert_ne!(found["pid"], before, "{found:#}");
    assert_eq!(found["last_restart"]["mode"], "FORCE", "{found:#}");
}

#[test]
fn a_hung_proxy_is_killed_by_force_only_and_started_as_before() {
    let mut options = Options::new(&["127.0.0.1:1".into()]);
    options.environment.push(("ODP_TEST_MARK".into(), "kept".into()));
    let proxy = Proxy::start_with(&options);
    let config = proxy.config();
    let revived = Revived { config: &config };
    // A successor has other arguments than the one that was started first.
    let hung = proxy.restart();
    // Who stops while its parent goes is sent SIGHUP and SIGCONT: a group without a parent.
    until("the predecessor's end", || (proxy.process().living() == [hung]).then_some(()));
    kill(Pid::from_raw(hung as i32), Signal::SIGSTOP).expect("it is ours");

    let (code, _, errors) = restart(&[&proxy], &[]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("--force"), "{errors}");
    assert!(revived.pids().contains(&(hung as i32)), "it lives: {errors}");

    let logged = proxy.log().len();
    let (code, results, errors) = restart(&[&proxy], &["--force"]);
    assert_eq!(code, Some(0), "{results}{errors}\n{}", proxy.log());
    assert!(killed(&results).contains(&hung), "{results}");
    let found = status(&proxy);
    assert_eq!(found["state"], "RUNNING", "{found:#}");
    let pid = found["pid"].as_i64().expect("a pid") as i32;
    until("the killed one to be gone", || (revived.pids() == [pid]).then_some(()));
    let record = std::fs::read_to_string(proxy.run_dir().join(format!("{pid}.process")));
    let record: Value = serde_json::from_str(&record.expect("its record")).expect("JSON");
    let mark = serde_json::json!(["ODP_TEST_MARK", "kept"]);
    assert!(record["environment"].as_array().is_some_and(|it| it.contains(&mark)), "{record:#}");
    assert!(proxy.log()[logged..].contains("listening"), "the log goes on: {}", proxy.log());
    let (code, results, errors) = restart(&[&proxy], &[]);
    assert_eq!(code, Some(0), "it can be restarted as usual: {results}{errors}\n{}", proxy.log());
}

/// Nobody but root may look into a proxy: not even its own user, in `/proc`.
#[test]
fn a_user_without_rights_revives_a_proxy_of_his_own() {
    if !may_become_nobody() {
        return;
    }
    let dir = support::scratch();
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY));
    own(dir.path()).expect("we are root");
    let config = dir.path().join("odp.toml");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
        command.uid(NOBODY).gid(NOBODY).current_dir("/").args(arguments).arg(&config);
        command.env("ODP_ADMIN_PASSWORD", ADMIN_PASSWORD);
        command
    };
    let text = |ports| config_text(dir.path(), ports, &Options::new(&["127.0.0.1:1".into()]));
    std::fs::write(&config, text([2883, 2885, 2884])).expect("ours");
    let checked = as_nobody(&["check", "-c"]).output();
    if !checked.is_ok_and(|output| output.status.success()) {
        return support::skip("nobody cannot reach the program or its directory");
    }
    let revived = Revived { config: &config };
    let (process, log) = (0..20)
        .find_map(|_| {
            std::fs::write(&config, text(support::free_ports())).expect("ours");
            let log = dir.path().join("log");
            std::fs::write(&log, "").and_then(|()| own(&log)).expect("ours");
            let process = Process::spawn("nobody's", as_nobody(&["run", "-c"]), &log);
            let serves = || match process.log().contains("state=RUNNING") {
                true => Some(true),
                false => process.ended().map(|_| false),
            };
            until("nobody's proxy", serves).then_some((process, log))
        })
        .expect("a port was free");
    let hung = until("nobody's proxy", || process.living().first().copied());
    // No core dump, no debugger, no look into its memory: `/proc` is root's then.
    for file in ["mem", "environ", "fd"] {
        let found = std::fs::metadata(format!("/proc/{hung}/{file}")).expect("it lives");
        assert_eq!(found.uid(), 0, "{file}");
    }
    kill(Pid::from_raw(hung as i32), Signal::SIGSTOP).expect("it is ours");
    let output = as_nobody(&["restart", "--force", "-c"]).output().expect("odp runs");
    let (code, results, errors) = said(&output);
    assert_eq!(code, Some(0), "{results}{errors}\n{}", process.log());
    assert!(killed(&results).contains(&hung), "{results}");
    until("the killed one to be gone", || (revived.pids().len() == 1).then_some(()));
    assert_eq!(std::fs::read_to_string(log).expect("its log").matches("state=RUNNING").count(), 2);
    // And an orderly restart still needs nothing of all that.
    let output = as_nobody(&["restart", "-c"]).output().expect("odp runs");
    assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
}

#[test]
fn force_kills_a_hung_successor_and_the_predecessor_that_waits_for_its_sessions() {
    let Some(database) = Database::start(support::Server::MariaDb) else { return };
    let proxy = Proxy::start_with_lines(
        &database,
        "session_handover = false\nhot_upgrade_exit_timeout = \"-1\"",
    );
    let config = proxy.config();
    let revived = Revived { config: &config };
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    let reply = proxy.admin().expect("the admin port takes us").query("RESTART");
    assert_eq!(reply.error(), None);
    until("the predecessor to drain", || {
        let tasks = proxy.admin().ok()?.try_query("SHOW RESTART").ok()?;
        let newest = tasks.named_rows().into_iter().next()?;
        (newest.get("phase").map(String::as_str) == Some("DRAIN")).then_some(())
    });
    assert_eq!(wire.query("SELECT 7").rows()[0][0], Some(b"7".to_vec()));
    let both = proxy.process().living();
    assert_eq!(both.len(), 2, "{both:?}");
    for pid in &both {
        kill(Pid::from_raw(*pid as i32), Signal::SIGSTOP).expect("it is ours");
    }
    let (code, results, errors) = restart(&[&proxy], &["--force"]);
    assert_eq!(code, Some(0), "{results}{errors}\n{}", proxy.log());
    assert!(both.iter().all(|pid| killed(&results).contains(pid)), "{results}");
    let pid = status(&proxy)["pid"].as_i64().expect("a pid") as i32;
    until("both to be gone", || (revived.pids() == [pid]).then_some(()));
}
