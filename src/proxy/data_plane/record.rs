//! What the journal tells of the process: crashes, of this proxy and its predecessors.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;

use crate::journal::{Death, Deaths, Journal, Lost};
use crate::proxy::sessions::view::{CrashTotals, CrashView};
use crate::wire::id::SessionId;

/// Where sessions are on record, if they are.
#[derive(Debug)]
pub(super) struct Record(Option<Arc<Journal>>);

impl Record {
    pub(super) fn new(journal: Option<Arc<Journal>>) -> Self {
        Self(journal)
    }

    pub(super) fn journal(&self) -> Option<&Arc<Journal>> {
        self.0.as_ref()
    }

    /// Crashes, the last one first.
    pub(super) fn deaths(&self) -> Vec<Death> {
        self.0.as_ref().map(|journal| journal.deaths()).unwrap_or_default()
    }

    /// Those that a predecessor has told of.
    pub(super) fn inherit_deaths(&self, deaths: Vec<Death>) {
        if let Some(journal) = &self.0 {
            deaths.iter().rev().for_each(|death| journal.remember_death(death));
        }
    }

    /// For people, the last one first.
    pub(super) fn crashes(&self) -> Vec<CrashView> {
        self.deaths().iter().map(view).collect()
    }

    /// What crashes have come to; None where nothing would go on after one.
    pub(super) fn totals(&self) -> Option<CrashTotals> {
        let journal = self.0.as_ref()?;
        let Deaths { by_status, resumed, lost } = journal.totals();
        Some(CrashTotals {
            by_kind: by_status.into_iter().map(|(status, deaths)| (how(status), deaths)).collect(),
            resumed,
            lost,
            last: journal.deaths().first().map(|death| Duration::from_millis(death.resumed_ms)),
            has_keeper: journal.has_keeper(),
        })
    }
}

fn view(death: &Death) -> CrashView {
    let Death { pid, status, sessions, resumed, resumed_ms, lost, suspects, .. } = *death;
    let Death { has_hung, panic, .. } = death;
    let Lost { moved, ended, unknown, deadly, given_up, unprotected, shut, impossible } = lost;
    let lost = [
        ("bytes on their way", moved),
        ("closed by its peer", ended),
        ("unknown", unknown),
        ("the proxy died of it", deadly),
        ("the proxy died repeatedly", given_up),
        ("not protected", unprotected),
        ("shut by the proxy", shut),
        ("impossible", impossible),
    ];
    CrashView {
        at: died(death),
        pid,
        how: match (has_hung, &panic[..]) {
            (true, _) => format!("{} after a hang", how(status)),
            (false, "") => how(status),
            (false, said) => format!("{}, panicked at {said}", how(status)),
        },
        sessions,
        resumed,
        lost: lost.into_iter().filter(|(_, count)| *count > 0).collect(),
        within: Duration::from_millis(resumed_ms),
        suspects: suspects.into_iter().filter(|id| *id != 0).map(SessionId).collect(),
    }
}

/// When it was.
pub(super) fn died(death: &Death) -> SystemTime {
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
