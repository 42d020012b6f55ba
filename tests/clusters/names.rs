//! Whom a client's name means: cluster, tenant, account; at log-in and in COM_CHANGE_USER.

use crate::scene::{change_user, cluster, named, open, port, refused, session};
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server, Wire, com, until};

const TENANTS: &str = "
[[cluster.tenant]]
name = \"shop\"
user = \"{tenant}_{user}\"
database = \"shop_db\"
max_connections = 2
[[cluster.tenant]]
name = \"crm\"
database = \"p\"
";

/// Two clusters, `main` with two tenants and `other` with none.
struct Scene {
    main: Database,
    other: Database,
    proxy: Proxy,
}

impl Scene {
    fn start(lines: &str) -> Option<Self> {
        let (main, other) = (Database::start(Server::MariaDb)?, Database::start(Server::MariaDb)?);
        main.execute(&[
            "CREATE DATABASE shop_db",
            &format!("CREATE USER shop_odp IDENTIFIED BY '{PASSWORD}'"),
            "GRANT ALL ON *.* TO shop_odp",
        ]);
        let mut options = Options::new(&[main.address()]);
        options.proxy = lines.into();
        options.rest = format!("{TENANTS}{}", cluster("other", &other.address(), ""));
        let proxy = Proxy::start_with(&options);
        Some(Self { main, other, proxy })
    }

    /// Where a client is: cluster, account, database.
    fn place(&self, wire: &mut Wire) -> (&'static str, String, String) {
        let reply = wire.run("SELECT @@port, CURRENT_USER(), IFNULL(DATABASE(), '-')");
        let text = |at: usize| {
            let value = reply.rows()[0][at].clone().expect("a value");
            String::from_utf8_lossy(&value).into_owned()
        };
        let name = match text(0).parse::<u16>() {
            Ok(port) if port == self.main.port => "main",
            Ok(port) if port == self.other.port => "other",
            _ => panic!("a server of nobody's"),
        };
        (name, text(1), text(2))
    }

    fn check(&self, wire: &mut Wire, name: &str, expected: [&str; 4]) {
        let [cluster, tenant, user, database] = expected;
        let place = (cluster, format!("{user}@%"), database.to_owned());
        assert_eq!(self.place(wire), place, "{name}");
        let shown = session(&self.proxy, wire, &["Cluster", "Tenant", "User"]);
        assert_eq!(shown, [cluster, tenant, user], "{name}");
    }
}

#[test]
fn a_name_leads_to_its_cluster_and_tenant() {
    let Some(scene) = Scene::start("") else { return };
    let table = [
        ("odp", ["main", "", "odp", "-"]),
        ("odp#main", ["main", "", "odp", "-"]),
        ("odp#other", ["other", "", "odp", "-"]),
        ("odp@shop", ["main", "shop", "shop_odp", "shop_db"]),
        ("odp@shop#main", ["main", "shop", "shop_odp", "shop_db"]),
        ("odp@crm#main", ["main", "crm", "odp", "p"]),
        ("main:shop:odp", ["main", "shop", "shop_odp", "shop_db"]),
        ("main-crm-odp", ["main", "crm", "odp", "p"]),
        ("other::odp", ["other", "", "odp", "-"]),
    ];
    for (name, expected) in table {
        let mut wire = open(&scene.proxy, name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        scene.check(&mut wire, name, expected);
    }
    // Who names a database keeps it.
    let mut login = named("odp@shop#main");
    login.database = Some("p".into());
    let mut wire = Wire::open(&scene.proxy.address(), &login).expect("it is let in");
    scene.check(&mut wire, "with a database", ["main", "shop", "shop_odp", "p"]);
    // Nobody else's parts are cut off.
    let (code, text) = refused(open(&scene.proxy, "odp#nowhere"));
    assert_eq!((code, &*text), (1049, "Unknown cluster 'nowhere'"));
    assert_eq!(refused(open(&scene.proxy, "odp@shop#other")).0, 1045);
    assert_eq!(refused(open(&scene.proxy, "odp@none")).0, 1045);
}

#[test]
fn who_names_nothing_gets_the_defaults() {
    let Some(scene) = Scene::start("default_cluster = \"other\"") else { return };
    for (name, expected) in [
        ("odp", ["other", "", "odp", "-"]),
        ("odp@shop#main", ["main", "shop", "shop_odp", "shop_db"]),
    ] {
        scene.check(&mut open(&scene.proxy, name).expect(name), name, expected);
    }
    drop(scene);
    let Some(scene) = Scene::start("default_tenant = \"shop\"") else { return };
    for (name, expected) in [
        ("odp", ["main", "shop", "shop_odp", "shop_db"]),
        ("odp@crm", ["main", "crm", "odp", "p"]),
        ("odp#other", ["other", "", "odp", "-"]),
    ] {
        scene.check(&mut open(&scene.proxy, name).expect(name), name, expected);
    }
}

#[test]
fn a_user_with_signs_in_its_name_logs_in_to_one_plain_cluster() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let names = ["a@main", "a#main", "a#nowhere", "main:x:a", "a@b#c:d-e"];
    for name in names {
        let create = format!("CREATE USER '{name}' IDENTIFIED BY '{PASSWORD}'");
        database.execute(&[&create]);
    }
    let proxy = Proxy::start(&database);
    for name in names {
        let mut wire = open(&proxy, name).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(wire.run("SELECT CURRENT_USER()").text(), format!("{name}@%"));
        assert_eq!(change_user(&mut wire, "a@b#c:d-e"), None);
        assert_eq!(wire.run("SELECT CURRENT_USER()").text(), "a@b#c:d-e@%");
        assert_eq!(session(&proxy, &wire, &["Tenant", "User"]), ["", "a@b#c:d-e"]);
    }
}

