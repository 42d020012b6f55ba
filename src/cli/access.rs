//! Which admin ports a subcommand talks to, and as whom.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};

use super::tls::{TlsArgs, Unsaid};
use crate::config::tls::AcceptMode;
use crate::config::{AdminSection, AdminUser, Config, ListenAddress, Role, ServerAddress};
use crate::fleet::port::AdminPort;
use crate::fleet::port::run_dir::RunDir;

/// The user, if nothing else is said.
const USER: &str = "root";
/// Holds the password, out of sight of `ps`.
const PASSWORD_VARIABLE: &str = "ODP_ADMIN_PASSWORD";

/// Arguments that `odp status` and `odp restart` share.
#[derive(Debug, clap::Args)]
pub(super) struct Access {
    /// An admin port; may be given several times [default: 127.0.0.1:2885, or that of -c].
    #[arg(short, long = "admin", value_name = "HOST:PORT")]
    addresses: Vec<ServerAddress>,
    /// The user on the admin port [default: root, or the first manager of -c].
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// The password on the admin port; better given as ODP_ADMIN_PASSWORD, or by -c.
    #[arg(long, value_name = "PASSWORD")]
    password: Option<Password>,
    /// The config of a proxy, for what is not given of address, user and password. If its admin
    /// port refuses those, because they were edited, the owner of its run_dir is served there.
    #[arg(short = 'c', value_name = "CONFIG")]
    known_from: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

impl Access {
    /// As this config says.
    pub(super) fn of(config: &Path) -> Self {
        Self {
            addresses: Vec::new(),
            user: None,
            password: None,
            known_from: Some(config.to_owned()),
            tls: TlsArgs::default(),
        }
    }

    /// The config that was given.
    pub(super) fn config(&self) -> Option<&Path> {
        self.known_from.as_deref()
    }

    /// The config that was given, with what is needed to log in to its fleet.
    pub(super) fn fleet(&self) -> anyhow::Result<Config> {
        let path = self.known_from.as_deref().context("--fleet: expected -c CONFIG")?;
        Ok(Config::look_at_fleet(path)?)
    }

    /// The admin ports, at least one, in the order they were given; one that is given twice counts
    /// once.
    pub(super) fn ports(&self) -> anyhow::Result<Vec<AdminPort>> {
        let (section, unsaid, run_dir) = match &self.known_from {
            Some(path) => {
                let config = Config::look(path)?;
                // Who names an address means that one.
                let run_dir = self.addresses.is_empty().then(|| RunDir::of(path, &config));
                let Config { admin, tls, .. } = config;
                let is_off = tls.admin.mode == AcceptMode::Off;
                (admin, if is_off { Unsaid::Plain } else { Unsaid::Tls }, run_dir)
            }
            None => (AdminSection::default(), Unsaid::Plain, None),
        };
        let run_dir = run_dir.filter(RunDir::is_there);
        let tls = self.tls.opts(unsaid)?;
        let account = account(&section.user, self.user.as_deref());
        let user = self.user.as_deref().or(account.map(|account| account.name.as_str()));
        let password = password(self.password.as_ref())
            .or_else(|| account?.password.as_ref().map(|secret| secret.reveal().to_owned()));
        if let (None, Some(account), None) = (&password, account, &run_dir) {
            let name = &account.name;
            bail!("admin.user '{name}' has only a hash: give the password as {PASSWORD_VARIABLE}");
        }
        let mut addresses = Vec::new();
        for address in &self.addresses {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        if addresses.is_empty() {
            addresses.push(reachable(section.listen));
        }
        let user = user.unwrap_or(USER);
        let port = |address| {
            let port = AdminPort::new(address, user, password.clone(), tls.clone());
            port.or_through(run_dir.clone())
        };
        Ok(addresses.iter().map(port).collect())
    }
}

/// The one that is asked for, or the first that may do everything.
fn account<'a>(users: &'a [AdminUser], name: Option<&str>) -> Option<&'a AdminUser> {
    users.iter().find(|user| match name {
        Some(name) => user.name == name,
        None => user.role == Role::Manager,
    })
}

/// Where to connect to what listens there.
fn reachable(listen: ListenAddress) -> ServerAddress {
    let address = match listen {
        ListenAddress::Unix(path) => return ServerAddress::Unix(path),
        ListenAddress::Tcp(address) => address,
    };
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other.ip(),
    };
    ServerAddress::Tcp { host: ip.to_string(), port: address.port() }
}

/// The password that is given by an argument, or else by the environment.
pub(super) fn password(given: Option<&Password>) -> Option<String> {
    let given = given.map(|Password(text)| text.clone());
    given.or_else(|| std::env::var(PASSWORD_VARIABLE).ok())
}

/// A password, which is never shown.
#[derive(Clone)]
pub(super) struct Password(pub(super) String);

impl FromStr for Password {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_here() {
        for (listen, expected) in [
            ("0.0.0.0:2885", "127.0.0.1:2885"),
            ("[::]:2885", "[::1]:2885"),
            ("10.1.2.3:9", "10.1.2.3:9"),
            ("unix:/run/odp/admin", "unix:/run/odp/admin"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        assert_eq!(format!("{:?}", Password("s3cret".into())), "***");
    }
}
