//! A server that is drained under load: everybody leaves it, and nobody notices.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::scene::{account, command, open, port, route, until_route};
use crate::support::proxy::Options;
use crate::support::{Database, Login, Proxy, Server, Wire, com, until};

struct Scene {
    servers: [Database; 2],
    proxy: Proxy,
}

impl Scene {
    fn start() -> Option<Self> {
        let servers = [Database::start(Server::MariaDb)?, Database::start(Server::MariaDb)?];
        let mut options = Options::new(&servers.each_ref().map(Database::address));
        options.rest = account();
        let proxy = Proxy::start_with(&options);
        Some(Self { servers, proxy })
    }

    fn open(&self) -> Wire {
        Wire::open(&self.proxy.address(), &Login::default()).expect("the proxy takes clients")
    }

    fn alter(&self, what: &str, server: usize) {
        let address = self.servers[server].address();
        command(&self.proxy, &format!("ALTER CLUSTER main {what} SERVER '{address}'"));
    }

    fn links(&self, server: usize) -> String {
        route(&self.proxy, &self.servers[server].address())["links"].clone()
    }

    fn attribute(&self, wire: &Wire, name: &str) -> String {
        let id = wire.greeting.connection_id;
        let what = format!("PROXYSESSION ATTRIBUTE {id} LIKE '{name}'");
        crate::scene::show(&self.proxy, &what)[0]["value"].clone()
    }
}

/// Executes a statement without parameters.
fn execute(wire: &mut Wire, id: u32) -> usize {
    let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
    let reply = wire.ask(com::EXECUTE, &body);
    assert_eq!(reply.error(), None, "{:?}", reply.last());
    reply.row_count()
}

#[test]
fn everybody_leaves_and_nobody_notices() {
    let Some(scene) = Scene::start() else { return };
    let (proxy, [from, to]) = (&scene.proxy, &scene.servers);
    let mut idle: Vec<Wire> = (0..4).map(|_| scene.open()).collect();
    let mut statements = Vec::new();
    for (n, wire) in idle.iter_mut().enumerate() {
        wire.run(&format!("SET @n = {n}, sql_mode = 'ANSI_QUOTES'"));
        statements.push(wire.prepare("SELECT 1 UNION SELECT 2"));
        assert_eq!(port(wire), from.port);
    }
    let (over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for n in 0..4 {
            let (scene, over, rounds) = (&scene, &over, &rounds);
            scope.spawn(move || {
                let mut wire = scene.open();
                wire.run(&format!("SET @me = {n}"));
                let prepared = wire.prepare("SELECT 1 UNION SELECT 2");
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(wire.run("SELECT @me").text(), n.to_string());
                    assert_eq!(execute(&mut wire, prepared), 2);
                    wire.run("BEGIN");
                    assert_eq!(wire.run("SELECT @me + 1").text(), (n + 1).to_string());
                    wire.run("COMMIT");
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                assert_eq!(port(&mut wire), to.port, "a busy one has moved");
            });
        }
        until("some work", || (rounds.load(Ordering::Relaxed) > 20).then_some(()));
        scene.alter("DRAIN", 0);
        let drained = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until_route(proxy, &from.address(), "links", "0");
            let so_far = rounds.load(Ordering::Relaxed);
            until("more work", || (rounds.load(Ordering::Relaxed) > so_far + 20).then_some(()));
        }));
        over.store(true, Ordering::Relaxed);
        drained.expect("all leave");
    });
    assert_eq!(route(proxy, &from.address())["state"], "draining");
    for (n, wire) in idle.iter_mut().enumerate() {
        assert_eq!(wire.run("SELECT @n").text(), n.to_string());
        assert_eq!(wire.run("SELECT @@sql_mode").text(), "ANSI_QUOTES");
        assert_eq!(execute(wire, statements[n]), 2);
        assert_eq!(port(wire), to.port);
    }
    from.until_counted(
        "SELECT COUNT(*) = 1 FROM information_schema.processlist WHERE user = 'odp'",
    );
    assert_eq!(port(&mut open(proxy, "odp").expect("the other takes clients")), to.port);
    // ONLINE takes it back, for new sessions.
    scene.alter("ONLINE", 0);
    assert_eq!(route(proxy, &from.address())["state"], "online");
    assert_eq!(port(&mut open(proxy, "odp").expect("it takes clients")), from.port);
    assert_eq!(port(&mut idle[0]), to.port, "who has left stays where he is");
}

