//! Sessions that were given out, until it is certain whose they are.
//!
//! ```text
//! frozen: watched ─ack──► parked ─passed──► forgotten
//!            └─nack──► forgotten  └─ the other side is dead: reclaimed, if it had not touched them
//! ```

use std::collections::HashMap;

use crate::position::{self, Position};
use crate::restart::host::crash::{self, Side};
use crate::restart::message::{Acks, Nack};
use crate::restart::plane::{Adopted, DataPlane, Parcel};

/// What this side keeps of them.
#[derive(Debug, Default)]
pub(crate) struct Custody {
    /// The other side's, as they were: duplicates, which nobody here reads or writes.
    parked: HashMap<u32, Parcel>,
    /// Where the sockets of all that were given out stood when they were frozen.
    positions: HashMap<u32, Vec<Position>>,
}

/// What came back from a dead successor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reclaimed {
    /// Sessions that it had and that go on here: it had not touched them.
    pub alive: usize,
    /// Sessions that it had.
    pub all: usize,
}

impl Custody {
    /// These are frozen.
    pub(crate) fn watch(&mut self, parcels: &[Parcel]) {
        for parcel in parcels {
            if let Some(positions) = position::positions(&parcel.fds) {
                self.positions.insert(parcel.id, positions);
            }
        }
    }

    /// The other side has adopted it. Where it cannot be compared later, nothing is kept.
    pub(crate) fn park(&mut self, mut parcel: Parcel) {
        // From here on nobody who comes after this process goes on with it.
        parcel.claim = None;
        if self.positions.contains_key(&parcel.id) && position::are_told_of(&parcel.fds) {
            self.parked.insert(parcel.id, parcel);
        }
    }

    /// These are here again, or the other side keeps them for good.
    pub(crate) fn forget(&mut self, ids: &[u32]) {
        for id in ids {
            self.parked.remove(id);
            self.positions.remove(id);
        }
    }

    /// The other side is dead. What it has not touched goes on here; what it has is closed: only it
    /// knew what came of the bytes. None: it had nothing.
    pub(crate) fn reclaim<D: DataPlane>(
        &mut self,
        plane: &D,
        unacknowledged: impl IntoIterator<Item = Parcel>,
    ) -> Option<Reclaimed> {
        for parcel in unacknowledged {
            // It acknowledges before it touches; unless it could not, and hung.
            match self.is_untouched(&parcel) {
                Some(false) => plane.released(parcel.id),
                Some(true) | None => adopt_or_lose(plane, parcel),
            }
        }
        let parked = std::mem::take(&mut self.parked);
        let all = parked.len();
        let untouched = parked.into_values().filter(|it| self.is_untouched(it) == Some(true));
        let (acks, adopted) = adopt_all(plane, Side::Predecessor, untouched.collect());
        adopted.into_iter().for_each(Adopted::go_on);
        let alive = acks.adopted.len();
        (all > 0).then_some(Reclaimed { alive, all })
    }

    /// None: it cannot be told.
    fn is_untouched(&self, parcel: &Parcel) -> Option<bool> {
        let frozen = self.positions.get(&parcel.id)?;
        Some(position::positions(&parcel.fds).as_ref() == Some(frozen))
    }
}

/// Adopts what it can; what it cannot is the other side's still. The acks are to be sent before
/// anything goes on: what is not acknowledged may be read and written by nobody.
pub(crate) fn adopt_all<D: DataPlane>(
    plane: &D,
    side: Side,
    parcels: Vec<Parcel>,
) -> (Acks, Vec<Adopted>) {
    let mut acks = Acks::default();
    let mut all = Vec::with_capacity(parcels.len());
    for parcel in parcels {
        let id = parcel.id;
        let injected = crash::at(side, "adopt").map_err(|injected| injected.to_string());
        let adopted = match injected {
            Ok(()) => plane.adopt(parcel).map_err(|it| (it.reason, it.is_here)),
            Err(injected) => Err((injected, false)),
        };
        match adopted {
            Ok(adopted) => {
                acks.adopted.push(id);
                all.push(adopted);
            }
            // It has come back before; but he who knows that has died.
            Err((_, true)) if side == Side::Predecessor => acks.adopted.push(id),
            Err((reason, _)) => {
                tracing::warn!(id, reason, "session not adopted");
                acks.refused.push(Nack { id, reason });
            }
        }
    }
    (acks, all)
}

/// Goes on with a session that nobody else has.
pub(crate) fn adopt_or_lose<D: DataPlane>(plane: &D, parcel: Parcel) {
    let id = parcel.id;
    match plane.adopt(parcel) {
        Ok(adopted) => adopted.go_on(),
        Err(refused) => {
            tracing::error!(id, reason = refused.reason, "session lost");
            plane.released(id);
        }
    }
}
