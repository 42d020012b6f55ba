//! What the last statements have left is brought home, for a command that asks it of one server and
//! more than that: counts are counted there once more; warnings cannot be had there, so who puts
//! them into variables does so where they are, and the home is told the variables.
//!
//! ```text
//!   counts       reader: how many? ─► home: a query of as many rows ─► the command goes home
//!   warnings     reader: the command, on trial ─► its variables ─► home: SET
//!                  └─► the command goes to the reader, which answers as it did
//! ```
//!
//! Invariant: what could not be brought is not asked of who does not know it.

use std::collections::BTreeSet;

use tokio::time::timeout;

use super::LIMIT;
use super::rules::Rules;
use crate::proxy::moves::carrier::{Carrier, Home, Stranded};
use crate::proxy::relay::Relay;
use crate::proxy::service::answer::Answer;
use crate::proxy::service::client;
use crate::proxy::service::error::ServiceError;
use crate::proxy::sessions::handle::Handle;
use crate::session::link::LinkId;
use crate::session::routing::{Command, Standpoint};
use crate::session::state::{Named, PutBack, Warnings, counted, counting};
use crate::sql::analysis::{Analysis, Asks, Changes, Class};

/// What becomes of the command.
pub(super) enum Gathered {
    /// All that it asks is at home now, or where it was.
    Home,
    /// It goes to this reader, and what it changes there the home has already.
    At(LinkId),
    /// The home does not answer.
    Lost,
}

/// The most that is heard of an OK or an ERR.
const MOST: usize = 64 << 10;

/// Brings home what the next command asks, as far as that can be.
pub(super) async fn gather(relay: &mut Relay, handle: &Handle, rules: &Rules) -> Gathered {
    let mut asks = match super::ahead(relay) {
        Command::Text(analysis) | Command::Execute { analysis, .. } => analysis.asks,
        _ => return Gathered::Home,
    };
    if rules.may_find_at_home(&super::ahead(relay), &relay.session().standpoint()) {
        asks |= Asks::FOUND_ROWS;
    }
    if asks.intersects(Asks::WARNINGS) {
        match warned(relay, rules) {
            // Who has counted last is asked for them, if there are none.
            Warned::None => asks |= Asks::ROW_COUNT,
            Warned::Home => {}
            Warned::Unknown => return Gathered::Home,
            Warned::At(link) => return try_at(relay, handle, rules, link).await,
        }
    }
    count_at_home(relay, handle, rules, asks).await
}

/// Where warnings are that may be asked for.
enum Warned {
    None,
    Home,
    At(LinkId),
    Unknown,
}

fn warned(relay: &Relay, rules: &Rules) -> Warned {
    let standpoint = relay.session().standpoint();
    let at = rules.asked_at(&standpoint).who_knows(Asks::WARNINGS);
    let has_some = |link: LinkId| standpoint.have_warnings & link.bit() != 0;
    match at {
        None => Warned::Unknown,
        // MySQL's are put away by any question.
        Some(LinkId::HOME) if has_some(LinkId::HOME) && !rules.is_mariadb() => Warned::Unknown,
        Some(LinkId::HOME) => Warned::Home,
        Some(link) if has_some(link) => Warned::At(link),
        Some(_) if has_some(LinkId::HOME) => Warned::Unknown,
        Some(_) => Warned::None,
    }
}

