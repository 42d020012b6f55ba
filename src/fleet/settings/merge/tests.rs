//! Examples, and the law: whatever is altered where, all proxies come to the same.

use proptest::prelude::*;

use super::*;

const SERVERS: &str = "cluster.a.server";

fn setting(value: &str, revision: u64) -> Setting {
    Setting { value: value.into(), by: "them".into(), at: "1".into(), revision }
}

fn contents(settings: &[(&str, &str, u64)]) -> Contents {
    let of = |(name, value, revision): &(&str, &str, u64)| {
        ((*name).to_owned(), setting(value, *revision))
    };
    Contents { store: Some("s".into()), settings: settings.iter().map(of).collect() }
}

/// Altered here; what the store said before.
fn altered(value: &str, shared: Option<(&str, &str, u64)>) -> Altered {
    let shared = shared.map(|(store, value, revision)| Shared {
        store: store.into(),
        value: value.into(),
        revision,
    });
    Altered { from: "file".into(), value: value.into(), by: "us".into(), at: "2".into(), shared }
}

fn ours(all: &[(&str, Altered)]) -> Alterations {
    all.iter().map(|(name, altered)| ((*name).to_owned(), altered.clone())).collect()
}

/// Values here afterwards; values to be put, with the revision that must be there; what is lost.
type Told = (Vec<String>, Vec<(String, u64)>, usize);

fn told(merged: Merged) -> Told {
    let values = merged.altered.into_values().map(|altered| altered.value).collect();
    let puts = merged.puts.into_iter().map(|put| (put.setting.value, put.setting.revision));
    (values, puts.collect(), merged.lost.len())
}

#[test]
fn who_comes_to_the_store_first_counts() {
    let none: &[(&str, &str, u64)] = &[];
    let nothing: &[(&str, u64)] = &[];
    for (why, own, there, values, puts, lost) in [
        ("new there", None, &[("a", "x", 5)][..], &["x"][..], nothing, 0),
        ("new here", Some(altered("x", None)), none, &["x"], &[("x", 0)], 0),
        ("as it was", Some(altered("x", Some(("s", "x", 5)))), &[("a", "x", 5)], &["x"], &[], 0),
        ("deleted", Some(altered("x", Some(("s", "x", 5)))), none, &[], &[], 0),
        ("another store", Some(altered("x", Some(("r", "x", 5)))), none, &["x"], &[("x", 0)], 0),
        (
            "altered here",
            Some(altered("y", Some(("s", "x", 5)))),
            &[("a", "x", 5)],
            &["y"],
            &[("y", 5)],
            0,
        ),
        (
            "altered there",
            Some(altered("x", Some(("s", "x", 5)))),
            &[("a", "z", 6)],
            &["z"],
            &[],
            0,
        ),
        ("both", Some(altered("y", Some(("s", "x", 5)))), &[("a", "z", 6)], &["z"], &[], 1),
        (
            "both the same",
            Some(altered("z", Some(("s", "x", 5)))),
            &[("a", "z", 6)],
            &["z"],
            &[],
            0,
        ),
        (
            "there and back",
            Some(altered("y", Some(("s", "x", 5)))),
            &[("a", "x", 7)],
            &["x"],
            &[],
            1,
        ),
        ("never heard of", Some(altered("y", None)), &[("a", "z", 6)], &["z"], &[], 1),
        (
            "deleted, and altered here",
            Some(altered("y", Some(("s", "x", 5)))),
            none,
            &["y"],
            &[("y", 0)],
            0,
        ),
    ] {
        let own = own.map(|altered| ours(&[("a", altered)])).unwrap_or_default();
        let found = told(merge(&own, &contents(there)));
        let values = values.iter().map(|it| (*it).to_owned()).collect();
        let puts = puts.iter().map(|(value, at)| ((*value).to_owned(), *at)).collect();
        assert_eq!(found, (values, puts, lost), "{why}");
    }
}

#[test]
fn of_servers_both_changes_count() {
    let own = ours(&[(SERVERS, altered("h:1,h:2", Some(("s", "h:1", 5))))]);
    let merged = merge(&own, &contents(&[(SERVERS, "h:1,h:3", 6)]));
    assert_eq!(
        told(merged.clone()),
        (vec!["h:1,h:3,h:2".into()], vec![("h:1,h:3,h:2".into(), 6)], 0)
    );
    assert_eq!(merged.altered[SERVERS].by, "us");
    // The first of all alterations, at two proxies: the file is what both have changed.
    let own = ours(&[(SERVERS, Altered { from: "h:1".into(), ..altered("h:1,h:2", None) })]);
    let merged = merge(&own, &contents(&[(SERVERS, "h:1,h:3", 6)]));
    assert_eq!(told(merged).1, [("h:1,h:3,h:2".into(), 6)]);
}

#[test]
fn an_empty_store_gets_all_that_is_known() {
    let own = ours(&[("a", altered("x", Some(("s", "x", 5)))), ("b", altered("y", None))]);
    let merged = merge(&own, &Contents::default());
    let known = ["x", "y"].map(String::from);
    assert_eq!(told(merged), (known.to_vec(), known.map(|it| (it, 0)).to_vec(), 0));
}

