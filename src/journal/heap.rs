//! Places in the journal for what has no fixed size, by powers of two.
//!
//! Which are free is known to the living process only; who comes after it is told which are not.

/// The smallest place.
const LEAST: usize = 256;

/// The largest is this many times doubled: 1 MiB.
const CLASSES: usize = 13;

/// A place for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    at: usize,
    class: usize,
}

impl Place {
    /// Where so many bytes are that begin there; None if no place is so large.
    pub(super) fn of(at: usize, len: usize) -> Option<Self> {
        class(len).map(|class| Self { at, class })
    }

    /// Where it begins.
    pub(super) fn at(self) -> usize {
        self.at
    }

    /// How many bytes it has.
    pub(super) fn len(self) -> usize {
        LEAST << self.class
    }

    fn end(self) -> usize {
        self.at + self.len()
    }
}

/// Which places are free.
#[derive(Debug)]
pub(super) struct Heap {
    free: [Vec<usize>; CLASSES],
    /// From here on nothing was ever taken.
    untouched: usize,
    end: usize,
}

impl Heap {
    /// All of this is free.
    pub(super) fn new(begin: usize, end: usize) -> Self {
        Self { free: Default::default(), untouched: begin, end }
    }

    /// All but these places is free.
    pub(super) fn without(begin: usize, end: usize, mut taken: Vec<Place>) -> Self {
        taken.sort_by_key(|place| place.at);
        let mut heap = Self::new(begin, end);
        for place in taken {
            heap.free_up_to(place.at);
            heap.untouched = heap.untouched.max(place.end());
        }
        heap
    }

    /// What lies before is free, in places as large as fit.
    fn free_up_to(&mut self, end: usize) {
        while self.untouched + LEAST <= end {
            let room = (end - self.untouched) / LEAST;
            let class = (room.ilog2() as usize).min(CLASSES - 1);
            self.free[class].push(self.untouched);
            self.untouched += LEAST << class;
        }
    }

    /// A place for so many bytes; None if there is none.
    pub(super) fn take(&mut self, len: usize) -> Option<Place> {
        let class = class(len)?;
        if let Some(at) = self.free[class].pop() {
            return Some(Place { at, class });
        }
        let place = Place { at: self.untouched, class };
        (place.end() <= self.end).then(|| {
            self.untouched = place.end();
            place
        })
    }

    /// Nobody needs it any more.
    pub(super) fn give_back(&mut self, place: Place) {
        self.free[place.class].push(place.at);
    }
}

fn class(len: usize) -> Option<usize> {
    let class = len.max(1).div_ceil(LEAST).next_power_of_two().ilog2() as usize;
    (class < CLASSES).then_some(class)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is taken and given back, and whoever takes over: no two places overlap.
        #[test]
        fn no_two_places_overlap(
            steps in prop::collection::vec((any::<bool>(), 0_usize..70_000), 1..200),
        ) {
            let mut heap = Heap::new(4096, 4096 + (8 << 20));
            let mut taken: Vec<Place> = Vec::new();
            for (at, (takes, number)) in steps.into_iter().enumerate() {
                if takes || taken.is_empty() {
                    taken.extend(heap.take(number));
                } else {
                    heap.give_back(taken.swap_remove(number % taken.len()));
                }
                if at % 50 == 49 {
                    heap = Heap::without(4096, 4096 + (8 << 20), taken.clone());
                }
                let mut sorted = taken.clone();
                sorted.sort_by_key(|place| place.at);
                for pair in sorted.windows(2) {
                    prop_assert!(pair[0].end() <= pair[1].at);
                }
                prop_assert!(sorted.last().is_none_or(|last| last.end() <= heap.end));
            }
        }
    }

    #[test]
    fn a_place_is_for_what_it_was_taken_for() {
        for (len, room) in [(0, 256), (256, 256), (257, 512), (1 << 20, 1 << 20)] {
            let place = Heap::new(0, 1 << 30).take(len).expect("room");
            assert_eq!((place.end(), Place::of(0, len)), (room, Some(place)), "{len}");
        }
        assert_eq!(Heap::new(0, 1 << 30).take((1 << 20) + 1), None);
        assert_eq!(Heap::new(0, 1000).take(1001), None);
    }
}
