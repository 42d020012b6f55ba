//! What a proxy leaves in its `run_dir` so that it can be started again when it hangs.
//!
//! `odp run` lets nobody but root look into it, so that no core dump and no debugger gets at its
//! keys; `/proc` then hides from its own user how it was started. A record is believed only if
//! nobody else could have written it, and while the process lives that it speaks of.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::restart::prepare_run_dir;

/// Others than the owner may write.
const WRITABLE: u32 = 0o022;

/// Records are named `PID.process`.
const EXTENSION: &str = "process";

/// Variables with this in their name are not written down.
const SECRET: &str = "PASSWORD";

/// A record that is longer is none of ours; an environment may take 2 MiB.
const LONGEST: u64 = 8 << 20;

/// The inode of a socket.
pub(crate) type Inode = u64;

/// How a process was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The process.
    pub pid: u32,
    /// When it was started, in ticks since the boot: no later process with its pid has that.
    pub started: u64,
    /// The sockets that it listens at.
    pub sockets: Vec<Inode>,
    /// What was run.
    pub program: PathBuf,
    /// Its working directory.
    pub directory: PathBuf,
    /// Its environment, as far as it is UTF-8; no passwords, which other subcommands take from
    /// there.
    pub environment: Vec<(String, String)>,
    /// Where its log goes, if that is a file.
    pub log: Option<PathBuf>,
}

/// A record that stands in its file until this is dropped.
#[derive(Debug)]
pub(crate) struct Kept(PathBuf);

impl Drop for Kept {
    fn drop(&mut self) {
        // What is left behind is known for old by its process.
        let _ = fs::remove_file(&self.0);
    }
}

impl Record {
    /// Of this process, which listens at these sockets, or one that was started as this one was.
    pub(crate) fn of(pid: u32, sockets: &[impl AsFd]) -> io::Result<Self> {
        let inode = |socket: &_| Ok(rustix::fs::fstat(socket)?.st_ino);
        let text = |text: OsString| text.into_string().ok();
        let is_secret = |name: &OsString| name.to_string_lossy().contains(SECRET);
        let environment = std::env::vars_os().filter(|(name, _)| !is_secret(name));
        Ok(Self {
            pid,
            started: started(pid).ok_or(io::ErrorKind::NotFound)?,
            sockets: sockets.iter().map(inode).collect::<io::Result<_>>()?,
            program: std::env::current_exe()?,
            directory: std::env::current_dir()?,
            environment: environment.filter_map(|(name, it)| text(name).zip(text(it))).collect(),
            log: fs::read_link("/proc/self/fd/2").ok().filter(|path| path.is_file()),
        })
    }

    /// Leaves it in a directory, which is made if it is missing, and made private.
    pub(crate) fn keep(&self, run_dir: &Path) -> io::Result<Kept> {
        prepare_run_dir(run_dir)?;
        sweep(run_dir);
        let path = run_dir.join(self.pid.to_string()).with_extension(EXTENSION);
        // Of another process that had this pid.
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let kept = Kept(path);
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(kept)
    }

    /// Those in a directory whose processes live.
    pub(crate) fn all(run_dir: &Path) -> Vec<Self> {
        if !is_ours(run_dir) {
            return Vec::new();
        }
        let records = files(run_dir).into_iter().filter_map(|path| Self::read(&path));
        records.filter(Self::is_living).collect()
    }

    /// Whether its process lives: a zombie does not.
    pub(crate) fn is_living(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    fn read(path: &Path) -> Option<Self> {
        let is_small = fs::metadata(path).is_ok_and(|file| file.len() <= LONGEST);
        let text = fs::read(path).ok().filter(|_| is_small && is_ours(path))?;
        serde_json::from_slice(&text).ok()
    }
}

/// Removes what is left of processes that were killed.
fn sweep(run_dir: &Path) {
    for path in files(run_dir) {
        if !Record::read(&path).is_some_and(|record| record.is_living()) {
            let _ = fs::remove_file(path);
        }
    }
}

fn files(run_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(run_dir) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|it| it == EXTENSION)).collect()
}

/// Only this user can have put there what is there. A link is followed by nobody.
fn is_ours(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| {
        let is_private = found.mode() & WRITABLE == 0 && !found.is_symlink();
        is_private && found.uid() == nix::unistd::geteuid().as_raw()
    })
}

/// When a process was started, in ticks since the boot; None for one that is dead.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything; behind it the state, and as the 20th the
    // time.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    }

    #[test]
    fn a_record_is_there_while_its_process_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let run_dir = dir.path().join("run");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let record =
            Record::of(std::process::id(), &[&socket]).expect("this process has all of it");
        let kept = record.keep(&run_dir).expect("our directory");
        assert_eq!(Record::all(&run_dir), std::slice::from_ref(&record));
        // One of a process that was killed is swept away by the next.
        let dead = Record { started: 1, ..record.clone() };
        let path = run_dir.join("1.process");
        fs::write(&path, serde_json::to_vec(&dead).expect("JSON")).expect("ours");
        assert_eq!(Record::all(&run_dir), std::slice::from_ref(&record));
        let again = record.keep(&run_dir).expect("our directory");
        assert!(!path.exists());
        drop(kept);
        drop(again);
        assert_eq!(files(&run_dir), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_others_could_have_written_is_not_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        let run_dir = dir.path().join("run");
        let none: [TcpListener; 0] = [];
        let record = Record::of(std::process::id(), &none).expect("this process has all of it");
        let kept = record.keep(&run_dir).expect("our directory");
        let is_believed = || !Record::all(&run_dir).is_empty();
        set_mode(&kept.0, 0o622);
        assert!(!is_believed());
        set_mode(&kept.0, 0o600);
        assert!(is_believed());
        set_mode(&run_dir, 0o770);
        assert!(!is_believed());
        // Whoever keeps one makes the directory private again.
        let again = record.keep(&run_dir).expect("our directory");
        assert!(is_believed());
        drop(again);
    }
}
