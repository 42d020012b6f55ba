//! The use of a session's sockets: whoever reads, writes or shuts one has put on record before how
//! the session stands, if it is protected.

use std::io;
use std::task::{Context, Poll, Waker, ready};

use super::Protection;
use crate::net::tls::stream::Unloaded;
use crate::proxy::relay::Relay;
use crate::proxy::relay::leg::Leg;
use crate::proxy::relay::link::Link;
use crate::proxy::sessions::handle::Handle;
use crate::session::lane::Target;

impl Protection {
    /// Where this lane, or what is between it and its socket, is read into is on record.
    #[inline]
    fn announce(&mut self, at: usize, target: impl FnOnce() -> Target) {
        if let Self::Registered(record) = self
            && record.slot.is_live()
        {
            let slot = &mut record.slot;
            match target() {
                Target::OnRecord => {}
                Target::Piece(place) => slot.fill(at, place),
                Target::Elsewhere => slot.suspend(),
            }
        }
    }

    /// Uses this connection, which may be a Unix socket: nobody else counts how far.
    #[inline]
    fn using<R>(&mut self, at: usize, leg: &mut Leg, call: impl FnOnce(&mut Leg) -> R) -> R {
        match self {
            Self::Registered(record) if leg.stream().is_unix() && record.slot.is_live() => {
                record.slot.begin_use(at);
                let result = call(leg);
                record.slot.end_use(at, leg.counted());
                result
            }
            _ => call(leg),
        }
    }

    /// Whether what is between this leg's socket and its lane is on record, too.
    #[inline]
    fn keeps_layers(&self, leg: &Leg) -> bool {
        leg.is_layered() && matches!(self, Self::Registered(_))
    }
}

/// How a session stands is on record, if it is protected: its sockets may be used.
pub(in crate::proxy::relay) struct Committed<'a> {
    relay: &'a mut Relay,
    handle: &'a Handle,
}

/// A connection of a session.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Client,
    /// By its place.
    Server(usize),
}

impl Committed<'_> {
    /// See [`Leg::poll_drain`]: client to the server that has its commands.
    #[inline]
    pub(in crate::proxy::relay) fn poll_drain_up(
        self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let current = self.relay.current();
        let Relay { up, links, protection, .. } = self.relay;
        let leg = &mut links[current].leg;
        match protection.keeps_layers(leg) {
            true => self.poll_drain_layers(cx, End::Server(current)),
            false => protection.using(1 + current, leg, |leg| leg.poll_drain(cx, up)),
        }
    }

    /// That server to the client.
    #[inline]
    pub(in crate::proxy::relay) fn poll_drain_down(
        self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let current = self.relay.current();
        let Relay { client, links, protection, .. } = self.relay;
        match protection.keeps_layers(client) {
            true => self.poll_drain_layers(cx, End::Client),
            false => {
                protection.using(0, client, |leg| leg.poll_drain(cx, &mut links[current].down))
            }
        }
    }

    /// See [`Leg::poll_fill`]: from the client.
    #[inline]
    fn poll_fill_up(self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Relay { client, up, protection, .. } = self.relay;
        if protection.keeps_layers(client) {
            return self.poll_fill_layers(cx, End::Client);
        }
        protection.announce(0, || up.target());
        protection.using(0, client, |leg| leg.poll_fill(cx, up))
    }

    /// From the server that has the client's commands.
    #[inline]
    fn poll_fill_down(self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let current = self.relay.current();
        let Relay { links, protection, .. } = self.relay;
        let Link { leg, down, .. } = &mut links[current];
        if protection.keeps_layers(leg) {
            return self.poll_fill_layers(cx, End::Server(current));
        }
        protection.announce(1 + current, || down.target());
        protection.using(1 + current, leg, |leg| leg.poll_fill(cx, down))
    }

    /// FIN to that server.
    pub(in crate::proxy::relay) fn shutdown_server(self) {
        let Self { relay, handle } = self;
        let current = relay.current();
        let leg = &mut relay.links[current].leg;
        if !relay.protection.keeps_layers(leg) {
            return leg.shutdown_write();
        }
        leg.close_write();
        // Not ready or failed: the next poll finds out, with a waker of the caller's.
        let cx = &mut Context::from_waker(Waker::noop());
        let _ = relay.commit(handle).poll_drain_layers(cx, End::Server(current));
    }

    /// As [`Leg::poll_drain`], with a commit before each write.
    fn poll_drain_layers(self, cx: &mut Context<'_>, to: End) -> Poll<io::Result<()>> {
        let Self { relay, handle } = self;
        loop {
            ready!(relay.using(to, |leg| leg.push(cx)))?;
            let current = relay.current();
            let Relay { client, up, links, .. } = &mut *relay;
            let is_loaded = match to {
                End::Client => client.load(&mut links[current].down)?,
                End::Server(place) => links[place].leg.load(up)?,
            };
            if !is_loaded {
                // FIN is due behind what is owed.
                return relay.using(to, |leg| leg.push(cx));
            }
            let _ = relay.commit(handle);
        }
    }

    /// As [`Leg::poll_fill`], with a commit before each read.
    fn poll_fill_layers(self, cx: &mut Context<'_>, from: End) -> Poll<io::Result<usize>> {
        let Self { relay, handle } = self;
        loop {
            let Relay { client, up, links, .. } = &mut *relay;
            let (at, leg, lane) = match from {
                End::Client => (0, client, up),
                End::Server(place) => {
                    let Link { leg, down, .. } = &mut links[place];
                    (1 + place, leg, down)
                }
            };
            match leg.unload(lane)? {
                Unloaded::Data(n) => return Poll::Ready(Ok(n)),
                Unloaded::End => return Poll::Ready(Ok(0)),
                Unloaded::Missing => {}
            }
            if leg.load_owed()? {
                // Whether the peer takes it changes nothing for the reader.
                let _ = relay.commit(handle).relay.using(from, |leg| leg.push(cx));
            }
            let Relay { client, links, protection, .. } = relay.commit(handle).relay;
            let leg = match from {
                End::Client => client,
                End::Server(place) => &mut links[place].leg,
            };
            protection.announce(at, || leg.target());
            if ready!(protection.using(at, leg, |leg| leg.pull(cx)))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
    }
}

