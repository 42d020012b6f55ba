//! What is well-formed but does not fit together; and what fits, but should be known.

use super::console::Weak;
use super::flaw::{Flaw, repeated};
use super::nearest::hint;
use super::{AdminUser, ClusterKind, Config, ListenAddress, WhiteListRow};

impl Config {
    /// All flaws; none: it can be served.
    pub(super) fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = self.proxy.flaws();
        flaws.extend(self.flaws_of_clusters());
        flaws.extend(self.flaws_of_white_list());
        flaws.extend(self.fleet.flaws());
        flaws.extend(self.tls.flaws());
        flaws.extend(self.duplicate_addresses());
        flaws.extend(self.flaws_of_admin_users());
        flaws.extend(self.flaws_of_console());
        flaws
    }

    /// What an operator should know about a config that is good, one line each.
    pub fn remarks(&self) -> Vec<String> {
        let open = self.admin.user.iter().filter(|user| user.needs_no_password());
        let remark = |AdminUser { name, role, .. }: &AdminUser| {
            let role = format!("{role:?}").to_lowercase();
            format!(
                "admin.user '{name}': its password is empty: whoever reaches {} or the clients' \
                 port is {role} without one",
                self.admin.listen
            )
        };
        let mut remarks: Vec<String> = open.map(remark).collect();
        remarks.extend(self.open_password_files());
        remarks.extend(self.remarks_on_clusters());
        remarks.extend(self.remarks_on_console());
        remarks.extend(self.fleet.remarks_on_etcd());
        remarks
    }

    fn flaws_of_clusters(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        if self.cluster.is_empty() {
            flaws.push(Flaw::new("cluster", "expected at least one [[cluster]]"));
        }
        let clusters = self.cluster.iter().enumerate();
        flaws.extend(clusters.flat_map(|(at, cluster)| cluster.flaws(at)));
        for at in repeated(self.cluster.iter().map(|cluster| &cluster.name)) {
            let text = format!("cluster '{}' is given twice", self.cluster[at].name);
            flaws.push(Flaw::new(format!("cluster.{at}.name"), text));
        }
        let name = &self.proxy.default_cluster;
        flaws.extend(self.unknown_cluster(name, "proxy.default_cluster", "proxy.default_cluster"));
        flaws
    }

    fn flaws_of_white_list(&self) -> Vec<Flaw> {
        let rows = self.white_list.rows().iter().enumerate();
        let flaw = |(at, row): (usize, &WhiteListRow)| {
            self.unknown_cluster(
                &row.cluster,
                format!("white_list.{at}.cluster"),
                "white_list.cluster",
            )
        };
        rows.filter_map(flaw).collect()
    }

    /// A name that must be a cluster's, or nothing.
    fn unknown_cluster(&self, name: &str, path: impl Into<String>, key: &str) -> Option<Flaw> {
        if name.is_empty() || self.find_cluster(name).is_some() {
            return None;
        }
        let hint = hint(name, &self.cluster_names());
        let text = format!("{key} = \"{name}\": expected the name of a [[cluster]]{hint}");
        Some(Flaw::new(path, text).and("cluster"))
    }

    fn remarks_on_clusters(&self) -> Vec<String> {
        let clusters = self.cluster.iter();
        let mut remarks: Vec<String> =
            clusters.flat_map(|cluster| cluster.remarks(&self.proxy)).collect();
        // Who has one cluster and no tenants needs no such names.
        let names = self.cluster.iter().flat_map(|cluster| {
            let tenants = cluster.tenant.iter().map(|it| ("cluster.tenant", &it.name));
            tenants.chain([("cluster", &cluster.name)])
        });
        let names: Vec<_> = names.collect();
        for (what, name) in names.iter().filter(|_| names.len() > 1) {
            for sign in self.proxy.username_separator.chars() {
                if name.contains(*sign) {
                    remarks.push(format!(
                        "{what} '{name}': '{sign}' is a username_separator: \
                         CLUSTER{sign}TENANT{sign}USER cannot name it"
                    ));
                }
            }
        }
        let (main, tenant) = (self.main_cluster(), &self.proxy.default_tenant);
        let is_known = main.tenant.iter().any(|it| it.name == *tenant);
        if main.kind == ClusterKind::Mysql && !tenant.is_empty() && !is_known {
            remarks.push(format!(
                "proxy.default_tenant '{tenant}': cluster '{}' has no such tenant",
                main.name
            ));
        }
        remarks
    }

    /// Every listening address, and where it stands.
    pub(crate) fn listeners(&self) -> Vec<(&ListenAddress, String)> {
        let clients = self.proxy.listen.iter().enumerate();
        let mut addresses: Vec<_> =
            clients.map(|(at, address)| (address, format!("proxy.listen.{at}"))).collect();
        addresses.push((&self.admin.listen, "admin.listen".into()));
        addresses.push((&self.http.listen, "http.listen".into()));
        addresses
    }

    fn duplicate_addresses(&self) -> Vec<Flaw> {
        let addresses = self.listeners();
        let mut flaws = Vec::new();
        for (at, (address, path)) in addresses.iter().enumerate() {
            let fixed = !matches!(address, ListenAddress::Tcp(address) if address.port() == 0);
            let other = addresses[..at].iter().find(|(other, _)| fixed && other == address);
            if let Some((_, other)) = other {
                let text = format!("listen address {address} is given twice");
                flaws.push(Flaw::new(path, text).and(other));
            }
        }
        flaws
    }

    fn flaws_of_admin_users(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        for (at, user) in self.admin.user.iter().enumerate() {
            let name = &user.name;
            let path = format!("admin.user.{at}");
            if self.admin.user[..at].iter().any(|other| other.name == *name) {
                let text = format!("admin.user '{name}' is given twice");
                flaws.push(Flaw::new(format!("{path}.name"), text));
            }
            if user.password.is_some() == user.password_sha1.is_some() {
                let expected = "expected exactly one of password and password_sha1";
                flaws.push(Flaw::new(&path, format!("admin.user '{name}': {expected}")));
            }
            if user.password_sha1.as_ref().is_some_and(|hash| hash.stage2().is_none()) {
                let expected = "expected '*' and 40 hex digits";
                let text = format!("admin.user '{name}': password_sha1: {expected}");
                flaws.push(Flaw::new(format!("{path}.password_sha1"), text));
            }
        }
        flaws
    }
}

impl AdminUser {
    fn needs_no_password(&self) -> bool {
        self.weakness() == Some(Weak::Empty)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn remarks(password: &str) -> Vec<String> {
        let text = format!(
            "[[admin.user]]\nname = 'a'\nrole = 'viewer'\n{password}\n\
             [[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h:1'\n"
        );
        Config::parse(&text, Path::new("f")).expect("a config").remarks()
    }

    #[test]
    fn an_admin_without_a_password_is_worth_a_word() {
        for password in
            ["password = ''", "password_sha1 = '*BE1BDEC0AA74B4DCB079943E70528096CCA985F8'"]
        {
            let remarks = remarks(password);
            let [remark] = &remarks[..] else { panic!("{password}: {remarks:?}") };
            assert!(remark.starts_with("admin.user 'a': its password is empty"), "{remark}");
            assert!(remark.contains("127.0.0.1:2885") && remark.contains("viewer"), "{remark}");
        }
        assert_eq!(remarks("password = ' '"), [""; 0]);
    }
}
