//! The audit: who changed what, when, by which way, and what came of it. A line of JSON a step.
//!
//! A change is on the disk before it is carried out, and again with its outcome: whatever happens
//! in between, somebody has asked for it. An audit that cannot be written, or not in time, holds
//! nobody up (who restarts a proxy may do so because the disk is full, or does not answer); it is
//! an error in the log, with the entry, and counted.

mod file;
mod refusals;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::caller::{Caller, Door};
use super::table::{Columns, Table, timestamp};
use crate::config::Role;
use crate::lock::lock;
use crate::wire::id::SessionId;
use file::Log;
use refusals::Refusals;

/// What SHOW AUDIT reads of the newest file, and of the one before.
const SHOWN_BYTES: u64 = 512 << 10;

/// What it shows at most.
const SHOWN: usize = 1000;

/// Bytes of one text that are kept: nobody needs more, and the file has an end.
const LONGEST_TEXT: usize = 2 << 10;

/// One step of something: asked, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// The same for all steps.
    id: String,
    /// Of the first step.
    time: String,
    user: String,
    peer: String,
    role: Role,
    door: Door,
    /// The command as SQL, or what else was done.
    action: String,
    /// `asked`, `done`, `refused` or `failed`.
    outcome: String,
    /// What the caller was told.
    #[serde(default)]
    detail: String,
}

/// A row is something that was done, newest first.
const AUDIT: &Columns<Entry> = &[
    ("id", |entry| entry.id.clone()),
    ("time", |entry| entry.time.clone()),
    ("user", |entry| entry.user.clone()),
    ("address", |entry| entry.peer.clone()),
    ("role", |entry| format!("{:?}", entry.role).to_lowercase()),
    ("by", |entry| entry.door.name().to_owned()),
    ("action", |entry| entry.action.clone()),
    ("outcome", |entry| entry.outcome.clone()),
    ("detail", |entry| entry.detail.clone()),
];

/// The audit of a directory.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Arc<Log>,
    steps: AtomicU64,
    /// What those are refused who may change nothing.
    refusals: Mutex<Refusals>,
}

/// Something that was asked for and has not ended.
#[must_use]
pub struct Asked {
    audit: Audit,
    entry: Entry,
}

impl Audit {
    /// That of a proxy with this directory.
    pub fn new(dir: &Path) -> Self {
        let log = Log::new(dir.join("audit.log"), notice);
        let (log, steps, refusals) = (Arc::new(log), AtomicU64::new(0), Mutex::default());
        Self(Arc::new(Inner { log, steps, refusals }))
    }

    /// Somebody asks for something: it is on the disk when this returns, unless that is in trouble.
    pub(crate) async fn ask(&self, caller: &Caller, action: String) -> Asked {
        let entry = self.entry(caller, action);
        self.write(&entry).await;
        Asked { audit: self.clone(), entry }
    }

    /// The same by a signal of this name.
    pub async fn ask_by_signal(&self, signal: &str, action: String) -> Asked {
        let (user, peer) = ("signal".to_owned(), signal.to_owned());
        let (role, door, connection_id) = (Role::Manager, Door::Signal, SessionId(0));
        self.ask(&Caller { user, peer, role, door, connection_id }, action).await
    }

    /// Something has happened that nobody can take back, such as a log-in.
    pub async fn note(&self, caller: &Caller, action: &str, outcome: &str, detail: &str) {
        let mut entry = self.entry(caller, action.to_owned());
        (entry.outcome, entry.detail) = (outcome.to_owned(), shortened(detail.to_owned()));
        self.write(&entry).await;
    }

    /// Somebody asks for what he may not do, and nothing is done.
    pub async fn refuse(&self, caller: &Caller, action: &str, why: &str) {
        let Some(left_out) = lock(&self.0.refusals).count(Instant::now()) else { return };
        let detail = match left_out {
            0 => why.to_owned(),
            _ => format!("{why} ({left_out} refusals before it have no entry)"),
        };
        self.note(caller, action, "refused", &detail).await;
    }

    /// How many entries were not on the disk in time, and how many are lost.
    pub(super) fn trouble(&self) -> (u64, u64) {
        self.0.log.trouble()
    }

    /// The newest entries.
    pub(super) async fn table(&self) -> io::Result<Table> {
        Ok(Table::of(AUDIT, &newest(&self.0.log.read(SHOWN_BYTES).await?)))
    }

    fn entry(&self, caller: &Caller, action: String) -> Entry {
        let step = self.0.steps.fetch_add(1, Ordering::Relaxed);
        let Caller { user, peer, role, door, .. } = caller.clone();
        Entry {
            id: format!("{}.{step}", std::process::id()),
            time: timestamp(SystemTime::now()),
            user,
            peer,
            role,
            door,
            action: shortened(action),
            outcome: "asked".into(),
            detail: String::new(),
        }
    }

    async fn write(&self, entry: &Entry) {
        if let Err(error) = self.0.log.write(entry.line()).await {
            let path = self.0.log.path().display();
            let Entry { user, peer, action, outcome, .. } = entry;
            tracing::error!(
                %path, user, peer, action, outcome, %error, "the audit cannot be written"
            );
        }
    }
}

impl Asked {
    /// The id of its entry.
    pub(crate) fn id(&self) -> &str {
        &self.entry.id
    }

    /// It has ended.
    pub async fn end(mut self, outcome: &str, detail: String) {
        (self.entry.outcome, self.entry.detail) = (outcome.to_owned(), shortened(detail));
        self.audit.write(&self.entry).await;
    }
}

impl Entry {
    fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("texts and names only");
        line.push(b'\n');
        line
    }
}

