//! EXPLAIN ROUTE: where a statement would go, and why, as a row.

use super::rules::Rules;
use crate::route::decide::{Decision, Go};
use crate::route::topology::{FoundRole, ServerId};
use crate::session::Session;
use crate::session::link::LinkId;
use crate::session::routing::{Command, Standpoint};
use crate::sql::analysis::Analysis;
use crate::wire::rows::{Encoding, Writer};

const COLUMNS: [&str; 6] = ["server", "role", "reason", "statement", "link", "refused"];

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
        server.map_or("", |server| role(rules, server)).into(),
        decision.why.text().into(),
        super::rules::kind(analysis).text().into(),
        server.map_or("", |server| link(session, rules, server, standpoint)).into(),
        refused,
    ]
}

fn role(rules: &Rules, server: ServerId) -> &'static str {
    let topology = rules.cluster().map(|cluster| cluster.topology());
    match topology.and_then(|topology| topology.server(server).map(|server| server.found)) {
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
        Some(LinkId::HOME) => "home",
        Some(link)
            if session.conversation().link(link).knows().told == Some(standpoint.version) =>
        {
            "ready"
        }
        Some(_) => "to be told",
    }
}
