//! What SHOW shows: a command is a line of [`SHOWS`], and nothing else has to be told of it.
//!
//! Names and orders of columns are ODP's where it has the command: never rename.

use std::time::{Duration, UNIX_EPOCH};

use super::caller::Caller;
use super::handles::Admin;
use super::table::{Columns, Operands, Table, VERSION, timestamp};
use super::{digests, fleet, history, servers, settings, variables};
use crate::config::alterations::Altered;
use crate::config::parameter::{self, Parameter, Reboot};
use crate::error::ClientError;
use crate::proxy::Difference;
use crate::proxy::sessions::view::{CrashView, SessionView, VariablesView};
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
    ("version", VERSION),
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

/// What follows the words of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// `[LIKE pattern]`
    Like,
    /// `id [LIKE pattern]`
    SessionAndLike,
    /// `['name']`
    Name,
    /// What drivers add, of which LIKE alone is understood: the rest means nothing here.
    Anything,
}

/// One command.
pub struct Show {
    /// The words behind SHOW, in each of its spellings.
    phrases: &'static [&'static str],
    pub(super) takes: Takes,
    rows: Rows,
}

/// Where a command's rows come from.
enum Rows {
    /// They are at hand.
    Here(fn(&Admin, &Operands) -> Result<Table, ClientError>),
    /// They are a session's variables, which is asked for them.
    Variables(fn(&VariablesView, &Caller, &Operands) -> Table),
    /// They are the fleet's: other proxies are asked for them, or the disk.
    Fleet(for<'a> fn(&'a Admin, &'a Operands) -> fleet::Asked<'a>),
    /// They are on the disk.
    Audit,
}

use Rows::{Here, Variables};

