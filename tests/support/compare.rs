//! What a direct connection can do, a proxied one can: the same script, twice, byte for byte.
//!
//! With `ODP_TEST_RESTARTS` set, the proxy is restarted all the time meanwhile. With
//! `ODP_TEST_COMPRESSION=CLIENT/SERVER`, each of them `off`, `zlib` or `zstd`, its legs are
//! compressed.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use odp::wire::capability as cap;

use super::legs::Entrance;
use super::proxy::is_haproxy;
use super::raw::{Login, Record, Wire, WireError};
use super::{Database, Ender, Every, Legs, Proxy, Server, Steps};

/// A script is moved at every byte if no more than this passes, both directions together.
const SHORT: u64 = 6_000;

/// Where a script runs.
pub(crate) struct Stage<'a> {
    /// The server, for what is not compared.
    pub database: &'a Database,
    /// Where clients connect in this run.
    pub address: String,
    /// This run's place in an assertion's text.
    pub name: String,
    /// Whether clients ask for DEPRECATE_EOF in this run.
    pub deprecate_eof: bool,
    /// Whether they ask for TLS where it is offered.
    pub tls: bool,
    records: RefCell<Vec<Rc<RefCell<Record>>>>,
}

impl Stage<'_> {
    /// Which server it is.
    pub(crate) fn server(&self) -> Server {
        self.database.server
    }

    /// Whether it is MySQL.
    pub(crate) fn is_mysql(&self) -> bool {
        self.server() == Server::MySql
    }

    /// The log-in of this run.
    pub(crate) fn login(&self) -> Login {
        let mut login = Login { tls: self.tls, ..Login::default() };
        if !self.deprecate_eof {
            login.capabilities &= !cap::DEPRECATE_EOF;
        }
        login
    }

    /// A connection whose bytes are compared.
    pub(crate) fn open(&self) -> Wire {
        self.open_with(&self.login()).unwrap_or_else(|error| panic!("{}: {error:?}", self.name))
    }

    /// As [`Self::open`], for a log-in of one's own.
    pub(crate) fn open_with(&self, login: &Login) -> Result<Wire, WireError> {
        let wire = Wire::open(&self.address, login);
        let record = match &wire {
            Ok(wire) => wire.record.clone(),
            Err(WireError::Refused(packet)) => {
                Rc::new(RefCell::new(Record { login: packet.payload.clone(), bytes: Vec::new() }))
            }
            Err(WireError::Io(error)) => {
                let bytes = format!("<{:?}>", error.kind()).into_bytes();
                Rc::new(RefCell::new(Record { login: Vec::new(), bytes }))
            }
        };
        self.records.borrow_mut().push(record);
        wire
    }

    /// Has the bytes of a connection that was opened otherwise compared, too.
    pub(crate) fn watch(&self, wire: &Wire) {
        self.records.borrow_mut().push(wire.record.clone());
    }

    /// Adds a fact to what is compared.
    pub(crate) fn note(&self, text: &str) {
        let bytes = text.as_bytes().to_vec();
        let record = Record { login: Vec::new(), bytes };
        self.records.borrow_mut().push(Rc::new(RefCell::new(record)));
    }

    /// Runs statements directly, not compared.
    pub(crate) fn setup(&self, statements: &[&str]) {
        self.database.execute(statements);
    }
}

/// Runs the script directly and through a proxy, with and without DEPRECATE_EOF, and compares.
pub(crate) fn transparent(server: Server, script: fn(&Stage)) {
    transparent_with(server, &[], script);
}

/// As [`transparent`] with options for the server.
pub(crate) fn transparent_with(server: Server, options: &[&str], script: fn(&Stage)) {
    let Some(database) = Database::start_with(server, options) else { return };
    transparent_all(&database, &[script]);
}

/// As [`transparent`], with these legs.
pub(crate) fn transparent_legs(server: Server, legs: Legs, script: fn(&Stage)) {
    let Some(database) = Database::start(server) else { return };
    everywhere(&database, legs, &[script]);
}

/// As [`transparent`] for several scripts, one after the other.
pub(crate) fn transparent_all(database: &Database, scripts: &[fn(&Stage)]) {
    everywhere(database, Legs::wanted(), scripts);
}

fn everywhere(database: &Database, legs: Legs, scripts: &[fn(&Stage)]) {
    let start = |every| Moved::start(database, every, legs);
    let (packets, bytes) = (start(Every::Packet), start(Every::Byte));
    let is_short = || packets.as_ref().is_some_and(|moved| moved.steps.take_carried() <= SHORT);
    let ways: [Way; 2] = [
        ("moved at every packet", false, &|| address_of(&packets)),
        ("moved at every byte", false, &|| is_short().then(|| address_of(&bytes)).flatten()),
    ];
    proxied_and(database, legs, &ways, scripts);
    finish([packets, bytes]);
}

/// As [`transparent`] for a script that takes seconds: it is moved at every packet only.
pub(crate) fn transparent_slow(server: Server, script: fn(&Stage)) {
    let Some(database) = Database::start(server) else { return };
    let legs = Legs::wanted();
    let packets = Moved::start(&database, Every::Packet, legs);
    proxied_and(
        &database,
        legs,
        &[("moved at every packet", false, &|| address_of(&packets))],
        &[script],
    );
    finish([packets]);
}

