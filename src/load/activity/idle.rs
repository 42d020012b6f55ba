//! A connection of a pool that nobody needs just now: silent, and still the same at the next look.

use crate::load::check;
use crate::load::client::Client;
use crate::load::run::ConnectionIds;
use crate::load::trouble::Trouble;

const QUESTION: &str = "SELECT @odp_load, CONNECTION_ID()";

/// The same where another server may answer, whose ids are its own.
const WITHOUT_ID: &str = "SELECT @odp_load, 0";

/// What the session must still know.
#[derive(Default)]
pub(in crate::load) struct Idle {
    mark: String,
    id: String,
}

impl Idle {
    pub(super) async fn begin(&mut self, client: &mut Client) -> Result<(), Trouble> {
        self.mark = client.mark();
        client.run(&format!("SET @odp_load = '{}'", self.mark)).await?;
        // Asked as it will be asked later: a proxy may know an id of its own for a statement that
        // asks for nothing else.
        let rows = client.rows(question(client)).await?;
        self.id = rows.into_iter().flatten().nth(1).unwrap_or_default();
        Ok(())
    }

    pub(super) async fn turn(&mut self, client: &mut Client) -> Result<(), Trouble> {
        client.pause(client.run.silence).await;
        self.look(client).await
    }

    pub(super) async fn look(&self, client: &mut Client) -> Result<(), Trouble> {
        let rows = client.rows(question(client)).await?;
        let verdict = check::rows("@variable, CONNECTION_ID()", &rows, &[&[&self.mark, &self.id]]);
        client.check(verdict).await
    }
}

fn question(client: &Client) -> &'static str {
    match client.run.connection_ids {
        ConnectionIds::Stay => QUESTION,
        ConnectionIds::MayChange => WITHOUT_ID,
    }
}
