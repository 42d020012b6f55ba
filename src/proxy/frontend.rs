//! Drives one [`Session`]: reads, lets it judge, writes.
//!
//! Everything about the session is in [`Relay`], nothing in a future: it can be taken apart between
//! any two polls. Invariant: a byte that was read is in a lane or was written.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::exchange;
use super::farewell::Farewell;
use super::handle::{Handle, Signal, Spoken, Stage};
use super::lane::{Lane, Source};
use super::leg::{Leg, Parts as LegParts};
use super::numbering::Numbering;
use super::parcel;
use super::registry::Registry;
use crate::error::ClientError;
use crate::restart::Replica;
use crate::session::{Directory, Session};

/// A session with its sockets and the bytes in transit.
#[derive(Debug)]
pub struct Relay {
    pub(super) client: Leg,
    pub(super) server: Leg,
    /// When a leg is compressed.
    pub(super) numbering: Option<Numbering>,
    pub(super) session: Session,
    /// Client to server.
    pub(super) up: Lane,
    /// Server to client.
    pub(super) down: Lane,
    /// The server's address.
    pub(super) server_name: Arc<str>,
    /// A predecessor may still hold duplicates of the sockets, in case this process dies.
    is_shared: bool,
    pub(super) farewell: Option<Box<Farewell>>,
}

/// Why a relay stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// One of the sides is gone, or was told to go.
    Ended,
    /// It was asked to freeze and can go on anywhere.
    Frozen,
    /// A COM_CHANGE_USER is with the server, and its exchange is to be followed.
    Changing,
}

/// The session's view of the others on its server.
pub(super) struct Others<'a> {
    pub(super) registry: &'a Registry,
    pub(super) server: &'a Arc<str>,
}

impl Directory for Others<'_> {
    fn server_thread(&self, connection: u32) -> Option<u32> {
        self.registry.server_thread(connection, self.server)
    }
}

/// What a poll needs beside the relay.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) registry: &'a Registry,
    pub(super) handle: &'a Handle,
}

impl Relay {
    /// A session whose server has given its verdict on the log-in, which is the first thing in
    /// `down`. What the client has sent since its last word in the log-in is in `up`.
    pub fn new(
        client: Leg,
        server: Leg,
        session: Session,
        server_name: Arc<str>,
        up: Lane,
        down: Lane,
    ) -> Self {
        let mut relay = Self::resumed(client, server, session, server_name, up, down);
        relay.is_shared = false;
        relay
    }

    /// A session that was frozen before.
    pub fn resumed(
        client: Leg,
        server: Leg,
        mut session: Session,
        server_name: Arc<str>,
        up: Lane,
        down: Lane,
    ) -> Self {
        session.hold_exchanges(exchange::held(&client, &server));
        let numbering = Numbering::between(&client, &server);
        Self {
            client,
            server,
            numbering,
            session,
            up,
            down,
            server_name,
            is_shared: true,
            farewell: None,
        }
    }

    /// Closes both connections, whoever else holds them.
    pub fn close(mut self) {
        if self.is_shared {
            self.client.shutdown_both();
            self.server.shutdown_both();
        }
    }

    /// Takes the session apart. On an error the session is lost: its sockets cannot be had back.
    pub fn into_parts(self) -> io::Result<Parts> {
        Ok(Parts {
            client: self.client.into_parts()?,
            server: self.server.into_parts()?,
            numbering: self.numbering,
            session: self.session,
            up: self.up,
            down: self.down,
            server_name: self.server_name,
        })
    }

