//! The page about a run: one HTML file that needs nothing else, for a screen, a mail or a printer.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::outcome::{self, ClassRow, Latency, Outcome, StayedRow, human};
use super::restarts::{Act, Restart};
use super::servers::ServerRow;
use super::tally::{Kind, Latencies, Transaction};
use super::timeline::Timeline;
use crate::metrics::pauses::Pauses;

mod chart;

/// More points than this on a time axis cannot be told apart.
const MOST_POINTS: usize = 900;
/// Rows of the list of single troubles.
const MOST_EVENTS: usize = 100;
/// Rows of the list of restarts.
const MOST_RESTARTS: usize = 200;

/// The whole page.
pub(super) fn page(outcome: &Outcome, timeline: &Timeline, statements: &Latencies) -> String {
    let title = escape(&outcome.verdict());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>odp load: {title}</title>\n<style>\n{}</style>\n</head>\n<body>\n",
        include_str!("style.css")
    );
    page.push_str(&header(outcome));
    page.push_str(&tiles(outcome));
    page.push_str(&time_charts(outcome, timeline));
    page.push_str(&percentiles(statements, Act::of(&outcome.restarts).name()));
    page.push_str(&pauses(&outcome.restarts));
    page.push_str(&latencies(outcome));
    page.push_str(&classes(outcome));
    page.push_str(&moves(outcome));
    page.push_str(&servers(&outcome.servers));
    page.push_str(&troubles(outcome));
    page.push_str(&restarts(&outcome.restarts));
    page.push_str(&events(outcome));
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(
        page,
        "<footer>Made by odp load {version}. A session is lost when its connection ends, or gives \
         no answer in time; it is counted once and opened again. A gap is the time from a wish (a \
         statement, a connect) until the same client was served, opening again included.</footer>\
         \n</body>\n</html>"
    );
    page
}

fn header(outcome: &Outcome) -> String {
    let class = if outcome.clean { "" } else { " class=\"bad\"" };
    let verdict = capital(&outcome.verdict());
    format!(
        "<header{class}><p class=\"kind\">odp load</p><h1>{}</h1>\
         <p class=\"faint\">{} connections to {} for {:.1} s</p></header>\n",
        escape(&verdict),
        grouped(outcome.connections as u64),
        escape(&outcome.target),
        outcome.duration_ms as f64 / 1e3
    )
}

fn tiles(outcome: &Outcome) -> String {
    let count = |value: u64, name: &str, more: &str| {
        let class = if value == 0 { " good" } else { " bad" };
        tile(class, &grouped(value), name, more)
    };
    let of = |all: u64| format!("of {}", grouped(all));
    let lost = match outcome.sessions_lost_in_transaction {
        0 => format!("of {} at a time", grouped(outcome.connections as u64)),
        open => format!("{} of them in a transaction", grouped(open)),
    };
    let connects = of(outcome.connects + outcome.connects_failed);
    let statements = of(outcome.statements + outcome.statements_failed);
    let completed = outcome.restarts.len() - outcome.restarts_failed;
    let mut tiles = String::from("<div class=\"tiles\">\n");
    tiles.push_str(&count(outcome.sessions_lost, "sessions lost", &lost));
    tiles.push_str(&count(outcome.connects_failed, "connects failed", &connects));
    tiles.push_str(&count(outcome.statements_failed, "statements failed", &statements));
    tiles.push_str(&count(outcome.answers_wrong, "answers wrong", "all were checked"));
    if !outcome.restarts.is_empty() {
        let class = if outcome.restarts_failed == 0 { "" } else { " bad" };
        let of = format!("of {}", outcome.restarts.len());
        let name = match Act::of(&outcome.restarts) {
            Act::Restart => "restarts completed",
            Act::Kill => "kills gone through",
        };
        tiles.push_str(&tile(class, &completed.to_string(), name, &of));
    }
    let (gap, who) = match &outcome.longest_gap {
        None => ("–".into(), String::new()),
        Some(gap) => {
            let at = gap.at_ms as f64 / 1e3;
            (human(gap.micros), format!("{} {}, at {at:.1} s", gap.class, gap.client.0))
        }
    };
    tiles.push_str(&tile("", &gap, "longest gap of any", &who));
    tiles.push_str("</div>\n");
    tiles
}

fn tile(class: &str, value: &str, name: &str, more: &str) -> String {
    format!(
        "<div class=\"tile{class}\"><b>{value}</b><span>{name}</span><small>{more}</small></div>\n"
    )
}

