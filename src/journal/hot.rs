//! What a commit says of a session, and which words say it.
//!
//! ```text
//!   slot     48 words: what every session has
//!     state, id, shape, strikes, fds, cookies, bases, fills, whom it comes after
//!     copy 0, copy 1   number, which server, cold state, lanes, positions, the state that changes
//!                      with each message, the same number
//!   annex    in the heap: what some have
//!     of each further connection: fd, cookie, bases, fill
//!     copy 0, copy 1   number, spill, secret, one word more; of each further connection its lane,
//!                      position and state; of each that is layered its trays and state; the number
//! ```
//! A word of a lane: place (17 bits), start, judged, end (15 bits each), stage (2 bits). A word of
//! a tray: place (24 bits), start, end (16 bits each); of a long one its number among those (13
//! bits), start, end (25 bits each), and the highest bit. A word of a position: bytes read, then
//! written, modulo 2³²: a lane has room for less.
//!
//! Invariant: of what is stored in one copy, the other one is what it was. A copy counts if the
//! number at all of its ends is the same; so who is killed in between has left the other one.

use super::heap;
use super::layout::{NOWHERE, OWN_LEGS, SLOT, older, slot};
use crate::buffer::SIZE;
use crate::buffer::arena::Kind;

/// The most connections of a session.
pub const LEGS: usize = 8;

/// The most words of a session's state that changes with each message.
pub const STATE_WORDS: usize = OWN_STATE + MORE_STATE * (LEGS - OWN_LEGS);

/// Those of a session that has no further connections.
pub(super) const OWN_STATE: usize = 6;

/// Those of each further connection.
const MORE_STATE: usize = 3;

/// Trays of a connection that is layered.
pub const TRAYS: usize = 5;

/// Words of what is in its layers.
pub const LAYER_WORDS: usize = 6;

/// Places in the heap that a commit names: the cold state; what is spilled; what is secret.
pub(super) const BLOBS: usize = 3;

/// Which of them is secret.
pub(super) const SECRET: usize = 2;

/// Words about a connection that change only with it: fd, cookie, bases, fill.
const FIXED: usize = 5;

/// Words of a copy in a slot.
const HOT_CURRENT: usize = 1;
const HOT_COLD: usize = 2;
const HOT_LANES: usize = 3;
const HOT_COUNTED: usize = HOT_LANES + OWN_LEGS;
const HOT_STATE: usize = HOT_COUNTED + OWN_LEGS;
const HOT_LAST: usize = HOT_STATE + OWN_STATE;

/// Words of a copy in an annex.
const MORE_BLOBS: usize = 1;
const MORE_EXTRA: usize = MORE_BLOBS + BLOBS - 1;
const MORE_LEGS: usize = MORE_EXTRA + 1;

/// Of a further connection, in a copy.
const LEG: usize = 2 + MORE_STATE;

/// Of a layered connection, in a copy.
const LAYER: usize = TRAYS + LAYER_WORDS;

/// No tray.
const NO_TRAY: u64 = (1 << 24) - 1;

/// It is a long one's.
const IS_LONG: u64 = 1 << 63;

/// How far a socket was used since we have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Bytes that were read.
    pub read: u64,
    /// Bytes that were written.
    pub written: u64,
}

impl Counted {
    #[inline]
    fn word(self) -> u64 {
        self.read & 0xFFFF_FFFF | self.written << 32
    }

    /// As it is known modulo 2³².
    fn of(word: u64) -> Self {
        Self { read: word & 0xFFFF_FFFF, written: word >> 32 }
    }
}

/// One direction of a session: where its bytes are, in which buffer. From `start` to `judged` they
/// are to be written, from there to `end` they are not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The piece of the arena; None: there are no bytes.
    pub place: Option<u32>,
    /// See above.
    pub start: usize,
    /// See above.
    pub judged: usize,
    /// See above.
    pub end: usize,
    /// Whether more will come, as the writer calls it.
    pub stage: u8,
}

