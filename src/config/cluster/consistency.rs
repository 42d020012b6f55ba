//! What of a cluster does not fit together; and what fits, but should be known.

use super::{ClusterSection, ReadWriteSplit, ServerRole, ServerSection};
use crate::config::ProxySection;
use crate::config::flaw::{Flaw, repeated};

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
        let of_name = flaw_of_name(&title, &self.name);
        flaws.extend(of_name.map(|text| Flaw::new(format!("{path}.name"), text)));
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    const SERVER: &str = "[[cluster.server]]\naddress = 'h:1'\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("f")).map_err(|error| error.to_string())
    }

    /// A flaw behind the first line, which begins a cluster that is otherwise good.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let error = parse(&format!("[[cluster]]\n{text}")).expect_err(text);
        let expected: Vec<String> =
            expected.iter().map(|line| format!("config f: line {line}")).collect();
        assert_eq!(error.lines().collect::<Vec<_>>(), expected, "{text}");
    }

    #[track_caller]
    fn check_all(table: &[(&str, &[&str])]) {
        for (text, expected) in table {
            check(&text.replace("SERVER", SERVER), expected);
        }
    }

    #[test]
    fn what_does_not_fit_together_is_told_with_its_place() {
        let table: &[(&str, &[&str])] = &[
            ("SERVER", &["1, column 1: cluster 1: name = \"\": expected a name"]),
            (
                "name = 'a#b'\nSERVER",
                &["2, column 8: cluster 'a#b': expected a name without '@', '#' and control \
                   characters"],
            ),
            (
                "name = 'a'\nSERVER[[cluster]]\nname = 'a'\nSERVER",
                &["6, column 8: cluster 'a' is given twice"],
            ),
            (
                "name = 'a'\ncausal_reads_timeout = '0s'\nSERVER",
                &["3, column 24: cluster 'a': causal_reads_timeout = \"0s\": expected more than 0"],
            ),
            (
                "name = 'a'\nroute_policy = 'FOLLOWER_FRIST'\nSERVER",
                &["3, column 16: cluster.route_policy: unknown variant `FOLLOWER_FRIST`, \
                     expected `FOLLOWER_FIRST` or `FOLLOWER_ONLY`; did you mean `FOLLOWER_FIRST`?"],
            ),
            (
                "name = 'a'\nservice_user = 's'\nSERVER",
                &["3, column 16: cluster 'a': service_user: expected a service_password or \
                   service_password_file"],
            ),
            (
                "name = 'a'\nservice_password = 'x'\nSERVER",
                &["1, column 1: cluster 'a': service_password: expected a service_user, whose it \
                   is"],
            ),
            (
                "name = 'a'\nservice_user = 's'\nservice_password = ''\n\
                 service_password_file = 'f'\nSERVER",
                &["1, column 1: cluster 'a': expected exactly one of service_password and \
                   service_password_file"],
            ),
        ];
        check_all(table);
    }

    #[test]
    fn what_does_not_fit_in_its_lists_is_told_with_its_place() {
        let table: &[(&str, &[&str])] = &[
            (
                "name = 'a'\n[[cluster.user]]\nname = 'u'\npassword = 'x'\n\
                 [[cluster.user]]\nname = 'u'\nSERVER",
                &[
                    "6, column 1: cluster 'a': user 'u': expected exactly one of password and \
                     password_file",
                    "7, column 8: cluster 'a': user 'u' is given twice",
                ],
            ),
            (
                "name = 'a'\n[[cluster.tenant]]\nname = 't'\nuser = 't_{usr}'\n\
                 [[cluster.tenant]]\nname = 't'\n[[cluster.tenant]]\nname = 'proxysys'\nSERVER",
                &[
                    "5, column 8: cluster.tenant.user: 't_{usr}': expected a name, in which \
                     {user} and {tenant} may stand",
                    "7, column 8: cluster 'a': tenant 't' is given twice",
                    "9, column 8: cluster 'a': tenant 'proxysys': expected another name: it is \
                     odp's own",
                ],
            ),
            (
                "name = 'a'\nSERVERSERVERweight = 10001\nrole = 'master'\n\
                 [[cluster.server]]\naddress = 'a,b:1'\n",
                &[
                    "6, column 11: cluster 'a': server h:1 is given twice",
                    "7, column 10: cluster 'a': server h:1: weight = 10001: expected 0 to 10000",
                    "8, column 8: cluster.server.role: unknown variant `master`, expected one of \
                     `auto`, `primary`, `replica`",
                    "10, column 11: cluster 'a': server 'a,b:1': expected neither commas nor \
                     blanks in an address",
                ],
            ),
            (
                "name = 'main'\nSERVER[proxy]\ndefault_cluster = 'mian'\n[[white_list]]\n\
                 cluster = 'b'\nnetworks = ['::1']\n[[white_list]]\nuser = 'x'\n\
                 networks = ['everywhere']\n[[white_list]]\nuser = 'x'\n",
                &[
                    "6, column 19: proxy.default_cluster = \"mian\": expected the name of a \
                     [[cluster]]; did you mean \"main\"?",
                    "8, column 11: white_list.cluster = \"b\": expected the name of a [[cluster]]",
                    "12, column 13: white_list.networks: 'everywhere': expected IP, IP/BITS, \
                     localhost or *",
                    "13, column 1: white_list: missing field `networks`",
                ],
            ),
        ];
        check_all(table);
    }

    #[test]
    fn what_fits_but_should_be_known_is_a_remark() {
        let table: &[(&str, &[&str])] = &[
            ("name = 'prod-1'\nread_write_split = 'on'\nSERVER", &[]),
            (
                "name = 'a'\nread_write_split = 'on'\nSERVER[[cluster.server]]\naddress = 'h:2'\n",
                &["cluster 'a': reads are to be split, but no server has a role"],
            ),
            (
                "name = 'a'\nSERVER[[cluster.server]]\naddress = 'h:2'\n\
                 [proxy]\nenable_read_write_split = true\n",
                &["cluster 'a': reads are to be split, but no server has a role"],
            ),
            (
                "name = 'a'\nread_write_split = 'on'\nservice_user = 's'\n\
                 service_password = 'x'\nSERVER[[cluster.server]]\naddress = 'h:2'\n",
                &[],
            ),
            (
                "name = 'a'\nSERVERdraining = true\nrole = 'replica'\n",
                &[
                    "cluster 'a': all of its servers are draining",
                    "each of its servers is a replica",
                ],
            ),
            (
                "name = 'a'\nSERVER[[cluster]]\nname = 'prod-1'\nSERVER\
                 [proxy]\ndefault_tenant = 'shop'\n",
                &[
                    "cluster 'prod-1': '-' is a username_separator: CLUSTER-TENANT-USER cannot",
                    "proxy.default_tenant 'shop': cluster 'a' has no such tenant",
                ],
            ),
        ];
        for (text, expected) in table {
            let config = parse(&format!("[[cluster]]\n{}", text.replace("SERVER", SERVER)));
            let remarks = config.expect(text).remarks();
            assert_eq!(remarks.len(), expected.len(), "{text}: {remarks:?}");
            for (remark, expected) in remarks.iter().zip(*expected) {
                assert!(remark.contains(expected), "'{expected}' is not in: {remark}");
            }
        }
    }

    #[test]
    fn clients_that_name_no_cluster_get_the_default() {
        let clusters = format!("[[cluster]]\nname='a'\n{SERVER}[[cluster]]\nname='b'\n{SERVER}");
        let main = |proxy: &str| {
            let config = parse(&format!("[proxy]\n{proxy}\n{clusters}")).expect(proxy);
            config.main_cluster().name.clone()
        };
        assert_eq!(main(""), "a");
        assert_eq!(main("default_cluster = 'b'"), "b");
    }
}