fn time_charts(outcome: &Outcome, timeline: &Timeline) -> String {
    let together = timeline.len().div_ceil(MOST_POINTS).max(1);
    let slices = timeline.coarse(together);
    let width = timeline.width() * together as u32;
    let time = chart::Time { slices: &slices, width, restarts: &outcome.restarts };
    let milliseconds = width.as_millis();
    let (one, band) = match Act::of(&outcome.restarts) {
        Act::Restart => {
            ("a restart", "a restart, by its number; paler: its probation, or settling")
        }
        Act::Kill => ("a kill", "a kill -9, by its number, until the next process serves"),
    };
    let latency_legend = [
        ("p50", "p50".to_owned()),
        ("p99", "p99".to_owned()),
        ("max", "longest".to_owned()),
        ("band", band.to_owned()),
    ];
    let mut html = section(
        "Latency over time",
        &format!("of short statements, by when they were sent, in steps of {milliseconds} ms"),
        &format!("{}{}", legend(&latency_legend), chart::latency(&time)),
    );
    let any = outcome.sessions_lost
        + outcome.connects_failed
        + outcome.statements_failed
        + outcome.answers_wrong;
    if any > 0 {
        let items = [
            ("loss", "one or more; a silent session notices at its next look".to_owned()),
            ("band", one.to_owned()),
        ];
        let body = format!("{}{}", legend(&items), chart::troubles(&time));
        html.push_str(&section("What went wrong, over time", "", &body));
    }
    let body = chart::throughput(&time);
    html.push_str(&section("Statements a second", "short statements answered", &body));
    html
}

fn percentiles(statements: &Latencies, act: &str) -> String {
    let mut curves = Vec::new();
    let mut items = Vec::new();
    for (class, name, histogram) in
        [("outside", "outside of", &statements.outside), ("inside", "in", &statements.inside)]
    {
        if !histogram.is_empty() {
            curves.push((class, curve(histogram)));
            items.push((class, format!("{name} {act}s ({})", grouped(histogram.len()))));
        }
    }
    let body = format!("{}{}", legend(&items), chart::percentiles(&curves));
    section("Latency by percentile", "what share of short statements took at most how long", &body)
}

/// What restarts were, as the proxy counted it and as clients felt it.
fn pauses(restarts: &[Restart]) -> String {
    let (pauses, waits) = (outcome::pauses(restarts), outcome::waits(restarts));
    let act = Act::of(restarts).name();
    let longest = format!("the longest wait of a client in a {act}");
    let mut groups = Vec::new();
    if let Some(pauses) = pauses.filter(|pauses| pauses.count() > 0) {
        groups.push(("pause", "a session stood still in the proxy", pauses));
    }
    if waits.count() > 0 {
        groups.push(("wait", longest.as_str(), waits));
    }
    if groups.is_empty() {
        return String::new();
    }
    let item = |(class, name, pauses): &(&'static str, &str, Pauses)| {
        let latency = Latency::from(pauses);
        let [p50, p99, max] = [latency.p50_us, latency.p99_us, latency.max_us].map(human);
        let count = grouped(latency.count);
        (*class, format!("{name} ({count}): p50 {p50}, p99 {p99}, longest {max}"))
    };
    let items: Vec<_> = groups.iter().map(item).collect();
    let bars: Vec<_> = groups.iter().map(|(class, _, it)| (*class, it.octaves())).collect();
    let body = format!("{}{}", legend(&items), chart::pauses(&bars));
    let about =
        format!("how many were how long, of all {act}s together, each kind to its own scale");
    section(&format!("Pauses in {act}s"), &about, &body)
}

/// Where the curve of a histogram goes: finer and finer towards its end.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    let quantile = |step: u32| 1.0 - 10_f64.powf(-f64::from(step) / 12.0);
    // Beyond one in as many as there are, every quantile is the maximum.
    let last = ((histogram.len() as f64).log10() * 12.0).ceil().clamp(1.0, 60.0) as u32;
    (0..=last).map(quantile).map(|q| (q, histogram.value_at_quantile(q))).collect()
}

