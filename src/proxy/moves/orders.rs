//! What sessions are asked to do between two commands: from who orders it to the session's task.
//!
//! ```text
//!   reserved ─► given: the session is woken ─► taken by its task ─► answered
//!                  └─► taken back: it did not come between two commands in time
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Stays;
use super::gate::Gate;
use super::look::Unseen;
use super::recruit::{Inventoried, Inventories, Recruit};
use crate::lock::lock;
use crate::proxy::sessions::handle::{Due, Handle};
use crate::session::portable::Pins;
use crate::session::state::Shown;
use crate::wire::id::SessionId;

/// Every order, by the session that it is for; and what was learned of servers meanwhile.
#[derive(Debug, Default)]
pub struct Orders {
    all: Mutex<HashMap<SessionId, Option<Order>>>,
    inventories: Inventories,
}

/// What a session is to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Go on there.
    Move {
        /// The other server, which is logged in to.
        recruit: Box<Recruit>,
        /// Pins that do not keep it.
        allowed: Pins,
        /// Where it waits for others first.
        gate: Option<Gate>,
        /// Hears what has come of it.
        answer: oneshot::Sender<Result<(), Stays>>,
    },
    /// Close what it has to a server that it reads from.
    Close {
        /// Its address.
        server: Arc<str>,
        /// Hears what has come of it.
        answer: oneshot::Sender<Result<(), Stays>>,
    },
    /// Tell its variables.
    Look {
        /// What its server is like.
        inventory: Arc<Inventoried>,
        /// Hears them.
        answer: oneshot::Sender<Result<Vec<Shown>, Unseen>>,
    },
}

/// The right to give one session an order. Who drops it takes the order back.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    orders: &'a Orders,
    id: SessionId,
}

impl Orders {
    /// What is known of servers.
    pub(in crate::proxy) fn inventories(&self) -> &Inventories {
        &self.inventories
    }

    /// None if the session has an order already.
    pub(super) fn reserve(&self, id: SessionId) -> Option<Reserved<'_>> {
        let mut orders = lock(&self.all);
        if orders.contains_key(&id) {
            return None;
        }
        orders.insert(id, None);
        Some(Reserved { orders: self, id })
    }

    /// The order of a session whose task asks for it.
    pub(super) fn take(&self, id: SessionId) -> Option<Order> {
        lock(&self.all).get_mut(&id)?.take()
    }
}

impl Reserved<'_> {
    /// Gives the order, and waits for what comes of it. A session that does not begin with it in
    /// this time keeps its server.
    pub(super) async fn give<T, E: From<Stays>>(
        self,
        handle: &Arc<Handle>,
        patience: Duration,
        order: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Order,
    ) -> Result<T, E> {
        let (answer, mut answered) = oneshot::channel();
        if let Some(place) = lock(&self.orders.all).get_mut(&self.id) {
            *place = Some(order(answer));
        }
        handle.set_due(Due::Move);
        let ended = |_| E::from(Stays::Ended);
        if let Ok(answer) = tokio::time::timeout(patience, &mut answered).await {
            return answer.map_err(ended)?;
        }
        handle.set_done(Due::Move);
        match self.orders.take(self.id) {
            Some(_) => Err(Stays::Busy(patience).into()),
            // It has begun, and has deadlines of its own.
            None => answered.await.map_err(ended)?,
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let taken_back = lock(&self.orders.all).remove(&self.id);
        // What it holds says goodbye, which is not for a lock.
        drop(taken_back);
    }
}