impl Stretch {
    #[inline]
    fn word(self) -> u64 {
        let place = self.place.map_or(NOWHERE, u64::from);
        let at = |offset: usize, shift: u32| (offset as u64) << shift;
        place
            | at(self.start, 17)
            | at(self.judged, 32)
            | at(self.end, 47)
            | u64::from(self.stage) << 62
    }

    /// None if it is no lane's.
    fn of(word: u64) -> Option<Self> {
        let place = word & NOWHERE;
        let at = |shift: u32| (word >> shift & 0x7FFF) as usize;
        let (start, judged, end) = (at(17), at(32), at(47));
        let place = (place != NOWHERE).then_some(place as u32);
        let is_sound = start <= judged && judged <= end && end <= SIZE;
        let is_whole = is_sound && (place.is_some() || end == 0);
        is_whole.then_some(Self { place, start, judged, end, stage: (word >> 62) as u8 })
    }
}

/// Bytes of a layer: where they are, in which tray.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tray {
    /// The piece of the arena; None: there are no bytes.
    pub place: Option<u32>,
    /// The first of them.
    pub start: usize,
    /// Behind the last.
    pub end: usize,
}

impl Tray {
    #[inline]
    fn word(self) -> u64 {
        match self.place.filter(|place| Kind::of_tray(*place) == Kind::Long) {
            None => {
                let place = self.place.map_or(NO_TRAY, u64::from);
                place | (self.start as u64) << 24 | (self.end as u64) << 40
            }
            Some(place) => {
                let place = u64::from(place - Kind::Long.first());
                IS_LONG | place | (self.start as u64) << 13 | (self.end as u64) << 38
            }
        }
    }

    fn of(word: u64) -> Option<Self> {
        let at = |shift: u32, bits: u32| word >> shift & ((1 << bits) - 1);
        let (place, start, end) = match word & IS_LONG {
            0 => (Some(at(0, 24)).filter(|place| *place != NO_TRAY), at(24, 16), at(40, 16)),
            _ => (Some(u64::from(Kind::Long.first()) + at(0, 13)), at(13, 25), at(38, 25)),
        };
        let place = place.map(|place| place as u32);
        let tray = Self { place, start: start as usize, end: end as usize };
        let most = place.map_or(0, |place| Kind::of_tray(place).size());
        (tray.start <= tray.end && tray.end <= most).then_some(tray)
    }
}

/// What is between a socket and the session's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// What was read from the socket; what is to be written to it; others.
    pub trays: [Tray; TRAYS],
    /// What else there is to be known.
    pub words: [u64; LAYER_WORDS],
}

/// Which words a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Connections.
    pub count: u8,
    /// By their places, a bit each: those between whose socket and bytes there is something.
    pub layered: u8,
}

impl Shape {
    /// A client, a server, and nothing between their sockets and bytes.
    pub(super) const PLAIN_PAIR: Self = Self { count: 2, layered: 0 };

    /// How many connections.
    pub(super) fn legs(self) -> usize {
        usize::from(self.count)
    }

    pub(super) fn is_layered(self, leg: usize) -> bool {
        self.layered >> leg & 1 == 1
    }

    fn further(self) -> usize {
        self.legs().saturating_sub(OWN_LEGS)
    }

    pub(super) fn layers(self) -> usize {
        self.layered.count_ones() as usize
    }

    /// Words of its annex; none if it needs none.
    pub(super) fn annex(self) -> usize {
        match (self.further(), self.layers()) {
            (0, 0) => 0,
            (further, _) => FIXED * further + 2 * self.copy(),
        }
    }

    /// Words of a copy in the annex.
    fn copy(self) -> usize {
        MORE_LEGS + LEG * self.further() + LAYER * self.layers() + 1
    }

    /// Words of its state.
    fn state(self) -> usize {
        OWN_STATE + MORE_STATE * self.further()
    }

