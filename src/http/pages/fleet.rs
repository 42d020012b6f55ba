//! The dialog of a restart of the fleet, or of those of it that were ticked.

use hyper::StatusCode;
use maud::{Markup, html};
use serde_json::Value;

use super::choices::{self, Choices};
use super::frame::{
    Ways, csrf, follow, in_shell, is_about_ways, live_with_fleet, mark, refusal, ways_of,
};
use super::overview::unknown;
use super::proxies::Fleet;
use super::rehearsals::{self, Asked};
use super::scene::Scene;
use super::words;
use crate::admin::command::Change;
use crate::admin::command::fleet::Order;
use crate::admin::{Row, Table};
use crate::fleet::tasks::{Mode, Request};
use crate::http::fleet::{self, RUNNING, running};
use crate::http::reply::{Problem, Reply, see_other};
use crate::http::request::{Pairs, encoded, find};

/// How many other proxies take the clients of those that are restarted: what a load balancer in
/// front of them has left.
pub(super) fn others(ready: usize, all: usize) -> String {
    match (ready, all) {
        (0, 0) => "No other proxy of this cluster is known here: clients have only what is \
                   restarted."
            .to_owned(),
        (0, all) => format!(
            "None of the {all} other proxies of this cluster is ready: clients have only what is \
             restarted."
        ),
        (ready, all) => format!(
            "{ready} of {all} other proxies of this cluster {} ready, and can take new clients \
             meanwhile.",
            if ready == 1 { "is" } else { "are" }
        ),
    }
}

/// The same of those that are not this one; None: they are being asked.
pub(super) fn others_than_this(fleet: &Fleet) -> Option<String> {
    match fleet {
        Fleet::Asking => None,
        Fleet::None | Fleet::Unknown(_) => Some(others(0, 0)),
        Fleet::Members(members) => {
            let others_of = || members.rows().filter(|row| !fleet::is_local(row));
            let ready = others_of().filter(|row| row.text("state") == RUNNING).count();
            Some(others(ready, others_of().count()))
        }
    }
}

/// What the dialog has found out.
struct Dialog {
    cluster: String,
    url: String,
    /// Those that are to be restarted.
    proxies: Table,
    /// Their names, if they are not all.
    names: Vec<String>,
    /// How many others serve the cluster and are RUNNING, and how many there are.
    others: (usize, usize),
    /// The task that is in progress.
    busy: Option<String>,
    refusal: Option<String>,
    /// Why a restart would fail, as was rehearsed.
    objection: Option<String>,
}

/// The ids of what changes.
fn parts() -> Vec<String> {
    choices::and(["facts", "rehearsals"])
}

/// All of the fleet: a page that looks again is told what was heard a moment ago.
async fn members(scene: &Scene<'_>) -> Result<Table, Problem> {
    let caller = &scene.visitor.caller;
    if scene.looks_again()
        && let Some(heard) = scene.http.look.known(caller).await
    {
        return heard.proxies.map(|members| (*members).clone());
    }
    fleet::members(scene.admin(), caller).await
}

pub(super) async fn page(scene: &Scene<'_>, cluster: &str) -> Result<Reply, Problem> {
    let clusters = scene.clusters().await?;
    clusters.rows().find(|row| row.text("name") == cluster).ok_or_else(|| unknown(cluster))?;
    let (back, names) = (format!("/clusters/{}", encoded(cluster)), ticked(scene)?);
    let url = format!("{back}/restart");
    if is_about_ways(scene.request) {
        return Ok(ways_of(wish(&scene.request.query, cluster).map(|it| ways(scene, &url, it))));
    }
    let members = members(scene).await?;
    if members.rows.is_empty() {
        let text = "There is no fleet: the config has neither [[fleet.proxy]] nor fleet.dns.";
        return Err(Problem::not_found(text));
    }
    let serving = fleet::serving(members.clone(), cluster);
    let (names, proxies) = chosen(names, members, cluster)?;
    let of_others = fleet::tasks_of_others(&proxies).into_iter().next();
    let of_others = of_others.map(|(task, proxy)| format!("{task} of {proxy}"));
    let left = |all: usize, chosen: usize| all.saturating_sub(chosen);
    let others =
        (left(running(&serving), running(&proxies)), left(serving.rows.len(), proxies.rows.len()));
    let tasks = fleet::tasks(scene.admin(), &scene.visitor.caller).await?;
    let busy = tasks.rows().find(|row| row.text("state") == "IN_PROGRESS");
    let mut dialog = Dialog {
        cluster: cluster.to_owned(),
        url,
        proxies,
        names,
        others,
        busy: busy.map(|row| row.text("task_id").to_owned()).or(of_others),
        refusal: scene.refusal(),
        objection: None,
    };
    let said = scene.show(rehearsals::SHOW).await?;
    dialog.objection = dialog.asked().objection(&said);
    let (parts, why_nothing) = (parts(), dialog.why_nothing());
    let rehearsals = dialog.asked().section(scene, &said, why_nothing.as_deref(), &parts);
    let title = format!("Restart {}", words::proxies(dialog.proxies.rows.len()));
    let body = html! {
        nav class="crumbs" aria-label="Where this is" {
            a href="/clusters" { "Clusters" } " / " a href=(back) { (cluster) } " / Restart"
        }
        div class="dialog wide" role="group" aria-labelledby="title" {
            h1 id="title" { (title) }
            (dialog.facts())
            (refusal(dialog.refusal.as_deref()))
            (rehearsals)
            (dialog.form(scene, &back))
            (dialog.ways(scene).chosen())
        }
        (live_with_fleet(&dialog.asked().address(), &parts))
    };
    scene.page(&title, body).await
}

