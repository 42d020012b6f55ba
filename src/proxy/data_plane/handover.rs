//! [`Proxy`] as the restart sees it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Proxy;
use super::deadlines::Drain;
use super::life::{Beginning, Entry};
use crate::config::alterations::Alterations;
use crate::error::ClientError;
use crate::journal::{self, Death, Phase, Slot, Standing};
use crate::metrics::pauses::Pauses;
use crate::net::listen::{FileId, Listener as NetListener};
use crate::net::tls::keys::Hidden;
use crate::net::tls::wiped::Wiped;
use crate::proxy::history::Sample;
use crate::proxy::relay::Relay;
use crate::proxy::relay::parcel::{self, Given, Unpacked};
use crate::proxy::sessions::admission::address_of;
use crate::proxy::sessions::counters::Counted;
use crate::proxy::sessions::handle::{Handle, Signal, Stage};
use crate::proxy::sessions::other_generation::Since;
use crate::restart::{
    Accepting, Adopted, Census, Claim, Class, DataPlane, Listener, Other, Parcel, Part, Refused,
    Replica, Report, Tie,
};
use crate::wire::handshake::Greeting;
use crate::wire::id::SessionId;

/// Bytes of JSON that most legacies stay below.
const USUAL_LEGACY: usize = 16 * 1024;

/// What a successor is told beside sessions.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Legacy {
    /// What servers say first, by address: so nobody has to ask them again.
    greetings: HashMap<String, Greeting>,
    /// Parameters that operators have changed while the proxy ran.
    altered: Alterations,
    /// The key of `handshake::rsa`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rsa_key: Option<Hidden>,
    /// The mark of `cluster::loops`.
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<u64>,
    /// The files of Unix sockets by the name of the listener: what is there now may be another's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sockets: BTreeMap<String, FileId>,
    /// By cluster: how often its primary has changed, and the last one's address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    primaries: BTreeMap<String, (u64, String)>,
    /// Crashes, the last one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    crashes: Vec<Death>,
    /// What clients' sessions have told of servers, by address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    inventories: BTreeMap<String, serde_json::Value>,
    /// The last hour, for charts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<Sample>,
}

/// What a session arrives with, beside its parcel.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    /// Its slot in the journal, and how it stands, if a crash has left it.
    pub(super) left: Option<(Slot, Standing)>,
    /// It is told this and closed.
    pub(super) last_words: Option<ClientError>,
}

impl Proxy {
    /// Takes what a predecessor has left, in its `legacy`. What is not understood is left out.
    pub fn inherit(&self, legacy: &[u8]) {
        let Ok(legacy) = serde_json::from_slice::<Legacy>(legacy) else {
            tracing::warn!("the predecessor's legacy is not understood; starting without it");
            return;
        };
        self.shared.in_force.inherit_altered(legacy.altered);
        legacy.rsa_key.iter().for_each(|key| self.own_key.inherit(key));
        legacy.mark.into_iter().for_each(|mark| self.trail.inherit(mark));
        for listener in &self.ports.listeners {
            legacy.sockets.get(listener.name()).iter().for_each(|file| listener.believe(**file));
        }
        let clusters = self.shared.in_force.clusters();
        legacy.greetings.iter().for_each(|(address, it)| clusters.remember(address, it));
        self.record.inherit_deaths(legacy.crashes);
        legacy.primaries.iter().for_each(|(name, past)| clusters.inherit(name, past));
        self.shared.orders.inventories().inherit(legacy.inventories);
        self.history.inherit(legacy.history);
    }

    /// What whoever comes after a crash is to know, beside sessions.
    pub fn will(&self) -> Bytes {
        self.legacy_with(Vec::new(), Vec::new())
    }

