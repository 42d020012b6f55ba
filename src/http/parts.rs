//! Parts of pages that are the same for all who look and may do the same: made once, however many
//! ask.
//!
//! Invariant: what is in here has nothing of a visitor but his role.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::Mutex;

use super::reply::Problem;

/// So long a part is the newest: events come no more often.
const FRESH: Duration = Duration::from_millis(900);

/// Parts at most.
const MOST: usize = 64;

/// By path, query and role.
#[derive(Default)]
pub(super) struct Parts(Mutex<HashMap<String, (Instant, Bytes)>>);

impl Parts {
    /// A part, made if there is none or it is old. Others wait meanwhile: they want the same.
    pub(super) async fn get(
        &self,
        name: &str,
        make: impl Future<Output = Result<String, Problem>>,
    ) -> Result<Bytes, Problem> {
        let mut parts = self.0.lock().await;
        if let Some((made_at, part)) = parts.get(name)
            && made_at.elapsed() < FRESH
        {
            return Ok(part.clone());
        }
        parts.retain(|_, (made_at, _)| made_at.elapsed() < FRESH);
        let part = Bytes::from(make.await?);
        if parts.len() < MOST {
            parts.insert(name.to_owned(), (Instant::now(), part.clone()));
        }
        Ok(part)
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
        let both = tokio::join!(parts.get("/a", make()), parts.get("/a", make()));
        assert_eq!(both, (Ok("part 1".into()), Ok("part 1".into())));
        assert_eq!(parts.get("/b", make()).await, Ok("part 2".into()));
        let fails = async { Err(Problem::not_found("gone")) };
        assert!(parts.get("/c", fails).await.is_err());
        assert_eq!(parts.get("/c", make()).await, Ok("part 3".into()), "a problem is not kept");
        assert_eq!(made.get(), 3);
    }
}
