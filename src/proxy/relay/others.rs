//! What a session may ask of all that is around it.

use std::sync::Arc;

use crate::error::ClientError;
use crate::proxy::digests::Digests;
use crate::proxy::sessions::registry::Registry;
use crate::session::programs::Programs;
use crate::session::routing::Router;
use crate::session::stamp::Shapes;
use crate::session::{Account, Directory};
use crate::sql::analysis::Changes;
use crate::wire::id::{SessionId, ThreadId};

/// The session's view of the others on its server.
pub(super) struct Others<'a> {
    pub(super) registry: &'a Registry,
    pub(super) server: &'a Arc<str>,
    /// The home's, if that is another one.
    pub(super) home: Option<Arc<str>>,
    pub(super) router: Option<&'a dyn Router>,
    pub(super) ambient: &'a dyn Ambient,
}

/// What the session's cluster knows; servers by their addresses.
pub trait Ambient: Sync {
    /// What a user's name means there. See [`Directory::account`].
    fn account(&self, name: &[u8]) -> Result<Option<Account>, ClientError>;

    /// Whether another server may come to take the cluster's writes.
    fn may_be_switched(&self) -> bool;

    /// Whether a server does not answer.
    fn is_lost(&self, server: &str) -> bool;

    /// What triggers of a server may change. See [`Programs::fired`].
    fn fired(&self, server: &str) -> Changes;

    /// What its stored routines may. See [`Programs::called`].
    fn called(&self, server: &str, name: &[u8]) -> Changes;

    /// One of them is being defined anew, or dropped. See [`Programs::handle_definition`].
    fn handle_definition(&self, server: &str);

    /// The statement by which a server, whose the session is, tells where this one goes. See
    /// [`Directory::explained`].
    fn explained(&self, server: &str, sql: &[u8]) -> Vec<u8>;

    /// Who counts statements.
    fn digests(&self) -> &Digests;
}

impl Programs for Others<'_> {
    fn fired(&self) -> Changes {
        self.ambient.fired(self.server)
    }

    fn called(&self, name: &[u8]) -> Changes {
        self.ambient.called(self.server, name)
    }

    fn handle_definition(&self) {
        self.ambient.handle_definition(self.server);
    }
}

impl Directory for Others<'_> {
    fn router(&self) -> Option<&dyn Router> {
        self.router
    }

    fn shapes(&self) -> Option<&dyn Shapes> {
        self.ambient.digests().shapes()
    }

    fn programs(&self) -> &dyn Programs {
        self
    }

    fn may_be_switched(&self) -> bool {
        self.ambient.may_be_switched()
    }

    fn server_thread(&self, connection: SessionId) -> Option<ThreadId> {
        self.registry.server_thread(connection, self.server)
    }

    fn thread_elsewhere(&self, thread: ThreadId) -> Option<ThreadId> {
        let named = self.registry.find_named(thread.0.into(), self.home.as_ref()?)?;
        let reader = named.facts().reader.clone()?;
        (reader.server == *self.server).then_some(reader.thread)
    }

    fn explained(&self, sql: &[u8]) -> Option<Vec<u8>> {
        self.router.is_none().then(|| self.ambient.explained(self.server, sql))
    }

    fn account(&self, name: &[u8]) -> Result<Option<Account>, ClientError> {
        self.ambient.account(name)
    }
}
