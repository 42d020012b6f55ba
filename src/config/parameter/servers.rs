//! Lists of servers, as `cluster.NAME.server` shows them, that two operators have altered at once:
//! what one has changed is done to what the other has made of it.

use std::collections::BTreeMap;

use super::cluster::{DRAINING, is_server_list};

/// What becomes of a value that both have altered; None: it is no list, and only one can count.
///
/// What ours has added, dropped, drained or put online is done to theirs, as far as it is not done
/// there. A list that would be empty is theirs.
pub fn merged(name: &str, base: &str, ours: &str, theirs: &str) -> Option<String> {
    if !is_server_list(name) {
        return None;
    }
    let (base, ours, theirs) = (List::of(base), List::of(ours), List::of(theirs));
    let (was, is) = (base.flags(), ours.flags());
    let mut merged: Vec<(&str, bool)> = Vec::new();
    for (address, is_draining) in theirs.0.iter().copied() {
        match (was.get(address), is.get(address)) {
            // We have dropped it.
            (Some(_), None) => {}
            (Some(before), Some(now)) if before != now => merged.push((address, *now)),
            _ => merged.push((address, is_draining)),
        }
    }
    for (address, is_draining) in ours.0.iter().copied() {
        let is_there = merged.iter().any(|(known, _)| *known == address);
        if !was.contains_key(address) && !is_there {
            merged.push((address, is_draining));
        }
    }
    let merged = if merged.is_empty() { theirs } else { List(merged) };
    Some(merged.text())
}

/// Addresses, and whether each is draining.
struct List<'a>(Vec<(&'a str, bool)>);

impl<'a> List<'a> {
    fn of(text: &'a str) -> Self {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let server = |word: &'a str| match word.strip_suffix(DRAINING) {
            Some(address) => (address.trim_end(), true),
            None => (word, false),
        };
        Self(words.map(server).collect())
    }

    fn flags(&self) -> BTreeMap<&'a str, bool> {
        self.0.iter().copied().collect()
    }

    fn text(&self) -> String {
        let word = |(address, is_draining): &(&str, bool)| {
            format!("{address}{}", if *is_draining { DRAINING } else { "" })
        };
        self.0.iter().map(word).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_have_done_is_done() {
        let name = "cluster.a.server";
        for (base, ours, theirs, expected) in [
            ("h:1", "h:1,h:2", "h:1,h:3", "h:1,h:3,h:2"),
            ("h:1,h:2", "h:1", "h:1,h:2,h:3", "h:1,h:3"),
            ("h:1,h:2", "h:1", "h:2", "h:2"),
            ("h:1,h:2", "h:1 draining,h:2", "h:1,h:2 draining", "h:1 draining,h:2 draining"),
            ("h:1 draining,h:2", "h:1,h:2", "h:1 draining,h:2,h:3", "h:1,h:2,h:3"),
            ("h:1", "h:1,h:2 draining", "h:1,h:2", "h:1,h:2"),
            ("h:1,h:2", "h:1,h:2", "h:2", "h:2"),
            ("h:1,h:2", "h:2,h:1", "h:1,h:2,h:3", "h:1,h:2,h:3"),
        ] {
            let found = merged(name, base, ours, theirs);
            assert_eq!(found.as_deref(), Some(expected), "{base} {ours} {theirs}");
        }
        assert_eq!(merged("connect_timeout", "1s", "2s", "3s"), None);
        assert_eq!(merged("cluster.a.init_sql", "a", "b", "c"), None);
    }
}
