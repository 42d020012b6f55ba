//! A data plane that echoes: sessions over TCP that can be frozen at any byte.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep_until;

use crate::restart::{
    Accepting, Adopted, Census, Class, DataPlane, Listener, Parcel, Refused, Report,
};

/// What a drained session gets instead of a MySQL error packet.
pub(crate) const FAREWELL: &[u8] = b"1053\n";

/// The fake.
pub(crate) struct EchoPlane {
    listeners: Vec<Listener>,
    sessions: Mutex<BTreeMap<u32, Session>>,
    count: watch::Sender<usize>,
    gate: watch::Sender<Accepting>,
    accepting: watch::Sender<bool>,
    drain: watch::Sender<Option<Option<Instant>>>,
    next_id: AtomicU32,
    disconnected: AtomicU64,
    tasks: AtomicU64,
    is_dead: AtomicBool,
    refused: Vec<u32>,
    legacy: Mutex<Vec<u8>>,
    counters: Mutex<Vec<u8>>,
    myself: std::sync::Weak<Self>,
}

/// None: frozen, and given out.
type Session = Option<oneshot::Sender<oneshot::Sender<Parcel>>>;

impl EchoPlane {
    pub(crate) fn new(listeners: Vec<Listener>, first_id: u32, refused: Vec<u32>) -> Arc<Self> {
        let plane = Arc::new_cyclic(|myself| Self {
            listeners,
            sessions: Mutex::default(),
            count: watch::Sender::new(0),
            gate: watch::Sender::new(Accepting::No),
            accepting: watch::Sender::new(false),
            drain: watch::Sender::new(None),
            next_id: AtomicU32::new(first_id),
            disconnected: AtomicU64::new(0),
            tasks: AtomicU64::new(0),
            is_dead: AtomicBool::new(false),
            refused,
            legacy: Mutex::default(),
            counters: Mutex::default(),
            myself: myself.clone(),
        });
        // The others, if a test wants many, are never connected to.
        if let Some(listener) = plane.listeners.first() {
            let fd = listener.fd.try_clone().expect("a duplicate");
            tokio::spawn(accept_loop(plane.clone(), fd));
        }
        plane
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn accepting(&self) -> Accepting {
        *self.gate.borrow()
    }

    pub(crate) fn inherit(&self, legacy: &[u8]) {
        *self.legacy.lock().expect("unpoisoned") = legacy.to_vec();
    }

    pub(crate) fn inherited(&self) -> Vec<u8> {
        self.legacy.lock().expect("unpoisoned").clone()
    }

    pub(crate) fn counters_seen(&self) -> Vec<u8> {
        self.counters.lock().expect("unpoisoned").clone()
    }

    /// As the death of the process would: all its sockets close.
    pub(crate) fn die(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
        self.gate.send_replace(Accepting::No);
        self.lock().clear();
    }

    /// Whether nothing is left of it.
    pub(crate) fn is_buried(&self) -> bool {
        let is_accepting = *self.accepting.borrow();
        let has_tasks = self.tasks.load(Ordering::Relaxed) > 0;
        self.is_dead.load(Ordering::Relaxed) && !has_tasks && !is_accepting
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Session>> {
        self.sessions.lock().expect("unpoisoned")
    }

    fn run(&self, id: u32, stream: TcpStream, pending: Vec<u8>) {
        let (freeze, frozen) = oneshot::channel();
        if self.is_dead.load(Ordering::Relaxed) {
            return;
        }
        self.lock().insert(id, Some(freeze));
        self.count();
        self.tasks.fetch_add(1, Ordering::Relaxed);
        let plane = self.myself.upgrade().expect("alive");
        let drain = self.drain.subscribe();
        tokio::spawn(async move {
            let ended = echo(id, stream, pending, frozen, drain).await;
            plane.tasks.fetch_sub(1, Ordering::Relaxed);
            if let Ended::Closed = ended {
                plane.lock().remove(&id);
                plane.count();
            }
        });
    }

    fn count(&self) {
        let count = self.lock().len();
        self.count.send_replace(count);
    }
}

enum Ended {
    Closed,
    Frozen,
}

async fn echo(
    id: u32,
    stream: TcpStream,
    mut pending: Vec<u8>,
    mut frozen: oneshot::Receiver<oneshot::Sender<Parcel>>,
    mut drain: watch::Receiver<Option<Option<Instant>>>,
) -> Ended {
    let mut buffer = [0; 4096];
    loop {
        let deadline = *drain.borrow_and_update();
        let deadline = deadline.flatten();
        tokio::select! {
            biased;
            order = &mut frozen => {
                let Ok(order) = order else { return Ended::Closed };
                let fd: OwnedFd = stream.into_std().expect("deregistered").into();
                let state = format!("{{\"id\":{id}}}").into_bytes();
                let (fds, state) = (vec![fd], state.into());
                let _ = order.send(Parcel { claim: None, id, fds, state, bytes: pending });
                return Ended::Frozen;
            }
            _ = drain.changed() => {}
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()),
                if deadline.is_some() =>
            {
                let _ = stream.try_write(FAREWELL);
                return Ended::Closed;
            }
            _ = stream.writable(), if !pending.is_empty() => match stream.try_write(&pending) {
                Ok(n) => drop(pending.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ended::Closed,
            },
            _ = stream.readable(), if pending.is_empty() => match stream.try_read(&mut buffer) {
                Ok(0) => return Ended::Closed,
                Ok(n) => pending.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ended::Closed,
            },
        }
    }
}

async fn accept_loop(plane: Arc<EchoPlane>, fd: OwnedFd) {
    let listener = TcpListener::from(fd);
    listener.set_nonblocking(true).expect("nonblocking");
    let mut gate = plane.gate.subscribe();
    loop {
        if gate.wait_for(|it| *it == Accepting::Yes).await.is_err() {
            return;
        }
        let own = listener.try_clone().expect("a duplicate");
        let own = tokio::net::TcpListener::from_std(own).expect("registered");
        plane.accepting.send_replace(true);
        loop {
            tokio::select! {
                biased;
                _ = gate.wait_for(|it| *it != Accepting::Yes) => break,
                accepted = own.accept() => if let Ok((stream, _)) = accepted {
                    let id = plane.next_id.fetch_add(1, Ordering::Relaxed);
                    plane.run(id, stream, Vec::new());
                },
            }
        }
        drop(own);
        plane.accepting.send_replace(false);
    }
}

impl DataPlane for EchoPlane {
    fn listeners(&self) -> io::Result<Vec<Listener>> {
        let duplicate = |it: &Listener| {
            Ok(Listener { name: it.name.clone(), fd: it.fd.as_fd().try_clone_to_owned()? })
        };
        self.listeners.iter().map(duplicate).collect()
    }

    async fn accept(&self, accepting: Accepting) {
        self.gate.send_replace(accepting);
        let mut running = self.accepting.subscribe();
        let _ = running.wait_for(|it| *it == (accepting == Accepting::Yes)).await;
    }

    fn legacy(&self) -> Bytes {
        Bytes::from_static(b"legacy")
    }

    fn counters(&self, report: Report) -> Bytes {
        match report {
            Report::Brief => Bytes::from_static(b"brief"),
            Report::Full => Bytes::from_static(b"counters"),
        }
    }

    fn inherit_counters(&self, counters: &[u8]) {
        *self.counters.lock().expect("unpoisoned") = counters.to_vec();
    }

    async fn surrender(&self, class: Class, n: usize, except: &HashSet<u32>) -> Vec<Parcel> {
        if class == Class::InTransaction {
            return Vec::new();
        }
        let mut orders = Vec::new();
        for (id, session) in self.lock().iter_mut() {
            if orders.len() < n
                && !except.contains(id)
                && let Some(freeze) = session.take()
            {
                let (order, parcel) = oneshot::channel();
                if freeze.send(order).is_ok() {
                    orders.push(parcel);
                }
            }
        }
        let mut parcels = Vec::new();
        for order in orders {
            parcels.extend(order.await.ok());
        }
        parcels
    }

    fn adopt(&self, mut parcel: Parcel) -> Result<Adopted, Refused> {
        if self.refused.contains(&parcel.id) {
            return Err(Refused::new(parcel, "not this one"));
        }
        assert_eq!(*parcel.state, format!("{{\"id\":{}}}", parcel.id).into_bytes());
        let fd = parcel.fds.remove(0);
        let stream = std::net::TcpStream::from(fd);
        let stream = TcpStream::from_std(stream).expect("registered");
        let plane = self.myself.upgrade().expect("alive");
        Ok(Adopted::new(move || plane.run(parcel.id, stream, parcel.bytes)))
    }

    fn released(&self, id: u32) {
        let mut sessions = self.lock();
        if sessions.get(&id).is_some_and(Option::is_none) {
            sessions.remove(&id);
        }
        drop(sessions);
        self.count();
    }

    fn drain(&self, deadline: Option<Instant>) {
        if deadline.is_some() {
            self.disconnected.store(self.len() as u64, Ordering::Relaxed);
        }
        self.drain.send_replace(Some(deadline));
    }

    fn undrain(&self) {
        self.disconnected.store(0, Ordering::Relaxed);
        self.drain.send_replace(None);
    }

    async fn emptied(&self) {
        let mut count = self.count.subscribe();
        let _ = count.wait_for(|count| *count == 0).await;
    }

    fn census(&self) -> Census {
        Census {
            sessions: self.len() as u64,
            disconnected: self.disconnected.load(Ordering::Relaxed),
            ..Census::default()
        }
    }
}
