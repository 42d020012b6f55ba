//! `/clusters/{c}`: the proxies that serve a cluster, and its servers, with what can be done.

use maud::{Markup, html};

use super::frame::{live_by, mark, refusal};
use super::placed::Placed;
use super::proxies::{self, Fleet, Proxies};
use super::scene::Scene;
use super::servers::Servers;
use super::{charts, words};
use crate::admin::{Row, Table};
use crate::http::door::{self, Overview};
use crate::http::fleet::{running, tasks_of_others};
use crate::http::reply::{Problem, Reply};
use crate::http::request::encoded;

/// What is shown of a cluster: of it alone.
struct Shown {
    of: Overview,
    fleet: Fleet,
}

pub(super) async fn page(scene: &Scene<'_>, name: &str) -> Result<Reply, Problem> {
    let url = format!("/clusters/{}", encoded(name));
    match scene.request.asked("part") {
        Some("charts") => return scene.part(async { own_hour(scene).await }).await,
        Some("hour") => return scene.part(async { fleet_hour(scene).await }).await,
        Some("fleet") => {
            return scene.part(async { fleet_part(scene, name, &url).await }).await;
        }
        Some(_) => return scene.part(async { own_part(scene, name, &url).await }).await,
        None => {}
    }
    let shown = shown(scene, name).await?;
    let why_not = scene.refusal();
    let has_fleet = matches!(shown.fleet, Fleet::Asking | Fleet::Members(_));
    let servers = shown.servers(scene, &url, why_not.as_deref());
    let body = html! {
        nav class="crumbs" aria-label="Where this is" {
            a href="/clusters" { "Clusters" } " / " (name)
        }
        h1 { "Overview of " (name) }
        (shown.facts())
        (refusal(why_not.as_deref()))
        @if !scene.admin().proxy.in_force().altered().is_empty() {
            @for trouble in door::troubles(scene.admin()) { p class="note bad" { (trouble) "." } }
        }
        h2 { "OBProxies" }
        (shown.proxies(&url, why_not.as_deref()).section())
        h2 { "Servers" }
        (servers.form())
        (servers.section(shown.placed(&servers, &format!("{url}?part=own")).watch()))
        (hour(scene, &url, has_fleet).await?)
    };
    scene.page(name, body).await
}

/// What a look at the fleet has shown.
async fn fleet_part(scene: &Scene<'_>, name: &str, url: &str) -> Result<Markup, Problem> {
    let (shown, why_not) = (shown(scene, name).await?, scene.refusal());
    Ok(html! { (shown.facts()) (shown.proxies(url, why_not.as_deref()).part(scene.request)) })
}

/// How this proxy stands, and the servers.
async fn own_part(scene: &Scene<'_>, name: &str, url: &str) -> Result<Markup, Problem> {
    let (shown, why_not) = (shown(scene, name).await?, scene.refusal());
    let servers = shown.servers(scene, url, why_not.as_deref());
    let part = format!("{url}?part=own");
    let placed = || shown.placed(&servers, &part);
    let whole = || servers.section(placed().watch());
    Ok(html! {
        (shown.facts())
        (shown.proxies(url, None).own_part())
        (placed().answer(scene.request, || servers.cells(), whole))
    })
}

/// The last hour: of the fleet if there is one, unless somebody wants that of this proxy.
async fn hour(scene: &Scene<'_>, url: &str, has_fleet: bool) -> Result<Markup, Problem> {
    let wants_own = scene.request.asked("hour") == Some("own");
    let ids = ["charts".to_owned()];
    Ok(match has_fleet && !wants_own {
        true => html! {
            h2 { "The last hour of the fleet" }
            p class="hint" { a href={ (url) "?hour=own#charts" } { "That of this proxy alone" } }
            (fleet_hour(scene).await?)
            (live_by("sse:hour", &format!("{url}?part=hour"), &ids))
        },
        false => html! {
            h2 { "The last hour of this proxy" }
            @if has_fleet {
                p class="hint" { a href={ (url) "#charts" } { "That of the whole fleet" } }
            }
            (own_hour(scene).await?)
            (live_by("sse:sample", &format!("{url}?part=charts"), &ids))
        },
    })
}

