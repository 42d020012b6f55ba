//! Two data planes in this process that throw their sessions at each other without a pause.
//!
//! Every session is frozen, packed, unpacked and thawed thousands of times a second, so a script
//! that runs through it is moved between most of its packets and in the middle of many.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use odp::config::Config;
use odp::net::listen::{Address, Gate, Listener};
use odp::proxy::{Foundation, Gates, Proxy};
use odp::restart::{Accepting, Class, DataPlane};
use tokio::sync::mpsc;

/// Ends with its thread when dropped.
pub struct Hammer {
    address: String,
    moves: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hammer {
    /// In front of this server.
    pub fn start(server: &str) -> Self {
        let config = format!(
            "[[cluster]]\nname = 'main'\n[[cluster.server]]\naddress = '{server}'\n\
             [proxy]\nlisten = ['127.0.0.1:0']\n"
        );
        let config = Config::parse(&config, "hammer.toml".as_ref()).expect("a config");
        let moves = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, address) = std::sync::mpsc::channel();
        let (counted, stopped) = (moves.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(hammer(config, tell, counted, stopped));
        });
        let address = address.recv().expect("an address");
        Self { address, moves, stop, thread: Some(thread) }
    }

    /// Where clients connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How often a session was moved so far.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn hammer(
    config: Config,
    tell: std::sync::mpsc::Sender<String>,
    moves: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) {
    let address = Address::Tcp("127.0.0.1:0".parse().expect("an address"));
    let listener = Listener::bind("sql".into(), &address).expect("a listener");
    let listener = Arc::new(listener);
    let planes = [1, 2].map(|generation| plane(&config, generation));
    let (taker, gate) = (planes[0].0.clone(), planes[0].1.clone());
    let accepting = listener.clone();
    tokio::spawn(async move { accepting.accept_loop(gate, |stream| taker.take(stream)).await });
    planes[0].0.accept(Accepting::Yes).await;
    tell.send(listener.local()).expect("somebody waits");
    while !stop.load(Ordering::Relaxed) {
        for (from, to) in [(0, 1), (1, 0)] {
            for parcel in planes[from].0.surrender(Class::Any, 64, &HashSet::new()).await {
                let id = parcel.id;
                planes[to].0.adopt(parcel).expect("a session is adopted").go_on();
                planes[from].0.released(id);
                moves.fetch_add(1, Ordering::Relaxed);
            }
            tokio::task::yield_now().await;
        }
    }
}

fn plane(config: &Config, generation: u64) -> (Arc<Proxy>, Gate) {
    let gate = Gate::closed(usize::from(generation == 1));
    let (local_logins, _) = mpsc::unbounded_channel();
    let proxy = Proxy::new(Foundation {
        config: Arc::new(arc_swap::ArcSwap::from_pointee(config.clone())),
        generation,
        listeners: Vec::new(),
        gates: Gates { clients: gate.clone(), control: Gate::closed(0) },
        local_logins,
    });
    (proxy, gate)
}
