//! Keeps the house in order: who may use whom, how long things get, what must not stand anywhere.
//!
//! The table of layers is the one in `src/lib.rs`. Everything is judged on text whose comments and
//! strings are blanked out, so rustfmt's layout is relied on and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

mod rings;
mod views;

const FILE_LINES: usize = 700;
const FUNCTION_LINES: usize = 70;
const LINE_WIDTH: usize = 100;

/// A module of the crate, which others it may use, and what it must not know.
struct Layer {
    module: &'static str,
    may_use: &'static [&'static str],
    must_not_know: &'static [&'static str],
}

/// What a module without input and output must not know: the clock, chance, the system, the log.
const IMPURE: &[&str] = &[
    "tokio",
    "tracing",
    "getrandom",
    "nix",
    "socket2",
    "mysql_async",
    "Instant::now",
    "SystemTime",
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "std::process",
];
const NO_MYSQL: &[&str] = &["mysql_common", "mysql_async"];

const LAYERS: &[Layer] = &[
    Layer { module: "wire", may_use: &[], must_not_know: IMPURE },
    Layer { module: "sql", may_use: &[], must_not_know: IMPURE },
    Layer { module: "error", may_use: &["wire"], must_not_know: IMPURE },
    // Buffers are kept by threads.
    Layer { module: "buffer", may_use: &[], must_not_know: &["tokio", "nix", "socket2"] },
    Layer { module: "names", may_use: &[], must_not_know: IMPURE },
    Layer { module: "lock", may_use: &[], must_not_know: IMPURE },
    Layer { module: "position", may_use: &[], must_not_know: &["tokio", "tracing", "socket2"] },
    Layer { module: "state", may_use: &[], must_not_know: &["tokio", "tracing", "socket2"] },
    // What it holds is read by nobody it knows.
    Layer {
        module: "journal",
        may_use: &["buffer", "lock", "position"],
        must_not_know: &["tokio", "tracing", "socket2", "serde_json"],
    },
    Layer { module: "metrics", may_use: &[], must_not_know: &["tokio", "nix", "socket2"] },
    Layer { module: "config", may_use: &[], must_not_know: &["tokio", "tracing", "nix"] },
    Layer { module: "task", may_use: &[], must_not_know: &["nix", "socket2"] },
    // Its thread must not depend on what it is to tell of.
    Layer { module: "log", may_use: &["config"], must_not_know: &["tokio", "socket2"] },
    Layer {
        module: "session",
        may_use: &["buffer", "wire", "sql", "error", "metrics"],
        must_not_know: IMPURE,
    },
    Layer { module: "route", may_use: &["wire", "sql", "error", "metrics"], must_not_know: IMPURE },
    Layer {
        module: "net",
        may_use: &["buffer", "error", "metrics", "config", "position", "task"],
        must_not_know: NO_MYSQL,
    },
    Layer {
        module: "restart",
        may_use: &["error", "metrics", "config", "names", "position", "task"],
        must_not_know: NO_MYSQL,
    },
    Layer {
        module: "proxy",
        may_use: &[
            "buffer", "wire", "sql", "error", "metrics", "session", "route", "net", "config",
            "restart", "names", "task", "journal", "lock",
        ],
        must_not_know: NO_MYSQL,
    },
    Layer {
        module: "admin",
        may_use: &[
            "wire", "error", "metrics", "config", "log", "net", "proxy", "restart", "task",
            "fleet", "lock",
        ],
        must_not_know: &["mysql_async"],
    },
    Layer {
        module: "http",
        may_use: &["wire", "error", "config", "net", "restart", "admin", "task", "fleet", "lock"],
        must_not_know: &["mysql_async", "clap"],
    },
    Layer {
        module: "fleet",
        may_use: &["error", "config", "names", "net", "restart", "state", "task"],
        must_not_know: &["clap", "std::env::args"],
    },
    Layer {
        module: "app",
        may_use: &[
            "error", "config", "log", "task", "net", "proxy", "restart", "admin", "http", "fleet",
            "journal", "state",
        ],
        must_not_know: &["clap", "std::env::args"],
    },
    Layer {
        module: "load",
        may_use: &["error", "metrics", "log", "task", "fleet"],
        must_not_know: &["clap", "std::env::args"],
    },
];

