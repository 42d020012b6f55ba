//! The config in force: what the file says, and what operators have altered since.
//!
//! What was altered outlives reloads and restarts, until the file says something new about it.
//! Invariant: the config and the certificates in force belong together; both are replaced, under
//! one lock, or neither is.

mod keeping;

use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
pub use keeping::Keeping;
use tokio::sync::Notify;

use super::cluster::Cluster;
use super::cluster::clusters::Clusters;
use super::cluster::programs::UNSEEN;
use super::digests::Digests;
use super::monitor::order::Detection;
use super::monitor::report::{Report, Watcher};
use super::monitor::watch::Monitors;
use crate::config::alterations::{Alterations, Altered};
use crate::config::parameter::{self, Unfit, is_of_tls};
use crate::config::{Config, ReadWriteSplit};
use crate::lock::lock;
use crate::net::tls::settings::{Settings, SettingsError};
use crate::route::topology::Epoch;
use crate::sql::analysis::Changes;

/// Who alters parameters, and when.
#[derive(Clone, Debug)]
pub struct Author {
    /// User and address.
    pub by: String,
    /// In UTC.
    pub at: String,
}

/// A parameter whose value is not what the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// What is in force, what the file says, and who has altered it, if somebody has.
    pub altered: Altered,
}

/// Why parameters were not altered; all of them are as they were.
#[derive(Debug, thiserror::Error)]
pub enum NotAltered {
    /// A name or a value.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A file that is named by them.
    #[error(transparent)]
    Files(#[from] SettingsError),
}

/// What the config in force is made of.
#[derive(Debug)]
struct Origins {
    file: Arc<Config>,
    altered: Alterations,
}

/// The config in force with all that follows from it.
#[derive(Debug)]
pub struct InForce {
    config: Arc<ArcSwap<Config>>,
    tls: Arc<Settings>,
    clusters: Arc<ArcSwap<Clusters>>,
    monitors: Monitors,
    new_primary: Arc<NewPrimary>,
    /// Also held while the config in force is replaced.
    origins: Mutex<Origins>,
    keeping: Keeping,
    sharing: Keeping,
    digests: Digests,
}

/// Hears what servers say of themselves, and says when that makes another one the primary.
#[derive(Debug)]
struct Heard(Arc<ArcSwap<Clusters>>, Arc<NewPrimary>);

/// Who hears that a cluster has another primary: one of each.
#[derive(Debug, Default)]
pub(super) struct NewPrimary {
    /// Who sees to it that sessions do. Also told of whatever else is altered.
    pub(super) sessions: Notify,
    /// Who writes down what is to outlive a crash: whoever goes on then must not believe in the old
    /// one.
    pub(super) heirs: Notify,
}

impl NewPrimary {
    pub(super) fn tell(&self) {
        self.heirs.notify_one();
        self.sessions.notify_one();
    }
}

impl Watcher for Heard {
    fn handle_report(&self, report: Report) {
        if let Some(cluster) = self.0.load().find(&report.cluster) {
            let error = report.outcome.as_ref().err().map(ToString::to_string);
            let before = cluster.topology().epoch();
            cluster.hear(&report.server, report.observation(), error);
            if cluster.topology().epoch() != before {
                self.1.tell();
            }
            if let Some((programs, began)) = report.programs {
                cluster.hear_programs(&report.server, programs, began);
            }
        }
    }
}

impl InForce {
    /// As the file has it. Others read the config and the TLS settings, too.
    pub fn new(config: Arc<ArcSwap<Config>>, tls: Arc<Settings>) -> Self {
        let clusters = Arc::new(ArcSwap::from_pointee(Clusters::new(&config.load(), None)));
        let origins = Origins { file: config.load_full(), altered: Alterations::new() };
        let new_primary = Arc::<NewPrimary>::default();
        let monitors = Monitors::new(Arc::new(Heard(clusters.clone(), new_primary.clone())));
        let (origins, keeping, sharing) =
            (Mutex::new(origins), Keeping::default(), Keeping::default());
        let digests = Digests::new(config.load().proxy.digest_table_size);
        let in_force = Self {
            config,
            tls,
            clusters,
            monitors,
            new_primary,
            origins,
            keeping,
            sharing,
            digests,
        };
        in_force.watch_servers();
        in_force
    }

