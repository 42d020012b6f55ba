//! Certificates that show who connects: a client to the proxy, and the proxy to a server.

use std::process::Command;

use crate::scene::{Certificates, options};
use crate::support::database::PASSWORD;
use crate::support::{Database, Login, Proxy, Server, Wire};

fn database(certificates: &Certificates) -> Option<Database> {
    let options = certificates.files.of_server();
    Database::start_with(Server::MariaDb, &options.each_ref().map(String::as_str))
}

#[test]
fn the_proxy_shows_servers_its_certificate() {
    let certificates = Certificates::new();
    let Some(database) = database(&certificates) else { return };
    database.execute(&["CREATE USER known IDENTIFIED BY 'odp-secret' REQUIRE X509"]);
    let files = &certificates.files;
    let (certificate, key) = (files.client.display(), files.client_key.display());
    let mode = "[tls.server]\nmode = \"require\"\n";
    for (shown, expected) in [
        (format!("certificate = \"{certificate}\"\nkey = \"{key}\"\n"), None),
        (String::new(), Some(1045)),
    ] {
        let proxy = Proxy::start_with(&options(Some(&database), &format!("{mode}{shown}")));
        let known = Login { user: "known".into(), database: None, ..Login::default() };
        for _ in 0..2 {
            let session = Wire::open(&proxy.address(), &known);
            let error = session.as_ref().err().and_then(|error| error.code());
            assert_eq!(error, expected, "{shown}");
            let Ok(mut session) = session else { continue };
            assert_eq!(session.run("SELECT 1").text(), "1");
            proxy.restart();
            assert_eq!(session.run("SELECT 2").text(), "2");
        }
    }
}

#[test]
fn clients_show_the_proxy_their_certificate_where_they_must() {
    let certificates = Certificates::new();
    let Some(database) = database(&certificates) else { return };
    let files = &certificates.files;
    let stranger = Certificates::new();
    for (verify, without, with_anothers) in
        [("require", false, false), ("optional", true, false), ("off", true, true)]
    {
        let verify = match verify {
            "off" => String::new(),
            verify => format!("verify_client = \"{verify}\"\nca = \"{}\"\n", files.ca.display()),
        };
        let section = certificates.section("client", "require") + &verify;
        let proxy = Proxy::start_with(&options(Some(&database), &section));
        let query = |identity: &[String]| {
            let mut client = Command::new("mariadb");
            client.args(["--no-defaults", "--host=127.0.0.1", "--user=odp", "--batch"]);
            client.arg(format!("--port={}", proxy.sql)).arg(format!("--password={PASSWORD}"));
            client.arg(format!("--ssl-ca={}", files.ca.display())).args(identity);
            client.args(["-e", "SELECT 'in'"]).output().expect("the client is there").status
        };
        let identity = |of: &Certificates| {
            let (certificate, key) = (of.files.client.display(), of.files.client_key.display());
            [format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")]
        };
        assert!(query(&identity(&certificates)).success(), "{verify}{}", proxy.log());
        assert_eq!(query(&[]).success(), without, "{verify}");
        assert_eq!(query(&identity(&stranger)).success(), with_anothers, "{verify}");
    }
}
