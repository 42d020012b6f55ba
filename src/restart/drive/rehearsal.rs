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
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::restart::host::crash::{self, Side};
use crate::restart::host::fd::{channel_from_stdin, nofile};
use crate::restart::host::process::{Peer, Program};
use crate::restart::lifecycle::Lifecycle;
use crate::restart::machine::shipment;
use crate::restart::message::{Acks, Frame, Hello, Message, Nack, Reason, Terms};
use crate::restart::plane::{DataPlane, Replica};
use crate::restart::task::{Mode, Phase, Request, State, TaskState};
use crate::restart::timeouts::Timeouts;
use crate::restart::transport::channel::{Channel, ChannelError};
use crate::restart::transport::{disguise, parcels};

/// Sessions in one message.
const BATCH: usize = 64;

/// How many refusals are told one by one.
const TOLD: usize = 8;

/// How long an understudy waits for the next batch: longer than the data plane may take for one.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What clap says of a subcommand it does not know.
const USAGE: &str = "exit status: 2";

/// The predecessor's side.
struct Rehearsal<D> {
    plane: Arc<D>,
    lifecycle: Lifecycle,
    task_id: u64,
    binary: PathBuf,
    config: PathBuf,
    /// The right to rehearse; given back before anybody is told of the end.
    turn: Mutex<Option<OwnedMutexGuard<()>>>,
}

impl Lifecycle {
    /// RESTART REHEARSE: has the new binary say what it would take. Answers with the task's id
    /// after preflight has passed, or with why not; the task tells the rest.
    pub async fn rehearse<D: DataPlane>(
        &self,
        plane: Arc<D>,
        request: Request,
    ) -> Result<u64, String> {
        let refused = |why: &str| Err(format!("RESTART REHEARSE refused: {why}"));
        let standing = self.standing();
        if !matches!(standing.state, State::Running | State::Offline) {
            return refused(&standing.to_string());
        }
        let Some(turn) = self.try_rehearse() else {
            return refused("another rehearsal is under way");
        };
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let rehearsal = Rehearsal {
            plane,
            task_id: self.begin_task(Mode::Rehearse),
            binary: absolute(request.binary.unwrap_or_else(|| self.binary())),
            config: absolute(request.config.unwrap_or_else(|| self.origin().config.clone())),
            lifecycle: self.clone(),
            turn: Mutex::new(Some(turn)),
        };
        let (answer, answered) = oneshot::channel();
        // Not in the caller's future: whoever asked may be gone before it is over.
        tokio::spawn(rehearsal.run(answer));
        answered.await.unwrap_or_else(|_| Err("the rehearsal is lost".into()))
    }
}

impl<D: DataPlane> Rehearsal<D> {
    async fn run(self, answer: oneshot::Sender<Result<u64, String>>) {
        tracing::info!(task = self.task_id, "rehearsal");
        let sessions = self.plane.census().sessions;
        self.lifecycle.update_task(self.task_id, |task| task.sessions = sessions);
        let program = match self.unless_restarted(self.preflight()).await {
            Ok(program) => program,
            Err(reason) => {
                self.close(Err(&reason));
                let _ = answer.send(Err(reason));
                return;
            }
        };
        let _ = answer.send(Ok(self.task_id));
        if let Err(reason) = self.perform(&program).await {
            self.close(Err(&reason));
        }
    }

    fn close(&self, result: Result<&str, &str>) {
        let (state, detail) = match result {
            Ok(detail) => (TaskState::Completed, detail),
            Err(detail) => (TaskState::Failed, detail),
        };
        tracing::info!(task = self.task_id, %state, detail, "rehearsal over");
        drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.lifecycle.update_task(self.task_id, |task| {
            task.state = state;
            task.detail = detail.into();
        });
    }

    async fn preflight(&self) -> Result<Program, String> {
        let program = Program::open(&self.binary)?;
        program.check(&self.config, self.lifecycle.timeouts().preflight).await?;
        Ok(program)
    }

    /// A restart is an order, this is a question: it does not stand in the way.
    async fn unless_restarted<T>(
        &self,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let mut standings = self.lifecycle.subscribe();
        let idle = |state| matches!(state, State::Running | State::Offline);
        tokio::select! {
            biased;
            Ok(standing) = standings.wait_for(|it| !idle(it.state)) => {
                Err(format!("ended: the proxy is {}", standing.state))
            }
            result = work => result,
        }
    }

