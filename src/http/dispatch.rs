//! Whose a path is, and what every answer carries.

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};

use super::health::{is_look, not_allowed};
use super::reply::{Problem, Reply, see_other, text};
use super::request::{Peer, Request};
use super::service::Http;
use super::{api, health, pages};
use crate::admin::Admin;

/// Fields of every answer of console and API, unless it has its own.
const FIELDS: &[(&str, &str)] = &[
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The answer to a request.
pub(super) async fn answer(http: &Http, request: hyper::Request<Incoming>, peer: Peer) -> Reply {
    let admin = &*http.admin;
    if let Some(reply) = health::answer(admin, request.method(), request.uri().path()) {
        return reply;
    }
    if !admin.proxy.config().console.enabled {
        return match (is_look(request.method()), request.uri().path()) {
            (false, _) => not_allowed(),
            (true, "/") => text(StatusCode::OK, "/metrics\n/healthz\n/readyz\n"),
            (true, _) => text(StatusCode::NOT_FOUND, "not found\n"),
        };
    }
    let mut reply = match is_safe(admin, &peer) {
        true => with_console(http, request, peer).await,
        false => Problem::forbidden("off this machine this is by TLS only").reply(),
    };
    for (name, value) in FIELDS {
        let name = HeaderName::from_static(name);
        reply.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    reply
}

/// Whether nobody on the way can read along.
fn is_safe(admin: &Admin, peer: &Peer) -> bool {
    let config = admin.proxy.config();
    peer.is_secure || config.is_http_local() || config.console.behind_proxy
}

async fn with_console(http: &Http, request: hyper::Request<Incoming>, peer: Peer) -> Reply {
    let request = match Request::read(request, peer).await {
        Ok(request) => request,
        Err(problem) => return problem.reply(),
    };
    match request.path.first().map(String::as_str) {
        None => see_other("/clusters"),
        Some("api") => api::answer(http, &request).await,
        Some(_) => pages::answer(http, &request).await,
    }
}
