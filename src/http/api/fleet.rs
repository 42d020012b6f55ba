//! Restarts of several proxies by the API: a task of the fleet, and what is to become of it.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::LOCATION;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::operation::{Context, unknown};
use crate::admin::command::Change;
use crate::admin::command::fleet::{Order, Word};
use crate::admin::{Row, Table};
use crate::fleet::tasks::{Mode, Request};
use crate::http::door::PATIENCE;
use crate::http::fleet;
use crate::http::reply::{Problem, Reply, empty, json, set};
use crate::http::resource::{FLEET_TASK, REHEARSAL, TASK};
use crate::restart::task::{Mode as One, Request as Restart};

/// Where it is told what each has said that it would not move.
const REHEARSALS: &str = "/api/v1/fleet/rehearsals";

/// How often is looked whether all have.
const LOOK: Duration = Duration::from_millis(50);

/// Begins one; or has each say what it would not move.
pub(super) async fn restart(of: &Context<'_>) -> Result<Reply, Problem> {
    let cluster = of.known_cluster().await?.to_owned();
    let mut options = options(of.request.object()?)?;
    let all = options.len();
    options.retain(|(name, value)| (name.as_str(), value.as_str()) != ("mode", "rehearse"));
    if options.len() < all {
        return rehearse_all(of, cluster, &options).await;
    }
    let request = fleet::request(&options)?;
    begin(of, Request { cluster: Some(cluster), ..request }).await
}

/// Has those of a cluster say what they would not move, all or those that are named, and waits
/// until they have, or for long enough.
async fn rehearse_all(
    of: &Context<'_>,
    cluster: String,
    options: &[(String, String)],
) -> Result<Reply, Problem> {
    if let Some((name, _)) = options.iter().find(|(name, _)| name != "proxies") {
        return Err(Problem::bad(format!("{name}: a rehearsal takes nothing but proxies")));
    }
    let mut names = fleet::request(options)?.proxies;
    let members = fleet::members(of.admin, of.caller).await?;
    let serving = fleet::serving(members.clone(), &cluster);
    let has = |table: &Table, name: &str| table.rows().any(|row| row.text("name") == name);
    // Whom the fleet does not have is told of where it is judged.
    let is_other = |name: &&String| has(&members, name) && !has(&serving, name);
    if let Some(name) = names.iter().find(is_other) {
        let text = format!("{name} does not serve the cluster '{cluster}'");
        return Err(Problem::new(StatusCode::CONFLICT, text));
    }
    if names.is_empty() {
        names = serving.rows().map(|row| row.text("name").to_owned()).collect();
    }
    let (cluster, proxies) = (Some(cluster), names.clone());
    let request = Request { cluster, proxies, ..Request::default() };
    of.change(Change::Fleet(Order::Rehearse(request))).await?;
    rehearsed(of, &names).await
}

/// What these have said.
async fn rehearsed(of: &Context<'_>, names: &[String]) -> Result<Reply, Problem> {
    let begun = Instant::now();
    loop {
        let all = of.show("SHOW FLEET REHEARSALS").await?;
        let is_meant = |row: &Row| names.iter().any(|name| name == row.text("proxy"));
        let is_open = |row: Row| row.text("state") == "IN_PROGRESS";
        let is_over = !all.rows().filter(is_meant).any(is_open);
        if !is_over && begun.elapsed() < PATIENCE {
            sleep(LOOK).await;
            continue;
        }
        let items: Vec<_> = all.rows().filter(is_meant).map(|row| REHEARSAL.value(&row)).collect();
        let status = if is_over { StatusCode::OK } else { StatusCode::ACCEPTED };
        let mut reply = json(status, &json!({"items": items}));
        if !is_over {
            set(&mut reply, LOCATION, REHEARSALS);
        }
        return Ok(reply);
    }
}

/// Begins one of a single proxy, by its name: it is a task of the fleet, too.
pub(super) async fn restart_one(of: &Context<'_>, asked: Restart) -> Result<Reply, Problem> {
    let name = of.first();
    fleet::member(of.admin, of.caller, name).await?;
    let mode = match asked.mode {
        One::Restart | One::Unknown => Mode::Restart,
        One::Force => Mode::Force,
        One::Rehearse => return rehearse(of, name).await,
    };
    let (exit_timeout, proxies) = (asked.exit_timeout, vec![name.to_owned()]);
    begin(of, Request { mode, exit_timeout, proxies, ..Request::default() }).await
}

