//! What is wrong with a key or a certificate is said before anything depends on it.

use std::os::unix::fs::PermissionsExt as _;

use crate::scene::{Certificates, odp, options};
use crate::support::Proxy;
use crate::support::proxy::config_text;

#[test]
fn check_names_the_file_and_its_fault() {
    let certificates = Certificates::new();
    let files = &certificates.files;
    let pki = &certificates.pki;
    let encrypted = pki.server_key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cut = &pki.server[..pki.server.len() - 30];
    let vast = "x".repeat(2 << 20);
    let fifo = certificates.write("fifo", "");
    std::fs::remove_file(&fifo).expect("ours");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let cases = [
        ("client", "certificate", "/nowhere.pem".into(), "No such file"),
        ("client", "certificate", certificates.write("empty", ""), "no certificate in it"),
        ("admin", "certificate", certificates.write("cut", cut), "cut off, expected END CERT"),
        ("admin", "key", certificates.write("locked", &encrypted), "the key has a password"),
        ("client", "key", files.client_key.clone(), "it is not the key of the certificate"),
        ("client", "certificate", "/dev/zero".into(), "expected a regular file"),
        ("client", "key", fifo, "expected a regular file"),
        ("client", "certificate", certificates.write("vast", &vast), "expected at most 1048576"),
        ("client", "key", files.server.clone(), "a certificate, expected its private key"),
    ];
    let dir = crate::support::scratch();
    let config = dir.path().join("odp.toml");
    let check = |sections: &str| {
        let text = config_text(dir.path(), [2883, 2885, 2884], &options(None, sections));
        std::fs::write(&config, text).expect("ours");
        odp(&["check", "-c"], &[&config])
    };
    let (code, said, errors) = check(&certificates.section("client", "prefer"));
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    for (port, key, path, fault) in cases {
        let section = certificates.section(port, "prefer");
        let before = if key == "key" { &files.server_key } else { &files.server };
        let line = |path: &std::path::Path| format!("\n{key} = \"{}\"", path.display());
        let section = section.replace(&line(before), &line(&path));
        let (code, _, errors) = check(&section);
        let text = std::fs::read_to_string(&config).expect("ours");
        let at = text.lines().position(|it| it == line(&path).trim()).expect("it is there") + 1;
        let column = format!("{key} = ").len() + 1;
        let expected = format!(
            "config {}: line {at}, column {column}: tls.{port}.{key} {}: ",
            config.display(),
            path.display()
        );
        assert_eq!(code, Some(1), "{errors}");
        assert!(
            errors.contains(&expected) && errors.contains(fault),
            "{errors}\n{expected}{fault}"
        );
    }
    let server =
        format!("[tls.server]\nmode = \"verify-ca\"\nca = \"{}\"\n", files.server_key.display());
    let (code, _, errors) = check(&server);
    assert_eq!(code, Some(1), "{errors}");
    assert!(
        errors.contains("tls.server.ca ") && errors.contains("no certificate in it"),
        "{errors}"
    );
}

#[test]
fn what_is_only_unwise_is_a_warning() {
    let certificates = Certificates::new();
    let key = &certificates.files.server_key;
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let proxy = Proxy::start_with(&options(None, &certificates.section("client", "prefer")));
    let warning = format!("tls.client.key {}: others may read it", key.display());
    assert!(proxy.log().contains(&warning), "{}", proxy.log());
    let (code, said, errors) = odp(&["check", "-c"], &[&proxy.config()]);
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(errors.contains(&format!("warning: {warning}")), "{errors}");
}

#[test]
fn a_restart_into_a_bad_certificate_is_refused_and_nothing_happens() {
    let certificates = Certificates::new();
    let proxy = Proxy::start_with(&options(None, &certificates.section("client", "prefer")));
    let pid = proxy.pid();
    std::fs::write(&certificates.files.server, "nothing").expect("ours");
    let reply = proxy.admin().expect("an operator").query("RESTART");
    assert_eq!(reply.error(), Some(1105));
    let said = String::from_utf8_lossy(&reply.last().payload).into_owned();
    let expected = format!("tls.client.certificate {}", certificates.files.server.display());
    assert!(said.contains(&expected) && said.contains("no certificate in it"), "{said}");
    assert_eq!(proxy.process().living(), [pid]);
}
