//! SHOW for clusters and servers.

use std::time::{Duration, Instant, SystemTime};

use super::handles::Admin;
use super::table::{Columns, Operands, Table, timestamp};
use crate::proxy::cluster::view::{ClusterView, CongestionView, ServerView};
use crate::proxy::sessions::view::TraceView;

/// A row is a cluster. ODP's columns, in its order, then ours.
const CLUSTER: &Columns<(ClusterView, usize)> = &[
    ("cluster_name", |(view, _)| view.name.clone()),
    ("cluster_id", |_| "0".into()),
    ("rs_url", |_| String::new()),
    ("root_addr", |(view, _)| view.servers.join(",")),
    ("role", |_| "PRIMARY".into()),
    ("replica_type", |_| String::new()),
    ("kind", |(view, _)| view.kind.into()),
    ("is_default", |(view, _)| if view.is_default { "True" } else { "False" }.into()),
    ("primary", |(view, _)| view.primary.clone()),
    ("epoch", |(view, _)| view.epoch.to_string()),
    ("servers", |(view, _)| view.servers.len().to_string()),
    ("online", |(view, _)| view.online.to_string()),
    ("sessions", |(_, sessions)| sessions.to_string()),
];

/// Every cluster.
pub(super) fn clusters(admin: &Admin, operands: &Operands) -> Table {
    let sessions = admin.proxy.sessions_by_cluster();
    let mut clusters = admin.proxy.clusters();
    clusters.retain(|view| operands.matches(&view.name));
    let with_sessions = |view: ClusterView| {
        let count = sessions.get(view.name.as_str()).copied().unwrap_or_default();
        (view, count)
    };
    Table::of(CLUSTER, &clusters.into_iter().map(with_sessions).collect::<Vec<_>>())
}

/// Every idc in which a cluster has servers, as ODP's SHOW PROXYCLUSTER IDC.
pub(super) fn idcs(admin: &Admin, operands: &Operands) -> Table {
    let columns = ["cluster_name", "cluster_id", "idc_url", "idc", "region"];
    let mut table = Table::with_columns(&columns);
    for (view, _) in admin.proxy.servers() {
        if view.idc.is_empty() || !operands.matches(&view.cluster) {
            continue;
        }
        let row = [view.cluster, "0".into(), String::new(), view.idc, view.region];
        let row = row.map(Some).to_vec();
        if !table.rows.contains(&row) {
            table.rows.push(row);
        }
    }
    table
}

/// How near the servers of each cluster are, as ODP's SHOW PROXYINFO IDC.
pub(super) fn nearness(admin: &Admin) -> Table {
    let columns = [
        "global_idc_name",
        "cluster_name",
        "match_type",
        "regions_name",
        "same_idc",
        "same_region",
        "other_region",
    ];
    let mut table = Table::with_columns(&columns);
    let (idc, servers) = (&admin.proxy.config().proxy.proxy_idc_name, admin.proxy.servers());
    for cluster in admin.proxy.clusters() {
        let own = || servers.iter().map(|(view, _)| view).filter(|it| it.cluster == cluster.name);
        let is_matched = !idc.is_empty() && own().any(|view| view.distance == 0);
        let none = || "[]".to_owned();
        let at = |distance: u8| listed(own().filter(|it| it.distance == distance), |it| &it.server);
        // Without an idc, or where no server has it, none is nearer than another.
        let [same_idc, same_region, other] = match is_matched {
            true => [0, 1, 2].map(at),
            false => [none(), none(), listed(own(), |view| &view.server)],
        };
        let regions = match is_matched {
            true => listed(own().filter(|view| view.distance == 0), |view| &view.region),
            false => none(),
        };
        let kind = if is_matched { "MATCHED_BY_IDC" } else { "MATCHED_BY_NONE" };
        let (idc, kind) = (idc.clone(), kind.to_owned());
        table.push([idc, cluster.name, kind, regions, same_idc, same_region, other]);
    }
    table
}

/// As ODP prints a list: `[[0]"a", [1]"b"]`; each once, empty ones not at all.
fn listed<'a>(
    views: impl Iterator<Item = &'a ServerView>,
    of: impl Fn(&'a ServerView) -> &'a String,
) -> String {
    let mut texts: Vec<&String> = Vec::new();
    for text in views.map(of) {
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }
    let texts = texts.iter().enumerate().map(|(at, text)| format!("[{at}]\"{text}\""));
    format!("[{}]", texts.collect::<Vec<_>>().join(", "))
}

