//! `[tls.*]` as parameters: `tls_LEG_KEY`. ODP's two switches are other names of the modes.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::de::value::{Error, StrDeserializer};
use serde::{Serialize, de::IntoDeserializer as _};

use super::{Parameter, Reboot, flag};
use crate::config::Config;
use crate::config::tls::{AcceptMode, ConnectMode};

/// All of them begin so.
const PREFIX: &str = "tls_";

/// ODP's names, and which parameters they stand for.
const SWITCHES: [(&str, &str); 2] =
    [("enable_client_ssl", "tls_client_mode"), ("enable_server_ssl", "tls_server_mode")];

impl Parameter {
    /// Whether files have to be read for a change to count.
    pub fn is_of_tls(&self) -> bool {
        self.original().starts_with(PREFIX)
    }

    /// Its name, or the name of the parameter that it stands for.
    pub fn original(&self) -> &'static str {
        let switch = SWITCHES.iter().find(|(name, _)| *name == self.name);
        switch.map_or(self.name, |(_, original)| original)
    }
}

/// One of a few words, as the config file writes it.
fn word<T: DeserializeOwned>(value: &str) -> Result<T, String> {
    let word = value.to_ascii_lowercase();
    let reader: StrDeserializer<'_, Error> = word.as_str().into_deserializer();
    T::deserialize(reader).map_err(|error| error.to_string())
}

fn written(word: &impl Serialize) -> String {
    let value = toml::Value::try_from(word).ok();
    value.as_ref().and_then(toml::Value::as_str).unwrap_or_default().to_owned()
}

/// There is no file here that a relative path could be relative to.
fn path(value: &str) -> Result<Option<PathBuf>, String> {
    match value {
        "" => Ok(None),
        path if Path::new(path).is_absolute() => Ok(Some(path.into())),
        _ => Err("expected an absolute path, or '' for none".into()),
    }
}

fn shown(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
}

/// The switches follow the modes.
fn set_client_mode(config: &mut Config, mode: AcceptMode) {
    config.tls.client.mode = mode;
    config.proxy.enable_client_ssl = mode != AcceptMode::Off;
}

fn set_server_mode(config: &mut Config, mode: ConnectMode) {
    config.tls.server.mode = mode;
    config.proxy.enable_server_ssl = mode != ConnectMode::Off;
}

macro_rules! of_tls {
    ($($show:expr, $read:expr, $range:literal => {
        $($leg:ident.$key:ident: $info:literal,)+
    })+) => {
        [$($(Parameter {
            name: concat!("tls_", stringify!($leg), "_", stringify!($key)),
            info: $info,
            reboot: Reboot::NotNeeded,
            range: $range,
            read: |config| $show(&config.tls.$leg.$key),
            write: |config, value| { config.tls.$leg.$key = $read(value)?; Ok(()) },
        },)+)+]
    };
}

/// Parameters that nothing else follows.
pub(super) static FIELDS: [Parameter; 15] = of_tls![
    written, word, "off,prefer,require" => {
        admin.mode: "whether the admin port speaks TLS",
    }
    written, word, "off,optional,require" => {
        admin.verify_client: "whether operators show a certificate",
        client.verify_client: "whether clients show a certificate",
    }
    written, word, "1.2,1.3" => {
        admin.min_version: "admin port: the oldest version of TLS",
        client.min_version: "clients: the oldest version of TLS",
        server.min_version: "servers: the oldest version of TLS",
    }
    shown, path, "a path, or nothing" => {
        admin.certificate: "admin port: PEM, the certificate and those between it and the CA",
        admin.key: "admin port: PEM, the key of the certificate",
        admin.ca: "admin port: PEM, the CAs of operators' certificates",
        client.certificate: "clients: PEM, the certificate and those between it and the CA",
        client.key: "clients: PEM, the key of the certificate",
        client.ca: "clients: PEM, the CAs of clients' certificates",
        server.certificate: "servers: PEM, the certificate we show to those that ask for one",
        server.key: "servers: PEM, the key of the certificate",
        server.ca: "servers: PEM, the CAs of servers' certificates",
    }
];

/// Modes of the two legs, and ODP's switches for them.
pub(super) static MODES: [Parameter; 4] = [
    Parameter {
        name: "tls_client_mode",
        info: "whether clients get TLS: off, if they ask for it, or they must",
        reboot: Reboot::NotNeeded,
        range: "off,prefer,require",
        read: |config| written(&config.tls.client.mode),
        write: |config, value| {
            set_client_mode(config, word(value)?);
            Ok(())
        },
    },
    Parameter {
        name: "tls_server_mode",
        info: "whether servers are spoken to by TLS, and what of their certificate is checked",
        reboot: Reboot::NotNeeded,
        range: "off,prefer,require,verify-ca,verify-identity",
        read: |config| written(&config.tls.server.mode),
        write: |config, value| {
            set_server_mode(config, word(value)?);
            Ok(())
        },
    },
    Parameter {
        name: "enable_client_ssl",
        info: "true: tls_client_mode is prefer if it is off; false: it is off",
        reboot: Reboot::NotNeeded,
        range: "true,false",
        read: |config| config.proxy.enable_client_ssl.to_string(),
        write: |config, value| {
            let mode = match (flag(value)?, config.tls.client.mode) {
                (true, AcceptMode::Off) => AcceptMode::Prefer,
                (true, mode) => mode,
                (false, _) => AcceptMode::Off,
            };
            set_client_mode(config, mode);
            Ok(())
        },
    },
    Parameter {
        name: "enable_server_ssl",
        info: "true: tls_server_mode is prefer if it is off; false: it is off",
        reboot: Reboot::NotNeeded,
        range: "true,false",
        read: |config| config.proxy.enable_server_ssl.to_string(),
        write: |config, value| {
            let mode = match (flag(value)?, config.tls.server.mode) {
                (true, ConnectMode::Off) => ConnectMode::Prefer,
                (true, mode) => mode,
                (false, _) => ConnectMode::Off,
            };
            set_server_mode(config, mode);
            Ok(())
        },
    },
];