    fn legacy_with(&self, crashes: Vec<Death>, history: Vec<Sample>) -> Bytes {
        let greetings = self.shared.in_force.clusters().greetings().collect();
        let altered = self.shared.in_force.altered();
        let file = |it: &Arc<NetListener>| Some((it.name().to_owned(), it.file()?));
        let legacy = Legacy {
            greetings,
            altered,
            rsa_key: self.own_key.secret(),
            mark: Some(self.trail.mark()),
            sockets: self.ports.listeners.iter().filter_map(file).collect(),
            primaries: self
                .shared
                .in_force
                .clusters()
                .pasts()
                .filter(|(_, (epoch, _))| *epoch > 0)
                .collect(),
            crashes,
            inventories: self.shared.orders.inventories().all_heard(),
            history,
        };
        let mut body = Wiped::with_capacity(USUAL_LEGACY);
        match serde_json::to_writer(&mut body, &legacy) {
            Ok(()) => Bytes::from_owner(body.into_inner()),
            Err(_) => Bytes::new(),
        }
    }

    /// Goes on with a session that nobody else took; false if it could not.
    pub(super) fn go_on(&self, parcel: Parcel) -> bool {
        match self.adopt_here(parcel, Arrival::default()) {
            Ok(adopted) => {
                adopted.go_on();
                true
            }
            Err(refused) => {
                let Refused { parcel, reason, .. } = refused;
                tracing::error!(id = parcel.id, reason, "session lost");
                false
            }
        }
    }

    /// Takes a session that is nobody else's.
    pub(super) fn adopt_here(
        &self,
        mut parcel: Parcel,
        Arrival { left, last_words }: Arrival,
    ) -> Result<Adopted, Refused> {
        let Some(proxy) = self.myself.upgrade() else {
            return Err(Refused::new(parcel, "the process ends"));
        };
        // It is on record as the other side's until it is as ours.
        let claim = parcel.claim.take();
        let given = claim.as_ref().and_then(Claim::record::<Given>);
        if given.is_some_and(|given| !given.slot.is_still(&parcel.fds)) {
            return Err(Refused::new(parcel, "its connections were used meanwhile"));
        }
        let before = self.shared.sessions.registry.find(SessionId(parcel.id));
        if let Some(present) = &before
            && present.stage() != Stage::Moving
        {
            let reason = format!("a session with the id {} is here already", parcel.id);
            return Err(Refused { is_here: true, ..Refused::new(parcel, reason) });
        }
        let unpack: fn(_) -> _ =
            if left.is_some() { parcel::unpack_record } else { parcel::unpack };
        let unpacked = unpack(parcel).inspect_err(|_| {
            before.iter().for_each(|present| self.shared.sessions.registry.end(present));
        });
        let Unpacked { mut relay, handle, mut frozen_at, taught } = unpacked?;
        if left.is_none() {
            relay.take();
        }
        let slot = left.as_ref().map(|(slot, _)| slot.index());
        if let Some((slot, standing)) = left {
            // That was when its state was last written down.
            frozen_at = None;
            if !relay.take_up(slot, standing) {
                let (fds, state) = (Vec::new(), Zeroizing::default());
                let (claim, id) = (None, handle.id.0);
                let parcel = Parcel { claim, id, fds, state, bytes: Vec::new() };
                return Err(Refused::new(parcel, "other connections than on record"));
            }
        }
        let clusters = self.shared.in_force.clusters();
        if let (Some(taught), Some(cluster)) = (taught, clusters.find(&handle.facts().cluster)) {
            cluster.inherit_account(relay.session().user(), taught);
        }
        // Whoever finds it finds all of it.
        let address = address_of(&handle.facts().client);
        let tenant = handle.facts().full_tenant();
        *handle.seat() =
            self.shared.sessions.registry.limits.resume(&relay.user(), tenant, address);
        relay.publish(&self.shared.sessions.registry, &handle);
        relay.publish_connections(&handle);
        let home = relay.home();
        self.shared.sessions.registry.keep_server(&handle, &home.server, home.thread);
        self.peer.knows(handle.id);
        self.settle(before.as_deref(), &handle);
        self.put_on_record(&mut relay, &handle, slot);
        drop(claim);
        Ok(Adopted::new(move || {
            last_words.into_iter().for_each(|words| relay.close_with(words));
            let entry = Entry::of(proxy, handle);
            entry.begin(move |entry| entry.carry(relay.into(), Beginning::Thaw { frozen_at }));
        }))
    }