/// Parts of a module that are as pure as whole modules are.
const PURE: &[&str] = &[
    "src/restart/machine/",
    "src/restart/message/mod.rs",
    "src/fleet/tasks/machine.rs",
    "src/fleet/tasks/record.rs",
    "src/fleet/tasks/verdict.rs",
];

/// Nobody may use these, but for the program itself.
const TOP: &[&str] = &["cli", "fuzz"];

const TOP_LEVEL: &[&str] =
    &["Cargo.toml", "Cargo.lock", "src", "config", "benches", "tests", "README.md", "target"];

/// A source file: its text, and the text with comments and the insides of strings blanked out.
struct Source {
    path: PathBuf,
    text: String,
    code: String,
}

impl Source {
    fn lines_of_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    fn is_below(&self, dir: &str) -> bool {
        self.path.starts_with(dir)
    }

    /// Whether it is a test module in a file of its own.
    fn is_test(&self) -> bool {
        let is_named = |part: std::path::Component| {
            matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs"))
        };
        self.path.components().any(is_named)
    }

    fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files_below(&path, found),
            false => found.push(path),
        }
    }
}

/// Every Rust source of the crate.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for dir in ["src", "tests", "benches"] {
        files_below(&root().join(dir), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.sort();
    assert!(paths.len() > 10, "the sources are found");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a source is UTF-8");
        let code = blank(&text);
        let path = path.strip_prefix(root()).expect("it is below the root").to_owned();
        Source { path, text, code }
    };
    paths.into_iter().map(read).collect()
}

/// Replaces comments and the insides of strings and characters by blanks; lines stay.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => comment_end(&chars, at),
            ('/', Some('*')) => block_comment_end(&chars, at),
            ('"', _) => string_end(&chars, at + 1),
            ('r', Some('"' | '#')) if !is_word(&chars, at) => raw_string_end(&chars, at),
            ('\'', _) => char_end(&chars, at),
            _ => at + 1,
        };
        if end == at + 1 {
            out.push(chars[at]);
        } else {
            let is_string = chars[at] == '"' || chars[at] == 'r';
            out.extend(chars[at..end].iter().map(|&c| match c {
                '\n' => '\n',
                '"' if is_string => '"',
                _ => ' ',
            }));
        }
        at = end;
    }
    out
}

/// Whether the character before belongs to the same word.
fn is_word(chars: &[char], at: usize) -> bool {
    at > 0 && chars[at - 1] != 'b' && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn comment_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| at + length)
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let close = chars[at + 2..].windows(2).position(|two| two == ['*', '/']);
    close.map_or(chars.len(), |length| at + 2 + length + 2)
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at.min(chars.len() - 1) + 1
}

/// The end of `r"…"` or `r#"…"#`; just the next character if it is something else.
fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at + 1;
    }
    let mut close = vec!['"'];
    close.extend(vec!['#'; hashes]);
    let body = at + 2 + hashes;
    let length = chars[body..].windows(close.len()).position(|window| window == close);
    length.map_or(chars.len(), |length| body + length + close.len())
}

/// The end of a character; a lifetime is one character long.
fn char_end(chars: &[char], at: usize) -> usize {
    match chars.get(at + 1) {
        Some('\\') => {
            let close = chars[at + 3..].iter().position(|&c| c == '\'');
            close.map_or(at + 1, |length| at + 3 + length + 1)
        }
        Some(_) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at + 1,
    }
}

/// The code without its test modules.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        // The module, or the one item, ends at the first line that closes it.
        out.push('\n');
        for line in lines.by_ref() {
            out.push('\n');
            if line == "}" || (line.ends_with(';') && !line.starts_with(' ')) {
                break;
            }
        }
    }
    out
}

