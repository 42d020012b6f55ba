//! Servers that are to be left by everybody.

use std::sync::Arc;
use std::time::Instant;

use super::Cluster;
use crate::route::order::{Asker, Stays, refuge};
use crate::route::topology::{Server, ServerId};

impl Cluster {
    /// The addresses of those of its servers that are to be left by everybody.
    pub(in crate::proxy) fn draining(&self) -> Vec<Arc<str>> {
        self.addresses(|server| server.is_draining)
    }

    /// The addresses of those that do not answer.
    pub(in crate::proxy) fn lost(&self) -> Vec<Arc<str>> {
        self.addresses(|server| server.is_lost)
    }

    fn addresses(&self, is_one: impl Fn(&Server) -> bool) -> Vec<Arc<str>> {
        let topology = self.topology();
        let found = topology.servers().iter().filter(|server| is_one(server));
        found.map(|server| server.member.address.clone()).collect()
    }

    /// Where a session goes on whose home is on this server, if it is to leave that; or why it
    /// stays all the same.
    pub(in crate::proxy) fn refuge(
        &self,
        from: &str,
        asker: Asker,
    ) -> Option<Result<Arc<str>, Stays>> {
        let (topology, now) = (self.topology(), Instant::now());
        let from = match topology.at(from) {
            Some(server) if !server.is_draining => return None,
            server => server.map(Server::id),
        };
        let standing = |id: ServerId| self.standing(&topology, id, now);
        Some(match refuge(&topology, &standing, asker, from) {
            Ok(to) => Ok(topology.server(to)?.member.address.clone()),
            Err(why) => Err(why),
        })
    }
}
