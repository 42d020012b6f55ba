//! The audit: who changed what, when, by which way, and what came of it. A line of JSON a step.
//!
//! A change is on the disk before it is carried out, and again with its outcome: whatever happens
//! in between, somebody has asked for it. An audit that cannot be written holds nobody up (who
//! restarts a proxy may do so because the disk is full); it is an error in the log.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::caller::{Caller, Door};
use super::table::{Columns, Table, timestamp};
use crate::config::Role;
use crate::wire::id::SessionId;

/// A file that is longer is put aside.
const LONGEST: u64 = 8 << 20;

/// Files that were put aside.
const KEPT: u32 = 4;

/// What SHOW AUDIT reads of the newest file, and of the one before.
const SHOWN_BYTES: u64 = 512 << 10;

/// What it shows at most.
const SHOWN: usize = 1000;

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
    path: PathBuf,
    /// Held while a line is written.
    file: Mutex<()>,
    steps: AtomicU64,
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
        let path = dir.join("audit.log");
        Self(Arc::new(Inner { path, file: Mutex::new(()), steps: AtomicU64::new(0) }))
    }

    /// Somebody asks for something: it is on the disk when this returns.
    pub(crate) async fn ask(&self, caller: &Caller, action: String) -> Asked {
        let entry = self.entry(caller, action);
        self.write(entry.clone()).await;
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
        (entry.outcome, entry.detail) = (outcome.to_owned(), detail.to_owned());
        self.write(entry).await;
    }

    /// The newest entries.
    pub(super) async fn table(&self) -> io::Result<Table> {
        let inner = self.0.clone();
        let read = tokio::task::spawn_blocking(move || inner.read());
        let entries = read.await.map_err(io::Error::other)??;
        Ok(Table::of(AUDIT, &entries))
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
            action,
            outcome: "asked".into(),
            detail: String::new(),
        }
    }

    async fn write(&self, entry: Entry) {
        let inner = self.0.clone();
        let written = tokio::task::spawn_blocking(move || inner.append(&entry)).await;
        let written = written.map_err(io::Error::other).and_then(|written| written);
        if let Err(error) = written {
            let path = self.0.path.display();
            tracing::error!(%path, %error, "the audit cannot be written");
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
        (self.entry.outcome, self.entry.detail) = (outcome.to_owned(), detail);
        self.audit.write(self.entry).await;
    }
}

impl Inner {
    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let _one = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if std::fs::metadata(&self.path).is_ok_and(|file| file.len() >= LONGEST) {
            self.rotate()?;
        }
        // Opened anew for each: somebody else may have put the file aside.
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(&line)?;
        file.sync_data()
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            let (from, to) = (self.aside(number), self.aside(number + 1));
            match std::fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        std::fs::rename(&self.path, self.aside(1))
    }

    fn aside(&self, number: u32) -> PathBuf {
        self.path.with_extension(format!("log.{number}"))
    }

    /// Newest first; of steps of one thing only the last. A line that is none is left out: a
    /// process may have died in the middle of it.
    fn read(&self) -> io::Result<Vec<Entry>> {
        let text = end_of(&self.aside(1))? + &end_of(&self.path)?;
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
        Ok(newest)
    }
}

fn end_of(path: &Path) -> io::Result<String> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        file => file?,
    };
    let start = file.metadata()?.len().saturating_sub(SHOWN_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(SHOWN_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

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
        drop(dir);
        audit.ask(&caller(), "RESTART".into()).await.end("done", String::new()).await;
        assert_eq!(shown(&audit).await, []);
    }
}
