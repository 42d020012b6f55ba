//! Whether a session would go on after a crash of the proxy, in words.

use std::fmt;
use std::sync::Arc;

use crate::journal::{Journal, Unregistered};
use crate::names::named;

/// Whether a session would go on after a crash, as people see it.
#[derive(Clone, Debug, Default)]
pub enum Shown {
    /// `crash_protection` is off.
    #[default]
    Off,
    /// It is about to be on record.
    Soon,
    /// It has a slot there: it would, as long as that counts.
    Registered(Arc<Journal>),
    /// It would.
    Protected,
    /// It has a slot, but is at what is not on record.
    Suspended,
    /// It would not.
    Unprotected(Why),
}

impl Shown {
    /// As the journal has it now, of a session in this slot. So nobody need say it who puts a
    /// session on record, or off it for a moment.
    pub fn now(self, id: u32, slot: Option<u32>) -> Self {
        let Self::Registered(journal) = self else { return self };
        match slot.is_some_and(|slot| journal.is_live(slot, id)) {
            true => Self::Protected,
            false => Self::Suspended,
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("false: crash_protection is off"),
            Self::Soon => f.write_str("false: not on record yet"),
            Self::Registered(_) | Self::Protected => f.write_str("true"),
            Self::Suspended => f.write_str("false: what it is at is not on record"),
            Self::Unprotected(why) => write!(f, "false: {why}"),
        }
    }
}

named! {
    /// Why a session would be lost in a crash; what is shown.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum Why {
        Uncounted = "a socket that is never at rest",
        SeveralServers = "more than seven servers",
        NoRoom = "no room in the journal",
        TooLarge = "too much is known of it",
    }
}

impl From<Unregistered> for Why {
    fn from(why: Unregistered) -> Self {
        match why {
            Unregistered::Full => Self::NoRoom,
            Unregistered::Uncounted => Self::Uncounted,
            Unregistered::TooManyLegs => Self::SeveralServers,
            Unregistered::TooLarge => Self::TooLarge,
        }
    }
}

#[cfg(test)]
pub(in crate::proxy) mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::journal::{Commit, Counted, Leg, Slot, Stretch};

    /// Session 7 in a journal, of which nothing is said yet, and its socket.
    pub(in crate::proxy) fn entered() -> (Arc<Journal>, Slot, TcpStream) {
        let journal = Arc::new(Journal::new(4).expect("memory"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("one")).expect("connects");
        let leg = Leg { fd: stream.as_fd(), counted: Counted::default(), is_layered: false };
        let slot = journal.enter(7, &[leg; 2], None).expect("a slot");
        (journal, slot, stream)
    }

    /// Puts it on record.
    pub(in crate::proxy) fn commit(slot: &mut Slot) {
        let (lanes, counted) = (&[Stretch::default(); 2], &[Counted::default(); 2]);
        let commit = Commit { lanes, counted, cold: Some(b"state"), ..Commit::default() };
        slot.commit(&commit).expect("room");
    }

    #[test]
    fn what_is_shown_is_what_whoever_comes_after_it_would_find() {
        let (journal, mut slot, _stream) = entered();
        let index = slot.index();
        let shown = |id, slot| Shown::Registered(journal.clone()).now(id, slot).to_string();
        let suspended = "false: what it is at is not on record";
        assert_eq!(shown(7, Some(index)), suspended, "nothing is said yet");
        for _ in 0..2 {
            commit(&mut slot);
            assert_eq!(shown(7, Some(index)), "true");
            slot.suspend();
            assert_eq!(shown(7, Some(index)), suspended);
        }
        commit(&mut slot);
        assert_eq!((shown(8, Some(index)), shown(7, None)), (suspended.into(), suspended.into()));
        drop(slot);
        assert_eq!(shown(7, Some(index)), suspended);
        assert_eq!(Shown::Soon.now(7, Some(index)).to_string(), "false: not on record yet");
    }
}
