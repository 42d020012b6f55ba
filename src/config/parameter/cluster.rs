//! Keys of clusters as parameters: `cluster.NAME.KEY`, as `ALTER CLUSTER name` alters them.
//!
//! `cluster.NAME.server` is the list of servers: `h:1,h:2 draining`. What the config knows of those
//! stays; others get what is usual. One of them is changed by `add h:3`, `drop h:1`, `drain h:1` or
//! `online h:1` as value, so that two operators cannot undo each other's.

use super::kind::Key;
use crate::config::nearest::hint;
use crate::config::{ClusterSection, Config, ServerAddress, ServerSection, cluster};

/// A key of one cluster, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfCluster {
    /// `cluster.NAME.KEY`
    pub name: String,
    /// As ALTER CLUSTER takes it.
    pub value: String,
    /// What it does.
    pub info: &'static str,
    /// What is taken.
    pub range: &'static str,
}

/// What becomes of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerChange {
    /// It is the last one.
    Add,
    /// It is none any more.
    Drop,
    /// It takes no new sessions, and those that it has leave it.
    Drain,
    /// It takes sessions again.
    Online,
}

static SERVERS: Key = Key {
    name: "server",
    info: "its servers, in order of preference",
    range: "HOST:PORT[ draining],…, or one of add, drop, drain, online with HOST:PORT",
    read: |cluster| shown(&cluster.server),
    write: |cluster, text| {
        cluster.server = match ServerChange::of(text) {
            Some((change, address)) => change.applied(&cluster.server, address)?,
            None => listed(&cluster.server, text)?,
        };
        Ok(())
    },
};

/// Changed in the file; passwords would be told to everybody who may look.
const IN_FILE: [&str; 5] = ["name", "service_password", "service_password_file", "tenant", "user"];

/// The name of a cluster's key.
pub fn name(cluster: &str, key: &str) -> String {
    format!("cluster.{cluster}.{}", key.to_ascii_lowercase())
}

/// All of them, cluster by cluster.
pub fn all(config: &Config) -> Vec<OfCluster> {
    let of = |cluster: &ClusterSection, key: &Key| OfCluster {
        name: name(&cluster.name, key.name),
        value: (key.read)(cluster),
        info: key.info,
        range: key.range,
    };
    let clusters = config.cluster.iter();
    clusters.flat_map(|cluster| keys().map(|key| of(cluster, key))).collect()
}

/// The value that a name has; None: it names no key of a cluster.
pub(super) fn value(config: &Config, name: &str) -> Option<String> {
    let (cluster, key) = parts(name)?;
    Some((find(key)?.read)(config.find_cluster(cluster)?))
}

/// Whether it names the servers of a cluster.
pub fn is_server_list(name: &str) -> bool {
    parts(name).is_some_and(|(_, key)| key.eq_ignore_ascii_case(SERVERS.name))
}

/// The value of a key that a cluster does not have; None: it names no key of a cluster.
pub(super) fn default_value(name: &str) -> Option<String> {
    let (_, key) = parts(name)?;
    Some((find(key)?.read)(&ClusterSection::default()))
}

/// As the config writes it.
pub(super) fn original(given: &str) -> String {
    parts(given).map_or_else(|| given.to_owned(), |(cluster, key)| name(cluster, key))
}

/// Sets one, or says what was expected; None: the name is none of a cluster's key.
pub(super) fn set(config: &mut Config, name: &str, value: &str) -> Option<Result<(), String>> {
    let (cluster, key) = parts(name)?;
    Some(write(config, cluster, key, value.trim()))
}

fn write(config: &mut Config, cluster: &str, key: &str, value: &str) -> Result<(), String> {
    let no_cluster = format!("no such cluster{}", hint(cluster, &config.cluster_names()));
    let section = config.cluster.iter_mut().find(|it| it.name == cluster).ok_or(no_cluster)?;
    if let Some(key) = find(key) {
        return (key.write)(section, value);
    }
    if IN_FILE.iter().any(|name| name.eq_ignore_ascii_case(key)) {
        return Err("it is changed in the file".into());
    }
    let names: Vec<&str> = keys().map(|key| key.name).collect();
    Err(format!("no such key of a cluster{}", hint(key, &names)))
}

