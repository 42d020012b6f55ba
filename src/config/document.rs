//! A config file as it was written, with every mistake in it and where that stands.
//!
//! serde stops at the first mistake. So each is noted and taken out, and the rest is read again,
//! until all of it can be read. What follows from a mistake that was noted is no further one.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::flaw::Flaw;
use super::nearest::nearest;

/// Whoever has made more of them has the wrong file.
const MOST: usize = 100;

/// What is wrong in a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The key, its value if that is no secret, and what was expected.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, text } = self;
        write!(f, "line {line}, column {column}: {text}")
    }
}

/// The file.
pub(super) struct Document<'a> {
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    /// What was taken out: of the table that begins there, which key.
    removed: Vec<(usize, String)>,
    mistakes: Vec<Mistake>,
    integrity: Integrity,
}

/// How much of a text is what its writer meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Integrity {
    /// All that was not taken out.
    Whole,
    /// Something is missing, nobody knows what.
    Holes,
    /// What stands behind a bracket that is not closed is anything.
    Torn,
}

/// Something that was taken out.
struct Removed {
    /// Keys down to it.
    path: String,
    /// Whether it was its key that was wrong.
    by_key: bool,
}

impl<'a> Document<'a> {
    /// What can be made out of a text.
    pub(super) fn new(text: &'a str) -> Self {
        let (root, mut errors) = DeTable::parse_recoverable(text);
        errors.truncate(MOST);
        errors.sort_by_key(|error| error.span().map_or(text.len(), |span| span.start));
        let integrity = forget_what_follows(&mut errors);
        let mut document =
            Self { text, root, removed: Vec::new(), mistakes: Vec::new(), integrity };
        for error in errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            // Within a line one leads to the other.
            let line = document.position(span.start).0;
            if document.mistakes.last().is_none_or(|last| last.line != line) {
                document.note(span.start, in_our_words(error.message()));
            }
            if document.remove(&span).is_none() && document.integrity == Integrity::Whole {
                document.integrity = Integrity::Holes;
            }
        }
        document
    }

    /// What can be read of it; None: nothing.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        for _ in 0..MOST {
            if self.integrity == Integrity::Torn {
                return None;
            }
            let error = match T::deserialize(Deserializer::from(self.root.clone())) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let span = error.span().unwrap_or_default();
            let removed = self.remove(&span);
            let place = removed.as_ref().map(Removed::place).unwrap_or_default();
            if !self.follows(&span, error.message()) {
                self.note(span.start, told(&place, error.message()));
            }
            removed?;
        }
        None
    }

    /// Whether a key is missing only because it was taken out before.
    fn follows(&self, span: &Range<usize>, message: &str) -> bool {
        let missing = message.strip_prefix("missing field `").and_then(|it| it.strip_suffix('`'));
        missing.is_some_and(|key| self.is_removed(span.start, key))
    }

    fn is_removed(&self, table: usize, key: &str) -> bool {
        self.removed.iter().any(|(from, removed)| *from == table && removed == key)
    }

    /// Notes what does not fit together, unless something that it rests on was taken out.
    pub(super) fn judge(&mut self, flaws: Vec<Flaw>) {
        if self.integrity != Integrity::Whole {
            return;
        }
        for Flaw { paths, text } in flaws {
            let places: Option<Vec<Place>> = paths.iter().map(|path| self.place(path)).collect();
            if let Some(places) = places {
                // Rather at what was written than at what was left out.
                let written = places.iter().find(|place| place.is_written).or(places.first());
                self.note(written.map_or(self.text.len(), |place| place.at), text);
            }
        }
    }

    /// All of them, from top to bottom.
    pub(super) fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort();
        self.mistakes
    }

    fn note(&mut self, at: usize, text: String) {
        let (line, column) = self.position(at);
        self.mistakes.push(Mistake { line, column, text });
    }

    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().count() + 1)
    }

    fn remove(&mut self, span: &Range<usize>) -> Option<Removed> {
        let mut removal = Removal { span, removed: &mut self.removed };
        removal.of_table(ROOT, self.root.get_mut(), "")
    }

    /// Where the thing is that a path names, or what is nearest above it; None if it, or something
    /// below it, was taken out.
    fn place(&self, path: &str) -> Option<Place> {
        let (mut table, mut header) = (Some(self.root.get_ref()), ROOT);
        let mut place = Place { at: self.text.len(), is_written: true };
        let mut node: Option<&Spanned<DeValue>> = None;
        let mut keys = path.split('.').peekable();
        while let Some(key) = keys.next() {
            let index = key.parse::<usize>().ok();
            if let Some(index) = index {
                node = node.and_then(|node| node.get_ref().get(index));
            } else {
                let entry = table.and_then(|table| table.get_key_value(key));
                // Of a list that has lost one, the others are whole.
                let is_element = keys.peek().is_some_and(|next| next.parse::<usize>().is_ok());
                if self.is_removed(header, key) && !(is_element && entry.is_some()) {
                    return None;
                }
                place.at = entry.map_or(place.at, |(key, _)| key.span().start);
                node = entry.map(|(_, value)| value);
            }
            let Some(node) = node else { return Some(Place { is_written: false, ..place }) };
            table = node.get_ref().as_table();
            header = node.span().start;
            if table.is_none() || index.is_some() {
                place.at = header;
            }
        }
        let is_whole = table.is_none() || self.removed.iter().all(|(from, _)| *from != header);
        is_whole.then_some(place)
    }
}

