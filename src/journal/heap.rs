//! Places in the journal for what has no fixed size, in four sizes from one power of two to the
//! next.
//!
//! Which are free is known to the living process only; who comes after it is told which are not.

/// The smallest place; each begins at a multiple of it.
pub(super) const LEAST: usize = 32;

/// Sizes between one power of two and the next.
const STEPS: usize = 4;

/// The first four sizes, and so many times four of which each is twice as large: up to 1 MiB.
const CLASSES: usize = STEPS * 14;

/// A place for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In units of [`LEAST`]: each session has one of these.
    unit: u32,
    class: u8,
}

impl Place {
    /// Where so many bytes are that begin there; None if no place is so large, or none is there.
    pub(super) fn of(at: usize, len: usize) -> Option<Self> {
        Self::at_class(at, class(len)?)
    }

    fn at_class(at: usize, class: usize) -> Option<Self> {
        let unit = u32::try_from(at / LEAST).ok().filter(|_| at.is_multiple_of(LEAST))?;
        Some(Self { unit, class: u8::try_from(class).ok()? })
    }

    /// Where it begins.
    pub(super) fn at(self) -> usize {
        self.unit as usize * LEAST
    }

    /// How many bytes it has.
    pub(super) fn len(self) -> usize {
        size(usize::from(self.class))
    }

    /// Behind its last byte.
    pub(super) fn end(self) -> usize {
        self.at() + self.len()
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
        Self { free: [const { Vec::new() }; CLASSES], untouched: begin, end }
    }

    /// All but these places is free.
    pub(super) fn without(begin: usize, end: usize, mut taken: Vec<Place>) -> Self {
        taken.sort_by_key(|place| place.at());
        let mut heap = Self::new(begin, end);
        for place in taken {
            heap.free_up_to(place.at());
            heap.untouched = heap.untouched.max(place.end());
        }
        heap
    }

    /// What lies before is free, in places as large as fit.
    fn free_up_to(&mut self, end: usize) {
        while self.untouched + LEAST <= end {
            let room = end - self.untouched;
            let class = (0..CLASSES).rfind(|class| size(*class) <= room).unwrap_or(0);
            self.free[class].push(self.untouched);
            self.untouched += size(class);
        }
    }

    /// A place for so many bytes; None if there is none.
    pub(super) fn take(&mut self, len: usize) -> Option<Place> {
        let class = class(len)?;
        if let Some(at) = self.free[class].pop() {
            return Place::at_class(at, class);
        }
        let place = Place::at_class(self.untouched, class)?;
        (place.end() <= self.end).then(|| {
            self.untouched = place.end();
            place
        })
    }

    /// Nobody needs it any more.
    pub(super) fn give_back(&mut self, place: Place) {
        self.free[usize::from(place.class)].push(place.at());
    }
}

/// How large its places are: 32, 64, 96, 128, then 160, 192, 224, 256, then 320 and so on.
fn size(class: usize) -> usize {
    let (doubled, step) = (class / STEPS, class % STEPS + 1);
    match doubled {
        0 => LEAST * step,
        _ => (LEAST * (STEPS + step)) << (doubled - 1),
    }
}

/// The first one whose places are large enough.
fn class(len: usize) -> Option<usize> {
    let units = len.max(1).div_ceil(LEAST);
    // The last power of two that is less, and how many of its quarters are beyond it.
    let doubled = ((units - 1) / STEPS).checked_ilog2().map_or(0, |power| power as usize + 1);
    let class = match doubled {
        0 => units - 1,
        _ => STEPS * doubled + units.div_ceil(1 << (doubled - 1)) - STEPS - 1,
    };
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
                sorted.sort_by_key(|place| place.at());
                for pair in sorted.windows(2) {
                    prop_assert!(pair[0].end() <= pair[1].at());
                }
                prop_assert!(sorted.last().is_none_or(|last| last.end() <= heap.end));
            }
        }
    }

    #[test]
    fn a_class_is_the_first_that_is_large_enough() {
        for len in 0..=1 << 20 {
            let class = class(len).expect("not larger than 1 MiB");
            assert!(size(class) >= len, "{len}");
            assert!(class == 0 || size(class - 1) < len, "{len}");
        }
    }

    #[test]
    fn a_place_is_for_what_it_was_taken_for() {
        let sizes = [(0, 32), (32, 32), (33, 64), (160, 160), (161, 192), (257, 320), (513, 640)];
        for (len, room) in sizes.into_iter().chain([((1 << 19) + 1, 5 << 17), (1 << 20, 1 << 20)]) {
            let place = Heap::new(0, 1 << 30).take(len).expect("room");
            assert_eq!((place.end(), Place::of(0, len)), (room, Some(place)), "{len}");
        }
        assert_eq!(Heap::new(0, 1 << 30).take((1 << 20) + 1), None);
        assert_eq!(Heap::new(0, 1000).take(1001), None);
    }
}
