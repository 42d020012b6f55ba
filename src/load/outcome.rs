//! What came of a run: one structure for the text, for `--json` and for the HTML page.

use std::fmt::{self, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::books::Audit;
use super::mix::Class;
use super::moves::Moved;
use super::restarts::{Act, Restart};
use super::servers::ServerRow;
use super::tally::{Event, Gap, Journal, Latencies, Merged, Transaction};
use crate::metrics::pauses::Pauses;

/// Percentiles in microseconds; zeros if nothing was measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) count: u64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    pub(super) max_us: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

/// The same thing inside restart windows and outside them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Both {
    pub(super) outside: Latency,
    pub(super) inside: Latency,
}

impl Both {
    fn of(latencies: &Latencies) -> Self {
        let (outside, inside) = (Latency::of(&latencies.outside), Latency::of(&latencies.inside));
        Self { outside, inside }
    }

    fn count(&self) -> u64 {
        self.outside.count + self.inside.count
    }
}

impl From<&Pauses> for Latency {
    fn from(pauses: &Pauses) -> Self {
        Self {
            count: pauses.count(),
            p50_us: pauses.quantile_us(0.5),
            p99_us: pauses.quantile_us(0.99),
            p999_us: pauses.quantile_us(0.999),
            max_us: pauses.max_us(),
        }
    }
}

/// Sessions lost in one way.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LostRow {
    pub(super) class: Class,
    pub(super) transaction: Transaction,
    pub(super) reason: String,
    pub(super) count: u64,
}

/// Connects that failed in one way.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ConnectRow {
    pub(super) class: Class,
    pub(super) reason: String,
    pub(super) count: u64,
}

/// Statements that got one error.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FailedRow {
    pub(super) class: Class,
    pub(super) code: u16,
    pub(super) text: String,
    pub(super) count: u64,
}

/// What came of moves.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MovesRow {
    /// Sessions that were told to move; one that moved twice counts twice.
    pub(super) asked: u64,
    pub(super) moved: u64,
    pub(super) stayed: Vec<StayedRow>,
    /// The longest wait of the client around each move.
    pub(super) waits: Latency,
}

/// Sessions that stayed where they were, for one reason.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StayedRow {
    pub(super) reason: String,
    pub(super) count: u64,
}

impl From<Moved> for MovesRow {
    fn from(all: Moved) -> Self {
        let waits = Latency::from(&all.waits);
        let row = |(reason, count): (String, u64)| StayedRow { reason, count };
        let mut stayed: Vec<StayedRow> = all.stayed.into_iter().map(row).collect();
        stayed.sort_by_key(|row| std::cmp::Reverse(row.count));
        let asked = all.moved + stayed.iter().map(|row| row.count).sum::<u64>();
        Self { asked, moved: all.moved, stayed, waits }
    }
}

/// What one class of clients felt.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ClassRow {
    pub(super) class: Class,
    pub(super) connections: usize,
    pub(super) lost: u64,
    pub(super) lost_in_transaction: u64,
    pub(super) connects_failed: u64,
    pub(super) failed: u64,
    pub(super) wrong: u64,
    pub(super) latency: Both,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(super) target: String,
    pub(super) connections: usize,
    pub(super) duration_ms: u64,
    /// Whether nothing at all was lost.
    pub(crate) clean: bool,
    pub(super) sessions_lost: u64,
    pub(super) sessions_lost_in_transaction: u64,
    pub(super) sessions_lost_at_commit: u64,
    pub(super) connects: u64,
    pub(super) connects_failed: u64,
    pub(super) statements: u64,
    pub(super) statements_failed: u64,
    /// Deadlocks and lock waits: not the proxy's, not counted as failures.
    pub(super) conflicts: u64,
    pub(super) answers_wrong: u64,
    /// Connects that this machine could not make for want of ports or descriptors.
    pub(super) connects_not_possible_here: u64,
    /// None if the bank had no clients, or could not be audited.
    pub(super) bank: Option<Audit>,
    /// Why the bank could not be audited.
    pub(super) bank_failure: Option<String>,
    pub(super) restarts_failed: usize,
    pub(super) restarts: Vec<Restart>,
    /// None if no session was to move.
    pub(super) moves: Option<MovesRow>,
    /// Who answered those that read their own writes.
    pub(super) servers: Vec<ServerRow>,
    pub(super) longest_gap: Option<Gap>,
    /// Statements of all classes but `result`.
    pub(super) statement_latency: Both,
    /// From connect to the end of the log-in.
    pub(super) connect_latency: Both,
    /// How long sessions stood still in the proxy, of all restarts; None if it does not say so.
    pub(super) pauses: Option<Latency>,
    /// The longest wait of each client in each restart.
    pub(super) waits: Latency,
    pub(super) classes: Vec<ClassRow>,
    pub(super) lost: Vec<LostRow>,
    pub(super) connect_failures: Vec<ConnectRow>,
    pub(super) failures: Vec<FailedRow>,
    pub(super) events: Vec<Event>,
}

