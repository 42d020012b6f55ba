//! The parameters that SHOW and ALTER PROXYCONFIG know: each names one key of the config.
//!
//! They are listed where their keys are: those of `[proxy]` in `config/proxy.rs`, others here. Keys
//! of a cluster have names of the same kind, see [`cluster`]: what is said of names here holds for
//! those, too.

pub mod changes;
pub mod cluster;
pub(super) mod kind;
pub mod servers;
pub(super) mod tls;

use super::{Config, proxy};

/// One parameter.
pub struct Parameter {
    /// ODP's name where ODP has it.
    pub name: &'static str,
    /// What it does.
    pub info: &'static str,
    /// Whether a change counts only after a restart.
    pub reboot: Reboot,
    /// What is taken.
    pub range: &'static str,
    pub(super) read: fn(&Config) -> String,
    pub(super) write: fn(&mut Config, &str) -> Result<(), String>,
}

/// When a change counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reboot {
    /// At once.
    NotNeeded,
    /// After a restart; to be changed in the file.
    Needed,
}

impl Parameter {
    /// By its name.
    pub fn find(name: &str) -> Option<&'static Self> {
        PARAMETERS.iter().copied().find(|parameter| parameter.name.eq_ignore_ascii_case(name))
    }

    /// Its value in a config.
    pub fn value(&self, config: &Config) -> String {
        (self.read)(config)
    }

    fn set(&self, config: &mut Config, value: &str) -> Result<(), String> {
        (self.write)(config, value.trim())
    }
}

/// The value that a name has in a config; None: nothing there has the name.
pub fn value(config: &Config, name: &str) -> Option<String> {
    let parameter = Parameter::find(name).map(|parameter| parameter.value(config));
    parameter.or_else(|| cluster::value(config, name))
}

/// The value that a name has where the config says nothing of it; None: nothing has the name.
pub fn default_value(name: &str) -> Option<String> {
    let parameter = Parameter::find(name).map(|parameter| parameter.value(&Config::default()));
    parameter.or_else(|| cluster::default_value(name))
}

/// The name under which a change is kept: there may be several for one key.
pub fn original(name: &str) -> String {
    match Parameter::find(name) {
        Some(parameter) => parameter.original().to_owned(),
        None => cluster::original(name),
    }
}

/// Whether files have to be read for a change to count.
pub fn is_of_tls(name: &str) -> bool {
    Parameter::find(name).is_some_and(Parameter::is_of_tls)
}

/// Why parameters cannot have these values.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is no such parameter.
    #[error("{0}: no such parameter")]
    Unknown(String),
    /// A value is none for it, or does not go with the others.
    #[error("{name} = '{value}': {expected}")]
    Wrong {
        /// The parameter.
        name: String,
        /// The value.
        value: String,
        /// What was expected.
        expected: String,
    },
}

impl Unfit {
    fn wrong(name: &str, value: &str, expected: String) -> Self {
        Self::Wrong { name: name.to_owned(), value: value.to_owned(), expected }
    }
}

/// The config with other values, by name; all of them or none. Together they must fit, not each.
pub fn changed<'a>(
    config: &Config,
    changes: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Config, Unfit> {
    let mut changed = config.clone();
    let mut last = None;
    for (name, value) in changes {
        set(&mut changed, name, value)?;
        last = Some((name, value));
    }
    match (last, changed.flaws().into_iter().next()) {
        (Some((name, value)), Some(flaw)) => Err(Unfit::wrong(name, value, flaw.text)),
        (None, _) | (_, None) => Ok(changed),
    }
}

fn set(config: &mut Config, name: &str, value: &str) -> Result<(), Unfit> {
    let set = match Parameter::find(name) {
        Some(parameter) => parameter.set(config, value),
        None => cluster::set(config, name, value).ok_or_else(|| Unfit::Unknown(name.to_owned()))?,
    };
    set.map_err(|expected| Unfit::wrong(name, value, expected))
}

/// A parameter of a key: `name, key, kind, [by what sets it,] "what it does"`.
macro_rules! parameter {
    (@set $($key:ident).+, $kind:expr,) => {
        |config, value| {
            config.$($key).+ = ($kind.read)(value)?;
            Ok(())
        }
    };
    (@set $($key:ident).+, $kind:expr, by $set:expr) => {
        |config, value| {
            $set(config, ($kind.read)(value)?);
            Ok(())
        }
    };
    ($name:expr, $($key:ident).+, $kind:expr, $(by $set:expr,)? $info:literal) => {
        $crate::config::parameter::Parameter {
            name: $name,
            info: $info,
            reboot: $kind.reboot,
            range: $kind.range,
            read: |config| ($kind.show)(&config.$($key).+),
            write: $crate::config::parameter::parameter!(@set $($key).+, $kind, $(by $set)?),
        }
    };
}
pub(super) use parameter;