/// Which modules of the crate a text names: `crate::a`, `crate::{a, b}`, and `super::` to the root.
fn uses(path: &Path, code: &str) -> Vec<(usize, String)> {
    let depth =
        path.components().count() - 2 + usize::from(path.file_name() != Some("mod.rs".as_ref()));
    let to_root = "super::".repeat(depth.max(1));
    let mut found = Vec::new();
    for start in ["crate::", to_root.as_str()] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || matches!(before, '_' | '$' | ':') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let names = heads(&code[at + start.len()..]);
            found.extend(names.into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// The first names of `a::b`, or of each member of `{a::b, c}`.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let mut depth = 0;
    let mut starts = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    let names = starts.into_iter().map(|at| name(&group[at..]));
    names.filter(|name| !name.is_empty()).collect()
}

/// `wire` of `src/wire/packet.rs` and of `src/wire.rs`.
fn module_of(path: &Path) -> String {
    let second = path.components().nth(1).expect("a source has a directory and a name");
    second.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn fail_on(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn layers_use_only_what_the_table_allows() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_below("src") && !source.is_test()) {
        let module = module_of(&source.path);
        let code = without_tests(&source.code);
        let layer = LAYERS.iter().find(|layer| layer.module == module);
        for (line, used) in uses(&source.path, &code) {
            let allowed = match layer {
                None => true,
                Some(layer) => used == module || layer.may_use.contains(&used.as_str()),
            };
            let upwards = TOP.contains(&used.as_str()) && !["main", "cli"].contains(&&*module);
            // Macros, crate-wide types and the like have no layer.
            let is_module = LAYERS.iter().any(|layer| layer.module == used);
            if (is_module && !allowed) || upwards {
                found.push(format!("{}: {module} uses {used}", source.place(line)));
            }
        }
        for name in layer.map_or(&[][..], |layer| layer.must_not_know) {
            let lines = code.lines().enumerate().filter(|(_, line)| names(line, name));
            found.extend(
                lines.map(|(at, _)| {
                    format!("{}: {module} must not know {name}", source.place(at + 1))
                }),
            );
        }
    }
    fail_on("layers", found);
}

/// Whether a line names a path, as a whole word.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let before = line[..at].chars().next_back().is_some_and(is_part);
        let after = line[at + path.len()..].chars().next().is_some_and(is_part);
        !before && !after
    })
}

#[test]
fn pure_parts_of_modules_are_pure() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let path = source.path.to_string_lossy();
        if !PURE.iter().any(|part| path.starts_with(part)) {
            continue;
        }
        for (at, line) in without_tests(&source.code).lines().enumerate() {
            let known = IMPURE.iter().filter(|name| names(line, name));
            found.extend(known.map(|name| format!("{} knows {name}", source.place(at + 1))));
        }
    }
    fail_on("pure parts", found);
}

#[test]
fn every_module_has_a_layer() {
    let known: BTreeSet<&str> = LAYERS.iter().map(|layer| layer.module).collect();
    let with_top: BTreeSet<&str> =
        known.iter().chain(TOP).chain(&["main", "lib"]).copied().collect();
    let modules: BTreeSet<String> = sources()
        .iter()
        .filter(|source| source.is_below("src"))
        .map(|source| module_of(&source.path))
        .filter(|module| !with_top.contains(module.as_str()))
        .collect();
    fail_on("modules without a layer", modules.into_iter().collect());
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut found = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            found.push(format!("{}: {lines} lines", source.path.display()));
        }
        if !source.text.starts_with("//! ") {
            found.push(format!("{} does not start with //!", source.path.display()));
        }
        for (at, line) in source.text.lines().enumerate() {
            // Rows of tables and lines of diagrams cannot be broken.
            let is_drawn = line.trim_start().starts_with("//") && line.contains(['|', '│', '─']);
            if line.chars().count() > LINE_WIDTH && !is_drawn {
                found.push(format!("{} is longer than {LINE_WIDTH}", source.place(at + 1)));
            }
        }
    }
    fail_on("files", found);
}

/// A task that panics by itself ends in silence, and a macro that prints panics when it cannot.
#[test]
fn nobody_spawns_or_prints_by_himself() {
    const ELSEWHERE: &[(&str, &str)] = &[
        ("tokio::spawn(", "src/task.rs"),
        ("println!(", ""),
        ("print!(", ""),
        ("eprintln!(", ""),
        ("eprint!(", ""),
    ];
    let mut found = Vec::new();
    // A server that tests play.
    let is_test = |source: &Source| source.is_test() || source.path.ends_with("fake.rs");
    for source in sources().iter().filter(|source| source.is_below("src") && !is_test(source)) {
        let code = without_tests(&source.code);
        for (name, _) in ELSEWHERE.iter().filter(|(_, place)| source.path != Path::new(place)) {
            let lines = code.lines().enumerate().filter(|(_, line)| line.contains(name));
            found.extend(lines.map(|(at, _)| format!("{}: {name}", source.place(at + 1))));
        }
    }
    fail_on("spawns and prints", found);
}