    /// Relays until one side is gone or a signal takes the session away.
    pub async fn run(&mut self, registry: &Registry, handle: &Handle) -> Exit {
        let around = Surroundings { registry, handle };
        let mut obeyed = Signal::None;
        poll_fn(|cx| {
            handle.listen(cx.waker());
            if let Some(order) = handle.copy_order() {
                self.give_copy(order, handle);
            }
            let signal = handle.signal();
            if signal != obeyed {
                match signal {
                    Signal::Freeze if self.farewell.is_none() => return Poll::Ready(Exit::Frozen),
                    Signal::None | Signal::Freeze => obeyed = signal,
                    Signal::Inactive | Signal::Shutdown => {
                        obeyed = signal;
                        self.bid_farewell(match signal {
                            Signal::Inactive => ClientError::inactive(),
                            _ => ClientError::shutdown(),
                        });
                    }
                    Signal::Kill => return Poll::Ready(Exit::Ended),
                }
            }
            if self.poll_relay(cx, around).is_ready() {
                return Poll::Ready(Exit::Ended);
            }
            self.publish(registry, handle);
            if self.is_exchange_due() {
                return Poll::Ready(Exit::Changing);
            }
            Poll::Pending
        })
        .await
    }

    /// A session that would not move, as it is on its way in or out, gives none.
    fn give_copy(&self, order: oneshot::Sender<Replica>, handle: &Handle) {
        if self.farewell.is_some() {
            return;
        }
        match parcel::copy(self, handle) {
            // Nobody may be waiting any more.
            Ok(copy) => drop(order.send(copy)),
            Err(error) => tracing::error!(id = handle.id, %error, "cannot be copied"),
        }
    }

