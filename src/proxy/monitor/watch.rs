//! Which servers are watched, and the life of a watch.
//!
//! ```text
//!   put_in_force ─► started ─► round, sleep, round … ─► ended: it is in force no more
//!                       └── another order: from the next round on
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch::{Receiver, Sender, channel};

use super::note::Notes;
use super::order::{Detection, Order};
use super::report::{Report, Watcher};
use super::round::Rounds;
use super::warm::Warmth;
use crate::config::Config;
use crate::lock::lock;
use crate::net::tls::settings::Connector;
use crate::task;

/// How long leave may take.
const PARTING: Duration = Duration::from_millis(500);

/// From the start of a round to that of the next, however many want it now.
const LEAST: Duration = Duration::from_millis(50);

/// Everybody who is watched.
#[derive(Debug)]
pub struct Monitors {
    watcher: Arc<dyn Watcher>,
    /// By cluster and server. A watch ends when its order is dropped.
    watched: Mutex<BTreeMap<Key, Sender<Arc<Order>>>>,
}

/// The names of a cluster and of a server in it.
type Key = (Arc<str>, Arc<str>);

impl Monitors {
    /// Nobody is watched.
    pub fn new(watcher: Arc<dyn Watcher>) -> Self {
        Self { watcher, watched: Mutex::default() }
    }

    /// From now on exactly the servers of these clusters are watched; those that were already go on
    /// by the new order, on the connection that they have. Called within the runtime.
    pub fn put_in_force(
        &self,
        clusters: &[Detection],
        config: &Arc<Config>,
        tls: Option<&Arc<Connector>>,
    ) {
        let mut watched = lock(&self.watched);
        let mut before = std::mem::take(&mut *watched);
        for detection in clusters {
            for server in detection.cluster.servers() {
                let key = (detection.cluster.name.clone(), server.address.clone());
                let order = Arc::new(detection.order(server, config, tls));
                let watch = match before.remove(&key) {
                    Some(kept) => {
                        kept.send_replace(order);
                        kept
                    }
                    None => self.start(order),
                };
                watched.insert(key, watch);
            }
        }
    }

    /// The servers of a cluster are asked now, and not when it is time.
    pub fn ask_now(&self, cluster: &str) {
        let watched = lock(&self.watched);
        let of_it = watched.iter().filter(|((name, _), _)| **name == *cluster);
        // The order that it has, which counts at once.
        of_it.for_each(|(_, watch)| watch.send_modify(|_| ()));
    }

    fn start(&self, order: Arc<Order>) -> Sender<Arc<Order>> {
        let (sender, orders) = channel(order);
        let watcher = self.watcher.clone();
        task::keep("monitor", move || {
            let (watcher, orders) = (watcher.clone(), orders.clone());
            Watch {
                watcher,
                orders,
                rounds: Rounds::default(),
                notes: Notes::default(),
                warmth: Warmth::default(),
            }
            .run()
        });
        sender
    }
}

/// A server that is watched.
struct Watch {
    watcher: Arc<dyn Watcher>,
    orders: Receiver<Arc<Order>>,
    rounds: Rounds,
    notes: Notes,
    warmth: Warmth,
}

impl Watch {
    async fn run(mut self) {
        let mut dropped = self.orders.clone();
        tokio::select! {
            () = self.go_on() => {}
            // Cancel safe: the channel is read nowhere else by this receiver.
            () = async { while dropped.changed().await.is_ok() {} } => {}
        }
        self.rounds.end(PARTING).await;
    }

    async fn go_on(&mut self) {
        loop {
            let order = self.orders.borrow_and_update().clone();
            let began = Instant::now();
            let outcome = self.rounds.ask(&order).await;
            if let (Ok(said), Some(line)) = (&outcome, self.rounds.take_line()) {
                self.warmth.handle_round(&order, line, said);
            }
            let (cluster, server) = (order.cluster.name.clone(), order.server.address.clone());
            self.notes.tell(&cluster, &server, &outcome, Instant::now());
            self.notes.tell_refused(&cluster, &server, self.rounds.take_refused());
            let programs = self.rounds.take_programs();
            if programs.as_ref().is_some_and(|(programs, _)| programs.triggers.is_none()) {
                self.notes.tell_unseen(&cluster, &server);
            }
            self.watcher.handle_report(Report { cluster, server, outcome, programs });
            tokio::select! {
                () = tokio::time::sleep_until((began + order.interval).into()) => {}
                // Cancel safe. Another order counts at once.
                changed = self.orders.changed() => match changed {
                    Ok(()) => tokio::time::sleep_until((began + LEAST).into()).await,
                    Err(_) => return,
                }
            }
        }
    }
}
