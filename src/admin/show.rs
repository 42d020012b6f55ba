//! What SHOW shows. Names and orders of columns are ODP's where it has the command: never rename.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Admin;
use super::command::{Command, is_like};
use super::rows::Table;
use crate::config::parameter::{self, Parameter, Reboot};
use crate::error::ClientError;
use crate::proxy::sessions::view::SessionView;
use crate::restart::task::Task;

/// What drivers ask for when they connect, and what a server without surprises says.
const VARIABLES: &[(&str, &str)] = &[
    ("auto_increment_increment", "1"),
    ("autocommit", "1"),
    ("character_set_client", "utf8mb4"),
    ("character_set_connection", "utf8mb4"),
    ("character_set_database", "utf8mb4"),
    ("character_set_results", "utf8mb4"),
    ("character_set_server", "utf8mb4"),
    ("collation_connection", "utf8mb4_general_ci"),
    ("collation_database", "utf8mb4_general_ci"),
    ("collation_server", "utf8mb4_general_ci"),
    ("have_openssl", "YES"),
    ("have_ssl", "YES"),
    ("init_connect", ""),
    ("interactive_timeout", "28800"),
    ("license", ""),
    ("lower_case_table_names", "0"),
    ("max_allowed_packet", "1048576"),
    ("net_buffer_length", "16384"),
    ("net_read_timeout", "30"),
    ("net_write_timeout", "60"),
    ("performance_schema", "0"),
    ("query_cache_size", "0"),
    ("query_cache_type", "OFF"),
    ("session_track_schema", "OFF"),
    ("socket", ""),
    ("sql_mode", ""),
    ("sql_select_limit", "18446744073709551615"),
    ("system_time_zone", "UTC"),
    ("time_zone", "SYSTEM"),
    ("transaction_isolation", "REPEATABLE-READ"),
    ("transaction_read_only", "0"),
    ("tx_isolation", "REPEATABLE-READ"),
    ("tx_read_only", "0"),
    ("version", super::server::VERSION),
    ("version_comment", "odp"),
    ("wait_timeout", "28800"),
];

/// A variable of a server, or a parameter of ours.
pub(super) fn variable(admin: &Admin, name: &str) -> Option<String> {
    let of_server = VARIABLES.iter().find(|(known, _)| *known == name);
    of_server
        .map(|(name, value)| in_force(admin, name, value).to_owned())
        .or_else(|| Parameter::find(name).map(|it| it.value(&admin.proxy.config())))
}

/// The value of a server's variable, which may depend on the config.
fn in_force(admin: &Admin, name: &str, value: &'static str) -> &'static str {
    let is_of_tls = matches!(name, "have_openssl" | "have_ssl");
    if is_of_tls && admin.proxy.tls().admin().is_none() { "DISABLED" } else { value }
}

/// ODP's words: ACTIVE, BE_INACTIVE while sessions are left, INACTIVE.
pub(super) fn proxy_status(admin: &Admin) -> &'static str {
    let standing = admin.lifecycle.standing();
    match standing.takes_clients {
        true => "ACTIVE",
        false if admin.proxy.gauges().current_client_connections > 0 => "BE_INACTIVE",
        false => "INACTIVE",
    }
}

/// The table of a command that shows something.
pub(super) fn table(admin: &Admin, command: &Command) -> Result<Table, ClientError> {
    Ok(match command {
        Command::ShowRestart => restarts(&admin.lifecycle.tasks()),
        Command::ShowConfig(like) => config(admin, like.as_deref()),
        Command::ShowSessions => sessions(&admin.proxy.sessions()),
        Command::ShowSession(id, like) => session(admin, *id, like.as_deref())?,
        Command::ShowProcesslist => processlist(&admin.proxy.sessions()),
        Command::ShowStat(like) => stat(admin, like.as_deref()),
        Command::ShowBinary => binary(admin),
        Command::ShowUpgrade => upgrade(admin),
        Command::ShowVariables(like) => variables(admin, like.as_deref()),
        Command::ShowWarnings => Table::with_columns(&["Level", "Code", "Message"]),
        Command::ShowDatabases => {
            let mut table = Table::with_columns(&["Database"]);
            table.push(["proxysys".into()]);
            table
        }
        _ => return Err(ClientError::unknown_command()),
    })
}