    /// The user, as people see it.
    pub(super) fn user(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.session.user())
    }

    /// Shows the others how far the session is.
    pub(super) fn publish(&mut self, registry: &Registry, handle: &Handle) {
        let conversation = self.session.conversation();
        let in_transaction = self.session.may_be_in_transaction();
        let stage = match (conversation.is_idle(), in_transaction) {
            _ if self.farewell.is_some() => Stage::Closing,
            (true, false) => Stage::Idle,
            (true, true) => Stage::IdleInTransaction,
            (false, false) => Stage::Active,
            (false, true) => Stage::ActiveInTransaction,
        };
        let before = handle.stage();
        if stage != before {
            handle.set_stage(stage);
        }
        if before.is_in_transaction() && matches!(stage, Stage::Idle | Stage::Active) {
            handle.counters.client_transactions.add(1);
        }
        if self.session.take_renamed() {
            registry.limits.rename(&mut handle.seat(), &self.user());
            let mut facts = handle.facts();
            facts.user = self.user().into();
            facts.database = String::from_utf8_lossy(self.session.database()).into();
        }
    }

    /// What its connections speak never changes.
    pub(super) fn publish_tls(&self, handle: &Handle) {
        let mut facts = handle.facts();
        facts.client_tls = Spoken::on(self.client.stream());
        facts.server_tls = Spoken::on(self.server.stream());
    }

    /// Moves what can be moved; ready when the session is over.
    fn poll_relay(&mut self, cx: &mut Context<'_>, around: Surroundings<'_>) -> Poll<()> {
        loop {
            if self.farewell.is_some() {
                return self.poll_farewell(cx, around);
            }
            if self.poll_up(cx, around).is_ready() || self.poll_down(cx, around).is_ready() {
                return Poll::Ready(());
            }
            // An answer may have made room for commands that wait in the lane.
            let waiting = !self.up.unjudged().is_empty();
            if !(waiting && self.judge_up(around)) && self.farewell.is_none() {
                return Poll::Pending;
            }
        }
    }

    /// Client to server; ready when the client is gone.
    fn poll_up(&mut self, cx: &mut Context<'_>, around: Surroundings<'_>) -> Poll<()> {
        loop {
            if ready!(self.up.poll_drain(cx, &mut self.server)).is_err() {
                // The server takes no more, but its last words may still be on their way.
                self.up.clear();
                self.up.set_source(Source::Closed);
            }
            match self.up.source() {
                Source::Closed => return Poll::Pending,
                Source::Ended if self.numbering.is_some() && self.judge_up(around) => {}
                Source::Ended => {
                    // What can't be judged any more belongs to no whole packet.
                    self.up.judge(self.up.unjudged().len());
                    if self.up.pending().is_empty() {
                        if self.down.is_empty() && self.session.conversation().is_over() {
                            // Closing says FIN to both. After a QUIT the server's own need not be
                            // waited for; without one MySQL has a last word for who still listens.
                            return Poll::Ready(());
                        }
                        self.server.shutdown_write();
                        self.up.set_source(Source::Closed);
                    }
                }
                Source::Open if self.up.is_full() => return Poll::Pending,
                // What can be judged is, while it is known in which frame it came.
                Source::Open
                    if self.numbering.is_some()
                        && !self.up.unjudged().is_empty()
                        && self.judge_up(around) => {}
                Source::Open => match ready!(self.up.poll_fill(cx, &mut self.client)) {
                    Ok(0) => self.up.set_source(Source::Ended),
                    Ok(n) => {
                        around.handle.counters.request_bytes.add(n as u64);
                        self.judge_up(around);
                    }
                    Err(error) if self.client.corrupt().is_some() => {
                        tracing::info!(id = around.handle.id, %error, "client's compression");
                        self.bid_farewell(ClientError::corrupt_frame());
                        return Poll::Pending;
                    }
                    Err(_) => return Poll::Ready(()),
                },
            }
        }
    }

    /// Server to client; ready when either is gone.
    fn poll_down(&mut self, cx: &mut Context<'_>, around: Surroundings<'_>) -> Poll<()> {
        loop {
            if ready!(self.down.poll_drain(cx, &mut self.client)).is_err() {
                return Poll::Ready(());
            }
            if !self.down.unjudged().is_empty() {
                self.judge_down(around);
                if !self.down.pending().is_empty() {
                    continue;
                }
            }
            match self.down.source() {
                Source::Open => match ready!(self.down.poll_fill(cx, &mut self.server)) {
                    Ok(n) if n > 0 => {
                        around.handle.counters.response_bytes.add(n as u64);
                        self.judge_down(around);
                    }
                    Ok(_) | Err(_) => self.down.set_source(Source::Ended),
                },
                Source::Ended => {
                    self.down.judge(self.down.unjudged().len());
                    if self.down.pending().is_empty() {
                        self.server_left();
                        return Poll::Pending;
                    }
                }
                Source::Closed => return Poll::Ready(()),
            }
        }
    }

    /// Whether anything was judged.
    fn judge_up(&mut self, around: Surroundings<'_>) -> bool {
        if self.numbering.is_some() {
            return self.judge_up_numbered(around);
        }
        let Surroundings { registry, handle } = around;
        let others = Others { registry, server: &self.server_name };
        let mut any = false;
        loop {
            let unjudged = self.up.unjudged();
            let intake = self.session.handle_client(unjudged, &others, &handle.counters);
            any |= intake.consumed > 0;
            if !apply(&mut self.up, intake) {
                return any;
            }
        }
    }

    fn judge_down(&mut self, around: Surroundings<'_>) {
        if self.numbering.is_some() {
            return self.judge_down_numbered(around);
        }
        let unjudged = self.down.unjudged();
        let judged = self.session.handle_server(unjudged, &around.handle.counters);
        self.down.judge(judged);
    }
}

/// Marks what was judged; true when there may be more to judge behind a rewritten packet.
pub(super) fn apply(lane: &mut Lane, intake: crate::session::Intake) -> bool {
    let Some(rewrite) = intake.rewrite else {
        lane.judge(intake.consumed);
        return false;
    };
    // No command grows by that.
    let spliced = lane.splice(&rewrite);
    debug_assert!(spliced, "no room for a rewritten packet");
    let length = if spliced { rewrite.with.len() } else { rewrite.range.len() };
    lane.judge(rewrite.range.start + length);
    true
}

/// A relay outside the runtime.
#[derive(Debug)]
pub struct Parts {
    /// The client's connection.
    pub client: LegParts,
    /// The server's connection.
    pub server: LegParts,
    /// When a leg is compressed.
    pub numbering: Option<Numbering>,
    /// The session.
    pub session: Session,
    /// Client to server.
    pub up: Lane,
    /// Server to client.
    pub down: Lane,
    /// The server's address.
    pub server_name: Arc<str>,
}