/// The beginning of a text, and how long it was.
fn shortened(mut text: String) -> String {
    let length = text.len();
    if length > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push_str(&format!("… ({length} bytes)"));
    }
    text
}

/// So many entries could not be written.
fn notice(lost: u64) -> Vec<u8> {
    let time = timestamp(SystemTime::now());
    let entry = Entry {
        id: format!("{}.lost.{time}", std::process::id()),
        time,
        user: "odp".into(),
        peer: String::new(),
        role: Role::Manager,
        door: Door::Signal,
        action: "AUDIT".into(),
        outcome: "failed".into(),
        detail: format!("entries that could not be written: {lost}; the log has them"),
    };
    entry.line()
}

/// Newest first; of steps of one thing only the last. A line that is none is left out: a process
/// may have died in the middle of it.
fn newest(text: &str) -> Vec<Entry> {
    let mut newest: Vec<Entry> = Vec::new();
    for entry in text.lines().rev().filter_map(|line| serde_json::from_str(line).ok()) {
        let entry: Entry = entry;
        let is_known = newest.iter().any(|it| it.id == entry.id && it.time == entry.time);
        if !is_known {
            newest.push(entry);
        }
        if newest.len() == SHOWN {
            break;
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::file::{KEPT, LONGEST};
    use super::*;

    fn caller() -> Caller {
        let (user, peer) = ("ann".to_owned(), "127.0.0.1:9".to_owned());
        let connection_id = SessionId(1);
        Caller { user, peer, role: Role::Manager, door: Door::Api, connection_id }
    }

    fn audit() -> (tempfile::TempDir, Audit) {
        let dir = tempfile::tempdir().expect("a directory");
        let audit = Audit::new(dir.path());
        (dir, audit)
    }

    async fn shown(audit: &Audit) -> Vec<(String, String)> {
        let table = audit.table().await.expect("it can be read");
        let of = |row: super::super::Row| (row.text("action").into(), row.text("outcome").into());
        table.rows().map(of).collect()
    }

    #[tokio::test]
    async fn what_was_asked_is_there_before_it_ends_and_once_when_it_has() {
        let (dir, audit) = audit();
        let asked = audit.ask(&caller(), "KILL PROXYSESSION 7".into()).await;
        let kill = |outcome: &str| ("KILL PROXYSESSION 7".to_owned(), outcome.to_owned());
        assert_eq!(shown(&audit).await, [kill("asked")]);
        audit.note(&caller(), "log-in", "refused", "wrong").await;
        asked.end("done", String::new()).await;
        let expected = [kill("done"), ("log-in".to_owned(), "refused".to_owned())];
        assert_eq!(shown(&audit).await, expected);
        let file = std::fs::metadata(dir.path().join("audit.log")).expect("the file");
        assert_eq!(file.mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn who_may_only_look_pushes_nobody_out() {
        let (dir, audit) = audit();
        audit.note(&caller(), "KILL PROXYSESSION 7", "done", "").await;
        for _ in 0..2000 {
            audit.refuse(&caller(), &"ä".repeat(1 << 20), "it takes a manager").await;
        }
        let all = shown(&audit).await;
        assert_eq!(all.last().map(|(action, _)| &**action), Some("KILL PROXYSESSION 7"));
        assert_eq!(all.len(), 31);
        assert!(all[0].0.ends_with("… (2097152 bytes)"), "{}", all[0].0);
        let length = std::fs::metadata(dir.path().join("audit.log")).expect("the file").len();
        assert!(length < 100 << 10, "{length} bytes");
    }

    #[tokio::test]
    async fn a_torn_line_hides_no_other() {
        let (dir, audit) = audit();
        audit.note(&caller(), "first", "done", "a\nb").await;
        let mut file = OpenOptions::new().append(true).open(dir.path().join("audit.log"));
        file.as_mut().expect("the file").write_all(b"{\"id\":\"9\n").expect("ours");
        audit.note(&caller(), "second", "done", "").await;
        let names: Vec<_> = shown(&audit).await.into_iter().map(|(action, _)| action).collect();
        assert_eq!(names, ["second", "first"]);
    }

    #[tokio::test]
    async fn a_long_file_is_put_aside_and_old_ones_go() {
        let (dir, audit) = audit();
        for round in 0..=KEPT + 1 {
            audit.note(&caller(), &format!("round {round}"), "done", "").await;
            let file = OpenOptions::new().write(true).open(dir.path().join("audit.log"));
            file.expect("the file").set_len(LONGEST).expect("ours");
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .expect("ours")
            .flatten()
            .map(|entry| entry.file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        let aside = (1..=KEPT).map(|number| format!("audit.log.{number}"));
        let expected: Vec<_> = std::iter::once("audit.log".to_owned()).chain(aside).collect();
        assert_eq!(names, expected);
    }

    #[tokio::test]
    async fn an_audit_that_cannot_be_written_holds_nobody_up() {
        let (dir, audit) = audit();
        let path = dir.path().join("audit.log");
        std::fs::create_dir(&path).expect("the directory is ours");
        audit.ask(&caller(), "RESTART".into()).await.end("done", String::new()).await;
        assert_eq!(audit.trouble(), (0, 2));
        // It can be again, and tells what is missing.
        std::fs::remove_dir(&path).expect("ours");
        audit.note(&caller(), "KILL PROXYSESSION 7", "done", "").await;
        audit.note(&caller(), "KILL PROXYSESSION 8", "done", "").await;
        let rows = audit.table().await.expect("it can be read");
        let rows: Vec<_> = rows.rows().map(|row| row.text("action").to_owned()).collect();
        assert_eq!(rows, ["KILL PROXYSESSION 8", "AUDIT", "KILL PROXYSESSION 7"]);
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.contains("could not be written: 2;"), "{text}");
    }
}
