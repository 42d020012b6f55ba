//! What a file would change in a proxy that runs, and from when on that counts.

use std::collections::BTreeMap;
use std::fmt;

use super::{Parameter, Reboot, all, cluster, value};
use crate::config::Config;

/// From when on a changed value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counts {
    /// From the reload on, for everybody.
    Now,
    /// From the reload on, for who connects then.
    NextSession,
    /// After a restart.
    Restart,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now => "now (SIGHUP)",
            Self::NextSession => "at the next session (after SIGHUP)",
            Self::Restart => "at a restart",
        })
    }
}

/// A value that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Of the parameter, or of a cluster's key.
    pub name: String,
    /// None: there was none.
    pub from: Option<String>,
    /// None: there is none.
    pub to: Option<String>,
    /// From when on.
    pub counts: Counts,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, from, to, counts } = self;
        match (from, to) {
            (Some(from), Some(to)) => write!(f, "{name}: '{from}' becomes '{to}' {counts}"),
            (Some(from), None) => write!(f, "{name}: '{from}' goes {counts}"),
            (None, to) => {
                write!(f, "{name}: '{}' comes {counts}", to.as_deref().unwrap_or_default())
            }
        }
    }
}

/// What is looked at when a session begins, or connects to a server. What is not here and can be
/// altered is looked at whenever it matters.
const AT_BEGINNING: &[&str] = &[
    "client_compression",
    "client_max_connections",
    "client_tcp_keepcnt",
    "client_tcp_keepidle",
    "client_tcp_keepintvl",
    "client_tcp_user_timeout",
    "connect_observer_max_retries",
    "connect_timeout",
    "default_cluster",
    "default_tenant",
    "enable_client_ssl",
    "enable_read_write_split",
    "enable_server_ssl",
    "login_timeout",
    "max_address_connections",
    "max_address_connects_per_second",
    "max_user_connections",
    "max_user_connects_per_second",
    "proxy_protocol_networks",
    "server_compression",
    "server_tcp_keepcnt",
    "server_tcp_keepidle",
    "server_tcp_keepintvl",
    "server_tcp_user_timeout",
    "username_separator",
    "zstd_level",
];

/// The same of a cluster.
const OF_CLUSTER_AT_BEGINNING: &[&str] =
    &["init_sql", "kind", "proxy_protocol", "read_write_split"];

/// From when on another value of it would count.
pub fn counts(name: &str) -> Counts {
    match Parameter::find(name) {
        Some(parameter) if parameter.reboot == Reboot::Needed => Counts::Restart,
        Some(parameter) if parameter.is_of_tls() => Counts::NextSession,
        Some(parameter) if AT_BEGINNING.contains(&parameter.name) => Counts::NextSession,
        Some(_) => Counts::Now,
        None => {
            let key = name.rsplit('.').next().unwrap_or_default();
            let at_beginning = OF_CLUSTER_AT_BEGINNING.contains(&key);
            if at_beginning { Counts::NextSession } else { Counts::Now }
        }
    }
}

/// What a config would change where the file had these values; by name.
pub fn changes(before: &BTreeMap<String, String>, config: &Config) -> Vec<Changed> {
    let of_clusters = cluster::all(config).into_iter().map(|key| key.name);
    let own = all().iter().map(|parameter| parameter.name.to_owned());
    // What only another version knows is none of ours.
    let known = |name: &&String| name.starts_with("cluster.") || Parameter::find(name).is_some();
    let names = before.keys().filter(known).cloned();
    let names: std::collections::BTreeSet<String> = own.chain(of_clusters).chain(names).collect();
    let change = |name: String| {
        let (from, to) = (before.get(&name).cloned(), value(config, &name));
        let counts = counts(&name);
        (from != to).then_some(Changed { name, from, to, counts })
    };
    names.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let cluster = "[[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h:1'\n";
        Config::parse(&format!("{text}{cluster}"), "x".as_ref()).expect(text)
    }

    fn values(config: &Config) -> BTreeMap<String, String> {
        let own = all().iter().map(|it| (it.name.to_owned(), it.value(config)));
        own.chain(cluster::all(config).into_iter().map(|key| (key.name, key.value))).collect()
    }

    #[test]
    fn what_a_file_says_anew_is_told_with_when_it_counts() {
        let before = values(&config(""));
        assert_eq!(changes(&before, &config("")), []);
        let text = "[proxy]\nworkers = 3\nlogin_timeout = '1s'\ndelay_exit_time = '2s'\n\
                    [[cluster]]\nname = 'b'\n[[cluster.server]]\naddress = 'h:2'\n";
        let all: Vec<String> =
            changes(&before, &config(text)).iter().map(ToString::to_string).collect();
        for line in [
            "delay_exit_time: '100ms' becomes '2s' now (SIGHUP)",
            "login_timeout: '10s' becomes '1s' at the next session (after SIGHUP)",
            "workers: '0' becomes '3' at a restart",
            "cluster.b.server: 'h:2' comes now (SIGHUP)",
        ] {
            assert!(all.iter().any(|found| found == line), "{line} is not in {all:?}");
        }
        let keys = cluster::all(&config("")).len();
        assert_eq!(all.len(), 3 + keys, "{all:?}");
        let gone = changes(&values(&config(text)), &config(""));
        assert!(
            gone.iter().any(|it| it.to_string() == "cluster.b.server: 'h:2' goes now (SIGHUP)")
        );
    }

    #[test]
    fn every_name_of_the_lists_is_one() {
        for name in AT_BEGINNING {
            assert_eq!(counts(name), Counts::NextSession, "{name}");
        }
        let config = config("");
        for key in OF_CLUSTER_AT_BEGINNING {
            assert!(value(&config, &format!("cluster.a.{key}")).is_some(), "{key}");
        }
        assert_eq!(counts("tls_client_certificate"), Counts::NextSession);
        assert_eq!(counts("log_level"), Counts::Restart);
    }
}