/// Where something stands.
struct Place {
    at: usize,
    /// No: it was left out, and this is where it could stand.
    is_written: bool,
}

/// What stands behind a bracket that is not closed is no mistake of its own.
fn forget_what_follows(errors: &mut Vec<toml::de::Error>) -> Integrity {
    let mut integrity = Integrity::Whole;
    for opened in ["array", "inline table"] {
        let unclosed = format!("unclosed {opened},");
        if errors.iter().any(|error| error.message().starts_with(&unclosed)) {
            let first = errors.iter().position(|error| error.message().contains(opened));
            errors.truncate(first.map_or(0, |first| first + 1));
            integrity = Integrity::Torn;
        }
    }
    integrity
}

/// The table that has no header.
const ROOT: usize = usize::MAX;

/// Takes out the smallest thing that a span means.
struct Removal<'s> {
    span: &'s Range<usize>,
    removed: &'s mut Vec<(usize, String)>,
}

impl Removal<'_> {
    fn of_table<'i>(&mut self, at: usize, table: &mut DeTable<'i>, path: &str) -> Option<Removed> {
        let mut found = None;
        for (key, value) in table.iter_mut() {
            let name = key.get_ref().to_string();
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let inside = self.within(value, &path);
            if let Some(removed) = inside {
                if value.get_ref().is_array() {
                    self.removed.push((at, name));
                }
                return Some(removed);
            }
            let by_key = key.span() == *self.span;
            if by_key || self.means(value) {
                found = Some((name, Removed { path, by_key }));
                break;
            }
        }
        let (name, removed) = found?;
        table.remove(name.as_str());
        self.removed.push((at, name));
        Some(removed)
    }

    fn within<'i>(&mut self, value: &mut Spanned<DeValue<'i>>, path: &str) -> Option<Removed> {
        let at = value.span().start;
        match value.get_mut() {
            DeValue::Table(table) => self.of_table(at, table, path),
            DeValue::Array(array) => {
                let mut found = None;
                for (index, element) in array.as_mut().iter_mut().enumerate() {
                    if let Some(removed) = self.within(element, path) {
                        return Some(removed);
                    }
                    if self.means(element) {
                        found = Some(index);
                        break;
                    }
                }
                remove_from(array, found?);
                Some(Removed { path: path.to_owned(), by_key: false })
            }
            _ => None,
        }
    }

    /// A table has the span of its header, and what is in it stands behind that.
    fn means(&self, value: &Spanned<DeValue>) -> bool {
        let whole = value.span();
        whole == *self.span || whole.start <= self.span.start && self.span.end <= whole.end
    }
}

fn remove_from<'i>(array: &mut DeArray<'i>, index: usize) {
    let nothing: DeArray<'i> = std::iter::empty().collect();
    let all = std::mem::replace(array, nothing).into_iter().enumerate();
    *array = all.filter(|(at, _)| *at != index).map(|(_, value)| value).collect();
}

impl Removed {
    /// What a mistake is said of: a wrong key is one of the table's.
    fn place(&self) -> String {
        match self.by_key {
            true => self.path.rsplit_once('.').map(|(table, _)| table).unwrap_or_default().into(),
            false => self.path.clone(),
        }
    }
}