/// Has one say what it would not move.
async fn rehearse(of: &Context<'_>, name: &str) -> Result<Reply, Problem> {
    let request = Request { proxies: vec![name.to_owned()], ..Request::default() };
    of.change(Change::Fleet(Order::Rehearse(request))).await?;
    let all = of.show("SHOW FLEET REHEARSALS").await?;
    let row = all.rows().find(|row| row.text("proxy") == name);
    let row = row.ok_or_else(|| unknown("proxy", name))?;
    let mut reply = json(StatusCode::ACCEPTED, &REHEARSAL.value(&row));
    set(&mut reply, LOCATION, REHEARSALS);
    Ok(reply)
}

async fn begin(of: &Context<'_>, request: Request) -> Result<Reply, Problem> {
    let id = of.change(Change::Fleet(Order::Start(request))).await?;
    let name = fleet::name(id);
    let mut reply = one(of, &name, StatusCode::ACCEPTED).await?;
    set(&mut reply, LOCATION, &format!("/api/v1/tasks/{name}"));
    Ok(reply)
}

/// All restarts: of this proxy, and of the fleet.
pub(super) async fn tasks(of: &Context<'_>) -> Result<Reply, Problem> {
    let own = of.show("SHOW RESTART").await?;
    let fleet = fleet::tasks(of.admin, of.caller).await?;
    let heard = of.http.look.heard(of.caller).await;
    let others = heard.map(|heard| heard.tasks).unwrap_or_default();
    let fleet = fleet::with_others(fleet, &others);
    let both = json!({"items": TASK.values(&own), "fleet": FLEET_TASK.values(&fleet)});
    Ok(json(StatusCode::OK, &both))
}

/// One of the fleet.
pub(super) async fn one(
    of: &Context<'_>,
    name: &str,
    status: StatusCode,
) -> Result<Reply, Problem> {
    let whole = fleet::whole(of.admin, of.caller, name).await?;
    whole.map(|whole| json(status, &whole)).ok_or_else(|| unknown("task", name))
}

/// What is to become of one.
pub(super) async fn order(of: &Context<'_>, word: Word) -> Result<Reply, Problem> {
    let name = of.first();
    if let Some((number, proxy)) = fleet::number_at(name) {
        let order = Order::Of(word, Some(number));
        let text = format!("{proxy} coordinates it: ask it there, {}", Change::Fleet(order));
        return Err(Problem::new(StatusCode::CONFLICT, text));
    }
    let tasks = fleet::tasks(of.admin, of.caller).await?;
    let is_known = tasks.rows().any(|row| row.text("task_id") == name);
    let number = fleet::number(name).filter(|_| is_known);
    let number = number.ok_or_else(|| unknown("task of the fleet", name))?;
    of.change(Change::Fleet(Order::Of(word, Some(number)))).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Values of the body as text.
fn options(body: Map<String, Value>) -> Result<Vec<(String, String)>, Problem> {
    let text = |(name, value): (String, Value)| {
        let text = match (name.as_str(), value) {
            ("batch" | "canary", Value::Number(number)) => Ok(number.to_string()),
            ("batch" | "canary", _) => Err("a number"),
            ("stop_on_failure", Value::Bool(flag)) => Ok(flag.to_string()),
            ("stop_on_failure", _) => Err("true or false"),
            ("proxies", Value::Array(names)) => {
                let names = names.iter().map(|name| name.as_str().filter(|it| !it.contains(',')));
                names.collect::<Option<Vec<_>>>().map(|it| it.join(",")).ok_or("a list of names")
            }
            ("proxies", _) => Err("a list of names"),
            (_, Value::String(text)) => Ok(text),
            (_, _) => Err("a string"),
        };
        match text {
            Ok(text) => Ok((name, text)),
            Err(expected) => Err(Problem::bad(format!("{name}: expected {expected}"))),
        }
    };
    body.into_iter().map(text).collect()
}