    /// As a word, with where its annex begins, in bytes.
    pub(super) fn word(self, annex: usize) -> u64 {
        u64::from(self.count) | u64::from(self.layered) << 8 | ((annex / heap::LEAST) as u64) << 16
    }

    /// The same, back.
    pub(super) fn of(word: u64) -> Option<(Self, usize)> {
        let shape = Self { count: word as u8, layered: (word >> 8) as u8 };
        let annex = usize::try_from(word >> 16).ok()?.checked_mul(heap::LEAST)?;
        let is_sound = (OWN_LEGS..=LEGS).contains(&shape.legs())
            && u32::from(shape.layered) < 1_u32 << shape.legs();
        is_sound.then_some((shape, annex))
    }

    fn copy_at(self, copy: usize) -> usize {
        SLOT + FIXED * self.further() + copy * self.copy()
    }
}

/// Where it stands which descriptor a connection has.
pub(super) fn fd_at(leg: usize) -> usize {
    fixed_at(leg, slot::FDS + leg, 0)
}

/// What the kernel calls it.
pub(super) fn cookie_at(leg: usize) -> usize {
    fixed_at(leg, slot::COOKIES + leg, 1)
}

/// What the kernel had counted when we began to: read, then written.
pub(super) fn bases_at(leg: usize) -> usize {
    fixed_at(leg, slot::BASES + 2 * leg, 2)
}

/// The piece that is read into when there are no bytes.
#[inline]
pub(super) fn fill_at(leg: usize) -> usize {
    fixed_at(leg, slot::FILLS + leg, 4)
}

#[inline]
fn fixed_at(leg: usize, own: usize, further: usize) -> usize {
    match leg.checked_sub(OWN_LEGS) {
        None => own,
        Some(leg) => SLOT + FIXED * leg + further,
    }
}

/// A place in the heap and how much is in it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Blob {
    pub at: usize,
    pub len: usize,
}

impl Blob {
    #[inline]
    pub(super) fn word(self) -> u64 {
        ((self.at / heap::LEAST) as u64) << 32 | self.len as u64
    }

    fn of(word: u64) -> Option<Self> {
        let at = usize::try_from(word >> 32).ok()?.checked_mul(heap::LEAST)?;
        Some(Self { at, len: usize::try_from(word & 0xFFFF_FFFF).ok()? })
    }
}

/// What a commit says, as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub current: usize,
    pub lanes: &'a [Stretch],
    pub counted: &'a [Counted],
    pub state: &'a [u64],
    pub extra: u64,
    pub layers: &'a [Layers],
    /// Those that are others than before.
    pub blobs: [Option<Blob>; BLOBS],
}

/// The same of what stands in the slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub current: usize,
    pub lanes: [Stretch; OWN_LEGS],
    pub counted: [Counted; OWN_LEGS],
    /// If it is not what it was.
    pub state: Option<[u64; OWN_STATE]>,
    /// If it is another one.
    pub cold: Option<Blob>,
}

/// The words of a slot and its annex, one behind the other.
pub(super) trait Words {
    fn get(&self, at: usize) -> u64;
    fn put(&mut self, at: usize, value: u64);

    /// The same of several, one after the other.
    fn put_all<const N: usize>(&mut self, at: usize, values: [u64; N]) {
        (at..).zip(values).for_each(|(at, value)| self.put(at, value));
    }
}

/// Neither copy of a slot counts, nor does one that is half written later: at its end there may be
/// the number that somebody else's commit had, who had the slot before. An annex is all zeroes at
/// first.
pub(super) fn forget(words: &mut impl Words) {
    for copy in slot::HOTS {
        words.put(copy, 0);
        words.put(copy + HOT_LAST, 0);
    }
}

/// Writes a commit over the older copy. What it does not say is as it was.
#[inline]
pub(super) fn store(shape: Shape, number: u64, said: &Said<'_>, words: &mut impl Words) {
    if shape.annex() > 0 {
        store_annex(shape, number, said, words);
    }
    let own = Own {
        current: said.current,
        lanes: [said.lanes[0], said.lanes[1]],
        counted: [said.counted[0], said.counted[1]],
        state: said.state.first_chunk().copied(),
        cold: said.blobs[0],
    };
    store_own(number, &own, words);
}

