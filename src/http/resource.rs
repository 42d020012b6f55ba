//! Rows of SHOW as JSON objects: which columns, by which names, of which types.
//!
//! What stands here is what an answer has and what the document says of it.

use serde_json::{Map, Value, json};

use crate::admin::{Row, Table};

/// What a column's text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Number,
    Flag,
    Time,
    /// Texts with commas between.
    List,
    /// The same, each with a blank and milliseconds behind it.
    Marks,
}

/// A field: its name, the column, what that stands for, what it tells.
pub(super) struct Field {
    pub name: &'static str,
    pub column: &'static str,
    pub kind: Kind,
    pub info: &'static str,
}

/// What a row becomes.
pub(super) struct Resource {
    pub name: &'static str,
    pub fields: &'static [Field],
}

const fn field(name: &'static str, column: &'static str, kind: Kind, info: &'static str) -> Field {
    Field { name, column, kind, info }
}

/// A field that is named as its column.
const fn same(name: &'static str, kind: Kind, info: &'static str) -> Field {
    Field { name, column: name, kind, info }
}

use Kind::{Flag, Integer, List, Marks, Number, Text, Time};

pub(super) static CLUSTER: Resource = Resource {
    name: "Cluster",
    fields: &[
        same("name", Text, "the name of the [[cluster]]"),
        same("kind", Text, "mysql or oceanbase"),
        same("is_default", Flag, "whether it takes clients that name no cluster"),
        same("primary", Text, "the address of its primary, if that is known"),
        same("servers", Integer, "how many servers it has"),
        same("servers_online", Integer, "of them, those whose state is online"),
        same("servers_unknown", Integer, "of them, those that nobody has asked yet"),
        same("links", Integer, "connections to its servers"),
        same("sessions", Integer, "sessions of the whole fleet, as far as its proxies tell"),
        same("proxies", Integer, "proxies that serve it, of the whole fleet"),
        same("proxies_running", Integer, "of them, those whose status is RUNNING"),
        same("versions", List, "versions of those proxies"),
        same("running_task", Integer, "the restart of this proxy that is in progress"),
        same("running_fleet_task", Text, "the restart of the fleet that is in progress"),
        same(
            "coordinator",
            Text,
            "the proxy that does it, if it is another one than the answering",
        ),
    ],
};

const STATUS: &str = "STARTING, RUNNING, RESTARTING, DRAINING, OFFLINE or STOPPING; UNREACHABLE: \
                      it does not answer";

pub(super) static PROXY: Resource = Resource {
    name: "Proxy",
    fields: &[
        same("name", Text, "its name; local is the one that answers"),
        same("address", Text, "where clients connect"),
        same("status", Text, STATUS),
        same("phase", Text, "of the restart that is under way"),
        same("version", Text, "its version"),
        same("generation", Integer, "counts up with each restart"),
        same("pid", Integer, "its process"),
        same("uptime_s", Integer, "seconds since the process has started"),
        same("started_at", Time, "when the process has started"),
        same("sessions", Integer, "clients"),
        same("in_transaction", Integer, "of them, those in a transaction"),
        same("last_restart", Integer, "the id of the last restart"),
        same("last_restart_state", Text, "how it ended"),
        same("last_restart_at", Time, "when it began"),
        same("last_restart_moved", Integer, "sessions that it has moved"),
        same("last_restart_pause_max_us", Integer, "the longest that one stood still"),
        same("error", Text, "why it does not answer"),
    ],
};

pub(super) static SERVER: Resource = Resource {
    name: "Server",
    fields: &[
        same("cluster", Text, "its cluster"),
        field("address", "server", Text, "where it is"),
        same("role", Text, "primary, replica or unknown"),
        same("idc", Text, "as configured"),
        same("region", Text, "as configured"),
        same("weight", Integer, "its part of the reads"),
        same(
            "state",
            Text,
            "online, unknown (nobody has asked it yet), suspect, congested, draining or lost",
        ),
        field("lag_s", "lag", Number, "how far it is behind, if that is known"),
        same("links", Integer, "connections to it"),
        same("reads", Integer, "statements that read, of sessions on it"),
        same("writes", Integer, "those that write"),
        same("last_error", Text, "what it last failed by"),
    ],
};

