//! The OBProxies of the Overview: this one, or all of the fleet that serve the cluster, to be
//! ticked and restarted.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::frame::{PROXIES, button, live_by, mark};
use super::placed::{self, Placed};
use super::scene::Scene;
use super::words;
use crate::admin::{Row, Table};
use crate::http::door::{self, LOCAL};
use crate::http::fleet::{self, RUNNING, UNREACHABLE, running};
use crate::http::reply::Problem;
use crate::http::request::{Request, encoded};

/// The fleet, as far as it is known.
pub(super) enum Fleet {
    /// There is none.
    None,
    /// Nobody has answered yet.
    Asking,
    /// It cannot be asked.
    Unknown(Problem),
    /// Those that serve the cluster.
    Members(Table),
}

/// What was heard of the proxies that serve a cluster.
pub(super) async fn known(scene: &Scene<'_>, cluster: &str) -> Fleet {
    let Some(heard) = scene.http.look.known(&scene.visitor.caller).await else {
        return Fleet::Asking;
    };
    match heard.proxies {
        Ok(members) if members.rows.is_empty() => Fleet::None,
        Ok(members) => Fleet::Members(fleet::serving((*members).clone(), cluster)),
        Err(problem) => Fleet::Unknown(problem),
    }
}

/// What it is made of.
pub(super) struct Proxies<'a> {
    pub fleet: &'a Fleet,
    /// The one that answers, as of [`door::proxies`].
    pub own: &'a Table,
    /// The address of the Overview.
    pub url: &'a str,
    /// Why this visitor may restart none.
    pub why_not: Option<&'a str>,
}

/// Cells of a proxy that change.
const CELLS: [&str; 8] =
    ["status", "version", "generation", "pid", "uptime", "sessions", "transactions", "last"];

/// The id of all of them.
const WHOLE: &str = "fleet";

/// The id of what watches over them.
const WATCH: &str = "fleet-watch";

/// More names are not told in one line.
const NAMED: usize = 4;

impl Proxies<'_> {
    /// All of it. What of it is this proxy's alone is kept up to date with the page.
    pub(super) fn section(&self) -> Markup {
        let part = format!("{}?part=fleet", self.url);
        let all = [WHOLE.to_owned()];
        html! {
            div id=(WHOLE) {
                @match self.fleet {
                    Fleet::None => (self.own_table()),
                    Fleet::Asking => {
                        (self.own_table())
                        p class="hint" { "The other proxies are being asked how they are." }
                        // Whatever comes first.
                        (live_by("sse:look, every 2s", &part, &all))
                    }
                    Fleet::Unknown(problem) => {
                        (self.own_table())
                        p class="problem" { (problem.detail) }
                        (live_by("sse:look", &part, &all))
                    }
                    Fleet::Members(members) => (self.members(members, &part)),
                }
            }
        }
    }

    /// What a page that looks again is told of the fleet.
    pub(super) fn part(&self, request: &Request) -> Markup {
        let part = format!("{}?part=fleet", self.url);
        let Fleet::Members(members) = self.fleet else {
            return match request.asked("rows") {
                Some(_) => placed::anew(WATCH, &part, WHOLE),
                None => self.section(),
            };
        };
        let cells = || {
            html! {
                (counts(members))
                table {
                    @for (at, row) in members.rows().enumerate() {
                        tr { (self.member_cells(&row, at)) }
                    }
                }
            }
        };
        placed(members, &part).answer(request, cells, || self.section())
    }

    /// The ids of what changes of this proxy where there is no fleet.
    pub(super) fn own_ids(&self) -> Vec<String> {
        match self.fleet {
            Fleet::Members(_) => Vec::new(),
            _ => ids("p", self.own.rows.len()).collect(),
        }
    }

    /// What changes of this proxy where there is no fleet, and nothing else.
    pub(super) fn own_part(&self) -> Markup {
        if let Fleet::Members(_) = self.fleet {
            return html! {};
        }
        html! {
            table {
                @for (at, row) in self.own.rows().enumerate() {
                    tr { (cells(&row, "p", at, true)) }
                }
            }
        }
    }

    fn own_table(&self) -> Markup {
        html! {
            table {
                (head())
                tbody {
                    @for (at, row) in self.own.rows().enumerate() {
                        tr {
                            td data-label="Name" { (row.text("name")) }
                            td data-label="Address" class="long" { (row.text("address")) }
                            (cells(&row, "p", at, true))
                            td data-label="Actions" { (self.actions(row.text("name"), true)) }
                        }
                    }
                }
            }
        }
    }

    fn members(&self, members: &Table, part: &str) -> Markup {
        html! {
            (counts(members))
            form method="get" action={ (self.url) "/restart" } {
                input type="hidden" name="ticked" value="yes";
                table class="slim" {
                    (head())
                    tbody {
                        @for (at, row) in members.rows().enumerate() { (self.member(&row, at)) }
                    }
                }
                p class="buttons sticky" {
                    (button("action", "Batch Restart", self.why_not))
                    (self.link(&format!("{}/restart", self.url), "Restart Cluster", None))
                }
                p class="hint" {
                    "Batch Restart is for those that are ticked. Nothing happens before the next \
                     page."
                }
            }
            (placed(members, part).watch())
        }
    }

    fn member(&self, row: &Row, at: usize) -> Markup {
        let (name, is_local) = (row.text("name"), fleet::is_local(row));
        let tick = format!("f{at}-tick");
        html! {
            tr {
                td data-label="Name" {
                    label for=(tick) {
                        input id=(tick) type="checkbox" name="proxy" value=(name)
                            disabled[self.why_not.is_some()] title=[self.why_not];
                        " " (name)
                    }
                    @if is_local { " " span class="hint" { "this one" } }
                }
                td data-label="Address" class="long" { (row.text("address").replace(',', ", ")) }
                (self.member_cells(row, at))
                td { (self.actions(name, is_local)) }
            }
        }
    }

    fn member_cells(&self, row: &Row, at: usize) -> Markup {
        let (heard, is_local) = (door::member(row), fleet::is_local(row));
        // This one is known without being asked.
        let shown = if is_local { self.own } else { &heard };
        html! { @for shown in shown.rows() { (cells(&shown, "f", at, is_local)) } }
    }

    fn actions(&self, name: &str, is_local: bool) -> Markup {
        let restart = match is_local {
            true => format!("{}/proxies/{LOCAL}/restart", self.url),
            false => format!("{}/restart?proxy={}", self.url, encoded(name)),
        };
        html! {
            details class="menu" {
                summary aria-label={ "More for " (name) } { "More" }
                div {
                    (self.link(&restart, "Restart", Some(name)))
                    a class="action" href="/tasks" { "Tasks" }
                }
            }
        }
    }

    /// To a dialog: for who may do what it is for.
    fn link(&self, url: &str, text: &str, of: Option<&str>) -> Markup {
        let label = of.map(|name| format!("{text} {name}"));
        html! {
            @match self.why_not {
                Some(_) => (button("action", text, self.why_not)),
                None => a class="action" href=(url) aria-label=[label] { (text) },
            }
        }
    }
}

