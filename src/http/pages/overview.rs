//! `/clusters/{c}`: the proxies that serve a cluster, and its servers, with what can be done.

use maud::{Markup, html};

use super::fleet;
use super::frame::{Ways, button, csrf, live, mark, refusal};
use super::scene::Scene;
use super::words;
use crate::admin::Row;
use crate::admin::command::Change;
use crate::config::parameter::cluster::ServerChange;
use crate::http::reply::{Problem, Reply, see_other};
use crate::http::request::encoded;

pub(super) async fn page(scene: &Scene<'_>, name: &str) -> Result<Reply, Problem> {
    let clusters = scene.clusters().await?;
    let cluster = clusters.rows().find(|row| row.text("name") == name);
    let cluster = cluster.ok_or_else(|| unknown(name))?;
    let proxies = scene.proxies().await?;
    let routes = scene.show("SHOW PROXYROUTE").await?;
    let servers: Vec<_> = routes.rows().filter(|row| row.text("cluster") == name).collect();
    let why_not = scene.refusal();
    let why_not = why_not.as_deref();
    let mut ids = vec!["facts".to_owned()];
    let live_ids = |prefix: &str, at: usize, names: &[&str]| {
        names.iter().map(|name| format!("{prefix}{at}-{name}")).collect::<Vec<_>>()
    };
    for at in 0..proxies.rows().count() {
        ids.extend(live_ids("p", at, PROXY));
    }
    for at in 0..servers.len() {
        ids.extend(live_ids("s", at, SERVER));
    }
    let url = format!("/clusters/{}", encoded(name));
    // Other proxies are asked for the whole page only, and for their own part of it.
    let fleet = match scene.request.asked("part") {
        None => fleet::section(scene, &url).await?,
        Some(_) => html! {},
    };
    let body = html! {
        nav class="crumbs" aria-label="Where this is" {
            a href="/clusters" { "Clusters" } " / " (name)
        }
        h1 { "Overview of " (name) }
        p class="facts" id="facts" {
            span { b { (cluster.text("proxies_running")) " of " (cluster.text("proxies")) }
                   " proxies running" }
            span { b { (cluster.text("servers_online")) " of " (cluster.text("servers")) }
                   " servers online" }
            @if let Some(id) = cluster.value("running_task") {
                span { a href={ "/tasks/" (id) } { "Task " (id) " is in progress" } }
            }
        }
        (refusal(why_not))
        h2 { "OBProxies" }
        table {
            thead { tr {
                th { "Name" } th { "Address" } th { "Status" } th { "Version" }
                th { "Generation" } th { "Process" } th { "Up for" } th { "Sessions" }
                th { "In transaction" } th { "Last restart" } th { "Actions" }
            } }
            tbody {
                @for (at, row) in proxies.rows().enumerate() {
                    (proxy(&row, at, &url))
                }
            }
        }
        (fleet)
        h2 { "Servers" }
        table {
            thead { tr {
                th { "Server" } th { "Role" } th { "Place" } th { "Weight" } th { "State" }
                th { "Behind" } th { "Connections" } th { "Last error" } th { "Actions" }
            } }
            tbody {
                @for (at, row) in servers.iter().enumerate() {
                    (server(scene, row, at, &url, why_not))
                }
            }
        }
        (live(&format!("{url}?part=own"), &ids))
    };
    scene.page(name, body).await
}

/// Cells of a proxy that change.
const PROXY: &[&str] =
    &["status", "version", "generation", "pid", "uptime", "sessions", "transactions", "last"];

fn proxy(row: &Row, at: usize, url: &str) -> Markup {
    let id = |name: &str| format!("p{at}-{name}");
    let name = row.text("name");
    html! {
        tr {
            td data-label="Name" { (name) }
            td data-label="Address" { (row.text("address")) }
            td data-label="Status" id=(id("status")) {
                (mark(row.text("status"), row.text("status")))
                @if let Some(phase) = row.value("phase") { " " span class="hint" { (phase) } }
            }
            td data-label="Version" id=(id("version")) { (row.text("version")) }
            td data-label="Generation" id=(id("generation")) { (row.text("generation")) }
            td data-label="Process" id=(id("pid")) { (row.text("pid")) }
            td data-label="Up for" id=(id("uptime"))
                title={ "since " (words::time(row.text("started_at"))) } {
                (words::span(row.text("uptime_s")))
            }
            td data-label="Sessions" id=(id("sessions")) { (row.text("sessions")) }
            td data-label="In transaction" id=(id("transactions")) { (row.text("in_transaction")) }
            td data-label="Last restart" id=(id("last")) { (last_restart(row)) }
            td data-label="Actions" {
                details class="menu" {
                    summary { "More" }
                    div {
                        a class="action" href={ (url) "/proxies/" (encoded(name)) "/restart" } {
                            "Restart"
                        }
                        a class="action" href="/tasks" { "Tasks" }
                    }
                }
            }
        }
    }
}

