//! `odp load`: its arguments, and how its outcome is printed. What it does is in [`crate::load`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::access::{self, Password};
use super::tls::{TlsArgs, Unsaid};
use crate::config::{ServerAddress, Span};
use crate::fleet::port::AdminPort;
use crate::load::{self, How, Mix, MovePlan, Plan, RATE, Settings, Target};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  A minute against odp, with a restart every ten seconds, and a page about it:
    odp load --url mysql://app:secret@127.0.0.1:2883/test --duration 1m \\
        --restart-every 10s -a 127.0.0.1:2885 --report load.html
  The same with kill -9 instead of restarts, for a proxy with crash_protection:
    odp load --url mysql://app:secret@127.0.0.1:2883/test --kill-every 5s \\
        -a 127.0.0.1:2885
  Sessions that move between the servers of a cluster, one after the other, ten a second:
    odp load --url mysql://app:secret@127.0.0.1:2883/test --move-every 100ms \\
        -a 127.0.0.1:2885
  A cluster with replicas: does each client see what it has written?
    odp load --url mysql://app:secret@127.0.0.1:2883/test --servers
  What a reload of HAProxy costs:
    odp load --url mysql://app:secret@127.0.0.1:3307/test --duration 30s \\
        --restart-every 10s --restart-command 'systemctl reload haproxy'

Tables named odp_load_* are made in the database of the URL, and dropped at the end.
Exit code 0: nothing was lost. 1: something was, or a restart failed. 2: usage.";

