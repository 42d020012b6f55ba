//! Point selects: one row by its key, with a mark that only this question has.

use crate::load::check;
use crate::load::client::Client;
use crate::load::tables::{ROWS, payload_of};
use crate::load::trouble::Trouble;

/// Remembers nothing: each question stands for itself.
pub(in crate::load) struct Select;

impl Select {
    pub(super) async fn turn(&self, client: &mut Client) -> Result<(), Trouble> {
        self.look(client).await?;
        client.pause(client.run.pause).await;
        Ok(())
    }

    pub(super) async fn look(&self, client: &mut Client) -> Result<(), Trouble> {
        let (mark, id) = (client.mark(), 1 + client.random.below(ROWS));
        let table = client.run.tables.rows();
        let sql = format!("SELECT '{mark}', id, payload FROM {table} WHERE id = {id}");
        let rows = client.rows(&sql).await?;
        let row: &[&str] = &[&mark, &id.to_string(), &payload_of(id)];
        client.check(check::rows("point select", &rows, &[row])).await
    }
}
