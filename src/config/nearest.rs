//! "Did you mean": the word that somebody has most likely meant. Pure.

/// The one of these that is a slip of the pen away; None if none is.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    // A third may be wrong: `levl`, `listen_to`, but not any word for any other.
    let most = (word.chars().count() / 3).max(1);
    let distances =
        known.iter().map(|known| (strsim::osa_distance(&word, &known.to_lowercase()), *known));
    let nearest = distances.filter(|(distance, _)| *distance <= most).min();
    nearest.map(|(_, known)| known)
}

/// `; did you mean "…"?`, or nothing.
pub(super) fn hint(word: &str, known: &[&str]) -> String {
    nearest(word, known).map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let known = ["listen", "level", "login_timeout", "off", "prefer", "TLS"];
        for (word, expected) in [
            ("lsiten", Some("listen")),
            ("listen_to", Some("listen")),
            ("Level", Some("level")),
            ("levl", Some("level")),
            ("login-timeout", Some("login_timeout")),
            ("of", Some("off")),
            ("preferred", Some("prefer")),
            ("on", None),
            ("", None),
            ("workers", None),
            ("tlS", Some("TLS")),
        ] {
            assert_eq!(nearest(word, &known), expected, "{word}");
        }
        assert_eq!(hint("of", &known), "; did you mean \"off\"?");
        assert_eq!(hint("x", &known), "");
    }
}
