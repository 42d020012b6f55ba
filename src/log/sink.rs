//! A bounded queue of lines, and the loop that writes them.
//!
//! ```text
//!   push ─► queue ─► written
//!    │ full   └─ cannot be written ─► lost, told once a line could be written again
//!    └─► lost ─┘
//! ```
//! Invariant: `push` holds the lock for as long as it takes to append, and nobody holds it longer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of lines that may wait: some minutes of a usual log, a moment of a flood.
const ROOM: usize = 1 << 20;

/// What a line costs beside its text.
const OVERHEAD: usize = 64;

/// Lost lines are told this often at the most, unless nothing else is to be said.
const BETWEEN_NOTICES: Duration = Duration::from_secs(1);

/// Between two attempts at a file that somebody has made non-blocking, and after a panic.
const RETRY: Duration = Duration::from_millis(10);

thread_local! {
    /// How many lost lines the line tells of that this thread is about to push.
    static TELLS: Cell<u64> = const { Cell::new(0) };
}

/// The queue.
#[derive(Debug)]
pub(super) struct Sink {
    queue: Mutex<Queue>,
    filled: Condvar,
    emptied: Condvar,
    is_served: AtomicBool,
    lost: AtomicU64,
    untold: AtomicU64,
    panics: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    is_writing: bool,
}

#[derive(Debug)]
struct Line {
    text: Box<[u8]>,
    /// It says that so many were lost, which would be lost with it.
    tells: u64,
}

