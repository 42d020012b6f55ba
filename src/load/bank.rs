//! A bank: transfers in transactions, and a total that must not change.
//!
//! Each transfer has a number, and writes it to the ledger in its own transaction.

use super::check;
use super::client::Client;
use super::tables::{ACCOUNTS, TOTAL};
use super::trouble::Trouble;

/// A client of the bank; counts transfers over all its connections.
#[derive(Default)]
pub(super) struct Bank {
    seq: u64,
}

impl Bank {
    /// A transfer; now and then a look at the total.
    pub(super) async fn turn(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.seq += 1;
        let transfer = self.transfer(client).await;
        if client.outcome_unknown() && transfer.is_err() {
            client.run.books.unknown(client.id().0, self.seq);
        }
        transfer?;
        client.run.books.acknowledged(client.id().0);
        if self.seq.is_multiple_of(20) {
            let accounts = client.run.tables.accounts();
            let rows = client.rows(&format!("SELECT SUM(balance) FROM {accounts}")).await?;
            let verdict = check::rows("total of the bank", &rows, &[&[&TOTAL.to_string()]]);
            client.check(verdict).await?;
        }
        client.pause(client.run.pause * 4).await;
        Ok(())
    }

    async fn transfer(&self, client: &mut Client) -> Result<(), Trouble> {
        let (accounts, ledger) = (client.run.tables.accounts(), client.run.tables.ledger());
        let source = 1 + client.random.below(ACCOUNTS);
        let target = 1 + (source - 1 + 1 + client.random.below(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + client.random.below(10);
        // The smaller number first: clients that lock in one order do not deadlock.
        let mut moves = [(source, format!("- {amount}")), (target, format!("+ {amount}"))];
        moves.sort();
        client.begin().await?;
        for (id, change) in moves {
            let sql = format!("UPDATE {accounts} SET balance = balance {change} WHERE id = {id}");
            client.run(&sql).await?;
        }
        let values = format!("({}, {}, {amount})", client.id().0, self.seq);
        client.run(&format!("INSERT INTO {ledger} VALUES {values}")).await?;
        client.commit().await
    }
}
