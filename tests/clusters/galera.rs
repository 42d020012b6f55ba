//! Three nodes of a Galera cluster: each takes writes, one gets them, and another does when that
//! one is no part of it any more.

use std::path::Path;

use tempfile::TempDir;

use crate::scene::{account, command, open, port, route, until_route};
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server, Wire, free_ports, scratch, skip, until};

const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

const OPTIONS: [&str; 5] = [
    "--wsrep-on=ON",
    "--wsrep-node-address=127.0.0.1",
    // The one that needs no rights in the other's directories; it copies nothing, see `STATE`.
    "--wsrep-sst-method=mysqldump",
    "--binlog-format=ROW",
    "--innodb-autoinc-lock-mode=2",
];

/// What a node knows of its cluster: all that was there at first, so that it gets from the others
/// what came since, and no copy of their data.
const STATE: &str = "# GALERA saved state\nversion: 2.1\n\
                     uuid: 6b1c1b3e-5c2f-4a0d-9d1e-0242ac120004\nseqno: 0\nsafe_to_bootstrap: 1\n";

/// Three nodes, and where they keep what they know.
fn nodes() -> Option<([Database; 3], TempDir)> {
    if !Path::new(PROVIDER).exists() {
        skip("Galera is not to be had here");
        return None;
    }
    let [a, b, c, state_a, state_b, state_c] = free_ports();
    let (groups, states) = ([a, b, c], [state_a, state_b, state_c]);
    let homes = scratch();
    let start = |place: usize| {
        let home = homes.path().join(place.to_string());
        std::fs::create_dir(&home).expect("a fresh directory");
        std::fs::write(home.join("grastate.dat"), STATE).expect("the directory is ours");
        let before: Vec<_> =
            groups[..place].iter().map(|group| format!("127.0.0.1:{group}")).collect();
        let own = [
            format!("--wsrep-cluster-address=gcomm://{}", before.join(",")),
            format!("--wsrep-node-name=node{place}"),
            format!("--wsrep-data-home-dir={}", home.display()),
            format!("--wsrep-sst-auth=odp:{PASSWORD}"),
            format!("--wsrep-provider={PROVIDER}"),
            format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{};\
                 ist.recv_addr=127.0.0.1:{};gcache.size=8M",
                groups[place], states[place]
            ),
        ];
        let own = own.iter().map(String::as_str);
        let options: Vec<&str> = OPTIONS.into_iter().chain(own).collect();
        let node = Database::start_with(Server::MariaDb, &options)?;
        let status = "SHOW STATUS LIKE 'wsrep_local_state_comment'";
        until("the node to be synced", || {
            let reply = node.admin().query(status);
            (reply.named_rows()[0]["Value"] == "Synced").then_some(())
        });
        Some(node)
    };
    Some(([start(0)?, start(1)?, start(2)?], homes))
}

struct Scene {
    nodes: [Database; 3],
    proxy: Proxy,
    _homes: TempDir,
}

impl Scene {
    fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// With these lines in `[[cluster]]`.
    fn start_with(cluster: &str) -> Option<Self> {
        let (nodes, homes) = nodes()?;
        nodes[0].execute(&[
            "CREATE TABLE p.t (n INT PRIMARY KEY) ENGINE = InnoDB",
            "INSERT INTO p.t VALUES (1)",
        ]);
        let mut options = Options::new(&nodes.each_ref().map(Database::address));
        options.proxy = "server_detect_refresh_interval = \"100ms\"".into();
        options.cluster =
            format!("service_user = \"odp\"\nservice_password = \"{PASSWORD}\"\n{cluster}\n");
        options.rest = account();
        let scene = Self { nodes, proxy: Proxy::start_with(&options), _homes: homes };
        scene.until_roles(["primary", "replica", "replica"]);
        Some(scene)
    }

    fn until_roles(&self, roles: [&str; 3]) {
        for (node, role) in self.nodes.iter().zip(roles) {
            until_route(&self.proxy, &node.address(), "role", role);
        }
    }

    fn epoch(&self) -> u64 {
        let epoch = route(&self.proxy, &self.nodes[1].address()).remove("epoch");
        epoch.and_then(|epoch| epoch.parse().ok()).expect("a number")
    }

    /// A new client, which writes; on which node that was.
    fn open(&self) -> (Wire, usize) {
        let mut wire = open(&self.proxy, "odp").expect("the proxy takes clients");
        wire.run("UPDATE p.t SET n = n + 1");
        let at = self.place(&mut wire);
        (wire, at)
    }

    fn place(&self, wire: &mut Wire) -> usize {
        let port = port(wire);
        self.nodes.iter().position(|node| node.port == port).expect("one of them")
    }
}

