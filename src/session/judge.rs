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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Totals;
    use crate::session::machine::tests::laws::{Said, conversations, in_lengths};
    use crate::session::machine::tests::{Bench, DOWN, NEW, OK, Ours, QUERY, UP};
    use crate::wire::packet::packet;

    /// A leg, of which only the numbers of its frames are there.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Leg {
        /// All that came stood in this frame; None: it has no frames.
        heard: Option<u8>,
        /// The first frame's number of whatever we have begun.
        begun: Vec<u8>,
    }

    impl Frames for Leg {
        fn is_framed(&self) -> bool {
            self.heard.is_some()
        }

        fn begin_command(&mut self) {
            self.begun.extend(self.heard.map(|_| 0));
        }

        fn begin_reply(&mut self) -> Option<u8> {
            self.begin_reply_to(self.heard?)
        }

        fn begin_reply_to(&mut self, frame: u8) -> Option<u8> {
            let number = self.heard.map(|_| frame.wrapping_add(1));
            self.begun.extend(number);
            number
        }

        fn frame(&self) -> Option<u8> {
            self.heard
        }

        fn has_heard(&self) -> bool {
            self.is_framed()
        }

        fn go_on(&mut self) {
            self.begin_reply();
        }

        fn is_corrupt(&self) -> bool {
            false
        }
    }

    /// A session between two legs, both of which take at once what is meant for them.
    struct Between {
        session: Session,
        numbering: Option<Numbering>,
        legs: [Leg; 2],
        lanes: [Lane; 2],
        counters: SessionCounters,
        passed: [Vec<u8>; 2],
    }

    /// What came of it.
    type Outcome = ([Vec<u8>; 2], Session, [Leg; 2], Totals);

    impl Between {
        /// Just after the log-in.
        fn new(capabilities: u32, frames: [Option<u8>; 2]) -> Self {
            let Bench { session, counters, .. } = Bench::new(capabilities, 0);
            let legs = frames.map(|heard| Leg { heard, begun: Vec::new() });
            let (lanes, passed) = Default::default();
            Self { session, numbering: Some(Numbering::default()), legs, lanes, counters, passed }
        }

        fn hear(&mut self, way: usize, bytes: &[u8]) -> &mut Self {
            let mut rest = bytes;
            while !rest.is_empty() {
                let room = self.lanes[way].room();
                let (piece, left) = rest.split_at(rest.len().min(room.len()));
                assert!(!piece.is_empty(), "the lane is full of what cannot be judged");
                room[..piece.len()].copy_from_slice(piece);
                self.lanes[way].filled(piece.len());
                rest = left;
                while self.judge(way) {}
                // What an answer has released.
                while self.judge(UP) {}
            }
            self
        }

        /// Whether anything was passed on.
        fn judge(&mut self, way: usize) -> bool {
            let (lane, [client, server]) = (&mut self.lanes[way], &mut self.legs);
            let (session, numbering) = (&mut self.session, &mut self.numbering);
            let mut judge = Judge { session, numbering, client, server, counters: &self.counters };
            if way == UP {
                judge.up(lane, &Ours);
            } else {
                judge.down(LinkId::HOME, lane);
            }
            let passed = lane.pending().len();
            self.passed[way].extend(lane.pending());
            lane.written(passed);
            passed > 0
        }

        fn talk(mut self, said: &[Said], lengths: &[usize]) -> Outcome {
            in_lengths(said, lengths, |way, piece| {
                self.hear(way, piece);
            });
            self.session.take_renamed();
            (self.passed, self.session, self.legs, self.counters.totals())
        }
    }

    #[test]
    fn a_framed_client_is_answered_by_the_number_of_its_frame() {
        let mut between = Between::new(NEW, [Some(4), None]);
        between.hear(UP, &packet(0, QUERY)).hear(DOWN, &packet(1, &OK));
        assert_eq!(between.passed, [packet(0, QUERY), packet(5, &OK)]);
        assert_eq!(between.legs[UP].begun, [5]);
    }

    #[test]
    fn what_a_framed_server_calls_its_packets_is_nothing_to_a_plain_client() {
        let mut between = Between::new(NEW, [None, Some(0)]);
        between.hear(UP, &packet(0, QUERY)).hear(DOWN, &packet(9, &OK));
        assert_eq!(between.passed, [packet(0, QUERY), packet(1, &OK)]);
        assert_eq!(between.legs[DOWN].begun, [0]);
    }

    #[test]
    fn each_command_starts_a_frame() {
        let mut between = Between::new(NEW, [None, Some(0)]);
        let lane = &mut between.lanes[UP];
        let both = [packet(0, QUERY), packet(0, QUERY)].concat();
        lane.room()[..both.len()].copy_from_slice(&both);
        lane.filled(both.len());
        assert!(between.judge(UP));
        assert_eq!(between.passed[UP], packet(0, QUERY), "the other one waits for it");
        assert!(between.judge(UP));
        assert_eq!((&between.passed[UP], &between.legs[DOWN].begun[..]), (&both, &[0, 0][..]));
    }

    proptest! {
        #[test]
        fn pieces_change_nothing_where_packets_are_numbered(
            (capabilities, said) in conversations(),
            // Of a client each command starts in its frame 0. That of a list of fields has to: its
            // answer begins as what is left of another one may, and is known by its number.
            client in proptest::option::of(Just(0)),
            server in any::<Option<u8>>(),
            lengths in vec(1..40_usize, 1..20),
        ) {
            let frames = [client, server];
            let talk = |lengths: &[usize]| Between::new(capabilities, frames).talk(&said, lengths);
            let expected = talk(&[usize::MAX]);
            prop_assert!(expected.1.conversation().is_idle(), "{:?}", expected.1);
            prop_assert_eq!(&talk(&[1]), &expected);
            prop_assert_eq!(&talk(&lengths), &expected);
        }

        #[test]
        fn between_plain_legs_packets_one_by_one_are_as_all_at_once(
            (capabilities, said) in conversations(),
            lengths in vec(1..80_usize, 1..20),
        ) {
            let one_by_one = Between::new(capabilities, [None; 2]);
            let whole = Between { numbering: None, ..Between::new(capabilities, [None; 2]) };
            prop_assert_eq!(one_by_one.talk(&said, &lengths), whole.talk(&said, &lengths));
        }
    }
}
