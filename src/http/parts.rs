//! Parts of pages that are the same for all who look and may do the same: made once after each
//! event, however many ask.
//!
//! Invariant: what is in here has nothing of a visitor but his role, and whoever asks because of an
//! event is shown what it tells of.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::Mutex;

use super::reply::Problem;

/// So long a part is the newest, if there is no event meanwhile.
const FRESH: Duration = Duration::from_millis(900);

/// Parts at most.
const MOST: usize = 64;

/// By path, query and role.
#[derive(Default)]
pub(super) struct Parts(Mutex<HashMap<String, Part>>);

struct Part {
    made_at: Instant,
    /// The last event before it was made.
    event: u64,
    bytes: Bytes,
}

impl Part {
    fn is_fresh(&self) -> bool {
        self.made_at.elapsed() < FRESH
    }
}

impl Parts {
    /// A part, made if there is none since this event or it is old. Others wait meanwhile: they
    /// want the same.
    pub(super) async fn get(
        &self,
        name: &str,
        event: u64,
        make: impl Future<Output = Result<String, Problem>>,
    ) -> Result<Bytes, Problem> {
        let mut parts = self.0.lock().await;
        let known = parts.get(name).filter(|part| part.is_fresh() && part.event >= event);
        if let Some(part) = known {
            return Ok(part.bytes.clone());
        }
        parts.retain(|_, part| part.is_fresh());
        let bytes = Bytes::from(make.await?);
        if parts.len() < MOST {
            let part = Part { made_at: Instant::now(), event, bytes: bytes.clone() };
            parts.insert(name.to_owned(), part);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_many_ask_for_is_made_once() {
        let (parts, made) = (Parts::default(), Cell::new(0));
        let make = async || {
            made.set(made.get() + 1);
            Ok(format!("part {}", made.get()))
        };
        let both = tokio::join!(parts.get("/a", 1, make()), parts.get("/a", 1, make()));
        assert_eq!(both, (Ok("part 1".into()), Ok("part 1".into())));
        assert_eq!(parts.get("/b", 1, make()).await, Ok("part 2".into()));
        let fails = async { Err(Problem::not_found("gone")) };
        assert!(parts.get("/c", 1, fails).await.is_err());
        assert_eq!(parts.get("/c", 1, make()).await, Ok("part 3".into()), "a problem is not kept");
        // Whoever asks because of an event is not shown how it was before.
        assert_eq!(parts.get("/a", 2, make()).await, Ok("part 4".into()));
        assert_eq!(parts.get("/a", 2, make()).await, Ok("part 4".into()));
        assert_eq!(made.get(), 4);
    }
}
