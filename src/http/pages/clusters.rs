//! `/clusters`: all of them.

use maud::{Markup, html};

use super::frame::live_with_fleet;
use super::scene::Scene;
use super::words;
use crate::http::door::{self, Overview};
use crate::http::fleet::Serving;
use crate::http::reply::{Problem, Reply};
use crate::http::request::encoded;

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    if scene.request.asked("part").is_some() {
        return scene.part(async { Ok(shown(scene).await?.0) }).await;
    }
    let (shown, rows) = shown(scene).await?;
    // A link stays where somebody is about to press it.
    let cells = (0..rows).flat_map(|at| CELLS.map(|name| format!("c{at}-{name}")));
    let ids: Vec<_> = std::iter::once("facts".to_owned()).chain(cells).collect();
    let body = html! {
        h1 { "Clusters" }
        (shown)
        (live_with_fleet("/clusters?part=live", &ids))
    };
    scene.page("Clusters", body).await
}

/// Cells of a cluster that change.
const CELLS: [&str; 7] = ["proxies", "versions", "sessions", "servers", "primary", "links", "task"];

/// The page's middle, and how many clusters there are.
async fn shown(scene: &Scene<'_>) -> Result<(Markup, usize), Problem> {
    let Overview { clusters, proxies, .. } =
        door::overview(scene.admin(), &scene.visitor.caller).await?;
    let heard = scene.http.look.known(&scene.visitor.caller).await;
    let members = heard.and_then(|heard| heard.proxies.ok()).filter(|it| !it.rows.is_empty());
    let members = members.as_deref();
    let all = members.unwrap_or(&proxies);
    let sessions: u64 = all.rows().filter_map(|row| row.text("sessions").parse::<u64>().ok()).sum();
    let shown = html! {
        p class="facts" id="facts" {
            span { b { (words::proxies(all.rows.len())) } }
            span { b { (words::count(&sessions.to_string(), "session")) } }
        }
        table {
            thead { tr {
                th { "Cluster" } th { "Kind" } th { "Proxies running" } th { "Versions" }
                th { "Sessions" } th { "Servers online" } th { "Primary" }
                th { "This proxy's connections" } th { "Running task" }
            } }
            tbody {
                @for (at, row) in clusters.rows().enumerate() {
                    @let id = |name: &str| format!("c{at}-{name}");
                    @let serving = Serving::of(&row, members);
                    @let Serving { running, all, sessions, versions, task } = serving;
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
                        td data-label="Proxies running" id=(id("proxies")) {
                            (words::of_all(&running, &all))
                        }
                        td data-label="Versions" id=(id("versions")) {
                            (versions.replace(',', ", "))
                        }
                        td data-label="Sessions" id=(id("sessions")) { (sessions) }
                        td data-label="Servers online" id=(id("servers")) {
                            (words::servers(&row))
                            @if row.text("servers_unknown") != "0" {
                                " " span class="hint" {
                                    (row.text("servers_unknown")) " not asked yet"
                                }
                            }
                        }
                        td data-label="Primary" id=(id("primary")) {
                            (row.value("primary").unwrap_or("not known"))
                        }
                        td data-label="Connections" id=(id("links")) { (row.text("links")) }
                        td data-label="Running task" id=(id("task")) {
                            @match words::running_task(&row, task.as_ref().map(|(id, _)| &**id)) {
                                Some((id, path)) => a href=(path) { "Task " (id) },
                                None => span class="hint" { "none" },
                            }
                        }
                    }
                }
            }
        }
    };
    Ok((shown, clusters.rows.len()))
}