/// What the run knows beside its counters.
pub(super) struct Circumstances {
    pub(super) target: String,
    pub(super) duration: Duration,
    pub(super) counts: [usize; Class::ALL.len()],
    pub(super) restarts: Vec<Restart>,
    pub(super) audit: Option<Result<Audit, String>>,
    pub(super) moved: Option<Moved>,
    pub(super) servers: Vec<ServerRow>,
}

impl Outcome {
    /// Draws the balance.
    pub(super) fn of(merged: &Merged, journal: Journal, around: Circumstances) -> Self {
        let connect_latency = Both::of(&merged.connects);
        let classes = class_rows(merged, &journal, &around.counts);
        let lost_while = |wanted: Transaction| {
            let lost = journal.lost.iter().filter(|((_, state, _), _)| *state == wanted);
            lost.map(|(_, count)| count).sum::<u64>()
        };
        let sum = |value: fn(&ClassRow) -> u64| classes.iter().map(value).sum::<u64>();
        let (bank, bank_failure) = match around.audit {
            None => (None, None),
            Some(Ok(audit)) => (Some(audit), None),
            Some(Err(failure)) => (None, Some(failure)),
        };
        let mut outcome = Self {
            target: around.target,
            connections: around.counts.iter().sum(),
            duration_ms: around.duration.as_millis() as u64,
            clean: false,
            sessions_lost: sum(|row| row.lost),
            sessions_lost_in_transaction: sum(|row| row.lost_in_transaction),
            sessions_lost_at_commit: lost_while(Transaction::Committing),
            connects: connect_latency.count(),
            connects_failed: sum(|row| row.connects_failed),
            statements: sum(|row| row.latency.count()),
            statements_failed: sum(|row| row.failed),
            conflicts: journal.conflicts,
            answers_wrong: sum(|row| row.wrong) + bank.as_ref().map_or(0, Audit::wrong),
            connects_not_possible_here: journal.connects_local.values().sum(),
            bank,
            bank_failure,
            pauses: pauses(&around.restarts).as_ref().map(Latency::from),
            waits: Latency::from(&waits(&around.restarts)),
            restarts_failed: around.restarts.iter().filter(|one| one.failure.is_some()).count(),
            restarts: around.restarts,
            moves: around.moved.map(MovesRow::from),
            servers: around.servers,
            longest_gap: journal.longest_gap,
            statement_latency: Both::of(&merged.statements()),
            connect_latency,
            classes,
            lost: journal.lost.into_iter().map(lost_row).collect(),
            connect_failures: journal.connects_failed.into_iter().map(connect_row).collect(),
            failures: journal.failed.into_iter().map(failed_row).collect(),
            events: journal.events,
        };
        outcome.clean = outcome.is_clean();
        outcome
    }

    fn is_clean(&self) -> bool {
        let troubles = self.sessions_lost
            + self.connects_failed
            + self.statements_failed
            + self.answers_wrong
            + self.connects_not_possible_here;
        troubles == 0
            && self.restarts_failed == 0
            && self.bank_failure.is_none()
            && !self.has_nobody_moved()
            && self.statements > 0
    }

    /// Whether sessions were to move, and none has: then nothing was shown.
    fn has_nobody_moved(&self) -> bool {
        self.moves.as_ref().is_some_and(|moves| moves.moved == 0)
    }

