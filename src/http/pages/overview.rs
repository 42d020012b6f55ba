//! `/clusters/{c}`: the proxies that serve a cluster, and its servers, with what can be done.

use maud::{Markup, html};

use super::frame::{STATE, Ways, button, csrf, live_by, mark, refusal};
use super::proxies::{self, Fleet, Proxies};
use super::scene::Scene;
use super::{charts, words};
use crate::admin::command::Change;
use crate::admin::command::switchover::{Aim, Order};
use crate::admin::{Row, Table};
use crate::config::parameter::cluster::ServerChange;
use crate::http::door::{self, Changed, Overview};
use crate::http::fleet::{running, tasks_of_others};
use crate::http::reply::{Problem, Reply, see_other};
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
        Some(_) => return scene.part(async { Ok(shown(scene, name).await?.part(&url)) }).await,
        None => {}
    }
    let shown = shown(scene, name).await?;
    let why_not = scene.refusal();
    let has_fleet = matches!(shown.fleet, Fleet::Asking | Fleet::Members(_));
    // For how long it is up is no event.
    let own = format!("{STATE}, sse:task, sse:fleet, every 60s");
    let body = html! {
        nav class="crumbs" aria-label="Where this is" {
            a href="/clusters" { "Clusters" } " / " (name)
        }
        h1 { "Overview of " (name) }
        (shown.facts())
        (refusal(why_not.as_deref()))
        h2 { "OBProxies" }
        (shown.proxies(&url, why_not.as_deref()).section())
        h2 { "Servers" }
        (shown.servers(scene, &url, why_not.as_deref()))
        (hour(scene, &url, has_fleet).await?)
        (live_by(&own, &format!("{url}?part=own"), &shown.ids(&url)))
    };
    scene.page(name, body).await
}

/// What a look at the fleet has shown.
async fn fleet_part(scene: &Scene<'_>, name: &str, url: &str) -> Result<Markup, Problem> {
    let (shown, why_not) = (shown(scene, name).await?, scene.refusal());
    Ok(html! { (shown.facts()) (shown.proxies(url, why_not.as_deref()).section()) })
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

impl Shown {
    /// The ids of what changes.
    fn ids(&self, url: &str) -> Vec<String> {
        let all = 0..self.of.servers.rows.len();
        let servers = all.flat_map(|at| SERVER.map(|name| format!("s{at}-{name}")));
        let proxies = self.proxies(url, None).own_ids();
        std::iter::once("facts".to_owned()).chain(proxies).chain(servers).collect()
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
                    @let running = words::running_task(&cluster, of_another.as_deref());
                    @if let Some((id, path)) = running {
                        span { a href=(path) { "Task " (id) " is in progress" } }
                    }
                }
            }
        }
    }

    /// The restart that another proxy of the fleet does.
    fn task_of_another(&self) -> Option<String> {
        let Fleet::Members(members) = &self.fleet else { return None };
        tasks_of_others(members).into_iter().map(|(task, _)| task).next()
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

    fn servers(&self, scene: &Scene<'_>, url: &str, why_not: Option<&str>) -> Markup {
        html! {
            table {
                thead { tr {
                    th { "Server" } th { "Place" } th { "Weight" } th { "Role" } th { "State" }
                    th { "Behind" } th { "Connections" } th { "Last error" } th { "Actions" }
                } }
                tbody {
                    @for (at, row) in self.of.servers.rows().enumerate() {
                        tr {
                            td data-label="Server" { (row.text("server")) }
                            td data-label="Place" { (place(&row)) }
                            td data-label="Weight" { (row.text("weight")) }
                            (server(&row, at))
                            td data-label="Actions" { (orders(scene, &row, url, why_not)) }
                        }
                    }
                }
            }
        }
    }

    /// What changes, and nothing else.
    fn part(&self, url: &str) -> Markup {
        html! {
            (self.facts())
            (self.proxies(url, None).own_part())
            table {
                @for (at, row) in self.of.servers.rows().enumerate() { tr { (server(&row, at)) } }
            }
        }
    }
}

/// Whether a server takes sessions, and has not answered since it failed.
fn is_suspect(row: &Row) -> bool {
    row.text("state") == "suspect"
}

/// Cells of a server that change.
const SERVER: [&str; 5] = ["role", "state", "lag", "links", "error"];

