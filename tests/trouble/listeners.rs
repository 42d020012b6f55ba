//! Listening sockets that clients do not find any more.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::support::proxy::Options;
use crate::support::{Database, Login, Proxy, Server, Wire, scratch, until};
use crate::{open, signal, stop};

struct Scene {
    _database: Database,
    proxy: Proxy,
    /// Where the sockets are.
    dir: tempfile::TempDir,
}

impl Scene {
    fn start() -> Option<Self> {
        let database = Database::start(Server::MariaDb)?;
        let dir = scratch();
        std::fs::create_dir(dir.path().join("sub")).expect("it is ours");
        let mut options = Options::new(&[database.address()]);
        options.listen = vec![format!("unix:{}", dir.path().join("sub/sql").display())];
        let proxy = Proxy::start_with(&options);
        Some(Self { _database: database, proxy, dir })
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sub/sql")
    }

    fn log_in(&self) -> Option<Wire> {
        Wire::open_unix(&self.socket(), &Login::default()).ok()
    }

    fn until_found(&self) -> Wire {
        until("the socket to be there again", || self.log_in())
    }

    fn until_ready(&self, status: u16) {
        until(&format!("/readyz to say {status}\n{}", self.proxy.log()), || {
            (self.proxy.http_status("/readyz") == Some(status)).then_some(())
        });
    }
}

fn remove(path: &Path) {
    std::fs::remove_file(path).expect("it is there");
}

#[test]
fn a_removed_socket_comes_back_by_itself() {
    let Some(scene) = Scene::start() else { return };
    let mut old = scene.log_in().expect("it listens");
    for _ in 0..3 {
        remove(&scene.socket());
        scene.until_found().run("SELECT 1");
    }
    scene.until_ready(200);
    old.run("SELECT 1");
    // The successor has the new one, and looks after it as well.
    scene.proxy.restart();
    scene.log_in().expect("it listens").run("SELECT 1");
    remove(&scene.socket());
    scene.until_found().run("SELECT 1");
    old.run("SELECT 1");
    stop(&scene.proxy);
    assert!(!scene.socket().exists(), "it is removed at the end");
}

#[test]
fn who_waited_at_the_old_socket_is_served() {
    let Some(scene) = Scene::start() else { return };
    // Nobody accepts while the process stands still.
    signal(&scene.proxy, Signal::SIGSTOP);
    let waiting: Vec<UnixStream> =
        (0..10).map(|_| UnixStream::connect(scene.socket()).expect("it listens")).collect();
    remove(&scene.socket());
    signal(&scene.proxy, Signal::SIGCONT);
    scene.until_found().run("SELECT 1");
    for stream in waiting {
        let wire = Wire::over_unix(stream).expect("a greeting");
        wire.log_in(&Login::default()).expect("a session").run("SELECT 1");
    }
}

#[test]
fn a_socket_that_cannot_be_bound_again_is_told() {
    let Some(scene) = Scene::start() else { return };
    let (sub, away) = (scene.dir.path().join("sub"), scene.dir.path().join("away"));
    std::fs::rename(&sub, &away).expect("it is ours");
    scene.until_ready(503);
    let answer = scene.proxy.http_get("/readyz").expect("an answer");
    assert!(!answer.contains(scene.dir.path().to_str().expect("UTF-8")), "{answer}");
    assert_eq!(scene.proxy.http_status("/healthz"), Some(200));
    // A restart changes nothing about that, and neither forgets it.
    scene.proxy.restart();
    scene.until_ready(503);
    open(&scene.proxy).run("SELECT 1");
    std::fs::create_dir(&sub).expect("it is ours");
    signal(&scene.proxy, Signal::SIGHUP);
    scene.until_ready(200);
    scene.log_in().expect("it listens").run("SELECT 1");
}

#[test]
fn somebody_elses_socket_is_left_alone() {
    let Some(scene) = Scene::start() else { return };
    remove(&scene.socket());
    // It may be back at once; whoever is last has it.
    let other = until("the path to be free", || {
        let _ = std::fs::remove_file(scene.socket());
        UnixListener::bind(scene.socket()).ok()
    });
    scene.until_ready(503);
    scene.proxy.restart();
    scene.until_ready(503);
    let mut there = UnixStream::connect(scene.socket()).expect("it listens");
    // The proxy has knocked as well, to see whether somebody listens.
    let mut here = until("our own connection", || {
        let (mut here, _) = other.accept().expect("a connection");
        here.write_all(b"other").is_ok().then_some(here)
    });
    let mut said = [0; 5];
    there.read_exact(&mut said).expect("heard");
    assert_eq!(&said, b"other");
    // Its owner goes and leaves the file behind: nobody listens there any more.
    here.flush().expect("sent");
    drop((other, here, there));
    scene.until_ready(200);
    scene.log_in().expect("it listens").run("SELECT 1");
}

#[test]
fn a_stop_removes_no_file_of_somebody_else() {
    let Some(scene) = Scene::start() else { return };
    let _other = until("the path to be free", || {
        let _ = std::fs::remove_file(scene.socket());
        UnixListener::bind(scene.socket()).ok()
    });
    scene.until_ready(503);
    stop(&scene.proxy);
    assert!(scene.socket().exists());
}

/// The address of all hosts is that of IPv4 clients, too, which are shown as what they are.
#[test]
fn any_ipv6_address_is_any_address() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = loop {
        let port = crate::support::free_port();
        let mut options = Options::new(&[database.address()]);
        options.listen = vec![format!("[::]:{port}")];
        let proxy = Proxy::start_with(&options);
        if let Ok(mut wire) = Wire::open(&format!("127.0.0.1:{port}"), &Login::default()) {
            wire.run("SELECT 1");
            Wire::open(&format!("[::1]:{port}"), &Login::default()).expect("v6").run("SELECT 1");
            let rows = proxy.admin().expect("admin").query("SHOW PROXYSESSION").named_rows();
            let clients: Vec<&str> = rows.iter().map(|row| row["Host"].as_str()).collect();
            assert!(clients.iter().any(|it| it.starts_with("127.0.0.1:")), "{clients:?}");
            break proxy;
        }
        assert!(std::net::TcpStream::connect(("::1", port)).is_err(), "v6 only");
    };
    stop(&proxy);
    // Both can be listed.
    let port = crate::support::free_port();
    let mut options = Options::new(&[database.address()]);
    options.listen = vec![format!("[::]:{port}"), format!("127.0.0.1:{port}")];
    let _proxy = Proxy::start_with(&options);
    for host in ["[::1]", "127.0.0.1"] {
        let address = format!("{host}:{port}");
        Wire::open(&address, &Login::default()).expect("it listens").run("SELECT 1");
    }
}
