//! What is known of a restart from what its proxy shows, and whether a restarted proxy is well.
//! Pure.

use super::record::{Answers, Build, Mark};
use crate::fleet::port::Row;

/// Fewer errors than that say nothing.
const FEW: u64 = 20;

/// How a restart stands that was asked for, or was about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// The proxy knows of none.
    NotBegun,
    /// It is this task of the proxy's.
    UnderWay(u64),
    /// It is over, and it was this one.
    Ended(u64),
}

/// What the proxy knows of a restart since the mark: by ids, as clocks differ. Newest first. Who
/// was started anew knows of nothing.
pub(super) fn since(mark: Mark, tasks: &[Row]) -> Restart {
    let is_restart = |row: &&Row| row.text("mode") != Some("REHEARSE");
    let newest = tasks.iter().find(is_restart);
    let Some((id, row)) = newest.and_then(|row| Some((row.number("task_id")?, row))) else {
        return Restart::NotBegun;
    };
    match (id > mark.last_task, row.text("state")) {
        (false, _) => Restart::NotBegun,
        (true, Some("IN_PROGRESS")) => Restart::UnderWay(id),
        (true, _) => Restart::Ended(id),
    }
}

/// How a proxy stands: rows of SHOW PROXYINFO BINARY, SHOW RESTART and SHOW PROXYSTAT.
pub(super) fn mark(proxy: &Row, tasks: &[Row], stat: &Row) -> (Mark, Build) {
    let text = |name| proxy.text(name).unwrap_or_default().to_owned();
    let mark = Mark {
        generation: proxy.number("generation").unwrap_or_default(),
        last_task: tasks.iter().filter_map(|row| row.number("task_id")).max().unwrap_or_default(),
        answers: answers(stat),
    };
    (mark, Build { version: text("version"), binary: text("binary"), config: text("config") })
}

/// What clients got so far.
pub(super) fn answers(stat: &Row) -> Answers {
    let number = |name| stat.number(name).unwrap_or_default();
    let errors = number("server_error_responses");
    let good = number("server_ok_responses") + number("server_resultset_responses");
    Answers { all: good + errors, errors }
}

/// What is wrong with a proxy that was watched from one instant to another; None: it is well.
pub(super) fn illness(before: &Row, after: &Row, status: &str) -> Option<String> {
    let text = |row: &Row, name| row.text(name).unwrap_or("?").to_owned();
    for name in ["pid", "generation"] {
        let [was, is] = [before, after].map(|row| text(row, name));
        if was != is {
            return Some(format!("{name} {was} is {is} now: another process serves"));
        }
    }
    match after.text("state") {
        Some("RUNNING") if status == "ACTIVE" => None,
        Some("RUNNING") => Some(format!("it takes no clients: its status is {status}")),
        state => Some(format!("it is {}", state.unwrap_or("in no state"))),
    }
}

/// Whether more answers are errors than before, by more than that many percent of all.
pub(super) fn too_many_errors(
    usual: Answers,
    begin: Answers,
    end: Answers,
    most_percent: u32,
) -> Option<String> {
    let all = end.all.saturating_sub(begin.all);
    let errors = end.errors.saturating_sub(begin.errors);
    let percent = |errors: u64, all: u64| errors as f64 * 100.0 / all.max(1) as f64;
    let (now, before) = (percent(errors, all), percent(usual.errors, usual.all));
    let is_worse = errors >= FEW && now > before + f64::from(most_percent);
    is_worse.then(|| {
        format!("{now:.1} % of {all} answers were errors, and {before:.1} % before its restart")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[(&str, &str)]) -> Row {
        Row(columns.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect())
    }

    fn task(id: &str, mode: &str, state: &str) -> Row {
        row(&[("task_id", id), ("mode", mode), ("state", state)])
    }

    #[test]
    fn a_restart_is_told_by_its_id_from_those_before() {
        let mark = Mark { generation: 4, last_task: 7, answers: Answers::default() };
        let old = task("7", "RESTART", "COMPLETED");
        let rehearsed = task("9", "REHEARSE", "COMPLETED");
        for (tasks, expected) in [
            (vec![], Restart::NotBegun),
            (vec![old.clone()], Restart::NotBegun),
            (vec![rehearsed.clone(), old.clone()], Restart::NotBegun),
            (vec![task("8", "RESTART", "IN_PROGRESS"), old.clone()], Restart::UnderWay(8)),
            (vec![rehearsed, task("8", "FORCE", "FAILED"), old], Restart::Ended(8)),
        ] {
            assert_eq!(since(mark, &tasks), expected, "{tasks:?}");
        }
    }

    #[test]
    fn a_mark_is_how_a_proxy_stands() {
        let proxy = row(&[("generation", "3"), ("version", "1.2"), ("config", "/c")]);
        let stat = row(&[("server_ok_responses", "5"), ("server_error_responses", "2")]);
        let (mark, build) = mark(&proxy, &[task("8", "RESTART", "FAILED")], &stat);
        let answers = Answers { all: 7, errors: 2 };
        assert_eq!(mark, Mark { generation: 3, last_task: 8, answers });
        assert_eq!((build.version.as_str(), build.binary.as_str()), ("1.2", ""));
    }

    #[test]
    fn who_is_another_process_or_does_not_run_is_not_well() {
        let proxy =
            |pid: &str, state: &str| row(&[("pid", pid), ("generation", "2"), ("state", state)]);
        let well = proxy("1", "RUNNING");
        assert_eq!(illness(&well, &well, "ACTIVE"), None);
        let other = illness(&well, &proxy("2", "RUNNING"), "ACTIVE");
        assert!(other.is_some_and(|it| it.contains("pid")));
        let offline = illness(&well, &proxy("1", "OFFLINE"), "ACTIVE");
        assert_eq!(offline.as_deref(), Some("it is OFFLINE"));
        assert!(illness(&well, &well, "INACTIVE").is_some_and(|it| it.contains("no clients")));
    }

    #[test]
    fn errors_count_if_they_are_many_and_more_than_before() {
        let answers = |all, errors| Answers { all, errors };
        let none = answers(0, 0);
        for (usual, begin, end, expected) in [
            (answers(1000, 0), none, none, false),
            (answers(1000, 0), none, answers(20, 19), false),
            (answers(1000, 0), none, answers(100, 20), true),
            (answers(1000, 0), none, answers(1000, 49), false),
            (answers(1000, 0), none, answers(1000, 51), true),
            (answers(1000, 500), none, answers(1000, 540), false),
            (answers(1000, 0), answers(500, 50), answers(600, 50), false),
            // Counters of a process that was started anew.
            (answers(1000, 0), answers(500, 50), answers(6, 5), false),
        ] {
            let found = too_many_errors(usual, begin, end, 5);
            assert_eq!(found.is_some(), expected, "{usual:?} {begin:?} {end:?}");
        }
    }
}
