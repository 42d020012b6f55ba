//! Which servers answered the reads of clients that must see their own writes, and how many of
//! these did not.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// Different servers that are kept apart; the rest is "other".
const MOST_SERVERS: usize = 64;

/// The reads of all clients.
#[derive(Default)]
pub(super) struct Reads {
    servers: Mutex<BTreeMap<String, Counts>>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    reads: u64,
    stale: u64,
    furthest: u64,
}

/// What one server answered.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ServerRow {
    /// As it says itself: `HOSTNAME:PORT, server_id N`.
    pub(super) server: String,
    pub(super) reads: u64,
    /// Of these, those that showed less than their client had written.
    pub(super) stale: u64,
    /// How many writes the worst of them was behind.
    pub(super) furthest_behind: u64,
}

/// What a client knows of its row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// The highest number whose write was acknowledged.
    pub(super) acknowledged: u64,
    /// The highest that was sent.
    pub(super) sent: u64,
}

impl Written {
    /// How many writes a read is behind, or what it cannot have seen.
    pub(super) fn behind(&self, read: u64) -> Result<u64, String> {
        if read > self.sent {
            return Err(format!("a number of nobody: {} was sent, {read} read", self.sent));
        }
        Ok(self.acknowledged.saturating_sub(read))
    }
}

impl Reads {
    /// A server has answered with what is so many writes behind.
    pub(super) fn count(&self, server: &str, behind: u64) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_other = servers.len() >= MOST_SERVERS && !servers.contains_key(server);
        let counts = servers.entry(if is_other { "other" } else { server }.to_owned()).or_default();
        counts.reads += 1;
        counts.stale += u64::from(behind > 0);
        counts.furthest = counts.furthest.max(behind);
    }

    /// A row for each server.
    pub(super) fn rows(&self) -> Vec<ServerRow> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |(server, counts): (&String, &Counts)| {
            let (server, Counts { reads, stale, furthest }) = (server.clone(), *counts);
            ServerRow { server, reads, stale, furthest_behind: furthest }
        };
        servers.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_must_not_show_less_than_was_acknowledged_nor_more_than_was_sent() {
        let written = Written { acknowledged: 7, sent: 8 };
        for (read, behind) in [(8, Ok(0)), (7, Ok(0)), (6, Ok(1)), (0, Ok(7))] {
            assert_eq!(written.behind(read), behind);
        }
        assert!(written.behind(9).is_err());
    }

    #[test]
    fn each_server_has_its_row() {
        let reads = Reads::default();
        [("a", 0), ("b", 2), ("b", 5), ("b", 0)]
            .into_iter()
            .for_each(|(server, behind)| reads.count(server, behind));
        let rows = reads.rows();
        let [a, b] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((a.reads, a.stale, a.furthest_behind), (1, 0, 0));
        assert_eq!((b.reads, b.stale, b.furthest_behind), (3, 2, 5));
        (0..1000).for_each(|n| reads.count(&n.to_string(), 0));
        assert_eq!(reads.rows().len(), MOST_SERVERS + 1);
    }
}
