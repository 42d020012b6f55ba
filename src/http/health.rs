//! What everybody may ask: figures, and whether the proxy lives and takes clients.

use hyper::{Method, StatusCode};

use super::reply::{Reply, set, text, whole};
use crate::admin::{Admin, exposition};

/// The answer; None: the path is somebody else's.
pub(super) fn answer(admin: &Admin, method: &Method, path: &str) -> Option<Reply> {
    let page: fn(&Admin) -> Reply = match path {
        "/healthz" => |_| text(StatusCode::OK, "ok\n"),
        "/readyz" => readiness,
        "/metrics" => metrics,
        _ => return None,
    };
    Some(if is_look(method) { page(admin) } else { not_allowed() })
}

/// Whether it changes nothing.
pub(super) fn is_look(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

pub(super) fn not_allowed() -> Reply {
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
    set(&mut refused, hyper::header::ALLOW, "GET, HEAD");
    refused
}

fn readiness(admin: &Admin) -> Reply {
    let standing = admin.lifecycle.standing();
    match (standing.takes_clients, admin.proxy.is_reachable()) {
        (true, true) => text(StatusCode::OK, format!("{}\n", standing.state)),
        (false, _) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", standing.state)),
        // Which one is in the log: whoever asks here is not asked who he is.
        (true, false) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}, but clients do not find a listener\n", standing.state),
        ),
    }
}

fn metrics(admin: &Admin) -> Reply {
    match exposition::page(admin) {
        Ok(page) => whole(StatusCode::OK, exposition::MEDIA_TYPE, page),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "cannot write the metrics\n"),
    }
}
