//! `/sessions`: who is connected, why somebody stays where he is, and how to close a session.

use maud::{Markup, html};

use super::frame::{self, Choice, Ways, button, csrf, refusal};
use super::scene::Scene;
use super::words;
use crate::admin::Row;
use crate::admin::command::Change;
use crate::http::reply::{Problem, Reply, see_other};
use crate::wire::id::SessionId;

/// More are not shown: whoever looks for one says which.
const SHOWN: usize = 100;

/// What can be sorted by.
const SORTS: [(&str, &str); 4] = [
    ("proxy_sessid", "id"),
    ("idle_ms", "idle time"),
    ("trans_count", "transactions"),
    ("User", "user"),
];

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    let sessions = scene.show("SHOW PROXYSESSION").await?;
    let wanted = scene.request.asked("q").unwrap_or_default();
    let sort = scene.request.asked("sort").unwrap_or("proxy_sessid");
    let only = scene.request.asked("only").unwrap_or_default();
    let columns = ["proxy_sessid", "User", "Host", "db", "Cluster", "Tenant", "server", "pins"];
    let is_wanted = |row: &Row| {
        let is_found =
            wanted.is_empty() || columns.iter().any(|column| row.text(column).contains(wanted));
        let is_one = match only {
            "transaction" => row.text("transact_state") == "in_trans",
            "pinned" => !row.text("pins").is_empty(),
            _ => true,
        };
        is_found && is_one
    };
    let mut found: Vec<_> = sessions.rows().filter(is_wanted).collect();
    let number = |row: &Row| row.text(sort).parse::<u64>().ok();
    // Numbers from the highest, names from the first.
    match sort {
        "idle_ms" | "trans_count" => found.sort_by_key(|row| std::cmp::Reverse(number(row))),
        "User" => found.sort_by_key(|row| row.text(sort)),
        _ => found.sort_by_key(number),
    }
    let body = html! {
        h1 { "Sessions" }
        (filter(wanted, sort, only))
        p class="hint" {
            (found.len()) " of " (sessions.rows().count())
            @if found.len() > SHOWN { "; the first " (SHOWN) " are shown" }
        }
        @if sessions.rows.is_empty() { p { "No client is connected." } }
        table hidden[found.is_empty()] {
            thead { tr {
                th { "Session" } th { "User" } th { "Client" } th { "Schema" } th { "Cluster" }
                th { "Server" } th { "State" } th { "Transaction" } th { "Idle for" }
                th { "Stays on its server because" }
            } }
            tbody { @for row in found.iter().take(SHOWN) { (session(row)) } }
        }
    };
    scene.still("Sessions", body).await
}

fn filter(wanted: &str, sort: &str, only: &str) -> Markup {
    let all = [("", "all"), ("transaction", "in a transaction"), ("pinned", "pinned")];
    let only = Choice { label: "Only", name: "only", options: &all, chosen: only };
    let by = Choice { label: "By", name: "sort", options: &SORTS, chosen: sort };
    frame::filter("/sessions", wanted, &[only, by])
}

fn session(row: &Row) -> Markup {
    let id = row.text("proxy_sessid");
    html! {
        tr {
            td data-label="Session" { a href={ "/sessions/" (id) } { (id) } }
            td data-label="User" { (row.text("User")) }
            td data-label="Client" { (row.text("Host")) }
            td data-label="Schema" { (row.text("db")) }
            td data-label="Cluster" { (row.text("Cluster")) }
            td data-label="Server" { (row.text("server")) }
            td data-label="State" { (row.text("state")) }
            td data-label="Transaction" {
                @if row.text("transact_state") == "in_trans" { "open" } @else { "none" }
            }
            td data-label="Idle for" { (words::elapsed(row.text("idle_ms"))) }
            td data-label="Stays because" class="long" { (row.text("pins")) }
        }
    }
}

pub(super) async fn one(scene: &Scene<'_>, id: &str) -> Result<Reply, Problem> {
    let id = parsed(id)?;
    let attributes = scene.show(&format!("SHOW PROXYSESSION ATTRIBUTE {id}")).await?;
    let why_not = scene.refusal();
    let admin = scene.admin().proxy.config().admin.listen.to_string();
    let mut ways = Ways::of(Change::Kill(id).to_string(), &admin);
    ways.api = Some(("DELETE", format!("/api/v1/sessions/{id}"), String::new()));
    let body = html! {
        nav class="crumbs" aria-label="Where this is" {
            a href="/sessions" { "Sessions" } " / " (id)
        }
        h1 { "Session " (id) }
        table class="slim" {
            thead { tr { th { "Attribute" } th { "Value" } th { "Belongs to" } } }
            tbody {
                @for row in attributes.rows() {
                    tr {
                        td data-label="Attribute" { (row.text("attribute_name")) }
                        td data-label="Value" class="long" { (row.text("value")) }
                        td data-label="Belongs to" class="number" { (row.text("info")) }
                    }
                }
            }
        }
        (refusal(why_not.as_deref()))
        form method="post" action={ "/sessions/" (id) "/kill" } {
            (csrf(scene.visitor))
            (button("danger", "Close this session", why_not.as_deref()))
            p class="hint" { "Its client is disconnected, and an open transaction rolled back." }
            (ways.shown())
        }
    };
    scene.still(&format!("Session {id}"), body).await
}

pub(super) async fn kill(scene: &Scene<'_>, id: &str) -> Result<Reply, Problem> {
    scene.change(Change::Kill(parsed(id)?)).await?;
    Ok(see_other("/sessions"))
}

fn parsed(id: &str) -> Result<SessionId, Problem> {
    let parsed = id.parse().map(SessionId);
    parsed.map_err(|_| Problem::not_found(format!("There is no session '{id}'.")))
}
