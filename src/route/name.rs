//! The user name as a client gives it: `user@tenant#cluster`, or `cluster:tenant:user`.
//!
//! An account of MySQL may itself have `@`, `#`, `:`, `-` and `.` in its name. So a name is taken
//! apart only where a part names something that is known, and everything else belongs to the user.
//! In this order:
//!
//! 1. One plain cluster and nothing else configured: names have no parts ([`Known::has_parts`]).
//! 2. Behind the last `#` stands a cluster. One that is not known is refused where there are
//!    several; where there is one, the `#` is the user's.
//! 3. Behind an `@` stands a tenant: on OceanBase, which knows its tenants itself, behind the first
//!    (as ODP and the server have it); else behind the last, and it must be configured.
//! 4. Where neither was found, each of `username_separator` is tried in turn: the cluster in front
//!    of the first must be known, and the tenant in front of the second as in 3, or empty.
//! 5. `:` and a number behind a cluster, or behind the user of 4, is ODP's cluster id: left out.
//!
//! Who names no cluster gets the default one, who names no tenant the default one if it is known
//! there. Part names are compared byte by byte. Administrators (`root@proxysys`) never come here.

use std::borrow::Cow;

/// What stands for the user in a tenant's account, and for the tenant.
const USER: &str = "{user}";
const TENANT: &str = "{tenant}";

/// The clusters and tenants that names may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    first: Cluster,
    others: Vec<Cluster>,
    defaults: Defaults,
    separators: Vec<u8>,
}

/// What a name gets that does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `default_cluster`; the first one, if it is empty or there is none of this name.
    pub cluster: String,
    /// `default_tenant`; none, if it is empty.
    pub tenant: String,
}

/// A cluster that names may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name in the config.
    pub name: String,
    /// What its servers are.
    pub kind: Kind,
    /// The tenants configured for it.
    pub tenants: Vec<Tenant>,
}

/// What the servers of a cluster are, as far as names go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MySQL, MariaDB: a tenant is what the config makes of it.
    Mysql,
    /// OceanBase: the server wants `user@tenant`.
    Oceanbase,
}

/// A tenant as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// The account on the server, in which `{user}` stands for the user and `{tenant}` for the
    /// tenant; the user alone, if empty.
    pub user: String,
    /// The default schema; none, if empty.
    pub database: String,
}

/// A name with its parts told apart, and what it did not say filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login<'a> {
    /// Who logs in.
    pub user: &'a [u8],
    /// To which tenant.
    pub tenant: Option<&'a [u8]>,
    /// Of which cluster.
    pub cluster: &'a Cluster,
}

/// What a login becomes at the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account<'a> {
    /// The name to log in with.
    pub user: Cow<'a, [u8]>,
    /// The schema of who names none.
    pub database: Option<&'a str>,
}

/// A name with a cluster that there is none of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown cluster '{}'", .0.escape_ascii())]
pub struct UnknownCluster(pub Vec<u8>);

/// Takes a name apart.
///
/// # Errors
///
/// It names a cluster by `#` that there is none of, and there are several.
pub fn parse<'a>(name: &'a [u8], known: &'a Known) -> Result<Login<'a>, UnknownCluster> {
    let default = known.default_cluster();
    if !known.has_parts() {
        return Ok(Login { user: name, tenant: None, cluster: default });
    }
    let (rest, named) = match cut_last(name, b'#') {
        Some((rest, cluster)) if !cluster.is_empty() => match known.cluster_with_id(cluster) {
            Some(cluster) => (rest, Some(cluster)),
            None if known.others.is_empty() => (name, None),
            None => return Err(UnknownCluster(cluster.to_vec())),
        },
        _ => (name, None),
    };
    let cluster = named.unwrap_or(default);
    let login = match cluster.cut_tenant(rest) {
        Some((user, tenant)) => Login { user, tenant: Some(tenant), cluster },
        None if named.is_some() => Login { user: rest, tenant: None, cluster },
        None => known.parse_separated(name).unwrap_or(Login { user: name, tenant: None, cluster }),
    };
    let tenant = login.tenant.or_else(|| known.default_tenant(login.cluster));
    Ok(Login { tenant, ..login })
}

