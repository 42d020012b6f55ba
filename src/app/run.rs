//! The proxy in the foreground, from its start or its takeover to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use sha1::{Digest, Sha1};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::config::{self, Names};
use super::keep::{Keeper, Past};
use super::pair::{self, Heritage, Life, Pair, Score};
use super::ports::Ports;
use super::remarks::log_remarks;
use super::share::Sharer;
use super::{announce, keep, lookout, signals};
use crate::admin::{self, Admin, Audit, server};
use crate::config::{Config, ConfigError};
use crate::error::chain;
use crate::fleet::record::{Kept, Record};
use crate::fleet::settings::Standing;
use crate::fleet::tasks::Tasks;
use crate::net::listen::{open_files, raise_limit};
use crate::net::tls::settings as tls;
use crate::proxy::login::LocalLogin;
use crate::proxy::{Foundation, Proxy};
use crate::restart::notify::Notifier;
use crate::restart::{Census, Exit, Lifecycle, Origin, Settings, Start, Timeouts};
use crate::{log, restart, task};

/// How long the service manager's news of a stop may delay the stop.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long operators that are not answered yet may delay the end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How it is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// By itself.
    Cold,
    /// As the successor of the proxy that is running; by itself if there is none.
    Takeover,
}

/// Runs a proxy with this config file to its end.
pub(crate) fn run(path: &Path, beginning: Beginning, past: Past) -> anyhow::Result<()> {
    let score = Score::look();
    // From here on there may be keys and passwords in memory: no core dump, and no debugger but
    // root's.
    nix::sys::prctl::set_dumpable(false).context("cannot forbid core dumps")?;
    // A successor is started through a file descriptor, whose number would be its name.
    let _ = nix::sys::prctl::set_name(c"odp");
    let config = Config::look(path)?;
    if !config.proxy.crash_protection {
        return run_proxy(path, beginning, past, None);
    }
    let _ = raise_limit();
    let life = pair::divide(most_sessions(&config), score.ok())?;
    let path = path.to_owned();
    // The thread that was cloned has the keeper's id.
    let proxy = std::thread::Builder::new().name("odp".into());
    let proxy = proxy.spawn(move || run_proxy(&path, beginning, past, Some(life)));
    let ended = proxy.context("cannot start a thread")?.join();
    // It is told already; the keeper is to know by what the process ends with.
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Sessions that a journal is made for: more can't have sockets, or are not let in.
fn most_sessions(config: &Config) -> u32 {
    let possible = Census::most_sessions(open_files(), 2);
    // The limit may be altered, and whoever has no place only goes without.
    let wanted = config.proxy.client_max_connections.saturating_mul(2);
    u32::try_from(possible.min(wanted)).unwrap_or(u32::MAX)
}

fn run_proxy(
    path: &Path,
    beginning: Beginning,
    past: Past,
    life: Option<Life>,
) -> anyhow::Result<()> {
    let parts = life.map(Life::begin).transpose().context("cannot see what is left")?;
    let heritage = parts.as_ref().and_then(|(_, heritage)| heritage.as_ref());
    let (config, flaw) = match heritage.map(|heritage| heritage.estate.config.as_str()) {
        Some(text) if !text.is_empty() => config_again(text, path)?,
        _ => (config::load(path, Names::Resolved)?, None),
    };
    let _log = log::start(&config.log).context("cannot start the log")?;
    if parts.is_some() {
        pair::note_panics();
    }
    if let Some(error) = flaw {
        tracing::error!(%error, "passwords are missing until the config is loaded again");
    }
    raise_fd_limit();
    let mut runtime = match config.proxy.workers {
        // One worker has nobody to share with: this thread does it, without the locks.
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if config.proxy.workers > 1 {
        runtime.worker_threads(config.proxy.workers);
    }
    let runtime = runtime.enable_all().thread_name("odp").build();
    let runtime = runtime.context("cannot start the runtime")?;
    task::see_through(runtime, live(path, config, (beginning, past), parts))
}

/// A crash puts no new config in force, least of all one with mistakes. Without files of passwords
/// that are gone meanwhile sessions go on all the same: what is wrong with those, if anything.
fn config_again(text: &str, path: &Path) -> anyhow::Result<(Config, Option<ConfigError>)> {
    match Config::again(text, path) {
        Ok(config) => Ok((config, None)),
        Err(error) => Ok((Config::parse(text, path)?, Some(error))),
    }
}

/// What handshakes need. Who comes after a crash serves without what cannot be read any more:
/// nobody shakes hands there, and sessions go on.
fn load_tls(
    path: &Path,
    config: &Config,
    heritage: Option<&Heritage>,
) -> anyhow::Result<tls::Settings> {
    if heritage.is_none() {
        return tls::Settings::load(&config.tls).map_err(config::in_config(path));
    }
    let (settings, errors) = tls::Settings::load_what_can_be(&config.tls);
    for error in errors {
        tracing::error!(%error, "no TLS handshakes there until the config is loaded again");
    }
    Ok(settings)
}

async fn live(
    path: &Path,
    config: Config,
    (beginning, past): (Beginning, Past),
    parts: Option<(Pair, Option<Heritage>)>,
) -> anyhow::Result<()> {
    let orders = signals::Orders::hear().context("cannot listen for signals")?;
    let (pair, heritage) = parts.unzip();
    let mut heritage = heritage.flatten();
    let origin = origin(path, &config, pair.as_ref())?;
    let tls = Arc::new(load_tls(path, &config, heritage.as_ref())?);
    let config = Arc::new(ArcSwap::from_pointee(config));
    let read = config.clone();
    let lifecycle = Lifecycle::new(origin, Timeouts::default(), move || settings(&read.load()));
    let start = begin(&lifecycle, beginning, heritage.as_ref()).await?;
    let keeper = Keeper::of(&config.load());
    let altered = match (&start, &heritage) {
        (Start::Cold(_), None) => Some(keeper.begin(past)?),
        (Start::Warm(_) | Start::Unfinished(_), _) | (Start::Cold(_), Some(_)) => None,
    };
    let left = heritage.as_mut().map(Heritage::take_listeners).unwrap_or_default();
    let (ports, start) = open_ports(&config.load(), start, left).await?;
    let (local_logins, admin_users) = unbounded_channel();
    let proxy = Proxy::new(Foundation {
        config: config.clone(),
        tls,
        generation: lifecycle.generation().0,
        listeners: ports.listeners(),
        gates: ports.gates(),
        local_logins,
        journal: pair.as_ref().map(|pair| pair.journal.clone()),
    });
    altered.into_iter().for_each(|altered| proxy.in_force().inherit_altered(altered));
    let sharer = sharer(&proxy, &start, heritage.as_ref()).await;
    let start = endow(&proxy, start, heritage, &keeper);
    keeper.serve(&proxy, &lifecycle);
    let settings = sharer.standing();
    sharer.serve(&lifecycle);
    let admin = serve(&ports, (&config, &proxy, &lifecycle), admin_users, settings);
    let _records = keep_records(&ports, lifecycle.pid(), &config.load().proxy.run_dir);
    let ports = Arc::new(ports);
    let lookout = look_out(&ports, &lifecycle, config.load().proxy.run_dir.clone());
    orders.obey(subject(path, &admin, lookout)).context("cannot listen for signals")?;
    if let Some(pair) = pair {
        pair.serve(&proxy, &lifecycle, &ports);
    }
    let (notifier, announcer) = announce(&lifecycle, config.load().proxy.delay_exit_time.0);
    match lifecycle.serve(proxy.clone(), start).await {
        Exit::Succeeded(how) => {
            if let Some(successor) = announce::successor(&lifecycle) {
                notifier.hand_over(successor).await;
            }
            tracing::info!(how, "a successor serves; leaving");
        }
        Exit::Stopped => {
            ports.remove_files(&config.load());
            let _ = tokio::time::timeout(LAST_WORDS, announcer).await;
            tracing::info!("stopped");
        }
        Exit::Refused(reason) => return Err(anyhow!("takeover: {reason}")),
    }
    finish_answers(&admin.under_way).await;
    proxy.part_with_servers().await;
    Ok(())
}

/// Who shares what is altered here; a proxy that starts by itself knows what the fleet has altered.
async fn sharer(proxy: &Arc<Proxy>, start: &Start, heritage: Option<&Heritage>) -> Sharer {
    let mut sharer = Sharer::new(proxy);
    if matches!(start, Start::Cold(_)) && heritage.is_none() {
        sharer.begin().await;
    }
    sharer
}

/// What signals are about.
fn subject(path: &Path, admin: &Admin, lookout: Arc<Notify>) -> signals::Subject {
    let Admin { proxy, lifecycle, audit, .. } = admin;
    let (proxy, lifecycle, audit) = (proxy.clone(), lifecycle.clone(), audit.clone());
    signals::Subject { lifecycle, proxy, audit, config: path.to_owned(), lookout }
}

/// Whoever asked for this process's end is to hear of it.
async fn finish_answers(under_way: &TaskTracker) {
    under_way.close();
    if tokio::time::timeout(LAST_ANSWERS, under_way.wait()).await.is_err() {
        tracing::info!(unanswered = under_way.len(), "leaving before operators were answered");
    }
}

/// Where it begins: with what somebody has left who died, or offers, or with nothing.
async fn begin(
    lifecycle: &Lifecycle,
    beginning: Beginning,
    heritage: Option<&Heritage>,
) -> anyhow::Result<Start> {
    match (heritage, beginning) {
        (Some(heritage), _) => {
            lifecycle.resume(heritage.estate.generation, heritage.estate.tasks.clone());
            Ok(Start::Cold("the proxy before it has crashed".into()))
        }
        (None, Beginning::Takeover) => {
            lifecycle.take_over().await.map_err(|reason| anyhow!("takeover: {reason}"))
        }
        (None, Beginning::Cold) => Ok(Start::Cold("it was not asked to take over".into())),
    }
}

/// Gives it what another one offers or has left, and says what is in force then. How it begins,
/// which may be with a restart that the one before was in.
fn endow(
    proxy: &Arc<Proxy>,
    mut start: Start,
    heritage: Option<Heritage>,
    keeper: &Keeper,
) -> Start {
    if let Start::Warm(offer) = &start {
        proxy.inherit(&offer.legacy());
    }
    if let Some(heritage) = heritage {
        let unfinished = heritage.pass_to(proxy);
        start = unfinished.map_or(start, |it| Start::Unfinished(Box::new(it)));
        keeper.resume(proxy);
    }
    log_remarks(&proxy.config());
    keep::log_differences(proxy);
    start
}

/// With what a predecessor offers, who is told if that is not possible.
async fn open_ports(
    config: &Config,
    mut start: Start,
    left: Vec<restart::Listener>,
) -> anyhow::Result<(Ports, Start)> {
    let inherited = match &mut start {
        Start::Cold(_) | Start::Unfinished(_) => left,
        Start::Warm(offer) => offer.listeners(),
    };
    match Ports::open(config, inherited) {
        Ok(ports) => Ok((ports, start)),
        Err(error) => {
            if let Start::Warm(offer) = start {
                offer.refuse(&chain(error.as_ref())).await;
            }
            Err(error)
        }
    }
}

/// Keeps the service manager informed; the task ends when it has told of a stop, which may take
/// `grace`.
fn announce(lifecycle: &Lifecycle, grace: Duration) -> (Notifier, JoinHandle<()>) {
    let notifier = Notifier::from_environment();
    let keeper = notifier.clone();
    task::keep("keep alive", move || keeper.clone().keep_alive());
    let (teller, told) = (notifier.clone(), lifecycle.clone());
    let tell = move || announce::announce(teller.clone(), told.clone(), grace);
    (notifier, task::keep("announcer", tell))
}

/// Starts the accept loops, and takes operators that come to the clients' port.
fn serve(
    ports: &Ports,
    (config, proxy, lifecycle): (&Arc<ArcSwap<Config>>, &Arc<Proxy>, &Lifecycle),
    users: UnboundedReceiver<LocalLogin>,
    settings: watch::Receiver<Standing>,
) -> Arc<Admin> {
    let (proxy, lifecycle, started) = (proxy.clone(), lifecycle.clone(), SystemTime::now());
    let fleet = Tasks::new(config.clone(), lifecycle.clone(), admin::timestamp(started));
    fleet.serve();
    let audit = Audit::new(&audit_dir(&proxy.config()));
    let under_way = TaskTracker::new();
    let admin = Admin { proxy, lifecycle, fleet, settings, started, audit, under_way };
    let admin = Arc::new(admin);
    ports.serve(&admin);
    let (served, users) = (admin.clone(), Arc::new(Mutex::new(users)));
    task::keep("admin users", move || serve_admin_users(served.clone(), users.clone()));
    admin
}

/// Where the audit is: where everything is that outlives the machine's next start, if that is ours.
fn audit_dir(config: &Config) -> PathBuf {
    let Config { proxy, .. } = config;
    let is_ours = !proxy.state_dir.as_os_str().is_empty()
        && restart::prepare_run_dir(&proxy.state_dir).is_ok();
    let dir = if is_ours { &proxy.state_dir } else { &proxy.run_dir };
    dir.clone()
}

/// Operators that came to the clients' port.
async fn serve_admin_users(admin: Arc<Admin>, users: Arc<Mutex<UnboundedReceiver<LocalLogin>>>) {
    let mut users = users.lock().await;
    while let Some(login) = users.recv().await {
        task::spawn("operator", server::serve_login(admin.clone(), login));
    }
}

/// Watches the listeners; the order to look at once.
fn look_out(ports: &Arc<Ports>, lifecycle: &Lifecycle, run_dir: PathBuf) -> Arc<Notify> {
    let hint = Arc::new(Notify::new());
    let (ports, standings, order) = (ports.clone(), lifecycle.subscribe(), hint.clone());
    let (recorded, pid) = (ports.clone(), lifecycle.pid());
    // The records go with the first ones' end, which have the same names.
    let record = Arc::new(move || std::mem::forget(keep_records(&recorded, pid, &run_dir)));
    task::keep("lookout", move || {
        lookout::watch(ports.clone(), standings.clone(), order.clone(), record.clone())
    });
    hint
}

/// Of this process and its keeper, for `odp restart --force`, which is the only one to miss them.
fn keep_records(ports: &Ports, keeper: u32, run_dir: &Path) -> Vec<Kept> {
    let sockets: Vec<_> = ports.listeners().iter().map(|listener| listener.socket()).collect();
    let own = std::process::id();
    let pids = std::iter::once(own).chain((keeper != own).then_some(keeper));
    let keep = |pid| {
        let kept = Record::of(pid, &sockets).and_then(|record| record.keep(run_dir));
        let kept = kept.inspect_err(|error| {
            let run_dir = run_dir.display();
            tracing::warn!(%run_dir, %error, "run_dir: no record of how this process was started");
        });
        kept.ok()
    };
    pids.filter_map(keep).collect()
}

fn origin(path: &Path, config: &Config, pair: Option<&Pair>) -> anyhow::Result<Origin> {
    let binary = std::env::current_exe().context("cannot tell the path of this program")?;
    let path = std::path::absolute(path).context("cannot tell the path of the config")?;
    let hash =
        Sha1::digest(config.text.as_str()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Origin {
        binary,
        config: path,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        pid: pair.map_or_else(std::process::id, |pair| pair.keeper),
        config_hash: hash,
        run_dir: config.proxy.run_dir.clone(),
        oom_score_adj: pair.and_then(|pair| pair.worth),
    })
}

fn settings(config: &Config) -> Settings {
    Settings {
        exit_timeout: config.proxy.hot_upgrade_exit_timeout,
        rollback_timeout: config.proxy.hot_upgrade_rollback_timeout.0,
        probation: config.proxy.hot_upgrade_probation.0,
        session_handover: config.proxy.session_handover,
    }
}

/// Two sockets a session: the soft limit is for programs that use select().
pub(super) fn raise_fd_limit() {
    if let Err(error) = raise_limit() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
