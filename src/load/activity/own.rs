//! Reads what it has written itself: a row with a number that grows, and reads outside of
//! transactions that must not show less.
//!
//! The row is read from a view that says in the same row which server has answered. A read that
//! asked for `@@server_id` itself would be sent to where a proxy sends such questions.

use mysql_async::Statement;

use crate::load::client::Client;
use crate::load::rows::Rows;
use crate::load::servers::Written;
use crate::load::trouble::Trouble;

/// Reads after each write: the first at once.
const READS: u64 = 3;

/// What was written, over all connections of the client.
#[derive(Default)]
pub(in crate::load) struct Own {
    written: Written,
    read: Option<Statement>,
}

impl Own {
    pub(super) async fn begin(&mut self, client: &mut Client) -> Result<(), Trouble> {
        // What an earlier session of the client has written, this one need not see.
        self.write(client).await?;
        let (view, id) = (client.run.tables.own_view(), client.id().0);
        let sql = format!("SELECT n, server FROM {view} WHERE client = {id} AND n >= ?");
        self.read = Some(client.prepare(&sql).await?);
        Ok(())
    }

    pub(super) async fn turn(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.write(client).await?;
        for _ in 0..READS {
            self.look(client).await?;
            client.pause(client.run.pause).await;
        }
        Ok(())
    }

    /// Every other one in a transaction.
    async fn write(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.written.sent += 1;
        let (table, id, n) = (client.run.tables.own(), client.id().0, self.written.sent);
        let sql = format!("INSERT INTO {table} VALUES ({id}, {n}) ON DUPLICATE KEY UPDATE n = {n}");
        if n.is_multiple_of(2) {
            client.run(&sql).await?;
        } else {
            client.begin().await?;
            client.run(&sql).await?;
            client.commit().await?;
        }
        self.written.acknowledged = n;
        Ok(())
    }

    pub(super) async fn look(&self, client: &mut Client) -> Result<(), Trouble> {
        let is_binary = client.random.below(2) == 0;
        let rows = match &self.read {
            Some(statement) if is_binary => client.execute(statement, (0_u64,)).await?,
            _ => {
                let (view, id) = (client.run.tables.own_view(), client.id().0);
                client.rows(&format!("SELECT n, server FROM {view} WHERE client = {id}")).await?
            }
        };
        let (number, server) = answer(rows);
        match self.written.behind(number) {
            Ok(behind) => {
                client.run.reads.count(&server, behind);
                if behind > 0 {
                    let written = self.written.acknowledged;
                    client.stale(&format!("stale: {written} written, {number} read on {server}"));
                }
                Ok(())
            }
            Err(wrong) => client.check(Err(wrong)).await,
        }
    }
}

/// The number, and who has answered. A server that has no row yet does not say who it is.
fn answer(rows: Rows) -> (u64, String) {
    let mut row = rows.into_iter().flatten();
    let number = row.next().and_then(|number| number.parse().ok()).unwrap_or_default();
    let server = row.next().unwrap_or_default();
    let parts: Vec<&str> = server.split('|').collect();
    let server = match parts[..] {
        [host, port, id] => format!("{host}:{port}, server_id {id}"),
        _ => "a server that did not say which".into(),
    };
    (number, server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_number_and_a_server() {
        let row = |texts: &[&str]| vec![texts.iter().map(|text| (*text).to_owned()).collect()];
        let (number, server) = answer(row(&["7", "db1|3306|2"]));
        assert_eq!((number, &*server), (7, "db1:3306, server_id 2"));
        assert_eq!(answer(Vec::new()).0, 0);
        assert_eq!(answer(row(&["7", "NULL"])).0, 7);
    }
}
