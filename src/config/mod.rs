//! TOML → [`Config`] in one parse, with every default; reload is a difference of two of them.
//!
//! Parse, don't validate: what leaves this file is checked. Every mistake is told, with line and
//! column, and unknown keys are mistakes. Parameters that ODP has keep ODP's names.
//! `config/odp.toml` shows every default, and a test keeps it so.

mod address;
pub mod alterations;
mod cluster;
pub mod compression;
mod consistency;
pub mod console;
mod document;
mod etcd;
mod flaw;
mod fleet;
mod nearest;
pub mod networks;
pub mod parameter;
mod password;
mod proxy;
mod secret;
mod span;
pub mod tls;
mod user_name;
mod white_list;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use address::{ListenAddress, ServerAddress};
pub use cluster::{
    CausalReads, ClusterKind, ClusterSection, ClusterTenant, ClusterUser, ProxyProtocol,
    ReadWriteSplit, RoutePolicy, RoutingMode, ServerRole, ServerSection,
};
pub use console::{AdminToken, ConsoleSection};
use document::Document;
pub use document::Mistake;
pub use etcd::{EtcdEndpoint, Scheme};
pub use flaw::Flaw;
pub use fleet::{FleetProxy, FleetSection};
pub use proxy::ProxySection;
pub use secret::{Secret, stage2};
pub use span::{ExitTimeout, Span};
pub use user_name::{Separators, UserTemplate};
pub use white_list::{WhiteList, WhiteListRow};

/// Why a config was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("config {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What it says cannot be served.
    #[error("{}", lines(path, mistakes))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// At least one, from top to bottom.
        mistakes: Vec<Mistake>,
    },
}

/// A line a mistake.
fn lines(path: &Path, mistakes: &[Mistake]) -> String {
    let lines = mistakes.iter().map(|mistake| format!("config {}: {mistake}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

/// Everything an operator can set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data plane and the restart.
    pub proxy: ProxySection,
    /// The admin port.
    pub admin: AdminSection,
    /// The HTTP port.
    pub http: HttpSection,
    /// Pages and the API.
    pub console: ConsoleSection,
    /// TLS on each leg.
    pub tls: tls::TlsSection,
    /// Logging.
    pub log: LogSection,
    /// Proxies that are restarted together.
    pub fleet: FleetSection,
    /// Who may log in from where.
    pub white_list: WhiteList,
    /// Groups of servers that hold the same data.
    pub cluster: Vec<ClusterSection>,
    /// What it was read from.
    #[serde(skip)]
    pub text: Text,
}

/// The text of a config. There may be passwords in it; it makes no difference between two configs.
#[derive(Clone, Default)]
pub struct Text(Arc<str>);

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Text {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Text(***)")
    }
}

/// `[admin]`: the admin port and who may use it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSection {
    /// Where the admin port listens.
    pub listen: ListenAddress,
    /// Who may log in there, and as `NAME@proxysys` on the clients' port.
    pub user: Vec<AdminUser>,
    /// Who may use the API without logging in.
    pub token: Vec<AdminToken>,
}

impl Default for AdminSection {
    fn default() -> Self {
        let listen = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 2885)));
        Self { listen, user: Vec::new(), token: Vec::new() }
    }
}

/// One admin user; exactly one of the passwords is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminUser {
    /// The name, without `@proxysys`.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// The password in clear text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The stage-2 hash, `*` and 40 hex digits: SHA1(SHA1(password)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_sha1: Option<Secret>,
}

/// The counterparts of OBPROXY_MANAGER and OBPROXY_VIEWER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Every command.
    Manager,
    /// SHOW, PING and SELECT.
    Viewer,
}

/// `[http]`: metrics and health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSection {
    /// Where the HTTP port listens.
    pub listen: ListenAddress,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self { listen: ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 2884))) }
    }
}

/// `[log]`: what goes to stderr, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// error, warn, info, debug or trace.
    pub level: LogLevel,
    /// text or json.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

