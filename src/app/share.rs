//! What operators have altered is the same in all of the fleet: whoever serves tells the store in
//! etcd, and takes from it what others have altered.
//!
//! The store is read, made one with what is altered here, and written, in rounds; what is changed
//! here or there begins the next one. Invariant: nobody waits for etcd but who has altered
//! something, and a proxy that starts by itself; neither of them for long. Who cannot reach it
//! serves on with what is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::keep::other_state;
use crate::config::FleetSection;
use crate::config::alterations::{Alterations, Shared};
use crate::error::chain;
use crate::fleet::settings::{
    Contents, Link, Merged, Read, Setting, Standing, Store, Trouble, merge,
};
use crate::proxy::Proxy;
use crate::restart::Lifecycle;
use crate::restart::task::State;
use crate::task;

/// How often the store is read when nothing tells that it has changed.
const PERIOD: Duration = Duration::from_secs(30);

/// When it is tried again after a failure.
const AGAIN: Duration = Duration::from_secs(2);

/// The same when etcd does not let us in: each try costs it the computing of a hash.
const AGAIN_IF_DENIED: Duration = Duration::from_secs(60);

/// How long a proxy that starts by itself waits for what the fleet has altered.
const BEGINNING: Duration = Duration::from_secs(3);

/// Others may write between our reading and our writing; so often in a row they hardly do.
const TRIES: usize = 20;

/// Shares what is altered here.
pub(super) struct Sharer {
    proxy: Arc<Proxy>,
    standing: watch::Sender<Standing>,
    /// As the config has it.
    store: Option<(FleetSection, Store)>,
    /// What does not fit here: at which revision, and why.
    unfit: BTreeMap<String, (u64, String)>,
}

impl Sharer {
    /// Nothing is known yet.
    pub(super) fn new(proxy: &Arc<Proxy>) -> Self {
        let (proxy, unfit) = (proxy.clone(), BTreeMap::new());
        let standing = watch::Sender::new(Standing::new(SystemTime::now()));
        Self { proxy, standing, store: None, unfit }
    }

    /// How it stands, from now on.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Takes what the fleet has altered, for a proxy that starts by itself.
    pub(super) async fn begin(&mut self) {
        if self.proxy.config().fleet.is_shared() && timeout(BEGINNING, self.round()).await.is_err()
        {
            tracing::warn!("the fleet's settings are not known after {BEGINNING:?}; starting");
        }
    }

    /// Shares from now on.
    pub(super) fn serve(self, lifecycle: &Lifecycle) {
        let (sharer, lifecycle) = (Arc::new(tokio::sync::Mutex::new(self)), lifecycle.clone());
        task::keep("fleet settings", move || {
            let (sharer, lifecycle) = (sharer.clone(), lifecycle.clone());
            async move { sharer.lock().await.share(&lifecycle).await }
        });
    }

