//! HTTP of people who mean harm: each gets a 4xx, or nothing, and everybody else is served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::scene::{MANAGER, alone, manager};
use crate::support::http::{PATIENCE, raw};
use crate::support::{Proxy, may_look_into_proxies, until};

const CHANGE: &str = "/api/v1/parameters";

/// A request's head and body, with the manager's token.
fn ask(proxy: &Proxy, line: &str, fields: &str, body: &str) -> Option<u16> {
    let text = format!(
        "{line} HTTP/1.1\r\nHost: odp\r\nAuthorization: Bearer {MANAGER}\r\n{fields}\r\n{body}"
    );
    raw(proxy.http, text.as_bytes()).map(|answer| answer.status)
}

fn timeout(proxy: &Proxy) -> String {
    let all = manager(proxy).get(CHANGE).items();
    let found = all.into_iter().find(|it| it["name"] == "connect_timeout").expect("it");
    found["value"].as_str().expect("a text").to_owned()
}

#[test]
fn requests_that_two_read_differently_are_refused() {
    let proxy = alone();
    let body = r#"{"connect_timeout": "7s"}"#;
    let json = "Content-Type: application/json\r\n";
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    for (fields, body) in [
        (format!("{json}Transfer-Encoding: chunked\r\n"), chunked.as_str()),
        (format!("{json}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), &chunked),
        (format!("{json}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), &chunked),
        (format!("{json}Transfer-Encoding: xchunked\r\n"), &chunked),
        (format!("{json}Transfer-Encoding: chunked, identity\r\n"), &chunked),
        (format!("{json}Transfer-Encoding : chunked\r\n"), &chunked),
        (format!("{json}Transfer-Encoding:\x0bchunked\r\n"), &chunked),
        (format!("{json}Content-Length: {length}\r\nContent-Length: 0\r\n"), body),
        (format!("{json}Content-Length: +{length}\r\n"), body),
        (format!("{json}Content-Length: {length}, {length}\r\n"), body),
        (format!("{json}Content-Length: 0x{length:x}\r\n"), body),
        (format!("{json}Content-Length: -1\r\n"), body),
        (format!("{json}Host: other\r\nContent-Length: {length}\r\n"), body),
        (format!("{json} folded: x\r\nContent-Length: {length}\r\n"), body),
    ] {
        let status = ask(&proxy, &format!("PATCH {CHANGE}"), &fields, body);
        assert!(status.is_none_or(|it| (400..500).contains(&it)), "{fields}: {status:?}");
    }
    assert_eq!(timeout(&proxy), "10s", "nothing was done");
    let good = format!("{json}Content-Length: {length}\r\n");
    assert_eq!(ask(&proxy, &format!("PATCH {CHANGE}"), &good, body), Some(200));
    assert_eq!(timeout(&proxy), "7s");
}

#[test]
fn a_second_request_behind_the_first_is_not_looked_at() {
    let proxy = alone();
    let change = manager(&proxy).request("PATCH", CHANGE, "application/json", "{}");
    let change = change.replace("Content-Length: 2\r\n\r\n{}", &{
        let body = r#"{"connect_timeout": "7s"}"#;
        format!("Content-Length: {}\r\n\r\n{body}", body.len())
    });
    let first = manager(&proxy).request("GET", CHANGE, "", "");
    let both = raw(proxy.http, format!("{first}{change}").as_bytes());
    assert_eq!(both.expect("the first is answered").status, 200);
    let first = first.replace("\r\n\r\n", &format!("\r\nContent-Length: {}\r\n\r\n", change.len()));
    let swallowed = raw(proxy.http, format!("{first}{change}").as_bytes());
    assert_eq!(swallowed.expect("the first is answered").status, 200);
    assert_eq!(timeout(&proxy), "10s");
}

#[test]
fn heads_and_bodies_have_limits() {
    let proxy = alone();
    let cases = [
        (format!("X-Long: {}\r\n", "x".repeat(20_000)), String::new()),
        ("X-Many: x\r\n".repeat(100), String::new()),
        (format!("Cookie: {}\r\n", "a=b; ".repeat(10_000)), String::new()),
        ("Content-Type: application/json\r\nContent-Length: 70000\r\n".into(), "x".repeat(70_000)),
        ("Content-Type: application/json\r\nContent-Length: 99999999999\r\n".into(), "x".into()),
    ];
    for (fields, body) in cases {
        let status = ask(&proxy, &format!("PATCH {CHANGE}"), &fields, &body);
        let shown = &fields[..fields.len().min(60)];
        assert!(status.is_none_or(|it| (400..500).contains(&it)), "{shown}: {status:?}");
    }
    let long = format!("GET /api/v1/{}", "x".repeat(20_000));
    let status = ask(&proxy, &long, "", "");
    assert!(status.is_none_or(|it| (400..500).contains(&it)), "{status:?}");
    assert_eq!(manager(&proxy).get("/api/v1/clusters").status, 200);
}

#[test]
fn paths_with_tricks_lead_nowhere() {
    let proxy = alone();
    for path in [
        "/api/v1/../v1/clusters",
        "/api/v1/%2e%2e/v1/clusters",
        "/api//v1/clusters",
        "/api/v1/clusters/",
        "/api/v1/clusters/%00",
        "/api/v1/clusters/%",
        "/api/v1/clusters/%ff",
        "/api/v1/clusters/a%0d%0aSet-Cookie:%20x=y",
        "/api/v1/clusters;/x",
        "/API/v1/clusters",
        "/assets/../api/v1/clusters",
        "/assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "*",
        "http://other/api/v1/nothing",
    ] {
        let status = ask(&proxy, &format!("GET {path}"), "", "");
        assert!(matches!(status, Some(400 | 404)), "{path}: {status:?}");
    }
    for line in ["GET", "GET /", "get /api/v1/clusters", "CONNECT odp:1", "TRACE /api/v1/clusters"]
    {
        let status = ask(&proxy, line, "", "");
        assert!(status.is_none_or(|it| it >= 300), "{line}: {status:?}");
    }
}

#[test]
fn what_is_sent_back_is_never_a_page_or_a_field() {
    let proxy = alone();
    let script = "/api/v1/clusters/%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let answer = manager(&proxy).get(script);
    assert_eq!(answer.status, 404);
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("x-frame-options"), Some("DENY"));
    let policy = answer.field("content-security-policy").expect("one");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
}

/// Whoever is slow loses his connection, and nobody else does.
#[test]
fn the_slow_are_hung_up_on() {
    let proxy = alone();
    let open = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.http)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.write_all(bytes).expect("it reads");
        stream
    };
    let head =
        format!("PATCH {CHANGE} HTTP/1.1\r\nHost: odp\r\nAuthorization: Bearer {MANAGER}\r\n");
    let body = format!("{head}Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{{");
    let mut slow: Vec<_> = (0..50).map(|_| open(head.as_bytes())).collect();
    slow.push(open(body.as_bytes()));
    slow.push(open(b""));
    assert_eq!(manager(&proxy).get("/api/v1/clusters").status, 200, "others are served");
    for stream in &mut slow {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the end, in time");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.contains(" 408 "), "{answer}");
    }
    assert_eq!(timeout(&proxy), "10s");
    until("an answer", || (proxy.http_status("/readyz") == Some(200)).then_some(()));
}

/// So many connections are kept at most, and each of the slow for seconds.
#[test]
fn a_flood_of_connections_takes_nothing_from_others() {
    const MANY: usize = 2000;
    if !may_look_into_proxies() {
        return;
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most.min(8192), most).expect("below what we may");
    let proxy = alone();
    let files = format!("/proc/{}/fd", proxy.pid());
    let open_files = || std::fs::read_dir(&files).expect("it lives").count();
    let before = open_files();
    // What its start needed may be closed by then.
    let more = || open_files().saturating_sub(before);
    let open = |_| TcpStream::connect(("127.0.0.1", proxy.http)).expect("it listens");
    let flood: Vec<TcpStream> = (0..MANY).map(open).collect();
    let mut highest = 0;
    until("as many as are kept", || {
        highest = highest.max(more());
        (highest >= 1000).then_some(())
    });
    proxy.admin().expect("operators are let in").run("SHOW PROXYSTAT");
    TcpStream::connect(("127.0.0.1", proxy.sql)).expect("so are clients");
    for mut stream in &flood {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        assert!(stream.read(&mut [0]).is_ok(), "it is hung up on");
        highest = highest.max(more());
    }
    assert!(highest < 1200, "{highest} at once");
    assert_eq!(manager(&proxy).get("/api/v1/clusters").status, 200);
}

#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    let proxy = alone();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n\r\n",
        &[0xFF; 5000],
    ] {
        let answer = raw(proxy.http, &[bytes, b"\r\n\r\n"].concat());
        assert!(answer.as_ref().is_none_or(|it| it.status >= 300), "{bytes:?}: {answer:?}");
    }
    assert_eq!(manager(&proxy).get("/api/v1/clusters").status, 200);
}
