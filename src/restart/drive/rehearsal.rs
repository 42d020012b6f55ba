//! A rehearsal: a successor is shown a copy of every session's state and says what it would refuse.
//!
//! ```text
//!   predecessor  check ─ spawn ──────────── OFFER ─ PARCELS ─────────── PARCELS ─ … ─ close
//!   understudy                     HELLO ───────────────────── ACKS ─────────── ACKS        exit
//! ```
//! Nothing moves: no fd is sent, no session stands still, and no state of the proxy changes but its
//! ledger. So this is plain sequential code; every wait has a deadline, and whatever goes wrong
//! ends in a failed task. A restart does not wait for it: it ends as soon as one begins.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::restart::board::Board;
use crate::restart::host::crash::{self, Side};
use crate::restart::host::fd::{channel_from_stdin, nofile};
use crate::restart::host::process::{End, Peer, Program, ProgramError};
use crate::restart::machine::plan::{Demands, Unfit};
use crate::restart::message::{Acks, Frame, Hello, Message, Nack, Reason, Terms};
use crate::restart::plane::{DataPlane, Replica};
use crate::restart::task::{Phase, State, TaskId, TaskState};
use crate::restart::timeouts::Timeouts;
use crate::restart::transport::channel::{Channel, ChannelError};
use crate::restart::transport::{disguise, parcels};
use crate::task;

/// Sessions in one message.
const BATCH: usize = 64;

/// How many refusals are told one by one.
const TOLD: usize = 8;

/// How long an understudy waits for the next batch: longer than the data plane may take for one.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How a program ends that does not know the subcommand.
const USAGE: i32 = 2;

/// The predecessor's side.
pub(crate) struct Rehearsal<D> {
    /// Whose sessions are shown.
    pub plane: Arc<D>,
    /// Where people follow it.
    pub board: Board,
    /// Its task.
    pub task_id: TaskId,
    /// The binary that is asked.
    pub binary: PathBuf,
    /// The config that it is asked with.
    pub config: PathBuf,
}

