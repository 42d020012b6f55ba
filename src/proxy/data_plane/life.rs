//! The life of a session, from its first byte until it ends or is given out: log-in, relay, and
//! between two commands whatever else is due.
//!
//! One task, which owns the client's socket and the servers', so a session can stop at one instant.
//! Invariant: a session's entry in the registry goes with its task, unless somebody else has it.

use std::pin::pin;
use std::sync::Arc;

use super::Proxy;
use super::suspicion::Suspected;
use crate::error::ClientError;
use crate::net::stream::Stream;
use crate::proxy::accounts::taught::Taught;
use crate::proxy::digests::Digests;
use crate::proxy::in_force::InForce;
use crate::proxy::login::{self, Admitted, Login, Refusal, told_to_go};
use crate::proxy::relay::pause::FrozenAt;
use crate::proxy::relay::{Ambient, Exit, Relay, parcel};
use crate::proxy::sessions::handle::{Due, Handle, Stage};
use crate::proxy::split::{self, Rules};
use crate::session::Account;
use crate::sql::analysis::Changes;
use crate::task::{self, Panicked};

/// How a session comes to be relayed.
pub(super) enum Beginning {
    /// Its server has given its verdict on the log-in.
    LogIn,
    /// It was frozen, in another process or here.
    Thaw {
        /// At this instant, if that is known.
        frozen_at: Option<FrozenAt>,
    },
}

/// The entry in the registry of a session under way. It goes with it, whatever ends it.
pub(super) struct Entry {
    proxy: Arc<Proxy>,
    handle: Arc<Handle>,
    is_ours: bool,
}

impl Entry {
    pub(super) fn of(proxy: Arc<Proxy>, handle: Arc<Handle>) -> Self {
        Self { proxy, handle, is_ours: true }
    }

    /// Somebody else may have the session now, with an entry of its own.
    fn leave(&mut self, is_given: bool) {
        self.is_ours = !is_given;
    }

    /// Starts its task.
    pub(super) fn begin<F>(self, task: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.proxy.record.journal().cloned() {
            None => task::spawn("session", task(self)),
            Some(journal) => {
                let (handle, trial) = (self.handle.clone(), None);
                let task = Box::pin(task(self));
                task::spawn("session", Suspected { journal, handle, task, trial })
            }
        };
    }

    /// From a client that has just connected. This and what follows are no async functions: those
    /// keep their arguments twice, and there are as many of these as there are sessions.
    pub(super) fn serve(self, client: Stream) -> impl Future<Output = ()> + Send {
        // Boxed: a log-in is large and short, a session small and long.
        let login = Box::pin(self.log_in(client));
        async move {
            if let Some((entry, relay)) = login.await {
                entry.carry(relay, Beginning::LogIn).await;
            }
        }
    }

