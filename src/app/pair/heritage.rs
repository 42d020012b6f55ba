//! What a proxy finds that comes after one that has died.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, fcntl};

use super::estate::Estate;
use super::service::Pair;
use super::{Kind, Life};
use crate::journal::Left;
use crate::proxy::Proxy;
use crate::restart::{DataPlane as _, Listener};

/// See above.
#[derive(Debug)]
pub(in crate::app) struct Heritage {
    /// What it was told beside its sessions.
    pub(in crate::app) estate: Estate,
    listeners: Vec<Listener>,
    sessions: Left,
}

impl Life {
    /// Looks what there is. To be called before anything is opened.
    ///
    /// # Errors
    ///
    /// What is open cannot be told.
    pub(in crate::app) fn begin(self) -> io::Result<(Pair, Option<Heritage>)> {
        let Self { journal, keeper, kind } = self;
        let heritage = match kind {
            Kind::First => None,
            Kind::Heir | Kind::Afresh => {
                let mut sessions = journal.take_over();
                let estate = sessions.estate.take();
                let estate = estate.and_then(|text| serde_json::from_slice::<Estate>(&text).ok());
                let estate = estate.unwrap_or_default();
                let listening: Vec<RawFd> = estate.listeners.iter().map(|(_, fd)| *fd).collect();
                if kind == Kind::Afresh {
                    sessions = Left { unknown: sessions.sessions.len() as u64, ..Left::default() };
                }
                journal.sweep(&sessions, &listening)?;
                let listeners = own(&estate.listeners);
                Some(Heritage { estate, listeners, sessions })
            }
        };
        Ok((Pair { journal, keeper }, heritage))
    }
}

/// The listening sockets that are still there.
fn own(listeners: &[(String, RawFd)]) -> Vec<Listener> {
    let is_open = |fd: RawFd| {
        // SAFETY: it only asks, and nobody opens or closes anything meanwhile.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        fcntl(fd, FcntlArg::F_GETFD).is_ok()
    };
    let found = listeners.iter().filter(|(_, fd)| is_open(*fd));
    found
        // SAFETY: who owned them is dead, and each is there once.
        .map(|(name, fd)| Listener { name: name.clone(), fd: unsafe { OwnedFd::from_raw_fd(*fd) } })
        .collect()
}

impl Heritage {
    /// Its listening sockets.
    pub(in crate::app) fn take_listeners(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.listeners)
    }

    /// The proxy goes on with all of it.
    pub(in crate::app) fn pass_to(self, proxy: &Arc<Proxy>) {
        let Self { estate, sessions, .. } = self;
        if !estate.legacy.is_empty() {
            proxy.inherit(estate.legacy.as_bytes());
        }
        proxy.inherit_counters(estate.counters.as_bytes());
        proxy.resume(sessions);
    }
}
