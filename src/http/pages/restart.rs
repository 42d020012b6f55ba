//! The dialog of a restart: what each choice does, what is refused and why, and what would not
//! move.

use maud::{Markup, html};

use super::choices::{self, Choices};
use super::frame::{
    Ways, button, csrf, follow, is_about_ways, live_with_fleet, mark, refusal, sent_at_once,
    ways_of,
};
use super::overview::unknown;
use super::rehearsals::{FRESH_S, age_s, objection, verdict};
use super::scene::Scene;
use super::{fleet, proxies, words};
use crate::admin::command::Change;
use crate::admin::{Row, Table};
use crate::http::api::operation::exit_timeout;
use crate::http::door::LOCAL;
use crate::http::reply::{Problem, Reply, see_other};
use crate::http::request::{Pairs, encoded, find};
use crate::restart::task::{Mode, Request};

/// The ids of what changes.
fn parts() -> Vec<String> {
    choices::and(["facts", "rehearsal"])
}

/// What the dialog has found out.
struct Dialog<'a> {
    proxy: Row<'a>,
    url: String,
    restarts: &'a Table,
    /// What takes clients meanwhile; None: that is being found out.
    others: Option<String>,
    timeout: String,
    /// Why nothing can be done by this visitor.
    refusal: Option<String>,
}

pub(super) async fn page(scene: &Scene<'_>, cluster: &str, name: &str) -> Result<Reply, Problem> {
    if is_about_ways(scene.request) {
        return Ok(ways_of(wish(&scene.request.query).map(|it| ways(scene, name, it))));
    }
    let clusters = scene.clusters().await?;
    clusters.rows().find(|row| row.text("name") == cluster).ok_or_else(|| unknown(cluster))?;
    let proxies = scene.proxies().await?;
    let proxy = proxies.rows().find(|row| row.text("name") == name);
    let proxy = proxy.ok_or_else(|| no_proxy(name))?;
    let restarts = scene.show("SHOW RESTART").await?;
    let sql = "SHOW PROXYCONFIG LIKE 'hot\\_upgrade\\_exit\\_timeout'";
    let timeout = scene.show(sql).await?;
    let dialog = Dialog {
        proxy,
        url: format!("/clusters/{}/proxies/{}/restart", encoded(cluster), encoded(name)),
        restarts: &restarts,
        others: fleet::others_than_this(&proxies::known(scene, cluster).await),
        timeout: timeout.rows().next().map_or("30s", |row| row.text("value")).to_owned(),
        refusal: scene.refusal(),
    };
    let back = format!("/clusters/{}", encoded(cluster));
    let title = format!("Restart {}", scene.name());
    let body = html! {
        nav class="crumbs" aria-label="Where this is" {
            a href="/clusters" { "Clusters" } " / " a href=(back) { (cluster) } " / Restart"
        }
        div class="dialog" role="group" aria-labelledby="title" {
            h1 id="title" { (title) }
            (dialog.facts())
            (refusal(dialog.refusal.as_deref()))
            (dialog.rehearsal(scene))
            (dialog.form(scene, &back))
            (dialog.ways(scene).chosen())
        }
        (live_with_fleet(&dialog.url, &parts()))
    };
    scene.page(&title, body).await
}

