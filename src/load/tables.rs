//! The tables of a run: made before it, looked at after it, dropped at the end.
//!
//! Each run has names of its own, so that two runs, or what a killed one left, do not meet.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row};
use tokio::time::{sleep, timeout};

use super::check::Checksum;
use super::random::Random;

/// Rows that are read; about 1 MB.
pub(super) const ROWS: u64 = 2000;
/// Accounts of the bank: many, so that transfers seldom wait for each other.
pub(super) const ACCOUNTS: u64 = 1000;
/// What each account begins with.
const BALANCE: u64 = 1000;
/// What all accounts have, at any time.
pub(super) const TOTAL: u64 = ACCOUNTS * BALANCE;
/// Rows in one INSERT of the preparation.
const BATCH: u64 = 250;
/// Pause between two tries to reach the target again.
const AGAIN: Duration = Duration::from_millis(200);
/// A statement of the preparation may take longer than one of the load: DDL waits for disks.
const PATIENCE: Duration = Duration::from_secs(60);

/// The names of the tables.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    prefix: String,
}

impl Tables {
    /// Names for a new run.
    pub(super) fn new() -> Self {
        Self { prefix: format!("odp_load_{:06x}", Random::new(0).next() >> 40) }
    }

    /// What all names of this run begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// (id, payload): read only.
    pub(super) fn rows(&self) -> String {
        format!("{}_rows", self.prefix)
    }

    /// (id, balance).
    pub(super) fn accounts(&self) -> String {
        format!("{}_accounts", self.prefix)
    }

    /// (client, seq): a row for each transfer, written in its transaction.
    pub(super) fn ledger(&self) -> String {
        format!("{}_ledger", self.prefix)
    }

    /// (client, seq, step): rows of transactions that are held open.
    pub(super) fn held(&self) -> String {
        format!("{}_held", self.prefix)
    }

    /// (id AUTO_INCREMENT, client): for LAST_INSERT_ID.
    pub(super) fn ids(&self) -> String {
        format!("{}_ids", self.prefix)
    }

    /// (client, n): the last number that each client has written.
    pub(super) fn own(&self) -> String {
        format!("{}_own", self.prefix)
    }

    /// The same and, as `server`, which server has answered: HOSTNAME|PORT|SERVER_ID.
    pub(super) fn own_view(&self) -> String {
        format!("{}_own_view", self.prefix)
    }

    /// A temporary table; each session has one of this name.
    pub(super) fn temporary(&self) -> String {
        format!("{}_temporary", self.prefix)
    }