/// `cluster.NAME.KEY`; dots in a name are its own.
fn parts(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("cluster.")?.rsplit_once('.')
}

fn keys() -> impl Iterator<Item = &'static Key> {
    cluster::KEYS.iter().chain([&SERVERS])
}

fn find(name: &str) -> Option<&'static Key> {
    keys().find(|key| key.name.eq_ignore_ascii_case(name))
}

impl ServerChange {
    /// By the words that operators say.
    pub const WORDS: [(&str, Self); 4] = [
        ("add", Self::Add),
        ("drop", Self::Drop),
        ("drain", Self::Drain),
        ("online", Self::Online),
    ];

    /// As a value of `cluster.NAME.server`.
    pub fn to(self, address: &str) -> String {
        let word = Self::WORDS.iter().find(|(_, change)| *change == self);
        format!("{} {address}", word.expect("each change has a word").0)
    }

    fn of(text: &str) -> Option<(Self, &str)> {
        let (word, address) = text.split_once(char::is_whitespace)?;
        let known = Self::WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
        known.map(|(_, change)| (*change, address.trim()))
    }

    fn applied(
        self,
        servers: &[ServerSection],
        address: &str,
    ) -> Result<Vec<ServerSection>, String> {
        let address: ServerAddress = address.parse()?;
        let mut servers = servers.to_vec();
        let at = servers.iter().position(|server| server.address == address);
        let known = || {
            let addresses: Vec<String> = servers.iter().map(|it| it.address.to_string()).collect();
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            let none = || format!("no such server{}", hint(&address.to_string(), &addresses));
            at.ok_or_else(none)
        };
        match self {
            Self::Add if at.is_some() => return Err("it is one of the servers already".into()),
            Self::Add => servers.push(ServerSection::new(address)),
            Self::Drop => {
                let at = known()?;
                if servers.len() == 1 {
                    return Err("it is the last server of the cluster".into());
                }
                servers.remove(at);
            }
            Self::Drain | Self::Online => {
                let at = known()?;
                servers[at].draining = self == Self::Drain;
            }
        }
        Ok(servers)
    }
}

/// Behind the address of a server that is being drained.
pub(super) const DRAINING: &str = " draining";

fn shown(servers: &[ServerSection]) -> String {
    let words = servers.iter().map(|ServerSection { address, draining, .. }| {
        format!("{address}{}", if *draining { DRAINING } else { "" })
    });
    words.collect::<Vec<_>>().join(",")
}

