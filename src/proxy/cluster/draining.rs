//! Servers that are to be left by everybody.

use std::sync::Arc;

use super::{Cluster, Server};

impl Cluster {
    /// Whether any of its servers is to be left by everybody.
    pub(in crate::proxy) fn has_draining_servers(&self) -> bool {
        self.section.server.iter().any(|server| server.draining)
    }

    /// Where a session may go that is on this server, if it is to leave that.
    pub(in crate::proxy) fn refuge(&self, from: &str) -> Option<Arc<str>> {
        if !self.is_draining(from) {
            return None;
        }
        let is_good =
            |server: &&Arc<Server>| !self.is_draining(&server.address) && !server.is_suspect();
        self.servers.iter().find(is_good).map(|server| server.address.clone())
    }

    fn is_draining(&self, address: &str) -> bool {
        let mut sections = self.section.server.iter();
        sections.any(|server| server.draining && server.address.to_string() == address)
    }
}
