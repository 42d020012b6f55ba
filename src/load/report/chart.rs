//! Charts as SVG text. Colours are classes, so that the page's style sheet knows light and dark.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::outcome::{grouped, human};
use super::super::restarts::Restart;
use super::super::timeline::Slice;

/// The drawing is this wide, in its own units.
const WIDTH: f64 = 960.0;
/// Left of the plot: room for the labels of the y axis.
const LEFT: f64 = 64.0;
/// Right of the plot.
const RIGHT: f64 = 14.0;
/// Above the plot: room for the numbers of the restarts.
const TOP: f64 = 22.0;
/// Below the plot: room for the labels of the x axis.
const BOTTOM: f64 = 26.0;

/// A drawing with a plot area; y grows upwards within it.
struct Plot {
    svg: String,
    height: f64,
    x_range: (f64, f64),
    y_range: (f64, f64),
}

impl Plot {
    fn new(label: &str, height: f64, x_range: (f64, f64), y_range: (f64, f64)) -> Self {
        let svg =
            format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">\n");
        Self { svg, height, x_range, y_range }
    }

    fn x(&self, value: f64) -> f64 {
        let (first, last) = self.x_range;
        let share = ((value - first) / (last - first)).clamp(0.0, 1.0);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.y_range;
        let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
        self.floor() - share * (self.floor() - TOP)
    }

    fn floor(&self) -> f64 {
        self.height - BOTTOM
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        self.svg.write_fmt(element).expect("a string takes everything");
        self.svg.push('\n');
    }

    fn y_tick(&mut self, value: f64, label: &str) {
        let (y, end) = (self.y(value), WIDTH - RIGHT);
        self.add(format_args!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            y + 4.0
        ));
    }

    fn x_tick(&mut self, value: f64, label: &str) {
        let (x, floor) = (self.x(value), self.floor());
        self.add(format_args!(
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{floor:.1}\" y2=\"{:.1}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            floor + 4.0,
            floor + 18.0
        ));
    }

    fn base(&mut self) {
        let (floor, end) = (self.floor(), WIDTH - RIGHT);
        self.add(format_args!(
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{floor:.1}\" y2=\"{floor:.1}\"/>"
        ));
    }

    /// The time of a restart as a band, with its number above it.
    fn band(&mut self, number: usize, restart: &Restart) {
        let seconds = |ms: u64| ms as f64 / 1e3;
        let (from, to) = (self.x(seconds(restart.began_ms)), self.x(seconds(restart.served_ms())));
        // A settling time, or a probation.
        let after = self.x(seconds(restart.ended_ms.max(restart.window_ended_ms)));
        let (floor, class) = (self.floor(), if restart.failure.is_some() { " bad" } else { "" });
        let lasted = seconds(restart.lasted_ms());
        let (began, act) = (seconds(restart.began_ms), restart.act.name());
        self.add(format_args!(
            "<g><title>{act} {number} at {began:.1} s, {lasted:.2} s</title>\
             <rect class=\"settle\" x=\"{to:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <rect class=\"band{class}\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" \
             height=\"{:.1}\"/></g>",
            after - to,
            floor - TOP,
            (to - from).max(1.5),
            floor - TOP
        ));
        self.add(format_args!(
            "<text class=\"number\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{number}</text>",
            (from + to) / 2.0,
            TOP - 7.0
        ));
    }

    /// A line through points, interrupted where there is none.
    fn line(&mut self, class: &str, points: impl Iterator<Item = Option<(f64, f64)>>) {
        let mut path = String::new();
        let mut pen_down = false;
        for point in points {
            if let Some((x, y)) = point {
                let command = if pen_down { 'L' } else { 'M' };
                let _ = write!(path, "{command}{:.1} {:.1}", self.x(x), self.y(y));
                // A point alone would be invisible; a line of no length has round ends.
                if !pen_down {
                    path.push_str("h0");
                }
            }
            pen_down = point.is_some();
        }
        self.add(format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
    }

    fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}

/// The slices of a run as they are drawn.
pub(super) struct Time<'a> {
    pub(super) slices: &'a [Slice],
    /// How long a slice is.
    pub(super) width: Duration,
    pub(super) restarts: &'a [Restart],
}

impl Time<'_> {
    fn end(&self) -> f64 {
        (self.slices.len() as f64 * self.width.as_secs_f64()).max(1.0)
    }

    /// The middle of a slice, in seconds.
    fn at(&self, number: usize) -> f64 {
        (number as f64 + 0.5) * self.width.as_secs_f64()
    }

    fn bands(&self, plot: &mut Plot) {
        for (index, restart) in self.restarts.iter().enumerate() {
            plot.band(index + 1, restart);
        }
    }

    fn x_ticks(&self, plot: &mut Plot) {
        let step = pleasant(self.end() / 9.0);
        let mut at = 0.0;
        while at <= self.end() {
            let label = if step < 1.0 { format!("{at:.1} s") } else { clock(at) };
            plot.x_tick(at, &label);
            at += step;
        }
    }
}