/// What may happen.
#[derive(Clone, Debug)]
enum Event {
    /// A proxy gives a parameter a value.
    Alter(usize, usize, String),
    /// A proxy adds a server.
    Add(usize, u16),
    /// A proxy looks at the store.
    Look(usize),
    /// What a proxy has read of the store counts only now.
    LookLate(usize),
    /// Somebody deletes a parameter in the store.
    Delete(usize),
    /// Somebody empties the store.
    Empty,
}

fn event() -> impl Strategy<Value = Event> {
    let proxy = 0..3_usize;
    prop_oneof![
        (proxy.clone(), 0..2_usize, "[xyz]").prop_map(|(at, name, v)| Event::Alter(at, name, v)),
        (proxy.clone(), 2..30_u16).prop_map(|(at, port)| Event::Add(at, port)),
        proxy.clone().prop_map(Event::Look),
        proxy.prop_map(Event::LookLate),
        (0..2_usize).prop_map(Event::Delete),
        Just(Event::Empty),
    ]
}

/// A store, and proxies that share it.
struct World {
    store: Contents,
    revision: u64,
    emptied: u64,
    proxies: [Alterations; 3],
    /// What each has read last.
    read: [Contents; 3],
}

impl World {
    fn new() -> Self {
        let (store, revision, emptied) = (Contents::default(), 1, 0);
        Self { store, revision, emptied, proxies: Default::default(), read: Default::default() }
    }

    fn alter(&mut self, at: usize, name: &str, value: String) {
        let known = self.proxies[at].remove(name);
        let shared = known.and_then(|known| known.shared);
        let (by, at_time) = (format!("p{at}"), self.revision.to_string());
        let altered = Altered { from: "h:1".into(), value, by, at: at_time, shared };
        self.proxies[at].insert(name.to_owned(), altered);
    }

    /// Merges with what was read, and publishes if the store is still what it was.
    fn merge(&mut self, at: usize) {
        let read = self.read[at].clone();
        let merged = merge(&self.proxies[at], &read);
        let is_same = self.store.store == read.store;
        let holds = |put: &Put| {
            let found = self.store.settings.get(&put.name).map_or(0, |it| it.revision);
            found == put.setting.revision
        };
        if is_same && merged.puts.iter().all(holds) {
            self.revision += 1;
            if self.store.store.is_none() {
                self.store.store = Some(format!("s{}", self.emptied));
            }
            for Put { name, setting } in merged.puts.clone() {
                let setting = Setting { revision: self.revision, ..setting };
                self.store.settings.insert(name, setting);
            }
        }
        // Of a store that is nobody's nothing is known.
        if read.store.is_some() {
            self.proxies[at] = merged.altered;
        }
    }

    fn look(&mut self, at: usize) {
        for _ in 0..2 {
            self.read[at] = self.store.clone();
            self.merge(at);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Alter(at, name, value) => self.alter(at, ["a", "b"][name], value),
            Event::Add(at, port) => {
                let known = self.proxies[at].get(SERVERS).map_or("h:1", |it| &it.value);
                let value = format!("{known},h:{port}");
                if !known.split(',').any(|it| it == format!("h:{port}")) {
                    self.alter(at, SERVERS, value);
                }
            }
            Event::Look(at) => self.look(at),
            Event::LookLate(at) => {
                self.merge(at);
                self.read[at] = self.store.clone();
            }
            Event::Delete(name) => {
                self.revision += 1;
                self.store.settings.remove(["a", "b"][name]);
            }
            Event::Empty => {
                self.emptied += 1;
                self.revision += 1;
                self.store = Contents::default();
            }
        }
    }
}

proptest! {
    #[test]
    fn all_come_to_what_the_store_has(events in prop::collection::vec(event(), 0..60)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        for _ in 0..3 {
            (0..3).for_each(|at| world.look(at));
        }
        let values = |all: &Alterations| -> Vec<(String, String)> {
            all.iter().map(|(name, it)| (name.clone(), it.value.clone())).collect()
        };
        let stored = world.store.settings.iter();
        let stored: Vec<_> = stored.map(|(name, it)| (name.clone(), it.value.clone())).collect();
        for proxy in &world.proxies {
            prop_assert_eq!(values(proxy), stored.clone());
            prop_assert!(proxy.values().all(Altered::is_shared));
            let merged = merge(proxy, &world.store);
            prop_assert!(merged.puts.is_empty() && merged.lost.is_empty());
            prop_assert_eq!(&merged.altered, proxy, "nothing is left to be done");
        }
    }

    #[test]
    fn no_server_that_was_added_is_forgotten(
        adds in prop::collection::vec((0..3_usize, 2..30_u16, any::<bool>()), 0..20)
    ) {
        let mut world = World::new();
        for (at, port, looks) in &adds {
            world.happen(Event::Add(*at, *port));
            if *looks {
                world.look(*at);
            }
        }
        for _ in 0..3 {
            (0..3).for_each(|at| world.look(at));
        }
        let known = world.store.settings.get(SERVERS).map_or("h:1", |it| &it.value);
        for (_, port, _) in &adds {
            let server = format!("h:{port}");
            prop_assert!(known.split(',').any(|it| it == server), "{server} is not in {known}");
        }
    }
}
