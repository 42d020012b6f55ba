//! A server, a proxy with crash protection, and its deaths.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::legs::Entrance;
use crate::support::pki::Pki;
use crate::support::proxy::{Options, is_haproxy};
use crate::support::raw::WireError;
use crate::support::tunnel::Compression;
use crate::support::{Database, Ender, Legs, Login, Proxy, Server, Wire, scratch, until};

/// A MariaDB and a pair in front of it.
pub(crate) struct Scene {
    pub database: Database,
    pub proxy: Proxy,
}

impl Scene {
    /// None where there is nothing to test.
    pub(crate) fn start() -> Option<Self> {
        Self::start_at(&[])
    }

    /// It listens there, too.
    pub(crate) fn start_at(listen: &[String]) -> Option<Self> {
        Self::start_with(|options| options.listen = listen.to_vec())
    }

    /// With other options.
    pub(crate) fn start_with(change: impl FnOnce(&mut Options)) -> Option<Self> {
        if is_haproxy() {
            return None;
        }
        Some(Self::before(Database::start(Server::MariaDb)?, change))
    }

    /// In front of this server.
    pub(crate) fn before(database: Database, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(&[database.address()]);
        change(&mut options);
        options.proxy.insert_str(0, "crash_protection = true\n");
        let proxy = Proxy::start_with(&options);
        Self { database, proxy }
    }

    /// The process that carries the sessions.
    pub(crate) fn carrier(&self) -> u32 {
        self.proxy.carrier()
    }

    /// An operator, as soon as there is one to be had.
    pub(crate) fn admin(&self) -> Wire {
        until("the admin port", || self.proxy.admin().ok())
    }

    /// Kills the carrier by this signal, and waits for the next; its pid.
    pub(crate) fn kill(&self, signal: Signal) -> u32 {
        let (before, deaths) = (self.carrier(), self.crashes().len());
        kill(Pid::from_raw(before as i32), signal).expect("it lives");
        until(&format!("somebody after {before}\n{}", self.proxy.log()), || {
            let rows = self.try_crashes()?;
            (rows.len() > deaths && rows[0]["pid"] == before.to_string()).then_some(())
        });
        // Whoever is killed again and again before it serves is taken for a danger to all others.
        until("it to serve", || (self.proxy.http_status("/readyz") == Some(200)).then_some(()));
        let after = self.carrier();
        assert_ne!(before, after);
        after
    }

    /// Waits until so many processes have died; what SHOW CRASH shows then.
    pub(crate) fn after(&self, deaths: usize) -> Vec<BTreeMap<String, String>> {
        until(&format!("{deaths} deaths\n{}", self.proxy.log()), || {
            let rows = self.try_crashes()?;
            (rows.len() >= deaths).then_some(rows)
        })
    }

    /// Sessions, each with a variable of its own.
    pub(crate) fn innocents(&self, count: usize) -> Vec<Wire> {
        let open = |n| {
            let wire = Wire::open(&self.proxy.address(), &Login::default());
            let mut wire = wire.expect("takes clients");
            wire.run(&format!("SET @n = {n}"));
            wire
        };
        (0..count).map(open).collect()
    }

    /// They all go on.
    pub(crate) fn ask_all(&self, sessions: &mut [Wire]) {
        for (n, wire) in sessions.iter_mut().enumerate() {
            assert_eq!(wire.run("SELECT @n").text(), n.to_string());
        }
    }

    /// What SHOW CRASH shows.
    pub(crate) fn crashes(&self) -> Vec<BTreeMap<String, String>> {
        self.admin().query("SHOW CRASH").named_rows()
    }

    /// The same, where whoever is asked may be about to die.
    pub(crate) fn try_crashes(&self) -> Option<Vec<BTreeMap<String, String>>> {
        let mut admin = self.proxy.admin().ok()?;
        Some(admin.try_query("SHOW CRASH").ok()?.named_rows())
    }

    /// What it says of the death of this carrier, if that is the last one.
    pub(crate) fn death_of(&self, carrier: u32) -> Option<BTreeMap<String, String>> {
        let last = self.try_crashes()?.into_iter().next();
        last.filter(|row| row["pid"] == carrier.to_string())
    }
}

/// A scene in which whoever passes a crash point stops or dies, as soon as one is named. Clients
/// may have TLS.
pub(crate) struct Mined {
    pub scene: Scene,
    /// A Unix socket, where it listens, too.
    pub socket: PathBuf,
    /// Holds the crash point; whoever dies of it empties it.
    spec: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mined {
    /// With these lines in the proxy's section, and this mode of TLS to the server. None where
    /// there is nothing to test.
    pub(crate) fn start(proxy: &str, server_tls: &str) -> Option<Self> {
        if is_haproxy() {
            return None;
        }
        let dir = scratch();
        let [spec, socket] = ["crash", "odp.sock"].map(|name| dir.path().join(name));
        let files = Pki::new().write(dir.path());
        let of_server = files.of_server();
        let of_server: Vec<&str> = of_server.iter().map(String::as_str).collect();
        let database = Database::start_with(Server::MariaDb, &of_server)?;
        let scene = Scene::before(database, |options| {
            let value = format!("@{}", spec.display());
            options.environment.push(("ODP_CRASH_AT".into(), value));
            options.listen = vec![format!("unix:{}", socket.display())];
            options.proxy = proxy.into();
            options.rest = files.of_proxy(server_tls);
        });
        let mined = Self { scene, socket, spec, _dir: dir };
        mined.disarm();
        Some(mined)
    }

    /// From now on, at this point.
    pub(crate) fn arm(&self, at: &str) {
        std::fs::write(&self.spec, at).expect("the directory is ours");
    }

    /// Nowhere any more.
    pub(crate) fn disarm(&self) {
        self.arm("");
    }

    /// Whether somebody is still to pass there.
    pub(crate) fn is_armed(&self) -> bool {
        !std::fs::read_to_string(&self.spec).expect("the directory is ours").is_empty()
    }
}

/// What both connections of a session have beside packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layers {
    Nothing,
    Tls13,
    Tls12,
    Zlib,
    Zstd,
    /// The server's connection has both, the client's is compressed.
    TlsAndZlib,
    /// The same, and the server is a MySQL.
    TlsAndZstd,
}

