//! [`Session`] ⇄ [`SessionSnapshot`]: what crosses a restart.
//!
//! Fields have names, unknown ones are skipped, and new ones have defaults, so a neighbouring
//! version reads it. An unknown phase is an error: the session then stays where it is. The link
//! that every session has stands among the client's fields, where it stood when it was the only
//! one; further links stand in a list, without which no session goes on that has them.

use std::collections::VecDeque;
use std::mem::take;

use serde::{Deserialize, Serialize};
use smallvec::smallvec;

use super::conversation::Conversation;
use super::front::{Front, Turn, WHOLE_COMMAND};
use super::ids::Statements;
use super::link::{Answering, Asked, Held, Knows, Link, LinkId};
use super::machine::repeat::Kept;
use super::machine::{Names, Route, Session};
use super::portable::Portable;
use super::portable::prepared::Prepared;
use super::routing::{Asked as AskedAt, Earlier};
use super::stamp::{Counted, Prepared as CountedPrepared};
use super::transaction::Transaction;
use crate::wire::packet::Framer;
use crate::wire::response::{Dialect, ServerStatus};

/// A session as it crosses a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSnapshot {
    conversation: ConversationState,
    user: Vec<u8>,
    database: Vec<u8>,
    #[serde(default)]
    names: VecDeque<Names>,
    #[serde(default, skip_serializing_if = "Statements::is_empty")]
    ids: Statements,
    query_attributes: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    portable: Option<Box<Portable>>,
    /// Links by their places: which of them knows how the last statements went.
    #[serde(default, skip_serializing_if = "are_home")]
    asked_at: [usize; 3],
    /// The last statement has put away the warnings of those before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    clears: bool,
    /// Nor is it known whether it has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    may_clear: bool,
    /// The warnings of the last that had some may have been put away meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_unsure: bool,
    /// Who does not know it ends the session where it would be asked again.
    #[serde(default, skip_serializing_if = "Kept::is_nothing")]
    kept: Kept,
    #[serde(default, skip_serializing_if = "Transaction::is_empty")]
    transaction: Transaction,
    /// Digests of prepared statements.
    #[serde(default, skip_serializing_if = "CountedPrepared::is_empty")]
    counted: CountedPrepared,
}

/// The path of the fields that a reader must know of a session whose statements have other ids on
/// its server than its client has been told.
pub const OWN_IDS: &str = "session.portable";

/// The path of the fields that a reader must know of a session whose client asks of us where its
/// statements go.
pub const WISHES: &str = "session.portable.wishes";

/// The path of the fields that a reader must know of a session in whose transaction another link
/// than the home is, too.
pub const TRANSACTION: &str = "session.transaction";

