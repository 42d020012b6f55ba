//! `/clusters`: all of them.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::frame::live_with_fleet;
use super::scene::Scene;
use super::{fleet as of_fleet, words};
use crate::admin::{Row, Table};
use crate::http::door::{self, Overview};
use crate::http::fleet;
use crate::http::reply::{Problem, Reply};
use crate::http::request::encoded;

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    if scene.request.asked("part").is_some() {
        return scene.part(shown(scene)).await;
    }
    let body = html! {
        h1 { "Clusters" }
        (shown(scene).await?)
        (live_with_fleet("/clusters?part=live", &["facts".into(), "clusters".into()]))
    };
    scene.page("Clusters", body).await
}

async fn shown(scene: &Scene<'_>) -> Result<Markup, Problem> {
    let Overview { clusters, proxies, .. } =
        door::overview(scene.admin(), &scene.visitor.caller).await?;
    let heard = scene.http.look.known(&scene.visitor.caller).await;
    let members = heard.and_then(|heard| heard.proxies.ok()).filter(|it| !it.rows.is_empty());
    let members = members.as_deref();
    let all = members.unwrap_or(&proxies);
    let sessions: u64 = all.rows().filter_map(|row| row.text("sessions").parse::<u64>().ok()).sum();
    Ok(html! {
        p class="facts" id="facts" {
            span { b { (words::proxies(all.rows.len())) } }
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
                    @let Of { some, all, versions } = of_cluster(&row, members);
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
                        td data-label="Proxies running" { (words::of_all(&some, &all)) }
                        td data-label="Versions" { (versions) }
                        td data-label="Servers online" {
                            (words::servers(&row))
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

/// Proxies of a cluster.
struct Of {
    some: String,
    all: String,
    versions: String,
}

/// Of the fleet, as far as it is known.
fn of_cluster(row: &Row, members: Option<&Table>) -> Of {
    let Some(members) = members else {
        let text = |column| row.text(column).to_owned();
        let (some, all) = (text("proxies_running"), text("proxies"));
        return Of { some, all, versions: text("versions") };
    };
    let serving = fleet::serving(members.clone(), row.text("name"));
    let versions: BTreeSet<_> = serving.rows().filter_map(|row| row.value("version")).collect();
    let versions: Vec<_> = versions.into_iter().collect();
    Of {
        some: of_fleet::running(&serving).to_string(),
        all: serving.rows.len().to_string(),
        versions: versions.join(", "),
    }
}