/// What watches over the members.
fn placed<'p>(members: &Table, url: &'p str) -> Placed<'p> {
    let more = ["facts", "f-counts"].map(str::to_owned);
    let cells = ids("f", members.rows.len()).chain(more).collect();
    let names = members.rows().map(|row| format!("{} {}", row.text("name"), row.text("address")));
    let rows = placed::mark(names);
    Placed { whole: WHOLE, id: WATCH, url, trigger: PROXIES, cells, rows }
}

fn ids(prefix: &str, rows: usize) -> impl Iterator<Item = String> {
    (0..rows).flat_map(move |at| CELLS.map(|name| format!("{prefix}{at}-{name}")))
}

fn head() -> Markup {
    html! {
        thead { tr {
            th { "Name" } th { "Address" } th { "Status" } th { "Version" } th { "Generation" }
            th { "Process" } th { "Up for" } th { "Sessions" } th { "In transaction" }
            th { "Last restart" } th { "Actions" }
        } }
    }
}

/// How many are in each state, and the names of those that need somebody.
fn counts(members: &Table) -> Markup {
    let mut others: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in members.rows().filter(|row| row.text("state") != RUNNING) {
        others.entry(row.text("state")).or_default().push(row.text("name"));
    }
    html! {
        p class="facts" id="f-counts" {
            span {
                b { (running(members)) " of " (members.rows.len()) } " running"
            }
            @for (state, names) in &others {
                span {
                    (mark(state, &format!("{} {state}", names.len()))) " "
                    (names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", "))
                    @if names.len() > NAMED { " and " (names.len() - NAMED) " more" }
                }
            }
        }
    }
}

/// Of a row of [`door::proxies`]; tasks of others are told of by their own consoles.
fn cells(row: &Row, prefix: &str, at: usize, is_local: bool) -> Markup {
    let id = |name: &str| format!("{prefix}{at}-{name}");
    let status = row.text("status");
    html! {
        td data-label="Status" id=(id("status")) {
            (mark(status, status))
            @if let Some(why) = row.value("phase").or(row.value("error")) {
                " " span class="hint" { (why) }
            }
        }
        td data-label="Version" id=(id("version")) { (row.text("version")) }
        td data-label="Generation" id=(id("generation")) { (row.text("generation")) }
        td data-label="Process" id=(id("pid")) { (row.text("pid")) }
        td data-label="Up for" id=(id("uptime")) class="number"
            title=[row.value("started_at").map(|at| format!("since {}", words::time(at)))] {
            (words::span(row.text("uptime_s")))
        }
        td data-label="Sessions" id=(id("sessions")) { (row.text("sessions")) }
        td data-label="In transaction" id=(id("transactions")) { (row.text("in_transaction")) }
        td data-label="Last restart" id=(id("last")) { (last_restart(row, is_local)) }
    }
}

fn last_restart(row: &Row, is_local: bool) -> Markup {
    let Some(id) = row.value("last_restart") else {
        let word = if row.text("status") == UNREACHABLE { "not known" } else { "none yet" };
        return html! { span class="hint" { (word) } };
    };
    let state = row.text("last_restart_state");
    html! {
        @if is_local { a href={ "/tasks/" (id) } { "Task " (id) } " " }
        (mark(state, words::state(state)))
        (words::moved(row))
        div class="hint" { (words::time(row.text("last_restart_at"))) }
    }
}
