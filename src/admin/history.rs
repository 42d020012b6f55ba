//! SHOW for the last hour.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::handles::Admin;
use super::table::{Operands, Table, timestamp};
use crate::error::ClientError;
use crate::proxy::history::PERIOD;

/// A row is a sample, the oldest first; if a number follows, of so many seconds only.
pub(super) fn history(admin: &Admin, operands: &Operands) -> Result<Table, ClientError> {
    let asked = operands.like.as_deref();
    let seconds: Option<u64> = asked.map(str::parse).transpose().map_err(|_| {
        let asked = asked.unwrap_or_default();
        ClientError::syntax(format!("SHOW PROXYHISTORY: '{asked}': expected a number of seconds"))
    })?;
    let mut table = Table::with_columns(&[
        "time", "ago_s", "seconds", "queries", "errors", "sessions", "p50_us", "p99_us",
    ]);
    let now = SystemTime::now();
    for sample in admin.proxy.history().samples() {
        let at = UNIX_EPOCH + Duration::from_millis(sample.at_ms);
        let ago = now.duration_since(at).unwrap_or_default();
        if seconds.is_some_and(|seconds| ago.as_secs() > seconds) {
            continue;
        }
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
    Ok(table)
}
