//! `/tasks` and `/tasks/{id}`: how restarts go, live.

use maud::{Markup, html};

use super::fleet_tasks;
use super::frame::{self, STATE, Ways, button, csrf, live_by, mark, refusal};
use super::scene::Scene;
use super::words;
use crate::admin::command::Change;
use crate::admin::{Row, Table};
use crate::http::fleet;
use crate::http::reply::{Problem, Reply, see_other};
use crate::http::request::encoded;
use crate::http::resource::marks;

/// Phases of a restart, in order, in words.
const PHASES: [(&str, &str); 10] = [
    ("PREFLIGHT", "Program and config are checked"),
    ("HELLO", "The new process has started"),
    ("WARM", "It reads its config and opens its ports"),
    ("LISTEN", "The listening sockets are handed over"),
    ("CANARY", "A first session moves"),
    ("SESSIONS", "All sessions move"),
    ("ACCEPT", "The new process takes new clients"),
    ("DRAIN", "What cannot move may go on until the exit timeout"),
    ("PROBATION", "The old process stands by, in case the new one dies"),
    ("COMMIT", "The old process leaves"),
];

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    if scene.request.asked("part").is_some() {
        return scene.part(shown(scene)).await;
    }
    let body = html! {
        h1 { "Tasks" }
        (shown(scene).await?)
        p class="hint" { "All that was asked for is in the " a href="/audit" { "audit" } "." }
        (live_by("sse:task, sse:fleet, sse:look", "/tasks?part=live", &["tasks".into()]))
    };
    scene.page("Tasks", body).await
}

async fn shown(scene: &Scene<'_>) -> Result<Markup, Problem> {
    let tasks = scene.show("SHOW RESTART").await?;
    let fleet = fleet::tasks(scene.admin(), &scene.visitor.caller).await?;
    let heard = scene.http.look.known(&scene.visitor.caller).await;
    let others = heard.map(|heard| heard.tasks).unwrap_or_default();
    let fleet = fleet::with_others(fleet, &others);
    Ok(html! {
        div id="tasks" {
            @if !fleet.rows.is_empty() || !others.rows.is_empty() {
                (fleet_tasks::list(&fleet, &others))
                h2 { "Of this proxy" }
            }
            @if tasks.rows().next().is_none() { p { "There was no restart yet." } }
            @else {
                table {
                    thead { tr {
                        th { "Task" } th { "What" } th { "State" } th { "Phase" } th { "Asked by" }
                        th { "Began" } th { "Took" } th { "Moved" } th { "Longest pause" }
                        th { "Detail" }
                    } }
                    tbody { @for row in tasks.rows() { (task(&row)) } }
                }
            }
        }
    })
}

fn task(row: &Row) -> Markup {
    html! {
        tr {
            (first_cells(row))
            td data-label="Phase" { (row.text("phase")) }
            td data-label="Asked by" { (asked_by(row)) (part_of(row)) }
            td data-label="Began" { (words::time(row.text("started_at"))) }
            td data-label="Took" { (words::elapsed(row.text("elapsed_ms"))) }
            td data-label="Moved" { (row.text("moved")) " of " (row.text("sessions")) }
            td data-label="Longest pause" {
                @if has_paused(row) { (words::pause(row.text("pause_max_us"))) }
            }
            td data-label="Detail" class="long" { (row.text("detail")) }
        }
    }
}

/// Whether a session stood still: in a rehearsal, or before anything moves, none does.
fn has_paused(row: &Row) -> bool {
    row.text("pause_max_us") != "0"
}

/// What a row of any task begins with.
pub(super) fn first_cells(row: &Row) -> Markup {
    let (id, state) = (row.text("task_id"), row.text("state"));
    html! {
        td data-label="Task" {
            a href={ "/tasks/" (encoded(id)) } { "Task " (fleet_tasks::label(id)) }
        }
        td data-label="What" { (words::mode(row.text("mode"))) }
        td data-label="State" { (mark(state, words::state(state))) }
    }
}

/// What the page of any task begins with.
pub(super) fn crumbs(id: &str) -> Markup {
    html! {
        nav class="crumbs" aria-label="Where this is" {
            a href="/tasks" { "Tasks" } " / Task " (id)
        }
    }
}

/// A task among others.
pub(super) fn found<'t>(tasks: &'t Table, id: &str) -> Result<Row<'t>, Problem> {
    let row = tasks.rows().find(|row| row.text("task_id") == id);
    row.ok_or_else(|| Problem::not_found(format!("There is no task '{id}'.")))
}

/// The task of the fleet that it is part of.
fn part_of(row: &Row) -> Markup {
    let name = row.text("fleet_task").parse().ok().map(fleet::name);
    html! {
        @if let Some(name) = name { " for " a href={ "/tasks/" (name) } { "Task " (name) } }
    }
}

/// Who has asked for it: a process of an older version did not say so.
fn asked_by(row: &Row) -> String {
    match row.text("started_by") {
        "" => "not known".to_owned(),
        who => who.to_owned(),
    }
}

pub(super) async fn one(scene: &Scene<'_>, id: &str) -> Result<Reply, Problem> {
    let tasks = scene.show("SHOW RESTART").await?;
    let row = found(&tasks, id)?;
    let proxies = scene.proxies().await?;
    let now = proxies.rows().next();
    let mode = words::mode(row.text("mode"));
    let body = html! {
        (crumbs(id))
        h1 { "Task " (id) ": " (mode) }
        div id="task" aria-live="polite" {
            (outcome(&row))
            @if let Some(now) = now { (whereabouts(&row, &now)) }
            (figures(&row))
            @if row.text("mode") != "REHEARSE" { (phases(&row)) }
            (roll_back_form(scene, &row))
        }
        (live_by(&format!("{STATE}, sse:task"), &format!("/tasks/{id}"), &["task".into()]))
    };
    scene.page(&format!("Task {id}"), body).await
}

