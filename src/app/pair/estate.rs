//! What a proxy leaves beside its sessions: its listeners, what it would tell a successor.
//!
//! There are keys and passwords in it. Invariant: no copy of them is left in memory that was given
//! back.

use std::os::fd::RawFd;

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::net::tls::wiped::Wiped;
use crate::restart::task::Task;

/// Longer than most of them, so that the buffer need not move.
const USUAL_LENGTH: usize = 16 * 1024;

/// As who comes after a proxy finds it.
#[derive(Debug, Default, Deserialize)]
pub(in crate::app) struct Estate {
    /// The proxy's generation.
    pub(in crate::app) generation: u64,
    /// The text of the config in force.
    #[serde(deserialize_with = "wiped")]
    pub(in crate::app) config: Zeroizing<String>,
    /// Listening sockets: their names and descriptors.
    pub(super) listeners: Vec<(String, RawFd)>,
    /// As [`restart::DataPlane::legacy`](crate::restart::DataPlane::legacy) has it.
    #[serde(deserialize_with = "wiped")]
    pub(super) legacy: Zeroizing<String>,
    /// As [`restart::DataPlane::counters`](crate::restart::DataPlane::counters) has it.
    pub(super) counters: String,
    /// Restarts that there were.
    #[serde(default)]
    pub(in crate::app) tasks: Vec<Task>,
}

/// The same, field by field, as a proxy writes it down.
#[derive(Debug, Serialize)]
pub(super) struct Will<'a> {
    pub(super) generation: u64,
    pub(super) config: &'a str,
    pub(super) listeners: Vec<(&'a str, RawFd)>,
    pub(super) legacy: &'a str,
    pub(super) counters: &'a str,
    pub(super) tasks: Vec<Task>,
}

impl Will<'_> {
    pub(super) fn write(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        let mut text = Wiped::with_capacity(USUAL_LENGTH);
        serde_json::to_writer(&mut text, self)?;
        Ok(text.into_inner())
    }
}

fn wiped<'de, D: Deserializer<'de>>(text: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(text).map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_found() {
        let (config, legacy, counters) = ("[proxy]\n", "{\"mark\":7}", "{}");
        let listeners = vec![("clients", 5), ("admin", 6)];
        let will = Will { generation: 3, config, listeners, legacy, counters, tasks: Vec::new() };
        let text = will.write().expect("JSON");
        let Estate { generation, config, listeners, legacy, counters, tasks } =
            serde_json::from_slice(&text).expect("the same fields");
        assert_eq!((generation, &**config, &**legacy), (3, "[proxy]\n", "{\"mark\":7}"));
        assert_eq!(listeners, [("clients".to_owned(), 5), ("admin".to_owned(), 6)]);
        assert_eq!((&*counters, tasks.len()), ("{}", 0));
    }
}