/// Those of the members that a task would be of, with the names that were ticked.
fn chosen(
    names: Vec<String>,
    members: Table,
    cluster: &str,
) -> Result<(Vec<String>, Table), Problem> {
    let has = |members: &Table, name: &str| members.rows().any(|row| row.text("name") == name);
    if let Some(name) = names.iter().find(|name| !has(&members, name)) {
        return Err(Problem::not_found(format!("The fleet has no proxy '{name}'.")));
    }
    let mut serving = fleet::serving(members, cluster);
    if let Some(name) = names.iter().find(|name| !has(&serving, name)) {
        let text = format!("{name} does not serve the cluster '{cluster}'.");
        return Err(Problem::new(StatusCode::CONFLICT, text));
    }
    if !names.is_empty() {
        let name = |row: &[Option<String>]| row.first().cloned().flatten();
        serving.rows.retain(|row| name(row).is_some_and(|name| names.contains(&name)));
    }
    match serving.rows.is_empty() {
        true => {
            let text = format!("No proxy of the fleet serves the cluster '{cluster}'.");
            Err(Problem::new(StatusCode::CONFLICT, text))
        }
        false => Ok((names, serving)),
    }
}

/// Names of those that were ticked; none: all are meant.
fn ticked(scene: &Scene<'_>) -> Result<Vec<String>, Problem> {
    let query = &scene.request.query;
    let names = query.iter().filter(|(key, _)| key == "proxy").map(|(_, name)| name.clone());
    let names: Vec<_> = names.collect();
    match names.is_empty() && scene.request.asked("ticked").is_some() {
        true => Err(Problem::bad("No proxy is ticked: go back, and tick those to be restarted.")),
        false => Ok(names),
    }
}

impl Dialog {
    fn facts(&self) -> Markup {
        html! {
            div id="facts" {
                ul class="members" {
                    @for row in self.proxies.rows() {
                        li {
                            b { (row.text("name")) }
                            " " (mark(row.text("state"), row.text("state")))
                            @if let Some(sessions) = row.value("sessions") {
                                " " (words::count(sessions, "session"))
                            }
                        }
                    }
                }
                @if let Some(others) = self.without_those_in_the_way() {
                    p { a href=(others.0) { "Leave out what is not RUNNING" } ": "
                        (words::proxies(others.1)) " would be restarted." }
                }
                p { (self.others()) }
            }
            p class="hint" {
                "First each rehearses it; if one refuses, nothing is restarted. The proxy that \
                 does it is the last, and its successor goes on."
            }
        }
    }

    /// Who takes clients meanwhile.
    fn others(&self) -> String {
        match (self.names.is_empty(), self.proxies.rows.len()) {
            (true, 2..) => "These are all proxies of this cluster: those that are not under way \
                            take new clients meanwhile."
                .to_owned(),
            _ => others(self.others.0, self.others.1),
        }
    }

    /// The dialog for those that may be restarted, if there are others; and how many they are.
    fn without_those_in_the_way(&self) -> Option<(String, usize)> {
        let mut address = format!("{}?ticked=yes", self.url);
        let good = self.proxies.rows().filter(|row| row.text("state") == RUNNING);
        for row in good {
            address.push_str("&proxy=");
            address.push_str(&encoded(row.text("name")));
        }
        let count = running(&self.proxies);
        (count > 0 && count < self.proxies.rows.len()).then_some((address, count))
    }