pub(super) static SESSION: Resource = Resource {
    name: "Session",
    fields: &[
        field("id", "proxy_sessid", Integer, "its id"),
        field("cluster", "Cluster", Text, "its cluster"),
        field("tenant", "Tenant", Text, "its tenant"),
        field("user", "User", Text, "the user, as the client gave it"),
        field("client", "Host", Text, "the client's address"),
        field("database", "db", Text, "its schema"),
        field("transactions", "trans_count", Integer, "transactions so far"),
        same("state", Text, "what it does, in ODP's words"),
        field("in_transaction", "transact_state", Flag, "whether a transaction may be open"),
        same("server", Text, "its server"),
        field("server_id", "server_sessid", Integer, "its id there"),
        same("idle_ms", Integer, "since the last byte"),
        same("pins", Text, "what keeps it on its server"),
        same("pid", Integer, "the process that serves it"),
        same("client_tls", Text, "what the client's leg speaks"),
        same("server_tls", Text, "what the server's leg speaks"),
    ],
};

pub(super) static STATEMENT: Resource = Resource {
    name: "Statement",
    fields: &[
        same("digest", Text, "what its shape is known by; all zeros: all that have no room"),
        field("text", "digest_text", Text, "the shape: the statement without its values"),
        same("count", Integer, "how many were answered"),
        same("errors", Integer, "of them, those that were answered with an error"),
        same("p50_us", Integer, "how long answers took: half of them, within 5 %"),
        same("p99_us", Integer, "99 of 100"),
        same("max_us", Integer, "the longest"),
        same("sum_us", Integer, "all of them together"),
        same("bytes", Integer, "bytes of answers"),
        same("rows", Integer, "rows of answers, and rows that were changed"),
        same("first_seen", Time, "when one was first answered"),
        same("last_seen", Time, "when one was last answered"),
    ],
};

pub(super) static RUNNING: Resource = Resource {
    name: "RunningStatement",
    fields: &[
        field("session", "proxy_sessid", Integer, "whose it is"),
        same("user", Text, "the user, as the server knows it"),
        same("server", Text, "the session's server"),
        same("digest", Text, "what its shape is known by"),
        field("text", "digest_text", Text, "the shape: the statement without its values"),
        same("elapsed_us", Integer, "for how long"),
    ],
};

pub(super) static SAMPLE: Resource = Resource {
    name: "Sample",
    fields: &[
        same("time", Time, "when it ended"),
        same("seconds", Integer, "how long it was"),
        same("queries", Integer, "commands of clients in it"),
        same("errors", Integer, "answers that were errors"),
        same("sessions", Integer, "clients at its end"),
        same("p50_us", Integer, "how long statements took: half of them; 0: there were none"),
        same("p99_us", Integer, "99 of 100"),
    ],
};

pub(super) static FLEET_SAMPLE: Resource = Resource {
    name: "FleetSample",
    fields: &[
        same("time", Time, "when it ended, by the clock of the proxy that answers"),
        same("seconds", Integer, "how long it was"),
        same("queries", Integer, "commands of clients in it, of all proxies"),
        same("errors", Integer, "answers that were errors"),
        same("sessions", Integer, "clients at its end"),
        same("p50_us", Integer, "of the slowest proxy: how long half of the statements took"),
        same("p99_us", Integer, "of the slowest proxy: 99 of 100"),
        same("proxies", Integer, "how many proxies it is of"),
        same("missing", List, "names of those that it is not of: they tell nothing"),
    ],
};

pub(super) static ATTRIBUTE: Resource = Resource {
    name: "Attribute",
    fields: &[
        field("name", "attribute_name", Text, "the attribute"),
        same("value", Text, "its value"),
        same("info", Text, "what it belongs to"),
    ],
};

pub(super) static PARAMETER: Resource = Resource {
    name: "Parameter",
    fields: &[
        same("name", Text, "its name"),
        same("value", Text, "its value"),
        same("info", Text, "what it does"),
        field("needs_restart", "need_reboot", Flag, "whether only a restart changes it"),
        same("range", Text, "which values there are"),
        field("level", "config_level", Text, "of the proxy, or of a cluster"),
        field("default", "default_value", Text, "its value where the file says nothing of it"),
        same("in_file", Text, "what the file says"),
        same("changed_by", Text, "who has altered it, if that is in force"),
        same("changed_at", Time, "when"),
        same("kept", Text, "'yes', or why it would be lost by a cold start"),
        same("shared", Text, "'yes', or 'not yet': whether all of the fleet have it"),
    ],
};

