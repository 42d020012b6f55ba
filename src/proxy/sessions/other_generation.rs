//! Sessions of the other generation, while two live: so that KILL and SHOW reach them too.

use std::collections::HashMap;
use std::sync::Mutex;

use super::view::SessionView;
use crate::lock::lock;
use crate::wire::id::{SessionId, ThreadId};

/// What the other process has told, and what was given to it.
#[derive(Debug, Default)]
pub struct OtherGeneration(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    sessions: HashMap<SessionId, Entry>,
}

#[derive(Debug)]
struct Entry {
    view: SessionView,
    since: Since,
}

/// How it is known that a session lives there.
///
/// ```text
///   Told ◄── a list has it ── Given, Missed
///   Given ── a list does not have it ─► Missed        Told, Missed ── the same ─► forgotten
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The other process says so.
    Told,
    /// It was given to it, and no list has come since: one that is on its way may not have it yet.
    Given,
    /// It was given to it before the last list, which did not have it.
    Missed,
}

impl OtherGeneration {
    /// The other process tells all that live there.
    pub fn replace(&self, sessions: Vec<SessionView>) {
        let mut known = lock(&self.0);
        let before = std::mem::take(&mut *known);
        for (_, Entry { view, since }) in before.sessions {
            match since {
                Since::Given => known.add(view, Since::Missed),
                Since::Told | Since::Missed => {}
            }
        }
        sessions.into_iter().for_each(|session| known.add(session, Since::Told));
    }

    /// One more session lives there.
    pub fn add(&self, session: SessionView, since: Since) {
        lock(&self.0).add(session, since);
    }

    /// There is no other process any more.
    pub fn clear(&self) {
        *lock(&self.0) = Known::default();
    }

    /// The session lives here now.
    pub fn remove(&self, id: SessionId) {
        lock(&self.0).sessions.remove(&id);
    }

    /// Every session that lives there.
    pub fn all(&self) -> Vec<SessionView> {
        lock(&self.0).sessions.values().map(|entry| entry.view.clone()).collect()
    }

    /// Looks at all that live there. Nobody comes or goes meanwhile.
    pub fn look<R>(
        &self,
        look: impl FnOnce(&mut dyn ExactSizeIterator<Item = &SessionView>) -> R,
    ) -> R {
        look(&mut lock(&self.0).sessions.values().map(|entry| &entry.view))
    }

    /// Whether a session lives there.
    pub fn has(&self, id: SessionId) -> bool {
        lock(&self.0).sessions.contains_key(&id)
    }

    /// The id on this server of a session that lives there.
    pub fn server_thread(&self, id: SessionId, server: &str) -> Option<ThreadId> {
        let known = lock(&self.0);
        let session = &known.sessions.get(&id)?.view;
        (session.server == server).then_some(session.server_thread)
    }
}

impl Known {
    fn add(&mut self, session: SessionView, since: Since) {
        self.sessions.insert(session.id, Entry { view: session, since });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proxy::sessions::view::SessionState;

    fn session(id: u32) -> SessionView {
        SessionView {
            id: SessionId(id),
            user: String::new(),
            client: String::new(),
            database: String::new(),
            cluster: String::new(),
            server: "s".into(),
            server_thread: ThreadId(id * 10),
            commands: 0,
            transactions: 0,
            state: SessionState::Idle,
            in_transaction: false,
            age: Duration::ZERO,
            idle: Duration::ZERO,
            pid: 1,
            client_compression: String::new(),
            server_compression: String::new(),
            client_tls: String::new(),
            server_tls: String::new(),
            tenant: String::new(),
            pins: String::new(),
            stays: String::new(),
            is_followed: false,
            readers: Vec::new(),
            crash_protected: String::new(),
        }
    }

    #[test]
    fn a_session_that_was_given_outlives_a_list_that_was_on_its_way() {
        let other_generation = OtherGeneration::default();
        other_generation.add(session(1), Since::Given);
        other_generation.replace(vec![session(2)]);
        assert_eq!(other_generation.server_thread(SessionId(1), "s"), Some(ThreadId(10)));
        assert_eq!(other_generation.server_thread(SessionId(2), "other"), None);
        // It was in neither of two lists: it has ended.
        other_generation.replace(vec![session(2)]);
        assert!(!other_generation.has(SessionId(1)));
        other_generation.remove(SessionId(2));
        assert!(other_generation.all().is_empty());
    }
}
