//! What would not move, in the dialogs of a restart; each of several is asked when somebody opens
//! theirs, once.

use std::time::SystemTime;

use maud::{Markup, html};
use serde_json::json;

use super::frame::{Ways, button, csrf, in_shell, live_by, mark, sent_at_once};
use super::scene::Scene;
use super::words;
use crate::admin::command::Change;
use crate::admin::command::fleet::Order;
use crate::admin::{Row, Table};
use crate::fleet::tasks::Request;
use crate::http::fleet::UNREACHABLE;
use crate::http::reply::{Problem, Reply, see_other};
use crate::http::request::{encoded, find};

/// An older rehearsal says too little of now, in seconds.
pub(super) const FRESH_S: u64 = 60;

/// Those that a dialog is about, and its address.
pub(super) struct Asked<'a> {
    pub url: &'a str,
    pub names: Vec<String>,
    pub cluster: &'a str,
    /// Their names, if they are not all.
    pub chosen: &'a [String],
}

impl Asked<'_> {
    /// Of the dialog that is about the same.
    pub(super) fn address(&self) -> String {
        match self.chosen {
            [] => self.url.to_owned(),
            chosen => {
                let ticked = chosen.iter().map(|name| format!("&proxy={}", encoded(name)));
                format!("{}?ticked=yes{}", self.url, ticked.collect::<String>())
            }
        }
    }

    /// What they have said, and what has them asked: a look at the page by somebody who may
    /// restart, unless they were asked a moment ago.
    pub(super) fn section(
        &self,
        scene: &Scene<'_>,
        said: &Table,
        why_not: Option<&str>,
        parts: &[String],
    ) -> Markup {
        let is_new = |row: &Row| age_s(row.text("started_at")) < FRESH_S;
        let knows = |name: &String| said.rows().any(|row| is_of(&row, name) && is_new(&row));
        let begins = !scene.looks_again() && why_not.is_none() && !self.names.iter().all(knows);
        html! {
            section id="rehearsals" aria-live="polite" {
                h2 { "Would every session move?" }
                (self.answers(said, parts))
                form method="post" action=(self.url) {
                    (csrf(scene.visitor))
                    input type="hidden" name="mode" value="rehearse";
                    input type="hidden" name="proxies" value=(self.names.join(","));
                    @if !self.chosen.is_empty() { input type="hidden" name="ticked" value="yes"; }
                    @if begins { (sent_at_once(self.url, parts)) }
                    (button("quiet", "Rehearse now", why_not))
                    (self.ways(scene).shown())
                }
            }
        }
    }

    fn ways(&self, scene: &Scene<'_>) -> Ways {
        let (cluster, proxies) = (Some(self.cluster.to_owned()), self.chosen.to_vec());
        let mut body = json!({"mode": "rehearse"});
        if !proxies.is_empty() {
            body["proxies"] = proxies.clone().into();
        }
        let request = Request { cluster, proxies, ..Request::default() };
        let only = |name: &String| format!(" --only {}", in_shell(name));
        let only: String = self.chosen.iter().map(only).collect();
        let (cluster, config) = (in_shell(self.cluster), scene.config_path());
        let config = in_shell(&config);
        Ways {
            sql: Change::Fleet(Order::Rehearse(request)).to_string(),
            api: Some(("POST", format!("/api/v1{}", self.url), body.to_string())),
            command: format!(
                "odp restart --fleet --cluster {cluster} -c {config} --rehearse{only}"
            ),
        }
    }

    /// Why a restart of all would fail: it is not begun if one of them would refuse.
    pub(super) fn objection(&self, said: &Table) -> Option<String> {
        let is_meant = |row: &Row| self.names.iter().any(|name| is_of(row, name));
        let found = said.rows().find(|row| is_meant(row) && is_against(row));
        found.map(|row| format!("{} would refuse: {}", row.text("proxy"), row.text("detail")))
    }

    /// It asks again as long as somebody has not answered, and then for all that it decides.
    fn answers(&self, said: &Table, parts: &[String]) -> Markup {
        let of = |name: &String| said.rows().find(|row| is_of(row, name));
        let are = |state: &str| {
            let rows = self.names.iter().filter_map(&of);
            rows.filter(|row| row.text("state") == state).count()
        };
        let (good, open) = (are("COMPLETED"), are("IN_PROGRESS"));
        html! {
            p {
                "Yes, say " b { (good) " of " (words::proxies(self.names.len())) }
                @if open > 0 { "; " (open) " being asked" } "."
            }
            ul class="members" {
                @for name in &self.names {
                    li {
                        b { (name) } " "
                        @match of(name) {
                            Some(row) if row.text("state") == UNREACHABLE => {
                                (mark(UNREACHABLE, "Unreachable"))
                                p class="detail" { (row.text("detail")) }
                            }
                            Some(row) => (shortly(&row)),
                            None => p {
                                "Not known yet: a rehearsal asks a new process, and moves nothing."
                            },
                        }
                    }
                }
            }
            @if open > 0 { (live_by("every 1s", &self.address(), parts)) }
        }
    }
}

