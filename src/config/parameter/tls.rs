//! `[tls.*]` as parameters: `tls_LEG_KEY`. ODP's two switches are other names of the modes.

use std::path::{Path, PathBuf};

use super::kind::Kind;
use super::{Parameter, parameter};
use crate::config::Config;
use crate::config::tls::{
    AcceptMode, ConnectMode, MinVersion, TlsAccept, TlsConnect, VerifyClient,
};

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

/// ODP's switches: on is at least prefer.
pub(in crate::config) fn switch_client(config: &mut Config, on: bool) {
    let mode = match (on, config.tls.client.mode) {
        (true, AcceptMode::Off) => AcceptMode::Prefer,
        (true, mode) => mode,
        (false, _) => AcceptMode::Off,
    };
    set_client_mode(config, mode);
}

pub(in crate::config) fn switch_server(config: &mut Config, on: bool) {
    let mode = match (on, config.tls.server.mode) {
        (true, ConnectMode::Off) => ConnectMode::Prefer,
        (true, mode) => mode,
        (false, _) => ConnectMode::Off,
    };
    set_server_mode(config, mode);
}

const FILE: Kind<Option<PathBuf>> = Kind::new("a path, or nothing", shown, path);
const ACCEPT_MODE: Kind<AcceptMode> = Kind::word("off,prefer,require");
const CONNECT_MODE: Kind<ConnectMode> = Kind::word("off,prefer,require,verify-ca,verify-identity");
const VERIFY_CLIENT: Kind<VerifyClient> = Kind::word("off,optional,require");
const MIN_VERSION: Kind<MinVersion> = Kind::word("1.2,1.3");

/// Every key of a leg; one that is forgotten does not compile.
macro_rules! of_leg {
    ($leg:ident, $of:ident {
        $($key:ident: $kind:expr, $(by $set:expr,)? $info:literal;)+
    }) => {{
        const _: fn(&$of) = |$of { $($key: _),+ }| {};
        &[$(parameter!(
            concat!("tls_", stringify!($leg), "_", stringify!($key)),
            tls.$leg.$key,
            $kind,
            $(by $set,)?
            $info
        ),)+]
    }};
}

pub(super) static OF_CLIENT: &[Parameter] = of_leg!(client, TlsAccept {
    mode: ACCEPT_MODE, by set_client_mode,
        "whether clients get TLS: off, if they ask for it, or they must";
    certificate: FILE, "clients: PEM, the certificate and those between it and the CA";
    key: FILE, "clients: PEM, the key of the certificate";
    ca: FILE, "clients: PEM, the CAs of clients' certificates";
    verify_client: VERIFY_CLIENT, "whether clients show a certificate";
    min_version: MIN_VERSION, "clients: the oldest version of TLS";
});

pub(super) static OF_SERVER: &[Parameter] = of_leg!(server, TlsConnect {
    mode: CONNECT_MODE, by set_server_mode,
        "whether servers are spoken to by TLS, and what of their certificate is checked";
    ca: FILE, "servers: PEM, the CAs of servers' certificates";
    certificate: FILE, "servers: PEM, the certificate we show to those that ask for one";
    key: FILE, "servers: PEM, the key of the certificate";
    min_version: MIN_VERSION, "servers: the oldest version of TLS";
});

pub(super) static OF_CONSOLE: &[Parameter] = of_leg!(console, TlsAccept {
    mode: ACCEPT_MODE, "whether the HTTP port speaks TLS";
    certificate: FILE, "HTTP port: PEM, the certificate and those between it and the CA";
    key: FILE, "HTTP port: PEM, the key of the certificate";
    ca: FILE, "HTTP port: PEM, the CAs of visitors' certificates";
    verify_client: VERIFY_CLIENT, "whether visitors show a certificate";
    min_version: MIN_VERSION, "HTTP port: the oldest version of TLS";
});

pub(super) static OF_ADMIN: &[Parameter] = of_leg!(admin, TlsAccept {
    mode: ACCEPT_MODE, "whether the admin port speaks TLS";
    certificate: FILE, "admin port: PEM, the certificate and those between it and the CA";
    key: FILE, "admin port: PEM, the key of the certificate";
    ca: FILE, "admin port: PEM, the CAs of operators' certificates";
    verify_client: VERIFY_CLIENT, "whether operators show a certificate";
    min_version: MIN_VERSION, "admin port: the oldest version of TLS";
});
