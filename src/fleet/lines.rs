//! Connections to admin ports that are kept from one look at the fleet to the next, as long as
//! somebody looks.
//!
//! Invariant: by a kept one nothing is heard but what a proxy says that is RUNNING and in no
//! restart. Else the port is asked anew: another process may serve there by now.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::members::Member;
use super::port::{Admin, AdminPort, Row, Trouble, is_settled};
use crate::task;

/// Nobody looks any more.
const IDLE: Duration = Duration::from_secs(30);

/// Of one proxy: it is asked how it is, and at the same time what it has counted.
const MOST: usize = 2;

/// Those that nobody uses right now. All clones are the same.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// By the names of members.
    lines: BTreeMap<String, Vec<Line>>,
    /// Whether somebody ends those that are idle.
    is_watched: bool,
}

struct Line {
    admin: Admin,
    /// Where it leads to, and as whom.
    port: AdminPort,
    since: Instant,
}

impl Lines {
    /// A connection to a proxy, and how that is.
    pub(super) async fn open(&self, member: &Member) -> Result<(Admin, Row), Trouble> {
        if let Some(mut admin) = self.take(member) {
            match admin.proxy().await {
                Ok(proxy) if is_settled(&proxy) => return Ok((admin, proxy)),
                Ok(_) => admin.quit().await,
                Err(Trouble::Gone(_)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let mut admin = member.port.connect().await?;
        let proxy = admin.proxy().await?;
        Ok((admin, proxy))
    }

    /// Keeps it for the next one who asks.
    pub(super) fn keep(&self, member: &Member, admin: Admin) {
        let mut kept = self.kept();
        let lines = kept.lines.entry(member.name.clone()).or_default();
        if lines.len() < MOST {
            lines.push(Line { admin, port: member.port.clone(), since: Instant::now() });
        }
        if !mem::replace(&mut kept.is_watched, true) {
            let lines = self.clone();
            task::keep("fleet lines", move || lines.clone().end_idle());
        }
    }

    fn take(&self, member: &Member) -> Option<Admin> {
        let mut kept = self.kept();
        let lines = kept.lines.get_mut(&member.name)?;
        // The config may have been read anew.
        lines.retain(|line| line.port.is_same(&member.port));
        lines.pop().map(|line| line.admin)
    }

    async fn end_idle(self) {
        loop {
            sleep(IDLE).await;
            for line in self.idle() {
                line.admin.quit().await;
            }
            let mut kept = self.kept();
            if kept.lines.is_empty() {
                kept.is_watched = false;
                return;
            }
        }
    }

    /// Takes those out that were not used for long.
    fn idle(&self) -> Vec<Line> {
        let mut idle = Vec::new();
        self.kept().lines.retain(|_, lines| {
            idle.extend(lines.extract_if(.., |line| line.since.elapsed() >= IDLE));
            !lines.is_empty()
        });
        idle
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
