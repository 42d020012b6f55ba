//! Drives one [`Session`]: reads, lets it judge, writes.
//!
//! Everything about the session is in [`Relay`], nothing in a future: it can be taken apart between
//! any two polls. Invariant: a byte that was read is in a lane or was written.

pub mod channel;
mod closing;
pub(super) mod errand;
pub mod leg;
pub mod link;
mod marked;
mod others;
pub mod parcel;
pub mod pause;
mod poison;
pub(super) mod protection;
mod several;

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;

use super::sessions::handle::{Due, Handle, Signal, Spoken, Stage};
use super::sessions::registry::Registry;
use crate::error::ClientError;
use crate::net::stream::Stream;
use crate::restart::Replica;
use crate::session::judge::Judge;
use crate::session::lane::{Lane, Source};
use crate::session::link::{Link as LinkState, LinkId};
use crate::session::machine::repeat::Farewell;
use crate::session::numbering::Numbering;
use crate::session::portable::LoggedInAs;
use crate::session::routing::Router;
use crate::session::{Session, Want};
use crate::wire::compressed::Compression;
use crate::wire::id::ServerStatementId;
use closing::{Closing, ClosingEnds};
pub use closing::{MOST_LINGERING, close_at_once, close_lingering};
use leg::{Leg, Parts as LegParts};
use link::Link;
use marked::Marked;
pub use others::Ambient;
use others::Others;
use protection::Protection;

/// A session with its sockets and the bytes in transit.
#[derive(Debug)]
pub struct Relay {
    /// First, as it is to be dropped before the sockets are.
    protection: Protection,
    client: Leg,
    /// Client to servers.
    up: Lane,
    /// By their [`LinkId`].
    links: SmallVec<[Link; 1]>,
    /// When a leg is compressed.
    numbering: Option<Numbering>,
    session: Marked<Session>,
    /// Where the session's commands are split among several links.
    router: Option<Arc<dyn Router>>,
    /// A predecessor may still hold duplicates of the sockets, in case this process dies.
    is_shared: bool,
    closing: Option<Box<Closing>>,
    /// Others know that this link has the client's commands.
    shown: Option<LinkId>,
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
    /// It stands where it can go on with another server, as it was asked to.
    Moving,
    /// Its next command is for another link than the one before.
    Routing,
    /// Its cluster has another primary.
    Fencing,
    /// Its home is to be seen to, which has nothing to do.
    Resting,
}

/// What a poll needs beside the relay.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    registry: &'a Registry,
    handle: &'a Handle,
    ambient: &'a dyn Ambient,
}

/// Both ends of an authentication exchange that is due, and what was read of them.
#[derive(Debug)]
pub struct Ends<'a> {
    /// The client's leg.
    pub client: &'a mut Leg,
    /// The server's.
    pub server: &'a mut Leg,
    /// Bytes of the client's.
    pub said: Vec<u8>,
    /// Bytes of the server's.
    pub told: Vec<u8>,
    /// The number of the next packet to the client.
    pub next: u8,
}

impl Relay {
    /// A session whose server has given its verdict on the log-in, which is the first thing in its
    /// link. What the client has sent since its last word in the log-in is in `up`.
    pub fn new(client: Leg, up: Lane, link: Link, session: Session) -> Self {
        let mut relay = Self::resumed(client, up, smallvec![link], session);
        relay.is_shared = false;
        relay
    }

    /// A session that was frozen before. There are as many links as it has.
    fn resumed(client: Leg, up: Lane, links: SmallVec<[Link; 1]>, mut session: Session) -> Self {
        for (place, link) in links.iter().enumerate() {
            session.hold_exchanges(LinkId::at(place), leg::held(&client, &link.leg));
        }
        let numbering = links.iter().find_map(|link| Numbering::between(&client, &link.leg));
        let (router, is_shared, closing, protection) = (None, true, None, Protection::Off);
        let shown = Some(LinkId::HOME);
        Self {
            protection,
            client,
            up,
            links,
            numbering,
            session: session.into(),
            router,
            is_shared,
            closing,
            shown,
        }
    }

    /// Closes all connections, whoever else holds them.
    pub fn close(mut self) {
        self.protection = Protection::Off;
        if self.is_shared {
            self.client.shutdown_both();
            self.links.iter_mut().for_each(|link| link.leg.shutdown_both());
        }
    }