/// A scene whose connections have them.
pub(crate) struct Layered {
    pub scene: Scene,
    entrance: Entrance,
    login: Login,
    /// Whoever comes after a crash may read the files again.
    _dir: tempfile::TempDir,
}

impl Layered {
    /// None where there is nothing to test.
    pub(crate) fn start(layers: Layers) -> Option<Self> {
        Self::start_with(layers, |_| ())
    }

    /// With other options.
    pub(crate) fn start_with(layers: Layers, change: impl FnOnce(&mut Options)) -> Option<Self> {
        if is_haproxy() {
            return None;
        }
        let (tls, zlib) = match layers {
            Layers::Nothing => (None, None),
            Layers::Tls13 => (Some("TLSv1.3"), None),
            Layers::Tls12 => (Some("TLSv1.2"), None),
            Layers::Zlib => (None, Some(Compression::Zlib)),
            Layers::Zstd => (None, Some(Compression::Zstd(3))),
            Layers::TlsAndZlib => (Some("TLSv1.3"), Some(Compression::Zlib)),
            Layers::TlsAndZstd => (Some("TLSv1.3"), Some(Compression::Zstd(3))),
        };
        // MariaDB knows no zstd.
        let (kind, server) = match layers {
            Layers::TlsAndZstd => (Server::MySql, zlib),
            _ => (Server::MariaDb, zlib.map(|_| Compression::Zlib)),
        };
        let legs = Legs { client: zlib, server, tls: tls.is_some() };
        let dir = scratch();
        let files = Pki::new().write(dir.path());
        let mut of_server = Vec::new();
        if let Some(version) = tls {
            of_server.extend(files.of_server());
            of_server.push(format!("--tls-version={version}"));
        }
        let of_server: Vec<&str> = of_server.iter().map(String::as_str).collect();
        let database = Database::start_with(kind, &of_server)?;
        let scene = Scene::before(database, |options| {
            options.proxy.push_str(&legs.lines());
            if legs.tls {
                options.rest = files.of_proxy("require");
            }
            change(options);
        });
        let entrance = legs.entrance(&scene.proxy.address());
        let is_12 = tls == Some("TLSv1.2");
        let login =
            Login { tls: legs.tls && legs.client.is_none(), tls_12: is_12, ..Login::default() };
        Some(Self { scene, entrance, login, _dir: dir })
    }

    /// The scene, and what keeps the way to it open.
    pub(crate) fn into_scene(self) -> (Scene, Box<dyn Any>) {
        let Self { scene, entrance, _dir, .. } = self;
        (scene, Box::new((entrance, _dir)))
    }

    /// A client.
    pub(crate) fn open(&self) -> Wire {
        self.try_open(Login::default()).expect("takes clients")
    }

    /// A client that logs in so, if it is let in.
    pub(crate) fn try_open(&self, login: Login) -> Result<Wire, WireError> {
        let login = Login { tls: self.login.tls, tls_12: self.login.tls_12, ..login };
        Wire::open(self.entrance.address(), &login)
    }

    /// Kills the proxy; all of this many sessions go on.
    pub(crate) fn kill(&self, sessions: usize) {
        self.scene.kill(Signal::SIGKILL);
        let (crash, sessions) = (&self.scene.crashes()[0], sessions.to_string());
        assert_eq!((&crash["sessions"], &crash["resumed"]), (&sessions, &sessions), "{crash:?}");
        self.entrance.check();
    }

    /// So many clients take one turn after the other, without a pause, while the proxy is killed so
    /// often. A turn is told which client it is of, and how many were before it.
    pub(crate) fn kill_under(
        &self,
        (clients, kills): (usize, usize),
        begin: &str,
        turn: impl Fn(&mut Wire, usize, usize) + Sync,
    ) {
        let (is_over, are_there) = (AtomicBool::new(false), Barrier::new(clients + 1));
        let work = |client: usize| {
            let mut wire = self.open();
            wire.run(begin);
            are_there.wait();
            let mut turns = 0;
            while !is_over.load(Ordering::Relaxed) {
                turn(&mut wire, client, turns);
                turns += 1;
            }
            turns
        };
        let work = &work;
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..clients).map(|n| scope.spawn(move || work(n))).collect();
            are_there.wait();
            let ender = Ender(&is_over);
            (0..kills).for_each(|_| self.kill(clients));
            drop(ender);
            for client in all {
                assert!(client.join().expect("nothing was noticed") > 0);
            }
        });
    }
}