/// Why a rehearsal does not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error("ended: the proxy is {0}")]
    Ended(State),
    #[error("the successor did not send HELLO in time")]
    NoHello,
    #[error("{} cannot rehearse: it does not know the command ({end})", binary.display())]
    CannotRehearse { binary: PathBuf, end: End },
    #[error("{} ended without a word ({end})", binary.display())]
    Silent { binary: PathBuf, end: End },
    #[error("{} closed the channel without a word", .0.display())]
    Closed(PathBuf),
    #[error("the successor: {0}")]
    Refused(String),
    #[error("unexpected {0} from the successor")]
    Unexpected(&'static str),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("its task is lost")]
    TaskLost,
    #[error("the rehearsal was not over in time")]
    Late,
    #[error("the data plane does not copy its sessions")]
    DataPlane,
    #[error("it panicked")]
    Panicked,
    #[error("the successor hangs: no ACKS")]
    NoAcks,
    #[error("the successor hangs: {0}")]
    Hangs(#[source] ChannelError),
    #[error("the successor died")]
    Died,
    #[error(transparent)]
    Channel(ChannelError),
    #[error(transparent)]
    NotAll(#[from] NotAll),
}

/// Not every session would move.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct NotAll {
    left: u64,
    text: String,
}

impl<D: DataPlane> Rehearsal<D> {
    /// Runs it to its end, or until it is ended. Says once whether it has begun, or why not; the
    /// task tells the rest. `ended` is closed before anybody is told of the end.
    pub(crate) async fn run(
        &self,
        ended: oneshot::Receiver<State>,
        begun: impl FnOnce(Result<(), &Failure>) + Send,
    ) {
        let mut begun = Some(begun);
        let attempt = Box::pin(self.attempt(ended, &mut begun));
        if task::caught("rehearsal", attempt).await.is_err() {
            self.close(&Err(&Failure::Panicked));
            if let Some(begun) = begun.take() {
                begun(Err(&Failure::Panicked));
            }
        }
    }

    async fn attempt(
        &self,
        mut ended: oneshot::Receiver<State>,
        begun: &mut Option<impl FnOnce(Result<(), &Failure>)>,
    ) {
        let mut tell = |result: Result<(), &Failure>| {
            if let Some(begun) = begun.take() {
                begun(result);
            }
        };
        tracing::info!(task = self.task_id.0, "rehearsal");
        let sessions = self.plane.census().sessions;
        self.board.update_task(self.task_id, |task| task.sessions = sessions);
        match unless_ended(&mut ended, self.preflight()).await {
            Ok(program) => {
                tell(Ok(()));
                self.perform(&program, ended).await;
            }
            Err(failure) => {
                drop(ended);
                self.close(&Err(&failure));
                tell(Err(&failure));
            }
        }
    }

    fn close(&self, result: &Result<String, &Failure>) {
        let (state, detail) = match result {
            Ok(detail) => (TaskState::Completed, detail.clone()),
            Err(failure) => (TaskState::Failed, failure.to_string()),
        };
        let left = match result {
            Err(Failure::NotAll(NotAll { left, .. })) => *left,
            Ok(_) | Err(_) => 0,
        };
        tracing::info!(task = self.task_id.0, %state, detail, "rehearsal over");
        self.board.update_task(self.task_id, |task| {
            task.state = state;
            task.detail = detail;
            task.draining = left;
        });
    }

    async fn preflight(&self) -> Result<Program, Failure> {
        let program = Program::open(&self.binary)?;
        program.check(&self.config, self.board.timeouts().preflight).await?;
        Ok(program)
    }

    /// Everything after preflight. The task is closed before the understudy is gone if it is ended,
    /// for a restart may be waiting to tell of the task; and after it otherwise.
    async fn perform(&self, program: &Program, mut ended: oneshot::Receiver<State>) {
        let timeouts = self.board.timeouts();
        let until = Instant::now() + self.board.settings().rollback_timeout;
        self.show(Phase::Hello, 0);
        let (channel, mut peer) = match self.start(program) {
            Ok(started) => started,
            Err(failure) => {
                drop(ended);
                return self.close(&Err(&failure));
            }
        };
        let conversation = self.converse(channel, &mut peer, until);
        match unless_ended(&mut ended, conversation).await {
            Ok(verdict) => {
                // The channel is closed, which tells it that this was all.
                drop(timeout(timeouts.terminate, peer.gone()).await);
                peer.end(timeouts).await;
                drop(ended);
                self.close(&Ok(verdict));
            }
            Err(failure) => {
                drop(ended);
                self.close(&Err(&failure));
                peer.end(timeouts).await;
            }
        }
    }

    fn start(&self, program: &Program) -> Result<(Channel, Peer), Failure> {
        let (ours, theirs) = Channel::pair()?;
        let channel = Channel::new(ours)?;
        Ok((channel, program.rehearse(&self.config, theirs)?))
    }

    async fn converse(
        &self,
        mut channel: Channel,
        peer: &mut Peer,
        until: Instant,
    ) -> Result<String, Failure> {
        let received = timeout_at(until, channel.recv()).await;
        let received = match received {
            Err(_) => return Err(Failure::NoHello),
            Ok(Err(ChannelError::Closed)) => return Err(self.silent_end(peer).await),
            Ok(Err(error)) => return Err(Failure::Channel(error)),
            Ok(Ok(received)) => received,
        };
        let version = match received.frame.message {
            Message::Hello(hello) => self.judge(&hello)?,
            Message::Refuse(it) => return Err(Failure::Refused(it.reason)),
            other => return Err(Failure::Unexpected(other.name())),
        };
        self.show(Phase::Warm, 0);
        self.send(&channel, self.offer(version)?).await?;
        self.show(Phase::Sessions, 0);
        let mut tally = Tally::default();
        for ids in self.plane.movable().chunks(BATCH) {
            timeout_at(until, self.batch(&mut channel, ids, &mut tally))
                .await
                .map_err(|_| Failure::Late)??;
            self.show(Phase::Sessions, tally.taken());
        }
        Ok(tally.verdict(self.plane.census().logging_in)?)
    }

    /// It closed the channel without a word, so its end says more.
    async fn silent_end(&self, peer: &mut Peer) -> Failure {
        let binary = self.binary.clone();
        match timeout(self.board.timeouts().answer, peer.gone()).await {
            Ok(end) if matches!(&end, End::Status(status) if status.code() == Some(USAGE)) => {
                Failure::CannotRehearse { binary, end }
            }
            Ok(end) => Failure::Silent { binary, end },
            Err(_) => Failure::Closed(binary),
        }
    }

    /// The version to speak, or why this successor would be refused.
    fn judge(&self, hello: &Hello) -> Result<u16, Unfit> {
        let descriptors = self.plane.census().descriptors();
        Demands { versions: disguise::versions(), descriptors }.judge(hello)
    }

    fn offer(&self, version: u16) -> Result<Frame, Failure> {
        let terms = Terms {
            version,
            build: self.board.origin().build.clone(),
            pid: self.board.origin().pid,
            generation: self.board.generation().next(),
            listeners: 0,
            sessions: self.plane.census().sessions,
            binary: None,
            task: self.board.task(self.task_id).ok_or(Failure::TaskLost)?,
            tasks: Vec::new(),
        };
        Ok(Message::Offer(Box::new(terms)).into())
    }

    /// Shows copies of these sessions and hears what becomes of them.
    async fn batch(
        &self,
        channel: &mut Channel,
        ids: &[u32],
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let timeouts = self.board.timeouts();
        let replicas = timeout(timeouts.step, self.plane.replicate(ids))
            .await
            .map_err(|_| Failure::DataPlane)?;
        if replicas.is_empty() {
            return Ok(());
        }
        self.send(channel, parcels::pack(&replicas)).await?;
        let received = match channel.recv_within(timeouts.answer).await {
            Err(ChannelError::TimedOut) => return Err(Failure::NoAcks),
            Err(ChannelError::Closed) => return Err(Failure::Died),
            Err(error) => return Err(Failure::Channel(error)),
            Ok(received) => received,
        };
        match received.frame.message {
            Message::Acks(acks) => tally.add(&replicas, acks),
            Message::Refuse(it) => return Err(Failure::Refused(it.reason)),
            other => return Err(Failure::Unexpected(other.name())),
        }
        Ok(())
    }

    async fn send(&self, channel: &Channel, frame: Frame) -> Result<(), Failure> {
        let sent = channel.send(&frame, &[], self.board.timeouts().answer).await;
        sent.map_err(Failure::Hangs)
    }

    fn show(&self, phase: Phase, moved: u64) {
        self.board.update_task(self.task_id, |task| {
            task.reach(phase);
            task.moved = moved;
        });
    }
}

/// A restart or a stop is an order, this is a question: it does not stand in the way.
async fn unless_ended<T>(
    ended: &mut oneshot::Receiver<State>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        Ok(state) = ended => Err(Failure::Ended(state)),
        result = work => result,
    }
}

