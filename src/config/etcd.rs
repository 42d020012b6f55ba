//! The keys of `[fleet]` that name the etcd where the fleet's settings are, and how to get there.
//!
//! By TLS the certificate must be for the host that is written, and by a CA that is: a certificate
//! of an etcd is nobody's whom the world knows.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::flaw::Flaw;
use super::tls::{ConnectMode, TlsConnect};
use super::{FleetSection, ServerAddress, serde_by_text};

/// The longest prefix, in bytes.
const LONGEST_PREFIX: usize = 200;

/// More of them are no cluster of etcd.
const MOST: usize = 15;

/// `https://HOST:PORT`, or `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EtcdEndpoint {
    /// Whether TLS is spoken there.
    pub scheme: Scheme,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// As it is.
    Http,
    /// By TLS.
    Https,
}

impl EtcdEndpoint {
    /// The host and the port.
    pub fn address(&self) -> ServerAddress {
        ServerAddress::Tcp { host: self.host.clone(), port: self.port }
    }

    /// Whether what is said there can be read on the way.
    fn is_open(&self) -> bool {
        let is_loopback = |ip: std::net::IpAddr| ip.is_loopback();
        let is_here = self.host == "localhost" || self.host.parse().is_ok_and(is_loopback);
        self.scheme == Scheme::Http && !is_here
    }
}

impl FromStr for EtcdEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // There may be a password before it.
        let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
        let expected = || format!("'{shown}': expected https://HOST:PORT or http://HOST:PORT");
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            _ => return Err(expected()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        match rest.parse() {
            Ok(ServerAddress::Tcp { host, port }) if rest.chars().all(is_host) => {
                Ok(Self { scheme, host, port })
            }
            Ok(_) | Err(_) => Err(expected()),
        }
    }
}

impl fmt::Display for EtcdEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.address())
    }
}

serde_by_text!(EtcdEndpoint, "https://HOST:PORT or http://HOST:PORT");

impl FleetSection {
    /// Whether the fleet's settings are shared.
    pub fn is_shared(&self) -> bool {
        !self.etcd.is_empty()
    }

    /// How TLS is spoken to etcd.
    pub fn etcd_tls(&self) -> TlsConnect {
        TlsConnect {
            mode: ConnectMode::VerifyIdentity,
            ca: self.etcd_ca.clone(),
            certificate: self.etcd_certificate.clone(),
            key: self.etcd_key.clone(),
            ..TlsConnect::default()
        }
    }

    pub(super) fn resolve_etcd(&mut self, directory: &Path) {
        let files = [&mut self.etcd_ca, &mut self.etcd_certificate, &mut self.etcd_key];
        for file in files.into_iter().flatten() {
            *file = directory.join(&*file);
        }
    }

    pub(super) fn flaws_of_etcd(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        if self.etcd.len() > MOST {
            let text = format!("fleet.etcd: {} of them, expected at most {MOST}", self.etcd.len());
            flaws.push(Flaw::new("fleet.etcd", text));
        }
        let prefix = &self.etcd_prefix;
        let is_usual = |c: char| c.is_ascii_graphic() && c != '\'' && c != '"';
        let is_good = prefix.len() > 1
            && prefix.ends_with('/')
            && prefix.len() <= LONGEST_PREFIX
            && prefix.chars().all(is_usual);
        if !is_good {
            let text = format!(
                "fleet.etcd_prefix = \"{prefix}\": expected something of printable ASCII that ends \
                 with '/', such as \"/odp/\", of at most {LONGEST_PREFIX} bytes"
            );
            flaws.push(Flaw::new("fleet.etcd_prefix", text));
        }
        let has_password = self.etcd_password.is_some() || self.etcd_password_file.is_some();
        let missing = match (&self.etcd_user, has_password) {
            (Some(user), _) if user.is_empty() => {
                Some(("fleet.etcd_user", "fleet.etcd_user = \"\": expected a name"))
            }
            (Some(_), true) | (None, false) => None,
            (Some(_), false) => {
                let expected = "fleet.etcd_user: expected etcd_password or etcd_password_file";
                Some(("fleet.etcd_user", expected))
            }
            (None, true) => {
                Some(("fleet", "fleet.etcd_password: expected an etcd_user, whose it is"))
            }
        };
        flaws.extend(missing.map(|(path, text)| Flaw::new(path, text)));
        let secure = self.etcd.iter().find(|endpoint| endpoint.scheme == Scheme::Https);
        if let Some(endpoint) = secure.filter(|_| self.etcd_ca.is_none()) {
            let text = format!("fleet.etcd_ca: expected the CA of the certificate of {endpoint}");
            flaws.push(Flaw::new("fleet.etcd_ca", text).and("fleet.etcd"));
        }
        let pair = [
            ("fleet.etcd_certificate", self.etcd_certificate.is_some()),
            ("fleet.etcd_key", self.etcd_key.is_some()),
        ];
        if let [(there, true), (missing, false)] | [(missing, false), (there, true)] = pair {
            flaws.push(Flaw::new(missing, format!("{missing}: expected one")).and(there));
        }
        flaws
    }

