//! The loop that turns a session: bytes of a lane are judged, numbered and, seldom, replaced.
//!
//! There is this one for every kind of leg. Where no leg is compressed all of a lane is judged at
//! once; else a packet at a time, because each has to get its number first.

use super::ids::Directory;
use super::lane::Lane;
use super::link::LinkId;
use super::machine::Session;
use super::numbering::{Bound, Frames, Numbering};
use crate::metrics::SessionCounters;

/// What judging takes beside a lane.
pub struct Judge<'a, L> {
    /// Who judges.
    pub session: &'a mut Session,
    /// When a leg is compressed.
    pub numbering: &'a mut Option<Numbering>,
    /// The client's leg.
    pub client: &'a mut L,
    /// The leg of the server that the lane comes from, or goes to.
    pub server: &'a mut L,
    /// What the session counts.
    pub counters: &'a SessionCounters,
}

impl<L: Frames> Judge<'_, L> {
    /// Judges what can be judged of the client's bytes; whether anything was.
    #[inline]
    pub fn up(&mut self, lane: &mut Lane, directory: &dyn Directory) -> bool {
        let mut any = false;
        loop {
            // What is before it is written first.
            if self.session.may_grow() && !lane.has_room_to_grow() {
                return any;
            }
            let bound = match self.numbering {
                None => Some(Bound::whole(lane)),
                Some(numbering) => numbering.bound_up(self.session, lane, self.server),
            };
            let Some(Bound { end, is_last }) = bound else { return any };
            let unjudged = &lane.unjudged()[..end];
            let intake = self.session.handle_client(unjudged, directory, self.counters);
            if intake.consumed > 0 {
                any = true;
                self.client.frame().into_iter().for_each(|frame| self.session.note_frame(frame));
            }
            let is_held = intake.is_held;
            let may_go_on = lane.take(intake);
            if is_held || is_last && !may_go_on {
                return any;
            }
        }
    }

    /// Judges what can be judged of a server's bytes.
    #[inline]
    pub fn down(&mut self, link: LinkId, lane: &mut Lane) {
        loop {
            let Bound { end, is_last } = match self.numbering {
                None => Bound::whole(lane),
                Some(numbering) => numbering.bound_down(self.session, link, lane, self.client),
            };
            let unjudged = &lane.unjudged()[..end];
            let judged = self.session.handle_server(link, unjudged, self.counters);
            if let Some((at, with)) = judged.patch {
                lane.patch(at, with);
            }
            lane.judge(judged.consumed);
            if is_last && judged.patch.is_none() {
                return;
            }
        }
    }
}
