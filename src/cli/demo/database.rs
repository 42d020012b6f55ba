//! A private throwaway database server: MariaDB or MySQL, whichever there is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::unistd::{User, geteuid};

use super::guardian::{Group, Guardian};
use super::{Account, wait_for_greeting};

/// How long the server may take to make its files, and to start.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where servers are that are not in everybody's PATH.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/bin"];

/// The server programs of this machine.
pub(super) enum Programs {
    MariaDb { server: PathBuf, install: PathBuf },
    MySql { server: PathBuf },
}

/// A running server.
pub(super) struct Database {
    /// `MariaDB` or `MySQL`.
    pub(super) name: &'static str,
    group: Group,
}

impl Database {
    /// Makes and starts one in the directory of the guardian.
    pub(super) fn start(
        programs: &Programs,
        guardian: &mut Guardian,
        account: &Account,
        port: u16,
    ) -> anyhow::Result<Self> {
        let data = guardian.directory().join("data");
        let accounts = guardian.directory().join("account.sql");
        fs::write(&accounts, account.statements())?;
        // The server reads it as another user; the directory above is nobody else's to list.
        fs::set_permissions(&accounts, fs::Permissions::from_mode(0o644))?;
        make_directory(&data)?;
        make_directory(&temporary_of(&data))?;
        programs.initialise(guardian, &data)?;
        let log = guardian.directory().join("database.log");
        let mut command = programs.server(&data, &accounts, port);
        command.stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        let (group, mut child) = guardian.start(&mut command)?;
        wait_for_greeting(port, &mut child, PATIENCE)
            .with_context(|| format!("the database server:\n{}", last_lines(&log)))?;
        Ok(Self { name: programs.name(), group })
    }

    /// Ends it in good order.
    pub(super) fn end(&self) -> bool {
        self.group.end(Duration::from_secs(20))
    }
}

impl Programs {
    /// Those that are installed; None: none is.
    pub(super) fn find() -> Option<Self> {
        if let (Some(server), Some(install)) = (find("mariadbd"), find("mariadb-install-db")) {
            return Some(Self::MariaDb { server, install });
        }
        find("mysqld").map(|server| Self::MySql { server })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::MariaDb { .. } => "MariaDB",
            Self::MySql { .. } => "MySQL",
        }
    }

    /// Makes the files of a new server.
    fn initialise(&self, guardian: &mut Guardian, data: &Path) -> anyhow::Result<()> {
        let log = guardian.directory().join("initialise.log");
        let mut command = match self {
            Self::MariaDb { install, .. } => {
                let mut command = Command::new(install);
                command.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
                command.arg("--skip-test-db");
                command
            }
            Self::MySql { server } => {
                let mut command = Command::new(server);
                command.args(["--no-defaults", "--initialize-insecure"]);
                command
            }
        };
        command.arg(format!("--datadir={}", data.display())).args(run_as());
        command.env("TMPDIR", temporary_of(data));
        command.stdin(Stdio::null()).stdout(fs::File::create(&log)?);
        command.stderr(fs::OpenOptions::new().append(true).open(&log)?);
        let (_, mut child) = guardian.start(&mut command)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    bail!("making the database's files: {status}\n{}", last_lines(&log))
                }
                None if Instant::now() >= until => {
                    bail!("making the database's files took more than {PATIENCE:?}")
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn server(&self, data: &Path, accounts: &Path, port: u16) -> Command {
        let (Self::MariaDb { server, .. } | Self::MySql { server }) = self;
        let mut command = Command::new(server);
        command.arg("--no-defaults").args(run_as()).env("TMPDIR", temporary_of(data));
        command.arg(format!("--datadir={}", data.display()));
        command.arg(format!("--socket={}", data.join("socket").display()));
        command.arg(format!("--pid-file={}", data.join("pid").display()));
        command.arg(format!("--init-file={}", accounts.display()));
        command.arg(format!("--port={port}")).arg("--bind-address=127.0.0.1");
        command.args(["--skip-log-bin", "--skip-name-resolve", "--max-connections=4000"]);
        // Nobody will miss this data after a power cut.
        command.arg("--innodb-flush-log-at-trx-commit=0").stdin(Stdio::null());
        if let Self::MySql { .. } = self {
            command.arg("--mysqlx=OFF");
        }
        command
    }
}

/// A server removes what it finds of its kind in its temporary directory when it starts, and so
/// breaks others that use the same; so it gets one of its own.
fn temporary_of(data: &Path) -> PathBuf {
    data.with_file_name("temporary")
}

/// Makes a directory of the user that the server runs as.
fn make_directory(path: &Path) -> anyhow::Result<()> {
    fs::create_dir(path).with_context(|| path.display().to_string())?;
    if geteuid().is_root() {
        let user = User::from_name("mysql")?.context("there is no user mysql to run it as")?;
        std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(())
}

/// Servers refuse to run as root.
fn run_as() -> Option<&'static str> {
    geteuid().is_root().then_some("--user=mysql")
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(DIRECTORIES.map(PathBuf::from));
    directories.map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// The end of a log, for an error message.
pub(super) fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