#[test]
fn who_is_pinned_stays_and_leaves_later() {
    let Some(scene) = Scene::start() else { return };
    let (proxy, [from, to]) = (&scene.proxy, &scene.servers);
    scene.servers.iter().for_each(|server| {
        server.execute(&["CREATE TABLE p.t (n INT)", "CREATE TABLE p.u (n INT)"])
    });
    let mut pinned = scene.open();
    let mut busy = scene.open();
    let mut free = scene.open();
    pinned.run("LOCK TABLES t READ");
    busy.run("BEGIN");
    busy.run("INSERT INTO u VALUES (1)");
    assert_eq!(port(&mut free), from.port);
    scene.alter("DRAIN", 0);
    until("two that are left", || (scene.links(0) == "2").then_some(()));
    assert_eq!(port(&mut free), to.port);
    assert_eq!(scene.attribute(&pinned, "pins"), "LOCK TABLES");
    assert_eq!(scene.attribute(&pinned, "server"), from.address());
    assert_eq!(pinned.run("SELECT COUNT(*) FROM t").text(), "0");
    assert_eq!(busy.run("SELECT COUNT(*) FROM u").text(), "1");
    // A restart in between forgets neither.
    proxy.restart();
    assert_eq!(scene.attribute(&pinned, "pins"), "LOCK TABLES");
    assert_eq!(busy.run("SELECT COUNT(*) FROM u").text(), "1");
    pinned.run("UNLOCK TABLES");
    busy.run("COMMIT");
    until_route(proxy, &from.address(), "links", "0");
    assert_eq!((port(&mut pinned), port(&mut busy)), (to.port, to.port));
    assert_eq!(scene.attribute(&pinned, "pins"), "");
}

/// Only its server knows why: that is seen once it was tried, and tried again once it has changed.
#[test]
fn what_keeps_a_session_is_seen() {
    let Some(scene) = Scene::start() else { return };
    let [from, to] = &scene.servers;
    let table = "CREATE TABLE p.a (id INT PRIMARY KEY AUTO_INCREMENT, n INT)";
    scene.servers.iter().for_each(|server| server.execute(&[table]));
    let mut kept = scene.open();
    kept.run("SET insert_id = 77");
    assert_eq!(scene.attribute(&kept, "pins"), "");
    scene.alter("DRAIN", 0);
    let why = "cannot move: it is pinned: insert_id for the next statement";
    until("a try", || (scene.attribute(&kept, "pins") == why).then_some(()));
    assert_eq!(port(&mut kept), from.port);
    kept.run("INSERT INTO a (n) VALUES (1)");
    assert_eq!(kept.run("SELECT id FROM a").text(), "77");
    kept.run("SET @n = 1");
    until("it to leave", || (port(&mut kept) == to.port).then_some(()));
    assert_eq!(scene.attribute(&kept, "pins"), "");
}

#[test]
fn sessions_leave_a_server_that_is_dropped() {
    let Some(scene) = Scene::start() else { return };
    let (proxy, [from, to]) = (&scene.proxy, &scene.servers);
    let (mut free, mut pinned) = (scene.open(), scene.open());
    free.run("SET @x = 'kept'");
    pinned.run("DO GET_LOCK('mine', 0)");
    assert_eq!((port(&mut free), port(&mut pinned)), (from.port, from.port));
    scene.alter("DROP", 0);
    assert_eq!(port(&mut scene.open()), to.port);
    until("it to leave", || (port(&mut free) == to.port).then_some(()));
    assert_eq!(free.run("SELECT @x").text(), "kept");
    assert_eq!(port(&mut pinned), from.port, "it cannot");
    assert_eq!(scene.attribute(&pinned, "pins"), "user lock");
    proxy.restart();
    assert_eq!(port(&mut pinned), from.port, "also after a restart");
    pinned.run("DO RELEASE_ALL_LOCKS()");
    until("it to leave", || (port(&mut pinned) == to.port).then_some(()));
}