/// What each has said last.
pub(super) const SHOW: &str = "SHOW FLEET REHEARSALS";

fn is_of(row: &Row, name: &str) -> bool {
    row.text("proxy") == name
}

/// Has them asked.
pub(super) async fn act(scene: &Scene<'_>, cluster: &str, url: &str) -> Result<Reply, Problem> {
    let form = scene.form()?;
    let names = find(&form, "proxies").unwrap_or_default();
    let names: Vec<_> = names.split(',').filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err(Problem::bad("proxies: expected the name of one at least"));
    }
    let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
    let (cluster, proxies) = (Some(cluster.to_owned()), names.clone());
    let request = Request { cluster, proxies, ..Request::default() };
    scene.change(Change::Fleet(Order::Rehearse(request))).await?;
    let ticked = names.iter().map(|name| format!("&proxy={}", encoded(name)));
    Ok(see_other(&match find(&form, "ticked") {
        Some(_) => format!("{url}?ticked=yes{}", ticked.collect::<String>()),
        None => url.to_owned(),
    }))
}

/// Sessions that would not move.
fn left(row: &Row) -> u64 {
    row.text("draining").parse().unwrap_or_default()
}

/// Whether a rehearsal of a moment ago says that a restart would fail. Sessions that cannot move
/// are no reason: they go on in the old process until the exit timeout.
fn is_against(row: &Row) -> bool {
    let has_failed = row.text("state") == "FAILED" && left(row) == 0;
    has_failed && age_s(row.text("started_at")) < FRESH_S
}

/// Why a restart of a proxy would fail.
pub(super) fn objection(row: &Row) -> Option<String> {
    is_against(row).then(|| format!("the rehearsal has failed: {}", row.text("detail")))
}

/// One of many: what there is to say of it only if that is in the way.
fn shortly(row: &Row) -> Markup {
    match row.text("state") {
        "IN_PROGRESS" | "COMPLETED" => answer(row),
        _ => verdict(row),
    }
}

/// How a rehearsal has ended, and why.
pub(super) fn verdict(row: &Row) -> Markup {
    let detail = row.text("detail");
    html! {
        p { (answer(row)) }
        @if !detail.is_empty() { p class="detail" { (detail) } }
        p class="hint" { "Rehearsed at " (words::time(row.text("started_at"))) "." }
    }
}

fn answer(row: &Row) -> Markup {
    let (state, left) = (row.text("state"), left(row));
    let (answer, words) = match state {
        "IN_PROGRESS" => ("Asking", "the rehearsal is under way".to_owned()),
        "COMPLETED" => ("Yes", words::count(row.text("moved"), "session")),
        _ if left == 0 => ("Not known", "the rehearsal has failed, because".to_owned()),
        _ => {
            let left = words::count(&left.to_string(), "session");
            ("No", format!("{left} cannot move, because"))
        }
    };
    html! { (mark(state, answer)) " " (words) }
}

pub(super) fn age_s(time: &str) -> u64 {
    let at = humantime::parse_rfc3339_weak(time).ok();
    let age = at.and_then(|at| SystemTime::now().duration_since(at).ok());
    age.map_or(0, |age| age.as_secs())
}
