//! What is asked of the coordinator, and what it answers.
//!
//! An answer is for whoever gave the order: nobody decides by its words.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::oneshot;

use super::board::Standing;
use super::drive::incoming::Offer;
use super::plane::Parcel;
use super::task::{State, TaskId, Wish};
use super::tie::{Other, Part};

/// How a process comes to serve.
#[derive(Debug)]
pub enum Start {
    /// There was nobody to succeed; says why.
    Cold(String),
    /// A predecessor hands over.
    Warm(Box<Offer>),
    /// The process before this one has died in a restart.
    Unfinished(Box<Unfinished>),
}

/// A restart in which the process before this one has died.
#[derive(Debug)]
pub struct Unfinished {
    /// What that one was.
    pub part: Part,
    /// The way to the other side.
    pub channel: OwnedFd,
    /// The other side.
    pub other: Other<OwnedFd>,
    /// Sessions that were given to it, and may be there.
    pub held: Vec<Parcel>,
}

/// Why `serve` has ended. The process should exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A successor serves; exit code 0. Says how it came to that.
    Succeeded(String),
    /// It was told to stop and did; exit code 0.
    Stopped,
    /// As a successor it was not wanted; exit code 1.
    Refused(String),
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not while the proxy stands so.
    #[error("{what} refused: {standing}")]
    NotNow {
        /// The order.
        what: &'static str,
        /// How it stands.
        standing: Standing,
    },
    /// It was under way, or about to be, and was undone; the task says the same.
    #[error("{0}")]
    Undone(String),
    /// There is nothing under way.
    #[error("there is no restart to roll back")]
    NothingToRollBack,
    /// One at a time.
    #[error("RESTART REHEARSE refused: another rehearsal is under way")]
    Rehearsing,
    /// It waited for something to end, and so does a later one now.
    #[error("another RESTART FORCE came")]
    Superseded,
    /// It waited for something to end, which ended with another process serving.
    #[error("a successor serves already: ask it")]
    Succeeded,
    /// Others wait already.
    #[error("too many orders")]
    TooMany,
    /// Nobody takes orders yet, or any more.
    #[error("the proxy does not take orders in state {0}")]
    Gone(State),
    /// It may be carried out yet.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// To whoever gave an order; he may be gone.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// What the coordinator is asked.
#[derive(Debug)]
pub(super) enum Order {
    /// RESTART or RESTART FORCE.
    Restart(Wish, Answer<TaskId>),
    /// RESTART REHEARSE.
    Rehearse(Wish, Answer<TaskId>),
    /// RESTART ROLLBACK.
    Rollback(Answer<TaskId>),
    /// No new clients.
    Offline(Answer<()>),
    /// Clients again.
    Online(Answer<()>),
}

/// Nobody may be waiting any more.
pub(crate) fn reply<T>(answer: Answer<T>, result: Result<T, Refusal>) {
    let _ = answer.send(result);
}