/// What was said of the sessions so far.
#[derive(Debug, Default)]
struct Tally {
    shown: u64,
    refused: Vec<(u32, String)>,
}

impl Tally {
    fn add(&mut self, replicas: &[Replica], acks: Acks) {
        let mut refused: HashMap<u32, String> =
            acks.refused.into_iter().map(|nack| (nack.id, nack.reason)).collect();
        for Replica { id, .. } in replicas {
            self.shown += 1;
            let reason = refused.remove(id);
            let silent = || (!acks.adopted.contains(id)).then(|| "nothing was said of it".into());
            self.refused.extend(reason.or_else(silent).map(|reason| (*id, reason)));
        }
    }

    fn taken(&self) -> u64 {
        self.shown - self.refused.len() as u64
    }

    /// For SHOW RESTART: a success only if all would move.
    fn verdict(&self, logging_in: u64) -> Result<String, NotAll> {
        let mut text = format!("{} of {} sessions would move", self.taken(), self.shown);
        if logging_in > 0 {
            text.push_str(&format!("; {logging_in} are logging in"));
        }
        for (id, reason) in self.refused.iter().take(TOLD) {
            text.push_str(&format!("; session {id}: {reason}"));
        }
        match self.refused.len() {
            0 => return Ok(text),
            more if more > TOLD => text.push_str(&format!("; and {} more", more - TOLD)),
            _ => {}
        }
        Err(NotAll { left: self.refused.len() as u64, text })
    }
}