/// Every one.
static SHOWS: &[Show] = &[
    Show {
        phrases: &["restart"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(restarts(admin))),
    },
    Show { phrases: &["fleet"], takes: Takes::Nothing, rows: Rows::Fleet(fleet::members) },
    Show { phrases: &["fleet proxy"], takes: Takes::Name, rows: Rows::Fleet(fleet::members) },
    Show { phrases: &["fleet history"], takes: Takes::Nothing, rows: Rows::Fleet(fleet::history) },
    Show { phrases: &["fleet tasks"], takes: Takes::Nothing, rows: Rows::Fleet(fleet::tasks) },
    Show {
        phrases: &["fleet tasks of others"],
        takes: Takes::Name,
        rows: Rows::Fleet(fleet::tasks_of_others),
    },
    Show {
        phrases: &["fleet rehearsals"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(Table::of(fleet::REHEARSALS, &admin.fleet.rehearsals()))),
    },
    Show { phrases: &["fleet task"], takes: Takes::Name, rows: Rows::Fleet(fleet::steps) },
    Show {
        phrases: &["fleet etcd"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(settings::store(admin))),
    },
    Show {
        phrases: &["fleet settings"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(settings::settings(admin))),
    },
    Show {
        phrases: &["proxyconfig"],
        takes: Takes::Like,
        rows: Here(|admin, it| Ok(config(admin, it))),
    },
    Show { phrases: &["audit"], takes: Takes::Nothing, rows: Rows::Audit },
    Show {
        phrases: &["proxyconfig diff"],
        takes: Takes::Like,
        rows: Here(|admin, it| Ok(differences(admin, it))),
    },
    Show {
        phrases: &["crash"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(Table::of(CRASH, &admin.proxy.crashes()))),
    },
    Show {
        phrases: &["proxysession"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(Table::of(SESSION, &admin.proxy.sessions()))),
    },
    Show {
        phrases: &["proxysession attribute"],
        takes: Takes::SessionAndLike,
        rows: Here(session),
    },
    Show {
        phrases: &["proxysession variables"],
        takes: Takes::SessionAndLike,
        rows: Variables(variables::own),
    },
    Show {
        phrases: &["proxysession variables all"],
        takes: Takes::SessionAndLike,
        rows: Variables(variables::all),
    },
    Show {
        phrases: &["proxycluster"],
        takes: Takes::Like,
        rows: Here(|admin, it| Ok(servers::clusters(admin, it))),
    },
    Show {
        phrases: &["proxycluster idc"],
        takes: Takes::Like,
        rows: Here(|admin, it| Ok(servers::idcs(admin, it))),
    },
    Show {
        phrases: &["proxyroute"],
        takes: Takes::Like,
        rows: Here(|admin, it| Ok(servers::routes(admin, it))),
    },
    Show {
        phrases: &["proxytrace"],
        takes: Takes::Name,
        rows: Here(|admin, it| Ok(servers::traces(admin, it))),
    },
    Show {
        phrases: &["proxydigest"],
        takes: Takes::Like,
        rows: Here(|admin, it| Ok(digests::digests(admin, it))),
    },
    Show {
        phrases: &["proxydigest running"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(digests::running(admin))),
    },
    Show { phrases: &["proxyhistory"], takes: Takes::Name, rows: Here(history::history) },
    Show {
        phrases: &["proxycongestion all"],
        takes: Takes::Name,
        rows: Here(|admin, it| Ok(servers::congestion(admin, it, true))),
    },
    Show {
        phrases: &["proxycongestion"],
        takes: Takes::Name,
        rows: Here(|admin, it| Ok(servers::congestion(admin, it, false))),
    },
    Show {
        phrases: &["white list"],
        takes: Takes::Like,
        rows: Here(|admin, it| Ok(servers::white_list(admin, it))),
    },
    Show {
        phrases: &["processlist"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(Table::of(SESSION, &admin.proxy.sessions()).without(ONLY_HERE))),
    },
    Show {
        phrases: &["proxystat", "proxystat refresh"],
        takes: Takes::Like,
        rows: Here(|admin, it| Ok(stat(admin, it))),
    },
    Show {
        phrases: &["proxyinfo binary"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(binary(admin))),
    },
    Show {
        phrases: &["proxyinfo upgrade"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(upgrade(admin))),
    },
    Show {
        phrases: &["proxyinfo idc"],
        takes: Takes::Nothing,
        rows: Here(|admin, _| Ok(servers::nearness(admin))),
    },
    Show {
        phrases: &["variables"],
        takes: Takes::Anything,
        rows: Here(|admin, it| Ok(own_variables(admin, it))),
    },
    Show {
        phrases: &["warnings", "errors"],
        takes: Takes::Anything,
        rows: Here(|_, _| Ok(Table::with_columns(&["Level", "Code", "Message"]))),
    },
    Show {
        phrases: &["databases", "schemas"],
        takes: Takes::Nothing,
        rows: Here(|_, _| {
            Ok(Table::of(&[("Database", |name| String::from(*name))], &["proxysys"]))
        }),
    },
];

/// The command that words begin with, and how many words it is: of two that fit, the longer.
pub(super) fn find<'a>(word: impl Fn(usize) -> Option<&'a str>) -> Option<(&'static Show, usize)> {
    let fits = |phrase: &&str| {
        let is_word =
            |(at, own): (usize, &str)| word(at).is_some_and(|word| word.eq_ignore_ascii_case(own));
        phrase.split(' ').enumerate().all(is_word)
    };
    let found = SHOWS.iter().flat_map(|show| {
        let phrases = show.phrases.iter().copied().filter(fits);
        phrases.map(move |phrase| (show, phrase.split(' ').count()))
    });
    found.max_by_key(|(_, words)| *words)
}

/// What may stand behind a word that is no command by itself.
pub(super) fn what_follows(first: &str) -> Option<String> {
    let phrases = SHOWS.iter().flat_map(|show| show.phrases);
    let split = phrases.filter_map(|phrase| phrase.split_once(' '));
    let second: Vec<_> =
        split.filter(|(own, _)| *own == first).map(|(_, second)| second.to_uppercase()).collect();
    (!second.is_empty()).then(|| second.join(" or "))
}

