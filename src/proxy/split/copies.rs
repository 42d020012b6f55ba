//! Prepared statements on readers: prepared there when they are first executed there, and closed
//! where the client closes them.
//!
//! A client's statement is its home's; what a reader has is a copy of it, which only the session
//! knows of.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::reach::Unreached;
use super::rules::Rules;
use crate::proxy::moves::carrier::Carrier;
use crate::proxy::relay::Relay;
use crate::proxy::service::client;
use crate::session::link::LinkId;
use crate::wire::command::code;
use crate::wire::id::{ClientStatementId, ServerStatementId};

/// The most that is heard of what a statement looks like.
const MOST: usize = 4 << 20;

/// What a reader is to prepare.
struct Wanted {
    id: ClientStatementId,
    text: Vec<u8>,
    schema: Vec<u8>,
    parameters: u16,
}

/// Has a reader prepare the statement that the next command executes, if it does not have it.
pub(super) async fn prepare(
    relay: &mut Relay,
    link: LinkId,
    deadline: Instant,
    rules: &Rules,
) -> Result<(), Unreached> {
    let (wanted, schema) = {
        let session = relay.session();
        let Some((executed, is_as_then)) = session.executed_ahead(relay.next_command()) else {
            return Ok(());
        };
        if executed.at & link.bit() != 0 {
            return Ok(());
        }
        // MariaDB executes by the variables of that time, not of the time of PREPARE.
        if !is_as_then && !rules.is_mariadb() {
            return Err("it would be prepared with other variables".to_owned().into());
        }
        let wanted = Wanted {
            id: executed.id,
            text: executed.text.to_vec(),
            schema: executed.reading.schema.clone(),
            parameters: executed.parameters,
        };
        (wanted, session.database().to_vec())
    };
    if !relay.has_room_to_grow() || link.bit() == 0 {
        return Err("no room for its parameters".to_owned().into());
    }
    if wanted.schema != schema && (wanted.schema.is_empty() || schema.is_empty()) {
        return Err("it was prepared without a default schema".to_owned().into());
    }
    let broken = |why: String| Unreached::Broken(link, why);
    let prepared = timeout_at(deadline, prepare_there(relay, link, &wanted, &schema)).await;
    let prepared = prepared.map_err(|_| broken("no answer in time".into()))?.map_err(broken)?;
    let there = prepared.ok_or_else(|| "it does not prepare the statement".to_owned())?;
    relay.session_mut().handle_prepared_at(wanted.id, link, there);
    Ok(())
}

/// The statement's id there; None if it can't be prepared, or is another one there.
async fn prepare_there(
    relay: &mut Relay,
    link: LinkId,
    wanted: &Wanted,
    schema: &[u8],
) -> Result<Option<ServerStatementId>, String> {
    let mut reader = Carrier::of(relay, link, None);
    let is_elsewhere = wanted.schema != schema;
    if is_elsewhere {
        reader.command(code::INIT_DB, &wanted.schema).await?;
    }
    let prepared = client::prepare(reader.channel, reader.terms, &wanted.text, MOST).await;
    let prepared = prepared.map_err(|error| error.to_string())?;
    if is_elsewhere {
        reader.command(code::INIT_DB, schema).await?;
    }
    let Ok(prepared) = prepared else { return Ok(None) };
    if prepared.parameters != wanted.parameters {
        let id = prepared.id.0.to_le_bytes();
        let told = client::tell(reader.channel, code::STMT_CLOSE, &id).await;
        told.map_err(|error| error.to_string())?;
        return Ok(None);
    }
    Ok(Some(prepared.id))
}

/// Has readers close the copies that the next command ends.
pub(super) async fn close(relay: &mut Relay, limit: Duration) {
    for (link, id) in relay.session().copies_ended(relay.next_command()) {
        let leg = relay.leg(link);
        let told = timeout(limit, client::tell(leg, code::STMT_CLOSE, &id.0.to_le_bytes())).await;
        relay.session_mut().handle_closed(link, &[id]);
        if !matches!(told, Ok(Ok(()))) {
            relay.break_link(link);
        }
    }
}