    /// Told when a cluster has another primary.
    pub(super) fn new_primary(&self) -> &NewPrimary {
        &self.new_primary
    }

    /// Whether a server of a cluster does not answer, as far as it was asked.
    pub(super) fn is_lost(&self, cluster: &str, server: &str) -> bool {
        let topology = self.clusters.load().find(cluster).map(|cluster| cluster.topology());
        topology.is_some_and(|topology| topology.at(server).is_some_and(|server| server.is_lost))
    }

    /// Whether anything of a cluster is split.
    pub(super) fn splits(&self, cluster: &str) -> bool {
        let config = self.config.load();
        let split = |it: &Arc<Cluster>| it.section().split(&config.proxy) != ReadWriteSplit::Off;
        self.clusters.load().find(cluster).is_some_and(split)
    }

    /// Whether another server of a cluster may come to take its writes.
    pub(super) fn may_be_switched(&self, cluster: &str) -> bool {
        self.clusters.load().find(cluster).is_some_and(|cluster| {
            let topology = cluster.topology();
            topology.servers().len() > 1 && topology.epoch() != Epoch::default()
        })
    }

    /// Has the servers of a cluster asked for what they are, now and not when it is time.
    pub(super) fn ask_now(&self, cluster: &str) {
        self.monitors.ask_now(cluster);
    }

    /// What triggers of a cluster's server may change in a session.
    pub(super) fn fired(&self, cluster: &str, server: &str) -> Changes {
        self.clusters.load().find(cluster).map_or(UNSEEN, |cluster| cluster.fired(server))
    }

    /// What its stored routines of this name may change.
    pub(super) fn called(&self, cluster: &str, server: &str, name: &[u8]) -> Changes {
        let clusters = self.clusters.load();
        clusters.find(cluster).map_or(Changes::ANYTHING, |cluster| cluster.called(server, name))
    }

    /// One of them is being defined anew, or dropped.
    pub(super) fn doubt_programs(&self, cluster: &str, server: &str) {
        if let Some(cluster) = self.clusters.load().find(cluster) {
            cluster.doubt_programs(server);
        }
    }

    /// The config.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// The same for a moment.
    pub fn load(&self) -> arc_swap::Guard<Arc<Config>> {
        self.config.load()
    }

    /// Certificates and keys.
    pub fn tls(&self) -> &Settings {
        &self.tls
    }

    /// The servers.
    pub fn clusters(&self) -> Arc<Clusters> {
        self.clusters.load_full()
    }

    /// Alters parameters, by name; all of them or none. Timeouts and limits count at once, servers
    /// and certificates for the next log-in. If one of them is about TLS, all files are read again.
    pub fn alter<'a>(
        &self,
        changes: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        author: &Author,
    ) -> Result<(), NotAltered> {
        let mut origins = self.origins();
        let config = parameter::changed(&self.config(), changes.clone())?;
        let mut altered = origins.altered.clone();
        for name in changes.clone().map(|(name, _)| parameter::original(name)) {
            let of = |config: &Config| parameter::value(config, &name);
            if let (Some(from), Some(value)) = (of(&origins.file), of(&config)) {
                let Author { by, at } = author.clone();
                let shared = altered.remove(&name).and_then(|before| before.shared);
                altered.insert(name, Altered { from, value, by, at, shared });
            }
        }
        // As a reload would make it: of a server that comes back the file may know more.
        let config = parameter::changed(&origins.file, values(&altered))?;
        if changes.clone().any(|(name, _)| is_of_tls(name)) {
            self.tls.reload(&config.tls)?;
        }
        self.store_altered(&mut origins, altered);
        self.store_config(config);
        Ok(())
    }

    /// Puts what the file says now in force, and reads the files that it names. Listening addresses
    /// and workers count only after a restart.
    pub fn reload(&self, file: Config) -> Result<(), SettingsError> {
        let mut origins = self.origins();
        let merged = merged(&file, origins.altered.clone());
        self.tls.reload(&merged.config.tls)?;
        merged.log_unfit();
        origins.file = file.into();
        self.store_altered(&mut origins, merged.kept);
        self.store_config(merged.config);
        Ok(())
    }

