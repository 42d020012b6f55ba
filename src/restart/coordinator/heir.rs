//! A restart in which the process before this one has died: this one brings it in order.

use tokio::sync::{mpsc, watch};

use super::{Coordinator, Job, ORDERS};
use crate::restart::drive::incoming::{Incoming, hello};
use crate::restart::drive::outgoing::{Assignment, Link, Outgoing};
use crate::restart::host::process::Peer;
use crate::restart::machine::plan::Stage;
use crate::restart::order::Unfinished;
use crate::restart::plane::{Accepting, DataPlane};
use crate::restart::task::Mode;
use crate::restart::tie::Part;
use crate::restart::transport::channel::Channel;

impl<D: DataPlane> Coordinator<D> {
    /// See above.
    pub(super) async fn finish(&mut self, unfinished: Unfinished) {
        let Unfinished { part, channel, other, held } = unfinished;
        let peer = Peer::left(other)
            .inspect_err(|error| tracing::error!(%error, "the other process is not watched"));
        // Whatever it is, it was one.
        let channel = match Channel::new(channel) {
            Ok(channel) => channel,
            Err(error) => {
                tracing::error!(%error, "the handover channel cannot be used");
                self.plane.accept(Accepting::Yes).await;
                self.open_door().await;
                return self.show_idle();
            }
        };
        let link = Link { channel, peer: peer.ok(), hello: None };
        let (shown, stage) = watch::channel(Stage::Moving);
        let (plane, board) = (self.plane.clone(), self.board.clone());
        match part {
            Part::Predecessor => {
                tracing::warn!(held = held.len(), "taking back what the successor has");
                self.plane.accept(Accepting::Yes).await;
                self.open_door().await;
                let by = "odp: it has died in a restart";
                let task_id = self.board.begin_task(Mode::Restart, by);
                let plan = self.plan(task_id, Mode::Restart, None);
                let assignment = Assignment { task_id, plan, binary: None, stage: shown };
                let (orders, mut receiver) = mpsc::channel(ORDERS);
                let outgoing = Outgoing::heir(plane, board, link, assignment, held);
                let running = Box::pin(async move { (outgoing.run(&mut receiver).await, None) });
                self.job = Job::Outgoing { task_id, orders, stage, running };
            }
            Part::Successor => {
                tracing::warn!(held = held.len(), "giving back what the predecessor had given");
                let hello = hello(&board);
                let (orders, mut receiver) = mpsc::channel(ORDERS);
                let incoming = Incoming::heir(plane, board, (link, hello), held, shown);
                let running = Box::pin(async move { incoming.run(&mut receiver).await });
                self.job = Job::Incoming { orders, stage, running };
            }
        }
    }
}
