//! Which process goes when memory is short: the proxy, whose sessions go on, and not its keeper.
//!
//! A clone is worth what its parent is at that moment, and nobody else need write it. So this is
//! done by the keeper, with a file that was opened when the process could still be dumped: of one
//! that cannot be the file is root's. Invariant: a proxy, which has secrets, can never be dumped.
//!
//! A successor is started by a proxy, and is to be worth what that one's keeper is: else each
//! restart would make odp worth more, until it goes before everything else on the machine.

use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::read;

use crate::restart::OOM_SCORE_ADJ;

/// What a process is worth to the kernel, between -1000 and 1000: the highest goes first.
const SCORE: &str = "/proc/self/oom_score_adj";

/// So much more than the keeper's.
const MORE: i32 = 200;

const HIGHEST: i32 = 1000;

/// Where mounts of control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// More than all that a control group counts of its events.
const MOST_COUNTS: usize = 4096;

/// Where the kernel counts whom of this process's control group it has killed as memory was short.
#[derive(Debug)]
pub(super) struct Kills {
    file: Option<CString>,
}

impl Kills {
    /// Of the group that the process is in now.
    pub(super) fn look() -> Self {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut files = counts_of(&groups).into_iter().filter_map(|file| CString::new(file).ok());
        Self { file: files.find(|file| count_in(file).is_some()) }
    }

    /// How many there were; None where it does not say. It takes no memory, and what it opens is
    /// closed when it returns.
    pub(super) fn count(&self) -> Option<u64> {
        count_in(self.file.as_deref()?)
    }
}

/// Files that may have it: in a container what is called a group may be mounted as all there is.
fn counts_of(groups: &str) -> Vec<String> {
    let mut all = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("", "memory.events.local"),
            _ if controllers.split(',').any(|it| it == "memory") => {
                ("/memory", "memory.oom_control")
            }
            _ => continue,
        };
        let group = group.trim_end_matches('/');
        all.extend([group, ""].map(|group| format!("{GROUPS}{mount}{group}/{file}")));
    }
    all
}

fn count_in(file: &CStr) -> Option<u64> {
    let file = openat(CWD, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; MOST_COUNTS];
    let mut end = 0;
    while let n @ 1.. = read(&file, &mut text[end..]).ok()? {
        end += n;
    }
    kills_in(&text[..end])
}

fn kills_in(counts: &[u8]) -> Option<u64> {
    let mut lines = counts.split(|byte| *byte == b'\n');
    let count = lines.find_map(|line| line.strip_prefix(b"oom_kill "))?;
    std::str::from_utf8(count).ok()?.parse().ok()
}

/// What this process is worth, and its clones are to be: the keeper takes no memory later.
#[derive(Debug)]
pub(in crate::app) struct Score {
    file: File,
    own: i32,
}

impl Score {
    /// To be called while the process may be dumped.
    pub(in crate::app) fn look() -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(SCORE)?;
        let mut own = String::new();
        file.read_to_string(&mut own)?;
        let own: i32 = own.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        let told = std::env::var(OOM_SCORE_ADJ).ok().and_then(|score| score.parse().ok());
        let mut score = Self { file, own };
        // What was raised by who may not lower it can be lowered by the same.
        if let Some(told) = told.filter(|told| *told < own)
            && score.set(told).is_ok()
        {
            score.own = told;
        }
        Ok(score)
    }

    /// Whoever is cloned now goes before this process.
    pub(super) fn raise(&self) -> io::Result<()> {
        self.set((self.own + MORE).min(HIGHEST))
    }

    /// This process is worth what it was.
    pub(super) fn restore(&self) -> io::Result<()> {
        self.set(self.own)
    }

    fn set(&self, score: i32) -> io::Result<()> {
        (&self.file).write_all(score.to_string().as_bytes())
    }

    /// What this process is worth.
    pub(super) fn own(&self) -> i32 {
        self.own
    }

    /// The file's descriptor, which is in the table of all.
    pub(super) fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_has_killed_is_found_among_its_counts() {
        assert_eq!(kills_in(b"low 0\nmax 3\noom 2\noom_kill 12\noom_group_kill 9\n"), Some(12));
        assert_eq!(kills_in(b"oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"), Some(4));
        assert_eq!((kills_in(b"oom_kill x\n"), kills_in(b"low 7\n")), (None, None));
    }

    #[test]
    fn the_count_is_that_of_the_processs_own_group() {
        let files = counts_of("0::/system.slice/odp.service\n");
        let own = "/sys/fs/cgroup/system.slice/odp.service/memory.events.local";
        assert_eq!(files, [own, "/sys/fs/cgroup/memory.events.local"]);
        let files = counts_of("9:name=systemd:/\n4:cpu,memory:/a:b\n3:cpuset:/\nnonsense\n0::/\n");
        let own = "/sys/fs/cgroup/memory/a:b/memory.oom_control";
        assert_eq!((files.len(), &files[0][..]), (4, own));
        assert_eq!(Kills { file: None }.count(), None);
    }
}
