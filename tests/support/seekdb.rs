//! OceanBase's SeekDB: how its program is run so that nobody but the test sees it.
//!
//! It listens on all addresses of port 2881 and wants a network card with a MAC address. So it
//! gets a network namespace of its own with a card that leads nowhere, and is reached by its Unix
//! socket, which a bridge on a port of 127.0.0.1 leads to.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use super::database::fetched;
use super::raw::{Login, Wire, WireError};

/// Makes the card, then becomes its arguments.
const IN_NAMESPACE: &str = "ip link set lo up && \
    { ip link add odp0 type veth peer name odp1 && ip link set odp1 up || \
      ip link add odp0 type dummy; } && \
    ip address add 10.255.255.1/24 dev odp0 && ip link set odp0 up && exec \"$@\"";

/// What the user `root`, who has no password, makes before the first test connects.
const INIT_SQL: [&str; 3] = [
    "CREATE DATABASE IF NOT EXISTS p",
    "CREATE USER IF NOT EXISTS 'odp'@'%' IDENTIFIED BY 'odp-secret'",
    "GRANT ALL ON *.* TO 'odp'@'%' WITH GRANT OPTION",
];

/// The program as `tests/fetch` has unpacked it, or why there is none.
pub(crate) fn program() -> Result<PathBuf, String> {
    let binary = fetched("ODP_TEST_SEEKDB", "seekdb").join("files/pylibseekdb/seekdb");
    if !binary.exists() {
        return Err("SeekDb is not to be had here".into());
    }
    static NAMESPACE: OnceLock<Result<(), String>> = OnceLock::new();
    NAMESPACE.get_or_init(try_namespace).clone().map(|()| binary)
}

/// Whether this machine lets us have a network namespace with a card.
fn try_namespace() -> Result<(), String> {
    let output = in_namespace().arg("true").output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            Err(format!("SeekDb needs a network namespace with a card: {errors}"))
        }
        Err(error) => Err(format!("SeekDb needs unshare: {error}")),
    }
}

fn in_namespace() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--", "sh", "-c", IN_NAMESPACE, "sh"]);
    command
}

/// Where it looks for the files that MariaDB's options name: below its directory.
const CERTIFICATES: [(&str, &str); 3] = [
    ("--ssl-ca=", "wallet/ca.pem"),
    ("--ssl-cert=", "wallet/server-cert.pem"),
    ("--ssl-key=", "wallet/server-key.pem"),
];

/// The server on a directory that is empty or its own from before; with MariaDB's options for
/// certificates it offers TLS.
pub(crate) fn command(binary: &Path, dir: &Path, options: &[String]) -> Command {
    std::fs::create_dir_all(dir.join("wallet")).expect("the directory is ours");
    let mut command = in_namespace();
    command.arg(binary).args(["--nodaemon", "--port", "2881", "--log-level", "ERROR"]);
    command.arg("--base-dir").arg(dir);
    // Less of the log's disk or of memory, and it does not start.
    for size in ["datafile_size=64M", "datafile_maxsize=4G", "log_disk_size=2G", "memory_limit=1G"]
    {
        command.args(["--parameter", size]);
    }
    // Else a statement may take no more than 10 s, on a busy machine too.
    for variable in ["max_allowed_packet=1073741824", "ob_query_timeout=3600000000"] {
        command.args(["--variable", variable]);
    }
    for option in options {
        let known = |(name, place)| Some((option.strip_prefix(name)?, place));
        let (file, place) = CERTIFICATES.into_iter().find_map(known).expect("an option it has");
        std::fs::copy(file, dir.join(place)).expect("the directory is ours");
        command.args(["--parameter", "ssl_client_authentication=True"]);
    }
    command
}

/// Where it listens.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join("run/sql.sock")
}

/// Makes the tests' user and database; an error while the server is still starting.
pub(crate) fn initialise(socket: &Path) -> Result<(), WireError> {
    let login =
        Login { user: "root".into(), password: String::new(), database: None, ..Login::default() };
    let mut root = Wire::open_unix(socket, &login)?;
    for sql in INIT_SQL {
        let reply = root.try_query(sql)?;
        if reply.error().is_some() {
            return Err(WireError::Refused(reply.last().clone()));
        }
    }
    Ok(())
}

/// Leads a port of 127.0.0.1 to a Unix socket; its threads end at the latest with the test.
pub(crate) fn bridge(socket: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let Ok(far) = UnixStream::connect(&socket) else { continue };
            let _ = join(near, far);
        }
    });
    port
}

/// Two threads, one a direction; an end of one is passed on to the other side.
fn join(near: TcpStream, far: UnixStream) -> io::Result<()> {
    near.set_nodelay(true)?;
    let (mut near2, mut far2) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut near2, &mut far2);
        let _ = far2.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let (mut near, mut far) = (near, far);
        let _ = io::copy(&mut far, &mut near);
        let _ = near.shutdown(Shutdown::Write);
    });
    Ok(())
}