    /// Takes what operators have altered in the other generation. Files that are gone since leave
    /// TLS as it is in force here.
    pub fn inherit_altered(&self, inherited: Alterations) {
        let mut origins = self.origins();
        let merged = self.fitting(&origins, inherited);
        merged.log_unfit();
        self.store_altered(&mut origins, merged.kept);
        self.store_config(merged.config);
    }

    /// Takes what the fleet shares, unless something else is altered here now than was seen: None.
    /// What of it does not fit here is told, by name, with the reason; that stays as it was.
    pub fn take_shared(&self, seen: &Alterations, shared: Alterations) -> Option<Vec<Unfitting>> {
        let mut origins = self.origins();
        if origins.altered != *seen {
            return None;
        }
        let Merged { config, kept, unfit } = self.fitting(&origins, shared);
        // Also who shares is told of each change.
        if origins.altered != kept {
            self.store_altered(&mut origins, kept);
            self.store_config(config);
        }
        Some(unfit)
    }

    /// What can be in force of that; instead of what cannot, what is altered here already.
    fn fitting(&self, origins: &Origins, wanted: Alterations) -> Merged {
        let mut merged = merged(&origins.file, wanted);
        if merged.config.tls != self.config().tls
            && let Err(error) = self.tls.reload(&merged.config.tls)
        {
            let of_tls = merged.kept.keys().filter(|name| is_of_tls(name));
            merged.unfit.extend(of_tls.map(|name| (name.clone(), error.to_string())));
        }
        if merged.unfit.is_empty() {
            return merged;
        }
        let Merged { mut kept, unfit, .. } = merged;
        for (name, _) in &unfit {
            kept.remove(name);
            kept.extend(origins.altered.get(name).map(|own| (name.clone(), own.clone())));
        }
        Merged { unfit, ..self::merged(&origins.file, kept) }
    }

    /// What operators have altered.
    pub fn altered(&self) -> Alterations {
        self.origins().altered.clone()
    }

    /// Whether that would outlive this process.
    pub fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// Whether all of the fleet has it.
    pub fn sharing(&self) -> &Keeping {
        &self.sharing
    }

    /// Every parameter whose value is not what the file says.
    pub fn differences(&self) -> Vec<Difference> {
        let origins = self.origins();
        let config = self.config();
        let of_clusters = parameter::cluster::all(&config).into_iter().map(|key| key.name);
        let own = parameter::all().iter().map(|parameter| parameter.name.to_owned());
        let names = own.chain(of_clusters);
        let difference = |name: String| {
            let value = parameter::value(&config, &name)?;
            let from = parameter::value(&origins.file, &name)?;
            let known = origins.altered.get(&parameter::original(&name));
            let (by, at) = known.map(|it| (it.by.clone(), it.at.clone())).unwrap_or_default();
            let shared = known.and_then(|known| known.shared.clone());
            let altered = Altered { from, value, by, at, shared };
            (altered.from != altered.value).then_some(Difference { name, altered })
        };
        names.filter_map(difference).collect()
    }

    /// Statements by their shapes.
    pub fn digests(&self) -> &Digests {
        &self.digests
    }

    fn store_altered(&self, origins: &mut Origins, altered: Alterations) {
        if origins.altered != altered {
            origins.altered = altered;
            self.keeping.changed();
        }
    }

    fn origins(&self) -> MutexGuard<'_, Origins> {
        lock(&self.origins)
    }

    fn store_config(&self, config: Config) {
        let before = self.clusters.load_full();
        self.clusters.store(Arc::new(Clusters::new(&config, Some(&before))));
        self.digests.set_limit(config.proxy.digest_table_size);
        self.config.store(Arc::new(config));
        self.watch_servers();
        self.new_primary.sessions.notify_one();
        self.sharing.changed();
    }

    fn watch_servers(&self) {
        let (config, tls) = (self.config(), self.tls.server());
        let clusters = self.clusters();
        let detections = clusters.iter().filter_map(|it| Detection::of(it, &config));
        let detections: Vec<_> = detections.collect();
        self.monitors.put_in_force(&detections, &config, tls.as_ref());
    }
}

