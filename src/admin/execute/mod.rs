//! Carries out a command.

mod fleet;
mod switchover;

use std::time::{Duration, SystemTime};

use super::caller::Caller;
use super::command::{Change, Command, Expression};
use super::handles::Admin;
use super::show;
use super::table::{Answer, Table, VERSION, timestamp};
use crate::config::Role;
use crate::config::alterations::{Alterations, Altered};
use crate::config::parameter::cluster::{is_server_list, name};
use crate::config::parameter::{self, Unfit};
use crate::error::ClientError;
use crate::proxy::{Author, NotAltered};
use crate::restart::Refusal;
use crate::restart::task::{Mode, Request, State};

/// How long ALTER waits until what it has changed is on the disk.
const KEPT: Duration = Duration::from_secs(5);

/// How long it waits until the rest of the fleet can know.
const SHARED: Duration = Duration::from_secs(5);

/// Carries out a command of this caller.
pub async fn execute(
    admin: &Admin,
    caller: &Caller,
    command: Command,
) -> Result<Answer, ClientError> {
    match command {
        Command::Change(change) => audited(admin, caller, change, |_| ()).await,
        Command::Show(show, operands) => {
            show.table(admin, caller, &operands).await.map(Answer::Rows)
        }
        Command::Select(items) => select(admin, caller, &items).map(Answer::Rows),
        Command::Ping => match admin.lifecycle.state() {
            State::Stopping => Err(ClientError::shutdown()),
            _ => Ok(Answer::done("")),
        },
        Command::Nothing => Ok(Answer::done("")),
    }
}

/// Carries out a change of this caller; `begun` is told the id of its entry in the audit.
pub async fn audited(
    admin: &Admin,
    caller: &Caller,
    change: Change,
    begun: impl FnOnce(String),
) -> Result<Answer, ClientError> {
    let Caller { user, peer, role, .. } = caller;
    let told = change.without_sql();
    if *role == Role::Viewer {
        let error = ClientError::role_denied("manager");
        admin.audit.refuse(caller, &told.to_string(), &error.message).await;
        return Err(error);
    }
    let asked = admin.audit.ask(caller, told.to_string()).await;
    begun(asked.id().to_owned());
    tracing::info!(user, peer, command = ?told, "admin command");
    let result = carry_out(admin, caller, change).await;
    match &result {
        Ok(Answer::Done { info, .. }) => asked.end("done", info.clone()).await,
        Ok(Answer::Rows(_)) => asked.end("done", String::new()).await,
        Err(error) => asked.end("refused", error.message.clone()).await,
    }
    result
}

async fn carry_out(admin: &Admin, caller: &Caller, change: Change) -> Result<Answer, ClientError> {
    match change {
        Change::Restart(request) => restart(admin, caller, request).await,
        Change::Rollback => {
            let task = admin.lifecycle.rollback().await.map_err(refused)?;
            Ok(Answer::Done { id: task.0, info: format!("task {task} is being taken back") })
        }
        Change::Fleet(order) => fleet::carry_out(admin, caller, order).await,
        Change::Alter(changes) => alter(admin, caller, &changes).await,
        Change::AlterCluster(cluster, changes) => {
            let named = changes.into_iter().map(|(key, value)| (name(&cluster, &key), value));
            set(admin, caller, &named.collect::<Vec<_>>()).await
        }
        Change::AlterServer(cluster, change, address) => {
            set(admin, caller, &[(name(&cluster, "server"), change.to(&address))]).await
        }
        Change::Move(id, address) => {
            let moved = admin.proxy.move_session(id, &address).await;
            moved.map_err(|why| match why {
                None => ClientError::unknown_thread(id.0.into()),
                Some(why) => ClientError::refused(format!("session {id} stays: {why}")),
            })?;
            Ok(Answer::done(format!("session {id} is on {address}")))
        }
        Change::SwitchOver(cluster, order) => {
            Box::pin(switchover::carry_out(admin, cluster, order)).await
        }
        Change::ResetDigests => {
            admin.proxy.in_force().digests().reset();
            Ok(Answer::done(""))
        }
        Change::Kill(id) => match admin.proxy.kill(id) {
            true => Ok(Answer::done("")),
            false => Err(ClientError::unknown_thread(id.0.into())),
        },
    }
}

async fn restart(admin: &Admin, caller: &Caller, request: Request) -> Result<Answer, ClientError> {
    let task = admin.lifecycle.restart(request.by(caller.who())).await.map_err(refused)?;
    Ok(Answer::Done { id: task.0, info: format!("task {task}; SHOW RESTART tells how it goes") })
}

fn refused(refusal: Refusal) -> ClientError {
    ClientError::refused(refusal.to_string())
}

