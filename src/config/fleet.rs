//! `[fleet]`: the proxies that are restarted together, and how to log in to their admin ports.
//!
//! They are listed, or are all addresses of a name. What is not said of one is as `[fleet]` says,
//! or else as it is for the admin port of this proxy.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::flaw::{Flaw, repeated};
use super::{Config, EtcdEndpoint, Role, Secret, ServerAddress};

/// More of them are no fleet of one console.
const MOST: usize = 1000;

/// The section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FleetSection {
    /// A name with a port: all of its addresses are proxies. Empty: they are listed.
    pub dns: String,
    /// Who logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// By which password; also if a file holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM: by which CAs the certificates of admin ports must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The etcd where the settings of the fleet are; empty: each proxy has its own.
    pub etcd: Vec<EtcdEndpoint>,
    /// What the names of its keys there begin with.
    pub etcd_prefix: String,
    /// Who logs in there; None: nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_user: Option<String>,
    /// By which password; also if a file holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_password: Option<Secret>,
    /// The file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_password_file: Option<PathBuf>,
    /// PEM: by which CAs its certificate must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_ca: Option<PathBuf>,
    /// PEM: our own certificate, if it asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_certificate: Option<PathBuf>,
    /// PEM: its private key, without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_key: Option<PathBuf>,
    /// The list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxy: Vec<FleetProxy>,
}

impl Default for FleetSection {
    fn default() -> Self {
        Self {
            dns: String::new(),
            user: None,
            password: None,
            password_file: None,
            ca: None,
            etcd: Vec::new(),
            etcd_prefix: "/odp/".into(),
            etcd_user: None,
            etcd_password: None,
            etcd_password_file: None,
            etcd_ca: None,
            etcd_certificate: None,
            etcd_key: None,
            proxy: Vec::new(),
        }
    }
}

/// `[[fleet.proxy]]`: one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetProxy {
    /// What people call it.
    pub name: String,
    /// Its admin port.
    pub address: ServerAddress,
    /// Who logs in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// By which password; also if a file holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The file that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM: by which CAs its certificate must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

impl FleetSection {
    /// Whether there is a fleet.
    pub fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.proxy.is_empty()
    }

    pub(super) fn resolve(&mut self, directory: &Path) {
        let of_proxies = self.proxy.iter_mut().map(|proxy| &mut proxy.ca);
        for ca in of_proxies.chain([&mut self.ca]).flatten() {
            *ca = directory.join(&*ca);
        }
        self.resolve_etcd(directory);
    }

    pub(super) fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = self.flaws_of_etcd();
        if !self.dns.is_empty() && !self.proxy.is_empty() {
            let text = "fleet.dns: expected either this or [[fleet.proxy]]";
            flaws.push(Flaw::new("fleet.dns", text));
        }
        if !self.dns.is_empty() && !is_name_with_port(&self.dns) {
            let text = format!("fleet.dns = \"{}\": expected NAME:PORT", self.dns);
            flaws.push(Flaw::new("fleet.dns", text));
        }
        if self.proxy.len() > MOST {
            let text =
                format!("fleet.proxy: {} of them, expected at most {MOST}", self.proxy.len());
            flaws.push(Flaw::new("fleet.proxy", text));
        }
        for (at, proxy) in self.proxy.iter().enumerate() {
            let name = &proxy.name;
            if name.is_empty() || name.len() > 64 || name.contains(|c: char| ", '".contains(c)) {
                let expected = "expected 1 to 64 bytes without blanks, commas and quotes";
                let text = format!("fleet.proxy '{name}': {expected}");
                flaws.push(Flaw::new(format!("fleet.proxy.{at}.name"), text));
            }
        }
        for at in repeated(self.proxy.iter().map(|proxy| &proxy.name)) {
            let text = format!("fleet.proxy '{}' is given twice", self.proxy[at].name);
            flaws.push(Flaw::new(format!("fleet.proxy.{at}.name"), text));
        }
        for at in repeated(self.proxy.iter().map(|proxy| &proxy.address)) {
            let FleetProxy { name, address, .. } = &self.proxy[at];
            let text = format!("fleet.proxy '{name}': {address} is given twice");
            flaws.push(Flaw::new(format!("fleet.proxy.{at}.address"), text));
        }
        flaws
    }
}

