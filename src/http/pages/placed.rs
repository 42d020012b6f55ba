//! Rows whose cells are kept up to date one by one: what is to be pressed in a row stays where it
//! is. A cell is known by its place, which means the same as long as the rows do; when there are
//! others, all of them are shown anew.
//!
//! ```text
//! page:   rows, and who watches them ── an event ──> part=…&rows=MARK
//! answer: the cells that changed                       rows of this mark
//!         somebody who asks for part=… at once         rows of another one: all of them, and who
//!                                                      watches them with the new mark
//! ```

use std::hash::{DefaultHasher, Hash, Hasher};

use maud::{Markup, html};

use super::frame::live_by;
use crate::http::request::Request;

/// What watches over rows.
pub(super) struct Placed<'a> {
    /// The id of the part that they are all in, and this, too.
    pub whole: &'static str,
    /// The id of this.
    pub id: &'static str,
    /// The address of the part.
    pub url: &'a str,
    /// The events that it looks again at.
    pub trigger: &'a str,
    /// The ids of cells, and of what else changes with them.
    pub cells: Vec<String>,
    /// As of [`mark`].
    pub rows: String,
}

impl Placed<'_> {
    /// Stands in the part.
    pub(super) fn watch(self) -> Markup {
        let Self { whole: _, id, url, trigger, mut cells, rows } = self;
        cells.push(id.to_owned());
        html! { div id=(id) { (live_by(trigger, &format!("{url}&rows={rows}"), &cells)) } }
    }

    /// The answer to a page that looks again, or that asks for all of the part.
    pub(super) fn answer(
        &self,
        request: &Request,
        cells: impl FnOnce() -> Markup,
        whole: impl FnOnce() -> Markup,
    ) -> Markup {
        match request.asked("rows") {
            Some(rows) if rows == self.rows => cells(),
            Some(_) => anew(self.id, self.url, self.whole),
            None => whole(),
        }
    }
}

/// In place of what watched over rows that are no more: has all of the part shown anew.
pub(super) fn anew(id: &str, url: &str, whole: &str) -> Markup {
    html! { div id=(id) { (live_by("load", url, &[whole.to_owned()])) } }
}

/// What tells rows from others: of what no cell is that changes.
pub(super) fn mark(texts: impl Iterator<Item = String>) -> String {
    let mut hasher = DefaultHasher::new();
    texts.for_each(|text| text.hash(&mut hasher));
    format!("{:x}", hasher.finish())
}