    pub(super) fn remarks_on_etcd(&self) -> Option<String> {
        let open = self.etcd.iter().find(|endpoint| endpoint.is_open())?;
        let what = match self.etcd_user {
            Some(_) => "the fleet's settings and the password of etcd_user, and",
            None => "the fleet's settings and",
        };
        Some(format!(
            "fleet.etcd {open}: without TLS whoever is on the way reads {what} can change them"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_of_a_host_and_a_port() {
        for (text, shown) in [
            ("https://10.0.0.1:2379", "https://10.0.0.1:2379"),
            ("http://etcd-0.etcd:2379/", "http://etcd-0.etcd:2379"),
            ("https://[::1]:2379", "https://[::1]:2379"),
        ] {
            let endpoint: EtcdEndpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), shown);
        }
        for text in [
            "10.0.0.1:2379",
            "https://10.0.0.1",
            "https://user:pw@h:2379",
            "https://h:2379/v3",
            "https://h:2379?x",
            "ftp://h:1",
            "https://unix:/x",
            "https://h\r\n:1",
            "",
        ] {
            let error = text.parse::<EtcdEndpoint>().expect_err(text);
            assert!(!error.contains("pw"), "{error}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_told_with_its_line() {
        let parse = |text: &str| {
            let cluster = "[[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h:1'\n";
            Config::parse(&format!("[fleet]\n{text}\n{cluster}"), "/etc/odp.toml".as_ref())
        };
        for (text, expected) in [
            ("etcd = ['h:1']", "expected https://HOST:PORT"),
            ("etcd = ['https://h:1']", "line 2, column 8: fleet.etcd_ca: expected the CA"),
            ("etcd_prefix = 'x'", "line 2, column 15: fleet.etcd_prefix = \"x\": expected"),
            ("etcd_prefix = '/'", "fleet.etcd_prefix = \"/\": expected"),
            ("etcd_prefix = '/a b/'", "fleet.etcd_prefix"),
            ("etcd_key = 'k'", "fleet.etcd_certificate: expected one"),
            ("etcd_user = 'u'", "line 2, column 13: fleet.etcd_user: expected etcd_password"),
            ("etcd_user = ''\netcd_password = 'x'", "fleet.etcd_user = \"\": expected a name"),
            ("etcd_password = 'x'", "fleet.etcd_password: expected an etcd_user"),
            (
                "etcd_user = 'u'\netcd_password = 'x'\netcd_password_file = 'f'",
                "expected exactly one of etcd_password and etcd_password_file",
            ),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{expected} is not in: {error}");
        }
        let config = parse("etcd = ['http://etcd:1']\netcd_ca = 'ca.pem'").expect("it is good");
        assert!(config.remarks().iter().any(|it| it.contains("http://etcd:1: without TLS")));
        let with_user = "etcd = ['http://etcd:1']\netcd_user = 'u'\netcd_password = 'hush'";
        let config = parse(with_user).expect("it is good");
        assert!(config.remarks().iter().any(|it| it.contains("the password of etcd_user")));
        assert!(!format!("{config:?}").contains("hush"));
        let config = parse("etcd = ['http://etcd:1']\netcd_ca = 'ca.pem'").expect("it is good");
        assert_eq!(config.fleet.etcd_ca.as_deref(), Some("/etc/ca.pem".as_ref()));
        assert!(config.fleet.is_shared() && !Config::default().fleet.is_shared());
    }
}
