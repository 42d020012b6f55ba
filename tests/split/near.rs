//! Several replicas in several places: the nearest one is read from, and the next one when it dies.

use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::replication::{another_replica, replicating};
use crate::support::{Database, Login, Proxy, Server, Wire, until};

const WHO: &str = "SELECT name FROM p.who";

/// A primary in the idc `a` and a replica in `b`, both in the north; another in `c`, in the south.
struct Scene {
    primary: Database,
    north: Database,
    south: Database,
    proxy: Proxy,
}

impl Scene {
    fn start() -> Option<Self> {
        let (primary, north) = replicating(Server::MariaDb, &[])?;
        let south = another_replica(&primary, 3, &[])?;
        primary.execute(&["SET GLOBAL gtid_strict_mode = 0"]);
        let places = [(&primary, "primary"), (&north, "north"), (&south, "south")];
        for (server, name) in places {
            server.execute(&[
                "SET sql_log_bin = 0",
                "CREATE TABLE p.who (name VARCHAR(9))",
                &format!("INSERT INTO p.who VALUES ('{name}')"),
            ]);
        }
        let mut options = Options::new(&[]);
        options.proxy = "server_detect_refresh_interval = \"100ms\"\n\
                         server_detect_timeout = \"500ms\"\nproxy_idc_name = \"c\"\n"
            .into();
        options.cluster = format!(
            "service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n\
             read_write_split = \"on\"\n"
        );
        let of = |(server, idc, region): (&Database, &str, &str)| {
            let address = server.address();
            format!(
                "[[cluster.server]]\naddress = \"{address}\"\nidc = \"{idc}\"\n\
                 region = \"{region}\"\n"
            )
        };
        let servers = [(&primary, "a", "NORTH"), (&north, "B", "north"), (&south, "c", "south")];
        options.rest = servers.map(of).concat();
        options.rest += &format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
        let proxy = Proxy::start_with(&options);
        let scene = Self { primary, north, south, proxy };
        scene.until_roles(["primary", "replica", "replica"]);
        Some(scene)
    }

    fn until_roles(&self, roles: [&str; 3]) {
        let mut admin = self.proxy.admin().expect("the proxy takes operators");
        until("the roles to be known", || {
            let rows = admin.run("SHOW PROXYROUTE").named_rows();
            let found: Vec<_> = rows.iter().map(|row| row["role"].clone()).collect();
            (found == roles).then_some(())
        });
    }

    fn open(&self) -> Wire {
        Wire::open(&self.proxy.address(), &Login::default()).expect("the proxy takes clients")
    }

    fn alter(&self, what: &str) {
        let mut admin = self.proxy.admin().expect("the proxy takes operators");
        admin.run(&format!("ALTER CLUSTER main {what}"));
    }
}

fn until_read_on(wire: &mut Wire, name: &str) {
    until(&format!("reads on {name}"), || (wire.run(WHO).text() == name).then_some(()));
}

#[test]
fn the_nearest_replica_is_read_from() {
    let Some(scene) = Scene::start() else { return };
    let mut wire = scene.open();
    assert_eq!(wire.run(WHO).text(), "south", "it is in the proxy's idc");
    for (idc, name) in [
        ("'b'", "north"),
        // Nobody to read from is in there, but somebody of its region.
        ("'A'", "north"),
        ("'C'", "south"),
        ("NULL", "south"),
    ] {
        wire.run(&format!("SET @proxy_session_ldc = {idc}, @x = 'kept'"));
        assert_eq!(wire.run("SELECT CONCAT(@x, name) FROM p.who").text(), format!("kept{name}"));
        let route = wire.run(&format!("EXPLAIN ROUTE {WHO}")).named_rows().remove(0);
        let server = if name == "north" { &scene.north } else { &scene.south };
        assert_eq!(route["server"], server.address(), "{idc}");
        assert_eq!(wire.run("SELECT name FROM p.who FOR UPDATE").text(), "primary", "{idc}");
    }
    let id = wire.prepare(WHO);
    let execute = |wire: &mut Wire| {
        let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
        let reply = wire.ask(crate::support::com::EXECUTE, &body);
        let names = ["north", "south", "primary"];
        let has =
            |name: &&str| reply.packets.iter().any(|it| it.payload.ends_with(name.as_bytes()));
        names.into_iter().find(has).expect("one of them has answered")
    };
    assert_eq!(execute(&mut wire), "south");
    wire.run("SET @proxy_session_ldc = 'b'");
    assert_eq!(execute(&mut wire), "north");
}

#[test]
fn those_as_near_share_who_reads() {
    let Some(scene) = Scene::start() else { return };
    let mut admin = scene.proxy.admin().expect("the proxy takes operators");
    admin.run("ALTER PROXYCONFIG SET proxy_idc_name = ''");
    let mut sessions: Vec<_> = (0..24).map(|_| scene.open()).collect();
    let mut names: Vec<_> = sessions.iter_mut().map(|wire| wire.run(WHO).text()).collect();
    let again: Vec<_> = sessions.iter_mut().map(|wire| wire.run(WHO).text()).collect();
    assert_eq!(names, again, "each goes on where it has read");
    names.sort();
    names.dedup();
    assert_eq!(names, ["north", "south"]);
}

/// The nearest one dies, then the other one; then the nearest returns.
#[test]
fn the_next_replica_is_read_from_when_one_dies() {
    let Some(mut scene) = Scene::start() else { return };
    let (mut wire, mut idle) = (scene.open(), scene.open());
    for wire in [&mut wire, &mut idle] {
        wire.run("SET @x = 'kept'");
        wire.run("UPDATE p.who SET name = name");
        assert_eq!(wire.run(WHO).text(), "south");
    }
    scene.south.kill9();
    let answered = wire.run(WHO).text();
    assert!(["north", "primary"].contains(&&*answered), "{answered}");
    until_read_on(&mut wire, "north");
    until_read_on(&mut idle, "north");
    assert_eq!(scene.open().run(WHO).text(), "north");
    assert_eq!(wire.run("SELECT CONCAT(@x, name) FROM p.who").text(), "keptnorth");
    scene.alter("SET route_policy = 'FOLLOWER_ONLY'");
    assert_eq!(wire.run(WHO).text(), "north");
    scene.north.kill9();
    until("nobody to read from", || (wire.query(WHO).error() == Some(1105)).then_some(()));
    assert_eq!(wire.query("UPDATE p.who SET name = name").error(), None, "writes go on");
    scene.alter("SET route_policy = 'FOLLOWER_FIRST'");
    assert_eq!(wire.run("SELECT CONCAT(@x, name) FROM p.who").text(), "keptprimary");
    scene.south.start_again();
    // What it had not written down is lost.
    scene.south.execute(&[
        "SET GLOBAL read_only = ON",
        "SET sql_log_bin = 0",
        "DELETE FROM p.who",
        "INSERT INTO p.who VALUES ('south')",
    ]);
    until_read_on(&mut wire, "south");
    until_read_on(&mut idle, "south");
    assert_eq!(wire.run("SELECT CONCAT(@x, name) FROM p.who").text(), "keptsouth");
    assert_eq!(scene.primary.admin().run(WHO).text(), "primary");
}
