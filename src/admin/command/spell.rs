//! A change as the SQL that asks for it: for the audit, and for people to copy.
//!
//! Invariant: what is written here is read by the grammar of `command` as the same change.

use std::fmt;
use std::path::PathBuf;

use super::fleet::{Order, Word};
use super::{Change, switchover};
use crate::config::parameter::cluster::ServerChange;
use crate::fleet::port::quoted;
use crate::fleet::tasks;
use crate::restart::task::{Mode, Request};

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart(request) => restart(f, request),
            Self::Rollback => f.write_str("RESTART ROLLBACK"),
            Self::Fleet(Order::Start(request)) => fleet(f, "RESTART FLEET", request),
            Self::Fleet(Order::Rehearse(request)) => fleet(f, "RESTART FLEET REHEARSE", request),
            Self::Fleet(Order::Of(word, id)) => {
                let word = Word::ALL.iter().find(|(_, it)| it == word).map_or("", |(word, _)| word);
                write!(f, "RESTART FLEET {}", word.to_uppercase())?;
                id.map_or(Ok(()), |id| write!(f, " {id}"))
            }
            Self::Alter(changes) => {
                f.write_str("ALTER PROXYCONFIG SET ")?;
                assignments(f, changes)
            }
            Self::AlterCluster(cluster, changes) => {
                write!(f, "ALTER CLUSTER {} SET ", Text(cluster))?;
                assignments(f, changes)
            }
            Self::AlterServer(cluster, change, server) => {
                let word = ServerChange::WORDS.iter().find(|(_, it)| it == change);
                let word = word.map_or("", |(word, _)| word).to_uppercase();
                write!(f, "ALTER CLUSTER {} {word} SERVER {}", Text(cluster), Text(server))
            }
            Self::SwitchOver(cluster, order) => switchover::spell(f, cluster, order),
            Self::Kill(id) => write!(f, "KILL PROXYSESSION {id}"),
            Self::Move(id, server) => write!(f, "MOVE PROXYSESSION {id} TO {}", Text(server)),
            Self::ResetDigests => f.write_str("RESET PROXYDIGEST"),
        }
    }
}

fn restart(f: &mut fmt::Formatter<'_>, request: &Request) -> fmt::Result {
    let Request { mode, exit_timeout, binary, config } = request;
    f.write_str(match mode {
        Mode::Restart | Mode::Unknown => "RESTART",
        Mode::Force => "RESTART FORCE",
        Mode::Rehearse => "RESTART REHEARSE",
    })?;
    if let Some(timeout) = exit_timeout {
        write!(f, " EXIT_TIMEOUT = {}", Text(&timeout.to_string()))?;
    }
    for (key, path) in [("BINARY", binary), ("CONFIG", config)] {
        if let Some(path) = path {
            write!(f, " {key} = {}", Text(&path.to_string_lossy()))?;
        }
    }
    Ok(())
}

/// What is as it is without a word is left out.
fn fleet(f: &mut fmt::Formatter<'_>, verb: &str, request: &tasks::Request) -> fmt::Result {
    let usual = tasks::Request::default();
    let tasks::Request { mode, exit_timeout, binary, config, batch, canary, pause, .. } = request;
    let flag = |flag: bool| if flag { "on" } else { "off" }.to_owned();
    let path = |path: &Option<PathBuf>| path.as_ref().map(|it| it.to_string_lossy().into_owned());
    let percent = request.max_error_percent;
    let options = [
        ("BATCH", (*batch != usual.batch).then(|| batch.to_string())),
        ("CANARY", (*canary != usual.canary).then(|| canary.to_string())),
        ("PAUSE", (*pause != usual.pause).then(|| pause.to_string())),
        ("MAX_ERROR_PERCENT", (percent != usual.max_error_percent).then(|| percent.to_string())),
        ("STOP_ON_FAILURE", (!request.stop_on_failure).then(|| flag(request.stop_on_failure))),
        ("REHEARSAL", (!request.rehearsal).then(|| flag(request.rehearsal))),
        ("CLUSTER", request.cluster.clone()),
        ("PROXIES", Some(request.proxies.join(",")).filter(|names| !names.is_empty())),
        ("EXIT_TIMEOUT", exit_timeout.map(|timeout| timeout.to_string())),
        ("BINARY", path(binary)),
        ("CONFIG", path(config)),
    ];
    f.write_str(verb)?;
    if *mode == tasks::Mode::Force {
        f.write_str(" FORCE")?;
    }
    for (name, value) in options {
        value.map_or(Ok(()), |value| write!(f, " {name} = {}", Text(&value)))?;
    }
    Ok(())
}

fn assignments(f: &mut fmt::Formatter<'_>, changes: &[(String, String)]) -> fmt::Result {
    for (at, (name, value)) in changes.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(f, "{comma}{} = {}", Name(name), Text(value))?;
    }
    Ok(())
}

/// In quotes.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(self.0))
    }
}