/// The same, all of it in the slot.
#[inline]
pub(super) fn store_own(number: u64, own: &Own, words: &mut impl Words) {
    let Own { current, lanes: [up, down], counted: [client, server], cold, .. } = own;
    let before = slot::HOTS[older(number.wrapping_sub(1))];
    let state = || std::array::from_fn(|at| words.get(before + HOT_STATE + at));
    let [a, b, c, d, e, f] = own.state.unwrap_or_else(state);
    let cold = cold.map_or_else(|| words.get(before + HOT_COLD), Blob::word);
    // As the constants above name them.
    let copy: [u64; HOT_LAST + 1] = [
        number,
        *current as u64,
        cold,
        up.word(),
        down.word(),
        client.word(),
        server.word(),
        a,
        b,
        c,
        d,
        e,
        f,
        number,
    ];
    words.put_all(slot::HOTS[older(number)], copy);
}

fn store_annex(shape: Shape, number: u64, said: &Said<'_>, words: &mut impl Words) {
    let base = shape.copy_at(older(number));
    let before = shape.copy_at(older(number.wrapping_sub(1)));
    words.put(base, number);
    for (at, blob) in (MORE_BLOBS..).zip(&said.blobs[1..]) {
        let word = blob.map_or_else(|| words.get(before + at), Blob::word);
        words.put(base + at, word);
    }
    words.put(base + MORE_EXTRA, said.extra);
    let mut at = MORE_LEGS;
    for leg in OWN_LEGS..shape.legs() {
        words.put(base + at, said.lanes[leg].word());
        words.put(base + at + 1, said.counted[leg].word());
        for word in 0..MORE_STATE {
            let state = said.state.get(OWN_STATE + MORE_STATE * (leg - OWN_LEGS) + word).copied();
            let state = state.unwrap_or_else(|| words.get(before + at + 2 + word));
            words.put(base + at + 2 + word, state);
        }
        at += LEG;
    }
    for Layers { trays, words: own } in said.layers {
        for (word, tray) in trays.iter().enumerate() {
            words.put(base + at + word, tray.word());
        }
        for (word, own) in own.iter().enumerate() {
            words.put(base + at + TRAYS + word, *own);
        }
        at += LAYER;
    }
    words.put(base + shape.copy() - 1, number);
}

/// What a commit has said, as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hot {
    /// Which of the servers is spoken with.
    pub current: u64,
    pub blobs: [Blob; BLOBS],
    /// Client to servers, then each server to the client.
    pub lanes: Vec<Stretch>,
    /// Of each connection.
    pub counted: Vec<Counted>,
    /// The state that changes with each message.
    pub state: [u64; STATE_WORDS],
    pub extra: u64,
    /// Of each connection that is layered.
    pub layers: Vec<Option<Layers>>,
}

impl Hot {
    /// The newest whole copy of a session in this shape, and its number.
    pub(super) fn newest(shape: Shape, word: impl Fn(usize) -> Option<u64>) -> Option<(u64, Self)> {
        let is_whole = |copy: usize, number: u64| {
            let annex = shape.copy_at(copy);
            let mut ends = vec![slot::HOTS[copy] + HOT_LAST];
            if shape.annex() > 0 {
                ends.extend([annex, annex + shape.copy() - 1]);
            }
            number > 0 && ends.into_iter().all(|at| word(at) == Some(number))
        };
        let numbers = (0..2).filter_map(|copy| Some((word(slot::HOTS[copy])?, copy)));
        let (number, copy) = numbers.filter(|(number, copy)| is_whole(*copy, *number)).max()?;
        Some((number, Self::read(shape, copy, word)?))
    }

