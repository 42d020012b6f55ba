//! What /proc says of this process's children. Whatever cannot be read is not there any more.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Our living children, oldest first; also those whose parent has died.
pub(super) fn children() -> Vec<Pid> {
    children_of(Pid::this(), &table())
}

/// Our children, theirs, and so on: each before its own children.
pub(super) fn descendants() -> Vec<Pid> {
    let table = table();
    let mut found = children_of(Pid::this(), &table);
    let mut at = 0;
    while at < found.len() {
        let more = children_of(found[at], &table);
        found.extend(more);
        at += 1;
    }
    found
}

/// The command line of a process.
pub(super) fn arguments(pid: Pid) -> Vec<Vec<u8>> {
    let line = std::fs::read(file(pid, "cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

/// Whether a process has a handler for a signal, or ignores it.
pub(super) fn handles(pid: Pid, signal: Signal) -> bool {
    let status = std::fs::read_to_string(file(pid, "status")).unwrap_or_default();
    is_handled(&status, signal)
}

fn is_handled(status: &str, signal: Signal) -> bool {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let bit = 1_u64 << (signal as u32 - 1);
    ["SigCgt:", "SigIgn:"].iter().any(|name| mask(name).unwrap_or_default() & bit != 0)
}

/// A line of the table of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: Pid,
    parent: Pid,
    started: u64,
}

fn children_of(parent: Pid, table: &[Entry]) -> Vec<Pid> {
    let mut children: Vec<_> = table.iter().filter(|entry| entry.parent == parent).collect();
    children.sort_by_key(|entry| (entry.started, entry.pid));
    children.into_iter().map(|entry| entry.pid).collect()
}

/// All living processes: `children` of /proc/PID/task is missing in some kernels.
fn table() -> Vec<Entry> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pids = pids.map(Pid::from_raw);
    pids.filter_map(|pid| parse_stat(pid, &std::fs::read_to_string(file(pid, "stat")).ok()?))
        .collect()
}

/// "pid (comm) state ppid … starttime": the name may hold anything, also brackets. None for one
/// that is dead and only waits to be reaped.
fn parse_stat(pid: Pid, stat: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let parent = Pid::from_raw(fields.get(1)?.parse().ok()?);
    Some(Entry { pid, parent, started: fields.get(19)?.parse().ok()? })
}

fn file(pid: Pid, name: &str) -> PathBuf {
    format!("/proc/{pid}/{name}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_its_last_bracket() {
        let rest = "4 4 4 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        let pid = Pid::from_raw(9);
        let entry = parse_stat(pid, &format!("9 (o) (dp) S {rest}")).expect("it lives");
        assert_eq!(entry, Entry { pid, parent: Pid::from_raw(4), started: 777 });
        assert_eq!(parse_stat(pid, &format!("9 (odp) Z {rest}")), None);
        assert_eq!(parse_stat(pid, "9 (odp) S 4"), None);
        assert_eq!(parse_stat(pid, ""), None);
    }

    #[test]
    fn a_handler_is_a_bit() {
        let status = "Name:\todp\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000800\n";
        assert!(is_handled(status, Signal::SIGUSR2));
        assert!(is_handled(status, Signal::SIGPIPE));
        assert!(!is_handled(status, Signal::SIGHUP));
        assert!(!is_handled("", Signal::SIGHUP));
    }

    #[test]
    fn this_process_has_arguments_and_a_parent() {
        assert!(!arguments(Pid::this())[0].is_empty());
        let own = table().into_iter().find(|entry| entry.pid == Pid::this());
        assert_eq!(own.map(|entry| entry.parent), Some(Pid::parent()));
    }
}