    /// What was done to the proxy, as people call one.
    pub(super) fn act(&self) -> &'static str {
        Act::of(&self.restarts).name()
    }

    /// In what it happened.
    fn during(&self) -> String {
        let count = |count: u64, one: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{} {one}s", grouped(count))),
        };
        let restarts = count(self.restarts.len() as u64, self.act());
        let moves = count(self.moves.as_ref().map_or(0, |moves| moves.moved), "move");
        match [restarts, moves].into_iter().flatten().collect::<Vec<_>>().join(" and ") {
            nothing if nothing.is_empty() => nothing,
            during => format!(" in {during}"),
        }
    }

    /// The first line: what it all comes to.
    pub(super) fn verdict(&self) -> String {
        let restarts = self.restarts.len();
        let mut during = self.during();
        if self.clean {
            return format!("nothing was lost{during}");
        }
        let mut parts = Vec::new();
        for (count, one, many) in [
            (self.sessions_lost, "session lost", "sessions lost"),
            (self.connects_failed, "connect failed", "connects failed"),
            (self.statements_failed, "statement failed", "statements failed"),
            (self.answers_wrong, "answer wrong", "answers wrong"),
            (
                self.connects_not_possible_here,
                "connect that this machine could not make",
                "connects that this machine could not make",
            ),
        ] {
            match count {
                0 => {}
                1 => parts.push(format!("1 {one}")),
                _ => parts.push(format!("{} {many}", grouped(count))),
            }
        }
        if self.restarts_failed > 0 {
            parts.push(format!("{} of {restarts} {}s failed", self.restarts_failed, self.act()));
            during.clear();
        }
        if self.bank_failure.is_some() {
            parts.push("the bank could not be audited".into());
        }
        if self.has_nobody_moved() {
            parts.push("no session has moved".into());
        }
        if self.statements == 0 {
            parts.push("no statement was answered".into());
        }
        format!("{}{during}", parts.join(", "))
    }
}

/// How long sessions stood still in the proxy, of all restarts together; None if it never said so.
pub(super) fn pauses(restarts: &[Restart]) -> Option<Pauses> {
    let told: Vec<&Pauses> = restarts.iter().filter_map(|it| it.pauses.as_ref()).collect();
    (!told.is_empty()).then(|| sum(told.into_iter()))
}

/// The longest wait of each client in each restart.
pub(super) fn waits(restarts: &[Restart]) -> Pauses {
    sum(restarts.iter().map(|restart| &restart.waits))
}

fn sum<'a>(parts: impl Iterator<Item = &'a Pauses>) -> Pauses {
    parts.fold(Pauses::default(), |mut sum, part| {
        sum.add(part);
        sum
    })
}

fn class_rows(
    merged: &Merged,
    journal: &Journal,
    counts: &[usize; Class::ALL.len()],
) -> Vec<ClassRow> {
    let row = |class: Class| {
        let lost = journal.lost.iter().filter(|((lost, _, _), _)| *lost == class);
        let open = lost.clone().filter(|((_, state, _), _)| *state != Transaction::None);
        let failed = journal.failed.iter().filter(|((failed, _, _), _)| *failed == class);
        let connects = journal.connects_failed.iter().filter(|((connect, _), _)| *connect == class);
        ClassRow {
            class,
            connections: counts[class.index()],
            lost: lost.map(|(_, count)| count).sum(),
            lost_in_transaction: open.map(|(_, count)| count).sum(),
            connects_failed: connects.map(|(_, count)| count).sum(),
            failed: failed.map(|(_, count)| count).sum(),
            wrong: journal.wrong.get(&class).copied().unwrap_or_default(),
            latency: Both::of(&merged.classes[class.index()]),
        }
    };
    Class::ALL.into_iter().filter(|class| counts[class.index()] > 0).map(row).collect()
}

fn lost_row(((class, transaction, reason), count): ((Class, Transaction, String), u64)) -> LostRow {
    LostRow { class, transaction, reason, count }
}

fn connect_row(((class, reason), count): ((Class, String), u64)) -> ConnectRow {
    ConnectRow { class, reason, count }
}

fn failed_row(((class, code, text), count): ((Class, u16, String), u64)) -> FailedRow {
    FailedRow { class, code, text, count }
}