    /// Takes the session apart. On an error the session is lost: its sockets cannot be had back.
    pub fn into_parts(mut self) -> io::Result<Parts> {
        self.protection = Protection::Off;
        Ok(Parts {
            client: self.client.into_parts()?,
            up: self.up,
            links: self.links.into_iter().map(Link::into_parts).collect::<io::Result<_>>()?,
            numbering: self.numbering,
            session: self.session.into_inner(),
        })
    }

    /// How the client's leg is compressed, and the home's.
    fn compressions(&self) -> [Option<Compression>; 2] {
        [self.client.compression(), self.home().leg.compression()]
    }

    /// The link that the session has logged in by.
    pub fn home(&self) -> &Link {
        &self.links[LinkId::HOME.place()]
    }

    /// Relays until one side is gone or a signal takes the session away. No async function: that
    /// would keep its arguments twice, for each session.
    pub fn run<'a>(
        &'a mut self,
        registry: &'a Registry,
        handle: &'a Handle,
        ambient: &'a dyn Ambient,
    ) -> impl Future<Output = Exit> + Send + 'a {
        let around = Surroundings { registry, handle, ambient };
        let mut obeyed = Signal::None;
        poll_fn(move |cx| self.poll_run(cx, around, &mut obeyed))
    }

    fn poll_run(
        &mut self,
        cx: &mut Context<'_>,
        around: Surroundings<'_>,
        obeyed: &mut Signal,
    ) -> Poll<Exit> {
        let Surroundings { registry, handle, ambient } = around;
        if self.closing.is_none() {
            poison::pass(&self.client);
        }
        handle.listen(cx.waker());
        if handle.is_anything_due()
            && let Some(exit) = self.due_at_once(handle, ambient)
        {
            return Poll::Ready(exit);
        }
        if let Some(exit) = self.obey(handle.signal(), obeyed) {
            return Poll::Ready(exit);
        }
        let was_on_errand = self.is_on_errand();
        if self.poll_relay(cx, around).is_ready() {
            return Poll::Ready(Exit::Ended);
        }
        if was_on_errand && !self.is_on_errand() {
            // Whoever waits for that has not been heard.
            cx.waker().wake_by_ref();
        }
        self.publish(registry, handle);
        self.record(handle);
        if self.is_exchange_due() {
            return Poll::Ready(Exit::Changing);
        }
        if handle.is_due(Due::Move) && self.may_move() {
            return Poll::Ready(Exit::Moving);
        }
        if self.is_route_due() {
            return Poll::Ready(Exit::Routing);
        }
        Poll::Pending
    }

    /// Does what a signal says, once.
    fn obey(&mut self, signal: Signal, obeyed: &mut Signal) -> Option<Exit> {
        if signal == *obeyed {
            return None;
        }
        match signal {
            // What its home owes comes first; it is not much.
            Signal::Freeze | Signal::Inactive | Signal::Shutdown if self.is_on_errand() => {}
            Signal::Freeze if self.closing.is_none() => return Some(Exit::Frozen),
            Signal::None | Signal::Freeze => *obeyed = signal,
            Signal::Inactive | Signal::Shutdown => {
                *obeyed = signal;
                self.close_with(match signal {
                    Signal::Inactive => ClientError::inactive(),
                    _ => ClientError::shutdown(),
                });
            }
            Signal::Kill => return Some(Exit::Ended),
        }
        None
    }

    /// Waits no more for the answers of servers that do not answer: goes on as if they had closed.
    fn give_up_lost(&mut self, ambient: &dyn Ambient) {
        for (place, link) in self.links.iter_mut().enumerate() {
            let state = self.session.conversation().link(LinkId::at(place));
            if state.awaits_answer() && ambient.is_lost(&link.server) {
                link.leg.shutdown_both();
            }
        }
    }

    /// What it is asked to do before anything more is passed on, if it can.
    fn due_at_once(&mut self, handle: &Handle, ambient: &dyn Ambient) -> Option<Exit> {
        if handle.is_due(Due::Lost) {
            handle.set_done(Due::Lost);
            self.give_up_lost(ambient);
        }
        if let Some(order) = handle.copy_order() {
            self.give_copy(order, handle);
        }
        if self.closing.is_some() || self.is_on_errand() {
            return None;
        }
        if handle.is_due(Due::Fence) {
            return Some(Exit::Fencing);
        }
        handle.is_due(Due::Rest).then_some(Exit::Resting)
    }

    /// A session that would not move, as it is on its way in or out, gives none.
    fn give_copy(&self, order: oneshot::Sender<Replica>, handle: &Handle) {
        if self.closing.is_some() || self.is_on_errand() {
            return;
        }
        match parcel::copy(self, handle) {
            // Nobody may be waiting any more.
            Ok(copy) => drop(order.send(copy)),
            Err(error) => tracing::error!(id = handle.id.0, %error, "cannot be copied"),
        }
    }

    /// The user, as people see it.
    pub fn user(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.session.user())
    }

    /// The user of the system that the client is, if it is of this machine.
    pub fn client_uid(&self) -> Option<u32> {
        self.client.stream().peer_uid()
    }

    /// Shows the others how far the session is.
    pub fn publish(&mut self, registry: &Registry, handle: &Handle) {
        let conversation = self.session.conversation();
        let in_transaction = self.session.may_be_in_transaction();
        let is_idle = conversation.is_idle() && !self.session.holds_command();
        let stage = match (is_idle, in_transaction) {
            _ if self.closing.is_some() => Stage::Closing,
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
        if let Some(portable) = self.session.portable() {
            handle.set_pins(portable.pins());
            handle.set_version(portable.version());
        }
        self.publish_reader(handle);
        handle.set_running(self.session.running());
        if self.session.is_renamed() && self.session.take_renamed() {
            let joined = self.session.take_joined();
            let tenant = {
                let mut facts = handle.facts();
                facts.database = String::from_utf8_lossy(self.session.database()).into();
                if let Some(joined) = joined {
                    facts.tenant = String::from_utf8_lossy(&joined).into();
                }
                facts.full_tenant()
            };
            let user = registry.limits.rename(&mut handle.seat(), &self.user(), tenant);
            handle.facts().user = user;
        }
    }

    /// Whether nothing of it is under way.
    fn may_move(&self) -> bool {
        self.is_quiet() && self.session.is_between_commands()
    }

    /// From now on all is remembered that the session needs to move. See [`Session::follow`].
    pub fn follow(&mut self, login: LoggedInAs) {
        self.session.follow(login);
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Goes on with another server; the link to the one before. Given back if that server has not
    /// prepared the same statements.
    pub fn move_home(
        &mut self,
        home: Link,
        state: LinkState,
        statements: &[(ServerStatementId, u16)],
        handle: &Handle,
    ) -> Result<Link, Box<Link>> {
        if !self.session.move_home(state, statements) {
            return Err(Box::new(home));
        }
        self.session.hold_exchanges(LinkId::HOME, leg::held(&self.client, &home.leg));
        // What the client has sent already is numbered.
        self.numbering = self.numbering.or(Numbering::between(&self.client, &home.leg));
        self.reserve_room();
        let before = std::mem::replace(&mut self.links[LinkId::HOME.place()], home);
        self.handle_connections(handle);
        self.tell_router();
        Ok(before)
    }

    /// How many connections it has, and what they speak.
    pub fn publish_connections(&self, handle: &Handle) {
        handle.set_links(self.links.len());
        let mut facts = handle.facts();
        let further = self.links[1..].iter().filter(|link| link.is_open());
        facts.further = further.map(|link| link.server.clone()).collect();
        facts.client_tls = Spoken::on(self.client.stream());
        facts.server_tls = Spoken::on(self.home().leg.stream());
    }

    /// Says this at the end of the packet that is under way, then closes.
    pub fn close_with(&mut self, words: ClientError) {
        self.closing.get_or_insert_with(|| Closing::saying(words).into());
    }

    /// Says this in place of what the server has said and the client has not heard, then closes.
    pub fn refuse(&mut self, words: ClientError) {
        let current = self.current();
        self.links[current].down.clear();
        self.close_with(words);
    }

    /// The place of the link that has the client's commands.
    fn current(&self) -> usize {
        self.session.conversation().current().place()
    }

    /// Moves what can be moved; ready when the session is over.
    fn poll_relay(&mut self, cx: &mut Context<'_>, around: Surroundings<'_>) -> Poll<()> {
        loop {
            if self.closing.is_some() {
                return self.poll_closing(cx, around);
            }
            if self.poll_up(cx, around).is_ready() || self.poll_down(cx, around).is_ready() {
                return Poll::Ready(());
            }
            // An answer may have made room for commands that wait in the lane.
            let waiting = !self.up.unjudged().is_empty();
            if !(waiting && self.judge_up(around)) && self.closing.is_none() {
                return Poll::Pending;
            }
        }
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>, around: Surroundings<'_>) -> Poll<()> {
        self.protect_no_more(around.handle);
        let current = self.current();
        let Some(closing) = &mut self.closing else { return Poll::Pending };
        closing.poll(
            cx,
            ClosingEnds {
                client: &mut self.client,
                up: &mut self.up,
                link: &mut self.links[current],
                session: &mut self.session,
                numbering: self.numbering,
                counters: &around.handle.counters,
            },
        )
    }

    /// Client to server; ready when the client is gone.
    fn poll_up(&mut self, cx: &mut Context<'_>, around: Surroundings<'_>) -> Poll<()> {
        self.rest_others();
        loop {
            let current = self.current();
            if ready!(self.commit(around.handle).poll_drain_up(cx)).is_err() {
                if self.ask_again(cx, around) {
                    continue;
                }
                // The server takes no more, but its last words may still be on their way.
                self.up.clear();
                self.up.set_source(Source::Closed);
            }
            match self.up.source() {
                Source::Closed => return Poll::Pending,
                Source::Open | Source::Ended if self.is_on_errand() => return Poll::Pending,
                Source::Ended
                    if (self.numbering.is_some() || self.router.is_some())
                        && self.judge_up(around) => {}
                // It goes where it belongs before FIN is passed on.
                Source::Ended if self.session.holds_command() => return Poll::Pending,
                Source::Ended => {
                    // What can't be judged any more belongs to no whole packet.
                    self.up.judge(self.up.unjudged().len());
                    if self.up.pending().is_empty() {
                        if self.links[current].down.is_empty()
                            && self.session.conversation().is_over()
                        {
                            // Closing says FIN to both. After a QUIT the server's own need not be
                            // waited for; without one MySQL has a last word for who still listens.
                            return Poll::Ready(());
                        }
                        self.commit(around.handle).shutdown_server();
                        self.up.set_source(Source::Closed);
                    }
                }
                Source::Open if self.up.is_full() => return Poll::Pending,
                // What can be judged is, while it is known in which frame it came.
                Source::Open
                    if self.numbering.is_some()
                        && !self.up.unjudged().is_empty()
                        && self.judge_up(around) => {}
                Source::Open => match ready!(self.poll_fill_up(cx, around.handle)) {
                    Ok(0) => self.up.set_source(Source::Ended),
                    Ok(n) => {
                        around.handle.counters.request_bytes.add(n as u64);
                        self.judge_up(around);
                    }
                    Err(error) if self.client.corrupt().is_some() => {
                        tracing::info!(id = around.handle.id.0, %error, "client's compression");
                        self.close_with(ClientError::corrupt_frame());
                        return Poll::Pending;
                    }
                    Err(_) => return Poll::Ready(()),
                },
            }
        }
    }

    /// Server to client; ready when either is gone. Only the link is read that owes answers.
    fn poll_down(&mut self, cx: &mut Context<'_>, around: Surroundings<'_>) -> Poll<()> {
        loop {
            let current = self.current();
            if self.owes_client() && ready!(self.commit(around.handle).poll_drain_down(cx)).is_err()
            {
                return Poll::Ready(());
            }
            if !self.links[current].down.unjudged().is_empty() {
                self.judge_down(around);
                if !self.links[current].down.pending().is_empty() {
                    continue;
                }
            }
            match self.links[current].down.source() {
                Source::Open => match ready!(self.poll_fill_down(cx, around.handle)) {
                    Ok(n) if n > 0 => {
                        around.handle.counters.response_bytes.add(n as u64);
                        self.judge_down(around);
                    }
                    Ok(_) | Err(_) => self.links[current].down.set_source(Source::Ended),
                },
                Source::Ended if self.is_on_errand() => self.abandon_errand(),
                // A replica that is gone: the session goes on at home.
                Source::Ended if self.ask_again(cx, around) => {}
                Source::Ended => {
                    let down = &mut self.links[current].down;
                    down.judge(down.unjudged().len());
                    if down.pending().is_empty() {
                        // As a server's own connection would: FIN and nothing else.
                        self.protect_no_more(around.handle);
                        self.client.shutdown_write();
                        self.closing.get_or_insert_with(|| Closing::said().into());
                        return Poll::Pending;
                    }
                }
                Source::Closed => return Poll::Ready(()),
            }
        }
    }

    /// Whether something is to be written to the client; of what is layered nobody knows.
    fn owes_client(&self) -> bool {
        !self.links[self.current()].down.is_drained() || self.client.is_layered()
    }

    /// Whether anything was judged.
    fn judge_up(&mut self, around: Surroundings<'_>) -> bool {
        if self.is_on_errand() {
            return false;
        }
        let current = self.current();
        let home = (current != LinkId::HOME.place()).then(|| self.home().server.clone());
        let Link { leg, server, .. } = &mut self.links[current];
        let router = self.router.as_deref();
        let Surroundings { registry, ambient, .. } = around;
        let others = Others { registry, server, home, router, ambient };
        let mut judge = Judge {
            session: &mut self.session,
            numbering: &mut self.numbering,
            client: &mut self.client,
            server: leg,
            counters: &around.handle.counters,
        };
        let any = judge.up(&mut self.up, &others);
        if self.session.portable().is_some() {
            self.reserve_room();
        }
        any
    }

    fn judge_down(&mut self, around: Surroundings<'_>) {
        if self.is_on_errand() {
            return self.drop_answers();
        }
        let current = self.session.conversation().current();
        let Link { leg, down, .. } = &mut self.links[current.place()];
        match self.session.farewell(down.unjudged()) {
            Farewell::No => {}
            Farewell::Perhaps => return,
            Farewell::Yes => return down.set_source(Source::Ended),
            // In frames it could not be taken out.
            Farewell::Refused(_) if self.numbering.is_some() => {}
            Farewell::Refused(length) => return self.hold_refused(length, around.handle),
        }
        let mut judge = Judge {
            session: &mut self.session,
            numbering: &mut self.numbering,
            client: &mut self.client,
            server: leg,
            counters: &around.handle.counters,
        };
        judge.down(current, down);
        if !self.session.finished().is_empty() {
            around.ambient.digests().count(self.session.finished());
            self.session.forget_finished();
        }
    }
}

/// COM_CHANGE_USER where a leg is not secure: whoever follows its exchange has the legs meanwhile.
impl Relay {
    /// Whether the next packets belong to an exchange: they are in the lanes, not judged.
    fn is_exchange_due(&self) -> bool {
        let Some(Want::Exchange(link)) = self.session.poll_want() else { return false };
        let down = &self.links[link.place()].down;
        let is_sent = self.up.pending().is_empty() && down.pending().is_empty();
        is_sent && self.closing.is_none()
    }

    /// The ends of the exchange that is due.
    pub fn exchange_ends(&mut self) -> Ends<'_> {
        self.protection.suspend();
        let current = self.current();
        let next = self.session.conversation().injection_sequence().unwrap_or_default();
        let Link { leg, down, .. } = &mut self.links[current];
        let (said, told) = (self.up.unjudged().to_vec(), down.unjudged().to_vec());
        self.up.clear();
        down.clear();
        Ends { client: &mut self.client, server: leg, said, told, next }
    }

    /// Between whom the user is being changed, and to whom, if that is known.
    pub fn changing(&self) -> (&Stream, &Leg, Option<&[u8]>) {
        let server = &self.links[self.current()].leg;
        (self.client.stream(), server, self.session.changing_user())
    }

    /// Why the exchange that is due must not go on, if it must not.
    pub fn take_refused(&mut self) -> Option<ClientError> {
        self.session.take_refused()
    }

    /// The exchange has ended, with or without a verdict; the next packet to the client has this
    /// number.
    pub fn handle_exchange(&mut self, next: u8) {
        self.session.handle_exchange(next);
        if let Some(numbering) = &mut self.numbering {
            numbering.hear(&self.client);
        }
    }

    /// Goes on with what has come behind the exchange, the verdict first of all. None when that is
    /// more than a lane holds.
    pub fn go_on(&mut self, said: &[u8], told: &[u8]) -> Option<()> {
        let current = self.current();
        let down = &mut self.links[current].down;
        self.up = Lane::with(said, 0, self.up.source())?;
        *down = Lane::with(told, 0, down.source())?;
        self.reserve_room();
        Some(())
    }
}

/// A relay outside the runtime.
#[derive(Debug)]
pub struct Parts {
    /// The client's connection.
    pub client: LegParts,
    /// Client to servers.
    pub up: Lane,
    /// Servers, by their [`LinkId`].
    pub links: SmallVec<[link::Parts; 1]>,
    /// When a leg is compressed.
    pub numbering: Option<Numbering>,
    /// The session.
    pub session: Session,
}