    /// A session that has arrived is on record from now on, in this slot if it was before.
    fn put_on_record(&self, relay: &mut Relay, handle: &Handle, slot: Option<u32>) {
        match (slot, self.record.journal()) {
            // Its first poll counts as well.
            (Some(slot), _) => handle.set_slot(Some(slot)),
            // Before the other side knows that it is here.
            (None, Some(journal)) => {
                relay.protect(handle, journal);
                relay.record_at_once(handle);
            }
            (None, None) => {}
        }
    }

    /// Puts a session that has arrived among those that live here.
    fn settle(&self, before: Option<&Handle>, handle: &Arc<Handle>) {
        match before {
            // It comes back from where it could not go on; what it was asked meanwhile still holds.
            Some(present) => {
                self.shared.sessions.registry.supersede(present, handle);
                if present.signal() > Signal::Freeze {
                    handle.raise(present.signal());
                }
            }
            None if self.shared.sessions.registry.insert(handle) => {}
            None => {
                tracing::error!(id = handle.id.0, "a session with this id came at the same time")
            }
        }
        self.shared.sessions.registry.other_generation.remove(handle.id);
    }
}

impl DataPlane for Proxy {
    fn listeners(&self) -> std::io::Result<Vec<Listener>> {
        let listener = |own: &Arc<NetListener>| {
            Ok(Listener { name: own.name().to_owned(), fd: own.duplicate()? })
        };
        self.ports.listeners.iter().map(listener).collect()
    }

    async fn accept(&self, accepting: Accepting) {
        match accepting {
            Accepting::Yes => {
                self.shared.sessions.counters.close(false);
                tokio::join!(self.ports.gates.control.open(), self.ports.gates.clients.open());
            }
            Accepting::Control => {
                self.shared.sessions.counters.close(false);
                tokio::join!(self.ports.gates.control.open(), self.ports.gates.clients.close());
            }
            Accepting::No => {
                tokio::join!(self.ports.gates.control.close(), self.ports.gates.clients.close());
                self.shared.sessions.counters.close(true);
            }
        }
    }

    fn legacy(&self) -> Bytes {
        self.peer.has_config();
        self.legacy_with(self.record.deaths(), self.history.samples())
    }

    fn counters(&self, report: Report) -> Bytes {
        let mut counted =
            self.shared.sessions.counters.counted(self.shared.sessions.registry.settled_totals());
        if report == Report::Full {
            counted.digests = self.shared.in_force.digests().all();
        }
        serde_json::to_vec(&counted).map(Bytes::from).unwrap_or_default()
    }

    fn inherit_counters(&self, counters: &[u8]) {
        if let Ok(mut counted) = serde_json::from_slice::<Counted>(counters) {
            let digests = std::mem::take(&mut counted.digests);
            // Then nothing is said of them.
            if !digests.is_empty() {
                self.shared.in_force.digests().inherit(&digests);
            }
            self.shared.sessions.counters.inherit(counted);
        }
    }

    fn own_counters(&self) -> Bytes {
        let mut counted = self
            .shared
            .sessions
            .counters
            .counted_here(self.shared.sessions.registry.settled_totals());
        counted.digests = self.shared.in_force.digests().own();
        serde_json::to_vec(&counted).map(Bytes::from).unwrap_or_default()
    }

    fn credit_counters(&self, counters: &[u8]) {
        if let Ok(counted) = serde_json::from_slice::<Counted>(counters) {
            self.shared.in_force.digests().credit(&counted.digests);
            self.shared.sessions.counters.credit(&counted);
        }
    }