/// A parameter that cannot be what it is to be, and why.
pub type Unfitting = (String, String);

/// The file's config with what was altered.
struct Merged {
    config: Config,
    /// What is left of that: a file that says something new about a parameter wins.
    kept: Alterations,
    /// What cannot be.
    unfit: Vec<Unfitting>,
}

impl Merged {
    fn log_unfit(&self) {
        for (name, error) in &self.unfit {
            tracing::warn!(name, error, "altered parameter not kept");
        }
    }
}

fn merged(file: &Config, altered: Alterations) -> Merged {
    let mut merged = Merged { config: file.clone(), kept: Alterations::new(), unfit: Vec::new() };
    for (name, mut it) in altered {
        let from = parameter::value(file, &name);
        if !file.fleet.is_shared() {
            it.shared = None;
        }
        match (from, &it.shared) {
            // What all of the fleet has counts whatever the file says.
            (Some(from), Some(_)) => _ = merged.kept.insert(name, Altered { from, ..it }),
            (None, Some(_)) => merged.unfit.push((name, "there is no such parameter here".into())),
            (Some(from), None) if from == it.from => _ = merged.kept.insert(name, it),
            (_, None) => {}
        }
    }
    // Certificate and key mean nothing alone.
    let of_tls = merged.kept.iter().filter(|(name, _)| is_of_tls(name));
    let of_tls: Vec<_> = of_tls.map(|(name, it)| (name.clone(), it.value.clone())).collect();
    let changes = of_tls.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    match parameter::changed(file, changes) {
        Ok(changed) => merged.config = changed,
        Err(error) => {
            let unfit = of_tls.into_iter().map(|(name, _)| (name, error.to_string()));
            merged.unfit.extend(unfit);
            merged.kept.retain(|name, _| !is_of_tls(name));
        }
    }
    let Merged { config, kept, unfit } = &mut merged;
    kept.retain(|name, Altered { value, .. }| {
        if is_of_tls(name) {
            return true;
        }
        match parameter::changed(config, [(name.as_str(), value.as_str())]) {
            Ok(changed) => {
                *config = changed;
                true
            }
            Err(error) => {
                unfit.push((name.clone(), error.to_string()));
                false
            }
        }
    });
    merged
}

