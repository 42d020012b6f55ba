//! Large results: up to a megabyte, of which every byte is known.

use std::time::Duration;

use crate::load::check::Checksum;
use crate::load::client::Client;
use crate::load::tables::{ROWS, checksum_from};
use crate::load::trouble::Trouble;

/// A large result is this many times the work of a point select, so it comes that much more seldom.
const HEAVY: u32 = 20;
/// But not more seldom than this: there has to be one under way at a restart.
const LONGEST: Duration = Duration::from_secs(3);

/// Remembers nothing: each question stands for itself.
pub(in crate::load) struct Large;

impl Large {
    pub(super) async fn turn(&self, client: &mut Client) -> Result<(), Trouble> {
        let first = 1 + client.random.below(ROWS);
        let table = client.run.tables.rows();
        let sql = format!("SELECT id, payload FROM {table} WHERE id >= {first} ORDER BY id");
        let mut sum = Checksum::new();
        client.each(&sql, |id, payload| sum.add(id, payload)).await?;
        client.check(sum.verdict(&checksum_from(first))).await?;
        client.pause((client.run.pause * HEAVY).min(LONGEST)).await;
        Ok(())
    }
}
