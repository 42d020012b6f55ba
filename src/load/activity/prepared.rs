//! Statements that are prepared once and executed for as long as the connection lives.

use mysql_async::Statement;

use crate::load::check;
use crate::load::client::Client;
use crate::load::tables::{ROWS, payload_of};
use crate::load::trouble::Trouble;

/// The statements of this connection.
#[derive(Default)]
pub(in crate::load) struct Prepared {
    /// Reads a row of a table.
    row: Option<Statement>,
    /// Needs no table; parameters of other types.
    sum: Option<Statement>,
}

impl Prepared {
    pub(super) async fn begin(&mut self, client: &mut Client) -> Result<(), Trouble> {
        let table = client.run.tables.rows();
        let sql = format!("SELECT ?, id, payload FROM {table} WHERE id = ?");
        self.row = Some(client.prepare(&sql).await?);
        self.sum = Some(client.prepare("SELECT CAST(? AS SIGNED) + CAST(? AS SIGNED), ?").await?);
        Ok(())
    }

    pub(super) async fn turn(&self, client: &mut Client) -> Result<(), Trouble> {
        self.look(client).await?;
        client.pause(client.run.pause).await;
        self.add(client).await?;
        client.pause(client.run.pause).await;
        Ok(())
    }

    pub(super) async fn look(&self, client: &mut Client) -> Result<(), Trouble> {
        let Some(statement) = &self.row else { return Ok(()) };
        let (mark, id) = (client.mark(), 1 + client.random.below(ROWS));
        let rows = client.execute(statement, (mark.as_str(), id)).await?;
        let row: &[&str] = &[&mark, &id.to_string(), &payload_of(id)];
        client.check(check::rows("prepared select", &rows, &[row])).await
    }

    async fn add(&self, client: &mut Client) -> Result<(), Trouble> {
        let Some(statement) = &self.sum else { return Ok(()) };
        let (mark, one) = (client.mark(), client.random.below(1 << 40));
        let rows = client.execute(statement, (one, 1_000_u64, mark.as_str())).await?;
        let row: &[&str] = &[&(one + 1000).to_string(), &mark];
        client.check(check::rows("prepared sum", &rows, &[row])).await
    }
}
