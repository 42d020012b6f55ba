//! Restarts of the fleet: their list, `/tasks/fleet-N`, and `/tasks/fleet-N@PROXY` of those that
//! another proxy coordinates.

use maud::{Markup, html};

use super::frame::{self, Ways, button, csrf, in_shell, live, live_by, mark, refusal};
use super::scene::Scene;
use super::{tasks, words};
use crate::admin::command::Change;
use crate::admin::command::fleet::{Order, Word};
use crate::admin::{Row, Table};
use crate::http::fleet;
use crate::http::reply::{Problem, Reply, see_other};
use crate::http::request::encoded;

/// What may become of one: its word, what the button says, what that does, and in which states.
type Possible = (Word, &'static str, &'static str, &'static [&'static str]);

const ORDERS: &[Possible] = &[
    (
        Word::Stop,
        "Stop after this one",
        "What is under way is seen to its end; nothing more is begun.",
        &["IN_PROGRESS"],
    ),
    (
        Word::RollBack,
        "Roll back",
        "Those that were restarted are restarted into what they ran before.",
        &["IN_PROGRESS", "COMPLETED", "FAILED", "STOPPED"],
    ),
    (
        Word::Retry,
        "Retry",
        "It goes on from the proxy where it has failed or was stopped.",
        &["FAILED", "STOPPED"],
    ),
];

/// All of them, newest first, and who tells nothing of those that he coordinates.
pub(super) fn list(tasks: &Table, others: &Table) -> Markup {
    let silent =
        others.rows().filter_map(|row| Some((row.text("coordinator"), row.value("error")?)));
    html! {
        h2 { "Of the fleet" }
        @for (proxy, why) in silent {
            p class="note" { b { (proxy) } " does not tell of its tasks: " (why) "." }
        }
        @if !tasks.rows.is_empty() {
            table {
                thead { tr {
                    th { "Task" } th { "What" } th { "State" } th { "Stage" } th { "Proxies" }
                    th { "Done by" } th { "Asked by" } th { "Began" } th { "Ended" } th { "Detail" }
                } }
                tbody { @for row in tasks.rows() { (task(&row)) } }
            }
        }
    }
}

fn task(row: &Row) -> Markup {
    html! {
        tr {
            (tasks::first_cells(row))
            td data-label="Stage" { (row.text("stage")) }
            td data-label="Proxies" { (row.text("done")) " of " (row.text("proxies")) " done" }
            td data-label="Done by" { (row.value("coordinator").unwrap_or("this proxy")) }
            td data-label="Asked by" { (row.text("started_by")) }
            td data-label="Began" { (words::time(row.text("started_at"))) }
            td data-label="Ended" { (words::time(row.text("ended_at"))) }
            td data-label="Detail" class="long" { (row.text("detail")) }
        }
    }
}

/// What a task is called on pages.
pub(super) fn label(name: &str) -> String {
    match fleet::number_at(name) {
        Some((number, proxy)) => format!("{} of {proxy}", fleet::name(number)),
        None => name.to_owned(),
    }
}

fn outcome(row: &Row) -> Markup {
    let state = row.text("state");
    html! {
        p class="outcome" {
            (mark(state, words::state(state)))
            " " (row.text("done")) " of " (row.text("proxies")) " proxies done"
        }
        @if let Some(detail) = row.value("detail") { (frame::detail(state, detail)) }
        p class="hint" {
            "Asked by " (row.text("started_by")) " at " (words::time(row.text("started_at")))
            @if let Some(ended) = row.value("ended_at") { ", ended at " (words::time(ended)) }
            "."
        }
    }
}

/// One that another proxy coordinates.
pub(super) async fn at_another(
    scene: &Scene<'_>,
    name: &str,
    proxy: &str,
    number: u64,
) -> Result<Reply, Problem> {
    // A link from the console of another one.
    if scene.name() == proxy {
        return Ok(see_other(&format!("/tasks/{}", fleet::name(number))));
    }
    let label = label(name);
    let found = fleet::task_at(scene.admin(), &scene.visitor.caller, name).await?;
    let unknown = || Problem::not_found(format!("There is no task '{label}'."));
    let (task, steps) = found.ok_or_else(unknown)?;
    let row = task.rows().next().ok_or_else(unknown)?;
    let body = html! {
        (tasks::crumbs(&label))
        h1 { "Task " (label) ": " (words::mode(row.text("mode"))) " of the fleet" }
        div id="task" aria-live="polite" {
            (outcome(&row))
            p { b { (proxy) } " does it." }
            (phases(&steps))
            (orders_at(scene, proxy, number, &row))
        }
        (live_by("sse:look", &format!("/tasks/{}", encoded(name)), &["task".into()]))
    };
    scene.page(&format!("Task {label}"), body).await
}