    async fn share(&mut self, lifecycle: &Lifecycle) {
        let proxy = self.proxy.clone();
        let sharing = proxy.in_force().sharing();
        let (mut changes, mut standings) = (sharing.changes(), lifecycle.subscribe());
        loop {
            let (change, state) =
                (*changes.borrow_and_update(), standings.borrow_and_update().state);
            let is_shared = proxy.config().fleet.is_shared();
            let (mut read, mut pause) = (None, PERIOD);
            // A successor that does not serve yet may have a config that never counts.
            if state != State::Starting {
                let round = if is_shared { Some(self.round().await) } else { None };
                let trouble = round.as_ref().and_then(|it| it.as_ref().err());
                sharing.settle(change, trouble.map(|trouble| trouble.why.clone()));
                pause = pause_behind(round.as_ref());
                read = round.and_then(Result::ok);
                if !is_shared {
                    self.part();
                }
            }
            // All branches are cancel safe.
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = other_state(&mut standings, state) => {}
                () = self.changed_there(read.as_ref()) => {}
                () = sleep(pause) => self.unfit.clear(),
            }
        }
    }

    /// Waits until the store has changed, or may have. Cancel safe.
    async fn changed_there(&self, read: Option<&Read>) {
        let (Some((_, store)), Some(read)) = (&self.store, read) else {
            return std::future::pending().await;
        };
        if let Err(error) = store.changed(read).await {
            tracing::debug!(%error, "fleet settings");
            sleep(AGAIN).await;
        }
    }

    /// Makes one of what is here and what is there; what was there at last.
    async fn round(&mut self) -> Result<Read, Unshared> {
        let before = self.standing.borrow().link;
        if before == Link::Off {
            self.tell(Link::Connecting, String::new());
        }
        let round = self.rounds().await;
        match &round {
            Ok(read) => {
                let damaged = read.damaged.iter().chain(&self.unfit);
                let refused = damaged.map(|(name, (_, why))| (name.clone(), why.clone())).collect();
                let settings = read.contents.settings.clone();
                self.standing.send_modify(|it| {
                    it.settings = settings;
                    it.refused = refused;
                });
                self.tell(Link::Connected, String::new());
            }
            Err(trouble) => {
                // Certificates may have been renewed.
                self.store = None;
                self.tell(Link::Unreachable, trouble.why.clone());
            }
        }
        round
    }

    async fn rounds(&mut self) -> Result<Read, Unshared> {
        for _ in 0..TRIES {
            let read = self.store()?.read().await?;
            let seen = self.proxy.in_force().altered();
            let (mut ours, mut theirs) = (seen.clone(), read.contents.clone());
            self.unfit.retain(|name, (revision, _)| {
                theirs.settings.get(name).is_some_and(|it| it.revision == *revision)
            });
            let kept = self.set_aside(&read, &mut ours, &mut theirs);
            let Merged { mut altered, puts, lost } = merge(&ours, &theirs);
            if theirs.store.is_none() || !puts.is_empty() {
                let new = name_of_store()?;
                let written = self.store()?.write(&theirs, &puts, &new).await;
                if written? && theirs.store.is_none() {
                    tracing::warn!("etcd had no settings of this fleet: it has those of here now");
                }
                // Written or not: what is there now is other than what was read.
                continue;
            }
            altered.extend(kept);
            let Some(unfit) = self.proxy.take_shared(&seen, altered) else { continue };
            for name in lost {
                let by = theirs.settings.get(&name).map(|it| it.by.as_str()).unwrap_or_default();
                tracing::warn!(name, by, "altered elsewhere, too, and that counts");
            }
            for (name, why) in unfit {
                tracing::warn!(name, why, "a setting of the fleet does not fit here");
                let revision = theirs.settings.get(&name).map_or(0, |it| it.revision);
                self.unfit.insert(name, (revision, why));
            }
            return Ok(read);
        }
        let why = format!("others have changed the settings in etcd {TRIES} times in between");
        Err(why.into())
    }

    /// What is no good here stays as it is, here and there, until it is altered: what is here.
    fn set_aside(&self, read: &Read, ours: &mut Alterations, theirs: &mut Contents) -> Alterations {
        let mut kept = Alterations::new();
        let damaged = read.damaged.iter().map(|(name, (revision, _))| (name, revision, true));
        let unfit = self.unfit.iter().map(|(name, (revision, _))| (name, revision, false));
        for (name, revision, is_damaged) in damaged.chain(unfit) {
            let setting = theirs.settings.remove(name);
            let Some(mut own) = ours.remove(name) else { continue };
            // What was altered before anything was shared may be older than what others have.
            if own.is_shared() || !(is_damaged || own.shared.is_some()) {
                kept.insert(name.clone(), own);
                continue;
            }
            let setting = setting.unwrap_or_default();
            let (store, value) = (theirs.store.clone().unwrap_or_default(), setting.value.clone());
            own.shared = Some(Shared { store, value, revision: *revision });
            ours.insert(name.clone(), own);
            theirs.settings.insert(name.clone(), Setting { revision: *revision, ..setting });
        }
        kept
    }

    fn store(&mut self) -> Result<&Store, String> {
        let section = &self.proxy.config().fleet;
        if self.store.as_ref().is_none_or(|(known, _)| known != section) {
            let store = Store::new(section).map_err(|error| error.to_string())?;
            self.unfit.clear();
            self.store = Some((section.clone(), store));
        }
        let (_, store) = self.store.as_ref().expect("it was just made");
        Ok(store)
    }

    /// There is no store any more.
    fn part(&mut self) {
        self.store = None;
        if self.standing.borrow().link != Link::Off {
            self.standing.send_replace(Standing::new(SystemTime::now()));
        }
    }

    fn tell(&self, link: Link, trouble: String) {
        self.standing.send_modify(|it| {
            match link {
                Link::Unreachable if trouble != it.trouble => {
                    tracing::warn!(trouble, "the fleet's settings are not shared; serving on");
                }
                Link::Connected if it.link != Link::Connected => {
                    tracing::info!("the fleet's settings are shared");
                }
                Link::Off | Link::Connecting | Link::Connected | Link::Unreachable => {}
            }
            if it.link != link {
                it.since = SystemTime::now();
            }
            it.link = link;
            it.trouble = trouble;
        });
    }
}

/// Why the settings are not shared.
#[derive(Clone, Debug)]
struct Unshared {
    why: String,
    /// Etcd does not let us in.
    is_denied: bool,
}

impl From<String> for Unshared {
    fn from(why: String) -> Self {
        Self { why, is_denied: false }
    }
}

impl From<Trouble> for Unshared {
    fn from(trouble: Trouble) -> Self {
        Self { why: chain(&trouble), is_denied: trouble.is_denied }
    }
}

/// When the next round is due, if nothing happens before; None: there is nothing to share.
fn pause_behind(round: Option<&Result<Read, Unshared>>) -> Duration {
    match round {
        None | Some(Ok(_)) => PERIOD,
        Some(Err(Unshared { is_denied: true, .. })) => AGAIN_IF_DENIED,
        Some(Err(_)) => AGAIN,
    }
}

/// Nobody else's.
fn name_of_store() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_does_not_ask_again_soon() {
        let failed = |is_denied| Some(Err(Unshared { why: "x".into(), is_denied }));
        for (round, expected) in [
            (None, PERIOD),
            (Some(Ok(Read::default())), PERIOD),
            (failed(false), AGAIN),
            (failed(true), AGAIN_IF_DENIED),
        ] {
            assert_eq!(pause_behind(round.as_ref()), expected, "{round:?}");
        }
    }
}
