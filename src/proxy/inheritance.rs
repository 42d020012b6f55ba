//! Sessions that outlive the process that carried them: whoever comes after it goes on with them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use zeroize::Zeroizing;

use super::data_plane::{Proxy, SEQUENCE_BITS};
use super::sessions::handle::Handle;
use super::sessions::protection::Shown;
use super::sessions::view::{CrashTotals, CrashView};
use crate::journal::{Death, Deaths, Found, Left, Lost, Since};
use crate::restart::Parcel;

impl Proxy {
    /// Goes on with the sessions of a process that has died.
    pub fn resume(&self, left: Left) {
        let Left { sessions, unknown, highest_id, .. } = left;
        let found = sessions.len() as u64 + unknown;
        // Those that were not on record had ids as well.
        let sequence = highest_id & ((1 << SEQUENCE_BITS) - 1);
        self.next_id.fetch_max(sequence + 1, Ordering::Relaxed);
        let (mut resumed, mut lost) = (0, Lost { unknown, ..Lost::default() });
        for found in sessions {
            match self.resume_one(found) {
                Ok(()) => resumed += 1,
                Err(Some(Since::Moved)) => lost.moved += 1,
                Err(Some(Since::Ended)) => lost.ended += 1,
                Err(None) => lost.unknown += 1,
            }
        }
        let Some(journal) = &self.journal else { return };
        journal.amend_death(|death| {
            let within = died(&death).elapsed().unwrap_or_default();
            let resumed_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            Death { sessions: found, resumed, resumed_ms, lost, ..death }
        });
        tracing::warn!(sessions = found, resumed, "the proxy has crashed; its sessions go on");
    }

    /// The error is what has happened to it; None: it is not understood.
    fn resume_one(&self, found: Found) -> Result<(), Option<Since>> {
        let Found { id, slot, fds, state, is_as_it_was } = found;
        is_as_it_was.inspect_err(|why| tracing::warn!(id, ?why, "session lost in a crash"))?;
        let parcel = Parcel { id, fds, state: Zeroizing::new(state), bytes: Vec::new() };
        match self.adopt_here(parcel, Some(slot)) {
            Ok(adopted) => {
                adopted.go_on();
                Ok(())
            }
            Err(refused) => {
                tracing::error!(id, reason = refused.reason, "session lost in a crash");
                Err(None)
            }
        }
    }

    /// Crashes of this proxy and its predecessors, the last one first.
    pub fn crashes(&self) -> Vec<CrashView> {
        self.deaths().iter().map(view).collect()
    }

    /// What crashes have come to; None where nothing would go on after one.
    pub fn crash_totals(&self) -> Option<CrashTotals> {
        let journal = self.journal.as_ref()?;
        let Deaths { by_signal, resumed, lost } = journal.totals();
        Some(CrashTotals {
            by_kind: by_signal.into_iter().map(|(signal, deaths)| (how(signal), deaths)).collect(),
            resumed,
            lost,
            last: journal.deaths().first().map(|death| Duration::from_millis(death.resumed_ms)),
            has_keeper: journal.has_keeper(),
        })
    }

    /// Sessions that would not go on after a crash now.
    pub fn unprotected_sessions(&self) -> usize {
        let is_unprotected = |handle: &&Arc<Handle>| handle.facts().protection != Shown::Protected;
        self.sessions.registry.all().iter().filter(is_unprotected).count()
    }

    /// Crashes, the last one first.
    pub(super) fn deaths(&self) -> Vec<Death> {
        self.journal.as_ref().map(|journal| journal.deaths()).unwrap_or_default()
    }

    /// Those that a predecessor has told of.
    pub(super) fn inherit_deaths(&self, deaths: Vec<Death>) {
        if let Some(journal) = &self.journal {
            deaths.into_iter().rev().for_each(|death| journal.remember_death(death));
        }
    }
}

fn view(death: &Death) -> CrashView {
    let Death { pid, status, sessions, resumed, resumed_ms, lost, .. } = *death;
    let Lost { moved, ended, unknown } = lost;
    let lost = [("bytes on their way", moved), ("closed by its peer", ended), ("unknown", unknown)];
    CrashView {
        at: died(death),
        pid,
        how: how(status),
        sessions,
        resumed,
        lost: lost.into_iter().filter(|(_, count)| *count > 0).collect(),
        within: Duration::from_millis(resumed_ms),
    }
}

fn died(death: &Death) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(death.at_ms)
}

/// What waitpid(2) says, in words.
fn how(status: i32) -> String {
    match (status & 0x7F, status >> 8 & 0xFF) {
        (0, code) => format!("exit code {code}"),
        (signal, _) => match Signal::try_from(signal) {
            Ok(signal) => signal.as_str().to_owned(),
            Err(_) => format!("signal {signal}"),
        },
    }
}
