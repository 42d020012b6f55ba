//! What a proxy has altered and what the store of the fleet has, made one. Pure.
//!
//! ```text
//!   shared.value   what the store said when it was last looked at
//!   ours.value     what is in force here       other than that: altered here, to be published
//!   theirs.value   what the store says now     another revision: altered elsewhere, to be adopted
//! ```
//! Whoever comes to the store first counts, whatever the clocks say; but for lists of servers,
//! where both changes count. Nothing is ever deleted in the store: what is gone there was deleted
//! by somebody, and the config's file counts again. A store that was emptied is another one:
//! nothing was deleted by that, and it gets what is known here.

use std::collections::BTreeMap;

use crate::config::alterations::{Alterations, Altered, Shared};
use crate::config::parameter::servers::merged;

/// What the store has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Which store it is; None: an empty one, which is nobody's yet.
    pub(crate) store: Option<String>,
    /// What was altered, by the names of parameters.
    pub(crate) settings: BTreeMap<String, Setting>,
}

/// A parameter there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setting {
    /// What is to be in force in the whole fleet.
    pub(crate) value: String,
    /// Who has altered it.
    pub(crate) by: String,
    /// When, by his proxy's clock.
    pub(crate) at: String,
    /// Counts up with each change.
    pub(crate) revision: u64,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Put {
    /// The parameter.
    pub(crate) name: String,
    /// Its value, by whom, and when. Its revision is the one that must be there still; 0: it must
    /// not be there.
    pub(crate) setting: Setting,
}

/// What follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// What is altered here from now on.
    pub(crate) altered: Alterations,
    /// What the store is to be told.
    pub(crate) puts: Vec<Put>,
    /// Parameters that were altered here as well as elsewhere, and what is in force of that here
    /// will not be.
    pub(crate) lost: Vec<String>,
}

/// Makes one of both.
pub(crate) fn merge(ours: &Alterations, theirs: &Contents) -> Merged {
    let mut all = Merged::default();
    for (name, altered) in ours {
        match theirs.settings.get(name) {
            Some(setting) => both(&mut all, name, altered, (theirs, setting)),
            None => ours_only(&mut all, name, altered, theirs),
        }
    }
    for (name, setting) in &theirs.settings {
        if !ours.contains_key(name) {
            all.altered.insert(name.clone(), adopted(theirs, setting));
        }
    }
    all
}

/// The store does not have it.
fn ours_only(all: &mut Merged, name: &str, altered: &Altered, theirs: &Contents) {
    let known = base(altered, theirs);
    if known.is_some_and(|known| known.value == altered.value) {
        // It was deleted there.
        return;
    }
    all.put(name, altered, &altered.value, 0);
    all.altered.insert(name.to_owned(), Altered { shared: None, ..altered.clone() });
}

fn both(all: &mut Merged, name: &str, altered: &Altered, (theirs, setting): (&Contents, &Setting)) {
    let known = base(altered, theirs);
    let is_pending = known.is_none_or(|known| known.value != altered.value);
    let is_news = known.is_none_or(|known| known.revision != setting.revision);
    if altered.value == setting.value || !is_pending {
        all.altered.insert(name.to_owned(), adopted(theirs, setting));
        return;
    }
    let value = match is_news {
        false => Some(altered.value.clone()),
        true => {
            let before = known.map_or(&altered.from, |known| &known.value);
            merged(name, before, &altered.value, &setting.value)
        }
    };
    let mut next = adopted(theirs, setting);
    match value {
        // It is done there.
        Some(value) if value == setting.value => {}
        Some(value) => {
            all.put(name, altered, &value, setting.revision);
            let Altered { by, at, .. } = altered.clone();
            next = Altered { value, by, at, ..next };
        }
        None => all.lost.push(name.to_owned()),
    }
    all.altered.insert(name.to_owned(), next);
}

impl Merged {
    fn put(&mut self, name: &str, altered: &Altered, value: &str, revision: u64) {
        let Altered { by, at, .. } = altered.clone();
        let setting = Setting { value: value.to_owned(), by, at, revision };
        self.puts.push(Put { name: name.to_owned(), setting });
    }
}

/// What this very store has said of it.
fn base<'a>(altered: &'a Altered, theirs: &Contents) -> Option<&'a Shared> {
    altered.shared.as_ref().filter(|shared| Some(&shared.store) == theirs.store.as_ref())
}

/// As the store has it. What the config's file says is not known here.
fn adopted(theirs: &Contents, setting: &Setting) -> Altered {
    let Setting { value, by, at, revision } = setting.clone();
    let store = theirs.store.clone().unwrap_or_default();
    let shared = Some(Shared { store, value: value.clone(), revision });
    Altered { from: String::new(), value, by, at, shared }
}

#[cfg(test)]
mod tests;
