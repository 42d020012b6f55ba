//! Is `odp load` to be believed? Where nothing is lost it must say so, and where something is, too.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

#[path = "load/database.rs"]
mod database;
#[path = "load/haproxy.rs"]
mod haproxy;
#[path = "load/kills.rs"]
mod kills;
#[path = "load/servers.rs"]
mod servers;
#[path = "support/mod.rs"]
mod support;

use database::Database;
use haproxy::Haproxy;

fn odp_load(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odp"));
    // A user's settings must not change what is tested.
    command.env_remove("ODP_LOAD_PASSWORD").env_remove("ODP_ADMIN_PASSWORD");
    command.arg("load").args(arguments).output().expect("odp")
}

/// Runs a load and reads what it found; fails with what it said if that is not JSON.
fn outcome(arguments: &[&str]) -> (Option<i32>, Value) {
    let arguments = [arguments, &["--json"]].concat();
    let output = odp_load(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    let found = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {:?}: {said}", output.status));
    (output.status.code(), found)
}

fn number(found: &Value, name: &str) -> u64 {
    found[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {found:#}"))
}

#[test]
fn directly_nothing_is_lost_and_nothing_is_left() {
    let Some(database) = Database::start() else { return };
    let url = database.url(database.port);
    let report = tempfile::NamedTempFile::new().unwrap();
    let file = report.path().to_str().unwrap();
    let (code, found) =
        outcome(&["--url", &url, "--duration", "4s", "--hold", "1s", "--report", file]);
    assert_eq!(code, Some(0), "{found:#}");
    for name in ["sessions_lost", "connects_failed", "statements_failed", "answers_wrong"] {
        assert_eq!(number(&found, name), 0, "{name} in {found:#}");
    }
    assert!(number(&found, "statements") > 100, "{found:#}");
    assert!(number(&found["bank"], "acknowledged") > 0, "{found:#}");
    assert_eq!(found["classes"].as_array().unwrap().len(), 9, "{found:#}");
    // An idle client may not have had to look yet.
    for class in found["classes"].as_array().unwrap().iter().skip(1) {
        assert!(number(&class["latency"]["outside"], "count") > 0, "{class:#}");
    }
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.contains("Nothing was lost") && page.trim_end().ends_with("</html>"));
    assert!(!page.contains("secret") && !page.contains("http://") && !page.contains("https://"));
    assert_eq!(tables_left(&url), Vec::<String>::new());
}

#[test]
fn a_reload_that_cuts_sessions_is_seen() {
    let Some(database) = Database::start() else { return };
    let Some(haproxy) = Haproxy::start(database.port) else { return };
    let (url, reload) = (database.url(haproxy.port), haproxy.reload_command());
    let restart = ["--restart-every", "2s", "--restart-command", &reload, "--settle", "5s"];
    let (code, found) = outcome(&[&["--url", &url, "--duration", "3s"], &restart[..]].concat());
    assert_eq!(code, Some(1), "{found:#}");
    assert_eq!(found["restarts"].as_array().unwrap().len(), 1, "{found:#}");
    assert_eq!(number(&found, "restarts_failed"), 0, "{found:#}");
    // HAProxy passes its listener on and none of its sessions: each of the 62 that were there when
    // it reloaded is lost once. The two that connect again and again are new each time.
    let lost = number(&found, "sessions_lost");
    assert!((60..=64).contains(&lost), "{found:#}");
    assert!(number(&found, "sessions_lost_in_transaction") > 0, "{found:#}");
    assert_eq!(number(&found, "answers_wrong"), 0, "{found:#}");
}

#[test]
fn a_crash_is_seen_by_those_who_were_there_and_those_who_came() {
    let Some(database) = Database::start() else { return };
    let Some(haproxy) = Haproxy::start(database.port) else { return };
    let (url, crash) = (database.url(haproxy.port), haproxy.crash_command());
    let restart = ["--restart-every", "2s", "--restart-command", &crash, "--settle", "2s"];
    let (code, found) = outcome(&[&["--url", &url, "--duration", "3s"], &restart[..]].concat());
    assert_eq!(code, Some(1), "{found:#}");
    let lost = number(&found, "sessions_lost");
    assert!((60..=64).contains(&lost), "{found:#}");
    let failures = found["connect_failures"].as_array().unwrap();
    let refused = |class: &str| {
        let of_class = failures.iter().filter(|row| row["class"] == class);
        of_class.filter(|row| row["reason"] == "refused").map(|row| number(row, "count")).sum()
    };
    let (new, again): (u64, u64) = (refused("connect"), refused("select"));
    assert!(new > 0, "those who come are refused: {found:#}");
    assert!(again > 0, "those who come back are refused: {found:#}");
    let gap = number(&found["longest_gap"], "micros");
    assert!((500_000..10_000_000).contains(&gap), "{found:#}");
    assert_eq!(number(&found, "answers_wrong"), 0, "{found:#}");
    assert_eq!(found["bank"]["total"], found["bank"]["expected_total"], "{found:#}");
}

#[test]
fn a_restart_that_fails_is_a_failure() {
    let Some(database) = Database::start() else { return };
    let url = database.url(database.port);
    let restart = ["--restart-every", "1s", "--restart-command", "exit 3", "--settle", "0s"];
    let (code, found) = outcome(&[&["--url", &url, "--duration", "2s"], &restart[..]].concat());
    assert_eq!(code, Some(1), "{found:#}");
    assert!(number(&found, "restarts_failed") >= 1, "{found:#}");
    assert_eq!(number(&found, "sessions_lost"), 0, "{found:#}");
}

#[test]
fn a_load_that_is_interrupted_tells_what_it_saw_and_cleans_up() {
    let Some(database) = Database::start() else { return };
    let url = database.url(database.port);
    let load = Command::new(env!("CARGO_BIN_EXE_odp"))
        .args(["load", "--url", &url, "--duration", "10m", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while tables_left(&url).is_empty() {
        assert!(Instant::now() < until, "the load does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(2));
    kill(Pid::from_raw(load.id() as i32), Signal::SIGINT).unwrap();
    let output = load.wait_with_output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&found, "statements") > 0, "{found:#}");
    assert_eq!(output.status.code(), Some(0), "{found:#}");
    assert_eq!(tables_left(&url), Vec::<String>::new());
}

#[test]
fn wrong_usage_is_refused_before_anything_happens() {
    for arguments in [
        &["--url", "mysql://a@127.0.0.1/"][..],
        &["--url", "http://127.0.0.1/x"],
        &[],
        &["--url", "mysql://a@127.0.0.1/x", "--mix", "nonsense"],
        &["--url", "mysql://a@127.0.0.1/x", "--restart-every", "1s"],
        &["--url", "mysql://a@127.0.0.1/x", "--duration", "0s"],
        &["--url", "mysql://a@127.0.0.1/x", "-a", "127.0.0.1:1"],
        &["--url", "mysql://a@127.0.0.1/x", "--move-every", "1s"],
        &["--url", "mysql://a@127.0.0.1/x", "--move-every", "0s", "-a", "127.0.0.1:1"],
    ] {
        assert_eq!(odp_load(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_target_that_is_not_there_is_named_and_its_password_is_not() {
    let port = database::free_port();
    let url = format!("mysql://a:s3cret@127.0.0.1:{port}/x");
    let output = odp_load(&["--url", &url, "--timeout", "1s"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{port}/x")), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

/// What a load has not dropped.
fn tables_left(url: &str) -> Vec<String> {
    use mysql_async::prelude::Queryable as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut conn = mysql_async::Conn::from_url(url).await.unwrap();
        let tables = conn.query("SHOW TABLES LIKE 'odp\\_load\\_%'").await.unwrap();
        conn.disconnect().await.unwrap();
        tables
    })
}
