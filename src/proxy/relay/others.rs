//! What a session may ask of all that is around it.

use std::sync::Arc;

use crate::error::ClientError;
use crate::proxy::digests::Digests;
use crate::proxy::sessions::registry::Registry;
use crate::session::programs::{Programs, ProgramsOf};
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
    pub(super) ambient: Ambient<'a>,
}

/// What the session's cluster knows.
#[derive(Clone, Copy)]
pub struct Ambient<'a> {
    /// What users' names mean.
    pub accounts: &'a Accounts<'a>,
    /// Whether another server may come to take the cluster's writes.
    pub switched: &'a (dyn Fn() -> bool + Sync + 'a),
    /// Whether a server, by its address, does not answer.
    pub lost: &'a (dyn Fn(&str) -> bool + Sync + 'a),
    /// What stored programs do.
    pub programs: &'a (dyn ProgramsOf + Sync + 'a),
    /// Who counts statements.
    pub digests: &'a Digests,
}

/// What a user's name means on a session's server. See [`Directory::account`].
pub type Accounts<'a> = dyn Fn(&[u8]) -> Result<Option<Account>, ClientError> + Sync + 'a;

impl Programs for Others<'_> {
    fn fired(&self) -> Changes {
        self.ambient.programs.fired(self.server)
    }

    fn called(&self, name: &[u8]) -> Changes {
        self.ambient.programs.called(self.server, name)
    }

    fn handle_definition(&self) {
        self.ambient.programs.handle_definition(self.server);
    }
}

impl Directory for Others<'_> {
    fn router(&self) -> Option<&dyn Router> {
        self.router
    }

    fn shapes(&self) -> Option<&dyn Shapes> {
        self.ambient.digests.shapes()
    }

    fn programs(&self) -> &dyn Programs {
        self
    }

    fn may_be_switched(&self) -> bool {
        (self.ambient.switched)()
    }

    fn server_thread(&self, connection: SessionId) -> Option<ThreadId> {
        self.registry.server_thread(connection, self.server)
    }

    fn thread_elsewhere(&self, thread: ThreadId) -> Option<ThreadId> {
        let named = self.registry.find_named(thread.0.into(), self.home.as_ref()?)?;
        let reader = named.facts().reader.clone()?;
        (reader.server == *self.server).then_some(reader.thread)
    }

    fn account(&self, name: &[u8]) -> Result<Option<Account>, ClientError> {
        (self.ambient.accounts)(name)
    }
}
