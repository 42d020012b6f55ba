//! A session's part in the journal: what is on record of it, so that it goes on after a crash.
//!
//! ```text
//!   Off                                          the process has no journal
//!   Wanted ─ all is quiet ─► Registered ─ other connections ─► Wanted
//!      └─ cannot be ─► Unprotected ─ other connections ─► Wanted
//! ```
//!
//! A commit is made whenever the session's task waits and no byte is in this process: then the
//! state and the sockets' positions are all there is of it. Between two commits it is lost if the
//! process dies, as the positions tell. Invariant: dropped before its sockets are.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use smallvec::SmallVec;

use super::leg::Leg;
use super::link::Link;
use super::{Parts, Relay, parcel};
use crate::journal::{Counted, Journal, Slot};
use crate::proxy::sessions::handle::Handle;
use crate::proxy::sessions::protection::{Shown, Why};
use crate::session::lane::{Lane, Source};

/// See above.
#[derive(Debug, Default)]
pub(in crate::proxy) enum Protection {
    /// Nobody keeps a journal.
    #[default]
    Off,
    /// It is to be entered.
    Wanted(Arc<Journal>),
    /// It is on record.
    Registered(Slot),
    /// It cannot be on record.
    Unprotected(Why, Arc<Journal>),
}

impl Protection {
    /// As people see it.
    fn shown(&self) -> Shown {
        match self {
            Self::Off => Shown::Off,
            Self::Wanted(_) => Shown::Soon,
            Self::Registered(..) => Shown::Protected,
            Self::Unprotected(why, _) => Shown::Unprotected(*why),
        }
    }

    /// Its connections are others from now on.
    pub(super) fn start_over(&mut self) {
        *self = match std::mem::take(self) {
            Self::Off => Self::Off,
            Self::Registered(slot) => Self::Wanted(slot.journal().clone()),
            Self::Wanted(journal) | Self::Unprotected(_, journal) => Self::Wanted(journal),
        };
    }
}

impl Relay {
    /// From now on it is kept in a journal; in this slot, if it was there before.
    pub(in crate::proxy) fn protect(
        &mut self,
        handle: &Handle,
        journal: Arc<Journal>,
        slot: Option<Slot>,
    ) {
        self.protection = match slot {
            None => Protection::Wanted(journal),
            Some(slot) => {
                let counted = *slot.counted();
                let links = self.links.iter_mut().map(|link| &mut link.leg);
                let legs = std::iter::once(&mut self.client).chain(links);
                legs.zip(counted).for_each(|(leg, counted)| leg.resume_count(counted));
                Protection::Registered(slot)
            }
        };
        self.show_protection(handle);
    }

    fn show_protection(&self, handle: &Handle) {
        handle.facts().protection = self.protection.shown();
        let slot = match &self.protection {
            Protection::Registered(slot) => Some(slot.index()),
            Protection::Off | Protection::Wanted(_) | Protection::Unprotected(..) => None,
        };
        handle.set_slot(slot);
    }

    /// After a panic of its task, in which it is not to be relied on: what is on record of it, and
    /// its sockets. Given back if there is nothing on record.
    pub(in crate::proxy) fn salvage(mut self) -> Result<(Slot, Vec<OwnedFd>), Box<Self>> {
        let Protection::Registered(slot) = std::mem::take(&mut self.protection) else {
            return Err(self.into());
        };
        let Ok(Parts { client, links, .. }) = self.into_parts() else { return Ok((slot, vec![])) };
        let servers = links.into_iter().map(|link| link.leg.stream.fd);
        Ok((slot, std::iter::once(client.stream.fd).chain(servers).collect()))
    }

    /// Puts on record how it stands, if there is nothing on its way.
    pub(super) fn record(&mut self, handle: &Handle) {
        if matches!(self.protection, Protection::Off) || !self.is_quiet() {
            return;
        }
        if let Protection::Wanted(journal) = &self.protection {
            let journal = journal.clone();
            self.protection = match self.enter(&journal, handle) {
                Ok(slot) => Protection::Registered(slot),
                Err(why) => Protection::Unprotected(why, journal),
            };
            self.show_protection(handle);
        }
        let legs = self.counted();
        let Protection::Registered(slot) = &self.protection else { return };
        if slot.is_at(&legs) {
            return;
        }
        let state = parcel::copy(self, handle).map_err(|_| Why::TooLarge);
        let Protection::Registered(slot) = &mut self.protection else { return };
        let committed = state.and_then(|copy| Ok(slot.commit(&copy.state, &legs)?));
        if let Err(why) = committed {
            let journal = slot.journal().clone();
            self.protection = Protection::Unprotected(why, journal);
            self.show_protection(handle);
        }
    }

    /// No byte of it is in this process, and both sides may still speak.
    pub(super) fn is_quiet(&self) -> bool {
        let is_quiet = |lane: &Lane| lane.is_empty() && lane.source() == Source::Open;
        self.closing.is_none()
            && is_quiet(&self.up)
            && self.links.iter().all(|link| is_quiet(&link.down))
    }

    fn counted(&self) -> SmallVec<[Counted; 2]> {
        self.all_legs().map(Leg::counted).collect()
    }

    fn all_legs(&self) -> impl Iterator<Item = &Leg> {
        std::iter::once(&self.client).chain(self.links.iter().map(|link: &Link| &link.leg))
    }

    fn enter(&self, journal: &Arc<Journal>, handle: &Handle) -> Result<Slot, Why> {
        if self.links.len() > 1 {
            return Err(Why::SeveralServers);
        }
        for leg in self.all_legs() {
            if leg.stream().tls().is_some() {
                return Err(Why::Tls);
            }
            if leg.compression().is_some() {
                return Err(Why::Compression);
            }
        }
        let legs: SmallVec<[_; 2]> =
            self.all_legs().map(|leg| (leg.stream().as_fd(), leg.counted())).collect();
        Ok(journal.enter(handle.id.0, &legs)?)
    }
}