    /// All that it is about.
    fn asked(&self) -> Asked<'_> {
        let names = self.proxies.rows().map(|row| row.text("name").to_owned()).collect();
        Asked { url: &self.url, names, cluster: &self.cluster, chosen: &self.names }
    }

    /// Why nothing can be asked for.
    fn why_nothing(&self) -> Option<String> {
        let refusal = self.refusal.as_ref().map(|_| "it needs the role manager".to_owned());
        let busy = self.busy.as_ref().map(|task| format!("task {task} is in progress"));
        refusal.or(busy)
    }

    /// Why a choice is refused.
    fn why_not(&self, mode: Mode) -> Option<String> {
        let fits = |row: &Row| match mode {
            Mode::Restart => row.text("state") == RUNNING,
            Mode::Force => row.text("state") != "UNREACHABLE",
        };
        let other = self.proxies.rows().find(|row| !fits(row));
        let state = other.map(|row| format!("{} is {}", row.text("name"), row.text("state")));
        let objection = self.objection.clone().filter(|_| mode == Mode::Restart);
        self.why_nothing().or(state).or(objection)
    }

    fn form(&self, scene: &Scene<'_>, back: &str) -> Markup {
        let choices = Choices {
            soft: self.why_not(Mode::Restart),
            hard: self.why_not(Mode::Force),
            is_first_look: !scene.looks_again(),
        };
        let may_not = self.refusal.is_some();
        html! {
            form method="post" action=(self.url) {
                (csrf(scene.visitor))
                @if !self.names.is_empty() {
                    input type="hidden" name="proxies" value=(self.names.join(","));
                }
                (follow(&self.url))
                (choices.shown(html! {
                    p { "Clients notice nothing but a pause of milliseconds. What cannot move goes \
                         on in the old process until the exit timeout, and then gets error 1053." }
                }, html! {
                    p { "Every client of these proxies is cut off with error 1053, and open \
                         transactions are rolled back." }
                }))
                label for="batch" { "Proxies at a time" }
                input id="batch" name="batch" value="1" size="4" inputmode="numeric"
                    disabled[may_not];
                label for="canary" { "Canaries: proxies that are restarted before all others" }
                input id="canary" name="canary" value="1" size="4" inputmode="numeric"
                    disabled[may_not];
                label for="exit_timeout" { "Exit timeout of what cannot move" }
                input id="exit_timeout" name="exit_timeout" size="8" disabled[may_not];
                p class="hint" {
                    "Such as 30s or 5m; 0 cuts it off at once, -1 waits for ever; empty: as each \
                     proxy's config says."
                }
                label for="stop_on_failure" { "Stop at the first failure" }
                select id="stop_on_failure" name="stop_on_failure" disabled[may_not] {
                    option value="on" { "yes" }
                    option value="off" { "no" }
                }
                p class="buttons" {
                    (choices.go())
                    a class="quiet" href=(back) { "Cancel" }
                }
            }
        }
    }

    fn ways(&self, scene: &Scene<'_>) -> Ways {
        let cluster = Some(self.cluster.clone());
        let request = Request { cluster, proxies: self.names.clone(), ..Request::default() };
        ways(scene, &self.url, request)
    }
}

/// What is as it is without a word is left out.
fn ways(scene: &Scene<'_>, url: &str, request: Request) -> Ways {
    let usual = Request::default();
    let cluster = in_shell(request.cluster.as_deref().unwrap_or_default()).into_owned();
    let config = scene.config_path();
    let mut command = format!("odp restart --fleet --cluster {cluster} -c {}", in_shell(&config));
    let mut body = serde_json::json!({"mode": "restart"});
    let mut say = |option: &str, name: &str, value: Value| {
        command.push_str(option);
        body[name] = value;
    };
    if request.mode == Mode::Force {
        say(" --force", "mode", "force".into());
    }
    if request.batch != usual.batch {
        say(&format!(" --batch {}", request.batch), "batch", request.batch.into());
    }
    if request.canary != usual.canary {
        say(&format!(" --canary {}", request.canary), "canary", request.canary.into());
    }
    if let Some(timeout) = request.exit_timeout.map(|timeout| timeout.to_string()) {
        say(&format!(" --exit-timeout {timeout}"), "exit_timeout", timeout.into());
    }
    if !request.stop_on_failure {
        say(" --stop-on-failure=false", "stop_on_failure", false.into());
    }
    if !request.proxies.is_empty() {
        let only = |name: &String| format!(" --only {}", in_shell(name));
        let only: String = request.proxies.iter().map(only).collect();
        say(&only, "proxies", request.proxies.clone().into());
    }
    Ways {
        api: Some(("POST", format!("/api/v1{url}"), body.to_string())),
        sql: Change::Fleet(Order::Start(request)).to_string(),
        command,
    }
}

/// What is chosen in the form.
fn wish(form: &Pairs, cluster: &str) -> Result<Request, Problem> {
    let is_option = |name: &str| !matches!(name, "csrf" | "part");
    let is_said = |name: &str, value: &str| name == "proxies" || !value.is_empty();
    let said = form.iter().filter(|(name, value)| is_option(name) && is_said(name, value));
    let said: Vec<_> = said.cloned().collect();
    if !said.iter().any(|(name, _)| name == "mode") {
        return Err(Problem::bad("Choose Restart or Force Restart."));
    }
    Ok(Request { cluster: Some(cluster.to_owned()), ..fleet::request(&said)? })
}

/// Begins it, or has them asked.
pub(super) async fn act(scene: &Scene<'_>, cluster: &str) -> Result<Reply, Problem> {
    let form = scene.form()?;
    if find(&form, "mode") == Some("rehearse") {
        let url = format!("/clusters/{}/restart", encoded(cluster));
        return rehearsals::act(scene, cluster, &url).await;
    }
    let request = wish(&form, cluster)?;
    let id = scene.change(Change::Fleet(Order::Start(request))).await?;
    Ok(see_other(&format!("/tasks/{}", fleet::name(id))))
}
