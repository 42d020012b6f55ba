//! Every route of the API, once: what is matched against, and what the document is made from.

use hyper::Method;

use crate::http::reply::Problem;
use crate::http::resource::{
    ATTRIBUTE, AUDIT, CLUSTER, FLEET_SAMPLE, MEMBER, PARAMETER, PROXY, REHEARSAL, RUNNING,
    Resource, SAMPLE, SERVER, SESSION, STATEMENT,
};

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Patch,
    Delete,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Document,
    Clusters,
    Cluster,
    Proxies,
    Proxy,
    History,
    Restart,
    RestartCluster,
    SwitchOver,
    Fleet,
    FleetHistory,
    Rehearsals,
    Servers,
    Drain,
    Online,
    Sessions,
    Session,
    Kill,
    Statements,
    RunningStatements,
    ResetStatements,
    Parameters,
    Alter,
    Tasks,
    Task,
    Rollback,
    Retry,
    Stop,
    Audit,
    AuditEntry,
    Events,
}

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Everybody who is somebody.
    Look,
    /// Managers.
    Change,
}

/// What comes back.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    One(&'static Resource),
    /// `{"items": […]}`
    Many(&'static Resource),
    /// A cluster, its proxies and its servers.
    Whole,
    /// Restarts of this proxy, and of the fleet.
    Tasks,
    /// A restart of this proxy, or of the fleet.
    Task,
    /// A restart of the fleet that was begun, with what each proxy has gone through; or with 200
    /// what each has said that it would not move, and with 202 if one has not.
    FleetTaskOrRehearsals,
    /// A restart that was begun, of this proxy or of the fleet; or a rehearsal of another one.
    Begun,
    /// Nothing but the status.
    Nothing,
    /// The same, or with 202 an entry of the audit, if it goes on.
    NothingYet,
    /// The same, or with 202 a restart of this proxy that was begun.
    NothingOrTask,
    /// Server-sent events.
    Events,
    /// An OpenAPI document.
    Document,
}

/// A name in a query or a body.
pub(super) struct Input {
    pub name: &'static str,
    /// Its JSON type.
    pub kind: &'static str,
    /// The words that it may be; any, if there are none.
    pub words: &'static [&'static str],
    pub info: &'static str,
}

/// One route.
pub(super) struct Route {
    pub verb: Verb,
    /// Below `/api/v1`; `{name}` is any segment.
    pub path: &'static str,
    pub operation: Operation,
    pub needs: Needs,
    pub info: &'static str,
    pub query: &'static [Input],
    pub body: &'static [Input],
    pub status: u16,
    pub gives: Gives,
}

const NONE: &[Input] = &[];

const fn input(name: &'static str, info: &'static str) -> Input {
    Input { name, kind: "string", words: &[], info }
}

const EXIT_TIMEOUT: Input =
    input("exit_timeout", "how long sessions that cannot move may go on, such as 30s");
const CLUSTER_NAME: Input = input("cluster", "only of this cluster");
const LIMIT: Input =
    Input { name: "limit", kind: "integer", words: &[], info: "at most so many (default 1000)" };

const fn typed(name: &'static str, kind: &'static str, info: &'static str) -> Input {
    Input { name, kind, words: &[], info }
}

/// What a restart of several proxies is asked by.
const FLEET: &[Input] = &[
    Input {
        name: "mode",
        kind: "string",
        words: &["restart", "force", "rehearse"],
        info: "restart (the default) moves every session; force closes them all; rehearse moves \
               nothing, and takes nothing else but proxies",
    },
    EXIT_TIMEOUT,
    typed("batch", "integer", "so many at a time (default 1)"),
    typed("canary", "integer", "so many first, before all others (default 1)"),
    typed("stop_on_failure", "boolean", "whether it stops at the first failure (the default)"),
    typed("proxies", "array", "names: only these; without it all that serve the cluster"),
];

/// What looks.
const fn look(path: &'static str, operation: Operation, gives: Gives, info: &'static str) -> Route {
    Route {
        verb: Verb::Get,
        path,
        operation,
        needs: Needs::Look,
        info,
        query: NONE,
        body: NONE,
        status: 200,
        gives,
    }
}

