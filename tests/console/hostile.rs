//! What clients call themselves and what servers say, on pages that operators look at: it is shown,
//! and it is text.

use odp::wire::capability as cap;

use crate::scene::{Person, options};
use crate::support::{Act, FakeServer, Login, Proxy, Wire, com, until};

/// Breaks out of text, of attributes in either quotes, and of what pages load.
const SCRIPT: &str = "x\"'></td><script>alert(1)</script><img/src=x onerror=alert(1)>";

const CAPABILITIES: u32 = cap::PROTOCOL_41 | cap::SECURE_CONNECTION | cap::PLUGIN_AUTH;

fn check(page: &str, what: &str) {
    for raw in ["<script>alert", "<img/", "\"'>"] {
        assert!(!page.contains(raw), "{what}: {page}");
    }
}

fn proxy(server: &FakeServer, lines: &str) -> Proxy {
    let mut options = options(std::slice::from_ref(&server.address));
    options.proxy = lines.into();
    Proxy::start_with(&options)
}

#[test]
fn names_of_clients_are_text() {
    let server = FakeServer::start(vec![
        Act::greet(CAPABILITIES | cap::CONNECT_WITH_DB),
        Act::LogIn,
        Act::ok(),
        Act::Command,
    ]);
    let proxy = proxy(&server, "");
    // Without signs that part a cluster from its user.
    let name = SCRIPT.replace([':', ';', '@', '#'], "");
    let login = Login { user: name.clone(), database: Some(name), ..Login::default() };
    let mut client = Wire::open(&proxy.address(), &login).expect("it lets everybody in");
    client.command(com::QUERY, format!("SELECT '{SCRIPT}'").as_bytes());
    let id = until("the session", || {
        let rows = proxy.admin().ok()?.query("SHOW PROXYSESSION").named_rows();
        let row = rows.into_iter().find(|row| row["User"].contains("<script>"))?;
        Some(row["proxy_sessid"].clone())
    });
    let person = Person::log_in(&proxy, "root");
    for path in ["/sessions".to_owned(), format!("/sessions/{id}"), "/clusters/main".to_owned()] {
        let page = person.see(&path);
        check(&page, &path);
        let shows = page.contains("&lt;script&gt;alert(1)");
        assert!(shows || path == "/clusters/main", "{path}: {page}");
    }
    let answer = person.asker.get("/api/v1/sessions");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert!(answer.items().iter().any(|it| it["user"].as_str().is_some_and(|it| it.contains('<'))));
}

#[test]
fn what_servers_say_is_text() {
    let error = format!("\u{69}\u{4}#HY000{SCRIPT}");
    let refusal = [&b"\xff"[..], error.as_bytes()].concat();
    let server = FakeServer::start(vec![Act::Say(refusal)]);
    let detect = "server_detect_mode = 1\nserver_detect_refresh_interval = \"50ms\"\n";
    let proxy = proxy(&server, detect);
    until("its error", || {
        let rows = proxy.admin().ok()?.query("SHOW PROXYROUTE").named_rows();
        rows[0]["last_error"].contains("alert(1)").then_some(())
    });
    let person = Person::log_in(&proxy, "root");
    let page = person.see("/clusters/main");
    check(&page, "/clusters/main");
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
}