fn server(row: &Row, at: usize) -> Markup {
    let id = |name: &str| format!("s{at}-{name}");
    let state = row.text("state");
    html! {
        td data-label="Role" id=(id("role")) { (row.text("role")) }
        td data-label="State" id=(id("state")) { (mark(state, words::server(state))) }
        td data-label="Behind" id=(id("lag")) {
            @match row.value("lag") {
                Some(lag) => { (lag) " s" }
                None => span class="hint" { "not known" },
            }
        }
        td data-label="Connections" id=(id("links")) { (row.text("links")) }
        td data-label="Last error" class="long" id=(id("error")) { (row.text("last_error")) }
    }
}

fn place(row: &Row) -> String {
    let place = [row.text("idc"), row.text("region")];
    place.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(", ")
}

fn orders(scene: &Scene<'_>, row: &Row, url: &str, why_not: Option<&str>) -> Markup {
    html! {
        details class="menu" {
            summary { "More" }
            div {
                @for (what, order, text, explained) in ORDERS {
                    (form(scene, row, url, (what, *order), (text, explained), why_not))
                }
                @if row.text("role") == "replica" {
                    @for force in [false, true] {
                        (switch_over(scene, row, url, (force, why_not)))
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
fn switch_over(
    scene: &Scene<'_>,
    row: &Row,
    url: &str,
    (force, why_not): (bool, Option<&str>),
) -> Markup {
    let (cluster, server) = (row.text("cluster"), row.text("server"));
    let (what, text, explained) = SWITCHOVERS[usize::from(force)];
    let fleet = has_fleet(scene);
    let change = switchover(scene, cluster, server, force);
    let mut body = serde_json::json!({"server": server});
    let option = if force { " --force" } else { "" };
    let by = match fleet {
        true => "--fleet -c /etc/odp/odp.toml".to_owned(),
        false => format!("-a {}", scene.admin().proxy.config().admin.listen),
    };
    for (name, is_wanted) in [("force", force), ("fleet", fleet)] {
        if is_wanted {
            body[name] = true.into();
        }
    }
    let path = format!("/api/v1/clusters/{}/switchover", encoded(cluster));
    let ways = Ways {
        sql: change.to_string(),
        api: Some(("POST", path, body.to_string())),
        command: format!("odp switchover {by}{option} {cluster} {server}"),
    };
    html! {
        form method="post" action={ (url) "/servers/" (encoded(server)) "/" (what) } {
            (csrf(scene.visitor))
            (button(if force { "danger" } else { "action" }, text, why_not))
            p class="hint" {
                (explained)
                @if fleet { " Clients of all proxies of the fleet wait." }
            }
            (ways.shown())
        }
    }
}

/// What its form asks for: where there is a fleet, all of it takes part.
fn switchover(scene: &Scene<'_>, cluster: &str, server: &str, force: bool) -> Change {
    let aim = Aim { address: server.into(), force };
    Change::SwitchOver(cluster.into(), Order::here(aim, has_fleet(scene)))
}

fn has_fleet(scene: &Scene<'_>) -> bool {
    !scene.admin().proxy.config().fleet.is_empty()
}

/// Without FORCE, and with it: the form's name, the button, what happens.
const SWITCHOVERS: [(&str, &str, &str); 2] = [
    (
        "switchover",
        "Switchover",
        "It becomes the primary: sessions wait between two transactions meanwhile, and go on \
         there. If one cannot move, nothing is changed.",
    ),
    (
        "switchover-force",
        "Force Switchover",
        "The same, but sessions that cannot move, or whose transaction does not end in time, stay \
         behind on the old primary, which takes no writes any more: those fail there.",
    ),
];

/// Drains a server, puts it back, or makes it the primary.
pub(super) async fn act(
    scene: &Scene<'_>,
    cluster: &str,
    server: &str,
    what: &str,
) -> Result<Reply, Problem> {
    let back = see_other(&format!("/clusters/{}", encoded(cluster)));
    if let Some(at) = SWITCHOVERS.iter().position(|(name, ..)| *name == what) {
        let change = switchover(scene, cluster, server, at == 1);
        return Ok(match scene.change_for_long(change).await? {
            Changed::Done => back,
            Changed::UnderWay(entry) => see_other(&format!("/audit/{}", encoded(&entry))),
        });
    }
    let order = ORDERS.iter().find(|(name, ..)| *name == what);
    let (_, order, ..) = order.ok_or_else(|| Problem::not_found("There is no such form."))?;
    scene.change(Change::AlterServer(cluster.into(), *order, server.into())).await?;
    Ok(back)
}

pub(super) fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("There is no cluster '{name}'."))
}