/// Keys of `[log]`.
static OF_LOG: &[Parameter] = &[parameter!(
    "log_level",
    log.level,
    kind::LOG_LEVEL,
    "the least important level that is logged"
)];

static PARAMETERS: std::sync::LazyLock<Vec<&'static Parameter>> = std::sync::LazyLock::new(|| {
    let sections = [proxy::PARAMETERS, OF_LOG];
    let legs = [tls::OF_CLIENT, tls::OF_SERVER, tls::OF_ADMIN, tls::OF_CONSOLE];
    let mut all: Vec<_> = sections.into_iter().chain(legs).flatten().collect();
    all.sort_by_key(|parameter| parameter.name);
    all
});

/// Every parameter, by name.
pub fn all() -> &'static [&'static Parameter] {
    &PARAMETERS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "[[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h:1'";
        Config::parse(text, "x".as_ref()).expect("a config")
    }

    #[test]
    fn every_parameter_takes_its_own_value() {
        for parameter in all() {
            let value = parameter.value(&config());
            let same = changed(&config(), [(parameter.name, &*value)]);
            match parameter.reboot {
                Reboot::NotNeeded => {
                    assert_eq!(same.as_ref(), Ok(&config()), "{}", parameter.name);
                }
                Reboot::Needed => assert!(same.is_err(), "{}", parameter.name),
            }
        }
    }

    #[test]
    fn values_are_taken_or_refused_with_what_was_expected() {
        let table = [
            ("client_max_connections", "7", Ok("7")),
            ("client_max_connections", "0", Err("expected 1 or more")),
            ("client_max_connections", "x", Err("expected 1 or more")),
            ("hot_upgrade_exit_timeout", "-1", Ok("-1")),
            ("hot_upgrade_exit_timeout", "5s", Ok("5s")),
            ("hot_upgrade_exit_timeout", "30000000", Ok("30s")),
            ("login_timeout", "0", Err("expected more than 0")),
            ("login_timeout", "soon", Err("expected a duration")),
            ("session_handover", "False", Ok("false")),
            ("session_handover", "maybe", Err("expected true or false")),
            ("max_user_connections", "0", Ok("0")),
            ("max_address_connections", "-1", Err("expected 0 or more")),
            ("max_user_connects_per_second", "1000001", Err("expected at most 1000000")),
            ("proxy_protocol_networks", "10.0.0.0/8, ::1", Ok("10.0.0.0/8,::1")),
            ("proxy_protocol_networks", "", Ok("")),
            ("proxy_protocol_networks", "everywhere", Err("expected IP")),
            ("tls_server_mode", "require", Ok("require")),
            ("tls_server_mode", "verify-ca", Err("tls.server.ca: expected one")),
            ("tls_server_mode", "on", Err("expected one of `off`, `prefer`, `require`")),
            ("tls_server_ca", "ca.pem", Err("expected an absolute path")),
            ("tls_server_ca", "/ca.pem", Ok("/ca.pem")),
            ("tls_server_min_version", "1.3", Ok("1.3")),
            ("enable_server_ssl", "1", Ok("true")),
            ("enable_client_ssl", "1", Err("tls.client.certificate: expected one")),
        ];
        for (name, value, expected) in table {
            let parameter = Parameter::find(name).expect("a parameter");
            let changed = changed(&config(), [(name, value)]);
            match expected {
                Ok(shown) => assert_eq!(parameter.value(&changed.expect(name)), shown),
                Err(part) => {
                    let error = changed.expect_err(name).to_string();
                    assert!(error.contains(part), "{name} {value}: {error}");
                }
            }
        }
    }

    #[test]
    fn parameters_must_fit_together_and_not_each_by_itself() {
        let files = [("tls_client_certificate", "/c.pem"), ("tls_client_key", "/k.pem")];
        let error = changed(&config(), [files[0]]).expect_err("no key").to_string();
        assert!(error.contains("tls.client.key: expected one"), "{error}");
        let on = [files[0], ("enable_client_ssl", "on"), files[1]];
        let on = changed(&config(), on).expect("all that is needed");
        let value = |config: &Config, name| Parameter::find(name).expect(name).value(config);
        assert_eq!(value(&on, "tls_client_mode"), "prefer");
        let required = changed(&on, [("tls_client_mode", "Require")]).expect("a mode");
        let same = changed(&required, [("enable_client_ssl", "1")]).expect("it is on");
        assert_eq!(value(&same, "tls_client_mode"), "require");
        let off = changed(&same, [("enable_client_ssl", "0")]).expect("files may stay");
        assert_eq!(value(&off, "tls_client_mode"), "off");
        let off = changed(&same, [("tls_client_mode", "off")]).expect("files may stay");
        assert_eq!(value(&off, "enable_client_ssl"), "false");
    }
}
