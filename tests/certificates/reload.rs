//! Certificates are replaced while sessions go on: by SIGHUP, by ALTER PROXYCONFIG, by a restart.

use mysql_async::prelude::Queryable as _;

use crate::scene::{Certificates, connect, hang_up, options, s_client};
use crate::support::{Database, Proxy, Server, Wire};

/// The value of a parameter.
fn value(admin: &mut Wire, name: &str) -> String {
    let rows = admin.query(&format!("SHOW PROXYCONFIG LIKE '{name}'")).named_rows();
    rows[0]["value"].clone()
}

fn alter(admin: &mut Wire, changes: &str) -> Result<(), String> {
    let reply = admin.query(&format!("ALTER PROXYCONFIG SET {changes}"));
    match reply.error() {
        None => Ok(()),
        Some(code) => {
            Err(format!("{code} {}", String::from_utf8_lossy(&reply.last().payload).into_owned()))
        }
    }
}

#[tokio::test]
async fn sighup_replaces_a_certificate_and_living_sessions_keep_theirs() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let mut certificates = Certificates::new();
    let old = certificates.trusted();
    let proxy =
        Proxy::start_with(&options(Some(&database), &certificates.section("client", "require")));
    let mut session = connect(proxy.sql, old.clone()).await.expect("a session");
    session.query_drop("SET @before = 7").await.expect("a statement");
    let remembered = certificates.write("session", "");
    let remembered = remembered.to_str().expect("a path of ours");
    let Some(first) = s_client(proxy.sql, &["-tls1_2", "-sess_out", remembered]) else { return };
    assert!(first.contains(certificates.pki.server.trim()), "{first}");
    let again = s_client(proxy.sql, &["-tls1_2", "-sess_in", remembered]).expect("as before");
    assert!(again.contains("Reused, TLSv1.2"), "{again}");

    certificates.replace();
    hang_up(&proxy, "config reloaded");
    let shown = s_client(proxy.sql, &["-tls1_2", "-sess_in", remembered]).expect("as before");
    assert!(shown.contains("New, TLSv1.2"), "an old ticket is worth a full handshake: {shown}");
    assert!(shown.contains(certificates.pki.server.trim()), "{shown}");
    let kept: Option<i32> = session.query_first("SELECT @before").await.expect("it lives");
    assert_eq!(kept, Some(7));
    connect(proxy.sql, old).await.expect_err("the old CA has not signed the new certificate");
    connect(proxy.sql, certificates.trusted()).await.expect("the new one has");

    // A bad file: everything stays, and the log says which and why.
    let key = certificates.files.server_key.clone();
    std::fs::write(&key, "nothing").expect("ours");
    hang_up(&proxy, "config not reloaded");
    let said = format!("tls.client.key {}: no key in it, expected PEM", key.display());
    assert!(proxy.log().contains(&said), "{}", proxy.log());
    let mut fresh = connect(proxy.sql, certificates.trusted()).await.expect("as before");
    fresh.query_drop("DO 1").await.expect("a statement");
    let kept: Option<i32> = session.query_first("SELECT @before").await.expect("it lives");
    assert_eq!(kept, Some(7));
}

#[tokio::test]
async fn altered_tls_is_in_force_at_once_and_after_restarts_while_its_files_are_there() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let certificates = Certificates::new();
    let proxy = Proxy::start_with(&options(Some(&database), ""));
    let mut admin = proxy.admin().expect("an operator");
    let files = &certificates.files;
    let (certificate, key) = (files.server.display(), files.server_key.display());
    let on = |certificate: &dyn std::fmt::Display| {
        let files = format!("tls_client_certificate='{certificate}', tls_client_key='{key}'");
        format!("enable_client_ssl='true', {files}")
    };
    let cases = [
        (on(&"/nowhere.pem"), "1105 ", "tls.client.certificate /nowhere.pem: No such file"),
        (on(&files.client.display()), "1105 ", "it is not the key of the certificate"),
        ("tls_client_mode = 'require'".into(), "1231 ", "tls.client.certificate: expected one"),
        ("tls_server_mode = 'sometimes'".into(), "1231 ", "expected one of `off`, `prefer`"),
        ("tls_admin_ca = 'ca.pem'".into(), "1231 ", "expected an absolute path"),
    ];
    for (changes, code, text) in cases {
        let error = alter(&mut admin, &changes).expect_err(&changes);
        assert!(error.starts_with(code) && error.contains(text), "{changes}: {error}");
        assert_eq!(value(&mut admin, "tls_client_mode"), "off", "nothing has changed");
        assert_eq!(value(&mut admin, "tls_client_certificate"), "");
    }
    connect(proxy.sql, certificates.trusted()).await.expect_err("TLS is off still");

    alter(&mut admin, &on(&certificate)).expect("good files");
    assert_eq!(value(&mut admin, "tls_client_mode"), "prefer");
    let mut session = connect(proxy.sql, certificates.trusted()).await.expect("TLS is on");
    // What has nothing to do with TLS does not read its files.
    std::fs::rename(&files.server, certificates.write("hidden", "")).expect("ours");
    alter(&mut admin, "client_max_connections = '77'").expect("a number");
    let error = alter(&mut admin, "tls_client_mode = 'require'").expect_err("the file is away");
    assert!(error.contains("No such file"), "{error}");
    std::fs::write(&files.server, &certificates.pki.server).expect("ours");
    // A reload keeps what was altered, as the file says nothing new about it.
    hang_up(&proxy, "config reloaded");
    assert_eq!(value(&mut admin, "client_max_connections"), "77");
    assert_eq!(value(&mut admin, "enable_client_ssl"), "true");

    proxy.restart();
    let mut admin = proxy.admin().expect("an operator");
    assert_eq!(value(&mut admin, "tls_client_mode"), "prefer");
    assert_eq!(value(&mut admin, "tls_client_key"), key.to_string());
    session.query_drop("DO 1").await.expect("it has moved");
    connect(proxy.sql, certificates.trusted()).await.expect("TLS is on in the successor");

    // Files that are gone: the file's word counts, and the session lives on.
    std::fs::remove_file(&files.server).expect("ours");
    proxy.restart();
    let said = format!(
        "altered parameter not kept name=\"tls_client_certificate\" \
         error=\"tls.client.certificate {certificate}"
    );
    assert!(proxy.log().contains(&said), "{}", proxy.log());
    let mut admin = proxy.admin().expect("an operator");
    assert_eq!(value(&mut admin, "tls_client_mode"), "off");
    assert_eq!(value(&mut admin, "client_max_connections"), "77", "the others are kept");
    connect(proxy.sql, certificates.trusted()).await.expect_err("TLS is off");
    session.query_drop("DO 1").await.expect("it has moved");
}

/// What the file says anew wins over what was altered; what it does not touch stays.
#[test]
fn a_file_that_says_something_new_wins_at_sighup() {
    let proxy = Proxy::start_with(&options(None, ""));
    let mut admin = proxy.admin().expect("an operator");
    alter(&mut admin, "login_timeout = '7s', connect_timeout = '8s'").expect("durations");
    let text = std::fs::read_to_string(proxy.config()).expect("its config");
    let text = text.replace("[proxy]\n", "[proxy]\nlogin_timeout = \"9s\"\n");
    std::fs::write(proxy.config(), text).expect("ours");
    hang_up(&proxy, "config reloaded");
    assert_eq!(value(&mut admin, "login_timeout"), "9s");
    assert_eq!(value(&mut admin, "connect_timeout"), "8s");
    hang_up(&proxy, "config reloaded");
    assert_eq!(value(&mut admin, "login_timeout"), "9s");
}
