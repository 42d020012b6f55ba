//! What all pages have around them, and the pieces they are made of.

use std::borrow::Cow;

use hyper::StatusCode;
use maud::{DOCTYPE, Markup, html};

use super::assets::{HTMX, ICON, SSE, STYLE};
use super::words;
use crate::http::reply::{self, Problem, Reply};
use crate::http::request::Request;
use crate::http::who::Visitor;

/// The pages in the head of each.
const PAGES: [(&str, &str); 6] = [
    ("clusters", "Clusters"),
    ("tasks", "Tasks"),
    ("sessions", "Sessions"),
    ("statements", "Statements"),
    ("parameters", "Parameters"),
    ("audit", "Audit"),
];

/// No script of a page, nothing evaluated, nothing from elsewhere.
const HTMX_CONFIG: &str = "{\"includeIndicatorStyles\":false,\"allowEval\":false,\
                           \"allowScriptTags\":false,\"selfRequestsOnly\":true,\
                           \"historyCacheSize\":0}";

/// Tasks, for the head of every page.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub running: usize,
    pub failed: usize,
}

/// What is around a page.
pub(super) struct Frame<'a> {
    pub title: &'a str,
    /// The first part of its path.
    pub here: &'a str,
    /// Who looks, and at which proxy; None: nobody who is known.
    pub visitor: Option<(&'a Visitor, &'a str)>,
    pub counts: Counts,
}

impl Frame<'_> {
    /// The page.
    pub(super) fn around(&self, body: Markup) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="htmx-config" content=(HTMX_CONFIG);
                    title { (self.title) " · odp" }
                    link rel="stylesheet" href=(STYLE.path());
                    link rel="icon" href=(ICON.path());
                    @if self.visitor.is_some() {
                        script defer src=(HTMX.path()) {}
                        script defer src=(SSE.path()) {}
                    }
                }
                body {
                    a class="skip" href="#main" { "Skip to the page" }
                    (self.head())
                    @match self.visitor {
                        Some(_) => main id="main" hx-ext="sse" sse-connect="/api/v1/events" {
                            (body)
                        },
                        None => main id="main" { (body) },
                    }
                }
            }
        };
        page.into_string()
    }

    fn head(&self) -> Markup {
        html! {
            header {
                span class="brand" { "odp" }
                @if let Some((visitor, proxy)) = self.visitor {
                    span class="hint" title="The proxy that these pages are of" { (proxy) }
                    nav aria-label="Pages" {
                        @for (path, name) in PAGES {
                            @let current = (path == self.here).then_some("page");
                            a href={ "/" (path) } aria-current=[current] {
                                (name)
                                @if path == "tasks" { (self.counts.shown()) }
                            }
                        }
                    }
                    form class="who" method="post" action="/logout" {
                        (csrf(visitor))
                        span { (visitor.caller.user) " · " (role(visitor)) }
                        button class="quiet" { "Log out" }
                    }
                }
            }
        }
    }
}

impl Counts {
    pub(super) fn shown(self) -> Markup {
        let Self { running, failed } = self;
        html! {
            span id="counts" {
                @if running > 0 { span class="mark busy" { (running) " running" } }
                @if failed > 0 { span class="mark bad" { (failed) " failed" } }
            }
        }
    }
}

fn role(visitor: &Visitor) -> String {
    format!("{:?}", visitor.caller.role).to_lowercase()
}

/// What every form shows.
pub(super) fn csrf(visitor: &Visitor) -> Markup {
    html! {
        @if let Some(csrf) = &visitor.csrf { input type="hidden" name="csrf" value=(csrf); }
    }
}

/// Keeps parts of a page up to date that tell of tasks: those that have these ids, from the page at
/// `url`. What is swapped under somebody's hand is not pressed: what is to be pressed is no part of
/// it, or preserved.
pub(super) fn live(url: &str, ids: &[String]) -> Markup {
    live_by("sse:task, sse:fleet", url, ids)
}

/// How this proxy stands. It has no modifier: while htmx holds one trigger of an element back, it
/// drops all others of the element, too.
pub(super) const STATE: &str = "sse:state";

/// What tells of all proxies, and of what is done with them.
pub(super) const PROXIES: &str = "sse:state, sse:task, sse:fleet, sse:look";

/// The same for what is told of proxies, too.
pub(super) fn live_with_fleet(url: &str, ids: &[String]) -> Markup {
    live_by(PROXIES, url, ids)
}

/// The same, by these triggers of htmx.
pub(super) fn live_by(trigger: &str, url: &str, ids: &[String]) -> Markup {
    html! {
        div hidden hx-get=(url) hx-trigger=(trigger) hx-swap="none" hx-select-oob=(parts(ids)) {}
    }
}

/// Sends the form that it stands in as soon as the page is there, and has the answer's parts with
/// these ids in place of those of the page.
pub(super) fn sent_at_once(url: &str, ids: &[String]) -> Markup {
    html! {
        div hidden hx-post=(url) hx-trigger="load" hx-swap="none" hx-include="closest form"
            hx-select-oob=(parts(ids)) {}
    }
}

/// The parts of a page that are taken from another answer, and the counts in its head. All that is
/// preserved on the page has to be in one of them: what is preserved and stands elsewhere in an
/// answer is taken off the page.
fn parts(ids: &[String]) -> String {
    let all = ids.iter().map(String::as_str).chain(["counts"]);
    all.map(|id| format!("#{id}")).collect::<Vec<_>>().join(",")
}

/// A state with its color.
pub(super) fn mark(state: &str, text: &str) -> Markup {
    html! { span class={ "mark " (words::color(state)) } { (text) } }
}

