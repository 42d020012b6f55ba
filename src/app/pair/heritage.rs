//! What a proxy finds that comes after one that has died.

use std::io;
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

use super::estate::Estate;
use super::service::Pair;
use super::{Kind, Life, fault};
use crate::journal::{self, Left, Tie};
use crate::proxy::Proxy;
use crate::restart::{Adopted, DataPlane as _, Listener, Other, Part, Unfinished};

/// See above.
#[derive(Debug)]
pub(in crate::app) struct Heritage {
    /// What it was told beside its sessions.
    pub(in crate::app) estate: Estate,
    listeners: Vec<Listener>,
    sessions: Left,
    /// A restart that it was in.
    unfinished: Option<Unfinished>,
}

impl Life {
    /// Looks what there is. To be called before anything is opened.
    ///
    /// # Errors
    ///
    /// What is open cannot be told.
    pub(in crate::app) fn begin(self) -> io::Result<(Pair, Option<Heritage>)> {
        let Self { journal, keeper, kind, score } = self;
        let (score, worth) = score.unzip();
        fault::note_down(&journal)?;
        let heritage = match kind {
            Kind::First => None,
            Kind::Heir | Kind::Afresh => {
                let mut sessions = journal.take_over();
                let estate = sessions.estate.take();
                let estate = estate.and_then(|text| serde_json::from_slice::<Estate>(&text).ok());
                let estate = estate.unwrap_or_default();
                let mut keep: Vec<RawFd> = estate.listeners.iter().map(|(_, fd)| *fd).collect();
                let tie = journal.tied();
                keep.extend(tie.iter().flat_map(|tie| {
                    [Some(tie.channel), tie.process, tie.carrier].map(|fd| fd.unwrap_or(-1))
                }));
                keep.extend(score);
                if kind == Kind::Afresh {
                    sessions.give_up();
                }
                let names = estate.listeners.iter().map(|(name, _)| name.clone());
                let listener = |(name, fd): (_, Option<_>)| Some(Listener { name, fd: fd? });
                let mut kept = journal.sweep(&sessions, &keep)?;
                // It stays the keeper's.
                if let Some(score) = score.and_then(|_| kept.pop()).flatten() {
                    let _ = score.into_raw_fd();
                }
                let of_tie = kept.split_off(estate.listeners.len());
                let listeners = names.zip(kept).filter_map(listener).collect();
                let unfinished = tie.and_then(|tie| unfinished(tie, of_tie));
                Some(Heritage { estate, listeners, sessions, unfinished })
            }
        };
        let is_heir = heritage.is_some();
        Ok((Pair { journal, keeper, worth, is_heir }, heritage))
    }
}

impl Heritage {
    /// Its listening sockets.
    pub(in crate::app) fn take_listeners(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.listeners)
    }

    /// The proxy goes on with all of it, but for a restart that it was in.
    pub(in crate::app) fn pass_to(self, proxy: &Arc<Proxy>) -> Option<Unfinished> {
        let Self { estate, sessions, unfinished, .. } = self;
        if !estate.legacy.is_empty() {
            proxy.inherit(estate.legacy.as_bytes());
        }
        proxy.inherit_counters(estate.counters.as_bytes());
        let held = proxy.resume(sessions);
        match unfinished {
            Some(unfinished) => Some(Unfinished { held, ..unfinished }),
            None => {
                // Nobody else can have them.
                let adopted = held.into_iter().filter_map(|parcel| proxy.adopt(parcel).ok());
                adopted.for_each(Adopted::go_on);
                None
            }
        }
    }
}

/// The restart that it was in, with the descriptors that there are of it.
fn unfinished(tie: Tie, fds: Vec<Option<OwnedFd>>) -> Option<Unfinished> {
    let part = match tie.part {
        journal::Part::Predecessor => Part::Predecessor,
        journal::Part::Successor => Part::Successor,
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().flatten();
    let channel = next()?;
    let other = Other { pid: tie.pid, process: next(), carrier: next() };
    Some(Unfinished { part, channel, other, held: Vec::new() })
}
