//! MariaDB's recipe for certificates: by `openssl x509 -req`, without extensions, which makes X.509
//! version 1. For the servers, for the proxy itself, and for clients.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scene::{odp, options};
use crate::support::database::PASSWORD;
use crate::support::{Database, Login, Proxy, Server, Wire, scratch, skip};

/// Runs openssl; None where there is none.
fn openssl(dir: &Path, arguments: &str) -> Option<()> {
    let output = Command::new("openssl").current_dir(dir).args(arguments.split(' ')).output();
    let Ok(output) = output else {
        skip("openssl is not installed");
        return None;
    };
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

/// A CA, and a server's certificate by it; False: as newer versions of openssl make it.
fn follow(dir: &Path) -> Option<bool> {
    openssl(dir, "genrsa -out ca-key.pem 2048")?;
    openssl(dir, "req -new -x509 -nodes -days 365 -key ca-key.pem -out ca.pem -subj /CN=MyCA")?;
    issue(dir, "server", 1)?;
    let shown = Command::new("openssl")
        .current_dir(dir)
        .args(["x509", "-in", "server-cert.pem", "-noout", "-text"])
        .output()
        .expect("it was there a moment ago");
    Some(String::from_utf8_lossy(&shown.stdout).contains("Version: 1 "))
}

/// A certificate by that CA.
fn issue(dir: &Path, whose: &str, serial: u32) -> Option<()> {
    let request = format!(
        "req -newkey rsa:2048 -nodes -keyout {whose}-key.pem -out {whose}-req.pem -subj /CN={whose}"
    );
    openssl(dir, &request)?;
    let sign = format!(
        "x509 -req -in {whose}-req.pem -days 365 -CA ca.pem -CAkey ca-key.pem -set_serial {serial} \
         -out {whose}-cert.pem"
    );
    openssl(dir, &sign)
}

fn text_of(dir: &Path, name: &str) -> String {
    let path: PathBuf = dir.join(name);
    path.display().to_string()
}

#[test]
fn servers_with_certificates_by_mariadbs_recipe_are_reached() {
    let dir = scratch();
    let Some(is_version_1) = follow(dir.path()) else { return };
    if !is_version_1 {
        return skip("openssl makes version 3 by default");
    }
    let file = |name: &str| text_of(dir.path(), name);
    let (ca, certificate, key) = (file("ca.pem"), file("server-cert.pem"), file("server-key.pem"));
    let of_server =
        [format!("--ssl-ca={ca}"), format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")];
    let of_server = of_server.each_ref().map(String::as_str);
    let Some(database) = Database::start_with(Server::MariaDb, &of_server) else { return };
    // The proxy shows the same to its clients.
    let own = format!(
        "[tls.client]\nmode = \"prefer\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
    );
    for (mode, expected) in
        [("prefer", None), ("require", None), ("verify-ca", None), ("verify-identity", Some(2003))]
    {
        let server = format!("[tls.server]\nmode = \"{mode}\"\nca = \"{ca}\"\n{own}");
        let proxy = Proxy::start_with(&options(Some(&database), &server));
        for tls in [false, true] {
            let opened = Wire::open(&proxy.address(), &Login { tls, ..Login::default() });
            let code = opened.as_ref().err().and_then(|error| error.code());
            assert_eq!(code, expected, "{mode}\n{}", proxy.log());
            let Ok(mut wire) = opened else { continue };
            assert_ne!(wire.run("SHOW STATUS LIKE 'Ssl_cipher'").rows()[0][1], Some(Vec::new()));
        }
        let named = proxy.log().contains("of X.509 version 1, which has no names");
        assert_eq!(named, expected.is_some(), "{}", proxy.log());
    }
}

#[test]
fn check_names_certificates_of_version_1() {
    let dir = scratch();
    let Some(is_version_1) = follow(dir.path()) else { return };
    if !is_version_1 {
        return skip("openssl makes version 3 by default");
    }
    let file = |name: &str| text_of(dir.path(), name);
    let (certificate, key) = (file("server-cert.pem"), file("server-key.pem"));
    let sections = format!(
        "[tls.client]\nmode = \"prefer\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n\
         [tls.server]\nmode = \"verify-identity\"\nca = \"{certificate}\"\n"
    );
    let proxy = Proxy::start_with(&options(None, &sections));
    let (code, said, errors) = odp(&["check", "-c"], &[&proxy.config()]);
    assert_eq!(code, Some(0), "{said}{errors}");
    for (key, what) in [
        ("tls.client.certificate", "some peers refuse"),
        ("tls.server.ca", "has no names: verify-identity refuses it"),
    ] {
        let expected = format!("warning: {key} {certificate}: of X.509 version 1, which {what}");
        assert!(errors.contains(&expected), "{errors}\n{expected}");
    }
}

#[test]
fn clients_with_certificates_by_mariadbs_recipe_are_let_in() {
    let (dir, stranger) = (scratch(), scratch());
    for dir in [&dir, &stranger] {
        match follow(dir.path()) {
            None => return,
            Some(false) => return skip("openssl makes version 3 by default"),
            Some(true) => {}
        }
        issue(dir.path(), "client", 2).expect("openssl is there");
    }
    if !Path::new("/usr/bin/mariadb").exists() {
        return skip("the command line of MariaDb is not to be had here");
    }
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let file = |name: &str| text_of(dir.path(), name);
    let section = format!(
        "[tls.client]\nmode = \"require\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
         ca = \"{}\"\nverify_client = \"require\"\n",
        file("server-cert.pem"),
        file("server-key.pem"),
        file("ca.pem")
    );
    let proxy = Proxy::start_with(&options(Some(&database), &section));
    for version in ["TLSv1.2", "TLSv1.3"] {
        for (whose, is_good) in [(Some(&dir), true), (Some(&stranger), false), (None, false)] {
            let mut client = Command::new("/usr/bin/mariadb");
            client.args(["--no-defaults", "-h127.0.0.1", "-uodp", "--ssl"]);
            client.args([format!("-P{}", proxy.sql), format!("-p{PASSWORD}")]);
            client.arg(format!("--tls-version={version}"));
            for (option, name) in [("cert", "client-cert.pem"), ("key", "client-key.pem")] {
                let path = whose.map(|dir| text_of(dir.path(), name));
                client.args(path.map(|path| format!("--ssl-{option}={path}")));
            }
            let output = client.args(["-Ne", "SELECT 'let in'"]).output().expect("it runs");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let about = format!("{version} {is_good}: {said}\n{}", proxy.log());
            assert_eq!(said.contains("let in"), is_good, "{about}");
            assert_eq!(output.status.success(), is_good, "{about}");
        }
    }
}
