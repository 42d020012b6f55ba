//! Answers: what they are made of, and the problems among them (RFC 9457).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::error::ClientError;

/// What is sent.
pub(super) enum Body {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// It goes on until nobody sends any more.
    Live(mpsc::Receiver<Bytes>),
}

pub(super) type Reply = Response<Body>;

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Live(pieces) => pieces.poll_recv(cx),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Live(_) => SizeHint::default(),
        }
    }
}

/// Whether the answer goes on.
pub(super) fn is_live(reply: &Reply) -> bool {
    matches!(reply.body(), Body::Live(_))
}

/// An answer of this media type.
pub(super) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Whole(Some(body.into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    whole(status, "text/plain; charset=utf-8", body)
}

/// A page.
pub(super) fn html(status: StatusCode, page: String) -> Reply {
    whole(status, "text/html; charset=utf-8", page)
}

pub(super) fn json(status: StatusCode, value: &Value) -> Reply {
    whole(status, "application/json", format!("{value}\n"))
}

/// Nothing to say.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::Whole(None));
    *reply.status_mut() = status;
    reply
}

/// What follows is elsewhere.
pub(super) fn see_other(path: &str) -> Reply {
    let mut reply = empty(StatusCode::SEE_OTHER);
    set(&mut reply, LOCATION, path);
    reply
}

/// Pieces as they come.
pub(super) fn live(kind: &'static str, pieces: mpsc::Receiver<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Live(pieces));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Sets a field; a value that cannot stand in one is left out.
pub(super) fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub status: StatusCode,
    pub detail: String,
    /// The number that SQL would tell.
    code: Option<u16>,
    fields: Vec<(HeaderName, String)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), code: None, fields: Vec::new() }
    }

    /// What its status is called.
    pub(super) fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Problem")
    }

    pub(super) fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }

    pub(super) fn bad(what: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, what)
    }

    pub(super) fn forbidden(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, why)
    }

    /// Nobody has said who asks.
    pub(super) fn nobody(why: impl Into<String>) -> Self {
        let challenge = (WWW_AUTHENTICATE, "Bearer realm=\"odp\"".to_owned());
        Self { fields: vec![challenge], ..Self::new(StatusCode::UNAUTHORIZED, why) }
    }

    /// What is there takes other methods.
    pub(super) fn method(allowed: &str) -> Self {
        let fields = vec![(ALLOW, allowed.to_owned())];
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self { fields, ..Self::new(status, format!("expected {allowed}")) }
    }

    /// Not yet.
    pub(super) fn later(wait: Duration, why: impl Into<String>) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).to_string();
        let fields = vec![(RETRY_AFTER, seconds)];
        Self { fields, ..Self::new(StatusCode::TOO_MANY_REQUESTS, why) }
    }

    /// As an object.
    pub(super) fn value(&self) -> Value {
        let title = self.title();
        let status = self.status.as_u16();
        let mut value =
            json!({"type": "about:blank", "title": title, "status": status, "detail": self.detail});
        if let Some(code) = self.code {
            value["code"] = code.into();
        }
        value
    }

    /// What a program gets.
    pub(super) fn reply(&self) -> Reply {
        let body = format!("{}\n", self.value());
        self.with_fields(whole(self.status, "application/problem+json", body))
    }

    /// Its fields, on whatever tells of it.
    pub(super) fn with_fields(&self, mut reply: Reply) -> Reply {
        for (name, value) in &self.fields {
            set(&mut reply, name.clone(), value);
        }
        reply
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        let status = match error.code {
            1064 | 1153 => StatusCode::BAD_REQUEST,
            1227 => StatusCode::FORBIDDEN,
            1049 | 1094 => StatusCode::NOT_FOUND,
            1105 => StatusCode::CONFLICT,
            1193 | 1231 => StatusCode::UNPROCESSABLE_ENTITY,
            1053 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { code: Some(error.code), ..Self::new(status, error.message) }
    }
}
