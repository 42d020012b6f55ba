//! Which process goes when memory is short: the proxy, whose sessions go on, and not its keeper.

use std::io;
use std::path::Path;

use nix::sys::prctl;

/// What a process is worth to the kernel, between -1000 and 1000: the highest goes first.
const SCORE: &str = "/proc/self/oom_score_adj";

/// So much more than the keeper's.
const MORE: i32 = 200;

const HIGHEST: i32 = 1000;

/// This process goes before its keeper.
pub(super) fn go_first() -> io::Result<()> {
    let score = std::fs::read_to_string(SCORE)?;
    let score: i32 = score.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
    let raised = (score + MORE).min(HIGHEST).to_string();
    match std::fs::write(Path::new(SCORE), &raised) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        written => return written,
    }
    // What must not be dumped is root's, this file as well. Nothing has come in yet, so for this
    // moment there is no more to be seen than the config.
    prctl::set_dumpable(true)?;
    let written = std::fs::write(Path::new(SCORE), &raised);
    prctl::set_dumpable(false)?;
    written
}
