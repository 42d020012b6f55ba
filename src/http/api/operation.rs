//! What each route does: a SHOW, or a change that SQL knows too.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderName, LOCATION};
use serde_json::{Map, Value, json};

use super::document::document;
use super::fleet;
use super::route::Operation;
use crate::admin::command::Change;
use crate::admin::command::fleet::Word;
use crate::admin::command::switchover::{Aim, Order};
use crate::admin::{Admin, Caller, Row, Table};
use crate::config::ExitTimeout;
use crate::config::parameter::cluster::ServerChange;
use crate::http::door::{self, Changed, Overview, show};
use crate::http::estate::{heard, proxies};
use crate::http::fleet::{hour, member, members, number, number_at, others, serving, with_fleet};
use crate::http::reply::{Problem, Reply, empty, json, set};
use crate::http::request::Request;
use crate::http::resource::{
    ATTRIBUTE, AUDIT, CLUSTER, FLEET_SAMPLE, MEMBER, PARAMETER, PROXY, REHEARSAL, RUNNING,
    Resource, SAMPLE, SERVER, SESSION, STATEMENT, TASK,
};
use crate::http::service::Http;
use crate::http::who::{Standing, Visitor};
use crate::restart::task::{Mode, Request as Restart, TaskId};
use crate::wire::id::SessionId;

/// Rows in one answer, unless somebody asks for more or fewer.
const ROWS: usize = 1000;

/// What an operation works with.
pub(super) struct Context<'a> {
    pub http: &'a Http,
    pub visitor: &'a Visitor,
    pub admin: &'a Arc<Admin>,
    pub caller: &'a Caller,
    pub request: &'a Request,
    /// What stands in the places of the route.
    pub arguments: Vec<String>,
}