impl Show {
    /// Its rows.
    pub(super) async fn table(
        &self,
        admin: &Admin,
        caller: &Caller,
        operands: &Operands,
    ) -> Result<Table, ClientError> {
        match self.rows {
            Here(rows) => rows(admin, operands),
            Rows::Fleet(rows) => rows(admin, operands).await,
            Rows::Audit => {
                let table = admin.audit.table().await;
                table.map_err(|error| ClientError::refused(format!("the audit: {error}")))
            }
            Variables(rows) => {
                let id = operands.session;
                let view = admin.proxy.variables(id).await.map_err(|why| match why {
                    None => ClientError::unknown_thread(id.0.into()),
                    Some(why) => ClientError::refused(format!("session {id}: {why}")),
                })?;
                Ok(rows(&view, caller, operands))
            }
        }
    }
}

impl PartialEq for Show {
    fn eq(&self, other: &Self) -> bool {
        self.phrases == other.phrases
    }
}

impl std::fmt::Debug for Show {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SHOW {}", self.phrases[0])
    }
}

/// A row is a task.
const RESTART: &Columns<Task> = &[
    ("task_id", |task| task.task_id.to_string()),
    ("mode", |task| task.mode.to_string()),
    ("state", |task| task.state.to_string()),
    ("phase", |task| task.phase.to_string()),
    ("generation", |task| task.generation.to_string()),
    ("old_pid", |task| task.predecessor().to_string()),
    ("new_pid", |task| task.successor().to_string()),
    ("started_at", |task| timestamp(UNIX_EPOCH + Duration::from_millis(task.started_at_ms))),
    ("elapsed_ms", |task| task.elapsed_ms.to_string()),
    ("sessions", |task| task.sessions.to_string()),
    ("moved", |task| task.moved.to_string()),
    ("draining", |task| task.draining.to_string()),
    ("in_transaction", |task| task.in_transaction.to_string()),
    ("disconnected", |task| task.disconnected.to_string()),
    ("detail", |task| task.detail.clone()),
    ("pause_count", |task| task.pauses.count().to_string()),
    ("pause_p50_us", |task| task.pauses.quantile_us(0.5).to_string()),
    ("pause_p99_us", |task| task.pauses.quantile_us(0.99).to_string()),
    ("pause_max_us", |task| task.pauses.max_us().to_string()),
    ("pause_buckets_us", |task| task.pauses.to_string()),
    ("started_by", |task| task.by.clone()),
    ("phases_ms", |task| {
        let phases = task.phases.iter();
        let reached: Vec<_> = phases.map(|it| format!("{} {}", it.phase, it.after_ms)).collect();
        reached.join(",")
    }),
];

/// A row is a task, with the fleet's that it is part of.
fn restarts(admin: &Admin) -> Table {
    let tasks = admin.lifecycle.tasks();
    let mut table = Table::of(RESTART, &tasks);
    table.columns.push("fleet_task".into());
    for (row, task) in table.rows.iter_mut().zip(&tasks) {
        let of = admin.fleet.of_restart(task.mode, task.started_at_ms);
        row.push(Some(of.map(|id| id.to_string()).unwrap_or_default()));
    }
    table
}

/// A row is a process that has died.
const CRASH: &Columns<CrashView> = &[
    ("time", |crash| timestamp(crash.at)),
    ("pid", |crash| crash.pid.to_string()),
    ("how", |crash| crash.how.clone()),
    ("sessions", |crash| crash.sessions.to_string()),
    ("resumed", |crash| crash.resumed.to_string()),
    ("lost", |crash| crash.lost.iter().map(|(_, count)| count).sum::<u64>().to_string()),
    ("reasons", |crash| {
        let reasons: Vec<_> = crash.lost.iter().map(|(why, it)| format!("{why}: {it}")).collect();
        reasons.join(", ")
    }),
    ("resume_ms", |crash| crash.within.as_millis().to_string()),
    ("suspect", |crash| {
        let ids: Vec<_> = crash.suspects.iter().map(|id| id.0.to_string()).collect();
        ids.join(", ")
    }),
];

