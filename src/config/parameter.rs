//! The parameters that SHOW and ALTER PROXYCONFIG know: each names one key of the config.

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

    /// The config with another value; or what was expected.
    pub fn changed(&self, config: &Config, value: &str) -> Result<Config, String> {
        if self.reboot == Reboot::Needed {
            return Err("it is changed in the file, and counts after a restart".into());
        }
        let mut changed = config.clone();
        (self.write)(&mut changed, value.trim())?;
        changed.inconsistency().map_or(Ok(changed), Err)
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

macro_rules! spans {
    ($(($name:ident, $info:literal),)+) => {
        [$(Parameter {
            name: stringify!($name),
            info: $info,
            reboot: Reboot::NotNeeded,
            range: "[0s,366d]",
            read: |config| config.proxy.$name.to_string(),
            write: |config, value| { config.proxy.$name = span(value)?; Ok(()) },
        },)+]
    };
}

static SPANS: [Parameter; 12] = spans![
    (connect_timeout, "how long a connect to a server may take"),
    (login_timeout, "how long a client may take from connect to the end of its log-in"),
    (default_inactivity_timeout, "how long a session may be silent in both directions"),
    (client_tcp_keepidle, "client sockets: silence before the first keepalive probe"),
    (client_tcp_keepintvl, "client sockets: time between keepalive probes"),
    (client_tcp_user_timeout, "client sockets: TCP_USER_TIMEOUT, 0 leaves it to the kernel"),
    (server_tcp_keepidle, "server sockets: silence before the first keepalive probe"),
    (server_tcp_keepintvl, "server sockets: time between keepalive probes"),
    (server_tcp_user_timeout, "server sockets: TCP_USER_TIMEOUT, 0 leaves it to the kernel"),
    (hot_upgrade_rollback_timeout, "a successor that is not ready by then is ended"),
    (hot_upgrade_probation, "for so long a successor that dies is replaced by its predecessor"),
    (delay_exit_time, "how long after SIGTERM sessions may go on"),
];

static OTHERS: [Parameter; 12] = [
    Parameter {
        name: "client_max_connections",
        info: "clients at most; one more gets 1203",
        reboot: Reboot::NotNeeded,
        range: "[1,2147483648]",
        read: |config| config.proxy.client_max_connections.to_string(),
        write: |config, value| {
            config.proxy.client_max_connections = parse(value, "1 or more")?;
            Ok(())
        },
    },
    Parameter {
        name: "client_tcp_keepcnt",
        info: "client sockets: keepalive probes until the peer is given up",
        reboot: Reboot::NotNeeded,
        range: "[1,127]",
        read: |config| config.proxy.client_tcp_keepcnt.to_string(),
        write: |config, value| {
            config.proxy.client_tcp_keepcnt = parse(value, "1 to 127")?;
            Ok(())
        },
    },
    Parameter {
        name: "server_tcp_keepcnt",
        info: "server sockets: keepalive probes until the peer is given up",
        reboot: Reboot::NotNeeded,
        range: "[1,127]",
        read: |config| config.proxy.server_tcp_keepcnt.to_string(),
        write: |config, value| {
            config.proxy.server_tcp_keepcnt = parse(value, "1 to 127")?;
            Ok(())
        },
    },
    Parameter {
        name: "hot_upgrade_exit_timeout",
        info: "how long sessions of a predecessor may go on; -1 for ever, 0 not at all",
        reboot: Reboot::NotNeeded,
        range: "[-1,366d]",
        read: |config| config.proxy.hot_upgrade_exit_timeout.to_string(),
        write: |config, value| {
            config.proxy.hot_upgrade_exit_timeout = exit_timeout(value)?;
            Ok(())
        },
    },
    Parameter {
        name: "client_compression",
        info: "compressions that clients are offered",
        reboot: Reboot::NotNeeded,
        range: "off, zlib, zstd or zlib,zstd",
        read: |config| config.proxy.client_compression.to_string(),
        write: |config, value| {
            config.proxy.client_compression = value.parse()?;
            Ok(())
        },
    },
    Parameter {
        name: "server_compression",
        info: "the compression that servers are asked for",
        reboot: Reboot::NotNeeded,
        range: "off, zlib or zstd",
        read: |config| config.proxy.server_compression.to_string(),
        write: |config, value| {
            config.proxy.server_compression = value.parse()?;
            Ok(())
        },
    },
    Parameter {
        name: "zstd_level",
        info: "the level of zstd with servers",
        reboot: Reboot::NotNeeded,
        range: "[1,22]",
        read: |config| config.proxy.zstd_level.to_string(),
        write: |config, value| {
            config.proxy.zstd_level = parse(value, "1 to 22")?;
            Ok(())
        },
    },
    Parameter {
        name: "session_handover",
        info: "a restart hands sessions over; false: listeners only, then drain",
        reboot: Reboot::NotNeeded,
        range: "true,false",
        read: |config| config.proxy.session_handover.to_string(),
        write: |config, value| {
            config.proxy.session_handover = flag(value)?;
            Ok(())
        },
    },
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
        info: "holds the handover socket",
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
    let mut all: Vec<_> = SPANS.iter().chain(&OTHERS).collect();
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
            match parameter.reboot {
                Reboot::NotNeeded => {
                    let same = parameter.changed(&config(), &value);
                    assert_eq!(same.as_ref(), Ok(&config()), "{}", parameter.name);
                }
                Reboot::Needed => assert!(parameter.changed(&config(), &value).is_err()),
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
        ];
        for (name, value, expected) in table {
            let parameter = Parameter::find(name).expect("a parameter");
            let changed = parameter.changed(&config(), value);
            match expected {
                Ok(shown) => assert_eq!(parameter.value(&changed.expect(name)), shown),
                Err(part) => assert!(changed.expect_err(name).contains(part), "{name} {value}"),
            }
        }
    }
}