    /// The name of a lock for GET_LOCK.
    pub(super) fn lock(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    /// Creates and fills the tables.
    pub(super) async fn create(&self, opts: &Opts, deadline: Duration) -> anyhow::Result<()> {
        let mut desk = Desk::open(opts, deadline).await?;
        let payload = "id BIGINT NOT NULL PRIMARY KEY, payload VARCHAR(500) NOT NULL";
        let key = "client BIGINT NOT NULL, seq BIGINT NOT NULL";
        for (table, columns) in [
            (self.rows(), payload.to_owned()),
            (self.accounts(), "id BIGINT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL".into()),
            (self.ledger(), format!("{key}, amount BIGINT, PRIMARY KEY (client, seq)")),
            (self.held(), format!("{key}, step BIGINT, PRIMARY KEY (client, seq)")),
            (
                self.ids(),
                "id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, client BIGINT NOT NULL".into(),
            ),
        ] {
            desk.run(&format!("CREATE TABLE {table} ({columns}) ENGINE=InnoDB")).await?;
        }
        let row = |id| format!("({id},'{}')", payload_of(id));
        desk.fill(&self.rows(), ROWS, row).await?;
        desk.fill(&self.accounts(), ACCOUNTS, |id| format!("({id},{BALANCE})")).await?;
        desk.close().await;
        Ok(())
    }

    /// Creates what clients need that read their own writes.
    pub(super) async fn create_own(&self, opts: &Opts, deadline: Duration) -> anyhow::Result<()> {
        let mut desk = Desk::open(opts, deadline).await?;
        let (table, view) = (self.own(), self.own_view());
        let columns = "client BIGINT NOT NULL PRIMARY KEY, n BIGINT NOT NULL";
        desk.run(&format!("CREATE TABLE {table} ({columns}) ENGINE=InnoDB")).await?;
        let create = |variables: &str| {
            format!(
                "CREATE SQL SECURITY INVOKER VIEW {view} AS SELECT client, n, \
                 (SELECT GROUP_CONCAT(VARIABLE_VALUE ORDER BY VARIABLE_NAME SEPARATOR '|') \
                 FROM {variables} WHERE VARIABLE_NAME IN ('HOSTNAME', 'PORT', 'SERVER_ID')) \
                 AS server FROM {table}"
            )
        };
        // MariaDB's, and MySQL's.
        if desk.run(&create("information_schema.GLOBAL_VARIABLES")).await.is_err() {
            desk.run(&create("performance_schema.global_variables")).await?;
        }
        desk.close().await;
        Ok(())
    }

    /// Drops the tables.
    pub(super) async fn drop(&self, opts: &Opts, deadline: Duration) -> anyhow::Result<()> {
        let mut desk = Desk::open(opts, deadline).await?;
        // A session of a client that was cut off may hold a table for a while yet; waiting for that
        // for ever would be worse than leaving it.
        desk.run("SET SESSION lock_wait_timeout = 30").await?;
        desk.run(&format!("DROP VIEW IF EXISTS {}", self.own_view())).await?;
        let bank = [self.accounts(), self.ledger()];
        for table in [self.rows(), self.held(), self.ids(), self.own()].into_iter().chain(bank) {
            desk.run(&format!("DROP TABLE IF EXISTS {table}")).await?;
        }
        desk.close().await;
        Ok(())
    }
}

/// The payload of a row, so that nobody has to remember it: 500 characters that look random.
pub(super) fn payload_of(id: u64) -> String {
    let mut text = String::with_capacity(512);
    let mut word = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while text.len() < 500 {
        word ^= word >> 12;
        word ^= word << 25;
        word ^= word >> 27;
        text.push_str(&format!("{word:016x}"));
    }
    text.truncate(500);
    text
}

/// The checksum of all rows from this one on.
pub(super) fn checksum_from(first: u64) -> Checksum {
    let mut sum = Checksum::new();
    (first..=ROWS).for_each(|id| sum.add(id, payload_of(id).as_bytes()));
    sum
}

/// A connection for what comes before and after the load; it is not counted.
pub(super) struct Desk {
    conn: Conn,
}

impl Desk {
    /// Connects; tries again until `deadline`, because a proxy may be down just now.
    pub(super) async fn open(opts: &Opts, deadline: Duration) -> anyhow::Result<Self> {
        let until = Instant::now() + deadline;
        loop {
            let error = match timeout(deadline, Conn::new(opts.clone())).await {
                Ok(Ok(conn)) => return Ok(Self { conn }),
                // An answer from the server, such as "access denied", will be the same next time.
                Ok(Err(error @ mysql_async::Error::Server(_))) => return Err(error.into()),
                Ok(Err(error)) => error.into(),
                Err(_) => anyhow::anyhow!("no answer in {deadline:?}"),
            };
            if Instant::now() + AGAIN >= until {
                return Err(error);
            }
            sleep(AGAIN).await;
        }
    }

    /// Runs a statement.
    pub(super) async fn run(&mut self, sql: &str) -> anyhow::Result<()> {
        timeout(PATIENCE, self.conn.query_drop(sql)).await.context("no answer in a minute")??;
        Ok(())
    }

    /// Runs a query.
    pub(super) async fn rows(&mut self, sql: &str) -> anyhow::Result<Vec<Row>> {
        Ok(timeout(PATIENCE, self.conn.query(sql)).await.context("no answer in a minute")??)
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        let _ = timeout(Duration::from_secs(1), self.conn.disconnect()).await;
    }

    async fn fill(
        &mut self,
        table: &str,
        rows: u64,
        row: impl Fn(u64) -> String,
    ) -> anyhow::Result<()> {
        let mut first = 1;
        while first <= rows {
            let last = (first + BATCH - 1).min(rows);
            let values: Vec<String> = (first..=last).map(&row).collect();
            self.run(&format!("INSERT INTO {table} VALUES {}", values.join(","))).await?;
            first = last + 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_differ_and_repeat() {
        assert_eq!(payload_of(7), payload_of(7));
        assert_ne!(payload_of(7), payload_of(8));
        assert_eq!(payload_of(7).len(), 500);
    }

    #[test]
    fn two_runs_have_different_tables() {
        assert_ne!(Tables::new().rows(), Tables::new().rows());
    }
}
