//! Who uses whom within a module, computed from its `use` lines: folders must not use each other in
//! a ring, and of files at most two may.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Source, fail_on, sources, without_tests};

/// Modules whose rooms use each other in one direction only.
///
/// A room and its files are one: what its `mod.rs` names of them is no use of another, so that they
/// may name it in turn. Not here, as it is: config, where keys are read and written through the
/// whole that they are of.
const WITHOUT_RINGS: &[&str] = &[
    "admin", "app", "cli", "fleet", "http", "load", "net", "proxy", "restart", "route", "session",
];

/// The same of those whose root has what their rooms are parts of, or have in common: they may name
/// what it defines, but not what it only exports.
const AROUND_A_ROOT: &[&str] = &["buffer", "journal", "log", "metrics", "sql", "wire"];

/// `a::b` of `src/a/b.rs` and of `src/a/b/mod.rs`.
pub(super) fn module_path(path: &Path) -> Vec<String> {
    let names = path.components().skip(1).map(|part| part.as_os_str().to_string_lossy());
    let mut names: Vec<String> = names.map(|name| name.trim_end_matches(".rs").into()).collect();
    names.pop_if(|name| name == "mod");
    names
}

/// Every path that `use` lines name, in full: `use super::{a, b::{c}}` names three.
pub(super) fn imports(own: &[String], code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    uses(code).for_each(|tree| spread(Vec::new(), tree, &mut found));
    found.into_iter().filter_map(|path| absolute(own, path)).collect()
}

/// What stands behind each `use`.
fn uses(code: &str) -> impl Iterator<Item = &str> {
    code.match_indices("use ").filter_map(|(at, _)| {
        let before = code[..at].rsplit('\n').next().unwrap_or_default();
        let starts = before.trim().is_empty() || before.trim().starts_with("pub");
        code[at + 4..].split_once(';').filter(|_| starts).map(|(tree, _)| tree)
    })
}

/// The leaves of a tree of imports.
fn spread(mut prefix: Vec<String>, tree: &str, found: &mut Vec<Vec<String>>) {
    let mut rest = tree.trim();
    while let Some((name, after)) = rest.split_once("::").filter(|(name, _)| !name.contains('{')) {
        prefix.push(name.trim().to_owned());
        rest = after.trim();
    }
    let Some(group) = rest.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        prefix.extend(rest.split_whitespace().next().map(str::to_owned));
        return found.push(prefix);
    };
    let mut depth = 0;
    let is_comma = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    let members: Vec<&str> = group.split(is_comma).collect();
    for member in members.into_iter().filter(|member| !member.trim().is_empty()) {
        spread(prefix.clone(), member, found);
    }
}

/// From the root of the crate; None if it is of another one.
fn absolute(own: &[String], path: Vec<String>) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let base = match path.first()?.as_str() {
        "crate" => return Some(path[1..].to_vec()),
        "self" => [own, &path[1..]].concat(),
        "super" => [&own[..own.len().checked_sub(ups)?], &path[ups..]].concat(),
        _ => return None,
    };
    Some(base)
}

/// Which of these uses which, by the index of each: the longest that a path begins with is meant.
fn graph(modules: &[Vec<String>], files: &[(Vec<String>, String)]) -> Vec<BTreeSet<usize>> {
    let room = |path: &[String]| {
        let within = modules.iter().enumerate().filter(|(_, module)| path.starts_with(module));
        within.max_by_key(|(_, module)| module.len()).map(|(at, _)| at)
    };
    let mut edges = vec![BTreeSet::new(); modules.len()];
    for (own, code) in files {
        let Some(from) = room(own) else { continue };
        let used = imports(own, code).into_iter().filter_map(|path| room(&path));
        edges[from].extend(used.filter(|to| *to != from));
    }
    edges
}

/// Modules that can be reached from each other, in groups of more than one.
fn rings(edges: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let reach = |from: usize| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<usize> = edges[from].iter().copied().collect();
        while let Some(at) = next.pop() {
            if seen.insert(at) {
                next.extend(&edges[at]);
            }
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..edges.len()).map(reach).collect();
    let ring = |at: usize| -> BTreeSet<usize> {
        reached[at].iter().copied().filter(|other| reached[*other].contains(&at)).collect()
    };
    let rings: BTreeSet<_> = (0..edges.len()).map(ring).filter(|ring| ring.len() > 1).collect();
    rings.into_iter().collect()
}

