//! What `/metrics` shows: every number of the proxy, in OpenMetrics' words.

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::family::Family;
use super::handles::Admin;
use super::{crash_metrics, server_metrics, settings};
use crate::metrics::pauses::Pauses;
use crate::restart::task::{Mode, State};

/// The page's media type.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page.
pub fn page(admin: &Admin) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot::of(admin)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// All numbers at one moment.
#[derive(Debug)]
struct Snapshot {
    counters: Vec<Family<u64>>,
    gauges: Vec<Family<f64>>,
    pauses: Pauses,
}

impl Snapshot {
    fn of(admin: &Admin) -> Self {
        let mut gauges = gauges(admin);
        gauges.extend(settings::gauges(admin));
        Self { counters: counters(admin), gauges, pauses: admin.proxy.all_pauses() }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, samples) in &self.counters {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, value) in samples {
                let sample = metric.encode_family(labels)?;
                ConstCounter::new(*value).encode(sample)?;
            }
        }
        for (name, help, samples) in &self.gauges {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, value) in samples {
                let sample = metric.encode_family(labels)?;
                ConstGauge::new(*value).encode(sample)?;
            }
        }
        let help = "How long sessions stood still in restarts: from freezing to going on";
        let unit = Some(&Unit::Seconds);
        let name = "odp_restart_pause";
        encode_pauses(
            encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?,
            &self.pauses,
        )
    }
}

fn encode_pauses(mut metric: MetricEncoder<'_>, pauses: &Pauses) -> Result<(), std::fmt::Error> {
    let seconds = |us: u64| us as f64 / 1e6;
    let bucket = |(bound, count): (u64, u64)| match bound {
        u64::MAX => (f64::INFINITY, count),
        _ => (seconds(bound), count),
    };
    let buckets: Vec<(f64, u64)> = pauses.octaves().into_iter().map(bucket).collect();
    let none = None::<&HashMap<usize, Exemplar<NoLabelSet, f64>>>;
    metric.encode_histogram(seconds(pauses.sum_us()), pauses.count(), &buckets, none)
}

/// ODP's names where it has the metric; `_total` is added by the encoding.
fn counters(admin: &Admin) -> Vec<Family<u64>> {
    let totals = admin.proxy.totals();
    let of = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    let handshakes = |leg: &str, result: &str| [of("leg", leg), of("result", result)].concat();
    let accepted = totals.total_client_connections - totals.refused_client_connections;
    let mut counters = vec![
        ("odp_transaction", "Transactions that ended", vec![(vec![], totals.client_transactions)]),
        (
            "odp_sql_request",
            "Commands of clients by kind of statement",
            vec![
                (of("sqlType", "SELECT"), totals.client_select_requests),
                (of("sqlType", "INSERT"), totals.client_insert_requests),
                (of("sqlType", "UPDATE"), totals.client_update_requests),
                (of("sqlType", "DELETE"), totals.client_delete_requests),
                (of("sqlType", "OTHER"), totals.client_other_requests),
            ],
        ),
        (
            "odp_sql_response",
            "Answers of servers by kind",
            vec![
                (of("sqlResult", "ok"), totals.server_ok_responses),
                (of("sqlResult", "error"), totals.server_error_responses),
                (of("sqlResult", "resultset"), totals.server_resultset_responses),
            ],
        ),
        (
            "odp_new_client_connections",
            "Clients that connected",
            vec![
                (of("connectionResult", "success"), accepted),
                (of("connectionResult", "failed"), totals.refused_client_connections),
            ],
        ),
        ("odp_request_byte", "Bytes from clients to servers", vec![(vec![], totals.request_bytes)]),
        (
            "odp_response_byte",
            "Bytes from servers to clients",
            vec![(vec![], totals.response_bytes)],
        ),
        (
            "odp_opaque_sessions",
            "Sessions whose protocol could not be followed",
            vec![(vec![], totals.opaque_sessions)],
        ),
        (
            "odp_tls_handshakes",
            "TLS handshakes by leg and result",
            vec![
                (handshakes("client", "success"), totals.client_tls_handshakes),
                (handshakes("client", "failed"), totals.client_tls_failures),
                (handshakes("server", "success"), totals.server_tls_handshakes),
                (handshakes("server", "failed"), totals.server_tls_failures),
            ],
        ),
    ];
    counters.extend(troubles(admin));
    counters.extend(crash_metrics::counters(admin));
    counters
}

