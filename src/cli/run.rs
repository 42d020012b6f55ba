//! `odp run`: the proxy in the foreground.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;

use crate::config::{Config, ListenAddress, LogFormat, LogLevel, LogSection, Port};
use crate::net::listen::{Address, Gate, Listener};
use crate::proxy::{Foundation, Gates, Proxy};

/// Arguments of `odp run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Succeed the proxy that is running.
    #[arg(long)]
    takeover: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    start_log(&config.log);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().thread_name("odp");
    if config.proxy.workers > 0 {
        runtime.worker_threads(config.proxy.workers);
    }
    runtime.build().context("cannot start the runtime")?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let listeners = bind(&config)?;
    let gate = Gate::closed(listeners.len());
    let gates = Gates { clients: gate.clone(), control: Gate::closed(0) };
    let (local_logins, _local) = mpsc::unbounded_channel();
    let all = listeners.iter().map(|(listener, _)| listener.clone()).collect();
    let foundation = Foundation { config, generation: 1, listeners: all, gates, local_logins };
    let proxy = Proxy::new(foundation);
    for (listener, port) in listeners {
        tracing::info!(port = ?port, address = listener.local(), "listening");
        let (proxy, gate) = (proxy.clone(), gate.clone());
        tokio::spawn(async move {
            listener
                .accept_loop(gate, |stream| match port {
                    Port::Sql => proxy.take(stream),
                    Port::Admin | Port::Http => drop(stream),
                })
                .await;
        });
    }
    gate.open().await;
    tokio::signal::ctrl_c().await?;
    Ok(ExitCode::SUCCESS)
}

fn bind(config: &Config) -> anyhow::Result<Vec<(Arc<Listener>, Port)>> {
    let bind_one = |(address, port): (ListenAddress, Port)| {
        let name = format!("{port:?} {address}").to_lowercase();
        let target = match &address {
            ListenAddress::Tcp(address) => Address::Tcp(*address),
            ListenAddress::Unix(path) => Address::Unix(path.clone()),
        };
        let listener =
            Listener::bind(name, &target).with_context(|| format!("listen {address}"))?;
        Ok((Arc::new(listener), port))
    };
    config.listen_addresses().into_iter().map(bind_one).collect()
}

fn start_log(log: &LogSection) {
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
