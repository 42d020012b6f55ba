//! LIKE. Pure.

/// SQL's LIKE: `%` any run, `_` one character, a backslash takes the next one as it is; case does
/// not count.
pub(super) fn is_like(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last % was, and how much of the text it takes: no recursion, no blow-up.
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        let (next, fits) = match (pattern.get(p), pattern.get(p + 1)) {
            (Some('%'), _) => {
                back = Some((p, t));
                p += 1;
                continue;
            }
            (Some('\\'), Some(c)) => (p + 2, *c == text[t]),
            (Some(c), _) => (p + 1, *c == '_' || *c == text[t]),
            (None, _) => (p, false),
        };
        match back {
            _ if fits => (p, t) = (next, t + 1),
            Some((at, taken)) => {
                back = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
            None => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_those_of_sql() {
        let table = [
            ("%", "", true),
            ("", "a", false),
            ("a%", "abc", true),
            ("%C", "abc", true),
            ("a_c", "abc", true),
            ("a_c", "ac", false),
            ("a\\_c", "abc", false),
            ("a\\_c", "a_c", true),
            ("%\\%", "50%", true),
            ("%a%b%", "xxaxxbxx", true),
            ("%a%b", "xxaxxbxx", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_without_wildcards_is_the_text(text in "[a-z]{0,8}", other in "[a-z]{0,8}") {
            prop_assert_eq!(is_like(&text, &other), text == other);
            let around = format!("%{text}%");
            prop_assert_eq!(is_like(&around, &other), other.contains(&text));
        }
    }
}
