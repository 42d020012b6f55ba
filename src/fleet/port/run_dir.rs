//! The way to a proxy of this machine that needs no password: the control socket in its `run_dir`.
//!
//! Taken when the port does not serve: since the config was edited, it may name another address,
//! user or password than the proxy that runs. Who may open the directory needs none.

use std::io;
use std::path::{Path, PathBuf};

use mysql_async::{Conn, OptsBuilder};

use super::{Admin, PATIENCE, Trouble, direct, within};
use crate::config::Config;
use crate::error::chain;
use crate::net::private::Way;

/// Others than the owner may write.
const WRITABLE: u32 = 0o022;

/// Where the control socket of a proxy is.
#[derive(Clone, Debug)]
pub(crate) struct RunDir {
    socket: PathBuf,
    /// The config of the proxy that is meant.
    config: PathBuf,
}

impl RunDir {
    /// Of the proxy that was started with this config.
    pub(crate) fn of(path: &Path, config: &Config) -> Self {
        Self { socket: config.control_socket(), config: path.to_owned() }
    }

    /// Whether there is a socket.
    pub(crate) fn is_there(&self) -> bool {
        std::fs::symlink_metadata(&self.socket).is_ok()
    }

    /// Connects, after the port has not served; if nobody is here either, that is what is told.
    pub(super) async fn connect(&self, port: Trouble) -> Result<Admin, Trouble> {
        let (way, conn) = match self.knock().await {
            Ok(found) => found,
            // It hangs, whatever its port was like.
            Err(Trouble::Silent(waited)) => return Err(Trouble::Silent(waited)),
            Err(Trouble::Gone(_)) => return Err(port),
            Err(Trouble::Denied(why, code)) => return Err(Trouble::Denied(why, code)),
        };
        drop(way);
        let detour = format!("{}; going through {}", refusal(&port), self.socket.display());
        let mut admin = Admin { conn, detour: Some(detour) };
        match admin.proxy().await?.text("config") {
            Some(config) if is_same(Path::new(config), &self.config) => Ok(admin),
            config => {
                let (socket, config) = (self.socket.display(), config.unwrap_or("another config"));
                let why = format!("{}; {socket} is that of {config}", refusal(&port));
                Err(Trouble::Denied(why, 1045))
            }
        }
    }

    async fn knock(&self) -> Result<(Way, Conn), Trouble> {
        let gone = |error: io::Error| Trouble::Gone(mysql_async::Error::from(error));
        let way = Way::to(&self.socket).map_err(gone)?;
        let (owner, mode) = way.owner().map_err(gone)?;
        let own = nix::unistd::geteuid();
        if mode & WRITABLE != 0 || owner != own.as_raw() && !own.is_root() {
            return Err(gone(io::ErrorKind::PermissionDenied.into()));
        }
        let builder = OptsBuilder::default().socket(Some(way.path().to_string_lossy()));
        let conn = within(PATIENCE, Conn::new(direct(builder))).await?;
        Ok((way, conn))
    }
}

/// What the port did.
fn refusal(port: &Trouble) -> String {
    match port {
        Trouble::Denied(..) => format!("the port refuses us: {}", chain(port)),
        Trouble::Silent(_) | Trouble::Gone(_) => format!("the port: {}", chain(port)),
    }
}

/// Whether two paths name one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    real(one).is_some_and(|one| Some(one) == real(other))
}