/// Why something is in a state.
pub(super) fn detail(state: &str, text: &str) -> Markup {
    html! { p class={ "detail " (words::color(state)) } { (text) } }
}

/// Why somebody may change nothing, above what he may not.
pub(super) fn refusal(why: Option<&str>) -> Markup {
    html! {
        @if let Some(why) = why { p class="note" id="refusal" { (why) "." } }
    }
}

/// A button, or one that is disabled and says why.
pub(super) fn button(class: &str, text: &str, why_not: Option<&str>) -> Markup {
    html! {
        button class=(class) disabled[why_not.is_some()] title=[why_not] { (text) }
        @if let Some(why) = why_not { span class="why" { (why) } }
    }
}

/// The same as SQL, as a request of the API, and as a command line.
pub(super) struct Ways {
    pub sql: String,
    /// Method, path, body.
    pub api: Option<(&'static str, String, String)>,
    pub command: String,
}

/// The id of those of what is chosen in a dialog.
const WAYS: &str = "ways";

impl Ways {
    /// To copy.
    pub(super) fn shown(&self) -> Markup {
        ways(html! { dl { (self.list()) } })
    }

    /// The same of what is chosen in a form, which [`follow`] it.
    pub(super) fn chosen(&self) -> Markup {
        ways(self.part())
    }

    /// What of them is another with each choice.
    fn part(&self) -> Markup {
        html! { dl id=(WAYS) { (self.list()) } }
    }

    fn list(&self) -> Markup {
        html! {
            dt { "SQL, on the admin port" }
            dd { code { (self.sql) ";" } }
            dt { "Command line" }
            dd { code { (self.command) } }
            @if let Some((method, path, body)) = &self.api {
                dt { "API" }
                dd { code { (curl(method, path, body)) } }
            }
        }
    }

    /// Those of a statement, with a MySQL client on the admin port.
    pub(super) fn of(sql: String, admin: &str) -> Self {
        let (host, port) = admin.rsplit_once(':').unwrap_or((admin, "2885"));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let command = format!("mysql -h {host} -P {port} -u NAME -p -e {}", in_shell(&sql));
        Self { sql, api: None, command }
    }
}

/// A word of a command line, as a shell reads it.
pub(super) fn in_shell(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,[]".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("'{}'", text.replace('\'', "'\\''"))),
    }
}

fn ways(list: Markup) -> Markup {
    html! {
        details class="ways" {
            summary { "The same as SQL and as a command line" }
            (list)
        }
    }
}

/// The part of a dialog at its address that is asked for by [`follow`].
pub(super) fn is_about_ways(request: &Request) -> bool {
    request.asked("part") == Some(WAYS)
}

/// The answer: the ways of what is chosen, or why it cannot be asked for.
pub(super) fn ways_of(chosen: Result<Ways, Problem>) -> Reply {
    let part = match chosen {
        Ok(ways) => ways.part(),
        Err(problem) => html! {
            dl id=(WAYS) { dt { "That cannot be asked for" } dd { (problem.detail) } }
        },
    };
    reply::html(StatusCode::OK, part.into_string())
}

/// Has the ways below a form say what is chosen in it; stands in the form.
pub(super) fn follow(url: &str) -> Markup {
    let trigger = "change from:closest form, input from:closest form delay:300ms";
    html! {
        div hidden hx-get={ (url) "?part=" (WAYS) } hx-trigger=(trigger) hx-swap="none"
            hx-include="closest form" hx-params="not csrf" hx-select-oob={ "#" (WAYS) } {}
    }
}

fn curl(method: &str, path: &str, body: &str) -> String {
    let data = match body {
        "" => String::new(),
        body => format!(" -H 'Content-Type: application/json' -d {}", in_shell(body)),
    };
    format!("curl -X {method} -H \"Authorization: Bearer $TOKEN\"{data} \"$CONSOLE{path}\"")
}

/// Why something was not done.
pub(super) fn problem(problem: &Problem) -> Markup {
    html! {
        h1 { "This was not done" }
        p class="mark bad" { (problem.status.as_u16()) " " (problem.title()) }
        p class="problem" { (problem.detail) }
        p { a href="/clusters" { "To the clusters" } }
    }
}

/// One of the ways in which a page picks what it shows.
pub(super) struct Choice<'a> {
    /// Such as "Only".
    pub label: &'a str,
    /// Of the parameter in the address.
    pub name: &'a str,
    /// Its values, each with its words.
    pub options: &'a [(&'a str, &'a str)],
    /// The value now.
    pub chosen: &'a str,
}

/// The form by which a page is asked for a part of what it has.
pub(super) fn filter(path: &str, wanted: &str, choices: &[Choice<'_>]) -> Markup {
    html! {
        form class="filter" method="get" action=(path) role="search" {
            label { "Find " input type="search" name="q" value=(wanted); }
            @for Choice { label, name, options, chosen } in choices {
                label { (label) " "
                    select name=(name) {
                        @for (value, text) in *options {
                            option value=(value) selected[value == chosen] { (text) }
                        }
                    }
                }
            }
            button { "Show" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_means_the_same_in_a_shell() {
        for (text, expected) in [
            ("main", "main"),
            ("/etc/odp/odp.toml", "/etc/odp/odp.toml"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's", "'it'\\''s'"),
            ("ä", "'ä'"),
        ] {
            assert_eq!(in_shell(text), expected);
        }
        assert!(curl("PATCH", "/x", "{\"a\":\"it's\"}").contains("-d '{\"a\":\"it'\\''s\"}'"));
        let ways = Ways::of("SHOW PROXYINFO".into(), "[::1]:2885");
        assert_eq!(ways.command, "mysql -h ::1 -P 2885 -u NAME -p -e 'SHOW PROXYINFO'");
    }
}
