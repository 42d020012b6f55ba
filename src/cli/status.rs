//! `odp status`: one row a proxy.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::access::Access;
use crate::error::chain;
use crate::fleet::members::members;
use crate::fleet::port::Row;
use crate::fleet::status::{Asked, Status, ask_all};
use crate::task;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ODP_ADMIN_PASSWORD=… odp status -a 10.0.0.1:2885 -a 10.0.0.2:2885
  odp status -c /etc/odp/odp.toml --json
Exit code 0: every proxy answered. 1: one did not. 2: usage.";

/// Arguments of `odp status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    access: Access,
    /// Ask every proxy of the fleet of -c: [[fleet.proxy]] or fleet.dns.
    #[arg(long, requires = "known_from", conflicts_with = "addresses")]
    fleet: bool,
    /// Print an array with everything the proxies say.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let proxies = task::see_through(runtime, ask(args.access, args.fleet))?;
    let text = match args.json {
        true => {
            let proxies: Vec<Value> = proxies.iter().map(as_json).collect();
            format!("{}\n", serde_json::to_string_pretty(&proxies)?)
        }
        false => table(&proxies),
    };
    super::print(&text)?;
    let all = proxies.iter().all(|proxy| proxy.answer.is_ok());
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask(access: Access, fleet: bool) -> anyhow::Result<Vec<Asked>> {
    let ports = match fleet {
        true => members(&access.fleet()?).await?.into_iter().map(|member| member.port).collect(),
        false => access.ports()?,
    };
    Ok(ask_all(ports).await)
}

fn as_json(proxy: &Asked) -> Value {
    match &proxy.answer {
        Ok(status) => {
            let mut fields = object(&status.proxy);
            fields.insert("address".into(), json!(proxy.name));
            fields.insert("reachable".into(), json!(true));
            fields.extend(status.detour.iter().map(|it| ("detour".into(), json!(it))));
            fields.insert("last_restart".into(), json!(status.last.as_ref().map(object)));
            Value::Object(fields)
        }
        Err(trouble) => {
            json!({"address": proxy.name, "reachable": false, "error": chain(trouble)})
        }
    }
}

fn cells(asked: &Asked) -> [String; 8] {
    let Ok(Status { proxy, last, .. }) = &asked.answer else {
        return [&asked.name, "UNREACHABLE", "-", "-", "-", "-", "-", "-"].map(String::from);
    };
    let text = |name| proxy.text(name).unwrap_or("-").to_owned();
    let state = match proxy.text("phase") {
        Some(phase) if !phase.is_empty() => format!("{} ({phase})", text("state")),
        _ => text("state"),
    };
    let uptime = proxy.number("uptime_s").map(Duration::from_secs);
    let uptime = uptime.map_or("-".into(), |uptime| humantime::format_duration(uptime).to_string());
    let (pid, generation) = (text("pid"), text("generation"));
    let (version, sessions) = (text("version"), text("sessions"));
    let last = last.as_ref().map_or("-".into(), described);
    [asked.name.clone(), state, pid, generation, version, uptime, sessions, last]
}

/// Columns that count become numbers.
fn object(row: &Row) -> Map<String, Value> {
    /// These may look like a number and are none.
    const TEXTS: [&str; 4] = ["version", "config", "listen", "detail"];
    let value = |name: &str, text: &str| match text.parse::<u64>() {
        Ok(number) if !TEXTS.contains(&name) => json!(number),
        _ => json!(text),
    };
    row.0.iter().map(|(name, text)| (name.clone(), value(name, text))).collect()
}

fn described(task: &Row) -> String {
    let text = |name| task.text(name).unwrap_or_default();
    let took = Duration::from_millis(task.number("elapsed_ms").unwrap_or_default());
    let (id, mode, state) = (text("task_id"), text("mode"), text("state"));
    format!("#{id} {mode} {state}, {:.1} s", took.as_secs_f64())
}

/// The table, and below it why somebody is unreachable, or was reached in another way.
fn table(proxies: &[Asked]) -> String {
    const HEAD: [&str; 8] =
        ["ADDRESS", "STATE", "PID", "GENERATION", "VERSION", "UPTIME", "SESSIONS", "LAST RESTART"];
    let mut rows = vec![HEAD.map(String::from)];
    rows.extend(proxies.iter().map(cells));
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for proxy in proxies {
        match &proxy.answer {
            Err(trouble) => text.push_str(&format!("{}: {}\n", proxy.name, chain(trouble))),
            Ok(Status { detour: Some(detour), .. }) => {
                text.push_str(&format!("{}: {detour}\n", proxy.name));
            }
            Ok(Status { detour: None, .. }) => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::port::Trouble;

    fn row(columns: &[(&str, &str)]) -> Row {
        Row(columns.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect())
    }

    fn two() -> [Asked; 2] {
        let proxy = row(&[
            ("version", "0.1.0"),
            ("pid", "42"),
            ("generation", "3"),
            ("state", "RUNNING"),
            ("phase", ""),
            ("uptime_s", "61"),
            ("sessions", "7"),
        ]);
        let columns = [("task_id", "2"), ("mode", "RESTART"), ("state", "COMPLETED")];
        let last = Some(row(&[&columns[..], &[("elapsed_ms", "430")]].concat()));
        let answer =
            Ok(Status { proxy, last, clusters: None, cluster_sessions: None, detour: None });
        let silent = Err(Trouble::Silent(Duration::from_secs(3)));
        [Asked { name: "a:1".into(), answer }, Asked { name: "b:2".into(), answer: silent }]
    }

    #[test]
    fn a_table_has_a_row_a_proxy_and_says_why_one_is_unreachable() {
        let expected = "\
ADDRESS  STATE        PID  GENERATION  VERSION  UPTIME  SESSIONS  LAST RESTART
a:1      RUNNING      42   3           0.1.0    1m 1s   7         #2 RESTART COMPLETED, 0.4 s
b:2      UNREACHABLE  -    -           -        -       -         -
b:2: no answer in 3s
";
        assert_eq!(table(&two()), expected);
    }

    #[test]
    fn in_json_what_counts_is_a_number() {
        let [there, gone] = two();
        let there = as_json(&there);
        assert_eq!((&there["pid"], &there["version"]), (&json!(42), &json!("0.1.0")));
        assert_eq!(there["last_restart"]["elapsed_ms"], json!(430));
        let gone = as_json(&gone);
        assert_eq!(
            (&gone["reachable"], &gone["error"]),
            (&json!(false), &json!("no answer in 3s"))
        );
    }
}