/// Lists of tables.
const LISTS: [&str; 8] = [
    "cluster",
    "cluster.server",
    "cluster.user",
    "cluster.tenant",
    "admin.user",
    "fleet.proxy",
    "admin.token",
    "white_list",
];

/// A mistake in words that are not Rust's, with what was probably meant.
fn told(place: &str, message: &str) -> String {
    let message = match message {
        "invalid type: map, expected a sequence" if LISTS.contains(&place) => {
            format!("expected a list of tables, each of which begins with [[{place}]]")
        }
        "invalid type: map, expected a sequence" if !place.contains('.') => {
            format!("expected one table, which begins with [{place}]")
        }
        _ => in_our_words(message),
    };
    if place.is_empty() { message } else { format!("{place}: {message}") }
}

fn in_our_words(message: &str) -> String {
    // As serde writes both: "unknown field `a`, expected one of `b`, `c`".
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let is_field = message.starts_with("unknown field `");
    if (is_field || message.starts_with("unknown variant `"))
        && let [given, expected @ ..] = &names[..]
        && let Some(meant) = nearest(given, expected)
    {
        return match is_field {
            true => format!("unknown field `{given}`, did you mean `{meant}`?"),
            false => format!("{message}; did you mean `{meant}`?"),
        };
    }
    // A word without quotes that begins like one of the two.
    if ["invalid float, expected `inf`", "invalid float, expected `nan`"].contains(&message) {
        return "string values must be quoted, expected literal string".to_owned();
    }
    if let Some((found, _)) = message.split_once(", expected struct ") {
        return format!("{found}, expected a table");
    }
    const WORDS: [(&str, &str); 6] = [
        ("wanted string or table", "expected a string"),
        ("expected usize", "expected a whole number from 0 on"),
        ("expected u32", "expected a whole number from 0 on"),
        ("expected u8", "expected a whole number from 0 to 255"),
        ("invalid type: map", "invalid type: table"),
        ("expected a sequence", "expected a list"),
    ];
    WORDS.iter().fold(message.to_owned(), |text, (rusts, ours)| text.replace(rusts, ours))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    const CLUSTER: &str = "[[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h:1'\n";

    /// What is wrong with a text, a line a mistake.
    fn mistakes(text: &str) -> Vec<String> {
        match Config::parse(text, Path::new("f")) {
            Ok(_) => Vec::new(),
            Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = mistakes(text);
        let expected: Vec<String> =
            expected.iter().map(|line| format!("config f: line {line}")).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = format!(
            "[proxy]\nlisten_to = 1\nlisten = ['a:1', '127.0.0.1:8', 'b']\nworkers = 'x'\n\
             login_timeout = 5\nconnect_timeout = 'soon'\nzstd_level = 23\n\
             hot_upgrade_exit_timeout = true\nserver_compression = 'zlip'\n\
             [log]\nlevel = 'infos'\nformat = 1\n[tls.cleint]\nmode = 'off'\n\
             [htttp]\n{CLUSTER}"
        );
        check(
            &text,
            &[
                "2, column 1: proxy: unknown field `listen_to`, did you mean `listen`?",
                "3, column 11: proxy.listen: 'a:1': expected IP:PORT, [IPv6]:PORT or unix:/PATH",
                "3, column 33: proxy.listen: 'b': expected IP:PORT, [IPv6]:PORT or unix:/PATH",
                "4, column 11: proxy.workers: invalid type: string \"x\", expected a whole number \
                 from 0 on",
                "5, column 17: proxy.login_timeout: invalid type: integer `5`, expected a duration \
                 such as \"30s\" or \"100ms\"",
                "6, column 19: proxy.connect_timeout: 'soon': expected a duration such as \"30s\" \
                 or \"100ms\"",
                "7, column 14: proxy.zstd_level = 23: expected 1 to 22",
                "8, column 28: proxy.hot_upgrade_exit_timeout: invalid type: boolean `true`, \
                 expected a duration such as \"30s\" or \"100ms\", 0 or -1",
                "9, column 22: proxy.server_compression: 'zlip': expected \"off\", \"zlib\" or \
                 \"zstd\"; did you mean \"zlib\"?",
                "11, column 9: log.level: unknown variant `infos`, expected one of `error`, \
                 `warn`, `info`, `debug`, `trace`; did you mean `info`?",
                "12, column 10: log.format: expected a string",
                "13, column 6: tls: unknown field `cleint`, did you mean `client`?",
                "15, column 2: unknown field `htttp`, did you mean `http`?",
            ],
        );
    }

    #[test]
    fn what_does_not_fit_together_is_told_with_the_rest() {
        let text = format!(
            "[proxy]\nworkers = 2000\nmax_user_connections = -1\n\
             listen = ['127.0.0.1:2885']\n[[admin.user]]\nname = 'a'\nrole = 'viewer'\n\
             [[admin.user]]\nname = 'a'\nrole = 'boss'\npassword = ''\n\
             [tls.client]\nmode = 'require'\n{CLUSTER}[[cluster]]\nname = 'b'\n"
        );
        check(
            &text,
            &[
                "2, column 11: proxy.workers = 2000: expected 0 to 1024",
                "3, column 24: proxy.max_user_connections: invalid value: integer `-1`, expected a \
                 whole number from 0 on",
                "4, column 11: listen address 127.0.0.1:2885 is given twice",
                "5, column 1: admin.user 'a': expected exactly one of password and password_sha1",
                "10, column 8: admin.user.role: unknown variant `boss`, expected `manager` or \
                 `viewer`",
                "12, column 6: tls.client.certificate: expected one, as mode is not off",
                "18, column 1: cluster 'b': expected at least one [[cluster.server]]",
            ],
        );
    }

    #[test]
    fn what_follows_from_a_mistake_is_none() {
        // Neither no server, nor no cluster, nor the default address twice.
        let text = "[admin]\nlisten = '127.0.0.1:2883'\n[proxy]\nlisten = 1\n\
                    [[cluster]]\nname = 'a'\n[[cluster.server]]\naddress = 'h'\n";
        check(
            text,
            &[
                "4, column 10: proxy.listen: invalid type: integer `1`, expected a list",
                "8, column 11: cluster.server.address: 'h': expected HOST:PORT, [IPv6]:PORT or \
                 unix:/PATH",
            ],
        );
        let text = "[[cluster]]\nname = 1\n";
        check(
            text,
            &[
                "1, column 1: cluster 1: expected at least one [[cluster.server]]",
                "2, column 8: cluster.name: invalid type: integer `1`, expected a string",
            ],
        );
        check("", &["1, column 1: expected at least one [[cluster]]"]);
        check(
            "[cluster]\nname = 'a'",
            &["1, column 1: cluster: expected a list of tables, each of which begins with \
                 [[cluster]]"],
        );
    }

    #[test]
    fn what_is_no_toml_is_told_with_the_rest() {
        for (text, expected) in [
            (
                "[log]\nlevel = info\nlevl = 1\n",
                &[
                    "2, column 9: string values must be quoted, expected literal string",
                    "3, column 1: log: unknown field `levl`, did you mean `level`?",
                ][..],
            ),
            (
                "[log]\nlevel = 'warn'\nlevel = 'info'\n[proxy]\nworkers = true\n",
                &[
                    "3, column 1: duplicate key",
                    "5, column 11: proxy.workers: invalid type: boolean `true`, expected a whole \
                     number from 0 on",
                ],
            ),
            ("[log\nlevel = 'warn'\n", &["1, column 5: unclosed table, expected `]`"]),
            (
                "[proxy]\nlisten = ['127.0.0.1:1'\nworkers = 3\nlogin_timeout = 'x'\n",
                &["3, column 1: missing comma between array elements, expected `,`"],
            ),
            (
                "[[proxy]]\nworkers = 1\n",
                &["1, column 1: proxy: expected one table, which begins with [proxy]"],
            ),
            ("proxy = 3\n", &["1, column 9: proxy: invalid type: integer `3`, expected a table"]),
        ] {
            check(&format!("{text}{CLUSTER}"), expected);
        }
    }

    #[test]
    fn a_mistake_does_not_show_a_secret() {
        for line in ["4711", "hush", "'hush", "['hush']", "\"hush\\q\"", "{ hush = 4711 }", "true"]
        {
            let text = format!(
                "[[admin.user]]\nname = 'a'\nrole = 'viewer'\npassword = {line}\n{CLUSTER}"
            );
            let found = mistakes(&text).join("\n");
            assert!(found.contains("line 4"), "{line}: {found}");
            assert!(!found.contains("hush") && !found.contains("4711"), "{line}: {found}");
        }
    }
}