async fn own_hour(scene: &Scene<'_>) -> Result<Markup, Problem> {
    let charts = charts::charts(&scene.show("SHOW PROXYHISTORY").await?);
    Ok(html! { div id="charts" { (charts) } })
}

async fn fleet_hour(scene: &Scene<'_>) -> Result<Markup, Problem> {
    let heard = scene.http.look.known(&scene.visitor.caller).await;
    let history = heard.map(|heard| heard.hour).unwrap_or_default();
    Ok(html! {
        div id="charts" {
            (charts::charts(&history))
            (charts::told_of(&history))
        }
    })
}

async fn shown(scene: &Scene<'_>, name: &str) -> Result<Shown, Problem> {
    let mut all = door::overview(scene.admin(), &scene.visitor.caller).await?;
    retain(&mut all.clusters, |row| row.text("name") == name);
    if all.clusters.rows.is_empty() {
        return Err(unknown(name));
    }
    retain(&mut all.servers, |row| row.text("cluster") == name);
    Ok(Shown { of: all, fleet: proxies::known(scene, name).await })
}

fn retain(table: &mut Table, is_wanted: impl Fn(&Row) -> bool) {
    let wanted: Vec<_> = table.rows().map(|row| is_wanted(&row)).collect();
    let mut wanted = wanted.into_iter();
    table.rows.retain(|_| wanted.next().unwrap_or_default());
}

/// For how long it is up is no event.
const OWN: &str = "sse:state, sse:topology, sse:task, sse:fleet, every 60s";

impl Shown {
    /// What watches over the servers, and over all else of this proxy.
    fn placed<'p>(&self, servers: &Servers<'_>, part: &'p str) -> Placed<'p> {
        let mut placed = servers.placed(part, OWN);
        placed.cells.push("facts".to_owned());
        placed.cells.extend(self.proxies(part, None).own_ids());
        placed
    }

    fn servers<'a>(
        &'a self,
        scene: &'a Scene<'a>,
        url: &'a str,
        why_not: Option<&'a str>,
    ) -> Servers<'a> {
        Servers { scene, table: &self.of.servers, url, why_not }
    }

    fn proxies<'a>(&'a self, url: &'a str, why_not: Option<&'a str>) -> Proxies<'a> {
        Proxies { fleet: &self.fleet, own: &self.of.proxies, url, why_not }
    }

    fn facts(&self) -> Markup {
        html! {
            @for cluster in self.of.clusters.rows() {
                p class="facts" id="facts" {
                    span { (self.running(&cluster)) }
                    span { (words::servers(&cluster)) " servers online" }
                    @let unknown = cluster.text("servers_unknown");
                    @if unknown != "0" { span { b { (unknown) } " not asked yet" } }
                    @let suspects = self.of.servers.rows().filter(is_suspect).count();
                    @if suspects > 0 {
                        span { (mark("suspect", &suspects.to_string())) " failed when last asked" }
                    }
                    @let of_another = self.task_of_another();
                    @let running = words::running_task(&cluster, of_another.as_ref());
                    @if let Some((id, path)) = running {
                        span { a href=(path) { "Task " (id) " is in progress" } }
                    }
                }
            }
        }
    }

    /// The restart that another proxy of the fleet does.
    fn task_of_another(&self) -> Option<(String, String)> {
        let Fleet::Members(members) = &self.fleet else { return None };
        tasks_of_others(members).into_iter().next()
    }

    /// How many proxies of the cluster run, of all.
    fn running(&self, cluster: &Row) -> Markup {
        let of_all = match &self.fleet {
            Fleet::Asking => return html! { "proxies are being asked" },
            Fleet::Members(members) => {
                let (some, all) = (running(members), members.rows.len());
                words::of_all(&some.to_string(), &all.to_string())
            }
            Fleet::None | Fleet::Unknown(_) => {
                words::of_all(cluster.text("proxies_running"), cluster.text("proxies"))
            }
        };
        html! { (of_all) " proxies running" }
    }
}

/// Whether a server takes sessions, and has not answered since it failed.
fn is_suspect(row: &Row) -> bool {
    row.text("state") == "suspect"
}

pub(super) fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("There is no cluster '{name}'."))
}
