//! Private database servers: MariaDB from the machine; a newer MariaDB, MySQL 9 and OceanBase's
//! SeekDB from `tests/fetch`.
//!
//! Installing a data directory takes seconds, so it is done once for each server version, under a
//! file lock, and every test copies it; SeekDB starts on an empty one in a second. A server listens
//! on a port the kernel chose and on a socket file, holds the database `p` and the user `odp` (all
//! rights, [`PASSWORD`]), and dies with the test.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use super::raw::{Login, Wire, WireError};
use super::{Process, fixtures_dir, free_port, scratch, seekdb, skip, until};

/// The password of the user `odp`.
pub(crate) const PASSWORD: &str = "odp-secret";

const INIT_SQL: &str = "
CREATE DATABASE IF NOT EXISTS p;
DROP USER IF EXISTS ''@'localhost';
CREATE USER IF NOT EXISTS 'odp'@'%' IDENTIFIED BY 'odp-secret';
GRANT ALL ON *.* TO 'odp'@'%' WITH GRANT OPTION;
";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// The machine's `mariadbd`.
    MariaDb,
    /// MariaDB 11 as fetched by `tests/fetch`.
    MariaDb11,
    /// MySQL 9 as fetched by `tests/fetch`.
    MySql,
    /// OceanBase in its small form, as fetched by `tests/fetch`.
    SeekDb,
}

impl Server {
    /// The program with the arguments that every start and the installation share, or why it is
    /// not to be had.
    fn program(self) -> Result<Program, String> {
        let found = match self {
            Self::SeekDb => return Ok(Program { binary: seekdb::program()?, root: None }),
            Self::MariaDb => ["/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/bin/mariadbd"]
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
                .map(|binary| Program { binary, root: None }),
            Self::MariaDb11 => Program::unpacked(mariadb11_root(), "usr/sbin/mariadbd"),
            Self::MySql => Program::unpacked(mysql_root(), "usr/sbin/mysqld"),
        };
        found.ok_or_else(|| format!("{self:?} is not to be had here"))
    }
}

struct Program {
    binary: PathBuf,
    /// The file system that it was unpacked to.
    root: Option<PathBuf>,
}

impl Program {
    fn unpacked(root: PathBuf, binary: &str) -> Option<Self> {
        let binary = root.join(binary);
        binary.exists().then_some(Self { binary, root: Some(root) })
    }

    fn is_mysql(&self) -> bool {
        self.binary.ends_with("mysqld")
    }

    fn command(&self) -> Command {
        let mut command = match &self.root {
            None => Command::new(&self.binary),
            Some(root) => within(root, &self.binary),
        };
        command.arg("--no-defaults");
        if nix::unistd::geteuid().is_root() {
            // Not `mysql`: the data lies below target/, which that user may not be able to enter.
            command.arg("--user=root");
        }
        if let Some(root) = &self.root {
            let option = |name, path: &str| format!("--{name}={}", root.join(path).display());
            let share = if self.is_mysql() { "usr/share/mysql" } else { "usr/share/mariadb" };
            command.arg(option("basedir", "usr"));
            command.arg(option("lc-messages-dir", share));
            command.arg(option("character-sets-dir", &format!("{share}/charsets")));
            command.arg(option("plugin-dir", "usr/lib/mysql/plugin"));
            command.arg("--secure-file-priv=");
        }
        command
    }

    /// Tells one build of the server from another.
    fn key(&self) -> String {
        let file = self.binary.metadata().expect("the server's binary was there a moment ago");
        format!("{}-{}", file.len(), file.mtime())
    }
}

/// Where `tests/fetch` has put MySQL 9.
fn mysql_root() -> PathBuf {
    fetched("ODP_TEST_MYSQL", "mysql").join("root")
}

/// Where `tests/fetch` has put MariaDB 11, its client library, and a Python.
fn mariadb11_root() -> PathBuf {
    fetched("ODP_TEST_MARIADB11", "mariadb11").join("root")
}

/// Where `tests/fetch` has put something: what the variable names, or a place below `target/`.
pub(crate) fn fetched(variable: &str, name: &str) -> PathBuf {
    let dir = std::env::var_os(variable).map(PathBuf::from);
    dir.unwrap_or_else(|| fixtures_dir().join(name))
}

/// A program with the libraries that were unpacked with it.
fn within(root: &Path, binary: &Path) -> Command {
    let libraries = root.join("usr/lib").join(multiarch());
    let mut command = Command::new(libraries.join(loader()));
    command.arg("--library-path").arg(&libraries).arg("--argv0").arg(binary).arg(binary);
    command
}

/// MySQL's own command line; None if it is not to be had here.
pub(crate) fn mysql_command_line() -> Option<Command> {
    let root = mysql_root();
    let binary = root.join("usr/bin/mysql");
    binary.exists().then(|| within(&root, &binary))
}

