//! Restarts of several proxies by the API: a task of the fleet, and what is to become of it.

use hyper::StatusCode;
use hyper::header::LOCATION;
use serde_json::{Map, Value, json};

use super::operation::{Context, unknown};
use crate::admin::command::Change;
use crate::admin::fleet::{Order, Word};
use crate::fleet::tasks::Request;
use crate::http::fleet;
use crate::http::reply::{Problem, Reply, empty, json, set};
use crate::http::resource::{FLEET_TASK, TASK};

/// Begins one.
pub(super) async fn restart(of: &Context<'_>) -> Result<Reply, Problem> {
    let cluster = Some(of.known_cluster().await?.to_owned());
    let request = fleet::request(&options(of.request.object()?)?)?;
    let request = Request { cluster, ..request };
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
