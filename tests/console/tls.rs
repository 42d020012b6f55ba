//! The HTTP port by TLS, and behind somebody who speaks it.

use std::net::TcpStream;

use crate::scene::{Person, try_log_in, with};
use crate::support::http::Asker;
use crate::support::pki::Pki;
use crate::support::proxy::{ADMIN_PASSWORD, Options};
use crate::support::socket::Socket;
use crate::support::{Proxy, scratch};

fn by_tls(proxy: &Proxy, request: &str) -> String {
    let stream = TcpStream::connect(("127.0.0.1", proxy.http)).expect("it listens");
    let mut socket = Socket::Tcp(stream).into_tls(false).expect("it speaks TLS");
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = socket.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn form(port: u16) -> String {
    let body = format!("user=root&password={ADMIN_PASSWORD}");
    format!(
        "POST /login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn by_tls_the_cookie_is_for_tls_only() {
    let dir = scratch();
    let files = Pki::new().write(dir.path());
    let (certificate, key) = (files.server.display(), files.server_key.display());
    let proxy = with(&format!(
        "[tls.console]\nmode = \"prefer\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
    ));
    let log_in = || {
        let answer = by_tls(&proxy, &form(proxy.http));
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        assert!(answer.contains("; Secure"), "{answer}");
    };
    log_in();
    assert_eq!(proxy.http_status("/readyz"), Some(200));
    let mut admin = proxy.admin().expect("admin");
    admin.run("ALTER PROXYCONFIG SET tls_console_mode = 'require'");
    log_in();
    assert_eq!(proxy.http_status("/readyz"), None);
}

#[test]
fn off_this_machine_a_password_that_comes_without_tls_is_not_looked_at() {
    let dir = scratch();
    let files = Pki::new().write(dir.path());
    let (certificate, key) = (files.server.display(), files.server_key.display());
    let mut options = Options::new(&["127.0.0.1:1".to_owned()]);
    options.rest = format!(
        "[console]\nenabled = true\n[tls.console]\nmode = \"prefer\"\n\
         certificate = \"{certificate}\"\nkey = \"{key}\"\n"
    );
    let mut proxy = Proxy::start_with(&options);
    let text = std::fs::read_to_string(proxy.config()).expect("a config");
    let [here, anywhere] = ["127.0.0.1", "0.0.0.0"].map(|it| format!("\"{it}:{}\"", proxy.http));
    std::fs::write(proxy.config(), text.replace(&here, &anywhere)).expect("ours");
    proxy.start_again(&options, &[]).expect("it starts");
    for password in [ADMIN_PASSWORD, "guess"] {
        let answer = try_log_in(&proxy, "root", password);
        assert_eq!((answer.status, answer.field("set-cookie")), (403, None), "{answer:?}");
        assert!(answer.body.contains("by TLS only"), "{answer:?}");
    }
    let nobody = Asker::nobody(&proxy);
    for path in ["/login", "/clusters", "/api/v1/clusters", "/assets/nothing"] {
        assert_eq!(nobody.get(path).status, 403, "{path}");
    }
    let claims = nobody.with("X-Forwarded-Proto", "https");
    assert_eq!(claims.get("/login").status, 403, "nobody stands in front of it");
    assert_eq!(proxy.http_status("/readyz"), Some(200), "figures and health are open");
    let answer = by_tls(&proxy, &form(proxy.http));
    assert!(answer.starts_with("HTTP/1.1 303") && answer.contains("; Secure"), "{answer}");
    let audit = std::fs::read_to_string(proxy.state_dir().join("audit.log")).expect("the audit");
    assert_eq!(audit.matches("LOG IN").count(), 1, "{audit}");
}

#[test]
fn behind_a_proxy_who_asks_is_who_it_says() {
    let proxy = with("behind_proxy = true");
    let behind = |address: &str| {
        Asker::nobody(&proxy)
            .with("X-Forwarded-For", &format!("spoofed, {address}"))
            .with("X-Forwarded-Proto", "https")
    };
    let wrong = "user=root&password=guess";
    let right = format!("user=root&password={ADMIN_PASSWORD}");
    while behind("10.1.1.1").form("/login", wrong).status != 429 {}
    let answer = behind("10.2.2.2").form("/login", &right);
    assert_eq!(answer.status, 303, "others do not wait: {answer:?}");
    assert!(answer.field("set-cookie").is_some_and(|it| it.contains("; Secure")));
    let person = Person::log_in(&proxy, "root");
    assert!(person.see("/audit").contains("10.1.1.1"));
    assert_eq!(try_log_in(&proxy, "root", ADMIN_PASSWORD).status, 303);
}
