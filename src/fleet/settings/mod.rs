//! What operators have altered, shared by all proxies of the fleet: a store below one prefix of
//! etcd.
//!
//! ```text
//!   PREFIX store             which store this is; without it there is none
//!   PREFIX parameter/NAME    {"value": …, "by": …, "at": …}
//! ```
//! `merge` says what follows from what a proxy has altered and what is there. A change is made
//! only if nothing else was changed there since it was read.

mod merge;

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub(crate) use merge::{Contents, Merged, Put, Setting, merge};

pub(crate) use super::etcd::Trouble;
use super::etcd::{Etcd, Holds};
use crate::config::FleetSection;
use crate::names::named;
use crate::net::tls::settings::SettingsError;

/// The key that says which store it is.
const STORE: &str = "store";

/// What the names of parameters stand behind.
const PARAMETER: &str = "parameter/";

/// So many keys at most in one change: etcd takes 128.
const AT_ONCE: usize = 100;

named! {
    /// Whether the store can be asked.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Link {
        /// There is none.
        Off = "OFF",
        /// Nobody has answered yet.
        Connecting = "CONNECTING",
        /// It was, a short time ago.
        Connected = "CONNECTED",
        /// What is in force is what was known before.
        Unreachable = "UNREACHABLE",
    }
}

/// How sharing stands, for whoever looks.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whether the store can be asked.
    pub link: Link,
    /// Since when.
    pub since: SystemTime,
    /// Why it cannot; empty: it can.
    pub trouble: String,
    /// What it had when it was last asked.
    pub(crate) settings: BTreeMap<String, Setting>,
    /// What of that is not in force here, and why.
    pub refused: BTreeMap<String, String>,
}

impl Standing {
    /// Of somebody who does not share yet.
    pub fn new(now: SystemTime) -> Self {
        let (settings, refused) = (BTreeMap::new(), BTreeMap::new());
        Self { link: Link::Off, since: now, trouble: String::new(), settings, refused }
    }

    /// How many settings there are.
    pub fn count(&self) -> usize {
        self.settings.len()
    }

    /// Each of them by its name: its value, who has altered it, when, and its revision.
    pub fn rows(&self) -> impl Iterator<Item = (String, [String; 4])> {
        self.settings.iter().map(|(name, setting)| {
            let Setting { value, by, at, revision } = setting.clone();
            (name.clone(), [value, by, at, revision.to_string()])
        })
    }
}

/// The store.
pub(crate) struct Store {
    etcd: Etcd,
    prefix: String,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// What is there.
    pub(crate) contents: Contents,
    /// What is there and cannot be understood, by names, with the reasons.
    pub(crate) damaged: BTreeMap<String, (u64, String)>,
    /// Changes after it have a higher one.
    pub(crate) revision: u64,
}

/// A value of a key of a parameter.
#[derive(Serialize, Deserialize)]
struct Written {
    value: String,
    #[serde(default)]
    by: String,
    #[serde(default)]
    at: String,
}

impl Store {
    /// As the config has it; reads the files that it names.
    pub(crate) fn new(config: &FleetSection) -> Result<Self, SettingsError> {
        Ok(Self { etcd: Etcd::new(config)?, prefix: config.etcd_prefix.clone() })
    }

    /// All that is wrong with those files.
    pub(crate) fn errors(config: &FleetSection) -> Vec<SettingsError> {
        Etcd::errors(config)
    }

    /// What is there.
    pub(crate) async fn read(&self) -> Result<Read, Trouble> {
        let range = self.etcd.range(&self.prefix).await?;
        let mut read = Read { revision: range.revision, ..Read::default() };
        for entry in range.entries {
            let Some(key) = entry.key.strip_prefix(&self.prefix) else { continue };
            if key == STORE {
                read.contents.store = Some(entry.value);
            } else if let Some(name) = key.strip_prefix(PARAMETER) {
                match serde_json::from_str(&entry.value) {
                    Ok(Written { value, by, at }) => {
                        let setting = Setting { value, by, at, revision: entry.revision };
                        read.contents.settings.insert(name.to_owned(), setting);
                    }
                    Err(error) => {
                        let why = format!("its value in etcd: {error}");
                        read.damaged.insert(name.to_owned(), (entry.revision, why));
                    }
                }
            }
        }
        Ok(read)
    }

    /// Writes, unless something was changed there since this was read; whether it did. Of very many
    /// the first ones only. `new` is which store it is from now on, if it was nobody's.
    pub(crate) async fn write(
        &self,
        read: &Contents,
        puts: &[Put],
        new: &str,
    ) -> Result<bool, Trouble> {
        let store = format!("{}{STORE}", self.prefix);
        let mut written = Vec::new();
        let mut holds = Vec::new();
        match &read.store {
            Some(known) => holds.push(Holds::Value(store, known.clone())),
            None => {
                holds.push(Holds::Revision(store.clone(), 0));
                written.push((store, new.to_owned()));
            }
        }
        for Put { name, setting } in puts.iter().take(AT_ONCE) {
            let key = format!("{}{PARAMETER}{name}", self.prefix);
            let Setting { value, by, at, revision } = setting.clone();
            // Texts: there is nothing that could not be written.
            let text = serde_json::to_string(&Written { value, by, at }).unwrap_or_default();
            holds.push(Holds::Revision(key.clone(), revision));
            written.push((key, text));
        }
        self.etcd.put(&holds, &written).await
    }

    /// Waits until something is changed there, after what was read. Cancel safe.
    pub(crate) async fn changed(&self, read: &Read) -> Result<(), Trouble> {
        self.etcd.changed(&self.prefix, read.revision + 1).await
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("etcd", &self.etcd).field("prefix", &self.prefix).finish()
    }
}
