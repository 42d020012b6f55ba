//! Sessions of the other generation, while two live: so that KILL and SHOW reach them too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::view::SessionView;

/// What the other process has told, and what was given to it.
#[derive(Debug, Default)]
pub struct Elsewhere(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    sessions: HashMap<u32, SessionView>,
    /// Ids by server and the id there.
    threads: HashMap<(String, u32), u32>,
}

impl Elsewhere {
    /// Replaces all that was known.
    pub fn replace(&self, sessions: Vec<SessionView>) {
        let mut known = self.lock();
        *known = Known::default();
        sessions.into_iter().for_each(|session| known.add(session));
    }

    /// One more session lives there.
    pub fn add(&self, session: SessionView) {
        self.lock().add(session);
    }

    /// The session lives here now.
    pub fn remove(&self, id: u32) {
        let mut known = self.lock();
        if let Some(session) = known.sessions.remove(&id) {
            known.threads.remove(&(session.server, session.server_thread));
        }
    }

    /// Every session that lives there.
    pub fn all(&self) -> Vec<SessionView> {
        self.lock().sessions.values().cloned().collect()
    }

    /// Whether a session lives there.
    pub fn has(&self, id: u32) -> bool {
        self.lock().sessions.contains_key(&id)
    }

    /// The id on this server of a session that lives there.
    pub fn server_thread(&self, id: u32, server: &str) -> Option<u32> {
        let known = self.lock();
        let session = known.sessions.get(&id)?;
        (session.server == server).then_some(session.server_thread)
    }

    /// The id its client was shown, of a session that lives there.
    pub fn connection(&self, server: &str, thread: u32) -> Option<u32> {
        self.lock().threads.get(&(server.to_owned(), thread)).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn add(&mut self, session: SessionView) {
        if session.server_thread != 0 {
            self.threads.insert((session.server.clone(), session.server_thread), session.id);
        }
        self.sessions.insert(session.id, session);
    }
}
