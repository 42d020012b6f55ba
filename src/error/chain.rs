//! What people are told of an error: with all its causes, and each of them once.

use std::error::Error;

/// An error and what caused it, from the outermost on. Many name their cause themselves, and some
/// themselves twice; whoever reads it needs each once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    let mut parts: Vec<&str> = text.split(": ").collect();
    parts.dedup();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|error| error as &dyn Error)
        }
    }

    #[test]
    fn each_cause_is_told_once() {
        for (links, expected) in [
            (&["a"][..], "a"),
            (&["a", "b", "c"], "a: b: c"),
            // As an error of ours that names its cause.
            (&["config f: no such file", "no such file"], "config f: no such file"),
            // As the driver's: it names its cause, which names its own, in the same words.
            (&["io: io: refused", "io: refused", "refused"], "io: refused"),
            (&["a: b", "b: c"], "a: b: c"),
            (&["server [::1]:1: x", "y"], "server [::1]:1: x: y"),
        ] {
            let link =
                |inner: Option<Box<Link>>, text: &&'static str| Some(Link(text, inner).into());
            let error = links.iter().rev().fold(None, link).expect("at least one");
            assert_eq!(chain(&*error), expected);
        }
    }
}