/// The Python that came with MariaDB 11, with its client library and that one's plugins; None if it
/// is not to be had here.
pub(crate) fn mariadb11_python() -> Option<Command> {
    let root = mariadb11_root();
    let binary = root.join("usr/bin/python3");
    binary.exists().then(|| {
        let mut command = within(&root, &binary);
        command.env("PYTHONHOME", root.join("usr"));
        let plugins = root.join("usr/lib").join(multiarch()).join("libmariadb3/plugin");
        command.env("MARIADB_PLUGIN_DIR", plugins);
        command
    })
}

/// Nobody listens there, and nobody is given it who asks for any port.
fn reserve(port: u16) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    Ok(socket)
}

fn multiarch() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}

fn loader() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "ld-linux-aarch64.so.1",
        _ => "ld-linux-x86-64.so.2",
    }
}

/// A running server.
pub(crate) struct Database {
    /// Which one.
    pub server: Server,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its Unix socket.
    pub socket: PathBuf,
    options: Vec<String>,
    process: Option<Process>,
    /// Bound to its port while it is down: another test may look for one that is free.
    reserved: Option<Socket>,
    dir: tempfile::TempDir,
}

impl Database {
    /// Starts one; None, and a note in the list of skips, if it is not to be had here.
    pub(crate) fn start(server: Server) -> Option<Self> {
        Self::start_with(server, &[])
    }

    /// As [`Self::start`] with further options for the server.
    pub(crate) fn start_with(server: Server, options: &[&str]) -> Option<Self> {
        let program = match server.program() {
            Ok(program) => program,
            Err(why) => {
                skip(&why);
                return None;
            }
        };
        let dir = scratch();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let socket = dir.path().join("s");
        let (process, reserved) = (None, None);
        let mut database = Self { server, port: 0, socket, options, process, reserved, dir };
        if server == Server::SeekDb {
            database.socket = seekdb::socket(&database.data());
            database.port = seekdb::bridge(database.socket.clone());
            assert!(database.launch(&program), "{}", database.log());
            return Some(database);
        }
        copy(&template(server, &program), &database.data());
        // MySQL's id of itself: of two servers with the same one neither replicates the other.
        let _ = std::fs::remove_file(database.data().join("auto.cnf"));
        // Somebody else may take the port between the choice and the bind.
        for _ in 0..20 {
            database.port = free_port();
            if database.launch(&program) {
                return Some(database);
            }
        }
        panic!("no port was free: {}", database.log());
    }

    /// Starts it again on the same port after [`Self::kill9`] or [`Self::shut_down`].
    pub(crate) fn start_again(&mut self) {
        let program = self.server.program().expect("it was there for the first start");
        self.reserved = None;
        assert!(self.launch(&program), "start again: {}", self.log());
    }

    /// True once it answers; false when its port was taken.
    fn launch(&mut self, program: &Program) -> bool {
        let _ = std::fs::remove_file(&self.socket);
        let command = match self.server {
            Server::SeekDb => seekdb::command(&program.binary, &self.data(), &self.options),
            Server::MariaDb | Server::MariaDb11 | Server::MySql => self.command(program),
        };
        let process = Process::spawn(
            &format!("{:?}", self.server),
            command,
            &self.dir.path().join("server.log"),
        );
        // The socket file exists only when the port was bound, and then it is this server's.
        let up = until(&format!("{:?} to start\n{}", self.server, process.log()), || match process
            .ended()
        {
            Some(_) => Some(false),
            None => match self.greets() {
                Ok(()) => Some(true),
                Err(WireError::Refused(packet)) => panic!("the user odp: {packet:?}"),
                Err(WireError::Io(_)) => None,
            },
        });
        let log = process.log();
        assert!(up || log.contains("ddress already in use"), "the server ended: {log}");
        self.process = up.then_some(process);
        up
    }

    /// Whether the user `odp` can log in.
    fn greets(&self) -> Result<(), WireError> {
        if self.server == Server::SeekDb {
            seekdb::initialise(&self.socket)?;
        }
        Wire::open_unix(&self.socket, &Login::default()).map(drop)
    }

    /// A MariaDB or MySQL with the options that all tests share.
    fn command(&self, program: &Program) -> Command {
        let mut command = program.command();
        command.arg(format!("--datadir={}", self.data().display()));
        // A server that starts deletes every temporary table in there.
        let temporary = self.dir.path().join("tmp");
        std::fs::create_dir_all(&temporary).expect("the directory is ours");
        command.arg(format!("--tmpdir={}", temporary.display()));
        command.arg(format!("--socket={}", self.socket.display()));
        command.arg(format!("--port={}", self.port));
        command.arg(format!("--pid-file={}", self.dir.path().join("pid").display()));
        command.arg(format!("--init-file={}", init_file().display()));
        command.args([
            "--bind-address=127.0.0.1",
            "--max-connections=500",
            "--local-infile=1",
            "--max-allowed-packet=1G",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
            // Else "the query was slow" comes and goes in the status flags.
            "--long-query-time=3600",
        ]);
        command.args(match self.server {
            Server::MariaDb | Server::MariaDb11 => {
                ["--innodb-log-file-size=64M", "--aria-pagecache-buffer-size=8M"]
            }
            Server::MySql | Server::SeekDb => ["--mysqlx=OFF", "--innodb-redo-log-capacity=64M"],
        });
        for (unless, option) in
            [("--log-bin", "--skip-log-bin"), ("--host-cache-size", "--skip-name-resolve")]
        {
            if !self.options.iter().any(|given| given.starts_with(unless)) {
                command.arg(option);
            }
        }
        command.args(&self.options);
        command
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("the server is running")
    }

