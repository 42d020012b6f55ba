//! Whatever becomes of the demo, nothing of it stays: a small shell waits for its end.
//!
//! The shell reads process groups from a pipe whose other end the demo holds. When the demo is
//! gone, by its own will, by Ctrl-C, by a panic or by SIGKILL, the pipe ends; then the shell kills
//! what is left of the groups and removes the directory.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// `$1` is the directory. `-s` because dash takes no `--` after `-KILL`. The groups are killed
/// again after a moment: a process may have been about to become two.
const SCRIPT: &str = r#"
groups=
while read -r group; do groups="$groups -$group"; done
[ -z "$groups" ] || { kill -s KILL -- $groups; sleep 0.1; kill -s KILL -- $groups; } 2>/dev/null
rm -rf -- "$1"
"#;
/// Between two looks whether a group is gone.
const LOOK: Duration = Duration::from_millis(20);
/// How long the shell may take for its work.
const CLEANING: Duration = Duration::from_secs(10);

/// A group of processes that the demo started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(Pid);

/// The directory of the demo, and everything that runs in it.
pub(super) struct Guardian {
    directory: PathBuf,
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guardian {
    /// Watches over a directory, which is removed at the end.
    pub(super) fn of(directory: &Path) -> anyhow::Result<Self> {
        // Processes that lose their parent, as a proxy that is restarted does, become children of
        // the demo, so that it learns of their end.
        nix::sys::prctl::set_child_subreaper(true).context("PR_SET_CHILD_SUBREAPER")?;
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "odp-demo-guardian"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to all processes of the terminal's group; this one has to outlive it.
            .process_group(0)
            .spawn()
            .context("sh")?;
        let pipe = shell.stdin.take();
        Ok(Self { directory: directory.to_owned(), shell, pipe })
    }

    /// The directory of the demo.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts a program in a group of its own, and has it watched.
    pub(super) fn start(&mut self, command: &mut Command) -> anyhow::Result<(Group, Child)> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.process_group(0).spawn().with_context(|| name.clone())?;
        let pipe = self.pipe.as_mut().context("the guardian is gone")?;
        writeln!(pipe, "{}", child.id())
            .with_context(|| format!("{name}: the guardian is gone"))?;
        let group = i32::try_from(child.id()).context("process id")?;
        Ok((Group(Pid::from_raw(group)), child))
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.pipe = None;
        let until = Instant::now() + CLEANING;
        while matches!(self.shell.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
    }
}

impl Group {
    /// Asks all processes of the group to end, and waits until they have. False if they have not.
    pub(super) fn end(self, patience: Duration) -> bool {
        let _ = killpg(self.0, Signal::SIGTERM);
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if self.is_gone() {
                return true;
            }
            std::thread::sleep(LOOK);
        }
        false
    }

    /// Takes leave of processes that have ended; true if none of the group is left.
    fn is_gone(self) -> bool {
        let any = Pid::from_raw(-self.0.as_raw());
        loop {
            match waitpid(any, Some(WaitPidFlag::WNOHANG)) {
                Ok(nix::sys::wait::WaitStatus::StillAlive) | Err(Errno::EINTR) => return false,
                Ok(_) => {}
                // No child in this group; one that is somebody else's child may be.
                Err(_) => return killpg(self.0, None).is_err(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_is_gone_with_the_guardian() {
        let directory = tempfile::tempdir().unwrap().keep();
        let mut guardian = Guardian::of(&directory).unwrap();
        let mut sleep = Command::new("sh");
        // Its child stays behind when it ends.
        sleep.args(["-c", "sleep 600 & exit 0"]);
        let (group, _child) = guardian.start(&mut sleep).unwrap();
        assert!(killpg(group.0, None).is_ok());
        drop(guardian);
        assert!(!directory.exists());
        let until = Instant::now() + Duration::from_secs(5);
        while !group.is_gone() {
            assert!(Instant::now() < until, "the group is still there");
            std::thread::sleep(LOOK);
        }
    }

    #[test]
    fn a_group_that_is_asked_to_end_ends() {
        let directory = tempfile::tempdir().unwrap().keep();
        let mut guardian = Guardian::of(&directory).unwrap();
        let (group, _child) = guardian.start(Command::new("sleep").arg("600")).unwrap();
        assert!(group.end(Duration::from_secs(5)));
    }
}
