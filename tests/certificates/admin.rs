//! The admin port by TLS, and our own clients of it.

use std::path::Path;

use mysql_async::prelude::Queryable as _;

use crate::scene::{Certificates, odp, operate, options};
use crate::support::proxy::ADMIN_PASSWORD;
use crate::support::{Database, Login, Proxy, Server, Wire};

fn operator(user: &str) -> Login {
    let (user, password) = (user.into(), ADMIN_PASSWORD.into());
    Login { user, password, database: None, ..Login::default() }
}

#[tokio::test]
async fn an_operator_may_or_must_speak_tls() {
    for mode in ["off", "prefer", "require"] {
        let certificates = Certificates::new();
        let proxy = Proxy::start_with(&options(None, &certificates.section("admin", mode)));
        let plain = Wire::open(&proxy.admin_address(), &operator("root"));
        let code = plain.err().and_then(|error| error.code());
        assert_eq!(code, (mode == "require").then_some(3159), "{mode}");
        let by_tls = operate(proxy.admin, "root", certificates.trusted()).await;
        assert_eq!(by_tls.is_ok(), mode != "off", "{mode}: {:?}", by_tls.err());
        let Ok(mut admin) = by_tls else { continue };
        let have: Option<(String, String)> =
            admin.query_first("SHOW VARIABLES LIKE 'have_ssl'").await.expect("a row");
        assert_eq!(have, Some(("have_ssl".into(), "YES".into())));
        // More than one record, and rows enough for more than one write.
        let rows: Vec<mysql_async::Row> = admin.query("SHOW PROXYCONFIG").await.expect("rows");
        assert!(rows.len() > 30, "{}", rows.len());
        let wrong = Certificates::new().trusted();
        operate(proxy.admin, "root", wrong).await.expect_err("another CA");
        admin.disconnect().await.expect("it ends in order");
    }
}

#[tokio::test]
async fn what_the_admin_port_requires_holds_on_the_clients_port() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let certificates = Certificates::new();
    let sections =
        [certificates.section("client", "prefer"), certificates.section("admin", "require")];
    let proxy = Proxy::start_with(&options(Some(&database), &sections.concat()));
    let plain = Wire::open(&proxy.address(), &operator("root@proxysys"));
    assert_eq!(plain.err().and_then(|error| error.code()), Some(3159));
    let mut admin =
        operate(proxy.sql, "root@proxysys", certificates.trusted()).await.expect("it speaks TLS");
    admin.query_drop("PING PROXY").await.expect("an answer");
    drop(admin);
    // Everybody else may go without.
    Wire::open(&proxy.address(), &Login::default()).expect("a client");
}

#[test]
fn our_clients_speak_tls_with_it_and_restart_it() {
    let certificates = Certificates::new();
    let proxy = Proxy::start_with(&options(None, &certificates.section("admin", "require")));
    let address = proxy.admin_address();
    let status =
        |more: &[&str], paths: &[&Path]| odp(&[&["status", "-a", &address], more].concat(), paths);
    let (code, table, _) = status(&[], &[]);
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("requires TLS (3159)"), "{table}");
    let (code, table, errors) = status(&["--tls"], &[]);
    assert_eq!(code, Some(0), "{table}{errors}");
    let (code, table, errors) = status(&["--ca"], &[&certificates.files.ca]);
    assert_eq!(code, Some(0), "{table}{errors}");
    let (code, table, _) = status(&["--ca"], &[&Certificates::new().files.ca]);
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("UNREACHABLE") && table.contains("certificate"), "{table}");
    // The config says it all.
    let before = proxy.pid();
    let (code, results, errors) = odp(&["restart", "-c"], &[&proxy.config()]);
    assert_eq!(code, Some(0), "{results}{errors}");
    assert_ne!(proxy.pid(), before);
}

#[test]
fn operators_show_a_certificate_where_they_must() {
    let certificates = Certificates::new();
    let files = &certificates.files;
    let verify = format!("verify_client = \"require\"\nca = \"{}\"\n", files.ca.display());
    let section = certificates.section("admin", "require") + &verify;
    let proxy = Proxy::start_with(&options(None, &section));
    let address = proxy.admin_address();
    let status = ["status", "-a", &address, "--tls"];
    let (code, table, _) = odp(&status, &[]);
    assert_eq!(code, Some(1), "{table}");
    let arguments = [&files.client, Path::new("--key"), &files.client_key];
    let (code, table, errors) = odp(&[&status[..], &["--cert"]].concat(), &arguments);
    assert_eq!(code, Some(0), "{table}{errors}");
}

/// The load by TLS on both ports of the proxy, over restarts.
#[test]
fn a_load_by_tls_loses_nothing_in_restarts() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let certificates = Certificates::new();
    let sections =
        [certificates.section("client", "require"), certificates.section("admin", "require")];
    let proxy = Proxy::start_with(&options(Some(&database), &sections.concat()));
    let password = crate::support::database::PASSWORD;
    let url = format!("mysql://odp:{password}@{}/p?require_ssl=true", proxy.address());
    let load = [
        "load",
        "--connections=16",
        "--duration=3s",
        "--restart-every=1s",
        "--admin-tls",
        "--url",
        &url,
        "-a",
        &proxy.admin_address(),
        "--ca",
    ];
    let (code, results, errors) = odp(&load, &[&certificates.files.ca]);
    assert_eq!(code, Some(0), "{results}{errors}\n{}", proxy.log());
    assert!(results.contains("NOTHING WAS LOST"), "{results}");
}
