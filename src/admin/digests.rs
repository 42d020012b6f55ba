//! SHOW for statements: by their shapes, and those that are under way.

use std::cmp::Reverse;

use super::handles::Admin;
use super::table::{Columns, Operands, Table, timestamp};
use crate::proxy::Running;
use crate::proxy::digests::Counted;

/// Statements under way that are shown: the slowest.
const SLOWEST: usize = 50;

/// A row is a shape.
const DIGEST: &Columns<Counted> = &[
    ("digest", |it| it.digest.to_string()),
    ("digest_text", |it| it.text.clone()),
    ("count", |it| it.count().to_string()),
    ("errors", |it| it.tally.errors.to_string()),
    ("p50_us", |it| it.quantile_us(0.5).to_string()),
    ("p99_us", |it| it.quantile_us(0.99).to_string()),
    ("max_us", |it| it.tally.max_us.to_string()),
    ("sum_us", |it| it.tally.sum_us.to_string()),
    ("bytes", |it| it.tally.bytes.to_string()),
    ("rows", |it| it.tally.rows.to_string()),
    ("first_seen", |it| timestamp(it.seen().0)),
    ("last_seen", |it| timestamp(it.seen().1)),
];

/// Every shape that has been seen, those first that took most of the time.
pub(super) fn digests(admin: &Admin, operands: &Operands) -> Table {
    let mut all = admin.proxy.in_force().digests().all();
    all.retain(|it| it.count() > 0 && operands.matches(&it.text));
    all.sort_by_key(|it| Reverse(it.tally.sum_us));
    Table::of(DIGEST, &all)
}

/// A row is a statement.
const RUNNING: &Columns<Running> = &[
    ("proxy_sessid", |it| it.session.to_string()),
    ("user", |it| it.user.clone()),
    ("server", |it| it.server.clone()),
    ("digest", |it| it.digest.to_string()),
    ("digest_text", |it| it.text.clone()),
    ("elapsed_us", |it| it.elapsed.as_micros().to_string()),
];

/// Statements that are under way, the slowest first.
pub(super) fn running(admin: &Admin) -> Table {
    Table::of(RUNNING, &admin.proxy.running(SLOWEST))
}