/// The servers of a list, as they are known.
fn listed(known: &[ServerSection], text: &str) -> Result<Vec<ServerSection>, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let server = |word: &str| {
        let (address, draining) = match word.strip_suffix(DRAINING) {
            Some(address) => (address.trim_end(), true),
            None => (word, false),
        };
        let address: ServerAddress = address.parse()?;
        let known = known.iter().find(|server| server.address == address).cloned();
        let server = known.unwrap_or_else(|| ServerSection::new(address));
        Ok(ServerSection { draining, ..server })
    };
    words.map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parameter::{changed, original, value};
    use crate::config::{ReadWriteSplit, ServerRole};

    fn config() -> Config {
        let text = "[[cluster]]\nname = 'main'\n[[cluster.server]]\naddress = 'h:1'\n\
                    role = 'primary'\nweight = 7\n[[cluster.server]]\naddress = '[::1]:2'\n\
                    draining = true\n[[cluster]]\nname = 'a.b'\n[[cluster.server]]\n\
                    address = 'unix:/a'\n";
        Config::parse(text, "x".as_ref()).expect("a config")
    }

    #[test]
    fn every_key_takes_its_own_value_and_has_one_name() {
        let config = config();
        let all = all(&config);
        assert_eq!(all.len(), 2 * keys().count());
        for OfCluster { name, value: shown, .. } in &all {
            assert_eq!(changed(&config, [(&**name, &**shown)]).as_ref(), Ok(&config), "{name}");
            assert_eq!(value(&config, name).as_ref(), Some(shown));
            assert_eq!(original(name), *name);
        }
        assert_eq!(original("cluster.a.B.Kind"), "cluster.a.B.kind");
        for none in ["cluster.main", "cluster.none.kind", "cluster.main.none", "cluster.main.user"]
        {
            assert_eq!(value(&config, none), None, "{none}");
        }
    }

    #[test]
    fn values_are_taken_or_refused_with_what_was_expected() {
        let table = [
            ("main.read_write_split", "On", Ok("on")),
            ("main.read_write_split", "yes", Err("expected one of `off`, `weak`, `on`")),
            ("main.Route_Policy", "follower_only", Ok("FOLLOWER_ONLY")),
            ("main.max_replica_lag", "0", Ok("0s")),
            ("main.causal_reads_timeout", "0", Err("expected more than 0")),
            ("main.init_sql", " SET @a = 1 ", Ok("SET @a = 1")),
            ("main.service_user", "odp", Err("expected a service_password")),
            ("main.service_password", "hush", Err("it is changed in the file")),
            ("main.tenant", "x", Err("it is changed in the file")),
            ("main.read_write_spilt", "on", Err("no such key of a cluster; did you mean \"read")),
            ("mian.read_write_split", "on", Err("no such cluster; did you mean \"main\"")),
            ("a.b.kind", "oceanbase", Ok("oceanbase")),
            ("main.server", "[::1]:2, h:3", Ok("[::1]:2,h:3")),
            ("main.server", "h:3 draining", Ok("h:3 draining")),
            ("main.server", "", Err("expected at least one [[cluster.server]]")),
            ("main.server", "h:3,h:3", Err("server h:3 is given twice")),
            ("main.server", "h", Err("expected HOST:PORT")),
            ("main.server", "h:3 drained", Err("expected HOST:PORT")),
            ("main.server", "add h:3", Ok("h:1,[::1]:2 draining,h:3")),
            ("main.server", "ADD h:1", Err("it is one of the servers already")),
            ("main.server", "add h", Err("expected HOST:PORT")),
            ("main.server", "drop h:1", Ok("[::1]:2 draining")),
            ("main.server", "drop h:9", Err("no such server; did you mean \"h:1\"")),
            ("a.b.server", "drop unix:/a", Err("the last server")),
            ("main.server", "drain h:1", Ok("h:1 draining,[::1]:2 draining")),
            ("main.server", "drain [::1]:2", Ok("h:1,[::1]:2 draining")),
            ("main.server", "online [::1]:2", Ok("h:1,[::1]:2")),
            ("main.server", "online x:9999", Err("no such server")),
        ];
        for (name, given, expected) in table {
            let name = format!("cluster.{name}");
            let changed = changed(&config(), [(&*name, given)]);
            match expected {
                Ok(shown) => {
                    let changed = changed.expect(given);
                    assert_eq!(value(&changed, &name).as_deref(), Some(shown), "{name} {given}");
                    let others = |config: &Config| {
                        let is_other = |it: &OfCluster| it.name != original(&name);
                        all(config).into_iter().filter(is_other).collect::<Vec<_>>()
                    };
                    assert_eq!(others(&changed), others(&config()), "{name} {given}");
                }
                Err(part) => {
                    let error = changed.expect_err(given).to_string();
                    assert!(error.contains(part), "{name} {given}: {error}");
                    assert!(error.starts_with(&name), "{error}");
                }
            }
        }
    }

    #[test]
    fn what_is_known_of_a_server_stays_and_others_get_what_is_usual() {
        let list = ("cluster.main.server", "h:3,h:1 draining");
        let config = changed(&config(), [list, ("cluster.main.read_write_split", "on")]);
        let main = config.expect("it fits").main_cluster().clone();
        assert_eq!(main.read_write_split, ReadWriteSplit::On);
        let [new, known] = &main.server[..] else { panic!("{main:?}") };
        assert_eq!(*new, ServerSection::new("h:3".parse().expect("an address")));
        assert_eq!((known.role, known.weight), (ServerRole::Primary, 7));
        assert!(known.draining && !new.draining);
    }

    #[test]
    fn a_change_is_read_as_it_is_written() {
        for (_, change) in ServerChange::WORDS {
            assert_eq!(ServerChange::of(&change.to("h:1")), Some((change, "h:1")));
        }
        assert_eq!(ServerChange::of("h:1 draining"), None);
    }
}
