//! `odp demo --install`: the database server that the demo needs, by apt.
//!
//! Says first what it does. The server that comes with the package is not started: the demo has its
//! own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nix::unistd::geteuid;

use crate::log;

/// What Debian and Ubuntu call it.
const PACKAGE: &str = "mariadb-server";

/// `$@` are packages. apt asks policy-rc.d whether it may start what it has installed.
const SCRIPT: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y --no-install-recommends install "$@"
"#;

/// Installs a server.
pub(super) fn install() -> anyhow::Result<()> {
    if in_path("apt-get").is_none() {
        bail!(advice());
    }
    let sudo = match geteuid().is_root() {
        true => None,
        false => Some(in_path("sudo").context(
            "--install needs root, or sudo: as root, apt-get install -y --no-install-recommends \
             mariadb-server",
        )?),
    };
    let by = if sudo.is_some() { "sudo " } else { "" };
    log::say(&format!(
        "no MariaDB or MySQL server here. Installing {PACKAGE}, without starting it:\n    \
         {by}apt-get update\n    \
         {by}apt-get install -y --no-install-recommends {PACKAGE}"
    ));
    let shell = ["sh", "-c", SCRIPT, "odp-demo-install", PACKAGE];
    let mut command = match sudo {
        Some(sudo) => {
            let mut command = Command::new(sudo);
            command.args(shell);
            command
        }
        None => {
            let mut command = Command::new(shell[0]);
            command.args(&shell[1..]);
            command
        }
    };
    // Results go to stdout, and this is none.
    let status = command.stdout(Stdio::from(std::io::stderr())).status().context("sh")?;
    if !status.success() {
        bail!("apt-get did not install {PACKAGE}: {status}; what it said stands above");
    }
    Ok(())
}

/// What to say where there is no server.
pub(super) fn advice() -> String {
    match in_path("apt-get") {
        Some(_) => format!(
            "no MariaDB or MySQL server found; with --install the demo installs one first:\n    \
             cargo run --release -- demo --install\nor install it yourself:\n    \
             apt-get install -y --no-install-recommends {PACKAGE}"
        ),
        None => "no MariaDB or MySQL server found, and no apt-get to install one with: install \
                 MariaDB or MySQL by the packages of this system, so that mariadbd (with \
                 mariadb-install-db) or mysqld is in PATH or /usr/sbin"
            .to_owned(),
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|directory| directory.join(program));
    files.find(|file| file.is_file())
}
