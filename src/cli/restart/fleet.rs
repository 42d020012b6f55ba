//! `odp restart --fleet`: a task of the fleet, begun at one of its proxies and watched.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::time::sleep;

use super::Args;
use crate::config::Span;
use crate::error::chain;
use crate::fleet::members::{choose, members};
use crate::fleet::port::{Admin, AdminPort, Row, Trouble, quoted};
use crate::fleet::tasks::of_cluster;

/// How long the proxy that coordinates may not be there: it is restarted too, or starts again.
const SILENCE: Duration = Duration::from_secs(60);
/// How often the task is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What of `odp restart` is about fleets.
#[derive(Debug, clap::Args)]
pub(super) struct FleetArgs {
    /// Restart the fleet of -c: [[fleet.proxy]] or fleet.dns. One of its proxies does it, and goes
    /// on with it when this command is interrupted.
    #[arg(long, requires = "known_from", conflicts_with = "addresses")]
    pub(super) fleet: bool,
    /// With --fleet: how many are restarted first, before all others [default: 1].
    #[arg(long, value_name = "N", requires = "fleet")]
    canary: Option<u32>,
    /// With --fleet: how long those that were restarted are watched then [default: 5s].
    #[arg(long, value_name = "D", requires = "fleet")]
    pause: Option<Span>,
    /// With --fleet: only those of its proxies that serve this cluster.
    #[arg(long, value_name = "NAME", requires = "fleet")]
    cluster: Option<String>,
    /// With --fleet: only these of its proxies.
    #[arg(long, value_name = "NAME", requires = "fleet")]
    only: Vec<String>,
    /// With --fleet: do not ask first what would not be taken over.
    #[arg(long, requires = "fleet")]
    no_rehearsal: bool,
    /// With --fleet: whether nothing more is begun when one has failed [default: true].
    #[arg(long, value_name = "BOOL", requires = "fleet")]
    stop_on_failure: Option<bool>,
    /// With --fleet: have the newest task begin nothing more, or the one that is named by number.
    #[arg(long, value_name = "TASK", num_args = 0..=1, requires = "fleet",
          conflicts_with_all = ["rollback", "retry"])]
    stop: Option<Option<u64>>,
    /// With --fleet: restart those that this task has restarted into what they ran before.
    #[arg(long, value_name = "TASK", num_args = 0..=1, requires = "fleet",
          conflicts_with = "retry")]
    rollback: Option<Option<u64>>,
    /// With --fleet: go on with this task from where it has failed.
    #[arg(long, value_name = "TASK", num_args = 0..=1, requires = "fleet")]
    retry: Option<Option<u64>>,
}

impl FleetArgs {
    /// What is to become of a task that there is: the word for it, and its number.
    fn order(&self) -> Option<(&'static str, Option<u64>)> {
        let all = [("STOP", self.stop), ("ROLLBACK", self.rollback), ("RETRY", self.retry)];
        all.into_iter().find_map(|(word, said)| Some((word, said?)))
    }
}

/// The proxies of the fleet.
pub(super) async fn ports(args: &Args) -> anyhow::Result<Vec<AdminPort>> {
    let all = members(&args.access.fleet()?).await?;
    Ok(all.into_iter().map(|member| member.port).collect())
}

/// Those of them that are named, or all, and that serve the cluster.
pub(super) async fn chosen(args: &Args) -> anyhow::Result<Vec<AdminPort>> {
    let mut all = members(&args.access.fleet()?).await?;
    let named = &args.of_fleet.only;
    choose(&mut all, named)
        .map_err(|name| anyhow!("--only {name}: the fleet has no such proxy"))?;
    if let Some(cluster) = &args.of_fleet.cluster {
        all = of_cluster(all, cluster, named).await?;
    }
    Ok(all.into_iter().map(|member| member.port).collect())
}