fn restarts(tasks: &[Task]) -> Table {
    let mut table = Table::with_columns(&[
        "task_id",
        "mode",
        "state",
        "phase",
        "generation",
        "old_pid",
        "new_pid",
        "started_at",
        "elapsed_ms",
        "sessions",
        "moved",
        "draining",
        "in_transaction",
        "disconnected",
        "detail",
        "pause_count",
        "pause_p50_us",
        "pause_p99_us",
        "pause_max_us",
        "pause_buckets_us",
    ]);
    for task in tasks {
        table.push([
            task.task_id.to_string(),
            task.mode.to_string(),
            task.state.to_string(),
            task.phase.to_string(),
            task.generation.to_string(),
            task.old_pid.to_string(),
            task.new_pid.to_string(),
            timestamp(UNIX_EPOCH + Duration::from_millis(task.started_at_ms)),
            task.elapsed_ms.to_string(),
            task.sessions.to_string(),
            task.moved.to_string(),
            task.draining.to_string(),
            task.in_transaction.to_string(),
            task.disconnected.to_string(),
            task.detail.clone(),
            task.pauses.count().to_string(),
            task.pauses.quantile_us(0.5).to_string(),
            task.pauses.quantile_us(0.99).to_string(),
            task.pauses.max_us().to_string(),
            task.pauses.to_string(),
        ]);
    }
    table
}

fn config(admin: &Admin, like: Option<&str>) -> Table {
    let config = admin.proxy.config();
    let mut table = Table::with_columns(&[
        "name",
        "value",
        "info",
        "need_reboot",
        "visible_level",
        "range",
        "config_level",
    ]);
    for parameter in parameter::all() {
        if !matches(like, parameter.name) {
            continue;
        }
        let need_reboot = if parameter.reboot == Reboot::Needed { "True" } else { "False" };
        table.push([
            parameter.name.into(),
            parameter.value(&config),
            parameter.info.into(),
            need_reboot.into(),
            "USER".into(),
            parameter.range.into(),
            "LEVEL_GLOBAL".into(),
        ]);
    }
    table
}

fn sessions(views: &[SessionView]) -> Table {
    let mut table = Table::with_columns(&[
        "proxy_sessid",
        "Id",
        "Cluster",
        "Tenant",
        "User",
        "Host",
        "db",
        "trans_count",
        "svr_session_count",
        "state",
        "tid",
        "pid",
        "using_ssl",
        "server_sessid",
        "client_tls",
        "server_tls",
        "client_compression",
        "server_compression",
    ]);
    for view in views {
        table.push([
            view.id.to_string(),
            view.id.to_string(),
            view.cluster.clone(),
            String::new(),
            view.user.clone(),
            view.client.clone(),
            view.database.clone(),
            view.transactions.to_string(),
            u64::from(view.server_thread != 0).to_string(),
            view.state.to_string(),
            "0".into(),
            view.pid.to_string(),
            u64::from(!view.client_tls.is_empty()).to_string(),
            view.server_thread.to_string(),
            view.client_tls.clone(),
            view.server_tls.clone(),
            view.client_compression.clone(),
            view.server_compression.clone(),
        ]);
    }
    table
}

/// The same rows without what only the proxy knows.
fn processlist(views: &[SessionView]) -> Table {
    let only_here = [
        "proxy_sessid",
        "Cluster",
        "using_ssl",
        "server_sessid",
        "client_tls",
        "server_tls",
        "client_compression",
        "server_compression",
    ];
    sessions(views).without(&only_here)
}