fn last_restart(row: &Row) -> Markup {
    let Some(id) = row.value("last_restart") else {
        return html! { span class="hint" { "none yet" } };
    };
    let state = row.text("last_restart_state");
    html! {
        a href={ "/tasks/" (id) } { "Task " (id) } " "
        (mark(state, words::state(state)))
        div class="hint" {
            (words::count(row.text("last_restart_moved"), "session")) " moved, longest pause "
            (words::pause(row.text("last_restart_pause_max_us")))
        }
        div class="hint" { (words::time(row.text("last_restart_at"))) }
    }
}

/// Cells of a server that change.
const SERVER: &[&str] = &["role", "state", "lag", "links", "error"];

fn server(scene: &Scene<'_>, row: &Row, at: usize, url: &str, why_not: Option<&str>) -> Markup {
    let id = |name: &str| format!("s{at}-{name}");
    let place: Vec<_> =
        [row.text("idc"), row.text("region")].into_iter().filter(|it| !it.is_empty()).collect();
    let state = row.text("state");
    html! {
        tr {
            td data-label="Server" { (row.text("server")) }
            td data-label="Role" id=(id("role")) { (row.text("role")) }
            td data-label="Place" { (place.join(", ")) }
            td data-label="Weight" { (row.text("weight")) }
            td data-label="State" id=(id("state")) { (mark(state, state)) }
            td data-label="Behind" id=(id("lag")) {
                @match row.value("lag") {
                    Some(lag) => { (lag) " s" }
                    None => span class="hint" { "not known" },
                }
            }
            td data-label="Connections" id=(id("links")) { (row.text("links")) }
            td data-label="Last error" class="long" id=(id("error")) { (row.text("last_error")) }
            td data-label="Actions" {
                details class="menu" {
                    summary { "More" }
                    div {
                        @for (what, order, text, explained) in ORDERS {
                            (form(scene, row, url, (what, *order), (text, explained), why_not))
                        }
                        @if row.text("role") == "replica" {
                            (switch_over(scene, row, url, why_not))
                        }
                    }
                }
            }
        }
    }
}

/// What can be done with a server.
const ORDERS: &[(&str, ServerChange, &str, &str)] = &[
    (
        "drain",
        ServerChange::Drain,
        "Drain",
        "It gets no new sessions; those on it move to other servers between two commands.",
    ),
    ("online", ServerChange::Online, "Online", "It gets sessions again."),
];

fn form(
    scene: &Scene<'_>,
    row: &Row,
    url: &str,
    (what, order): (&str, ServerChange),
    (text, explained): (&str, &str),
    why_not: Option<&str>,
) -> Markup {
    let (cluster, server) = (row.text("cluster"), row.text("server"));
    let is_draining = row.text("state") == "draining";
    let already = match (order, is_draining) {
        (ServerChange::Drain, true) => Some("it is draining"),
        (ServerChange::Online, false) => Some("it is not draining"),
        _ => None,
    };
    let sql = Change::AlterServer(cluster.into(), order, server.into()).to_string();
    let mut ways = Ways::of(sql, &scene.admin().proxy.config().admin.listen.to_string());
    let path = format!("/api/v1/servers/{}/{what}?cluster={}", encoded(server), encoded(cluster));
    ways.api = Some(("POST", path, String::new()));
    html! {
        form method="post" action={ (url) "/servers/" (encoded(server)) "/" (what) } {
            (csrf(scene.visitor))
            (button("action", text, why_not.or(already)))
            p class="hint" { (explained) }
            (ways.shown())
        }
    }
}

/// The form that makes a replica the primary.
fn switch_over(scene: &Scene<'_>, row: &Row, url: &str, why_not: Option<&str>) -> Markup {
    let (cluster, server) = (row.text("cluster"), row.text("server"));
    let admin = scene.admin().proxy.config().admin.listen.to_string();
    let change =
        Change::SwitchOver { cluster: cluster.into(), address: server.into(), force: false };
    let body = serde_json::json!({"server": server}).to_string();
    let path = format!("/api/v1/clusters/{}/switchover", encoded(cluster));
    let ways = Ways {
        sql: change.to_string(),
        api: Some(("POST", path, body)),
        command: format!("odp switchover -a {admin} {cluster} {server}"),
    };
    html! {
        form method="post" action={ (url) "/servers/" (encoded(server)) "/switchover" } {
            (csrf(scene.visitor))
            (button("action", "Switchover", why_not))
            p class="hint" {
                "It becomes the primary: sessions wait between two transactions meanwhile, and go \
                 on there. If one cannot move, nothing is changed."
            }
            (ways.shown())
        }
    }
}

/// Drains a server, puts it back, or makes it the primary.
pub(super) async fn act(
    scene: &Scene<'_>,
    cluster: &str,
    server: &str,
    what: &str,
) -> Result<Reply, Problem> {
    let back = see_other(&format!("/clusters/{}", encoded(cluster)));
    if what == "switchover" {
        let (cluster, address) = (cluster.to_owned(), server.to_owned());
        scene.change(Change::SwitchOver { cluster, address, force: false }).await?;
        return Ok(back);
    }
    let order = ORDERS.iter().find(|(name, ..)| *name == what);
    let (_, order, ..) = order.ok_or_else(|| Problem::not_found("There is no such form."))?;
    scene.change(Change::AlterServer(cluster.into(), *order, server.into())).await?;
    Ok(back)
}

pub(super) fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("There is no cluster '{name}'."))
}