fn config(admin: &Admin, operands: &Operands) -> Table {
    let config = admin.proxy.config();
    let mut table = Table::with_columns(&[
        "name",
        "value",
        "info",
        "need_reboot",
        "visible_level",
        "range",
        "config_level",
        "default_value",
    ]);
    for parameter in parameter::all() {
        if !operands.matches(parameter.name) {
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
            parameter::default_value(parameter.name).unwrap_or_default(),
        ]);
    }
    for key in parameter::cluster::all(&config) {
        if !operands.matches(&key.name) {
            continue;
        }
        let default = parameter::default_value(&key.name).unwrap_or_default();
        table.push([
            key.name,
            key.value,
            key.info.into(),
            "False".into(),
            "USER".into(),
            key.range.into(),
            "LEVEL_CLUSTER".into(),
            default,
        ]);
    }
    table
}

/// What is in force and does not stand in the file.
fn differences(admin: &Admin, operands: &Operands) -> Table {
    let in_force = admin.proxy.in_force();
    let kept = in_force.keeping().trouble().unwrap_or_else(|| "yes".into());
    let mut table = Table::with_columns(&[
        "name",
        "value",
        "in_file",
        "changed_by",
        "changed_at",
        "kept",
        "shared",
    ]);
    let is_shared = admin.proxy.config().fleet.is_shared();
    for Difference { name, altered } in in_force.differences() {
        if operands.matches(&name) {
            let shared = match (is_shared, altered.is_shared()) {
                (false, _) => "",
                (true, true) => "yes",
                (true, false) => "not yet",
            };
            let Altered { from, value, by, at, .. } = altered;
            table.push([name, value, from, by, at, kept.clone(), shared.into()]);
        }
    }
    table
}

/// A row is a session.
const SESSION: &Columns<SessionView> = &[
    ("proxy_sessid", |view| view.id.to_string()),
    ("Id", |view| view.id.to_string()),
    ("Cluster", |view| view.cluster.clone()),
    ("Tenant", |view| view.tenant.clone()),
    ("User", |view| view.user.clone()),
    ("Host", |view| view.client.clone()),
    ("db", |view| view.database.clone()),
    ("trans_count", |view| view.transactions.to_string()),
    ("svr_session_count", |view| server_connections(view).to_string()),
    ("state", |view| view.state.to_string()),
    ("tid", |_| "0".into()),
    ("pid", |view| view.pid.to_string()),
    ("using_ssl", |view| u64::from(!view.client_tls.is_empty()).to_string()),
    ("server_sessid", |view| view.server_thread.to_string()),
    ("client_tls", |view| view.client_tls.clone()),
    ("server_tls", |view| view.server_tls.clone()),
    ("client_compression", |view| view.client_compression.clone()),
    ("server_compression", |view| view.server_compression.clone()),
    ("server", |view| view.server.clone()),
    ("transact_state", |view| transact_state(view).into()),
    ("idle_ms", |view| view.idle.as_millis().to_string()),
    ("pins", |view| view.pins.clone()),
];

fn server_connections(view: &SessionView) -> usize {
    usize::from(view.server_thread.is_known()) + view.readers.len()
}

/// Of `ip:port`; a client of a Unix socket has neither.
fn host(view: &SessionView) -> (&str, &str) {
    let (ip, port) = view.client.rsplit_once(':').unwrap_or((&view.client, ""));
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port { (ip, port) } else { (&view.client, "") }
}

fn transact_state(view: &SessionView) -> &'static str {
    if view.in_transaction { "in_trans" } else { "not_in_trans" }
}

/// What only the proxy knows: not in the process list.
const ONLY_HERE: &[&str] = &[
    "proxy_sessid",
    "Cluster",
    "using_ssl",
    "server_sessid",
    "client_tls",
    "server_tls",
    "client_compression",
    "server_compression",
    "server",
    "transact_state",
    "idle_ms",
    "pins",
];

