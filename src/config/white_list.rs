//! `[[white_list]]`: who may log in from where. ODP's table.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::networks::Networks;

/// Its rows. Who is in none of them may come from everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WhiteList(Vec<WhiteListRow>);

/// A row: those whom it names may come from these networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhiteListRow {
    /// Empty: any.
    #[serde(default)]
    pub cluster: String,
    /// Empty: any, and none.
    #[serde(default)]
    pub tenant: String,
    /// Empty: any.
    #[serde(default)]
    pub user: String,
    /// From where.
    pub networks: Networks,
}

impl WhiteList {
    /// As they are in the file.
    pub fn rows(&self) -> &[WhiteListRow] {
        &self.0
    }

    /// Whether somebody may log in from an address; None is a Unix socket, which is localhost. If
    /// rows name him, one of them must have the address; an empty tenant is none.
    pub fn admits(&self, cluster: &str, tenant: &str, user: &str, address: Option<IpAddr>) -> bool {
        let mut rows = self.0.iter().filter(|row| row.names(cluster, tenant, user)).peekable();
        rows.peek().is_none() || rows.any(|row| row.networks.contain(address))
    }
}

impl WhiteListRow {
    fn names(&self, cluster: &str, tenant: &str, user: &str) -> bool {
        let pairs = [(&self.cluster, cluster), (&self.tenant, tenant), (&self.user, user)];
        pairs.into_iter().all(|(named, name)| named.is_empty() || named == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_must_come_from_there() {
        let row = |cluster: &str, tenant: &str, user: &str, networks: &str| WhiteListRow {
            cluster: cluster.into(),
            tenant: tenant.into(),
            user: user.into(),
            networks: networks.parse().expect(networks),
        };
        let list = WhiteList(vec![
            row("main", "", "app", "10.0.0.0/8"),
            row("main", "", "app", "::1,localhost"),
            row("", "shop", "", "127.0.0.1"),
            row("main", "", "nobody", ""),
        ]);
        let table = [
            ("main", "", "app", "10.1.1.1", true),
            ("main", "", "app", "::ffff:10.1.1.1", true),
            ("main", "", "app", "::1", true),
            ("main", "", "app", "", true),
            ("main", "", "app", "127.0.0.1", false),
            ("main", "x", "app", "127.0.0.1", false),
            // Each row that names them may have the address.
            ("main", "shop", "app", "127.0.0.1", true),
            ("main", "shop", "app", "10.1.1.1", true),
            ("main", "shop", "app", "11.1.1.1", false),
            ("other", "shop", "x", "10.1.1.1", false),
            ("other", "shop", "x", "127.0.0.1", true),
            ("other", "shop", "x", "", false),
            // Named by none.
            ("other", "", "app", "11.1.1.1", true),
            ("main", "", "App", "11.1.1.1", true),
            ("main", "", "", "11.1.1.1", true),
            ("main", "", "nobody", "", false),
            ("main", "", "nobody", "127.0.0.1", false),
        ];
        for (cluster, tenant, user, address, expected) in table {
            let found = list.admits(cluster, tenant, user, address.parse().ok());
            assert_eq!(found, expected, "{user}@{tenant}#{cluster} from '{address}'");
        }
        assert!(WhiteList::default().admits("main", "", "app", None));
    }
}