impl Sink {
    /// An empty one.
    pub(super) const fn new() -> Self {
        let queue = Queue { lines: VecDeque::new(), bytes: 0, is_writing: false };
        Self {
            queue: Mutex::new(queue),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            is_served: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// Starts the thread that writes, unless there is one.
    pub(super) fn serve(&'static self, write: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if !self.is_served.swap(true, Ordering::AcqRel) {
            let thread = std::thread::Builder::new().name("log".into()).spawn(write);
            thread.inspect_err(|_| self.is_served.store(false, Ordering::Release))?;
        }
        Ok(())
    }

    /// Whether somebody writes what is pushed.
    pub(super) fn is_served(&self) -> bool {
        self.is_served.load(Ordering::Acquire)
    }

    /// How many lines were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How often the thread that writes has panicked, and gone on.
    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Takes a line, or counts it as lost.
    pub(super) fn push(&self, text: &[u8]) {
        let line = Line { text: text.into(), tells: TELLS.get() };
        let mut queue = self.lock();
        // The thread that writes must not wait for itself to make room.
        if line.tells > 0 {
            queue.bytes += line.size();
            queue.lines.push_front(line);
        } else if queue.bytes + line.size() <= ROOM {
            queue.bytes += line.size();
            queue.lines.push_back(line);
        } else {
            drop(queue);
            return self.lose(1, 1);
        }
        self.filled.notify_one();
    }

    /// Waits until all that was pushed is written or lost, but not for long.
    pub(super) fn flush(&self, within: Duration) {
        if self.is_served() {
            let is_busy = |queue: &mut Queue| queue.is_writing || !queue.lines.is_empty();
            drop(self.emptied.wait_timeout_while(self.lock(), within, is_busy));
        }
    }

    /// Writes what is pushed, whatever panics. `tell` says, through `push`, that lines were lost.
    /// `chores` are seen to between two lines, and again when they are due.
    pub(super) fn write_for_ever(
        &self,
        target: &mut impl Write,
        tell: impl Fn(u64),
        chores: impl Fn() -> Option<Instant>,
    ) {
        let mut output = Output { target, is_within_line: false };
        let mut told_at = None;
        loop {
            let mut line = None;
            // What is left of it is brought in order below.
            let step = catch_unwind(AssertUnwindSafe(|| {
                let due = chores();
                let notice_due = self.tell_if_due(&mut told_at, &tell);
                line = self.next(earlier(due, notice_due));
                let Some(line) = &line else { return };
                if output.write_line(&line.text).is_err() {
                    self.lose_line(line);
                    told_at = Some(Instant::now());
                }
            }));
            if step.is_err() {
                self.panics.fetch_add(1, Ordering::Relaxed);
                // What it was about to tell of, or to write.
                self.lose(0, TELLS.take());
                line.iter().for_each(|line| self.lose_line(line));
                std::thread::sleep(RETRY);
            }
        }
    }

    /// Tells of lost lines now, or says when to.
    fn tell_if_due(&self, told_at: &mut Option<Instant>, tell: impl Fn(u64)) -> Option<Instant> {
        if self.untold.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = Instant::now();
        let due = told_at.map(|at: Instant| at + BETWEEN_NOTICES);
        if let Some(due) = due.filter(|due| *due > now) {
            return Some(due);
        }
        *told_at = Some(now);
        let untold = self.untold.swap(0, Ordering::Relaxed);
        TELLS.set(untold);
        tell(untold);
        TELLS.set(0);
        None
    }

    /// The next line; None if there was none until `due`.
    fn next(&self, due: Option<Instant>) -> Option<Line> {
        let mut queue = self.lock();
        queue.is_writing = false;
        if queue.lines.is_empty() {
            self.emptied.notify_all();
            let is_empty = |queue: &mut Queue| queue.lines.is_empty();
            queue = match due {
                None => {
                    self.filled.wait_while(queue, is_empty).unwrap_or_else(PoisonError::into_inner)
                }
                Some(due) => {
                    let within = due.saturating_duration_since(Instant::now());
                    let waited = self.filled.wait_timeout_while(queue, within, is_empty);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let line = queue.lines.pop_front()?;
        queue.bytes -= line.size();
        queue.is_writing = true;
        Some(line)
    }

    /// A notice is no line of those that were lost, but what it told is to be told yet.
    fn lose_line(&self, line: &Line) {
        self.lose(u64::from(line.tells == 0), line.tells.max(1));
    }

    fn lose(&self, lines: u64, untold: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        self.untold.fetch_add(untold, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// Where lines go. One write for each: a pipe that several generations write to keeps short ones
/// whole.
struct Output<'a, W> {
    target: &'a mut W,
    /// The last line could be written in part only.
    is_within_line: bool,
}

impl<W: Write> Output<'_, W> {
    fn write_line(&mut self, text: &[u8]) -> io::Result<()> {
        if self.is_within_line {
            self.write_all(b"\n")?;
        }
        self.write_all(text)
    }

    fn write_all(&mut self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            match self.target.write(text) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.is_within_line = text[written - 1] != b'\n';
                    text = &text[written..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// What the next write comes to.
    enum Answer {
        Takes(usize),
        Fails(ErrorKind),
        Panics,
    }

    /// A file that does as it is told, write by write.
    struct Puppet {
        answers: Receiver<Answer>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Puppet {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // A test that is over leaves its thread waiting.
            let answer = self.answers.recv().unwrap_or_else(|_| {
                loop {
                    std::thread::park();
                }
            });
            match answer {
                Answer::Takes(most) => {
                    let taken = &text[..most.min(text.len())];
                    let _ = self.written.send(taken.to_vec());
                    Ok(taken.len())
                }
                Answer::Fails(kind) => Err(kind.into()),
                Answer::Panics => panic!("as told"),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sink() -> (&'static Sink, Sender<Answer>, Receiver<Vec<u8>>) {
        let sink: &Sink = Box::leak(Box::new(Sink::new()));
        let (answer, answers) = channel();
        let (written, read) = channel();
        let mut puppet = Puppet { answers, written };
        let tell = |lost: u64| sink.push(format!("{lost} lost\n").as_bytes());
        let write = move || sink.write_for_ever(&mut puppet, tell, || None);
        sink.serve(write).expect("a thread");
        (sink, answer, read)
    }

    fn text(read: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(read.recv().expect("the thread lives")).expect("text")
    }

    const ALL: Answer = Answer::Takes(usize::MAX);

    #[test]
    fn who_logs_does_not_wait_for_a_file_that_nobody_reads() {
        let (sink, answer, read) = sink();
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..10_000 {
            sink.push(&line);
        }
        let lost = sink.lost();
        assert!(lost > 8000, "{lost} were lost");
        // Nobody reads: the end waits no longer than it was told.
        sink.flush(Duration::from_millis(1));
        // Somebody reads again: what fitted is there, and among it notices of all that is lost.
        let (mut lines, mut told) = (0, 0);
        while lines < 10_000 - lost || told < lost {
            answer.send(ALL).expect("it lives");
            match text(&read).strip_suffix(" lost\n") {
                Some(count) => told += count.parse::<u64>().expect("a number"),
                None => lines += 1,
            }
        }
        assert_eq!((lines, told), (10_000 - lost, lost));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told() {
        let (sink, answer, read) = sink();
        for kind in [ErrorKind::BrokenPipe, ErrorKind::StorageFull, ErrorKind::Other] {
            answer.send(Answer::Fails(kind)).expect("it lives");
            sink.push(b"lost\n");
        }
        // The notice of them is lost as well, and its number with the next.
        answer.send(Answer::Fails(ErrorKind::BrokenPipe)).expect("it lives");
        answer.send(Answer::Takes(9)).expect("it lives");
        assert_eq!(text(&read), "3 lost\n");
        assert_eq!(sink.lost(), 3);
        answer.send(ALL).expect("it lives");
        sink.push(b"back\n");
        assert_eq!(text(&read), "back\n");
        sink.flush(Duration::from_secs(60));
    }

    #[test]
    fn what_is_half_written_is_ended_before_the_next_line() {
        let (sink, answer, read) = sink();
        answer.send(Answer::Takes(3)).expect("it lives");
        answer.send(Answer::Fails(ErrorKind::StorageFull)).expect("it lives");
        sink.push(b"halves\n");
        assert_eq!(text(&read), "hal");
        for expected in ["\n", "1 lost\n", "next\n"] {
            answer.send(ALL).expect("it lives");
            if expected == "1 lost\n" {
                sink.push(b"next\n");
            }
            assert_eq!(text(&read), expected);
        }
    }

    #[test]
    fn a_panic_costs_a_line_and_is_told() {
        let (sink, answer, read) = sink();
        answer.send(Answer::Panics).expect("it lives");
        sink.push(b"lost\n");
        answer.send(ALL).expect("it lives");
        assert_eq!((text(&read).as_str(), sink.lost(), sink.panics()), ("1 lost\n", 1, 1));
        answer.send(ALL).expect("it lives");
        sink.push(b"next\n");
        assert_eq!(text(&read), "next\n");
    }

    #[test]
    fn a_panic_in_a_notice_leaves_it_to_the_next() {
        let sink: &Sink = Box::leak(Box::new(Sink::new()));
        let (answer, answers) = channel();
        let (written, read) = channel();
        let mut puppet = Puppet { answers, written };
        let is_first = AtomicBool::new(true);
        let tell = move |lost: u64| {
            assert!(!is_first.swap(false, Ordering::Relaxed), "as told");
            sink.push(format!("{lost} lost\n").as_bytes());
        };
        sink.serve(move || sink.write_for_ever(&mut puppet, tell, || None)).expect("a thread");
        answer.send(Answer::Fails(ErrorKind::BrokenPipe)).expect("it lives");
        sink.push(b"lost\n");
        answer.send(ALL).expect("it lives");
        assert_eq!(text(&read), "1 lost\n");
    }

    #[test]
    fn a_file_that_is_not_ready_is_tried_again() {
        let (sink, answer, read) = sink();
        answer.send(Answer::Fails(ErrorKind::WouldBlock)).expect("it lives");
        answer.send(Answer::Fails(ErrorKind::Interrupted)).expect("it lives");
        answer.send(ALL).expect("it lives");
        sink.push(b"line\n");
        assert_eq!(text(&read), "line\n");
        assert_eq!(sink.lost(), 0);
    }
}