fn latencies(outcome: &Outcome) -> String {
    let head = ["p50", "p99", "p99.9", "longest", "measured"];
    let act = outcome.act();
    let mut rows = Vec::new();
    for (what, latency) in [
        ("statements, outside of", &outcome.statement_latency.outside),
        ("statements, in", &outcome.statement_latency.inside),
        ("connects, outside of", &outcome.connect_latency.outside),
        ("connects, in", &outcome.connect_latency.inside),
    ] {
        if latency.count > 0 {
            let Latency { count, p50_us, p99_us, p999_us, max_us } = *latency;
            let mut cells = left(&format!("{what} {act}s"));
            [p50_us, p99_us, p999_us, max_us]
                .iter()
                .for_each(|value| cells.push_str(&cell(&human(*value))));
            cells.push_str(&cell(&grouped(count)));
            rows.push(cells);
        }
    }
    let gap = outcome.longest_gap.as_ref().map_or(String::new(), |gap| {
        let at = gap.at_ms as f64 / 1e3;
        let (length, class, client) = (human(gap.micros), gap.class, gap.client.0);
        format!("Longest gap of any connection: {length}, {class} {client}, at {at:.1} s.")
    });
    section("Latency in numbers", &gap, &table(&[""], &head, &rows))
}

fn classes(outcome: &Outcome) -> String {
    let inside = format!("p99 in {}s", outcome.act());
    let head = [
        "clients",
        "answers",
        "lost",
        "refused",
        "failed",
        "wrong",
        "p50",
        "p99",
        inside.as_str(),
        "longest",
    ];
    let row = |row: &ClassRow| {
        let (one, other) = (&row.latency.outside, &row.latency.inside);
        let (name, purpose) = (row.class.name(), escape(row.class.purpose()));
        let mut cells = format!("<td class=\"left\">{name}<small>{purpose}</small></td>");
        cells.push_str(&cell(&grouped(row.connections as u64)));
        cells.push_str(&cell(&grouped(one.count + other.count)));
        let troubles = [row.lost, row.connects_failed, row.failed, row.wrong];
        troubles.iter().for_each(|count| cells.push_str(&trouble_cell(*count)));
        cells.push_str(&cell(&human(one.p50_us)));
        cells.push_str(&cell(&human(one.p99_us)));
        let inside = if other.count == 0 { "–".into() } else { human(other.p99_us) };
        cells.push_str(&cell(&inside));
        cells.push_str(&cell(&human(one.max_us.max(other.max_us))));
        cells
    };
    let rows: Vec<String> = outcome.classes.iter().map(row).collect();
    section("By class", "", &table(&["class"], &head, &rows))
}

fn moves(outcome: &Outcome) -> String {
    let Some(moves) = &outcome.moves else { return String::new() };
    let [p50, p99, max] = [moves.waits.p50_us, moves.waits.p99_us, moves.waits.max_us].map(human);
    let about = format!(
        "{} of {} sessions went on with another server when they were told to; the longest wait of \
         a client around its move: p50 {p50}, p99 {p99}, longest {max}",
        grouped(moves.moved),
        grouped(moves.asked)
    );
    let row = |row: &StayedRow| format!("{}{}", left(&row.reason), cell(&grouped(row.count)));
    let rows: Vec<String> = moves.stayed.iter().map(row).collect();
    let body = if rows.is_empty() { String::new() } else { table(&["stayed"], &["count"], &rows) };
    section("Moves", &about, &body)
}

fn servers(servers: &[ServerRow]) -> String {
    if servers.is_empty() {
        return String::new();
    }
    let row = |row: &ServerRow| {
        let (reads, behind) = (grouped(row.reads), grouped(row.furthest_behind));
        let stale = trouble_cell(row.stale);
        [left(&row.server), cell(&reads), stale, cell(&behind)].concat()
    };
    let rows: Vec<String> = servers.iter().map(row).collect();
    let head = ["reads", "stale", "writes behind, at most"];
    let about = "who answered clients that must see what they have written";
    section("Reads of own writes", about, &table(&["server"], &head, &rows))
}

fn troubles(outcome: &Outcome) -> String {
    let mut rows = Vec::new();
    let mut add = |count: u64, what: &str, class: &str, how: &str| {
        let cells = format!("<td class=\"bad\">{}</td>", grouped(count));
        rows.push(format!("{cells}{}{}{}", left(what), left(class), wrapped(how)));
    };
    for row in &outcome.lost {
        let what = match row.transaction {
            Transaction::None => "sessions lost",
            Transaction::Open => "sessions lost in a transaction",
            Transaction::Committing => "sessions lost at COMMIT",
        };
        add(row.count, what, row.class.name(), &row.reason);
    }
    for row in &outcome.connect_failures {
        add(row.count, "connects failed", row.class.name(), &row.reason);
    }
    for row in &outcome.failures {
        let how = format!("error {} {}", row.code, row.text);
        add(row.count, "statements failed", row.class.name(), &how);
    }
    let bank = bank(outcome);
    if rows.is_empty() {
        return section("The bank", &bank, "");
    }
    let head = "<th>count</th><th class=\"left\">what</th><th class=\"left\">class</th>\
                <th class=\"left\">how</th>";
    let body = rows.iter().fold(String::new(), |sum, row| format!("{sum}<tr>{row}</tr>\n"));
    let table = format!("<table><tr>{head}</tr>\n{body}</table>\n");
    section("What was lost, and how", &bank, &table)
}

