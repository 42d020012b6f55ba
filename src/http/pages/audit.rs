//! `/audit`: who changed what.

use maud::html;

use super::frame::{live_by, mark};
use super::scene::Scene;
use super::words;
use crate::http::reply::{Problem, Reply};
use crate::http::request::encoded;

/// The newest ones: all of them are in the file.
const SHOWN: usize = 200;

/// What is asked for and goes on, or how it has ended.
pub(super) async fn one(scene: &Scene<'_>, id: &str) -> Result<Reply, Problem> {
    let entries = scene.show("SHOW AUDIT").await?;
    let row = entries.rows().find(|row| row.text("id") == id);
    let row = row.ok_or_else(|| Problem::not_found(format!("There is no entry '{id}'.")))?;
    let goes_on = row.text("outcome") == "asked";
    let url = format!("/audit/{}", encoded(id));
    let body = html! {
        nav class="crumbs" aria-label="Where this is" {
            a href="/audit" { "Audit" } " / " (id)
        }
        h1 { code { (row.text("action")) } }
        div id="entry" aria-live="polite" {
            p {
                @if goes_on { (mark("asked", "It goes on")) }
                @else { (mark(row.text("outcome"), row.text("outcome"))) }
                " asked by " (row.text("user")) ", " (words::time(row.text("time")))
            }
            @if let Some(detail) = row.value("detail").filter(|detail| !detail.is_empty()) {
                p class="detail" { (detail) }
            }
            @if goes_on { (live_by("every 2s", &url, &["entry".to_owned()])) }
        }
    };
    scene.still(row.text("action"), body).await
}

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    let entries = scene.show("SHOW AUDIT").await?;
    let body = html! {
        h1 { "Audit" }
        @if entries.rows().next().is_none() { p { "Nobody has changed anything yet." } }
        @else {
            table class="slim" {
                thead { tr {
                    th { "When" } th { "Who" } th { "From" } th { "By" } th { "What" }
                    th { "Outcome" } th { "Answer" }
                } }
                tbody {
                    @for row in entries.rows().take(SHOWN) {
                        tr {
                            td data-label="When" class="number" { (words::time(row.text("time"))) }
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
    scene.still("Audit", body).await
}