/// What has gone wrong in this process itself.
fn troubles(admin: &Admin) -> Vec<Family<u64>> {
    let of = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    let (late, lost) = admin.audit.trouble();
    let of_log = Some(("log", crate::log::panics())).filter(|(_, count)| *count > 0);
    let panics = crate::task::panics().into_iter().chain(of_log);
    let panics = panics.map(|(task, count)| (of("task", task), count)).collect();
    vec![
        (
            "odp_log_lines_lost",
            "Lines that could not be logged by this process",
            vec![(vec![], crate::log::lost())],
        ),
        ("odp_task_panics", "Tasks of this process that panicked, by task", panics),
        (
            "odp_audit_trouble",
            "Entries of the audit that were not on the disk in time (late), or never came there",
            vec![(of("what", "late"), late), (of("what", "lost"), lost)],
        ),
    ]
}

fn gauges(admin: &Admin) -> Vec<Family<f64>> {
    let now = admin.proxy.gauges();
    let standing = admin.lifecycle.standing();
    let of = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    let states = [
        State::Starting,
        State::Running,
        State::Restarting,
        State::Draining,
        State::Offline,
        State::Stopping,
    ];
    let is_in = |state: State| f64::from(u8::from(state == standing.state));
    let states = states.map(|state| (of("state", &state.to_string()), is_in(state)));
    let started = admin.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let build = of("version", env!("CARGO_PKG_VERSION"));
    let mut gauges = vec![
        (
            "odp_current_session",
            "Connections now",
            vec![
                (of("sessionType", "client"), now.current_client_connections as f64),
                (of("sessionType", "server"), now.current_server_connections as f64),
            ],
        ),
        (
            "odp_active_session",
            "Sessions with a command under way",
            vec![(vec![], now.current_active_client_connections as f64)],
        ),
        (
            "odp_transaction_session",
            "Sessions in a transaction, or perhaps in one",
            vec![(vec![], now.current_client_transactions as f64)],
        ),
        ("odp_state", "1 for the state the proxy is in", states.to_vec()),
        (
            "odp_generation",
            "Counts up with each restart",
            vec![(vec![], standing.generation.0 as f64)],
        ),
        ("odp_process_start_time_seconds", "Since the Unix epoch", vec![(vec![], started)]),
        ("odp_build_info", "Always 1", vec![(build, 1.0)]),
    ];
    gauges.extend(crash_metrics::gauges(admin));
    let tasks = admin.lifecycle.tasks();
    if let Some(task) = tasks.iter().find(|task| task.mode != Mode::Rehearse) {
        let numbers = [
            ("sessions", task.sessions),
            ("moved", task.moved),
            ("draining", task.draining),
            ("disconnected", task.disconnected),
        ];
        let numbers = numbers.map(|(name, value)| (of("what", name), value as f64));
        gauges.push(("odp_restart_sessions", "Sessions of the last restart", numbers.to_vec()));
        let elapsed = task.elapsed_ms as f64 / 1000.0;
        let labels = vec![
            ("state", task.state.to_string()),
            ("phase", task.phase.to_string()),
            ("mode", task.mode.to_string()),
        ];
        gauges.push((
            "odp_restart_seconds",
            "Duration of the last restart",
            vec![(labels, elapsed)],
        ));
    }
    gauges.extend(server_metrics::gauges(admin));
    gauges
}