/// Why an understudy does not go on.
#[derive(Debug, thiserror::Error)]
pub enum UnderstudyError {
    /// Somebody else than a predecessor has started it.
    #[error("standard input is no handover channel: RESTART REHEARSE asks")]
    NotAsked,
    /// The channel that was given as standard input cannot be used.
    #[error("standard input: {0}")]
    Stdin(#[source] io::Error),
    /// The channel cannot be watched.
    #[error(transparent)]
    Socket(io::Error),
    /// The predecessor hangs, or what it says is not understood.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// `odp rehearse`: judges what a predecessor shows on standard input, until it closes. Whatever
/// `judge` says is the answer; the error is for this process's own log.
pub async fn understudy<E: fmt::Display>(
    build: &str,
    judge: impl Fn(&Replica) -> Result<(), E>,
) -> Result<(), UnderstudyError> {
    let socket = channel_from_stdin().ok_or(UnderstudyError::NotAsked)?;
    let socket = socket.map_err(UnderstudyError::Stdin)?;
    let mut channel = Channel::new(socket).map_err(UnderstudyError::Socket)?;
    let within = Timeouts::default().answer;
    let hello = Hello {
        versions: disguise::versions(),
        build: build.to_owned(),
        pid: std::process::id(),
        config_hash: String::new(),
        nofile: nofile(),
        carrier: 0,
    };
    let mut answer = Message::Hello(hello);
    loop {
        match channel.send(&answer.into(), &[], within).await {
            Ok(()) => {}
            Err(ChannelError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let frame = loop {
            match channel.recv_within(LONGEST_PAUSE).await {
                Ok(received) if matches!(received.frame.message, Message::Offer(_)) => {}
                Ok(received) => break received.frame,
                Err(ChannelError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        };
        answer = reply(&frame, &judge);
    }
}

fn reply<E: fmt::Display>(frame: &Frame, judge: impl Fn(&Replica) -> Result<(), E>) -> Message {
    if let Err(injected) = crash::at(Side::Successor, "rehearse") {
        return Message::Refuse(Reason { reason: injected.to_string() });
    }
    let Message::Parcels(it) = &frame.message else {
        let reason = format!("unexpected {} in a rehearsal", frame.message.name());
        return Message::Refuse(Reason { reason });
    };
    let Some(parts) = parcels::cut(&it.parcels, &frame.body) else {
        return Message::Refuse(Reason { reason: "PARCELS whose parts do not add up".into() });
    };
    let mut acks = Acks::default();
    for (entry, (state, bytes)) in it.parcels.iter().zip(parts) {
        let (id, fds) = (entry.id, entry.fds);
        match judge(&Replica { id, fds, state: state.to_vec(), bytes: bytes.to_vec() }) {
            Ok(()) => acks.adopted.push(id),
            Err(reason) => acks.refused.push(Nack { id, reason: reason.to_string() }),
        }
    }
    Message::Acks(acks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(id: u32) -> Replica {
        Replica { id, fds: 2, state: b"state".to_vec(), bytes: b"bytes".to_vec() }
    }

    fn nack(id: u32, reason: &str) -> Nack {
        Nack { id, reason: reason.into() }
    }

    #[test]
    fn a_verdict_is_good_only_if_every_session_would_move() {
        let mut tally = Tally::default();
        tally.add(&[replica(1), replica(2)], Acks { adopted: vec![1, 2], ..Acks::default() });
        assert_eq!(tally.verdict(0), Ok("2 of 2 sessions would move".into()));
        assert_eq!(tally.verdict(3), Ok("2 of 2 sessions would move; 3 are logging in".into()));
        let acks = Acks { refused: vec![nack(3, "no"), nack(99, "not asked")], ..Acks::default() };
        tally.add(&[replica(3), replica(4)], acks);
        let text = "2 of 4 sessions would move; session 3: no; session 4: nothing was said of it";
        assert_eq!(tally.verdict(0), Err(NotAll { left: 2, text: text.into() }));
    }

    #[test]
    fn many_refusals_are_counted() {
        let mut tally = Tally::default();
        let replicas: Vec<_> = (0..11).map(replica).collect();
        let refused = (0..11).map(|id| nack(id, "no")).collect();
        tally.add(&replicas, Acks { refused, ..Acks::default() });
        let NotAll { left, text } = tally.verdict(0).expect_err("none would move");
        assert_eq!(left, 11);
        assert!(text.starts_with("0 of 11 sessions would move; session 0: no; "), "{text}");
        assert!(text.ends_with("; session 7: no; and 3 more"), "{text}");
    }

    #[test]
    fn an_understudy_judges_each_session_as_it_was_sent() {
        let judge = |it: &Replica| {
            assert_eq!((&it.state[..], &it.bytes[..], it.fds), (&b"state"[..], &b"bytes"[..], 2));
            if it.id == 2 { Err("no") } else { Ok(()) }
        };
        let frame = parcels::pack(&[replica(1), replica(2), replica(3)]);
        let acks = Acks { adopted: vec![1, 3], refused: vec![nack(2, "no")], lost: None };
        assert_eq!(reply(&frame, judge), Message::Acks(acks));
        let short = Frame { body: frame.body.slice(1..), ..frame };
        assert!(matches!(reply(&short, judge), Message::Refuse(_)));
        assert!(matches!(reply(&Message::Go {}.into(), judge), Message::Refuse(_)));
    }
}
