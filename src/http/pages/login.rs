//! The log-in: the only page for nobody.

use hyper::{Method, StatusCode};
use maud::html;

use super::frame::{Counts, Frame};
use super::scene::Scene;
use crate::http::reply::{Problem, Reply, html as page, see_other};
use crate::http::request::{Request, find};
use crate::http::service::Http;
use crate::http::who::{Visitor, take_cookie};

/// Shows it, or lets somebody in.
pub(super) async fn answer(http: &Http, request: &Request, visitor: Option<&Visitor>) -> Reply {
    match request.method {
        Method::GET | Method::HEAD if visitor.is_some() => see_other("/clusters"),
        Method::GET | Method::HEAD => form(request.asked("next").unwrap_or_default(), None),
        Method::POST => log_in(http, request).await,
        _ => Problem::method("GET, HEAD, POST").reply(),
    }
}

async fn log_in(http: &Http, request: &Request) -> Reply {
    let fields = match request.form() {
        Ok(fields) => fields,
        Err(problem) => return form("", Some(&problem)),
    };
    let field = |name| find(&fields, name).unwrap_or_default();
    let next = field("next");
    match http.who.log_in(&http.admin, request, field("user"), field("password")).await {
        Err(problem) => form(next, Some(&problem)),
        Ok(login) => {
            let mut reply = see_other(if is_ours(next) { next } else { "/clusters" });
            login.give(&mut reply);
            reply
        }
    }
}

/// Who was sent elsewhere behind the log-in would not notice.
fn is_ours(next: &str) -> bool {
    let is_path = next.starts_with('/') && !next.starts_with("//");
    is_path && next.chars().all(|c| c.is_ascii_graphic() && c != '\\')
}

fn form(next: &str, problem: Option<&Problem>) -> Reply {
    let body = html! {
        form class="login" method="post" action="/login" {
            h1 { "Log in" }
            @if let Some(problem) = problem {
                p class="note bad" role="alert" { (problem.detail) }
            }
            input type="hidden" name="next" value=(next);
            label for="user" { "User" }
            input id="user" name="user" autocomplete="username" required autofocus;
            label for="password" { "Password" }
            input id="password" name="password" type="password" autocomplete="current-password"
                required;
            button class="main" { "Log in" }
            p class="hint" { "An [[admin.user]] of this proxy's config." }
        }
    };
    let frame = Frame { title: "Log in", here: "", visitor: None, counts: Counts::default() };
    let status = problem.map_or(StatusCode::OK, |problem| problem.status);
    let reply = page(status, frame.around(body));
    match problem {
        Some(problem) => problem.with_fields(reply),
        None => reply,
    }
}

/// The end of a log-in.
pub(super) async fn log_out(scene: &Scene<'_>) -> Result<Reply, Problem> {
    scene.http.who.log_out(scene.admin(), scene.request, scene.visitor).await;
    let mut reply = see_other("/login");
    take_cookie(&mut reply);
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn behind_the_log_in_comes_a_page_of_ours() {
        for ours in ["/", "/clusters/main", "/sessions?user=a"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["", "//evil", "/\\evil", "https://evil", "javascript:x", "/a\r\nb", "/a b"] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
