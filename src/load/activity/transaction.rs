//! Transactions that stay open for a time, with work of their own in them.
//!
//! All rows are reached by their whole primary key: no gap locks, so no deadlocks among clients.

use crate::load::check;
use crate::load::client::Client;
use crate::load::trouble::Trouble;

/// Pauses in which a transaction is held, with a statement between them.
const PAUSES: u64 = 3;

/// Counts transactions, over all connections of the client.
#[derive(Default)]
pub(in crate::load) struct Held {
    seq: u64,
}

impl Held {
    pub(super) async fn turn(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.seq += 1;
        let table = client.run.tables.held();
        let key = format!("client = {} AND seq = {}", client.id().0, self.seq);
        client.begin().await?;
        let values = format!("({}, {}, 0)", client.id().0, self.seq);
        client.run(&format!("INSERT INTO {table} VALUES {values}")).await?;
        let hold = client.run.hold.mul_f64(client.random.fraction()) / PAUSES as u32;
        for step in 1..=PAUSES {
            client.pause(hold).await;
            client.run(&format!("UPDATE {table} SET step = {step} WHERE {key}")).await?;
            expect(client, &table, &key, &[&[&step.to_string()]]).await?;
        }
        if self.seq.is_multiple_of(2) {
            client.rollback().await?;
            expect(client, &table, &key, &[]).await?;
        } else {
            client.commit().await?;
            expect(client, &table, &key, &[&[&PAUSES.to_string()]]).await?;
            client.run(&format!("DELETE FROM {table} WHERE {key}")).await?;
        }
        client.pause(client.run.pause).await;
        Ok(())
    }
}

async fn expect(
    client: &mut Client,
    table: &str,
    key: &str,
    rows: &[&[&str]],
) -> Result<(), Trouble> {
    let got = client.rows(&format!("SELECT step FROM {table} WHERE {key}")).await?;
    client.check(check::rows("row of a transaction", &got, rows)).await
}
