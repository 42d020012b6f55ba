//! What of a cluster does not fit together; and what fits, but should be known.

use super::{ClusterSection, ReadWriteSplit, ServerRole, ServerSection};
use crate::config::ProxySection;
use crate::config::consistency::{Flaw, repeated};

/// `NAME@proxysys` is an admin user at the clients' port.
const ADMIN_TENANT: &str = "proxysys";

/// More would be a slip of the pen.
const MAX_WEIGHT: u32 = 10_000;

impl ClusterSection {
    /// Its name, or which one it is.
    pub(in crate::config) fn title(&self, at: usize) -> String {
        match self.name.is_empty() {
            true => format!("cluster {}", at + 1),
            false => format!("cluster '{}'", self.name),
        }
    }

    /// All flaws of the cluster at this place.
    pub(in crate::config) fn flaws(&self, at: usize) -> Vec<Flaw> {
        let path = format!("cluster.{at}");
        let title = self.title(at);
        let mut flaws = self.flaws_of_keys(at);
        flaws.extend(flaw_of_name(&title, &self.name).map(|text| {
            // Of a name that was left out, rather than of what has none.
            Flaw::new(format!("{path}.name"), text)
        }));
        flaws.extend(self.flaws_of_service(&path, &title));
        flaws.extend(self.flaws_of_users(&path, &title));
        flaws.extend(self.flaws_of_tenants(&path, &title));
        flaws.extend(self.flaws_of_servers(&path, &title));
        flaws
    }

    fn flaws_of_service(&self, path: &str, title: &str) -> Option<Flaw> {
        let Self { service_user: user, service_password, service_password_file, .. } = self;
        let has_password = service_password.is_some() || service_password_file.is_some();
        let expected = match (user.is_empty(), has_password) {
            (false, true) | (true, false) => return None,
            (true, true) => "service_password: expected a service_user, whose it is",
            // Written like this it is told of where passwords are read.
            (false, false) => "service_user: expected a service_password or service_password_file",
        };
        Some(Flaw::new(format!("{path}.service_user"), format!("{title}: {expected}")))
    }

    fn flaws_of_users(&self, path: &str, title: &str) -> Vec<Flaw> {
        let flaw = |of: usize, text: String| {
            Flaw::new(format!("{path}.user.{of}.name"), format!("{title}: {text}"))
        };
        let empty = self.user.iter().enumerate().filter(|(_, user)| user.name.is_empty());
        let mut flaws: Vec<Flaw> =
            empty.map(|(of, _)| flaw(of, "user.name = \"\": expected a name".into())).collect();
        for of in repeated(self.user.iter().map(|user| &user.name)) {
            flaws.push(flaw(of, format!("user '{}' is given twice", self.user[of].name)));
        }
        flaws
    }

    fn flaws_of_tenants(&self, path: &str, title: &str) -> Vec<Flaw> {
        let flaw = |of: usize, text: String| Flaw::new(format!("{path}.tenant.{of}.name"), text);
        let mut flaws = Vec::new();
        for (of, tenant) in self.tenant.iter().enumerate() {
            let name = &tenant.name;
            let title = format!("{title}: tenant '{name}'");
            flaws.extend(flaw_of_name(&title, name).map(|text| flaw(of, text)));
            if name == ADMIN_TENANT {
                flaws.push(flaw(of, format!("{title}: expected another name: it is odp's own")));
            }
        }
        for of in repeated(self.tenant.iter().map(|tenant| &tenant.name)) {
            let name = &self.tenant[of].name;
            flaws.push(flaw(of, format!("{title}: tenant '{name}' is given twice")));
        }
        flaws
    }

    fn flaws_of_servers(&self, path: &str, title: &str) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        if self.server.is_empty() {
            let text = format!("{title}: expected at least one [[cluster.server]]");
            flaws.push(Flaw::new(format!("{path}.server"), text));
        }
        let path = |of: usize, key: &str| format!("{path}.server.{of}.{key}");
        for (of, ServerSection { address, weight, .. }) in self.server.iter().enumerate() {
            let text = address.to_string();
            if text.contains(|c: char| c == ',' || c.is_whitespace()) {
                let expected = "expected neither commas nor blanks in an address";
                let text = format!("{title}: server '{text}': {expected}");
                flaws.push(Flaw::new(path(of, "address"), text));
            }
            if *weight > MAX_WEIGHT {
                let text = format!(
                    "{title}: server {address}: weight = {weight}: expected 0 to {MAX_WEIGHT}"
                );
                flaws.push(Flaw::new(path(of, "weight"), text));
            }
        }
        for of in repeated(self.server.iter().map(|server| &server.address)) {
            let text = format!("{title}: server {} is given twice", self.server[of].address);
            flaws.push(Flaw::new(path(of, "address"), text));
        }
        flaws
    }

    /// What an operator should know of it, one line each.
    pub(in crate::config) fn remarks(&self, proxy: &ProxySection) -> Vec<String> {
        let all = |is_so: fn(&ServerSection) -> bool| self.server.iter().all(is_so);
        let mut remarks = Vec::new();
        let mut say = |text: &str| remarks.push(format!("cluster '{}': {text}", self.name));
        if all(|server| server.draining) {
            say("all of its servers are draining: it takes no clients");
        }
        if all(|server| server.role == ServerRole::Replica) {
            say("each of its servers is a replica: none takes writes");
        }
        let is_split = self.split(proxy) != ReadWriteSplit::Off && self.server.len() > 1;
        let is_unknown = self.service_user.is_empty() && all(|it| it.role == ServerRole::Auto);
        if is_split && is_unknown {
            say(
                "reads are to be split, but no server has a role, and without a service_user they \
                 cannot be asked for it",
            );
        }
        remarks
    }
}

/// Why a name cannot be written behind `user@` or `#`.
fn flaw_of_name(title: &str, name: &str) -> Option<String> {
    if name.is_empty() {
        return Some(format!("{title}: name = \"\": expected a name"));
    }
    let is_bad = name.contains(|c: char| ['@', '#'].contains(&c) || c.is_control());
    is_bad.then(|| format!("{title}: expected a name without '@', '#' and control characters"))
}
