//! Servers whose packets vanish in a move, or that do not get on with it: it ends in time, and the
//! session is where it was or where it was to go.

use crate::support::blackhole::Blackhole;
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Database, Login, Proxy, Server, Wire, com};

const DEADLINES: &str = "
connect_timeout = \"2s\"
server_tcp_keepidle = \"1s\"
server_tcp_keepintvl = \"1s\"
server_tcp_keepcnt = 2
server_tcp_user_timeout = \"2s\"
";

struct Scene {
    servers: [Database; 2],
    before: [Blackhole; 2],
    proxy: Proxy,
}

fn scene() -> Option<Scene> {
    let servers = [Database::start(Server::MariaDb)?, Database::start(Server::MariaDb)?];
    let before = servers.each_ref().map(|server| Blackhole::start(server.address()));
    let mut options = Options::new(&before.each_ref().map(|it| it.address.clone()));
    options.proxy = DEADLINES.into();
    options.rest = format!("[[cluster.user]]\nname = \"odp\"\npassword = \"{PASSWORD}\"\n");
    let proxy = Proxy::start_with(&options);
    Some(Scene { servers, before, proxy })
}

impl Scene {
    fn open(&self) -> Wire {
        Wire::open(&self.proxy.address(), &Login::default()).expect("the proxy takes clients")
    }

    fn place(&self, wire: &mut Wire) -> usize {
        let port = wire.run("SELECT @@port").text();
        let is_it = |server: &Database| server.port.to_string() == port;
        self.servers.iter().position(is_it).expect("it is on one of both")
    }

    /// Whether the session was moved there.
    fn moves(&self, wire: &Wire, place: usize) -> bool {
        let (id, to) = (wire.greeting.connection_id, &self.before[place].address);
        let mut admin = self.proxy.admin().expect("the proxy takes operators");
        admin.query(&format!("MOVE PROXYSESSION {id} TO '{to}'")).error().is_none()
    }
}

#[test]
fn a_move_to_a_swallowed_server_ends_where_it_began() {
    let Some(scene) = scene() else { return };
    let (mut wire, mut other) = (scene.open(), scene.open());
    wire.run("SET @a = 'kept'");
    let place = scene.place(&mut wire);
    scene.before[1 - place].swallow();
    assert!(!scene.moves(&wire, 1 - place), "nobody answers there");
    other.run("SELECT 1");
    assert_eq!(wire.run("SELECT @a").text(), "kept");
    assert_eq!(scene.place(&mut wire), place);
    scene.before[1 - place].heal();
    assert!(scene.moves(&wire, 1 - place), "{}", scene.proxy.log());
    assert_eq!(wire.run("SELECT @a").text(), "kept");
    assert_eq!(scene.place(&mut wire), 1 - place);
}

/// What the session is nobody says any more: it ends, or it is as it was.
#[test]
fn a_move_from_a_swallowed_server_ends_in_time() {
    let Some(scene) = scene() else { return };
    let (mut wire, mut other) = (scene.open(), scene.open());
    wire.run("SET @a = 'lost'");
    let place = scene.place(&mut wire);
    assert!(scene.moves(&other, 1 - place), "{}", scene.proxy.log());
    scene.before[place].swallow();
    assert!(!scene.moves(&wire, 1 - place), "nobody says what it is");
    assert_eq!(scene.place(&mut other), 1 - place);
    wire.try_query("SELECT @a").expect_err("its server is lost");
}

/// It is logged in to, and then waits for somebody else.
#[test]
fn a_move_to_a_server_that_waits_for_a_lock_ends_where_it_began() {
    let Some(scene) = scene() else { return };
    scene.servers.iter().for_each(|server| server.execute(&["CREATE TABLE p.t (n INT)"]));
    let mut wire = scene.open();
    let place = scene.place(&mut wire);
    wire.run("SET @a = 'kept'");
    wire.prepare("SELECT n FROM p.t");
    let to = &scene.servers[1 - place];
    let (mut reads, mut renames) = (to.admin(), to.admin());
    reads.run("BEGIN");
    reads.run("SELECT n FROM p.t");
    renames.command(com::QUERY, b"RENAME TABLE p.t TO p.u, p.u TO p.t");
    to.until_counted(
        "SELECT COUNT(*) = 1 FROM information_schema.processlist \
         WHERE state = 'Waiting for table metadata lock'",
    );
    wire.run("SELECT 1 UNION SELECT 2");
    assert!(!scene.moves(&wire, 1 - place), "nothing is prepared there");
    assert_eq!(wire.run("SELECT FOUND_ROWS()").text(), "2");
    assert_eq!(wire.run("SELECT @a").text(), "kept");
    assert_eq!(scene.place(&mut wire), place);
    reads.run("COMMIT");
    assert_eq!(renames.reply(com::QUERY).error(), None);
    assert!(scene.moves(&wire, 1 - place), "{}", scene.proxy.log());
    assert_eq!(wire.run("SELECT @a").text(), "kept");
    assert_eq!(scene.place(&mut wire), 1 - place);
}
