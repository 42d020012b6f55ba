//! The oldest version of TLS that each leg takes.

use crate::scene::{Certificates, options, s_client};
use crate::support::{Database, Login, Proxy, Server, Wire};

#[test]
fn clients_speak_no_older_version_than_they_may() {
    let certificates = Certificates::new();
    let Some(database) = Database::start(Server::MariaDb) else { return };
    for (oldest, taken) in [("1.2", ["TLSv1.2", "TLSv1.3"]), ("1.3", ["(NONE)", "TLSv1.3"])] {
        let section = certificates.section("client", "require");
        let sections = format!("{section}min_version = \"{oldest}\"\n");
        let proxy = Proxy::start_with(&options(Some(&database), &sections));
        for (version, expected) in ["-tls1_2", "-tls1_3"].into_iter().zip(taken) {
            let Some(shown) = s_client(proxy.sql, &[version]) else { return };
            assert!(shown.contains(&format!("New, {expected}")), "{oldest}, {version}: {shown}");
        }
    }
}

#[test]
fn servers_speak_no_older_version_than_they_may() {
    let certificates = Certificates::new();
    let old = certificates.files.of_server();
    let mut old: Vec<&str> = old.iter().map(String::as_str).collect();
    old.push("--tls-version=TLSv1.2");
    let Some(database) = Database::start_with(Server::MariaDb, &old) else { return };
    for (oldest, is_taken) in [("1.2", true), ("1.3", false)] {
        let sections = format!("[tls.server]\nmode = \"require\"\nmin_version = \"{oldest}\"\n");
        let proxy = Proxy::start_with(&options(Some(&database), &sections));
        match (Wire::open(&proxy.address(), &Login::default()), is_taken) {
            (Ok(mut client), true) => {
                let status = client.run("SHOW STATUS LIKE 'Ssl_version'").named_rows();
                assert_eq!(status[0]["Value"], "TLSv1.2");
            }
            (Err(error), false) => {
                assert_eq!(error.code(), Some(2003), "{error:?}");
                assert!(proxy.log().contains("ProtocolVersion"), "{}", proxy.log());
            }
            (result, _) => panic!("{oldest}: {:?}", result.map(drop)),
        }
    }
}