/// Latency over time: p50, p99 and maximum of each slice, on a logarithmic axis.
pub(super) fn latency(time: &Time<'_>) -> String {
    let highest = time.slices.iter().filter_map(Slice::max).max().unwrap_or_default();
    let lowest = time.slices.iter().filter_map(|slice| slice.quantile(0.5)).min();
    let low = logarithm(lowest.unwrap_or_default()).floor().min(3.0);
    let high = logarithm(highest).ceil().max(low + 1.0);
    let mut plot = Plot::new("latency over time", 340.0, (0.0, time.end()), (low, high));
    time.bands(&mut plot);
    for decade in low as u32..=high as u32 {
        plot.y_tick(f64::from(decade), &round_time(decade));
    }
    time.x_ticks(&mut plot);
    plot.base();
    let point = |number: usize, latency: Option<Duration>| {
        latency.map(|latency| (time.at(number), logarithm(latency)))
    };
    let slices = || time.slices.iter().enumerate();
    plot.line("max", slices().map(|(number, slice)| point(number, slice.max())));
    plot.line("p99", slices().map(|(number, slice)| point(number, slice.quantile(0.99))));
    plot.line("p50", slices().map(|(number, slice)| point(number, slice.quantile(0.5))));
    plot.finish()
}

/// Statements and connects in a second.
pub(super) fn throughput(time: &Time<'_>) -> String {
    let second = time.width.as_secs_f64();
    let most = time.slices.iter().map(|slice| slice.answers).max().unwrap_or_default();
    let step = pleasant(f64::from(most) / second / 4.0).max(1.0);
    let high = step * (f64::from(most) / second / step).ceil().max(1.0);
    let mut plot = Plot::new("statements a second", 190.0, (0.0, time.end()), (0.0, high));
    time.bands(&mut plot);
    for number in 0..=(high / step) as u32 {
        let value = f64::from(number) * step;
        plot.y_tick(value, &grouped(value as u64));
    }
    time.x_ticks(&mut plot);
    plot.base();
    let slices = || time.slices.iter().enumerate();
    let rate = |count: u32| f64::from(count) / second;
    let answers = slices().map(|(number, slice)| Some((time.at(number), rate(slice.answers))));
    plot.line("rate", answers);
    plot.finish()
}

/// A name, and what is counted.
type Lane = (&'static str, fn(&Slice) -> u32);

/// Four lanes on the same time axis, with a mark wherever something went wrong.
pub(super) fn troubles(time: &Time<'_>) -> String {
    let lanes: [Lane; 4] = [
        ("lost", |slice| slice.lost),
        ("refused", |slice| slice.refused),
        ("failed", |slice| slice.failed),
        ("wrong", |slice| slice.wrong),
    ];
    let mut plot = Plot::new("losses over time", 132.0, (0.0, time.end()), (0.0, 4.0));
    time.bands(&mut plot);
    let lane = plot.y(0.0) - plot.y(1.0);
    for (index, (name, count)) in lanes.into_iter().enumerate() {
        let top = TOP + index as f64 * lane;
        plot.add(format_args!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{top:.1}\" y2=\"{top:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            top + lane / 2.0 + 4.0
        ));
        for (number, slice) in time.slices.iter().enumerate() {
            let count = count(slice);
            if count > 0 {
                mark(&mut plot, (time.at(number), top + lane), (name, count), lane);
            }
        }
    }
    time.x_ticks(&mut plot);
    plot.base();
    plot.finish()
}

/// A bar on a lane: one is seen, a thousand fills it.
fn mark(plot: &mut Plot, (at, bottom): (f64, f64), (name, count): (&str, u32), lane: f64) {
    let height = (lane - 3.0) * (0.35 + 0.65 * (f64::from(count).log10() / 3.0).min(1.0));
    let x = plot.x(at) - 1.5;
    plot.add(format_args!(
        "<rect class=\"loss\" x=\"{x:.1}\" y=\"{:.1}\" width=\"3\" height=\"{height:.1}\">\
         <title>{count} {name} at {at:.1} s</title></rect>",
        bottom - height
    ));
}

/// What share of statements took at most how long, in restart windows and outside them.
pub(super) fn percentiles(curves: &[(&str, Vec<(f64, u64)>)]) -> String {
    let values = || curves.iter().flat_map(|(_, curve)| curve.iter().map(|(_, micros)| *micros));
    let as_log = |micros: u64| (micros.max(1) as f64).log10();
    let low = values().min().map_or(2.0, as_log).floor();
    let high = values().max().map_or(5.0, as_log).ceil().max(low + 1.0);
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-6).log10();
    let ends = curves.iter().filter_map(|(_, curve)| curve.last()).map(|(end, _)| nines(*end));
    let end = ends.fold(2.0, f64::max);
    let mut plot = Plot::new("latency by percentile", 260.0, (0.0, end), (low, high));
    for decade in low as u32..=high as u32 {
        plot.y_tick(f64::from(decade), &round_time(decade));
    }
    for (at, label) in ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"].iter().enumerate() {
        if at as f64 <= end {
            plot.x_tick(at as f64, label);
        }
    }
    plot.base();
    for (class, curve) in curves {
        let points = curve
            .iter()
            .map(|(quantile, micros)| Some((-(1.0 - quantile).max(1e-5).log10(), as_log(*micros))));
        plot.line(class, points);
    }
    plot.finish()
}