/// Has the task begun, and watches it to its end.
pub(super) async fn restart(args: &Args) -> anyhow::Result<ExitCode> {
    let mut candidates = args.access.ports().unwrap_or_default();
    candidates.extend(ports(args).await?);
    let order = args.of_fleet.order();
    let (port, mut admin, statement) = match order {
        None => {
            let (port, admin) = first(candidates).await?;
            (port, admin, statement(args)?)
        }
        Some((word, number)) => {
            let (port, admin, number) = coordinator(candidates, number).await?;
            (port, admin, format!("RESTART FLEET {word} {number}"))
        }
    };
    let task = admin.restart(&statement).await?;
    let _ = writeln!(std::io::stderr(), "{}: fleet task {task}", port.name);
    let expected = match order {
        Some(("STOP", _)) => &["STOPPED", "COMPLETED"][..],
        Some(("ROLLBACK", _)) => &["ROLLED_BACK"],
        _ => &["COMPLETED"],
    };
    let (row, steps) = watch(&port, admin, task).await?;
    for step in last(&steps) {
        let text = |name| step.text(name).unwrap_or_default();
        super::super::print(&format!(
            "{}: {}: {}\n",
            text("proxy"),
            text("state"),
            text("detail")
        ))?;
    }
    let text = |name| row.text(name).unwrap_or_default();
    let (state, detail) = (text("state"), text("detail"));
    if !expected.contains(&state) {
        bail!("fleet task {task} is {state}: {detail}");
    }
    super::super::print(&format!("fleet task {task}: {state}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The first that answers: of the proxy whose config it is, rather than of another.
pub(in crate::cli) async fn first(
    candidates: Vec<AdminPort>,
) -> anyhow::Result<(AdminPort, Admin)> {
    let mut why = None;
    for port in candidates {
        match port.connect().await {
            Ok(admin) => return Ok((port, admin)),
            Err(trouble) => why = Some(format!("{}: {}", port.name, chain(&trouble))),
        }
    }
    bail!("no proxy answers: {}", why.unwrap_or_default())
}

/// Who coordinates a task: the first that has one of this number, or whose newest is the newest of
/// all; and its number.
async fn coordinator(
    candidates: Vec<AdminPort>,
    number: Option<u64>,
) -> anyhow::Result<(AdminPort, Admin, u64)> {
    let mut newest: Option<(String, (AdminPort, Admin, u64))> = None;
    let mut silent = Vec::new();
    for port in candidates {
        let asked = async {
            let mut admin = port.connect().await?;
            let tasks = admin.fleet_tasks().await?;
            Ok::<_, Trouble>((admin, tasks))
        };
        let (admin, tasks) = match asked.await {
            Ok(both) => both,
            Err(trouble) => {
                silent.push(format!("{}: {}", port.name, chain(&trouble)));
                continue;
            }
        };
        let is_it = |row: &&Row| number.is_none_or(|it| row.number("task_id") == Some(it));
        let Some(row) = tasks.iter().find(is_it) else { continue };
        let found = row.number("task_id").zip(row.text("started_at"));
        let Some((id, started_at)) = found else { continue };
        if number.is_some() {
            return Ok((port, admin, id));
        }
        if newest.as_ref().is_none_or(|(before, _)| before.as_str() < started_at) {
            newest = Some((started_at.to_owned(), (port, admin, id)));
        }
    }
    let what = number.map(|number| format!(" {number}")).unwrap_or_default();
    let silent = silent.iter().map(|why| format!("; {why}")).collect::<String>();
    let none = || anyhow!("no proxy of the fleet has a fleet task{what}{silent}");
    newest.map(|(_, found)| found).ok_or_else(none)
}

fn statement(args: &Args) -> anyhow::Result<String> {
    let of_fleet = &args.of_fleet;
    let mut statement = String::from("RESTART FLEET");
    if args.force {
        statement.push_str(" FORCE");
    }
    let path = |path: &Option<std::path::PathBuf>| {
        let path = path.as_ref().map(std::path::absolute).transpose()?;
        let utf8 = path.map(|path| path.into_os_string().into_string());
        utf8.transpose().map_err(|path| anyhow!("{}: expected UTF-8", path.display()))
    };
    let options = [
        ("BATCH", Some(args.batch.to_string())),
        ("CANARY", of_fleet.canary.map(|it| it.to_string())),
        ("PAUSE", of_fleet.pause.map(|it| it.to_string())),
        ("CLUSTER", of_fleet.cluster.clone()),
        ("PROXIES", (!of_fleet.only.is_empty()).then(|| of_fleet.only.join(","))),
        ("REHEARSAL", of_fleet.no_rehearsal.then(|| "off".into())),
        ("STOP_ON_FAILURE", of_fleet.stop_on_failure.map(|it| it.to_string())),
        ("EXIT_TIMEOUT", args.exit_timeout.map(|it| it.to_string())),
        ("BINARY", path(&args.binary).context("--binary")?),
        ("CONFIG", path(&args.config).context("--config")?),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            statement.push_str(&format!(" {name} = {}", quoted(&value)));
        }
    }
    Ok(statement)
}

/// Watches the task to its end: its last row, and what each proxy has gone through.
async fn watch(port: &AdminPort, admin: Admin, task: u64) -> anyhow::Result<(Row, Vec<Row>)> {
    let mut open = Some(admin);
    let mut heard = Instant::now();
    let mut said = BTreeMap::new();
    loop {
        let looked = async {
            let mut admin = match open.take() {
                Some(admin) => admin,
                None => port.connect().await?,
            };
            let tasks = admin.fleet_tasks().await?;
            let steps = admin.fleet_steps(task).await?;
            Ok::<_, Trouble>((admin, tasks, steps))
        };
        match looked.await {
            Ok((admin, tasks, steps)) => {
                heard = Instant::now();
                tell(&steps, &mut said);
                let row = tasks.into_iter().find(|row| row.number("task_id") == Some(task));
                if let Some(row) = row.filter(|row| row.text("state") != Some("IN_PROGRESS")) {
                    admin.quit().await;
                    return Ok((row, steps));
                }
                open = Some(admin);
            }
            Err(trouble) if heard.elapsed() >= SILENCE => {
                let context = format!("fleet task {task} was lost sight of; it may go on");
                return Err(anyhow::Error::from(trouble).context(context));
            }
            Err(_) => {}
        }
        sleep(LOOK).await;
    }
}

/// Says what is new of each proxy.
fn tell(steps: &[Row], said: &mut BTreeMap<String, String>) {
    for step in last(steps) {
        let text = |name| step.text(name).unwrap_or_default();
        // How many sessions have moved changes too often to be said.
        let detail = text("detail").split(',').next().unwrap_or_default();
        let news = format!("{} {detail}", text("state")).trim_end().to_owned();
        let name = text("proxy").to_owned();
        if said.get(&name) != Some(&news) {
            let _ = writeln!(std::io::stderr(), "{name}: {news}");
            said.insert(name, news);
        }
    }
}

/// What each proxy goes through now.
fn last(steps: &[Row]) -> Vec<&Row> {
    let is_last = |at: usize| {
        let name = |row: &Row| row.text("proxy").map(str::to_owned);
        steps.get(at + 1).is_none_or(|next| name(next) != name(&steps[at]))
    };
    steps.iter().enumerate().filter(|(at, _)| is_last(*at)).map(|(_, row)| row).collect()
}