pub(super) static TASK: Resource = Resource {
    name: "Task",
    fields: &[
        field("id", "task_id", Integer, "counts up for ever"),
        same("mode", Text, "RESTART, FORCE or REHEARSE"),
        same("started_by", Text, "who asked; empty: an older version does not tell"),
        same("fleet_task", Integer, "N, if it is part of the fleet's task fleet-N of this proxy"),
        same("state", Text, "IN_PROGRESS, COMPLETED, FAILED or ROLLED_BACK"),
        same("phase", Text, "where it is, or where it ended"),
        field("phases", "phases_ms", Marks, "where it has been, and when, since it began"),
        same("generation", Integer, "the generation that it makes"),
        same("old_pid", Integer, "the process before it"),
        same("new_pid", Integer, "the process after it; 0 until that is known"),
        same("started_at", Time, "when it began"),
        same("elapsed_ms", Integer, "from then to its end, or until now"),
        same("sessions", Integer, "sessions when it began, and those that came in time"),
        same("moved", Integer, "those that have moved, or would"),
        same("draining", Integer, "those that the old process still serves"),
        same("in_transaction", Integer, "of those, the ones in a transaction"),
        same("disconnected", Integer, "those that were closed"),
        same("detail", Text, "what goes on, or why it failed"),
        same("pause_p50_us", Integer, "how long sessions stood still: half of them"),
        same("pause_p99_us", Integer, "99 of 100"),
        same("pause_max_us", Integer, "the longest"),
    ],
};

pub(super) static AUDIT: Resource = Resource {
    name: "AuditEntry",
    fields: &[
        same("id", Text, "its id"),
        same("time", Time, "when it was asked"),
        same("user", Text, "who asked, or by which token; signal: whoever has sent one"),
        same("address", Text, "from where, or which signal"),
        same("role", Text, "manager or viewer"),
        same("by", Text, "sql, api, console or signal"),
        same("action", Text, "what, as SQL"),
        same("outcome", Text, "asked (it has not ended), done or refused"),
        same("detail", Text, "what the answer was"),
    ],
};

pub(super) static MEMBER: Resource = Resource {
    name: "FleetProxy",
    fields: &[
        same("name", Text, "as the config calls it"),
        same("is_local", Flag, "whether it is the one that answers"),
        same("address", Text, "where clients connect"),
        field("status", "state", Text, "RUNNING, or what else; UNREACHABLE: it does not answer"),
        same("version", Text, "of its program"),
        same("generation", Integer, "counts up with each restart"),
        same("pid", Integer, "its process"),
        same("uptime_s", Integer, "seconds since the process has started"),
        same("sessions", Integer, "clients"),
        same("in_transaction", Integer, "of them, those in a transaction"),
        same("fleet_task", Text, "the restart of the fleet that it coordinates now"),
        field("last_restart_state", "last_restart", Text, "how the last restart ended"),
        same("last_restart_at", Time, "when it began"),
        same("last_restart_moved", Integer, "sessions that it has moved"),
        same("last_restart_pause_max_us", Integer, "the longest that one stood still"),
        same("error", Text, "why it does not answer"),
    ],
};

pub(super) static REHEARSAL: Resource = Resource {
    name: "Rehearsal",
    fields: &[
        same("proxy", Text, "which one"),
        same(
            "state",
            Text,
            "IN_PROGRESS, COMPLETED (all would move), FAILED or UNREACHABLE: it does not answer",
        ),
        same("started_at", Time, "when it was asked"),
        same("sessions", Integer, "sessions that it has"),
        same("moved", Integer, "those of them that would move"),
        same(
            "draining",
            Integer,
            "those that would go on in the old process until they are cut off",
        ),
        same("detail", Text, "why not all would, or why that is not known"),
    ],
};