/// Arguments of `odp load`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").multiple(true))]
pub struct Args {
    /// Where to connect: mysql://USER[:PASSWORD]@HOST[:PORT]/DATABASE. The password may come from
    /// ODP_LOAD_PASSWORD instead. By TLS with ?require_ssl=true; &verify_ca=false takes any
    /// certificate.
    #[arg(long, value_name = "URL")]
    url: Target,
    /// How many connections, all classes together.
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// How long; a restart that is under way at the end is waited for.
    #[arg(long, value_name = "D", default_value = "30s", value_parser = positive)]
    duration: Span,
    /// What they do, with weights: idle, select, transaction, prepared, result, bank, state,
    /// portable, own, connect. A class that is not named gets none.
    #[arg(long, value_name = "CLASS=WEIGHT,…")]
    mix: Option<Mix>,
    /// Check a cluster with replicas: clients write a number and read it, and must not see an older
    /// one; the servers that answer are named. As `own` in the mix; this gives it a fifth.
    #[arg(long)]
    servers: bool,
    /// Statements a second that the load aims at.
    #[arg(long, value_name = "N", default_value_t = RATE)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long the transactions of that class are held open, at most.
    #[arg(long, value_name = "D", default_value = "3s")]
    hold: Span,
    /// How long a connect or a statement may take; a connection that takes longer is lost.
    #[arg(long, value_name = "D", default_value = "10s", value_parser = positive)]
    timeout: Span,
    /// Ask for a restart this often.
    #[arg(long, value_name = "D", requires = "how", value_parser = positive, group = "what")]
    restart_every: Option<Span>,
    /// Kill the proxy this often, by SIGKILL to the process that the admin port names; on this
    /// machine only. For proxies with crash_protection.
    #[arg(long, value_name = "D", requires = "admin", value_parser = positive, group = "what")]
    #[arg(conflicts_with = "restart_every")]
    kill_every: Option<Span>,
    /// Move a session this often to another server of its cluster, one after the other, by the
    /// admin port. One that stays, as something ties it to its server, is no failure.
    #[arg(long, value_name = "D", requires = "admin", value_parser = positive, group = "what")]
    move_every: Option<Span>,
    /// The admin port of the proxy; of several, each is restarted, one after the other.
    #[arg(short, long, value_name = "HOST:PORT", group = "how", requires = "what")]
    admin: Vec<ServerAddress>,
    /// Instead of an admin port: what restarts the proxy, given to `sh -c`.
    #[arg(long, value_name = "COMMAND", group = "how", requires = "restart_every")]
    restart_command: Option<String>,
    /// How long a restart may take.
    #[arg(long, value_name = "D", default_value = "2m")]
    restart_timeout: Span,
    /// How long after a restart what happens still counts as in it [default: 0s, 5s for a command].
    #[arg(long, value_name = "D")]
    settle: Option<Span>,
    /// The user on the admin port.
    #[arg(long, value_name = "USER", default_value = "root")]
    admin_user: String,
    /// The password on the admin port; better given as ODP_ADMIN_PASSWORD.
    #[arg(long, value_name = "PASSWORD")]
    admin_password: Option<Password>,
    /// Speak TLS with the admin port.
    #[arg(long)]
    admin_tls: bool,
    /// By TLS, certificates must be by one of these CAs (PEM), and for the host [default: by one
    /// that the world knows; on the admin port by any].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Write a page about the run.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What `odp demo` asks of the load; the rest is as it is by default.
pub(super) struct Demo {
    /// Where the proxy of the demo is, with the password.
    pub(super) url: String,
    /// Its admin port.
    pub(super) admin: String,
    pub(super) admin_password: String,
    pub(super) connections: u32,
    pub(super) duration: Span,
    pub(super) restart_every: Span,
    pub(super) report: Option<PathBuf>,
}

impl Args {
    /// The arguments of the load of a demo.
    pub(super) fn of_demo(demo: Demo) -> anyhow::Result<Self> {
        let address = |text: &str| text.parse().map_err(|error: String| anyhow::anyhow!(error));
        Ok(Self {
            url: demo.url.parse().map_err(|error: String| anyhow::anyhow!(error))?,
            connections: demo.connections,
            duration: demo.duration,
            mix: None,
            servers: false,
            rate: RATE,
            hold: Span(Duration::from_secs(3)),
            timeout: Span(Duration::from_secs(10)),
            restart_every: Some(demo.restart_every),
            kill_every: None,
            move_every: None,
            admin: vec![address(&demo.admin)?],
            restart_command: None,
            admin_tls: false,
            ca: None,
            restart_timeout: Span(Duration::from_secs(60)),
            settle: None,
            admin_user: "root".into(),
            admin_password: Some(Password(demo.admin_password)),
            report: demo.report,
            json: false,
        })
    }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let is_json = args.json;
    let outcome = load::run(&settings(args)?)?;
    let text = match is_json {
        true => format!("{}\n", serde_json::to_string_pretty(&outcome)?),
        false => outcome.to_string(),
    };
    super::print(&text)?;
    Ok(if outcome.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(args: Args) -> anyhow::Result<Settings> {
    let (plan, moves) = (plan(&args)?, moves(&args)?);
    let mix = args.mix.unwrap_or_default();
    let password = std::env::var("ODP_LOAD_PASSWORD").ok();
    Ok(Settings {
        target: args.url.or_password(password).trusting(args.ca.as_deref())?,
        connections: args.connections,
        duration: args.duration.0,
        mix: if args.servers { mix.with_own() } else { mix },
        rate: args.rate,
        hold: args.hold.0,
        timeout: args.timeout.0,
        plan,
        moves,
        report: args.report,
    })
}

fn plan(args: &Args) -> anyhow::Result<Option<Plan>> {
    let (every, how) = match (args.restart_every, args.kill_every, &args.restart_command) {
        (Some(every), _, Some(command)) => (every.0, How::Command(command.clone())),
        (Some(every), _, None) => (every.0, How::Admin(admin_ports(args)?)),
        (None, Some(every), _) => (every.0, How::Kill(admin_ports(args)?)),
        (None, None, _) => return Ok(None),
    };
    let settle = args.settle.map_or_else(
        || match how {
            How::Command(_) => Duration::from_secs(5),
            How::Admin(_) | How::Kill(_) => Duration::ZERO,
        },
        |settle| settle.0,
    );
    Ok(Some(Plan { every, deadline: args.restart_timeout.0, settle, how }))
}

fn moves(args: &Args) -> anyhow::Result<Option<MovePlan>> {
    let Some(Span(every)) = args.move_every else { return Ok(None) };
    match &admin_ports(args)?[..] {
        [port] => Ok(Some(MovePlan { every, port: port.clone() })),
        // Which of them a session goes through is not to be seen from its id.
        _ => anyhow::bail!("--move-every: expected one admin port"),
    }
}

fn admin_ports(args: &Args) -> anyhow::Result<Vec<AdminPort>> {
    let tls = match args.admin_tls {
        true => TlsArgs::by(args.ca.as_deref()).opts(Unsaid::Tls)?,
        false => None,
    };
    let password = access::password(args.admin_password.as_ref());
    let port = |address: &ServerAddress| {
        AdminPort::new(address, &args.admin_user, password.clone(), tls.clone())
    };
    Ok(args.admin.iter().map(port).collect())
}

/// A duration that is not 0.
fn positive(text: &str) -> Result<Span, String> {
    match text.parse::<Span>()? {
        Span(Duration::ZERO) => Err(format!("'{text}': expected more than 0")),
        span => Ok(span),
    }
}