/// The path of the fields that a reader must know of a session with several links.
pub const FURTHER_LINKS: &str = "session.conversation.links";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ConversationState {
    dialect: Dialect,
    client: Framer,
    server: Framer,
    turn: Turn,
    current: Option<Answering>,
    queue: VecDeque<Asked>,
    status: ServerStatus,
    next_sequence: u8,
    #[serde(default)]
    residue: bool,
    #[serde(default)]
    quit: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_warnings: bool,
    /// Links beside the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<LinkState>,
    /// Which of all has the client's commands.
    #[serde(default, skip_serializing_if = "is_home")]
    turned_to: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LinkState {
    dialect: Dialect,
    server: Framer,
    current: Option<Answering>,
    queue: VecDeque<Asked>,
    status: ServerStatus,
    #[serde(default)]
    residue: bool,
    /// It must not be asked any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_of_another_user: bool,
    /// SHOW WARNINGS would show something there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    has_warnings: bool,
    /// What it was told. Who does not know that tells it again.
    #[serde(default, skip_serializing_if = "Knows::is_nothing")]
    knows: Knows,
}

fn are_home(places: &[usize; 3]) -> bool {
    places.iter().all(is_home)
}

fn is_home(place: &usize) -> bool {
    *place == LinkId::HOME.place()
}

impl SessionSnapshot {
    /// How many links the session has.
    pub fn links(&self) -> usize {
        1 + self.conversation.links.len()
    }

    /// Whether its statements have other ids on its server than its client has been told.
    pub fn has_own_ids(&self) -> bool {
        self.portable.as_ref().is_some_and(|portable| portable.prepared.is_mapped())
    }

    /// Whether its client asks of us where its statements go.
    pub fn has_wishes(&self) -> bool {
        self.portable.as_ref().is_some_and(|portable| portable.wishes().is_some())
    }

    /// Whether another link than the home is in its transaction, too.
    pub fn is_joined(&self) -> bool {
        self.transaction.is_joined()
    }

    /// Whether it can be a session again: what is pointed at is there.
    pub fn is_whole(&self) -> bool {
        let prepared = self.portable.as_ref().map(|portable| portable.prepared());
        let copies = prepared.into_iter().flat_map(Prepared::places);
        let joined = self.transaction.joined().map(|joined| joined.link().place());
        let single = [self.conversation.turned_to].into_iter().chain(joined);
        let mut places = self.asked_at.into_iter().chain(single).chain(copies);
        places.all(|place| place < self.links())
    }
}

impl From<Link> for LinkState {
    fn from(link: Link) -> Self {
        let Link {
            dialect,
            framer: server,
            answering: current,
            queue,
            status,
            residue,
            // Whoever has its connections next says anew which exchanges are his.
            held: _,
            knows,
            has_warnings,
        } = link;
        let (queue, mut knows) = (queue.into_inner(), knows.into_inner());
        let is_of_another_user = take(&mut knows.is_of_another_user);
        Self {
            dialect,
            server,
            current,
            queue,
            status,
            residue,
            is_of_another_user,
            has_warnings,
            knows,
        }
    }
}

impl From<LinkState> for Link {
    fn from(state: LinkState) -> Self {
        let LinkState {
            dialect,
            server: framer,
            current: answering,
            queue,
            status,
            residue,
            is_of_another_user,
            has_warnings,
            mut knows,
        } = state;
        knows.is_of_another_user = is_of_another_user;
        let (queue, held, knows) = (queue.into(), Held::None, knows.into());
        Self { dialect, framer, answering, queue, status, residue, held, knows, has_warnings }
    }
}

impl From<Conversation> for ConversationState {
    fn from(conversation: Conversation) -> Self {
        // A session on an errand is not taken out of its process; its hot words have the flag.
        let Conversation { front, links, current: turned_to, errand: _ } = conversation;
        let mut links = links.into_iter().map(LinkState::from);
        let home = links.next().expect("a session has a link from its log-in on");
        let LinkState {
            dialect,
            server,
            current,
            queue,
            status,
            residue,
            has_warnings,
            // The home has all of the session.
            is_of_another_user: _,
            knows: _,
        } = home;
        // How much of a command is looked at follows from the rest.
        let Front { framer: client, turn, next_sequence, quit, whole: _ } = front;
        Self {
            dialect,
            client,
            server,
            turn,
            current,
            queue,
            status,
            next_sequence,
            residue,
            quit,
            has_warnings,
            links: links.collect(),
            turned_to: turned_to.place(),
        }
    }
}

impl From<ConversationState> for Conversation {
    fn from(state: ConversationState) -> Self {
        let ConversationState {
            dialect,
            client,
            server,
            turn,
            current,
            queue,
            status,
            next_sequence,
            residue,
            quit,
            has_warnings,
            links,
            turned_to,
        } = state;
        let (is_of_another_user, knows) = (false, Knows::default());
        let home = LinkState {
            dialect,
            server,
            current,
            queue,
            status,
            residue,
            is_of_another_user,
            has_warnings,
            knows,
        };
        let front = Front { framer: client, turn, next_sequence, quit, whole: WHOLE_COMMAND };
        let mut all = smallvec![Link::from(home)];
        all.extend(links.into_iter().map(Link::from));
        Self { front, links: all, current: LinkId::at(turned_to), errand: false }
    }
}

impl From<Session> for SessionSnapshot {
    fn from(session: Session) -> Self {
        let Session {
            conversation,
            user,
            database,
            names,
            ids,
            query_attributes,
            // What somebody has not asked for yet, or says anew.
            renamed: _,
            joined: _,
            refused: _,
            portable,
            route: _,
            asked_at,
            kept,
            transaction,
            counted,
        } = session;
        let portable = portable.map(|portable| Box::new(portable.into_inner()));
        let at = asked_at.places();
        let AskedAt {
            // In `at`; the two behind them follow from it.
            warnings: _,
            row_count: _,
            found_rows: _,
            found_before: _,
            last: _,
            earlier,
            is_unsure,
        } = asked_at;
        Self {
            conversation: conversation.into(),
            user: user.into_inner(),
            database: database.into_inner(),
            names: names.into_inner(),
            ids: ids.into_inner(),
            query_attributes,
            portable,
            asked_at: at,
            clears: earlier == Earlier::PutAway,
            may_clear: earlier == Earlier::Unknown,
            is_unsure,
            kept: kept.into_inner(),
            transaction,
            counted: counted.map(|it| it.prepared.into_inner()).unwrap_or_default(),
        }
    }
}

impl From<SessionSnapshot> for Session {
    fn from(snapshot: SessionSnapshot) -> Self {
        let SessionSnapshot {
            conversation,
            user,
            database,
            names,
            ids,
            query_attributes,
            mut portable,
            asked_at,
            clears,
            may_clear,
            is_unsure,
            kept,
            transaction,
            counted,
        } = snapshot;
        portable.iter_mut().for_each(|portable| portable.handle_arrival());
        let mut conversation: Conversation = conversation.into();
        if portable.is_some() {
            conversation.front.look_at_long_commands();
        }
        let earlier = match (clears, may_clear) {
            (true, _) => Earlier::PutAway,
            (false, true) => Earlier::Unknown,
            (false, false) => Earlier::Left,
        };
        // What is under way has an end that is counted, too.
        let counted = Some(Box::new(Counted::of(counted)));
        let counted = counted.filter(|it| !it.prepared.is_empty() || conversation.is_counted());
        let asked_at = AskedAt { earlier, is_unsure, ..AskedAt::of(asked_at) };
        Self {
            conversation,
            user: user.into(),
            database: database.into(),
            names: names.into(),
            ids: ids.into(),
            query_attributes,
            renamed: true,
            joined: None,
            refused: None,
            portable: portable.map(|portable| Box::new((*portable).into())),
            route: Route::Open,
            asked_at,
            kept: kept.into(),
            transaction,
            counted,
        }
    }
}
