//! TOML → [`Config`] in one parse, with every default; reload is a difference of two of them.
//!
//! Parse, don't validate: what leaves this file is checked. Every mistake is told, with line and
//! column, and unknown keys are mistakes. Parameters that ODP has keep ODP's names.
//! `config/odp.toml` shows every default, and a test keeps it so.

mod address;
pub mod compression;
mod consistency;
mod document;
mod nearest;
pub mod networks;
pub mod parameter;
mod secret;
mod span;
pub mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use address::{ListenAddress, ServerAddress};
use document::Document;
pub use document::Mistake;
use networks::Networks;
pub use secret::Secret;
pub use span::{ExitTimeout, Span};

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
    /// TLS on each leg.
    pub tls: tls::TlsSection,
    /// Logging.
    pub log: LogSection,
    /// Groups of servers; the first one takes every client.
    pub cluster: Vec<ClusterSection>,
}

/// `[proxy]`: clients, limits, timeouts and the restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxySection {
    /// Where clients connect.
    pub listen: Vec<ListenAddress>,
    /// Worker threads; 0 means one per core.
    pub workers: usize,
    /// Clients at most; one more gets 1203 (ODP `client_max_connections`).
    pub client_max_connections: usize,
    /// Sessions of one user at most; 0 is no limit.
    pub max_user_connections: usize,
    /// Sessions from one address at most; 0 is no limit.
    pub max_address_connections: usize,
    /// Log-ins of one user a second at most; 0 is no limit.
    pub max_user_connects_per_second: u32,
    /// Connects from one address a second at most; 0 is no limit.
    pub max_address_connects_per_second: u32,
    /// Who may say by a PROXY header on whose behalf it connects (MariaDB's variable).
    pub proxy_protocol_networks: Networks,
    /// How long a connect to a server may take.
    pub connect_timeout: Span,
    /// How long a client may take from connect to the end of its log-in.
    pub login_timeout: Span,
    /// How long a session may be silent in both directions (ODP `default_inactivity_timeout`).
    pub default_inactivity_timeout: Span,
    /// Keepalive of client sockets: seconds until the first probe (ODP `client_tcp_keepidle`).
    pub client_tcp_keepidle: Span,
    /// Keepalive of client sockets: seconds between probes.
    pub client_tcp_keepintvl: Span,
    /// Keepalive of client sockets: probes until the peer is given up.
    pub client_tcp_keepcnt: u32,
    /// TCP_USER_TIMEOUT of client sockets; 0 leaves it to the kernel.
    pub client_tcp_user_timeout: Span,
    /// Keepalive of server sockets: seconds until the first probe.
    pub server_tcp_keepidle: Span,
    /// Keepalive of server sockets: seconds between probes.
    pub server_tcp_keepintvl: Span,
    /// Keepalive of server sockets: probes until the peer is given up.
    pub server_tcp_keepcnt: u32,
    /// TCP_USER_TIMEOUT of server sockets; 0 leaves it to the kernel.
    pub server_tcp_user_timeout: Span,
    /// How long sessions of a predecessor may go on (ODP `hot_upgrade_exit_timeout`).
    pub hot_upgrade_exit_timeout: ExitTimeout,
    /// A successor that is not ready by then is ended (ODP `hot_upgrade_rollback_timeout`).
    pub hot_upgrade_rollback_timeout: Span,
    /// For so long after it serves, a successor that dies is replaced by its predecessor, with
    /// every session that it had not touched; 0 is no probation.
    pub hot_upgrade_probation: Span,
    /// How long after SIGTERM sessions may go on (ODP `delay_exit_time`).
    pub delay_exit_time: Span,
    /// `false` is ODP's classic mode: listeners only, then drain.
    pub session_handover: bool,
    /// ODP's switch: true makes `tls.client.mode` prefer if it is off.
    pub enable_client_ssl: bool,
    /// ODP's switch: true makes `tls.server.mode` prefer if it is off.
    pub enable_server_ssl: bool,
    /// Compressions that clients are offered.
    pub client_compression: compression::Offered,
    /// The compression that servers are asked for.
    pub server_compression: compression::Asked,
    /// The level of zstd with servers, 1 to 22.
    pub zstd_level: u8,
    /// Holds the handover socket and the control socket; mode 0700.
    pub run_dir: PathBuf,
}

impl Default for ProxySection {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 2883)))],
            workers: 0,
            client_max_connections: 8192,
            max_user_connections: 0,
            max_address_connections: 0,
            max_user_connects_per_second: 0,
            max_address_connects_per_second: 0,
            proxy_protocol_networks: Networks::default(),
            connect_timeout: Span::seconds(10),
            login_timeout: Span::seconds(10),
            default_inactivity_timeout: Span::seconds(180_000),
            client_tcp_keepidle: Span::seconds(5),
            client_tcp_keepintvl: Span::seconds(5),
            client_tcp_keepcnt: 5,
            client_tcp_user_timeout: Span::seconds(0),
            server_tcp_keepidle: Span::seconds(5),
            server_tcp_keepintvl: Span::seconds(5),
            server_tcp_keepcnt: 5,
            server_tcp_user_timeout: Span::seconds(0),
            hot_upgrade_exit_timeout: ExitTimeout::After(Duration::from_secs(30)),
            hot_upgrade_rollback_timeout: Span::seconds(60),
            hot_upgrade_probation: Span::seconds(5),
            delay_exit_time: Span(Duration::from_millis(100)),
            session_handover: true,
            enable_client_ssl: false,
            enable_server_ssl: false,
            client_compression: compression::Offered::ALL,
            server_compression: compression::Asked::Off,
            zstd_level: 3,
            run_dir: PathBuf::from("/run/odp"),
        }
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
}

impl Default for AdminSection {
    fn default() -> Self {
        let listen = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 2885)));
        Self { listen, user: Vec::new() }
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

/// `[[cluster]]`: servers that hold the same data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    /// The name shown in SHOW PROXYSESSION and in errors.
    pub name: String,
    /// Whether its servers are told each client's address by a PROXY header.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// The servers, in order of preference.
    #[serde(default)]
    pub server: Vec<ServerSection>,
}

/// The PROXY header that a server gets first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// None.
    #[default]
    Off,
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// `[[cluster.server]]`: one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSection {
    /// `HOST:PORT` or `unix:/PATH`.
    pub address: ServerAddress,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// Checks a text; `path` only serves the errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut document = Document::new(text);
        let mut config: Option<Self> = document.read();
        if let Some(config) = &mut config {
            config.tls.resolve(path.parent().unwrap_or(Path::new("")));
            config.agree_on_tls();
            document.judge(config.flaws());
        }
        let mistakes = document.into_mistakes();
        match config.filter(|_| mistakes.is_empty()) {
            Some(config) => Ok(config),
            None => Err(ConfigError::Wrong { path: path.into(), mistakes }),
        }
    }

    /// The cluster that takes every client.
    pub fn main_cluster(&self) -> &ClusterSection {
        self.cluster.first().expect("a parsed config has a cluster")
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
