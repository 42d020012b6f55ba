//! Log-ins to the console, which outlive the process that they were made in.
//!
//! Of the secret in a cookie only a hash is kept: who reads the file has no cookie. A secret is
//! always ours, made at the log-in: what a browser brought before counts for nothing.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::http::store::Kept;

/// Log-ins at one time; of more the oldest ends.
const MOST: usize = 1024;

/// All of them.
pub(super) struct Sessions(Kept<Vec<Session>>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Session {
    /// SHA-256 of the secret.
    id: String,
    user: String,
    /// SHA-256 of the secret and of what the password was then.
    proof: String,
    /// Milliseconds since the Unix epoch.
    until: u64,
}

impl Sessions {
    pub(super) fn new(dir: &Path) -> Self {
        Self(Kept::new(dir.join("console.sessions")))
    }

    /// Whose log-in it is.
    pub(super) fn user(&self, secret: &str, now: SystemTime) -> Option<String> {
        let id = id(secret);
        let session = self.0.find(|all| all.iter().find(|it| it.id == id).cloned())?;
        (session.until > millis(now)).then_some(session.user)
    }

    /// Whether the password is still the one of the log-in.
    pub(super) fn proves(&self, secret: &str, stage2: &[u8; 20]) -> bool {
        let id = id(secret);
        let session = self.0.find(|all| all.iter().find(|it| it.id == id).cloned());
        let expected = proof(secret, stage2);
        session.is_some_and(|it| bool::from(it.proof.as_bytes().ct_eq(expected.as_bytes())))
    }

    /// A log-in begins.
    pub(super) async fn begin(
        &self,
        secret: &str,
        user: &str,
        stage2: &[u8; 20],
        until: SystemTime,
    ) -> io::Result<()> {
        let proof = proof(secret, stage2);
        let until = millis(until);
        let session = Session { id: id(secret), user: user.to_owned(), proof, until };
        let now = millis(SystemTime::now());
        let add = move |all: &mut Vec<Session>| {
            all.retain(|session| session.until > now);
            let surplus = (all.len() + 1).saturating_sub(MOST);
            all.drain(..surplus);
            all.push(session);
        };
        self.0.change(add).await
    }

    /// It is over.
    pub(super) async fn end(&self, secret: &str) -> io::Result<()> {
        let id = id(secret);
        self.0.change(move |all| all.retain(|session| session.id != id)).await
    }
}

fn id(secret: &str) -> String {
    super::hex(digest(&SHA256, secret.as_bytes()).as_ref())
}

fn proof(secret: &str, stage2: &[u8; 20]) -> String {
    super::hex(digest(&SHA256, &[secret.as_bytes(), stage2].concat()).as_ref())
}

fn millis(at: SystemTime) -> u64 {
    let since: Duration = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_in_outlives_the_process_that_it_was_made_in() {
        let dir = tempfile::tempdir().expect("a directory");
        let (one, other) = (Sessions::new(dir.path()), Sessions::new(dir.path()));
        let (now, until) = (SystemTime::now(), SystemTime::now() + Duration::from_secs(9));
        one.begin("secret", "ann", &[1; 20], until).await.expect("it is kept");
        for sessions in [&one, &other] {
            assert_eq!(sessions.user("secret", now).as_deref(), Some("ann"));
            assert_eq!(sessions.user("secret", until), None, "it is over");
            assert_eq!(sessions.user("guess", now), None);
            assert!(sessions.proves("secret", &[1; 20]) && !sessions.proves("secret", &[2; 20]));
        }
        let file = std::fs::read_to_string(dir.path().join("console.sessions")).expect("a file");
        assert!(!file.contains("secret"), "{file}");
        other.end("secret").await.expect("it is kept");
        assert_eq!(other.user("secret", now), None);
    }

    #[tokio::test]
    async fn there_is_room_for_so_many() {
        let dir = tempfile::tempdir().expect("a directory");
        let sessions = Sessions::new(dir.path());
        let (now, until) = (SystemTime::now(), SystemTime::now() + Duration::from_secs(60));
        let fill = move |all: &mut Vec<Session>| {
            let of = |at: usize| Session {
                id: id(&at.to_string()),
                user: "ann".into(),
                proof: String::new(),
                until: millis(until),
            };
            all.extend((0..MOST).map(of));
        };
        sessions.0.change(fill).await.expect("it is kept");
        sessions.begin("new", "bob", &[0; 20], until).await.expect("it is kept");
        assert_eq!(sessions.user("new", now).as_deref(), Some("bob"));
        assert_eq!(sessions.user("0", now), None, "the oldest has ended");
        assert!(sessions.user("1", now).is_some());
    }
}