/// Functions with the line they start at and how many lines they take.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if !names(line, "fn") || line.trim_start().starts_with("//") {
            continue;
        }
        // rustfmt closes a body with a brace in the column where the function starts. In a macro
        // the end of a repetition may follow.
        let indent = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        let declared =
            lines[at..].iter().position(|line| line.trim_end().ends_with([';', '{', '}']));
        let Some(declared) = declared.map(|length| at + length) else { continue };
        if !lines[declared].trim_end().ends_with('{') {
            continue;
        }
        let end = lines[declared..].iter().position(|line| {
            line.strip_prefix(&close)
                .is_some_and(|rest| matches!(rest.trim_end(), "" | ")+" | ")*"))
        });
        found.push((at + 1, end.map_or(0, |length| declared + length - at + 1)));
    }
    found
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for source in sources() {
        for (line, length) in functions(&source.code) {
            if length > FUNCTION_LINES {
                found.push(format!("{}: {length} lines", source.place(line)));
            }
        }
    }
    fail_on("functions longer than 70 lines", found);
}

#[test]
fn nothing_is_left_undone() {
    // In two pieces, so that this file may stand in the list.
    let words = ["todo!", "unimplemented!", "dbg!", "FIXME"];
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.path.ends_with("tidy/main.rs")) {
        for (at, line) in source.text.lines().enumerate() {
            let word = words.iter().find(|word| line.contains(**word));
            found.extend(word.map(|word| format!("{}: {word}", source.place(at + 1))));
        }
    }
    fail_on("left undone", found);
}

#[test]
fn nothing_a_peer_sends_can_panic() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_below("src") && !source.is_test()) {
        let code = without_tests(&source.code);
        for (at, line) in code.lines().enumerate() {
            if line.contains(".unwrap()") || line.contains(".unwrap_err()") {
                found.push(format!("{}: unwrap", source.place(at + 1)));
            }
        }
        // The reason may stand on the next line.
        for (at, _) in code.match_indices(".expect(") {
            let rest = code[at + ".expect(".len()..].trim_start();
            let reason = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
            if reason.is_none_or(|(reason, _)| reason.len() < 8) {
                let line = code[..at].matches('\n').count() + 1;
                found.push(format!("{}: expect without a reason", source.place(line)));
            }
        }
    }
    fail_on("panics", found);
}

/// Many errors name their causes themselves: `{:#}` would name them twice.
#[test]
fn errors_are_told_by_one_function() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_below("src") && !source.is_test()) {
        // What is formatted stands in a string.
        for (at, (line, text)) in
            without_tests(&source.code).lines().zip(source.text.lines()).enumerate()
        {
            if line.contains('"') && (text.contains("error:#}") || text.contains("{:#}")) {
                found.push(source.place(at + 1));
            }
        }
    }
    fail_on("told by {:#} and not by error::chain", found);
}

#[test]
fn unsafe_lives_where_the_kernel_is_asked() {
    let mut found = Vec::new();
    for source in sources() {
        // The last one is an allocator, which only a test has.
        let asks = [
            "src/restart/host/fd.rs",
            "src/position.rs",
            "src/buffer/arena.rs",
            "src/journal/mapping.rs",
            "src/journal/reader.rs",
            "src/app/pair/mod.rs",
            "src/app/pair/fault.rs",
            "src/app/pair/observation.rs",
            "tests/tls/graveyard.rs",
        ];
        if asks.iter().any(|file| source.path == Path::new(file)) {
            continue;
        }
        let lines = source.lines_of_code().filter(|(_, line)| names(line, "unsafe"));
        found.extend(lines.map(|(line, _)| source.place(line)));
    }
    fail_on("unsafe", found);
}

#[test]
fn the_top_level_holds_only_what_it_should() {
    let entries = std::fs::read_dir(root()).expect("the root").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let foreign =
        names.filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()));
    fail_on("top level", foreign.collect());
}

#[test]
fn nothing_names_the_place_where_it_was_made() {
    let mut paths = vec![root().join("README.md"), root().join("Cargo.toml")];
    for dir in ["src", "tests", "benches", "config", ".ci", ".config"] {
        files_below(&root().join(dir), &mut paths);
    }
    let places = ["work", "home", "root"].map(|dir| ["/", dir, "/"].concat());
    let mut found = Vec::new();
    for path in paths {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (at, line) in text.lines().enumerate() {
            let place = places.iter().any(|place| starts_a_path(line, place));
            if place || numbers_an_issue(line) {
                found.push(format!("{}:{}: {}", path.display(), at + 1, line.trim()));
            }
        }
    }
    fail_on("names a place or a number of its own", found);
}