fn session(admin: &Admin, id: u32, like: Option<&str>) -> Result<Table, ClientError> {
    let sessions = admin.proxy.sessions();
    let found = sessions.iter().find(|view| view.id == id);
    let view = found.ok_or_else(|| ClientError::unknown_thread(id.into()))?;
    let in_transaction = if view.in_transaction { "in_trans" } else { "not_in_trans" };
    let rows: [(&str, String, &str); 16] = [
        ("proxy_sessid", view.id.to_string(), "cs common"),
        ("cs_id", view.id.to_string(), "cs common"),
        ("cluster", view.cluster.clone(), "cs common"),
        ("user", view.user.clone(), "cs common"),
        ("host_ip", view.client.clone(), "cs common"),
        ("db", view.database.clone(), "cs common"),
        ("total_trans_cnt", view.transactions.to_string(), "cs common"),
        ("total_request_cnt", view.commands.to_string(), "cs common"),
        ("read_state", view.state.to_string(), "cs common"),
        ("pid", view.pid.to_string(), "cs common"),
        ("age_ms", view.age.as_millis().to_string(), "cs stat"),
        ("idle_ms", view.idle.as_millis().to_string(), "cs stat"),
        ("server", view.server.clone(), "last used ss"),
        ("server_sessid", view.server_thread.to_string(), "last used ss"),
        ("client_tls", view.client_tls.clone(), "cs common"),
        ("server_tls", view.server_tls.clone(), "last used ss"),
    ];
    let mut table = Table::with_columns(&["attribute_name", "value", "info"]);
    let state = ("transact_state", in_transaction.to_owned(), "last used ss");
    for (name, value, info) in rows.into_iter().chain([state]) {
        if matches(like, name) {
            table.push([name.into(), value, info.into()]);
        }
    }
    Ok(table)
}

fn stat(admin: &Admin, like: Option<&str>) -> Table {
    let gauges = admin.proxy.gauges();
    let now = [
        ("current_client_connections", gauges.current_client_connections),
        ("current_active_client_connections", gauges.current_active_client_connections),
        ("current_client_transactions", gauges.current_client_transactions),
        ("current_server_connections", gauges.current_server_connections),
    ];
    let totals = admin.proxy.totals().rows();
    let counted = totals.into_iter().map(|(name, value, _)| (name, value));
    let mut table = Table::with_columns(&["stat_name", "value", "persist_type"]);
    for (name, value) in now.into_iter().chain(counted) {
        if matches(like, name) {
            table.push([name.into(), value.to_string(), "SQL_ONLY".into()]);
        }
    }
    table
}

fn binary(admin: &Admin) -> Table {
    let standing = admin.lifecycle.standing();
    let uptime = admin.started.elapsed().unwrap_or_default();
    let rows = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("pid", std::process::id().to_string()),
        ("generation", standing.generation.to_string()),
        ("state", standing.state.to_string()),
        ("phase", standing.phase.map(|phase| phase.to_string()).unwrap_or_default()),
        ("started_at", timestamp(admin.started)),
        ("uptime_s", uptime.as_secs().to_string()),
        ("sessions", admin.proxy.gauges().current_client_connections.to_string()),
        ("config", admin.lifecycle.config_path().display().to_string()),
        ("listen", admin.proxy.listening().join(",")),
    ];
    let mut table = Table::with_columns(&["name", "info"]);
    for (name, info) in rows {
        table.push([name.into(), info]);
    }
    table
}

fn upgrade(admin: &Admin) -> Table {
    let standing = admin.lifecycle.standing();
    let last = admin.lifecycle.tasks().into_iter().next();
    let task = last.map_or_else(
        || "no restart yet".to_owned(),
        |task| format!("task {} {} in {}: {}", task.task_id, task.state, task.phase, task.detail),
    );
    let info = format!("{}, generation {}, {task}", standing.state, standing.generation);
    let mut table = Table::with_columns(&["name", "info"]);
    table.push(["hot upgrade info".into(), info]);
    table
}

fn variables(admin: &Admin, like: Option<&str>) -> Table {
    let mut table = Table::with_columns(&["Variable_name", "Value"]);
    for (name, value) in VARIABLES {
        if matches(like, name) {
            table.push([(*name).into(), in_force(admin, name, value).into()]);
        }
    }
    table
}

fn matches(like: Option<&str>, name: &str) -> bool {
    like.is_none_or(|pattern| is_like(pattern, name))
}

/// UTC, to the millisecond.
fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}