    /// Everything after preflight; the error is why it could not begin. The task is closed before
    /// the understudy is gone if it is ended, for a restart may be waiting to tell of the task; and
    /// after it otherwise.
    async fn perform(&self, program: &Program) -> Result<(), String> {
        let timeouts = self.lifecycle.timeouts();
        let within = self.lifecycle.settings().rollback_timeout;
        self.show(Phase::Hello, 0);
        let (ours, theirs) = Channel::pair().map_err(|error| error.to_string())?;
        let channel = Channel::new(ours).map_err(|error| error.to_string())?;
        let mut peer = program.rehearse(&self.config, theirs)?;
        let conversation = self.converse(channel, &mut peer, Instant::now() + within);
        let result = self.unless_restarted(conversation).await;
        match &result {
            // The channel is closed, which tells it that this was all.
            Ok(_) => drop(timeout(timeouts.terminate, peer.gone()).await),
            Err(_) => self.close(result.as_deref().map_err(String::as_str)),
        }
        peer.end(timeouts).await;
        if result.is_ok() {
            self.close(result.as_deref().map_err(String::as_str));
        }
        Ok(())
    }

    async fn converse(
        &self,
        mut channel: Channel,
        peer: &mut Peer,
        until: Instant,
    ) -> Result<String, String> {
        let received = timeout_at(until, channel.recv()).await;
        let received = match received {
            Err(_) => return Err("the successor did not send HELLO in time".into()),
            Ok(Err(ChannelError::Closed)) => return Err(self.silent_end(peer).await),
            Ok(Err(error)) => return Err(error.to_string()),
            Ok(Ok(received)) => received,
        };
        let version = match received.frame.message {
            Message::Hello(hello) => self.judge(&hello)?,
            Message::Refuse(it) => return Err(format!("the successor: {}", it.reason)),
            other => return Err(format!("unexpected {} from the successor", other.kind())),
        };
        self.show(Phase::Warm, 0);
        self.send(&channel, self.offer(version)?).await?;
        self.show(Phase::Sessions, 0);
        let mut tally = Tally::default();
        for ids in self.plane.movable().chunks(BATCH) {
            timeout_at(until, self.batch(&mut channel, ids, &mut tally))
                .await
                .map_err(|_| "the rehearsal was not over in time".to_owned())??;
            self.show(Phase::Sessions, tally.taken());
        }
        tally.verdict(self.plane.census().logging_in)
    }

    /// It closed the channel without a word, so its end says more.
    async fn silent_end(&self, peer: &mut Peer) -> String {
        let binary = self.binary.display();
        match timeout(self.lifecycle.timeouts().answer, peer.gone()).await {
            Ok(how) if how == USAGE => {
                format!("{binary} cannot rehearse: it does not know the command ({how})")
            }
            Ok(how) => format!("{binary} ended without a word ({how})"),
            Err(_) => format!("{binary} closed the channel without a word"),
        }
    }

    /// The version to speak, or why this successor would be refused.
    fn judge(&self, hello: &Hello) -> Result<u16, String> {
        let ours = disguise::versions();
        let version =
            ours.common(hello.versions).ok_or_else(|| ours.nothing_in_common(hello.versions))?;
        let need = self.plane.census().descriptors();
        if hello.nofile > 0 && hello.nofile < need {
            return Err(shipment::too_few_descriptors(hello.nofile, need));
        }
        Ok(version)
    }