async fn alter(
    admin: &Admin,
    caller: &Caller,
    changes: &[(String, String)],
) -> Result<Answer, ClientError> {
    // ODP's local commands; they are orders and no parameters, so they stand alone.
    if let [(name, value)] = changes
        && name == "proxy_local_cmd"
    {
        return local_command(admin, caller, value).await;
    }
    set(admin, caller, changes).await
}

/// Alters parameters, or keys of clusters by their names. What is in force and cannot be kept is
/// told, and stays: a disk that is full is no reason to leave things as they are.
async fn set(
    admin: &Admin,
    caller: &Caller,
    changes: &[(String, String)],
) -> Result<Answer, ClientError> {
    let at = timestamp(SystemTime::now());
    let author = Author { by: caller.who(), at };
    let values = changes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    admin.proxy.alter(values, &author).map_err(|error| match error {
        NotAltered::Unfit(Unfit::Unknown(name)) => ClientError::unknown_variable(&name),
        NotAltered::Unfit(Unfit::Wrong { name, value, expected }) => {
            ClientError::wrong_value(&name, &value, &expected)
        }
        NotAltered::Files(error) => ClientError::refused(error.to_string()),
    })?;
    let mine = admin.proxy.in_force().altered();
    let kept = admin.proxy.in_force().keeping().settled(KEPT).await;
    let mut remarks: Vec<String> =
        kept.map(|trouble| format!("in force, but not kept: {trouble}")).into_iter().collect();
    if admin.proxy.config().fleet.is_shared() {
        let shared = admin.proxy.in_force().sharing().settled(SHARED).await;
        remarks.extend(shared.map(|trouble| format!("in force here, but not shared: {trouble}")));
        overtaken(admin, &mine, &author, changes)?;
    }
    Ok(Answer::done(remarks.join("; ")))
}

/// Whether somebody has altered the same at another proxy, and was first.
fn overtaken(
    admin: &Admin,
    mine: &Alterations,
    author: &Author,
    changes: &[(String, String)],
) -> Result<(), ClientError> {
    let now = admin.proxy.in_force().altered();
    for name in changes.iter().map(|(name, _)| parameter::original(name)) {
        let (Some(mine), Some(now)) = (mine.get(&name), now.get(&name)) else { continue };
        let is_mine = now.by == author.by && now.at == author.at;
        // Of servers both changes count.
        if !is_mine && now.value != mine.value && !is_server_list(&name) {
            let Altered { value, by, .. } = now;
            let text = format!("{name} = '{value}' counts: {by} has altered it at the same time");
            return Err(ClientError::refused(text));
        }
    }
    Ok(())
}

async fn local_command(admin: &Admin, caller: &Caller, value: &str) -> Result<Answer, ClientError> {
    let lifecycle = &admin.lifecycle;
    match value.trim() {
        "0" | "" => Ok(Answer::done("")),
        "1" => {
            lifecycle.stop(admin.proxy.config().proxy.delay_exit_time.0);
            Ok(Answer::done("stopping"))
        }
        "2" => restart(admin, caller, Request::of(Mode::Restart)).await,
        "3" => {
            lifecycle.offline().await.map_err(refused)?;
            Ok(Answer::done("offline"))
        }
        "4" => {
            lifecycle.online().await.map_err(refused)?;
            Ok(Answer::done("online"))
        }
        other => Err(ClientError::wrong_value("proxy_local_cmd", other, "expected 0 to 4")),
    }
}

fn select(
    admin: &Admin,
    caller: &Caller,
    items: &[(Expression, String)],
) -> Result<Table, ClientError> {
    let mut table = Table::default();
    let mut row = Vec::new();
    for (expression, name) in items {
        table.columns.push(name.clone());
        row.push(match expression {
            Expression::Literal(text) => Some(text.clone()),
            Expression::Null => None,
            Expression::Variable(variable) => Some(
                show::variable(admin, variable)
                    .ok_or_else(|| ClientError::unknown_variable(variable))?,
            ),
            Expression::Function(function) => call(admin, caller, function)?,
        });
    }
    table.rows.push(row);
    Ok(table)
}

fn call(admin: &Admin, caller: &Caller, function: &str) -> Result<Option<String>, ClientError> {
    Ok(match function {
        "proxy_version" => Some(env!("CARGO_PKG_VERSION").to_owned()),
        "proxy_status" => Some(show::proxy_status(admin).to_owned()),
        "version" => Some(VERSION.to_owned()),
        "connection_id" => Some(caller.connection_id.to_string()),
        "user" | "current_user" | "session_user" => {
            let host = caller.peer.rsplit_once(':').map_or(&*caller.peer, |(host, _)| host);
            Some(format!("{}@{host}", caller.user))
        }
        "database" | "schema" => None,
        _ => return Err(ClientError::unknown_command()),
    })
}
