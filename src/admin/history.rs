//! SHOW for the last hour.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Admin;
use super::show::timestamp;
use super::table::Table;
use crate::proxy::history::PERIOD;

/// A row is a sample, the oldest first.
pub(super) fn history(admin: &Admin) -> Table {
    let mut table = Table::with_columns(&[
        "time", "ago_s", "seconds", "queries", "errors", "sessions", "p50_us", "p99_us",
    ]);
    let now = SystemTime::now();
    for sample in admin.proxy.history().samples() {
        let at = UNIX_EPOCH + Duration::from_millis(sample.at_ms);
        let ago = now.duration_since(at).unwrap_or_default();
        table.push([
            timestamp(at),
            ago.as_secs().to_string(),
            PERIOD.as_secs().to_string(),
            sample.queries.to_string(),
            sample.errors.to_string(),
            sample.sessions.to_string(),
            sample.p50_us.to_string(),
            sample.p99_us.to_string(),
        ]);
    }
    table
}