    fn offer(&self, version: u16) -> Result<Frame, String> {
        let task = self.lifecycle.ledger().task(self.task_id, std::time::Instant::now());
        let terms = Terms {
            version,
            build: self.lifecycle.origin().build.clone(),
            pid: std::process::id(),
            generation: self.lifecycle.generation() + 1,
            listeners: 0,
            sessions: self.plane.census().sessions,
            binary: None,
            task: task.ok_or("its task is lost")?,
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
    ) -> Result<(), String> {
        let timeouts = self.lifecycle.timeouts();
        let replicas = timeout(timeouts.step, self.plane.replicate(ids))
            .await
            .map_err(|_| "the data plane does not copy its sessions".to_owned())?;
        if replicas.is_empty() {
            return Ok(());
        }
        self.send(channel, parcels::pack(&replicas)).await?;
        let received = match channel.recv_within(timeouts.answer).await {
            Err(ChannelError::TimedOut) => return Err("the successor hangs: no ACKS".into()),
            Err(ChannelError::Closed) => return Err("the successor died".into()),
            Err(error) => return Err(error.to_string()),
            Ok(received) => received,
        };
        match received.frame.message {
            Message::Acks(acks) => tally.add(&replicas, acks),
            Message::Refuse(it) => return Err(format!("the successor: {}", it.reason)),
            other => return Err(format!("unexpected {} from the successor", other.kind())),
        }
        Ok(())
    }

    async fn send(&self, channel: &Channel, frame: Frame) -> Result<(), String> {
        let sent = channel.send(&frame, &[], self.lifecycle.timeouts().answer).await;
        sent.map_err(|error| format!("the successor hangs: {error}"))
    }

    fn show(&self, phase: Phase, moved: u64) {
        self.lifecycle.update_task(self.task_id, |task| {
            task.phase = phase;
            task.moved = moved;
        });
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
    fn verdict(&self, logging_in: u64) -> Result<String, String> {
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
        Err(text)
    }
}

/// `odp rehearse`: judges what a predecessor shows on standard input, until it closes. Whatever
/// `judge` says is the answer; the error is for this process's own log.
pub async fn understudy(
    build: &str,
    judge: impl Fn(&Replica) -> Result<(), String>,
) -> Result<(), String> {
    let socket = match channel_from_stdin() {
        Some(socket) => socket.map_err(|error| format!("standard input: {error}"))?,
        None => return Err("standard input is no handover channel: RESTART REHEARSE asks".into()),
    };
    let mut channel = Channel::new(socket).map_err(|error| error.to_string())?;
    let within = Timeouts::default().answer;
    let hello = Hello {
        versions: disguise::versions(),
        build: build.to_owned(),
        pid: std::process::id(),
        config_hash: String::new(),
        nofile: nofile(),
    };
    let mut answer = Message::Hello(hello);
    loop {
        match channel.send(&answer.into(), &[], within).await {
            Ok(()) => {}
            Err(ChannelError::Closed) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        let frame = loop {
            match channel.recv_within(LONGEST_PAUSE).await {
                Ok(received) if matches!(received.frame.message, Message::Offer(_)) => {}
                Ok(received) => break received.frame,
                Err(ChannelError::Closed) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        };
        answer = reply(&frame, &judge);
    }
}

fn reply(frame: &Frame, judge: impl Fn(&Replica) -> Result<(), String>) -> Message {
    if let Err(reason) = crash::at(Side::Successor, "rehearse") {
        return Message::Refuse(Reason { reason });
    }
    let Message::Parcels(it) = &frame.message else {
        let reason = format!("unexpected {} in a rehearsal", frame.message.kind());
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
            Err(reason) => acks.refused.push(Nack { id, reason }),
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
        assert_eq!(tally.verdict(0), Err(text.into()));
    }

    #[test]
    fn many_refusals_are_counted() {
        let mut tally = Tally::default();
        let replicas: Vec<_> = (0..11).map(replica).collect();
        let refused = (0..11).map(|id| nack(id, "no")).collect();
        tally.add(&replicas, Acks { refused, ..Acks::default() });
        let text = tally.verdict(0).expect_err("none would move");
        assert!(text.starts_with("0 of 11 sessions would move; session 0: no; "), "{text}");
        assert!(text.ends_with("; session 7: no; and 3 more"), "{text}");
    }

    #[test]
    fn an_understudy_judges_each_session_as_it_was_sent() {
        let judge = |it: &Replica| {
            assert_eq!((&it.state[..], &it.bytes[..], it.fds), (&b"state"[..], &b"bytes"[..], 2));
            if it.id == 2 { Err("no".into()) } else { Ok(()) }
        };
        let frame = parcels::pack(&[replica(1), replica(2), replica(3)]);
        let acks = Acks { adopted: vec![1, 3], refused: vec![nack(2, "no")], lost: None };
        assert_eq!(reply(&frame, judge), Message::Acks(acks));
        let short = Frame { body: frame.body.slice(1..), ..frame };
        assert!(matches!(reply(&short, judge), Message::Refuse(_)));
        assert!(matches!(reply(&Message::Go {}.into(), judge), Message::Refuse(_)));
    }
}
