//! The books of the bank, which must agree with its ledger.
//!
//! Every acknowledged COMMIT must be in the ledger, no other may be, and for those whose answer was
//! lost the ledger tells how they ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use serde::Serialize;

use super::tables::{Desk, TOTAL, Tables};

/// What one client believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Book {
    /// COMMITs that were acknowledged.
    acknowledged: u64,
    /// Numbers of transfers whose COMMIT was not answered. One a lost session at most.
    unknown: Vec<u64>,
}

/// What all clients believe.
#[derive(Default)]
pub(super) struct Books {
    clients: Mutex<BTreeMap<u32, Book>>,
}

/// How the books compare with the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Audit {
    /// COMMITs that were acknowledged.
    pub(super) acknowledged: u64,
    /// COMMITs whose answer was lost.
    pub(super) unknown: u64,
    /// Those of them that the ledger has.
    pub(super) unknown_committed: u64,
    /// Acknowledged, but not in the ledger. The worst that can happen.
    pub(super) acknowledged_missing: u64,
    /// In the ledger, but never committed as far as the client knows.
    pub(super) never_committed: u64,
    /// What all accounts have.
    pub(super) total: u64,
    /// What they must have.
    pub(super) expected_total: u64,
}

impl Audit {
    /// How many answers were wrong by the books.
    pub(super) fn wrong(&self) -> u64 {
        let total = u64::from(self.total != self.expected_total);
        self.acknowledged_missing + self.never_committed + total
    }
}

impl Books {
    fn held(&self) -> MutexGuard<'_, BTreeMap<u32, Book>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A COMMIT of this client was acknowledged.
    pub(super) fn acknowledged(&self, client: u32) {
        self.held().entry(client).or_default().acknowledged += 1;
    }

    /// The answer to this one was lost.
    pub(super) fn unknown(&self, client: u32, seq: u64) {
        self.held().entry(client).or_default().unknown.push(seq);
    }

    /// Compares the books with the ledger, when all clients are gone.
    pub(super) async fn audit(&self, desk: &mut Desk, tables: &Tables) -> anyhow::Result<Audit> {
        let (accounts, ledger) = (tables.accounts(), tables.ledger());
        let sql = format!("SELECT CAST(SUM(balance) AS UNSIGNED) FROM {accounts}");
        let total = desk.rows(&sql).await?;
        let total = total.first().and_then(|row| row.get(0)).context("the bank has no total")?;
        let mut written = BTreeMap::new();
        let sql = format!("SELECT client, COUNT(*) FROM {ledger} GROUP BY client");
        for row in desk.rows(&sql).await? {
            let (client, count): (u32, u64) = mysql_async::from_row_opt(row)?;
            written.insert(client, count);
        }
        let books = self.held().clone();
        let mut found = BTreeMap::new();
        for (client, book) in books.iter().filter(|(_, book)| !book.unknown.is_empty()) {
            let numbers: Vec<String> = book.unknown.iter().map(u64::to_string).collect();
            let numbers = numbers.join(",");
            let condition = format!("client = {client} AND seq IN ({numbers})");
            let rows = desk.rows(&format!("SELECT seq FROM {ledger} WHERE {condition}")).await?;
            found.insert(*client, rows.len() as u64);
        }
        Ok(compare(&books, &written, &found, total))
    }
}

/// `written` is what the ledger has of each client, `found` how many of its unknown ones are there.
fn compare(
    books: &BTreeMap<u32, Book>,
    written: &BTreeMap<u32, u64>,
    found: &BTreeMap<u32, u64>,
    total: u64,
) -> Audit {
    let mut audit = Audit { total, expected_total: TOTAL, ..Audit::default() };
    let nothing = Book::default();
    let clients: std::collections::BTreeSet<u32> =
        books.keys().chain(written.keys()).copied().collect();
    for client in clients {
        let book = books.get(&client).unwrap_or(&nothing);
        let found = found.get(&client).copied().unwrap_or_default();
        let sure = written.get(&client).copied().unwrap_or_default().saturating_sub(found);
        audit.acknowledged += book.acknowledged;
        audit.unknown += book.unknown.len() as u64;
        audit.unknown_committed += found;
        audit.acknowledged_missing += book.acknowledged.saturating_sub(sure);
        audit.never_committed += sure.saturating_sub(book.acknowledged);
    }
    audit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(acknowledged: u64, unknown: &[u64]) -> BTreeMap<u32, Book> {
        BTreeMap::from([(3, Book { acknowledged, unknown: unknown.into() })])
    }

    #[test]
    fn books_that_agree_are_right() {
        let audit = compare(&books(10, &[]), &BTreeMap::from([(3, 10)]), &BTreeMap::new(), TOTAL);
        assert_eq!((audit.wrong(), audit.acknowledged), (0, 10));
    }

    #[test]
    fn an_unknown_commit_may_end_either_way() {
        for (written, found) in [(11, 1), (10, 0)] {
            let (written, found) = (BTreeMap::from([(3, written)]), BTreeMap::from([(3, found)]));
            let audit = compare(&books(10, &[4]), &written, &found, TOTAL);
            assert_eq!((audit.wrong(), audit.unknown), (0, 1));
        }
    }

    #[test]
    fn an_acknowledged_commit_that_is_missing_is_caught() {
        let audit = compare(&books(10, &[]), &BTreeMap::from([(3, 9)]), &BTreeMap::new(), TOTAL);
        assert_eq!((audit.acknowledged_missing, audit.wrong()), (1, 1));
    }

    #[test]
    fn a_transfer_that_nobody_committed_is_caught() {
        let audit = compare(&books(10, &[]), &BTreeMap::from([(3, 11)]), &BTreeMap::new(), TOTAL);
        assert_eq!((audit.never_committed, audit.wrong()), (1, 1));
        let audit = compare(&BTreeMap::new(), &BTreeMap::from([(9, 1)]), &BTreeMap::new(), TOTAL);
        assert_eq!(audit.wrong(), 1);
    }

    #[test]
    fn a_total_that_changed_is_caught() {
        let audit = compare(&BTreeMap::new(), &BTreeMap::new(), &BTreeMap::new(), TOTAL - 1);
        assert_eq!(audit.wrong(), 1);
    }
}