    /// Kills it.
    pub(crate) fn kill9(&mut self) {
        self.process = None;
        self.reserved = reserve(self.port).ok();
    }

    /// Ends it in order.
    pub(crate) fn shut_down(&mut self) {
        self.process().signal(Signal::SIGTERM);
        self.process().wait();
        self.kill9();
    }

    /// A connection of the user `odp` to the database `p`, by the socket.
    pub(crate) fn admin(&self) -> Wire {
        let login = Login { database: Some("p".into()), ..Login::default() };
        Wire::open_unix(&self.socket, &login).expect("the user odp can log in")
    }

    /// Runs statements, one after the other, each of which must succeed.
    pub(crate) fn execute(&self, statements: &[&str]) {
        let mut wire = self.admin();
        for statement in statements {
            let reply = wire.query(statement);
            assert_eq!(reply.error(), None, "{statement}");
        }
    }

    /// Waits until a query that counts something answers with more than 0.
    pub(crate) fn until_counted(&self, query: &str) {
        let mut wire = self.admin();
        until(query, || (wire.query(query).rows()[0][0] != Some(b"0".to_vec())).then_some(()));
    }
}

/// SQL for each start; written once, the same for all.
fn init_file() -> PathBuf {
    let path = fixtures_dir().join("init.sql");
    if std::fs::read_to_string(&path).ok().as_deref() != Some(INIT_SQL) {
        let fresh = tempfile::NamedTempFile::new_in(fixtures_dir()).expect("a file");
        std::fs::write(fresh.path(), INIT_SQL).expect("the file is ours");
        fresh.persist(&path).expect("a rename");
    }
    path
}

/// The installed data directory of this build, made now if nobody has yet.
fn template(server: Server, program: &Program) -> PathBuf {
    let name = format!("template-{server:?}-{}", program.key());
    let template = fixtures_dir().join(&name);
    let lock = File::create(fixtures_dir().join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("a lock");
    if !template.exists() {
        let fresh = scratch();
        let data = fresh.path().join("data");
        let mut command = install_command(server, program, fresh.path());
        command.arg(format!("--datadir={}", data.display()));
        let output = command.output().expect("the installer runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "install {server:?}: {errors}");
        std::fs::rename(data, &template).expect("a rename");
    }
    template
}

fn install_command(server: Server, program: &Program, dir: &Path) -> Command {
    match server {
        Server::MariaDb => {
            let mut command = Command::new("mariadb-install-db");
            command.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
            command.args(["--skip-test-db", "--innodb-log-file-size=64M"]);
            if nix::unistd::geteuid().is_root() {
                command.arg("--user=root");
            }
            command
        }
        Server::MariaDb11 => {
            let mut command = program.command();
            command.args(["--bootstrap", "--innodb-log-file-size=64M", "--max-allowed-packet=8M"]);
            std::fs::create_dir(dir.join("data")).expect("a fresh directory");
            command.stdin(bootstrap(program, dir));
            command
        }
        Server::MySql | Server::SeekDb => {
            let mut command = program.command();
            command.args(["--initialize-insecure", "--innodb-redo-log-capacity=64M"]);
            command
        }
    }
}

/// What `mariadb-install-db` tells a server: the script itself runs only the machine's own.
fn bootstrap(program: &Program, dir: &Path) -> File {
    let share = program.root.as_deref().expect("it was unpacked").join("usr/share/mariadb");
    let begin = ["CREATE DATABASE mysql;", "USE mysql;", "SET @auth_root_socket = NULL;", ""];
    let mut sql = begin.join("\n");
    for name in ["system_tables", "performance_tables", "system_tables_data"] {
        let path = share.join(format!("mariadb_{name}.sql"));
        sql += &std::fs::read_to_string(path).expect("it came with the server");
    }
    let path = dir.join("bootstrap.sql");
    std::fs::write(&path, sql).expect("the directory is ours");
    File::open(path).expect("it was just written")
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a", "--reflink=auto", "--"]).arg(from).arg(to).status();
    assert!(status.expect("cp runs").success(), "cp {} {}", from.display(), to.display());
}