    fn logins(&self) -> login::Surroundings<'_> {
        let Proxy { shared, own_key, trail, .. } = &*self.proxy;
        login::Surroundings { shared, own_key, trail }
    }

    async fn log_in(self, client: Stream) -> Option<(Self, Box<Relay>)> {
        let limit = self.proxy.shared.in_force.load().proxy.login_timeout.0;
        let mut login = Login::new(self.logins(), &self.handle, client);
        let admitted = tokio::select! {
            biased;
            words = told_to_go(&self.handle) => Err(words),
            admitted = login.run() => admitted,
            () = tokio::time::sleep(limit) => {
                Err(Refusal::Tell(ClientError::timed_out("log-in")))
            }
        };
        match admitted {
            Ok(Admitted::ByServer(relay)) => {
                drop(login);
                Some((self, relay))
            }
            Ok(Admitted::Locally { salt, response, user, compression }) => {
                let local = login.into_local(salt, *response, user, compression);
                if let Some(local) = local {
                    // Nobody takes them only while the process ends.
                    let _ = self.proxy.local_logins.send(local);
                }
                None
            }
            Err(refusal) => {
                login.refuse(refusal).await;
                None
            }
        }
    }

    /// Relays until the session ends or is given out.
    #[expect(clippy::manual_async_fn, reason = "it would keep its arguments twice")]
    pub(super) fn carry(
        mut self,
        mut relay: Box<Relay>,
        beginning: Beginning,
    ) -> impl Future<Output = ()> + Send {
        async move {
            let mut rules = self.begin_relay(&mut relay, beginning);
            loop {
                let turned =
                    task::caught("relay", pin!(self.turn(&mut relay, rules.as_deref()))).await;
                match turned {
                    Ok(Exit::Changing | Exit::Moving | Exit::Routing | Exit::Resting) => {}
                    Ok(Exit::Fencing) => {
                        self.handle.set_done(Due::Fence);
                        rules = rules.or_else(|| self.split(&mut relay));
                    }
                    Ok(Exit::Frozen) => {
                        self.handle.set_stage(Stage::Moving);
                        let is_given = self.give_out(*relay);
                        self.leave(is_given);
                        return;
                    }
                    Ok(Exit::Ended) => return relay.close(),
                    Err(Panicked) => match relay.salvage() {
                        Ok(salvaged) => {
                            self.handle.set_stage(Stage::Moving);
                            let is_given = self.proxy.take_up(salvaged);
                            self.leave(is_given);
                            return;
                        }
                        // After a panic, too, both connections are closed, whoever else holds them.
                        Err(relay) => return relay.close(),
                    },
                }
            }
        }
    }

    /// At the first poll; where its statements go, if they are split.
    fn begin_relay(&self, relay: &mut Relay, beginning: Beginning) -> Option<Arc<Rules>> {
        if let Beginning::Thaw { frozen_at } = beginning {
            // The pause ends here: from now on a byte that comes is a byte that moves, and an idle
            // session has none.
            if let Some(pause) = frozen_at.and_then(FrozenAt::pause) {
                self.proxy.shared.sessions.counters.pauses.record(pause);
            }
        }
        if let Some(journal) = self.proxy.record.journal() {
            relay.protect(&self.handle, journal);
            // Before its client hears that it is logged in.
            relay.record_at_once(&self.handle);
        }
        self.split(relay)
    }

    /// Relays until the session ends, is frozen, or its user is another one.
    fn turn<'a>(
        &'a self,
        relay: &'a mut Relay,
        rules: Option<&'a Rules>,
    ) -> impl Future<Output = Exit> + Send + 'a {
        let (shared, handle) = (&self.proxy.shared, &self.handle);
        let cluster = handle.facts().cluster.clone();
        let around = Around { in_force: &shared.in_force, handle, cluster };
        async move {
            let orders = &shared.orders;
            match relay.run(&shared.sessions.registry, handle, &around).await {
                Exit::Changing if !Box::pin(self.logins().change_user(relay, handle)).await => {
                    Exit::Ended
                }
                Exit::Moving
                    if !Box::pin(orders.carry_out(relay, handle, &shared.sessions)).await =>
                {
                    Exit::Ended
                }
                Exit::Routing if !Box::pin(self.route(relay, rules)).await => Exit::Ended,
                Exit::Resting if !Box::pin(self.rest(relay, rules)).await => Exit::Ended,
                exit => exit,
            }
        }
    }

    /// Turns the session to the link that its next command is for; false if that has ended it.
    async fn route(&self, relay: &mut Relay, rules: Option<&Rules>) -> bool {
        match rules {
            Some(rules) => split::route(relay, &self.handle, rules).await,
            // Nobody else asks for it.
            None => false,
        }
    }

    /// Sees to the home of a session that reads elsewhere; false if that has ended it.
    async fn rest(&self, relay: &mut Relay, rules: Option<&Rules>) -> bool {
        self.handle.set_done(Due::Rest);
        match rules {
            Some(rules) => split::rest::see_to_home(relay, &self.handle, rules).await,
            None => true,
        }
    }

    /// Sees to it that the session's reads go to replicas, if its cluster wants that, and that all
    /// else does not.
    fn split(&self, relay: &mut Relay) -> Option<Arc<Rules>> {
        relay.session().portable()?;
        let (shared, handle) = (&self.proxy.shared, &self.handle);
        let cluster = handle.facts().cluster.clone();
        // Who has several links is led to the right one, whatever the config says meanwhile.
        let is_wanted = relay.links().len() > 1
            || relay.session().is_refused()
            || shared.in_force.splits(&cluster)
            || Rules::is_left_behind(&shared.in_force, &cluster, &relay.home().server);
        if !is_wanted {
            return None;
        }
        let rules = Arc::new(Rules::of(shared, &cluster, handle.id.0.into()));
        relay.set_router(rules.clone());
        handle.facts().trace = Some(rules.trace().clone());
        Some(rules)
    }

    /// What is known of the session's account, if that is good for anything.
    fn taught(&self, relay: &Relay) -> Option<Taught> {
        relay.session().portable()?;
        let cluster = self.handle.facts().cluster.clone();
        let clusters = self.proxy.shared.in_force.clusters();
        clusters.find(&cluster)?.taught(relay.session().user())
    }

    /// Whether the session is somebody else's now.
    fn give_out(&self, mut relay: Relay) -> bool {
        let (proxy, handle) = (&self.proxy, &self.handle);
        let frozen_at = FrozenAt::now();
        let taught = self.taught(&relay);
        let slot = relay.give(handle);
        let parts = match relay.into_parts() {
            Ok(parts) => parts,
            Err(error) => {
                tracing::error!(id = handle.id.0, %error, "session lost: cannot leave the runtime");
                return false;
            }
        };
        let parcel = match parcel::pack(parts, handle, frozen_at, taught.as_ref(), slot) {
            Ok(parcel) => parcel,
            Err(error) => {
                tracing::error!(id = handle.id.0, %error, "session lost: cannot be packed");
                return false;
            }
        };
        let refused = match handle.parcel_order() {
            Some(order) => order.send(parcel).err(),
            None => Some(parcel),
        };
        // Nobody waits for it any more: it goes on here.
        refused.is_none_or(|parcel| proxy.go_on(parcel))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_ours {
            let (cluster, server) = {
                let facts = self.handle.facts();
                (facts.cluster.clone(), facts.server.clone())
            };
            let shared = &self.proxy.shared;
            if let Some(cluster) = shared.in_force.clusters().find(&cluster) {
                cluster.count(&server, self.handle.statements());
            }
            shared.sessions.registry.end(&self.handle);
        }
    }
}