/// Has the home count what readers have counted.
async fn count_at_home(relay: &mut Relay, handle: &Handle, rules: &Rules, asks: Asks) -> Gathered {
    let asked_at = relay.session().standpoint().asked_at;
    let (rows_at, found_at) = (asked_at.row_count, asked_at.found_rows);
    let wants_rows = asks.intersects(Asks::ROW_COUNT);
    let wants_found = asks.intersects(Asks::FOUND_ROWS);
    let is_elsewhere =
        wants_rows && rows_at != LinkId::HOME || wants_found && found_at != LinkId::HOME;
    // What a write of its own has changed the home can't count once more.
    let is_both = wants_rows && rows_at == LinkId::HOME;
    let Some(flavour) = rules.flavour().filter(|_| is_elsewhere && !is_both) else {
        return Gathered::Home;
    };
    let (mut rows, mut found, mut asked) = (-1, None, BTreeSet::new());
    for link in [found_at, rows_at] {
        let is_wanted = link == found_at || wants_rows;
        if !is_wanted || !asked.insert(link.place()) {
            continue;
        }
        let told = match count(relay, handle, link).await {
            Ok(told) => told,
            Err(_) if link == LinkId::HOME => return Gathered::Lost,
            Err(_) => None,
        };
        let Some(told) = told else { return give_up(relay, &asked) };
        if link == rows_at && wants_rows {
            rows = told.0;
        }
        if link == found_at {
            found = Some(told.1);
        }
    }
    let warnings = warnings_at_home(relay);
    let counts = found.and_then(|found| PutBack::counts((rows, found), flavour, warnings));
    let Some(mut counts) = counts else {
        return give_up(relay, &asked);
    };
    let mut home = Home::of(relay, handle);
    let told = timeout(LIMIT, home.carrier(None).run(&mut counts)).await;
    drop(home);
    relay.put_on_record(handle);
    match told {
        Ok(Ok(())) => {
            relay.session_mut().handle_counted_at_home();
            Gathered::Home
        }
        Ok(Err(Stranded::State(_))) => give_up(relay, &asked),
        Ok(Err(Stranded::Service(_))) | Err(_) => Gathered::Lost,
    }
}

/// Whether somebody may ask for warnings that the home has.
fn warnings_at_home(relay: &Relay) -> Warnings {
    let standpoint = relay.session().standpoint();
    let are_asked_for = standpoint.asked_at.warnings == LinkId::HOME;
    match standpoint.home_has_warnings && are_asked_for {
        true => Warnings::Stay,
        false => Warnings::MayGo,
    }
}

/// What a link has counted, which it forgets; None: it does not say.
async fn count(
    relay: &mut Relay,
    handle: &Handle,
    link: LinkId,
) -> Result<Option<(i64, u64)>, ServiceError> {
    let silent = |_| ServiceError::Silent { what: "answer about its counts", limit: LIMIT };
    let sql = counting();
    let told = if link == LinkId::HOME {
        let mut home = Home::of(relay, handle);
        let told = timeout(LIMIT, home.carrier(None).value(&sql)).await;
        drop(home);
        relay.put_on_record(handle);
        told
    } else {
        timeout(LIMIT, Carrier::of(relay, link, None).value(&sql)).await
    };
    Ok(told.map_err(silent)??.and_then(|told| counted(&told)))
}

/// What these links have counted nobody knows any more: who asks for it is told so.
fn give_up(relay: &mut Relay, asked: &BTreeSet<usize>) -> Gathered {
    let readers = asked.iter().map(|place| LinkId::at(*place)).filter(|it| *it != LinkId::HOME);
    readers.for_each(|link| relay.break_link(link));
    Gathered::Home
}

/// A reader that has warnings runs the command on trial, and the home is told what it has set.
async fn try_at(relay: &mut Relay, handle: &Handle, rules: &Rules, link: LinkId) -> Gathered {
    let Some((sql, names)) = tried(relay, rules, link) else { return Gathered::Home };
    if !relay.is_alive(link).await {
        return Gathered::Home;
    }
    let has_found = relay.session().standpoint().asked_at.found_rows == link;
    let mut reader = Carrier::of(relay, link, None);
    let (found, sets) = match timeout(LIMIT, trial(&mut reader, &sql, names)).await {
        Ok(Ok(Some(tried))) => tried,
        Ok(Ok(None) | Err(_)) | Err(_) => {
            relay.break_link(link);
            return Gathered::Home;
        }
    };
    // A query that finds as many would put the reader's warnings away, and the home has none that
    // matter.
    let flavour = rules.flavour().filter(|_| has_found);
    let counts = flavour.map(|flavour| PutBack::counts((-1, found), flavour, Warnings::MayGo));
    if matches!(counts, Some(None)) {
        relay.break_link(link);
        return Gathered::Home;
    }
    match tell_home(relay, handle, counts.flatten(), &sets).await {
        Some(true) if has_found => {
            relay.session_mut().handle_found_at_home();
            Gathered::At(link)
        }
        Some(true) => Gathered::At(link),
        Some(false) => Gathered::Home,
        None => Gathered::Lost,
    }
}