    async fn surrender(&self, class: Class, n: usize, except: &HashSet<u32>) -> Vec<Parcel> {
        let freeze = |handle: Arc<Handle>| {
            let parcel = handle.order_parcel();
            handle.raise(Signal::Freeze);
            parcel
        };
        // The handles are gone then, so a session that ends instead is noticed.
        let chosen = self.shared.sessions.registry.of_class(class, n, except);
        let orders: Vec<_> = chosen.into_iter().map(freeze).collect();
        let mut parcels = Vec::with_capacity(orders.len());
        for order in orders {
            parcels.extend(order.await.ok());
        }
        parcels
    }

    fn adopt(&self, parcel: Parcel) -> Result<Adopted, Refused> {
        self.adopt_here(parcel, Arrival::default())
    }

    fn released(&self, id: u32) {
        let id = SessionId(id);
        if let Some(handle) = self.shared.sessions.registry.find(id)
            && handle.stage() == Stage::Moving
        {
            self.shared.sessions.registry.other_generation.add(handle.view(), Since::Given);
            if handle.signal() == Signal::Kill {
                self.peer.kill(id);
            }
            self.shared.sessions.registry.release(&handle);
        }
    }

    fn drain(&self, deadline: Option<Instant>) {
        self.drain.send_replace(Drain::Until(deadline));
    }

    fn undrain(&self) {
        // What was all the other side's comes back.
        self.record.journal().into_iter().for_each(|journal| journal.set_phase(Phase::Serving));
        self.drain.send_replace(Drain::No);
    }

    async fn emptied(&self) {
        self.shared.sessions.registry.emptied().await;
    }

    fn census(&self) -> Census {
        let disconnected = self.shared.sessions.counters.disconnected.load(Ordering::Relaxed);
        Census { disconnected, ..self.shared.sessions.registry.census() }
    }

    fn pauses(&self) -> Pauses {
        self.shared.sessions.counters.pauses.pauses()
    }

    async fn tell(&self) -> Bytes {
        self.peer.next_note(&self.shared.sessions.registry, &self.shared.in_force).await
    }

    fn news(&self) -> Option<Bytes> {
        self.peer.news_of_sessions(&self.shared.sessions.registry)
    }

    fn hear(&self, note: &[u8]) {
        self.peer.heed(note, &self.shared.sessions.registry, &self.shared.in_force);
    }

    fn movable(&self) -> Vec<u32> {
        let all = self.shared.sessions.registry.of_class(Class::Any, usize::MAX, &HashSet::new());
        all.iter().map(|handle| handle.id.0).collect()
    }

    async fn replicate(&self, ids: &[u32]) -> Vec<Replica> {
        let handles =
            ids.iter().filter_map(|id| self.shared.sessions.registry.find(SessionId(*id)));
        // The handles are gone then, so a session that ends instead is noticed.
        let orders: Vec<_> = handles.map(|handle| handle.order_copy()).collect();
        let mut replicas = Vec::with_capacity(orders.len());
        for order in orders {
            replicas.extend(order.await.ok());
        }
        replicas
    }

    fn own(&self) {
        if let Some(journal) = self.record.journal() {
            journal.untie();
            journal.set_phase(Phase::Serving);
        }
    }

    fn tie(&self, tie: Tie) {
        let Tie { part, channel, other: Other { pid, process, carrier } } = tie;
        let part = match part {
            Part::Predecessor => journal::Part::Predecessor,
            Part::Successor => journal::Part::Successor,
        };
        let tie = journal::Tie { part, channel, pid, process, carrier };
        self.record.journal().into_iter().for_each(|journal| journal.tie(tie));
    }

    fn conclude(&self) {
        self.record.journal().into_iter().for_each(|journal| journal.set_phase(Phase::Restarting));
    }

    fn part(&self) {
        self.peer.part(&self.shared.sessions.registry);
    }
}