/// What a session's cluster knows.
struct Around<'a> {
    in_force: &'a InForce,
    handle: &'a Arc<Handle>,
    cluster: Arc<str>,
}

impl Ambient for Around<'_> {
    fn account(&self, name: &[u8]) -> Result<Option<Account>, ClientError> {
        login::destination::account(self.in_force, self.handle, name)
    }

    fn may_be_switched(&self) -> bool {
        self.in_force.may_be_switched(&self.cluster)
    }

    fn is_lost(&self, server: &str) -> bool {
        self.in_force.is_lost(&self.cluster, server)
    }

    fn fired(&self, server: &str) -> Changes {
        self.in_force.fired(&self.cluster, server)
    }

    fn called(&self, server: &str, name: &[u8]) -> Changes {
        self.in_force.called(&self.cluster, server, name)
    }

    fn handle_definition(&self, server: &str) {
        self.in_force.doubt_programs(&self.cluster, server);
    }

    fn explained(&self, server: &str, sql: &[u8]) -> Vec<u8> {
        let clusters = self.in_force.clusters();
        let topology = clusters.find(&self.cluster).map(|cluster| cluster.topology());
        split::explained(server, topology.as_deref(), sql)
    }

    fn digests(&self) -> &Digests {
        self.in_force.digests()
    }
}
