//! Moves sessions of the load from server to server while they work, as an operator would.
//!
//! A session that stays, because it is pinned or does not leave a transaction in time, is no
//! failure: its client does not notice. What a client does notice is counted where everything is.
//!
//! ```text
//!   mover ── MOVE PROXYSESSION ──→ admin port        client ── opened, answered, closed ──→ seats
//!     └──────── began, ended ──────────────────────────────────────────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::mix::Class;
use super::tally::ClientId;
use super::trouble::brief;
use crate::fleet::port::{Admin, AdminPort, Row, Trouble};
use crate::metrics::pauses::{PauseClock, Pauses};

/// Moves at the same time; each holds a connection to the admin port.
const AT_ONCE: usize = 16;
/// Different reasons that are kept apart; the rest is "other".
const MOST_REASONS: usize = 64;
/// How long the moves that are under way at the end are waited for.
const LAST: Duration = Duration::from_secs(15);
/// There is no session of this id.
const UNKNOWN_THREAD: u16 = 1094;

/// What is planned.
#[derive(Clone)]
pub(crate) struct MovePlan {
    /// From the start of one move to that of the next.
    pub(crate) every: Duration,
    /// Whom to ask.
    pub(crate) port: AdminPort,
}

/// The sessions that are there to be moved, and what has come of it.
#[derive(Default)]
pub(super) struct Moves {
    all: Mutex<All>,
    waits: PauseClock,
}

#[derive(Default)]
struct All {
    /// By the number of their client.
    seats: BTreeMap<u32, Seat>,
    /// Who moved last.
    last: u32,
    moved: u64,
    /// How many stay, by why.
    stayed: BTreeMap<String, u64>,
}

/// A client that is connected.
struct Seat {
    /// The id of its greeting.
    session: u32,
    move_: Option<Move>,
}

/// A move, and the longest wait of its client for an answer around it.
struct Move {
    ended: Option<Instant>,
    longest: Option<Duration>,
}

/// What has come of all moves.
#[derive(Clone, Debug, Default)]
pub(super) struct Moved {
    pub(super) moved: u64,
    /// How many stay, by why.
    pub(super) stayed: BTreeMap<String, u64>,
    /// The longest wait of the client around each move.
    pub(super) waits: Pauses,
}

impl Moves {
    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is connected; its session has this id.
    pub(super) fn opened(&self, client: ClientId, session: u32) {
        self.all().seats.insert(client.0, Seat { session, move_: None });
    }

    /// Its connection is gone, for whatever reason.
    pub(super) fn closed(&self, client: ClientId) {
        if let Some(Seat { move_: Some(ended), .. }) = self.all().seats.remove(&client.0) {
            self.conclude(&ended);
        }
    }

    /// A client was answered what it asked at `since`.
    pub(super) fn answered(&self, class: Class, client: ClientId, since: Instant) {
        let mut all = self.all();
        let Some(seat) = all.seats.get_mut(&client.0) else { return };
        let Some(under_way) = &mut seat.move_ else { return };
        if under_way.ended.is_some_and(|ended| ended <= since) {
            self.conclude(under_way);
            seat.move_ = None;
        } else if class != Class::Result {
            // A large result takes its time wherever it comes from.
            let wait = since.elapsed();
            under_way.longest = Some(under_way.longest.map_or(wait, |longest| longest.max(wait)));
        }
    }

    fn conclude(&self, ended: &Move) {
        if let Some(longest) = ended.longest {
            self.waits.record(longest);
        }
    }

    /// The next session that is to move, in turn: its client, and its id.
    fn next(&self) -> Option<(u32, u32)> {
        let mut all = self.all();
        let (last, seats) = (all.last, &all.seats);
        let after = seats.range(last.saturating_add(1)..).chain(seats.range(..=last));
        let is_free = |seat: &Seat| seat.move_.as_ref().is_none_or(|before| before.ended.is_some());
        let (client, session) = after
            .filter(|(_, seat)| is_free(seat))
            .map(|(client, it)| (*client, it.session))
            .next()?;
        all.last = client;
        let before = all.seats.get_mut(&client)?.move_.replace(Move { ended: None, longest: None });
        if let Some(before) = before {
            self.conclude(&before);
        }
        Some((client, session))
    }

