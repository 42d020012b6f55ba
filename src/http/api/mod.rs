//! `/api/v1`: what the admin port says and does, as JSON.
//!
//! A request meets, in this order: its route, who asks, whether he may, whether it was answered
//! already, and then what it is for. Invariant: whatever is asked here can be asked by SQL, and is
//! judged there.

mod document;
mod fleet;
pub(super) mod operation;
mod route;

use hyper::Method;

use self::operation::{Context, run};
use self::route::{Needs, Route, Verb, find};
use super::idempotency::once;
use super::reply::{Problem, Reply};
use super::request::Request;
use super::service::Http;
use super::who::{Visitor, may_change};

/// Where all of it is.
const BASE: [&str; 2] = ["api", "v1"];

/// The answer.
pub(super) async fn answer(http: &Http, request: &Request) -> Reply {
    let answered = attempt(http, request).await;
    answered.unwrap_or_else(|problem| problem.reply())
}

async fn attempt(http: &Http, request: &Request) -> Result<Reply, Problem> {
    let segments = request.segments();
    let Some(path) = segments.strip_prefix(&BASE) else {
        return Err(Problem::not_found("the API is /api/v1"));
    };
    // Who is nobody does not learn what there is.
    let visitor = http.who.visitor(&http.admin, request)?;
    let visitor = visitor.ok_or_else(|| {
        Problem::nobody("expected Authorization: Bearer TOKEN, or the cookie of a log-in")
    })?;
    let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
    let (route, arguments) = find(method, path)?;
    if route.needs == Needs::Change {
        may(http, request, &visitor).await?;
    }
    perform(http, request, &visitor, route, arguments).await
}

/// Whether somebody may change something; who may not is in the audit.
async fn may(http: &Http, request: &Request, visitor: &Visitor) -> Result<(), Problem> {
    let Err(problem) = may_change(&http.admin, request, visitor) else { return Ok(()) };
    let action = format!("{} /{}", request.method, request.path.join("/"));
    http.admin.audit.refuse(&visitor.caller, &action, &problem.detail).await;
    Err(problem)
}

async fn perform(
    http: &Http,
    request: &Request,
    visitor: &Visitor,
    route: &Route,
    arguments: Vec<String>,
) -> Result<Reply, Problem> {
    let (admin, caller) = (&http.admin, &visitor.caller);
    let context = Context { http, visitor, admin, caller, request, arguments };
    match route.verb {
        Verb::Post => {
            let run = run(route.operation, &context);
            once(&http.answers, &caller.user, request, run).await
        }
        Verb::Get | Verb::Patch | Verb::Delete => run(route.operation, &context).await,
    }
}