/// Whether the absolute path `/dir/` stands in the line, not a part of a longer path.
fn starts_a_path(line: &str, dir: &str) -> bool {
    line.match_indices(dir).any(|(at, _)| {
        let before = line[..at].chars().next_back().unwrap_or(' ');
        !before.is_alphanumeric() && !matches!(before, '.' | '_' | '-' | '}' | '/')
    })
}

/// Whether the line says "issue" and a number.
fn numbers_an_issue(line: &str) -> bool {
    let lower = line.to_lowercase();
    lower.match_indices("issue ").any(|(at, word)| {
        lower[at + word.len()..].trim_start_matches('#').starts_with(|c: char| c.is_ascii_digit())
    })
}

/// The list of cases in `tests/restart/main.rs`: the number of each, and what its line says.
fn cases(list: &str) -> Vec<(u32, &str)> {
    let lines = list.lines().filter_map(|line| line.strip_prefix("//! T-"));
    let split = lines.map(|line| line.split_once(' ').expect("a number and a text"));
    split.map(|(number, text)| (number.parse().expect("a number"), text.trim())).collect()
}

/// Every line that names a test, with the path of its file.
fn names_of_tests(sources: &[Source]) -> Vec<(String, &str)> {
    let of = |source: &Source| source.path.display().to_string();
    // Some are made by a macro, from lines such as `c_01_t_02_dies: "…", Undone;`.
    let names = |line: &&str| line.contains("fn ") || line.starts_with("c_");
    let lines = |source| Source::lines_of_code(source).map(|(_, line)| line.trim()).filter(names);
    sources.iter().flat_map(|source| lines(source).map(move |line| (of(source), line))).collect()
}

#[test]
fn every_case_is_listed_and_is_where_the_list_says() {
    let sources = sources();
    let list = sources.iter().find(|source| source.path == Path::new("tests/restart/main.rs"));
    let cases = cases(&list.expect("the list").text);
    let numbers = cases.iter().map(|(number, _)| *number);
    assert!(numbers.eq(1..=48), "T-1 to T-48, each once");
    let tests = names_of_tests(&sources);
    let mut wrong = Vec::new();
    for (number, text) in cases {
        let name = format!("t_{number:02}_");
        let is_in = |place: &str| {
            tests.iter().any(|(path, line)| path.contains(place) && line.contains(&name))
        };
        if text.starts_with("not ") {
            wrong.extend(is_in("").then(|| format!("T-{number} has a test: say which")));
            continue;
        }
        let (places, _) = text.split_once(": ").expect("where, and what");
        let missing = places.split(", ").filter(|place| !is_in(place));
        wrong.extend(missing.map(|place| format!("T-{number}: no test {name}… in {place}")));
    }
    fail_on("cases", wrong);
}

#[test]
fn the_judge_itself_sees_straight() {
    let text =
        "fn a() {\n    let s = \"fn b() {\"; // {\n    let c = '{';\n    let l: &'a u8;\n}\n";
    assert_eq!(functions(&blank(text)), [(1, 5)]);
    assert_eq!(
        blank("r#\"a\"b\"# x"),
        "  \"   \" \" x".replace("  \"   \" \"", &blank("r#\"a\"b\"#"))
    );
    assert!(!blank("let x = \"unsafe\";").contains("unsafe"));
    assert_eq!(heads("{self, wire::{a, b}, sql::c}"), ["self", "wire", "sql"]);
    let path = Path::new("src/net/listen.rs");
    assert_eq!(uses(path, "use crate::wire::x;"), [(1, "wire".to_owned())]);
    assert_eq!(uses(path, "use super::super::wire;"), [(1, "wire".to_owned())]);
    assert_eq!(uses(path, "use super::buffer;"), []);
    assert_eq!(uses(Path::new("src/sql.rs"), "use super::wire;"), [(1, "wire".to_owned())]);
    assert!(numbers_an_issue(&["see issue", "7"].join(" ")) && !numbers_an_issue("an issue of"));
}