/// Microseconds as people read them, three digits of them: `412 µs`, `1.25 ms`, `3.10 s`.
pub(super) fn human(micros: u64) -> String {
    let (value, unit) = match micros {
        0..1000 => return format!("{micros} µs"),
        1000..1_000_000 => (micros as f64 / 1e3, "ms"),
        _ => (micros as f64 / 1e6, "s"),
    };
    match value {
        0.0..10.0 => format!("{value:.2} {unit}"),
        10.0..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A number with its thousands apart: `1 234 567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.duration_ms as f64 / 1e3;
        writeln!(f, "{} connections to {} for {seconds:.1} s", self.connections, self.target)?;
        writeln!(f, "{}\n", self.verdict().to_uppercase())?;
        self.write_counts(f)?;
        self.write_latencies(f)?;
        self.write_classes(f)?;
        self.write_troubles(f)
    }
}

impl Outcome {
    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, count: u64, more: String| {
            writeln!(f, "  {name:<20}{:>12}{more}", grouped(count))
        };
        let (open, commit) = (self.sessions_lost_in_transaction, self.sessions_lost_at_commit);
        let more = match self.sessions_lost {
            0 => String::new(),
            _ => format!("   {open} of them in a transaction, {commit} of these at COMMIT"),
        };
        line("sessions lost", self.sessions_lost, more)?;
        let connects = grouped(self.connects + self.connects_failed);
        line("connects failed", self.connects_failed, format!("   of {connects}"))?;
        let statements = grouped(self.statements + self.statements_failed);
        let mut more = format!("   of {statements}");
        if self.conflicts > 0 {
            let _ = write!(more, "; {} lock conflicts tried again", self.conflicts);
        }
        line("statements failed", self.statements_failed, more)?;
        line("answers wrong", self.answers_wrong, String::new())?;
        if self.connects_not_possible_here > 0 {
            let more = "   no ports or descriptors left on this machine".to_owned();
            line("connects impossible", self.connects_not_possible_here, more)?;
        }
        self.write_bank(f)?;
        self.write_moves(f)?;
        self.write_servers(f)?;
        self.write_restarts(f)
    }

    fn write_moves(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(moves) = &self.moves else { return Ok(()) };
        let (moved, asked) = (grouped(moves.moved), grouped(moves.asked));
        writeln!(f, "  sessions moved      {moved:>12}   of {asked}")?;
        for StayedRow { reason, count } in &moves.stayed {
            writeln!(f, "    stayed            {:>12}   {reason}", grouped(*count))?;
        }
        Ok(())
    }

    fn write_servers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.servers {
            let (reads, server) = (grouped(row.reads), &row.server);
            write!(f, "  reads of own writes {reads:>12}   by {server}")?;
            match row.stale {
                0 => writeln!(f, ", none stale")?,
                stale => {
                    let (stale, behind) = (grouped(stale), grouped(row.furthest_behind));
                    writeln!(f, ": {stale} STALE, by up to {behind} writes")?;
                }
            }
        }
        Ok(())
    }

    fn write_bank(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.bank_failure {
            writeln!(f, "  bank                not audited: {failure}")?;
        }
        let Some(bank) = &self.bank else { return Ok(()) };
        let acknowledged = grouped(bank.acknowledged);
        write!(f, "  commits             {acknowledged:>12}   acknowledged")?;
        let (missing, never) = (bank.acknowledged_missing, bank.never_committed);
        match bank.wrong() {
            0 => write!(f, ", all in the ledger; the total is right")?,
            _ => write!(
                f,
                ", {missing} of them not in the ledger; {never} in it that nobody committed; \
                 total {} of {}",
                bank.total, bank.expected_total
            )?,
        }
        match bank.unknown {
            0 => writeln!(f),
            unknown => {
                let committed = bank.unknown_committed;
                writeln!(f, "; {unknown} unknown, {committed} of them turned out committed")
            }
        }
    }

    fn write_restarts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.restarts.is_empty() {
            return writeln!(f);
        }
        let lasted = || self.restarts.iter().map(Restart::lasted_ms);
        let (shortest, longest) = (lasted().min(), lasted().max());
        let seconds = |ms: Option<u64>| ms.unwrap_or_default() as f64 / 1e3;
        let completed = self.restarts.len() - self.restarts_failed;
        writeln!(
            f,
            "  {:<20}{completed:>12}   of {} completed, in {:.2} s to {:.2} s\n",
            format!("{}s", self.act()),
            self.restarts.len(),
            seconds(shortest),
            seconds(longest)
        )
    }

    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = ["p50", "p99", "p99.9", "max", "of"];
        write!(f, "  {:<26}", "latency")?;
        columns.iter().try_for_each(|column| write!(f, "{column:>11}"))?;
        writeln!(f)?;
        let moves = self.moves.as_ref().map(|moves| moves.waits).unwrap_or_default();
        let during = |what: &str| format!("{what}, in {}s", self.act());
        for (name, latency) in [
            ("statements, else", &self.statement_latency.outside),
            (during("statements").as_str(), &self.statement_latency.inside),
            ("connects, else", &self.connect_latency.outside),
            (during("connects").as_str(), &self.connect_latency.inside),
            ("pauses in the proxy", &self.pauses.unwrap_or_default()),
            ("each client's longest wait", &self.waits),
            ("longest wait around a move", &moves),
        ] {
            if latency.count == 0 {
                continue;
            }
            let Latency { count, p50_us, p99_us, p999_us, max_us } = *latency;
            write!(f, "  {name:<26}")?;
            [p50_us, p99_us, p999_us, max_us]
                .iter()
                .try_for_each(|value| write!(f, "{:>11}", human(*value)))?;
            writeln!(f, "{:>11}", grouped(count))?;
        }
        if let Some(gap) = &self.longest_gap {
            let (length, at) = (human(gap.micros), gap.at_ms as f64 / 1e3);
            let (class, client) = (gap.class, gap.client.0);
            writeln!(
                f,
                "  longest gap of any connection: {length} ({class} {client}, at {at:.1} s)"
            )?;
        }
        writeln!(f)
    }

    fn write_classes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns =
            ["conns", "answers", "lost", "refused", "failed", "wrong", "p50", "p99", "max"];
        write!(f, "  {:<12}", "class")?;
        columns.iter().try_for_each(|column| write!(f, "{column:>10}"))?;
        writeln!(f)?;
        for row in &self.classes {
            let (one, other) = (&row.latency.outside, &row.latency.inside);
            write!(f, "  {:<12}{:>10}{:>10}", row.class, row.connections, row.latency.count())?;
            let troubles = [row.lost, row.connects_failed, row.failed, row.wrong];
            troubles.iter().try_for_each(|count| write!(f, "{count:>10}"))?;
            let worse = |value: fn(&Latency) -> u64| human(value(one).max(value(other)));
            writeln!(
                f,
                "{:>10}{:>10}{:>10}",
                worse(|latency| latency.p50_us),
                worse(|latency| latency.p99_us),
                worse(|latency| latency.max_us)
            )?;
        }
        Ok(())
    }

    fn write_troubles(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for LostRow { class, transaction, reason, count } in &self.lost {
            let when = match transaction {
                Transaction::None => "",
                Transaction::Open => " in a transaction",
                Transaction::Committing => " at COMMIT",
            };
            writeln!(f, "  lost: {count} {class}{when}: {reason}")?;
        }
        for ConnectRow { class, reason, count } in &self.connect_failures {
            writeln!(f, "  connect failed: {count} {class}: {reason}")?;
        }
        for FailedRow { class, code, text, count } in &self.failures {
            writeln!(f, "  failed: {count} {class}: error {code} {text}")?;
        }
        let wrong = self.events.iter().filter(|event| event.kind == super::tally::Kind::Wrong);
        for event in wrong.take(20) {
            writeln!(f, "  wrong: {} {}: {}", event.class, event.client.0, event.text)?;
        }
        for restart in self.restarts.iter().filter(|restart| restart.failure.is_some()) {
            let at = restart.began_ms as f64 / 1e3;
            let failure = restart.failure.as_deref().unwrap_or_default();
            let act = restart.act.name();
            writeln!(f, "  {act} failed: {} at {at:.1} s: {failure}", restart.target)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(human(412), "412 µs");
        assert_eq!(human(1250), "1.25 ms");
        assert_eq!(human(35_000), "35.0 ms");
        assert_eq!(human(3_100_000), "3.10 s");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(grouped(999), "999");
    }
}
