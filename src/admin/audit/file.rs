//! The file of the audit, and the lines that wait for it.
//!
//! ```text
//!   write ─► queue ─► on the disk ─► who waits is told
//!     │ full   └─ cannot be written ─► lost, told in the file once it takes a line again
//!     └─► lost ─┘
//! ```
//! Invariant: one thread at a time is with the file, so lines are in it in their order; a disk that
//! does not answer holds that thread, and who writes a line for no longer than `PATIENCE`.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::lock::lock;
use crate::task;

/// A file that is longer is put aside.
pub(super) const LONGEST: u64 = 8 << 20;

/// Files that were put aside.
pub(super) const KEPT: u32 = 4;

/// How long somebody waits until his line is on the disk.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of lines that may wait for a disk that does not answer.
const ROOM: usize = 1 << 20;

/// Those who read it at the same time, each with a thread: a disk may not answer them either.
const READERS: usize = 4;

/// How long they wait.
const READ: Duration = Duration::from_secs(5);

/// The file.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    queue: Mutex<Queue>,
    readers: Arc<Semaphore>,
    /// The line that says that so many were lost.
    notice: fn(u64) -> Vec<u8>,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    is_served: bool,
    /// Since when the file has had a line that it has not taken yet.
    busy_since: Option<Instant>,
    late: u64,
    lost: u64,
    untold: u64,
}

#[derive(Debug)]
struct Line {
    text: Vec<u8>,
    written: oneshot::Sender<io::Result<()>>,
}

