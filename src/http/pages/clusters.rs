//! `/clusters`: all of them.

use maud::html;

use super::frame::{live, mark};
use super::scene::Scene;
use crate::http::reply::{Problem, Reply};
use crate::http::request::encoded;

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    let clusters = scene.clusters().await?;
    let proxies = scene.proxies().await?;
    let sessions: u64 =
        proxies.rows().filter_map(|row| row.text("sessions").parse::<u64>().ok()).sum();
    let body = html! {
        h1 { "Clusters" }
        p class="facts" id="facts" {
            span { b { (proxies.rows().count()) } " proxies" }
            span { b { (sessions) } " sessions" }
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
        (live("/clusters", &["facts".into(), "clusters".into()]))
    };
    scene.page("Clusters", body).await
}

fn all(some: &str, all: &str) -> maud::Markup {
    let text = format!("{some} of {all}");
    match some == all {
        true => html! { (text) },
        false => mark(if some == "0" { "FAILED" } else { "suspect" }, &text),
    }
}
