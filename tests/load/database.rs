//! A private MariaDB that lives as long as a test.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const ACCOUNT: &str = "CREATE DATABASE shop;\n\
    CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret';\n\
    GRANT ALL ON shop.* TO app@'127.0.0.1';\n";

/// A running server with a database `shop` and a user `app`.
pub(crate) struct Database {
    pub port: u16,
    child: Child,
    _directory: TempDir,
}

impl Database {
    /// Starts one; None, said loudly, where there is no MariaDB.
    pub(crate) fn start() -> Option<Self> {
        for program in ["mariadbd", "mariadb-install-db"] {
            if !is_installed(program) {
                println!("SKIPPED: {program} is not installed (apt-get install mariadb-server)");
                return None;
            }
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(path.join("account.sql"), ACCOUNT).unwrap();
        prepare(path);
        let port = free_port();
        let child = serve(path, port);
        wait_for_greeting(port);
        Some(Self { port, child, _directory: directory })
    }

    /// The URL for `odp load` by way of a port, which may be that of a proxy.
    pub(crate) fn url(&self, port: u16) -> String {
        format!("mysql://app:secret@127.0.0.1:{port}/shop")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn prepare(path: &Path) {
    let (data, temporary) = (path.join("data"), path.join("temporary"));
    std::fs::create_dir(&data).unwrap();
    std::fs::create_dir(&temporary).unwrap();
    let mut install = Command::new("mariadb-install-db");
    install.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
    install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    if is_root() {
        let owned = Command::new("chown").arg("mysql").args([&data, &temporary]).status().unwrap();
        assert!(owned.success());
        install.arg("--user=mysql");
    }
    // A server that starts removes temporary tables of others in the same directory.
    let installed = install.env("TMPDIR", &temporary).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
}

fn serve(path: &Path, port: u16) -> Child {
    let mut command = match is_root() && is_installed("setpriv") {
        // Ends with the test, even if that is killed.
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=mysql", "--regid=mysql", "--init-groups"]);
            command.args(["--pdeathsig=KILL", "mariadbd", "--no-defaults"]);
            command
        }
        false => {
            let mut command = Command::new("mariadbd");
            command.arg("--no-defaults");
            command
        }
    };
    let data = path.join("data");
    command
        .env("TMPDIR", path.join("temporary"))
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--socket={}", data.join("socket").display()))
        .arg(format!("--pid-file={}", data.join("pid").display()))
        .arg(format!("--init-file={}", path.join("account.sql").display()))
        .arg(format!("--port={port}"))
        .args(["--bind-address=127.0.0.1", "--skip-log-bin", "--skip-name-resolve"])
        .args(["--max-connections=2000", "--innodb-flush-log-at-trx-commit=0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mariadbd")
}

/// A port that the kernel has just found free.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until a server speaks on this port; the first byte of a greeting is enough.
pub(crate) fn wait_for_greeting(port: u16) {
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            if stream.read_exact(&mut [0]).is_ok() {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nobody speaks on port {port}");
}

/// Whether a program is there.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