fn values(altered: &Alterations) -> impl Iterator<Item = (&str, &str)> {
    altered.iter().map(|(name, it)| (name.as_str(), it.value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVERS: &str = "cluster.main.server";
    const SPLIT: &str = "cluster.main.read_write_split";

    fn file(cluster: &str, servers: &[&str]) -> Config {
        let mut text = format!("[[cluster]]\nname = 'main'\n{cluster}\n");
        for server in servers {
            text.push_str(&format!("[[cluster.server]]\nweight = 7\naddress = '{server}'\n"));
        }
        Config::parse(&text, "x".as_ref()).expect(&text)
    }

    fn started(file: Config) -> InForce {
        let tls = Settings::load(&file.tls).expect("none");
        InForce::new(Arc::new(ArcSwap::from_pointee(file)), Arc::new(tls))
    }

    fn alter(in_force: &InForce, name: &str, value: &str) {
        in_force.alter([(name, value)].into_iter(), &author()).expect(value);
    }

    fn author() -> Author {
        Author { by: "root@h".into(), at: "2026-01-01T00:00:00.000Z".into() }
    }

    #[track_caller]
    fn check(in_force: &InForce, name: &str, expected: &str) {
        let found = parameter::value(&in_force.config(), name);
        assert_eq!(found.as_deref(), Some(expected), "{name}");
    }

    #[test]
    fn servers_that_were_altered_outlive_reloads_until_the_file_has_others() {
        let in_force = started(file("", &["h:1", "h:2"]));
        alter(&in_force, SERVERS, "add h:3");
        alter(&in_force, SERVERS, "drain h:1");
        alter(&in_force, SPLIT, "on");
        check(&in_force, SERVERS, "h:1 draining,h:2,h:3");
        in_force.reload(file("causal_reads = 'off'", &["h:1", "h:2"])).expect("no TLS");
        check(&in_force, SERVERS, "h:1 draining,h:2,h:3");
        check(&in_force, SPLIT, "on");
        check(&in_force, "cluster.main.causal_reads", "off");
        // The file says something new about servers, and nothing about the split.
        in_force.reload(file("", &["h:1", "h:4"])).expect("no TLS");
        check(&in_force, SERVERS, "h:1,h:4");
        check(&in_force, SPLIT, "on");
        in_force.reload(file("read_write_split = 'weak'", &["h:1"])).expect("no TLS");
        check(&in_force, SPLIT, "weak");
        assert_eq!(in_force.altered(), Alterations::new());
    }

    #[test]
    fn servers_that_were_altered_outlive_restarts() {
        let old = started(file("", &["h:1", "h:2"]));
        alter(&old, SERVERS, "drop h:1");
        alter(&old, SERVERS, "drain h:2");
        alter(&old, "cluster.main.Read_Write_Split", "weak");
        let parcel = serde_json::to_string(&old.altered()).expect("it is text");
        let inherited: Alterations = serde_json::from_str(&parcel).expect("it is what was told");
        let new = started(file("", &["h:1", "h:2"]));
        new.inherit_altered(inherited.clone());
        assert_eq!(new.config(), old.config());
        assert_eq!(new.altered(), old.altered());
        check(&new, SERVERS, "h:2 draining");
        // A file with which it was restarted, and in which the cluster is another one.
        let text = "[[cluster]]\nname = 'other'\n[[cluster.server]]\naddress = 'h:1'";
        let other = started(Config::parse(text, "x".as_ref()).expect("a config"));
        other.inherit_altered(inherited);
        check(&other, "cluster.other.server", "h:1");
        assert_eq!(other.altered(), Alterations::new());
    }

    #[test]
    fn a_server_that_comes_back_is_what_the_file_says_of_it() {
        let in_force = started(file("", &["h:1", "h:2"]));
        for change in ["drop h:2", "add h:3", "add h:2"] {
            alter(&in_force, SERVERS, change);
        }
        let altered = in_force.config();
        let weights = altered.main_cluster().server.iter().map(|server| server.weight);
        assert_eq!(weights.collect::<Vec<_>>(), [7, 100, 7]);
        in_force.reload(file("", &["h:1", "h:2"])).expect("no TLS");
        assert_eq!(in_force.config(), altered);
    }

    #[test]
    fn what_differs_from_the_file_is_told_with_who_has_altered_it() {
        let in_force = started(file("", &["h:1"]));
        assert_eq!(in_force.differences(), []);
        alter(&in_force, SPLIT, "on");
        alter(&in_force, "connect_timeout", "3s");
        alter(&in_force, "login_timeout", "4s");
        alter(&in_force, "login_timeout", "10s");
        let difference = |name: &str, from: &str, value: &str| {
            let Author { by, at } = author();
            let altered = Altered { from: from.into(), value: value.into(), by, at, shared: None };
            Difference { name: name.into(), altered }
        };
        let expected = [difference("connect_timeout", "10s", "3s"), difference(SPLIT, "off", "on")];
        assert_eq!(in_force.differences(), expected);
        in_force.reload(file("read_write_split = 'on'", &["h:1"])).expect("no TLS");
        assert_eq!(in_force.differences(), expected[..1]);
    }

    #[test]
    fn all_changes_count_or_none() {
        let in_force = started(file("", &["h:1"]));
        let before = in_force.config();
        for wrong in [(SERVERS, "drop h:9"), ("cluster.mian.kind", "mysql"), (SPLIT, "yes")] {
            let changes = [("connect_timeout", "1s"), (SERVERS, "add h:2"), (SPLIT, "on"), wrong];
            in_force.alter(changes.into_iter(), &author()).expect_err(wrong.1);
            assert_eq!(
                (in_force.config(), in_force.altered()),
                (before.clone(), Alterations::new())
            );
        }
        let changes = [("connect_timeout", "1s"), (SERVERS, "add h:2"), (SERVERS, "drop h:1")];
        in_force.alter(changes.into_iter(), &author()).expect("one is left");
        check(&in_force, SERVERS, "h:2");
        check(&in_force, "connect_timeout", "1s");
    }
}
