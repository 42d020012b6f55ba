//! What a proxy finds that comes after one that has died.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::estate::Estate;
use super::service::Pair;
use super::{Kind, Life, fault, memory};
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
        fault::note_down(&journal)?;
        // The log is not there yet, and it makes no difference before memory is short.
        let _ = memory::go_first();
        let heritage = match kind {
            Kind::First => None,
            Kind::Heir | Kind::Afresh => {
                let mut sessions = journal.take_over();
                let estate = sessions.estate.take();
                let estate = estate.and_then(|text| serde_json::from_slice::<Estate>(&text).ok());
                let estate = estate.unwrap_or_default();
                let listening: Vec<RawFd> = estate.listeners.iter().map(|(_, fd)| *fd).collect();
                if kind == Kind::Afresh {
                    sessions.give_up();
                }
                let names = estate.listeners.iter().map(|(name, _)| name.clone());
                let listener = |(name, fd): (_, Option<_>)| Some(Listener { name, fd: fd? });
                let kept = journal.sweep(&sessions, &listening)?;
                let listeners = names.zip(kept).filter_map(listener).collect();
                Some(Heritage { estate, listeners, sessions })
            }
        };
        Ok((Pair { journal, keeper }, heritage))
    }
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