#[test]
fn a_dead_default_cluster_locks_nobody_out_of_the_other() {
    let Some(mut scene) = Scene::start("login_timeout = \"60s\"") else { return };
    let mut held = open(&scene.proxy, "odp#other").expect("it is let in");
    scene.main.kill9();
    for _ in 0..3 {
        let mut wire = open(&scene.proxy, "odp#other").expect("it is let in");
        assert_eq!(port(&mut wire), scene.other.port);
        let (code, text) = refused(open(&scene.proxy, "odp"));
        assert_eq!(code, 2003);
        assert!(text.contains("cluster 'main'"), "{text}");
    }
    assert_eq!(port(&mut held), scene.other.port);
    scene.main.start_again();
    until("the default cluster again", || open(&scene.proxy, "odp").ok());
}

/// Nobody was ever greeted by it, so nobody knows its words.
#[test]
fn a_default_cluster_that_never_lived_locks_nobody_out_of_the_other() {
    let Some(other) = Database::start(Server::MariaDb) else { return };
    let mut options = Options::new(&["127.0.0.1:1".to_owned()]);
    options.rest = cluster("other", &other.address(), "");
    let proxy = Proxy::start_with(&options);
    let mut wire = open(&proxy, "odp#other").expect("it is let in");
    assert_eq!(port(&mut wire), other.port);
    let (code, text) = refused(open(&proxy, "odp"));
    assert_eq!(code, 2003);
    assert!(text.contains("cluster 'main'"), "{text}");
}

#[test]
fn a_tenant_has_so_many_sessions() {
    let Some(scene) = Scene::start("") else { return };
    let proxy = &scene.proxy;
    let words = "Tenant shop#main already has more than 'max_connections' active connections";
    let mut held = vec![
        open(proxy, "odp@shop").expect("the first"),
        open(proxy, "main:shop:odp").expect("the second"),
    ];
    assert_eq!(refused(open(proxy, "odp@shop")), (1203, words.to_owned()));
    for other in ["odp", "odp@crm", "odp#other"] {
        held.push(open(proxy, other).expect("others have room of their own"));
    }
    // Sessions that have moved are counted where they are.
    proxy.restart();
    assert_eq!(refused(open(proxy, "odp@shop")), (1203, words.to_owned()));
    assert_eq!(session(proxy, &held[0], &["Cluster", "Tenant"]), ["main", "shop"]);
    // Who becomes another tenant's gives up the place, and takes one.
    assert_eq!(change_user(&mut held[0], "odp@crm"), None);
    let third = open(proxy, "odp@shop").expect("there is room");
    assert_eq!(change_user(&mut held[0], "odp@shop"), None);
    assert_eq!(refused(open(proxy, "odp@shop")).0, 1203);
    drop((held, third));
    until("room", || open(proxy, "odp@shop").ok());
}

#[test]
fn a_user_that_changes_is_the_one_that_the_name_means() {
    let Some(scene) = Scene::start("") else { return };
    let mut wire = open(&scene.proxy, "odp").expect("it is let in");
    let table = [
        ("odp@shop#main", ["main", "shop", "shop_odp", "shop_db"]),
        ("main:crm:odp", ["main", "crm", "odp", "p"]),
        ("odp", ["main", "", "odp", "-"]),
        ("shop_odp", ["main", "", "shop_odp", "-"]),
    ];
    for (name, expected) in table {
        wire.run("SET @before = 1");
        assert_eq!(change_user(&mut wire, name), None, "{name}");
        scene.check(&mut wire, name, expected);
        assert_eq!(wire.run("SELECT @before IS NULL").text(), "1", "{name}");
    }
    // One that the server refuses changes nothing.
    assert_eq!(change_user(&mut wire, "nobody@crm").map(|(code, _)| code), Some(1045));
    scene.check(&mut wire, "refused", ["main", "", "shop_odp", "-"]);
    // It outlives a restart.
    assert_eq!(change_user(&mut wire, "odp@shop"), None);
    scene.proxy.restart();
    scene.check(&mut wire, "restarted", ["main", "shop", "shop_odp", "shop_db"]);
}

#[test]
fn a_user_of_another_cluster_is_no_change_of_user() {
    let Some(scene) = Scene::start("") else { return };
    let elsewhere = "Cannot change to a user of cluster 'other' in a session with cluster 'main': \
                     connect anew";
    let table = [
        ("odp#other", 1105, elsewhere),
        ("other::odp", 1105, elsewhere),
        ("odp#none", 1049, "Unknown cluster 'none'"),
    ];
    for (name, code, text) in table {
        let mut wire = open(&scene.proxy, "odp").expect("it is let in");
        assert_eq!(wire.run("SELECT 'well'").text(), "well");
        assert_eq!(change_user(&mut wire, name), Some((code, text.to_owned())), "{name}");
        assert_eq!(wire.until_closed(), b"", "{name}: it ends as with MySQL");
    }
    // What was asked before is answered.
    let mut wire = open(&scene.proxy, "odp").expect("it is let in");
    wire.command(com::QUERY, b"SELECT 'before'");
    assert_eq!(wire.reply(com::QUERY).text(), "before");
    let here = "SELECT COUNT(*) = 1 FROM information_schema.processlist WHERE user = 'odp'";
    drop(wire);
    scene.main.until_counted(here);
}
