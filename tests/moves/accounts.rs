//! Second log-ins with nobody's password in the config: what the first one has taught.

use crate::scene::{Moved, Scene};
use crate::support::{Login, Server, Wire, until};

/// How servers are reached.
const TLS: &str = "[tls.server]\nmode = \"require\"\n";

fn login(password: &str) -> Login {
    Login { user: "app".into(), password: password.into(), database: None, ..Login::default() }
}

#[test]
fn a_native_account_moves_by_its_hash() {
    let Some(scene) = Scene::start_with_service(Server::MariaDb, "") else { return };
    scene.setup(&["CREATE USER app IDENTIFIED BY 'first'", "GRANT SELECT ON p.* TO app"]);
    let mut client = scene.open(&login("first"));
    client.wire.run("SET @a = 'kept'");
    let from = scene.place(&mut client.wire);
    for place in [1 - from, from] {
        client.move_to(place).expect("the hash and its answer are enough");
        assert_eq!(scene.place(&mut client.wire), place);
        assert_eq!(client.wire.run("SELECT @a").text(), "kept");
    }
    // Another password: what is known of the old one is refused, and the session stays.
    scene.setup(&["SET PASSWORD FOR app = PASSWORD('second')"]);
    let error = client.move_to(1 - from).expect_err("it is the old password");
    assert!(error.contains("refuses the log-in"), "{error}");
    assert_eq!(client.wire.run("SELECT @a").text(), "kept");
    let error = client.move_to(1 - from).expect_err("nothing is known any more");
    assert!(error.contains("no password of user 'app'"), "{error}");
    let told = "no second log-in for the sessions of an account";
    until("operators to be told", || (scene.proxy.log().matches(told).count() == 1).then_some(()));
    let pins = client.attribute("pins");
    assert!(pins.starts_with("no second log-in: no password of user 'app'"), "{pins}");
    // Whoever logs in with it teaches it for all.
    let other = scene.open(&login("second"));
    client.move_to(1 - from).expect("it was learned anew");
    assert_eq!(client.attribute("pins"), "");
    drop(other);
}

/// Nobody but the proxy logs in behind a server's start, and there is TLS to say the password by.
#[test]
fn a_server_that_comes_back_has_the_accounts_of_the_config_in_its_cache() {
    let user = "[[cluster.user]]\nname = \"app\"\npassword = \"first\"\n";
    let sections = format!("{user}{TLS}");
    let Some(mut scene) = Scene::start_with_service(Server::MySql, &sections) else { return };
    scene.setup(&["CREATE USER app IDENTIFIED BY 'first'", "GRANT SELECT ON p.* TO app"]);
    for server in &mut scene.servers {
        server.shut_down();
        server.start_again();
    }
    let count = "SELECT COUNT(*) FROM performance_schema.accounts \
                 WHERE user = 'app' AND total_connections > 0";
    for server in &scene.servers {
        server.until_counted(count);
        let wire = Wire::open(&server.address(), &login("first")).expect("it is let in");
        assert_eq!(wire.login_end.sequence, 3, "without the password itself");
    }
}

/// What every server connection is told first, the client's own and those that follow.
#[test]
fn init_sql_is_run_on_every_connection() {
    let Some(scene) = Scene::start_with_lines("init_sql = \"SET div_precision_increment = 7\"")
    else {
        return;
    };
    let mut client = scene.open(&Login::default());
    assert_eq!(client.wire.run("SELECT 1/3").text(), "0.3333333");
    let from = scene.place(&mut client.wire);
    client.move_to(1 - from).expect("nothing keeps it");
    assert_eq!(client.wire.run("SELECT 1/3").text(), "0.3333333");
    let mut admin = scene.proxy.admin().expect("the proxy takes operators");
    admin.run("ALTER CLUSTER main SET init_sql = 'nonsense'");
    let refused = Wire::open(&scene.proxy.address(), &Login::default()).err();
    assert_eq!(refused.and_then(|error| error.code()), Some(1105));
    // Whether the client may send several at once is its own affair.
    let several = "SET div_precision_increment = 9; SET @x = ''a;b''; ";
    admin.run(&format!("ALTER CLUSTER main SET init_sql = '{several}'"));
    let mut told = scene.open(&Login::default());
    assert_eq!(told.wire.run("SELECT CONCAT(1/3, @x)").text(), "0.333333333a;b");
    admin.run("ALTER CLUSTER main SET init_sql = ''");
    let mut plain = scene.open(&Login::default());
    assert_eq!(plain.wire.run("SELECT 1/3").text(), "0.3333");
}

#[test]
fn an_account_without_a_password_moves() {
    let Some(scene) = Scene::start_with_service(Server::MariaDb, "") else { return };
    scene.setup(&["CREATE USER app", "GRANT SELECT ON p.* TO app"]);
    let mut client = scene.open(&login(""));
    let from = scene.place(&mut client.wire);
    client.move_to(1 - from).expect("there is none to be known");
}

/// Nobody logs in after the restart, so that nothing could be learned anew.
#[test]
fn what_log_ins_taught_crosses_a_restart() {
    let Some(scene) = Scene::start_with_service(Server::MariaDb, "") else { return };
    scene.setup(&["CREATE USER app IDENTIFIED BY 'first'", "GRANT SELECT ON p.* TO app"]);
    let mut client = scene.open(&login("first"));
    client.wire.run("SET @a = 'kept'");
    for _ in 0..2 {
        scene.proxy.restart();
        client = Moved::again(client);
        let from = scene.place(&mut client.wire);
        client.move_to(1 - from).expect("the hash and the answer of before are enough");
        assert_eq!(scene.place(&mut client.wire), 1 - from);
        assert_eq!(client.wire.run("SELECT @a").text(), "kept");
    }
}

/// A client without TLS is given the proxy's key, by which the proxy hears the password.
#[test]
fn a_sha2_account_moves_after_a_restart_where_its_cache_is_warm() {
    let Some(scene) = Scene::start_with_service(Server::MySql, TLS) else { return };
    scene.setup(&["CREATE USER app IDENTIFIED BY 'first'", "GRANT SELECT ON p.* TO app"]);
    // Nobody has logged in yet: the password is asked for in full.
    let mut client = scene.open(&login("first"));
    let from = scene.place(&mut client.wire);
    Wire::open(&scene.servers[1 - from].address(), &login("first"))
        .expect("its cache is warm then");
    scene.proxy.restart();
    client = Moved::again(client);
    client.move_to(1 - from).expect("what was learned is enough");
    assert_eq!(scene.place(&mut client.wire), 1 - from);
}
