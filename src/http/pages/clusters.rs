//! `/clusters`: all of them.

use maud::{Markup, html};

use super::frame::{live, mark};
use super::scene::Scene;
use super::words;
use crate::http::door::{self, Overview};
use crate::http::reply::{Problem, Reply};
use crate::http::request::encoded;

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    if scene.request.asked("part").is_some() {
        return scene.part(shown(scene)).await;
    }
    let body = html! {
        h1 { "Clusters" }
        (shown(scene).await?)
        (live("/clusters?part=live", &["facts".into(), "clusters".into()]))
    };
    scene.page("Clusters", body).await
}

async fn shown(scene: &Scene<'_>) -> Result<Markup, Problem> {
    let Overview { clusters, proxies, .. } =
        door::overview(scene.admin(), &scene.visitor.caller).await?;
    let sessions: u64 =
        proxies.rows().filter_map(|row| row.text("sessions").parse::<u64>().ok()).sum();
    Ok(html! {
        p class="facts" id="facts" {
            span { b { (words::proxies(proxies.rows.len())) } }
            span { b { (words::count(&sessions.to_string(), "session")) } }
        }
        table id="clusters" {
            thead { tr {
                th { "Cluster" } th { "Kind" } th { "Proxies running" } th { "Versions" }
                th { "Servers online" } th { "Primary" } th { "Server connections" }
                th { "Running task" }
            } }
            tbody {
                @for row in clusters.rows() {
                    tr {
                        td data-label="Cluster" {
                            a href={ "/clusters/" (encoded(row.text("name"))) } {
                                (row.text("name"))
                            }
                            @if row.text("is_default") == "True" {
                                " " span class="hint" { "default" }
                            }
                        }
                        td data-label="Kind" { (row.text("kind")) }
                        td data-label="Proxies running" {
                            (all(row.text("proxies_running"), row.text("proxies")))
                        }
                        td data-label="Versions" { (row.text("versions")) }
                        td data-label="Servers online" {
                            (all(row.text("servers_online"), row.text("servers")))
                        }
                        td data-label="Primary" { (row.value("primary").unwrap_or("not known")) }
                        td data-label="Server connections" { (row.text("links")) }
                        td data-label="Running task" {
                            @match row.value("running_task") {
                                Some(id) => a href={ "/tasks/" (id) } { "Task " (id) },
                                None => span class="hint" { "none" },
                            }
                        }
                    }
                }
            }
        }
    })
}

fn all(some: &str, all: &str) -> Markup {
    let text = format!("{some} of {all}");
    match some == all {
        true => html! { (text) },
        false => mark(if some == "0" { "FAILED" } else { "suspect" }, &text),
    }
}
