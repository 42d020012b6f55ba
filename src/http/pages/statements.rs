//! `/statements`: which shapes of statements there are, what they cost, and what is slow now.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::frame::{self, Choice, Ways, button, csrf, live_by, refusal};
use super::scene::Scene;
use super::words;
use crate::admin::Row;
use crate::admin::command::Change;
use crate::http::reply::{Problem, Reply, see_other};
use crate::http::request::encoded;

/// More are not shown: whoever looks for one says which.
const SHOWN: usize = 100;

/// Of those that are under way.
const SLOWEST: usize = 10;

/// What can be sorted by: a column, in words. From the highest.
const SORTS: [(&str, &str); 6] = [
    ("sum_us", "time of all"),
    ("count", "count"),
    ("p99_us", "p99"),
    ("max_us", "longest"),
    ("errors", "errors"),
    ("bytes", "bytes"),
];

/// What somebody wants to see.
struct Wanted<'a> {
    text: &'a str,
    sort: &'static str,
}

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    let sort = scene.request.asked("sort").unwrap_or_default();
    let (sort, _) = SORTS.into_iter().find(|(it, _)| *it == sort).unwrap_or(SORTS[0]);
    let wanted = Wanted { text: scene.request.asked("q").unwrap_or_default(), sort };
    if scene.request.asked("part").is_some() {
        return scene.part(async { Ok(live(scene, &wanted).await?.both()) }).await;
    }
    let live = live(scene, &wanted).await?;
    let url = format!("/statements?part=live&q={}&sort={sort}", encoded(wanted.text));
    let body = html! {
        h1 { "Statements" }
        @if limit(scene) == 0 {
            p class="note" {
                "Statements are not counted: the parameter "
                a href="/parameters?edit=digest_table_size#edit" { "digest_table_size" }
                " is 0."
            }
        }
        h2 { "Slowest now" }
        (live.now)
        h2 { "Since they are counted" }
        (filter(wanted.text, wanted.sort))
        (live.shapes)
        (reset(scene))
        (live_by("every 5s", &url, &["now".to_owned(), "shapes".to_owned()]))
    };
    scene.page("Statements", body).await
}

fn limit(scene: &Scene<'_>) -> usize {
    scene.admin().proxy.in_force().digests().limit()
}

/// What changes while somebody looks.
struct Live {
    now: Markup,
    shapes: Markup,
}

impl Live {
    fn both(self) -> Markup {
        html! { (self.now) (self.shapes) }
    }
}

async fn live(scene: &Scene<'_>, wanted: &Wanted<'_>) -> Result<Live, Problem> {
    let digests = scene.show("SHOW PROXYDIGEST").await?;
    let running = scene.show("SHOW PROXYDIGEST RUNNING").await?;
    let text = wanted.text.to_lowercase();
    let is_wanted = |row: &Row| {
        row.text("digest_text").to_lowercase().contains(&text) || row.text("digest") == text
    };
    let mut found: Vec<_> = digests.rows().filter(is_wanted).collect();
    let number = |row: &Row| row.text(wanted.sort).parse::<u64>().unwrap_or_default();
    found.sort_by_key(|row| Reverse(number(row)));
    let running: Vec<_> = running.rows().take(SLOWEST).collect();
    Ok(Live {
        now: html! { div id="now" { (now(&running)) } },
        shapes: html! { div id="shapes" { (shapes(&found, digests.rows.len(), limit(scene))) } },
    })
}

fn now(running: &[Row<'_>]) -> Markup {
    html! {
        @if running.is_empty() {
            p class="hint" { "No statement is under way." }
        } @else {
            table class="slim" {
                thead { tr {
                    th { "For" } th { "Statement" } th { "Session" } th { "User" } th { "Server" }
                } }
                tbody {
                    @for row in running {
                        tr {
                            td data-label="For" { (words::pause(row.text("elapsed_us"))) }
                            td data-label="Statement" class="long" {
                                code { (row.text("digest_text")) }
                            }
                            td data-label="Session" {
                                a href={ "/sessions/" (row.text("proxy_sessid")) } {
                                    (row.text("proxy_sessid"))
                                }
                            }
                            td data-label="User" { (row.text("user")) }
                            td data-label="Server" { (row.text("server")) }
                        }
                    }
                }
            }
        }
    }
}

fn filter(wanted: &str, sort: &str) -> Markup {
    let by = Choice { label: "By", name: "sort", options: &SORTS, chosen: sort };
    frame::filter("/statements", wanted, &[by])
}

fn shapes(found: &[Row<'_>], all: usize, limit: usize) -> Markup {
    html! {
        p class="hint" {
            (found.len()) " of " (all) " shapes"
            @if found.len() > SHOWN { "; the first " (SHOWN) " are shown" }
            ". A shape is a statement without its values, of which nothing is kept; there is room \
             for " (limit) ", and all others are counted in one row. Times are those of whole \
             answers, as the proxy sees them."
        }
        @if found.is_empty() {
            p { "Nothing was counted yet." }
        } @else {
            table {
                thead { tr {
                    th { "Statement" } th class="number" { "Count" } th class="number" { "Errors" }
                    th class="number" { "p50" } th class="number" { "p99" }
                    th class="number" { "Longest" } th class="number" { "Rows" }
                    th class="number" { "Bytes" } th { "First seen" } th { "Last seen" }
                } }
                tbody { @for row in found.iter().take(SHOWN) { (shape(row)) } }
            }
        }
    }
}

fn shape(row: &Row<'_>) -> Markup {
    let figures = [
        ("Count", row.text("count").to_owned()),
        ("Errors", row.text("errors").to_owned()),
        ("p50", words::pause(row.text("p50_us"))),
        ("p99", words::pause(row.text("p99_us"))),
        ("Longest", words::pause(row.text("max_us"))),
        ("Rows", row.text("rows").to_owned()),
        ("Bytes", words::bytes(row.text("bytes"))),
    ];
    html! {
        tr {
            td data-label="Statement" class="long" { code { (row.text("digest_text")) } }
            @for (label, value) in &figures {
                td data-label=(label) class="number" { (value) }
            }
            td data-label="First seen" { (words::time(row.text("first_seen"))) }
            td data-label="Last seen" { (words::time(row.text("last_seen"))) }
        }
    }
}

fn reset(scene: &Scene<'_>) -> Markup {
    let why_not = scene.refusal();
    let admin = scene.admin().proxy.config().admin.listen.to_string();
    let mut ways = Ways::of(Change::ResetDigests.to_string(), &admin);
    ways.api = Some(("DELETE", "/api/v1/statements".to_owned(), String::new()));
    html! {
        (refusal(why_not.as_deref()))
        form class="below" method="post" action="/statements/reset" {
            (csrf(scene.visitor))
            (button("danger", "Count anew", why_not.as_deref()))
            p class="hint" { "What was counted is forgotten, for all who look." }
            (ways.shown())
        }
    }
}

pub(super) async fn act(scene: &Scene<'_>) -> Result<Reply, Problem> {
    scene.change(Change::ResetDigests).await?;
    Ok(see_other("/statements"))
}
