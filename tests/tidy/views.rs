//! What a module may see of another where the table of layers says "some of it".

use std::collections::BTreeSet;

use super::{fail_on, heads, rings, sources, without_tests};

/// Of restart the data plane knows the trait it implements, and what stands in its signatures.
const RESTART_FOR_PROXY: &[&str] = &[
    "DataPlane",
    "Parcel",
    "Refused",
    "Replica",
    "Report",
    "Accepting",
    "Adopted",
    "Class",
    "Census",
    "Claim",
    "Listener",
    "Tie",
    "Part",
    "Other",
];

/// What admin sees of those it stands on: views, handles, and what it takes to serve a connection.
const FOR_ADMIN: &[&str] = &[
    "net::stream::Stream",
    "net::tls::settings::Acceptor",
    "net::tls::stream::TlsStream",
    "proxy::Author",
    "proxy::Difference",
    "proxy::NotAltered",
    "proxy::Proxy",
    "proxy::Running",
    "proxy::cluster::view",
    "proxy::digests::Counted",
    "proxy::history::PERIOD",
    "proxy::login::LocalLogin",
    "proxy::login::preamble",
    "proxy::login::random_salt",
    "proxy::relay::leg::Leg",
    "proxy::sessions::view",
    "proxy::switchover::Others",
    "proxy::switchover::Told",
    "restart::Lifecycle",
    "restart::Refusal",
    "restart::task",
];

#[test]
fn the_data_plane_knows_of_restart_only_its_trait() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_below("src/proxy")) {
        let code = without_tests(&source.code);
        for (at, _) in code.match_indices("crate::restart::") {
            let line = code[..at].matches('\n').count() + 1;
            let names = heads(&code[at + "crate::restart::".len()..]);
            // Its tests try golden files with what restart's own are tried with.
            let is_known = |name: &str| {
                RESTART_FOR_PROXY.contains(&name) || (source.is_test() && name == "later")
            };
            let foreign = names.iter().filter(|name| !is_known(name));
            found.extend(foreign.map(|name| format!("{}: {name}", source.place(line))));
        }
    }
    fail_on("proxy uses of restart", found);
}

#[test]
fn admin_sees_views_and_handles() {
    let (mut found, mut unused) = (Vec::new(), BTreeSet::from_iter(FOR_ADMIN));
    for source in sources().iter().filter(|source| source.is_below("src/admin")) {
        let code = without_tests(&source.code);
        let imports = rings::imports(&rings::module_path(&source.path), &code);
        let imports = imports.into_iter().map(|path| path.join("::"));
        // And what is named in full, without an import.
        let named = code.split("crate::").skip(1).map(|rest| {
            let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
            rest.chars().take_while(|c| is_part(*c)).collect::<String>()
        });
        let named = named.filter(|path| !path.ends_with("::"));
        for path in imports.chain(named) {
            let of = |listed: &&&str| path == **listed || path.starts_with(&format!("{listed}::"));
            match FOR_ADMIN.iter().find(of) {
                Some(listed) => drop(unused.remove(listed)),
                None if ["net", "proxy", "restart"]
                    .iter()
                    .any(|module| path == *module || path.starts_with(&format!("{module}::"))) =>
                {
                    found.push(format!("{} uses {path}", source.path.display()));
                }
                None => {}
            }
        }
    }
    fail_on("admin uses what is not listed", found);
    fail_on("nobody uses", unused.into_iter().map(|listed| (*listed).to_owned()).collect());
}
