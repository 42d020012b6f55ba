//! What the classes of clients do: one file a class.
//!
//! An activity outlives its connection: `begin` runs on each new one, `turn` again and again, and
//! `finish` once at the end, so that even a connection that was silent all the time is looked at.

mod connect;
mod idle;
mod own;
mod portable;
mod prepared;
mod result;
mod select;
mod state;
mod transaction;

use super::bank::Bank;
use super::client::Client;
use super::mix::Class;
use super::trouble::Trouble;

/// The life of one client.
pub(super) enum Activity {
    Idle(idle::Idle),
    Select(select::Select),
    Transaction(transaction::Held),
    Prepared(prepared::Prepared),
    Result(result::Large),
    Bank(Bank),
    State(state::State),
    Portable(portable::Portable),
    Own(own::Own),
    Connect(connect::Connect),
}

impl Activity {
    /// The activity of a class.
    pub(super) fn new(class: Class) -> Self {
        match class {
            Class::Idle => Self::Idle(idle::Idle::default()),
            Class::Select => Self::Select(select::Select),
            Class::Transaction => Self::Transaction(transaction::Held::default()),
            Class::Prepared => Self::Prepared(prepared::Prepared::default()),
            Class::Result => Self::Result(result::Large),
            Class::Bank => Self::Bank(Bank::default()),
            Class::State => Self::State(state::State::default()),
            Class::Portable => Self::Portable(portable::Portable::default()),
            Class::Own => Self::Own(own::Own::default()),
            Class::Connect => Self::Connect(connect::Connect),
        }
    }

    /// Prepares a connection that was just opened.
    pub(super) async fn begin(&mut self, client: &mut Client) -> Result<(), Trouble> {
        match self {
            Self::Idle(idle) => idle.begin(client).await,
            Self::Prepared(prepared) => prepared.begin(client).await,
            Self::State(state) => state.begin(client).await,
            Self::Portable(portable) => portable.begin(client).await,
            Self::Own(own) => own.begin(client).await,
            Self::Select(_) | Self::Transaction(_) | Self::Result(_) => Ok(()),
            Self::Bank(_) | Self::Connect(_) => Ok(()),
        }
    }

    /// Does one piece of work and waits a little.
    pub(super) async fn turn(&mut self, client: &mut Client) -> Result<(), Trouble> {
        match self {
            Self::Idle(idle) => idle.turn(client).await,
            Self::Select(select) => select.turn(client).await,
            Self::Transaction(held) => held.turn(client).await,
            Self::Prepared(prepared) => prepared.turn(client).await,
            Self::Result(large) => large.turn(client).await,
            Self::Bank(bank) => bank.turn(client).await,
            Self::State(state) => state.turn(client).await,
            Self::Portable(portable) => portable.turn(client).await,
            Self::Own(own) => own.turn(client).await,
            Self::Connect(connect) => connect.turn(client).await,
        }
    }

    /// Looks a last time.
    pub(super) async fn finish(&mut self, client: &mut Client) -> Result<(), Trouble> {
        match self {
            Self::Idle(idle) => idle.look(client).await,
            Self::State(state) => state.look(client).await,
            Self::Portable(portable) => portable.look(client).await,
            Self::Own(own) => own.look(client).await,
            Self::Prepared(prepared) => prepared.look(client).await,
            Self::Select(select) => select.look(client).await,
            Self::Transaction(_) | Self::Result(_) | Self::Bank(_) => client.run("SELECT 1").await,
            Self::Connect(_) => Ok(()),
        }
    }
}