/// Why a line is not on the disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The disk does not answer; the line waits.
    #[error("it does not answer; the entry waits for it")]
    Late,
    /// Too many wait already; the line is lost.
    #[error("it does not answer, and too many entries wait for it: this one is lost")]
    Full,
    /// It cannot be written, and is lost.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl Log {
    /// The file at this path, which need not be there.
    pub(super) fn new(path: PathBuf, notice: fn(u64) -> Vec<u8>) -> Self {
        let readers = Arc::new(Semaphore::new(READERS));
        Self { path, queue: Mutex::default(), readers, notice }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many lines were late, and how many were lost.
    pub(super) fn trouble(&self) -> (u64, u64) {
        let queue = self.lock();
        (queue.late, queue.lost)
    }

    /// Appends a line, which is on the disk when this returns. Whoever comes while the disk has not
    /// answered for long does not wait.
    pub(super) async fn write(self: &Arc<Self>, text: Vec<u8>) -> Result<(), Trouble> {
        let (written, outcome) = oneshot::channel();
        let is_stuck = {
            let mut queue = self.lock();
            if queue.bytes + text.len() > ROOM {
                queue.lose();
                return Err(Trouble::Full);
            }
            queue.bytes += text.len();
            queue.lines.push_back(Line { text, written });
            if !std::mem::replace(&mut queue.is_served, true) {
                let log = self.clone();
                spawn_blocking(move || log.serve());
            }
            queue.busy_since.is_some_and(|since| since.elapsed() >= PATIENCE)
        };
        let patience = if is_stuck { Duration::ZERO } else { PATIENCE };
        match timeout(patience, outcome).await {
            Ok(Ok(result)) => Ok(result?),
            // It is dropped with its line.
            Ok(Err(_)) => Err(io::Error::other("a panic kept it from being written").into()),
            Err(_) => {
                self.lock().late += 1;
                Err(Trouble::Late)
            }
        }
    }

    /// The end of the text, of so many bytes at the most from each of the newest two files.
    pub(super) async fn read(self: &Arc<Self>, most: u64) -> io::Result<String> {
        let log = self.clone();
        let read = async {
            let permit = self.readers.clone().acquire_owned().await.map_err(io::Error::other)?;
            let read = spawn_blocking(move || {
                let _held = permit;
                Ok(end_of(&log.aside(1), most)? + &end_of(&log.path, most)?)
            });
            read.await.map_err(io::Error::other)?
        };
        timeout(READ, read).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))?
    }

    /// Writes all that waits.
    fn serve(&self) {
        while let Some(line) = self.next() {
            // A panic costs the line that it was about.
            let written = task::attempt("audit", || self.append(&line.text));
            match &written {
                Ok(Ok(())) => self.tell_of_lost(),
                Ok(Err(_)) | Err(_) => self.lock().lose(),
            }
            if let Ok(written) = written {
                // Who waited for it may have gone on.
                let _ = line.written.send(written);
            }
        }
    }

    fn next(&self) -> Option<Line> {
        let mut queue = self.lock();
        let line = queue.lines.pop_front();
        queue.is_served = line.is_some();
        queue.busy_since = line.as_ref().map(|_| Instant::now());
        queue.bytes -= line.as_ref().map_or(0, |line| line.text.len());
        line
    }

    fn tell_of_lost(&self) {
        let untold = std::mem::take(&mut self.lock().untold);
        if untold > 0 && self.append(&(self.notice)(untold)).is_err() {
            self.lock().untold += untold;
        }
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        if std::fs::metadata(&self.path).is_ok_and(|file| file.len() >= LONGEST) {
            self.rotate()?;
        }
        // Opened anew for each: somebody else may have put the file aside.
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(line)?;
        match file.sync_data() {
            // A pipe to somebody who collects them.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            let (from, to) = (self.aside(number), self.aside(number + 1));
            match std::fs::rename(from, to) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        match std::fs::rename(&self.path, self.aside(1)) {
            // The other generation was first.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        }
    }

    fn aside(&self, number: u32) -> PathBuf {
        self.path.with_extension(format!("log.{number}"))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

impl Queue {
    fn lose(&mut self) {
        self.lost += 1;
        self.untold += 1;
    }
}

fn end_of(path: &Path, most: u64) -> io::Result<String> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        file => file?,
    };
    let start = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn notice(lost: u64) -> Vec<u8> {
        format!("{lost} lost\n").into_bytes()
    }

    /// A log whose file does not answer until somebody reads it.
    fn hung() -> (tempfile::TempDir, Arc<Log>) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit.log");
        mkfifo(&path, Mode::S_IRWXU).expect("the directory is ours");
        (dir, Arc::new(Log::new(path, notice)))
    }

    /// What is in the pipe until this line.
    async fn read_until(log: &Arc<Log>, last: &str) -> Vec<String> {
        let (path, last) = (log.path().to_owned(), last.to_owned());
        let read = spawn_blocking(move || {
            // For writing as well: it does not end when a line does.
            let pipe = OpenOptions::new().read(true).write(true).open(path).expect("a pipe");
            let mut lines = Vec::new();
            for line in BufReader::new(pipe).lines() {
                lines.push(line.expect("text"));
                if lines.last() == Some(&last) {
                    break;
                }
            }
            lines
        });
        read.await.expect("it ends")
    }

    #[tokio::test]
    async fn a_file_that_does_not_answer_holds_one_for_a_moment_and_loses_nothing() {
        let (_dir, log) = hung();
        let first = log.write(b"0\n".to_vec()).await;
        assert!(matches!(first, Err(Trouble::Late)), "{first:?}");
        // If each of them waited as long as the first, the test would not end in time.
        let count: u32 = 1000;
        for number in 1..count {
            let late = log.write(format!("{number}\n").into_bytes()).await;
            assert!(matches!(late, Err(Trouble::Late)), "{late:?}");
        }
        let lines = read_until(&log, &(count - 1).to_string()).await;
        assert_eq!(lines, (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(log.trouble(), (count.into(), 0));
    }

    #[tokio::test]
    async fn what_does_not_fit_is_lost_and_told() {
        let (_dir, log) = hung();
        let line = [vec![b'x'; ROOM / 4], b"\n".to_vec()].concat();
        let mut lost = 0;
        for _ in 0..10 {
            match log.write(line.clone()).await {
                Err(Trouble::Late) => {}
                Err(Trouble::Full) => lost += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!((5..10).contains(&lost), "{lost}");
        let reading = tokio::spawn({
            let log = log.clone();
            async move { read_until(&log, "last").await }
        });
        // The first that is on the disk again is followed by the notice.
        while log.write(b"more\n".to_vec()).await.is_err() {
            tokio::task::yield_now().await;
        }
        log.write(b"last\n".to_vec()).await.expect("somebody reads");
        let lines = reading.await.expect("it ends");
        let told = |line: &String| line.strip_suffix(" lost")?.parse::<u64>().ok();
        let told: u64 = lines.iter().filter_map(told).sum();
        assert_eq!(told, log.trouble().1);
        assert!(told >= lost, "{told} of {lost}");
    }
}