/// The rooms of a module are its folders, and each file that is in none.
fn rooms(module: &str, files: &[(Vec<String>, String)]) -> Vec<Vec<String>> {
    let own = files.iter().filter(|(path, _)| path.len() > 1 && path[0] == module);
    let rooms: BTreeSet<_> = own.map(|(path, _)| path[..2].to_vec()).collect();
    rooms.into_iter().collect()
}

/// What a module's root exports of its rooms, or uses itself.
fn exports(module: &str, rooms: &[Vec<String>], sources: &[Source]) -> BTreeSet<String> {
    let root = sources
        .iter()
        .find(|source| source.is_below("src") && module_path(&source.path) == [module.to_owned()]);
    let mut found = Vec::new();
    for tree in root.iter().flat_map(|root| uses(&root.code)) {
        spread(Vec::new(), tree, &mut found);
    }
    let is_of_a_room = |path: &Vec<String>| rooms.iter().any(|room| path.first() == room.last());
    found.retain(is_of_a_room);
    found.into_iter().filter_map(|path| path.into_iter().next_back()).collect()
}

#[test]
fn there_are_no_rings_between_rooms_and_at_most_pairs_within_one() {
    let sources = sources();
    let own = sources.iter().filter(|source| source.is_below("src") && !source.is_test());
    let files: Vec<_> = own
        .map(|source| (module_path(&source.path), without_tests(&source.code)))
        // A file that only lists what is in its folder, or exports from it, uses nobody.
        .filter(|(path, _)| path.len() > 1)
        .collect();
    let mut found = Vec::new();
    for module in WITHOUT_RINGS.iter().chain(AROUND_A_ROOT) {
        let rooms = rooms(module, &files);
        assert!(rooms.len() > 1, "the rooms of {module} are found: {rooms:?}");
        let has_root = AROUND_A_ROOT.contains(module);
        let exports = exports(module, &rooms, &sources);
        let is_exported =
            |path: &[String]| !has_root || path.get(1).is_some_and(|name| exports.contains(name));
        let modules: Vec<_> = files.iter().map(|(path, _)| path.clone()).collect();
        let within = |at: &usize| modules[*at][0] == *module;
        let exported = files.iter().filter(|(path, _)| path[0] == *module).flat_map(|file| {
            let (own, code) = file;
            let used = imports(own, code).into_iter().filter(|path| path[0] == *module);
            let foreign = used.filter(|path| !rooms.iter().any(|room| path.starts_with(room)));
            let foreign = foreign.filter(|path| is_exported(path));
            foreign.map(|path| format!("{} uses {}", own.join("::"), path.join("::")))
        });
        // Otherwise what its root exports would hide who uses whom.
        found.extend(exported);
        let show = |ring: &BTreeSet<usize>, of: &[Vec<String>]| {
            let names: Vec<_> = ring.iter().map(|at| of[*at].join("::")).collect();
            names.join(", ")
        };
        found.extend(rings(&graph(&rooms, &files)).iter().map(|ring| show(ring, &rooms)));
        let rings = rings(&graph(&modules, &files));
        let rings = rings.iter().filter(|ring| ring.len() > 2 && ring.iter().all(within));
        found.extend(rings.map(|ring| show(ring, &modules)));
    }
    fail_on("rings", found);
}

#[test]
pub(super) fn imports_and_rings_are_seen() {
    let own = module_path(Path::new("src/a/b/mod.rs"));
    let paths = imports(&own, "pub use self::f;\nuse std::io;\nuse super::{c, d::{self, E}};\n");
    let paths: Vec<_> = paths.iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["a::b::f", "a::c", "a::d::self", "a::d::E"]);
    let edges = [[1].into(), [2, 3].into(), [0].into(), BTreeSet::new()];
    assert_eq!(rings(&edges), [BTreeSet::from([0, 1, 2])]);
}
