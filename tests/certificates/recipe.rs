//! MariaDB's recipe for certificates: by `openssl x509 -req`, without extensions, which makes X.509
//! version 1. For the servers, and for the proxy itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scene::{odp, options};
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
    openssl(
        dir,
        "req -newkey rsa:2048 -nodes -keyout server-key.pem -out server-req.pem -subj /CN=server",
    )?;
    openssl(
        dir,
        "x509 -req -in server-req.pem -days 365 -CA ca.pem -CAkey ca-key.pem -set_serial 01 \
         -out server-cert.pem",
    )?;
    let shown = Command::new("openssl")
        .current_dir(dir)
        .args(["x509", "-in", "server-cert.pem", "-noout", "-text"])
        .output()
        .expect("it was there a moment ago");
    Some(String::from_utf8_lossy(&shown.stdout).contains("Version: 1 "))
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
