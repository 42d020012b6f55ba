//! What the tests share: private servers, the proxy as a process, and a client that speaks bytes.
//!
//! Everything a fixture starts ends with the test, also when the test is killed: see
//! [`process::Process`]. Nothing sleeps: what can be awaited is awaited, and a state that sends no
//! event is polled with [`until`], which has a deadline.
// Each test binary uses its own part of this.
#![allow(dead_code, unused_imports)]

pub(crate) mod anybody;
pub(crate) mod blackhole;
pub(crate) mod clock;
pub(crate) mod compare;
pub(crate) mod database;
pub(crate) mod etcd;
pub(crate) mod fake_server;
pub(crate) mod fleet;
pub(crate) mod http;
pub(crate) mod legs;
pub(crate) mod load;
pub(crate) mod pki;
pub(crate) mod place;
pub(crate) mod planes;
pub(crate) mod pressure;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod replication;
pub(crate) mod reply;
pub(crate) mod seekdb;
pub(crate) mod socket;
pub(crate) mod steps;
pub(crate) mod tunnel;
pub(crate) mod user;
pub(crate) mod valve;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) use compare::{Stage, transparent, transparent_with};
pub(crate) use database::{Database, Server};
pub(crate) use fake_server::{Act, FakeServer};
pub(crate) use legs::Legs;
pub(crate) use process::{Process, may_look_into_proxies};
pub(crate) use proxy::Proxy;
pub(crate) use raw::{Login, Packet, Reply, Wire, com};
pub(crate) use relay::{Chop, Relay};
pub(crate) use steps::{Every, Steps};
pub(crate) use tunnel::{Compression, Tunnel};

/// Tells other threads that it is over when it is dropped, also by a panic.
pub(crate) struct Ender<'a>(pub &'a AtomicBool);

impl Drop for Ender<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long a test waits for something before it fails. Long: the machine may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Polls something that sends no event; fails after [`LIMIT`].
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {LIMIT:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that was free a moment ago. Whoever binds it retries with another one on a conflict.
pub(crate) fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// As [`free_port`], several different ones.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let bind = |_| TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let listeners: [TcpListener; N] = std::array::from_fn(bind);
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}

/// Where fixtures keep their files: below `target/`, unless the path is too long for sockets.
pub(crate) fn fixtures_dir() -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    // sun_path holds 107 bytes; the longest name below is "/odp-123456/run/handover.sock".
    let dir = match dir.as_os_str().len() > 70 {
        true => std::env::temp_dir().join("odp-tests"),
        false => dir,
    };
    std::fs::create_dir_all(&dir).expect("target/ is writable");
    dir
}

/// A directory for one fixture, gone with it.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("odp-").tempdir_in(fixtures_dir()).expect("a scratch directory")
}

/// Says that a test cannot run here; `tests/run` counts these lines at the end.
pub(crate) fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    eprintln!("SKIPPED {test}: {why}");
    let path = std::env::var_os("ODP_TEST_SKIPS").map(PathBuf::from);
    let path = path.unwrap_or_else(|| fixtures_dir().join("skips"));
    let line = format!("{test}: {why}\n");
    let file: std::io::Result<File> = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list of skips");
}
