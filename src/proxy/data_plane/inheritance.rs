//! Sessions that outlive the process that carried them: whoever comes after it goes on with them.

use rustix::net::Shutdown;
use zeroize::Zeroizing;

use super::Proxy;
use super::handover::Arrival;
use super::record::died;
use crate::error::ClientError;
use crate::journal::{Death, Found, Left, Lost, Served, Since};
use crate::proxy::relay::parcel::{self, Unpacked};
use crate::proxy::relay::pause::FrozenAt;
use crate::proxy::relay::protection::Salvaged;
use crate::restart::{Adopted, Parcel};
use crate::task;
use crate::wire::id::SessionId;

/// As people know it that counts panics.
const RECOVERY: &str = "recovery";

/// Why a session does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// What has happened to it.
    Since(Since),
    /// What is on record of it is not understood.
    NotUnderstood,
    /// To take it up has killed processes.
    Deadly,
}

impl Proxy {
    /// Goes on with the sessions of a process that has died; with suspects last. Not with those
    /// that it had given to another one, and that nobody there has used yet: they are the caller's.
    pub fn resume(&self, left: Left) -> Vec<Parcel> {
        let Left { sessions, unknown, unprotected, given_up, highest_id, .. } = left;
        let Some(journal) = self.record.journal() else { return Vec::new() };
        let (given, sessions): (Vec<_>, Vec<_>) =
            sessions.into_iter().partition(|found| found.is_given);
        let held = |found| task::attempt(RECOVERY, || self.hold(found)).ok().flatten();
        let held = given.into_iter().filter_map(held).collect();
        let found = sessions.len() as u64 + unknown + unprotected + given_up;
        // Those that were not on record had ids as well.
        self.ids.go_on_behind(highest_id);
        let mut lost = Lost { unknown, unprotected, given_up, ..Lost::default() };
        let mut resumed = 0;
        let strikes = |found: &Found| journal.strikes(found.slot.index());
        let (suspects, innocents): (Vec<_>, Vec<_>) =
            sessions.into_iter().partition(|found| strikes(found).is_suspect());
        let mut waiting = Vec::new();
        for found in innocents.into_iter().chain(suspects) {
            let (is_suspect, is_out) = (strikes(&found).is_suspect(), strikes(&found).is_out());
            match self.try_one(found) {
                Ok(adopted) if is_suspect => waiting.push((adopted, is_out)),
                Ok(adopted) => {
                    adopted.go_on();
                    resumed += 1;
                }
                Err(Gone::Since(Since::Moved)) => lost.moved += 1,
                Err(Gone::Since(Since::Ended)) => lost.ended += 1,
                Err(Gone::Since(Since::Shut)) => lost.shut += 1,
                Err(Gone::Since(Since::Impossible)) => lost.impossible += 1,
                Err(Gone::NotUnderstood) => lost.unknown += 1,
                Err(Gone::Deadly) => lost.deadly += 1,
            }
        }
        for (_, is_out) in &waiting {
            *(if *is_out { &mut lost.deadly } else { &mut resumed }) += 1;
        }
        journal.amend_death(|death| {
            let within = died(&death).elapsed().unwrap_or_default();
            let resumed_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            Death { sessions: found, resumed, resumed_ms, lost, ..death }
        });
        tracing::warn!(sessions = found, resumed, "the proxy has crashed; its sessions go on");
        // All is said and done when they do it again.
        waiting.into_iter().for_each(|(adopted, _)| adopted.go_on());
        held
    }

    /// A session that was given to another process, to be sent or adopted as it was then. None if
    /// somebody has used it since: that can be only who got it.
    fn hold(&self, found: Found) -> Option<Parcel> {
        let Found { id, slot, fds, cold, standing, .. } = found;
        let standing = standing.ok().filter(|_| slot.is_still(&fds))?;
        let state = Zeroizing::new(cold);
        let parcel = Parcel { claim: None, id, fds, state, bytes: Vec::new() };
        let Unpacked { mut relay, handle, taught, .. } = parcel::unpack_record(parcel).ok()?;
        let slot = relay.take_up(slot, standing).then(|| relay.leave_record()).flatten()?;
        let parts = relay.into_parts().ok()?;
        parcel::pack(parts, &handle, FrozenAt::now(), taught.as_ref(), Some(slot)).ok()
    }

    /// Goes on with a session whose task has panicked, as it stood at its last commit: once.
    /// Whether it does.
    pub(super) fn take_up(&self, salvaged: Salvaged) -> bool {
        let Salvaged { slot, fds, pieces, trays } = salvaged;
        slot.strike();
        let Some(found) = slot.revisit(fds, pieces, trays) else { return false };
        let id = found.id;
        match self.try_one(found) {
            Ok(adopted) => {
                tracing::warn!(id, "a session's task has panicked; the session goes on");
                adopted.go_on();
                true
            }
            Err(gone) => {
                tracing::error!(id, ?gone, "a session's task has panicked; the session is lost");
                false
            }
        }
    }

    /// A session whose taking up panics is lost, which is as deadly as any; nobody else is.
    fn try_one(&self, found: Found) -> Result<Adopted, Gone> {
        let id = SessionId(found.id);
        task::attempt(RECOVERY, || self.resume_one(found)).unwrap_or_else(|_| {
            tracing::error!(id = id.0, "session lost in a crash: it cannot be taken up");
            let registry = &self.shared.sessions.registry;
            registry.find(id).iter().for_each(|handle| registry.end(handle));
            Err(Gone::Deadly)
        })
    }

    fn resume_one(&self, found: Found) -> Result<Adopted, Gone> {
        let Found { id, slot, fds, cold, standing, .. } = found;
        let (journal, index) = (slot.journal().clone(), slot.index());
        let strikes = journal.strikes(index);
        let _serving = journal.recover(Served { id, slot: Some(index) });
        // Whoever watches over us sees that there is an end to it.
        journal.beat();
        let standing =
            standing.map_err(Gone::Since).and_then(|standing| match strikes.is_untouchable() {
                true => Err(Gone::Deadly),
                false => Ok(standing),
            });
        let standing = standing.inspect_err(|why| {
            match why {
                // Nothing that others do leads to that.
                Gone::Since(Since::Impossible) => {
                    tracing::error!(id, "session lost in a crash: its record cannot be true");
                }
                Gone::Since(Since::Moved | Since::Ended | Since::Shut)
                | Gone::NotUnderstood
                | Gone::Deadly => tracing::warn!(id, ?why, "session lost in a crash"),
            }
            // Whoever else holds its sockets.
            for fd in &fds {
                let _ = rustix::net::shutdown(fd, Shutdown::Both);
            }
        })?;
        let last_words = strikes.is_out().then(|| {
            tracing::error!(id, "session closed: the proxy has crashed with it repeatedly");
            ClientError::deadly()
        });
        let arrival = Arrival { left: Some((slot, standing)), last_words };
        let state = Zeroizing::new(cold);
        let parcel = Parcel { claim: None, id, fds, state, bytes: Vec::new() };
        self.adopt_here(parcel, arrival).map_err(|refused| {
            tracing::error!(id, reason = refused.reason, "session lost in a crash");
            Gone::NotUnderstood
        })
    }
}
