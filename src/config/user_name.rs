//! How the names of users tell tenants and clusters, and what becomes of them on the servers.

use std::fmt;
use std::str::FromStr;

use super::serde_by_text;

/// `username_separator`: what may stand between cluster, tenant and user, as in
/// `cluster:tenant:user`. Written as ODP writes it: `:;-;.`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Separators(Vec<char>);

impl Separators {
    /// Each of them; the same one stands at both places of a name.
    pub fn chars(&self) -> &[char] {
        &self.0
    }
}

impl Default for Separators {
    fn default() -> Self {
        Self(vec![':', '-', '.'])
    }
}

impl FromStr for Separators {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split(';').filter(|_| !text.is_empty());
        let separators: Option<Vec<char>> = words.map(|word| one_char(word.trim())).collect();
        // '@' and '#' have their own meaning in names.
        let are_good = |separators: &Vec<char>| {
            separators.iter().all(|it| it.is_ascii_punctuation() && !['@', '#'].contains(it))
        };
        let expected = || format!("'{text}': expected signs between semicolons, such as ':;-;.'");
        separators.filter(are_good).map(Self).ok_or_else(expected)
    }
}

fn one_char(word: &str) -> Option<char> {
    let mut chars = word.chars();
    chars.next().filter(|_| chars.next().is_none())
}

impl fmt::Display for Separators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(char::to_string).collect();
        f.write_str(&words.join(";"))
    }
}

/// The account of a tenant's user on the servers, such as `shop_{user}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserTemplate(String);

impl UserTemplate {
    /// The account of this user.
    pub fn account(&self, user: &str, tenant: &str) -> String {
        let mut account = String::with_capacity(self.0.len() + user.len());
        // Names that hold braces are taken as they are.
        for part in Part::of(&self.0) {
            account.push_str(match part {
                Part::Text(text) => text,
                Part::Name("user") => user,
                Part::Name("tenant") => tenant,
                Part::Name(_) | Part::Brace => "",
            });
        }
        account
    }
}

impl Default for UserTemplate {
    fn default() -> Self {
        Self("{user}".to_owned())
    }
}

impl FromStr for UserTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_good = |part: Part| match part {
            Part::Text(_) => true,
            Part::Name(name) => ["user", "tenant"].contains(&name),
            Part::Brace => false,
        };
        match !text.is_empty() && Part::of(text).all(is_good) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("'{text}': expected {EXPECTED}")),
        }
    }
}

impl fmt::Display for UserTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const EXPECTED: &str = "a name, in which {user} and {tenant} may stand";

serde_by_text!(Separators, "signs between semicolons, such as ':;-;.'");
serde_by_text!(UserTemplate, "a name, in which {user} and {tenant} may stand");

/// A part of a template.
enum Part<'t> {
    Text(&'t str),
    /// What stands between braces.
    Name(&'t str),
    /// One without the other.
    Brace,
}

impl<'t> Part<'t> {
    fn of(mut rest: &'t str) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            let part;
            (part, rest) = match rest.find(['{', '}']) {
                _ if rest.is_empty() => return None,
                None => (Self::Text(rest), ""),
                Some(0) => match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                    Some((name, after)) => (Self::Name(name), after),
                    None => (Self::Brace, ""),
                },
                Some(at) => (Self::Text(&rest[..at]), &rest[at..]),
            };
            Some(part)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_single_signs() {
        for (text, expected) in [
            (":;-;.", Some(&[':', '-', '.'][..])),
            (":", Some(&[':'])),
            ("", Some(&[])),
            (": ; -", Some(&[':', '-'])),
            ("::", None),
            (":;", None),
            ("a", None),
            ("@", None),
            (":;#", None),
            ("é", None),
        ] {
            let read = text.parse::<Separators>();
            assert_eq!(read.as_ref().ok().map(Separators::chars), expected, "{text}");
            if let Err(error) = read {
                assert!(error.contains(text) && error.contains("expected signs"), "{error}");
            }
        }
        let default = Separators::default();
        assert_eq!(default.to_string(), ":;-;.");
        assert_eq!(default.to_string().parse(), Ok(default));
    }

    #[test]
    fn a_template_names_user_and_tenant_and_nothing_else() {
        for (template, expected) in [
            ("{user}", Some("{tenant}")),
            ("shop_{user}", Some("shop_{tenant}")),
            ("{tenant}_{user}_{user}", Some("{x_{tenant}_{tenant}")),
            ("all", Some("all")),
            ("", None),
            ("{usr}", None),
            ("{}", None),
            ("{user", None),
            ("user}", None),
            ("}{user}", None),
            ("{{user}}", None),
        ] {
            let read = template.parse::<UserTemplate>();
            // Names with braces of their own are names.
            let account = read.as_ref().ok().map(|it| it.account("{tenant}", "{x"));
            assert_eq!(account.as_deref(), expected, "{template}");
            if let Err(error) = read {
                assert!(error.contains(template) && error.contains("{user}"), "{error}");
            }
        }
    }
}
