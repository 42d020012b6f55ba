//! Which process goes when memory is short: the proxy, whose sessions go on, and not its keeper.
//!
//! A clone is worth what its parent is at that moment, and nobody else need write it. So this is
//! done by the keeper, with a file that was opened when the process could still be dumped: of one
//! that cannot be the file is root's. Invariant: a proxy, which has secrets, can never be dumped.
//!
//! A successor is started by a proxy, and is to be worth what that one's keeper is: else each
//! restart would make odp worth more, until it goes before everything else on the machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};

use crate::restart::OOM_SCORE_ADJ;

/// What a process is worth to the kernel, between -1000 and 1000: the highest goes first.
const SCORE: &str = "/proc/self/oom_score_adj";

/// So much more than the keeper's.
const MORE: i32 = 200;

const HIGHEST: i32 = 1000;

/// What this process is worth, and its clones are to be: the keeper takes no memory later.
#[derive(Debug)]
pub(in crate::app) struct Score {
    file: File,
    own: i32,
}

impl Score {
    /// To be called while the process may be dumped.
    pub(in crate::app) fn look() -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(SCORE)?;
        let mut own = String::new();
        file.read_to_string(&mut own)?;
        let own: i32 = own.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        let told = std::env::var(OOM_SCORE_ADJ).ok().and_then(|score| score.parse().ok());
        let mut score = Self { file, own };
        // What was raised by who may not lower it can be lowered by the same.
        if let Some(told) = told.filter(|told| *told < own)
            && score.set(told).is_ok()
        {
            score.own = told;
        }
        Ok(score)
    }

    /// Whoever is cloned now goes before this process.
    pub(super) fn raise(&self) -> io::Result<()> {
        self.set((self.own + MORE).min(HIGHEST))
    }

    /// This process is worth what it was.
    pub(super) fn restore(&self) -> io::Result<()> {
        self.set(self.own)
    }

    fn set(&self, score: i32) -> io::Result<()> {
        (&self.file).write_all(score.to_string().as_bytes())
    }

    /// What this process is worth.
    pub(super) fn own(&self) -> i32 {
        self.own
    }

    /// The file's descriptor, which is in the table of all.
    pub(super) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
