//! `[proxy]`: an entry a key, and nothing else has to be told of it.
//!
//! An entry gives the key its default, the values that it may have, and the parameter of its name
//! in SHOW and ALTER PROXYCONFIG. (`config/odp.toml` shows the default; a test says so.)

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::flaw::Flaw;
use super::networks::Networks;
use super::parameter::kind::{self, Kind};
use super::parameter::{Parameter, parameter, tls};
use super::{ExitTimeout, ListenAddress, RoutingMode, Separators, Span, compression};

/// `key: Type = default, kind, "what it does";`, and `by f` before the last if something follows
/// from the value.
macro_rules! keys {
    ($($key:ident: $of:ty = $default:expr, $kind:expr, $(by $write:expr,)? $info:literal;)+) => {
        /// `[proxy]`: clients, limits, timeouts and the restart.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct ProxySection {
            $(#[doc = $info] pub $key: $of,)+
        }

        impl Default for ProxySection {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl ProxySection {
            /// Values that fit nowhere.
            pub(super) fn flaws(&self) -> Vec<Flaw> {
                let all = [$(flaw($kind, stringify!($key), &self.$key)),+];
                all.into_iter().flatten().collect()
            }
        }

        /// Every key as a parameter.
        pub(super) static PARAMETERS: &[Parameter] = &[
            $(parameter!(stringify!($key), proxy.$key, $kind, $(by $write,)? $info),)+
        ];
    };
}

keys! {
    listen: Vec<ListenAddress> =
        vec![ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 2883)))],
        kind::ADDRESSES, "where clients connect";
    workers: usize = 0, kind::WORKERS, "worker threads; 0: one per core";
    client_max_connections: usize = 8192, kind::MOST, "clients at most; one more gets 1203";
    max_user_connections: usize = 0, kind::LIMIT, "sessions of one user at most; 0 is no limit";
    max_address_connections: usize = 0,
        kind::LIMIT, "sessions from one address at most; 0 is no limit";
    max_user_connects_per_second: u32 = 0,
        kind::RATE, "log-ins of one user a second; 0 is no limit";
    max_address_connects_per_second: u32 = 0,
        kind::RATE, "connects from one address a second; 0: no limit";
    proxy_protocol_networks: Networks = Networks::default(),
        kind::NETWORKS, "who may say by a PROXY header on whose behalf it connects";
    default_cluster: String = String::new(),
        kind::TEXT, "the cluster of clients that name none; empty: the first";
    default_tenant: String = String::new(),
        kind::TEXT, "the tenant of clients that name none; empty: none";
    username_separator: Separators = Separators::default(),
        kind::SEPARATORS, "what may stand between cluster, tenant and user";
    proxy_idc_name: String = String::new(),
        kind::TEXT, "where this proxy is: its servers come first, then those of the region";
    server_routing_mode: RoutingMode = RoutingMode::Oceanbase,
        kind::ROUTING_MODE, "random: where no roles are known, new sessions go anywhere by weight";
    enable_read_write_split: bool = false,
        kind::FLAG, "true: read_write_split of clusters is weak if it is off";
    server_detect_mode: u8 = 0,
        kind::MODE, "1: all servers are asked whether they live; 0: those with a service_user";
    server_detect_refresh_interval: Span = Span::seconds(1),
        kind::SOME_TIME, "the time between two such questions";
    server_detect_timeout: Span = Span::seconds(5),
        kind::SOME_TIME, "how long a server may take for the answer";
    server_detect_fail_threshold: u32 = 3,
        kind::TIMES, "after so many failures in a row a server is dead";
    congestion_failure_threshold: u32 = 5,
        kind::TIMES, "after so many failures within congestion_fail_window a server is left alone";
    congestion_fail_window: Span = Span::seconds(120),
        kind::SOME_TIME, "for so long failures of a server count";
    congestion_retry_interval: Span = Span::seconds(20),
        kind::SOME_TIME, "then a server that was left alone is tried again";
    connect_observer_max_retries: u32 = 3,
        kind::RETRIES, "how many other servers are tried if one cannot be reached";
    client_compression: compression::Offered = compression::Offered::ALL,
        kind::OFFERED, "compressions that clients are offered";
    server_compression: compression::Asked = compression::Asked::Off,
        kind::ASKED, "the compression that servers are asked for";
    zstd_level: u8 = 3, kind::ZSTD_LEVEL, "the level of zstd with servers";
    connect_timeout: Span = Span::seconds(10),
        kind::SOME_TIME, "how long a connect to a server may take";
    login_timeout: Span = Span::seconds(10),
        kind::SOME_TIME, "how long a client may take from connect to the end of its log-in";
    default_inactivity_timeout: Span = Span::seconds(180_000),
        kind::SOME_TIME, "how long a session may be silent in both directions";
    client_tcp_keepidle: Span = Span::seconds(5),
        kind::SPAN, "client sockets: silence before the first keepalive probe";
    client_tcp_keepintvl: Span = Span::seconds(5),
        kind::SPAN, "client sockets: time between keepalive probes";
    client_tcp_keepcnt: u32 = 5,
        kind::PROBES, "client sockets: keepalive probes until the peer is given up";
    client_tcp_user_timeout: Span = Span::seconds(0),
        kind::SPAN, "client sockets: TCP_USER_TIMEOUT, 0 leaves it to the kernel";
    server_tcp_keepidle: Span = Span::seconds(5),
        kind::SPAN, "server sockets: silence before the first keepalive probe";
    server_tcp_keepintvl: Span = Span::seconds(5),
        kind::SPAN, "server sockets: time between keepalive probes";
    server_tcp_keepcnt: u32 = 5,
        kind::PROBES, "server sockets: keepalive probes until the peer is given up";
    server_tcp_user_timeout: Span = Span::seconds(0),
        kind::SPAN, "server sockets: TCP_USER_TIMEOUT, 0 leaves it to the kernel";
    hot_upgrade_exit_timeout: ExitTimeout = ExitTimeout::After(Duration::from_secs(30)),
        kind::EXIT_TIMEOUT,
        "how long sessions of a predecessor may go on; -1 for ever, 0 not at all";
    hot_upgrade_rollback_timeout: Span = Span::seconds(60),
        kind::SOME_TIME, "a successor that is not ready by then is ended";
    hot_upgrade_probation: Span = Span::seconds(5),
        kind::SPAN, "for so long a successor that dies is replaced by its predecessor";
    delay_exit_time: Span = Span(Duration::from_millis(100)),
        kind::SPAN, "how long after SIGTERM sessions may go on";
    digest_table_size: usize = 10_000, kind::DIGESTS,
        "shapes of statements that are counted, the rest together; 0: none is";
    session_handover: bool = true,
        kind::FLAG, "a restart hands sessions over; false: listeners only, then drain";
    crash_protection: bool = true,
        kind::FLAG_IN_FILE, "true: sessions go on when the proxy crashes, in another process";
    enable_client_ssl: bool = false,
        kind::FLAG, by tls::switch_client,
        "true: tls_client_mode is prefer if it is off; false: it is off";
    enable_server_ssl: bool = false,
        kind::FLAG, by tls::switch_server,
        "true: tls_server_mode is prefer if it is off; false: it is off";
    run_dir: PathBuf = PathBuf::from("/run/odp"),
        kind::DIRECTORY, "holds the handover socket and the control socket";
    state_dir: PathBuf = PathBuf::from("/var/lib/odp"),
        kind::DIRECTORY, "keeps what ALTER has changed; empty: nothing is kept";
}

fn flaw<T: Serialize>(kind: Kind<T>, key: &str, value: &T) -> Option<Flaw> {
    let text = format!("proxy.{key}{}", kind.refusal(value)?);
    Some(Flaw::new(format!("proxy.{key}"), text))
}
