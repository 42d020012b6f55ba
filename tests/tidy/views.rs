//! What a module may see of another where the table of layers says "some of it".

use std::collections::BTreeSet;

use super::{Source, fail_on, heads, rings, sources, without_tests};

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

/// What a module sees of others: every path of theirs that it names begins with one of these.
struct View {
    of: &'static str,
    on: &'static [&'static str],
    sees: &'static [&'static str],
}

const VIEWS: &[View] = &[
    // Views, handles, and what it takes to serve a connection.
    View {
        of: "admin",
        on: &["fleet", "net", "proxy", "restart"],
        sees: &[
            "fleet::hour::Sum",
            "fleet::port::quoted",
            "fleet::settings",
            "fleet::switchover",
            "fleet::tasks",
            "net::stream::Stream",
            "net::tls::settings::Acceptor",
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
        ],
    },
    // What restarts are asked by, and what it takes to serve a connection.
    View {
        of: "http",
        on: &["fleet", "net", "restart"],
        sees: &[
            "fleet::port::quoted",
            "fleet::tasks::Mode",
            "fleet::tasks::Request",
            "fleet::tasks::serves",
            "fleet::tasks::sessions",
            "net::stream::Stream",
            "restart::task",
        ],
    },
    // Its own proxy's handle, and what it takes to ask others.
    View {
        of: "fleet",
        on: &["net", "restart"],
        sees: &[
            "net::dial::Dialer",
            "net::private::Way",
            "net::socket::Keepalive",
            "net::stream::Stream",
            "net::tls::settings::Connector",
            "net::tls::settings::SettingsError",
            "restart::Lifecycle",
            "restart::Standing",
            "restart::prepare_run_dir",
            "restart::task",
        ],
    },
    View {
        of: "app",
        on: &["fleet"],
        sees: &["fleet::record", "fleet::settings", "fleet::tasks", "fleet::tls::flaws"],
    },
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
fn modules_see_of_others_what_is_listed() {
    let sources = sources();
    let (mut found, mut unused) = (Vec::new(), Vec::new());
    for View { of, on, sees } in VIEWS {
        let mut rest = BTreeSet::from_iter(*sees);
        for source in sources.iter().filter(|source| source.is_below(&format!("src/{of}"))) {
            let is_of = |path: &str, listed: &str| {
                path == listed || path.starts_with(&format!("{listed}::"))
            };
            for path in named(source).into_iter().filter(|path| on.iter().any(|it| is_of(path, it)))
            {
                match sees.iter().find(|listed| is_of(&path, listed)) {
                    Some(listed) => drop(rest.remove(listed)),
                    None => found.push(format!("{} uses {path}", source.path.display())),
                }
            }
        }
        unused.extend(rest.into_iter().map(|listed| format!("{of}: {listed}")));
    }
    fail_on("what is not listed", found);
    fail_on("what nobody uses", unused);
}

/// Every path of the crate that a source imports, or names in full.
fn named(source: &Source) -> Vec<String> {
    let code = without_tests(&source.code);
    let imports = rings::imports(&rings::module_path(&source.path), &code);
    let imports = imports.into_iter().map(|path| path.join("::"));
    let in_full = code.split("crate::").skip(1).map(|rest| {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
        rest.chars().take_while(|c| is_part(*c)).collect::<String>()
    });
    imports.chain(in_full.filter(|path| !path.ends_with("::"))).collect()
}