    /// A session has moved, or stays.
    fn ended(&self, client: u32, session: u32, fate: Fate) {
        let mut all = self.all();
        let stays = matches!(fate, Fate::Stays(_));
        match fate {
            Fate::Moved => all.moved += 1,
            Fate::Stays(reason) => {
                let is_new = !all.stayed.contains_key(&reason);
                let is_other = is_new && all.stayed.len() >= MOST_REASONS;
                let reason = if is_other { "other".into() } else { reason };
                *all.stayed.entry(reason).or_default() += 1;
            }
        }
        let Some(seat) = all.seats.get_mut(&client).filter(|it| it.session == session) else {
            return;
        };
        match &mut seat.move_ {
            // It may have waited for the end of its own transaction only.
            _ if stays => seat.move_ = None,
            Some(move_) => move_.ended = Some(Instant::now()),
            None => {}
        }
    }

    /// What has come of all moves, when the load is over.
    pub(super) fn moved(&self) -> Moved {
        let mut all = self.all();
        for seat in std::mem::take(&mut all.seats).into_values() {
            seat.move_.iter().for_each(|move_| self.conclude(move_));
        }
        Moved { moved: all.moved, stayed: all.stayed.clone(), waits: self.waits.pauses() }
    }
}

/// What has become of a session that was to move.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Moved,
    Stays(String),
}

/// Moves one session after the other until `stop`, and waits for those under way.
pub(super) async fn run(moves: Arc<Moves>, plan: MovePlan, stop: CancellationToken) {
    let mut under_way = JoinSet::new();
    let mut admins: Vec<Admin> = Vec::new();
    let mut next = Instant::now() + plan.every;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = under_way.join_next() => admins.extend(ended.ok().flatten()),
            () = sleep_until(next.into()), if under_way.len() < AT_ONCE => {
                next = (next + plan.every).max(Instant::now());
                let Some((client, session)) = moves.next() else { continue };
                let (moves, port, admin) = (moves.clone(), plan.port.clone(), admins.pop());
                under_way.spawn(async move {
                    let (fate, admin) = ask(&port, admin, session).await;
                    moves.ended(client, session, fate);
                    admin
                });
            }
        }
    }
    let _ = timeout(LAST, async {
        while let Some(ended) = under_way.join_next().await {
            admins.extend(ended.ok().flatten());
        }
        for admin in admins {
            admin.quit().await;
        }
    })
    .await;
}

/// Asks for one move, and keeps the connection if it is good for another.
async fn ask(port: &AdminPort, admin: Option<Admin>, session: u32) -> (Fate, Option<Admin>) {
    let admin = match admin {
        Some(admin) => Ok(admin),
        None => port.connect().await,
    };
    let mut admin = match admin {
        Ok(admin) => admin,
        Err(trouble) => return (stays(trouble), None),
    };
    match move_away(&mut admin, session).await {
        Ok(fate) => (fate, Some(admin)),
        Err(trouble @ Trouble::Denied(..)) => (stays(trouble), Some(admin)),
        // It ends with its process when the proxy restarts.
        Err(trouble) => (stays(trouble), None),
    }
}

async fn move_away(admin: &mut Admin, session: u32) -> Result<Fate, Trouble> {
    let row = admin.session(session).await?;
    let text = |name| row.text(name).unwrap_or_default();
    let routes = admin.routes().await?;
    let Some(to) = elsewhere(&routes, text("cluster"), text("server")) else {
        return Ok(Fate::Stays("its cluster has no other server that it may go to".into()));
    };
    admin.move_session(session, to).await?;
    Ok(Fate::Moved)
}