/// Has a reader run this once, which leaves it as it was, but for FOUND_ROWS(): what that was, and
/// what tells another session the variables; None: it does not say.
async fn trial(
    reader: &mut Carrier<'_>,
    sql: &[u8],
    names: Vec<Vec<u8>>,
) -> Result<Option<(u64, Vec<Vec<u8>>)>, Stranded> {
    let told = reader.value(&counting()).await?.and_then(|told| counted(&told));
    let Some((rows, found)) = told else { return Ok(None) };
    count_again(reader, rows).await?;
    match client::query(reader.channel, reader.terms, sql, MOST).await? {
        // So it will be once more.
        Answer::Err(_) => return Ok(Some((found, Vec::new()))),
        // It has put away what there was.
        Answer::Ok(done) if done.warnings > 0 => return Ok(None),
        Answer::Ok(_) | Answer::Rows { .. } => {}
    }
    let mut named = Named::new(names);
    reader.run(&mut named).await?;
    count_again(reader, rows).await?;
    Ok(named.assignments().map(|sets| (found, sets)))
}

/// A query leaves a ROW_COUNT() of -1; what leaves another one is said again.
async fn count_again(reader: &mut Carrier<'_>, rows: i64) -> Result<(), ServiceError> {
    if rows == 0 {
        client::query(reader.channel, reader.terms, b"DO 0", MOST).await?;
    }
    Ok(())
}

/// The next command's text and the variables that it names, if it does nothing but set variables to
/// what a reader knows.
fn tried(relay: &Relay, rules: &Rules, link: LinkId) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let session = relay.session();
    let (command, standpoint) = (super::ahead(relay), session.standpoint());
    let Command::Text(analysis) = command else { return None };
    let knows = session.conversation().link(link).knows();
    let may_be_tried = rules.is_mariadb()
        && !knows.is_of_another_user
        && rules.answers_as_home(link, &standpoint)
        && only_sets_variables(&analysis, link, &standpoint);
    if !may_be_tried {
        return None;
    }
    let sql = session.text_ahead(relay.next_command())?;
    let variables = session.user_variables(sql)?;
    // What it has not been told it can set, and not use.
    let is_told = knows.told == Some(standpoint.version);
    let may_run = is_told || variables.iter().all(|variable| variable.is_set);
    let names = variables.into_iter().map(|variable| variable.name.to_vec()).collect();
    may_run.then(|| (sql.to_vec(), names))
}

fn only_sets_variables(
    Analysis { class, changes, asks, .. }: &Analysis<'_>,
    link: LinkId,
    standpoint: &Standpoint<'_>,
) -> bool {
    const ASKED: Asks = Asks::DIAGNOSTICS.with(Asks::WARNINGS).with(Asks::USER_VARIABLES);
    // Only what changes no count is answered the same the second time.
    let is_counted = match class {
        Class::Diagnostics => asks.intersects(Asks::ROW_COUNT),
        _ => false,
    };
    let asked = if is_counted { ASKED.with(Asks::ROW_COUNT) } else { ASKED };
    changes.without(Changes::DIAGNOSTICS) == Changes::USER_VARIABLES
        && asks.without(asked).is_empty()
        && (!is_counted || standpoint.asked_at.row_count == link)
        && matches!(class, Class::Diagnostics | Class::Select | Class::Set | Class::Do)
}

/// Whether the home counts so and takes these; None: it does not answer.
async fn tell_home(
    relay: &mut Relay,
    handle: &Handle,
    counts: Option<PutBack>,
    sets: &[Vec<u8>],
) -> Option<bool> {
    let texts: Vec<_> = sets.iter().map(|sql| &sql[..]).collect();
    let mut home = Home::of(relay, handle);
    let mut carrier = home.carrier(None);
    let asked = async {
        if let Some(mut counts) = counts {
            carrier.run(&mut counts).await?;
        }
        let answers = client::queries(carrier.channel, carrier.terms, &texts, MOST).await?;
        Ok(answers.iter().all(|answer| matches!(answer, Answer::Ok(_))))
    };
    let told = timeout(LIMIT, asked).await;
    drop(home);
    relay.put_on_record(handle);
    match told.ok()? {
        Ok(is_taken) => Some(is_taken),
        Err(Stranded::State(_)) => Some(false),
        Err(Stranded::Service(_)) => None,
    }
}