fn bank(outcome: &Outcome) -> String {
    if let Some(failure) = &outcome.bank_failure {
        return format!("The bank could not be audited: {failure}.");
    }
    let Some(bank) = &outcome.bank else { return "There was no bank in this mix.".into() };
    let acknowledged = grouped(bank.acknowledged);
    let books = match bank.wrong() {
        0 => format!(
            "All {acknowledged} acknowledged commits of the bank are in its ledger, and its total \
             is what it was."
        ),
        _ => format!(
            "Of {acknowledged} acknowledged commits of the bank, {} are not in its ledger; {} are \
             in it that nobody committed; its total is {} and must be {}.",
            bank.acknowledged_missing, bank.never_committed, bank.total, bank.expected_total
        ),
    };
    match bank.unknown {
        0 => books,
        unknown => format!(
            "{books} {unknown} commits got no answer; {} of them had been committed.",
            bank.unknown_committed
        ),
    }
}

fn restarts(restarts: &[Restart]) -> String {
    let Some(first) = restarts.first() else { return String::new() };
    let several = restarts.iter().any(|restart| restart.target != first.target);
    let names: Vec<&str> = match restarts.iter().find(|restart| !restart.task.is_empty()) {
        Some(restart) => {
            restart.task.iter().map(|(name, _)| name.as_str()).filter(is_new).collect()
        }
        None => Vec::new(),
    };
    let has_pauses = restarts.iter().any(|restart| restart.pauses.is_some());
    let columns = RestartColumns { names: &names, several, has_pauses };
    let numbered = restarts.iter().enumerate().take(MOST_RESTARTS);
    let rows: Vec<String> =
        numbered.map(|(index, restart)| restart_row(index + 1, restart, &columns)).collect();
    let mut texts = vec!["#"];
    if several {
        texts.push("where");
    }
    texts.push("how it ended");
    // Spaced, so that a heading may be two lines and the table fits.
    let spaced: Vec<String> = names.iter().map(|name| name.replace('_', " ")).collect();
    let mut head = vec!["began", "lasted"];
    if has_pauses {
        head.extend(["pause p50", "pause p99", "longest pause"]);
    }
    head.push("longest wait");
    head.extend(spaced.iter().map(String::as_str));
    let of = if several { "" } else { first.target.as_str() };
    let (title, show) = match first.act {
        Act::Restart => ("Restarts", "SHOW RESTART"),
        Act::Kill => ("Kills", "SHOW CRASH"),
    };
    let about = match (of, names.is_empty()) {
        (of, true) => format!("by {of}"),
        ("", false) => format!("with what {show} said at the end of each"),
        (of, false) => format!("of {of}, with what {show} said at the end of each"),
    };
    let table = table(&texts, &head, &rows).replace("<table>", "<table class=\"dense\">");
    section(title, &about, &table)
}

/// What the table of restarts shows.
struct RestartColumns<'a> {
    /// Of SHOW RESTART, as they are.
    names: &'a [&'a str],
    /// Whether more than one proxy was restarted.
    several: bool,
    /// Whether any of them says how long sessions stood still.
    has_pauses: bool,
}

fn restart_row(number: usize, restart: &Restart, columns: &RestartColumns<'_>) -> String {
    let mut cells = left(&number.to_string());
    if columns.several {
        cells.push_str(&left(&restart.target));
    }
    let detail = restart.task.iter().find(|(column, _)| column == "detail");
    let detail = detail.map_or("", |(_, detail)| detail);
    let (class, ended) = match &restart.failure {
        None => ("", format!("completed<small>{}</small>", escape(detail))),
        Some(failure) => (" bad", escape(failure)),
    };
    let _ = write!(cells, "<td class=\"wrap{class}\">{ended}</td>");
    cells.push_str(&cell(&format!("{:.1} s", restart.began_ms as f64 / 1e3)));
    let lasted = restart.lasted_ms() as f64 / 1e3;
    cells.push_str(&cell(&format!("{lasted:.2} s")));
    if columns.has_pauses {
        let pauses = restart.pauses.as_ref().map(Latency::from);
        let text = |value: fn(&Latency) -> u64| pauses.as_ref().map(value).map(human);
        let texts = [text(|it| it.p50_us), text(|it| it.p99_us), text(|it| it.max_us)];
        texts.iter().for_each(|text| cells.push_str(&cell(text.as_deref().unwrap_or_default())));
    }
    cells.push_str(&cell(&human(restart.waits.max_us())));
    for name in columns.names {
        let value = restart.task.iter().find(|(column, _)| column == name);
        cells.push_str(&cell(value.map_or("", |(_, value)| value)));
    }
    cells
}

