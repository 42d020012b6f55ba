//! A session's home, asked things by the way, between two of the client's commands: all of it is
//! on record, so that a crash in the middle loses nothing.
//!
//! ```text
//!   question ─► up, in front of what the client has sent ─► home
//!      home ─► down ─► AtHome, who asked; after a crash nobody, and the answers are dropped
//! ```
//!
//! Questions and answers go by the lanes that the client's would, one way in and one way out, with
//! the same commits. Of a crash the session knows that what its home still owes are answers to us:
//! it has what is left of the question written, drops what comes, and asks anew whatever it needs
//! for the client's next command. Invariant: on an errand nothing of the client's is judged, and
//! nothing that the home says reaches the client.

use std::io;
use std::task::{Context, Poll, ready};

use super::Relay;
use super::channel::Channel;
use crate::proxy::sessions::handle::Handle;
use crate::session::lane::Source;
use crate::session::link::LinkId;
use crate::wire::command::Reply;

/// See above.
pub(in crate::proxy) struct AtHome<'a> {
    relay: &'a mut Relay,
    handle: &'a Handle,
    /// The link that has the client's commands.
    before: LinkId,
    /// A question of which nothing is in the lane yet: how it is answered.
    question: Option<Reply>,
    /// A question was too long for the lane: what is written of it nobody finds.
    is_off_record: bool,
}

impl<'a> AtHome<'a> {
    /// Begins to ask, if that can be by the lanes; else the relay is given back.
    pub(in crate::proxy) fn begin(
        relay: &'a mut Relay,
        handle: &'a Handle,
    ) -> Result<Self, &'a mut Relay> {
        let before = relay.session.conversation().current();
        let is_empty = relay.home().down.is_empty() && relay.home().down.source() == Source::Open;
        match is_empty && relay.up.pending().is_empty() && relay.session.begin_errand() {
            true => Ok(Self { relay, handle, before, question: None, is_off_record: false }),
            false => Err(relay),
        }
    }
}

/// Where an answer is missing the home is lost.
impl Drop for AtHome<'_> {
    fn drop(&mut self) {
        if !self.relay.session.end_errand(self.before) {
            self.relay.abandon_errand();
        }
        // It may be a while until somebody reads from it again.
        self.relay.links[LinkId::HOME.place()].down.rest();
    }
}

impl Channel for AtHome<'_> {
    fn begin(&mut self, reply: Reply) {
        self.relay.links[LinkId::HOME.place()].leg.begin(reply);
        self.question = Some(reply);
    }

    fn is_framed(&self) -> bool {
        Channel::is_framed(&self.relay.home().leg)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_off_record {
            ready!(self.poll_flush(cx))?;
            // From here to the next commit, with the question itself.
            if let Some(reply) = self.question.take() {
                self.relay.session.ask_errand(reply);
            }
            if self.relay.up.put_back(bytes) {
                self.relay.up.judge(bytes.len());
                return Poll::Ready(Ok(bytes.len()));
            }
            self.relay.protection.lend(LinkId::HOME);
            self.is_off_record = true;
        }
        self.relay.links[LinkId::HOME.place()].leg.poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_off_record {
            ready!(self.relay.links[LinkId::HOME.place()].leg.poll_flush(cx))?;
            self.is_off_record = false;
        }
        self.relay.commit(self.handle).poll_drain_up(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        // Before all of a question is written nothing may be on record; nor is there an answer.
        if self.is_off_record {
            return Poll::Pending;
        }
        loop {
            let n = self.relay.hear_errand()?;
            let down = &mut self.relay.links[LinkId::HOME.place()].down;
            if n > 0 {
                buffer[..n].copy_from_slice(down.pending());
                down.taken(n);
                return Poll::Ready(Ok(n));
            }
            if down.source() != Source::Open {
                return Poll::Ready(Ok(0));
            }
            if ready!(self.relay.poll_fill_down(cx, self.handle))? == 0 {
                self.relay.links[LinkId::HOME.place()].down.set_source(Source::Ended);
            }
        }
    }
}

impl Relay {
    /// Whether what the home owes are answers to us.
    pub(super) fn is_on_errand(&self) -> bool {
        self.session.conversation().is_on_errand()
    }

    /// What the home has answered to us, as far as it can be judged: so many bytes to be taken from
    /// its lane.
    fn hear_errand(&mut self) -> io::Result<usize> {
        let down = &mut self.links[LinkId::HOME.place()].down;
        if down.unjudged().is_empty() {
            return Ok(0);
        }
        let heard = self.session.hear_errand(down.unjudged());
        let n = heard.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        down.judge(n);
        Ok(n)
    }

    /// A crash may have come between the last answer and the errand's end.
    pub(super) fn take_up_errand(&mut self) {
        if self.is_on_errand() {
            let _ = self.session.end_errand(LinkId::HOME);
        }
    }

    /// After a crash on an errand: nobody waits for the answers any more.
    pub(super) fn drop_answers(&mut self) {
        match self.hear_errand() {
            Ok(n) => self.links[LinkId::HOME.place()].down.taken(n),
            Err(_) => return self.abandon_errand(),
        }
        let _ = self.session.end_errand(LinkId::HOME);
    }

    /// What the home still owes is nobody's: it is lost.
    pub(super) fn abandon_errand(&mut self) {
        self.session.abandon_errand();
        // Nor is what is left of a question.
        let _ = self.up.put_back(&[]);
        self.break_link(LinkId::HOME);
    }
}