fn outcome(row: &Row) -> Markup {
    let (state, detail) = (row.text("state"), row.text("detail"));
    html! {
        p class="outcome" {
            (mark(state, words::state(state)))
            " after " (words::elapsed(row.text("elapsed_ms")))
        }
        @if !detail.is_empty() { (frame::detail(state, detail)) }
        @if !row.text("fleet_task").is_empty() {
            p class="hint" { "It was done" (part_of(row)) "." }
        }
    }
}

/// Who serves this page, if that has to do with it.
pub(super) fn whereabouts(row: &Row, now: &Row) -> Markup {
    let (status, pid) = (now.text("status"), now.text("pid"));
    let is_successor = row.text("new_pid") == pid && row.text("state") == "COMPLETED";
    html! {
        p {
            "The proxy is " (mark(status, status)) "."
            @if is_successor {
                " This page is served by the new process now: generation "
                (now.text("generation")) ", process " (pid) "."
            }
        }
    }
}

fn figures(row: &Row) -> Markup {
    let process = match row.text("new_pid") {
        "0" => row.text("old_pid").to_owned(),
        successor => format!("{} → {successor}", row.text("old_pid")),
    };
    let mut rows = vec![
        ("Sessions", row.text("sessions").to_owned()),
        ("Moved", row.text("moved").to_owned()),
        ("Still in the old process", row.text("draining").to_owned()),
        ("Of those in a transaction", row.text("in_transaction").to_owned()),
        ("Disconnected", row.text("disconnected").to_owned()),
    ];
    if has_paused(row) {
        rows.extend([
            ("Half stood still for at most", words::pause(row.text("pause_p50_us"))),
            ("99 of 100 for at most", words::pause(row.text("pause_p99_us"))),
            ("The longest for", words::pause(row.text("pause_max_us"))),
        ]);
    }
    rows.extend([
        ("Asked by", asked_by(row)),
        ("Began", words::time(row.text("started_at"))),
        ("Process", process),
    ]);
    let moved = row.text("moved");
    let sessions = row.text("sessions");
    html! {
        @if sessions != "0" {
            label class="progress" {
                "Sessions that have moved"
                progress value=(moved) max=(sessions) { (moved) " of " (sessions) }
            }
        }
        dl class="figures" { @for (name, value) in rows { div { dt { (name) } dd { (value) } } } }
    }
}

/// Phases, with when they began, and how long those took that are over.
fn phases(row: &Row) -> Markup {
    let reached: Vec<_> = marks(row.text("phases_ms")).collect();
    let times = |name: &str| {
        let at = reached.iter().position(|(reached, _)| *reached == name)?;
        let (began, ended) = (reached[at].1, reached.get(at + 1).map(|(_, ended)| ended));
        let took = ended.map(|ended| ended.saturating_sub(began));
        Some((
            words::elapsed(&began.to_string()),
            took.map(|took| words::elapsed(&took.to_string())),
        ))
    };
    let at = PHASES.iter().position(|(name, _)| *name == row.text("phase")).unwrap_or(0);
    let state = row.text("state");
    let standing = |of: usize| match (of.cmp(&at), state) {
        (_, "COMPLETED") | (std::cmp::Ordering::Less, _) => ("done", "done"),
        (std::cmp::Ordering::Greater, _) => ("plain", "not begun"),
        (std::cmp::Ordering::Equal, "IN_PROGRESS") => ("asked", "now"),
        (std::cmp::Ordering::Equal, _) => ("refused", "ended here"),
    };
    html! {
        h2 { "Phases" }
        ol class="phases" {
            @for (of, (name, text)) in PHASES.iter().enumerate() {
                li {
                    (mark(standing(of).0, standing(of).1))
                    " " b { (name) } " " span { (text) }
                    @if let Some((began, took)) = times(name) {
                        " " span class="hint" {
                            "after " (began)
                            @if let Some(took) = took { ", took " (took) }
                        }
                    }
                }
            }
        }
    }
}

fn roll_back_form(scene: &Scene<'_>, row: &Row) -> Markup {
    let is_open = row.text("state") == "IN_PROGRESS" && row.text("mode") != "REHEARSE";
    let why_not = scene.refusal();
    let id = row.text("task_id");
    let admin = scene.admin().proxy.config().admin.listen.to_string();
    let mut ways = Ways::of(Change::Rollback.to_string(), &admin);
    ways.api = Some(("POST", format!("/api/v1/tasks/{id}/rollback"), String::new()));
    html! {
        @if is_open {
            (refusal(why_not.as_deref()))
            form method="post" action={ "/tasks/" (id) "/rollback" } id="order-rollback"
                hx-preserve {
                (csrf(scene.visitor))
                (button("quiet", "Roll back", why_not.as_deref()))
                p class="hint" { "Sessions go back to the old process, which serves on." }
                (ways.shown())
            }
        }
    }
}

pub(super) async fn roll_back(scene: &Scene<'_>, id: &str) -> Result<Reply, Problem> {
    let tasks = scene.show("SHOW RESTART").await?;
    if found(&tasks, id)?.text("state") != "IN_PROGRESS" {
        let text = format!("Task {id} is over: there is nothing to take back.");
        return Err(Problem::new(hyper::StatusCode::CONFLICT, text));
    }
    scene.change(Change::Rollback).await?;
    Ok(see_other(&format!("/tasks/{id}")))
}