/// What may become of one that another proxy coordinates: it has to be asked.
fn orders_at(scene: &Scene, proxy: &str, number: u64, task: &Row) -> Markup {
    let config = scene.admin().proxy.config();
    let listed = config.fleet.proxy.iter().find(|it| it.name == proxy);
    // By fleet.dns a name is an address.
    let address = listed.map_or_else(|| proxy.to_owned(), |it| it.address.to_string());
    html! {
        @for (word, text, explained, _) in possible(task) {
            @let refused = task.value("rollback_refused").filter(|_| *word == Word::RollBack);
            div class="below" id={ "order-" (path(*word)) "-" (task.text("state")) } hx-preserve {
                p {
                    b { (text) }
                    @match refused {
                        Some(why) => { ": " span class="why" { (why) } },
                        None => { ": to be asked at " (proxy) ", by its console or as below." }
                    }
                }
                p class="hint" { (explained) }
                @let sql = Change::Fleet(Order::Of(*word, Some(number))).to_string();
                (Ways::of(sql, &address).shown())
            }
        }
    }
}

/// What may become of a task as it stands.
fn possible(task: &Row) -> impl Iterator<Item = &'static Possible> {
    ORDERS.iter().filter(|(.., states)| states.contains(&task.text("state")))
}

pub(super) async fn page(scene: &Scene<'_>, name: &str, number: u64) -> Result<Reply, Problem> {
    let caller = &scene.visitor.caller;
    let all = fleet::tasks(scene.admin(), caller).await?;
    let row = tasks::found(&all, name)?;
    let steps = fleet::steps(scene.admin(), caller, number).await?;
    let (restarts, proxies) = (scene.show("SHOW RESTART").await?, scene.proxies().await?);
    let own = restarts.rows().find(|row| row.text("fleet_task").parse() == Ok(number));
    let mode = words::mode(row.text("mode"));
    let body = html! {
        (tasks::crumbs(name))
        h1 { "Task " (name) ": " (mode) " of the fleet" }
        div id="task" aria-live="polite" {
            (outcome(&row))
            @if let (Some(own), Some(now)) = (own, proxies.rows().next()) {
                (tasks::whereabouts(&own, &now))
            }
            (phases(&steps))
            (orders(scene, name, number, &row))
        }
        (live(&format!("/tasks/{name}"), &["task".into()]))
    };
    scene.page(&format!("Task {name}"), body).await
}

fn phases(steps: &Table) -> Markup {
    html! {
        table class="slim" {
            thead { tr {
                th { "Proxy" } th { "Stands" } th { "Phase" } th { "Began" } th { "Ended" }
                th { "Detail" }
            } }
            tbody {
                @for row in steps.rows() {
                    tr {
                        td data-label="Proxy" {
                            (row.text("proxy"))
                            @if row.text("coordinates") == "yes" {
                                " " span class="hint" { "does it, and is the last" }
                            }
                        }
                        td data-label="Stands" { (mark(row.text("state"), row.text("state"))) }
                        td data-label="Phase" { (row.text("phase")) }
                        td data-label="Began" { (words::time(row.text("begun_at"))) }
                        td data-label="Ended" { (words::time(row.text("ended_at"))) }
                        td data-label="Detail" class="long" { (row.text("detail")) }
                    }
                }
            }
        }
    }
}

fn orders(scene: &Scene<'_>, name: &str, number: u64, task: &Row) -> Markup {
    let refused = scene.refusal();
    let refused = refused.as_deref();
    let why_not = |word: Word| match word {
        Word::RollBack => refused.or(task.value("rollback_refused")),
        Word::Stop | Word::Retry => refused,
    };
    html! {
        (refusal(refused))
        @for (word, text, explained, _) in possible(task) {
            @let why_not = why_not(*word);
            @let standing = if why_not.is_some() { "refused" } else { task.text("state") };
            form class="below" method="post" action={ "/tasks/" (name) "/" (path(*word)) }
                id={ "order-" (path(*word)) "-" (standing) } hx-preserve {
                (csrf(scene.visitor))
                (button("quiet", text, why_not))
                p class="hint" { (explained) }
                (ways(scene, *word, name, number).shown())
            }
        }
    }
}

/// The last part of a path that gives an order.
fn path(word: Word) -> &'static str {
    Word::ALL.iter().find(|(_, it)| *it == word).map_or("", |(path, _)| path)
}

fn ways(scene: &Scene<'_>, word: Word, name: &str, number: u64) -> Ways {
    let config = scene.config_path();
    let config = in_shell(&config);
    Ways {
        sql: Change::Fleet(Order::Of(word, Some(number))).to_string(),
        api: Some(("POST", format!("/api/v1/tasks/{name}/{}", path(word)), String::new())),
        command: format!("odp restart --fleet -c {config} --{} {number}", path(word)),
    }
}

/// Gives an order.
pub(super) async fn act(
    scene: &Scene<'_>,
    name: &str,
    number: u64,
    what: &str,
) -> Result<Reply, Problem> {
    let word = Word::ALL.iter().find(|(path, _)| *path == what);
    let (_, word) = word.ok_or_else(|| Problem::not_found("There is no such form."))?;
    scene.change(Change::Fleet(Order::Of(*word, Some(number)))).await?;
    Ok(see_other(&format!("/tasks/{name}")))
}
