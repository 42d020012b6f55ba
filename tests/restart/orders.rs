//! What operators order of one generation while two live counts for both.

use nix::sys::signal::Signal;

use crate::scene::{signal_pid, until_said};
use crate::support::proxy::Options;
use crate::support::{Database, Login, Proxy, Server, Wire, until};

/// Waits until a parameter has this value.
fn until_shown(admin: &mut Wire, name: &str, value: &str) {
    let question = format!("SHOW PROXYCONFIG LIKE '{name}'");
    until(&format!("{name} = {value}"), || {
        let rows = admin.query(&question).named_rows();
        (rows[0]["value"] == value).then_some(())
    });
}

#[test]
fn alterations_and_reloads_reach_both_generations() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let mut options = Options::new(&[database.address()]);
    options.proxy =
        "session_handover = false\nhot_upgrade_exit_timeout = \"1h\"\nlogin_timeout = \"20s\"\n"
            .into();
    let proxy = Proxy::start_with(&options);
    let straggler = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    let mut old = proxy.admin().expect("an operator who stays");
    old.run("ALTER PROXYCONFIG SET connect_timeout = '1s'");
    signal_pid(proxy.pid(), Signal::SIGUSR2);
    until_said(&proxy, "state=DRAINING", 0);
    let mut new = proxy.admin().expect("an operator who comes");
    until_shown(&mut new, "connect_timeout", "1s");

    old.run("ALTER PROXYCONFIG SET connect_timeout = '2s'");
    until_shown(&mut new, "connect_timeout", "2s");
    new.run("ALTER PROXYCONFIG SET connect_timeout = '3s'");
    until_shown(&mut old, "connect_timeout", "3s");

    let text = std::fs::read_to_string(proxy.config()).expect("the config");
    let text = text.replace("login_timeout = \"20s\"", "login_timeout = \"21s\"");
    std::fs::write(proxy.config(), text).expect("the directory is ours");
    signal_pid(proxy.process().pid(), Signal::SIGHUP);
    until_shown(&mut new, "login_timeout", "21s");
    // What was altered stands as long as the file says nothing new about it.
    until_shown(&mut new, "connect_timeout", "3s");
    drop(straggler);
    assert!(proxy.process().wait().success());
    until_shown(&mut new, "login_timeout", "21s");
}
