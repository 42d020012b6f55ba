//! What clients are greeted with: what servers have said, as far as all of them say so.

use std::sync::Arc;

use super::{Cluster, Server, for_clients};
use crate::wire::capability as cap;
use crate::wire::handshake::Greeting;

impl Cluster {
    /// Leaves of a greeting what every server that is known can do, and what a session may count on
    /// that goes on with another.
    pub(super) fn limit(&self, greeting: &mut Greeting) {
        if self.can_move_sessions() {
            // The next server does not know which columns a client was told by the one before.
            greeting.extended &= !cap::mariadb::CACHE_METADATA;
        }
        for known in self.servers.iter().filter_map(|server| server.greeting.load_full()) {
            greeting.capabilities &= known.capabilities;
            greeting.extended &= known.extended;
        }
    }

    /// Whether a server was heard: there is something to greet a client with.
    pub(super) fn is_known(&self) -> bool {
        self.servers.iter().any(|server| server.greeting.load().is_some())
    }

    /// What to greet a client with: what every server that is known can do, in the words of the
    /// first of them. None before any server was heard.
    pub fn greeting(&self) -> Option<Greeting> {
        let first = self.servers.iter().find_map(|server| server.greeting.load_full())?;
        let mut greeting = for_clients((*first).clone());
        self.limit(&mut greeting);
        Some(greeting)
    }

    /// Every remembered greeting, by server address.
    pub fn greetings(&self) -> Vec<(String, Greeting)> {
        let known = |server: &Arc<Server>| {
            Some((server.address.to_string(), (*server.greeting.load_full()?).clone()))
        };
        self.servers.iter().filter_map(known).collect()
    }
}
