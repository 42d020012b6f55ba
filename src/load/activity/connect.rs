//! Short-lived connections: connect, ask one thing, leave. They never stop, so they see every
//! instant at which nobody listens.

use crate::load::check;
use crate::load::client::Client;
use crate::load::trouble::Trouble;

/// Remembers nothing: each connection is new.
pub(in crate::load) struct Connect;

impl Connect {
    /// Asks and leaves; the worker opens the next one.
    pub(super) async fn turn(&self, client: &mut Client) -> Result<(), Trouble> {
        let mark = client.mark();
        let rows = client.rows(&format!("SELECT '{mark}'")).await?;
        client.check(check::rows("first select", &rows, &[&[&mark]])).await?;
        client.close().await;
        client.pause(client.run.connect_pause).await;
        Ok(())
    }
}