/// In backticks where it needs them.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
        match !self.0.is_empty() && self.0.chars().all(is_plain) {
            true => f.write_str(self.0),
            false => write!(f, "`{}`", self.0.replace('`', "``")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::{Union, ValueTree as _};
    use proptest::test_runner::TestRunner;

    use super::super::Command;
    use super::super::switchover::Aim;
    use super::*;
    use crate::wire::id::SessionId;

    fn text() -> impl Strategy<Value = String> {
        "[ -~é…]{1,12}"
    }

    fn names() -> impl Strategy<Value = Vec<(String, String)>> {
        proptest::collection::vec(("[a-z][a-z0-9_. -]{0,8}", text()), 1..4)
    }

    /// Every kind of change, and some of it: one that is missing does not compile.
    macro_rules! kinds {
        ($($kind:pat => $some:expr;)+) => {
            fn kinds() -> Vec<(&'static str, BoxedStrategy<Change>)> {
                vec![$((stringify!($kind), $some.boxed())),+]
            }

            fn kind(change: &Change) -> &'static str {
                match change {
                    $($kind => stringify!($kind),)+
                }
            }
        };
    }

    kinds! {
        Change::Restart(_) => restarts();
        Change::Rollback => Just(Change::Rollback);
        Change::Fleet(_) => fleets().prop_map(Change::Fleet);
        Change::Alter(_) => names().prop_map(Change::Alter);
        Change::AlterCluster(..) =>
            (text(), names()).prop_map(|(cluster, names)| Change::AlterCluster(cluster, names));
        Change::AlterServer(..) => servers();
        Change::SwitchOver(..) => switchovers();
        Change::Kill(_) => any::<u32>().prop_map(|id| Change::Kill(SessionId(id)));
        Change::Move(..) =>
            (any::<u32>(), text()).prop_map(|(id, server)| Change::Move(SessionId(id), server));
        Change::ResetDigests => Just(Change::ResetDigests);
    }

    fn changes() -> impl Strategy<Value = Change> {
        Union::new(kinds().into_iter().map(|(_, some)| some))
    }

    fn restarts() -> impl Strategy<Value = Change> {
        let modes = prop_oneof![Just(Mode::Restart), Just(Mode::Force), Just(Mode::Rehearse)];
        let timeouts = proptest::option::of(prop_oneof![Just("-1"), Just("30s"), Just("0")]);
        let paths = || proptest::option::of(text().prop_map(Into::into));
        (modes, timeouts, paths(), paths()).prop_map(|(mode, timeout, binary, config)| {
            let exit_timeout = timeout.map(|timeout| match timeout {
                "0" => crate::config::ExitTimeout::After(std::time::Duration::ZERO),
                timeout => timeout.parse().expect("a timeout"),
            });
            Change::Restart(Request { mode, exit_timeout, binary, config })
        })
    }

    fn servers() -> impl Strategy<Value = Change> {
        let words = 0..ServerChange::WORDS.len();
        (text(), text(), words).prop_map(|(cluster, server, at)| {
            Change::AlterServer(cluster, ServerChange::WORDS[at].1, server)
        })
    }

    fn switchovers() -> impl Strategy<Value = Change> {
        let aim = || (text(), any::<bool>()).prop_map(|(address, force)| Aim { address, force });
        let orders = prop_oneof![
            aim().prop_map(switchover::Order::Alone),
            aim().prop_map(switchover::Order::Lead),
            aim().prop_map(switchover::Order::Ready),
            Just(switchover::Order::Wait),
            Just(switchover::Order::Over),
        ];
        (text(), orders).prop_map(|(cluster, order)| Change::SwitchOver(cluster, order))
    }

    fn fleets() -> impl Strategy<Value = Order> {
        let of = (0..Word::ALL.len(), proptest::option::of(any::<u64>()))
            .prop_map(|(at, id)| Order::Of(Word::ALL[at].1, id));
        let names = proptest::collection::vec("[a-z][a-z0-9.:-]{0,8}", 0..3);
        let cluster = proptest::option::of(text());
        let path = || proptest::option::of("/[ -~]{1,8}".prop_map(Into::into));
        let numbers = (any::<bool>(), 1..=1000_usize, 0..=1000_usize, 0..=100_u32, 0..100_u64);
        let which = (cluster, names);
        let start = (numbers, any::<(bool, bool, bool)>(), which, path(), path()).prop_map(
            |((force, batch, canary, percent, seconds), flags, which, binary, config)| {
                let (cluster, proxies) = which;
                let span = std::time::Duration::from_secs(seconds);
                let timeout = crate::config::ExitTimeout::After(span);
                let mode = if force { tasks::Mode::Force } else { tasks::Mode::Restart };
                tasks::Request {
                    mode,
                    exit_timeout: flags.0.then_some(timeout),
                    binary,
                    config,
                    batch,
                    canary,
                    pause: crate::config::Span(span),
                    max_error_percent: percent,
                    stop_on_failure: flags.1,
                    rehearsal: flags.2,
                    cluster,
                    proxies,
                }
            },
        );
        let start = (start, any::<bool>()).prop_map(|(request, rehearses)| match rehearses {
            false => Order::Start(request),
            true => {
                let tasks::Request { cluster, proxies, .. } = request;
                Order::Rehearse(tasks::Request { cluster, proxies, ..tasks::Request::default() })
            }
        });
        prop_oneof![of, start]
    }

    #[test]
    fn there_are_words_for_each_kind_of_change() {
        let mut runner = TestRunner::deterministic();
        for (name, some) in kinds() {
            let change = some.new_tree(&mut runner).expect("a change").current();
            assert_eq!(kind(&change), name);
            let sql = change.to_string();
            assert_eq!(Command::parse(&sql), Ok(Command::Change(change)), "{sql}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(change in changes()) {
            let sql = change.to_string();
            prop_assert_eq!(Command::parse(&sql), Ok(Command::Change(change)), "{}", sql);
        }
    }
}
