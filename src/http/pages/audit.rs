//! `/audit`: who changed what.

use maud::html;

use super::frame::mark;
use super::scene::Scene;
use super::words;
use crate::http::reply::{Problem, Reply};

/// The newest ones: all of them are in the file.
const SHOWN: usize = 200;

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    let entries = scene.show("SHOW AUDIT").await?;
    let body = html! {
        h1 { "Audit" }
        @if entries.rows().next().is_none() { p { "Nobody has changed anything yet." } }
        @else {
            table {
                thead { tr {
                    th { "When" } th { "Who" } th { "From" } th { "By" } th { "What" }
                    th { "Outcome" } th { "Answer" }
                } }
                tbody {
                    @for row in entries.rows().take(SHOWN) {
                        tr {
                            td data-label="When" { (words::time(row.text("time"))) }
                            td data-label="Who" { (row.text("user")) " · " (row.text("role")) }
                            td data-label="From" { (row.text("address")) }
                            td data-label="By" { (row.text("by")) }
                            td data-label="What" class="long" { code { (row.text("action")) } }
                            td data-label="Outcome" {
                                (mark(row.text("outcome"), row.text("outcome")))
                            }
                            td data-label="Answer" class="long" { (row.text("detail")) }
                        }
                    }
                }
            }
        }
    };
    scene.page("Audit", body).await
}