#[test]
fn a_node_that_is_no_part_of_the_cluster_gets_no_sessions() {
    let Some(scene) = Scene::start() else { return };
    let nodes = &scene.nodes;
    let (_, at) = scene.open();
    assert_eq!(at, 0);
    let mut epoch = scene.epoch();
    // A donor has other things to do, and is behind.
    nodes[0].execute(&["SET GLOBAL wsrep_desync = ON"]);
    scene.until_roles(["unknown", "primary", "replica"]);
    assert_eq!(scene.open().1, 1);
    assert!(scene.epoch() > epoch, "another one is the primary");
    nodes[0].execute(&["SET GLOBAL wsrep_desync = OFF"]);
    scene.until_roles(["replica", "primary", "replica"]);
    assert_eq!(scene.open().1, 1, "and stays it");
    // One that the others do not hear is no part of the primary component.
    epoch = scene.epoch();
    nodes[1].execute(&["SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'"]);
    scene.until_roles(["primary", "unknown", "replica"]);
    let written = until("the others to be a cluster", || {
        let mut wire = open(&scene.proxy, "odp").ok()?;
        let reply = wire.try_query("UPDATE p.t SET n = n + 1").ok()?;
        reply.error().is_none().then(|| scene.place(&mut wire))
    });
    assert_eq!(written, 0);
    assert!(scene.epoch() > epoch, "another one is the primary");
    nodes[1].execute(&["SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'"]);
    scene.until_roles(["primary", "replica", "replica"]);
}

#[test]
fn who_is_on_a_node_that_is_drained_goes_on_on_another() {
    let Some(scene) = Scene::start() else { return };
    let address = scene.nodes[0].address();
    let (mut idle, at) = scene.open();
    assert_eq!(at, 0);
    idle.run("SET @n = 7, sql_mode = 'ANSI_QUOTES'");
    let (mut busy, _) = scene.open();
    busy.run("BEGIN");
    let n: u32 = busy.run("SELECT n FROM p.t").text().parse().expect("a number");
    command(&scene.proxy, &format!("ALTER CLUSTER main DRAIN SERVER '{address}'"));
    until_route(&scene.proxy, &address, "links", "1");
    let there = scene.place(&mut idle);
    assert_ne!(there, 0, "it has moved");
    assert_eq!(idle.run("SELECT @n, \"x\" FROM (SELECT 1 x) t").text(), "7");
    assert_ne!(scene.open().1, 0, "others begin elsewhere");
    assert_eq!(scene.place(&mut busy), 0, "a transaction is not carried");
    busy.run("ROLLBACK");
    until_route(&scene.proxy, &address, "links", "0");
    assert_ne!(scene.place(&mut busy), 0);
    let wanted = (n + 1).to_string();
    assert_eq!(busy.run("SET wsrep_sync_wait = 1").error(), None);
    assert_eq!(busy.run("SELECT n FROM p.t").text(), wanted, "what was written is there");
    command(&scene.proxy, &format!("ALTER CLUSTER main ONLINE SERVER '{address}'"));
    until_route(&scene.proxy, &address, "state", "online");
}

/// The node that gets the writes is drained: others take them as well.
#[test]
fn who_has_left_a_drained_node_does_not_go_back_to_write() {
    let Some(scene) = Scene::start_with("read_write_split = \"on\"") else { return };
    let address = scene.nodes[0].address();
    let (mut wire, at) = scene.open();
    assert_eq!(at, 0);
    command(&scene.proxy, &format!("ALTER CLUSTER main DRAIN SERVER '{address}'"));
    until_route(&scene.proxy, &address, "links", "0");
    let there = scene.place(&mut wire);
    assert_ne!(there, 0, "it has moved");
    for _ in 0..3 {
        wire.run("UPDATE p.t SET n = n + 1");
        assert_eq!(scene.place(&mut wire), there);
    }
    assert_ne!(scene.open().1, 0, "others begin elsewhere");
    until_route(&scene.proxy, &address, "links", "0");
}

#[test]
fn who_comes_when_a_node_is_lost_goes_to_another() {
    let Some(mut scene) = Scene::start() else { return };
    let (mut wire, at) = scene.open();
    assert_eq!(at, 0);
    scene.nodes[0].kill9();
    let written = until("the others to be a cluster", || {
        let mut wire = open(&scene.proxy, "odp").ok()?;
        let reply = wire.try_query("UPDATE p.t SET n = n + 1").ok()?;
        reply.error().is_none().then(|| scene.place(&mut wire))
    });
    assert_ne!(written, 0);
    let primary = until("another primary", || {
        let role = |node: &Database| route(&scene.proxy, &node.address()).remove("role");
        scene.nodes.iter().position(|node| role(node).as_deref() == Some("primary"))
    });
    assert!(wire.try_query("SELECT 1").is_err(), "it was there");
    assert_eq!(scene.open().1, primary);
}