pub(super) static FLEET_TASK: Resource = Resource {
    name: "FleetTask",
    fields: &[
        field(
            "id",
            "task_id",
            Text,
            "fleet-N, where N counts up for ever; fleet-N@PROXY if another proxy coordinates it",
        ),
        same(
            "coordinator",
            Text,
            "the other proxy that coordinates it; null: the one that answers",
        ),
        same("mode", Text, "RESTART or FORCE"),
        same("state", Text, "IN_PROGRESS, COMPLETED, FAILED, STOPPED or ROLLED_BACK"),
        same("stage", Text, "REHEARSAL, ROLLING or ROLLING_BACK"),
        same("started_by", Text, "who asked"),
        same("started_at", Time, "when it began"),
        same("ended_at", Time, "when it ended"),
        same("proxies", Integer, "how many it is about"),
        same("done", Integer, "of them, those that are restarted, and well"),
        same("failed", Integer, "those that are not"),
        same("detail", Text, "why it ended, or what it waits for"),
    ],
};

pub(super) static FLEET_STEP: Resource = Resource {
    name: "FleetStep",
    fields: &[
        same("proxy", Text, "which one"),
        same("address", Text, "its admin port"),
        same("coordinates", Flag, "whether it is the one that carries the task out"),
        same("state", Text, "how it stands in the task"),
        same("phase", Text, "REHEARSE, RESTART, WATCH or ROLLBACK"),
        same("begun_at", Time, "when the phase began"),
        same("ended_at", Time, "when it ended"),
        same("detail", Text, "what goes on, how it ended, or why it failed"),
    ],
};

/// What is said by [`Kind::Marks`].
pub(super) fn marks(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.split(',').filter_map(|mark| {
        let (name, after_ms) = mark.rsplit_once(' ')?;
        Some((name, after_ms.parse().ok()?))
    })
}

/// All of them.
pub(super) static ALL: [&Resource; 16] = [
    &CLUSTER,
    &PROXY,
    &SERVER,
    &SESSION,
    &STATEMENT,
    &RUNNING,
    &SAMPLE,
    &FLEET_SAMPLE,
    &ATTRIBUTE,
    &PARAMETER,
    &TASK,
    &AUDIT,
    &MEMBER,
    &REHEARSAL,
    &FLEET_TASK,
    &FLEET_STEP,
];

impl Resource {
    /// A row as an object.
    pub(super) fn value(&self, row: &Row) -> Value {
        let fields = self.fields.iter();
        let object: Map<_, _> = fields
            .map(|field| {
                let value = row.value(field.column).map_or(Value::Null, |it| field.kind.value(it));
                (field.name.to_owned(), value)
            })
            .collect();
        Value::Object(object)
    }

    /// Every row.
    pub(super) fn values(&self, table: &Table) -> Vec<Value> {
        table.rows().map(|row| self.value(&row)).collect()
    }

    /// Its JSON Schema.
    pub(super) fn schema(&self) -> Value {
        let properties: Map<_, _> =
            self.fields.iter().map(|field| (field.name.to_owned(), field.schema())).collect();
        let names: Vec<_> = self.fields.iter().map(|field| field.name).collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": names,
            "additionalProperties": false,
        })
    }
}

impl Field {
    fn schema(&self) -> Value {
        let of = match self.kind {
            Text => json!({"type": ["string", "null"]}),
            Integer => json!({"type": ["integer", "null"]}),
            Number => json!({"type": ["number", "null"]}),
            Flag => json!({"type": "boolean"}),
            Time => json!({"type": ["string", "null"], "format": "date-time"}),
            List => json!({"type": "array", "items": {"type": "string"}}),
            Marks => json!({
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "after_ms": {"type": "integer"}},
                    "required": ["name", "after_ms"],
                    "additionalProperties": false,
                },
            }),
        };
        let mut schema = of;
        schema["description"] = self.info.into();
        schema
    }
}

impl Kind {
    fn value(self, text: &str) -> Value {
        match self {
            Text | Time => text.into(),
            Integer => text.parse::<u64>().map_or(Value::Null, Value::from),
            Number => text.parse::<f64>().map_or(Value::Null, Value::from),
            Flag => matches!(text, "True" | "true" | "yes" | "1" | "in_trans").into(),
            List => text.split(',').filter(|it| !it.is_empty()).collect(),
            Marks => marks(text)
                .map(|(name, after_ms)| json!({"name": name, "after_ms": after_ms}))
                .collect(),
        }
    }
}