/// Does it.
pub(super) async fn run(operation: Operation, of: &Context<'_>) -> Result<Reply, Problem> {
    match operation {
        Operation::Document => Ok(json(StatusCode::OK, &document())),
        Operation::Clusters => {
            let clusters = door::clusters(of.admin, of.caller).await?;
            let members = heard(of.http, of.caller).await;
            Ok(items(&CLUSTER, &with_fleet(clusters, members.as_deref())))
        }
        Operation::Cluster => of.cluster().await,
        Operation::Proxies => Ok(items(&PROXY, &proxies(of.http, of.caller).await?)),
        Operation::Proxy => of.proxy().await,
        Operation::History if of.first() != door::LOCAL => Err(unknown("proxy", of.first())),
        Operation::History => Ok(items(&SAMPLE, &of.show("SHOW PROXYHISTORY").await?)),
        Operation::Restart => of.restart().await,
        Operation::RestartCluster => fleet::restart(of).await,
        Operation::Fleet => {
            let proxies = members(of.admin, of.caller).await?;
            Ok(items(&MEMBER, &proxies))
        }
        Operation::FleetHistory => Ok(items(&FLEET_SAMPLE, &hour(of.admin, of.caller).await?)),
        Operation::Rehearsals => Ok(items(&REHEARSAL, &of.show("SHOW FLEET REHEARSALS").await?)),
        Operation::SwitchOver => of.switch_over().await,
        Operation::Servers => of.servers().await,
        Operation::Drain => of.alter_server(ServerChange::Drain).await,
        Operation::Online => of.alter_server(ServerChange::Online).await,
        Operation::Sessions => of.sessions().await,
        Operation::Session => {
            let sql = format!("SHOW PROXYSESSION ATTRIBUTE {}", of.session()?);
            Ok(items(&ATTRIBUTE, &of.show(&sql).await?))
        }
        Operation::Kill => {
            of.change(Change::Kill(of.session()?)).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Operation::Statements => {
            let statements = of.show("SHOW PROXYDIGEST").await?;
            Ok(listed(&STATEMENT, statements.rows().take(of.limit()?)))
        }
        Operation::RunningStatements => {
            Ok(items(&RUNNING, &of.show("SHOW PROXYDIGEST RUNNING").await?))
        }
        Operation::ResetStatements => {
            of.change(Change::ResetDigests).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Operation::Parameters => {
            Ok(items(&PARAMETER, &door::parameters(of.admin, of.caller).await?))
        }
        Operation::Alter => of.alter().await,
        Operation::Tasks => fleet::tasks(of).await,
        Operation::Task if of.is_of_fleet() => fleet::one(of, of.first(), StatusCode::OK).await,
        Operation::Task => of.task(of.first(), StatusCode::OK).await,
        Operation::Rollback if of.is_of_fleet() => fleet::order(of, Word::RollBack).await,
        Operation::Rollback => of.rollback().await,
        Operation::Retry if of.is_of_fleet() => fleet::order(of, Word::Retry).await,
        Operation::Retry => of.retry().await,
        Operation::Stop if of.is_of_fleet() => fleet::order(of, Word::Stop).await,
        Operation::Stop => of.stop().await,
        Operation::Audit => Ok(items(&AUDIT, &of.show("SHOW AUDIT").await?)),
        Operation::AuditEntry => of.entry(of.first(), StatusCode::OK).await,
        Operation::Events => {
            let standing = Standing::of(&of.http.who, of.admin, of.visitor);
            let last = of.request.field(LAST_EVENT_ID);
            of.http.hub.listen(of.caller, standing, last).await
        }
    }
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

impl Context<'_> {
    pub(super) fn first(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    pub(super) async fn show(&self, sql: &str) -> Result<Table, Problem> {
        show(self.admin, self.caller, sql).await
    }

    pub(super) async fn change(&self, change: Change) -> Result<u64, Problem> {
        door::change(self.admin, self.caller, change).await
    }

    /// Whether the task is one of the fleet.
    fn is_of_fleet(&self) -> bool {
        number(self.first()).is_some() || number_at(self.first()).is_some()
    }

    /// The cluster's name, if there is one of it.
    pub(super) async fn known_cluster(&self) -> Result<&str, Problem> {
        let name = self.first();
        let clusters = door::clusters(self.admin, self.caller).await?;
        let is_known = clusters.rows().any(|row| row.text("name") == name);
        is_known.then_some(name).ok_or_else(|| unknown("cluster", name))
    }

    async fn switch_over(&self) -> Result<Reply, Problem> {
        let cluster = self.known_cluster().await?.to_owned();
        let (mut server, mut force, mut fleet) = (None, false, false);
        for (name, value) in self.request.object()? {
            match (name.as_str(), value) {
                ("server", Value::String(address)) => server = Some(address),
                ("server", _) => return Err(Problem::bad("server: expected 'host:port'")),
                ("force", Value::Bool(is_forced)) => force = is_forced,
                ("fleet", Value::Bool(is_whole)) => fleet = is_whole,
                ("force" | "fleet", _) => {
                    return Err(Problem::bad(format!("{name}: expected true or false")));
                }
                _ => return Err(Problem::bad(format!("{name}: expected server, force or fleet"))),
            }
        }
        let address = server.ok_or_else(|| Problem::bad("server: expected 'host:port'"))?;
        let change = Change::SwitchOver(cluster, Order::here(Aim { address, force }, fleet));
        // RFC 7240.
        let prefers = self.request.field(HeaderName::from_static("prefer")).unwrap_or_default();
        let is_async = prefers.split([',', ';']).any(|it| it.trim() == "respond-async");
        let changed = if is_async {
            door::change_unawaited(self.admin, self.caller, change).await
        } else {
            door::change_for_long(self.admin, self.caller, change).await
        };
        match changed? {
            Changed::Done => Ok(empty(StatusCode::NO_CONTENT)),
            Changed::UnderWay(id) => {
                let mut reply = self.entry(&id, StatusCode::ACCEPTED).await?;
                set(&mut reply, LOCATION, &format!("/api/v1/audit/{id}"));
                Ok(reply)
            }
        }
    }

    /// An entry of the audit.
    async fn entry(&self, id: &str, status: StatusCode) -> Result<Reply, Problem> {
        let entries = self.show("SHOW AUDIT").await?;
        let row = entries.rows().find(|row| row.text("id") == id);
        let row = row.ok_or_else(|| unknown("entry", id))?;
        Ok(json(status, &AUDIT.value(&row)))
    }

    async fn cluster(&self) -> Result<Reply, Problem> {
        let name = self.first();
        let Overview { clusters, mut proxies, servers } =
            door::overview(self.admin, self.caller).await?;
        let members = heard(self.http, self.caller).await;
        let clusters = with_fleet(clusters, members.as_deref());
        if let Some(members) = &members {
            proxies.rows.extend(others(&serving((**members).clone(), name)));
        }
        let row = clusters.rows().find(|row| row.text("name") == name);
        let row = row.ok_or_else(|| unknown("cluster", name))?;
        let servers = servers.rows().filter(|row| row.text("cluster") == name);
        let whole = json!({
            "cluster": CLUSTER.value(&row),
            "proxies": PROXY.values(&proxies),
            "servers": servers.map(|row| SERVER.value(&row)).collect::<Vec<_>>(),
        });
        Ok(json(StatusCode::OK, &whole))
    }

    async fn proxy(&self) -> Result<Reply, Problem> {
        let table = match self.first() {
            door::LOCAL => door::proxies(self.admin, self.caller).await?,
            name => {
                let found = member(self.admin, self.caller, name).await?;
                found.rows().next().map(|row| door::member(&row)).unwrap_or_default()
            }
        };
        let row = table.rows().next().ok_or_else(|| unknown("proxy", self.first()))?;
        Ok(json(StatusCode::OK, &PROXY.value(&row)))
    }

    async fn restart(&self) -> Result<Reply, Problem> {
        let request = restart(&self.request.object()?)?;
        if self.first() != door::LOCAL {
            return fleet::restart_one(self, request).await;
        }
        self.begin(request).await
    }

    async fn begin(&self, request: Restart) -> Result<Reply, Problem> {
        let task = self.change(Change::Restart(request)).await?;
        let id = task.to_string();
        let mut reply = self.task(&id, StatusCode::ACCEPTED).await?;
        set(&mut reply, LOCATION, &format!("/api/v1/tasks/{id}"));
        Ok(reply)
    }

    async fn task(&self, id: &str, status: StatusCode) -> Result<Reply, Problem> {
        let tasks = self.show("SHOW RESTART").await?;
        let row = tasks.rows().find(|row| row.text("task_id") == id);
        let row = row.ok_or_else(|| unknown("task", id))?;
        Ok(json(status, &TASK.value(&row)))
    }

    /// How a restart of this proxy stands.
    async fn state(&self) -> Result<String, Problem> {
        let id = self.first();
        let tasks = self.show("SHOW RESTART").await?;
        let row = tasks.rows().find(|row| row.text("task_id") == id);
        row.map(|row| row.text("state").to_owned()).ok_or_else(|| unknown("task", id))
    }

    async fn rollback(&self) -> Result<Reply, Problem> {
        match self.state().await?.as_str() {
            "IN_PROGRESS" => {}
            state => return Err(self.conflict(&format!("is {state}: it is over"))),
        }
        self.change(Change::Rollback).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Begins it once more, as it was asked.
    async fn retry(&self) -> Result<Reply, Problem> {
        match self.state().await?.as_str() {
            "FAILED" | "ROLLED_BACK" => {}
            state => {
                let text = format!("is {state}: only one that has failed can be tried again");
                return Err(self.conflict(&text));
            }
        }
        let asked = self.first().parse().ok().and_then(|id| self.admin.lifecycle.asked(TaskId(id)));
        let forgotten = "is not the last one that this process was asked for, and how it was \
                         asked is not known any more: begin another one";
        self.begin(asked.ok_or_else(|| self.conflict(forgotten))?).await
    }

    /// There is nothing that a restart of one proxy would begin later.
    async fn stop(&self) -> Result<Reply, Problem> {
        Err(self.conflict(&match self.state().await?.as_str() {
            "IN_PROGRESS" => {
                "is of one proxy: nothing more would begin; rollback takes it back".into()
            }
            state => format!("is {state}: it is over"),
        }))
    }

    fn conflict(&self, why: &str) -> Problem {
        Problem::new(StatusCode::CONFLICT, format!("task {} {why}", self.first()))
    }

    async fn servers(&self) -> Result<Reply, Problem> {
        let servers = self.show("SHOW PROXYROUTE").await?;
        let wanted = self.request.asked("cluster");
        let rows = servers.rows().filter(|row| wanted.is_none_or(|it| row.text("cluster") == it));
        Ok(listed(&SERVER, rows))
    }

    async fn alter_server(&self, change: ServerChange) -> Result<Reply, Problem> {
        let address = self.first();
        let servers = self.show("SHOW PROXYROUTE").await?;
        let wanted = self.request.asked("cluster");
        let is_it = |row: &Row| {
            row.text("server") == address && wanted.is_none_or(|it| row.text("cluster") == it)
        };
        let mut clusters = servers.rows().filter(is_it).map(|row| row.text("cluster"));
        let cluster = clusters.next().ok_or_else(|| unknown("server", address))?;
        if clusters.next().is_some() {
            let text = format!("{address} is a server of several clusters: say ?cluster=NAME");
            return Err(Problem::new(StatusCode::CONFLICT, text));
        }
        self.change(Change::AlterServer(cluster.to_owned(), change, address.to_owned())).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    async fn sessions(&self) -> Result<Reply, Problem> {
        let limit = self.limit()?;
        let filters = [("cluster", "Cluster"), ("user", "User"), ("server", "server")];
        let filters = filters.map(|(name, column)| (self.request.asked(name), column));
        let is_wanted = |row: &Row| {
            filters.iter().all(|(wanted, column)| wanted.is_none_or(|it| row.text(column) == it))
        };
        let sessions = self.show("SHOW PROXYSESSION").await?;
        Ok(listed(&SESSION, sessions.rows().filter(is_wanted).take(limit)))
    }

    /// How many rows are wanted.
    fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.request.asked("limit") else { return Ok(ROWS) };
        let wrong = || Problem::bad(format!("limit = '{text}': expected a number from 0 on"));
        text.parse().map_err(|_| wrong())
    }

    fn session(&self) -> Result<SessionId, Problem> {
        let id = self.first().parse().map(SessionId);
        id.map_err(|_| unknown("session", self.first()))
    }

    async fn alter(&self) -> Result<Reply, Problem> {
        let mut changes = Vec::new();
        for (name, value) in self.request.object()? {
            // An order, and no parameter.
            if name == "proxy_local_cmd" {
                return Err(Problem::bad("proxy_local_cmd is no parameter: see proxies"));
            }
            let Value::String(value) = value else {
                return Err(Problem::bad(format!("{name}: expected a string")));
            };
            changes.push((name, value));
        }
        if changes.is_empty() {
            return Err(Problem::bad("expected {\"name\": \"value\"}"));
        }
        let names: Vec<_> = changes.iter().map(|(name, _)| name.to_lowercase()).collect();
        self.change(Change::Alter(changes)).await?;
        let all = door::parameters(self.admin, self.caller).await?;
        let rows = all.rows().filter(|row| names.contains(&row.text("name").to_lowercase()));
        Ok(listed(&PARAMETER, rows))
    }
}

/// `{mode, exit_timeout}`
fn restart(body: &Map<String, Value>) -> Result<Restart, Problem> {
    let mut request = Restart::of(Mode::Restart);
    for (name, value) in body {
        let Value::String(text) = value else {
            return Err(Problem::bad(format!("{name}: expected a string")));
        };
        match (name.as_str(), text.as_str()) {
            ("mode", "restart") => {}
            ("mode", "force") => request.mode = Mode::Force,
            ("mode", "rehearse") => request.mode = Mode::Rehearse,
            ("mode", _) => {
                let text = format!("mode = '{text}': expected restart, force or rehearse");
                return Err(Problem::bad(text));
            }
            ("exit_timeout", text) => request.exit_timeout = Some(exit_timeout(text)?),
            _ => {
                let text = format!("{name}: expected mode or exit_timeout");
                return Err(Problem::bad(text));
            }
        }
    }
    Ok(request)
}

/// As RESTART takes it.
pub(in crate::http) fn exit_timeout(text: &str) -> Result<ExitTimeout, Problem> {
    match text {
        "0" => Ok(ExitTimeout::After(Duration::ZERO)),
        _ => text.parse().map_err(|error| {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("exit_timeout = '{text}': {error}"),
            )
        }),
    }
}

pub(super) fn unknown(what: &str, name: &str) -> Problem {
    Problem::not_found(format!("there is no {what} '{name}'"))
}

fn items(resource: &Resource, table: &Table) -> Reply {
    listed(resource, table.rows())
}

fn listed<'t>(resource: &Resource, rows: impl Iterator<Item = Row<'t>>) -> Reply {
    let values: Vec<_> = rows.map(|row| resource.value(&row)).collect();
    json(StatusCode::OK, &json!({"items": values}))
}
