//! Whether somebody holds a process: has stopped it, or traces one of its threads.
//!
//! A debugger may hold a single thread and let the others run, so each of them is looked at. Who is
//! traced and runs is taken for held as well: what stands still may be what its tracer looks at.
//! Invariant: it takes no memory, and what it opens is closed when it returns.

use std::ffi::CStr;
use std::fmt::Arguments;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::unistd::Pid;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, Result, read};

/// Whoever cannot be asked is taken for held.
pub(super) fn is_held(process: Pid) -> bool {
    has_held_thread(process).unwrap_or(true)
}

fn has_held_thread(process: Pid) -> Result<bool> {
    let mut path = [0; 32];
    let path = write_path(&mut path, format_args!("/proc/{process}/task\0"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let threads = openat(CWD, path, flags, Mode::empty())?;
    let mut room = [const { MaybeUninit::uninit() }; 1024];
    let mut entries = RawDir::new(threads.as_fd(), &mut room);
    while let Some(entry) = entries.next() {
        // Beside threads there are the directory itself and the one above.
        let entry = entry?;
        let thread = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
        if let Some(thread) = thread
            && is_thread_held(threads.as_fd(), thread)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Not if it has ended meanwhile.
fn is_thread_held(threads: BorrowedFd<'_>, thread: u32) -> Result<bool> {
    let mut path = [0; 32];
    let path = write_path(&mut path, format_args!("{thread}/status\0"))?;
    let mut text = [0; 1024];
    let status = openat(threads, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    match status.and_then(|status| read(&status, &mut text)) {
        Ok(len) => Ok(says_held(&text[..len])),
        Err(Errno::NOENT | Errno::SRCH) => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_path<'a>(buffer: &'a mut [u8; 32], path: Arguments<'_>) -> Result<&'a CStr> {
    let mut rest = &mut buffer[..];
    std::io::Write::write_fmt(&mut rest, path).map_err(|_| Errno::NAMETOOLONG)?;
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::NAMETOOLONG)
}

/// Whether a thread with this status is stopped, or has a tracer.
fn says_held(status: &[u8]) -> bool {
    let value = |name: &[u8]| {
        let mut lines = status.split(|byte| *byte == b'\n');
        lines.find_map(|line| line.strip_prefix(name)).map(<[u8]>::trim_ascii)
    };
    let (Some(state), Some(tracer)) = (value(b"State:"), value(b"TracerPid:")) else { return true };
    matches!(state.first(), None | Some(b'T' | b't')) || tracer != b"0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_stopped_or_has_a_tracer_is_held() {
        for (status, is_held) in [
            ("Name:\todp\nState:\tS (sleeping)\nTgid:\t12\nTracerPid:\t0\n", false),
            ("Name:\todp\nState:\tR (running)\nTracerPid:\t0\n", false),
            ("Name:\todp\nState:\tT (stopped)\nTracerPid:\t0\n", true),
            ("Name:\todp\nState:\tt (tracing stop)\nTracerPid:\t7\n", true),
            ("Name:\todp\nState:\tS (sleeping)\nTracerPid:\t7\n", true),
            ("Name:\tState:\tT\nState:\tS (sleeping)\nTracerPid:\t0\n", false),
            ("Name:\todp\nState:\tS (sleeping)\n", true),
            ("", true),
        ] {
            assert_eq!(says_held(status.as_bytes()), is_held, "{status}");
        }
    }

    #[test]
    fn who_runs_is_not_held_and_who_is_not_there_is() {
        assert!(!is_held(Pid::this()));
        assert!(is_held(Pid::from_raw(i32::MAX)));
    }
}
