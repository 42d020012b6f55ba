//! The log of a process: finished lines go to a queue, and one thread writes them to stderr.
//!
//! ```text
//!   whoever logs ─► limit: so many a second of one cause ─► sink: bounded queue ─► thread ─► stderr
//!                        └─ "… and 512 more" ◄──────────────── the thread, later ──┘
//! ```
//! Invariant: whatever becomes of stderr, nobody who logs waits, fails or panics; what is lost is
//! counted, and told as soon as a line can be written again.
//!
//! tracing-appender's non-blocking writer was not taken: its thread drops lines that could not be
//! written without counting them, never tells of any, and does not keep what is half written apart.

mod limit;
mod sink;

use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::LazyLock;
use std::time::Duration;

use nix::sys::signal::SigSet;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogLevel, LogSection};
use limit::{Limit, Limiter};
use sink::Sink;

/// How long the end of a process may wait for its last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

static SINK: Sink = Sink::new();
static LIMIT: LazyLock<Limit> = LazyLock::new(Limit::default);

/// While it lives the process has a log; its end waits a moment for the last lines.
#[derive(Debug)]
pub struct Log(());

impl Drop for Log {
    fn drop(&mut self) {
        SINK.flush(LAST_LINES);
    }
}

/// Starts the log of this process. Panics are told in it, too.
pub fn start(section: &LogSection) -> io::Result<Log> {
    SINK.serve(|| {
        // A terminal may send SIGTTOU to a background process that writes to it, which would stop
        // all of it. And no signal is this thread's affair.
        let _ = SigSet::all().thread_block();
        SINK.write_for_ever(&mut Stderr, tell_lost, || LIMIT.tell());
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Line).with_ansi(false);
    // It would tell of an error by eprintln!, which panics.
    let lines = lines.log_internal_errors(false);
    let lines = match section.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let level = LevelFilter::from_level(level(section.level));
    let started = tracing_subscriber::registry().with(lines).with(Limiter(&LIMIT)).with(level);
    started.try_init().map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(tell_panic));
    Ok(Log(()))
}

/// How many lines were lost so far.
pub fn lost() -> u64 {
    SINK.lost()
}

/// How often its thread has panicked, and gone on.
pub fn panics() -> u64 {
    SINK.panics()
}

/// Says what is not an event, such as why the process ends; waits a moment for it.
pub fn say(text: &str) {
    let line = format!("{text}\n");
    if SINK.is_served() {
        SINK.push(line.as_bytes());
        SINK.flush(LAST_LINES);
    } else {
        // Nobody is left to be told that this failed.
        let _ = Stderr.write_all(line.as_bytes());
    }
}

fn level(level: LogLevel) -> tracing::Level {
    match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    }
}

/// An error whatever the level is, so that it is always told.
fn tell_lost(lines: u64) {
    tracing::error!(lines, "lines of this log were lost");
}

/// The standard hook writes to stderr itself, and would wait for it.
fn tell_panic(panic: &PanicHookInfo) {
    let text = panic_text(panic);
    let place = panic.location().map(ToString::to_string);
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured)
        .then(|| backtrace.to_string());
    tracing::error!(place, text, backtrace, "panic");
}

/// What a panic says, if that is a text.
pub fn panic_text<'p>(panic: &'p PanicHookInfo<'_>) -> Option<&'p str> {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Takes one finished line.
struct Line;

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        SINK.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error without the lock of `std::io::stderr`, which would be held while a write waits.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), text)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