/// Every server.
pub(super) fn routes(admin: &Admin, operands: &Operands) -> Table {
    let mut table = Table::with_columns(&[
        "cluster",
        "server",
        "role",
        "idc",
        "region",
        "weight",
        "state",
        "epoch",
        "lag",
        "links",
        "reads",
        "writes",
        "last_error",
    ]);
    for (view, links) in admin.proxy.servers() {
        if operands.matches(&view.cluster) {
            table.rows.push(route(view, links));
        }
    }
    table
}

fn route(view: ServerView, links: usize) -> Vec<Option<String>> {
    let seconds = |lag: Duration| format!("{:.3}", lag.as_secs_f64());
    vec![
        Some(view.cluster),
        Some(view.server),
        Some(view.role.into()),
        Some(view.idc),
        Some(view.region),
        Some(view.weight.to_string()),
        Some(view.state.into()),
        Some(view.epoch.to_string()),
        view.lag.map(seconds),
        Some(links.to_string()),
        Some(view.reads.to_string()),
        Some(view.writes.to_string()),
        Some(view.last_error),
    ]
}

/// A row is a server. ODP's columns, in its order.
const CONGESTION: &Columns<CongestionView> = &[
    ("cluster_name", |view| view.cluster.clone()),
    ("zone_name", |view| view.idc.clone()),
    ("region_name", |view| view.region.clone()),
    ("zone_state", |_| "ACTIVE".into()),
    ("server_ip", |view| view.server.clone()),
    ("cr_version", |_| "0".into()),
    ("server_state", |view| view.state.to_uppercase()),
    ("alive_congested", |view| number(view.failures.is_alive_congested)),
    ("last_alive_congested", |view| time(view, view.failures.alive.last_congested)),
    ("dead_congested", |view| number(view.failures.is_dead_congested)),
    ("last_dead_congested", |view| time(view, view.failures.connect.last_congested)),
    ("stat_alive_failures", |view| view.failures.alive.failures.to_string()),
    ("stat_conn_failures", |view| view.failures.connect.failures.to_string()),
    ("conn_last_fail_time", |view| time(view, view.failures.connect.last_failure)),
    ("conn_failure_events", |view| view.failures.recent_connect.to_string()),
    ("alive_last_fail_time", |view| time(view, view.failures.alive.last_failure)),
    ("alive_failure_events", |view| view.failures.recent_alive.to_string()),
    ("ref_count", |_| "1".into()),
    ("detect_congested", |view| number(view.failures.is_detect_congested)),
    ("last_detect_congested", |view| time(view, view.failures.detect.last_congested)),
];

fn number(flag: bool) -> String {
    u8::from(flag).to_string()
}

/// UTC; 0 if it never was.
fn time(view: &CongestionView, at: Option<Instant>) -> String {
    let Some(at) = at else { return "0".into() };
    timestamp(SystemTime::now() - view.now.saturating_duration_since(at))
}

/// The black list; with `all`, those too that are not on it.
pub(super) fn congestion(admin: &Admin, operands: &Operands, all: bool) -> Table {
    let mut views = admin.proxy.congestion();
    views.retain(|view| (all || view.is_congested) && operands.matches(&view.cluster));
    Table::of(CONGESTION, &views)
}

/// A row is a statement.
const TRACE: &Columns<TraceView> = &[
    ("proxy_sessid", |view| view.session.to_string()),
    ("time", |view| timestamp(SystemTime::now() - view.ago)),
    ("server", |view| view.server.clone()),
    ("statement", |view| view.statement.clone()),
    ("reason", |view| view.reason.into()),
];

/// The last statements of all sessions that are split, or of one.
pub(super) fn traces(admin: &Admin, operands: &Operands) -> Table {
    let mut traces = admin.proxy.traces();
    traces.retain(|view| operands.matches(&view.session.to_string()));
    Table::of(TRACE, &traces)
}

/// Who may log in from where.
pub(super) fn white_list(admin: &Admin, operands: &Operands) -> Table {
    let config = admin.proxy.config();
    let mut table = Table::with_columns(&["cluster_name", "tenant_name", "user_name", "ip_list"]);
    for row in config.white_list.rows() {
        if operands.matches(&row.user) {
            let networks = row.networks.to_string();
            table.push([row.cluster.clone(), row.tenant.clone(), row.user.clone(), networks]);
        }
    }
    table
}
