//! A reader joins a transaction of the session's, and parts from it.
//!
//! The transaction is the home's; the reader has one of its own meanwhile, so that all of its reads
//! are of one time. It writes nothing, so it may end at any time: by the client's COMMIT, by what
//! else ends the home's, or with the connection.

use tokio::time::timeout;

use super::LIMIT;
use super::reach::Unreached;
use crate::proxy::moves::carrier::Carrier;
use crate::proxy::relay::Relay;
use crate::proxy::service::answer::Answer;
use crate::proxy::service::client;
use crate::session::link::LinkId;
use crate::session::routing::Command;
use crate::session::transaction::Joined;
use crate::sql::analysis::{Analysis, Class};

/// An OK is short.
const MOST: usize = 64 << 10;

/// How a reader's transaction begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    sql: &'static str,
    is_read_only: bool,
    /// It is of the time of its beginning.
    is_of_now: bool,
}

/// That of a transaction that may write later.
pub(super) const SPLIT: Words =
    Words { sql: "START TRANSACTION", is_read_only: false, is_of_now: false };

const READ_ONLY: Words =
    Words { sql: "START TRANSACTION READ ONLY", is_read_only: true, is_of_now: false };

const SNAPSHOT: Words = Words {
    sql: "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    is_read_only: true,
    is_of_now: true,
};

/// How a reader begins what this command begins, which only reads.
pub(super) fn words(command: &Command<'_>) -> Words {
    match command {
        Command::Text(Analysis {
            class: Class::Begin { consistent_snapshot: true, .. }, ..
        }) => SNAPSHOT,
        _ => READ_ONLY,
    }
}

/// A reader, which is ready, begins a transaction: its link.
pub(super) async fn join(
    relay: &mut Relay,
    link: LinkId,
    words: Words,
) -> Result<LinkId, Unreached> {
    let reader = Carrier::of(relay, link, None);
    let asked = client::query(reader.channel, reader.terms, words.sql.as_bytes(), MOST);
    match timeout(LIMIT, asked).await {
        Ok(Ok(Answer::Ok(_))) => {
            let mut joined = Joined::new(link, words.is_read_only);
            joined.has_read = words.is_of_now;
            relay.session_mut().handle_joined(joined);
            Ok(link)
        }
        Ok(Ok(Answer::Err(_) | Answer::Rows { .. })) => {
            Err("it begins no transaction".to_owned().into())
        }
        Ok(Err(error)) => Err(Unreached::Broken(link, error.to_string())),
        Err(_) => Err(Unreached::Broken(link, "no answer in time".into())),
    }
}

/// The reader that has joined ends its transaction, whatever `completion_type` says.
pub(super) async fn part(relay: &mut Relay) {
    let Some(joined) = relay.session().standpoint().transaction.joined() else { return };
    let reader = Carrier::of(relay, joined.link(), None);
    let sql = b"ROLLBACK AND NO CHAIN NO RELEASE";
    let told = timeout(LIMIT, client::query(reader.channel, reader.terms, sql, MOST)).await;
    if !matches!(told, Ok(Ok(Answer::Ok(_)))) {
        relay.break_link(joined.link());
    }
    relay.session_mut().handle_parted();
}
