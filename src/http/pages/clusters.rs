//! `/clusters`: all of them.

use std::sync::Arc;

use maud::{Markup, html};

use super::placed::{self, Placed};
use super::scene::Scene;
use super::words;
use crate::admin::Table;
use crate::http::door::{self, Overview};
use crate::http::fleet::Serving;
use crate::http::reply::{Problem, Reply};
use crate::http::request::{Request, encoded};

/// What is shown of them.
struct Shown {
    of: Overview,
    /// What was heard of the fleet, if there is one.
    members: Option<Arc<Table>>,
}

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    if scene.request.asked("part").is_some() {
        let part = async { Ok(shown(scene).await?.part(scene.request)) };
        return scene.part(part).await;
    }
    let shown = shown(scene).await?;
    let body = html! {
        h1 { "Clusters" }
        (shown.facts())
        (shown.section())
    };
    scene.page("Clusters", body).await
}

async fn shown(scene: &Scene<'_>) -> Result<Shown, Problem> {
    let of = door::overview(scene.admin(), &scene.visitor.caller).await?;
    let heard = scene.http.look.known(&scene.visitor.caller).await;
    let members = heard.and_then(|heard| heard.proxies.ok()).filter(|it| !it.rows.is_empty());
    Ok(Shown { of, members })
}

/// Cells of a cluster that change.
const CELLS: [&str; 7] = ["proxies", "versions", "sessions", "servers", "primary", "links", "task"];

/// What tells of them.
const EVENTS: &str = "sse:state, sse:topology, sse:task, sse:fleet, sse:look";

impl Shown {
    fn members(&self) -> Option<&Table> {
        self.members.as_deref()
    }

    /// What a page that looks again is told.
    fn part(&self, request: &Request) -> Markup {
        html! {
            (self.facts())
            (self.placed().answer(request, || self.table(), || self.section()))
        }
    }

    /// What watches over them: a link stays where somebody is about to press it.
    fn placed(&self) -> Placed<'static> {
        let all = 0..self.of.clusters.rows.len();
        let cells = all.flat_map(|at| CELLS.map(|name| format!("c{at}-{name}")));
        let cells = std::iter::once("facts".to_owned()).chain(cells).collect();
        let texts = self.of.clusters.rows().flat_map(|row| {
            ["name", "kind", "is_default"].map(|column| row.text(column).to_owned())
        });
        let rows = placed::mark(texts);
        let (whole, id, url) = ("clusters", "clusters-watch", "/clusters?part=live");
        Placed { whole, id, url, trigger: EVENTS, cells, rows }
    }

    fn section(&self) -> Markup {
        html! { div id="clusters" { (self.table()) (self.placed().watch()) } }
    }

    fn facts(&self) -> Markup {
        let all = self.members().unwrap_or(&self.of.proxies);
        let sessions = all.rows().filter_map(|row| row.text("sessions").parse::<u64>().ok());
        let sessions = sessions.sum::<u64>().to_string();
        html! {
            p class="facts" id="facts" {
                span { b { (words::proxies(all.rows.len())) } }
                span { b { (words::count(&sessions, "session")) } }
            }
        }
    }

    fn table(&self) -> Markup {
        html! {
            table {
                thead { tr {
                    th { "Cluster" } th { "Kind" } th { "Proxies running" } th { "Versions" }
                    th { "Sessions" } th { "Servers online" } th { "Primary" }
                    th { "This proxy's connections" } th { "Running task" }
                } }
                tbody {
                    @for (at, row) in self.of.clusters.rows().enumerate() {
                        @let id = |name: &str| format!("c{at}-{name}");
                        @let serving = Serving::of(&row, self.members());
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
                                @match words::running_task(&row, task.as_ref()) {
                                    Some((id, path)) => a href=(path) { "Task " (id) },
                                    None => span class="hint" { "none" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