/// What stands in the table already, in our own words.
fn is_new(column: &&str) -> bool {
    let known = ["mode", "state", "phase", "started_at", "elapsed_ms", "detail"];
    !known.contains(column) && !column.starts_with("pause_")
}

fn events(outcome: &Outcome) -> String {
    if outcome.events.is_empty() {
        return String::new();
    }
    let row = |event: &super::tally::Event| {
        let what = match event.kind {
            Kind::Lost => "session lost",
            Kind::ConnectFailed => "connect failed",
            Kind::Failed => "statement failed",
            Kind::Wrong => "answer wrong",
        };
        let state = match event.transaction {
            Transaction::None => "",
            Transaction::Open => "in a transaction",
            Transaction::Committing => "at COMMIT",
        };
        let client = format!("{} {}", event.class, event.client.0);
        let at = format!("<td>{:.2} s</td>", event.at_ms as f64 / 1e3);
        let cells = [left(what), left(&client), left(state), wrapped(&event.text)].concat();
        format!("<tr>{at}{cells}</tr>\n")
    };
    let rows: String = outcome.events.iter().take(MOST_EVENTS).map(row).collect();
    let names = ["what", "who", "when", "how"];
    let head: String = names.iter().map(|name| format!("<th class=\"left\">{name}</th>")).collect();
    let table = format!("<table><tr><th>at</th>{head}</tr>\n{rows}</table>\n");
    section("One by one", &format!("the first {MOST_EVENTS} troubles"), &table)
}

fn section(title: &str, about: &str, body: &str) -> String {
    let about = match about {
        "" => String::new(),
        about => format!("<p class=\"faint\">{}</p>\n", escape(about)),
    };
    format!("<section><h2>{}</h2>\n{about}{body}</section>\n", escape(title))
}

fn legend(items: &[(&str, String)]) -> String {
    let item = |(class, text): &(&str, String)| {
        format!("<span><i class=\"{class}\"></i>{}</span>", escape(text))
    };
    format!("<div class=\"legend\">{}</div>\n", items.iter().map(item).collect::<String>())
}

/// A table whose first columns are text and whose others are numbers.
fn table(texts: &[&str], numbers: &[&str], rows: &[String]) -> String {
    let mut html = String::from("<table><tr>");
    for name in texts {
        let _ = write!(html, "<th class=\"left\">{}</th>", escape(name));
    }
    for name in numbers {
        let _ = write!(html, "<th>{}</th>", escape(name));
    }
    html.push_str("</tr>\n");
    rows.iter().for_each(|row| html.push_str(&format!("<tr>{row}</tr>\n")));
    html.push_str("</table>\n");
    html
}

/// Thousands apart, but never on two lines.
fn grouped(number: u64) -> String {
    outcome::grouped(number).replace(' ', "\u{202f}")
}

fn cell(text: &str) -> String {
    format!("<td>{}</td>", escape(text))
}

fn left(text: &str) -> String {
    format!("<td class=\"left\">{}</td>", escape(text))
}

fn wrapped(text: &str) -> String {
    format!("<td class=\"wrap\">{}</td>", escape(text))
}

fn trouble_cell(count: u64) -> String {
    let class = if count == 0 { "zero" } else { "bad" };
    format!("<td class=\"{class}\">{}</td>", grouped(count))
}

/// Error texts come from servers; they must not become markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_server_does_not_become_markup() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let style = include_str!("style.css");
        assert!(!style.contains("url(") && !style.contains("@import"));
    }

    #[test]
    fn a_curve_of_few_values_ends_at_its_maximum() {
        let mut latencies = Latencies::default();
        [100, 200, 300].into_iter().for_each(|value| latencies.outside.saturating_record(value));
        let curve = curve(&latencies.outside);
        assert_eq!(curve.last().map(|(_, value)| *value), Some(300));
        assert!(curve.len() < 12);
    }
}