/// Planes that hand sessions over all the time, and how to come there.
struct Moved {
    steps: Steps,
    entrance: Entrance,
}

impl Moved {
    /// None where a proxy is tested that only copies bytes.
    fn start(database: &Database, every: Every, legs: Legs) -> Option<Self> {
        (!is_haproxy()).then(|| {
            let steps = Steps::start_with(database.address(), every, legs);
            let entrance = legs.entrance(steps.address());
            Self { steps, entrance }
        })
    }
}

fn address_of(moved: &Option<Moved>) -> Option<String> {
    moved.as_ref().map(|moved| moved.entrance.address().to_owned())
}

fn finish<const N: usize>(all: [Option<Moved>; N]) {
    for Moved { steps, entrance } in all.into_iter().flatten() {
        eprintln!("{:?}", steps.finish());
        entrance.check();
    }
}

/// Compares the direct way with the one through a proxy, and with others.
fn proxied_and(database: &Database, legs: Legs, others: &[Way], scripts: &[fn(&Stage)]) {
    let proxy = Proxy::start_with_lines(database, legs.lines());
    let entrance = legs.entrance(&proxy.address());
    let proxied = || Some(entrance.address().to_owned());
    let mut ways: Vec<Way> = vec![("proxied", false, &proxied)];
    ways.extend(others);
    let test = || {
        for script in scripts {
            compare_ways(database, &database.address(), &ways, *script);
        }
    };
    perhaps_under_restarts(&proxy, test);
    assert!(!proxy.process().living().is_empty(), "the proxy ended: {}", proxy.log());
    entrance.check();
}

/// Runs something, with `ODP_TEST_RESTARTS` set under restarts.
pub(crate) fn perhaps_under_restarts<T>(proxy: &Proxy, run: impl FnOnce() -> T) -> T {
    if std::env::var_os("ODP_TEST_RESTARTS").is_none() {
        return run();
    }
    let mut result = None;
    let count = under_restarts(proxy, || result = Some(run()));
    eprintln!("{count} restarts meanwhile");
    result.expect("it ran")
}

/// Restarts the proxy again and again while something runs; how often it did.
pub(crate) fn under_restarts(proxy: &Proxy, run: impl FnOnce()) -> usize {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let restarts = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                proxy.restart_by_signal();
                count += 1;
            }
            count
        });
        let stopper = Ender(&stop);
        run();
        drop(stopper);
        restarts.join().expect("every restart succeeds")
    })
}

/// Runs the script at both addresses, with and without DEPRECATE_EOF, and compares; at the second
/// one perhaps with TLS.
pub(crate) fn compare(
    database: &Database,
    direct: &str,
    proxied: &str,
    tls: bool,
    script: fn(&Stage),
) {
    compare_ways(database, direct, &[("proxied", tls, &|| Some(proxied.to_owned()))], script);
}

/// A way to the server: its name, whether clients ask for TLS, and where they connect. None: not
/// with this script.
type Way<'a> = (&'a str, bool, &'a dyn Fn() -> Option<String>);

/// As [`compare`], each of these ways with the direct one.
fn compare_ways(database: &Database, direct: &str, ways: &[Way], script: fn(&Stage)) {
    for deprecate_eof in [true, false] {
        let run = |name: &str, tls: bool, address: &str| {
            let mode = if deprecate_eof { "DEPRECATE_EOF" } else { "EOF" };
            let name = format!("{name}, {mode}");
            eprintln!("--- {name}");
            database.execute(&["DROP DATABASE p", "CREATE DATABASE p"]);
            let address = address.to_owned();
            let records = RefCell::default();
            let stage = Stage { database, address, name, deprecate_eof, tls, records };
            script(&stage);
            stage.records.into_inner()
        };
        let expected = run("direct", false, direct);
        for (name, tls, address) in ways {
            let Some(address) = address() else { continue };
            let got = run(name, *tls, &address);
            assert_eq!(expected.len(), got.len(), "{name}: connections");
            for (at, (expected, got)) in expected.iter().zip(&got).enumerate() {
                assert_same(name, at, &expected.borrow(), &got.borrow());
            }
        }
    }
}

fn assert_same(name: &str, connection: usize, expected: &Record, got: &Record) {
    let login = |record: &Record| record.login.escape_ascii().to_string();
    assert_eq!(login(expected), login(got), "{name}: connection {connection}: end of the log-in");
    if expected.bytes == got.bytes {
        return;
    }
    let both = expected.bytes.iter().zip(&got.bytes);
    let at = both.take_while(|(expected, got)| expected == got).count();
    let around = |bytes: &[u8]| {
        let from = at.saturating_sub(40);
        bytes[from..bytes.len().min(at + 80)].escape_ascii().to_string()
    };
    panic!(
        "{name}: connection {connection} differs from byte {at} ({} and {} bytes)\n\
         direct:  {}\n{name}: {}",
        expected.bytes.len(),
        got.bytes.len(),
        around(&expected.bytes),
        around(&got.bytes)
    );
}