fn session(admin: &Admin, operands: &Operands) -> Result<Table, ClientError> {
    let id = operands.session;
    let sessions = admin.proxy.sessions();
    let found = sessions.iter().find(|view| view.id == id);
    let view = found.ok_or_else(|| ClientError::unknown_thread(id.0.into()))?;
    let (host_ip, host_port) = host(view);
    let rows = [
        ("proxy_sessid", view.id.to_string(), "cs common"),
        ("cs_id", view.id.to_string(), "cs common"),
        ("cluster", view.cluster.clone(), "cs common"),
        ("tenant", view.tenant.clone(), "cs common"),
        ("user", view.user.clone(), "cs common"),
        ("host_ip", host_ip.to_owned(), "cs common"),
        ("host_port", host_port.to_owned(), "cs common"),
        ("db", view.database.clone(), "cs common"),
        ("total_trans_cnt", view.transactions.to_string(), "cs common"),
        ("svr_session_cnt", server_connections(view).to_string(), "cs common"),
        ("total_request_cnt", view.commands.to_string(), "cs common"),
        ("read_state", view.state.to_string(), "cs common"),
        ("pid", view.pid.to_string(), "cs common"),
        ("age_ms", view.age.as_millis().to_string(), "cs stat"),
        ("idle_ms", view.idle.as_millis().to_string(), "cs stat"),
        ("server", view.server.clone(), "last used ss"),
        ("server_sessid", view.server_thread.to_string(), "last used ss"),
        ("client_tls", view.client_tls.clone(), "cs common"),
        ("server_tls", view.server_tls.clone(), "last used ss"),
        ("readers", view.readers.join(","), "further ss"),
        ("pins", view.pins.clone(), "last used ss"),
        ("crash_protected", view.crash_protected.clone(), "cs common"),
    ];
    let mut table = Table::with_columns(&["attribute_name", "value", "info"]);
    let state = ("transact_state", transact_state(view).to_owned(), "last used ss");
    for (name, value, info) in rows.into_iter().chain([state]) {
        if operands.matches(name) {
            table.push([name.into(), value, info.into()]);
        }
    }
    Ok(table)
}

fn stat(admin: &Admin, operands: &Operands) -> Table {
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
        if operands.matches(name) {
            table.push([name.into(), value.to_string(), "SQL_ONLY".into()]);
        }
    }
    table
}

fn binary(admin: &Admin) -> Table {
    let (standing, gauges) = (admin.lifecycle.standing(), admin.proxy.gauges());
    let uptime = admin.started.elapsed().unwrap_or_default();
    let config = admin.proxy.config();
    let addresses: Vec<_> = config.proxy.listen.iter().map(ToString::to_string).collect();
    // Before its task: what was no task yet when that was looked for was still a claim.
    let claim = admin.fleet.claim().unwrap_or_default();
    let rows = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("pid", std::process::id().to_string()),
        ("generation", standing.generation.to_string()),
        ("state", standing.state.to_string()),
        ("phase", standing.phase.map(|phase| phase.to_string()).unwrap_or_default()),
        ("started_at", timestamp(admin.started)),
        ("uptime_s", uptime.as_secs().to_string()),
        ("sessions", gauges.current_client_connections.to_string()),
        ("config", admin.lifecycle.config_path().display().to_string()),
        ("binary", admin.lifecycle.binary().display().to_string()),
        ("listen", admin.proxy.listening().join(",")),
        ("in_transaction", gauges.current_client_transactions.to_string()),
        // Where clients connect, of all that stands in `listen`.
        ("address", addresses.join(",")),
        ("fleet_task", admin.fleet.under_way().map(|id| id.to_string()).unwrap_or_default()),
        ("fleet_claim", claim),
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

fn own_variables(admin: &Admin, operands: &Operands) -> Table {
    let mut table = Table::with_columns(&["Variable_name", "Value"]);
    for (name, value) in VARIABLES {
        if operands.matches(name) {
            table.push([(*name).into(), in_force(admin, name, value).into()]);
        }
    }
    table
}