    fn read(shape: Shape, copy: usize, word: impl Fn(usize) -> Option<u64>) -> Option<Self> {
        let (base, annex) = (slot::HOTS[copy], shape.copy_at(copy));
        let has_annex = shape.annex() > 0;
        let more = |at: usize| if has_annex { word(annex + at) } else { Some(0) };
        let mut hot = Self {
            current: word(base + HOT_CURRENT)?,
            blobs: [Blob::of(word(base + HOT_COLD)?)?, Blob::default(), Blob::default()],
            lanes: Vec::with_capacity(shape.legs()),
            counted: Vec::with_capacity(shape.legs()),
            state: [0; STATE_WORDS],
            extra: more(MORE_EXTRA)?,
            layers: vec![None; shape.legs()],
        };
        for (at, blob) in (MORE_BLOBS..).zip(&mut hot.blobs[1..]) {
            *blob = Blob::of(more(at)?)?;
        }
        let mut state = hot.state.iter_mut();
        for leg in 0..OWN_LEGS {
            hot.lanes.push(Stretch::of(word(base + HOT_LANES + leg)?)?);
            hot.counted.push(Counted::of(word(base + HOT_COUNTED + leg)?));
        }
        for at in HOT_STATE..HOT_LAST {
            *state.next()? = word(base + at)?;
        }
        let mut at = MORE_LEGS;
        for _ in OWN_LEGS..shape.legs() {
            hot.lanes.push(Stretch::of(more(at)?)?);
            hot.counted.push(Counted::of(more(at + 1)?));
            for word in 0..MORE_STATE {
                *state.next()? = more(at + 2 + word)?;
            }
            at += LEG;
        }
        for leg in (0..shape.legs()).filter(|leg| shape.is_layered(*leg)) {
            let mut layers = Layers::default();
            for (word, tray) in layers.trays.iter_mut().enumerate() {
                *tray = Tray::of(more(at + word)?)?;
            }
            for (word, own) in layers.words.iter_mut().enumerate() {
                *own = more(at + TRAYS + word)?;
            }
            hot.layers[leg] = Some(layers);
            at += LAYER;
        }
        Some(hot)
    }
}

impl Said<'_> {
    /// Whether it is of a session in this shape.
    #[inline]
    pub(super) fn fits(&self, shape: Shape) -> bool {
        let is_state = self.state.is_empty() || self.state.len() == shape.state();
        is_state
            && self.lanes.len() == shape.legs()
            && self.counted.len() == shape.legs()
            && self.layers.len() == shape.layers()
            && self.current + 1 < shape.legs()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tray(is_long: bool, place: u32, start: usize, more: usize) -> Tray {
        let (first, most) = match is_long {
            true => (Kind::Long.first() + (place & 0x1FFF), Kind::Long.size()),
            false => (place & 0x1_FFFF, Kind::Trays.size()),
        };
        let end = (start % most + more).min(most);
        Tray { place: Some(first), start: start % most, end }
    }

    proptest! {
        #[test]
        fn a_tray_is_found_as_it_was_put_down(
            is_long: bool, place: u32, start in 0_usize..1 << 25, more in 0_usize..1 << 25,
        ) {
            let tray = tray(is_long, place, start, more);
            prop_assert_eq!(Tray::of(tray.word()), Some(tray));
        }

        /// No word leads behind the end of a piece.
        #[test]
        fn a_word_that_is_no_trays_is_none(word: u64) {
            if let Some(Tray { place, start, end }) = Tray::of(word) {
                let most = place.map_or(0, |place| Kind::of_tray(place).size());
                prop_assert!(start <= end && end <= most);
            }
        }
    }

    #[test]
    fn a_long_tray_stands_where_it_stood() {
        let tray = Tray { place: Some(Kind::Long.first() + 5), start: 3, end: 16 << 20 };
        assert_eq!(tray.word(), 1 << 63 | (16 << 20) << 38 | 3 << 13 | 5);
        assert_eq!(Tray::of(Tray::default().word()), Some(Tray::default()));
    }
}
