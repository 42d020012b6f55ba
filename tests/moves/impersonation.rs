//! A server behind a Unix socket takes the proxy's own user for whoever comes. No session moves to
//! it by that.

use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use crate::scene::said;
use crate::support::database::PASSWORD;
use crate::support::proxy::Options;
use crate::support::{Database, Login, Proxy, Server, Wire, scratch};

/// How the account of our own name is identified.
const OWN: [&str; 2] =
    ["VIA mysql_native_password USING 'invalid' OR unix_socket", "VIA unix_socket"];

const WORDS: &str = "may have taken the client for the proxy's own user";

/// A server that is reached by TCP, where sessions begin, and one that is reached by its socket.
struct Scene {
    _servers: [Database; 2],
    proxy: Proxy,
    /// What moves go to.
    there: String,
    /// Where the proxy listens, too.
    socket: PathBuf,
    /// The user that all of them run as.
    own: String,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn start(own_account: &str) -> Option<Self> {
        let own = User::from_uid(geteuid()).expect("a list of users").expect("we are in it").name;
        let [here, there] = [Database::start(Server::MariaDb)?, Database::start(Server::MariaDb)?];
        let known = format!("BY '{PASSWORD}'");
        for (server, host, own_account) in
            [(&here, "127.0.0.1", &*known), (&there, "localhost", own_account)]
        {
            for (name, how) in [(&*own, own_account), ("other", &known), ("bare", "BY ''")] {
                server.execute(&[
                    &format!("CREATE OR REPLACE USER '{name}'@'{host}' IDENTIFIED {how}"),
                    &format!("GRANT ALL ON p.* TO '{name}'@'{host}'"),
                ]);
            }
        }
        let (dir, address) = (scratch(), format!("unix:{}", there.socket.display()));
        let socket = dir.path().join("sql");
        let mut options = Options::new(&[here.address()]);
        options.listen.push(format!("unix:{}", socket.display()));
        let user = |name: &str| {
            format!("[[cluster.user]]\nname = \"{name}\"\npassword = \"{PASSWORD}\"\n")
        };
        let server = format!("[[cluster.server]]\naddress = \"{address}\"\nweight = 0\n");
        options.rest = [server, user(&own), user("other")].concat();
        let proxy = Proxy::start_with(&options);
        Some(Self { _servers: [here, there], proxy, there: address, socket, own, _dir: dir })
    }

    /// Moves a session there; or why it stays, and it does.
    fn move_there(&self, wire: &mut Wire) -> Result<(), String> {
        let before = server(wire);
        let id = wire.greeting.connection_id;
        let mut admin = self.proxy.admin().expect("the proxy takes operators");
        let order = format!("MOVE PROXYSESSION {id} TO '{}'", self.there);
        let error = said(&admin.query(&order));
        assert_eq!(server(wire) == before, error.is_some(), "{error:?}");
        error.map_or(Ok(()), Err)
    }
}

fn login(user: &str) -> Login {
    let password = if user == "bare" { "" } else { PASSWORD };
    Login { user: user.into(), password: password.into(), ..Login::default() }
}

/// The port of a session's server.
fn server(wire: &mut Wire) -> String {
    wire.run("SELECT @@port").text()
}

#[test]
fn no_session_moves_to_be_the_proxy() {
    for own_account in OWN {
        let Some(scene) = Scene::start(own_account) else { return };
        let by_network = |user: &str| {
            Wire::open(&scene.proxy.address(), &login(user)).unwrap_or_else(|it| panic!("{it:?}"))
        };
        for user in [&*scene.own, "bare"] {
            let mut wire = by_network(user);
            let error = scene.move_there(&mut wire).expect_err(user);
            assert!(error.contains(WORDS), "{user}: {error}");
        }
        scene.move_there(&mut by_network("other")).expect("it has proved who it is");
        a_client_that_is_the_proxy_moves(&scene);
    }
}

/// It is what the server takes it for, before and behind a restart.
fn a_client_that_is_the_proxy_moves(scene: &Scene) {
    let by_socket = |socket: &Path| Wire::open_unix(socket, &login(&scene.own)).expect("a session");
    let [mut one, mut other] = [by_socket(&scene.socket), by_socket(&scene.socket)];
    scene.move_there(&mut one).expect("it is the proxy's own user");
    scene.proxy.restart();
    scene.move_there(&mut other).expect("it still is");
}
