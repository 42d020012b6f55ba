//! A connection of a pool that nobody needs just now: silent, and still the same at the next look.

use crate::cli::load::check;
use crate::cli::load::client::Client;
use crate::cli::load::trouble::Trouble;

/// What the session must still know.
#[derive(Default)]
pub(in crate::cli::load) struct Idle {
    mark: String,
    id: String,
}

impl Idle {
    pub(super) async fn begin(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.mark = client.mark();
        client.run(&format!("SET @odp_load = '{}'", self.mark)).await?;
        let rows = client.rows("SELECT CONNECTION_ID()").await?;
        self.id = rows.into_iter().flatten().next().unwrap_or_default();
        Ok(())
    }

    pub(super) async fn turn(&mut self, client: &mut Client) -> Result<(), Trouble> {
        client.pause(client.run.silence).await;
        self.look(client).await
    }

    pub(super) async fn look(&self, client: &mut Client) -> Result<(), Trouble> {
        let rows = client.rows("SELECT @odp_load, CONNECTION_ID()").await?;
        let verdict = check::rows("@variable, CONNECTION_ID()", &rows, &[&[&self.mark, &self.id]]);
        client.check(verdict).await
    }
}