impl Dialog<'_> {
    fn facts(&self) -> Markup {
        let (proxy, status) = (&self.proxy, self.proxy.text("status"));
        html! {
            div id="facts" {
                p class="facts" {
                    span { (mark(status, status)) }
                    span { "version " b { (proxy.text("version")) } }
                    span { b { (words::count(proxy.text("sessions"), "session")) } }
                    span { b { (proxy.text("in_transaction")) } " in a transaction" }
                }
                p {
                    @match &self.others {
                        Some(others) => (others),
                        None => "The other proxies of this cluster are being asked how they are.",
                    }
                }
            }
        }
    }

    /// Why a choice is refused.
    fn why_not(&self, mode: Mode) -> Option<String> {
        let status = self.proxy.text("status");
        let running = self
            .restarts
            .rows()
            .find(|row| row.text("state") == "IN_PROGRESS" && row.text("mode") != "REHEARSE");
        let busy = running.map(|row| format!("task {} is in progress", row.text("task_id")));
        let state = match (mode, status) {
            (_, "RUNNING") | (Mode::Force, "OFFLINE") => None,
            (Mode::Force, _) => Some(format!("the proxy is {status}")),
            (_, _) => Some(format!("a restart begins from RUNNING, and the proxy is {status}")),
        };
        let refusal = self.refusal.as_ref().map(|_| "it needs the role manager".to_owned());
        let rehearsed = (mode == Mode::Restart).then(|| self.last_rehearsal()).flatten();
        refusal.or(busy).or(state).or(rehearsed.and_then(|row| objection(&row)))
    }

    fn last_rehearsal(&self) -> Option<Row<'_>> {
        self.restarts.rows().find(|row| row.text("mode") == "REHEARSE")
    }

    /// What would not move.
    fn rehearsal(&self, scene: &Scene<'_>) -> Markup {
        let last = self.last_rehearsal();
        let why_not = self.why_not(Mode::Rehearse);
        let is_fresh = last.is_some_and(|row| age_s(row.text("started_at")) < FRESH_S);
        // A look at this page by somebody who may restart is worth a rehearsal. The page that looks
        // again by itself, with each event, would ask for one in the middle of the other.
        let begins = !scene.looks_again() && !is_fresh && why_not.is_none();
        html! {
            section id="rehearsal" aria-live="polite" {
                h2 { "Would every session move?" }
                @match last {
                    Some(row) => (verdict(&row)),
                    None => p {
                        "Not known yet: a rehearsal asks a new process, and moves nothing."
                    },
                }
                form method="post" action=(self.url) {
                    (csrf(scene.visitor))
                    input type="hidden" name="mode" value="rehearse";
                    @if begins { (sent_at_once(&self.url, &parts())) }
                    (button("quiet", "Rehearse now", why_not.as_deref()))
                    (self.ways_to_rehearse(scene).shown())
                }
            }
        }
    }

    fn form(&self, scene: &Scene<'_>, back: &str) -> Markup {
        let choices = Choices {
            soft: self.why_not(Mode::Restart),
            hard: self.why_not(Mode::Force),
            is_first_look: !scene.looks_again(),
        };
        html! {
            form method="post" action=(self.url) {
                (csrf(scene.visitor))
                (follow(&self.url))
                (choices.shown(self.soft(), self.hard()))
                label for="exit_timeout" { "Exit timeout of what cannot move" }
                input id="exit_timeout" name="exit_timeout" value=(self.timeout) size="8"
                    disabled[self.refusal.is_some()];
                p class="hint" { "Such as 30s or 5m; 0 cuts it off at once, -1 waits for ever." }
                p class="buttons" {
                    (choices.go())
                    a class="quiet" href=(back) { "Cancel" }
                }
            }
        }
    }

    fn soft(&self) -> Markup {
        // One that has failed, or had nobody to move, says nothing of that.
        let has_moved = !matches!(self.proxy.text("last_restart_moved"), "" | "0");
        let last = match self.proxy.value("last_restart_pause_max_us").filter(|_| has_moved) {
            Some(pause) => format!(
                " In the last restart {} moved, and none stood still for longer than {}.",
                words::count(self.proxy.text("last_restart_moved"), "session"),
                words::pause(pause)
            ),
            None => String::new(),
        };
        html! {
            p { "Clients notice nothing but a pause of milliseconds: each session moves to the \
                 new process, with its transaction. What cannot move goes on in the old process \
                 until the exit timeout, and then gets error 1053." (last) }
        }
    }

    fn hard(&self) -> Markup {
        html! {
            p { "Every client is cut off at once with error 1053, and open transactions are \
                 rolled back." }
        }
    }

    fn ways_to_rehearse(&self, scene: &Scene<'_>) -> Ways {
        ways(scene, self.proxy.text("name"), Request::of(Mode::Rehearse))
    }

    fn ways(&self, scene: &Scene<'_>) -> Ways {
        let exit_timeout = exit_timeout(&self.timeout).ok();
        let request = Request { exit_timeout, ..Request::of(Mode::Restart) };
        ways(scene, self.proxy.text("name"), request)
    }
}

fn ways(scene: &Scene<'_>, name: &str, request: Request) -> Ways {
    let admin = scene.admin().proxy.config().admin.listen.to_string();
    let timeout = request.exit_timeout.map(|timeout| timeout.to_string());
    let (mode, option) = match request.mode {
        Mode::Restart | Mode::Unknown => ("restart", ""),
        Mode::Force => ("force", " --force"),
        Mode::Rehearse => ("rehearse", " --rehearse"),
    };
    let mut body = serde_json::json!({"mode": mode});
    let mut command = format!("odp restart -a {admin}{option}");
    if let Some(timeout) = timeout {
        command.push_str(&format!(" --exit-timeout {timeout}"));
        body["exit_timeout"] = timeout.into();
    }
    let path = format!("/api/v1/proxies/{}/restart", encoded(name));
    Ways {
        sql: Change::Restart(request).to_string(),
        api: Some(("POST", path, body.to_string())),
        command,
    }
}

/// What is chosen in the form.
fn wish(form: &Pairs) -> Result<Request, Problem> {
    let timeout = find(form, "exit_timeout").filter(|text| !text.is_empty());
    let exit_timeout = timeout.map(exit_timeout).transpose()?;
    let mode = match find(form, "mode") {
        Some("restart") => Mode::Restart,
        Some("force") => Mode::Force,
        Some("rehearse") => Mode::Rehearse,
        _ => return Err(Problem::bad("Choose Restart or Force Restart.")),
    };
    Ok(Request { exit_timeout, ..Request::of(mode) })
}

/// Restarts it, or rehearses that.
pub(super) async fn act(scene: &Scene<'_>, cluster: &str, name: &str) -> Result<Reply, Problem> {
    if name != LOCAL {
        return Err(no_proxy(name));
    }
    let request = wish(&scene.form()?)?;
    let mode = request.mode;
    let task = scene.change(Change::Restart(request)).await?;
    Ok(see_other(&match mode {
        Mode::Rehearse => {
            format!("/clusters/{}/proxies/{}/restart", encoded(cluster), encoded(name))
        }
        Mode::Restart | Mode::Force | Mode::Unknown => format!("/tasks/{task}"),
    }))
}

fn no_proxy(name: &str) -> Problem {
    Problem::not_found(format!("There is no proxy '{name}'."))
}
