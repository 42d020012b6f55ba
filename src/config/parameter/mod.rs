//! The parameters that SHOW and ALTER PROXYCONFIG know: each names one key of the config.

mod tls;

use std::str::FromStr;
use std::time::Duration;

use super::{Config, ExitTimeout, LogLevel, Span};

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
    read: fn(&Config) -> String,
    write: fn(&mut Config, &str) -> Result<(), String>,
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
        if self.reboot == Reboot::Needed {
            return Err("it is changed in the file, and counts after a restart".into());
        }
        (self.write)(config, value.trim())
    }
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

/// The config with other values, by name; all of them or none. Together they must fit, not each.
pub fn changed<'a>(
    config: &Config,
    changes: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Config, Unfit> {
    let mut changed = config.clone();
    let mut last = None;
    let wrong = |(name, value): (&str, &str), expected| Unfit::Wrong {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    };
    for (name, value) in changes {
        let parameter = Parameter::find(name).ok_or_else(|| Unfit::Unknown(name.to_owned()))?;
        let set = parameter.set(&mut changed, value);
        set.map_err(|expected| wrong((name, value), expected))?;
        last = Some((name, value));
    }
    match (last, changed.flaws().into_iter().next()) {
        (Some(last), Some(flaw)) => Err(wrong(last, flaw.text)),
        (None, _) | (_, None) => Ok(changed),
    }
}

fn parse<T: FromStr>(value: &str, expected: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("expected {expected}"))
}

fn flag(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" => Ok(true),
        "0" | "false" | "off" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

/// A duration, or as ODP counts: a bare number of microseconds.
fn span(value: &str) -> Result<Span, String> {
    match value.parse::<u64>() {
        Ok(micros) => Span::from_str(&format!("{}us", Duration::from_micros(micros).as_micros())),
        Err(_) => value.parse(),
    }
}

fn exit_timeout(value: &str) -> Result<ExitTimeout, String> {
    match value.trim() {
        "-1" => Ok(ExitTimeout::Never),
        other => span(other).map(|span| ExitTimeout::After(span.0)),
    }
}

macro_rules! of_proxy {
    ($($read:expr, $range:literal => { $($key:ident: $info:literal,)+ })+) => {
        [$($(Parameter {
            name: stringify!($key),
            info: $info,
            reboot: Reboot::NotNeeded,
            range: $range,
            read: |config| config.proxy.$key.to_string(),
            write: |config, value| { config.proxy.$key = $read(value)?; Ok(()) },
        },)+)+]
    };
}

/// Keys of `[proxy]` that can be changed while it runs.
static OF_PROXY: [Parameter; 25] = of_proxy![
    span, "[0s,366d]" => {
        connect_timeout: "how long a connect to a server may take",
        login_timeout: "how long a client may take from connect to the end of its log-in",
        default_inactivity_timeout: "how long a session may be silent in both directions",
        client_tcp_keepidle: "client sockets: silence before the first keepalive probe",
        client_tcp_keepintvl: "client sockets: time between keepalive probes",
        client_tcp_user_timeout: "client sockets: TCP_USER_TIMEOUT, 0 leaves it to the kernel",
        server_tcp_keepidle: "server sockets: silence before the first keepalive probe",
        server_tcp_keepintvl: "server sockets: time between keepalive probes",
        server_tcp_user_timeout: "server sockets: TCP_USER_TIMEOUT, 0 leaves it to the kernel",
        hot_upgrade_rollback_timeout: "a successor that is not ready by then is ended",
        hot_upgrade_probation: "for so long a successor that dies is replaced by its predecessor",
        delay_exit_time: "how long after SIGTERM sessions may go on",
    }
    exit_timeout, "[-1,366d]" => {
        hot_upgrade_exit_timeout:
            "how long sessions of a predecessor may go on; -1 for ever, 0 not at all",
    }
    |value| parse(value, "1 to 127"), "[1,127]" => {
        client_tcp_keepcnt: "client sockets: keepalive probes until the peer is given up",
        server_tcp_keepcnt: "server sockets: keepalive probes until the peer is given up",
    }
    |value| parse(value, "1 or more"), "[1,2147483648]" => {
        client_max_connections: "clients at most; one more gets 1203",
    }
    |value| parse(value, "0 or more"), "[0,2147483648]" => {
        max_user_connections: "sessions of one user at most; 0 is no limit",
        max_address_connections: "sessions from one address at most; 0 is no limit",
    }
    |value| parse(value, "0 or more"), "[0,1000000]" => {
        max_user_connects_per_second: "log-ins of one user a second; 0 is no limit",
        max_address_connects_per_second: "connects from one address a second; 0: no limit",
    }
    str::parse, "networks" => {
        proxy_protocol_networks: "who may say by a PROXY header on whose behalf it connects",
    }
    str::parse, "off, zlib, zstd or zlib,zstd" => {
        client_compression: "compressions that clients are offered",
    }
    str::parse, "off, zlib or zstd" => {
        server_compression: "the compression that servers are asked for",
    }
    |value| parse(value, "1 to 22"), "[1,22]" => {
        zstd_level: "the level of zstd with servers",
    }
    flag, "true,false" => {
        session_handover: "a restart hands sessions over; false: listeners only, then drain",
    }
];

/// Those that are changed in the file.
static IN_FILE: [Parameter; 4] = [
    Parameter {
        name: "workers",
        info: "worker threads; 0: one per core",
        reboot: Reboot::Needed,
        range: "[0,1024]",
        read: |config| config.proxy.workers.to_string(),
        write: |_, _| Ok(()),
    },
    Parameter {
        name: "listen",
        info: "where clients connect",
        reboot: Reboot::Needed,
        range: "addresses",
        read: |config| {
            let listen = config.proxy.listen.iter().map(ToString::to_string);
            listen.collect::<Vec<_>>().join(",")
        },
        write: |_, _| Ok(()),
    },
    Parameter {
        name: "run_dir",
        info: "holds the handover socket and the control socket",
        reboot: Reboot::Needed,
        range: "a path",
        read: |config| config.proxy.run_dir.display().to_string(),
        write: |_, _| Ok(()),
    },
    Parameter {
        name: "log_level",
        info: "the least important level that is logged",
        reboot: Reboot::Needed,
        range: "error,warn,info,debug,trace",
        read: |config| {
            match config.log.level {
                LogLevel::Error => "error",
                LogLevel::Warn => "warn",
                LogLevel::Info => "info",
                LogLevel::Debug => "debug",
                LogLevel::Trace => "trace",
            }
            .into()
        },
        write: |_, _| Ok(()),
    },
];

static PARAMETERS: std::sync::LazyLock<Vec<&'static Parameter>> = std::sync::LazyLock::new(|| {
    let of_tls = tls::FIELDS.iter().chain(&tls::MODES);
    let mut all: Vec<_> = OF_PROXY.iter().chain(&IN_FILE).chain(of_tls).collect();
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
