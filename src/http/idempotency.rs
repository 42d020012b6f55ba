//! What is asked twice with one `Idempotency-Key` is done once, across restarts too: who lost the
//! connection in a restart asks again, and gets the answer that he has missed.
//!
//! Whoever asks again while it is being done waits for the same answer. That it was begun is on
//! the disk before it is done. If its end is not, nobody knows it: then a second try is told so,
//! and not done.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, LOCATION};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use super::door::PATIENCE;
use super::reply::{Body, Problem, Reply, empty, set, whole};
use super::request::Request;
use super::store::Kept;

/// So long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Answers at most; of more the oldest goes.
const MOST: usize = 256;

/// The longest key.
const LONGEST: usize = 128;

/// The answers, and what has none yet.
pub(super) struct Answers {
    answered: Kept<Answered>,
    /// What this process does now: who has asked, by which key.
    under_way: watch::Sender<HashSet<Name>>,
}

/// Who has asked, and his key.
type Name = (String, String);

type Answered = Vec<Entry>;

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    who: String,
    key: String,
    /// Of what was asked.
    hash: String,
    /// Milliseconds since the Unix epoch.
    at: u64,
    /// None: it has begun.
    reply: Option<Said>,
}

/// What was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Said {
    status: u16,
    location: Option<String>,
    is_problem: bool,
    body: String,
}

impl Answers {
    /// They are kept in this directory.
    pub(super) fn new(dir: &Path) -> Self {
        let answered = Kept::new(dir.join("console.requests"));
        Self { answered, under_way: watch::Sender::default() }
    }

    /// Waits until nobody here does the same; None: it takes too long.
    async fn turn(&self, entry: &Entry) -> Option<Turn<'_>> {
        let name = (entry.who.clone(), entry.key.clone());
        let mut under_way = self.under_way.subscribe();
        let begun = async {
            while !self.under_way.send_if_modified(|all| all.insert(name.clone())) {
                // Its sender lives in `self`.
                let _ = under_way.wait_for(|all| !all.contains(&name)).await;
            }
        };
        timeout(PATIENCE, begun).await.ok()?;
        Some(Turn { answers: self, name })
    }
}

/// Somebody does something now; ended also by a panic, or when he leaves.
struct Turn<'a> {
    answers: &'a Answers,
    name: Name,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.answers.under_way.send_modify(|all| {
            all.remove(&self.name);
        });
    }
}

/// Does it, unless it was done.
pub(super) async fn once(
    answers: &Answers,
    who: &str,
    request: &Request,
    run: impl Future<Output = Result<Reply, Problem>>,
) -> Result<Reply, Problem> {
    let name = HeaderName::from_static("idempotency-key");
    if !request.headers.contains_key(&name) {
        return run.await;
    }
    let key = request.field(name).filter(|key| !key.is_empty() && key.len() <= LONGEST);
    let key = key.ok_or_else(|| {
        Problem::bad(format!("Idempotency-Key: expected 1 to {LONGEST} characters, once"))
    })?;
    let entry = Entry {
        who: who.to_owned(),
        key: key.to_owned(),
        hash: hash(request),
        at: now(),
        reply: None,
    };
    let _turn = answers.turn(&entry).await;
    if let Some(before) = begin(&answers.answered, entry.clone()).await? {
        return again(&entry, before);
    }
    let reply = run.await.unwrap_or_else(|problem| problem.reply());
    let (reply, said) = said(reply).await;
    let keep = move |all: &mut Answered| {
        if let Some(own) = all.iter_mut().find(|it| it.is_same(&entry)) {
            own.reply = Some(said);
        }
    };
    if let Err(error) = answers.answered.change(keep).await {
        tracing::error!(%error, "console: an answer cannot be kept");
    }
    Ok(reply)
}

/// Keeps that it has begun; what there is of it already.
async fn begin(answered: &Kept<Answered>, entry: Entry) -> Result<Option<Entry>, Problem> {
    let oldest = entry.at.saturating_sub(KEPT.as_millis() as u64);
    let begun = answered.change(move |all: &mut Answered| {
        all.retain(|it| it.at >= oldest);
        let before = all.iter().find(|it| it.is_same(&entry)).cloned();
        if before.is_none() {
            let surplus = (all.len() + 1).saturating_sub(MOST);
            all.drain(..surplus);
            all.push(entry);
        }
        before
    });
    begun.await.map_err(|error| {
        let text = format!("Idempotency-Key: it cannot be kept: {error}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
    })
}

fn again(entry: &Entry, before: Entry) -> Result<Reply, Problem> {
    if before.hash != entry.hash {
        let text = "Idempotency-Key: it was used for something else";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text));
    }
    let Some(said) = before.reply else {
        let text = "Idempotency-Key: this was begun, and its end is not known: see tasks and audit";
        return Err(Problem::new(StatusCode::CONFLICT, text));
    };
    let status = StatusCode::from_u16(said.status).unwrap_or(StatusCode::OK);
    let kind = if said.is_problem { "application/problem+json" } else { "application/json" };
    let mut reply = match said.body.is_empty() {
        true => empty(status),
        false => whole(status, kind, said.body),
    };
    if let Some(location) = said.location {
        set(&mut reply, LOCATION, &location);
    }
    set(&mut reply, HeaderName::from_static("idempotency-replayed"), "true");
    Ok(reply)
}

impl Entry {
    fn is_same(&self, other: &Self) -> bool {
        self.who == other.who && self.key == other.key
    }
}

/// The answer, and what is kept of it.
async fn said(reply: Reply) -> (Reply, Said) {
    let (head, body) = reply.into_parts();
    let field = |name: HeaderName| head.headers.get(name).and_then(|it| it.to_str().ok());
    let location = field(LOCATION).map(str::to_owned);
    let is_problem = field(CONTENT_TYPE).is_some_and(|kind| kind.contains("problem"));
    let Ok(bytes) = body.collect().await.map(|body| body.to_bytes());
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let said = Said { status: head.status.as_u16(), location, is_problem, body: text };
    (Reply::from_parts(head, Body::Whole(Some(bytes).filter(|it| !it.is_empty()))), said)
}

fn hash(request: &Request) -> String {
    let path = request.path.join("/");
    let query = format!("{:?}", request.query);
    let text = [request.method.as_str(), &path, &query].join("\n");
    let bytes = [text.as_bytes(), b"\n", &request.body].concat();
    digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
