//! The servers of the Overview, and what can be done with each.

use maud::{Markup, html};

use super::frame::{Ways, button, csrf, in_shell, mark};
use super::placed::{self, Placed};
use super::scene::Scene;
use super::words;
use crate::admin::command::Change;
use crate::admin::command::switchover::{Aim, Order};
use crate::admin::{Row, Table};
use crate::config::parameter::cluster::ServerChange;
use crate::http::door::Changed;
use crate::http::reply::{Problem, Reply, see_other};
use crate::http::request::encoded;

/// The id of the form that all orders are given by: what is said of servers is the same for all
/// who look, and the form is not.
const FORM: &str = "orders";

/// What they are shown with.
pub(super) struct Servers<'a> {
    pub scene: &'a Scene<'a>,
    /// SHOW PROXYROUTE, of the cluster.
    pub table: &'a Table,
    /// The address of the Overview.
    pub url: &'a str,
    /// Why this visitor may do nothing.
    pub why_not: Option<&'a str>,
}

impl Servers<'_> {
    /// What watches over them, and over what changes with them.
    pub(super) fn placed<'p>(&self, url: &'p str, trigger: &'p str) -> Placed<'p> {
        let all = 0..self.table.rows.len();
        let cells = all.flat_map(|at| CELLS.map(|name| format!("s{at}-{name}"))).collect();
        let texts = self.table.rows().flat_map(|row| {
            let state = if is_draining(&row) { "draining" } else { "" };
            let columns = ["server", "idc", "region", "weight", "role"];
            columns.map(|column| row.text(column).to_owned()).into_iter().chain([state.to_owned()])
        });
        let rows = placed::mark(texts);
        Placed { whole: "servers", id: "servers-watch", url, trigger, cells, rows }
    }

    /// All of it; `watch` stands in it.
    pub(super) fn section(&self, watch: Markup) -> Markup {
        html! {
            div id="servers" {
                table {
                    thead { tr {
                        th { "Server" } th { "Place" } th { "Weight" } th { "Role" } th { "State" }
                        th { "Behind" } th { "Connections" } th { "Last error" } th { "Actions" }
                    } }
                    tbody {
                        @for (at, row) in self.table.rows().enumerate() {
                            tr {
                                td data-label="Server" { (row.text("server")) }
                                td data-label="Place" { (place(&row)) }
                                td data-label="Weight" { (row.text("weight")) }
                                (cells(&row, at))
                                td data-label="Actions" { (self.orders(&row)) }
                            }
                        }
                    }
                }
                (watch)
            }
        }
    }

    /// What changes of them, and nothing else.
    pub(super) fn cells(&self) -> Markup {
        html! {
            table {
                @for (at, row) in self.table.rows().enumerate() { tr { (cells(&row, at)) } }
            }
        }
    }

    /// What the orders are given by; stands outside of what is the same for all.
    pub(super) fn form(&self) -> Markup {
        html! {
            form id=(FORM) method="post" action=(self.url) { (csrf(self.scene.visitor)) }
        }
    }

    fn orders(&self, row: &Row) -> Markup {
        html! {
            details class="menu" {
                summary aria-label={ "More for " (row.text("server")) } { "More" }
                div {
                    @for (what, order, text, explained) in ORDERS {
                        (self.order(row, (what, *order), (text, explained)))
                    }
                    @if row.text("role") == "replica" {
                        @for force in [false, true] { (self.switchover(row, force)) }
                    }
                }
            }
        }
    }

    fn order(
        &self,
        row: &Row,
        (what, order): (&str, ServerChange),
        (text, explained): (&str, &str),
    ) -> Markup {
        let (cluster, server) = (row.text("cluster"), row.text("server"));
        let already = match (order, is_draining(row)) {
            (ServerChange::Drain, true) => Some("it is draining"),
            (ServerChange::Online, false) => Some("it is not draining"),
            _ => None,
        };
        let sql = Change::AlterServer(cluster.into(), order, server.into()).to_string();
        let admin = self.scene.admin().proxy.config().admin.listen.to_string();
        let mut ways = Ways::of(sql, &admin);
        let path =
            format!("/api/v1/servers/{}/{what}?cluster={}", encoded(server), encoded(cluster));
        ways.api = Some(("POST", path, String::new()));
        html! {
            div {
                (self.button(row, what, ("action", text), self.why_not.or(already)))
                p class="hint" { (explained) }
                (ways.shown())
            }
        }
    }

    /// What makes a replica the primary.
    fn switchover(&self, row: &Row, force: bool) -> Markup {
        let (cluster, server) = (row.text("cluster"), row.text("server"));
        let (what, text, explained) = SWITCHOVERS[usize::from(force)];
        let fleet = has_fleet(self.scene);
        let change = switchover(self.scene, cluster, server, force);
        let mut body = serde_json::json!({"server": server});
        let option = if force { " --force" } else { "" };
        let by = match fleet {
            true => format!("--fleet -c {}", in_shell(&self.scene.config_path())),
            false => format!("-a {}", self.scene.admin().proxy.config().admin.listen),
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
            command: format!("odp switchover {by}{option} {} {server}", in_shell(cluster)),
        };
        let class = if force { "danger" } else { "action" };
        html! {
            div {
                (self.button(row, what, (class, text), self.why_not))
                p class="hint" {
                    (explained)
                    @if fleet { " Clients of all proxies of the fleet wait." }
                }
                (ways.shown())
            }
        }
    }

    /// Gives an order; one that is refused says why.
    fn button(
        &self,
        row: &Row,
        what: &str,
        (class, text): (&str, &str),
        why_not: Option<&str>,
    ) -> Markup {
        let action = format!("{}/servers/{}/{what}", self.url, encoded(row.text("server")));
        html! {
            @match why_not {
                Some(_) => (button(class, text, why_not)),
                None => button class=(class) form=(FORM) formaction=(action) { (text) },
            }
        }
    }
}

/// Cells of a server that change.
const CELLS: [&str; 5] = ["role", "state", "lag", "links", "error"];

fn cells(row: &Row, at: usize) -> Markup {
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

fn is_draining(row: &Row) -> bool {
    row.text("state") == "draining"
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

/// What is asked for: where there is a fleet, all of it takes part.
fn switchover(scene: &Scene<'_>, cluster: &str, server: &str, force: bool) -> Change {
    let aim = Aim { address: server.into(), force };
    Change::SwitchOver(cluster.into(), Order::here(aim, has_fleet(scene)))
}

fn has_fleet(scene: &Scene<'_>) -> bool {
    !scene.admin().proxy.config().fleet.is_empty()
}

/// Without FORCE, and with it: the last part of the path, the button, what happens.
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
