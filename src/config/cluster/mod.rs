//! `[[cluster]]`: servers that hold the same data, and who works with them.
//!
//! A key that `ALTER CLUSTER name SET` knows is an entry of `keys!`, and nothing else has to be
//! told of it: default, values, and what it does. (`config/odp.toml` shows the default; a test says
//! so.) What else there is of a cluster is changed in the file.

mod consistency;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::flaw::Flaw;
use super::parameter::kind::{self, Key, Kind};
use super::user_name::UserTemplate;
use super::{ProxySection, Secret, ServerAddress, Span};

/// `key: Type = default, kind, "what it does";`
macro_rules! keys {
    ($($key:ident: $of:ty = $default:expr, $kind:expr, $info:literal;)+) => {
        /// `[[cluster]]`: servers that hold the same data.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct ClusterSection {
            /// The name in `user@tenant#NAME`, in SHOW and in errors.
            pub name: String,
            $(#[doc = $info] pub $key: $of,)+
            /// The password of `service_user`; also if a file holds it.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub service_password: Option<Secret>,
            /// The file that holds it.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub service_password_file: Option<PathBuf>,
            /// Accounts whose passwords we know.
            pub user: Vec<ClusterUser>,
            /// What tenants become.
            pub tenant: Vec<ClusterTenant>,
            /// The servers, in order of preference.
            pub server: Vec<ServerSection>,
        }

        impl Default for ClusterSection {
            fn default() -> Self {
                Self {
                    name: String::new(),
                    $($key: $default,)+
                    service_password: None,
                    service_password_file: None,
                    user: Vec::new(),
                    tenant: Vec::new(),
                    server: Vec::new(),
                }
            }
        }

        impl ClusterSection {
            /// Values that fit nowhere.
            fn flaws_of_keys(&self, at: usize) -> Vec<Flaw> {
                let all = [$(self.flaw_of_key(at, $kind, stringify!($key), &self.$key)),+];
                all.into_iter().flatten().collect()
            }
        }

        /// Every key that can be altered, but for the servers.
        pub(super) static KEYS: &[Key] = &[$(Key {
            name: stringify!($key),
            info: $info,
            range: $kind.range,
            read: |cluster| ($kind.show)(&cluster.$key),
            write: |cluster, value| {
                cluster.$key = ($kind.read)(value)?;
                Ok(())
            },
        }),+];
    };
}

keys! {
    kind: ClusterKind = ClusterKind::Mysql, kind::CLUSTER, "which servers these are";
    proxy_protocol: ProxyProtocol = ProxyProtocol::Off,
        kind::PROXY_PROTOCOL, "the PROXY header that tells servers each client's address";
    read_write_split: ReadWriteSplit = ReadWriteSplit::Off,
        kind::SPLIT, "which reads replicas may answer: none, those that ask for it, every one";
    route_policy: RoutePolicy = RoutePolicy::FollowerFirst,
        kind::ROUTE_POLICY, "whether the primary answers reads that no replica can";
    causal_reads: CausalReads = CausalReads::Session,
        kind::CAUSAL_READS, "whose writes a replica must have before it answers a read";
    causal_reads_timeout: Span = Span::seconds(1),
        kind::SOME_TIME, "how long a replica may take for that; then the primary answers";
    max_replica_lag: Span = Span::seconds(10),
        kind::SPAN, "a replica that is further behind gets no reads";
    transaction_split: bool = false,
        kind::FLAG, "replicas may answer reads before the first write of a transaction";
    init_sql: String = String::new(),
        kind::SQL, "on every new server connection, before the first statement";
    service_user: String = String::new(),
        kind::TEXT, "the account that asks servers for roles, lag and hashes";
}

/// Which servers a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterKind {
    /// MySQL and MariaDB.
    Mysql,
    /// OceanBase: the servers know tenants.
    Oceanbase,
}

/// The PROXY header that a server gets first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// None.
    Off,
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Which reads replicas may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadWriteSplit {
    /// None.
    Off,
    /// Only those that ask for it.
    Weak,
    /// Everyone that is surely one.
    On,
}

/// ODP's `server_routing_mode`: where new sessions go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoutingMode {
    /// To the primary, as far as roles are known; else to the first server as configured.
    #[default]
    Oceanbase,
    /// The same.
    Mysql,
    /// To the primary, or where roles are not known to any, by idc and weight.
    Random,
}

/// ODP's `proxy_route_policy`: who answers a read that may go to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RoutePolicy {
    /// A replica; the primary if there is none.
    FollowerFirst,
    /// A replica or nobody.
    FollowerOnly,
}

/// Whose writes a replica must have before it answers a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CausalReads {
    /// Nobody's.
    Off,
    /// The last one of the session.
    Session,
    /// Each one of the cluster whose success we have seen.
    Cluster,
}

/// `[[cluster.server]]`: one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSection {
    /// `HOST:PORT` or `unix:/PATH`.
    pub address: ServerAddress,
    /// Whether it takes writes.
    #[serde(default)]
    pub role: ServerRole,
    /// Its IDC; empty: unknown.
    #[serde(default)]
    pub idc: String,
    /// The region of its IDC; empty: unknown.
    #[serde(default)]
    pub region: String,
    /// Its part of the reads among servers that are equally near; 0: none.
    #[serde(default = "ServerSection::default_weight")]
    pub weight: u32,
    /// It takes no new sessions, and those that it has leave it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

impl ServerSection {
    /// A server of which nothing else is said.
    pub fn new(address: ServerAddress) -> Self {
        Self {
            address,
            role: ServerRole::Auto,
            idc: String::new(),
            region: String::new(),
            weight: Self::default_weight(),
            draining: false,
        }
    }

    const fn default_weight() -> u32 {
        100
    }
}

/// Whether a server takes writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerRole {
    /// It is asked.
    #[default]
    Auto,
    /// It does.
    Primary,
    /// It does not.
    Replica,
}

/// `[[cluster.user]]`: an account that needs further server connections which cannot be had
/// without its password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterUser {
    /// The account on the servers.
    pub name: String,
    /// Its password; also if a file holds it. A parsed config has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The file that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// `[[cluster.tenant]]`: what `user@NAME` becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTenant {
    /// The tenant.
    pub name: String,
    /// The schema of its sessions that name none; empty: none.
    #[serde(default)]
    pub database: String,
    /// The account on the servers.
    #[serde(default)]
    pub user: UserTemplate,
    /// Its sessions at most; 0 is no limit.
    #[serde(default)]
    pub max_connections: usize,
}

impl ClusterSection {
    /// Its split, of which ODP's switch makes at least a weak one.
    pub fn split(&self, proxy: &ProxySection) -> ReadWriteSplit {
        match (self.read_write_split, proxy.enable_read_write_split) {
            (ReadWriteSplit::Off, true) => ReadWriteSplit::Weak,
            (split, _) => split,
        }
    }

    fn flaw_of_key<T: Serialize>(
        &self,
        at: usize,
        kind: Kind<T>,
        key: &str,
        value: &T,
    ) -> Option<Flaw> {
        let text = format!("cluster '{}': {key}{}", self.name, kind.refusal(value)?);
        Some(Flaw::new(format!("cluster.{at}.{key}"), text))
    }
}