impl Config {
    /// Who logs in to the admin port of a proxy of the fleet, and by which password; of one that is
    /// only known by its address, None. The error is what is missing.
    pub fn fleet_account(
        &self,
        proxy: Option<&FleetProxy>,
    ) -> Result<(String, Option<String>), String> {
        let FleetSection { user, password, .. } = &self.fleet;
        let own = proxy.and_then(|proxy| proxy.password.as_ref());
        let user = proxy.and_then(|proxy| proxy.user.as_ref()).or(user.as_ref());
        let revealed = |secret: &Secret| Some(secret.reveal().to_owned());
        let managers = self.admin.user.iter().filter(|it| it.role == Role::Manager);
        let known = managers.clone().find(|it| user.is_none_or(|user| *user == it.name));
        let name = user.cloned().or_else(|| known.map(|it| it.name.clone()));
        let Some(name) = name else {
            return Err("expected fleet.user, or a manager among the admin users".into());
        };
        let password = own.or(password.as_ref()).or(known.and_then(|it| it.password.as_ref()));
        match password {
            Some(password) => Ok((name, revealed(password))),
            None => Err(format!("user '{name}': expected fleet.password or fleet.password_file")),
        }
    }
}

fn is_name_with_port(text: &str) -> bool {
    let (name, port) = text.rsplit_once(':').unwrap_or_default();
    !name.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "[[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h:1'\n";

    fn parse(text: &str) -> Result<Config, String> {
        let parsed = Config::parse(&format!("{text}{CLUSTER}"), "f".as_ref());
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_line() {
        let proxy = "[[fleet.proxy]]\nname = 'a'\naddress = 'h:1'\n";
        for (text, expected) in [
            (
                "[fleet]\ndns = 'odp'\n".to_owned(),
                "line 2, column 7: fleet.dns = \"odp\": expected",
            ),
            (format!("[fleet]\ndns = 'odp:1'\n{proxy}"), "line 2, column 7: fleet.dns: expected"),
            (format!("{proxy}{proxy}"), "line 5, column 8: fleet.proxy 'a' is given twice"),
            ("[[fleet.proxy]]\nname = 'a'\n".to_owned(), "fleet.proxy: missing field `address`"),
            ("[fleet.proxy]\nname = 'a'\n".to_owned(), "each of which begins with [[fleet.proxy]]"),
            (
                format!("{proxy}password = 'x'\npassword_file = 'y'\n"),
                "fleet.proxy 'a': expected exactly one of password and password_file",
            ),
        ] {
            let error = parse(&text).expect_err(&text);
            assert!(error.contains(expected), "{expected} is not in: {error}");
        }
    }

    #[test]
    fn an_account_is_the_proxys_or_the_fleets_or_the_admins() {
        let admin = "[[admin.user]]\nname = 'root'\nrole = 'manager'\npassword = 'r'\n\
                     [[admin.user]]\nname = 'ops'\nrole = 'manager'\npassword = 'o'\n";
        let proxy = "[[fleet.proxy]]\nname = 'a'\naddress = 'h:1'\n";
        for (text, expected) in [
            (format!("{admin}{proxy}"), Ok(("root", "r"))),
            (format!("{admin}{proxy}user = 'ops'\n"), Ok(("ops", "o"))),
            (format!("{admin}[fleet]\nuser = 'ops'\n{proxy}"), Ok(("ops", "o"))),
            (format!("[fleet]\nuser = 'f'\npassword = 'p'\n{proxy}"), Ok(("f", "p"))),
            (
                format!("[fleet]\nuser = 'f'\npassword = 'p'\n{proxy}password = 'q'\n"),
                Ok(("f", "q")),
            ),
            (proxy.to_owned(), Err("expected fleet.user")),
            (format!("{proxy}user = 'x'\n"), Err("user 'x': expected fleet.password")),
        ] {
            let config = parse(&text).expect(&text);
            let found = config.fleet_account(config.fleet.proxy.first());
            match expected {
                Ok((user, password)) => {
                    let expected = (user.to_owned(), Some(password.to_owned()));
                    assert_eq!(found, Ok(expected), "{text}");
                }
                Err(part) => assert!(found.expect_err(&text).contains(part)),
            }
        }
    }
}
