//! EXPLAIN ROUTE: where a statement would go, and why, as a row.

use super::rules::Rules;
use crate::route::decide::{Decision, Go, Why};
use crate::route::topology::{FoundRole, ServerId, Topology};
use crate::session::Session;
use crate::session::link::LinkId;
use crate::session::routing::{Command, Standpoint};
use crate::session::state::text::{put_name, put_string};
use crate::sql::analysis::{Analysis, analyse};
use crate::sql::{Extent, Modes};
use crate::wire::rows::{Encoding, Writer};

const COLUMNS: [&str; 6] = ["server", "role", "reason", "statement", "link", "refused"];

/// The link to the session's own server.
const HOME: &str = "home";

/// The answer to EXPLAIN ROUTE, or to a statement with the hint; None if it is none of both.
pub(super) fn answer(
    session: &Session,
    rules: &Rules,
    command: &Command<'_>,
    standpoint: &Standpoint<'_>,
) -> Option<Vec<u8>> {
    let Command::Text(analysis) = command else { return None };
    if !analysis.hints.explain_route {
        return None;
    }
    let inner = analysis.name.and_then(|text| session.analyse(text));
    let explained = inner.as_ref().unwrap_or(analysis);
    let decision = rules.decide(&Command::Text(*explained), standpoint)?;
    let row = row(session, rules, explained, &decision, standpoint);
    let columns: Vec<_> = COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    let mut writer = Writer::new(1, session.shape());
    writer.result_set(&columns, &[row.map(Some).to_vec()], Encoding::Text, session.flags());
    Some(writer.into_bytes())
}

/// The statement by which the server of a session that is not split tells where this one goes: to
/// itself, as all do.
pub(in crate::proxy) fn explained(
    server: &str,
    topology: Option<&Topology>,
    sql: &[u8],
) -> Vec<u8> {
    let analysis = analyse(sql, Extent::Whole, Modes::default());
    let found = topology.and_then(|topology| topology.at(server)).map(|server| server.found);
    let row =
        [server, role(found), Why::SplitOff.text(), super::rules::kind(&analysis).text(), HOME, ""];
    let mut statement = b"SELECT ".to_vec();
    for (at, (name, value)) in COLUMNS.iter().zip(row).enumerate() {
        statement.extend(if at == 0 { &b""[..] } else { b", " });
        put_string(&mut statement, value.as_bytes());
        statement.push(b' ');
        put_name(&mut statement, name.as_bytes());
    }
    statement
}

fn row(
    session: &Session,
    rules: &Rules,
    analysis: &Analysis<'_>,
    decision: &Decision,
    standpoint: &Standpoint<'_>,
) -> [String; 6] {
    let home = rules.home();
    let (server, refused) = match &decision.go {
        Go::Keep => (home, String::new()),
        Go::Use(server) => (Some(*server), String::new()),
        Go::Refuse(why) => (None, why.to_string()),
    };
    let address = server.and_then(|server| rules.address(server));
    [
        address.map(|address| address.to_string()).unwrap_or_default(),
        server.map_or("", |server| role(found(rules, server))).into(),
        decision.why.text().into(),
        super::rules::kind(analysis).text().into(),
        server.map_or("", |server| link(session, rules, server, standpoint)).into(),
        refused,
    ]
}

fn found(rules: &Rules, server: ServerId) -> Option<FoundRole> {
    let topology = rules.cluster()?.topology();
    topology.server(server).map(|server| server.found)
}

fn role(found: Option<FoundRole>) -> &'static str {
    match found {
        Some(FoundRole::Primary) => "primary",
        Some(FoundRole::Replica) => "replica",
        Some(FoundRole::Unknown) | None => "unknown",
    }
}

/// What would have to be done before the statement is sent there.
fn link(
    session: &Session,
    rules: &Rules,
    server: ServerId,
    standpoint: &Standpoint<'_>,
) -> &'static str {
    match rules.link_to(server) {
        None => "to be opened",
        Some(LinkId::HOME) => HOME,
        Some(link)
            if session.conversation().link(link).knows().told == Some(standpoint.version) =>
        {
            "ready"
        }
        Some(_) => "to be told",
    }
}
