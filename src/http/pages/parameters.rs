//! `/parameters`: what is in force, and altering it.

use maud::{Markup, html};

use super::frame::{self, Choice, Ways, button, csrf, refusal};
use super::scene::Scene;
use super::words;
use crate::admin::Row;
use crate::admin::command::Change;
use crate::http::door;
use crate::http::reply::{Problem, Reply, see_other};
use crate::http::request::{Pairs, encoded, find};

/// Which of them are shown.
const ONLY: [(&str, &str); 4] = [
    ("", "all"),
    ("diff", "not as in the file"),
    ("set", "not the default"),
    ("restart", "that need a restart"),
];

pub(super) async fn page(scene: &Scene<'_>) -> Result<Reply, Problem> {
    let all = door::parameters(scene.admin(), &scene.visitor.caller).await?;
    let wanted = scene.request.asked("q").unwrap_or_default();
    let only = scene.request.asked("only").unwrap_or_default();
    let edited = scene.request.asked("edit");
    let edited = edited.and_then(|name| all.rows().find(|row| row.text("name") == name));
    let is_wanted = |row: &Row| {
        let is_found = [row.text("name"), row.text("info")].iter().any(|it| it.contains(wanted));
        let is_one = match only {
            "diff" => is_altered(row),
            "set" => row.text("value") != row.text("default_value"),
            "restart" => needs_restart(row),
            _ => true,
        };
        is_found && is_one
    };
    let found: Vec<_> = all.rows().filter(is_wanted).collect();
    let altered = all.rows().filter(is_altered).count();
    let why_not = scene.refusal();
    if frame::is_about_ways(scene.request) {
        return Ok(frame::ways_of(changed(&scene.request.query).map(|it| ways(scene, it))));
    }
    let body = html! {
        h1 { "Parameters" }
        (refusal(why_not.as_deref()))
        @for trouble in door::troubles(scene.admin()) { p class="note bad" { (trouble) "." } }
        @if let Some(row) = edited {
            (form(scene, &row, wanted, why_not.as_deref()))
        }
        p {
            @if altered == 0 { "All are as in the file." }
            @else {
                a href="/parameters?only=diff" { (altered) " not as in the file" }
                ", altered while the proxy ran."
            }
        }
        (filter(wanted, only))
        p class="hint" { (found.len()) " of " (all.rows().count()) }
        table {
            thead { tr {
                th { "Name" } th { "Value" } th { "In the file" } th { "Default" }
                th { "What it does" } th { "Values" } th { "Change" }
            } }
            tbody { @for row in &found { (parameter(row, wanted, why_not.as_deref())) } }
        }
    };
    scene.still("Parameters", body).await
}

fn filter(wanted: &str, only: &str) -> Markup {
    let only = Choice { label: "Only", name: "only", options: &ONLY, chosen: only };
    frame::filter("/parameters", wanted, &[only])
}

/// Whether it is not what the file says.
fn is_altered(row: &Row) -> bool {
    row.value("in_file").unwrap_or_default() != row.text("value")
}

fn needs_restart(row: &Row) -> bool {
    row.text("need_reboot") == "True"
}

fn parameter(row: &Row, wanted: &str, why_not: Option<&str>) -> Markup {
    let name = row.text("name");
    let (value, default) = (row.text("value"), row.text("default_value"));
    html! {
        tr {
            td data-label="Name" class="long" { (words::breakable(name)) }
            td data-label="Value" class="long" {
                (shown(value))
                @if is_altered(row) {
                    " " span class="mark busy" { "changed live" }
                    @if let Some(by) = row.value("changed_by") {
                        div class="hint" {
                            "by " (by) ", " (words::time(row.text("changed_at")))
                            @if row.text("shared") == "not yet" { "; not shared yet" }
                        }
                    }
                }
            }
            (beside("In the file", row.text("in_file"), is_altered(row)))
            (beside("Default", default, value != default))
            td data-label="What it does" class="long" { (row.text("info")) }
            td data-label="Values" class="long" { span class="hint" { (row.text("range")) } }
            td data-label="Change" {
                @if needs_restart(row) {
                    span class="hint" { "in the file, then restart" }
                } @else if why_not.is_some() {
                    span class="hint" { "needs manager" }
                } @else {
                    a href={ "/parameters?edit=" (encoded(name)) "&q=" (encoded(wanted)) "#edit" } {
                        "Edit" span class="unseen" { " " (name) }
                    }
                }
            }
        }
    }
}

/// What else a value could be.
fn beside(label: &str, other: &str, differs: bool) -> Markup {
    html! {
        @if differs { td data-label=(label) class="long" { (shown(other)) } }
        @else { td data-label=(label) class="same" { span class="hint" { "the same" } } }
    }
}

fn shown(value: &str) -> Markup {
    html! {
        @if value.is_empty() { span class="hint" { "empty" } } @else { code { (value) } }
    }
}

fn form(scene: &Scene<'_>, row: &Row, wanted: &str, why_not: Option<&str>) -> Markup {
    let (name, value) = (row.text("name"), row.text("value"));
    let fixed =
        needs_restart(row).then_some("it is changed in the file, and counts after a restart");
    html! {
        form class="dialog" id="edit" method="post" action="/parameters" {
            h2 { "Change " (name) }
            p { (row.text("info")) }
            (csrf(scene.visitor))
            (frame::follow("/parameters"))
            input type="hidden" name="name" value=(name);
            input type="hidden" name="q" value=(wanted);
            p class="hint" {
                "In the file: " (shown(row.text("in_file"))) ". Default: "
                (shown(row.text("default_value"))) "."
            }
            label for="value" { "Value" }
            input id="value" name="value" value=(value) autofocus autocomplete="off"
                disabled[why_not.or(fixed).is_some()];
            p class="hint" { (row.text("range")) }
            p class="buttons" {
                (button("main", "Change", why_not.or(fixed)))
                a class="quiet" href={ "/parameters?q=" (encoded(wanted)) } { "Cancel" }
            }
            (ways(scene, (name.to_owned(), value.to_owned())).chosen())
        }
    }
}

fn ways(scene: &Scene<'_>, (name, value): (String, String)) -> Ways {
    let body = serde_json::json!({&name: &value}).to_string();
    let change = Change::Alter(vec![(name, value)]);
    let admin = scene.admin().proxy.config().admin.listen.to_string();
    let api = Some(("PATCH", "/api/v1/parameters".to_owned(), body));
    Ways { api, ..Ways::of(change.to_string(), &admin) }
}

/// The parameter and its value that a form has.
fn changed(form: &Pairs) -> Result<(String, String), Problem> {
    let field = |name| find(form, name).unwrap_or_default().to_owned();
    let (name, value) = (field("name"), field("value"));
    // An order, and no parameter.
    match name.is_empty() || name.eq_ignore_ascii_case("proxy_local_cmd") {
        true => Err(Problem::bad("expected the name of a parameter")),
        false => Ok((name, value)),
    }
}

pub(super) async fn act(scene: &Scene<'_>) -> Result<Reply, Problem> {
    let form = scene.form()?;
    scene.change(Change::Alter(vec![changed(&form)?])).await?;
    let wanted = find(&form, "q").unwrap_or_default();
    Ok(see_other(&format!("/parameters?q={}", encoded(wanted))))
}
