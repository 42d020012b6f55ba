//! The last hour of this proxy, or of the fleet, drawn: queries, latency, sessions, errors.
//!
//! Lines are drawn in a box of 360 by 100, one unit for each ten seconds, which the browser
//! stretches. What they tell stands beside them as text.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::words;
use crate::admin::{Row, Table};

/// The box.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 100.0;

/// Seconds of a unit.
const UNIT: f64 = 10.0;

/// Samples that are further apart are not joined.
const GAP: f64 = 2.5 * UNIT;

/// A value of a sample, if it has one.
type Value = fn(&Row<'_>) -> Option<f64>;

/// One chart.
struct Chart {
    title: &'static str,
    /// Each has a name and a class.
    lines: &'static [(&'static str, &'static str, Value)],
    shown: fn(f64) -> String,
}

const CHARTS: [Chart; 4] = [
    Chart {
        title: "Queries a second",
        lines: &[("", "one", |row| rate(row, "queries"))],
        shown: number,
    },
    Chart {
        title: "Latency",
        lines: &[
            ("p50", "one", |row| time(row, "p50_us")),
            ("p99", "two", |row| time(row, "p99_us")),
        ],
        shown: |us| words::pause(&(us.round() as u64).to_string()),
    },
    Chart { title: "Sessions", lines: &[("", "one", |row| of(row, "sessions"))], shown: number },
    Chart {
        title: "Errors a second",
        lines: &[("", "bad-line", |row| rate(row, "errors"))],
        shown: number,
    },
];

fn of(row: &Row<'_>, column: &str) -> Option<f64> {
    row.text(column).parse().ok()
}

fn rate(row: &Row<'_>, column: &str) -> Option<f64> {
    let seconds = of(row, "seconds").filter(|seconds| *seconds > 0.0)?;
    Some(of(row, column)? / seconds)
}

fn time(row: &Row<'_>, column: &str) -> Option<f64> {
    of(row, column).filter(|us| *us > 0.0)
}

fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value >= 1e4 => format!("{:.1} k", value / 1e3),
        value if value >= 10.0 || value.fract() == 0.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

/// All four, from SHOW PROXYHISTORY or SHOW FLEET HISTORY.
pub(super) fn charts(history: &Table) -> Markup {
    let rows: Vec<_> = history.rows().collect();
    html! {
        div class="charts" {
            @for chart in &CHARTS { (drawn(chart, &rows)) }
        }
    }
}

/// Of whom a sum is, and of whom it is not.
pub(super) fn told_of(history: &Table) -> Markup {
    let Some(last) = history.rows().next_back() else {
        return html! { p class="hint" { "No proxy has told of its last hour yet." } };
    };
    let missing: Vec<_> = last.text("missing").split(',').filter(|it| !it.is_empty()).collect();
    let count: usize = last.text("proxies").parse().unwrap_or_default();
    html! {
        p class="hint" {
            "Queries, sessions and errors are the sum of " (words::proxies(count))
            "; the latency is that of the slowest of them."
        }
        @if !missing.is_empty() {
            p class="note bad" id="missing" {
                b { "Not in the sum: " }
                (missing.join(", "))
                ". Who does not answer, or has no console, tells nothing."
            }
        }
    }
}

fn drawn(chart: &Chart, rows: &[Row<'_>]) -> Markup {
    let values = |value: Value| {
        let at = |row: &Row<'_>| Some((-of(row, "ago_s")?, value(row)?));
        rows.iter().filter_map(at).collect::<Vec<_>>()
    };
    let lines: Vec<_> =
        chart.lines.iter().map(|(name, class, value)| (*name, *class, values(*value))).collect();
    let all = lines.iter().flat_map(|(_, _, points)| points);
    let most = all.map(|(_, value)| *value).fold(0.0, f64::max);
    let top = ceiling(most);
    let now = |points: &[(f64, f64)]| {
        points.last().map_or("none".to_owned(), |(_, value)| (chart.shown)(*value))
    };
    let told: Vec<_> = lines
        .iter()
        .map(|(name, _, points)| format!("{name} {}", now(points)).trim().to_owned())
        .collect();
    let label = format!(
        "{}, the last hour: now {}, at most {}",
        chart.title,
        told.join(", "),
        (chart.shown)(most)
    );
    html! {
        figure class="chart" {
            figcaption {
                b { (chart.title) }
                @for (name, class, points) in &lines {
                    " " span class={ "now " (class) } {
                        @if !name.is_empty() { (name) " " }
                        (now(points))
                    }
                }
            }
            div class="plot" {
                span class="top hint" { ((chart.shown)(top)) }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                    aria-label=(label) {
                    @for (_, class, points) in &lines {
                        @for run in runs(points, top) {
                            polyline class=(class) points=(run)
                                vector-effect="non-scaling-stroke" {}
                        }
                    }
                }
            }
            div class="axis hint" { span { "1 h ago" } span { "now" } }
        }
    }
}

/// Joined points, as SVG has them.
fn runs(points: &[(f64, f64)], top: f64) -> Vec<String> {
    let mut runs: Vec<String> = Vec::new();
    let mut before = f64::NEG_INFINITY;
    for (at, value) in points {
        let x = WIDTH + at / UNIT;
        if x < 0.0 {
            continue;
        }
        let y = HEIGHT - value / top * HEIGHT;
        let point = format!("{x:.1},{y:.1}");
        match runs.last_mut().filter(|_| at - before <= GAP) {
            Some(run) => drop(write!(run, " {point}")),
            // One by itself is a dot.
            None => runs.push(format!("{point} {point}")),
        }
        before = *at;
    }
    runs
}

/// The next number that people count by: 1, 2, 5, 10…
fn ceiling(most: f64) -> f64 {
    if most <= 1.0 {
        return 1.0;
    }
    let power = 10f64.powf(most.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= most);
    step.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_is_in_the_box() {
        for (most, expected) in
            [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (17.0, 20.0), (50.0, 50.0), (501.0, 1000.0)]
        {
            assert_eq!(ceiling(most), expected, "{most}");
        }
    }

    #[test]
    fn points_are_joined_where_no_sample_is_missing() {
        let points = [(-4000.0, 1.0), (-3600.0, 1.0), (-20.0, 5.0), (-10.0, 10.0), (0.0, 0.0)];
        assert_eq!(
            runs(&points, 10.0),
            ["0.0,90.0 0.0,90.0", "358.0,50.0 358.0,50.0 359.0,0.0 360.0,100.0"]
        );
    }

    #[test]
    fn who_is_not_in_a_sum_is_named() {
        let told = |proxies: &str, missing: &str| {
            let mut table = Table::with_columns(&["proxies", "missing"]);
            table.push([proxies, missing].map(Into::into));
            told_of(&table).into_string()
        };
        let page = told("2", "c,d<");
        assert!(page.contains("the sum of 2 proxies"), "{page}");
        assert!(page.contains("Not in the sum: </b>c, d&lt;."), "{page}");
        assert!(!told("3", "").contains("Not in the sum"));
        assert!(told_of(&Table::default()).into_string().contains("No proxy has told"));
    }

    #[test]
    fn charts_tell_in_words_what_they_draw() {
        let mut table = Table::with_columns(&[
            "ago_s", "seconds", "queries", "errors", "sessions", "p50_us", "p99_us",
        ]);
        table.push(["10", "10", "5000", "0", "7", "1500", "20000"].map(Into::into));
        table.push(["0", "10", "25000", "3", "8", "0", "0"].map(Into::into));
        let page = charts(&table).into_string();
        for part in [
            "Queries a second, the last hour: now 2500, at most 2500",
            "Latency, the last hour: now p50 1.5 ms, p99 20.0 ms, at most 20.0 ms",
            "Sessions, the last hour: now 8, at most 8",
            "Errors a second, the last hour: now 0.3, at most 0.3",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(charts(&Table::default()).into_string().contains("now none, at most 0"));
    }
}