impl Relay {
    /// Whatever was done by the way is over, and how it stands is on record again.
    pub fn put_on_record(&mut self, handle: &Handle) {
        let _ = self.commit(handle);
    }

    /// Puts on record what has changed: then its sockets may be used.
    #[inline]
    pub(in crate::proxy::relay) fn commit<'a>(&'a mut self, handle: &'a Handle) -> Committed<'a> {
        if let Protection::Registered(record) = &self.protection {
            let is_changed = !record.slot.is_live()
                || record.is_stale
                || self.session.is_marked()
                || self.up.is_changed()
                || self.links.iter().any(|link| link.down.is_changed())
                || record.slot.has_annex() && self.all_legs().any(Leg::is_changed);
            if is_changed {
                self.write_down(handle);
            }
        }
        Committed { relay: self, handle }
    }

    /// Puts on record how the session stands, and reads from the client; see
    /// [`Leg::poll_fill`]. Who waits holds no buffer.
    #[inline]
    pub(in crate::proxy::relay) fn poll_fill_up(
        &mut self,
        cx: &mut Context<'_>,
        handle: &Handle,
    ) -> Poll<io::Result<usize>> {
        self.up.make_room();
        let committed = self.commit(handle);
        let Relay { client, up, .. } = &mut *committed.relay;
        if client.poll_readable(cx).is_pending() {
            up.filled(0);
            return Poll::Pending;
        }
        committed.poll_fill_up(cx)
    }

    /// The same, from the server that has the client's commands.
    #[inline]
    pub(in crate::proxy::relay) fn poll_fill_down(
        &mut self,
        cx: &mut Context<'_>,
        handle: &Handle,
    ) -> Poll<io::Result<usize>> {
        let current = self.current();
        self.links[current].down.make_room();
        let committed = self.commit(handle);
        let Link { leg, down, .. } = &mut committed.relay.links[current];
        if leg.poll_readable(cx).is_pending() {
            down.filled(0);
            return Poll::Pending;
        }
        committed.poll_fill_down(cx)
    }

    /// See [`Protection::using`].
    fn using<R>(&mut self, end: End, call: impl FnOnce(&mut Leg) -> R) -> R {
        let Self { client, links, protection, .. } = self;
        match end {
            End::Client => protection.using(0, client, call),
            End::Server(place) => protection.using(1 + place, &mut links[place].leg, call),
        }
    }

    pub(super) fn leg_at(&mut self, end: End) -> &mut Leg {
        match end {
            End::Client => &mut self.client,
            End::Server(place) => &mut self.links[place].leg,
        }
    }
}
