//! `odp run`: the proxy in the foreground, from its start or its takeover to its end.

mod announce;
mod ports;
mod signals;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sha1::{Digest, Sha1};
use tokio::sync::mpsc;

use super::record::{Kept, Record};
use crate::admin::{Admin, server};
use crate::config::{Config, LogFormat, LogLevel, LogSection};
use crate::net::tls::{settings as tls, validity};
use crate::proxy::admission::most_sessions;
use crate::proxy::login::LocalLogin;
use crate::proxy::{Foundation, Proxy};
use crate::restart::notify::Notifier;
use crate::restart::{Exit, Lifecycle, Origin, Settings, Start, Timeouts};
use ports::Ports;

/// How long the service manager's news of a stop may delay the stop.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Arguments of `odp run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Succeed the proxy that is running, through its handover socket. Starts cold if there is
    /// none.
    #[arg(long)]
    takeover: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    // From here on there may be keys and passwords in memory: no core dump, and no debugger but
    // root's.
    nix::sys::prctl::set_dumpable(false).context("cannot forbid core dumps")?;
    let config = super::check::load(&args.config)?;
    start_log(&config.log);
    raise_fd_limit();
    // A successor is started through a file descriptor, whose number would be its name.
    let _ = nix::sys::prctl::set_name(c"odp");
    let mut runtime = match config.proxy.workers {
        // One worker has nobody to share with: this thread does it, without the locks.
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if config.proxy.workers > 1 {
        runtime.worker_threads(config.proxy.workers);
    }
    runtime
        .enable_all()
        .thread_name("odp")
        .build()
        .context("cannot start the runtime")?
        .block_on(live(&args, config))
}

async fn live(args: &Args, config: Config) -> anyhow::Result<ExitCode> {
    let orders = signals::Orders::hear().context("cannot listen for signals")?;
    let origin = origin(&args.config, &config)?;
    let tls = tls::Settings::load(&config.tls).map_err(super::check::in_config(&args.config))?;
    let tls = Arc::new(tls);
    let config = Arc::new(ArcSwap::from_pointee(config));
    let read = config.clone();
    let lifecycle = Lifecycle::new(origin, Timeouts::default(), move || settings(&read.load()));
    let mut start = match args.takeover {
        true => lifecycle.take_over().await.map_err(|reason| anyhow!("takeover: {reason}"))?,
        false => Start::Cold("it was not asked to take over".into()),
    };
    let inherited = match &mut start {
        Start::Cold(_) => Vec::new(),
        Start::Warm(offer) => offer.listeners(),
    };
    let ports = match Ports::open(&config.load(), inherited) {
        Ok(ports) => ports,
        Err(error) => {
            if let Start::Warm(offer) = start {
                offer.refuse(&format!("{error:#}")).await;
            }
            return Err(error);
        }
    };
    let (local_logins, admin_users) = mpsc::unbounded_channel();
    let proxy = Proxy::new(Foundation {
        config: config.clone(),
        tls,
        generation: lifecycle.generation().0,
        listeners: ports.listeners(),
        gates: ports.gates(),
        local_logins,
    });
    if let Start::Warm(offer) = &start {
        proxy.inherit(&offer.legacy());
    }
    log_remarks(&proxy.config());
    let admin = Arc::new(Admin {
        proxy: proxy.clone(),
        lifecycle: lifecycle.clone(),
        started: SystemTime::now(),
    });
    ports.serve(&admin);
    tokio::spawn(serve_admin_users(admin, admin_users));
    let _record = keep_record(&ports, &config.load().proxy.run_dir);
    orders.obey(&lifecycle, &proxy, &args.config).context("cannot listen for signals")?;
    let notifier = Notifier::from_environment();
    let grace = config.load().proxy.delay_exit_time.0;
    tokio::spawn(notifier.clone().keep_alive());
    let announcer = announce::announce(notifier.clone(), lifecycle.clone(), grace);
    let announcer = tokio::spawn(announcer);
    match lifecycle.serve(proxy.clone(), start).await {
        Exit::Succeeded(how) => {
            if let Some(successor) = announce::successor(&lifecycle) {
                notifier.hand_over(successor).await;
            }
            tracing::info!(how, "a successor serves; leaving");
        }
        Exit::Stopped => {
            ports.remove_files();
            // It ends by itself when it has told of the stop.
            let _ = tokio::time::timeout(LAST_WORDS, announcer).await;
            tracing::info!("stopped");
        }
        Exit::Refused(reason) => return Err(anyhow!("takeover: {reason}")),
    }
    proxy.part_with_servers().await;
    Ok(ExitCode::SUCCESS)
}

/// Operators that came to the clients' port.
async fn serve_admin_users(admin: Arc<Admin>, mut users: mpsc::UnboundedReceiver<LocalLogin>) {
    while let Some(login) = users.recv().await {
        tokio::spawn(server::serve_login(admin.clone(), login));
    }
}

/// For `odp restart --force`, which is the only one to miss it.
fn keep_record(ports: &Ports, run_dir: &Path) -> Option<Kept> {
    let kept = Record::own(&ports.listeners()).and_then(|record| record.keep(run_dir));
    kept.inspect_err(|error| {
        let run_dir = run_dir.display();
        tracing::warn!(%run_dir, %error, "run_dir: no record of how this process was started");
    })
    .ok()
}

/// What an operator should know about limits, certificates and keys.
fn log_remarks(config: &Config) {
    let (most, wanted) = (most_sessions(config), config.proxy.client_max_connections);
    if most < wanted {
        tracing::warn!(
            "the limit of open files is enough for {most} sessions, client_max_connections is \
             {wanted}"
        );
    }
    for remark in validity::remarks(&config.tls, SystemTime::now()) {
        tracing::warn!("{remark}");
    }
}

fn origin(path: &Path, config: &Config) -> anyhow::Result<Origin> {
    let binary = std::env::current_exe().context("cannot tell the path of this program")?;
    let path = std::path::absolute(path).context("cannot tell the path of the config")?;
    let text = std::fs::read(&path).with_context(|| format!("config {}", path.display()))?;
    let hash = Sha1::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Origin {
        binary,
        config: path,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        config_hash: hash,
        run_dir: config.proxy.run_dir.clone(),
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
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

pub(super) fn start_log(log: &LogSection) {
    let level = match log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    match log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
