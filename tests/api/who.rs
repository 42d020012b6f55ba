//! Who may use the API, and by which way.

use std::process::Command;

use crate::scene::{MANAGER, VIEWER, alone, console, manager, viewer};
use crate::support::http::Asker;
use crate::support::proxy::{Options, config_text};
use crate::support::{Proxy, scratch, until};

#[test]
fn a_token_opens_and_a_wrong_one_has_to_wait() {
    let proxy = alone();
    assert_eq!(manager(&proxy).get("/api/v1/clusters").status, 200);
    let nobody = Asker::nobody(&proxy).get("/api/v1/clusters");
    assert_eq!(nobody.status, 401);
    assert!(nobody.field("www-authenticate").is_some_and(|it| it.starts_with("Bearer")));
    // That is no guess, and costs nobody time.
    for field in ["", "Bearer", "Basic cm9vdDpyb290"] {
        let asker = Asker::nobody(&proxy).with("Authorization", field);
        assert_eq!(asker.get("/api/v1/clusters").status, 401, "{field}");
    }
    let guess = Asker::token(&proxy, "guess");
    let answers: Vec<_> = (0..6).map(|_| guess.get("/api/v1/clusters")).collect();
    let waits = answers.iter().filter(|answer| answer.status == 429);
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 429)), "{answers:?}");
    for answer in waits {
        assert!(answer.field("retry-after").is_some_and(|it| it.parse::<u32>().is_ok()));
    }
    // Whoever has the right one gets in after the wait, and what is open stays so.
    assert_eq!(proxy.http_status("/readyz"), Some(200));
    until("the end of the wait", || {
        (manager(&proxy).get("/api/v1/clusters").status == 200).then_some(())
    });
}

#[test]
fn two_of_a_kind_are_none() {
    let proxy = alone();
    let two = Asker::token(&proxy, MANAGER).with("Authorization", &format!("Bearer {VIEWER}"));
    assert_eq!(two.get("/api/v1/clusters").status, 401);
}

#[test]
fn without_the_console_there_is_what_there_was() {
    let proxy = Proxy::start_with(&Options::new(&["127.0.0.1:1".to_owned()]));
    let asker = manager(&proxy);
    for path in ["/api/v1/clusters", "/clusters", "/login", "/nothing"] {
        assert_eq!(asker.get(path).status, 404, "{path}");
    }
    let post = asker.ask("POST", "/metrics", "");
    assert_eq!((post.status, post.field("allow")), (405, Some("GET, HEAD")));
    assert_eq!(asker.ask("POST", "/api/v1/proxies/local/restart", "").status, 405);
    assert_eq!(asker.get("/").body, "/metrics\n/healthz\n/readyz\n");
}

#[test]
fn figures_and_health_are_open_with_the_console_too() {
    let proxy = alone();
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(Asker::nobody(&proxy).get(path).status, 200, "{path}");
        let post = viewer(&proxy).ask("POST", path, "");
        assert_eq!(post.status, 405, "{path}");
    }
}

#[test]
fn off_loopback_without_tls_the_start_says_why_it_refuses() {
    let dir = scratch();
    let mut options = Options::new(&["127.0.0.1:1".to_owned()]);
    options.rest = console("");
    let text = config_text(dir.path(), [2883, 2885, 2884], &options);
    let text = text.replace("listen = \"127.0.0.1:2884\"", "listen = \"0.0.0.0:2884\"");
    let path = dir.path().join("odp.toml");
    std::fs::write(&path, text).expect("ours");
    let output = Command::new(env!("CARGO_BIN_EXE_odp"));
    for command in ["check", "run"] {
        let mut odp = Command::new(output.get_program());
        let output = odp.arg(command).arg("-c").arg(&path).output().expect("it runs");
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("http.listen 0.0.0.0:2884 is not loopback"), "{command}: {said}");
    }
}