/// What changes something, and is done when it is answered.
const fn change(verb: Verb, path: &'static str, operation: Operation, info: &'static str) -> Route {
    Route { verb, needs: Needs::Change, status: 204, ..look(path, operation, Gives::Nothing, info) }
}

/// All of them.
pub(super) static ROUTES: &[Route] = &[
    look("openapi.json", Operation::Document, Gives::Document, "This document"),
    look("clusters", Operation::Clusters, Gives::Many(&CLUSTER), "Every cluster"),
    look(
        "clusters/{cluster}",
        Operation::Cluster,
        Gives::Whole,
        "A cluster, the proxies that serve it, and its servers",
    ),
    look(
        "proxies",
        Operation::Proxies,
        Gives::Many(&PROXY),
        "The proxy that answers, called local, and the others of its fleet by their names, as they \
         were a moment ago",
    ),
    look(
        "proxies/{proxy}",
        Operation::Proxy,
        Gives::One(&PROXY),
        "A proxy: local, or one of the fleet by its name, which is asked now; 502 if it does not \
         answer",
    ),
    look(
        "proxies/{proxy}/history",
        Operation::History,
        Gives::Many(&SAMPLE),
        "The last hour of a proxy, the oldest sample first",
    ),
    Route {
        body: &[
            Input {
                name: "mode",
                kind: "string",
                words: &["restart", "force", "rehearse"],
                info: "restart (the default) moves every session; force closes them all; \
                       rehearse moves nothing and tells what would not move",
            },
            EXIT_TIMEOUT,
        ],
        status: 202,
        gives: Gives::Begun,
        ..change(
            Verb::Post,
            "proxies/{proxy}/restart",
            Operation::Restart,
            "Begins a restart of a proxy: local, or one of the fleet by its name; its task tells \
             how it goes. That of another one is a task of the fleet; 502 if it does not answer",
        )
    },
    look(
        "fleet",
        Operation::Fleet,
        Gives::Many(&MEMBER),
        "Every proxy of [[fleet.proxy]] or fleet.dns, asked now",
    ),
    look(
        "fleet/history",
        Operation::FleetHistory,
        Gives::Many(&FLEET_SAMPLE),
        "The last hour of the fleet as one sum, the oldest sample first; nothing where there is \
         no fleet",
    ),
    look(
        "fleet/rehearsals",
        Operation::Rehearsals,
        Gives::Many(&REHEARSAL),
        "What each proxy has said last that it would not move; a minute later that may be \
         otherwise",
    ),
    Route {
        body: FLEET,
        status: 202,
        gives: Gives::FleetTaskOrRehearsals,
        ..change(
            Verb::Post,
            "clusters/{cluster}/restart",
            Operation::RestartCluster,
            "Begins a restart of all proxies of the fleet that serve the cluster, one after the \
             other; its task tells how it goes. Or has each rehearse one: the answer is 200 and \
             what each would not move, or after 20 s what is known by then, with 202",
        )
    },
    Route {
        body: &[
            input("server", "the server that is to be the primary, as host:port; it has to be"),
            typed("force", "boolean", "sessions that cannot move stay behind"),
            typed("fleet", "boolean", "sessions of all proxies of the fleet wait, too"),
        ],
        gives: Gives::NothingYet,
        ..change(
            Verb::Post,
            "clusters/{cluster}/switchover",
            Operation::SwitchOver,
            "Makes another server the primary; it is done when it is answered. If that takes \
             longer than 20 s, or with Prefer: respond-async, the answer is 202, and the entry of \
             the audit tells how it ends",
        )
    },
    Route {
        query: &[CLUSTER_NAME],
        ..look("servers", Operation::Servers, Gives::Many(&SERVER), "Every server")
    },
    Route {
        query: &[CLUSTER_NAME],
        ..change(
            Verb::Post,
            "servers/{server}/drain",
            Operation::Drain,
            "Takes a server out of service: no new sessions, and those on it leave it",
        )
    },
    Route {
        query: &[CLUSTER_NAME],
        ..change(
            Verb::Post,
            "servers/{server}/online",
            Operation::Online,
            "Takes a server into service again",
        )
    },
    Route {
        query: &[
            CLUSTER_NAME,
            input("user", "only of this user"),
            input("server", "only on this server"),
            LIMIT,
        ],
        ..look("sessions", Operation::Sessions, Gives::Many(&SESSION), "Sessions of clients")
    },
    look(
        "sessions/{session}",
        Operation::Session,
        Gives::Many(&ATTRIBUTE),
        "What is known of a session",
    ),
    change(Verb::Delete, "sessions/{session}", Operation::Kill, "Closes a session"),
    Route {
        query: &[LIMIT],
        ..look(
            "statements",
            Operation::Statements,
            Gives::Many(&STATEMENT),
            "Statements by their shapes, those first that took most of the time",
        )
    },
    look(
        "statements/running",
        Operation::RunningStatements,
        Gives::Many(&RUNNING),
        "Statements that are under way, the slowest first",
    ),
    change(
        Verb::Delete,
        "statements",
        Operation::ResetStatements,
        "Forgets what was counted of statements",
    ),
    look("parameters", Operation::Parameters, Gives::Many(&PARAMETER), "Every parameter"),
    Route {
        status: 200,
        gives: Gives::Many(&PARAMETER),
        ..change(
            Verb::Patch,
            "parameters",
            Operation::Alter,
            "Alters parameters, {\"name\": \"value\"}: all of them or none",
        )
    },
    look(
        "tasks",
        Operation::Tasks,
        Gives::Tasks,
        "Restarts, newest first: of this proxy, and of the fleet, whichever proxy coordinates \
         them, as they were a moment ago",
    ),
    look(
        "tasks/{task}",
        Operation::Task,
        Gives::Task,
        "A restart of this proxy (a number), or of the fleet (fleet-N; fleet-N@PROXY is one that \
         the proxy of this name coordinates, which is asked now; 502 if it does not answer)",
    ),
    change(
        Verb::Post,
        "tasks/{task}/rollback",
        Operation::Rollback,
        "Takes back a restart: of this proxy while it is under way; of the fleet also later",
    ),
    Route {
        gives: Gives::NothingOrTask,
        ..change(
            Verb::Post,
            "tasks/{task}/retry",
            Operation::Retry,
            "Goes on with a restart of the fleet that has failed or was stopped; or begins one of \
             this proxy that has failed once more, as it was asked, if it was the last one",
        )
    },
    change(
        Verb::Post,
        "tasks/{task}/stop",
        Operation::Stop,
        "Has a restart of the fleet begin nothing more; 409 for one of this proxy, which has \
         nothing that could be left out",
    ),
    look("audit", Operation::Audit, Gives::Many(&AUDIT), "Who changed what, newest first"),
    look(
        "audit/{entry}",
        Operation::AuditEntry,
        Gives::One(&AUDIT),
        "One entry: how something goes that was asked for",
    ),
    look(
        "events",
        Operation::Events,
        Gives::Events,
        "What changes: state (a Proxy), task (a Task), fleet (a task of the fleet), topology \
         (names of clusters, and of each Server what is not counted), sample (a Sample), look \
         (the proxies of the fleet were asked, and one is otherwise than before) and hour (they \
         were asked what they have counted). With Last-Event-ID, what came behind that; without, \
         or if that is not known any more, how everything is",
    ),
];

/// The route of a path, and what stands in its places.
pub(super) fn find(
    method: &Method,
    path: &[&str],
) -> Result<(&'static Route, Vec<String>), Problem> {
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(arguments) = matched(route.path, path) else { continue };
        if route.verb.name() == method.as_str() {
            return Ok((route, arguments));
        }
        allowed.push(route.verb.name());
    }
    match allowed.is_empty() {
        true => Err(Problem::not_found("there is nothing of this name: see openapi.json")),
        false => Err(Problem::method(&allowed.join(", "))),
    }
}

fn matched(pattern: &str, path: &[&str]) -> Option<Vec<String>> {
    let parts: Vec<_> = pattern.split('/').collect();
    if parts.len() != path.len() {
        return None;
    }
    let mut arguments = Vec::new();
    for (part, segment) in parts.iter().zip(path) {
        match part.starts_with('{') {
            true => arguments.push((*segment).to_owned()),
            false if part == segment => {}
            false => return None,
        }
    }
    Some(arguments)
}