/// Why a session stays, without what is different each time.
fn stays(trouble: Trouble) -> Fate {
    Fate::Stays(match trouble {
        Trouble::Denied(_, UNKNOWN_THREAD) => "it had ended".into(),
        Trouble::Denied(text, _) => brief(text.split_once(" stays: ").map_or(&*text, |it| it.1)),
        Trouble::Silent(_) | Trouble::Gone(_) => "the admin port did not answer".into(),
    })
}

/// The server of the cluster after the one that the session is on. Not one that is known to be a
/// replica: the session writes.
fn elsewhere<'a>(routes: &'a [Row], cluster: &str, server: &str) -> Option<&'a str> {
    let rows = || routes.iter().filter(|row| row.text("cluster") == Some(cluster));
    let at = rows().position(|row| row.text("server") == Some(server)).map_or(0, |at| at + 1);
    let is_good = |row: &&Row| {
        matches!(row.text("state"), Some("online" | "unknown"))
            && row.text("role") != Some("replica")
            && row.text("server") != Some(server)
    };
    let found = rows().skip(at).chain(rows().take(at)).find(is_good);
    found.and_then(|row| row.text("server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cluster: &str, server: &str, role: &str, state: &str) -> Row {
        let columns = [("cluster", cluster), ("server", server), ("role", role), ("state", state)];
        Row(columns.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
    }

    #[test]
    fn a_session_goes_to_the_next_server_of_its_cluster() {
        let routes = [
            row("main", "a:1", "unknown", "online"),
            row("main", "b:1", "replica", "online"),
            row("other", "c:1", "unknown", "online"),
            row("main", "d:1", "primary", "unknown"),
            row("main", "e:1", "unknown", "draining"),
        ];
        for (cluster, server, to) in [
            ("main", "a:1", Some("d:1")),
            ("main", "d:1", Some("a:1")),
            ("main", "e:1", Some("a:1")),
            ("main", "gone:1", Some("a:1")),
            ("other", "c:1", None),
            ("none", "a:1", None),
        ] {
            assert_eq!(elsewhere(&routes, cluster, server), to, "{cluster} {server}");
        }
    }

    #[test]
    fn sessions_move_in_turn_and_not_twice_at_once() {
        let moves = Moves::default();
        assert_eq!(moves.next(), None);
        (0..3).for_each(|client| moves.opened(ClientId(client), 100 + client));
        let next: Vec<_> = (0..4).map_while(|_| moves.next()).collect();
        assert_eq!(next, [(1, 101), (2, 102), (0, 100)]);
        moves.ended(2, 102, Fate::Moved);
        assert_eq!(moves.next(), Some((2, 102)));
        moves.closed(ClientId(2));
        moves.ended(2, 102, Fate::Stays("it had ended".into()));
        moves.ended(0, 100, Fate::Moved);
        let moved = moves.moved();
        assert_eq!((moved.moved, moved.stayed["it had ended"]), (2, 1));
    }

    #[test]
    fn the_longest_wait_around_a_move_counts_once() {
        let moves = Moves::default();
        let client = ClientId(0);
        moves.opened(client, 100);
        let since = Instant::now();
        moves.answered(Class::Select, client, since);
        assert_eq!(moves.next(), Some((0, 100)));
        moves.answered(Class::Select, client, since);
        moves.ended(0, 100, Fate::Moved);
        moves.answered(Class::Select, client, since);
        moves.answered(Class::Select, client, Instant::now());
        moves.answered(Class::Select, client, since);
        assert_eq!(moves.moved().waits.count(), 1);
    }

    #[test]
    fn a_reason_is_the_same_for_all_sessions() {
        let denied = |text: &str, code| stays(Trouble::Denied(text.into(), code));
        let pinned = denied("session 7 stays: it is pinned: user lock", 1235);
        assert_eq!(pinned, Fate::Stays("it is pinned: user lock".into()));
        assert_eq!(denied("Unknown thread id: 7", 1094), Fate::Stays("it had ended".into()));
    }
}