impl Known {
    /// Of one cluster, the first in the config; `separators` is `username_separator`, a list of
    /// signs between which stands `;`.
    pub fn new(first: Cluster, others: Vec<Cluster>, defaults: Defaults, separators: &str) -> Self {
        let is_separator = |byte: &u8| *byte != b';' && !byte.is_ascii_alphanumeric();
        let separators = separators.bytes().filter(is_separator).collect();
        Self { first, others, defaults, separators }
    }

    /// Whether anything is configured that a name could name. If not, it belongs to the user
    /// whole, even if by chance a part of it is the name of the one cluster.
    pub fn has_parts(&self) -> bool {
        let Defaults { cluster, tenant } = &self.defaults;
        let is_plain = self.first.kind == Kind::Mysql && self.first.tenants.is_empty();
        !is_plain || !self.others.is_empty() || !cluster.is_empty() || !tenant.is_empty()
    }

    /// The cluster of who names none.
    pub fn default_cluster(&self) -> &Cluster {
        self.cluster(self.defaults.cluster.as_bytes()).unwrap_or(&self.first)
    }

    /// The cluster of a name.
    pub fn cluster(&self, name: &[u8]) -> Option<&Cluster> {
        let mut all = std::iter::once(&self.first).chain(&self.others);
        all.find(|cluster| cluster.name.as_bytes() == name)
    }

    /// The cluster of a name that a number may follow.
    fn cluster_with_id(&self, name: &[u8]) -> Option<&Cluster> {
        self.cluster(name).or_else(|| self.cluster(without_id(name, b':')))
    }

    fn default_tenant<'a>(&'a self, cluster: &Cluster) -> Option<&'a [u8]> {
        let tenant = self.defaults.tenant.as_bytes();
        (!tenant.is_empty() && cluster.has_tenant(tenant)).then_some(tenant)
    }

    fn parse_separated<'a>(&'a self, name: &'a [u8]) -> Option<Login<'a>> {
        self.separators.iter().find_map(|&separator| {
            let (cluster, rest) = cut_first(name, separator)?;
            let (tenant, user) = cut_first(rest, separator)?;
            let cluster = self.cluster(cluster)?;
            let tenant = (!tenant.is_empty()).then_some(tenant);
            let is_known = tenant.is_none_or(|tenant| cluster.has_tenant(tenant));
            let user = without_id(without_id(user, b':'), separator);
            is_known.then_some(Login { user, tenant, cluster })
        })
    }
}

impl Cluster {
    /// The configured tenant of a name.
    pub fn tenant(&self, name: &[u8]) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.name.as_bytes() == name)
    }

    /// Whether a name may stand for a tenant here.
    fn has_tenant(&self, name: &[u8]) -> bool {
        match self.kind {
            Kind::Mysql => self.tenant(name).is_some(),
            Kind::Oceanbase => !name.is_empty(),
        }
    }

    fn cut_tenant<'a>(&self, name: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let cut = match self.kind {
            Kind::Mysql => cut_last(name, b'@'),
            Kind::Oceanbase => cut_first(name, b'@'),
        };
        cut.filter(|(_, tenant)| self.has_tenant(tenant))
    }
}

impl<'a> Login<'a> {
    /// The account at the server. A tenant of OceanBase that is configured as well is made of the
    /// config's words first: `shop_{user}@shop`.
    pub fn account(&self) -> Account<'a> {
        let tenant = self.tenant.and_then(|tenant| self.cluster.tenant(tenant));
        let user = match tenant {
            Some(Tenant { user: template, name, .. }) if !template.is_empty() => {
                Cow::Owned(fill_in(template, self.user, name.as_bytes()))
            }
            Some(_) | None => Cow::Borrowed(self.user),
        };
        let user = match (self.cluster.kind, self.tenant) {
            (Kind::Oceanbase, Some(tenant)) => Cow::Owned([&user, &b"@"[..], tenant].concat()),
            (Kind::Oceanbase, None) | (Kind::Mysql, _) => user,
        };
        let database = tenant.map(|tenant| tenant.database.as_str());
        Account { user, database: database.filter(|database| !database.is_empty()) }
    }
}

