//! `[tls.client]`, `[tls.server]`, `[tls.admin]`, `[tls.console]`: which legs speak TLS, and with
//! what.
//!
//! The files themselves are read by `net::tls`; here only what was written is checked.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::flaw::Flaw;

/// `[tls]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSection {
    /// Clients → proxy.
    pub client: TlsAccept,
    /// Proxy → servers.
    pub server: TlsConnect,
    /// The admin port.
    pub admin: TlsAccept,
    /// The HTTP port.
    pub console: TlsAccept,
}

/// A port that clients connect to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsAccept {
    /// off, prefer (those who ask get TLS) or require (nobody logs in without).
    pub mode: AcceptMode,
    /// PEM: the certificate, then those between it and the CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM: the certificate's private key, without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// PEM: the CAs of client certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Whether clients show a certificate: off, optional or require.
    pub verify_client: VerifyClient,
    /// The oldest version that is spoken: "1.2" or "1.3".
    pub min_version: MinVersion,
}

/// The leg to the servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConnect {
    /// off, prefer (if the server can), require (without a look at the certificate), verify-ca or
    /// verify-identity (the certificate must also be for the host of the address).
    pub mode: ConnectMode,
    /// PEM: the CAs of server certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM: our own certificate, for servers that ask for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM: its private key, without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The oldest version that is spoken: "1.2" or "1.3".
    pub min_version: MinVersion,
}

/// Whether clients get TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum AcceptMode {
    #[default]
    Off,
    Prefer,
    Require,
}

/// Whether servers are spoken to by TLS, and what of their certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum ConnectMode {
    #[default]
    Off,
    Prefer,
    Require,
    VerifyCa,
    VerifyIdentity,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyClient {
    /// They are not asked.
    #[default]
    Off,
    /// If they show one it must be good.
    Optional,
    /// They must show one.
    Require,
}

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MinVersion {
    /// "1.2"
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// "1.3"
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsSection {
    /// Takes relative paths from the directory of the config file.
    pub(super) fn resolve(&mut self, directory: &Path) {
        let Self { client, server, admin, console } = self;
        let paths = [
            &mut client.certificate,
            &mut client.key,
            &mut client.ca,
            &mut server.certificate,
            &mut server.key,
            &mut server.ca,
            &mut admin.certificate,
            &mut admin.key,
            &mut admin.ca,
            &mut console.certificate,
            &mut console.key,
            &mut console.ca,
        ];
        for path in paths.into_iter().flatten() {
            *path = directory.join(&path);
        }
    }

    /// The ports that are connected to, with their names.
    pub fn accepting(&self) -> [(&'static str, &TlsAccept); 3] {
        [("client", &self.client), ("admin", &self.admin), ("console", &self.console)]
    }

    /// What is well-formed but does not fit together.
    pub(super) fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        for (leg, section) in self.accepting() {
            let TlsAccept { mode, certificate, key, ca, verify_client, .. } = section;
            if *mode != AcceptMode::Off && certificate.is_none() {
                let why = "as mode is not off";
                flaws.push(missing(leg, "certificate", why).and("proxy.enable_client_ssl"));
            }
            if *verify_client != VerifyClient::Off && ca.is_none() {
                flaws.push(missing(leg, "ca", "as verify_client is not off"));
            }
            flaws.extend(unpaired(leg, certificate.as_ref(), key.as_ref()));
        }
        let TlsConnect { mode, certificate, key, ca, .. } = &self.server;
        let verifies = matches!(mode, ConnectMode::VerifyCa | ConnectMode::VerifyIdentity);
        if verifies && ca.is_none() {
            flaws.push(missing("server", "ca", "as mode is verify-…"));
        }
        flaws.extend(unpaired("server", certificate.as_ref(), key.as_ref()));
        flaws
    }
}

fn missing(leg: &str, key: &str, why: &str) -> Flaw {
    let section = format!("tls.{leg}");
    Flaw::new(&section, format!("{section}.{key}: expected one, {why}"))
}

fn unpaired(leg: &str, certificate: Option<&PathBuf>, key: Option<&PathBuf>) -> Option<Flaw> {
    match (certificate, key) {
        (Some(_), None) => Some(missing(leg, "key", "for the certificate")),
        (None, Some(_)) => Some(missing(leg, "certificate", "for the key")),
        (None, None) | (Some(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Config, String> {
        let text = format!("{text}\n[[cluster]]\nname='a'\n[[cluster.server]]\naddress='a:1'\n");
        Config::parse(&text, Path::new("/etc/odp/odp.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = parse("[tls.client]\nmode='prefer'\ncertificate='c.pem'\nkey='/k.pem'");
        let client = config.expect("a good config").tls.client;
        assert_eq!(client.certificate, Some("/etc/odp/c.pem".into()));
        assert_eq!(client.key, Some("/k.pem".into()));
        assert_eq!(client.min_version, MinVersion::Tls12);
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases = [
            ("[tls.client]\nmode='require'", "tls.client.certificate: expected one"),
            ("[tls.admin]\nmode='prefer'\ncertificate='c'", "tls.admin.key: expected one"),
            ("[tls.server]\nmode='verify-ca'", "tls.server.ca: expected one"),
            ("[tls.client]\nverify_client='optional'", "tls.client.ca: expected one"),
            ("[tls.server]\nkey='k'", "tls.server.certificate: expected one"),
            ("[tls.client]\nmode='on'", "unknown variant `on`"),
            ("[tls.client]\nmin_version='1.1'", "unknown variant `1.1`"),
        ];
        for (text, expected) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn odp_parameters_turn_tls_on() {
        let text = "[proxy]\nenable_server_ssl=true\n[tls.client]\nmode='require'\n\
                    certificate='c'\nkey='k'";
        let config = parse(text).expect("a good config");
        assert_eq!(config.tls.server.mode, ConnectMode::Prefer);
        assert!(config.proxy.enable_client_ssl);
        let error = parse("[proxy]\nenable_client_ssl=true").expect_err("no certificate");
        assert!(error.contains("tls.client.certificate"), "{error}");
    }
}
