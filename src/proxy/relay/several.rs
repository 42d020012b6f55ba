//! A relay with several links: who splits the session's commands has the legs between two of them;
//! and a reader that is lost is done without.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::leg::{self, Leg};
use super::link::Link;
use super::{Relay, Surroundings};
use crate::proxy::sessions::handle::{Due, Handle, Reader};
use crate::session::lane::{GROWTH, Source};
use crate::session::link::{Link as LinkState, LinkId};
use crate::session::numbering::{Frames, Numbering};
use crate::session::routing::Router;
use crate::session::{Session, Want};
use crate::wire::packet::{HEADER, Header};

impl Relay {
    /// From now on this says where commands go.
    pub fn set_router(&mut self, router: Arc<dyn Router>) {
        self.router = Some(router);
        self.reserve_room();
        self.tell_router();
    }

    /// Reads from the client leave room for what commands may have to grow by, which with a router
    /// is known too late, and for what may have to be put in front of what they bring.
    pub(super) fn reserve_room(&mut self) {
        let may_grow = self.router.is_some() || self.session.may_grow();
        let growth = if may_grow { usize::from(GROWTH) } else { 0 };
        self.up.reserve(growth + self.session.kept());
    }

    /// Whether there is room for the next command to grow.
    pub fn has_room_to_grow(&self) -> bool {
        self.up.has_room_to_grow()
    }

    pub(super) fn tell_router(&self) {
        if let Some(router) = &self.router {
            let servers: Vec<_> = self.links.iter().map(|link| link.server.clone()).collect();
            router.handle_links(&servers);
        }
    }

    /// Shows who has the client's commands.
    #[inline]
    pub(super) fn publish_reader(&mut self, handle: &Handle) {
        let current = self.session.conversation().current();
        if self.shown != Some(current) {
            self.shown = Some(current);
            let Link { server, thread, .. } = &self.links[current.place()];
            let reader = Reader { server: server.clone(), thread: *thread };
            handle.facts().reader = (current != LinkId::HOME).then(|| reader.into());
        }
    }

    /// Links that do not have the client's commands hold no buffers; to be done before it is on
    /// record who has them.
    #[inline]
    pub(super) fn rest_others(&mut self) {
        if self.shown == Some(self.session.conversation().current()) {
            return;
        }
        let current = self.current();
        let others = self.links.iter_mut().enumerate().filter(|(place, _)| *place != current);
        others.for_each(|(_, link)| link.down.rest());
    }

    /// Whether the next command waits for its link, and all before it is sent.
    pub(super) fn is_route_due(&self) -> bool {
        self.session.poll_want() == Some(Want::Route)
            && self.up.pending().is_empty()
            && self.closing.is_none()
    }

    /// The client's next command: its header and head, as far as they are at hand.
    pub fn next_command(&self) -> &[u8] {
        self.up.unjudged()
    }

    /// The session, to be told what has become of its links.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The links, by their [`LinkId`].
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The connection of a link, over which nothing is under way while the relay is left for
    /// routing or moving.
    pub fn leg(&mut self, link: LinkId) -> &mut Leg {
        self.protection.lend(link);
        &mut self.links[link.place()].leg
    }

    /// One link more, or another one at this place: the one before.
    pub fn put_link(
        &mut self,
        at: Option<LinkId>,
        link: Link,
        state: LinkState,
        handle: &Handle,
    ) -> LinkId {
        let held = leg::held(&self.client, &link.leg);
        let fresh = Numbering::between(&self.client, &link.leg);
        self.numbering = self.numbering.or(fresh);
        // It is open until it is on record that there is another one.
        let (place, _before) = match at {
            Some(at) => {
                self.shown = None;
                self.session.replace_link(at, state);
                (at, Some(std::mem::replace(&mut self.links[at.place()], link)))
            }
            None => {
                self.links.push(link);
                (self.session.add_link(state), None)
            }
        };
        self.session.hold_exchanges(place, held);
        self.handle_connections(handle);
        self.tell_router();
        place
    }

    /// A link whose answers are not to be told apart any more, or that is another user's: it is
    /// closed, and made anew when it is needed.
    pub fn break_link(&mut self, link: LinkId) {
        self.protection.lend(link);
        let Link { leg, down, .. } = &mut self.links[link.place()];
        leg.shutdown_both();
        down.clear();
        down.set_source(Source::Ended);
    }

    /// The server of the link that has the client's commands is lost: the home has them now, and
    /// is asked what that was asked. False if the session can't do without it.
    pub(super) fn ask_again(&mut self, cx: &mut Context<'_>, around: Surroundings<'_>) -> bool {
        let lost = self.session.conversation().current();
        if !self.links[lost.place()].down.pending().is_empty() || around.handle.is_killed() {
            return false;
        }
        let Some(command) = self.session.handle_lost() else { return false };
        self.break_link(lost);
        let (id, server) = (around.handle.id.0, &*self.links[lost.place()].server);
        let is_asked_again = !command.is_empty();
        tracing::info!(id, server, is_asked_again, "reader lost, its session goes on at home");
        if self.up.source() == Source::Closed {
            // The home has not heard of it.
            self.up.set_source(Source::Ended);
            cx.waker().wake_by_ref();
        }
        let is_put_back = command.is_empty() || self.up.put_back(&command);
        debug_assert!(is_put_back, "reads have left room for it");
        is_put_back
    }

    /// The home takes no writes, as it says in so many bytes: what it was asked is held until it is
    /// known who does.
    pub(super) fn hold_refused(&mut self, length: usize, handle: &Handle) {
        let down = &mut self.links[LinkId::HOME.place()].down;
        let refusal = down.unjudged().get(..length).unwrap_or_default();
        let command = self.session.handle_refused(refusal);
        down.judge(length);
        down.taken(length);
        let is_put_back = self.up.put_back(&command);
        debug_assert!(is_put_back, "reads have left room for it");
        if self.router.is_none() {
            handle.set_due(Due::Fence);
        }
    }

    /// Whether the server of a link, over which nothing is under way, is still there and says
    /// nothing.
    pub async fn is_alive(&mut self, link: LinkId) -> bool {
        self.protection.lend(link);
        let Link { leg, down, .. } = &mut self.links[link.place()];
        let mut byte = [0];
        let is_silent = poll_fn(|cx| Poll::Ready(leg.poll_read(cx, &mut byte).is_pending())).await;
        down.source() == Source::Open && is_silent
    }

    /// Answers the next command in place of a server; false if that can't be: it is not at hand as
    /// a whole, or in frames with others.
    #[must_use]
    pub fn answer(&mut self, packets: &[u8]) -> bool {
        let current = self.current();
        let unjudged = self.up.unjudged();
        let Some(length) = Header::parse(unjudged).map(|header| HEADER + header.length) else {
            return false;
        };
        // In which frame it has come is known of the last one only.
        if self.client.is_framed() && unjudged.len() != length {
            return false;
        }
        let Some(length) = self.session.handle_own_answer(unjudged) else { return false };
        self.up.discard(length);
        self.client.begin_reply();
        self.links[current].down.answer(packets)
    }
}