/// The least important level that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads and checks a file, and takes the passwords out of the files that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_if(path, |_| Vec::new())
    }

    /// The same, unless something is wrong with what it names. That is looked for in what can be
    /// read, even if something else is wrong.
    pub(crate) fn load_if(
        path: &Path,
        judge: impl FnOnce(&Self) -> Vec<Flaw>,
    ) -> Result<Self, ConfigError> {
        Self::judged(&read(path)?, path, password::Files::Read, judge)
    }

    /// The same of a text that a file had.
    pub fn again(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::of_text(text, path, password::Files::Read)
    }

    /// The same for who only looks where a proxy is: passwords stay in their files, which may be
    /// others'.
    pub fn look(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, path)
    }

    /// The same for who talks to the fleet: the passwords of that are read.
    pub fn look_at_fleet(path: &Path) -> Result<Self, ConfigError> {
        Self::of_text(&read(path)?, path, password::Files::OfFleet)
    }

    /// Checks a text, and reads nothing else; `path` serves the errors, and relative paths.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::of_text(text, path, password::Files::Left)
    }

    fn of_text(text: &str, path: &Path, passwords: password::Files) -> Result<Self, ConfigError> {
        Self::judged(text, path, passwords, |_| Vec::new())
    }

    fn judged(
        text: &str,
        path: &Path,
        passwords: password::Files,
        judge: impl FnOnce(&Self) -> Vec<Flaw>,
    ) -> Result<Self, ConfigError> {
        let mut document = Document::new(text);
        let mut config: Option<Self> = document.read();
        if let Some(config) = &mut config {
            let directory = path.parent().unwrap_or(Path::new(""));
            config.tls.resolve(directory);
            config.fleet.resolve(directory);
            document.judge(config.resolve_passwords(directory, passwords));
            config.agree_on_tls();
            config.text = Text(text.into());
            document.judge(config.flaws());
            document.judge(judge(config));
        }
        let mistakes = document.into_mistakes();
        match config.filter(|_| mistakes.is_empty()) {
            Some(config) => Ok(config),
            None => Err(ConfigError::Wrong { path: path.into(), mistakes }),
        }
    }

    /// The cluster of clients that name none.
    pub fn main_cluster(&self) -> &ClusterSection {
        let named = self.find_cluster(&self.proxy.default_cluster);
        named.or(self.cluster.first()).expect("a parsed config has a cluster")
    }

    /// The cluster of this name.
    pub fn find_cluster(&self, name: &str) -> Option<&ClusterSection> {
        self.cluster.iter().find(|cluster| cluster.name == name)
    }

    fn cluster_names(&self) -> Vec<&str> {
        self.cluster.iter().map(|cluster| cluster.name.as_str()).collect()
    }

    /// Where the owner of `run_dir` is served without a password.
    pub fn control_socket(&self) -> PathBuf {
        self.proxy.run_dir.join("control.sock")
    }

    /// Every listening address with what it is for; not the control socket.
    pub fn listen_addresses(&self) -> Vec<(ListenAddress, Port)> {
        let sql = self.proxy.listen.iter().map(|address| (address.clone(), Port::Sql));
        let admin = (self.admin.listen.clone(), Port::Admin);
        let http = (self.http.listen.clone(), Port::Http);
        sql.chain([admin, http]).collect()
    }

    /// ODP's switches and the modes say the same.
    fn agree_on_tls(&mut self) {
        use tls::{AcceptMode, ConnectMode};
        let Self { proxy, tls, .. } = self;
        if proxy.enable_client_ssl && tls.client.mode == AcceptMode::Off {
            tls.client.mode = AcceptMode::Prefer;
        }
        if proxy.enable_server_ssl && tls.server.mode == ConnectMode::Off {
            tls.server.mode = ConnectMode::Prefer;
        }
        proxy.enable_client_ssl = tls.client.mode != AcceptMode::Off;
        proxy.enable_server_ssl = tls.server.mode != ConnectMode::Off;
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })
}

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Port {
    /// Clients.
    Sql,
    /// The admin port.
    Admin,
    /// Metrics and health.
    Http,
}

/// What is written and read in a file as it is shown. Beside the type stands what is expected.
macro_rules! serde_by_text {
    ($type:ty, $expected:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;
                impl serde::de::Visitor<'_> for Reader {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Reader)
            }
        }
    };
}
use serde_by_text;