/// Bars for each octave: upper bounds in microseconds and counts, drawn from the first octave that
/// anybody needs to the last. The highest bar of each kind is as high as the plot.
pub(super) fn pauses(kinds: &[(&str, Vec<(u64, u64)>)]) -> String {
    let octaves = kinds.iter().map(|(_, octaves)| octaves.len()).max().unwrap_or_default();
    let is_used = |at: &usize| kinds.iter().any(|(_, all)| all.get(*at).is_some_and(|it| it.1 > 0));
    let first = (0..octaves).find(is_used).unwrap_or_default();
    let last = (0..octaves).rfind(is_used).unwrap_or_default();
    let columns = (last + 1 - first).max(1);
    let mut plot = Plot::new("pauses in restarts", 220.0, (0.0, columns as f64), (0.0, 1.0));
    let width = (plot.x(1.0) - plot.x(0.0)) * 0.8 / kinds.len().max(1) as f64;
    for (kind, (class, all)) in kinds.iter().enumerate() {
        let most = all.iter().map(|(_, count)| *count).max().unwrap_or_default().max(1);
        for (column, (bound, count)) in all.iter().skip(first).take(columns).enumerate() {
            if *count == 0 {
                continue;
            }
            let left = plot.x(column as f64 + 0.1) + kind as f64 * width;
            let (floor, top) = (plot.floor(), plot.y(*count as f64 / most as f64));
            // One among thousands is to be seen as well.
            let (height, text) = ((floor - top).max(2.0), grouped(*count));
            let (y, middle) = (floor - height, left + width / 2.0);
            let up_to = up_to(*bound);
            plot.add(format_args!(
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
                 height=\"{height:.1}\"><title>{text} {up_to}</title></rect>\
                 <text class=\"tick\" x=\"{middle:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{text}</text>",
                (width - 1.5).max(1.0),
                y - 4.0
            ));
        }
    }
    let bounds = kinds.first().map(|(_, all)| all.iter().skip(first).take(columns));
    for (column, (bound, _)) in bounds.into_iter().flatten().enumerate() {
        plot.x_tick(column as f64 + 0.5, &up_to(*bound));
    }
    plot.base();
    plot.finish()
}

/// The upper bound of a bucket.
fn up_to(bound: u64) -> String {
    match bound {
        u64::MAX => "longer".into(),
        _ => format!("≤ {}", human(bound)),
    }
}

/// The decimal logarithm of microseconds.
fn logarithm(latency: Duration) -> f64 {
    (latency.as_micros().max(1) as f64).log10()
}

/// 10^decade microseconds.
fn round_time(decade: u32) -> String {
    let text = human(10_u64.saturating_pow(decade));
    text.replace(".00", "").replace(".0", "")
}

/// A step of 1, 2 or 5 times a power of ten that is at least this; minutes above a minute.
fn pleasant(least: f64) -> f64 {
    let minutes = [30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
    if least > 20.0
        && least <= 3600.0
        && let Some(step) = minutes.into_iter().find(|step| *step >= least)
    {
        return step;
    }
    let power = 10_f64.powf(least.max(1e-3).log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * power >= least * 0.999);
    step.unwrap_or(10.0) * power
}

/// Seconds as `12 s` or `3:05`.
fn clock(seconds: f64) -> String {
    match seconds {
        0.0..60.0 => format!("{seconds:.0} s"),
        _ => format!("{}:{:02}", seconds as u64 / 60, seconds as u64 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_pleasant() {
        for (least, step) in [(0.3, 0.5), (1.0, 1.0), (3.3, 5.0), (7.0, 10.0), (40.0, 60.0)] {
            assert!((pleasant(least) - step).abs() < 1e-9, "{least}: {}", pleasant(least));
        }
    }

    #[test]
    fn labels_are_round() {
        let labels: Vec<String> = (2..=6).map(round_time).collect();
        assert_eq!(labels, ["100 µs", "1 ms", "10 ms", "100 ms", "1 s"]);
        assert_eq!((clock(12.0), clock(185.0)), ("12 s".into(), "3:05".into()));
    }

    #[test]
    fn bars_are_drawn_from_the_first_octave_in_use_to_the_last() {
        let kinds = [
            ("pause", vec![(50, 0), (100, 3), (200, 0)]),
            ("wait", vec![(50, 0), (100, 0), (200, 1)]),
        ];
        let svg = pauses(&kinds);
        assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
        assert!(svg.contains("≤ 100 µs") && svg.contains("≤ 200 µs") && !svg.contains("≤ 50 µs"));
    }

    #[test]
    fn a_run_without_an_answer_can_be_drawn() {
        let time = Time { slices: &[], width: Duration::from_millis(100), restarts: &[] };
        let (none, empty) = (pauses(&[]), pauses(&[("pause", vec![(50, 0), (u64::MAX, 0)])]));
        let drawn = [latency(&time), throughput(&time), troubles(&time), percentiles(&[])];
        for svg in drawn.into_iter().chain([none, empty]) {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
