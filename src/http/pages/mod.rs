//! The console: pages for people on call. HTML that can be read without a script; with one it is
//! kept up to date.
//!
//! ```text
//! mod        which page a path is, and who may see it
//!   login      the only page for nobody
//!   clusters, overview (its proxies and servers), restart and fleet (their rehearsals and
//!   choices), tasks, fleet_tasks, sessions, statements, parameters, audit
//!     scene      who looks at what; what a form does
//!     placed     rows that are kept up to date cell by cell
//!     frame      what all pages have around them, and the pieces they are made of
//!     charts     the last hour, drawn
//!     words      how values are told
//!   assets     style and script, from here and nowhere else
//! ```
//! A page shows tables of SHOW, and a form asks for a change that SQL knows: both stand beside it.
//! Invariant: whatever comes from elsewhere stands in a page as text.

mod assets;
mod audit;
mod charts;
mod choices;
mod clusters;
mod fleet;
mod fleet_tasks;
mod frame;
mod login;
mod overview;
mod parameters;
mod placed;
mod proxies;
mod rehearsals;
mod restart;
mod scene;
mod servers;
mod sessions;
mod statements;
mod tasks;
mod words;

use hyper::header::HeaderName;
use hyper::{Method, StatusCode};

use super::fleet::{number, number_at};
use super::reply::{Problem, Reply, html, see_other, set};
use super::request::{Request, encoded};
use super::service::Http;
use frame::{Counts, Frame};
use scene::Scene;

/// The answer.
pub(super) async fn answer(http: &Http, request: &Request) -> Reply {
    let is_look = matches!(request.method, Method::GET | Method::HEAD);
    let segments = request.segments();
    if let ["assets", name] = segments[..] {
        return match is_look {
            true => assets::answer(request, name),
            false => Problem::method("GET, HEAD").reply(),
        };
    }
    let visitor = match http.who.visitor(&http.admin, request) {
        Ok(visitor) => visitor,
        Err(problem) => return told(&problem),
    };
    if segments == ["login"] {
        return login::answer(http, request, visitor.as_ref()).await;
    }
    let Some(visitor) = visitor else { return to_login(request, is_look) };
    let scene = Scene { http, request, visitor: &visitor };
    let answered = match is_look {
        true => look(&scene, &segments).await,
        false if request.method == Method::POST => act(&scene, &segments).await,
        false => Err(Problem::method("GET, HEAD, POST")),
    };
    match answered {
        Ok(reply) => reply,
        Err(problem) => scene.problem(&problem).await,
    }
}

/// Pages.
async fn look(scene: &Scene<'_>, path: &[&str]) -> Result<Reply, Problem> {
    // Of the head of every page.
    if scene.request.asked("part") == Some("counts") {
        return scene.part(async { Ok(maud::html! {}) }).await;
    }
    match path {
        ["clusters"] => clusters::page(scene).await,
        ["clusters", cluster] => overview::page(scene, cluster).await,
        ["clusters", cluster, "proxies", proxy, "restart"] => {
            restart::page(scene, cluster, proxy).await
        }
        ["tasks"] => tasks::page(scene).await,
        ["clusters", cluster, "restart"] => fleet::page(scene, cluster).await,
        ["tasks", id] => match (number(id), number_at(id)) {
            (Some(number), _) => fleet_tasks::page(scene, id, number).await,
            (None, Some((number, proxy))) => {
                fleet_tasks::at_another(scene, id, proxy, number).await
            }
            (None, None) => tasks::one(scene, id).await,
        },
        ["sessions"] => sessions::page(scene).await,
        ["sessions", id] => sessions::one(scene, id).await,
        ["statements"] => statements::page(scene).await,
        ["parameters"] => parameters::page(scene).await,
        ["audit"] => audit::page(scene).await,
        ["audit", id] => audit::one(scene, id).await,
        _ => Err(Problem::not_found("There is no such page.")),
    }
}

/// Forms.
async fn act(scene: &Scene<'_>, path: &[&str]) -> Result<Reply, Problem> {
    scene.may_change().await?;
    match path {
        ["logout"] => login::log_out(scene).await,
        ["clusters", cluster, "proxies", proxy, "restart"] => {
            restart::act(scene, cluster, proxy).await
        }
        ["clusters", cluster, "servers", server, what] => {
            servers::act(scene, cluster, server, what).await
        }
        ["clusters", cluster, "restart"] => fleet::act(scene, cluster).await,
        ["tasks", id, what] => match (number(id), *what) {
            (Some(number), what) => fleet_tasks::act(scene, id, number, what).await,
            (None, "rollback") => tasks::roll_back(scene, id).await,
            (None, _) => Err(Problem::not_found("There is no such form.")),
        },
        ["sessions", id, "kill"] => sessions::kill(scene, id).await,
        ["statements", "reset"] => statements::act(scene).await,
        ["parameters"] => parameters::act(scene).await,
        _ => Err(Problem::not_found("There is no such form.")),
    }
}

/// Who is nobody logs in, and comes back.
fn to_login(request: &Request, is_look: bool) -> Reply {
    let path: Vec<_> = request.path.iter().map(|it| encoded(it)).collect();
    let next = match is_look {
        true => format!("/login?next={}", encoded(&format!("/{}", path.join("/")))),
        false => "/login".to_owned(),
    };
    if !request.headers.contains_key("hx-request") {
        return see_other(&next);
    }
    // A page that is open still, and asks by script.
    let mut reply = super::reply::empty(StatusCode::UNAUTHORIZED);
    set(&mut reply, HeaderName::from_static("hx-redirect"), "/login");
    reply
}

/// A problem of nobody who is known, as a page.
fn told(problem: &Problem) -> Reply {
    let counts = Counts::default();
    let frame = Frame { title: problem.title(), here: "", visitor: None, counts };
    problem.with_fields(html(problem.status, frame.around(frame::problem(problem))))
}