fn fill_in(template: &str, user: &[u8], tenant: &[u8]) -> Vec<u8> {
    let with_tenant = |part: &str| {
        let parts: Vec<_> = part.split(TENANT).map(str::as_bytes).collect();
        parts.join(tenant)
    };
    let parts: Vec<_> = template.split(USER).map(with_tenant).collect();
    parts.join(user)
}

fn cut_first(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = memchr::memchr(at, text)?;
    Some((&text[..position], &text[position + 1..]))
}

fn cut_last(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = memchr::memrchr(at, text)?;
    Some((&text[..position], &text[position + 1..]))
}

/// Without a separator and a number at the end.
fn without_id(text: &[u8], separator: u8) -> &[u8] {
    match cut_last(text, separator) {
        Some((rest, id)) if !id.is_empty() && id.iter().all(u8::is_ascii_digit) => rest,
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEPARATORS: &str = ":;-;.";

    fn tenant(name: &str, user: &str, database: &str) -> Tenant {
        Tenant { name: name.into(), user: user.into(), database: database.into() }
    }

    fn cluster(name: &str, kind: Kind, tenants: &[Tenant]) -> Cluster {
        Cluster { name: name.into(), kind, tenants: tenants.to_vec() }
    }

    fn defaults(cluster: &str, tenant: &str) -> Defaults {
        Defaults { cluster: cluster.into(), tenant: tenant.into() }
    }

    /// One plain cluster and nothing configured.
    fn plain() -> Known {
        let main = cluster("main", Kind::Mysql, &[]);
        Known::new(main, vec![], Defaults::default(), SEPARATORS)
    }

    /// One cluster with two tenants.
    fn tenants() -> Vec<Tenant> {
        vec![
            tenant("shop", "shop_{user}", "shop"),
            tenant("crm", "", "crm_db"),
            tenant("hr", "{tenant}_{user}_{tenant}", ""),
        ]
    }

    /// `main` with tenants, `bare` without, `ob`.
    fn several(defaults: Defaults) -> Known {
        let main = cluster("main", Kind::Mysql, &tenants());
        let others = vec![cluster("bare", Kind::Mysql, &[]), cluster("ob", Kind::Oceanbase, &[])];
        Known::new(main, others, defaults, SEPARATORS)
    }

    fn told(name: &[u8], known: &Known) -> String {
        let login = match parse(name, known) {
            Ok(login) => login,
            Err(unknown) => return unknown.to_string(),
        };
        let Account { user, database } = login.account();
        let shown = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => bytes.escape_ascii().to_string(),
            None => "-".into(),
        };
        let (who, tenant) = (shown(Some(login.user)), shown(login.tenant));
        let database = database.unwrap_or("-");
        let account = user.escape_ascii();
        format!("{who} {tenant} {}: {account} {database}", login.cluster.name)
    }

    #[test]
    fn one_cluster_and_nothing_configured_leaves_names_alone() {
        let known = plain();
        for name in ["app", "", "app#main", "a@shop#main", "main:shop:app", "main-shop-app", "a@b"]
        {
            assert_eq!(told(name.as_bytes(), &known), format!("{name} - main: {name} -"));
        }
    }

    #[test]
    fn names_are_taken_apart_where_a_part_is_known() {
        let known = several(Defaults::default());
        let table = [
            ("app", "app - main: app -"),
            ("app#bare", "app - bare: app -"),
            ("app#main", "app - main: app -"),
            ("app@shop", "app shop main: shop_app shop"),
            ("app@shop#main", "app shop main: shop_app shop"),
            ("{tenant}@hr", "{tenant} hr main: hr_{tenant}_hr -"),
            ("app@crm#main", "app crm main: app crm_db"),
            ("app@shop#main:17", "app shop main: shop_app shop"),
            // No tenant of that cluster: the user's own.
            ("app@nowhere", "app@nowhere - main: app@nowhere -"),
            ("app@shop#bare", "app@shop - bare: app@shop -"),
            ("bob@example.com", "bob@example.com - main: bob@example.com -"),
            ("bob@example.com@shop#main", "bob@example.com shop main: shop_bob@example.com shop"),
            ("a#b#bare", "a#b - bare: a#b -"),
            // Cut off it is not: nothing is named.
            ("app#", "app# - main: app# -"),
            ("app@", "app@ - main: app@ -"),
            ("#bare", " - bare:  -"),
            // Unknown clusters, where there are several.
            ("app#nowhere", "unknown cluster 'nowhere'"),
            ("app@shop#nowhere", "unknown cluster 'nowhere'"),
            ("app#bare@shop", "unknown cluster 'bare@shop'"),
            ("app#Main", "unknown cluster 'Main'"),
            ("app#main:x", "unknown cluster 'main:x'"),
            ("main:shop:app#n\n", "unknown cluster 'n\\n'"),
            // OceanBase knows its tenants.
            ("root@sys#ob", "root sys ob: root@sys -"),
            ("root#ob", "root - ob: root -"),
            ("root@a@b#ob", "root a@b ob: root@a@b -"),
            ("ob:sys:root", "root sys ob: root@sys -"),
            ("ob-sys-root", "root sys ob: root@sys -"),
            // Separators: each in turn.
            ("main:shop:app", "app shop main: shop_app shop"),
            ("main-shop-app", "app shop main: shop_app shop"),
            ("main.shop.app", "app shop main: shop_app shop"),
            ("main;shop;app", "main;shop;app - main: main;shop;app -"),
            ("main:shop-app", "main:shop-app - main: main:shop-app -"),
            ("bare::app", "app - bare: app -"),
            ("main:shop:app:17", "app shop main: shop_app shop"),
            ("main-shop-app-17", "app shop main: shop_app shop"),
            ("main-shop-app-rw", "app-rw shop main: shop_app-rw shop"),
            ("main-crm-x.y-z", "x.y-z crm main: x.y-z crm_db"),
            // A common kind of account, which names a cluster by chance and no tenant.
            ("bare-app-rw", "bare-app-rw - main: bare-app-rw -"),
            ("main-app-rw", "main-app-rw - main: main-app-rw -"),
            ("nowhere:shop:app", "nowhere:shop:app - main: nowhere:shop:app -"),
            // The one form wins that names something; the first one, if both do.
            ("main:shop:bob@example.com", "bob@example.com shop main: shop_bob@example.com shop"),
            ("main:crm:app@shop", "main:crm:app shop main: shop_main:crm:app shop"),
        ];
        for (name, expected) in table {
            assert_eq!(told(name.as_bytes(), &known), expected, "{name}");
        }
    }

    #[test]
    fn defaults_stand_for_what_is_not_said() {
        let table = [
            ("bare", "", "app", "app - bare: app -"),
            ("bare", "", "app#main", "app - main: app -"),
            ("main", "shop", "app", "app shop main: shop_app shop"),
            ("main", "shop", "app@crm", "app crm main: app crm_db"),
            ("main", "shop", "main::app", "app shop main: shop_app shop"),
            // A default that is no tenant there.
            ("bare", "shop", "app", "app - bare: app -"),
            ("main", "nowhere", "app", "app - main: app -"),
            ("ob", "sys", "root", "root sys ob: root@sys -"),
            ("ob", "sys", "root@t", "root t ob: root@t -"),
            ("ob", "sys", "app#main", "app - main: app -"),
            // One that there is none of is the first.
            ("nowhere", "", "app", "app - main: app -"),
        ];
        for (cluster, tenant, name, expected) in table {
            let known = several(defaults(cluster, tenant));
            assert_eq!(told(name.as_bytes(), &known), expected, "{cluster} {tenant} {name}");
        }
    }

    #[test]
    fn with_one_cluster_an_unknown_one_is_a_part_of_the_user() {
        let main = cluster("main", Kind::Mysql, &tenants());
        let known = Known::new(main, vec![], Defaults::default(), SEPARATORS);
        let table = [
            ("app#main", "app - main: app -"),
            ("app#nowhere", "app#nowhere - main: app#nowhere -"),
            ("app#1@shop", "app#1 shop main: shop_app#1 shop"),
            ("app@shop#nowhere", "app@shop#nowhere - main: app@shop#nowhere -"),
        ];
        for (name, expected) in table {
            assert_eq!(told(name.as_bytes(), &known), expected, "{name}");
        }
    }

    #[test]
    fn anything_configured_gives_names_parts() {
        let one = |kind, tenants: &[Tenant], defaults| {
            Known::new(cluster("main", kind, tenants), vec![], defaults, SEPARATORS).has_parts()
        };
        let none = Defaults::default;
        let got = [
            one(Kind::Mysql, &[], none()),
            one(Kind::Oceanbase, &[], none()),
            one(Kind::Mysql, &tenants(), none()),
            one(Kind::Mysql, &[], defaults("main", "")),
            one(Kind::Mysql, &[], defaults("", "shop")),
            several(none()).has_parts(),
        ];
        assert_eq!(got, [false, true, true, true, true, true]);
    }

    #[test]
    fn templates_take_the_user_wherever_they_say() {
        let table = [
            ("shop_{user}", "shop_app"),
            ("{user}", "app"),
            ("{user}_{user}", "app_app"),
            ("reader", "reader"),
            ("{User}", "{User}"),
        ];
        for (template, expected) in table {
            assert_eq!(fill_in(template, b"app", b"shop"), expected.as_bytes(), "{template}");
        }
        // What it puts in is not looked into again.
        assert_eq!(fill_in("{user}", b"{user}", b"{user}"), b"{user}");
    }

    /// Bytes in which signs and known names are frequent.
    fn name() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just(b"main".to_vec()),
            Just(b"shop".to_vec()),
            Just(b"ob".to_vec()),
            "[@#:;.-]{1,2}".prop_map(String::into_bytes),
            "[0-9a-z]{0,3}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..3),
        ];
        prop::collection::vec(word, 0..8).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn nothing_configured_changes_nothing(name in name()) {
            let known = plain();
            let login = parse(&name, &known).expect("nothing is refused");
            prop_assert_eq!((login.user, login.tenant), (&name[..], None));
            let Account { user, database } = login.account();
            prop_assert_eq!((&*user, database), (&name[..], None));
        }

        #[test]
        fn a_name_without_signs_is_itself(name in "[a-z0-9_$ é]{0,20}") {
            let known = several(Defaults::default());
            let login = parse(name.as_bytes(), &known).expect("it names no cluster");
            prop_assert_eq!((login.user, login.tenant), (name.as_bytes(), None));
            prop_assert_eq!(&login.cluster.name, "main");
        }

        /// Refused is only a cluster that there is none of; the parts are parts of the name.
        #[test]
        fn any_bytes_are_taken(name in name(), cluster in "main|bare|ob|", tenant in "shop|") {
            let known = several(defaults(&cluster, &tenant));
            match parse(&name, &known) {
                Ok(login) => {
                    let has = |part: &[u8]| memchr::memmem::find(&name, part).is_some();
                    prop_assert!(has(login.user));
                    let default = tenant.as_bytes();
                    prop_assert!(login.tenant.is_none_or(|part| part == default || has(part)));
                }
                Err(UnknownCluster(part)) => {
                    prop_assert!(known.cluster(&part).is_none());
                    prop_assert!(name.ends_with(&[b"#", &part[..]].concat()));
                }
            }
        }

        /// Whatever an account is called, it can be reached by the whole form.
        #[test]
        fn the_whole_form_reaches_any_account(user in name()) {
            let known = several(Defaults::default());
            let whole = [&user, &b"@crm#main"[..]].concat();
            let login = parse(&whole, &known).expect("the cluster is known");
            prop_assert_eq!((login.user, login.tenant), (&user[..], Some(&b"crm"[..])));
            prop_assert_eq!(&*login.account().user, &user[..]);
        }
    }
}
