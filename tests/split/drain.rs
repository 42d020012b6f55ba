//! Servers of a replicated cluster that are drained: writers go where writes are and nowhere else,
//! reads anywhere else.

use crate::pair::Pair;
use crate::support::{Database, Wire, until};

const WHO: &str = "SELECT name FROM p.who";

struct Scene {
    pair: Pair,
    admin: Wire,
}

impl Scene {
    fn start() -> Option<Self> {
        let pair = Pair::start("causal_reads = \"off\"")?;
        pair.marked();
        let admin = pair.proxy.admin().expect("the proxy takes operators");
        Some(Self { pair, admin })
    }

    fn alter(&mut self, what: &str, server: fn(&Pair) -> &Database) {
        let address = server(&self.pair).address();
        self.admin.run(&format!("ALTER CLUSTER main {what} SERVER '{address}'"));
    }

    fn links(&mut self, server: fn(&Pair) -> &Database) -> String {
        let address = server(&self.pair).address();
        let rows = self.admin.run("SHOW PROXYROUTE").named_rows();
        let row = rows.into_iter().find(|row| row["server"] == address).expect("it is there");
        row["links"].clone()
    }

    fn until_left(&mut self, server: fn(&Pair) -> &Database) {
        until("nobody to be there", || (self.links(server) == "0").then_some(()));
    }
}

fn primary(pair: &Pair) -> &Database {
    &pair.primary
}

fn replica(pair: &Pair) -> &Database {
    &pair.replica
}

fn port(wire: &mut Wire) -> String {
    wire.run("SELECT @@port").text()
}

#[test]
fn a_drained_primary_keeps_its_writers_until_another_one_is_it() {
    let Some(mut scene) = Scene::start() else { return };
    let mut wire = scene.pair.open();
    wire.run("SET @x = 'kept'");
    assert_eq!(wire.run(WHO).text(), "replica");
    scene.alter("DRAIN", primary);
    let old = Pair::port(&scene.pair.primary);
    let pins = scene.pair.pins(&wire);
    assert!(pins.contains("a switchover comes first"), "{pins}");
    let mut later = scene.pair.open();
    for wire in [&mut wire, &mut later] {
        wire.run("INSERT INTO p.t (n) VALUES (7)");
        assert_eq!(port(wire), old, "writes are there");
        assert_eq!(wire.run(WHO).text(), "replica", "reads are not");
    }
    drop(later);
    scene.pair.switch_over();
    scene.until_left(primary);
    assert_eq!(scene.pair.pins(&wire), "");
    assert_eq!(port(&mut wire), Pair::port(&scene.pair.replica));
    wire.run("INSERT INTO p.t (n) VALUES (8)");
    assert_eq!(wire.run("SELECT CONCAT(@x, COUNT(*)) FROM p.t WHERE n = 7").text(), "kept2");
}

#[test]
fn nobody_has_a_connection_to_a_drained_replica() {
    let Some(mut scene) = Scene::start() else { return };
    let (mut busy, mut silent) = (scene.pair.open(), scene.pair.open());
    for wire in [&mut busy, &mut silent] {
        wire.run("SET @x = 'kept'");
        assert_eq!(wire.run(WHO).text(), "replica");
    }
    let clients = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'p'";
    assert_eq!(scene.pair.replica.admin().run(clients).text(), "3", "with who asks");
    scene.alter("DRAIN", replica);
    until("reads to go elsewhere", || (busy.run(WHO).text() == "primary").then_some(()));
    // Also who says nothing leaves, once nobody asks any more how its read went.
    scene.until_left(replica);
    scene.pair.replica.until_counted(&clients.replace("COUNT(*)", "COUNT(*) = 1"));
    for wire in [&mut silent, &mut busy] {
        assert_eq!(wire.run("SELECT CONCAT(@x, name) FROM p.who").text(), "keptprimary");
    }
    scene.alter("ONLINE", replica);
    for wire in [&mut silent, &mut busy] {
        until("reads to be there again", || (wire.run(WHO).text() == "replica").then_some(()));
        assert_eq!(wire.run("SELECT @x FROM p.who").text(), "kept");
    }
}

#[test]
fn a_transaction_ends_where_it_reads() {
    let Some(mut scene) = Scene::start() else { return };
    let mut wire = scene.pair.open();
    wire.run("START TRANSACTION READ ONLY");
    assert_eq!(wire.run(WHO).text(), "replica");
    scene.alter("DRAIN", replica);
    assert_eq!(wire.run(WHO).text(), "replica", "its data are of one time");
    wire.run("COMMIT");
    assert_eq!(wire.run(WHO).text(), "primary");
    scene.until_left(replica);
}
